//! What a bucket has: objects below a prefix, and uploads in parts that did not end.

use jiff::Timestamp;
use rusty_s3::actions::{ListObjectsV2, S3Action as _};

use super::place::Place;
use super::{LIST, Objects, SIGNED_FOR, now};
use crate::host::cancel::Cancel;
use crate::host::http::Get;
use crate::host::http::send::Outgoing;
use crate::remote::error::RemoteError;

/// An object that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::remote) struct Object {
    pub(in crate::remote) path: String,
    pub(in crate::remote) bytes: u64,
    /// When it was put there.
    pub(in crate::remote) changed: Timestamp,
}

/// What a list gave.
#[derive(Clone, Debug)]
pub(in crate::remote) struct Listing {
    pub(in crate::remote) objects: Vec<Object>,
    /// The server's time.
    pub(in crate::remote) now: Timestamp,
}

/// An upload in parts that was neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::remote) struct Upload {
    /// What the object would be.
    pub(in crate::remote) path: String,
    pub(in crate::remote) id: String,
    pub(in crate::remote) begun: Timestamp,
}

impl Objects {
    /// All objects whose paths begin with `prefix` and come after `start_after`, in order.
    pub(in crate::remote) fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        cancel: &Cancel,
    ) -> Result<Listing, RemoteError> {
        let (bucket, credentials, all) = self.bucket()?;
        let (mut objects, mut token) = (Vec::new(), None::<String>);
        loop {
            let (text, time) = self.attempt(cancel, || {
                let mut action = bucket.list_objects_v2(Some(credentials));
                action.with_prefix(format!("{all}{prefix}"));
                match (&token, start_after) {
                    (Some(token), _) => action.with_continuation_token(token.clone()),
                    (None, Some(after)) => action.with_start_after(format!("{all}{after}")),
                    (None, None) => {}
                }
                self.listed(prefix, action.sign(SIGNED_FOR).as_str(), cancel)
            })?;
            let list = ListObjectsV2::parse_response(&text)
                .map_err(|error| self.unreadable(prefix, &error.to_string()))?;
            objects.extend(list.contents.into_iter().filter_map(|object| {
                let changed = object.last_modified.and_then(|text| text.parse().ok());
                Some(Object {
                    path: object.key.strip_prefix(all)?.to_owned(),
                    bytes: object.size.unwrap_or_default(),
                    // What the server does not date counts as new.
                    changed: changed.unwrap_or(time),
                })
            }));
            token = list.next_continuation_token;
            if token.is_none() {
                return Ok(Listing { objects, now: time });
            }
        }
    }

    /// All uploads of objects whose paths begin with `prefix`. Of several of one object at the end of a page, one is given.
    pub(in crate::remote) fn uploads(
        &self,
        prefix: &str,
        cancel: &Cancel,
    ) -> Result<Vec<Upload>, RemoteError> {
        let (bucket, credentials, all) = self.bucket()?;
        let (mut uploads, mut marker) = (Vec::new(), None::<String>);
        loop {
            let (text, time) = self.attempt(cancel, || {
                // ListMultipartUploads: a list of the same bucket with another question, which the crate does not know.
                let mut action = bucket.list_objects_v2(Some(credentials));
                let query = action.query_mut();
                query.remove("list-type");
                query.remove("encoding-type");
                query.insert("uploads", "");
                query.insert("prefix", format!("{all}{prefix}"));
                if let Some(marker) = &marker {
                    query.insert("key-marker", marker.clone());
                }
                self.listed(prefix, action.sign(SIGNED_FOR).as_str(), cancel)
            })?;
            if !text.contains("ListMultipartUploadsResult") {
                return Err(self.unreadable(prefix, "no list of uploads"));
            }
            uploads.extend(text.split("<Upload>").skip(1).filter_map(|text| {
                Some(Upload {
                    path: element(text, "Key")?.strip_prefix(all)?.to_owned(),
                    id: element(text, "UploadId")?,
                    begun: element(text, "Initiated").map_or(Some(time), |text| text.parse().ok())?,
                })
            }));
            let is_all = element(&text, "IsTruncated").as_deref() != Some("true");
            let next = element(&text, "NextKeyMarker").filter(|next| !next.is_empty() && !is_all);
            if next.is_none() || next == marker {
                return Ok(uploads);
            }
            marker = next;
        }
    }

    /// Gives up an upload; one that is not there any more is no mistake.
    pub(in crate::remote) fn abort(
        &self,
        path: &str,
        upload: &str,
        cancel: &Cancel,
    ) -> Result<(), RemoteError> {
        let (bucket, credentials, object) = self.object(path)?;
        self.attempt(cancel, || {
            let action = bucket.abort_multipart_upload(Some(credentials), &object, upload);
            let url = action.sign(SIGNED_FOR);
            let failed = |error| RemoteError::request("abort the upload of", &self.shown(path), error);
            let sent = Outgoing::delete(url.as_str(), &[]);
            let answer = self.client.send(&sent, std::io::empty(), cancel, &mut |_| {});
            let answer = answer.map_err(failed)?;
            match answer.head.status {
                200 | 204 | 404 => Ok(()),
                _ => Err(failed(answer.head.error())),
            }
        })
    }

    /// The text of a list, and the server's time.
    pub(super) fn listed(
        &self,
        prefix: &str,
        url: &str,
        cancel: &Cancel,
    ) -> Result<(String, Timestamp), RemoteError> {
        let failed = |error| RemoteError::request("list", &self.shown(prefix), error);
        let (head, mut body) = self.client.get(&Get::new(url), cancel).map_err(failed)?;
        if head.status != 200 {
            return Err(failed(head.error()));
        }
        let text = self.all(prefix, &mut body, LIST, cancel)?;
        Ok((String::from_utf8_lossy(&text).into_owned(), now(&head)))
    }

    /// The bucket, who to be there, and the name of an object there.
    pub(super) fn object(
        &self,
        path: &str,
    ) -> Result<(&rusty_s3::Bucket, &rusty_s3::Credentials, String), RemoteError> {
        let (bucket, credentials, all) = self.bucket()?;
        Ok((bucket, credentials, format!("{all}{path}")))
    }

    fn unreadable(&self, prefix: &str, why: &str) -> RemoteError {
        let shown = self.shown(prefix);
        RemoteError::Damaged(format!("{shown}: what it lists cannot be read: {why}"))
    }

    /// The bucket, who to be there, and what names begin with there.
    fn bucket(&self) -> Result<(&rusty_s3::Bucket, &rusty_s3::Credentials, &str), RemoteError> {
        match &self.place {
            Place::Bucket {
                bucket,
                credentials,
                prefix,
            } => Ok((bucket, credentials, prefix)),
            Place::Server { .. } => Err(RemoteError::Unsupported(
                "a plain HTTP server does not list what it has: use a bucket, or remove old files on the server itself",
            )),
        }
    }
}

/// What stands in the first element of a name. Ours have no elements in them, and names of objects no entity but this one.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.replace("&amp;", "&"))
}
