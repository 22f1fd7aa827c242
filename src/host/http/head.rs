//! The head of an answer: its status and the headers that matter to us. Knows nothing of connections.

use std::time::Duration;

use ureq::http::{HeaderMap, header};

use super::error::HttpError;

/// Metadata of an object in an object store: the SHA-512 of its bytes.
pub const META_SHA512: &str = "x-amz-meta-sha512";

/// The head of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Status. Redirects of a download are followed already.
    pub status: u16,
    /// Where redirects led (or where one that was not followed would lead), without secrets; none when there were none.
    pub moved_to: Option<String>,
    /// Bytes of the body that follows, when announced.
    pub length: Option<u64>,
    /// `Content-Range`.
    pub range: Option<ContentRange>,
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
    /// `Date`: the server's time.
    pub date: Option<String>,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// `x-amz-meta-sha512`: what this program says of an object that it puts into an object store.
    pub meta_sha512: Option<String>,
}

/// `Content-Range: bytes 5-9/10` (RFC 9110 §14.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// First byte that follows.
    pub first: u64,
    /// Last byte that follows.
    pub last: u64,
    /// Size of the whole, when the server knows it.
    pub total: Option<u64>,
}

impl Head {
    pub(super) fn read(status: u16, moved_to: Option<String>, headers: &HeaderMap) -> Self {
        let get = |name| text(headers, &name);
        Self {
            status,
            moved_to,
            length: get(header::CONTENT_LENGTH).and_then(|v| v.parse().ok()),
            range: get(header::CONTENT_RANGE).and_then(|v| parse_content_range(&v)),
            etag: get(header::ETAG),
            last_modified: get(header::LAST_MODIFIED),
            date: get(header::DATE),
            retry_after: get(header::RETRY_AFTER)
                .and_then(|v| v.trim().parse().ok())
                .map(Duration::from_secs),
            meta_sha512: headers
                .get(META_SHA512)
                .and_then(|v| v.to_str().ok().map(str::to_owned)),
        }
    }

    /// This answer as an error.
    pub fn error(&self) -> HttpError {
        HttpError::Status {
            status: self.status,
            moved_to: self.moved_to.clone(),
            retry_after: self.retry_after,
        }
    }
}

/// A header's value, when it is plain text.
pub(super) fn text(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// Reads `bytes 5-9/10` or `bytes 5-9/*`; anything else (also `bytes */10`) is none.
fn parse_content_range(value: &str) -> Option<ContentRange> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let total = match total.trim() {
        "*" => None,
        number => Some(number.parse().ok()?),
    };
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let sane = first <= last && total.is_none_or(|total| last < total);
    sane.then_some(ContentRange { first, last, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        let range = |first, last, total| Some(ContentRange { first, last, total });
        assert_eq!(parse_content_range("bytes 5-9/10"), range(5, 9, Some(10)));
        assert_eq!(parse_content_range("bytes 0-0/*"), range(0, 0, None));
        for bad in [
            "bytes */10",
            "bytes 9-5/10",
            "bytes 5-10/10",
            "items 0-1/2",
            "bytes 1-2",
        ] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }
}
