//! A server that takes files by PUT (RFC 9110 §9.3.4), as WebDAV servers do.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::error::UploadError;
use super::read_back::Bytes;
use super::{Around, Found, Item, Place, get, stretch, url_path};
use crate::host::cancel::Cancel;
use crate::host::http::send::{Method, Outgoing};
use crate::host::http::{Client, Get, Head};
use crate::manifest::target::{Http, Login};
use crate::size::MIB;
use crate::stage::progress::Progress;

/// From this size on the server is asked by the head alone first; curl does so too.
const ASK_FROM: u64 = MIB;

/// A server that is published to.
pub(super) struct Server {
    client: Client,
    base: String,
    headers: Vec<(&'static str, String)>,
    public: Option<String>,
}

impl Server {
    pub(super) fn open(target: &str, http: &Http, public: Option<String>) -> Result<Self, UploadError> {
        let read = |key, secret: &crate::manifest::secret::Secret| {
            let read = secret.read();
            read.map_err(|source| UploadError::secret(target, key, source))
        };
        let authorization = match &http.login {
            Login::Anonymous => None,
            Login::Password { user, password } => {
                let plain = format!("{user}:{}", read("password", password)?);
                Some(format!("Basic {}", BASE64_STANDARD.encode(plain)))
            }
            Login::Token(token) => Some(format!("Bearer {}", read("token", token)?.trim())),
        };
        Ok(Self {
            client: Client::default(),
            base: http.url.clone(),
            headers: authorization
                .map(|value| ("authorization", value))
                .into_iter()
                .collect(),
            public,
        })
    }

    fn get<'a>(&'a self, url: &'a str) -> Get<'a> {
        Get {
            headers: &self.headers,
            ..Get::new(url)
        }
    }
}

/// What a head tells about a file.
pub(super) fn found(head: &Head) -> Found {
    let validator = head.etag.as_ref().or(head.last_modified.as_ref());
    Found {
        bytes: head.length,
        validator: validator.cloned(),
    }
}

/// Makes sense of the answer to a HEAD.
pub(super) fn looked(url: &str, head: Head) -> Result<Option<Found>, UploadError> {
    match head.status {
        200 => Ok(Some(found(&head))),
        404 | 410 => Ok(None),
        _ => Err(UploadError::refused("ask for", url, head, "")),
    }
}

impl Place for Server {
    fn address(&self, item: &Item<'_>) -> String {
        format!("{}/{}", self.base, url_path(item.name))
    }

    fn public(&self, item: &Item<'_>) -> String {
        format!(
            "{}/{}",
            self.public.as_ref().unwrap_or(&self.base),
            url_path(item.name)
        )
    }

    fn look(&self, item: &Item<'_>, around: &Around<'_>) -> Result<Option<Found>, UploadError> {
        let url = self.address(item);
        let asked = Get {
            follow: false,
            ..self.get(&url)
        };
        let head = self.client.head(&asked, around.cancel);
        looked(
            &url,
            head.map_err(|error| UploadError::request("ask for", &url, error))?,
        )
    }

    fn send(&self, item: &Item<'_>, around: &Around<'_>) -> Result<(), UploadError> {
        let url = self.address(item);
        let mut headers = self.headers.clone();
        headers.push(("content-type", "application/octet-stream".to_owned()));
        let outgoing = Outgoing {
            method: Method::Put,
            url: &url,
            headers: &headers,
            length: item.bytes,
            ask_first: item.bytes >= ASK_FROM,
        };
        around.policy.retry(around.emit, around.cancel, || {
            let mut progress = Progress::new(around.emit);
            let body = stretch(item.path, 0, item.bytes)?;
            let answer = self
                .client
                .send(&outgoing, body, around.cancel, &mut |sent| {
                    progress.report(sent, item.bytes);
                })
                .map_err(|error| UploadError::request("send to", &url, error))?;
            match answer.head.status {
                200 | 201 | 204 => Ok(()),
                _ => {
                    let text = answer.text();
                    Err(UploadError::refused("send to", &url, answer.head, &text))
                }
            }
        })
    }

    fn read(&self, item: &Item<'_>, cancel: &Cancel) -> Result<Bytes, UploadError> {
        let url = self.address(item);
        get(&self.client, &self.get(&url), cancel)
    }
}
