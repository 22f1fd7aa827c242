//! The way back: a compressed disk, recognised by its first bytes and not by its name, into a file with holes for zeros.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use crate::host::cancel::Cancel;
use crate::host::fs::{Block, BlockReader, Blocks as _, FsError, SparseWriter};
use crate::manifest::model::Compression;
use crate::size::ByteSize;

use super::PackageError;
use super::meter::Meter;
use super::output::Output;

/// Bytes unpacked between two looks at the stop flag.
const PIECE: usize = 256 << 10;
/// Memory that an .xz file may ask for. `xz -9` makes files that need 65 MiB; a hostile one could ask for all we have.
const XZ_MEMORY: u64 = 160 << 20;
/// Logarithm of the largest window that a .zst file may ask for: 128 MiB, the `zstd` program's own limit.
const ZSTD_WINDOW: u32 = 27;

/// What was unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// How the input was compressed.
    pub compression: Compression,
    /// Length of the output, holes included.
    pub bytes: u64,
}

/// Which compression a file has, by its first bytes.
///
/// # Errors
/// [`PackageError::File`].
pub fn detect(path: &Path) -> Result<Compression, PackageError> {
    let mut file = File::open(path).map_err(FsError::at("open", path))?;
    let mut start = Vec::new();
    let read = Read::take(&mut file, 6).read_to_end(&mut start);
    read.map_err(FsError::at("read", path))?;
    // RFC 1952 §2.3.1; RFC 8878 §3.1.1; the .xz file format §2.1.1.1.
    let starts: [(&[u8], Compression); 3] = [
        (b"\x1f\x8b", Compression::Gzip),
        (b"\x28\xb5\x2f\xfd", Compression::Zstd),
        (b"\xfd7zXZ\0", Compression::Xz),
    ];
    let found = starts.iter().find(|(magic, _)| start.starts_with(magic));
    Ok(found.map_or(Compression::None, |(_, compression)| *compression))
}

/// Unpacks (or copies, when it is not compressed) `input` into a new file at exactly `output`, with holes for zeros. The
/// file is on the disk when this returns; after an error or a stop it is gone. `progress` is called on this thread with
/// bytes of input done and their total.
///
/// # Errors
/// [`PackageError::Corrupt`], [`PackageError::Cancelled`], [`PackageError::File`].
pub fn unpack(
    input: &Path,
    output: &Path,
    cancel: &Cancel,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Unpacked, PackageError> {
    unpack_at_most(input, output, u64::MAX, cancel, progress)
}

/// As [`unpack`], for a file from outside: a small one may unpack to more than any disk holds.
///
/// # Errors
/// As [`unpack`], and [`PackageError::TooLarge`] when more than `most` bytes come out.
pub fn unpack_at_most(
    input: &Path,
    output: &Path,
    most: u64,
    cancel: &Cancel,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Unpacked, PackageError> {
    let compression = detect(input)?;
    let target = Output::create(output)?;
    let mut writer = SparseWriter::new(&target.file);
    let mut meter = Meter::new(progress);
    match compression {
        Compression::None => copy(input, output, &mut writer, cancel, &mut meter)?,
        Compression::Gzip | Compression::Zstd | Compression::Xz => {
            let unpacking = Unpacking {
                input,
                output,
                compression,
                most,
            };
            unpacking.run(&mut writer, cancel, &mut meter)?;
        }
    }
    let bytes = writer.finish().map_err(FsError::at("write", output))?;
    target.file.sync_all().map_err(FsError::at("write", output))?;
    target.keep();
    Ok(Unpacked { compression, bytes })
}

fn copy(
    input: &Path,
    output: &Path,
    writer: &mut SparseWriter<'_>,
    cancel: &Cancel,
    meter: &mut Meter<'_>,
) -> Result<(), PackageError> {
    let mut reader = BlockReader::open(input, 1 << 20)?;
    let mut buffer = Vec::new();
    while !reader.at_end() {
        if cancel.is_cancelled() {
            return Err(PackageError::Cancelled);
        }
        match reader.next(&mut buffer)? {
            Block::Data => writer
                .write_all(&buffer)
                .map_err(|e| FsError::needing("write", output, reader.size(), e))?,
            Block::Zeros(length) => writer.zeros(length as u64),
        }
        meter.set(reader.position(), reader.size());
    }
    Ok(())
}

/// A compressed file and where its content goes.
struct Unpacking<'a> {
    input: &'a Path,
    output: &'a Path,
    compression: Compression,
    /// Bytes that may come out.
    most: u64,
}

impl Unpacking<'_> {
    fn run(
        &self,
        writer: &mut SparseWriter<'_>,
        cancel: &Cancel,
        meter: &mut Meter<'_>,
    ) -> Result<(), PackageError> {
        let Self { input, output, .. } = *self;
        let file = File::open(input).map_err(FsError::at("open", input))?;
        let total = file.metadata().map_err(FsError::at("look at", input))?.len();
        let done = Cell::new(0);
        let counted = Counted {
            inner: file,
            done: &done,
        };
        let mut decoder = decoder(self.compression, BufReader::with_capacity(PIECE, counted))
            .map_err(|e| failed(input, &e))?;
        let mut buffer = vec![0; PIECE];
        loop {
            if cancel.is_cancelled() {
                return Err(PackageError::Cancelled);
            }
            let length = fill(&mut decoder, &mut buffer).map_err(|e| failed(input, &e))?;
            if length == 0 {
                return Ok(());
            }
            if writer.position() + length as u64 > self.most {
                return Err(PackageError::TooLarge {
                    path: input.to_owned(),
                    most: ByteSize(self.most),
                });
            }
            writer.write_all(&buffer[..length]).map_err(|source| {
                let needed =
                    u128::from(writer.position()) * u128::from(total) / u128::from(done.get().max(1));
                let needed = u64::try_from(needed).unwrap_or(u64::MAX);
                FsError::needing("write", output, needed, source)
            })?;
            meter.set(done.get(), total);
        }
    }
}

fn decoder<'a>(compression: Compression, input: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW)?;
            Box::new(decoder)
        }
        Compression::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?;
            Box::new(XzDecoder::new_stream(input, stream))
        }
        Compression::None => Box::new(input),
    })
}

/// Reads until the buffer is full or the end has come. Decompressors give what they have; pages of zeros that are cut
/// in two would be written instead of left out.
fn fill(decoder: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match decoder.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// An error of the system has a number, one of a decompressor has not.
fn failed(input: &Path, error: &io::Error) -> PackageError {
    match error.raw_os_error() {
        Some(number) => FsError::at("read", input)(io::Error::from_raw_os_error(number)).into(),
        None => PackageError::Corrupt {
            path: input.to_owned(),
            what: error.to_string(),
        },
    }
}

/// Counts what the decompressor took, for the progress bar.
struct Counted<'a> {
    inner: File,
    done: &'a Cell<u64>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.done.set(self.done.get() + length as u64);
        Ok(length)
    }
}
