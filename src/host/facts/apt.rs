//! Where this host's own apt gets a distribution's main archive and its security updates from: so that a build uses
//! the mirror that is near and allowed. Knows only how apt's configuration is written.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use super::{OsRelease, os_release};

/// Where apt's configuration is (apt.conf(5): `Dir::Etc`).
const ETC: &str = "/etc/apt";
/// Where it keeps what it downloaded (`Dir::State::Lists`).
const LISTS: &str = "/var/lib/apt/lists";
/// What apt quotes in names of files made of URIs (apt-pkg/contrib/strutl.cc).
const QUOTED: &str = "\\|{}[]<>\"^~_=!@#$%&*";
/// Bytes of a Release file in which its first fields are.
const RELEASE_HEAD: u64 = 4096;

/// A distribution's archive as this host reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AptSource {
    /// URI of the main archive, without a slash at its end.
    pub uri: String,
    /// Where security updates come from, when this host uses them and the suite has them.
    pub security: Option<AptSecurity>,
}

/// Where a suite's security updates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AptSecurity {
    /// URI, without a slash at its end.
    pub uri: String,
    /// `bookworm-security`.
    pub suite: String,
}

/// One source of apt: a suite and a component at a URI.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    uri: String,
    suite: String,
    component: String,
    /// The signed Release file, where it was downloaded.
    release: Option<Release>,
}

/// Whose archive it is, in the words of its Release file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Release {
    origin: String,
    label: String,
}

/// What apt of this host is configured to use.
#[derive(Clone, Debug)]
pub struct AptSources {
    entries: Vec<Entry>,
    host: OsRelease,
}

impl AptSources {
    /// Reads apt's configuration.
    pub fn of_this_host() -> Self {
        Self {
            entries: configured(Path::new(ETC), Path::new(LISTS)),
            host: os_release(),
        }
    }

    /// The suites that apt has downloaded lists of, each with its URI: none before its first `update`.
    pub fn downloaded(&self) -> impl Iterator<Item = (&str, &str)> {
        let known = self.entries.iter().filter(|entry| entry.release.is_some());
        known.map(|entry| (entry.suite.as_str(), entry.uri.as_str()))
    }

    /// The archive of a vendor (`debian`, `ubuntu`) for a suite; none where apt does not use one. The suite need not be
    /// the host's own: an archive carries all of its distribution's suites.
    pub fn mirror(&self, vendor: &str, suite: &str) -> Option<AptSource> {
        decide(&self.entries, vendor, suite, &self.host)
    }
}

/// Everything that `sources.list` and the files next to it name, with origin and label as in the Release files that were
/// downloaded.
fn configured(etc_apt: &Path, lists: &Path) -> Vec<Entry> {
    let mut files = vec![etc_apt.join("sources.list")];
    let beside = fs::read_dir(etc_apt.join("sources.list.d"));
    let mut more: Vec<_> = beside.into_iter().flatten().flatten().map(|f| f.path()).collect();
    more.sort();
    files.extend(more);
    let mut entries = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        match file.extension().and_then(|e| e.to_str()) {
            Some("list") => entries.extend(parse_one_line(&text)),
            Some("sources") => entries.extend(parse_deb822(&text)),
            _ => {}
        }
    }
    for entry in &mut entries {
        entry.release = release_file(lists, entry).map(|release| {
            let field = |name: &str| {
                let line = release.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().trim().to_owned()
            };
            Release {
                origin: field("Origin:"),
                label: field("Label:"),
            }
        });
    }
    entries
}

/// The beginning of the Release file of a suite, as apt has it under a name made of its URI (apt: `URItoFileName`).
fn release_file(lists: &Path, entry: &Entry) -> Option<String> {
    let (_, place) = entry.uri.split_once(':')?;
    let place = place.strip_prefix("//").unwrap_or(place).trim_end_matches('/');
    let mut name = String::new();
    for letter in format!("{place}/dists/{}/", entry.suite).chars() {
        match letter {
            '/' => name.push('_'),
            letter if QUOTED.contains(letter) => name += &format!("%{:02x}", u32::from(letter)),
            letter => name.push(letter),
        }
    }
    ["InRelease", "Release"].iter().find_map(|kind| {
        let file = fs::File::open(lists.join(name.clone() + kind)).ok()?;
        let mut head = Vec::new();
        file.take(RELEASE_HEAD).read_to_end(&mut head).ok()?;
        Some(String::from_utf8_lossy(&head).into_owned())
    })
}

/// The one-line style of sources.list(5): `deb [options] uri suite component…`.
fn parse_one_line(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let Some(rest) = line.trim().strip_prefix("deb ") else {
            continue;
        };
        let rest = match rest.trim().strip_prefix('[') {
            Some(options) => options.split_once(']').map_or("", |(_, rest)| rest),
            None => rest,
        };
        let mut words = rest.split_whitespace();
        let (Some(uri), Some(suite)) = (words.next(), words.next()) else {
            continue;
        };
        entries.extend(words.map(|component| Entry::configured(uri, suite, component)));
    }
    entries
}

