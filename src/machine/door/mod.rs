//! The guest's HTTP door: a small server that one guest alone sees at <http://10.0.2.100/>. No port is
//! opened on the host: for each connection qemu starts our own program ([`relay`]), which passes the bytes to a Unix
//! socket in a private folder, where this server listens. Knows nothing of what the files mean.
//!
//! ```text
//! guest ─► 10.0.2.100:80 ─► qemu ─► one relay process a connection ─► Unix socket ─► Door
//! ```
//!
//! The guest is a stranger: heads, bodies, files and connections are bounded, and no path leads out of a folder.

mod answer;
mod folder;
mod form;
pub mod relay;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use crate::host::listener::Listener;
use crate::host::private::PrivateFolder;
use crate::host::process::clean_line;
use crate::host::serve::request::{self, Bounds};

/// The address at which guests look, as hypervisors that run such images offer it.
pub const ADDRESS: &str = "10.0.2.100";
/// The port at that address.
pub const PORT: u16 = 80;
/// The file that the boot-time agent asks for.
pub const BOOT_SCRIPT: &str = "vm-bootstrap";
/// Posts below this path are not files but reports for the program that opened the door.
pub const REPORTS: &str = ".pipeline/";

/// Connections served at once; what a guest opens beyond them is closed.
const CONNECTIONS: usize = 64;
/// The largest form or report, and the longest time that a request may take.
const BOUNDS: Bounds = Bounds {
    body: 16 << 20,
    time: Duration::from_secs(15 * 60),
};
/// How long a guest may keep us waiting for its next byte. Emulated guests are slow.
const PATIENCE: Duration = Duration::from_secs(120);
/// Characters of a path that are shown.
const SHOWN: usize = 200;

/// What is behind the door. Files given by name come first, then what was received, then the folder.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Files by their path, without a slash in front.
    pub files: BTreeMap<String, Vec<u8>>,
    /// A folder whose files are served; never written.
    pub folder: Option<PathBuf>,
    /// The folder that forms are written to; made at the first one. Absent: forms are refused.
    pub received: Option<PathBuf>,
}

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// `GET`, `HEAD`, `POST`; empty when the request could not be read.
    pub method: String,
    /// Path without its first slash, percent-decoded, terminal controls taken out.
    pub path: String,
    /// What follows the `?`, as sent.
    pub query: String,
    /// Status of the answer.
    pub status: u16,
    /// Bytes of the answer's body that the guest took; for a POST the bytes of its own body.
    pub bytes: u64,
    /// What a POST brought.
    pub posted: Option<Posted>,
}

/// What a POST brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Posted {
    /// A form: the content was written to this file.
    File(PathBuf),
    /// A report: the body as it came.
    Report(Vec<u8>),
}

impl fmt::Display for Visit {
    /// As in `GET /vm-bootstrap: 200, 312 bytes`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.method.is_empty() {
            return write!(f, "a request that is no HTTP: {}", self.status);
        }
        write!(f, "{} /{}: {}", self.method, self.path, self.status)?;
        match &self.posted {
            Some(Posted::File(path)) => write!(f, ", {} bytes to {}", self.bytes, path.display()),
            _ => write!(f, ", {} bytes", self.bytes),
        }
    }
}

/// The server. Ends when dropped.
pub struct Door {
    room: Arc<Room>,
    _listener: Listener<UnixListener>,
    socket: PathBuf,
    _folder: PrivateFolder,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// What the threads share.
struct Room {
    files: Mutex<BTreeMap<String, Arc<[u8]>>>,
    folder: Option<PathBuf>,
    received: Option<PathBuf>,
    /// Bytes that may still be written to `received`.
    allowance: AtomicU64,
    /// One form at a time: two may append to the same file.
    writing: Mutex<()>,
    on_visit: Box<dyn Fn(&Visit) + Send + Sync>,
}

impl Door {
    /// Opens it. `on_visit` is called after each request, on the thread that answered it (a report before its answer,
    /// so that what the guest does next comes after it).
    ///
    /// # Errors
    /// When the private folder or the socket cannot be made.
    pub fn open(content: Content, on_visit: impl Fn(&Visit) + Send + Sync + 'static) -> io::Result<Self> {
        let folder = PrivateFolder::new()?;
        let socket = folder.path().join("door");
        let listener = UnixListener::bind(&socket)?;
        let files = content
            .files
            .into_iter()
            .map(|(name, bytes)| (name, bytes.into()));
        let room = Arc::new(Room {
            files: Mutex::new(files.collect()),
            folder: content.folder,
            received: content.received,
            allowance: AtomicU64::new(folder::ALLOWANCE),
            writing: Mutex::new(()),
            on_visit: Box::new(on_visit),
        });
        let served = Arc::clone(&room);
        let listener = Listener::start(listener, CONNECTIONS, move |stream| serve(&stream, &served));
        Ok(Self {
            room,
            _listener: listener,
            socket,
            _folder: folder,
        })
    }

    /// Puts a file behind the door, or another one in its place; the next request sees it.
    pub fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        lock(&self.room.files).insert(path.to_owned(), bytes.into().into());
    }

    /// The Unix socket on which it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What qemu shall start for each connection, for [`crate::machine::spec::MachineSpec::door`]. `program` is this
    /// program (it must know the verb [`relay::VERB`]).
    pub fn relay(&self, program: &Path) -> Vec<OsString> {
        vec![program.into(), relay::VERB.into(), self.socket.clone().into()]
    }
}

/// Answers one request and closes the connection: guests ask rarely.
fn serve(mut stream: &UnixStream, room: &Room) {
    let limits = stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
    if limits.is_err() {
        return;
    }
    match request::read(&mut stream, BOUNDS) {
        Ok(Some(request)) => answer::answer(&request, stream, room),
        // Nothing was asked.
        Ok(None) => {}
        Err(status) => {
            let visit = Visit {
                method: String::new(),
                path: String::new(),
                query: String::new(),
                status,
                bytes: 0,
                posted: None,
            };
            answer::refuse(&mut stream, status);
            (room.on_visit)(&visit);
        }
    }
    // What is unread would otherwise cut the answer off.
    let _ = stream.shutdown(Shutdown::Write);
    request::drain(&mut stream);
}

/// A path for people: without controls, not too long.
fn shown(path: &str) -> String {
    clean_line(path).chars().take(SHOWN).collect()
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
