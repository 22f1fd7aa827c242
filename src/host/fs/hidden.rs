//! Names of files in the making, next to the place they are for. A process that is killed at the wrong moment leaves one
//! behind; whoever writes to the same place next takes it away. A lock on the file tells whether it is still in use,
//! also on a share that several hosts write to, where process ids mean nothing.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::host::random;

use super::FsError;
use super::lock::is_held;

/// The end of such a name.
const END: &str = ".part";

/// A temporary name next to a place, taken away when it is dropped.
#[derive(Debug)]
pub(super) struct Hidden(pub(super) PathBuf);

impl Hidden {
    /// A name that no other thread, process or earlier crash of this program uses. What such a crash left is removed.
    pub(super) fn beside(place: &Path) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        static PROCESS: LazyLock<String> = LazyLock::new(random::word);
        let start = start(place);
        sweep(place, &start);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut name = start;
        name.push(format!("{}-{number}{END}", *PROCESS));
        Self(place.with_file_name(name))
    }

    /// Renames it into its place.
    pub(super) fn rename(self, place: &Path) -> Result<(), FsError> {
        fs::rename(&self.0, place).map_err(FsError::at("replace", place))
        // The drop after this matters in one case: rename(2) leaves both names when they are links to one file.
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

fn start(place: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(place.file_name().unwrap_or_default());
    name.push(".");
    name
}

/// Removes names for this place that are not in use.
fn sweep(place: &Path, start: &OsString) {
    let Ok(entries) = fs::read_dir(super::atomic::folder_of(place)) else {
        return;
    };
    let start = start.as_encoded_bytes();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let middle = name
            .as_encoded_bytes()
            .strip_prefix(start)
            .and_then(|rest| rest.strip_suffix(END.as_bytes()));
        // `PROCESS-NUMBER`, whose first half was a process id once: a place whose own name ends like this has more before it.
        let ours = middle.is_some_and(|middle| {
            let mut halves = middle.split(|&byte| byte == b'-');
            let mut half = |digit: fn(&u8) -> bool| {
                let half = halves.next();
                half.is_some_and(|half| !half.is_empty() && half.iter().all(digit))
            };
            half(u8::is_ascii_hexdigit) && half(u8::is_ascii_digit) && halves.next().is_none()
        });
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if ours && is_file && !is_held(&entry.path()) {
            // Whoever else sweeps may have been quicker.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fs::lock::hold;

    #[test]
    fn what_a_crash_left_goes_and_what_somebody_works_on_stays() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("image");
        for name in [
            ".image.12-0.part",
            ".image.00c0ffee-3.part",
            ".image.12-1.part",
            ".image.x.12-0.part",
            ".image.12.part",
        ] {
            fs::write(folder.path().join(name), "half").unwrap();
        }
        let busy = fs::File::open(folder.path().join(".image.12-1.part")).unwrap();
        hold(&busy);
        let hidden = Hidden::beside(&place);
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [".image.12-1.part", ".image.12.part", ".image.x.12-0.part"]);
        assert!(!hidden.0.exists());
    }
}
