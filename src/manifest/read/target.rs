//! `[publish.<name>]`: places that images are published to.

use crate::manifest::error::ProblemKind;
use crate::manifest::fields::{Field, Fields};
use crate::manifest::model::Secret;
use crate::manifest::parse::{Node, Value};
use crate::manifest::target::{Destination, Http, Login, Metadatum, S3, Shacache, TAKEN, Target, Verify};

use super::step::read_secret;
use super::{Reading, Spot};

/// The kinds, which are also the names that need no `to`.
const KINDS: [(&str, Kind); 4] = [
    ("shacache", Kind::Shacache),
    ("directory", Kind::Directory),
    ("http", Kind::Http),
    ("s3", Kind::S3),
];
const VERIFY: [(&str, Verify); 2] = [("full", Verify::Full), ("head", Verify::Head)];
/// Where hosts of the SlapOS build team have their configuration.
const CONFIG: &str = "/etc/opt/shacache/shacache.cfg";
/// The key that all images have been listed under since the first.
const KEY: &str = "packer-images";
/// What the images' consumers select by, as their metadata have always been.
const METADATA: [(&str, &str); 5] = [
    ("title", "packerimage-{{ id }}{{ suffix }}"),
    ("distribution", "{{ family }}"),
    ("version", "{{ version }}"),
    ("disk-size", "{{ disk_gb }}"),
    ("compressed", "{{ suffix != '' }}"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Shacache,
    Directory,
    Http,
    S3,
}

/// A target and what of it is checked with the images.
#[derive(Debug)]
pub struct TargetDraft {
    /// As read.
    pub target: Target,
    /// Templates of its metadata.
    pub metadata: Vec<Spot>,
}

/// The sub-tables of `[publish]`; to be called when its plain keys were asked for.
pub(super) fn read_all(reading: Reading<'_>, publish: &Fields<'_>) -> Vec<TargetDraft> {
    publish
        .tables()
        .iter()
        .filter_map(|field| read(reading, field))
        .collect()
}

fn read(reading: Reading<'_>, field: &Field<'_>) -> Option<TargetDraft> {
    reading.file_name(field.key_span, "the name of a place to publish to", field.key);
    let table = field.table("{ to = \"directory\", path = \"/srv/images\" }")?;
    let named = KINDS
        .iter()
        .find(|(name, _)| *name == field.key)
        .map(|(_, kind)| *kind);
    let kind = match (named, table.get("to")) {
        (_, Some(to)) => to.choice(&KINDS),
        (Some(kind), None) => Some(kind),
        (None, None) => {
            table.need("to", "\"shacache\"  # or \"directory\", \"http\", \"s3\"");
            None
        }
    };
    let verify = table.get("verify").and_then(|field| field.choice(&VERIFY));
    // A shacache's configuration says where the world reads.
    let public_url = match kind {
        Some(Kind::Shacache) => None,
        _ => table.get("public_url").and_then(|field| base_url(&field)),
    };
    let mut metadata = Vec::new();
    let to = match kind {
        Some(Kind::Shacache) => Some(Destination::Shacache(shacache(reading, &table, &mut metadata))),
        Some(Kind::Directory) => directory(reading, &table),
        Some(Kind::Http) => http(reading, &table),
        Some(Kind::S3) => s3(reading, &table),
        // Which keys belong here is unknown then.
        None => return None,
    };
    table.finish();
    Some(TargetDraft {
        target: Target {
            name: field.key.to_owned(),
            to: to?,
            verify: verify.unwrap_or(Verify::Full),
            public_url,
        },
        metadata,
    })
}

fn shacache(reading: Reading<'_>, table: &Fields<'_>, spots: &mut Vec<Spot>) -> Shacache {
    let config = table
        .get("config")
        .and_then(|field| field.text("\"/etc/opt/shacache/shacache.cfg\""));
    let key = table.get("key").and_then(|field| {
        field.parsed("\"packer-images\"", |text| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:".contains(c);
            match text.chars().find(|c| !plain(*c)) {
                None => Ok(text.to_owned()),
                Some(odd) => Err(format!("`{text}` becomes part of a URL and has {odd:?} in it")),
            }
        })
    });
    let metadata = match table.get("metadata") {
        None => METADATA
            .map(|(key, text)| (key.to_owned(), Metadatum::Template(text.to_owned())))
            .to_vec(),
        Some(field) => metadata(&field, spots),
    };
    Shacache {
        config: reading.files.path(config.unwrap_or(CONFIG)),
        key: key.unwrap_or_else(|| KEY.to_owned()),
        metadata,
    }
}

