//! A server that takes files by PUT (RFC 9110 §9.3.4), as WebDAV servers do.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::error::UploadError;
use super::read_back::Bytes;
use super::webdav::{Folders, folder_of};
use super::{Around, Found, Item, Place, get, head, looked, stretch, url_path};
use crate::host::cancel::Cancel;
use crate::host::http::send::{Answer, Method, Outgoing};
use crate::host::http::{Client, Get};
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
                let plain = format!("{user}:{}", read("password", password)?.expose());
                Some(format!("Basic {}", BASE64_STANDARD.encode(plain)))
            }
            Login::Token(token) => Some(format!("Bearer {}", read("token", token)?.expose().trim())),
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

    /// Sends it once; gives the answer, whatever it says.
    fn put(&self, item: &Item<'_>, url: &str, around: &Around<'_>) -> Result<Answer, UploadError> {
        let mut headers = self.headers.clone();
        headers.push(("content-type", "application/octet-stream".to_owned()));
        let outgoing = Outgoing {
            method: Method::Put,
            url,
            headers: &headers,
            length: item.bytes,
            ask_first: item.bytes >= ASK_FROM,
        };
        let mut progress = Progress::new(around.emit);
        let body = stretch(item.path, 0, item.bytes)?;
        let mut on_sent = |sent| progress.report(sent, item.bytes);
        self.client
            .send(&outgoing, body, around.cancel, &mut on_sent)
            .map_err(|error| UploadError::request("send to", url, error))
    }

    fn get<'a>(&'a self, url: &'a str) -> Get<'a> {
        Get {
            headers: &self.headers,
            ..Get::new(url)
        }
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
        let head = head(&self.client, &self.get(&url), &self.get(&url), around.cancel)
            .map_err(|error| UploadError::request("ask for", &url, error))?;
        looked(&url, head)
    }

    fn send(&self, item: &Item<'_>, around: &Around<'_>) -> Result<(), UploadError> {
        let url = self.address(item);
        let folders = Folders {
            client: &self.client,
            headers: &self.headers,
            cancel: around.cancel,
        };
        let folder = folder_of(&url).unwrap_or(&self.base);
        // Few servers refuse before they have taken all of it.
        if item.bytes >= ASK_FROM && folders.lacks(folder) {
            // What stands in the way here is told by the answer to the PUT.
            let _ = folders.make(folder);
        }
        let mut has_folder = false;
        around.policy.retry(around.emit, around.cancel, || {
            let mut answer = self.put(item, &url, around)?;
            let status = answer.head.status;
            // 409 is what the RFC says; nginx says 500, others 403 or 404, which can mean other things as well.
            if !has_folder && matches!(status, 403 | 404 | 409 | 500) {
                match folders.make(folder) {
                    Ok(true) => answer = self.put(item, &url, around)?,
                    Err(error) if status == 409 => return Err(error),
                    _ => {}
                }
                has_folder = true;
            }
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
