//! A server that takes files by PUT (RFC 9110 §9.3.4), as WebDAV servers do.

mod webdav;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use self::webdav::{Folders, folder_of};
use super::error::UploadError;
use super::read_back::Bytes;
use super::{
    Around, Found, Item, Kind, Place, Target, TargetKeys, WorldKeys, Written, get, head, looked, remove,
    stretch, url_path,
};
use crate::emit::Progress;
use crate::host::cancel::Cancel;
use crate::host::http::send::{Answer, Method, Outgoing};
use crate::host::http::{Client, Get};
use crate::size::MIB;
use crate::syntax::fields::Fields;
use crate::syntax::key::Table;
use crate::syntax::reading::{Reading, Spot};
use crate::syntax::row::{In, Record, Row};
use crate::syntax::secret::{Secret, SecretKeys, read_secret};
use crate::syntax::table::{one_of, table};
use crate::syntax::text::{BaseUrl, Text};

/// From this size on the server is asked by the head alone first; curl does so too.
const ASK_FROM: u64 = MIB;

table! {
    HTTP: HttpKeys = "target_http", "A server that takes files by PUT, as WebDAV servers do",
        "{ url = \"https://images.example/upload\" }", parts [TargetKeys, HttpKeys, WorldKeys],
        groups [optional LoginKey], is "http";
    url: BaseUrl = "\"https://images.example/upload\"", "files go below it".needed();
    user: Text = "\"builder\"", "who to be there".goes_with(|| vec![&HTTP.password.key]);
    password: In<SecretKeys> = "{ env = \"IMAGES_PASSWORD\" }", "the user's".goes_with(|| vec![&HTTP.user.key]);
    token: In<SecretKeys> = "{ env = \"IMAGES_TOKEN\" }", "a bearer token, instead of user and password";
}

one_of! {
    /// How to log in.
    LoginKey of HTTP { Password: password, Token: token }
}

/// A server that takes files by PUT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http {
    /// Where the files go: files of the output folder appear below it. Without a slash at its end.
    pub url: String,
    /// How we may.
    pub login: Login,
}

/// How a server lets us in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Login {
    /// Every client may.
    Anonymous,
    /// User and password (RFC 7617).
    Password { user: String, password: Secret },
    /// A bearer token (RFC 6750).
    Token(Secret),
}

impl Written for Http {
    const TABLE: &'static Table = HttpKeys::TABLE;

    fn read(reading: Reading<'_>, table: &Fields<'_>, _templates: &mut Vec<Spot>) -> Option<Self> {
        let url = table.read(&HTTP.url);
        let user = table.read(&HTTP.user);
        let secret = |row: &'static Row<In<SecretKeys>>| read_secret(reading, &table.get(row)?);
        let (password, token) = (secret(&HTTP.password), secret(&HTTP.token));
        let login = match table.one_of::<LoginKey>() {
            None => Login::Anonymous,
            Some((LoginKey::Password, _)) => Login::Password {
                user: user?,
                password: password?,
            },
            Some((LoginKey::Token, _)) => Login::Token(token?),
        };
        Some(Self { url: url?, login })
    }
}

impl Kind for Http {
    fn identity(&self) -> Value {
        json!({ "url": self.url })
    }

    fn secrets(&self) -> Vec<(&'static str, &Secret)> {
        match &self.login {
            Login::Anonymous => Vec::new(),
            Login::Password { password, .. } => vec![("password", password)],
            Login::Token(token) => vec![("token", token)],
        }
    }

    fn open(&self, target: &Target) -> Result<Box<dyn Place>, UploadError> {
        let read = |key, secret: &Secret| {
            let read = secret.read();
            read.map_err(|source| UploadError::secret(&target.name, key, source))
        };
        let authorization = match &self.login {
            Login::Anonymous => None,
            Login::Password { user, password } => {
                let plain = format!("{user}:{}", read("password", password)?.expose());
                Some(format!("Basic {}", BASE64_STANDARD.encode(plain)))
            }
            Login::Token(token) => Some(format!("Bearer {}", read("token", token)?.expose().trim())),
        };
        Ok(Box::new(Server {
            client: Client::default(),
            base: self.url.clone(),
            headers: authorization
                .map(|value| ("authorization", value))
                .into_iter()
                .collect(),
            public: target.public_url.clone(),
        }))
    }
}

/// A server that is published to.
struct Server {
    client: Client,
    base: String,
    headers: Vec<(&'static str, String)>,
    public: Option<String>,
}

impl Server {
    /// Sends it once; gives the answer, whatever it says.
    fn put(&self, item: &Item<'_>, url: &str, around: &Around<'_>) -> Result<Answer, UploadError> {
        let mut headers = self.headers.clone();
        headers.push(item.content_type());
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
            // The answer to the PUT says what stands in the way here.
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

    fn remove(&self, item: &Item<'_>, around: &Around<'_>) -> Result<(), UploadError> {
        let url = self.address(item);
        let outgoing = Outgoing::delete(&url, &self.headers);
        around.policy.retry(around.emit, around.cancel, || {
            remove(&self.client, &outgoing, &url, around.cancel)
        })
    }

    fn read(&self, item: &Item<'_>, cancel: &Cancel) -> Result<Bytes, UploadError> {
        let url = self.address(item);
        get(&self.client, &self.get(&url), cancel)
    }
}
