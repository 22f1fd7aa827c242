//! Takes the finished bytes in order and gives them to the writer and the hashing threads, without copying them.

use std::fs::File;
use std::io::Write;
use std::sync::mpsc::{self, TrySendError};
use std::{io, thread};

use crate::digest::{Algorithm, Digest};
use crate::host::fs::{Chunk, HashThreads, SparseWriter};

use super::output::Output;

/// Pieces that wait for the writer, at most.
const QUEUE: usize = 32;
/// The disk starts on what was written this often, so that the sync at the end has little left to do (and a disk that
/// is full says so early).
const SYNC_EVERY: u64 = 16 << 20;

/// Whether zeros are left out of the written file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holes {
    /// Whole pages of zeros become holes.
    Punch,
    /// All is written: compressed bytes have no pages of zeros worth looking for.
    Fill,
}

/// The writer and the hashing threads. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Sink {
    hashes: HashThreads,
    chunks: mpsc::SyncSender<Chunk>,
    writer: thread::JoinHandle<io::Result<u64>>,
    /// Bytes handed over so far.
    pub(super) bytes: u64,
}

/// The writer stopped early; [`Sink::finish`] tells why.
#[derive(Debug)]
pub(super) struct WriterGone;

impl Sink {
    pub(super) fn start(output: &Output, algorithms: &[Algorithm], holes: Holes) -> io::Result<Self> {
        let file = output.file.try_clone()?;
        let regular = output.regular;
        let (chunks, receiver) = mpsc::sync_channel(QUEUE);
        Ok(Self {
            hashes: HashThreads::start(algorithms),
            chunks,
            writer: thread::spawn(move || write_all(&file, regular, holes, &receiver)),
            bytes: 0,
        })
    }

    /// Hands on the next piece; waits when the writer or a hash is far behind.
    pub(super) fn push(&mut self, chunk: Chunk) -> Result<(), WriterGone> {
        self.bytes += match &chunk {
            Chunk::Data(bytes) => bytes.len() as u64,
            Chunk::Zeros(length) => *length,
        };
        self.hashes.push(&chunk);
        self.chunks.send(chunk).map_err(|_| WriterGone)
    }

    /// Waits until all is written, on the disk, and hashed.
    pub(super) fn finish(self) -> io::Result<(u64, Vec<Digest>)> {
        drop(self.chunks);
        let bytes = self.writer.join().expect("the writer does not panic")?;
        Ok((bytes, self.hashes.finish()))
    }
}

fn write_all(file: &File, regular: bool, holes: Holes, chunks: &mpsc::Receiver<Chunk>) -> io::Result<u64> {
    let mut writer = SparseWriter::new(file);
    if !regular {
        for chunk in chunks {
            write(&mut writer, holes, chunk)?;
        }
        return Ok(writer.position());
    }
    // A thread of its own waits for the disk: the queue here is full long before a sync is over.
    thread::scope(|scope| {
        let (due, turns) = mpsc::sync_channel::<()>(1);
        let syncing = scope.spawn(move || turns.iter().try_for_each(|()| file.sync_data()));
        let mut synced = 0;
        for chunk in chunks {
            write(&mut writer, holes, chunk)?;
            if writer.position() - synced >= SYNC_EVERY {
                synced = writer.position();
                if due.try_send(()) == Err(TrySendError::Disconnected(())) {
                    break;
                }
            }
        }
        drop(due);
        syncing.join().expect("a sync does not panic")?;
        let bytes = writer.finish()?;
        file.sync_all()?;
        Ok(bytes)
    })
}

fn write(writer: &mut SparseWriter<'_>, holes: Holes, chunk: Chunk) -> io::Result<()> {
    match chunk {
        Chunk::Data(bytes) if holes == Holes::Punch => writer.write_all(&bytes),
        Chunk::Data(bytes) => writer.data(&bytes),
        Chunk::Zeros(length) => {
            writer.zeros(length);
            Ok(())
        }
    }
}
