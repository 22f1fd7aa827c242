//! The description itself: every key with its form, range, default, example and company, once. To add a key, add it to
//! its table here and read it in `manifest/read`: a test fails while nobody reads it, and another until `make docs` was
//! run.

mod distro;
mod flavor;
mod publish;
mod root;

pub use self::distro::*;
pub use self::flavor::*;
pub use self::publish::*;
pub use self::root::*;

use super::key::Table;
use super::row::Record;
use crate::manifest::target::TargetKind;

/// All tables; the manifest itself first.
pub const TABLES: &[&Table] = &[
    ManifestKeys::TABLE,
    PipelineKeys::TABLE,
    ResourcesKeys::TABLE,
    DistroKeys::TABLE,
    SourceKeys::TABLE,
    BootstrapKeys::TABLE,
    DiskKeys::TABLE,
    AccessKeys::TABLE,
    IsoKeys::TABLE,
    NetbootKeys::TABLE,
    MediumKeys::TABLE,
    FlavorKeys::TABLE,
    StepKeys::TABLE,
    ImageKeys::TABLE,
    CheckKeys::TABLE,
    PublishKeys::TABLE,
    ShacacheKeys::TABLE,
    DirectoryKeys::TABLE,
    HttpKeys::TABLE,
    S3Keys::TABLE,
    SecretKeys::TABLE,
];

/// The table of each kind of place to publish to.
pub fn target(kind: TargetKind) -> &'static Table {
    match kind {
        TargetKind::Shacache => ShacacheKeys::TABLE,
        TargetKind::Directory => DirectoryKeys::TABLE,
        TargetKind::Http => HttpKeys::TABLE,
        TargetKind::S3 => S3Keys::TABLE,
    }
}

/// A table: the name of its rows, their type; what it is called, what it is for, one of them; perhaps parts that it shares
/// with others, groups of keys that exclude each other, what keys of other names are, and of which kind of place it is. Then its own rows.
macro_rules! table {
    (
        $rows:ident: $type:ident = $id:literal, $doc:literal, $example:literal
        $(, parts [$($part:ident),+])? $(, groups [$($need:ident $group:ident),+])? $(, others $others:expr)? $(, is $tag:ident $word:literal)?;
        $($name:ident: $shape:ty = $value:literal, $what:literal $(.$with:ident($($arg:expr)?))*;)*
    ) => {
        #[doc = concat!("Rows of the table `", $id, "`: ", $doc, ".")]
        #[derive(Debug)]
        pub struct $type {
            $(#[doc = $what] pub $name: Row<$shape>,)*
        }

        #[doc = concat!("Rows of the table `", $id, "`.")]
        pub static $rows: $type = $type {
            $($name: Row::new(stringify!($name), $value, $what)$(.$with($($arg)?))*,)*
        };

        impl $type {
            const ROWS: &'static [&'static Key] = &[$(&$rows.$name.key),*];
        }

        impl Record for $type {
            const ID: &'static str = $id;
            const EXAMPLE: &'static str = $example;
            const TABLE: &'static Table = &Table {
                id: $id,
                doc: $doc,
                parts: table!(@parts $type $($($part)+)?),
                groups: &[$($(table!(@group $need $group)),+)?],
                others: table!(@option $($others)?),
                tag: table!(@option $(Tag {
                    key: "to",
                    words: || vec![TargetKind::$tag.name()],
                    example: $word,
                })?),
            };
        }
    };
    (@parts $type:ident) => { &[$type::ROWS] };
    (@parts $type:ident $($part:ident)+) => { &[$($part::ROWS),+] };
    (@group needed $group:ident) => { Group { needed: true, keys: <$group as OneOf>::keys } };
    (@group optional $group:ident) => { Group { needed: false, keys: <$group as OneOf>::keys } };
    (@option) => { None };
    (@option $some:expr) => { Some($some) };
}

/// Keys of some rows that exclude each other, as an enum.
macro_rules! one_of {
    ($(#[$doc:meta])* $type:ident of $rows:ident { $($variant:ident: $name:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type {
            $(#[doc = concat!("`", stringify!($name), "`")] $variant,)+
        }

        impl OneOf for $type {
            fn all() -> Vec<(&'static Key, Self)> {
                vec![$((&$rows.$name.key, Self::$variant)),+]
            }
        }
    };
}

use {one_of, table};
