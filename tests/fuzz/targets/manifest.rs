//! A manifest's text, read in a folder with a few files (`folder/`), and its mistakes shown as the program shows them.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use pipeline::internals::manifest::{self, Manifest};

/// Where the manifest stands.
const PLACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/folder/images.toml");

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if leaves_the_folder(text) {
        return;
    }
    match manifest::load_text(Path::new(PLACE), text) {
        Ok(Manifest { warnings, images, .. }) => {
            assert!(!images.is_empty(), "a manifest of no image was taken");
            for warning in &warnings {
                show(warning);
            }
        }
        Err(errors) => {
            assert!(!errors.problems().is_empty(), "refused for no reason");
            // Rubbish has hundreds, and showing one costs more than finding it.
            for problem in errors.problems().iter().take(16) {
                show(problem);
            }
        }
    }
});

/// What a manifest copies into a guest is digested, however much it is. Where that is a whole disk of the host, it takes as
/// long as a disk does, which is no mistake of the reader.
fn leaves_the_folder(text: &str) -> bool {
    let at_the_root = |quote: char| {
        text.split(quote)
            .map(str::trim_start)
            .any(|path| path.starts_with('/') && Path::new(path).exists())
    };
    let hidden = ["..", "\\u", "\\U", "\\x", "\\\n", "\\\r"];
    hidden.iter().any(|word| text.contains(word)) || at_the_root('"') || at_the_root('\'')
}

fn show(problem: &dyn Diagnostic) {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
    let mut text = String::new();
    handler
        .with_links(false)
        .without_cause_chain()
        .render_report(&mut text, problem)
        .expect("every mistake can be shown at its place");
}
