//! Puts a result there: its files first, each under its digest, then its entry. A writer that is killed in between leaves
//! files that nothing names.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use zstd::stream::write::Encoder;

use super::entry::{open, seal, sha256};
use super::error::RemoteError;
use super::gc::RENEW;
use super::objects::{Over, Put};
use super::{Remote, blob_path, entry_path};
use crate::emit::{Emitter, Progress};
use crate::host::cancel::Cancel;
use crate::host::fs::FsError;
use crate::store::{Address, Record, Store};

/// The phase of a node whose result is put there.
const PUTTING: &str = "putting it into the remote store";
/// How hard files are compressed. More costs more time than it saves on the line (156 against 138 MiB of a Debian).
const LEVEL: i32 = 1;
/// Bytes read at once.
const BLOCK: usize = 1 << 20;

/// What became of a result that was put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was put there.
    New,
    /// The same bytes were there already.
    There,
    /// Other bytes were there first: they are to be taken in place of these.
    Lost,
}

impl Remote {
    /// Puts a result of the local store there. One that is there already stays, unless `usable` says that it is of no use.
    ///
    /// # Errors
    /// [`RemoteError`]; the result is then in the local store alone.
    pub fn push(
        &self,
        address: &Address,
        store: &Store,
        usable: &dyn Fn(&Record) -> bool,
        emit: &Emitter,
        cancel: &Cancel,
    ) -> Result<Pushed, RemoteError> {
        let Some(key) = &self.sign else {
            return Err(RemoteError::ReadOnly);
        };
        let gone = || RemoteError::Damaged(format!("{} is not in the store", address.short()));
        let entry = store.lookup(&address.stage, &address.key).ok_or_else(gone)?;
        let record = entry.record();
        emit.phase(PUTTING);
        let (first, mut over) = self.first(address, cancel)?;
        // An entry whose files are gone or damaged is replaced: see `Remote::fill`.
        let is_broken = self.memory().broken.contains(address);
        match first {
            Some(first) if first.has_bytes_of(record) && !is_broken => return Ok(Pushed::There),
            Some(first) if usable(&first) && !is_broken => return Ok(Pushed::Lost),
            Some(_) => over = Over::Anything,
            None => {}
        }
        let total = record.files.values().map(|file| file.bytes).sum();
        let mut progress = Progress::new(emit);
        let mut before = 0;
        for (name, file) in &record.files {
            let Some(digest) = sha256(file) else { continue };
            let mut on_part = |part: f64| {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a part of a size"
                )]
                let bytes = (part * file.bytes as f64) as u64;
                progress.report(before + bytes, total);
            };
            self.push_file(&entry.path(name), &digest.hex, store, cancel, &mut on_part)?;
            before += file.bytes;
        }
        progress.last(total, total);
        let sealed = seal(record, key)?;
        let put = self.objects.write(&entry_path(address), &sealed, over, cancel)?;
        let mut memory = self.memory();
        memory.entries.remove(address);
        memory.untaken.remove(address);
        memory.broken.remove(address);
        drop(memory);
        if put == Put::Written && over == Over::Anything {
            return Ok(Pushed::New);
        }
        // Servers that heed no conditions, or not at once, let several writers through: what is there now counts.
        Ok(match self.first(address, cancel)?.0 {
            Some(first) if !first.has_bytes_of(record) => Pushed::Lost,
            Some(_) if put == Put::Refused => Pushed::There,
            Some(_) => Pushed::New,
            // What was written is not always seen at once.
            None if put == Put::Written => Pushed::New,
            None => Pushed::Lost,
        })
    }

    /// The usable entry that is there, and what ours may be written over. One that is not usable is written over.
    fn first(&self, address: &Address, cancel: &Cancel) -> Result<(Option<Record>, Over), RemoteError> {
        let bytes = self.get(&entry_path(address), cancel)?;
        Ok(match bytes.map(|bytes| open(&bytes, address, &self.trust)) {
            None => (None, Over::Nothing),
            Some(Ok(record)) => (Some(record), Over::Nothing),
            Some(Err(_)) => (None, Over::Anything),
        })
    }

    fn push_file(
        &self,
        from: &Path,
        sha256: &str,
        store: &Store,
        cancel: &Cancel,
        on_part: &mut dyn FnMut(f64),
    ) -> Result<(), RemoteError> {
        let path = blob_path(sha256);
        let (packed, bytes) = compressed(from, &store.root().join("scratch"), cancel)?;
        // A server whose writes are not atomic may have kept a part of one.
        let is_bad = self.memory().bad.contains(sha256);
        let there = self.objects.look(&path, cancel)?;
        let there = there.filter(|there| !is_bad && there.bytes == Some(bytes));
        // One that has been there for long may be on a list of what is to go: see `super::gc`.
        if let Some(there) = there
            && (there.is_younger(RENEW) || self.objects.renew(&path, cancel)?)
        {
            return Ok(());
        }
        let packed = Arc::new(packed);
        let note = store.root().join(format!("scratch/remote-{sha256}.json"));
        let mut on_sent = |sent: u64| on_part(sent as f64 / bytes.max(1) as f64);
        self.objects
            .write_file(&path, &packed, bytes, Some(&note), cancel, &mut on_sent)?;
        self.memory().bad.remove(sha256);
        Ok(())
    }
}

/// A file without a name with what another one is when it is compressed, and its length.
fn compressed(from: &Path, scratch: &Path, cancel: &Cancel) -> Result<(File, u64), RemoteError> {
    let mut plain = File::open(from).map_err(FsError::at("read", from))?;
    let of_scratch = |error| RemoteError::File(FsError::at("write into", scratch)(error));
    let file = tempfile::tempfile_in(scratch).map_err(of_scratch)?;
    let mut encoder = Encoder::new(file, LEVEL).map_err(of_scratch)?;
    encoder.include_checksum(true).map_err(of_scratch)?;
    let mut buffer = vec![0; BLOCK];
    loop {
        if cancel.is_cancelled() {
            return Err(RemoteError::Cancelled);
        }
        match plain.read(&mut buffer).map_err(FsError::at("read", from))? {
            0 => break,
            count => encoder.write_all(&buffer[..count]).map_err(of_scratch)?,
        }
    }
    let mut file = encoder.finish().map_err(of_scratch)?;
    let bytes = file.stream_position().map_err(of_scratch)?;
    Ok((file, bytes))
}
