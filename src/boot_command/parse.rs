//! The text of a boot command, cut into keys and waits. Every mistake has its place in the text.

use std::ops::Range;
use std::time::Duration;

/// Named keys and what qemu calls them (`QKeyCode` in its `qapi/ui.json`). Names are Packer's, in any case.
const NAMES: [(&str, &str); 49] = [
    ("bs", "backspace"),
    ("del", "delete"),
    ("down", "down"),
    ("end", "end"),
    ("enter", "ret"),
    ("esc", "esc"),
    ("f1", "f1"),
    ("f2", "f2"),
    ("f3", "f3"),
    ("f4", "f4"),
    ("f5", "f5"),
    ("f6", "f6"),
    ("f7", "f7"),
    ("f8", "f8"),
    ("f9", "f9"),
    ("f10", "f10"),
    ("f11", "f11"),
    ("f12", "f12"),
    ("home", "home"),
    ("insert", "insert"),
    ("left", "left"),
    ("leftAlt", "alt"),
    ("leftCommand", "meta_l"),
    ("leftCtrl", "ctrl"),
    ("leftMeta", "meta_l"),
    ("leftOption", "alt"),
    ("leftShift", "shift"),
    ("leftSuper", "meta_l"),
    // The key next to the right Ctrl: scan code e0 5d, which qemu calls so.
    ("menu", "compose"),
    ("pageDown", "pgdn"),
    ("pageUp", "pgup"),
    ("return", "ret"),
    ("right", "right"),
    ("rightAlt", "alt_r"),
    ("rightCommand", "meta_r"),
    ("rightCtrl", "ctrl_r"),
    ("rightMeta", "meta_r"),
    ("rightOption", "alt_r"),
    ("rightShift", "shift_r"),
    ("rightSuper", "meta_r"),
    ("spacebar", "spc"),
    ("tab", "tab"),
    ("up", "up"),
    // Not keys of their own, but known words: for "did you mean".
    ("wait", ""),
    ("wait5", ""),
    ("wait1m20s", ""),
    ("waitFor", ""),
    ("leftShiftOn", ""),
    ("leftShiftOff", ""),
];
/// The longest wait that makes sense.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A key of a US keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// What qemu calls it.
    pub qcode: &'static str,
    /// Whether Shift makes this character of it.
    pub shift: bool,
}

/// What happens to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Pressed and released.
    Press,
    /// Pressed, and kept so.
    On,
    /// Released.
    Off,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    Key(Key, Hold),
    /// Nothing, for a while.
    Wait(Duration),
    /// Nothing, until the serial console shows this text.
    WaitFor {
        text: String,
        /// At most so long; absent: as long as the machine shows signs of life.
        limit: Option<Duration>,
    },
}

/// A mistake in a boot command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct BootCommandError {
    pub fault: Fault,
    /// Bytes of the text that it is about.
    pub span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// `<entr>`.
    #[error("there is no key `<{0}>`")]
    NoSuchKey(String),
    /// `é`.
    #[error("a US keyboard has no key for {0:?}")]
    NotOnKeyboard(char),
    /// A line break of the text itself.
    #[error("a line break is not a key")]
    LineBreak,
    /// `<waitx>`.
    #[error("`{0}` is not a time to wait")]
    NotATime(String),
    /// `<wait100h>`.
    #[error("a wait of more than a day is a mistake")]
    TooLong,
    /// `<waitFor login>`.
    #[error("`<waitFor …>` needs a text in quotes")]
    NoText,
    /// `<waitFor 'login` or `<wait5`.
    #[error("this is not closed")]
    NotClosed,
}

impl Fault {
    /// What to write instead.
    pub fn remedy(&self) -> String {
        match self {
            Self::NoSuchKey(word) => {
                let near = near(word);
                let meant = near.map_or_else(String::new, |name| format!("did you mean `<{name}>`? "));
                format!("{meant}to type a `<` that begins such a word, write `<<On><<Off>`")
            }
            Self::NotOnKeyboard(_) => {
                "the machine's keyboard is a US one; write the keys that a US keyboard has \
                in the places where the guest's layout has this character"
                    .to_owned()
            }
            Self::LineBreak => "write `<enter>`; a long command can be a list of texts".to_owned(),
            Self::NotATime(_) | Self::TooLong => {
                "write `<wait>` (a second), `<wait5>`, `<wait1m20s>` or `<wait500ms>`".to_owned()
            }
            Self::NoText => "write `<waitFor 'login:'>` or `<waitFor 'login:' 2m>`".to_owned(),
            Self::NotClosed => "close it: `<wait5>`, `<waitFor 'login:'>`".to_owned(),
        }
    }
}

