//! Keys and waits as what a keyboard does: one key down or up at a time.

use std::collections::BTreeSet;
use std::time::Duration;

use super::parse::{Hold, Token};

const SHIFT: &str = "shift";

/// One thing for whoever presses the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A key goes down or up.
    Key {
        /// What qemu calls it.
        qcode: &'static str,
        /// Down, else up.
        down: bool,
    },
    /// The keys of one character are done: the guest needs a moment to read them.
    Typed,
    /// Nothing, for a while.
    Wait(Duration),
    /// Nothing, until the serial console shows this text.
    WaitFor {
        text: String,
        /// At most so long.
        limit: Option<Duration>,
    },
}

/// What to do for these tokens. Keys that are still held in the end are released.
pub fn actions(tokens: &[Token]) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut held = BTreeSet::new();
    for token in tokens {
        let (key, hold) = match token {
            Token::Wait(time) => {
                actions.push(Action::Wait(*time));
                continue;
            }
            Token::WaitFor { text, limit } => {
                let (text, limit) = (text.clone(), *limit);
                actions.push(Action::WaitFor { text, limit });
                continue;
            }
            Token::Key(key, hold) => (key, hold),
        };
        // A Shift that is held already stays so.
        let shift = key.shift && !held.contains(SHIFT) && !held.contains("shift_r");
        let mut stroke = |qcode, down| actions.push(Action::Key { qcode, down });
        match hold {
            Hold::Press => {
                if shift {
                    stroke(SHIFT, true);
                }
                stroke(key.qcode, true);
                stroke(key.qcode, false);
                if shift {
                    stroke(SHIFT, false);
                }
                held.remove(key.qcode);
            }
            Hold::On => {
                if shift {
                    stroke(SHIFT, true);
                    held.insert(SHIFT);
                }
                stroke(key.qcode, true);
                held.insert(key.qcode);
            }
            Hold::Off => {
                stroke(key.qcode, false);
                held.remove(key.qcode);
                if key.shift && held.remove(SHIFT) {
                    stroke(SHIFT, false);
                }
            }
        }
        actions.push(Action::Typed);
    }
    if !held.is_empty() {
        actions.extend(held.into_iter().map(|qcode| Action::Key { qcode, down: false }));
        actions.push(Action::Typed);
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    /// `a` down as `+a`, up as `-a`, the end of a character as a blank.
    fn strokes(text: &str) -> String {
        let mut shown = String::new();
        for action in actions(&parse(text).unwrap()) {
            match action {
                Action::Key { qcode, down } => shown += &format!("{}{qcode}", if down { '+' } else { '-' }),
                Action::Typed => shown.push(' '),
                Action::Wait(time) => shown += &format!("[{}ms] ", time.as_millis()),
                Action::WaitFor { text, limit } => shown += &format!("[{text} {limit:?}] "),
            }
        }
        shown.trim_end().to_owned()
    }

    #[test]
    fn characters_bring_their_shift_and_the_order_is_kept() {
        assert_eq!(
            strokes("aB:"),
            "+a-a +shift+b-b-shift +shift+semicolon-semicolon-shift"
        );
        assert_eq!(
            strokes("<wait2>x<waitFor 'ok' 5s>"),
            "[2000ms] +x-x [ok Some(5s)]"
        );
    }

    #[test]
    fn held_keys_stay_down_until_released_or_the_end() {
        assert_eq!(strokes("<leftCtrlOn>c<leftCtrlOff>"), "+ctrl +c-c -ctrl");
        assert_eq!(
            strokes("<leftShiftOn>aB<leftShiftOff>"),
            "+shift +a-a +b-b -shift"
        );
        assert_eq!(strokes("<leftAltOn><f2>"), "+alt +f2-f2 -alt");
        assert_eq!(strokes("<<On><<Off>"), "+shift+comma -comma-shift");
    }
}
