//! Starts other programs, and makes sure that none of them outlives us, unless it is to ([`Cmd::leave`]).
//! Every child has its own process group (the terminal's Ctrl-C does not reach it) and a parent-death signal. That
//! signal is tied to the *thread* that spawns (prctl(2)): spawn from a thread that outlives the child.

mod before_exec;
mod child;
mod error;
mod lines;
mod words;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use self::before_exec::{die_with_us, forgo_privileges, own_session};
use self::child::Group;
use super::cancel::Cancel;
use crate::deciding::may_decide;

pub use self::child::{Left, Running};
pub use self::error::{ProcessError, tail_text};
pub use self::lines::{clean_line, read_lines};
pub use self::words::{shell_quote, status_text};

/// How often a waiting thread looks whether it should stop.
const POLL: Duration = Duration::from_millis(50);
/// How long to wait for lines that a child wrote before it ended: its readers are threads of ours, and the host may be
/// busy.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Bytes of an output that are kept as an answer.
const ANSWER: usize = 64 << 20;
/// Lines of output kept for error messages.
const TAIL: usize = 10;

/// Variables of our own environment that no child gets.
static WITHHELD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Keeps variables that hold secrets out of the environment of everything that is started from now on; a child that is
/// given one by [`Cmd::env`] has it all the same.
pub fn withhold<'n>(names: impl IntoIterator<Item = &'n str>) {
    let mut withheld = WITHHELD.lock().unwrap_or_else(PoisonError::into_inner);
    withheld.extend(names.into_iter().map(str::to_owned));
}

/// A program to run.
#[derive(Clone)]
pub struct Cmd {
    program: OsString,
    /// What messages call it.
    called: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    left_out: Vec<OsString>,
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

impl Cmd {
    /// A program by name (looked up in PATH) or path.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            called: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            left_out: Vec::new(),
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

    /// What messages call it once it runs: for a program that only starts another one.
    #[must_use]
    pub fn called(mut self, name: &str) -> Self {
        self.called = name.into();
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

    /// Leaves a variable of our environment out of the child's.
    #[must_use]
    pub fn without(mut self, name: impl AsRef<OsStr>) -> Self {
        self.left_out.push(name.as_ref().to_owned());
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
        file_name(&self.called)
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
        let mut command = self.prepared();
        command.stdin(stdin).stdout(stdout).stderr(stderr);
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

    /// Starts it with pipes on all three of its standard streams; the caller takes them.
    ///
    /// # Errors
    /// As [`Cmd::spawn`].
    pub fn converse(&self) -> Result<Running, ProcessError> {
        let mut command = self.prepared();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().map_err(|source| self.not_started(source))?;
        Ok(Running {
            child,
            program: self.name(),
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
        let mut command = self.bare();
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
        let mut command = self.bare();
        command.args(&self.args).stdin(Stdio::null());
        command.stdout(output.try_clone().map_err(start)?).stderr(output);
        own_session(&mut command);
        let child = command.spawn().map_err(start)?;
        let program = self.name();
        Ok(Left { child, program })
    }

    /// The program with everything that was set for it, in a group of its own, to die with us.
    fn prepared(&self) -> std::process::Command {
        let mut command = self.bare();
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .process_group(0);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        die_with_us(&mut command);
        if self.no_new_privileges {
            forgo_privileges(&mut command);
        }
        command
    }

    /// The program with our environment, as far as it may have it.
    fn bare(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        for name in &*WITHHELD.lock().unwrap_or_else(PoisonError::into_inner) {
            command.env_remove(name);
        }
        for name in &self.left_out {
            command.env_remove(name);
        }
        command
    }

    fn not_started(&self, source: std::io::Error) -> ProcessError {
        let program = file_name(&self.program);
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

    /// Runs it to its end and gives its standard output; of more than 64 MiB the beginning, as some print what a guest's
    /// disk holds.
    ///
    /// # Errors
    /// As [`Cmd::run`].
    pub fn read(&self, cancel: &Cancel) -> Result<String, ProcessError> {
        let mut text = String::new();
        self.run(cancel, None, &mut |output, line| {
            if output == Output::Stdout && text.len() < ANSWER {
                text.push_str(line);
                text.push('\n');
            }
        })?;
        Ok(text)
    }
}

/// Keeps a line of output for an error message: the last ones, and of those before them what may say why it failed.
pub fn keep_tail(tail: &mut Vec<String>, line: String) {
    if line.is_empty() {
        return;
    }
    if tail.len() == TAIL {
        let talk = tail.iter().position(|line| !may_decide(line));
        tail.remove(talk.unwrap_or(1));
    }
    tail.push(line);
}

fn file_name(program: &OsStr) -> String {
    let name = Path::new(program).file_name().unwrap_or(program);
    name.to_string_lossy().into_owned()
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
    fn what_is_withheld_reaches_no_child_unless_it_is_given() {
        // Cargo sets it for every test.
        let name = "CARGO_PKG_NAME";
        let show = || sh("echo \"[$CARGO_PKG_NAME]\"");
        withhold([name]);
        assert_eq!(show().read(&Cancel::default()).unwrap(), "[]\n");
        let given = show().env(name, "given");
        assert_eq!(given.read(&Cancel::default()).unwrap(), "[given]\n");
    }

    #[test]
    fn standard_input_reaches_the_child_and_stays_out_of_messages() {
        let cmd = Cmd::new("cat").stdin("hello\n");
        assert_eq!(cmd.read(&Cancel::default()).unwrap(), "hello\n");
        assert!(!format!("{cmd:?}").contains("hello"));
    }
}
