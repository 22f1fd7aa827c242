//! `[publish.<name>]`: places that images are published to.

use crate::manifest::describe::row::{Cell, In, Record, Row, Var, Word};
use crate::manifest::describe::tables::{
    self, DIRECTORY, HTTP, LoginKey, SHACACHE, SecretKeys, TARGET, TargetKeys, WORLD,
};
use crate::manifest::fields::{Field, Fields};
use crate::manifest::parse::Value;
use crate::manifest::target::{Destination, Http, Login, Metadatum, S3, Shacache, TAKEN, Target, TargetKind};

use super::{Reading, Spot};
use crate::syntax::secret::{default_secret, read_secret};

/// What the images' consumers select by, as their metadata have always been.
const METADATA: [(&str, &str); 5] = [
    ("title", "packerimage-{{ id }}{{ suffix }}"),
    ("distribution", "{{ family }}"),
    ("version", "{{ version }}"),
    ("disk-size", "{{ disk_gb }}"),
    ("compressed", "{{ suffix != '' }}"),
];

/// A target and what of it is checked with the images.
#[derive(Debug)]
pub struct TargetDraft {
    pub target: Target,
    /// Templates of its metadata.
    pub metadata: Vec<Spot>,
}

/// The sub-tables of `[publish]`.
pub(super) fn read_all(reading: Reading<'_>, publish: &Fields<'_>) -> Vec<TargetDraft> {
    let places = publish.others(TargetKeys::EXAMPLE);
    places.filter_map(|field| read(reading, &field)).collect()
}

fn read(reading: Reading<'_>, field: &Field<'_>) -> Option<TargetDraft> {
    reading.file_name(field.key_span, "the name of a place to publish to", field.key);
    // Which keys belong here, one of them says.
    let unchecked = field.open_unchecked(TargetKeys::TABLE)?;
    let mut named = TargetKind::ALL.iter().copied();
    let kind = match unchecked.get(&TARGET.to) {
        Some(to) => to.read()?,
        None => match named.find(|kind| kind.word() == field.key) {
            Some(kind) => kind,
            None => {
                unchecked.lacks(&TARGET.to.key);
                return None;
            }
        },
    };
    let table = field.open(tables::target(kind))?;
    let mut metadata = Vec::new();
    let to = match kind {
        TargetKind::Shacache => Some(Destination::Shacache(shacache(reading, &table, &mut metadata))),
        TargetKind::Directory => directory(reading, &table),
        TargetKind::Http => http(reading, &table),
        TargetKind::S3 => bucket(reading, &table),
    };
    Some(TargetDraft {
        target: Target {
            name: field.key.to_owned(),
            to: to?,
            verify: table.read_or_default(&TARGET.verify),
            public_url: match kind {
                // Its configuration says where the world reads.
                TargetKind::Shacache => None,
                TargetKind::Directory | TargetKind::Http | TargetKind::S3 => table.read(&WORLD.public_url),
            },
        },
        metadata,
    })
}

fn shacache(reading: Reading<'_>, table: &Fields<'_>, spots: &mut Vec<Spot>) -> Shacache {
    let metadata = match table.get(&SHACACHE.metadata) {
        None => METADATA
            .map(|(key, text)| (key.to_owned(), Metadatum::Template(text.to_owned())))
            .to_vec(),
        Some(cell) => metadata(&cell, &cell.named(), spots),
    };
    Shacache {
        config: reading.files.path(&table.read_or_default(&SHACACHE.config)),
        key: table.read_or_default(&SHACACHE.key),
        metadata,
    }
}

fn metadata(field: &Field<'_>, items: &[Cell<'_, Var>], spots: &mut Vec<Spot>) -> Vec<(String, Metadatum)> {
    let mut found = Vec::new();
    for item in items {
        if TAKEN.contains(&item.key) {
            item.bad(
                "an entry has this key itself, or the reference client cannot pass it on",
                "choose another name",
            );
            continue;
        }
        let value = match &item.node.value {
            Value::Text(text) => {
                spots.push(Spot::new(item, text));
                Some(Metadatum::Template(text.clone()))
            }
            _ => item.read().map(Metadatum::Plain),
        };
        found.extend(value.map(|value| (item.key.to_owned(), value)));
    }
    if matches!(&field.node.value, Value::Table(entries) if entries.is_empty()) {
        field.bad(
            "the reference client refuses empty metadata",
            "give at least one, such as title = \"{{ id }}\"",
        );
    }
    found
}

fn directory(reading: Reading<'_>, table: &Fields<'_>) -> Option<Destination> {
    let path = table.read(&DIRECTORY.path)?;
    Some(Destination::Directory(reading.files.path(&path)))
}

fn http(reading: Reading<'_>, table: &Fields<'_>) -> Option<Destination> {
    let url = table.read(&HTTP.url);
    let user = table.read(&HTTP.user);
    let secret = |row: &'static Row<In<SecretKeys>>| read_secret(reading, &table.get(row)?);
    let (password, token) = (secret(&HTTP.password), secret(&HTTP.token));
    let login = match table.one_of::<LoginKey>() {
        None => Login::Anonymous,
        Some((LoginKey::Password, _)) => Login::Password {
            user: user?,
            password: password?,
        },
        Some((LoginKey::Token, _)) => Login::Token(token?),
    };
    Some(Destination::Http(Http { url: url?, login }))
}

fn bucket(reading: Reading<'_>, table: &Fields<'_>) -> Option<Destination> {
    let secret = |row: &'static Row<In<SecretKeys>>| match table.get(row) {
        Some(cell) => read_secret(reading, &cell),
        None => default_secret(row),
    };
    // Each of them first: one mistake must not hide another.
    let endpoint = table.read(&tables::S3.endpoint);
    let bucket = table.read(&tables::S3.bucket);
    let prefix = table.read(&tables::S3.prefix);
    let region = table.read_or_default(&tables::S3.region);
    let (access_key, secret_key) = (secret(&tables::S3.access_key), secret(&tables::S3.secret_key));
    Some(Destination::S3(S3 {
        endpoint: endpoint?,
        bucket: bucket?,
        prefix: prefix.unwrap_or_default(),
        region,
        access_key: access_key?,
        secret_key: secret_key?,
    }))
}
