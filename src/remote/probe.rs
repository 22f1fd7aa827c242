//! Tries out what a server does with what a remote store asks of it, on an object of its own that it takes away again.

use super::Remote;
use super::error::RemoteError;
use super::objects::{Over, Put};
use crate::host::cancel::Cancel;
use crate::host::random;

/// Where objects are tried out.
const FOLDER: &str = "probe";

/// How one thing went.
#[derive(Debug)]
pub struct Tried {
    /// `put`, `condition`, `range`, `list`, `delete`.
    pub what: &'static str,
    pub end: End,
    pub detail: String,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Well,
    /// Not as it could be, but a remote store can live with it.
    Otherwise,
    Failed,
}

impl Remote {
    /// Asks the server for all that is asked of it later. One that only reads is asked for something that is not there.
    pub fn probe(&self, cancel: &Cancel) -> Vec<Tried> {
        let path = format!("{FOLDER}/{}", random::word());
        if !self.writes() {
            let asked = self.objects.look(&path, cancel);
            return vec![tried(
                "read",
                asked.map(|_| (End::Well, "it answers; nothing is put there from here".to_owned())),
            )];
        }
        let well = |text: &str| (End::Well, text.to_owned());
        let text = b"0123456789";
        let put = self.objects.write(&path, text, Over::Nothing, cancel);
        let mut all = vec![tried("put", put.map(|_| well("an object can be put there")))];
        if all[0].end == End::Failed {
            return all;
        }
        let again = self.objects.write(&path, text, Over::Nothing, cancel);
        all.push(tried("condition", again.map(|put| match put {
            Put::Refused => well(
                "right: a second writer is refused (If-None-Match); whether also two at the same moment, no probe can see",
            ),
            Put::Written => (
                End::Otherwise,
                "deaf: conditions are not heeded (If-None-Match); two hosts may build the same result, and then each takes \
                 what is there last"
                    .to_owned(),
            ),
        })));
        let part = self.objects.part(&path, 4, cancel);
        all.push(tried(
            "range",
            part.map(|part| match part.as_deref() {
                Some(b"456789") => well("a transfer that was cut goes on where it was"),
                _ => (
                    End::Otherwise,
                    "no ranges: a transfer that was cut begins again".to_owned(),
                ),
            }),
        ));
        let listed = match self.list(&format!("{FOLDER}/"), None, cancel) {
            Err(RemoteError::Unsupported(why)) => Ok((
                End::Otherwise,
                format!("{why}; events of jobs are only seen at their end"),
            )),
            Ok(paths) if !paths.contains(&path) => {
                Ok((End::Failed, "what was put there is not listed".to_owned()))
            }
            listed => listed.map(|_| well("what is there is listed")),
        };
        all.push(tried("list", listed));
        let deleted = self
            .objects
            .delete(&path, cancel)
            .and_then(|()| self.objects.look(&path, cancel));
        all.push(tried(
            "delete",
            deleted.map(|there| match there {
                None => well("what is taken away is gone"),
                Some(_) => (
                    End::Otherwise,
                    "what is taken away stays; remove old objects on the server".to_owned(),
                ),
            }),
        ));
        all
    }
}

fn tried(what: &'static str, end: Result<(End, String), RemoteError>) -> Tried {
    let (end, detail) = end.unwrap_or_else(|error| (End::Failed, error.to_string()));
    Tried { what, end, detail }
}
