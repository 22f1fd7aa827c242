//! Fetches a file whose digest is known: mirrors in order, taken up again where a killed run or a cut line left off,
//! hashed as it arrives. The digest decides everything in the end, so bytes of one mirror may complete those of
//! another. Knows nothing of the store, which calls it once for each digest and holds the lock.

mod error;
mod latest;
mod list;
mod local;
mod part;
mod plan;
mod small;
mod task;

use std::path::Path;
use std::time::Duration;

pub use self::error::{FetchError, Reason, SourceFailure};
pub use self::latest::{Finder, Latest, LatestError, Since, Trust};
pub use self::list::look_up;
pub use self::plan::{FetchWork, MediaAt, locked};
pub(super) use self::plan::{MediaInput, medium};
pub use self::small::{Ask, Lists, Small, Unremembered};
pub use self::task::MEDIA;

use self::error::Fault;
use self::part::Part;
use crate::digest::Digest;
use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::host::fs as host_fs;
use crate::host::http::{Body, Client, Get, Head, HttpError, redact};
use crate::size::{GIB, MIB, show_duration};

/// Attempts at one mirror without progress before the next one has its turn.
const ATTEMPTS: u32 = 3;
/// Pause before the second attempt; doubles with each further one.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause, also where the server asks for a longer one (`Retry-After`): there may be other mirrors.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// New bytes that make an attempt count as progress, so that a line that is cut every few minutes still carries a
/// whole image over.
const PROGRESS: u64 = MIB;
/// Most bytes taken from a server that announces no size. No installer medium or cloud image comes near.
const UNANNOUNCED: u64 = 64 * GIB;

/// What to fetch.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Sources in order of preference, all for the same bytes: `http://`, `https://`, `file://` or plain paths.
    pub urls: Vec<String>,
    /// What the bytes must hash to.
    pub digest: Digest,
}

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Size in bytes.
    pub bytes: u64,
    /// The source that completed it, without secrets; none when an earlier run had left the whole file.
    pub url_used: Option<String>,
}

/// Fetches with some settings.
#[derive(Clone, Debug)]
pub struct Fetcher {
    /// Makes the requests.
    pub client: Client,
    /// Attempts at one mirror without progress.
    pub attempts: u32,
    /// Pause before the second attempt.
    pub pause: Duration,
    /// Longest pause, also where a server asks for a longer one.
    pub longest_pause: Duration,
    /// Most bytes taken from a server that announces no size.
    pub unannounced_limit: u64,
}

impl Default for Fetcher {
    fn default() -> Self {
        Self {
            client: Client::default(),
            attempts: ATTEMPTS,
            pause: PAUSE,
            longest_pause: LONGEST_PAUSE,
            unannounced_limit: UNANNOUNCED,
        }
    }
}

/// Fetches into `part` with the usual settings; see [`Fetcher::fetch`].
///
/// # Errors
/// As [`Fetcher::fetch`].
pub fn fetch(spec: &Spec, part: &Path, cancel: &Cancel, emit: &Emitter) -> Result<Fetched, FetchError> {
    Fetcher::default().fetch(spec, part, cancel, emit)
}

impl Fetcher {
    /// Fetches into `part`, a file that may hold what an earlier run got and that stays when this one fails. On
    /// success it holds exactly the bytes of the digest.
    ///
    /// # Errors
    /// [`FetchError::Failed`] with every source's reason; [`FetchError::DiskFull`], [`FetchError::Part`] and
    /// [`FetchError::Cancelled`], which end it at once.
    pub fn fetch(
        &self,
        spec: &Spec,
        part: &Path,
        cancel: &Cancel,
        emit: &Emitter,
    ) -> Result<Fetched, FetchError> {
        let mut part = Part::open(part, &spec.digest, cancel, emit)?;
        if part.len() > 0 && part.is_complete() {
            let bytes = part.finish();
            return Ok(Fetched {
                bytes,
                url_used: None,
            });
        }
        let mut failures = Vec::new();
        for (i, url) in spec.urls.iter().enumerate() {
            let shown = redact(url);
            let mut transfer = Transfer {
                fetcher: self,
                url,
                shown: &shown,
                want: &spec.digest,
                part: &mut part,
                cancel,
                emit,
                whole: false,
            };
            match transfer.run() {
                Ok(()) => {
                    let bytes = part.finish();
                    return Ok(Fetched {
                        bytes,
                        url_used: Some(shown),
                    });
                }
                Err(Fault::Fatal(error)) => return Err(error),
                Err(Fault::Source(reason)) => {
                    if i + 1 < spec.urls.len() {
                        emit.warn(format!("{shown}: {}; trying the next source", reason.brief()));
                    }
                    failures.push(SourceFailure { url: shown, reason });
                }
            }
        }
        Err(FetchError::Failed {
            digest: spec.digest.clone(),
            failures,
        })
    }
}

