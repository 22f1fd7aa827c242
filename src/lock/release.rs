//! `InRelease` of a package archive (Debian's repository format): what it says of itself, and whether it may be believed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::{Archive, day};

/// First line of a clear-signed text (RFC 9580 §7).
const SIGNED: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";

/// What a release file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Whose archive it is; `Debian-Security`.
    pub label: String,
    pub date: Timestamp,
    /// After that it must not be believed.
    pub valid_until: Option<Timestamp>,
    /// SHA-256 and size of its indexes, by path below the suite.
    pub files: BTreeMap<String, (String, u64)>,
}

/// Why an archive's state is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "what the server answers is no release file: it begins with `{begins}`; is it a login or error page of a proxy?"
    )]
    NotARelease { begins: String },
    #[error("its release file has no `{field}` that can be read")]
    NoField { field: &'static str },
    #[error(
        "its release file was valid until {} and is now out of date; the mirror no longer follows its archive (or this host's \
         clock is wrong): use another mirror", day(*.until)
    )]
    Expired { until: Timestamp },
    #[error(
        "it is older than what the lock has ({} instead of {}): a mirror that lags behind, or an attack by an old list; use \
         another mirror, or remove the entry from the lock if this is meant", day(*.found), day(*.locked)
    )]
    Older { found: Timestamp, locked: Timestamp },
    #[error(
        "the mirror is being updated: its release file says that {file} has {want} bytes, and the server has {found}; try \
         again in some minutes"
    )]
    MidSync { file: String, want: u64, found: u64 },
    #[error(
        "the mirror is being updated: {file} is not the list that its release file speaks of; try again in some minutes"
    )]
    OtherList { file: String },
}

impl Release {
    /// Reads the text inside the signature.
    ///
    /// # Errors
    /// [`Refusal::NotARelease`], [`Refusal::NoField`].
    pub fn read(text: &str) -> Result<Self, Refusal> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        let names = ["Origin", "Suite", "Codename", "Date"];
        if text.trim_start().starts_with('<') || names.iter().all(|name| field(name).is_none()) {
            let begins = text.trim_start().chars().take_while(|c| *c != '\n').take(30);
            return Err(Refusal::NotARelease {
                begins: begins.collect(),
            });
        }
        let date = |name| field(name).map(|text| date(text).ok_or(Refusal::NoField { field: name }));
        Ok(Self {
            label: field("Label").unwrap_or_default().to_owned(),
            date: date("Date")
                .transpose()?
                .ok_or(Refusal::NoField { field: "Date" })?,
            valid_until: date("Valid-Until").transpose()?,
            files: files(text),
        })
    }

    /// Whether it may be believed now, in the place of what the lock has.
    ///
    /// # Errors
    /// [`Refusal::Expired`], [`Refusal::Older`].
    pub fn judge(&self, now: Timestamp, locked: Option<&Archive>) -> Result<(), Refusal> {
        if let Some(until) = self.valid_until.filter(|until| *until < now) {
            return Err(Refusal::Expired { until });
        }
        match locked {
            Some(locked) if self.date < locked.date => Err(Refusal::Older {
                found: self.date,
                locked: locked.date,
            }),
            _ => Ok(()),
        }
    }
}

/// The lines of the field `SHA256`.
fn files(text: &str) -> BTreeMap<String, (String, u64)> {
    let mut lines = text.lines();
    lines.find(|line| line.trim_end() == "SHA256:");
    let lines = lines.take_while(|line| line.starts_with([' ', '\t']));
    let file = |line: &str| {
        let mut words = line.split_whitespace();
        let (digest, size, name) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        Some((name.to_owned(), (digest.to_owned(), size)))
    };
    lines.filter_map(file).collect()
}

/// `Sat, 28 Nov 2026 20:12:33 UTC`.
fn date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let in_utc = ["UTC", "GMT", "Z"]
        .iter()
        .find_map(|zone| text.strip_suffix(zone));
    let text = in_utc.map_or_else(|| text.to_owned(), |rest| format!("{} +0000", rest.trim_end()));
    rfc2822::parse(&text).ok().map(|zoned| zoned.timestamp())
}

/// The text inside a clear signature that cannot be, or need not be, verified; another text as it is.
pub fn cleartext(text: &str) -> String {
    let Some(rest) = text.trim_start().strip_prefix(SIGNED) else {
        return text.to_owned();
    };
    // The armour's own headers end with a blank line.
    let lines = rest
        .lines()
        .skip(1)
        .skip_while(|line| !line.trim().is_empty())
        .skip(1);
    let lines = lines.take_while(|line| *line != SIGNATURE);
    lines.fold(String::new(), |text, line| {
        text + line.strip_prefix("- ").unwrap_or(line) + "\n"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nLabel: Debian-Security\n\
        Date: Sat, 28 Nov 2026 02:53:00 UTC\nValid-Until: Sat,  5 Dec 2026 02:53:00 UTC\nMD5Sum:\n 00 1 main/a\n\
        SHA256:\n ab 20 main/binary-amd64/Packages.xz\n cd      0 main/b\nAcquire-By-Hash: yes\n\
        -----BEGIN PGP SIGNATURE-----\n\nxx\n";

    #[test]
    fn a_release_file_is_read_and_judged() {
        let release = Release::read(&cleartext(TEXT)).unwrap();
        assert_eq!(release.label, "Debian-Security");
        assert_eq!(release.date.to_string(), "2026-11-28T02:53:00Z");
        assert_eq!(release.files.len(), 2);
        assert_eq!(
            release.files["main/binary-amd64/Packages.xz"],
            ("ab".to_owned(), 20)
        );

        let now = |text: &str| text.parse::<Timestamp>().unwrap();
        let judged = release.judge(now("2026-12-05T02:54:00Z"), None);
        assert!(judged.unwrap_err().to_string().contains("valid until 2026-12-05"));
        let mut locked = Archive {
            distro: String::new(),
            suite: String::new(),
            guest: false,
            url: String::new(),
            date: release.date,
            sha256: String::new(),
            signed_by: Vec::new(),
        };
        assert_eq!(release.judge(now("2026-12-01T00:00:00Z"), Some(&locked)), Ok(()));
        locked.date = now("2026-11-28T02:53:01Z");
        let judged = release.judge(now("2026-12-01T00:00:00Z"), Some(&locked));
        assert!(matches!(judged, Err(Refusal::Older { .. })));
    }

    #[test]
    fn pages_and_half_texts_are_no_release_files() {
        let error = |text: &str| Release::read(&cleartext(text)).unwrap_err().to_string();
        assert!(error("<!DOCTYPE html>\n<title>Date: now</title>").contains("`<!DOCTYPE html>`"));
        assert!(error("").contains("no release file"));
        assert!(error("Origin: Debian\n").contains("no `Date`"));
        assert!(error("Origin: Debian\nDate: soon\n").contains("no `Date`"));
    }
}
