//! What is typed into a machine without a person at it: the text that a user writes, cut into keys and waits, and those as
//! key strokes. Pure; knows nothing of machines, which press the keys ([`crate::machine::typing`] does).
//!
//! The text is that of Packer's `boot_command` (its grammar is `bootcommand/boot_command.pigeon` of its plugin SDK):
//! what stands in angle brackets is a key or a wait, everything else is typed as it is on a US keyboard. One thing is
//! added: `<waitFor 'text'>` waits until the serial console shows a text.

mod keys;
mod parse;

pub use keys::{Action, actions};
pub use parse::parse;

use std::ops::Range;

/// The text with the same length, in which letters stand for what a template engine will replace: so its keys can be
/// read, and its mistakes shown in place, before it is rendered.
pub fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = ["{{", "{%", "{#"].iter().filter_map(|open| rest.find(open)).min() {
        masked.push_str(&rest[..start]);
        let close = match &rest[start..start + 2] {
            "{{" => "}}",
            "{%" => "%}",
            _ => "#}",
        };
        let Range { start, end } = start
            ..rest[start..]
                .find(close)
                .map_or(rest.len(), |length| start + length + close.len());
        masked.extend(std::iter::repeat_n('x', end - start));
        rest = &rest[end..];
    }
    masked + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_masked_byte_for_byte() {
        let text = "auto url={{ http ~ '<é>' }}/x<enter>{# <nokey> #}";
        let masked = mask(text);
        assert_eq!(masked.len(), text.len());
        assert!(parse(&masked).is_ok(), "{masked}");
        assert_eq!(mask("{{ open <esc>"), "x".repeat(13));
    }
}
