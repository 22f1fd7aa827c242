//! The texts that a manifest was read from, laid end to end, so that one span says file and place. Knows no language.

use std::sync::Arc;

use miette::NamedSource;

use super::error::{Source, Span};

/// The place of what stands in no text: made by a function, say.
#[cfg(any(test, feature = "nickel"))]
pub const NOWHERE: Span = usize::MAX..usize::MAX;

/// What messages call the place of values that were given with `-D`.
pub const COMMAND_LINE: &str = "the command line";

/// All texts, in one.
#[derive(Debug)]
pub struct Sources {
    text: Arc<str>,
    /// Where each begins.
    parts: Vec<(usize, Source)>,
}

impl Sources {
    /// Texts by name; the first is the manifest itself. Spans count from its beginning, with one byte between texts.
    pub fn new(texts: impl IntoIterator<Item = (String, Arc<str>)>) -> Self {
        let mut whole = String::new();
        let mut parts = Vec::new();
        for (name, text) in texts {
            parts.push((whole.len(), Arc::new(NamedSource::new(name, Arc::clone(&text)))));
            whole.push_str(&text);
            whole.push('\n');
        }
        Self {
            text: whole.into(),
            parts,
        }
    }

    /// All of it, for what looks at a value as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The texts that stand in files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let files = self
            .parts
            .iter()
            .filter(|(_, source)| source.name() != COMMAND_LINE);
        files.map(|(_, source)| source.inner().as_ref())
    }

    /// The text that a span lies in, and the span there.
    pub fn find(&self, span: &Span) -> Option<(&Source, Span)> {
        let (start, source) = self.parts.iter().rev().find(|(start, _)| *start <= span.start)?;
        let local = span.start - start..span.end.checked_sub(*start)?;
        (local.end <= source.inner().len()).then_some((source, local))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_span_says_file_and_place() {
        let texts = [("a.toml", "x = 1"), ("b.ncl", "{}")].map(|(name, text)| (name.to_owned(), text.into()));
        let sources = Sources::new(texts);
        let found = |span: Span| {
            sources
                .find(&span)
                .map(|(source, local)| (source.name().to_owned(), local))
        };
        assert_eq!(found(4..5), Some(("a.toml".to_owned(), 4..5)));
        assert_eq!(found(6..8), Some(("b.ncl".to_owned(), 0..2)));
        assert_eq!(found(NOWHERE), None);
        assert_eq!(found(7..30), None);
    }
}
