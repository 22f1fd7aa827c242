//! tar archives (POSIX ustar), as far as files of ours need them: the same members give the same bytes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// Bytes of a block; members begin at blocks.
const BLOCK: u64 = 512;
/// Largest size that a header has digits for; larger ones are binary, as GNU and BSD write them.
pub(super) const MOST_OCTAL: u64 = (1 << 33) - 1;

/// A member of an archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    /// At most [`NAME`] bytes; a folder's ends in `/`.
    pub name: &'a [u8],
    pub kind: u8,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// When it was changed, in seconds.
    pub modified: i64,
    /// What a link leads to: at most [`NAME`] bytes.
    pub link: &'a [u8],
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Bytes of its content.
    pub bytes: u64,
}

/// Kinds of member.
pub(super) const FILE: u8 = b'0';
pub(super) const HARD_LINK: u8 = b'1';
pub(super) const LINK: u8 = b'2';
pub(super) const CHARACTER: u8 = b'3';
pub(super) const BLOCK_DEVICE: u8 = b'4';
pub(super) const FOLDER: u8 = b'5';
pub(super) const PIPE: u8 = b'6';
/// Records that belong to the member behind it (POSIX.1-2001, pax).
pub(super) const RECORDS: u8 = b'x';

/// Bytes of a name that a header has room for.
pub(super) const NAME: usize = 100;
/// Largest number of a user or group, and latest time, that a header has digits for.
pub(super) const MOST_ID: u32 = (1 << 21) - 1;

impl<'a> Member<'a> {
    /// A file that everybody may read.
    pub fn file(name: &'a str, bytes: u64) -> Self {
        Self {
            name: name.as_bytes(),
            kind: FILE,
            mode: 0o644,
            uid: 0,
            gid: 0,
            modified: 0,
            link: b"",
            device: (0, 0),
            bytes,
        }
    }

    /// Its header.
    pub fn header(&self) -> [u8; BLOCK as usize] {
        let mut header = [0; BLOCK as usize];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, &self.name[..self.name.len().min(NAME)]);
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(108, format!("{:07o}", self.uid.min(MOST_ID)).as_bytes());
        put(116, format!("{:07o}", self.gid.min(MOST_ID)).as_bytes());
        if self.bytes > MOST_OCTAL {
            put(124, &[0x80, 0, 0, 0]);
            put(128, &self.bytes.to_be_bytes());
        } else {
            put(124, format!("{:011o}", self.bytes).as_bytes());
        }
        put(
            136,
            format!("{:011o}", self.modified.clamp(0, MOST_OCTAL as i64)).as_bytes(),
        );
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, &self.link[..self.link.len().min(NAME)]);
        put(257, b"ustar\x0000");
        if matches!(self.kind, CHARACTER | BLOCK_DEVICE) {
            put(329, format!("{:07o}", self.device.0.min(MOST_ID)).as_bytes());
            put(337, format!("{:07o}", self.device.1.min(MOST_ID)).as_bytes());
        }
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    }

    /// Zeros behind its content.
    pub fn padding(&self) -> u64 {
        self.bytes.next_multiple_of(BLOCK) - self.bytes
    }

    /// Bytes that it takes in an archive.
    pub fn all(&self) -> u64 {
        BLOCK + self.bytes + self.padding()
    }
}

/// Bytes that end an archive.
pub(super) const END: u64 = 2 * BLOCK;

/// Writes a member whose content is at hand.
pub(super) fn write(to: &mut impl Write, member: &Member<'_>, content: &[u8]) -> io::Result<()> {
    to.write_all(&member.header())?;
    to.write_all(content)?;
    zeros(to, member.padding())
}

/// Writes members whose names and contents are at hand, and gives the bytes that they take.
pub(in crate::stage) fn write_texts(to: &mut impl Write, texts: &[(String, String)]) -> io::Result<u64> {
    let mut bytes = 0;
    for (name, text) in texts {
        let member = Member::file(name, text.len() as u64);
        write(to, &member, text.as_bytes())?;
        bytes += member.all();
    }
    Ok(bytes)
}

/// Writes a member whose content is a file.
pub(super) fn write_file(to: &mut impl Write, member: &Member<'_>, content: &Path) -> io::Result<()> {
    to.write_all(&member.header())?;
    let copied = io::copy(&mut File::open(content)?.take(member.bytes), to)?;
    if copied != member.bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    zeros(to, member.padding())
}

/// Ends an archive.
pub(in crate::stage) fn end(to: &mut impl Write) -> io::Result<()> {
    zeros(to, END)
}

pub(super) fn zeros(to: &mut impl Write, count: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(count), to).map(drop)
}
