//! Colours, characters and widths of text on a screen. Knows nothing of events.

use std::sync::OnceLock;

use unicode_width::UnicodeWidthChar as _;
use unicode_width::UnicodeWidthStr as _;

/// What a screen can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether colours are used.
    pub colour: Colour,
    /// Which characters are used.
    pub glyphs: Glyphs,
}

/// When colours are used, as the user says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    #[default]
    Auto,
    Always,
    Never,
}

static CHOICE: OnceLock<Choice> = OnceLock::new();

/// Decides for this process; only the first decision counts.
pub fn choose(choice: Choice) {
    let _ = CHOICE.set(choice);
}

/// Whether colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    On,
    /// No: plain text.
    Off,
}

/// Which characters are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glyphs {
    /// Check marks, spinners and blocks.
    Unicode,
    /// Only ASCII.
    Ascii,
}

/// What a piece of text is, which decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// As it is.
    Plain,
    /// Less important.
    Dim,
    /// Names.
    Strong,
    /// Went well.
    Good,
    /// Went wrong.
    Bad,
    /// To look at.
    Attention,
    /// Under way.
    Busy,
}

impl Style {
    /// No colour, only ASCII: for files and tests.
    pub const PLAIN: Self = Self {
        colour: Colour::Off,
        glyphs: Glyphs::Ascii,
    };

    /// The style for a stream: colours as [`choose`] says; else not where `NO_COLOR` is set (<https://no-color.org>), always
    /// where `FORCE_COLOR` or `CLICOLOR_FORCE` is (<https://force-color.org>), and on terminals. Characters by the locale's
    /// character set (POSIX: `LC_ALL` over `LC_CTYPE` over `LANG`).
    pub fn detect(terminal: bool, env: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let forced = |name: &str| set(name).is_some_and(|value| value != "0");
        let plain = match CHOICE.get().copied().unwrap_or_default() {
            Choice::Always => false,
            Choice::Never => true,
            Choice::Auto if set("NO_COLOR").is_some() => true,
            Choice::Auto if forced("FORCE_COLOR") || forced("CLICOLOR_FORCE") => false,
            Choice::Auto => !terminal || set("TERM").is_none_or(|term| term == "dumb"),
        };
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
        let utf8 = locale.is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
        Self {
            colour: if plain { Colour::Off } else { Colour::On },
            glyphs: if utf8 { Glyphs::Unicode } else { Glyphs::Ascii },
        }
    }

    /// One of two texts, by what the screen can show.
    pub fn pick<'a>(&self, unicode: &'a str, ascii: &'a str) -> &'a str {
        match self.glyphs {
            Glyphs::Unicode => unicode,
            Glyphs::Ascii => ascii,
        }
    }

