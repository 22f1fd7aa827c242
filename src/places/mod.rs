//! Kinds of place that images are published to, one file or folder each: what a manifest says of it, what tells it from
//! others, and how files get there. What they share is in `deliver`. To add a kind, write its file and list it below.

mod ask;
pub mod catalogs;
mod deliver;
mod directory;
pub mod error;
#[cfg(test)]
mod example;
mod http;
pub mod read_back;
pub mod retry;
mod s3;
pub mod shacache;
pub mod versions;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::ask::{get, head, looked, remove, stretch, url_path};
use self::catalogs::Catalog;
pub use self::deliver::{Around, Found, Item, Metadata, Place, Receipt, check_url, upload};
pub use self::directory::Directory;
pub use self::error::UploadError;
pub use self::http::{Folders, Http, Login, folder_of};
use self::read_back::Bytes;
pub use self::s3::{S3, listed_parts};
pub use self::shacache::Shacache;
pub use self::versions::Keep;
use crate::disk_format::Form;
use crate::host::cancel::Cancel;
use crate::host::http::{Client, Get};
use crate::syntax::fields::{Field, Fields};
use crate::syntax::key::Table;
use crate::syntax::reading::{Reading, Spot};
use crate::syntax::row::{Choice, List, Record, Word, Yes, words};
use crate::syntax::secret::Secret;
use crate::syntax::table::table;
use crate::syntax::text::BaseUrl;

// What all places have, and what most of them have: no tables, but parts of such.
table! {
    TARGET: TargetKeys = "target", "A place to publish to", "{ to = \"directory\", path = \"/srv/images\" }";
    to: Choice<PlaceKind> = "\"directory\"",
        "what kind of place it is; a table with the name of a kind needs no `to`"
        .written("to = \"directory\"  # or \"shacache\", \"http\", \"s3\"");
    verify: Choice<Verify> = "\"full\"",
        "`\"full\"` reads every byte back and compares its SHA-512, `\"head\"` only asks for the size"
        .default("\"full\"");
}

table! {
    WORLD: WorldKeys = "world", "What the world reads", "{ }";
    public_url: BaseUrl = "\"https://images.example\"",
        "base of the URLs that the world uses, where they are other ones than those we write to; `check-urls` then reads those, without credentials";
    versions: Yes = "true",
        "`true`: each build has a folder of its own, `versions/IMAGE/VERSION`, instead of taking the place of the one before; `index.json` next to them says which one is `latest`. How many are kept is what `publish.versions` says";
    catalogs: List<Choice<Catalog>> = "[\"simplestreams\", \"vagrant\"]",
        "lists of these versions in the forms that other programs read".default("[]");
}

/// One place that images are published to: `[publish.<name>]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub name: String,
    /// Kind and place.
    pub to: Destination,
    /// How an upload is verified.
    pub verify: Verify,
    /// Base of the URLs that the world uses, where it is another one than the one we write to.
    pub public_url: Option<String>,
    /// Which versions of images it keeps; none: only the last build.
    pub versions: Option<Keep>,
    /// Lists of the versions for other programs.
    pub catalogs: Vec<Catalog>,
}

/// What images offer to the places that they go to.
#[derive(Debug)]
pub struct Offered {
    /// What the manifest says of versions.
    pub keep: Option<Keep>,
    /// The forms of uncompressed files.
    pub forms: Vec<Form>,
}

/// How an upload is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verify {
    #[default]
    /// Every byte is read back and its digest compared.
    Full,
    /// The place is asked whether it has a file of the right size.
    Head,
}

words! { Verify: Full, Head; }

impl Verify {
    /// As in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Head => "head",
        }
    }
}

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Metadatum {
    /// A template over the image.
    Template(String),
    /// As it is.
    Plain(Value),
}

/// What a kind of place says of itself.
pub trait Kind: fmt::Debug {
    /// An object that tells one place of its kind from another, for keys.
    fn identity(&self) -> Value;

    /// Describes each image, in this order.
    fn metadata(&self) -> &[(String, Metadatum)] {
        &[]
    }

    /// Whether what is in it is listed in `URL.txt`.
    fn lists_urls(&self) -> bool {
        false
    }

    /// The secrets that writing to it takes, with the keys they stand at.
    fn secrets(&self) -> Vec<(&'static str, &Secret)> {
        Vec::new()
    }

    /// Makes it ready to be written to. `target` is the place itself.
    ///
    /// # Errors
    /// What stands in the way.
    fn open(&self, target: &Target) -> Result<Box<dyn Place>, UploadError>;

    /// Whether it can be used: its secrets are set, its configuration makes sense. Gives warnings.
    ///
    /// # Errors
    /// What stands in the way, before anything is built.
    fn check(&self, target: &Target) -> Result<Vec<String>, UploadError> {
        self.open(target).map(|_| Vec::new())
    }

    /// Reads what was published at a URL.
    ///
    /// # Errors
    /// [`UploadError`].
    fn read(
        &self,
        target: &Target,
        url: &str,
        item: &Item<'_>,
        cancel: &Cancel,
    ) -> Result<Bytes, UploadError> {
        let place = self.open(target)?;
        if place.public(item) == url {
            return place.read(item, cancel);
        }
        get(&Client::default(), &Get::new(url), cancel)
    }
}

