//! Large files in parts, several at once, each with a digest of its own. An upload that was cut goes on where it was. Until
//! it is completed there is no object.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rusty_s3::actions::{CreateMultipartUpload, S3Action as _};
use serde::{Deserialize, Serialize};

use super::{Objects, SIGNED_FOR, Stretch, md5_of, sign};
use crate::digest::hex;
use crate::host::cancel::Cancel;
use crate::host::fs::write_atomic;
use crate::host::http::send::{Answer, Method, Outgoing};
use crate::places::listed_parts;
use crate::remote::error::RemoteError;
use crate::remote::settings::RemoteSettings;
use crate::size::{ByteSize, MIB};

/// Bytes of a part where the settings do not say another size. A cut costs one part, a part one request.
const PART: u64 = 64 * MIB;
/// Fewest bytes of a part but the last (Amazon S3 user guide, "multipart upload limits").
const LEAST_PART: u64 = 5 * MIB;
/// Most parts of an object (the same place).
const MOST_PARTS: u64 = 10_000;
/// Parts that are sent at once.
const AT_ONCE: usize = 4;

/// What a later attempt needs to go on.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    url: String,
    bytes: u64,
    part: u64,
    upload: String,
}

/// A part of a file.
#[derive(Clone, Copy)]
struct Part {
    number: u16,
    from: u64,
    length: u64,
}

/// A file that is sent to a path.
pub(super) struct Sending<'a> {
    pub(super) path: &'a str,
    pub(super) file: &'a Arc<File>,
    pub(super) bytes: u64,
    /// Where it is noted which upload goes on.
    pub(super) note: &'a Path,
    pub(super) cancel: &'a Cancel,
}

/// The size of parts as the settings say.
pub(super) fn size(settings: &RemoteSettings) -> Result<u64, RemoteError> {
    let Some(text) = &settings.part_size else {
        return Ok(PART);
    };
    let size: Option<ByteSize> = text.parse().ok();
    size.map(|size| size.0)
        .filter(|size| *size >= LEAST_PART)
        .ok_or_else(|| {
            RemoteError::Settings(format!(
                "`remote.part_size` is `{text}`; write a size of 5M or more, such as 64M"
            ))
        })
}

impl Objects {
    /// Sends a file in parts, beginning with those that an earlier attempt did not get there.
    pub(super) fn write_parts(
        &self,
        sending: &Sending<'_>,
        on_sent: &mut dyn FnMut(u64),
    ) -> Result<(), RemoteError> {
        let mut sent = self.try_parts(sending, on_sent);
        if sent.as_ref().is_err_and(RemoteError::is_absent) {
            // Another process completed it, or a clean-up gave it up.
            let _ = std::fs::remove_file(sending.note);
            let there = self.look(sending.path, sending.cancel)?;
            sent = match there.and_then(|there| there.bytes) == Some(sending.bytes) {
                true => Ok(()),
                false => self.try_parts(sending, on_sent),
            };
        }
        match &sent {
            Err(error) if error.may_go_on() => return sent,
            // What no later attempt can use takes no room on the server.
            Err(_) => {
                if let Some(begun) = noted(sending) {
                    let _ = self.abort(sending.path, &begun.upload, sending.cancel);
                }
            }
            Ok(()) => {}
        }
        let _ = std::fs::remove_file(sending.note);
        sent
    }

    fn try_parts(&self, sending: &Sending<'_>, on_sent: &mut dyn FnMut(u64)) -> Result<(), RemoteError> {
        let (begun, there) = self.begin_parts(sending)?;
        let parts = (1..).zip((0..sending.bytes).step_by(usize::try_from(begun.part).unwrap_or(usize::MAX)));
        let (queue, tags) = (Mutex::new(parts), Mutex::new(BTreeMap::new()));
        let has_failed = AtomicBool::new(false);
        let (report, moved) = mpsc::channel();
        let one = |report: mpsc::Sender<(u16, u64)>| -> Result<(), RemoteError> {
            while !has_failed.load(Ordering::Relaxed) {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((number, from)) = next else { break };
                let part = Part {
                    number,
                    from,
                    length: begun.part.min(sending.bytes - from),
                };
                let mut on_sent = |sent| {
                    let _ = report.send((number, sent));
                };
                let tag = self.send_part(sending, &begun.upload, part, there.get(&number), &mut on_sent);
                let tag = tag.inspect_err(|_| has_failed.store(true, Ordering::Relaxed))?;
                tags.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(number, tag);
            }
            Ok(())
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..AT_ONCE)
                .map(|_| {
                    let report = report.clone();
                    scope.spawn(|| one(report))
                })
                .collect();
            drop(report);
            let mut sent: BTreeMap<u16, u64> = BTreeMap::new();
            for (number, bytes) in moved {
                sent.insert(number, bytes);
                on_sent(sent.values().sum());
            }
            let ends = threads.into_iter().map(|thread| {
                let end = thread.join();
                end.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            ends.collect::<Vec<_>>().into_iter().collect::<Result<(), _>>()
        })?;
        let tags = tags.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.complete(sending, &begun.upload, &tags)
    }

