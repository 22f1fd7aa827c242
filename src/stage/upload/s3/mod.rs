//! An S3-compatible object store. Signing is `rusty-s3`'s: each request goes to a URL that carries its signature. Every
//! body is sent with its MD5, which every such store checks; the object's SHA-512 stands in its metadata.

mod parts;

use std::io::Read;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest as _, Md5};
use rusty_s3::actions::S3Action as _;
use rusty_s3::{Bucket, Credentials, UrlStyle};

use super::error::UploadError;
use super::read_back::Bytes;
use super::{Around, Found, Item, Place, get, head, looked, stretch, url_path};
use crate::host::cancel::Cancel;
use crate::host::http::send::{Answer, Method, Outgoing};
use crate::host::http::{Client, Get, META_SHA512};
use crate::manifest::secret::Secret;
use crate::manifest::target::S3;
use crate::size::MIB;
use crate::stage::progress::Progress;

/// Least size of a part, in bytes. The protocol's own is 5 MiB; a cut costs one part, a part one request.
const PART: u64 = 16 * MIB;
/// How long a signed URL holds, which must be as long as sending one body may take.
const SIGNED_FOR: Duration = Duration::from_secs(12 * 3600);
/// Variable with the token of temporary credentials, which goes with the variables that are the default.
const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";

/// A bucket that is published to.
pub(super) struct Store {
    client: Client,
    bucket: Bucket,
    credentials: Credentials,
    prefix: String,
    public: Option<String>,
}

impl Store {
    pub(super) fn open(target: &str, s3: &S3, public: Option<String>) -> Result<Self, UploadError> {
        let read = |key, secret: &Secret| {
            let read = secret.read();
            read.map_err(|source| UploadError::secret(target, key, source))
        };
        let (key, secret) = (
            read("access_key", &s3.access_key)?,
            read("secret_key", &s3.secret_key)?,
        );
        let usual = s3.access_key == Secret::Env("AWS_ACCESS_KEY_ID".to_owned());
        let token = std::env::var(SESSION_TOKEN)
            .ok()
            .filter(|token| usual && !token.is_empty());
        let credentials = match token {
            Some(token) => Credentials::new_with_token(key.expose(), secret.expose(), token),
            None => Credentials::new(key.expose(), secret.expose()),
        };
        let bad = |cause: String| UploadError::Target {
            target: target.to_owned(),
            cause,
        };
        let endpoint = s3.endpoint.parse().map_err(|error| {
            bad(format!(
                "`{}` is not a URL ({error}); write https://host",
                s3.endpoint
            ))
        })?;
        let bucket = Bucket::new(endpoint, UrlStyle::Path, s3.bucket.clone(), s3.region.clone())
            .map_err(|error| bad(format!("`{}` cannot be an endpoint: {error:?}", s3.endpoint)))?;
        Ok(Self {
            client: Client::default(),
            bucket,
            credentials,
            prefix: s3.prefix.clone(),
            public,
        })
    }

    fn object(&self, item: &Item<'_>) -> String {
        let name = item.name.to_string_lossy();
        if self.prefix.is_empty() {
            name.into_owned()
        } else {
            format!("{}/{name}", self.prefix)
        }
    }

    /// One request that must succeed. `shown` stands for the signed URL in messages.
    fn request(
        &self,
        outgoing: &Outgoing<'_>,
        shown: &str,
        body: impl Read + Send + 'static,
        cancel: &Cancel,
        on_sent: &mut dyn FnMut(u64),
    ) -> Result<Answer, UploadError> {
        let answer = self
            .client
            .send(outgoing, body, cancel, on_sent)
            .map_err(|error| UploadError::request("send to", shown, error))?;
        if answer.head.status == 200 {
            return Ok(answer);
        }
        let text = answer.text();
        Err(UploadError::refused("send to", shown, answer.head, &text))
    }

    /// All of it in one request.
    fn send_whole(&self, item: &Item<'_>, around: &Around<'_>) -> Result<(), UploadError> {
        let (url, object) = (self.address(item), self.object(item));
        let md5 = md5_of(item, 0, item.bytes)?;
        let headers = [
            ("content-md5", BASE64_STANDARD.encode(&md5)),
            (META_SHA512, item.sha512.hex.clone()),
        ];
        around.policy.retry(around.emit, around.cancel, || {
            let mut action = self.bucket.put_object(Some(&self.credentials), &object);
            for (name, value) in &headers {
                action.headers_mut().insert(*name, value.clone());
            }
            let signed = action.sign(SIGNED_FOR);
            let body = stretch(item.path, 0, item.bytes)?;
            let mut progress = Progress::new(around.emit);
            let mut on_sent = |sent| progress.report(sent, item.bytes);
            let outgoing = outgoing(Method::Put, signed.as_str(), &headers, item.bytes);
            self.request(&outgoing, &url, body, around.cancel, &mut on_sent)
                .map(drop)
        })
    }
}

fn outgoing<'a>(method: Method, url: &'a str, headers: &'a [(&'a str, String)], length: u64) -> Outgoing<'a> {
    Outgoing {
        method,
        url,
        headers,
        length,
        ask_first: length >= MIB,
    }
}

fn md5_of(item: &Item<'_>, from: u64, bytes: u64) -> Result<Vec<u8>, UploadError> {
    let mut reader = stretch(item.path, from, bytes)?;
    let mut hash = Md5::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = reader
            .read(&mut buffer)
            .map_err(UploadError::at("read", item.path))?;
        if count == 0 {
            return Ok(hash.finalize().to_vec());
        }
        hash.update(&buffer[..count]);
    }
}

impl Place for Store {
    fn address(&self, item: &Item<'_>) -> String {
        self.bucket.object_url(&self.object(item)).to_string()
    }

    fn public(&self, item: &Item<'_>) -> String {
        match &self.public {
            Some(base) => format!("{base}/{}", url_path(std::path::Path::new(&self.object(item)))),
            None => self.address(item),
        }
    }

    fn look(&self, item: &Item<'_>, around: &Around<'_>) -> Result<Option<Found>, UploadError> {
        let (url, object) = (self.address(item), self.object(item));
        let credentials = Some(&self.credentials);
        let ask = self.bucket.head_object(credentials, &object).sign(SIGNED_FOR);
        let read = self.bucket.get_object(credentials, &object).sign(SIGNED_FOR);
        let (ask, read) = (Get::new(ask.as_str()), Get::new(read.as_str()));
        let head = head(&self.client, &ask, &read, around.cancel)
            .map_err(|error| UploadError::request("ask for", &url, error))?;
        let other = head
            .meta_sha512
            .as_ref()
            .is_some_and(|told| *told != item.sha512.hex);
        let found = looked(&url, head)?;
        // What says that it is something else need not be read to know that.
        Ok(found.filter(|_| !other))
    }

    fn send(&self, item: &Item<'_>, around: &Around<'_>) -> Result<(), UploadError> {
        if item.bytes <= PART {
            self.send_whole(item, around)
        } else {
            self.send_parts(item, around)
        }
    }

    fn read(&self, item: &Item<'_>, cancel: &Cancel) -> Result<Bytes, UploadError> {
        let object = self.object(item);
        let action = self.bucket.get_object(Some(&self.credentials), &object);
        get(&self.client, &Get::new(action.sign(SIGNED_FOR).as_str()), cancel)
    }
}
