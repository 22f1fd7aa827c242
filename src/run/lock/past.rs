//! What is built from the state that the lock has although its archive has moved on: where the manifest names snapshots of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cause, Found, Keeper, LockError, Refused};
use crate::host::http::{HttpError, redact};
use crate::lock::{Archive, Lock, Refusal, day};
use crate::stage::install::{ArchiveSource, snapshot};

/// What snapshots have of the states that archives no longer have.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// Where the suites are that are built from snapshots, in words.
    pub(super) kept: Vec<String>,
    /// What no snapshot has, in words.
    pub(super) lacking: Vec<String>,
}

impl Keeper<'_> {
    /// Takes distros out of what was found that can be built as the lock has them.
    pub(super) fn take_snapshots(&self, found: &mut Vec<Found<'_>>, old: &Lock) -> Result<Past, LockError> {
        let (mut past, mut kept, mut refused) = (Past::default(), BTreeSet::new(), Vec::new());
        for (distro, suites) in moved(found, old) {
            let mut places = Vec::new();
            for (template, source, locked) in &suites {
                let state = format!("{distro}: {} of {}", source.suite, day(locked.date));
                match snapshot::find(template, &source.url, locked, self.cancel) {
                    Ok(Some(url)) => places.push(format!("{state} from {}", redact(&url))),
                    Ok(None) => past.lacking.push(format!(
                        "{state} is not among the snapshots of {}",
                        redact(template)
                    )),
                    Err(HttpError::Cancelled) => return Err(LockError::Cancelled),
                    Err(error) => refused.push(Refused {
                        distros: [distro.to_owned()].into(),
                        what: format!("snapshots of suite {}", source.suite),
                        cause: error.into(),
                    }),
                }
            }
            if places.len() == suites.len() {
                past.kept.append(&mut places);
                kept.insert(distro);
            }
        }
        if !refused.is_empty() {
            return Err(LockError::Refused(refused));
        }
        found.retain_mut(|one| match one {
            Found::Archive { sources, .. } => {
                sources.retain(|source| !kept.contains(source.distro.as_str()));
                !sources.is_empty()
            }
            Found::Medium { .. } => true,
        });
        Ok(past)
    }
}

/// The suites with snapshots that have moved past the lock, or are moving, by distro.
fn moved<'s>(
    found: &[Found<'s>],
    old: &'s Lock,
) -> BTreeMap<&'s str, Vec<(&'s str, &'s ArchiveSource, &'s Archive)>> {
    let mut moved = BTreeMap::<_, Vec<_>>::new();
    for one in found {
        let Found::Archive { sources, state } = one else {
            continue;
        };
        let has_moved = |locked| match state {
            Ok(state) => !state.is(locked),
            Err(cause) => matches!(cause, Cause::State(Refusal::MidSync { .. })),
        };
        for &source in sources {
            if let (Some(template), Some(locked)) = (&source.snapshot, source.locked(old))
                && has_moved(locked)
            {
                let suite = (template.as_str(), source, locked);
                moved.entry(source.distro.as_str()).or_default().push(suite);
            }
        }
    }
    moved
}
