//! Extended attributes: capabilities of programs, access control lists, labels. They lie behind an inode and in a block.

use super::{DiskError, Ext, Inode, damaged, number, unreadable, usize_of};

const MAGIC: u64 = 0xEA02_0000;
/// Bytes in front of the attributes of a block.
const BLOCK_HEADER: usize = 32;
/// What the numbers of prefixes stand for. The lists of 2 and 3 have a form of their own on the disk.
const PREFIXES: [(u8, &str); 7] = [
    (0, ""),
    (1, "user."),
    (2, "system.posix_acl_access"),
    (3, "system.posix_acl_default"),
    (4, "trusted."),
    (6, "security."),
    (7, "system."),
];

/// A name and a value, as `getxattr` gives them.
pub type Attribute = (Vec<u8>, Vec<u8>);

impl Ext {
    /// The attributes of a file, in the order of their names.
    ///
    /// # Errors
    /// [`DiskError::Unreadable`].
    pub fn attributes(&mut self, inode: &Inode) -> Result<Vec<Attribute>, DiskError> {
        let mut found = Vec::new();
        // How far the inode's own fields go says the first of them.
        let own = usize_of(number(&inode.rest, 0, 2));
        let behind = inode.rest.get(own..).unwrap_or_default();
        if behind.len() >= 4 && number(behind, 0, 4) == MAGIC {
            read(&behind[4..], 0, &mut found)?;
        }
        if inode.attributes != 0 {
            let place = self.place(inode.attributes)?;
            let block = self.reader.read(place, usize_of(self.block))?;
            if number(&block, 0, 4) != MAGIC {
                return Err(damaged("the attributes of a file"));
            }
            read(&block, BLOCK_HEADER, &mut found)?;
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// Reads the attributes that begin at `at`; values are counted from the beginning.
fn read(bytes: &[u8], mut at: usize, found: &mut Vec<Attribute>) -> Result<(), DiskError> {
    while number(bytes, at, 4) != 0 {
        let entry = bytes.get(at..at + 16).ok_or_else(bad)?;
        let (length, prefix) = (usize::from(entry[0]), entry[1]);
        let (value, size) = (usize_of(number(entry, 2, 2)), usize_of(number(entry, 8, 4)));
        if number(entry, 4, 4) != 0 {
            return Err(unreadable("an attribute of a file has a file of its own"));
        }
        let name = bytes.get(at + 16..at + 16 + length).ok_or_else(bad)?;
        let value = value.checked_add(size).and_then(|end| bytes.get(value..end));
        let value = value.ok_or_else(bad)?;
        let known = PREFIXES.iter().find(|(number, _)| *number == prefix);
        let Some((_, prefix_text)) = known else {
            return Err(unreadable("an attribute of a file is of no known kind"));
        };
        let value = match prefix {
            2 | 3 => access_list(value)?,
            _ => value.to_vec(),
        };
        found.push(([prefix_text.as_bytes(), name].concat(), value));
        at += 16 + length.next_multiple_of(4);
    }
    Ok(())
}

/// A list as programs see it (linux/posix_acl_xattr.h): version 2, all entries with an id.
fn access_list(stored: &[u8]) -> Result<Vec<u8>, DiskError> {
    const USER: u64 = 0x02;
    const GROUP: u64 = 0x08;
    let mut list = 2u32.to_le_bytes().to_vec();
    let mut at = 4;
    while at < stored.len() {
        let entry = stored.get(at..at + 4).ok_or_else(bad)?;
        list.extend(entry);
        at += 4;
        if matches!(number(entry, 0, 2), USER | GROUP) {
            list.extend(stored.get(at..at + 4).ok_or_else(bad)?);
            at += 4;
        } else {
            list.extend(u32::MAX.to_le_bytes());
        }
    }
    Ok(list)
}

fn bad() -> DiskError {
    damaged("the attributes of a file")
}
