//! Makes and moves the lock of a manifest: asks archives and publishers what there is now, believes what is signed, and
//! writes the file whole.

mod archive;
mod error;
mod index;
mod keep;
mod lists;
mod medium;
mod now;
mod past;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::thread;

pub use self::error::{Cause, LockError, Refused};
use self::lists::Remembered;
pub use self::now::{Now, Update, in_short};
use self::past::Past;
use super::mirrors::mirrors;
use crate::host::cancel::Cancel;
use crate::host::fs as host_fs;
use crate::host::http::redact;
use crate::lock::{Archive, Change, Lock, LockFileError, Medium, path_of, read, write};
use crate::manifest::model::{Distro, Manifest, Proof};
use crate::stage::install::{self, ArchiveSource, MediumSource};
use crate::store::Store;

/// Questions at the same time.
const AT_ONCE: usize = 8;
/// The largest lock; thousands of entries have less.
const LARGEST: u64 = 16 << 20;

/// Reads the lock of a manifest; one without entries where there is none.
///
/// # Errors
/// [`LockError::File`].
pub fn read_of(manifest: &Path) -> Result<Lock, LockError> {
    let path = path_of(manifest);
    let text = match host_fs::read_small(&path, LARGEST).and_then(as_text) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Lock::default()),
        Err(cause) => return Err(LockFileError::Unreadable { path, cause }.into()),
    };
    Ok(read(&path, &text)?)
}

fn as_text(bytes: Vec<u8>) -> std::io::Result<String> {
    String::from_utf8(bytes).map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}

/// What of a lock is looked at.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// What the lock lacks; what cannot be reached stays unlocked.
    Missing,
    /// What these distros are installed from, and what steps of these install from, if it can be reached.
    Reachable {
        installs: &'a BTreeSet<String>,
        steps: &'a BTreeSet<String>,
    },
    /// All of these distros.
    All(&'a BTreeSet<String>),
}

/// How the lock of a manifest was moved, or would be.
#[derive(Debug, Default)]
pub struct Moved {
    pub changes: Vec<Change>,
    /// What could not be looked at.
    pub unreached: Vec<Refused>,
    /// What snapshots have, and have not, of states that archives no longer have.
    past: Past,
    /// Why the lock cannot be written.
    pub unwritten: Option<String>,
}

/// Asks the servers.
#[derive(Clone, Copy)]
pub struct Keeper<'a> {
    pub manifest: &'a Manifest,
    /// Positions in `manifest.images`.
    pub selected: &'a [usize],
    /// Remembers validators.
    pub store: &'a Store,
    /// Whether nothing may be moved.
    pub is_held: bool,
    /// Whether nothing is written.
    pub is_dry: bool,
    pub cancel: &'a Cancel,
    /// Hears of what takes long.
    pub say: &'a dyn Fn(&str),
}

