//! Starts other programs, and makes sure that none of them outlives us, unless it is to ([`Cmd::leave`]).
//! Every child has its own process group (the terminal's Ctrl-C does not reach it) and a parent-death signal. That
//! signal is tied to the *thread* that spawns (prctl(2)): spawn from a thread that outlives the child.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::cancel::Cancel;

/// How often a waiting thread looks whether it should stop.
const POLL: Duration = Duration::from_millis(50);
/// How long to wait for lines that a child wrote before it ended: its readers are threads of ours, and the host may be
/// busy.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long a child may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// Longest line passed on; the rest of a longer one is dropped, so that a child cannot fill our memory.
const MAX_LINE: usize = 8 * 1024;
/// Lines of output kept for error messages.
const TAIL: usize = 30;

/// A program to run.
#[derive(Clone)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    stdin: Vec<u8>,
    no_new_privileges: bool,
}

impl fmt::Debug for Cmd {
    /// Leaves the standard input and the environment's values out: secrets travel there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cmd")
            .field("program", &self.program)
            .field("args", &self.args)
            .finish_non_exhaustive()
    }
}

/// Which of a child's two outputs a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What went wrong with a child.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program is not installed.
    #[error("`{program}` was not found; `pipeline doctor` says which package has it")]
    NotFound {
        /// Program.
        program: String,
    },
    /// The system would not start it.
    #[error("could not start `{program}`: {source}")]
    Start {
        /// Program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// It ended with another code than 0.
    #[error("`{program}` {status}{}", tail_text(.tail))]
    Failed {
        /// Program.
        program: String,
        /// In words: "exited with code 2", "was killed by signal 9".
        status: String,
        /// Exit code, absent when a signal ended it.
        code: Option<i32>,
        /// Its last lines.
        tail: Vec<String>,
    },
    /// It took too long and was stopped.
    #[error("`{program}` did not end within {}{}", crate::size::show_duration(*.limit), tail_text(.tail))]
    TimedOut {
        /// Program.
        program: String,
        /// The limit.
        limit: Duration,
        /// Its last lines.
        tail: Vec<String>,
    },
    /// We were asked to stop.
    #[error("stopped")]
    Cancelled,
    /// Talking to it failed.
    #[error("lost contact with `{program}`: {source}")]
    Io {
        /// Program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
}

fn tail_text(tail: &[String]) -> String {
    tail.iter()
        .fold(String::new(), |text, line| text + "\n  | " + line)
}

impl Cmd {
    /// A program by name (looked up in PATH) or path.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            folder: None,
            stdin: Vec::new(),
            no_new_privileges: false,
        }
    }

    /// Neither it nor what it starts gains rights from set-uid programs (prctl(2), `PR_SET_NO_NEW_PRIVS`).
    #[must_use]
    pub fn no_new_privileges(mut self) -> Self {
        self.no_new_privileges = true;
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Gives it bytes to read; without, its standard input is empty.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// The program's name, for messages.
    pub fn name(&self) -> String {
        Path::new(&self.program)
            .file_name()
            .unwrap_or(&self.program)
            .to_string_lossy()
            .into_owned()
    }

    /// Program and arguments as one line that a shell would accept, for logs.
    pub fn to_line(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.args);
        words
            .map(|w| shell_quote(&w.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Starts it with the given outputs.
    ///
    /// # Errors
    /// [`ProcessError::NotFound`] and [`ProcessError::Start`].
    pub fn spawn(&self, stdout: Stdio, stderr: Stdio) -> Result<Running, ProcessError> {
        let stdin = if self.stdin.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        };
        let mut command = std::process::Command::new(&self.program);
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(k, v)| (k, v)));
        command
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        die_with_us(&mut command);
        if self.no_new_privileges {
            forgo_privileges(&mut command);
        }
        let program = self.name();
        let mut child = command.spawn().map_err(|source| self.not_started(source))?;
        if let Some(mut pipe) = child.stdin.take() {
            let bytes = self.stdin.clone();
            // A child that ends without reading everything closes the pipe: its exit code tells the story.
            thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        Ok(Running {
            child,
            program,
            ended: None,
            group: Group::Own,
        })
    }

    /// Gives it the user's terminal until it ends: our standard streams, and our process group, so that it may read keys
    /// and hears the terminal's Ctrl-C.
    ///
    /// # Errors
    /// As [`Cmd::spawn`], and [`ProcessError::Io`]; [`ProcessError::Cancelled`] when asked to stop meanwhile.
    pub fn lend_terminal(&self, cancel: &Cancel) -> Result<ExitStatus, ProcessError> {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.args);
        die_with_us(&mut command);
        let child = command.spawn().map_err(|source| self.not_started(source))?;
        let mut running = Running {
            child,
            program: self.name(),
            ended: None,
            group: Group::Ours,
        };
        running.wait(cancel)
    }

    /// Starts it in a session of its own, to live on when we are gone; its output goes to a file.
    ///
    /// # Errors
    /// As [`Cmd::spawn`].
    pub fn leave(&self, output: std::fs::File) -> Result<Left, ProcessError> {
        let start = |source| self.not_started(source);
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.args).stdin(Stdio::null());
        command.stdout(output.try_clone().map_err(start)?).stderr(output);
        own_session(&mut command);
        let child = command.spawn().map_err(start)?;
        let program = self.name();
        Ok(Left { child, program })
    }

    fn not_started(&self, source: std::io::Error) -> ProcessError {
        let program = self.name();
        match source.kind() {
            std::io::ErrorKind::NotFound => ProcessError::NotFound { program },
            _ => ProcessError::Start { program, source },
        }
    }

    /// Runs it to its end, passing on each line of both outputs.
    ///
    /// # Errors
    /// Every [`ProcessError`]; a code other than 0 is [`ProcessError::Failed`].
    pub fn run(
        &self,
        cancel: &Cancel,
        limit: Option<Duration>,
        on_line: &mut dyn FnMut(Output, &str),
    ) -> Result<(), ProcessError> {
        let mut running = self.spawn(Stdio::piped(), Stdio::piped())?;
        let (sender, lines) = mpsc::channel();
        if let Some(pipe) = running.child.stdout.take() {
            read_lines(pipe, Output::Stdout, sender.clone());
        }
        if let Some(pipe) = running.child.stderr.take() {
            read_lines(pipe, Output::Stderr, sender);
        }
        let started = Instant::now();
        let mut tail = Vec::new();
        // The channel ends when both pipes do: with the child, or with the last of its own children.
        loop {
            match lines.recv_timeout(POLL) {
                Ok((output, line)) => {
                    on_line(output, &line);
                    keep_tail(&mut tail, line);
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if running.try_wait()?.is_some() {
                        while let Ok((output, line)) = lines.recv_timeout(LAST_WORDS) {
                            on_line(output, &line);
                            keep_tail(&mut tail, line);
                        }
                        break;
                    }
                }
            }
            if cancel.is_cancelled() {
                running.stop();
                return Err(ProcessError::Cancelled);
            }
            if let Some(limit) = limit.filter(|limit| started.elapsed() > *limit) {
                running.stop();
                return Err(ProcessError::TimedOut {
                    program: running.program.clone(),
                    limit,
                    tail,
                });
            }
        }
        let status = running.wait(cancel)?;
        if status.success() {
            return Ok(());
        }
        let code = status.code();
        Err(ProcessError::Failed {
            program: running.program.clone(),
            status: status_text(status),
            code,
            tail,
        })
    }

    /// Runs it to its end and gives its standard output.
    ///
    /// # Errors
    /// As [`Cmd::run`].
    pub fn read(&self, cancel: &Cancel) -> Result<String, ProcessError> {
        let mut text = String::new();
        self.run(cancel, None, &mut |output, line| {
            if output == Output::Stdout {
                text.push_str(line);
                text.push('\n');
            }
        })?;
        Ok(text)
    }
}

