//! What a user writes to say which images are meant: a line each, `-d`, `-s` and `-f` in front of the options' values.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pipeline::internals::manifest::select::{Selectors, select};
use pipeline::internals::manifest::{self, Manifest};

static MANIFEST: LazyLock<Manifest> = LazyLock::new(|| {
    let text = include_str!("../../../pipelines/images.toml");
    manifest::load_text(Path::new("/nowhere/images.toml"), text).expect("it is a good one")
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut selectors = Selectors::default();
    for line in text.split('\n') {
        let (list, value) = match line.get(..2) {
            Some("-d") => (&mut selectors.distro, &line[2..]),
            Some("-s") => (&mut selectors.size, &line[2..]),
            Some("-f") => (&mut selectors.flavor, &line[2..]),
            _ => (&mut selectors.patterns, line),
        };
        list.push(value.to_owned());
    }
    match select(&MANIFEST, &selectors) {
        Ok(found) => {
            assert!(!found.is_empty() && found.is_sorted());
            assert!(found.iter().all(|index| *index < MANIFEST.images.len()));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
