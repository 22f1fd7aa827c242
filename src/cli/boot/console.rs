//! The guest's serial console on the user's terminal.

use std::io::{self, IsTerminal as _, Read as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use super::failed;
use super::start::{BootSetup, Started};
use crate::boot::calm::Calm;
use crate::boot::keys::{HELP, Keys, Typed};
use crate::cli::exit::Exit;
use crate::cli::report_error::talk;
use crate::host::terminal::{self, Raw};
use crate::report::style::{Role, Style};

/// How often the machine is looked at.
const POLL: Duration = Duration::from_millis(50);
/// Most bytes held back before the screen is opened.
const HELD: usize = 1 << 20;
/// Colours off, line wrap and cursor on: how a guest that was cut off may have left them.
const TIDY: &[u8] = b"\x1b[0m\x1b[?7h\x1b[?25h";

/// What the guest's console is written to: standard output, as soon as it is opened.
#[derive(Clone, Debug)]
pub(super) struct Screen(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    held: Option<Vec<u8>>,
    /// Absent once the user has typed, and where standard output is no terminal.
    calm: Option<Calm>,
}

impl Screen {
    /// A screen that holds everything back until it is opened.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            held: Some(Vec::new()),
            calm: io::stdout().is_terminal().then(Calm::default),
        })))
    }

    fn open(&self) {
        let mut state = self.lock();
        let held = state.held.take().unwrap_or_default();
        // There is no one left to say that standard output is gone.
        let _ = state.show(&held);
    }

    /// The user types: from now on the guest may draw.
    fn typed(&self) {
        let mut state = self.lock();
        if let Some(mut calm) = state.calm.take() {
            let _ = state.show(&calm.rest());
        }
    }

    /// A word of ours between the guest's, on a line of its own.
    fn note(&self, text: &str, style: Style) {
        let _alone = self.lock();
        talk(&format!(
            "\r\n{}\r\n",
            style.paint(Role::Dim, &format!("[{text}]"))
        ));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn show(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        match &mut self.calm {
            Some(calm) => stdout.write_all(&calm.pass(bytes))?,
            None => stdout.write_all(bytes)?,
        }
        stdout.flush()
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.lock();
        match &mut state.held {
            Some(held) if held.len() < HELD => held.extend_from_slice(bytes),
            Some(_) => {}
            None => state.show(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Until the user ends it or the guest switches itself off.
pub(super) fn run(
    started: &mut Started,
    setup: &BootSetup,
    screen: &Screen,
    style: Style,
) -> Result<Exit, Exit> {
    let keyboard = started.machine.keyboard().map_err(failed)?;
    let raw = Raw::enter().map_err(|error| failed(format!("the terminal cannot be made raw: {error}")))?;
    screen.open();
    let ours = raw.is_some();
    let (sender, typed) = mpsc::channel();
    let (on_key, over) = (screen.clone(), Arc::new(AtomicBool::new(false)));
    let stop = Arc::clone(&over);
    let keys = thread::spawn(move || pass_keys(keyboard, ours, &on_key, &sender, &stop));
    let ending = loop {
        started.tell_visits(&mut |visit| screen.note(&visit.to_string(), style));
        if started.machine.is_off() {
            break "the guest switched itself off";
        }
        if setup.cancel.is_cancelled() {
            break "stopped";
        }
        match typed.recv_timeout(POLL) {
            Ok(Typed::End) => break "the machine was ended",
            Ok(Typed::PowerButton) => {
                screen.note("the power button was pressed", style);
                started.machine.power_off().map_err(failed)?;
            }
            Ok(Typed::Help) => screen.note(HELP, style),
            Ok(Typed::Send(_)) | Err(mpsc::RecvTimeoutError::Timeout) => {}
            // Standard input has ended; the guest goes on.
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let _ = setup.cancel.sleep(POLL);
            }
        }
    };
    // What is typed from now on is for the shell.
    over.store(true, Ordering::Relaxed);
    let _ = keys.join();
    started.machine.console().wait_closed(POLL);
    if io::stdout().is_terminal() {
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(TIDY).and_then(|()| stdout.flush());
    }
    drop(raw);
    talk(&format!("\n{ending}\n"));
    Ok(Exit::Ok)
}

/// Standard input to the guest until it is over; keys of ours are announced. `ours`: there are such keys.
fn pass_keys(
    mut keyboard: impl Write,
    ours: bool,
    screen: &Screen,
    sender: &mpsc::Sender<Typed>,
    over: &AtomicBool,
) {
    let stdin = io::stdin();
    let mut keys = Keys::default();
    // As large as standard input's own buffer, in which nothing may be left when it is asked for input again.
    let mut buffer = [0; 16 * 1024];
    let mut first = true;
    while !over.load(Ordering::Relaxed) {
        if !terminal::has_input(POLL) {
            continue;
        }
        let Ok(count @ 1..) = stdin.lock().read(&mut buffer) else {
            return;
        };
        if std::mem::take(&mut first) {
            screen.typed();
        }
        let bytes = &buffer[..count];
        let typed = if ours {
            keys.read(bytes)
        } else {
            vec![Typed::Send(bytes.to_vec())]
        };
        for what in typed {
            let passed = match &what {
                Typed::Send(bytes) => keyboard.write_all(bytes).is_ok(),
                _ => sender.send(what).is_ok(),
            };
            if !passed {
                return;
            }
        }
    }
}