impl Keeper<'_> {
    /// Moves the lock to what there is now.
    ///
    /// # Errors
    /// [`LockError`]; nothing is moved then.
    pub fn renew(&self, what: What<'_>) -> Result<Moved, LockError> {
        let path = path_of(&self.manifest.path);
        let sources = self.sources();
        let is_wanted = |distro: &Distro, lock: &Lock| match what {
            What::Missing => sources[distro.name.as_str()].is_missing(lock),
            What::Reachable { installs, steps } => {
                installs.contains(&distro.name) || steps.contains(&distro.name)
            }
            What::All(names) => names.contains(&distro.name),
        };
        let distros = self.distros();
        let lock = read_of(&self.manifest.path)?;
        if !distros.iter().any(|distro| is_wanted(distro, &lock)) {
            return Ok(Moved::default());
        }
        if self.is_held && matches!(what, What::Missing) {
            let missing = distros.iter().filter(|distro| is_wanted(distro, &lock));
            let changes =
                missing.map(|distro| format!("{} is not in it, or not as the manifest has it", distro.name));
            let changes = changes.collect();
            return Err(LockError::Held { path, changes });
        }
        let writes = !self.is_dry && !self.is_held;
        // Two at once: the second goes on from what the first has written.
        let held = match writes.then(|| self.hold(&path)).transpose() {
            Ok(held) => held,
            // A folder that may only be read was good enough so far.
            Err(LockError::Write(error)) if !matches!(what, What::All(_)) => {
                return Ok(Moved {
                    unwritten: Some(format!("the lock cannot be written and stays as it is: {error}")),
                    ..Moved::default()
                });
            }
            Err(error) => return Err(error),
        };
        let old = if writes {
            read_of(&self.manifest.path)?
        } else {
            lock
        };
        let wanted: Vec<_> = distros
            .into_iter()
            .filter(|distro| is_wanted(distro, &old))
            .collect();
        let mut found = self.look(&wanted, &sources, &old, what);
        let past = match what {
            What::Reachable { .. } => self.take_snapshots(&mut found, &old)?,
            What::Missing | What::All(_) => Past::default(),
        };
        let (new, unreached) = self.take(found, &old, what)?;
        let moved = Moved {
            changes: old.changes(&new),
            unreached,
            past,
            unwritten: None,
        };
        // Also what is no change to people: another keyring, or that it is verified now.
        if moved.changes.is_empty() && (new == old || !writes) {
            return Ok(moved);
        }
        if self.is_held {
            let changes = moved.changes.iter().map(ToString::to_string);
            let changes = changes.chain(moved.past.lacking).collect();
            return Err(LockError::Held { path, changes });
        }
        if writes {
            host_fs::write_atomic(&path, write(&new).as_bytes()).map_err(LockError::Write)?;
        }
        drop(held);
        Ok(moved)
    }

    /// The distros of the selected images.
    fn distros(&self) -> Vec<&Distro> {
        let images = self.selected.iter().filter_map(|&i| self.manifest.images.get(i));
        let names: BTreeSet<_> = images.map(|image| image.distro.as_str()).collect();
        let distros = self.manifest.distros.iter();
        distros
            .filter(|distro| names.contains(distro.name.as_str()))
            .collect()
    }

    fn sources(&self) -> BTreeMap<&str, Sources<'_>> {
        let mirrors = mirrors(self.manifest, self.selected);
        let distros = self.manifest.distros.iter();
        distros
            .map(|distro| {
                let mut archives = install::archives(distro, &mirrors);
                archives.extend(install::guest_archives(distro));
                let sources = Sources {
                    archives,
                    media: install::media(distro),
                };
                (distro.name.as_str(), sources)
            })
            .collect()
    }

    fn hold(&self, path: &Path) -> Result<Hold, LockError> {
        let mut waiting = || (self.say)("waiting: the lock is being moved");
        let lock = host_fs::lock(path, self.cancel, &mut waiting).map_err(|error| match error {
            host_fs::FsError::Cancelled => LockError::Cancelled,
            error => LockError::Write(error),
        })?;
        let path = path.to_owned();
        Ok(Hold { path, _lock: lock })
    }

    /// Asks for everything that these distros are made from, several servers at once and each thing once. Of releases that
    /// are locked only where newer media are wanted.
    fn look<'s>(
        &self,
        wanted: &[&Distro],
        sources: &'s BTreeMap<&str, Sources<'s>>,
        old: &Lock,
        what: What<'_>,
    ) -> Vec<Found<'s>> {
        let is_newer_wanted = matches!(what, What::All(_));
        let is_installed = |distro: &Distro| match what {
            What::Reachable { installs, .. } => installs.contains(&distro.name),
            What::Missing | What::All(_) => true,
        };
        let is_in_use = |distro: &Distro, source: &ArchiveSource| match what {
            What::Reachable { steps, .. } if source.is_of_guests => steps.contains(&distro.name),
            _ => is_installed(distro),
        };
        let mut same: BTreeMap<(String, &str), Vec<&ArchiveSource>> = BTreeMap::new();
        let mut media = Vec::new();
        for distro in wanted {
            let sources = &sources[distro.name.as_str()];
            for source in sources.archives.iter().filter(|source| is_in_use(distro, source)) {
                let keys = source.keyring.as_ref().map(|path| path.display().to_string());
                let place = format!("{} {}", source.url, keys.unwrap_or_default());
                same.entry((place, &source.suite)).or_default().push(source);
            }
            // A run builds from the medium that is locked, also when there is a newer one.
            let keeps = |source: &&MediumSource<'_>| {
                !is_newer_wanted && matches!(source.proof, Proof::Latest(_)) && source.locked(old).is_some()
            };
            if is_installed(distro) {
                media.extend(sources.media.iter().filter(|source| !keeps(source)));
            }
        }
        let seen = archive::Seen::of(self.store);
        let archives: Vec<_> = same.into_values().collect();
        let (cancel, now) = (self.cancel, jiff::Timestamp::now());
        let mut found = at_once(archives, |sources| Found::Archive {
            state: archive::look(&sources, old, &seen, now, cancel),
            sources,
        });
        seen.remember(self.store);
        let lists = Remembered::of(self.store);
        found.extend(at_once(media, |source| Found::Medium {
            source,
            state: medium::look(source, old, &lists, cancel),
        }));
        found
    }

    /// The lock with what was found, if it may be believed.
    fn take(
        &self,
        found: Vec<Found<'_>>,
        old: &Lock,
        what: What<'_>,
    ) -> Result<(Lock, Vec<Refused>), LockError> {
        let (mut new, mut refused, mut unreached) = (old.clone(), Vec::new(), Vec::new());
        let mut without = BTreeSet::new();
        let mut entries = Vec::new();
        for found in found {
            let (distros, what_it_is) = (found.distros(), found.what());
            match found {
                Found::Archive {
                    sources,
                    state: Ok(state),
                } => {
                    entries.extend(sources.iter().map(|source| state.entry(source)));
                }
                Found::Medium {
                    state: Ok(medium), ..
                } => new.set_medium(medium),
                Found::Archive {
                    state: Err(cause), ..
                }
                | Found::Medium {
                    state: Err(cause), ..
                } => {
                    if cause.is_cancelled() {
                        return Err(LockError::Cancelled);
                    }
                    let is_fine = cause.is_absence() && !matches!(what, What::All(_));
                    let is_list = matches!(cause, Cause::List(_));
                    let one = Refused {
                        distros: distros.iter().cloned().collect(),
                        what: what_it_is,
                        cause,
                    };
                    if !is_fine {
                        refused.push(one);
                        continue;
                    }
                    // What fetches the medium says why it cannot.
                    if !is_list {
                        unreached.push(one);
                        without.extend(distros);
                    }
                }
            }
        }
        if !refused.is_empty() {
            return Err(LockError::Refused(refused));
        }
        // A distro is locked with all of its archives, or with none.
        let entries = entries
            .into_iter()
            .filter(|one: &Archive| !without.contains(&one.distro));
        entries.for_each(|entry| new.set_archive(entry));
        self.prune(&mut new);
        Ok((new, unreached))
    }

    /// Takes out what nothing of the manifest needs any more.
    fn prune(&self, lock: &mut Lock) {
        let all: Vec<_> = (0..self.manifest.images.len()).collect();
        let whole = Keeper {
            selected: &all,
            ..*self
        };
        let sources = whole.sources();
        lock.archives.retain(|one| {
            let mut of_distro = sources
                .get(one.distro.as_str())
                .into_iter()
                .flat_map(|s| &s.archives);
            of_distro.any(|source| {
                let is_elsewhere = source.is_of_guests && redact(&source.url) != one.url;
                source.is_of_guests == one.guest && source.suite == one.suite && !is_elsewhere
            })
        });
        lock.media.retain(|one| {
            let mut of_distro = sources
                .get(one.distro.as_str())
                .into_iter()
                .flat_map(|s| &s.media);
            of_distro.any(|source| source.role == one.role)
        });
    }
}