/// One source being tried.
struct Transfer<'a, 'p> {
    fetcher: &'a Fetcher,
    url: &'a str,
    shown: &'a str,
    want: &'a Digest,
    part: &'a mut Part<'p>,
    cancel: &'a Cancel,
    emit: &'a Emitter,
    /// The part was thrown away once for this source: it may not be again, and no ranges are asked for until bytes
    /// of this source are in it.
    whole: bool,
}

/// How an attempt ended that did not fail.
enum Attempt {
    Done,
    /// What was there is of no use; the part is empty now.
    StartOver(&'static str),
}

impl Transfer<'_, '_> {
    fn run(&mut self) -> Result<(), Fault> {
        if let Some(path) = local::path_of(self.url) {
            return self.copy(&path);
        }
        let (mut failed, mut pause, mut reached) = (0, self.fetcher.pause, self.part.len());
        loop {
            let reason = match self.attempt() {
                Ok(Attempt::Done) => return Ok(()),
                Ok(Attempt::StartOver(why)) => {
                    self.emit
                        .warn(format!("{}: {why}; starting over from zero", self.shown));
                    continue;
                }
                Err(Fault::Source(Reason::Http(HttpError::Cancelled))) => {
                    return Err(Fault::Fatal(FetchError::Cancelled));
                }
                Err(Fault::Source(reason)) => reason,
                Err(fatal) => return Err(fatal),
            };
            // Measured against the most that was ever reached, so that a server that ignores ranges and cuts at the
            // same place each time is given up.
            if self.part.len() >= reached + PROGRESS {
                (failed, pause) = (0, self.fetcher.pause);
            }
            reached = reached.max(self.part.len());
            failed += 1;
            if !reason.is_transient() || failed >= self.fetcher.attempts {
                return Err(Fault::Source(reason));
            }
            let asked = match &reason {
                Reason::Http(e) => e.retry_after(),
                _ => None,
            };
            let wait = asked.unwrap_or(pause).max(pause).min(self.fetcher.longest_pause);
            self.emit.warn(format!(
                "{}: {}; trying again in {} (attempt {} of {})",
                self.shown,
                reason.brief(),
                show_duration(wait),
                failed + 1,
                self.fetcher.attempts,
            ));
            if self.cancel.sleep(wait) {
                return Err(Fault::Fatal(FetchError::Cancelled));
            }
            pause *= 2;
        }
    }

    /// One request and its body.
    fn attempt(&mut self) -> Result<Attempt, Fault> {
        let (url, start) = (self.url, self.part.len());
        let validator = self.part.validator(url).map(str::to_owned);
        let get = Get {
            from: (start > 0).then_some(start),
            if_range: validator.as_deref(),
            ..Get::new(url)
        };
        self.emit.phase(format!("connecting to {}", self.shown));
        let client = &self.fetcher.client;
        let (head, body) = client.get(&get, self.cancel).map_err(from_http)?;
        match head.status {
            206 if start == 0 => return Err(Fault::Source(Reason::Unasked)),
            206 if head.range.is_none_or(|range| range.first != start) => {
                return self.start_over(
                    "the server sent another range than the one asked for",
                    head.error(),
                );
            }
            416 if start > 0 => {
                return self.start_over(
                    "what was fetched earlier is not the start of this file",
                    head.error(),
                );
            }
            206 => {}
            // All of it: the server has no ranges, or the file is another one now (RFC 9110 §13.1.5).
            200 => self.part.restart().map_err(Fault::Fatal)?,
            _ => return Err(from_http(head.error())),
        }
        self.receive(&head, body)?;
        if self.part.is_complete() {
            return Ok(Attempt::Done);
        }
        let mismatch = Reason::Mismatch {
            want: self.want.clone(),
            got: self.part.digest(),
            bytes: self.part.len(),
        };
        let resumed = head.status == 206;
        if resumed && !self.whole {
            self.whole = true;
            self.part.restart().map_err(Fault::Fatal)?;
            return Ok(Attempt::StartOver(
                "what was fetched earlier and this file do not fit together",
            ));
        }
        self.part.restart().map_err(Fault::Fatal)?;
        Err(Fault::Source(mismatch))
    }

