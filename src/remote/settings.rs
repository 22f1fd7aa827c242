//! What a host says of the store that it shares and of the engine that starts its jobs: `farm.toml` of the user, and
//! variables of the environment, which win. Never a manifest: one of a pull request must not say where results go.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::RemoteError;
use crate::syntax::secret::Secret;

/// Names the file of settings where no other is meant.
const FILE_VARIABLE: &str = "PIPELINE_FARM";
/// The remote store's URL; `none` switches it off.
pub const URL_VARIABLE: &str = "PIPELINE_REMOTE";
/// The value of [`URL_VARIABLE`] that switches the remote store off.
const OFF: &str = "none";

/// All settings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many jobs run at once on the hosts that build; absent: nothing is made more than once for their sake.
    pub workers: Option<NonZeroUsize>,
    pub remote: RemoteSettings,
    pub slurm: SlurmSettings,
}

/// `[remote]`: the store that hosts share.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RemoteSettings {
    /// `s3://bucket/prefix`, or `https://host/path`; absent: there is none.
    pub url: Option<String>,
    /// Of a bucket: the server's URL.
    pub endpoint: Option<String>,
    /// Of a bucket: where it is, part of every signature.
    pub region: Option<String>,
    /// Of a bucket: files that are larger go in parts of so many bytes, as in `64M`.
    pub part_size: Option<String>,
    /// Who to be there: access key id of a bucket, user of an HTTP server.
    pub access_key: Option<SecretSource>,
    /// The proof of it.
    pub secret_key: Option<SecretSource>,
    /// Whether results are put there; where nothing is said, whether there is a key to sign them with.
    pub write: Option<bool>,
    /// The private key that signs what is put there.
    pub sign_key: Option<FileSource>,
    /// Whose results are taken, by their public keys; that of `sign_key` is always one of them.
    pub trust: Vec<String>,
    /// The key that stands-in values of secrets are made with on all hosts.
    pub fingerprint_key: Option<FileSource>,
}

/// `[slurm]`: the engine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlurmSettings {
    pub partition: Option<String>,
    pub account: Option<String>,
    pub time: Option<String>,
    pub memory_headroom: Option<String>,
    pub poll: Option<String>,
    pub program: Option<PathBuf>,
    /// Whole words for the command line; no shell reads them.
    pub extra: Vec<String>,
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum SecretSource {
    Env(String),
    File(PathBuf),
}

/// A file with a key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    pub file: PathBuf,
}

impl SecretSource {
    pub(super) fn secret(&self) -> Secret {
        match self {
            Self::Env(name) => Secret::Env(name.clone()),
            Self::File(path) => Secret::File(path.clone()),
        }
    }
}

impl Settings {
    /// The settings of this host: those of the file, and over them those of the environment. `url` comes from the command
    /// line and wins over both.
    ///
    /// # Errors
    /// [`RemoteError::Settings`] with the place and the cause.
    pub fn load(url: Option<&str>) -> Result<Self, RemoteError> {
        Self::load_from(
            &|name| std::env::var(name).ok().filter(|value| !value.is_empty()),
            url,
        )
    }

    fn load_from(env: &dyn Fn(&str) -> Option<String>, url: Option<&str>) -> Result<Self, RemoteError> {
        let named = env(FILE_VARIABLE).map(PathBuf::from);
        let usual = || {
            let config = env("XDG_CONFIG_HOME").map(PathBuf::from);
            let config = config.filter(|path| path.is_absolute());
            let config = config.or_else(|| Some(PathBuf::from(env("HOME")?).join(".config")))?;
            Some(config.join("pipeline/farm.toml"))
        };
        let mut settings = match named.clone().or_else(usual) {
            Some(path) => Self::read(&path, named.is_some())?,
            None => Self::default(),
        };
        let remote = &mut settings.remote;
        for (variable, value) in [
            (URL_VARIABLE, &mut remote.url),
            ("PIPELINE_REMOTE_ENDPOINT", &mut remote.endpoint),
            ("PIPELINE_REMOTE_REGION", &mut remote.region),
        ] {
            *value = env(variable).or(value.take());
        }
        for (variable, value) in [
            ("PIPELINE_REMOTE_SIGN_KEY", &mut remote.sign_key),
            ("PIPELINE_FINGERPRINT_KEY", &mut remote.fingerprint_key),
        ] {
            let given = env(variable).map(|path| FileSource { file: path.into() });
            *value = given.or(value.take());
        }
        for (variable, value) in [
            ("PIPELINE_REMOTE_ACCESS_KEY", &mut remote.access_key),
            ("PIPELINE_REMOTE_SECRET_KEY", &mut remote.secret_key),
        ] {
            if env(variable).is_some() {
                *value = Some(SecretSource::Env(variable.to_owned()));
            }
        }
        if let Some(keys) = env("PIPELINE_REMOTE_TRUST") {
            remote.trust = keys
                .split([',', ' '])
                .filter(|key| !key.is_empty())
                .map(str::to_owned)
                .collect();
        }
        match env("PIPELINE_REMOTE_WRITE").as_deref() {
            None => {}
            Some("yes" | "true" | "1") => remote.write = Some(true),
            Some("no" | "false" | "0") => remote.write = Some(false),
            Some(other) => {
                return Err(RemoteError::Settings(format!(
                    "PIPELINE_REMOTE_WRITE is `{other}`; write yes or no"
                )));
            }
        }
        if let Some(url) = url {
            remote.url = Some(url.to_owned());
        }
        remote.url = remote.url.take().filter(|url| url != OFF);
        Ok(settings)
    }

