//! Publishers' lists between two looks at them: asked for once in a look, and under the validators of the look before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::digest::sha256_hex;
use crate::stage::fetch::{Ask, Lists, Reason, Small};
use crate::store::Store;

/// A list of this look; none while it is first asked for.
type Seen = Arc<Mutex<Option<Vec<u8>>>>;

/// The lists of one look.
pub(super) struct Remembered<'a> {
    store: &'a Store,
    /// What was asked for in this look, by URL.
    seen: Mutex<BTreeMap<String, Seen>>,
}

impl<'a> Remembered<'a> {
    pub(super) fn of(store: &'a Store) -> Self {
        Self {
            store,
            seen: Mutex::default(),
        }
    }
}

impl Lists for Remembered<'_> {
    fn get(&self, url: &str, ask: &mut Ask<'_>) -> Result<Vec<u8>, Reason> {
        let seen = locked(&self.seen).entry(url.to_owned()).or_default().clone();
        // Several distros may follow one list: the others wait for the first.
        let mut seen = locked(&seen);
        if let Some(bytes) = &*seen {
            return Ok(bytes.clone());
        }
        let note = format!("list-{}", &sha256_hex(url.as_bytes())[..16]);
        let known: Option<Small> = self.store.note(&note);
        let list = match (ask(known.as_ref())?, known) {
            (None, known) => known.unwrap_or_default(),
            (Some(list), _) => {
                if list.etag.is_some() || list.last_modified.is_some() {
                    self.store.set_note(&note, &list);
                }
                list
            }
        };
        Ok(seen.insert(list.bytes()).clone())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
