//! A real sshd on loopback, one process per connection on a port that the kernel chose, as whoever runs the tests.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::{Bench, tool};

pub struct Sshd {
    pub port: u16,
    sessions: Arc<Mutex<Vec<Child>>>,
}

impl Sshd {
    /// Serves, and lets those in whose public key is `authorized`.
    pub fn start(bench: &Bench, authorized: &str) -> Self {
        Self::start_with(bench, authorized, "")
    }

    /// As [`Sshd::start`]; `variables` are set in its sessions, each as ` NAME=value`.
    pub fn start_with(bench: &Bench, authorized: &str, variables: &str) -> Self {
        let folder = bench.path("sshd");
        std::fs::create_dir_all(&folder).unwrap();
        let host_key = folder.join("host_key");
        tool(
            "ssh-keygen",
            &["-q", "-t", "ed25519", "-N", "", "-f", host_key.to_str().unwrap()],
            &folder,
        );
        let keys = bench.write("sshd/authorized_keys", format!("{authorized}\n"));
        let config = bench.write(
            "sshd/config",
            format!(
                "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n\
                 PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
                 SetEnv HOME={}{variables}\n",
                host_key.display(),
                keys.display(),
                // A login shell must not read the tester's own start-up files, which may print.
                folder.display()
            ),
        );
        // Root's sshd insists on its empty folder, which the service would make at its first start.
        if rustix::process::geteuid().is_root() {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let sessions = Arc::<Mutex<Vec<Child>>>::default();
        let ours = Arc::clone(&sessions);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let socket = OwnedFd::from(stream.unwrap());
                let child = session(&config, socket);
                ours.lock().unwrap().push(child);
            }
        });
        Self { port, sessions }
    }

    /// How many came so far.
    pub fn connections(&self) -> usize {
        self.sessions.lock().unwrap().len()
    }

    /// Kills every session, as a reset of a guest would.
    pub fn kill_sessions(&self) {
        for child in self.sessions.lock().unwrap().iter_mut() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.kill_sessions();
    }
}

fn session(config: &Path, socket: OwnedFd) -> Child {
    let sshd = ["/usr/sbin/sshd", "/usr/bin/sshd"];
    let sshd = sshd.iter().find(|path| Path::new(path).exists());
    Command::new(sshd.expect("openssh-server is needed by the tests; `make setup` installs it"))
        .args(["-i", "-e", "-f"])
        .arg(config)
        .stdin(Stdio::from(socket.try_clone().unwrap()))
        .stdout(Stdio::from(socket))
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