    /// Throws the part away, once for each source; the second time it is `error`.
    fn start_over(&mut self, why: &'static str, error: HttpError) -> Result<Attempt, Fault> {
        if self.whole {
            return Err(from_http(error));
        }
        self.whole = true;
        self.part.restart().map_err(Fault::Fatal)?;
        Ok(Attempt::StartOver(why))
    }

    /// Takes in a body, which begins where the part ends.
    fn receive(&mut self, head: &Head, mut body: Body) -> Result<(), Fault> {
        let start = self.part.len();
        let ranged = head.range.filter(|_| head.status == 206);
        let by_range = ranged.map(|range| range.last + 1);
        let total = by_range.or(head.length.map(|length| start + length));
        let announced = ranged.and_then(|range| range.total).or(total);
        self.check_space(total.map(|total| total - start))?;
        let validator = strong_validator(head);
        self.part.remember(self.url, validator).map_err(Fault::Fatal)?;
        self.emit.phase(match start {
            0 => format!("fetching {}", self.shown),
            _ => format!("fetching the rest of {}", self.shown),
        });
        let limit = total.unwrap_or(self.fetcher.unannounced_limit);
        loop {
            let bytes = match body.next(self.cancel) {
                Ok(Some(bytes)) => bytes,
                Ok(None) if announced.is_none_or(|want| self.part.len() >= want) => return Ok(()),
                // Reported of the whole file, not of what this request was to bring.
                Ok(None) | Err(HttpError::Cut { .. }) => {
                    return Err(from_http(HttpError::Cut {
                        got: self.part.len(),
                        want: announced,
                    }));
                }
                Err(error) => return Err(from_http(error)),
            };
            if self.part.len() + bytes.len() as u64 > limit {
                self.part.restart().map_err(Fault::Fatal)?;
                let announced = total.is_some();
                return Err(Fault::Source(Reason::TooLong { limit, announced }));
            }
            let appended = self.part.append(&bytes, announced.unwrap_or(0));
            appended.map_err(Fault::Fatal)?;
        }
    }

    /// Says at once that the disk is too small, not after an hour.
    fn check_space(&self, need: Option<u64>) -> Result<(), Fault> {
        let (Some(need), Ok(free)) = (need, host_fs::free_space(self.part.path())) else {
            return Ok(());
        };
        if need <= free {
            return Ok(());
        }
        Err(Fault::Fatal(FetchError::DiskFull {
            path: self.part.path().to_owned(),
            need: Some(need),
            free: Some(free),
        }))
    }

    fn copy(&mut self, path: &Path) -> Result<(), Fault> {
        self.part.restart().map_err(Fault::Fatal)?;
        self.emit.phase(format!("reading {}", path.display()));
        let part = &mut *self.part;
        local::read(path, self.cancel, |bytes, size| part.append(bytes, size))?;
        if part.is_complete() {
            return Ok(());
        }
        let mismatch = Reason::Mismatch {
            want: self.want.clone(),
            got: part.digest(),
            bytes: part.len(),
        };
        part.restart().map_err(Fault::Fatal)?;
        Err(Fault::Source(mismatch))
    }
}

fn from_http(error: HttpError) -> Fault {
    Fault::Source(Reason::Http(error))
}

/// What an `If-Range` may hold: never a weak tag (RFC 9110 §13.1.5).
fn strong_validator(head: &Head) -> Option<String> {
    let tag = head.etag.as_ref().filter(|tag| !tag.starts_with("W/"));
    tag.or(head.last_modified.as_ref()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strong_validators_vouch_for_a_range() {
        let validator = |etag: Option<&str>, date: Option<&str>| {
            strong_validator(&Head {
                etag: etag.map(str::to_owned),
                last_modified: date.map(str::to_owned),
                ..Head::default()
            })
        };
        assert_eq!(validator(Some("\"a\""), Some("Sat")).as_deref(), Some("\"a\""));
        assert_eq!(validator(Some("W/\"a\""), Some("Sat")).as_deref(), Some("Sat"));
        assert_eq!(validator(Some("W/\"a\""), None), None);
    }
}
