//! Takes a result: its entry, and then its files, each compared with its digests while it is written.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use zstd::stream::read::Decoder;

use super::entry::sha256;
use super::error::RemoteError;
use super::objects::Download;
use super::{Remote, blob_path};
use crate::digest::Algorithm;
use crate::emit::{Emitter, Progress};
use crate::host::cancel::Cancel;
use crate::host::fs::{Chunk, FsError, HashThreads, SparseWriter, is_zero};
use crate::store::{Address, Claim, Entry, FileRecord, Record, Scratch, Slot, Store};

/// The phase of a node whose result is taken.
const TAKING: &str = "taking it from the remote store";
/// Bytes that are decompressed at once.
const BLOCK: usize = 1 << 20;
/// Largest window of a decompressor, as a power of two: bounds its memory, whatever a stream asks for.
const WINDOW: u32 = 27;

impl Remote {
    /// Takes a result into the local store, in place of the one that is there if `replace` says so. None: it is not there, or
    /// not usable, which [`Remote::doubts`] says.
    ///
    /// # Errors
    /// [`RemoteError::Cancelled`], [`RemoteError::Store`].
    pub fn pull(
        &self,
        address: &Address,
        store: &Store,
        scratch: &Scratch,
        replace: bool,
        emit: &Emitter,
        cancel: &Cancel,
    ) -> Result<Option<Entry>, RemoteError> {
        let claim = store.claim(&address.stage, &address.key, scratch, replace, cancel, &mut || {})?;
        match claim {
            Claim::Hit(entry) => Ok(Some(entry)),
            Claim::Miss(slot) => Ok(self.fill(address, slot, emit, cancel)?.ok()),
        }
    }

    /// The same into a slot that was claimed, which comes back empty where nothing can be taken.
    ///
    /// # Errors
    /// [`RemoteError::Cancelled`], [`RemoteError::Store`].
    pub fn fill(
        &self,
        address: &Address,
        slot: Slot,
        emit: &Emitter,
        cancel: &Cancel,
    ) -> Result<Result<Entry, Slot>, RemoteError> {
        let Some(record) = self.known(address).or_else(|| self.ask(address, cancel)) else {
            return Ok(Err(slot));
        };
        emit.phase(TAKING);
        match self.fetch(&record, slot.folder(), emit, cancel) {
            Ok(()) => Ok(Ok(slot.adopt(Record::clone(&record))?)),
            Err(error) if error.is_cancelled() => Err(error),
            Err(error) => {
                self.failed(&error);
                let mut memory = self.memory();
                memory.entries.insert(address.clone(), None);
                memory.untaken.insert(address.clone());
                if matches!(error, RemoteError::Damaged(_)) {
                    memory.broken.insert(address.clone());
                }
                drop(memory);
                empty(slot.folder());
                Ok(Err(slot))
            }
        }
    }

    /// Writes all files of a result into a folder.
    fn fetch(
        &self,
        record: &Record,
        folder: &Path,
        emit: &Emitter,
        cancel: &Cancel,
    ) -> Result<(), RemoteError> {
        let total = record.files.values().map(|file| file.bytes).sum();
        let mut progress = Progress::new(emit);
        let mut before = 0;
        for (name, file) in &record.files {
            let mut on_bytes = |bytes| progress.report(before + bytes, total);
            self.fetch_file(file, &folder.join(name), cancel, &mut on_bytes)?;
            before += file.bytes;
        }
        progress.last(total, total);
        Ok(())
    }

    fn fetch_file(
        &self,
        wanted: &FileRecord,
        to: &Path,
        cancel: &Cancel,
        on_bytes: &mut dyn FnMut(u64),
    ) -> Result<(), RemoteError> {
        let Some(digest) = sha256(wanted) else {
            return Err(RemoteError::Damaged("a file without a digest".to_owned()));
        };
        let path = blob_path(&digest.hex);
        let shown = || self.objects.shown(&path);
        let download = self.objects.download(&path, cancel)?;
        let download = download.ok_or_else(|| RemoteError::Damaged(format!("{} is gone", shown())))?;
        let written = write(download, wanted, to, on_bytes);
        if let Err(Fault::Wrong(what)) = &written {
            // Whoever puts it there again must not take it for whole.
            self.memory().bad.insert(digest.hex.clone());
            return Err(RemoteError::Damaged(format!("{} is damaged: {what}", shown())));
        }
        written.map_err(|fault| match fault {
            Fault::Other(error) => error,
            Fault::Wrong(what) => RemoteError::Damaged(what),
        })
    }
}

/// Why a file could not be taken.
enum Fault {
    /// It is not what its name says.
    Wrong(String),
    Other(RemoteError),
}

/// Decompresses into a file, no byte more than it should have, and compares.
fn write(
    download: Download<'_>,
    wanted: &FileRecord,
    to: &Path,
    on_bytes: &mut dyn FnMut(u64),
) -> Result<(), Fault> {
    let of_file = |error| Fault::Other(FsError::needing("write", to, wanted.bytes, error).into());
    let wrong = |error: std::io::Error| Fault::Wrong(error.to_string());
    let mut decoder = Decoder::new(download).map_err(wrong)?;
    decoder.window_log_max(WINDOW).map_err(wrong)?;
    let file = File::create(to).map_err(of_file)?;
    let mut out = SparseWriter::new(&file);
    let algorithms: Vec<Algorithm> = wanted.digests.iter().map(|digest| digest.algorithm).collect();
    let hashes = HashThreads::start(&algorithms);
    let mut written = 0;
    loop {
        let block = match read_block(&mut decoder) {
            Ok(block) if block.is_empty() => break,
            Ok(block) => block,
            Err(error) => {
                let download: &mut BufReader<Download<'_>> = decoder.get_mut();
                return Err(download
                    .get_mut()
                    .failure()
                    .map_or_else(|| wrong(error), Fault::Other));
            }
        };
        written += block.len() as u64;
        if written > wanted.bytes {
            return Err(Fault::Wrong("it goes on after its end".to_owned()));
        }
        if is_zero(&block) {
            out.zeros(block.len() as u64);
        } else {
            out.data(&block).map_err(of_file)?;
        }
        hashes.push(&Chunk::Data(Arc::new(block)));
        on_bytes(written);
    }
    out.finish().map_err(of_file)?;
    if written < wanted.bytes {
        return Err(Fault::Wrong("it ends too early".to_owned()));
    }
    match hashes.finish() == wanted.digests {
        true => Ok(()),
        false => Err(Fault::Wrong("its digest is another one".to_owned())),
    }
}

/// The next bytes, a whole block where there are so many.
fn read_block(reader: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut block = Vec::with_capacity(BLOCK);
    reader.take(BLOCK as u64).read_to_end(&mut block)?;
    Ok(block)
}

/// Takes away what was written of a result that cannot be used.
fn empty(folder: &Path) {
    for file in folder.read_dir().into_iter().flatten().flatten() {
        let _ = std::fs::remove_file(file.path());
    }
}
