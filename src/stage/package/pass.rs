//! One reading of the input on its way to the output: what every compression needs of its surroundings.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::Algorithm;
use crate::host::cancel::Cancel;
use crate::host::fs::{Block, Blocks, Chunk, FsError, add_zeros};
use crate::manifest::model::Compression;

use super::meter::Meter;
use super::output::Output;
use super::sink::{Holes, Sink};
use super::workers::Workers;
use super::{PackageError, Packaged, Spec};

/// Bytes of input that are given to a library at once.
pub(super) const BLOCK: usize = 1 << 20;

/// When the disk is full, this much output tells how large the whole would have been, near enough for a message. Below it
/// the input's size does: the libraries hold back many megabytes.
const ESTIMATE_FROM: u64 = 64 << 20;

/// One reading of the input on its way to the output.
pub(super) struct Pass<'a> {
    pub(super) workers: Workers<'a>,
    pub(super) cancel: &'a Cancel,
    meter: Meter<'a>,
    reader: Box<dyn Blocks + 'a>,
    sink: Option<Sink>,
    done: u64,
    output: PathBuf,
}

impl<'a> Pass<'a> {
    pub(super) fn start(
        reader: Box<dyn Blocks + 'a>,
        output: &Output,
        spec: &Spec,
        workers: Workers<'a>,
        cancel: &'a Cancel,
        progress: &'a mut dyn FnMut(u64, u64),
    ) -> Result<Self, PackageError> {
        let mut seen = BTreeSet::new();
        let wanted = spec.algorithms.iter().chain(&[Algorithm::Sha256]);
        let algorithms: Vec<_> = wanted.copied().filter(|a| seen.insert(*a)).collect();
        let holes = match spec.compression {
            Compression::None => Holes::Punch,
            Compression::Gzip | Compression::Zstd | Compression::Xz => Holes::Fill,
        };
        let sink = Sink::start(output, &algorithms, holes).map_err(FsError::at("write", &output.path))?;
        Ok(Self {
            workers,
            cancel,
            meter: Meter::new(progress),
            reader,
            sink: Some(sink),
            done: 0,
            output: output.path.clone(),
        })
    }

    /// Bytes of input.
    pub(super) fn size(&self) -> u64 {
        self.reader.size()
    }

    /// Whether all input was read.
    pub(super) fn at_end(&self) -> bool {
        self.reader.at_end()
    }

    /// Reads the next block, or what is left, behind what is in the buffer.
    pub(super) fn append(&mut self, buffer: &mut Vec<u8>) -> Result<Block, PackageError> {
        self.check()?;
        Ok(self.reader.append(buffer)?)
    }

    /// Bytes handed on so far.
    pub(super) fn handed(&self) -> u64 {
        self.sink.as_ref().map_or(0, |sink| sink.bytes)
    }

    /// Reads blocks in place of what was in the buffer, [`BLOCK`] bytes or what is left, with zeros written out: for
    /// compressions that have no shorter way for them.
    pub(super) fn read_filled(&mut self, buffer: &mut Vec<u8>) -> Result<(), PackageError> {
        buffer.clear();
        while buffer.len() < BLOCK && !self.at_end() {
            if let Block::Zeros(length) = self.append(buffer)? {
                add_zeros(buffer, length);
            }
        }
        Ok(())
    }

    /// Whether to go on.
    pub(super) fn check(&self) -> Result<(), PackageError> {
        if self.cancel.is_cancelled() {
            Err(PackageError::Cancelled)
        } else {
            Ok(())
        }
    }

    /// Hands on the next bytes of the output.
    pub(super) fn push(&mut self, bytes: Vec<u8>) -> Result<(), PackageError> {
        self.push_chunk(Chunk::Data(Arc::new(bytes)))
    }

    /// Hands on the next piece of the output.
    pub(super) fn push_chunk(&mut self, chunk: Chunk) -> Result<(), PackageError> {
        let sink = self.sink.as_mut().expect("only `finish` takes the sink");
        match sink.push(chunk) {
            Ok(()) => Ok(()),
            Err(_) => self.close().map(drop),
        }
    }

    /// So many more bytes of input are worked off.
    pub(super) fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        self.meter.set(self.done, self.reader.size());
    }

    /// A compression library gave up.
    pub(super) fn refused(&self, what: impl ToString) -> PackageError {
        PackageError::Compressor {
            path: self.output.clone(),
            what: what.to_string(),
        }
    }

    /// All was handed on: waits until it is on the disk and hashed.
    pub(super) fn finish(mut self) -> Result<Packaged, PackageError> {
        self.check()?;
        self.close()
    }

    fn close(&mut self) -> Result<Packaged, PackageError> {
        let sink = self.sink.take().expect("nothing is handed on after the end");
        let handed = sink.bytes;
        let (bytes, digests) = sink.finish().map_err(|source| {
            let needed = if handed < ESTIMATE_FROM {
                self.reader.size()
            } else {
                let read = u128::from(self.reader.position().max(1));
                let needed = u128::from(handed) * u128::from(self.reader.size()) / read;
                u64::try_from(needed).unwrap_or(u64::MAX)
            };
            FsError::needing("write", &self.output, needed, source)
        })?;
        Ok(Packaged {
            bytes,
            digests,
            taken: 0,
            damaged: Vec::new(),
        })
    }
}
