//! What a template that extends another one says for nothing: blocks that none of its parents has, and text outside
//! blocks. The engine leaves both out without a word.

use super::inside;
use crate::manifest::error::Span;
use crate::manifest::{builtin, suggest};

/// A part of a template that is never rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Where it stands.
    pub span: Span,
    /// As a sentence about the template.
    pub cause: String,
    pub remedy: String,
}

/// Statements that begin something whose text is not printed where it stands.
const QUIET: [&str; 2] = ["macro", "set"];

enum Piece<'t> {
    Text,
    Expression,
    /// The words between `{%` and `%}`.
    Statement(&'t str),
}

/// Everything that is lost of a template.
pub fn lost(text: &str) -> Vec<Lost> {
    let Some(parent) = parent(text) else {
        return Vec::new();
    };
    let (mut known, mut ancestor) = (Vec::new(), Some(parent));
    while let Some(text) = ancestor.and_then(builtin::template) {
        known.extend(statements(text).filter_map(|words| named(words, "block")));
        ancestor = self::parent(text);
    }
    let (mut found, mut depth, mut quiet, mut extended) = (Vec::new(), 0_u32, 0_u32, false);
    for (span, piece) in pieces(text) {
        let outside = extended && depth == 0 && quiet == 0;
        match piece {
            Piece::Statement(words) => {
                let keyword = words.split_whitespace().next().unwrap_or_default();
                match keyword {
                    "extends" => extended = true,
                    "block" => {
                        let name = named(words, "block").unwrap_or_default();
                        if outside && !known.contains(&name) {
                            found.push(unknown_block(span, name, parent, &known));
                        }
                        depth += 1;
                    }
                    "endblock" => depth = depth.saturating_sub(1),
                    "endmacro" | "endset" => quiet = quiet.saturating_sub(1),
                    word if QUIET.contains(&word) && !(word == "set" && words.contains('=')) => quiet += 1,
                    _ => {}
                }
            }
            Piece::Expression if outside => found.push(outside_blocks(span, parent)),
            Piece::Text if outside && !text[span.clone()].trim().is_empty() => {
                let whole = &text[span.clone()];
                let start = span.start + (whole.len() - whole.trim_start().len());
                found.push(outside_blocks(start..start + whole.trim().len(), parent));
            }
            Piece::Text | Piece::Expression => {}
        }
    }
    // One place of text is enough: what follows it is of the same kind.
    let first_text = found.iter().position(|lost| lost.cause.starts_with("text"));
    let mut at = 0..;
    found.retain(|lost| {
        let index = at.next();
        !lost.cause.starts_with("text") || index == first_text
    });
    found
}

fn unknown_block(span: Span, name: &str, parent: &str, known: &[&str]) -> Lost {
    Lost {
        span,
        cause: format!("the block `{name}` is never used: `{parent}` has no block of that name"),
        remedy: suggest::remedy(name, &format!("blocks of `{parent}`"), known.iter().copied()),
    }
}

fn outside_blocks(span: Span, parent: &str) -> Lost {
    Lost {
        span,
        cause: format!("text outside blocks is never used in a template that extends `{parent}`"),
        remedy: format!("put it into a block of `{parent}`"),
    }
}

/// The template that this one extends, where it names it as a text.
fn parent(text: &str) -> Option<&str> {
    statements(text).find_map(|words| named(words, "extends"))
}

/// The name behind a keyword.
fn named<'t>(words: &'t str, keyword: &str) -> Option<&'t str> {
    let mut words = words.split_whitespace();
    let name = words.next().filter(|word| *word == keyword).and(words.next())?;
    Some(name.trim_matches(['"', '\'']))
}

fn statements(text: &str) -> impl Iterator<Item = &str> {
    pieces(text).into_iter().filter_map(|(_, piece)| match piece {
        Piece::Statement(words) => Some(words),
        Piece::Text | Piece::Expression => None,
    })
}

/// A template cut into what is printed and what is not. Comments and raw text are text of no interest, and left out.
fn pieces(text: &str) -> Vec<(Span, Piece<'_>)> {
    let mut pieces = Vec::new();
    let (mut at, mut plain) = (0, 0);
    while let Some(start) = text[at..].find('{').map(|found| at + found) {
        let close = match text.as_bytes().get(start + 1) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            Some(b'#') => "#}",
            _ => {
                at = start + 1;
                continue;
            }
        };
        pieces.push((plain..start, Piece::Text));
        let inner = &text[start + 2..];
        let length = match close {
            "#}" => inner.find(close).unwrap_or(inner.len()),
            _ => inside(inner, close),
        };
        let end = (start + 4 + length).min(text.len());
        let words = inner.get(..length).unwrap_or_default();
        let words = words.trim_matches(['-', '+']).trim();
        match close {
            "}}" => pieces.push((start..end, Piece::Expression)),
            "%}" => pieces.push((start..end, Piece::Statement(words))),
            _ => {}
        }
        at = end;
        if close == "%}" && words == "raw" {
            let closed = text[end..].find("endraw").map(|found| end + found);
            let closed = closed.and_then(|from| Some(from + text[from..].find(close)? + close.len()));
            at = closed.unwrap_or(text.len());
        }
        plain = at;
    }
    pieces.push((plain..text.len(), Piece::Text));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn causes(text: &str) -> Vec<(String, String)> {
        let found = lost(text).into_iter();
        found
            .map(|lost| (text[lost.span].to_owned(), lost.cause))
            .collect()
    }

    #[test]
    fn blocks_that_no_parent_has_and_text_outside_blocks_are_found() {
        let child = "{# {% block comment %} #}{% extends \"preseed-debian.cfg.j2\" %}\n{% set a = 1 %}\n\
            {% block commands %}in-target true{% block inner %}{% endblock %}{% endblock %}\n\
            {%- block nosuch -%}lost{% endblock %}\nd-i foo\n{{ bar }}\n{% macro m() %}quiet{% endmacro %}\n";
        let found = causes(child);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].0, "{%- block nosuch -%}");
        assert!(
            found[0].1.contains("`preseed-debian.cfg.j2` has no block"),
            "{found:?}"
        );
        assert_eq!(found[1].0, "d-i foo");
        // A grandparent's block is known, and a template without a parent loses nothing.
        let ubuntu = "{% extends 'preseed-ubuntu.cfg.j2' %}{% block disk %}x{% endblock %}";
        assert!(causes(ubuntu).is_empty(), "{:?}", causes(ubuntu));
        assert!(
            causes("{% block any %}{% endblock %} text {{ x }} {% raw %}{% extends 'y' %}{% endraw %}")
                .is_empty()
        );
        for (name, text) in builtin::TEMPLATES {
            assert!(causes(text).is_empty(), "{name}: {:?}", causes(text));
        }
    }
}
