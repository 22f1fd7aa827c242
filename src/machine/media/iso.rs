//! An ISO 9660 image (ECMA-119, with Joliet or Rock Ridge names) without root and without a mount: finds files in it
//! and copies them out. A path never leads out of the image, and a folder structure that never ends is noticed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;

use isomage::TreeNode;

use crate::host::cancel::Cancel;
use crate::machine::disk;
use crate::size::{ByteSize, GIB, MIB};

/// The largest file taken out. Kernels and initial RAM disks are far smaller.
const LARGEST: u64 = GIB;
/// The largest folder list read.
const FOLDER: usize = 16 << 20;
/// Most folders in an image.
const FOLDERS: usize = 20_000;
/// Stack for reading folders, which goes as deep as they are nested.
const STACK: usize = 128 << 20;

/// An image whose contents are known.
#[derive(Debug)]
pub struct Iso {
    path: PathBuf,
    /// What messages call it.
    name: PathBuf,
    root: TreeNode,
}

/// What can go wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum IsoError {
    #[error("stopped")]
    Cancelled,
    /// It cannot be read, or what is taken out cannot be written.
    #[error("could not {action} {}: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Not an ISO 9660 image, or a damaged one.
    #[error(
        "{} is not an ISO image that can be read: {reason}; get the file that its publisher offers, and compare its digest",
        path.display()
    )]
    Unreadable { path: PathBuf, reason: String },
    /// No such file.
    #[error("{} has no file {wanted}{}", path.display(), beside(.there))]
    Absent {
        path: PathBuf,
        wanted: String,
        /// What is in the folder, or in the one that is missing.
        there: Vec<String>,
    },
    /// A file without content or a monster.
    #[error("{wanted} in {} has {size}; that is no file to start a machine from", path.display())]
    Size {
        path: PathBuf,
        wanted: String,
        size: ByteSize,
    },
}

fn beside(names: &[String]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!("; next to where it should be are: {}", names.join(", "))
    }
}

impl Iso {
    /// Reads the folders of an image. `name` is what messages call it.
    ///
    /// # Errors
    /// [`IsoError::File`], [`IsoError::Unreadable`].
    pub fn open(path: &Path, name: &Path) -> Result<Self, IsoError> {
        let file = File::open(path).map_err(|source| IsoError::File {
            action: "open",
            path: path.to_owned(),
            source,
        })?;
        // A page that a server gives in place of a file is the commonest case.
        let text = disk::text_in(&file).ok().flatten();
        let unreadable = |reason: String| IsoError::Unreadable {
            path: name.to_owned(),
            reason: text.clone().map_or(reason, |text| format!("it is {text}")),
        };
        let read = move || {
            let mut bounded = Bounded::new(file);
            // Joliet's names where there are some, else Rock Ridge's, else the short ones.
            isomage::iso9660::parse_iso9660(&mut bounded).map_err(|error| error.to_string())
        };
        let reader = thread::Builder::new()
            .stack_size(STACK)
            .spawn(read)
            .map_err(|error| unreadable(error.to_string()))?;
        let read = reader
            .join()
            .map_err(|_| unreadable("its folders are damaged".to_owned()))?;
        let root = read.map_err(unreadable)?;
        Ok(Self {
            path: path.to_owned(),
            name: name.to_owned(),
            root,
        })
    }

    /// Whether there is such a file.
    pub fn has(&self, wanted: &str) -> bool {
        self.find(wanted).is_ok()
    }

    /// A small text file, such as `.treeinfo`.
    ///
    /// # Errors
    /// [`IsoError`].
    pub fn text(&self, wanted: &str) -> Result<String, IsoError> {
        let mut bytes = Vec::new();
        self.copy(wanted, MIB, &mut bytes, &Cancel::default())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Copies a file out.
    ///
    /// # Errors
    /// [`IsoError`].
    pub fn take(&self, wanted: &str, to: &Path, cancel: &Cancel) -> Result<(), IsoError> {
        let failed = |source| IsoError::File {
            action: "write",
            path: to.to_owned(),
            source,
        };
        let mut file = File::create(to).map_err(failed)?;
        self.copy(wanted, LARGEST, &mut file, cancel)?;
        file.sync_all().map_err(failed)
    }

    fn copy(&self, wanted: &str, most: u64, to: &mut dyn Write, cancel: &Cancel) -> Result<(), IsoError> {
        let node = self.find(wanted)?;
        let size = node.file_length.unwrap_or(0);
        // A symbolic link comes as a file without content.
        if size == 0 || size > most {
            return Err(IsoError::Size {
                path: self.name.clone(),
                wanted: wanted.to_owned(),
                size: ByteSize(size),
            });
        }
        let failed = |source| IsoError::File {
            action: "read",
            path: self.path.clone(),
            source,
        };
        let mut file = File::open(&self.path).map_err(failed)?;
        file.seek(SeekFrom::Start(node.file_location.unwrap_or(0)))
            .map_err(failed)?;
        let mut left = file.take(size);
        let mut buffer = vec![0; 1 << 20];
        let mut copied = 0;
        while copied < size {
            if cancel.is_cancelled() {
                return Err(IsoError::Cancelled);
            }
            let count = left.read(&mut buffer).map_err(failed)?;
            if count == 0 {
                let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "the image ends inside of it");
                return Err(failed(cut));
            }
            to.write_all(&buffer[..count]).map_err(failed)?;
            copied += count as u64;
        }
        Ok(())
    }