/// The deb822 style of sources.list(5): paragraphs of fields, of which we need four.
fn parse_deb822(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .fold(String::new(), |text, line| text + line.trim_end() + "\n");
    for paragraph in text.split("\n\n") {
        let field = |name: &str| deb822_words(paragraph, name);
        let disabled = field("Enabled")
            .first()
            .is_some_and(|v| v.eq_ignore_ascii_case("no"));
        if disabled || !field("Types").iter().any(|t| t == "deb") {
            continue;
        }
        for uri in field("URIs") {
            for suite in field("Suites") {
                let components = field("Components");
                entries.extend(components.iter().map(|c| Entry::configured(&uri, &suite, c)));
            }
        }
    }
    entries
}

/// The words of a field, its continuation lines included.
fn deb822_words(paragraph: &str, name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut inside = false;
    for line in paragraph.lines() {
        let value = if line.starts_with([' ', '\t']) {
            inside.then_some(line)
        } else {
            let field = line.split_once(':');
            let field = field.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name));
            inside = field.is_some();
            field.map(|(_, value)| value)
        };
        words.extend(
            value
                .into_iter()
                .flat_map(str::split_whitespace)
                .map(str::to_owned),
        );
    }
    words
}

impl Entry {
    fn configured(uri: &str, suite: &str, component: &str) -> Self {
        Self {
            uri: uri.to_owned(),
            suite: suite.to_owned(),
            component: component.to_owned(),
            release: None,
        }
    }

    /// The folder that the archive is in: `debian`, `debian-security`, `ubuntu`.
    fn folder(&self) -> &str {
        self.uri
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default()
    }

    /// Whether it belongs to the vendor's own archive. The Release file says so; without one, the archive's folder
    /// does (all mirrors keep the name), or that the host's own suite comes from there.
    fn is_of(&self, vendor: &str, host: &OsRelease) -> bool {
        if let Some(release) = self.release.as_ref().filter(|release| !release.origin.is_empty()) {
            return release.origin.eq_ignore_ascii_case(vendor);
        }
        let own = host.id == vendor && !host.codename.is_empty() && self.base_suite() == host.codename;
        let folder = self.folder();
        folder == vendor || folder == format!("{vendor}-security") || (own && self.component == "main")
    }

    fn is_security(&self) -> bool {
        self.suite.ends_with("-security")
            || self.suite.ends_with("/updates")
            || (self.release.as_ref()).is_some_and(|release| release.label.ends_with("-Security"))
    }

    /// The suite without what its updates are called.
    fn base_suite(&self) -> &str {
        let end = self.suite.find(['-', '/']).unwrap_or(self.suite.len());
        &self.suite[..end]
    }
}

/// Picks the main archive and the security archive among all entries.
fn decide(entries: &[Entry], vendor: &str, suite: &str, host: &OsRelease) -> Option<AptSource> {
    let ours: Vec<_> = entries.iter().filter(|e| e.is_of(vendor, host)).collect();
    let is_main = |e: &Entry| !e.is_security() && !e.suite.ends_with("-backports");
    // The plain suite's archive first: on some hosts only the updates come from elsewhere.
    let main = ours.iter().find(|e| is_main(e) && e.suite == e.base_suite());
    let main = main.or_else(|| ours.iter().find(|e| is_main(e)))?;
    // Debian's moving targets have no security suites of their own.
    let moving = matches!(suite, "sid" | "unstable" | "experimental" | "rc-buggy");
    let security = ours.iter().find(|e| e.is_security() && !moving);
    Some(AptSource {
        uri: followed(&main.uri),
        security: security.map(|security| AptSecurity {
            uri: followed(&security.uri),
            suite: format!("{suite}-security"),
        }),
    })
}

/// Without a slash at its end. Cloud images name a file that lists mirrors (`mirror+file:/etc/apt/mirrors/debian.list`,
/// apt-transport-mirror(1)), which other tools cannot follow: the first mirror in it stands in.
fn followed(uri: &str) -> String {
    let first = uri.strip_prefix("mirror+file:").and_then(|list| {
        let list = format!("/{}", list.trim_start_matches('/'));
        first_mirror(&fs::read_to_string(list).ok()?)
    });
    let uri = first.unwrap_or_else(|| uri.to_owned());
    uri.trim_end_matches('/').to_owned()
}

