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
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use self::parts::listed_parts;
use super::error::UploadError;
use super::read_back::Bytes;
use super::{
    Around, Found, Item, Kind, Place, Target, TargetKeys, WorldKeys, Written, get, head, looked, remove,
    stretch, url_path,
};
use crate::emit::Progress;
use crate::host::cancel::Cancel;
use crate::host::http::send::{Answer, Method, Outgoing};
use crate::host::http::{Client, Get, META_SHA512};
use crate::size::MIB;
use crate::syntax::fields::Fields;
use crate::syntax::key::Table;
use crate::syntax::reading::{Reading, Spot};
use crate::syntax::row::{In, Record, Row};
use crate::syntax::secret::{Secret, SecretKeys, default_secret, read_secret};
use crate::syntax::table::table;
use crate::syntax::text::{BaseUrl, ObjectPrefix, Text};

/// Least size of a part, in bytes. The protocol's own is 5 MiB; a cut costs one part, a part one request.
const PART: u64 = 16 * MIB;
/// How long a signed URL holds, which must be as long as sending one body may take.
const SIGNED_FOR: Duration = Duration::from_secs(12 * 3600);
/// Variable with the token of temporary credentials, which goes with the variables that are the default.
const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";

table! {
    KEYS: S3Keys = "target_s3", "An object store that speaks S3",
        "{ endpoint = \"https://s3.eu-west-1.amazonaws.com\", bucket = \"images\" }",
        parts [TargetKeys, S3Keys, WorldKeys], is "s3";
    endpoint: BaseUrl = "\"https://s3.eu-west-1.amazonaws.com\"", "URL of the service".needed();
    bucket: crate::syntax::text::Bucket = "\"images\"", "which bucket".needed();
    prefix: ObjectPrefix = "\"nightly\"", "what the names of all objects begin with".default("nothing");
    region: Text = "\"eu-west-1\"", "where it is".default("\"us-east-1\"");
    access_key: In<SecretKeys> = "{ env = \"ACCESS_KEY\" }", "who to be there"
        .default("{ env = \"AWS_ACCESS_KEY_ID\" }");
    secret_key: In<SecretKeys> = "{ env = \"SECRET_KEY\" }", "the proof of it"
        .default("{ env = \"AWS_SECRET_ACCESS_KEY\" }");
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3 {
    /// URL of the store.
    pub endpoint: String,
    pub bucket: String,
    /// What object names begin with; empty, or without slashes around it.
    pub prefix: String,
    /// Region, part of every signature.
    pub region: String,
    /// Access key id.
    pub access_key: Secret,
    /// Secret access key.
    pub secret_key: Secret,
}

impl Written for S3 {
    const TABLE: &'static Table = S3Keys::TABLE;

    fn read(reading: Reading<'_>, table: &Fields<'_>, _templates: &mut Vec<Spot>) -> Option<Self> {
        let secret = |row: &'static Row<In<SecretKeys>>| match table.get(row) {
            Some(cell) => read_secret(reading, &cell),
            None => default_secret(row),
        };
        // Each of them first: one mistake must not hide another.
        let endpoint = table.read(&KEYS.endpoint);
        let bucket = table.read(&KEYS.bucket);
        let prefix = table.read(&KEYS.prefix);
        let region = table.read_or_default(&KEYS.region);
        let (access_key, secret_key) = (secret(&KEYS.access_key), secret(&KEYS.secret_key));
        Some(Self {
            endpoint: endpoint?,
            bucket: bucket?,
            prefix: prefix.unwrap_or_default(),
            region,
            access_key: access_key?,
            secret_key: secret_key?,
        })
    }
}

impl Kind for S3 {
    fn identity(&self) -> Value {
        json!({
            "endpoint": self.endpoint,
            "bucket": self.bucket,
            "prefix": self.prefix,
            "region": self.region,
        })
    }

    fn secrets(&self) -> Vec<(&'static str, &Secret)> {
        vec![("access_key", &self.access_key), ("secret_key", &self.secret_key)]
    }

    fn open(&self, target: &Target) -> Result<Box<dyn Place>, UploadError> {
        let read = |key, secret: &Secret| {
            let read = secret.read();
            read.map_err(|source| UploadError::secret(&target.name, key, source))
        };
        let (key, secret) = (
            read("access_key", &self.access_key)?,
            read("secret_key", &self.secret_key)?,
        );
        let usual = self.access_key == Secret::Env("AWS_ACCESS_KEY_ID".to_owned());
        let token = std::env::var(SESSION_TOKEN)
            .ok()
            .filter(|token| usual && !token.is_empty());
        let credentials = match token {
            Some(token) => Credentials::new_with_token(key.expose(), secret.expose(), token),
            None => Credentials::new(key.expose(), secret.expose()),
        };
        let bad = |cause: String| UploadError::Target {
            target: target.name.clone(),
            cause,
        };
        let endpoint = self.endpoint.parse().map_err(|error| {
            bad(format!(
                "`{}` is not a URL ({error}); write https://host",
                self.endpoint
            ))
        })?;
        let bucket = Bucket::new(endpoint, UrlStyle::Path, self.bucket.clone(), self.region.clone())
            .map_err(|error| bad(format!("`{}` cannot be an endpoint: {error:?}", self.endpoint)))?;
        Ok(Box::new(Store {
            client: Client::default(),
            bucket,
            credentials,
            prefix: self.prefix.clone(),
            public: target.public_url.clone(),
        }))
    }
}

/// A bucket that is published to.
struct Store {
    client: Client,
    bucket: Bucket,
    credentials: Credentials,
    prefix: String,
    public: Option<String>,
}

impl Store {
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
            item.content_type(),
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
            .is_some_and(|known| *known != item.sha512.hex);
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

    fn remove(&self, item: &Item<'_>, around: &Around<'_>) -> Result<(), UploadError> {
        let (url, object) = (self.address(item), self.object(item));
        around.policy.retry(around.emit, around.cancel, || {
            let action = self.bucket.delete_object(Some(&self.credentials), &object);
            let signed = action.sign(SIGNED_FOR);
            let outgoing = Outgoing::delete(signed.as_str(), &[]);
            remove(&self.client, &outgoing, &url, around.cancel)
        })
    }

    fn read(&self, item: &Item<'_>, cancel: &Cancel) -> Result<Bytes, UploadError> {
        let object = self.object(item);
        let action = self.bucket.get_object(Some(&self.credentials), &object);
        get(&self.client, &Get::new(action.sign(SIGNED_FOR).as_str()), cancel)
    }
}