/// The nearest known name, when it is near enough.
fn near(word: &str) -> Option<&'static str> {
    let distance = |name: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &word.to_lowercase());
    let best = NAMES
        .iter()
        .map(|(name, _)| *name)
        .min_by_key(|name| distance(name))?;
    (distance(best) <= 1 + word.len() / 4).then_some(best)
}

/// Cuts a text; all its mistakes at once.
///
/// # Errors
/// At least one [`BootCommandError`].
pub fn parse(text: &str) -> Result<Vec<Token>, Vec<BootCommandError>> {
    let (mut tokens, mut errors) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let read = match c {
            '<' => bracket(rest),
            _ => literal(c).map(|token| (token, c.len_utf8())),
        };
        match read {
            Ok((token, length)) => {
                tokens.push(token);
                at += length;
            }
            Err((fault, length)) => {
                let span = at..at + length;
                errors.push(BootCommandError { fault, span });
                at += length;
            }
        }
    }
    if errors.is_empty() {
        Ok(tokens)
    } else {
        Err(errors)
    }
}

/// A token with its length in bytes, or what is wrong with so many bytes.
type Read<T> = Result<T, (Fault, usize)>;

fn literal(c: char) -> Read<Token> {
    let fault = match c {
        '\n' | '\r' => Fault::LineBreak,
        c => match key_of(c) {
            Some(key) => return Ok(Token::Key(key, Hold::Press)),
            None => Fault::NotOnKeyboard(c),
        },
    };
    Err((fault, c.len_utf8()))
}

/// What begins with `<`: a token, or as Packer has it, just this character.
fn bracket(rest: &str) -> Read<(Token, usize)> {
    if rest.starts_with("<waitFor") {
        return wait_for(rest);
    }
    if let Some((key, hold, length)) = toggle(rest) {
        let key = key_of(key).ok_or((Fault::NotOnKeyboard(key), length))?;
        return Ok((Token::Key(key, hold), length));
    }
    let word_end = rest[1..]
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | 'µ')))
        .map_or(rest.len(), |end| end + 1);
    let word = &rest[1..word_end];
    let closed = rest[word_end..].starts_with('>');
    let length = word_end + usize::from(closed);
    if let Some(time) = word.strip_prefix("wait") {
        if !closed {
            return Err((Fault::NotClosed, length));
        }
        let wait = duration(time).map_err(|fault| (fault, length))?;
        return Ok((Token::Wait(wait), length));
    }
    if word.is_empty() || !closed {
        return literal('<').map(|token| (token, 1));
    }
    let (key, hold) = named(word).ok_or_else(|| (Fault::NoSuchKey(word.to_owned()), length))?;
    Ok((Token::Key(key, hold), length))
}

/// `<aOn>`, `<<Off>`: any one character, held or released.
fn toggle(rest: &str) -> Option<(char, Hold, usize)> {
    let c = rest[1..].chars().next()?;
    let start = 1 + c.len_utf8();
    [("on>", Hold::On), ("off>", Hold::Off)]
        .into_iter()
        .find_map(|(word, hold)| {
            let said = rest.get(start..start + word.len())?;
            said.eq_ignore_ascii_case(word)
                .then_some((c, hold, start + word.len()))
        })
}

/// `enter`, `leftShiftOn`.
fn named(word: &str) -> Option<(Key, Hold)> {
    let key = |word: &str| {
        let found = NAMES
            .iter()
            .find(|(name, qcode)| !qcode.is_empty() && name.eq_ignore_ascii_case(word));
        found.map(|(_, qcode)| Key { qcode, shift: false })
    };
    let ending = |ending: &str| {
        let at = word.len().checked_sub(ending.len())?;
        let (start, end) = (word.get(..at)?, word.get(at..)?);
        end.eq_ignore_ascii_case(ending).then(|| key(start)).flatten()
    };
    key(word)
        .map(|key| (key, Hold::Press))
        .or_else(|| ending("on").map(|key| (key, Hold::On)))
        .or_else(|| ending("off").map(|key| (key, Hold::Off)))
}

