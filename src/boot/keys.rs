//! The keys of a console that mean something to us and not to the guest: Ctrl-A and one more, as in other programs of
//! this kind. Pure.

/// Ctrl-A.
const PREFIX: u8 = 0x01;

/// What typed bytes mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// For the guest.
    Send(Vec<u8>),
    /// Ctrl-A X: end the machine.
    End,
    /// Ctrl-A P: press the power button.
    PowerButton,
    /// Ctrl-A H or ?: what the keys are.
    Help,
}

/// The keys, for people.
pub const HELP: &str =
    "Ctrl-A X ends the machine, Ctrl-A P presses its power button, Ctrl-A Ctrl-A sends one Ctrl-A";

/// The keys of a user who is only attached to a machine that another process owns.
pub const ATTACHED_HELP: &str =
    "Ctrl-A X leaves the console, and the machine goes on; Ctrl-A Ctrl-A sends one Ctrl-A";

/// Reads keys; a Ctrl-A may come in one piece and its letter in the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keys {
    after_prefix: bool,
}

impl Keys {
    /// What the next bytes mean, in order.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<Typed> {
        let mut typed = Vec::new();
        let mut plain = Vec::new();
        for &byte in bytes {
            if !self.after_prefix {
                self.after_prefix = byte == PREFIX;
                if !self.after_prefix {
                    plain.push(byte);
                }
                continue;
            }
            self.after_prefix = false;
            // With the Ctrl key still down, x is 0x18, and so on; Ctrl-H is what Backspace sends.
            let meaning = match byte {
                b'x' | b'X' | 0x18 => Typed::End,
                b'p' | b'P' | 0x10 => Typed::PowerButton,
                b'h' | b'H' | b'?' | 0x08 => Typed::Help,
                PREFIX | b'a' | b'A' => {
                    plain.push(PREFIX);
                    continue;
                }
                // Not one of ours: the guest may know it.
                other => {
                    plain.extend([PREFIX, other]);
                    continue;
                }
            };
            if !plain.is_empty() {
                typed.push(Typed::Send(std::mem::take(&mut plain)));
            }
            typed.push(meaning);
        }
        if !plain.is_empty() {
            typed.push(Typed::Send(plain));
        }
        typed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_goes_to_the_guest_but_our_own_keys() {
        let send = |text: &str| Typed::Send(text.into());
        let mut keys = Keys::default();
        assert_eq!(keys.read(b"ls\r\x03"), [send("ls\r\x03")]);
        assert_eq!(
            keys.read(b"a\x01xb\x01p"),
            [send("a"), Typed::End, send("b"), Typed::PowerButton]
        );
        assert_eq!(keys.read(b"\x01"), []);
        assert_eq!(keys.read(b"h"), [Typed::Help]);
        assert_eq!(keys.read(b"\x01\x01\x01a"), [send("\x01\x01")]);
        assert_eq!(keys.read(b"\x01c"), [send("\x01c")]);
        assert_eq!(keys.read(b"\x01\x18"), [Typed::End]);
    }
}
