//! Removes what is not needed any more from the remote store. What goes is decided by [`select`], which is pure.
//!
//! Hosts put results there at any moment, and there is no lock. What keeps a result that is on its way:
//!
//! 1. Its files are there before its entry. A file that no entry names goes only when it was put there [`GRACE`] ago.
//! 2. A push that finds one of its files there already relies on it only if it is younger than [`RENEW`]; otherwise it
//!    puts it there again, which makes it new. So a push has [`GRACE`] less [`RENEW`] from its first file to its entry.
//! 3. Files are listed before entries, and looked at once more before they are removed: one that was renewed stays.
//!
//! What is left is a renewal between that look and the removal. Then an entry names a file that is gone: a miss for
//! readers, the next host that builds the result puts both there again, and the next clean-up removes such an entry.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::contents::{Condition, Contents, Listed};
use super::error::RemoteError;
use super::objects::{Object, Upload};
use super::{Remote, each, entry_path};
use crate::host::cancel::Cancel;
use crate::store::Address;

/// What is younger may belong to a push that goes on.
const GRACE: Duration = Duration::from_secs(3 * 24 * 3600);
/// A file that is older is put there again by a push that needs it.
pub(super) const RENEW: Duration = Duration::from_secs(24 * 3600);
/// What jobs left is of use to whoever looks for what became of them.
const OF_JOBS: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is to go besides what is of no use to any host.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Results that have been there for longer.
    pub older_than: Option<Duration>,
    /// After that those that have been there longest, until no more than so many bytes are left.
    pub max_bytes: Option<u64>,
    /// Results that stay, however old they are.
    pub keep: BTreeSet<Address>,
    /// Entries that this version of the program cannot read, which stay otherwise.
    pub other_versions: bool,
}

/// Why a result goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Broken,
    Other,
    Old,
    /// The remote store is too large.
    Space,
}

/// What goes.
#[derive(Clone, Debug, Default)]
pub struct Doomed {
    pub results: Vec<(Listed, Why)>,
    /// Files that no result names then.
    files: Vec<Object>,
    of_jobs: Vec<Object>,
    uploads: Vec<Upload>,
    /// Bytes by which the rest is still larger than was asked for.
    pub over: u64,
    /// Entries of other versions that are left alone, and with them all files that no result names.
    pub others: usize,
    /// Results by keys that are not trusted here, which are left alone.
    pub foreign: usize,
}

impl Doomed {
    /// How many files, objects of jobs, and uploads that did not end.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.files.len(), self.of_jobs.len(), self.uploads.len())
    }

    /// Bytes that become free, parts of uploads aside.
    pub fn bytes(&self) -> u64 {
        let objects = self.files.iter().chain(&self.of_jobs);
        objects.map(|object| object.bytes).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.results.is_empty() && self.counts() == (0, 0, 0)
    }
}

/// Decides what goes, by the server's time.
pub fn select(contents: &Contents, policy: &Policy) -> Doomed {
    let before = |age: Duration| {
        let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
        contents.now.checked_sub(age).unwrap_or(Timestamp::MIN)
    };
    let (settled, old) = (before(GRACE), policy.older_than.map(before));
    let why = |result: &Listed| match result.condition {
        _ if result.put > settled || policy.keep.contains(&result.address) => None,
        Condition::Foreign => None,
        Condition::Other => policy.other_versions.then_some(Why::Other),
        Condition::Broken => Some(Why::Broken),
        Condition::Whole => old.filter(|old| result.put < *old).map(|_| Why::Old),
    };
    let mut doomed = Doomed::default();
    let mut staying: Vec<&Listed> = Vec::new();
    for result in &contents.results {
        match why(result) {
            Some(why) => doomed.results.push((result.clone(), why)),
            None => staying.push(result),
        }
    }
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    for file in staying.iter().flat_map(|result| &result.files) {
        *named.entry(file.as_str()).or_default() += 1;
    }
    if let Some(most) = policy.max_bytes {
        let bytes_of = |file: &str| contents.files.get(file).map_or(0, |file| file.bytes);
        let mut left: u64 = named.keys().map(|file| bytes_of(file)).sum();
        staying.retain(|result| {
            let is_free = result.condition == Condition::Whole
                && result.put <= settled
                && !policy.keep.contains(&result.address);
            if left <= most || !is_free {
                return true;
            }
            for file in &result.files {
                let names = named.entry(file.as_str()).or_default();
                *names = names.saturating_sub(1);
                if *names == 0 {
                    left = left.saturating_sub(bytes_of(file));
                    named.remove(file.as_str());
                }
            }
            doomed.results.push(((*result).clone(), Why::Space));
            false
        });
        doomed.over = left.saturating_sub(most);
    }
    let count = |condition| {
        staying
            .iter()
            .filter(|result| result.condition == condition)
            .count()
    };
    (doomed.others, doomed.foreign) = (count(Condition::Other), count(Condition::Foreign));
    // Which files an entry names that cannot be read is not known.
    let free = contents
        .files
        .values()
        .filter(|file| file.changed <= settled && !named.contains_key(file.path.as_str()));
    doomed.files = match doomed.others {
        0 => free.cloned().collect(),
        _ => Vec::new(),
    };
    let (left, unended) = (policy.older_than.unwrap_or(OF_JOBS).max(GRACE), &contents.uploads);
    let of_jobs = contents
        .of_jobs
        .iter()
        .filter(|object| object.changed <= before(left));
    doomed.of_jobs = of_jobs.cloned().collect();
    doomed.uploads = unended
        .iter()
        .filter(|upload| upload.begun <= settled)
        .cloned()
        .collect();
    doomed
}

impl Remote {
    /// Removes what was selected: entries first, so that at no moment one names a file that was removed here.
    ///
    /// # Errors
    /// [`RemoteError::Unsupported`] where this host only reads, [`RemoteError`]; what is left then goes another time.
    pub fn remove(&self, doomed: &Doomed, cancel: &Cancel) -> Result<(), RemoteError> {
        if !self.writes() {
            return Err(RemoteError::ReadOnly);
        }
        each(&doomed.results, &|(result, _)| {
            self.remove_one(&entry_path(&result.address), result.put, cancel)
        })?;
        for objects in [&doomed.files, &doomed.of_jobs] {
            each(objects, &|object| {
                self.remove_one(&object.path, object.changed, cancel)
            })?;
        }
        each(&doomed.uploads, &|upload| {
            self.objects.abort(&upload.path, &upload.id, cancel)
        })?;
        Ok(())
    }

    /// Removes an object, unless it was put there again since it was listed.
    fn remove_one(&self, path: &str, listed: Timestamp, cancel: &Cancel) -> Result<(), RemoteError> {
        let there = self.objects.look(path, cancel)?;
        // Headers have whole seconds.
        let is_new = |changed: Timestamp| changed.as_second() > listed.as_second();
        match there {
            Some(there) if !there.changed.is_some_and(is_new) => self.objects.delete(path, cancel),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
