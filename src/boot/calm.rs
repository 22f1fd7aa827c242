//! Takes out of a console's bytes what would clear the user's screen or draw about on it: BIOS and boot loader begin by
//! that, and what stood there is how to get in. Only until the user types: from then on the guest may draw. Pure.
//!
//! Where the guest places its cursor, it draws: what follows is held back until it writes a plain line again.

const ESCAPE: u8 = 0x1b;
/// Longest control sequence that is held back until its end is seen; a longer one passes.
const LONGEST: usize = 32;
/// Longest line that is held back.
const LINE: usize = 4096;

/// The filter.
#[derive(Clone, Debug, Default)]
pub struct Calm {
    /// A control sequence that has not ended yet.
    sequence: Vec<u8>,
    /// The guest has placed its cursor and not written a plain line since.
    drawing: bool,
    /// What it has written since, and whether there is anything to see in it.
    line: Vec<u8>,
    visible: bool,
}

impl Calm {
    /// The bytes to show.
    pub fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if self.sequence.is_empty() && byte != ESCAPE {
                self.write(byte, &mut shown);
                continue;
            }
            self.sequence.push(byte);
            if is_whole(&self.sequence) || self.sequence.len() > LONGEST {
                let sequence = std::mem::take(&mut self.sequence);
                match effect(&sequence) {
                    Effect::Places => {
                        self.drawing = true;
                        self.visible = false;
                        self.line.clear();
                    }
                    Effect::Disturbs => {}
                    Effect::Harmless if self.drawing => self.line.extend(sequence),
                    Effect::Harmless => shown.extend(sequence),
                }
            }
        }
        shown
    }

    /// What is still held back, when the filter is no longer wanted.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.line);
        rest.append(&mut self.sequence);
        rest
    }

    fn write(&mut self, byte: u8, shown: &mut Vec<u8>) {
        if !self.drawing {
            shown.push(byte);
            return;
        }
        self.line.push(byte);
        self.visible |= byte > b' ';
        if byte == b'\n' || self.line.len() > LINE {
            if self.visible {
                shown.append(&mut self.line);
                self.drawing = false;
            }
            self.line.clear();
        }
    }
}

/// Whether a control sequence (ECMA-48 §5.3, §5.4) has its last byte.
fn is_whole(sequence: &[u8]) -> bool {
    match sequence {
        [ESCAPE] => false,
        [ESCAPE, b'['] => false,
        [ESCAPE, b'[', .., last] => (0x40..=0x7e).contains(last),
        // A charset's name follows these.
        [ESCAPE, b'(' | b')'] => false,
        _ => true,
    }
}

/// What a control sequence does to the user's screen.
enum Effect {
    /// Colours and the like.
    Harmless,
    /// Clears it, or changes how the terminal works: line wrap, columns, scrolling.
    Disturbs,
    /// Writes somewhere else on it.
    Places,
}

fn effect(sequence: &[u8]) -> Effect {
    match sequence {
        // RIS: full reset.
        [ESCAPE, b'c'] => Effect::Disturbs,
        // CUP and HVP to the first place: a screen that was cleared is written to from there.
        [ESCAPE, b'[', place @ .., b'H' | b'f'] if place.iter().all(|b| b"01;".contains(b)) => {
            Effect::Disturbs
        }
        // CUP, HVP, and the cursor's movements (ECMA-48 §8.3).
        [ESCAPE, b'[', .., last] if b"HfABCDEFGd".contains(last) => Effect::Places,
        // ED, modes, scrolling, saved places.
        [ESCAPE, b'[', .., last] if b"Jrhlsu".contains(last) => Effect::Disturbs,
        _ => Effect::Harmless,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_boot_loader_draws_is_left_out_and_what_the_guest_says_is_not() {
        let mut calm = Calm::default();
        // As SeaBIOS begins, cut in two.
        let mut shown = calm.pass(b"\x1bc\x1b[?7l\x1b[2");
        shown.extend(calm.pass(b"J\x1b[0mSeaBIOS\r\nBooting\r\n"));
        assert_eq!(shown, b"\x1b[0mSeaBIOS\r\nBooting\r\n");
        // As GRUB draws its menu, and goes on.
        let menu = b"\x1b[H\x1b[J\x1b[2;24HGNU GRUB\x1b[4;2H+----+\x1b[5;2H|\x1b[17;80H \n\n\n in 1s.\x1b[5;78H \x1b[2J";
        assert_eq!(calm.pass(menu), b"");
        assert_eq!(calm.pass(b"\r\n\r\nLoading\r\n\r\n"), b"Loading\r\n\r\n");
        // As agetty asks: the prompt has no end.
        let login = b"\x1b[H\x1b[J\x1b[32mvm\x1b[0m login: ";
        assert_eq!(calm.pass(login), b"\x1b[32mvm\x1b[0m login: ");
        assert_eq!(calm.pass(b"\x1b[2;1Hheld\x1b["), b"");
        assert_eq!(calm.rest(), b"held\x1b[");
        let endless = [&b"\x1b["[..], &[b'0'; 100]].concat();
        assert_eq!(Calm::default().pass(&endless).len(), endless.len());
    }
}
