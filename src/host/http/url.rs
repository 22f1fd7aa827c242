//! URLs: taken apart, joined after a redirect, and made fit to be shown (no passwords, no tokens).
//! Knows nothing of connections.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ureq::http::Uri;

use super::error::HttpError;

/// An `http` or `https` URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// Without user, password and fragment.
    pub(super) uri: Uri,
    /// Value for an `Authorization` header, when the URL carried a user.
    pub(super) authorization: Option<String>,
}

impl Url {
    /// Takes a URL apart.
    pub(super) fn parse(text: &str) -> Result<Self, HttpError> {
        let bad = |why: &str| HttpError::Url {
            url: redact(text),
            why: why.to_owned(),
        };
        let unsupported = |scheme: &str| {
            bad(&format!(
                "{scheme}:// is not supported, only http:// and https://"
            ))
        };
        if let Some((scheme, _)) = text.split_once("://").filter(|(s, _)| !is_http(s)) {
            return Err(unsupported(scheme));
        }
        let full: Uri = text
            .parse()
            .map_err(|e: ureq::http::uri::InvalidUri| bad(&e.to_string()))?;
        let scheme = full
            .scheme()
            .ok_or_else(|| bad("it does not begin with http:// or https://"))?;
        if !is_http(scheme.as_str()) {
            return Err(unsupported(scheme.as_str()));
        }
        let authority = full
            .authority()
            .filter(|a| !a.host().is_empty())
            .ok_or_else(|| bad("it names no host"))?;
        if !has_sane_port(authority.as_str()) {
            return Err(bad(if text.contains('@') {
                "its port is not a number; write a / in a password as %2F"
            } else {
                "its port is not a number"
            }));
        }
        let (user, place) = match authority.as_str().rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority.as_str()),
        };
        let path = full.path_and_query().map_or("/", |p| p.as_str());
        let uri = Uri::builder()
            .scheme(scheme.clone())
            .authority(place)
            .path_and_query(path)
            .build()
            .map_err(|e| bad(&e.to_string()))?;
        Ok(Self {
            uri,
            authorization: user.map(basic),
        })
    }

    /// Where a `Location` header leads from here (RFC 3986 §5.2). The user goes along only to the same place.
    pub(super) fn join(&self, location: &str) -> Result<Self, HttpError> {
        let location = location.split('#').next().unwrap_or_default();
        let (scheme, place) = (self.scheme(), self.place());
        let text = if has_scheme(location) {
            location.to_owned()
        } else if let Some(rest) = location.strip_prefix("//") {
            format!("{scheme}://{rest}")
        } else if location.starts_with('/') {
            format!("{scheme}://{place}{location}")
        } else {
            let path = self.uri.path();
            let folder = path.rfind('/').map_or("/", |end| &path[..=end]);
            let folder = if location.starts_with('?') { path } else { folder };
            format!(
                "{scheme}://{place}{}",
                remove_dots(&format!("{folder}{location}"))
            )
        };
        let mut next = Self::parse(&text)?;
        if next.authorization.is_none() && next.scheme() == scheme && next.place() == place {
            next.authorization.clone_from(&self.authorization);
        }
        Ok(next)
    }

    /// `http` or `https`.
    pub(super) fn scheme(&self) -> &str {
        self.uri.scheme_str().unwrap_or("http")
    }

    /// Host without the brackets of an IPv6 address.
    pub(super) fn host(&self) -> &str {
        self.uri.host().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// Port, that of the scheme where none is written.
    pub(super) fn port(&self) -> u16 {
        let default = if self.scheme() == "https" { 443 } else { 80 };
        self.uri.port_u16().unwrap_or(default)
    }

    /// `host` or `host:port`, as written.
    pub(super) fn place(&self) -> &str {
        self.uri.authority().map_or("", |a| a.as_str())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(&self.uri.to_string()))
    }
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

/// Whether a reference begins with a scheme (RFC 3986 §3.1).
fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

/// Takes `.` and `..` out of a path; a query stays as it is.
fn remove_dots(path: &str) -> String {
    let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let query = query.map_or_else(String::new, |q| format!("?{q}"));
    format!("/{}{query}", kept.join("/"))
}

/// The `Basic` credentials of a URL's user part (RFC 7617), which is percent-encoded there.
pub(super) fn basic(user: &str) -> String {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let mut plain = percent_decode(name);
    plain.push(b':');
    plain.extend(percent_decode(password));
    format!("Basic {}", BASE64_STANDARD.encode(plain))
}