fn first_mirror(text: &str) -> Option<String> {
    let lines = text.lines().map(str::trim);
    let line = lines.into_iter().find(|l| !l.is_empty() && !l.starts_with('#'))?;
    line.split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(id: &str, codename: &str) -> OsRelease {
        OsRelease {
            id: id.to_owned(),
            codename: codename.to_owned(),
            ..OsRelease::default()
        }
    }

    /// Entries of these sources, all downloaded, with origin and label behind a `|`.
    fn downloaded(text: &str) -> Vec<Entry> {
        let entry = |line: &str| {
            let (source, whose) = line.split_once(" | ").unwrap();
            let (origin, label) = whose.split_once(" | ").unwrap();
            let mut entry = parse_one_line(source).remove(0);
            entry.release = Some(Release {
                origin: origin.to_owned(),
                label: label.to_owned(),
            });
            entry
        };
        text.lines().map(entry).collect()
    }

    #[test]
    fn the_main_archive_is_known_by_its_signed_origin() {
        let entries = downloaded(
            "deb http://tools.example/apt/ stable main | Toolmaker | Tools\n\
             deb http://mirror.example/debian/ bookworm-backports main | Debian Backports | Debian Backports\n\
             deb http://mirror.example/debian/ bookworm-updates main | Debian | Debian\n\
             deb http://mirror.example/debian/ bookworm main | Debian | Debian\n\
             deb http://mirror.example/safe/ bookworm/updates main | Debian | Debian-Security\n",
        );
        let host = host("debian", "bookworm");
        let source = decide(&entries, "debian", "trixie", &host).unwrap();
        assert_eq!(source.uri, "http://mirror.example/debian");
        let security = source.security.unwrap();
        assert_eq!(security.uri, "http://mirror.example/safe");
        assert_eq!(security.suite, "trixie-security");
        let sid = decide(&entries, "debian", "sid", &host).unwrap();
        assert_eq!(sid.security, None);
        assert_eq!(decide(&entries, "ubuntu", "noble", &host), None);
        assert_eq!(decide(&[], "debian", "trixie", &host), None);
    }

    #[test]
    fn one_archive_may_hold_security_updates_too() {
        let entries = downloaded(
            "deb http://mirror.example/ubuntu/ noble main | Ubuntu | Ubuntu\n\
             deb http://mirror.example/ubuntu/ noble-security main | Ubuntu | Ubuntu\n",
        );
        let source = decide(&entries, "ubuntu", "noble", &host("ubuntu", "noble")).unwrap();
        assert_eq!(source.security.unwrap().uri, source.uri);
    }

    #[test]
    fn a_fresh_container_has_only_its_configuration() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sources.list.d")).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(
            "sources.list",
            "# deb http://no.example/debian bookworm main\n\
             deb-src http://src.example/debian bookworm main\n\
             deb [arch=amd64 signed-by=/x.gpg] http://tools.example/apt stable main # tools\n",
        );
        write(
            "sources.list.d/debian.sources",
            "Types: deb deb-src\n# a comment\nURIs: http://mirror.example/debian\nSuites: bookworm\n \
             bookworm-updates\nComponents: main contrib\nSigned-By: /k.gpg\n\nTypes: deb\n\
             URIs: http://mirror.example/debian-security\nSuites: bookworm-security\nComponents: main\n\n\
             Enabled: no\nTypes: deb\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\n",
        );
        let lists = folder.path().join("lists");
        fs::create_dir(&lists).unwrap();
        let entries = configured(folder.path(), &lists);
        let source = decide(&entries, "debian", "bookworm", &host("debian", "bookworm")).unwrap();
        assert_eq!(source.uri, "http://mirror.example/debian");
        assert_eq!(
            source.security.unwrap().uri,
            "http://mirror.example/debian-security"
        );
        assert!(entries.iter().all(|e| !e.uri.contains("off.example")));
        assert!(entries.iter().all(|e| e.release.is_none()));

        // After the first update, the Release files tell whose archives they are.
        let release =
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nLabel: Debian-Security\n";
        let name = "mirror.example_debian-security_dists_bookworm-security_InRelease";
        fs::write(lists.join(name), release).unwrap();
        fs::write(
            lists.join("tools.example_apt_dists_stable_Release"),
            "Origin: Tools\n",
        )
        .unwrap();
        let entries = configured(folder.path(), &lists);
        let known = entries
            .iter()
            .filter_map(|e| Some((e.suite.as_str(), e.release.clone()?)));
        let known: Vec<_> = known.map(|(suite, r)| (suite, r.origin, r.label)).collect();
        let expected = [
            ("stable", "Tools", ""),
            ("bookworm-security", "Debian", "Debian-Security"),
        ];
        assert_eq!(known, expected.map(|(s, o, l)| (s, o.to_owned(), l.to_owned())));
    }

    #[test]
    fn an_archive_with_an_odd_name_is_known_by_the_hosts_own_suite() {
        let entries = parse_one_line("deb http://nexus.example/apt-proxy bookworm main\n");
        let find = |id, codename| decide(&entries, "debian", "trixie", &host(id, codename));
        assert_eq!(
            find("debian", "bookworm").unwrap().uri,
            "http://nexus.example/apt-proxy"
        );
        assert_eq!(find("ubuntu", "noble"), None);
    }

    #[test]
    fn a_list_of_mirrors_is_followed_to_its_first() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("debian.list");
        let text = "# near\n\nhttps://near.example/debian/\tpriority:1\nhttps://far.example/debian\n";
        fs::write(&list, text).unwrap();
        let uri = format!("mirror+file:{}", list.display());
        assert_eq!(followed(&uri), "https://near.example/debian");
        assert_eq!(followed("http://a/debian/"), "http://a/debian");
    }
}
