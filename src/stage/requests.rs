//! What a guest asks us for by HTTP, reported and kept: one form for answers of installers and for the door of checks.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use crate::emit::Emitter;
use crate::event::Stream;
use crate::stage::Site;
use crate::stage::error::StageError;

/// File of the node's logs: a time stamp and a request with its answer's status a line.
pub const FILE: &str = "requests.log";
/// Bytes kept and reported; a guest may ask for ever.
const KEPT: u64 = 4 << 20;

/// The requests of one node.
#[derive(Debug)]
pub struct RequestLog {
    file: Mutex<(File, u64)>,
    emit: Emitter,
}

impl RequestLog {
    /// Opens it; one that is there is continued, as a node may have several machines.
    ///
    /// # Errors
    /// [`StageError::File`].
    pub fn open(site: &Site) -> Result<Self, StageError> {
        let path = site.logs.join(FILE);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|e| StageError::file("write", &path, e))?;
        Ok(Self {
            file: Mutex::new((file, 0)),
            emit: site.emit.clone(),
        })
    }

    /// Tells and keeps one.
    pub fn tell(&self, request: &impl fmt::Display) {
        let line = format!("{} {request}\n", jiff::Timestamp::now());
        let mut kept = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        kept.1 += line.len() as u64;
        if kept.1 > KEPT {
            return;
        }
        self.emit.line(Stream::Http, request.to_string());
        // A full disk must not hide what the guest says: the event carries it too.
        let _ = kept.0.write_all(line.as_bytes());
    }
}
