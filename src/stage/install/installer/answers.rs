//! The answers on their way to an installer: stand-ins filled in, then served, slipped into the initial RAM disk, or
//! written to a seed. Each request for them is an event.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io};

use super::InstallerWork;
use super::plan::{
    ANSWERS_FOLDER, ANSWERS_PORT, HOST_ADDRESS, LOG_PORT, PASSWORD, REPORT_URL, SIGN, reports,
};
use crate::digest::sha256_hex;
use crate::host::fs::write_private;
use crate::host::serve::{Answered, Bound, Server};
use crate::installer::Delivery;
use crate::machine::media::initrd;
use crate::machine::seed;
use crate::stage::Site;
use crate::stage::error::StageError;
use crate::stage::install::BUILD_KEY;
use crate::stage::requests::RequestLog;

/// What an installer reports to, next to the answers.
const REPORTS: &str = "report";

/// What an installer asks for when all is done.
pub(super) const INSTALLED: &str = "installed";

/// Answers, ready to be taken.
#[derive(Debug)]
pub(super) struct Answers {
    text: String,
    delivery: Delivery,
    seed: Option<PathBuf>,
    port: u16,
    folder: String,
    log_port: u16,
    sign: Option<String>,
    heard: Arc<Mutex<Vec<Answered>>>,
    /// Serves as long as this lives.
    _server: Server,
}

impl Answers {
    /// Fills the answers in and opens the way for them. What was filled in is kept in the node's logs, without the hash
    /// of a password.
    pub(super) fn prepare(
        work: &InstallerWork,
        public_key: &str,
        log_port: u16,
        site: &Site,
    ) -> Result<Self, StageError> {
        let bound = Bound::new().map_err(|e| StageError::port("the answers", e))?;
        let Bound { port, folder, .. } = &bound;
        let (port, folder) = (*port, folder.clone());
        let fill = |text: &str| fill(text, port, &folder, log_port).replace(BUILD_KEY, public_key);
        let shown = fill(&work.answers);
        let log = site.logs.join(&work.file);
        fs::write(&log, &shown).map_err(|e| StageError::file("write", &log, e))?;
        let text = match &work.password {
            Some(secret) => {
                let password = site.secrets.read(secret);
                let password = password.map_err(|source| StageError::NoPassword { source })?;
                shown.replace(PASSWORD, &super::password::hash(&password)?)
            }
            None => shown,
        };
        let seed = (work.delivery == Delivery::Seed)
            .then(|| write_seed(work, &text, site))
            .transpose()?;
        let mut documents = BTreeMap::from([(INSTALLED.to_owned(), Vec::new())]);
        if work.delivery == Delivery::Http {
            documents.insert(work.file.clone(), text.clone().into_bytes());
            let others = work.other_seed_files.iter();
            documents.extend(others.map(|name| (name.clone(), Vec::new())));
        }
        let heard = Arc::<Mutex<Vec<Answered>>>::default();
        let (list, log) = (Arc::clone(&heard), RequestLog::open(site)?);
        let server = bound.serve(documents, move |request| {
            if request.path != format!("/{REPORTS}") {
                log.tell(&request);
            }
            list.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        });
        let sign = reports(&work.answers).then(|| halves(&folder).concat());
        Ok(Self {
            text,
            sign,
            delivery: work.delivery,
            seed,
            port,
            folder,
            log_port,
            heard,
            _server: server,
        })
    }

    /// A text of the plan with what only this run knows.
    pub(super) fn fill(&self, text: &str) -> String {
        fill(text, self.port, &self.folder, self.log_port)
    }

    /// What these answers make the installer print when all is done; none: they report nothing.
    pub(super) fn sign(&self) -> Option<String> {
        self.sign.clone()
    }

    /// The seed to attach, where there is one.
    pub(super) fn seed(&self) -> Option<&Path> {
        self.seed.as_deref()
    }

    /// Puts the answers into the initial RAM disk, where that is their way.
    pub(super) fn inject(&self, work: &InstallerWork, to: &Path) -> Result<(), StageError> {
        if self.delivery != Delivery::Initrd {
            return Ok(());
        }
        initrd::append(to, &[(&work.file, self.text.as_bytes())])
            .map_err(|e| StageError::file("add the answers to", to, e))
    }

    /// The requests since the last call.
    pub(super) fn requests(&self) -> Vec<Answered> {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The sign of this run. The folder itself stands on kernels' command lines, which consoles show.
fn halves(folder: &str) -> [String; 2] {
    let secret = sha256_hex(folder.as_bytes());
    [secret[..16].to_owned(), secret[16..32].to_owned()]
}

fn fill(text: &str, port: u16, folder: &str, log_port: u16) -> String {
    let [first, second] = halves(folder);
    let base = format!("http://{HOST_ADDRESS}:{port}/{folder}/");
    text.replace(SIGN[0], &first)
        .replace(SIGN[1], &second)
        .replace(REPORT_URL, &format!("{base}{REPORTS}"))
        .replace(ANSWERS_FOLDER, &base)
        .replace(ANSWERS_PORT, &port.to_string())
        .replace(LOG_PORT, &log_port.to_string())
}

fn write_seed(work: &InstallerWork, text: &str, site: &Site) -> Result<PathBuf, StageError> {
    let path = site.scratch.join("answers.img");
    let mut files = vec![(work.file.as_str(), text.as_bytes())];
    files.extend(work.other_seed_files.iter().map(|name| (name.as_str(), &b""[..])));
    let written: io::Result<()> =
        seed::image(&work.label, &files).and_then(|bytes| write_private(&path, &bytes));
    written.map_err(|e| StageError::file("write", &path, e))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stand_ins_are_filled_in() {
        let line =
            format!("url={ANSWERS_FOLDER}preseed.cfg port={ANSWERS_PORT} log={LOG_PORT} hook={REPORT_URL}");
        assert_eq!(
            fill(&line, 81, "secret", 514),
            "url=http://10.0.2.2:81/secret/preseed.cfg port=81 log=514 hook=http://10.0.2.2:81/secret/report"
        );
    }
}