    /// The upload to add parts to, and the tags of the parts that it has.
    fn begin_parts(&self, sending: &Sending<'_>) -> Result<(Begun, BTreeMap<u16, String>), RemoteError> {
        let (bucket, credentials, object) = self.object(sending.path)?;
        let wanted = Begun {
            url: self.shown(sending.path),
            bytes: sending.bytes,
            part: sending.bytes.div_ceil(MOST_PARTS).max(self.part),
            upload: String::new(),
        };
        if let Some(begun) = noted(sending)
            && (&begun.url, begun.bytes, begun.part) == (&wanted.url, wanted.bytes, wanted.part)
            && let Some(there) = self.parts_there(sending, &begun.upload)?
        {
            return Ok((begun, there));
        }
        let answer = self.attempt(sending.cancel, || {
            let action = bucket.create_multipart_upload(Some(credentials), &object);
            self.post(sending, action.sign(SIGNED_FOR).as_str(), "")
        })?;
        let created = CreateMultipartUpload::parse_response(&answer.text())
            .map_err(|error| self.wrong(sending, &error.to_string()))?;
        let begun = Begun {
            upload: created.upload_id().to_owned(),
            ..wanted
        };
        if let Ok(text) = serde_json::to_vec(&begun) {
            write_atomic(sending.note, &text)?;
        }
        Ok((begun, BTreeMap::new()))
    }

    /// The tags of the parts of an upload that are there; none: there is no such upload any more.
    fn parts_there(
        &self,
        sending: &Sending<'_>,
        upload: &str,
    ) -> Result<Option<BTreeMap<u16, String>>, RemoteError> {
        let (bucket, credentials, object) = self.object(sending.path)?;
        let (mut there, mut after) = (BTreeMap::new(), None);
        loop {
            let text = self.attempt(sending.cancel, || {
                let mut action = bucket.list_parts(Some(credentials), &object, upload);
                if let Some(number) = after {
                    action.set_part_number_marker(number);
                }
                match self.listed(sending.path, action.sign(SIGNED_FOR).as_str(), sending.cancel) {
                    Err(error) if error.is_absent() => Ok(None),
                    listed => listed.map(|(text, _)| Some(text)),
                }
            })?;
            let Some((parts, next)) = text.and_then(|text| listed_parts(&text)) else {
                return Ok(None);
            };
            there.extend(parts);
            after = next;
            if after.is_none() {
                return Ok(Some(there));
            }
        }
    }

    /// Sends a part, and gives its tag.
    fn send_part(
        &self,
        sending: &Sending<'_>,
        upload: &str,
        part: Part,
        there: Option<&String>,
        on_sent: &mut dyn FnMut(u64),
    ) -> Result<String, RemoteError> {
        let (bucket, credentials, object) = self.object(sending.path)?;
        let body = || Stretch::of(sending.file, part.from, part.length);
        let md5 = md5_of(body())?;
        // The tag of a part is its MD5, unless the server encrypts; then it is sent again.
        if let Some(tag) = there.filter(|tag| tag.trim_matches('"') == hex(&md5)) {
            on_sent(part.length);
            return Ok(tag.clone());
        }
        let headers = [("content-md5", BASE64_STANDARD.encode(&md5))];
        let failed = |error| RemoteError::request("write", &self.shown(sending.path), error);
        let answer = self.attempt(sending.cancel, || {
            let action = bucket.upload_part(Some(credentials), &object, part.number, upload);
            let url = sign(action, &headers);
            let outgoing = Outgoing {
                method: Method::Put,
                url: &url,
                headers: &headers,
                length: part.length,
                ask_first: true,
            };
            let answer = self.client.send(&outgoing, body(), sending.cancel, on_sent);
            let answer = answer.map_err(failed)?;
            match answer.head.status {
                200 => Ok(answer),
                _ => Err(failed(answer.head.error())),
            }
        })?;
        answer
            .head
            .etag
            .ok_or_else(|| self.wrong(sending, "a part without a tag"))
    }

    /// Makes an object of the parts: from then on it is there, whole.
    fn complete(
        &self,
        sending: &Sending<'_>,
        upload: &str,
        tags: &BTreeMap<u16, String>,
    ) -> Result<(), RemoteError> {
        let (bucket, credentials, object) = self.object(sending.path)?;
        let answer = self.attempt(sending.cancel, || {
            let tags = tags.values().map(|tag| tag.trim_matches('"'));
            let action = bucket.complete_multipart_upload(Some(credentials), &object, upload, tags);
            let url = action.sign(SIGNED_FOR);
            self.post(sending, url.as_str(), &action.body())
        })?;
        // A 200 may carry an error: it is sent before the work is done.
        match answer.text().contains("<Error") {
            true => Err(self.wrong(sending, &answer.text())),
            false => Ok(()),
        }
    }

    fn post(&self, sending: &Sending<'_>, url: &str, body: &str) -> Result<Answer, RemoteError> {
        let failed = |error| RemoteError::request("write", &self.shown(sending.path), error);
        let headers = [("content-type", "application/xml".to_owned())];
        let outgoing = Outgoing {
            method: Method::Post,
            url,
            headers: &headers[..usize::from(!body.is_empty())],
            length: body.len() as u64,
            ask_first: false,
        };
        let body = std::io::Cursor::new(body.to_owned().into_bytes());
        let answer = self.client.send(&outgoing, body, sending.cancel, &mut |_| {});
        let answer = answer.map_err(failed)?;
        match answer.head.status {
            200 => Ok(answer),
            _ => Err(failed(answer.head.error())),
        }
    }

    fn wrong(&self, sending: &Sending<'_>, what: &str) -> RemoteError {
        let shown = self.shown(sending.path);
        let what: String = what.chars().filter(|c| !c.is_control()).take(200).collect();
        RemoteError::Damaged(format!("{shown}: it was not put together: {what}"))
    }
}

fn noted(sending: &Sending<'_>) -> Option<Begun> {
    serde_json::from_slice(&std::fs::read(sending.note).ok()?).ok()
}