/// `<waitFor 'text'>`, `<waitFor "text" 2m>`.
fn wait_for(rest: &str) -> Read<(Token, usize)> {
    let whole = rest.find('>').map_or(rest.len(), |end| end + 1);
    let inner = &rest["<waitFor".len()..];
    let quoted = inner.trim_start();
    let quote = quoted
        .chars()
        .next()
        .filter(|c| matches!(c, '\'' | '"'))
        .ok_or((Fault::NoText, whole))?;
    let (text, after) = quoted[1..]
        .split_once(quote)
        .ok_or((Fault::NotClosed, rest.len()))?;
    let (time, _) = after.split_once('>').ok_or((Fault::NotClosed, rest.len()))?;
    let length = rest.len() - after.len() + time.len() + 1;
    if text.is_empty() {
        return Err((Fault::NoText, length));
    }
    let limit = match time.trim() {
        "" => None,
        time => Some(duration(time).map_err(|fault| (fault, length))?),
    };
    let text = text.to_owned();
    Ok((Token::WaitFor { text, limit }, length))
}

/// As Packer reads it: nothing is a second, a bare number seconds, else numbers with units, as Go writes durations.
fn duration(text: &str) -> Result<Duration, Fault> {
    let bad = || Fault::NotATime(text.to_owned());
    let seconds = if text.is_empty() {
        1.0
    } else if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse::<f64>().map_err(|_| bad())?
    } else {
        let (mut sum, mut rest) = (0.0, text);
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !(c.is_ascii_digit() || c == '.'))
                .ok_or_else(bad)?;
            let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
            let units = [
                ("ns", 1e-9),
                ("us", 1e-6),
                ("µs", 1e-6),
                ("ms", 1e-3),
                ("s", 1.0),
                ("m", 60.0),
                ("h", 3600.0),
            ];
            let (unit, factor) = units
                .into_iter()
                .find(|(unit, _)| rest[digits..].starts_with(unit))
                .ok_or_else(bad)?;
            sum += number * factor;
            rest = &rest[digits + unit.len()..];
        }
        sum
    };
    let wait = Duration::try_from_secs_f64(seconds).map_err(|_| Fault::TooLong)?;
    if wait > LONGEST {
        Err(Fault::TooLong)
    } else {
        Ok(wait)
    }
}

