//! A shacache's configuration.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pipeline::internals::places::Config;

fuzz_target!(|text: &str| {
    match Config::parse(Path::new("shacache.cfg"), text) {
        Ok(config) => {
            for url in [
                &config.download_cache,
                &config.upload_cache,
                &config.upload_directory,
            ] {
                assert!(url.starts_with("https://") || url.starts_with("http://"), "{url}");
            }
        }
        Err(error) => assert!(error.to_string().starts_with("shacache.cfg:"), "{error}"),
    }
});
