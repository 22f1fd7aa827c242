//! tar archives (POSIX ustar), as far as files of ours need them: the same members give the same bytes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// Bytes of a block; members begin at blocks.
const BLOCK: u64 = 512;
/// Largest size that a header has digits for; larger ones are binary, as GNU and BSD write them.
const MOST_OCTAL: u64 = (1 << 33) - 1;

/// A member of an archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    /// At most 100 bytes; a folder's ends in `/`.
    pub name: &'a str,
    pub mode: u32,
    /// User and group.
    pub owner: u32,
    /// Bytes of its content.
    pub bytes: u64,
}

impl<'a> Member<'a> {
    /// A file that everybody may read.
    pub fn file(name: &'a str, bytes: u64) -> Self {
        Self {
            name,
            mode: 0o644,
            owner: 0,
            bytes,
        }
    }

    /// Its header.
    pub fn header(&self) -> [u8; BLOCK as usize] {
        let mut header = [0; BLOCK as usize];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, self.name.as_bytes());
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(108, format!("{:07o}", self.owner).as_bytes());
        put(116, format!("{:07o}", self.owner).as_bytes());
        if self.bytes > MOST_OCTAL {
            put(124, &[0x80, 0, 0, 0]);
            put(128, &self.bytes.to_be_bytes());
        } else {
            put(124, format!("{:011o}", self.bytes).as_bytes());
        }
        put(136, format!("{:011o}", 0).as_bytes());
        put(148, b"        ");
        put(156, if self.name.ends_with('/') { b"5" } else { b"0" });
        put(257, b"ustar\x0000");
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
pub(super) fn write_texts(to: &mut impl Write, texts: &[(String, String)]) -> io::Result<u64> {
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
pub(super) fn end(to: &mut impl Write) -> io::Result<()> {
    zeros(to, END)
}

fn zeros(to: &mut impl Write, count: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(count), to).map(drop)
}
