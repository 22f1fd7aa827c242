//! An S3-compatible object store. Signing is `rusty-s3`'s: each request goes to a URL that carries its signature. Large
//! files go in parts; which parts are there is asked from the store, so that an upload that was cut goes on where it was.
//! Every body is sent with its MD5, which every such store checks; the object's SHA-512 stands in its metadata.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest as _, Md5};
use rusty_s3::actions::{CreateMultipartUpload, ListParts, S3Action};
use rusty_s3::{Bucket, Credentials, UrlStyle};
use serde::{Deserialize, Serialize};

use super::error::{UploadError, one_line};
use super::progress::Progress;
use super::put::looked;
use super::read_back::Bytes;
use super::{Around, Found, Item, Place, get, stretch, url_path};
use crate::digest::hex;
use crate::host::cancel::Cancel;
use crate::host::fs::write_atomic;
use crate::host::http::send::{Answer, Method, Outgoing};
use crate::host::http::{Client, Get, META_SHA512};
use crate::manifest::secret::Secret;
use crate::manifest::target::S3;
use crate::size::MIB;

/// Least size of a part, in bytes. The protocol's own is 5 MiB; a cut costs one part, a part one request.
const PART: u64 = 16 * MIB;
/// Most parts of an object (Amazon S3 user guide, "multipart upload limits").
const MOST_PARTS: u64 = 10_000;
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

/// What a later attempt needs to go on.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    url: String,
    sha512: String,
    part: u64,
    upload: String,
}

impl Store {
    pub(super) fn open(target: &str, s3: &S3, public: Option<String>) -> Result<Self, UploadError> {
        let read = |key, secret: &Secret| {
            secret.read().map_err(|source| UploadError::Secret {
                target: target.to_owned(),
                key,
                source,
            })
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
            Some(token) => Credentials::new_with_token(key, secret, token),
            None => Credentials::new(key, secret),
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

    /// One request. `shown` stands for the signed URL in messages.
    fn request(
        &self,
        method: Method,
        signed: &str,
        shown: &str,
        headers: &[(&str, String)],
        body: impl Read + Send + 'static,
        length: u64,
        cancel: &Cancel,
        on_sent: &mut dyn FnMut(u64),
    ) -> Result<Answer, UploadError> {
        let outgoing = Outgoing {
            method,
            url: signed,
            headers,
            length,
            ask_first: length >= MIB,
        };
        let answer = self
            .client
            .send(&outgoing, body, cancel, on_sent)
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
            let (put, cancel) = (Method::Put, around.cancel);
            self.request(
                put,
                signed.as_str(),
                &url,
                &headers,
                body,
                item.bytes,
                cancel,
                &mut on_sent,
            )
            .map(drop)
        })
    }

    /// In parts, beginning with those that an earlier attempt did not get there.
    fn send_parts(&self, item: &Item<'_>, around: &Around<'_>) -> Result<(), UploadError> {
        let (url, object) = (self.address(item), self.object(item));
        let part = part_size(item.bytes);
        let (upload, there) = self.begin(item, part, around)?;
        let mut progress = Progress::new(around.emit);
        let mut tags = Vec::new();
        for (number, from) in
            (1u16..).zip((0..item.bytes).step_by(usize::try_from(part).unwrap_or(usize::MAX)))
        {
            let length = part.min(item.bytes - from);
            let md5 = md5_of(item, from, length)?;
            // Of a part that is there its tag is its MD5, unless the store encrypts; then it is sent again.
            if let Some(tag) = there
                .get(&number)
                .filter(|tag| tag.trim_matches('"') == hex(&md5))
            {
                tags.push(tag.clone());
                progress.report(from + length, item.bytes);
                continue;
            }
            let headers = [("content-md5", BASE64_STANDARD.encode(&md5))];
            let answer = around.policy.retry(around.emit, around.cancel, || {
                let credentials = Some(&self.credentials);
                let mut action = self.bucket.upload_part(credentials, &object, number, &upload);
                action.headers_mut().insert(headers[0].0, headers[0].1.clone());
                let signed = action.sign(SIGNED_FOR);
                let body = stretch(item.path, from, length)?;
                let mut on_sent = |sent| progress.report(from + sent, item.bytes);
                let (put, cancel) = (Method::Put, around.cancel);
                self.request(
                    put,
                    signed.as_str(),
                    &url,
                    &headers,
                    body,
                    length,
                    cancel,
                    &mut on_sent,
                )
            })?;
            let tag = answer.head.etag.ok_or_else(|| UploadError::WrongReceipt {
                url: url.clone(),
                got: "no ETag".to_owned(),
                want: "one".to_owned(),
            })?;
            tags.push(tag);
        }
        progress.last(item.bytes, item.bytes);
        self.complete(item, &upload, &tags, around)?;
        // It is of no use any more; one that stays is found out by its upload being gone.
        drop(std::fs::remove_file(around.state));
        Ok(())
    }

