//! What every story needs: a temporary folder, the real binary with a clean environment, what it printed.

pub mod archive;
pub mod browser;
pub mod cloud_image;
pub mod daemon;
pub mod deadline;
pub mod debian_installer;
pub mod http;
pub mod inside;
pub mod line;
pub mod mount_namespace;
pub mod npm;
pub mod publisher;
pub mod python;
pub mod relay;
pub mod saved_guest;
pub mod script_server;
pub mod shelf;
pub mod signer;
pub mod slurm;
pub mod small_guest;
pub mod vm;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use pipeline::internals::event::{Emitter, Event};
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::machine::spec::Accel;
use pipeline::internals::stage::aftermath::OnError;
use pipeline::internals::stage::{Room, Site};
use serde_json::Value;

use self::deadline::{Deadline, STORY};

/// How the folders of stories with full guests are named; this process's id and a random part follow.
pub const STORY_PREFIX: &str = "story-";

/// A folder of its own for one test, with the program at hand and a deadline.
pub struct Bench {
    folder: PathBuf,
    /// Where the program looks for other programs first.
    path_first: Option<PathBuf>,
    /// Removes the folder; absent where it is to stay.
    _owned: Option<(tempfile::TempDir, Deadline)>,
}

/// What a finished program left.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("pipeline-test-")
            .tempdir()
            .unwrap();
        Self {
            folder: folder.path().to_owned(),
            path_first: None,
            _owned: Some((folder, Deadline::begin(STORY))),
        }
    }

    /// For a story with full guests, next to the quickstart so that large files are shared with it.
    pub fn lasting(limit: Duration) -> Self {
        let folder = tempfile::Builder::new()
            .prefix(&format!("{STORY_PREFIX}{}-", std::process::id()))
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        Self {
            folder: folder.path().to_owned(),
            path_first: None,
            _owned: Some((folder, Deadline::begin(limit))),
        }
    }

    /// In a folder that is there and stays.
    pub fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            path_first: None,
            _owned: None,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The keys of a manifest's nodes, by id.
    pub fn keys(&self, manifest: &str) -> BTreeMap<String, String> {
        let ran = self.run(&["plan", manifest, "--format", "json"]);
        assert_eq!(ran.code, 0, "{}", ran.all());
        let plan: Value = serde_json::from_str(&ran.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let nodes = plan["nodes"].as_array().unwrap().iter();
        nodes
            .map(|node| (text(&node["id"]), text(&node["key"])))
            .collect()
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        // Manifests next to the quickstart go on from its install: from the same state of the archives.
        let (of_quickstart, lock) = (self.path("quickstart.lock"), path.with_extension("lock"));
        if name.ends_with(".toml") && of_quickstart.exists() && lock != of_quickstart {
            std::fs::copy(of_quickstart, lock).unwrap();
        }
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Where a stage works on a node when no run is around it, and what it tells.
    pub fn site(&self, node: &str) -> (Site, mpsc::Receiver<Event>) {
        let (sender, events) = mpsc::channel();
        for folder in ["scratch", "logs"] {
            std::fs::create_dir_all(self.path(folder)).unwrap();
        }
        let site = Site {
            scratch: self.path("scratch"),
            logs: self.path("logs"),
            keep: self.path("kept"),
            on_error: OnError::Abort,
            emit: Emitter::new(sender).for_node(node),
            cancel: Cancel::default(),
            released: Cancel::default(),
            secrets: Default::default(),
            accel: Accel::Tcg,
            cpus: 1,
            program: PathBuf::from(env!("CARGO_BIN_EXE_pipeline")),
            key: "key".to_owned(),
            lasting: self.path("scratch"),
            before: None,
            earlier: Vec::new(),
            keeps_layers: false,
            room: Room::One,
            order: Arc::default(),
        };
        (site, events)
    }

    /// The program in this folder, with nothing of the caller's environment but PATH, and a store of its own.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pipeline"));
        command
            .args(args)
            .current_dir(&self.folder)
            .env_clear()
            .stdin(Stdio::null());
        let paths = std::env::var_os("PATH").unwrap();
        let paths = self
            .path_first
            .iter()
            .cloned()
            .chain(std::env::split_paths(&paths));
        command.env("PATH", std::env::join_paths(paths).unwrap());
        command
            .env("HOME", &self.folder)
            .env("PIPELINE_STORE", self.path("store"))
            // Says in /proc/PID/environ whose process one is.
            .env("PIPELINE_TEST_STORY", deadline::story());
        command.env("NO_COLOR", "1").env("COLUMNS", "100");
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, args: &[&str]) -> Ran {
        self.finish(self.command(args))
    }

    /// Runs a prepared command to its end.
    pub fn finish(&self, mut command: Command) -> Ran {
        Ran::from(command.output().unwrap(), &self.folder)
    }
}

impl Ran {
    fn from(output: Output, folder: &Path) -> Self {
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes)
                .unwrap()
                .replace(&folder.display().to_string(), "[ROOT]")
        };
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Exit code and both streams as one text, for snapshots.
    pub fn all(&self) -> String {
        format!(
            "code: {}\n--- stdout\n{}--- stderr\n{}",
            self.code, self.stdout, self.stderr
        )
    }
}

/// Bytes that look random, always the same ones.
pub fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut all: Vec<u8> = (0..bytes.div_ceil(8))
        .flat_map(|_| next().to_le_bytes())
        .collect();
    all.truncate(bytes);
    all
}

/// Runs a foreign tool that must succeed, and gives what it printed.
pub fn tool(program: &str, args: &[&str], folder: &Path) -> String {
    let output = Command::new(program).args(args).current_dir(folder).output();
    let output =
        output.unwrap_or_else(|e| panic!("{program}: {e}; `make setup` installs what the tests need"));
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// URL of the mirror that this host's own apt uses for Debian, whatever release the host is.
pub fn debian_mirror() -> String {
    let apt = pipeline::internals::host::facts::AptSources::of_this_host();
    let mirror = ["trixie", "bookworm", "bullseye"]
        .iter()
        .find_map(|suite| apt.mirror("debian", suite));
    let mirror = mirror.expect("apt of this host knows no Debian mirror; these tests need a Debian host");
    mirror.uri
}
