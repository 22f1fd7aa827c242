//! The guest's serial console: logged always, cut into lines, read live for signs of trouble.
//! Knows nothing of qemu: it reads a stream until that ends.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use crate::emit::Emitter;
use crate::event::Stream;
use crate::host::process::clean_line;
use crate::verdict::Verdict;

/// Lines kept for searches and messages; the log file has all of them.
const KEEP: usize = 2000;
/// A line that grows longer is cut here, so that a guest cannot fill our memory.
const MAX_LINE: usize = 8 * 1024;
/// Bytes of one console that are logged and reported, so that a guest cannot fill the disk; the last lines and signs of trouble
/// are looked at ever after. A whole installation with all its packages prints less than a megabyte.
const LOGGED: u64 = 64 << 20;
/// Said in the log after that.
const CUT: &str = "\r\n[pipeline: this guest has printed 64 MiB; what follows is not logged]\r\n";
/// What a console says that waits for a user: the guest has booted.
const PROMPT: &str = "login:";

/// Lines that a client who attaches gets first: about a screen.
const BACKLOG: usize = 24;

/// What a guest can say that no waiting will cure. Each carries the line that said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The kernel gave up.
    KernelPanic(String),
    /// A rescue shell waits for a person at the console.
    Emergency(String),
    /// The firmware or the boot loader found nothing to start.
    NotBootable(String),
    /// The kernel killed processes for lack of memory.
    OutOfMemory(String),
}

/// Texts by which trouble is known, in the order in which they are looked for.
type Sign = (&'static str, fn(String) -> Trouble);
const SIGNS: &[Sign] = &[
    ("System is deadlocked on memory", Trouble::OutOfMemory),
    ("Out of memory: Kill", Trouble::OutOfMemory),
    ("Kernel panic - not syncing", Trouble::KernelPanic),
    ("Give root password for maintenance", Trouble::Emergency),
    ("You are in emergency mode", Trouble::Emergency),
    ("Entering emergency mode", Trouble::Emergency),
    ("(initramfs)", Trouble::Emergency),
    ("No bootable device", Trouble::NotBootable),
    // UEFI firmware, which starts a shell of its own where it has one.
    ("No bootable option or device was found", Trouble::NotBootable),
    ("UEFI Interactive Shell", Trouble::NotBootable),
    ("grub rescue>", Trouble::NotBootable),
];

impl Trouble {
    /// Reads a line (or the beginning of one, such as a prompt).
    pub fn read(line: &str) -> Option<Self> {
        let (_, make) = SIGNS.iter().find(|(sign, _)| line.contains(sign))?;
        Some(make(line.trim().to_owned()))
    }

    /// In one word.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::KernelPanic(_) => Verdict::KernelPanic,
            Self::Emergency(_) => Verdict::RescueShell,
            Self::NotBootable(_) => Verdict::NeverBooted,
            Self::OutOfMemory(_) => Verdict::GuestOutOfMemory,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KernelPanic(line) => write!(f, "the guest's kernel panicked: {line}"),
            Self::Emergency(line) => {
                write!(f, "the guest dropped to a rescue shell: {line}")
            }
            Self::NotBootable(line) => write!(f, "the machine found nothing to boot: {line}"),
            Self::OutOfMemory(line) => {
                write!(f, "the guest ran out of memory; give the machine more: {line}")
            }
        }
    }
}

/// A console that is being read. Clones see the same one.
#[derive(Clone, Debug)]
pub struct Console(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug)]
struct State {
    lines: VecDeque<String>,
    /// Of `lines`, how many a search has passed already.
    searched: usize,
    /// How many lines there ever were.
    total: u64,
    /// The line that has not ended yet, as bytes.
    partial: Vec<u8>,
    /// Of `partial`, how many bytes a search has passed already.
    passed: usize,
    bytes: u64,
    last: Instant,
    /// When it last asked for a user.
    prompted: Option<Instant>,
    trouble: Option<Trouble>,
    /// Whether the line that reported trouble was still being printed.
    trouble_unfinished: bool,
    /// Others who read along.
    taps: Vec<UnixStream>,
    open: bool,
}

impl Console {
    /// Reads `stream` on a thread of its own until it ends: raw bytes to `log`, lines to `emit`.
    pub fn attach(
        stream: impl Read + Send + 'static,
        log: impl Write + Send + 'static,
        emit: Emitter,
    ) -> Self {
        Self::attach_within(stream, log, emit, LOGGED)
    }