    /// Reads a file of settings. One that is not there has none, unless the user named it.
    fn read(path: &Path, is_named: bool) -> Result<Self, RemoteError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_named => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(RemoteError::Settings(format!(
                    "{} cannot be read: {error}; correct {FILE_VARIABLE}, or unset it",
                    path.display()
                )));
            }
        };
        let mut settings: Self = toml_edit::de::from_str(&text).map_err(|error| {
            RemoteError::Settings(format!("{}: {}", path.display(), error.to_string().trim_end()))
        })?;
        // Files are named as seen from this one.
        let folder = path.parent().unwrap_or(path);
        let remote = &mut settings.remote;
        for source in [&mut remote.sign_key, &mut remote.fingerprint_key]
            .into_iter()
            .flatten()
        {
            source.file = folder.join(&source.file);
        }
        for source in [&mut remote.access_key, &mut remote.secret_key]
            .into_iter()
            .flatten()
        {
            if let SecretSource::File(file) = source {
                *file = folder.join(&*file);
            }
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [remote]
        url = "s3://images/farm"
        endpoint = "https://s3.example"
        access_key = { env = "KEY" }
        secret_key = { file = "secret" }
        sign_key = { file = "/keys/sign" }
        trust = ["ed25519:AA"]
        [slurm]
        partition = "build"
        extra = ["--constraint=kvm"]
    "#;

    #[test]
    fn the_environment_wins_over_the_file_and_the_command_line_over_both() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("farm.toml");
        std::fs::write(&file, TEXT).unwrap();
        let with = |more: &[(&str, &str)], url: Option<&str>| {
            let mut env: std::collections::BTreeMap<String, String> = more
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            env.insert(FILE_VARIABLE.to_owned(), file.display().to_string());
            Settings::load_from(&|name| env.get(name).cloned(), url).map(|settings| settings.remote)
        };
        let plain = with(&[], None).unwrap();
        assert_eq!(plain.url.as_deref(), Some("s3://images/farm"));
        assert_eq!(
            plain.secret_key,
            Some(SecretSource::File(folder.path().join("secret")))
        );
        assert_eq!(plain.sign_key.unwrap().file, PathBuf::from("/keys/sign"));
        let of_env = with(
            &[
                ("PIPELINE_REMOTE", "https://other.example/x"),
                ("PIPELINE_REMOTE_TRUST", "a,b c"),
                ("PIPELINE_REMOTE_WRITE", "no"),
                ("PIPELINE_REMOTE_SECRET_KEY", "hidden"),
            ],
            None,
        )
        .unwrap();
        assert_eq!(of_env.url.as_deref(), Some("https://other.example/x"));
        assert_eq!(of_env.trust, ["a", "b", "c"]);
        assert_eq!(of_env.write, Some(false));
        assert_eq!(
            of_env.secret_key,
            Some(SecretSource::Env("PIPELINE_REMOTE_SECRET_KEY".to_owned()))
        );
        let typed = with(&[("PIPELINE_REMOTE", "none")], Some("https://typed.example")).unwrap();
        assert_eq!(typed.url.as_deref(), Some("https://typed.example"));
        assert_eq!(with(&[("PIPELINE_REMOTE", "none")], None).unwrap().url, None);
        std::fs::write(&file, "[remote]\nurll = \"x\"\n").unwrap();
        let error = with(&[], None).unwrap_err().to_string();
        assert!(
            error.contains("farm.toml") && error.contains("urll") && error.contains("line 2"),
            "{error}"
        );
    }
}
