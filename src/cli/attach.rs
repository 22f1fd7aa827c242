//! This terminal on the console of a machine that another process runs, or that this one shares ([`crate::machine::share`]).

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::report_error::talk;
use crate::boot::keys::{ATTACHED_HELP, Keys, Typed};
use crate::host::terminal::{self, Raw};

/// How often the keyboard's thread looks whether it should stop.
const POLL: Duration = Duration::from_millis(50);
/// Time for what the guest still has to say to whoever has no more to type.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// Colours off, line wrap and cursor on: how a guest may have left them.
const TIDY: &[u8] = b"\x1b[0m\x1b[?7h\x1b[?25h";

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// The user left, or standard input ended.
    Here,
    /// The machine ended, or let us go.
    There,
}

/// Until the user leaves or the console ends.
pub(super) fn attach(socket: &Path) -> io::Result<Left> {
    let mut stream = UnixStream::connect(socket)?;
    let keyboard = stream.try_clone()?;
    let raw = Raw::enter()?;
    if raw.is_some() {
        talk(&format!("[{ATTACHED_HELP}]\r\n"));
    }
    let over = Arc::new(AtomicBool::new(false));
    let (stop, left) = (Arc::clone(&over), Arc::new(AtomicBool::new(false)));
    let (has_keys, leaves) = (raw.is_some(), Arc::clone(&left));
    let keys = thread::spawn(move || {
        if pass_keys(keyboard, has_keys, &stop) {
            leaves.store(true, Ordering::Relaxed);
        }
    });
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let mut stdout = io::stdout().lock();
        if stdout
            .write_all(&buffer[..count])
            .and_then(|()| stdout.flush())
            .is_err()
        {
            break;
        }
    }
    over.store(true, Ordering::Relaxed);
    let _ = keys.join();
    if io::stdout().is_terminal() {
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(TIDY).and_then(|()| stdout.flush());
    }
    drop(raw);
    Ok(if left.load(Ordering::Relaxed) {
        Left::Here
    } else {
        Left::There
    })
}

/// Standard input to the guest. True: the user leaves.
fn pass_keys(mut to: UnixStream, has_keys: bool, over: &AtomicBool) -> bool {
    let stdin = io::stdin();
    let mut keys = Keys::default();
    // As large as standard input's own buffer, in which nothing may be left when it is asked for input again.
    let mut buffer = [0; 16 * 1024];
    while !over.load(Ordering::Relaxed) {
        if !terminal::has_input(POLL) {
            continue;
        }
        let Ok(count @ 1..) = stdin.lock().read(&mut buffer) else {
            thread::sleep(LAST_WORDS);
            let _ = to.shutdown(Shutdown::Both);
            return true;
        };
        let bytes = &buffer[..count];
        let typed = if has_keys {
            keys.read(bytes)
        } else {
            vec![Typed::Send(bytes.to_vec())]
        };
        for what in typed {
            match what {
                Typed::Send(bytes) => {
                    if to.write_all(&bytes).is_err() {
                        return false;
                    }
                }
                Typed::End => {
                    let _ = to.shutdown(Shutdown::Both);
                    return true;
                }
                // The machine is not ours to switch off.
                Typed::PowerButton | Typed::Help => talk(&format!("\r\n[{ATTACHED_HELP}]\r\n")),
            }
        }
    }
    false
}
