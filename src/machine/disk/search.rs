//! Looks for texts in all that a guest can see of a disk, whatever file systems are on it.

use memchr::memmem::Finder;

use super::layers::{CLUSTER, Layers};
use super::{DiskError, SECTOR};
use crate::host::cancel::Cancel;

/// What a sector begins with behind which content has another form, compressed or encrypted, by its place: the kernel's
/// documentation of btrfs, f2fs (with its version, 1) and NTFS, LUKS1's and LUKS2's specifications, bcachefs_format.h,
/// uberblock_impl.h of ZFS.
const VEILS: [(usize, &[u8]); 6] = [
    (0x40, b"_BHRfS_M"),
    (0, b"\x10\x20\xf5\xf2\x01\0"),
    (0, b"LUKS\xba\xbe"),
    NTFS,
    (
        24,
        b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
    ),
    (0, b"\x0c\xb1\xba\0\0\0\0\0"),
];

const NTFS: (usize, &[u8]) = (3, b"NTFS    ");
/// Where NTFS has its length: boot loaders bring its boot sector as a template, without one.
const NTFS_LENGTH: usize = 0x28;

/// A text that is looked for. File systems may cut a file at any sector and lay the pieces down far from each other.
struct Wanted<'t> {
    text: &'t [u8],
    finder: Finder<'t>,
    /// The lengths of what is before a cut, by the byte behind the cut and by the one before it.
    before: Vec<Vec<usize>>,
    behind: Vec<Vec<usize>>,
    whole: usize,
    /// Of each such length, whether some sector ends with that much of the text, and whether one begins with the rest.
    ends: Vec<bool>,
    begins: Vec<bool>,
}

impl<'t> Wanted<'t> {
    fn new(text: &'t str) -> Self {
        let text = text.as_bytes();
        let mut wanted = Self {
            text,
            finder: Finder::new(text),
            before: vec![Vec::new(); 256],
            behind: vec![Vec::new(); 256],
            whole: 0,
            ends: vec![false; text.len()],
            begins: vec![false; text.len()],
        };
        for cut in 1..text.len() {
            wanted.before[usize::from(text[cut - 1])].push(cut);
            wanted.behind[usize::from(text[cut])].push(cut);
        }
        wanted
    }

    fn see(&mut self, sector: &[u8]) {
        let ([first, ..], [.., last]) = (sector, sector) else {
            return;
        };
        for cut in &self.behind[usize::from(*first)] {
            self.begins[*cut] |= sector.starts_with(&self.text[*cut..]);
        }
        for cut in &self.before[usize::from(*last)] {
            self.ends[*cut] |= sector.ends_with(&self.text[..*cut]);
        }
    }

    fn most(&self) -> usize {
        let cuts = self.ends.iter().zip(&self.begins);
        self.whole + cuts.filter(|(ends, begins)| **ends && **begins).count()
    }
}

fn is_veil(sector: &[u8]) -> bool {
    let begins = |at: usize, sign: &[u8]| sector.get(at..).is_some_and(|there| there.starts_with(sign));
    let is_template = begins(NTFS.0, NTFS.1) && begins(NTFS_LENGTH, &[0; 8]);
    !is_template && VEILS.iter().any(|(at, sign)| begins(*at, sign))
}

/// How often each of these texts can be on a disk at most. None: what files hold may be there in another form.
///
/// # Errors
/// [`DiskError::Fs`], [`DiskError::Cancelled`].
pub fn occurrences(disk: &Layers, texts: &[&str], cancel: &Cancel) -> Result<Option<Vec<usize>>, DiskError> {
    let mut all: Vec<_> = texts.iter().map(|text| Wanted::new(text)).collect();
    let mut buffer = Vec::new();
    for cluster in 0..disk.size().div_ceil(CLUSTER) {
        if cancel.is_cancelled() {
            return Err(DiskError::Cancelled);
        }
        buffer.clear();
        if !disk.append(cluster, &mut buffer)? {
            continue;
        }
        for wanted in &mut all {
            wanted.whole += wanted.finder.find_iter(&buffer).count();
        }
        for sector in buffer.chunks(SECTOR as usize) {
            if is_veil(sector) {
                return Ok(None);
            }
            all.iter_mut().for_each(|wanted| wanted.see(sector));
        }
    }
    Ok(Some(all.iter().map(Wanted::most).collect()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::super::layers::Layer;
    use super::*;

    fn found(writes: &[(u64, &[u8])]) -> Option<usize> {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8 << 20).unwrap();
        for (at, bytes) in writes {
            file.as_file().write_all_at(bytes, *at).unwrap();
        }
        let cancel = Cancel::default();
        let disk = Layers::new(vec![Layer::raw(file.path(), &cancel).unwrap()]);
        let found = occurrences(&disk, &["the text"], &cancel).unwrap();
        found.map(|counts| counts[0])
    }

    #[test]
    fn a_text_is_found_wherever_it_is_and_however_it_is_cut() {
        assert_eq!(found(&[(70_000, b"no text")]), Some(0));
        assert_eq!(found(&[(70_000, b"the text"), (1 << 20, b"the text")]), Some(2));
        // Over the end of a cluster, and in pieces far from each other, the second one first.
        assert_eq!(found(&[(65_533, b"the text")]), Some(1));
        assert_eq!(found(&[(1024 - 4, b"the "), (512, b"text")]), Some(1));
        // A sector that ends so, and another that begins with something else.
        assert_eq!(found(&[(1024 - 4, b"the "), (512, b"ext")]), Some(0));
        assert_eq!(found(&[(1024 - 4, b"the "), (513, b"text")]), Some(0));
    }

    #[test]
    fn of_what_may_be_compressed_or_encrypted_nothing_is_said() {
        for (at, sign) in VEILS {
            let start = 1 << 20;
            let length = (start + NTFS_LENGTH as u64, &b"\x01"[..]);
            assert_eq!(found(&[(start + at as u64, sign), length]), None, "{sign:?}");
        }
        assert_eq!(
            found(&[((1 << 20) + 3, NTFS.1)]),
            Some(0),
            "as grub has it in a file"
        );
    }
}
