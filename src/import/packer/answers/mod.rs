//! Answer files of others as ours: what vars can say becomes vars, what builds must have comes from the built-in template
//! that the file extends, and the rest is kept word for word in it. Where nothing is left, no file is needed.

mod autoinstall;
mod converted;
mod kickstart;
mod preseed;
pub mod words;

use std::collections::BTreeSet;

use self::converted::squeezed;
pub use self::converted::{Answer, Converted, HIDDEN, Quote, ROOT_PASSWORD, hide_passwords, todos};

/// Converts the answers of an installer's program. `built_in`: the text of the template that is extended. `user`: the
/// account that Packer logged in as.
pub fn convert(program: &str, text: &str, quote: Quote<'_>, built_in: &str, user: &str) -> Converted {
    let known = known_lines(built_in);
    let mut made = match program {
        "debian-installer" => preseed::convert(
            text,
            quote,
            &known,
            built_in.contains("preseed-debian.cfg.j2\" %}"),
        ),
        "anaconda" => kickstart::convert(text, quote, &known, user),
        _ => autoinstall::convert(text, quote),
    };
    // The template gave its account no more than it said.
    made.var("sudo", Answer::Flag(false));
    made
}

/// Lines that the built-in template has anyway.
fn known_lines(built_in: &str) -> BTreeSet<String> {
    let lines = built_in.lines().filter(|line| !line.contains("{{"));
    lines.map(squeezed).collect()
}
