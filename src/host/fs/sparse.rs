//! Reads and writes files with holes (runs of zeros that take no disk space) without filling them. A disk image of 50
//! GiB often holds 1 GiB of data: what is not there need not be read, copied or written.

use std::fs::File;
use std::io;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom as Extent;
use rustix::io::Errno;

use crate::host::cancel::Cancel;

use super::FsError;

/// Zeros shorter than this, or not at a multiple of it, are written as data: a hole is made of whole pages.
const GRAIN: usize = 4096;
/// How much is copied between two looks at the stop flag.
const COPY_PIECE: u64 = 16 << 20;

static ZEROS: [u8; GRAIN] = [0; GRAIN];

/// What [`BlockReader::next`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// The buffer holds the block's bytes.
    Data,
    /// The block is that many zeros, which are not in the buffer.
    Zeros(usize),
}

/// What is read from start to end in blocks that are data or zeros: a file, or what would be one.
pub trait Blocks {
    /// Bytes of all of it.
    fn size(&self) -> u64;

    /// Where the next block starts.
    fn position(&self) -> u64;

    /// Reads the next block behind what is in the buffer; zeros are left out.
    ///
    /// # Errors
    /// [`FsError::Changed`] when a file became shorter, [`FsError::Io`].
    fn append(&mut self, buffer: &mut Vec<u8>) -> Result<Block, FsError>;

    /// Whether all blocks were read.
    fn at_end(&self) -> bool {
        self.position() == self.size()
    }
}

/// Reads a file in blocks of one size (the last may be shorter), telling blocks of zeros from data by content: a hole
/// and written zeros give the same. The file's length is fixed when it is opened.
#[derive(Debug)]
pub struct BlockReader {
    file: File,
    path: PathBuf,
    size: u64,
    position: u64,
    block: usize,
    /// The extent of data that holds or follows the position. All before it is a hole.
    data: (u64, u64),
}

impl BlockReader {
    /// Opens a file to be read in blocks of that many bytes.
    ///
    /// # Errors
    /// [`FsError::Io`].
    pub fn open(path: &Path, block: usize) -> Result<Self, FsError> {
        let file = File::open(path).map_err(FsError::at("open", path))?;
        let metadata = file.metadata().map_err(FsError::at("look at", path))?;
        if metadata.is_dir() {
            let source = io::Error::from(io::ErrorKind::IsADirectory);
            return Err(FsError::at("read", path)(source));
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            size: metadata.len(),
            position: 0,
            block,
            data: (0, 0),
        })
    }

    /// Reads the next block; at the end, zero bytes of data. The buffer gets exactly the block's length.
    ///
    /// # Errors
    /// [`FsError::Changed`] when the file became shorter, [`FsError::Io`].
    pub fn next(&mut self, buffer: &mut Vec<u8>) -> Result<Block, FsError> {
        self.read(buffer, 0)
    }

    /// Passes over the next block and says what it is. Of most blocks with data a page is read.
    ///
    /// # Errors
    /// As [`BlockReader::next`].
    pub fn pass(&mut self) -> Result<Block, FsError> {
        let (length, is_hole) = self.coming()?;
        let mut page = [0; GRAIN];
        let start = &mut page[..length.min(GRAIN)];
        if !is_hole {
            self.read_at_position(start)?;
        }
        if is_zero(start) {
            return self.next(&mut Vec::new());
        }
        self.position += length as u64;
        Ok(Block::Data)
    }

    fn read(&mut self, buffer: &mut Vec<u8>, behind: usize) -> Result<Block, FsError> {
        let (length, is_hole) = self.coming()?;
        if is_hole {
            self.position += length as u64;
            return Ok(Block::Zeros(length));
        }
        buffer.resize(behind + length, 0);
        self.read_at_position(&mut buffer[behind..])?;
        self.position += length as u64;
        if length > 0 && is_zero(&buffer[behind..]) {
            buffer.truncate(behind);
            Ok(Block::Zeros(length))
        } else {
            Ok(Block::Data)
        }
    }

    /// Length of the next block, and whether it lies in a hole.
    fn coming(&mut self) -> Result<(usize, bool), FsError> {
        let left = self.size - self.position;
        let length = usize::try_from(left).map_or(self.block, |left| left.min(self.block));
        if length > 0 && self.position >= self.data.1 {
            self.data = next_data(&self.file, self.position, self.size)
                .map_err(FsError::at("look for data in", &self.path))?;
        }
        let is_hole = length > 0 && self.position + length as u64 <= self.data.0;
        Ok((length, is_hole))
    }

    fn read_at_position(&self, buffer: &mut [u8]) -> Result<(), FsError> {
        let read = self.file.read_exact_at(buffer, self.position);
        read.map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => FsError::Changed {
                path: self.path.clone(),
            },
            _ => FsError::at("read", &self.path)(source),
        })
    }
}

