//! What is compiled into the program: guest scripts and answer templates.
//!
//! To add one, put its name and an `include_str!` of it into the table. Knows nothing of what they do.

use super::model::Family;

/// Scripts that run inside a guest, by the name that a manifest gives: `guest/update.sh`.
pub const SCRIPTS: &[(&str, &str)] = &[];

/// Answer templates, by the name that a manifest or another template gives: `bootstrap-debian.sh.j2`.
pub const TEMPLATES: &[(&str, &str)] = &[];

/// Name of the answers of a `bootstrap` source that names none; other families cannot be bootstrapped.
pub fn bootstrap_answers(family: Family) -> &'static str {
    match family {
        Family::Ubuntu => "bootstrap-ubuntu.sh.j2",
        Family::Debian | Family::Rhel | Family::Alpine => "bootstrap-debian.sh.j2",
    }
}

/// A built-in script.
pub fn script(name: &str) -> Option<&'static str> {
    find(SCRIPTS, name)
}

/// A built-in template.
pub fn template(name: &str) -> Option<&'static str> {
    find(TEMPLATES, name)
}

fn find(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(key, _)| *key == name).map(|(_, text)| *text)
}
