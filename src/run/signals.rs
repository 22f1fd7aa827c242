//! Ctrl-C and SIGTERM: the first asks everything to stop in order, the second ends the program at once (the kernel
//! then ends its VMs: see `host::process`).

use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::host::terminal;

/// Exit code of a program ended by SIGINT, as shells have it.
const INTERRUPTED: i32 = 130;

/// Listens as long as it lives.
#[derive(Debug)]
pub struct Listening {
    handle: Handle,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.handle.close();
        // The listener holds an end of the event channel: whoever reads events waits for it.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts to listen.
///
/// # Errors
/// When the system will not let us.
pub fn listen(cancel: &Cancel, emit: &Emitter) -> std::io::Result<Listening> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let handle = signals.handle();
    let (cancel, emit) = (cancel.clone(), emit.clone());
    let thread = thread::spawn(move || {
        for _ in signals.forever() {
            if cancel.is_cancelled() {
                terminal::restore();
                signal_hook::low_level::exit(INTERRUPTED);
            }
            emit.warn("stopping in order; press Ctrl-C again to kill what still runs");
            cancel.cancel();
        }
    });
    Ok(Listening {
        handle,
        thread: Some(thread),
    })
}
