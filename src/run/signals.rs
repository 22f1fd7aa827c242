//! Ctrl-C and SIGTERM: the first asks everything to stop in order, the second ends the program at once (the kernel
//! then ends its VMs: see `host::process`).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::host::terminal;

/// Exit code of a program ended by SIGINT, as shells have it.
const INTERRUPTED: i32 = 130;
/// How long the exit waits for the last act.
const LAST: Duration = Duration::from_secs(5);

/// What is done before the program exits at once.
pub type LastAct = Box<dyn FnOnce() + Send>;

/// Listens as long as it lives.
pub struct Listening {
    handle: Handle,
    thread: Option<thread::JoinHandle<()>>,
    last_act: Arc<Mutex<Option<LastAct>>>,
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").finish_non_exhaustive()
    }
}

impl Listening {
    /// Has something done before the program exits at once, in the place of what was to be done so far.
    pub fn at_exit(&self, act: LastAct) {
        *self.last_act.lock().unwrap_or_else(PoisonError::into_inner) = Some(act);
    }
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
    let last_act = Arc::new(Mutex::new(None::<LastAct>));
    let last = Arc::clone(&last_act);
    let thread = thread::spawn(move || {
        for _ in signals.forever() {
            if cancel.is_cancelled() {
                terminal::restore();
                if let Some(act) = last.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    let (sender, is_done) = mpsc::channel();
                    thread::spawn(move || {
                        act();
                        let _ = sender.send(());
                    });
                    let _ = is_done.recv_timeout(LAST);
                }
                signal_hook::low_level::exit(INTERRUPTED);
            }
            emit.warn("stopping in order; press Ctrl-C again to kill what still runs");
            cancel.cancel();
        }
    });
    Ok(Listening {
        handle,
        thread: Some(thread),
        last_act,
    })
}
