//! Answer files of others as ours: what vars can say becomes vars, what builds must have comes from the built-in template
//! that the file extends, and the rest is kept word for word in it. Where nothing is left, no file is needed.

mod autoinstall;
mod converted;
mod kickstart;
mod preseed;
pub mod words;

use std::collections::BTreeSet;

use self::converted::squeezed;
pub use self::converted::{Answer, Converted, Quote};

/// Converts the answers of an installer's program. `built_in`: the text of the template that is extended.
pub fn convert(program: &str, text: &str, quote: Quote<'_>, built_in: &str) -> Converted {
    match program {
        "debian-installer" => preseed::convert(text, quote, &known_lines(built_in)),
        "anaconda" => kickstart::convert(text, quote, &known_lines(built_in)),
        _ => autoinstall::convert(text, quote),
    }
}

/// Lines that the built-in template has anyway.
fn known_lines(built_in: &str) -> BTreeSet<String> {
    let lines = built_in.lines().filter(|line| !line.contains("{{"));
    lines.map(squeezed).collect()
}