    /// The upload to add parts to, and the parts it has: number to tag.
    fn begin(
        &self,
        item: &Item<'_>,
        part: u64,
        around: &Around<'_>,
    ) -> Result<(String, BTreeMap<u16, String>), UploadError> {
        let (url, object) = (self.address(item), self.object(item));
        let noted = std::fs::read(around.state)
            .ok()
            .and_then(|text| serde_json::from_slice::<Begun>(&text).ok());
        let same = |begun: &Begun| begun.url == url && begun.sha512 == item.sha512.hex && begun.part == part;
        if let Some(begun) = noted.filter(same)
            && let Some(there) = self.parts(&object, &begun.upload, &url, around)?
        {
            if !there.is_empty() {
                around.emit.phase(format!("sending the rest to {url}"));
            }
            return Ok((begun.upload, there));
        }
        let headers = [(META_SHA512, item.sha512.hex.clone())];
        let answer = around.policy.retry(around.emit, around.cancel, || {
            let mut action = self
                .bucket
                .create_multipart_upload(Some(&self.credentials), &object);
            action.headers_mut().insert(headers[0].0, headers[0].1.clone());
            let signed = action.sign(SIGNED_FOR);
            let (post, cancel) = (Method::Post, around.cancel);
            self.request(
                post,
                signed.as_str(),
                &url,
                &headers,
                std::io::empty(),
                0,
                cancel,
                &mut |_| {},
            )
        })?;
        let created = CreateMultipartUpload::parse_response(&answer.text())
            .map_err(|_| wrong_receipt(&url, &answer, "the id of an upload"))?;
        let upload = created.upload_id().to_owned();
        let begun = Begun {
            url,
            sha512: item.sha512.hex.clone(),
            part,
            upload: upload.clone(),
        };
        if let Ok(text) = serde_json::to_vec(&begun) {
            write_atomic(around.state, &text)?;
        }
        Ok((upload, BTreeMap::new()))
    }

    /// The parts of an upload that are there; none when there is no such upload any more.
    fn parts(
        &self,
        object: &str,
        upload: &str,
        url: &str,
        around: &Around<'_>,
    ) -> Result<Option<BTreeMap<u16, String>>, UploadError> {
        let mut there = BTreeMap::new();
        let mut after = None;
        loop {
            let listed = around.policy.retry(around.emit, around.cancel, || {
                let mut action = self.bucket.list_parts(Some(&self.credentials), object, upload);
                if let Some(number) = after {
                    action.set_part_number_marker(number);
                }
                self.text(action.sign(SIGNED_FOR).as_str(), url, around.cancel)
            })?;
            let Some(text) = listed else { return Ok(None) };
            // Some stores (moto is one) name the outermost element otherwise; Amazon's own clients do not look at it.
            let text = text.replace("ListPartsResponse", "ListPartsResult");
            let Ok(list) = ListParts::parse_response(&text) else {
                return Ok(None);
            };
            there.extend(list.parts.into_iter().map(|part| (part.number, part.etag)));
            after = list.next_part_number_marker;
            if after.is_none() {
                return Ok(Some(there));
            }
        }
    }

    /// A small answer; none when there is nothing (404).
    fn text(&self, signed: &str, shown: &str, cancel: &Cancel) -> Result<Option<String>, UploadError> {
        let failed = |error| UploadError::request("ask for the parts of", shown, error);
        let (head, mut body) = self.client.get(&Get::new(signed), cancel).map_err(failed)?;
        match head.status {
            200 => {}
            404 => return Ok(None),
            _ => return Err(UploadError::refused("ask for the parts of", shown, head, "")),
        }
        let mut bytes = Vec::new();
        while let Some(piece) = body.next(cancel).map_err(failed)? {
            bytes.extend(piece);
            if bytes.len() as u64 > 8 * MIB {
                break;
            }
        }
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn complete(
        &self,
        item: &Item<'_>,
        upload: &str,
        tags: &[String],
        around: &Around<'_>,
    ) -> Result<(), UploadError> {
        let (url, object) = (self.address(item), self.object(item));
        around.emit.phase(format!("putting the parts of {url} together"));
        let answer = around.policy.retry(around.emit, around.cancel, || {
            let tags = tags.iter().map(|tag| tag.trim_matches('"'));
            let action =
                self.bucket
                    .complete_multipart_upload(Some(&self.credentials), &object, upload, tags);
            let signed = action.sign(SIGNED_FOR);
            let body = action.body().into_bytes();
            let length = body.len() as u64;
            let headers = [("content-type", "application/xml".to_owned())];
            let (post, cancel, body) = (Method::Post, around.cancel, std::io::Cursor::new(body));
            self.request(
                post,
                signed.as_str(),
                &url,
                &headers,
                body,
                length,
                cancel,
                &mut |_| {},
            )
        })?;
        // A 200 may carry an error: it is sent before the work is done.
        if answer.text().contains("<Error") {
            return Err(wrong_receipt(&url, &answer, "the object's tag"));
        }
        Ok(())
    }
}

fn wrong_receipt(url: &str, answer: &Answer, want: &str) -> UploadError {
    UploadError::WrongReceipt {
        url: url.to_owned(),
        got: format!("\"{}\"", one_line(&answer.text())),
        want: want.to_owned(),
    }
}

/// Parts of one size, as few as can be, but not small ones.
fn part_size(bytes: u64) -> u64 {
    bytes.div_ceil(MOST_PARTS).max(PART)
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
        let action = self.bucket.head_object(Some(&self.credentials), &object);
        let signed = action.sign(SIGNED_FOR);
        let asked = Get {
            follow: false,
            ..Get::new(signed.as_str())
        };
        let head = self
            .client
            .head(&asked, around.cancel)
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
