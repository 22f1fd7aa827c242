//! Foreign servers on loopback: started, waited for, killed with the story.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::vm::wait_until;

/// A running server; killed when dropped.
pub struct Daemon {
    child: Child,
    command: Command,
    /// Its port.
    pub port: u16,
}

impl Daemon {
    /// Starts what `command` makes of a port that was free a moment ago, and waits until it listens. Output goes to `log`.
    pub fn start(log: &Path, command: impl FnOnce(u16) -> Command) -> Self {
        let port = free_port();
        let mut command = command(port);
        let file = std::fs::File::create(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}; `make setup` installs what the tests need"));
        let mut daemon = Self { child, command, port };
        daemon.listens(log);
        daemon
    }

    fn listens(&mut self, log: &Path) {
        let what = format!("{:?} to listen", self.command);
        wait_until(&what, Duration::from_secs(60), || {
            if let Some(status) = self.child.try_wait().unwrap() {
                let said = std::fs::read_to_string(log).unwrap();
                panic!("it ended with {status}: {said}");
            }
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    pub fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it once more, at its port.
    pub fn start_again(&mut self, log: &Path) {
        self.child = self.command.spawn().unwrap();
        self.listens(log);
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback port that is free now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
