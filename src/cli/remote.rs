//! The store that hosts share, as verbs open it.

use super::exit::Exit;
use super::report_error::{fail, talk};
use crate::host::fs::read_small;
use crate::remote::Remote;
use crate::remote::error::RemoteError;
use crate::remote::settings::Settings;
use crate::store::Store;

/// Which remote store.
#[derive(Debug, Default, clap::Args)]
pub struct RemoteArgs {
    /// The store that hosts share, as in s3://bucket/prefix or https://host/path; `none` does without
    /// [default: $PIPELINE_REMOTE, or `remote.url` of ~/.config/pipeline/farm.toml]
    // Not by clap, as with `--store`.
    #[arg(long, value_name = "URL")]
    remote: Option<String>,
}

impl RemoteArgs {
    /// That of a URL; of none, that of the settings.
    pub fn of(url: &str) -> Self {
        let remote = Some(url.to_owned()).filter(|url| !url.is_empty());
        Self { remote }
    }

    /// Opens it; none: there is none.
    ///
    /// # Errors
    /// [`Exit::Usage`], after saying what is wrong with the settings.
    pub fn open(&self) -> Result<Option<Remote>, Exit> {
        let opened = Remote::open(&self.settings()?.remote);
        opened.map_err(|error| fail(Exit::Usage, miette::miette!("{error}")))
    }

    /// All settings of this host that are about others.
    ///
    /// # Errors
    /// As [`RemoteArgs::open`].
    pub fn settings(&self) -> Result<Settings, Exit> {
        Settings::load(self.remote.as_deref()).map_err(|error| fail(Exit::Usage, miette::miette!("{error}")))
    }

    /// The same for what makes no sense without one.
    ///
    /// # Errors
    /// As [`RemoteArgs::open`].
    pub fn need(&self) -> Result<Remote, Exit> {
        self.open()?.ok_or_else(|| {
            let help =
                "name it: --remote URL, PIPELINE_REMOTE, or `remote.url` of ~/.config/pipeline/farm.toml";
            fail(
                Exit::Usage,
                miette::miette!(help = help, "this host has no remote store"),
            )
        })
    }
}

/// The largest key for fingerprints, and the least that could not be guessed, in bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=4096;

/// A store that makes fingerprints of secrets as all hosts do that have the same key, where there is one.
///
/// # Errors
/// [`Exit::Usage`], after saying what is wrong with the settings, or with the key.
pub fn with_fingerprint_key(store: Store) -> Result<Store, Exit> {
    let usage = |error: &dyn std::fmt::Display| fail(Exit::Usage, miette::miette!("{error}"));
    let settings = Settings::load(None).map_err(|error| usage(&error))?;
    let Some(source) = settings.remote.fingerprint_key else {
        return Ok(store);
    };
    let refused = |cause: &dyn std::fmt::Display| {
        usage(&format!("the fingerprint key {}: {cause}", source.file.display()))
    };
    let key = read_small(&source.file, *KEY_BYTES.end() as u64).map_err(|error| refused(&error))?;
    if key.len() < *KEY_BYTES.start() {
        return Err(refused(&format!(
            "it has {} bytes, and fewer than {} could be guessed; make it by `head -c 32 /dev/urandom`",
            key.len(),
            KEY_BYTES.start()
        )));
    }
    Ok(store.with_fingerprint_key(key))
}

/// Says what is not used of a remote store.
pub fn warn(remote: &Remote) {
    for doubt in remote.doubts() {
        talk(&format!("warning: {doubt}\n"));
    }
}

/// What a failure means for the exit code, after saying so.
pub fn failed(error: &RemoteError) -> Exit {
    if error.is_cancelled() {
        return Exit::Interrupted;
    }
    fail(Exit::Failed, miette::miette!("{error}"))
}