/// Undoes percent-encoding (RFC 3986 §2.1); what is not well-formed stays as it is.
pub fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digit = |i: usize| bytes.get(at + i).and_then(|b| char::from(*b).to_digit(16));
        match (byte, digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.extend(u8::try_from(high * 16 + low));
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

/// A path with every byte percent-encoded that is not allowed in one as it is (RFC 3986 §3.3); `/` parts its parts.
pub fn percent_encode_path(path: &str) -> String {
    path.bytes()
        .fold(String::with_capacity(path.len()), |mut text, byte| {
            if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
            text
        })
}

/// A URL as it may be shown: user and password replaced, values of the query hidden (signed URLs carry their
/// signature there), no fragment.
/// A plain path is shown as it is.
pub fn redact(url: &str) -> String {
    if !url.contains("://") {
        return url.to_owned();
    }
    let url = url.split('#').next().unwrap_or_default();
    let (front, query) = url.split_once('?').map_or((url, None), |(f, q)| (f, Some(q)));
    let mut shown = hide_user(front);
    if let Some(query) = query {
        for (i, part) in query.split('&').enumerate() {
            shown.push(if i == 0 { '?' } else { '&' });
            let (name, value) = part.split_once('=').map_or((part, None), |(n, v)| (n, Some(v)));
            shown.push_str(name);
            if value.is_some() {
                shown.push_str("=…");
            }
        }
    }
    shown
}

/// Whether what follows the host is nothing, or a port number.
fn has_sane_port(authority: &str) -> bool {
    let place = authority.rsplit('@').next().unwrap_or_default();
    let after = place.rsplit(']').next().unwrap_or_default();
    after
        .split_once(':')
        .is_none_or(|(_, port)| port.is_empty() || port.parse::<u16>().is_ok())
}

fn hide_user(front: &str) -> String {
    let Some((scheme, rest)) = front.split_once("://") else {
        return "***".to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    // A password with a raw `/` in it makes the URL unreadable; then everything up to the last `@` may be secret.
    let readable = has_sane_port(&rest[..end]);
    let at = if readable {
        rest[..end].rfind('@')
    } else {
        rest.rfind('@')
    };
    match at {
        Some(at) => format!("{scheme}://***@{}", &rest[at + 1..]),
        None => front.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_holds_no_secret() {
        for (url, shown) in [
            ("http://joe:s3cret@mirror/a", "http://***@mirror/a"),
            ("http://token@mirror:81/a?b#c", "http://***@mirror:81/a?b"),
            ("http://joe:s3/cret@mirror/a", "http://***@mirror/a"),
            (
                "https://s3/x?id=1&X-Amz-Signature=s3cret",
                "https://s3/x?id=…&X-Amz-Signature=…",
            ),
            ("http://mirror/@scope/pkg", "http://mirror/@scope/pkg"),
            ("/a/plain@path?#", "/a/plain@path?#"),
        ] {
            assert_eq!(redact(url), shown);
        }
        let url = Url::parse("http://joe:s3cret@mirror/a").unwrap();
        assert!(!format!("{url} {:?}", url.uri).contains("s3cret"));
    }

    #[test]
    fn a_user_in_the_url_becomes_basic_credentials() {
        let url = Url::parse("http://Aladdin:open%20sesame@mirror/a").unwrap();
        // The example of RFC 7617 §2.
        assert_eq!(
            url.authorization.as_deref(),
            Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
        );
    }

    #[test]
    fn redirects_are_joined_and_credentials_stay_at_home() {
        let from = Url::parse("https://joe:pw@mirror:8443/pub/iso/a.iso?x=1").unwrap();
        for (location, to, same_place) in [
            ("/b", "https://mirror:8443/b", true),
            ("b.iso", "https://mirror:8443/pub/iso/b.iso", true),
            ("../b.iso?q", "https://mirror:8443/pub/b.iso?q", true),
            ("//other/b", "https://other/b", false),
            ("http://mirror:8443/b", "http://mirror:8443/b", false),
            ("https://other/b#frag", "https://other/b", false),
        ] {
            let next = from.join(location).unwrap();
            assert_eq!(next.to_string(), to);
            assert_eq!(next.authorization.is_some(), same_place, "{location}");
        }
        assert!(from.join("file:///etc/passwd").is_err());
    }

    #[test]
    fn urls_that_cannot_be_asked_for() {
        for bad in [
            "ftp://mirror/a",
            "http://",
            "http:///a",
            "mirror/a",
            "http://a b/",
        ] {
            assert!(matches!(Url::parse(bad), Err(HttpError::Url { .. })), "{bad}");
        }
    }
}