impl Blocks for BlockReader {
    /// Length of the file when it was opened.
    fn size(&self) -> u64 {
        self.size
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn append(&mut self, buffer: &mut Vec<u8>) -> Result<Block, FsError> {
        let behind = buffer.len();
        self.read(buffer, behind)
    }
}

/// The extents of data of a file, as start and end. Between them are holes.
///
/// # Errors
/// Those of the system.
pub fn data_extents(file: &File) -> io::Result<Vec<(u64, u64)>> {
    let size = file.metadata()?.len();
    let (mut extents, mut position) = (Vec::new(), 0);
    while position < size {
        let (start, end) = next_data(file, position, size)?;
        if start < end {
            extents.push((start, end));
        }
        position = end;
    }
    Ok(extents)
}

/// The first extent of data at or after a position, as start and end; both are `size` when none is left.
fn next_data(file: &File, position: u64, size: u64) -> io::Result<(u64, u64)> {
    let start = match rustix::fs::seek(file, Extent::Data(position)) {
        Ok(start) => start.min(size),
        // Nothing but a hole up to the end (lseek(2)).
        Err(Errno::NXIO) => return Ok((size, size)),
        // A file system that does not tell, or a device: all is data.
        Err(Errno::INVAL | Errno::SPIPE) => return Ok((position, size)),
        Err(errno) => return Err(errno.into()),
    };
    match rustix::fs::seek(file, Extent::Hole(start)) {
        Ok(end) => Ok((start, end.min(size))),
        Err(Errno::NXIO | Errno::INVAL) => Ok((start, size)),
        Err(errno) => Err(errno.into()),
    }
}

/// Adds so many zeros to a buffer, copied by the page: an unoptimised build of [`Vec::resize`] writes them one by one.
pub fn add_zeros(buffer: &mut Vec<u8>, length: usize) {
    let end = buffer.len() + length;
    buffer.reserve(length);
    while buffer.len() < end {
        let more = GRAIN.min(end - buffer.len());
        buffer.extend_from_slice(&ZEROS[..more]);
    }
}

/// Whether all bytes are zero. Compared by the page, which is one fast `memcmp` each.
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes
        .chunks(GRAIN)
        .all(|chunk| chunk.first() == Some(&0) && chunk == &ZEROS[..chunk.len()])
}

/// Writes a new file from its start, leaving holes where zeros would be.
#[derive(Debug)]
pub struct SparseWriter<'a> {
    file: &'a File,
    position: u64,
}

impl<'a> SparseWriter<'a> {
    /// A writer over an empty file.
    pub fn new(file: &'a File) -> Self {
        Self { file, position: 0 }
    }

    /// How long the file is so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Leaves a hole.
    pub fn zeros(&mut self, length: u64) {
        self.position += length;
    }

    /// Writes bytes as they are, zeros too.
    ///
    /// # Errors
    /// Those of the system.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.position)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Sets the file's length (a hole at its end was not written).
    ///
    /// # Errors
    /// Those of the system.
    pub fn finish(self) -> io::Result<u64> {
        self.file.set_len(self.position)?;
        Ok(self.position)
    }
}

impl Write for SparseWriter<'_> {
    /// Writes bytes, leaving out whole aligned pages of zeros.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut run = 0;
        let mut at = 0;
        while at < bytes.len() {
            let from_boundary = usize::try_from((self.position + (at - run) as u64) % GRAIN as u64)
                .expect("a remainder below 4096");
            let length = (GRAIN - from_boundary).min(bytes.len() - at);
            if length == GRAIN && is_zero(&bytes[at..at + length]) {
                self.data(&bytes[run..at])?;
                self.zeros(GRAIN as u64);
                run = at + length;
            }
            at += length;
        }
        self.data(&bytes[run..])?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Copies the extents of data of one open file into another, empty one. Inside, the system moves the bytes
