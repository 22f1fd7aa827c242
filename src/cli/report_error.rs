//! The one place that shows errors: every mistake with its place underlined, the sum of it last, on standard error.
//! Knows terminals, nothing of what went wrong.

use std::io::{self, IsTerminal, Write};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, Report};
use textwrap::core::Word;
use textwrap::{WordSeparator, WordSplitter};

use super::exit::Exit;
use super::located::Located;
use crate::report::ci::Ci;
use crate::report::style::{Colour, Style};

/// Width by default.
const WIDTH: u16 = 100;
/// Below this, underlined lines are unreadable; above, sentences are.
const BOUNDS: std::ops::RangeInclusive<u16> = 60..=120;

/// Prints an error, or several related ones, on standard error.
pub fn report_error(error: &dyn Diagnostic) {
    let handler = GraphicalReportHandler::new_themed(theme())
        .with_width(width().into())
        .with_links(false)
        // What is to be pasted stays whole; a terminal wraps it where it is too long.
        .with_break_words(false)
        .with_word_separator(WordSeparator::Custom(words))
        .with_word_splitter(WordSplitter::NoHyphenation)
        // Every message names its cause itself.
        .without_cause_chain();
    let mut text = String::new();
    let mut parts = Vec::new();
    if let Some(related) = error.related() {
        parts.extend(related);
    }
    for part in &parts {
        let _ = handler.render_report(&mut text, *part);
        text.push('\n');
    }
    if parts.is_empty() {
        let _ = handler.render_report(&mut text, error);
    } else {
        text.push_str(&error.to_string());
        text.push('\n');
    }
    // The frames of blank lines end with blanks, which every diff of a log would show.
    let lines = text.lines().map(str::trim_end);
    let mut text: String = lines.flat_map(|line| [line, "\n"]).collect();
    if Ci::detect(&|name| std::env::var(name).ok()) == Some(Ci::GitHub) {
        let alone = if parts.is_empty() { Some(error) } else { None };
        let annotated = parts.iter().copied().chain(alone);
        text.extend(annotated.map(|part| Located::of(part).annotation()));
    }
    // There is no one left to say that standard error is gone.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Prints an error, and gives the exit code that follows from it.
pub fn fail(exit: Exit, error: impl Into<Report>) -> Exit {
    report_error(error.into().as_ref());
    exit
}

/// Prints data on standard output. A closed pipe (`| head`) is no mistake.
pub fn out(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Prints talk on standard error.
pub fn talk(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Says on standard error what takes long.
pub fn note(text: &str) {
    talk(&format!("{text}\n"));
}

/// What a line may be broken between: words, of which a command in backticks is one.
fn words(line: &str) -> Box<dyn Iterator<Item = Word<'_>> + '_> {
    if !line.matches('`').count().is_multiple_of(2) {
        return WordSeparator::AsciiSpace.find_words(line);
    }
    let (mut words, mut start, mut is_quoted, mut before) = (Vec::new(), 0, false, ' ');
    for (at, character) in line.char_indices() {
        if before == ' ' && character != ' ' && !is_quoted && at > start {
            words.push(Word::from(&line[start..at]));
            start = at;
        }
        is_quoted ^= character == '`';
        before = character;
    }
    words.push(Word::from(&line[start..]));
    Box::new(words.into_iter())
}

fn theme() -> GraphicalTheme {
    let style = Style::detect(io::stderr().is_terminal(), |name| std::env::var(name).ok());
    match style.colour {
        Colour::On => GraphicalTheme::unicode(),
        Colour::Off => GraphicalTheme::unicode_nocolor(),
    }
}

fn width() -> u16 {
    let terminal = rustix::termios::tcgetwinsize(io::stderr())
        .ok()
        .map(|size| size.ws_col)
        .filter(|columns| *columns > 0);
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
    let width = terminal.or_else(columns).unwrap_or(WIDTH);
    width.clamp(*BOUNDS.start(), *BOUNDS.end())
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn a_line_is_broken_at_spaces_but_not_inside_what_is_quoted() {
        let of = |line| words(line).map(|word| word.word.to_owned()).collect::<Vec<_>>();
        let line = "run `pipeline ssh a/b --store /x` or  look at /var/lib-x/y";
        let expected = [
            "run",
            "`pipeline ssh a/b --store /x`",
            "or",
            "look",
            "at",
            "/var/lib-x/y",
        ];
        assert_eq!(of(line), expected);
        assert_eq!(of("one ` alone").len(), 3);
        assert_eq!(
            words(line)
                .map(|word| word.word.len() + word.whitespace.len())
                .sum::<usize>(),
            line.len()
        );
    }
}
