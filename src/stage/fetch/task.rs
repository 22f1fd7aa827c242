//! How a download is a stage.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{FetchError, FetchWork, Spec, Unremembered, fetch, look_up};
use crate::host::cancel::Cancel;
use crate::host::http::{Client, Get, Limits, redact};
use crate::manifest::model::Proof;
use crate::stage::Site;
use crate::stage::error::StageError;
use crate::stage::result::Taken;
use crate::stage::task::{File, Finding, Made, Task};

/// Time for a question before a run: a fetch itself has more patience.
const PATIENCE: Duration = Duration::from_secs(10);
/// The medium.
pub const MEDIA: &str = "media";

/// Facts of a download.
#[derive(Debug, Serialize, Deserialize)]
struct Facts {
    url: Option<String>,
}

impl Task for FetchWork {
    fn programs(&self) -> Vec<&'static str> {
        match &self.proof {
            Proof::List(list) if list.keyring.is_some() => vec!["gpgv"],
            Proof::List(_) | Proof::Digest(_) | Proof::Latest(_) => Vec::new(),
        }
    }

    fn asks(&self) -> Option<String> {
        Some(self.urls.join(" "))
    }

    /// Only where no source has the file: everything else a fetch tries again, and reports better.
    fn probe(&self, cancel: &Cancel) -> Vec<Finding> {
        let client = Client {
            limits: Limits {
                connect: PATIENCE,
                silence: PATIENCE,
                ..Limits::default()
            },
            ..Client::default()
        };
        let is_gone = |url: &String| {
            url.starts_with("http")
                && client
                    .head(&Get::new(url), cancel)
                    .is_ok_and(|head| matches!(head.status, 404 | 410))
        };
        if !self.urls.iter().all(is_gone) {
            return Vec::new();
        }
        let urls: Vec<_> = self.urls.iter().map(|url| redact(url)).collect();
        vec![Finding::Absent(format!(
            "{}: not found; check the URL: files move when a new release comes out",
            urls.join(", ")
        ))]
    }

    fn files(&self) -> &'static [File] {
        const { &[File::internal(MEDIA)] }
    }

    fn run(&self, _taken: &Taken, out: &Path, site: &Site) -> Result<Made, StageError> {
        // Kept between runs, so that a killed download goes on where it was: under the digest, or under the key where
        // another node may want the same digest at the same time.
        let (digest, name) = match &self.proof {
            Proof::Digest(digest) => (digest.clone(), digest.hex.clone()),
            // A run locks first: only who runs a node by itself comes here.
            Proof::Latest(latest) => {
                let release = latest.release.clone();
                return Err(FetchError::Unlocked { release }.into());
            }
            Proof::List(list) => {
                let url = self.urls.first().map_or("", String::as_str);
                let listed = look_up(list, url, &Unremembered, &site.cancel, &site.emit)?;
                (listed.digest, site.key.clone())
            }
        };
        let part = site.lasting.join(format!("{name}.part"));
        let spec = Spec {
            urls: self.urls.clone(),
            digest: digest.clone(),
        };
        let fetched = fetch(&spec, &part, &site.cancel, &site.emit)?;
        let media = out.join(MEDIA);
        std::fs::rename(&part, &media).map_err(|e| StageError::file("move the download to", &media, e))?;
        let mut made = Made::with(&Facts {
            url: fetched.url_used,
        });
        made.digests.insert(MEDIA.to_owned(), vec![digest]);
        Ok(made)
    }
}