/// (`copy_file_range`); on file systems that can, it shares them.
pub(super) fn copy_contents(
    mut source: &File,
    from: &Path,
    mut target: &File,
    to: &Path,
    cancel: &Cancel,
) -> Result<(), FsError> {
    let size = source.metadata().map_err(FsError::at("look at", from))?.len();
    let mut position = 0;
    while position < size {
        let (start, end) =
            next_data(source, position, size).map_err(FsError::at("look for data in", from))?;
        let both = source
            .seek(SeekFrom::Start(start))
            .and_then(|_| target.seek(SeekFrom::Start(start)));
        both.map_err(FsError::at("read", from))?;
        position = start;
        while position < end {
            if cancel.is_cancelled() {
                return Err(FsError::Cancelled);
            }
            let piece = COPY_PIECE.min(end - position);
            let copied = io::copy(&mut io::Read::take(&mut source, piece), &mut target);
            let copied = copied.map_err(|source| FsError::needing("copy to", to, size, source))?;
            if copied == 0 {
                return Err(FsError::Changed {
                    path: from.to_owned(),
                });
            }
            position += copied;
        }
    }
    target.set_len(size).map_err(FsError::at("write", to))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// 64 MiB with data at 1 MiB (3 bytes), at 32 MiB (one block of written zeros, then data), and a hole at its end.
    fn holey(path: &Path) {
        let file = File::create(path).unwrap();
        file.set_len(64 * MIB).unwrap();
        file.write_all_at(b"one", MIB).unwrap();
        file.write_all_at(&[0; 1 << 20], 32 * MIB).unwrap();
        file.write_all_at(&[7; 5000], 33 * MIB).unwrap();
        file.sync_all().unwrap();
    }

    #[test]
    fn blocks_are_told_apart_by_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        holey(&path);
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"late", 40 * MIB + 70_000).unwrap();
        let mut reader = BlockReader::open(&path, 1 << 20).unwrap();
        let mut passing = BlockReader::open(&path, 1 << 20).unwrap();
        let (mut buffer, mut data) = (Vec::new(), Vec::new());
        while !reader.at_end() {
            let at = reader.position() / MIB;
            let block = reader.next(&mut buffer).unwrap();
            assert_eq!(passing.pass().unwrap(), block);
            if block == Block::Data {
                data.push(at);
            }
        }
        assert_eq!(data, [1, 33, 40]);
        assert!(passing.at_end());
        assert_eq!(reader.next(&mut buffer).unwrap(), Block::Data);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_file_that_shrinks_under_the_reader_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        std::fs::write(&path, [1; 100]).unwrap();
        let mut reader = BlockReader::open(&path, 1 << 20).unwrap();
        std::fs::write(&path, [1; 10]).unwrap();
        let message = reader.next(&mut Vec::new()).unwrap_err().to_string();
        assert!(message.contains("changed while it was read"), "{message}");
    }

    #[test]
    fn a_copy_keeps_bytes_and_holes() {
        let copy = |from: &Path, to: &Path, cancel: &Cancel| {
            let (source, target) = (File::open(from).unwrap(), File::create(to).unwrap());
            copy_contents(&source, from, &target, to, cancel)
        };
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        holey(&from);
        copy(&from, &to, &Cancel::default()).unwrap();
        assert!(std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap());
        let taken = std::fs::metadata(&to).unwrap().blocks() * 512;
        assert!(taken < 4 * MIB, "{taken} bytes on disk");
        let cancel = Cancel::default();
        cancel.cancel();
        let stopped = copy(&from, &folder.path().join("no"), &cancel);
        assert!(matches!(stopped, Err(FsError::Cancelled)));
    }

    #[test]
    fn a_sparse_writer_leaves_zeros_out_however_they_come() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let mut bytes = vec![0; 3 << 20];
        bytes[5] = 1;
        bytes[(2 << 20) + 4095] = 2;
        for piece in [1 << 20, 100_000, 4097] {
            let file = File::create(&path).unwrap();
            let mut writer = SparseWriter::new(&file);
            for chunk in bytes.chunks(piece) {
                writer.write_all(chunk).unwrap();
            }
            assert_eq!(writer.finish().unwrap(), 3 << 20);
            assert!(std::fs::read(&path).unwrap() == bytes, "pieces of {piece}");
        }
        let file = File::create(&path).unwrap();
        let mut writer = SparseWriter::new(&file);
        writer.write_all(&bytes).unwrap();
        writer.finish().unwrap();
        file.sync_all().unwrap();
        assert_eq!(file.metadata().unwrap().blocks() * 512, 2 * 4096);
    }
}
