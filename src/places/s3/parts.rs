//! Large objects in parts. Which parts are there is asked from the store, so that an upload that was cut goes on where it
//! was.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rusty_s3::actions::{CreateMultipartUpload, ListParts, S3Action as _};
use serde::{Deserialize, Serialize};

use super::super::error::{UploadError, one_line};
use super::super::{Around, Item, Place as _, stretch};
use super::{PART, SIGNED_FOR, Store, md5_of, outgoing};
use crate::digest::hex;
use crate::emit::Progress;
use crate::host::cancel::Cancel;
use crate::host::fs::write_atomic;
use crate::host::http::send::{Answer, Method};
use crate::host::http::{Get, META_SHA512};
use crate::size::MIB;

/// Most parts of an object (Amazon S3 user guide, "multipart upload limits").
const MOST_PARTS: u64 = 10_000;

/// What a later attempt needs to go on.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    url: String,
    sha512: String,
    part: u64,
    upload: String,
}

impl Store {
    /// Sends it in parts, beginning with those that an earlier attempt did not get there.
    pub(super) fn send_parts(&self, item: &Item<'_>, around: &Around<'_>) -> Result<(), UploadError> {
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
                let outgoing = outgoing(Method::Put, signed.as_str(), &headers, length);
                self.request(&outgoing, &url, body, around.cancel, &mut on_sent)
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
                around.emit.phase("sending the rest");
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
            let outgoing = outgoing(Method::Post, signed.as_str(), &headers, 0);
            self.request(&outgoing, &url, std::io::empty(), around.cancel, &mut |_| {})
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
            let Some((parts, next)) = listed_parts(&text) else {
                return Ok(None);
            };
            there.extend(parts);
            after = next;
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
        around.emit.phase("putting the parts together");
        let answer = around.policy.retry(around.emit, around.cancel, || {
            let tags = tags.iter().map(|tag| tag.trim_matches('"'));
            let action =
                self.bucket
                    .complete_multipart_upload(Some(&self.credentials), &object, upload, tags);
            let signed = action.sign(SIGNED_FOR);
            let body = action.body().into_bytes();
            let length = body.len() as u64;
            let headers = [("content-type", "application/xml".to_owned())];
            let outgoing = outgoing(Method::Post, signed.as_str(), &headers, length);
            self.request(
                &outgoing,
                &url,
                std::io::Cursor::new(body),
                around.cancel,
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

/// The parts of an upload as a store lists them, number and tag, and where the rest of the list begins; none: that is no list.
pub fn listed_parts(text: &str) -> Option<(BTreeMap<u16, String>, Option<u16>)> {
    // Some stores (moto is one) name the outermost element otherwise; Amazon's own clients do not look at it.
    let text = text.replace("ListPartsResponse", "ListPartsResult");
    let list = ListParts::parse_response(&text).ok()?;
    let parts = list.parts.into_iter().map(|part| (part.number, part.etag));
    Some((parts.collect(), list.next_part_number_marker))
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