/// A child that lives on when we are gone.
#[derive(Debug)]
pub struct Left {
    child: Child,
    program: String,
}

impl Left {
    /// Whether it ended already, and how.
    ///
    /// # Errors
    /// [`ProcessError::Io`].
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        self.child.try_wait().map_err(|source| ProcessError::Io {
            program: self.program.clone(),
            source,
        })
    }

    /// Asks it to end in order (SIGTERM).
    pub fn tell_to_end(&mut self) {
        // One that was waited for has given its id back.
        if matches!(self.try_wait(), Ok(None))
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
    }
}

/// A child that is alive (or not waited for yet). Dropping it kills its whole group.
#[derive(Debug)]
pub struct Running {
    /// The child; its pipes may be taken.
    pub child: Child,
    program: String,
    ended: Option<ExitStatus>,
    group: Group,
}

/// Whose process group a child is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// One of its own.
    Own,
    /// Ours.
    Ours,
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it ended, and how.
    ///
    /// # Errors
    /// [`ProcessError::Io`].
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        if self.ended.is_none() {
            let waited = self.child.try_wait();
            self.ended = waited.map_err(|source| ProcessError::Io {
                program: self.program.clone(),
                source,
            })?;
        }
        Ok(self.ended)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`ProcessError::Cancelled`] when asked to stop first, [`ProcessError::Io`].
    pub fn wait(&mut self, cancel: &Cancel) -> Result<ExitStatus, ProcessError> {
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            if cancel.sleep(pause) {
                return Err(ProcessError::Cancelled);
            }
            pause = (pause * 2).min(POLL);
        }
    }

    /// Ends it: SIGTERM to the group, some seconds of grace, SIGKILL.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if !matches!(self.try_wait(), Ok(None)) {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.kill();
    }

    /// Kills the group at once and reaps the child.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if self.ended.is_none() {
            self.ended = self.child.wait().ok();
        }
    }

    fn signal(&self, signal: Signal) {
        // The group may have members left after the child itself was reaped, but then its id may be somebody
        // else's: signal only while the child is ours.
        if self.ended.is_some() {
            return;
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = match self.group {
                Group::Own => rustix::process::kill_process_group(pid, signal),
                Group::Ours => rustix::process::kill_process(pid, signal),
            };
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

/// How a process ended, in words.
pub fn status_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Quotes a word for a POSIX shell where it needs it.
pub fn shell_quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Takes terminal controls out of a line: a guest must not drive the user's terminal.
pub fn clean_line(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut chars = line.trim_end_matches(['\r', '\n']).chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                // CSI: parameters, then one letter (ECMA-48 §5.4).
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                // OSC: up to BEL or ESC \ (ECMA-48 §8.3.89).
                Some(']') => {
                    while let Some(c) = chars.next() {
                        if c == '\u{7}' {
                            break;
                        }
                        if c == '\u{1b}' {
                            chars.next();
                            break;
                        }
                    }
                }
                Some('(' | ')') => drop(chars.next()),
                _ => {}
            },
            '\t' => clean.push(' '),
            // A progress line that redraws itself: what stands after the last carriage return is what one would see.
            '\r' if chars.peek().is_some() => clean.clear(),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean.truncate(clean.trim_end().len());
    clean
}

/// Reads a pipe line by line on a thread of its own until it ends.
fn read_lines(pipe: impl Read + Send + 'static, output: Output, sender: mpsc::Sender<(Output, String)>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut reader).take(MAX_LINE as u64).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => {
                    let text = clean_line(&String::from_utf8_lossy(&line));
                    if sender.send((output, text)).is_err() {
                        break;
                    }
                }
            }
        }
    });
}

