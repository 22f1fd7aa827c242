//! URLs that can be asked for, redirects from them, and what of a URL may be shown (no passwords, no tokens).
//! Knows nothing of connections.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::{Origin, ParseError};

use super::error::HttpError;

/// What a path may have as it is (RFC 3986 §2.3), with the `/` between its parts.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// An `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// Without user, password and fragment.
    url: url::Url,
    /// Value for an `Authorization` header, when the URL carried a user.
    pub(super) authorization: Option<String>,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, HttpError> {
        let mut url = url::Url::parse(text).map_err(|error| bad(text, &reason(text, error)))?;
        let scheme = url.scheme();
        if !matches!(scheme, "http" | "https") {
            let why = format!("{scheme}:// is not supported, only http:// and https://");
            return Err(bad(text, &why));
        }
        // Browsers take any number of slashes and find a host behind them.
        let host = text.get(scheme.len()..).and_then(|rest| rest.strip_prefix("://"));
        if host.is_none_or(|rest| rest.starts_with(['/', '\\'])) {
            return Err(bad(text, "it names no host"));
        }
        let (user, password) = (url.username(), url.password());
        let named = !user.is_empty() || password.is_some();
        let authorization = named.then(|| basic(user, password.unwrap_or_default()));
        // Neither fails where there is a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        Ok(Self { url, authorization })
    }

    /// Where a `Location` header leads from here. The user goes along only to the same origin.
    pub(super) fn join(&self, location: &str) -> Result<Self, HttpError> {
        let url = self.url.join(location);
        let url = url.map_err(|error| bad(location, &reason(location, error)))?;
        let mut next = Self::parse(url.as_str())?;
        if next.authorization.is_none() && next.origin() == self.origin() {
            next.authorization.clone_from(&self.authorization);
        }
        Ok(next)
    }

    /// For the request itself.
    pub(super) fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// Scheme, host and port: what a user, a password or a token may be sent to.
    pub(super) fn origin(&self) -> Origin {
        self.url.origin()
    }

    /// `http` or `https`.
    pub(super) fn scheme(&self) -> &str {
        self.url.scheme()
    }

    /// Host without the brackets of an IPv6 address.
    pub(super) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// Port, that of the scheme where none is written.
    pub(super) fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or_default()
    }

    /// `host`, or `host:port` where it is not the scheme's own.
    pub(super) fn place(&self) -> &str {
        self.url.authority()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(self.url.as_str()))
    }
}

fn bad(text: &str, why: &str) -> HttpError {
    HttpError::Url {
        url: redact(text),
        why: why.to_owned(),
    }
}

fn reason(text: &str, error: ParseError) -> String {
    let why = match error {
        ParseError::RelativeUrlWithoutBase => "it does not begin with http:// or https://",
        ParseError::InvalidPort if text.contains('@') => {
            "its port is not a number; write a / in a password as %2F"
        }
        ParseError::InvalidPort => "its port is not a number",
        ParseError::EmptyHost => "it names no host",
        other => return other.to_string(),
    };
    why.to_owned()
}

/// `Basic` credentials (RFC 7617) of a user and a password as a URL has them, percent-encoded.
fn basic(user: &str, password: &str) -> String {
    let mut plain: Vec<u8> = percent_decode_str(user).collect();
    plain.push(b':');
    plain.extend(percent_decode_str(password));
    format!("Basic {}", BASE64_STANDARD.encode(plain))
}

/// A path with every byte percent-encoded that is not allowed in one as it is.
pub fn percent_encode_path(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

/// A URL as it may be shown: user and password replaced, values of the query hidden (signed URLs carry their
/// signature there), no fragment.
/// A plain path is shown as it is.
pub fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    // A password with a raw `/` in it makes the URL unreadable; then everything up to the last `@` may be secret.
    let authority = match url::Url::parse(url) {
        Ok(_) => rest.find(['/', '?', '#']).unwrap_or(rest.len()),
        Err(_) => rest.len(),
    };
    let (user, rest) = match rest[..authority].rfind('@') {
        Some(at) => ("***@", &rest[at + 1..]),
        None => ("", rest),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let (place, query) = rest.split_once('?').map_or((rest, None), |(p, q)| (p, Some(q)));
    let hidden = |part: &str| match part.split_once('=') {
        Some((name, _)) => format!("{name}=…"),
        None => part.to_owned(),
    };
    let query = query.map(|query| query.split('&').map(hidden).collect::<Vec<_>>().join("&"));
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    format!("{scheme}://{user}{place}{query}")
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
            ("http://joe:s3#cret@mirror/a", "http://***@mirror/a"),
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
        assert!(!format!("{url} {} {:?}", url.as_str(), url.url).contains("s3cret"));
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
            ("HTTPS://MIRROR:8443/b", "https://mirror:8443/b", true),
            ("https://mirror/b", "https://mirror/b", false),
        ] {
            let next = from.join(location).unwrap();
            assert_eq!(next.to_string(), to);
            assert_eq!(next.authorization.is_some(), same_place, "{location}");
        }
        assert!(from.join("file:///etc/passwd").is_err());
        // A port that is written is the same as one that goes without saying.
        let from = Url::parse("https://joe:pw@mirror:443/a").unwrap();
        assert!(from.join("https://mirror/b").unwrap().authorization.is_some());
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
