//! Which server it is, and who to be there, from the settings of the host.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rusty_s3::{Bucket, Credentials, UrlStyle};

use crate::host::http::redact;
use crate::remote::error::RemoteError;
use crate::remote::settings::{RemoteSettings, SecretSource};
use crate::syntax::secret::Secret;

/// Variable with the token of temporary credentials, which goes with the variables that are the default.
const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";

#[derive(Debug)]
pub(super) enum Place {
    Bucket {
        bucket: Box<Bucket>,
        credentials: Credentials,
        /// What object names begin with; empty, or with a slash at its end.
        prefix: String,
    },
    Server {
        /// Without a slash at its end.
        base: String,
        headers: Vec<(&'static str, String)>,
    },
}

impl Place {
    pub(super) fn of(settings: &RemoteSettings, url: &str) -> Result<Self, RemoteError> {
        match url.split_once("://") {
            Some(("s3", rest)) => bucket(settings, rest),
            Some(("http" | "https", _)) => server(settings, url),
            _ => Err(RemoteError::Settings(format!(
                "`{}` is no remote store; write s3://bucket/prefix or https://host/path",
                redact(url)
            ))),
        }
    }
}

fn bucket(settings: &RemoteSettings, rest: &str) -> Result<Place, RemoteError> {
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_matches('/');
    let region = settings.region.clone().unwrap_or_else(|| "us-east-1".to_owned());
    let endpoint = settings.endpoint.clone();
    let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
    let bad = |cause: String| {
        RemoteError::Settings(format!("the endpoint `{endpoint}` {cause}; write https://host"))
    };
    let parsed = endpoint
        .parse()
        .map_err(|error| bad(format!("is not a URL ({error})")))?;
    let bucket = Bucket::new(parsed, UrlStyle::Path, name.to_owned(), region)
        .map_err(|error| bad(format!("cannot be one: {error}")))?;
    let usual = settings.access_key.is_none();
    let key = read("access_key", settings.access_key.as_ref(), "AWS_ACCESS_KEY_ID")?;
    let secret = read(
        "secret_key",
        settings.secret_key.as_ref(),
        "AWS_SECRET_ACCESS_KEY",
    )?;
    let token = std::env::var(SESSION_TOKEN).ok();
    let credentials = match token.filter(|token| usual && !token.is_empty()) {
        Some(token) => Credentials::new_with_token(key, secret, token),
        None => Credentials::new(key, secret),
    };
    Ok(Place::Bucket {
        bucket: Box::new(bucket),
        credentials,
        prefix: match prefix {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        },
    })
}

fn server(settings: &RemoteSettings, url: &str) -> Result<Place, RemoteError> {
    let mut headers = Vec::new();
    if let Some(user) = &settings.access_key {
        let user = read("access_key", Some(user), "")?;
        let password = read(
            "secret_key",
            settings.secret_key.as_ref(),
            "PIPELINE_REMOTE_SECRET_KEY",
        )?;
        let basic = BASE64_STANDARD.encode(format!("{user}:{password}"));
        headers.push(("authorization", format!("Basic {basic}")));
    }
    Ok(Place::Server {
        base: url.trim_end_matches('/').to_owned(),
        headers,
    })
}

fn read(key: &str, source: Option<&SecretSource>, default: &str) -> Result<String, RemoteError> {
    let secret = source.map_or_else(|| Secret::Env(default.to_owned()), SecretSource::secret);
    match secret.read() {
        Ok(value) => Ok(value.expose().trim().to_owned()),
        Err(error) => Err(RemoteError::Settings(format!("`remote.{key}`: {error}"))),
    }
}