/// How a manifest writes it.
pub trait Written: Kind + Sized {
    /// Its keys, and the word for its kind.
    const TABLE: &'static Table;

    /// Reads it; `templates` are those that are checked with the images. Nothing: it was reported.
    fn read(reading: Reading<'_>, table: &Fields<'_>, templates: &mut Vec<Spot>) -> Option<Self>;
}

/// Makes one type of all kinds.
macro_rules! places {
    ($($(#[cfg($cfg:meta)])? $name:ident($kind:ty)),+ $(,)?) => {
        /// Kind and place.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Destination {
            $($(#[cfg($cfg)])? $name($kind)),+
        }

        /// Kinds of place, by their words. A table with the name of a kind is of that kind.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum PlaceKind {
            $($(#[cfg($cfg)])? $name),+
        }

        /// The tables of all kinds.
        pub const TABLES: &[&Table] = &[$($(#[cfg($cfg)])? <$kind as Written>::TABLE),+];

        impl Word for PlaceKind {
            const ALL: &'static [Self] = &[$($(#[cfg($cfg)])? Self::$name),+];

            fn word(self) -> &'static str {
                self.table().tag.map_or("", |tag| tag.word)
            }
        }

        impl PlaceKind {
            pub fn table(self) -> &'static Table {
                match self {
                    $($(#[cfg($cfg)])? Self::$name => <$kind as Written>::TABLE),+
                }
            }

            fn read(self, reading: Reading<'_>, table: &Fields<'_>, templates: &mut Vec<Spot>) -> Option<Destination> {
                match self {
                    $(
                        $(#[cfg($cfg)])?
                        Self::$name => <$kind as Written>::read(reading, table, templates).map(Destination::$name)
                    ),+
                }
            }
        }

        impl Destination {
            /// The word for its kind.
            pub fn word(&self) -> &'static str {
                let kind = match self {
                    $($(#[cfg($cfg)])? Self::$name(_) => PlaceKind::$name),+
                };
                kind.word()
            }
        }

        impl std::ops::Deref for Destination {
            type Target = dyn Kind;

            fn deref(&self) -> &Self::Target {
                match self {
                    $($(#[cfg($cfg)])? Self::$name(place) => place),+
                }
            }
        }
    };
}

places! {
    Shacache(Shacache),
    Directory(Directory),
    Http(Http),
    S3(S3),
    #[cfg(test)]
    Example(example::ExamplePlace),
}

/// Reads `[publish.<name>]`. Nothing: it was reported.
pub fn read(
    reading: Reading<'_>,
    field: &Field<'_>,
    offered: &Offered,
    templates: &mut Vec<Spot>,
) -> Option<Target> {
    // Which keys belong here, one of them says.
    let unchecked = field.open_unchecked(TargetKeys::TABLE)?;
    let mut named = PlaceKind::ALL.iter().copied();
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
    let table = field.open(kind.table())?;
    let to = kind.read(reading, &table, templates);
    let verify = table.read_or_default(&TARGET.verify);
    let has_world = kind.table().key(WORLD.public_url.key.name).is_some();
    let public_url = has_world.then(|| table.read(&WORLD.public_url)).flatten();
    let versions = has_world.then(|| table.get(&WORLD.versions)).flatten();
    if let (Some(cell), None) = (&versions, offered.keep) {
        cell.bad(
            "the manifest does not say how many are kept",
            "write under [publish]: versions = { keep = 5 }",
        );
    }
    let versions = versions.and_then(|cell| cell.read()).and(offered.keep);
    let catalogs = if has_world {
        catalogs(&table, versions.is_some(), offered)
    } else {
        Vec::new()
    };
    Some(Target {
        name: field.key.to_owned(),
        to: to?,
        verify,
        public_url,
        versions,
        catalogs,
    })
}

fn catalogs(table: &Fields<'_>, has_versions: bool, offered: &Offered) -> Vec<Catalog> {
    let catalogs = table.once(&WORLD.catalogs);
    let Some(cell) = table.get(&WORLD.catalogs).filter(|_| !catalogs.is_empty()) else {
        return catalogs;
    };
    if !has_versions {
        cell.bad(
            "they list versions, and this place keeps none: a file would be replaced while it is read",
            "write here: versions = true",
        );
    }
    for catalog in &catalogs {
        let forms = catalog.forms();
        if !forms.iter().any(|form| offered.forms.contains(form)) {
            cell.bad(
                format!("images have no file that {} lists", catalog.name()),
                format!(
                    "write under [publish]: formats = [\"{}\"]",
                    forms[forms.len().min(2) - 1].name()
                ),
            );
        }
    }
    catalogs
}

impl Target {
    /// What tells it from other places, for keys.
    pub fn identity(&self) -> Value {
        let mut identity = self.to.identity();
        identity["to"] = self.to.word().into();
        identity["public_url"] = json!(self.public_url);
        identity
    }
}
