//! What archives and publishers have now, next to what the lock and the images have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::{Cause, Found, Keeper, LockError, Refused, What, archive, at_once, index, read_of};
use crate::lock::Change;
use crate::packages::{Inside, Manager, Package, newer};
use crate::stage::install::ArchiveSource;

/// What there is now.
#[derive(Debug, Default)]
pub struct Now {
    /// What has moved past the lock.
    pub changes: Vec<Change>,
    /// By distro.
    suites: BTreeMap<String, Vec<Suite>>,
}

/// The packages of a suite.
#[derive(Clone, Debug)]
struct Suite {
    name: String,
    is_security: bool,
    versions: Arc<index::Versions>,
}

/// The first of some updates and how many more there are: `openssl 3.0.17-1 → 3.0.17-2, 6 more`. Nothing where there are none.
pub fn in_short(updates: &[Update]) -> Option<String> {
    let first = updates
        .iter()
        .find(|update| update.security)
        .or(updates.first())?;
    Some(match updates.len() - 1 {
        0 => first.to_string(),
        more => format!("{first}, {more} more"),
    })
}

/// A newer version of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Update {
    pub name: String,
    /// What is installed.
    pub old: String,
    pub new: String,
    /// The suite that has it.
    pub suite: String,
    /// Whether a security archive has a newer version than the installed one.
    pub security: bool,
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, old, new, .. } = self;
        write!(f, "{name} {old} → {new}")?;
        if self.security {
            f.write_str(" (security)")
        } else {
            Ok(())
        }
    }
}

impl Now {
    /// The packages of a system of this distro that have newer versions.
    pub fn updates(&self, distro: &str, inside: &Inside) -> Vec<Update> {
        let suites = self.suites.get(distro).map_or(&[][..], Vec::as_slice);
        if inside.manager != Some(Manager::Dpkg) {
            return Vec::new();
        }
        let update = |package: &Package| {
            let (name, old) = (&package.name, &package.version);
            let versions = suites
                .iter()
                .filter_map(|suite| Some((suite, suite.versions.get(name)?)));
            let newer_ones: Vec<_> = versions.filter(|(_, version)| newer(version, old)).collect();
            let mut newest = newer_ones.iter().copied();
            let first = newest.next()?;
            let (suite, new) = newest.fold(first, |best, one| if newer(one.1, best.1) { one } else { best });
            Some(Update {
                name: name.clone(),
                old: old.clone(),
                new: new.clone(),
                suite: suite.name.clone(),
                security: newer_ones.iter().any(|(suite, _)| suite.is_security),
            })
        };
        inside.packages.iter().filter_map(update).collect()
    }
}

impl Keeper<'_> {
    /// Looks at everything that the selected images are made from, and moves nothing.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn now(&self) -> Result<Now, LockError> {
        let (sources, old) = (self.sources(), read_of(&self.manifest.path)?);
        let distros = self.distros();
        let names: BTreeSet<_> = distros.iter().map(|distro| distro.name.clone()).collect();
        let found = self.look(&distros, &sources, &old, What::All(&names));
        // Distros of several architectures, or with other components, have other lists of the same suite.
        let mut archives = Vec::new();
        for one in &found {
            let Found::Archive {
                sources,
                state: Ok(state),
            } = one
            else {
                continue;
            };
            let mut by_lists = BTreeMap::<_, Vec<&ArchiveSource>>::new();
            for &source in sources {
                by_lists.entry(&source.indexes).or_default().push(source);
            }
            archives.extend(by_lists.into_values().map(|sources| (one, sources, state)));
        }
        let listed = at_once(archives, |(one, sources, state)| {
            let versions = index::versions(sources[0], state, self.store, self.cancel);
            (one, sources, state, versions)
        });
        let (mut suites, mut refused) = (BTreeMap::<String, Vec<Suite>>::new(), Vec::new());
        for (one, sources, state, versions) in listed {
            match versions {
                Err(cause) if cause.is_cancelled() => return Err(LockError::Cancelled),
                Err(cause) => refused.push(one.refused(cause)),
                Ok(versions) => {
                    let versions = Arc::new(versions);
                    for source in sources {
                        let suite = Suite {
                            name: source.suite.clone(),
                            is_security: state.is_security(&source.suite),
                            versions: versions.clone(),
                        };
                        suites.entry(source.distro.clone()).or_default().push(suite);
                    }
                }
            }
        }
        if !refused.is_empty() {
            return Err(LockError::Refused(refused));
        }
        let (new, _) = self.take(found, &old, What::All(&names))?;
        let mut changes = old.changes(&new);
        changes.retain(|change| names.contains(&change.distro));
        Ok(Now { changes, suites })
    }
}

impl Keeper<'_> {
    /// What archives had in the state that the lock has, as far as it was looked at before: asks no server.
    pub fn known(&self) -> Now {
        let (sources, seen) = (self.sources(), archive::Seen::of(self.store));
        let Ok(lock) = read_of(&self.manifest.path) else {
            return Now::default();
        };
        let mut now = Now::default();
        for distro in self.distros() {
            let archives = sources[distro.name.as_str()].archives.iter();
            let known = archives.filter_map(|source| {
                let state = seen.state(source, source.locked(&lock)?)?;
                let versions = index::remembered(source, &state, self.store)?;
                Some(Suite {
                    name: source.suite.clone(),
                    is_security: state.is_security(&source.suite),
                    versions: Arc::new(versions),
                })
            });
            now.suites.insert(distro.name.clone(), known.collect());
        }
        now
    }
}

impl Found<'_> {
    fn refused(&self, cause: Cause) -> Refused {
        Refused {
            distros: self.distros().into_iter().collect(),
            what: self.what(),
            cause,
        }
    }
}