/// The key that types a character on a US keyboard.
fn key_of(c: char) -> Option<Key> {
    const LETTERS: [&str; 26] = [
        "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t",
        "u", "v", "w", "x", "y", "z",
    ];
    /// Without and with Shift.
    const OTHERS: [(char, char, &str); 22] = [
        ('1', '!', "1"),
        ('2', '@', "2"),
        ('3', '#', "3"),
        ('4', '$', "4"),
        ('5', '%', "5"),
        ('6', '^', "6"),
        ('7', '&', "7"),
        ('8', '*', "8"),
        ('9', '(', "9"),
        ('0', ')', "0"),
        ('-', '_', "minus"),
        ('=', '+', "equal"),
        ('[', '{', "bracket_left"),
        (']', '}', "bracket_right"),
        ('\\', '|', "backslash"),
        (';', ':', "semicolon"),
        ('\'', '"', "apostrophe"),
        ('`', '~', "grave_accent"),
        (',', '<', "comma"),
        ('.', '>', "dot"),
        ('/', '?', "slash"),
        (' ', ' ', "spc"),
    ];
    if c == '\t' {
        return Some(Key {
            qcode: "tab",
            shift: false,
        });
    }
    if c.is_ascii_alphabetic() {
        let qcode = LETTERS[usize::from(c.to_ascii_lowercase() as u8 - b'a')];
        let shift = c.is_ascii_uppercase();
        return Some(Key { qcode, shift });
    }
    OTHERS.into_iter().find_map(|(plain, shifted, qcode)| {
        let shift = c != plain;
        (c == plain || c == shifted).then_some(Key { qcode, shift })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token> {
        parse(text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
    }

    fn press(qcode: &'static str) -> Token {
        Token::Key(Key { qcode, shift: false }, Hold::Press)
    }

    #[test]
    fn every_named_key_in_any_case_pressed_held_and_released() {
        let keys = NAMES.iter().filter(|(_, qcode)| !qcode.is_empty());
        assert_eq!(keys.clone().count(), 43);
        for (name, qcode) in keys {
            let key = Key { qcode, shift: false };
            for name in [(*name).to_owned(), name.to_uppercase(), name.to_lowercase()] {
                assert_eq!(tokens(&format!("<{name}>")), [Token::Key(key, Hold::Press)]);
                assert_eq!(tokens(&format!("<{name}On>")), [Token::Key(key, Hold::On)]);
                assert_eq!(tokens(&format!("<{name}off>")), [Token::Key(key, Hold::Off)]);
            }
        }
    }

    #[test]
    fn every_printable_character_has_a_key_and_two_have_it_only_with_shift() {
        let mut seen = std::collections::BTreeSet::new();
        for c in (' '..='~').filter(|c| *c != '<') {
            let [Token::Key(key, Hold::Press)] = tokens(&c.to_string())[..] else {
                panic!("{c:?}");
            };
            assert!(seen.insert(key), "{c:?} has the key of another");
        }
        assert_eq!(seen.len(), 94);
        assert_eq!(
            tokens("<"),
            [Token::Key(
                Key {
                    qcode: "comma",
                    shift: true
                },
                Hold::Press
            )]
        );
        assert_eq!(tokens("\t"), [press("tab")]);
    }

    #[test]
    fn single_characters_can_be_held() {
        let c = Key {
            qcode: "c",
            shift: false,
        };
        assert_eq!(
            tokens("<leftCtrlOn><cOn><cOFF><leftCtrlOff>")[1..3],
            [Token::Key(c, Hold::On), Token::Key(c, Hold::Off)]
        );
        let less = Key {
            qcode: "comma",
            shift: true,
        };
        assert_eq!(
            tokens("<<On><<Off>"),
            [Token::Key(less, Hold::On), Token::Key(less, Hold::Off)]
        );
    }

    #[test]
    fn waits_are_read_as_packer_reads_them() {
        let ms = Duration::from_millis;
        for (text, wait) in [
            ("<wait>", ms(1000)),
            ("<wait0>", ms(0)),
            ("<wait10>", ms(10_000)),
            ("<wait1m20s>", ms(80_000)),
            ("<wait1.5s>", ms(1500)),
            ("<wait500ms>", ms(500)),
            ("<wait250us>", Duration::from_micros(250)),
            ("<wait250µs>", Duration::from_micros(250)),
            ("<wait1000ns>", Duration::from_micros(1)),
            ("<wait1h>", ms(3_600_000)),
        ] {
            assert_eq!(tokens(text), [Token::Wait(wait)], "{text}");
        }
    }

    #[test]
    fn waiting_for_a_text() {
        let wait = |text: &str, limit| Token::WaitFor {
            text: text.to_owned(),
            limit,
        };
        assert_eq!(tokens("<waitFor 'boot:'>"), [wait("boot:", None)]);
        assert_eq!(
            tokens("<waitFor \"it's > here\" 1m30s><enter>"),
            [wait("it's > here", Some(Duration::from_secs(90))), press("ret")]
        );
    }

    #[test]
    fn what_is_no_token_is_typed() {
        for text in ["a<b", "<", "<>", "< enter>", "a <- b", "<b"] {
            assert_eq!(tokens(text).len(), text.chars().count(), "{text}");
        }
    }

    #[test]
    fn mistakes_are_found_all_at_their_places() {
        let faults = |text: &str| -> Vec<(String, String)> {
            let errors = parse(text).unwrap_err();
            errors
                .iter()
                .map(|error| (text[error.span.clone()].to_owned(), error.to_string()))
                .collect()
        };
        let both = faults("a<entr>b<wait5x>é");
        assert_eq!(
            both,
            [
                ("<entr>".to_owned(), "there is no key `<entr>`".to_owned()),
                ("<wait5x>".to_owned(), "`5x` is not a time to wait".to_owned()),
                ("é".to_owned(), "a US keyboard has no key for 'é'".to_owned()),
            ]
        );
        for (text, place, cause) in [
            ("x<wait5", "<wait5", "not closed"),
            ("<wait-5s>", "<wait-5s>", "not a time"),
            ("<wait1h1>", "<wait1h1>", "not a time"),
            ("<wait100h>", "<wait100h>", "more than a day"),
            (
                "<wait99999999999999999999999h>",
                "<wait99999999999999999999999h>",
                "more than a day",
            ),
            ("<waitFor login>x", "<waitFor login>", "in quotes"),
            ("<waitFor ''>", "<waitFor ''>", "in quotes"),
            ("<waitFor 'login>", "<waitFor 'login>", "not closed"),
            (
                "<waitFor 'a' soon>b",
                "<waitFor 'a' soon>",
                "`soon` is not a time",
            ),
            ("a\nb", "\n", "line break"),
            ("<éOn>", "<éOn>", "no key for"),
        ] {
            let found = faults(text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert_eq!(found[0].0, place);
            assert!(found[0].1.contains(cause), "{text}: {}", found[0].1);
        }
        let remedy = parse("<entr>").unwrap_err()[0].fault.remedy();
        assert!(remedy.starts_with("did you mean `<enter>`?"), "{remedy}");
        let remedy = parse("<leftShifton2>").unwrap_err()[0].fault.remedy();
        assert!(remedy.contains("<leftShiftOn>"), "{remedy}");
    }
}
