//! Pages for browsers and feed readers, from the built-in templates: what is put into them is text, and never markup.

use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;

/// Each template with its name.
const TEMPLATES: [(&str, &str); 4] = [
    ("report.html", include_str!("../../templates/report.html.j2")),
    ("gallery.html", include_str!("../../templates/gallery.html.j2")),
    ("feed.xml", include_str!("../../templates/feed.xml.j2")),
    ("page.css", include_str!("../../templates/page.css")),
];

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.build().expect("the delimiters are the default ones"));
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|name| match name.ends_with(".css") {
        true => AutoEscape::None,
        false => AutoEscape::Html,
    });
    for (name, text) in TEMPLATES {
        let added = environment.add_template(name, text);
        added.expect("a unit test compiles these templates");
    }
    environment
});

/// A page could not be made: a bug.
#[derive(Debug, thiserror::Error)]
#[error("a bug in a template of pages: {0:#}")]
pub struct PageError(#[from] minijinja::Error);

/// Fills a template in.
///
/// # Errors
/// A bug in the template.
pub(super) fn render(template: &str, page: impl Serialize) -> Result<String, PageError> {
    let html = ENVIRONMENT.get_template(template)?.render(Serde(page))?;
    Ok(html.chars().map(harmless).collect())
}

/// What has no picture, or turns the direction of the text behind it, is shown as a mark.
fn harmless(c: char) -> char {
    match c {
        '\n' | '\t' => c,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_compile() {
        assert_eq!(ENVIRONMENT.templates().count(), TEMPLATES.len());
    }
}
