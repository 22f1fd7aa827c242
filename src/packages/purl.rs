//! Package URLs, by which vulnerability databases know packages (github.com/package-url/purl-spec).

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Inside, Package};

impl Inside {
    /// `pkg:deb/debian/openssl@3.0.17-1?arch=amd64&distro=debian-12`.
    pub(super) fn purl(&self, package: &Package) -> String {
        let kind = self.manager.map_or("generic", super::Manager::purl_type);
        let os = |field: &str| self.os.get(field).map_or("", String::as_str);
        let (id, release) = (os("ID"), os("VERSION_ID"));
        // In rpm's versions the epoch stands in front; in package URLs it is a qualifier.
        let (epoch, version) = match (kind, package.version.split_once(':')) {
            ("rpm", Some((epoch, version))) => (Some(epoch), version),
            _ => (None, package.version.as_str()),
        };
        let mut purl = format!("pkg:{kind}/");
        if !id.is_empty() {
            let _ = write!(purl, "{}/", encoded(id));
        }
        let _ = write!(purl, "{}@{}", encoded(&package.name), encoded(version));
        let mut qualifiers = vec![("arch", package.arch.clone())];
        qualifiers.push(("distro", [id, release].join("-").trim_matches('-').to_owned()));
        qualifiers.extend(epoch.map(|epoch| ("epoch", epoch.to_owned())));
        let set = qualifiers.into_iter().filter(|(_, value)| !value.is_empty());
        for (position, (name, value)) in set.enumerate() {
            let sign = if position == 0 { '?' } else { '&' };
            let _ = write!(purl, "{sign}{name}={}", encoded(&value));
        }
        purl
    }
}

/// All but letters, digits, these four and the colon is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'.')
    .remove(b'-')
    .remove(b'_')
    .remove(b'~')
    .remove(b':');

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_have_the_urls_that_vulnerability_databases_know() {
        let purls = |lines: &[&str]| {
            let inside = Inside::read(lines.iter().copied());
            inside
                .packages
                .iter()
                .map(|package| inside.purl(package))
                .collect::<Vec<_>>()
        };
        let debian = [
            "os ID=debian",
            "os VERSION_ID=\"12\"",
            "manager dpkg",
            "package libstdc++6|1:12.2+b1|amd64|gcc-12|",
        ];
        assert_eq!(
            purls(&debian),
            ["pkg:deb/debian/libstdc%2B%2B6@1:12.2%2Bb1?arch=amd64&distro=debian-12"]
        );
        let rpm = [
            "os ID=fedora",
            "os VERSION_ID=42",
            "manager rpm",
            "package curl|1:8.11-1.fc42|x86_64||curl",
        ];
        assert_eq!(
            purls(&rpm),
            ["pkg:rpm/fedora/curl@8.11-1.fc42?arch=x86_64&distro=fedora-42&epoch=1"]
        );
    }
}