    /// The same, where so many bytes are logged and reported.
    fn attach_within(
        stream: impl Read + Send + 'static,
        log: impl Write + Send + 'static,
        emit: Emitter,
        most: u64,
    ) -> Self {
        let state = State {
            lines: VecDeque::new(),
            searched: 0,
            total: 0,
            partial: Vec::new(),
            passed: 0,
            bytes: 0,
            last: Instant::now(),
            prompted: None,
            trouble: None,
            trouble_unfinished: false,
            taps: Vec::new(),
            open: true,
        };
        let console = Self(Arc::new((Mutex::new(state), Condvar::new())));
        let ours = console.clone();
        thread::spawn(move || ours.read(stream, log, &emit, most));
        console
    }

    /// The last lines, at most `count`, the unfinished one included; empty ones left out.
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        let state = self.lock();
        let unfinished = Some(state.unfinished()).filter(|line| !line.is_empty());
        let skip = (state.lines.len() + usize::from(unfinished.is_some())).saturating_sub(count);
        state.lines.iter().cloned().chain(unfinished).skip(skip).collect()
    }

    /// The lines after the first `seen` of all, as far as they are kept, and the unfinished one; with how many there are
    /// now, for the next call.
    pub fn lines_after(&self, seen: u64) -> (Vec<String>, String, u64) {
        let state = self.lock();
        let new = usize::try_from(state.total - seen.min(state.total)).unwrap_or(usize::MAX);
        let skip = state.lines.len().saturating_sub(new);
        (
            state.lines.iter().skip(skip).cloned().collect(),
            state.unfinished(),
            state.total,
        )
    }

    /// The line that has not ended yet, such as a prompt.
    pub fn unfinished(&self) -> String {
        self.lock().unfinished()
    }

    /// Lets a client read along: they get the last lines now and every byte from now on, until the stream ends, they go
    /// away, or they do not keep up.
    pub fn tap(&self, to: UnixStream) {
        let mut state = self.lock();
        let skip = state.lines.len().saturating_sub(BACKLOG);
        let lines = state.lines.iter().skip(skip);
        let mut backlog: Vec<u8> = lines.flat_map(|line| line.bytes().chain(*b"\r\n")).collect();
        backlog.extend(&state.partial);
        if state.open && pass_on(&to, &backlog) {
            state.taps.push(to);
        }
    }

    /// Bytes received so far.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// When something was last received (or the console was attached).
    pub fn last_activity(&self) -> Instant {
        self.lock().last
    }

    /// When it last asked for a user to log in, if it ever did.
    pub fn prompted(&self) -> Option<Instant> {
        self.lock().prompted
    }

    /// The first trouble seen, if any.
    pub fn trouble(&self) -> Option<Trouble> {
        self.lock().trouble.clone()
    }

    /// Whether the stream has ended.
    pub fn is_closed(&self) -> bool {
        !self.lock().open
    }

    /// Looks for the next line with `text` in it, from where the last search ended; the line is then passed.
    pub fn find(&self, text: &str) -> Option<String> {
        let mut state = self.lock();
        let state = &mut *state;
        while let Some(line) = state.lines.get(state.searched) {
            state.searched += 1;
            if line.contains(text) {
                return Some(line.clone());
            }
        }
        // A prompt does not end its line.
        let partial = clean_line(&String::from_utf8_lossy(&state.partial[state.passed..]));
        partial.contains(text).then(|| {
            state.passed = state.partial.len();
            partial
        })
    }

    /// Waits for a line with `text` in it. None: the stream ended, trouble was seen, or `limit` is over; the caller
    /// can tell by [`Console::is_closed`] and [`Console::trouble`].
    pub fn wait_for(&self, text: &str, limit: Duration) -> Option<String> {
        let deadline = Instant::now() + limit;
        loop {
            let before = self.bytes();
            if let Some(line) = self.find(text) {
                return Some(line);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let state = self.lock();
            if left.is_zero() || state.trouble.is_some() || (!state.open && state.bytes == before) {
                return None;
            }
            let idle = |state: &mut State| state.open && state.bytes == before;
            drop(self.0.1.wait_timeout_while(state, left, idle));
        }
    }

    /// Waits, at most `limit`, until the stream has ended, so that the last words are in.
    pub fn wait_closed(&self, limit: Duration) {
        drop(
            self.0
                .1
                .wait_timeout_while(self.lock(), limit, |state| state.open),
        );
    }

    fn read(&self, mut stream: impl Read, mut log: impl Write, emit: &Emitter, most: u64) {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            let chunk = &buffer[..count];
            let mut lines = Vec::new();
            let mut state = self.lock();
            let before = state.bytes;
            state.bytes += count as u64;
            state.last = Instant::now();
            state.taps.retain(|tap| pass_on(tap, chunk));
            for &byte in chunk {
                if byte != b'\n' {
                    state.partial.push(byte);
                }
                if byte == b'\n' || state.partial.len() >= MAX_LINE {
                    lines.extend(state.end_line());
                }
            }
            if state.trouble.is_none() {
                state.trouble = Trouble::read(&state.unfinished());
                state.trouble_unfinished = state.trouble.is_some();
            }
            if is_prompt(&String::from_utf8_lossy(&state.partial)) {
                state.prompted = Some(state.last);
            }
            let after = state.bytes;
            drop(state);
            self.0.1.notify_all();
            // A full disk must not stop the guest; what is read live goes on.
            if after <= most {
                drop(log.write_all(chunk));
                for line in lines {
                    emit.line(Stream::Console, line);
                }
            } else if before <= most {
                drop(log.write_all(CUT.as_bytes()));
                emit.warn("the guest has printed 64 MiB on its console; what follows is not logged");
            }
        }
        let mut state = self.lock();
        let rest = state.end_line().filter(|_| state.bytes <= most);
        state.open = false;
        for tap in state.taps.drain(..) {
            // They hear of the end, whoever else holds this socket.
            let _ = tap.shutdown(std::net::Shutdown::Both);
        }
        drop(state);
        self.0.1.notify_all();
        if let Some(line) = rest {
            emit.line(Stream::Console, line);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives all of it away at once or not at all: false when the other side is gone or too slow.
fn pass_on(to: &UnixStream, bytes: &[u8]) -> bool {
    use rustix::net::SendFlags;
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let given = bytes.is_empty() || rustix::net::send(to, bytes, flags) == Ok(bytes.len());
    if !given {
        let _ = to.shutdown(std::net::Shutdown::Both);
    }
    given
}

impl State {
    fn unfinished(&self) -> String {
        clean_line(&String::from_utf8_lossy(&self.partial))
    }

    /// Takes the bytes so far as a line; nothing when there is nothing to see in it.
    fn end_line(&mut self) -> Option<String> {
        let line = clean_line(&String::from_utf8_lossy(&std::mem::take(&mut self.partial)));
        let passed = std::mem::take(&mut self.passed);
        if line.is_empty() {
            return None;
        }
        // The kernel's messages may follow on the same line, all in one piece.
        if is_prompt(&line) {
            self.prompted = Some(self.last);
        }
        if self.trouble.is_none() || self.trouble_unfinished {
            self.trouble = Trouble::read(&line).or(self.trouble.take());
            self.trouble_unfinished = false;
        }
        if self.lines.len() == KEEP {
            self.lines.pop_front();
            self.searched = self.searched.saturating_sub(1);
        }
        if passed > 0 && self.searched == self.lines.len() {
            self.searched += 1;
        }
        self.lines.push_back(line.clone());
        self.total += 1;
        Some(line)
    }
}

/// Whether a line is, or begins with, a console's question for a user: at most a host's name is before it.
fn is_prompt(line: &str) -> bool {
    line.split_once(PROMPT)
        .is_some_and(|(host, _)| !host.trim().contains(' '))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn console() -> (UnixStream, Console, mpsc::Receiver<crate::event::Event>) {
        let (guest, host) = UnixStream::pair().unwrap();
        let (sender, events) = mpsc::channel();
        (
            guest,
            Console::attach(host, std::io::sink(), Emitter::new(sender)),
            events,
        )
    }

    #[test]
    fn lines_are_cleaned_found_once_and_passed_on() {
        let (mut guest, console, events) = console();
        guest
            .write_all(b"\x1b[1mone\x1b[0m\r\n\r\ntwo\r\ndebian login: ")
            .unwrap();
        assert_eq!(console.wait_for("login:", SOON).unwrap(), "debian login:");
        assert_eq!(console.find("one"), None, "a search does not go back");
        guest.write_all(b"root\r\none again\n").unwrap();
        assert_eq!(console.wait_for("one", SOON).unwrap(), "one again");
        drop(guest);
        console.wait_closed(SOON);
        assert_eq!(console.last_lines(2), ["debian login: root", "one again"]);
        let (lines, unfinished, total) = console.lines_after(2);
        assert_eq!((lines.len(), unfinished.as_str(), total), (2, "", 4));
        assert_eq!(
            events.iter().count(),
            4,
            "each line that shows something is an event"
        );
        let started = Instant::now();
        assert_eq!(console.wait_for("never", SOON), None);
        assert!(
            started.elapsed() < SOON / 2,
            "the end of the stream ends the wait"
        );
    }

    #[test]
    fn a_question_for_a_user_is_seen_also_where_the_kernel_goes_on_behind_it() {
        for (said, asked) in [
            (&b"\r\ndebian login: "[..], true),
            (
                b"\r\ndebian login: [   44.85] kvm: Nested Paging enabled\r\n",
                true,
            ),
            (b"[  OK  ] Reached target getty.target - no login: yet\r\n", false),
        ] {
            let (mut guest, console, _events) = console();
            guest.write_all(said).unwrap();
            drop(guest);
            console.wait_closed(SOON);
            assert_eq!(console.prompted().is_some(), asked, "{}", said.escape_ascii());
        }
    }

    #[test]
    fn trouble_ends_a_wait_and_is_named() {
        let cases = [
            (
                "[    1.0] Kernel panic - not syncing: VFS: no root\r\n",
                "kernel panicked",
            ),
            (
                "Give root password for maintenance\r\n(or press Control-D",
                "rescue shell",
            ),
            ("No bootable device.\r\n", "nothing to boot"),
            ("grub rescue> ", "nothing to boot"),
            ("BusyBox v1.37\r\n(initramfs) ", "rescue shell"),
            ("Out of memory: Killed process 123 (dpkg)\n", "out of memory"),
        ];
        for (said, meant) in cases {
            let (mut guest, console, _events) = console();
            let started = Instant::now();
            guest.write_all(said.as_bytes()).unwrap();
            assert_eq!(console.wait_for("login:", SOON), None, "{said}");
            assert!(started.elapsed() < SOON / 2, "{said}");
            let trouble = console.trouble().unwrap().to_string();
            assert!(trouble.contains(meant), "{said}: {trouble}");
        }
        assert_eq!(Trouble::read("Booting from Hard Disk..."), None);
    }

    #[test]
    fn others_read_along_and_the_slow_are_let_go() {
        let (mut guest, console, _events) = console();
        guest.write_all(b"one\r\nlogin: ").unwrap();
        console.wait_for("login:", SOON).unwrap();
        let ((mut here, there), (_slow, to_slow)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        console.tap(there);
        console.tap(to_slow);
        let mut seen = [0; 12];
        here.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"one\r\nlogin: ");
        let reader = thread::spawn(move || {
            let mut rest = Vec::new();
            here.read_to_end(&mut rest).unwrap();
            rest.len()
        });
        for _ in 0..2000 {
            guest.write_all(&[b'x'; 1000]).unwrap();
        }
        drop(guest);
        console.wait_closed(SOON);
        assert!(reader.join().unwrap() > 1000);
        assert!(console.lock().taps.is_empty());
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let (mut guest, console, events) = console();
        guest.write_all(&[b'x'; MAX_LINE + 10]).unwrap();
        drop(guest);
        console.wait_closed(SOON);
        let lengths: Vec<_> = console.last_lines(9).iter().map(String::len).collect();
        assert_eq!(lengths, [MAX_LINE, 10]);
        drop(events);
    }

    #[test]
    fn a_guest_that_prints_for_ever_fills_neither_disk_nor_memory() {
        let (mut guest, host) = UnixStream::pair().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (sender, events) = mpsc::channel();
        let log = std::fs::File::create(&path).unwrap();
        let most = 100_000;
        let console = Console::attach_within(host, log, Emitter::new(sender), most);
        let block = b"a line of a guest that says much and is not read\n".repeat(1000);
        let counter = thread::spawn(move || events.iter().count());
        for _ in 0..5 {
            guest.write_all(&block).unwrap();
        }
        guest.write_all(b"Kernel panic - not syncing: late\n").unwrap();
        drop(guest);
        console.wait_closed(SOON);
        assert!(
            matches!(console.trouble(), Some(Trouble::KernelPanic(_))),
            "still looked at"
        );
        assert_eq!(console.last_lines(1), ["Kernel panic - not syncing: late"]);
        assert!(counter.join().unwrap() > 1);
        let length = std::fs::metadata(&path).unwrap().len();
        assert!(length <= most + CUT.len() as u64, "{length}");
        assert!(std::fs::read(&path).unwrap().ends_with(CUT.as_bytes()));
    }
}