    /// A regular file. Case counts only where two names differ by nothing else: images without Joliet and Rock Ridge
    /// have capitals alone.
    fn find(&self, wanted: &str) -> Result<&TreeNode, IsoError> {
        let mut folder = &self.root;
        let mut parts = wanted.split('/').filter(|part| !part.is_empty()).peekable();
        while let Some(part) = parts.next() {
            let named = |same: &dyn Fn(&str) -> bool| folder.children.iter().find(|child| same(&child.name));
            let found =
                named(&|name| name == part).or_else(|| named(&|name| name.eq_ignore_ascii_case(part)));
            match found.filter(|node| node.is_directory == parts.peek().is_some()) {
                Some(node) if !node.is_directory => return Ok(node),
                Some(node) => folder = node,
                None => break,
            }
        }
        let mut there: Vec<_> = folder.children.iter().map(|child| child.name.clone()).collect();
        there.sort();
        there.truncate(12);
        Err(IsoError::Absent {
            path: self.name.clone(),
            wanted: wanted.to_owned(),
            there,
        })
    }
}

/// A file that is read only so far as an honest image has folders: no list too large, none read again and again.
struct Bounded {
    file: File,
    position: u64,
    /// How often each place was read.
    read: BTreeMap<u64, u8>,
}

impl Bounded {
    fn new(file: File) -> Self {
        Self {
            file,
            position: 0,
            read: BTreeMap::new(),
        }
    }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.len() > FOLDER {
            return Err(io::Error::other("a folder in it is larger than any real one"));
        }
        let times = self.read.entry(self.position).or_default();
        *times += 1;
        // The root is read to see which names it has, and again for them.
        if *times > 3 {
            return Err(io::Error::other("a folder in it contains itself"));
        }
        if self.read.len() > FOLDERS {
            return Err(io::Error::other("it has more folders than any real one"));
        }
        let count = self.file.read(buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Bounded {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = self.file.seek(to)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image with a root folder of one entry: a folder `loop` at `sector`, with a list of `length` bytes.
    fn image(sector: u32, length: u32) -> tempfile::NamedTempFile {
        const SECTOR: usize = 2048;
        let mut bytes = vec![0; 20 * SECTOR];
        let record = |name: &[u8], sector: u32, length: u32| {
            let mut record = vec![0; 33 + name.len() + (name.len() + 1) % 2];
            record[0] = u8::try_from(record.len()).unwrap();
            record[2..6].copy_from_slice(&sector.to_le_bytes());
            record[10..14].copy_from_slice(&length.to_le_bytes());
            record[25] = 2;
            record[32] = u8::try_from(name.len()).unwrap();
            record[33..33 + name.len()].copy_from_slice(name);
            record
        };
        for (at, kind) in [(16, 1_u8), (17, 255)] {
            bytes[at * SECTOR] = kind;
            bytes[at * SECTOR + 1..at * SECTOR + 6].copy_from_slice(b"CD001");
        }
        let root = record(&[0], 18, 2048);
        bytes[16 * SECTOR + 156..][..root.len()].copy_from_slice(&root);
        let entry = record(b"LOOP", sector, length);
        bytes[18 * SECTOR..][..entry.len()].copy_from_slice(&entry);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn folders_that_contain_themselves_or_are_monsters_are_refused() {
        let circle = image(18, 2048);
        let error = Iso::open(circle.path(), circle.path()).unwrap_err().to_string();
        assert!(error.contains("a folder in it contains itself; "), "{error}");
        let monster = image(19, u32::MAX);
        let error = Iso::open(monster.path(), monster.path()).unwrap_err().to_string();
        assert!(error.contains("larger than any real one; "), "{error}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "no image").unwrap();
        let error = Iso::open(file.path(), file.path()).unwrap_err().to_string();
        assert!(error.contains("is not an ISO image"), "{error}");
    }
}