    /// The text in its colour (ECMA-48 §8.3.117).
    pub fn paint(&self, role: Role, text: &str) -> String {
        let code = match role {
            Role::Dim => "2",
            Role::Strong => "1",
            Role::Good => "32",
            Role::Bad => "1;31",
            Role::Attention => "33",
            Role::Busy => "36",
            Role::Plain => return text.to_owned(),
        };
        if self.colour == Colour::Off || text.is_empty() {
            return text.to_owned();
        }
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// The pieces side by side, painted, cut so that they take at most `width` columns.
    pub fn join(&self, pieces: &[(Role, String)], width: usize) -> String {
        let whole: usize = pieces.iter().map(|(_, text)| columns(text)).sum();
        let mut left = width;
        let mut line = String::new();
        for (role, text) in pieces {
            let cut = if whole > width {
                self.cut(text, left)
            } else {
                text.clone()
            };
            left = left.saturating_sub(columns(&cut));
            line += &self.paint(*role, &cut);
            // What was cut ends in a mark; nothing may follow it.
            if cut != *text {
                break;
            }
        }
        line
    }

    /// The text, cut to at most `width` columns; a cut text ends in a mark.
    pub fn cut(&self, text: &str, width: usize) -> String {
        if columns(text) <= width {
            return text.to_owned();
        }
        let mark = self.pick("…", "~");
        let room = width.saturating_sub(columns(mark));
        let mut taken = 0;
        let mut cut: String = text
            .chars()
            .take_while(|c| {
                taken += c.width().unwrap_or(0);
                taken <= room
            })
            .collect();
        if width > 0 {
            cut.push_str(mark);
        }
        cut
    }
}

/// A line folded at blanks so that no part takes more columns than there are; parts but the first begin with `indent` blanks.
/// Words that are too long stay whole: paths and commands are copied. Escape sequences take no column.
pub fn wrap(line: &str, width: usize, indent: usize) -> String {
    let mut text = String::new();
    let mut taken = 0;
    for word in line.split_inclusive(' ') {
        let needed = visible(word.trim_end_matches(' '));
        if taken + needed > width && taken > indent && needed > 0 {
            text.truncate(text.trim_end_matches(' ').len());
            text = text + "\n" + &" ".repeat(indent);
            taken = indent;
        }
        text += word;
        taken += visible(word);
    }
    text
}

/// Columns of a text in which colours may be (ECMA-48, 5.4: ESC, `[`, and so on up to a letter).
fn visible(text: &str) -> usize {
    let mut parts = text.split("\u{1b}[");
    let first = columns(parts.next().unwrap_or_default());
    let behind = |part: &str| {
        part.split_once(|c: char| c.is_ascii_alphabetic())
            .map_or("", |(_, rest)| rest)
            .width()
    };
    first + parts.map(behind).sum::<usize>()
}

/// Columns that a text takes on a terminal.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// The text followed by blanks up to a width.
pub fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(columns(text));
    format!("{text}{}", " ".repeat(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RICH: Style = Style {
        colour: Colour::On,
        glyphs: Glyphs::Unicode,
    };

    #[test]
    fn a_line_never_takes_more_columns_than_there_are() {
        let text = "Настройка пакета 日本語 vim";
        for width in 0..columns(text) + 3 {
            assert!(columns(&RICH.cut(text, width)) <= width, "{width}");
            let pieces = [(Role::Plain, text.to_owned()), (Role::Plain, text.to_owned())];
            assert!(columns(&Style::PLAIN.join(&pieces, width)) <= width, "{width}");
        }
        assert_eq!(RICH.cut("debian12-base", 8), "debian1…");
        assert_eq!(Style::PLAIN.cut("debian12", 8), "debian12");
    }

    #[test]
    fn a_line_is_folded_at_blanks_and_long_words_stay_whole() {
        let line = format!(
            "to do: {} step packages.sh is new",
            RICH.paint(Role::Bad, "failed")
        );
        let folded = wrap(&line, 24, 4);
        assert_eq!(
            folded,
            "to do: \u{1b}[1;31mfailed\u{1b}[0m step\n    packages.sh is new"
        );
        let path = "/a/path/that/is/longer/than/the/screen";
        assert_eq!(
            wrap(&format!("log {path} end"), 20, 2),
            format!("log\n  {path}\n  end")
        );
        assert_eq!(wrap("short", 80, 4), "short");
    }

    #[test]
    fn colours_need_a_terminal_and_consent_and_marks_need_the_character_set() {
        let env = |pairs: &'static [(&str, &str)]| {
            move |name: &str| {
                pairs
                    .iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, v)| (*v).to_owned())
            }
        };
        let rich = &[("TERM", "xterm"), ("LANG", "fr_FR.UTF-8")];
        assert_eq!(Style::detect(true, env(rich)), RICH);
        assert_eq!(Style::detect(false, env(rich)).colour, Colour::Off);
        let consent = &[("TERM", "xterm"), ("NO_COLOR", "1")];
        assert_eq!(Style::detect(true, env(consent)), Style::PLAIN);
        let locale = &[("LC_ALL", "C"), ("LANG", "fr_FR.UTF-8")];
        assert_eq!(Style::detect(true, env(locale)).glyphs, Glyphs::Ascii);
        let forced = &[("FORCE_COLOR", "1"), ("TERM", "dumb")];
        assert_eq!(Style::detect(false, env(forced)).colour, Colour::On);
        let both = &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")];
        assert_eq!(Style::detect(false, env(both)).colour, Colour::Off);
        assert_eq!(
            Style::detect(false, env(&[("FORCE_COLOR", "0")])).colour,
            Colour::Off
        );
        assert_eq!(RICH.paint(Role::Good, "ok"), "\u{1b}[32mok\u{1b}[0m");
    }
}
