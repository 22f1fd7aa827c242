//! Earlier states of a package archive: a snapshot service has them below URLs with a time in them, each of which leads to the
//! state that was there at that time.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::digest::sha256_hex;
use crate::host::cancel::Cancel;
use crate::host::http::{Client, Get, HttpError, Limits};
use crate::lock::{Archive, Release, cleartext};

/// Time for a connection, and for a sign of life: such services are slow.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long after its date a state is seen by a service at the latest.
const LATE: SignedDuration = SignedDuration::from_hours(3 * 24);
/// How near two times are between which there is no other state: services look every few hours.
const NEAR: SignedDuration = SignedDuration::from_mins(30);
/// The largest `InRelease`.
const LARGEST: u64 = 16 << 20;

/// Where an archive has a suite as the lock has it. None: as the archive itself has it now, or nowhere.
///
/// # Errors
/// [`HttpError`] of the archive or the service.
pub fn needed(
    template: &str,
    archive: &str,
    locked: &Archive,
    cancel: &Cancel,
) -> Result<Option<String>, HttpError> {
    let now = release(archive, &locked.suite, cancel)?;
    if now.is_some_and(|now| sha256_hex(&now) == locked.sha256) {
        return Ok(None);
    }
    find(template, archive, locked, cancel)
}

/// The URL below which a service has a suite as the lock has it. A state appears there some time after its date, and is
/// looked for between the two; the date itself is tried first.
///
/// # Errors
/// [`HttpError`].
pub fn find(
    template: &str,
    archive: &str,
    locked: &Archive,
    cancel: &Cancel,
) -> Result<Option<String>, HttpError> {
    let (mut before, mut after) = (locked.date, (locked.date + LATE).min(Timestamp::now()));
    let mut at = locked.date;
    loop {
        let url = place(template, archive, at);
        let found = release(&url, &locked.suite, cancel)?;
        if found
            .as_ref()
            .is_some_and(|found| sha256_hex(found) == locked.sha256)
        {
            return Ok(Some(url));
        }
        let release =
            found.and_then(|found| Release::read(&cleartext(&String::from_utf8_lossy(&found))).ok());
        if release.is_some_and(|release| release.date > locked.date) {
            after = at;
        } else {
            before = at;
        }
        if after.duration_since(before) < NEAR {
            return Ok(None);
        }
        at = before + after.duration_since(before) / 2;
    }
}

/// `https://snapshot.debian.org/archive/debian/20261128T025300Z`.
fn place(template: &str, archive: &str, at: Timestamp) -> String {
    let name = archive
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    let time = at.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string();
    let url = template.replace("{archive}", name).replace("{timestamp}", &time);
    url.trim_end_matches('/').to_owned()
}

/// The `InRelease` of a suite; none where there is none.
fn release(archive: &str, suite: &str, cancel: &Cancel) -> Result<Option<Vec<u8>>, HttpError> {
    let client = Client {
        limits: Limits {
            connect: PATIENCE,
            silence: PATIENCE,
            ..Limits::default()
        },
        ..Client::default()
    };
    let url = format!("{}/dists/{suite}/InRelease", archive.trim_end_matches('/'));
    let (head, body) = client.get(&Get::new(&url), cancel)?;
    match head.status {
        200 => body.whole(LARGEST, cancel).map(Some),
        404 | 410 => Ok(None),
        _ => Err(head.error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_leads_to_a_time_of_each_archive() {
        let at = "2026-11-28T02:53:00Z".parse().unwrap();
        let both = "https://s.example/archive/{archive}/{timestamp}/";
        assert_eq!(
            place(both, "http://m.example/debian-security/", at),
            "https://s.example/archive/debian-security/20261128T025300Z"
        );
        assert_eq!(
            place(
                "https://s.example/ubuntu/{timestamp}",
                "http://m.example/ubuntu",
                at
            ),
            "https://s.example/ubuntu/20261128T025300Z"
        );
    }
}
