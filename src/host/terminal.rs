//! The user's terminal: what the one behind our standard error is like, and the one behind our standard input with
//! every key passed on as it is typed. Knows nothing of what is drawn there.

use std::io;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// The terminal as it was, while it is raw.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Columns and rows of the terminal behind standard error; none when it is no terminal.
pub fn stderr_size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok()?;
    // A serial line or a bare pseudo-terminal has no idea of its size and says 0.
    let or = |value: u16, default: usize| if value == 0 { default } else { usize::from(value) };
    Some((or(size.ws_col, 80), or(size.ws_row, 24)))
}

/// Who has the terminal of a program that draws on it: the one who draws, or a borrower.
static LENDING: (Mutex<Lending>, Condvar) = (Mutex::new(Lending::Ours), Condvar::new());

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lending {
    /// The one who draws has it.
    Ours,
    /// A borrower waits for it.
    Wanted,
    /// It is lent.
    Lent,
}

/// The terminal, borrowed: nothing is drawn on it until this is dropped.
#[derive(Debug)]
pub struct Borrowed(());

/// How long the one who draws may take to give it away; it looks several times a second, if it is there at all.
const PATIENCE: Duration = Duration::from_secs(2);

/// Borrows the terminal from whoever draws on it, after whoever else borrowed it. None: `go_on` says no.
pub fn borrow(mut go_on: impl FnMut() -> bool) -> Option<Borrowed> {
    let (state, changed) = &LENDING;
    let mut lending = state.lock().unwrap_or_else(PoisonError::into_inner);
    while *lending != Lending::Ours {
        if !go_on() {
            return None;
        }
        let waited = changed.wait_timeout(lending, PATIENCE / 20);
        lending = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    *lending = Lending::Wanted;
    let wanted = |lending: &mut Lending| *lending == Lending::Wanted;
    let waited = changed.wait_timeout_while(lending, PATIENCE, wanted);
    // Nothing draws: it is free.
    *waited.unwrap_or_else(PoisonError::into_inner).0 = Lending::Lent;
    Some(Borrowed(()))
}

/// For the one who draws, before each drawing: whether the terminal is lent. Whoever waits for it gets it, after
/// `clear` has taken away what is drawn.
pub fn hand_over(clear: &mut dyn FnMut()) -> bool {
    let (state, changed) = &LENDING;
    let mut lending = state.lock().unwrap_or_else(PoisonError::into_inner);
    if *lending == Lending::Wanted {
        clear();
        *lending = Lending::Lent;
        changed.notify_all();
    }
    *lending == Lending::Lent
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let (state, changed) = &LENDING;
        *state.lock().unwrap_or_else(PoisonError::into_inner) = Lending::Ours;
        changed.notify_all();
    }
}

/// A terminal that passes every key on at once, Ctrl-C and the like too, and shows none by itself. As before when this
/// is dropped.
#[derive(Debug)]
pub struct Raw(());

impl Raw {
    /// Makes the terminal behind standard input raw; nothing when there is none. Only one at a time.
    ///
    /// # Errors
    /// When the terminal refuses a setting.
    pub fn enter() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        let Ok(before) = tcgetattr(&stdin) else {
            return Ok(None);
        };
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Some(Self(())))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Waits until there is something to read on standard input (its end is, too), at most `limit`.
pub fn has_input(limit: Duration) -> bool {
    let stdin = io::stdin();
    let mut wanted = [PollFd::new(&stdin, PollFlags::IN)];
    // A limit that is too long to be said is none.
    let limit = Timespec::try_from(limit).ok();
    matches!(poll(&mut wanted, limit.as_ref()), Ok(1..))
}

/// Whether the terminal is raw now: then a new line needs a carriage return.
pub fn is_raw() -> bool {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// Gives the terminal back as it was, where it is raw: for those who end the program without unwinding.
pub fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // What was typed ahead was meant for the guest, not for the shell.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &before);
    }
}