/// Asks several servers at a time, on plain threads: they wait.
fn at_once<T: Send, R: Send>(items: Vec<T>, ask: impl Fn(T) -> R + Sync) -> Vec<R> {
    let (mut items, mut answers) = (items.into_iter().peekable(), Vec::new());
    while items.peek().is_some() {
        let some: Vec<_> = items.by_ref().take(AT_ONCE).collect();
        thread::scope(|scope| {
            let ask = &ask;
            let asked: Vec<_> = some
                .into_iter()
                .map(|item| scope.spawn(move || ask(item)))
                .collect();
            let done = asked.into_iter().map(|one| match one.join() {
                Ok(answer) => answer,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            answers.extend(done);
        });
    }
    answers
}

/// What a distro is made from.
struct Sources<'a> {
    archives: Vec<ArchiveSource>,
    media: Vec<MediumSource<'a>>,
}

impl Sources<'_> {
    fn is_missing(&self, lock: &Lock) -> bool {
        let is_locked = |source: &MediumSource<'_>| source.locked(lock).is_some();
        self.archives.iter().any(|source| source.locked(lock).is_none()) || !self.media.iter().all(is_locked)
    }
}

/// What a server said.
enum Found<'s> {
    Archive {
        /// The distros' views of the same suite.
        sources: Vec<&'s ArchiveSource>,
        state: Result<archive::State, Cause>,
    },
    Medium {
        source: &'s MediumSource<'s>,
        state: Result<Medium, Cause>,
    },
}

impl Found<'_> {
    fn distros(&self) -> Vec<String> {
        match self {
            Self::Archive { sources, .. } => sources.iter().map(|source| source.distro.clone()).collect(),
            Self::Medium { source, .. } => vec![source.distro.to_owned()],
        }
    }

    fn what(&self) -> String {
        match self {
            Self::Archive { sources, .. } => sources.first().map_or_else(String::new, |source| {
                let url = redact(&source.url);
                format!("suite {} of {url}", source.suite)
            }),
            Self::Medium { source, .. } => source.role.to_owned(),
        }
    }
}

/// The right to write the lock.
struct Hold {
    path: PathBuf,
    _lock: host_fs::FileLock,
}

impl Drop for Hold {
    /// A file that was made only to be held is no lock.
    fn drop(&mut self) {
        if self.path.metadata().is_ok_and(|file| file.len() == 0) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
