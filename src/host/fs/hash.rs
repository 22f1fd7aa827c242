//! Hashes bytes by several algorithms at once, each on a thread of its own, from one set of buffers.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use crate::digest::{Algorithm, Digest, Hasher};
use crate::host::cancel::Cancel;

use super::{Block, BlockReader, Blocks as _, FsError};

/// Pieces that wait for the slowest thread, at most: bounds the memory, and lets one thread be late for a moment. With two
/// cores three threads are late by turns.
const QUEUE: usize = 32;
/// How much is read at once.
const READ: usize = 1 << 20;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A piece of a stream, shared by all who look at it.
#[derive(Clone, Debug)]
pub enum Chunk {
    /// Bytes.
    Data(Arc<Vec<u8>>),
    /// That many zeros.
    Zeros(u64),
}

/// Threads that hash one stream. Dropping it ends them.
#[derive(Debug)]
pub struct HashThreads {
    threads: Vec<(mpsc::SyncSender<Chunk>, thread::JoinHandle<Digest>)>,
}

impl HashThreads {
    /// Starts a thread for each algorithm.
    pub fn start(algorithms: &[Algorithm]) -> Self {
        let start = |algorithm: &Algorithm| {
            let (sender, chunks) = mpsc::sync_channel(QUEUE);
            let hasher = Hasher::new(*algorithm);
            (sender, thread::spawn(move || hash_all(hasher, &chunks)))
        };
        Self {
            threads: algorithms.iter().map(start).collect(),
        }
    }

    /// Hands the next piece to all threads, waiting for the slowest when it is far behind.
    pub fn push(&self, chunk: &Chunk) {
        for (sender, _) in &self.threads {
            sender
                .send(chunk.clone())
                .expect("a hashing thread receives until its sender is gone");
        }
    }

    /// The digests of all pieces, in the order of the algorithms.
    pub fn finish(self) -> Vec<Digest> {
        let (senders, threads): (Vec<_>, Vec<_>) = self.threads.into_iter().unzip();
        drop(senders);
        threads
            .into_iter()
            .map(|t| t.join().expect("hashing does not panic"))
            .collect()
    }
}

fn hash_all(mut hasher: Hasher, chunks: &mpsc::Receiver<Chunk>) -> Digest {
    for chunk in chunks {
        match chunk {
            Chunk::Data(bytes) => hasher.update(&bytes),
            Chunk::Zeros(mut left) => {
                while left > 0 {
                    let length = usize::try_from(left).map_or(ZEROS.len(), |l| l.min(ZEROS.len()));
                    hasher.update(&ZEROS[..length]);
                    left -= length as u64;
                }
            }
        }
    }
    hasher.finish()
}

/// Hashes a file in one reading; holes are not read. The digests come in the order of the algorithms.
///
/// # Errors
/// [`FsError::Cancelled`], [`FsError::Changed`], [`FsError::Io`].
pub fn hash_file(path: &Path, algorithms: &[Algorithm], cancel: &Cancel) -> Result<Vec<Digest>, FsError> {
    let mut reader = BlockReader::open(path, READ)?;
    let threads = HashThreads::start(algorithms);
    while !reader.at_end() {
        if cancel.is_cancelled() {
            return Err(FsError::Cancelled);
        }
        let mut buffer = Vec::new();
        let chunk = match reader.next(&mut buffer)? {
            Block::Data => Chunk::Data(Arc::new(buffer)),
            Block::Zeros(length) => Chunk::Zeros(length as u64),
        };
        threads.push(&chunk);
    }
    Ok(threads.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_holes_has_the_digests_of_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(5_000_001).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[9; 70_000], 3_000_000).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let expected: Vec<_> = Algorithm::ALL
            .iter()
            .map(|algorithm| {
                let mut hasher = Hasher::new(*algorithm);
                hasher.update(&bytes);
                hasher.finish()
            })
            .collect();
        let cancel = Cancel::default();
        assert_eq!(hash_file(&path, &Algorithm::ALL, &cancel).unwrap(), expected);
        cancel.cancel();
        let stopped = hash_file(&path, &[Algorithm::Md5], &cancel);
        assert!(matches!(stopped, Err(FsError::Cancelled)));
    }
}