fn metadata(field: &Field<'_>, spots: &mut Vec<Spot>) -> Vec<(String, Metadatum)> {
    let Some(table) = field.table("{ title = \"{{ id }}\", version = \"{{ version }}\" }") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for item in table.all() {
        if TAKEN.contains(&item.key) {
            item.bad(
                "an entry has this key itself, or the reference client cannot pass it on",
                "choose another name",
            );
            continue;
        }
        let value = match &item.node.value {
            Value::Text(text) => {
                spots.push(Spot::new(&item, text));
                Some(Metadatum::Template(text.clone()))
            }
            _ => plain(&item, item.node).map(Metadatum::Plain),
        };
        found.extend(value.map(|value| (item.key.to_owned(), value)));
    }
    if table.all().next().is_none() {
        field.bad(
            "the reference client refuses empty metadata",
            "tell at least one thing, such as title = \"{{ id }}\"",
        );
    }
    found
}

fn plain(field: &Field<'_>, node: &Node) -> Option<serde_json::Value> {
    super::var(field, node)
}

fn directory(reading: Reading<'_>, table: &Fields<'_>) -> Option<Destination> {
    let field = table.need("path", "\"/srv/images\"")?;
    let text = field.text("\"/srv/images\"")?;
    Some(Destination::Directory(reading.files.path(text)))
}

fn http(reading: Reading<'_>, table: &Fields<'_>) -> Option<Destination> {
    let url = table
        .need("url", "\"https://images.example/upload\"")
        .and_then(|field| base_url(&field));
    let user = table.get("user").and_then(|field| field.text("\"builder\""));
    let password = table.get("password");
    let token = table.get("token");
    let secret = |field: &Option<Field<'_>>| field.as_ref().and_then(|field| read_secret(reading, field));
    let (password_value, token_value) = (secret(&password), secret(&token));
    if let (Some(first), Some(second)) = (&password, &token) {
        let kind = ProblemKind::OneOf {
            path: table.path.clone(),
            found: vec!["`password`".to_owned(), "`token`".to_owned()],
            wanted: &["password", "token"],
        };
        reading
            .problems
            .add_pair((first.key_span, "this"), second.key_span, kind);
        return None;
    }
    let login = match (user, &password, &token) {
        (None, None, None) => Login::Anonymous,
        (_, _, Some(_)) => Login::Token(token_value?),
        (Some(user), Some(_), None) => Login::Password {
            user: user.to_owned(),
            password: password_value?,
        },
        (Some(_), None, None) => {
            table.need("password", "{ env = \"IMAGES_PASSWORD\" }");
            return None;
        }
        (None, Some(_), None) => {
            table.need("user", "\"builder\"");
            return None;
        }
    };
    Some(Destination::Http(Http { url: url?, login }))
}

fn s3(reading: Reading<'_>, table: &Fields<'_>) -> Option<Destination> {
    let endpoint = table
        .need("endpoint", "\"https://s3.eu-west-1.amazonaws.com\"")
        .and_then(|field| base_url(&field));
    let bucket = table
        .need("bucket", "\"images\"")
        .and_then(|field| field.parsed("\"images\"", bucket_name));
    let prefix = table.get("prefix").and_then(|field| {
        field.parsed("\"nightly\"", |text| {
            let trimmed = text.trim_matches('/');
            if trimmed.is_empty() || trimmed.contains("//") || trimmed.chars().any(char::is_control) {
                return Err(format!("`{text}` cannot begin the name of an object"));
            }
            Ok(trimmed.to_owned())
        })
    });
    let region = table.get("region").and_then(|field| field.text("\"eu-west-1\""));
    let secret = |key: &'static str, variable: &str| match table.get(key) {
        Some(field) => read_secret(reading, &field),
        None => Some(Secret::Env(variable.to_owned())),
    };
    let access_key = secret("access_key", "AWS_ACCESS_KEY_ID");
    let secret_key = secret("secret_key", "AWS_SECRET_ACCESS_KEY");
    Some(Destination::S3(S3 {
        endpoint: endpoint?,
        bucket: bucket?,
        prefix: prefix.unwrap_or_default(),
        region: region.unwrap_or("us-east-1").to_owned(),
        access_key: access_key?,
        secret_key: secret_key?,
    }))
}

/// Amazon S3 user guide, "Bucket naming rules": what every store takes.
fn bucket_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    if (3..=63).contains(&text.len()) && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{text}` cannot be a bucket: those have 3 to 63 small letters, digits, dots and hyphens"
    ))
}

/// A URL that paths are appended to: no query, no password; a slash at its end is dropped.
fn base_url(field: &Field<'_>) -> Option<String> {
    field.parsed("\"https://images.example/upload\"", |text| {
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let host = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
        if host.is_empty() || text.contains(char::is_whitespace) {
            return Err(format!("`{text}` is not an http:// or https:// URL"));
        }
        if host.contains('@') {
            return Err(
                "a user and a password do not belong into the text of a manifest: \
                give them as `user = …` and `password = { env = \"…\" }`"
                    .to_owned(),
            );
        }
        if text.contains(['?', '#']) {
            return Err(format!(
                "`{text}` has a `?` or `#`; file names are appended to it"
            ));
        }
        Ok(text.trim_end_matches('/').to_owned())
    })
}