fn keep_tail(tail: &mut Vec<String>, line: String) {
    if line.is_empty() {
        return;
    }
    if tail.len() == TAIL {
        tail.remove(0);
    }
    tail.push(line);
}

#[expect(
    unsafe_code,
    reason = "pre_exec is the only way to set the parent-death signal; see its SAFETY"
)]
fn die_with_us(command: &mut std::process::Command) {
    let us = rustix::process::getpid();
    // SAFETY: the closure runs between fork and exec and makes two system calls; it neither allocates nor locks.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the line above.
            if rustix::process::getppid() == Some(us) {
                Ok(())
            } else {
                Err(std::io::ErrorKind::NotFound.into())
            }
        });
    }
}

#[expect(
    unsafe_code,
    reason = "pre_exec is the only way to set this for a child; see its SAFETY"
)]
fn forgo_privileges(command: &mut std::process::Command) {
    // SAFETY: the closure runs between fork and exec and makes one system call; it neither allocates nor locks.
    unsafe {
        command.pre_exec(|| Ok(rustix::thread::set_no_new_privs(true)?));
    }
}

#[expect(
    unsafe_code,
    reason = "pre_exec is the only way to start a session; see its SAFETY"
)]
fn own_session(command: &mut std::process::Command) {
    // SAFETY: the closure runs between fork and exec and makes one system call; it neither allocates nor locks.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Cmd {
        Cmd::new("sh").arg("-c").arg(script)
    }

    #[test]
    fn lines_of_both_outputs_arrive_and_the_code_is_told() {
        let mut seen = Vec::new();
        let error = sh("echo one; echo two >&2; exit 3")
            .run(&Cancel::default(), None, &mut |output, line| {
                seen.push((output, line.to_owned()));
            })
            .unwrap_err();
        seen.sort_by_key(|(output, _)| *output == Output::Stderr);
        assert_eq!(
            seen,
            [
                (Output::Stdout, "one".to_owned()),
                (Output::Stderr, "two".to_owned())
            ]
        );
        assert!(
            matches!(error, ProcessError::Failed { code: Some(3), .. }),
            "{error}"
        );
        assert!(error.to_string().contains("  | two"), "{error}");
    }

    #[test]
    fn a_missing_program_and_a_slow_one_are_different_errors() {
        let error = Cmd::new("no-such-program-here")
            .read(&Cancel::default())
            .unwrap_err();
        assert!(matches!(error, ProcessError::NotFound { .. }), "{error}");
        let error = sh("sleep 60").run(
            &Cancel::default(),
            Some(Duration::from_millis(100)),
            &mut |_, _| {},
        );
        assert!(matches!(error, Err(ProcessError::TimedOut { .. })), "{error:?}");
    }

    #[test]
    fn standard_input_reaches_the_child_and_stays_out_of_messages() {
        let cmd = Cmd::new("cat").stdin("hello\n");
        assert_eq!(cmd.read(&Cancel::default()).unwrap(), "hello\n");
        assert!(!format!("{cmd:?}").contains("hello"));
    }

    #[test]
    fn terminal_controls_are_taken_out() {
        assert_eq!(clean_line("\u{1b}[32mok\u{1b}[0m\r\n"), "ok");
        assert_eq!(clean_line("10%\r20%\r\n"), "20%");
        assert_eq!(clean_line("\u{1b}]0;title\u{7}x"), "x");
    }
}
