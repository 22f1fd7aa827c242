//! A package archive on loopback, of the shape of Debian's, with one package in each suite.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use pipeline::internals::digest::sha256_hex;

use super::shelf::Shelf;
use super::signer::Signer;
use super::tool;

pub struct Archive {
    pub shelf: Shelf,
    pub signer: Signer,
}

/// What a suite is to be like.
pub struct Suite<'a> {
    pub name: &'a str,
    /// Age of its release file, in days.
    pub age: i64,
    /// Days from now on that it is valid.
    pub valid: i64,
    /// Its list of packages.
    pub packages: &'a str,
    /// The same for arm64; empty: it has none.
    pub arm64: &'a str,
    /// Who signs it: a name of the [`Signer`]'s.
    pub key: &'a str,
}

impl Archive {
    pub fn start() -> Self {
        Self {
            shelf: Shelf::start(),
            signer: Signer::new(&["archive", "stranger"]),
        }
    }

    pub fn url(&self) -> String {
        self.shelf.url("/debian")
    }

    /// Brings a suite into this state.
    pub fn publish(&self, suite: &Suite<'_>) {
        let mut text = format!(
            "Origin: Debian\nLabel: Debian\nSuite: {name}\nCodename: {name}\nDate: {}\nValid-Until: {}\n\
             Architectures: amd64 arm64\nComponents: main\nSHA256:\n",
            date(-suite.age),
            date(suite.valid),
            name = suite.name,
        );
        for (arch, packages) in [("amd64", suite.packages), ("arm64", suite.arm64)] {
            if packages.is_empty() {
                continue;
            }
            let packed = packed(packages);
            let path = format!("main/binary-{arch}/Packages");
            self.put(suite.name, &format!("{path}.xz"), &packed);
            // apt takes a list only where it is spoken of without its compression too.
            for (file, bytes) in [(format!("{path}.xz"), &packed[..]), (path, packages.as_bytes())] {
                text += &format!(" {} {} {file}\n", sha256_hex(bytes), bytes.len());
            }
        }
        self.put(
            suite.name,
            "InRelease",
            &self.signer.clear_signed(suite.key, &text),
        );
    }

    pub fn put(&self, suite: &str, path: &str, bytes: &[u8]) {
        self.shelf.put(&format!("/debian/dists/{suite}/{path}"), bytes);
    }

    /// Requests so far, with whether they had a validator; forgets them.
    pub fn asked(&self) -> Vec<(String, bool)> {
        let asked = self.shelf.asked();
        self.shelf.forget_asked();
        let line = |line: &str| line.rsplit('/').next().unwrap().to_owned();
        let method = |text: &str| text.split(' ').next().unwrap().to_owned();
        let shown = asked.iter().map(|one| {
            let shown = format!("{} {}", method(&one.line), line(&one.line));
            (shown, one.header("if-none-match").is_some())
        });
        shown.collect()
    }
}

/// Days from now, as release files have it.
fn date(days: i64) -> String {
    let at = Timestamp::now() + SignedDuration::from_hours(24 * days);
    at.to_zoned(TimeZone::UTC)
        .strftime("%a, %d %b %Y %H:%M:%S UTC")
        .to_string()
}

fn packed(text: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("Packages"), text).unwrap();
    tool("xz", &["Packages"], folder.path());
    std::fs::read(folder.path().join("Packages.xz")).unwrap()
}
