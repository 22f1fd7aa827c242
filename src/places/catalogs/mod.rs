//! Lists of versions in the forms that other programs read, made of [`List`]. These programs take the newest version that is
//! listed, so `latest` and what is older is listed. Pure: where they are kept is `versions`'.

pub mod simplestreams;
mod vagrant;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::versions::{FOLDER, List, Version};
use crate::disk_format::Form;
use crate::syntax::row::words;

/// A kind of catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Catalog {
    /// Of LXD, Incus, and OpenStack's tools.
    Simplestreams,
    /// Of one box.
    Vagrant,
}

words! { Catalog: Simplestreams, Vagrant; }

/// What catalogs say of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// `debian`.
    pub os: String,
    /// `12`.
    pub release: String,
    /// `amd64`.
    pub arch: String,
    pub flavor: String,
    /// Whether it starts where Secure Boot is on.
    pub secure_boot: bool,
}

impl Catalog {
    /// As in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Simplestreams => "simplestreams",
            Self::Vagrant => "vagrant",
        }
    }

    /// The forms that it lists, the first one that an image has.
    pub fn forms(self) -> &'static [Form] {
        match self {
            Self::Simplestreams => &[Form::Qcow2, Form::Qcow2Zlib, Form::Qcow2Zstd],
            Self::Vagrant => &[Form::VagrantLibvirt],
        }
    }

    /// Where an image's own file of this catalog is, below a place.
    pub(super) fn path(self, image: &str) -> PathBuf {
        match self {
            Self::Simplestreams => simplestreams::path(image),
            Self::Vagrant => [FOLDER, image, vagrant::FILE].iter().collect(),
        }
    }

    /// That file; `url` says where the world finds a file of a version.
    pub(super) fn text(self, list: &List, about: &About, url: &dyn Fn(&Version, usize) -> String) -> String {
        match self {
            Self::Simplestreams => simplestreams::products(list, about),
            Self::Vagrant => vagrant::versions(list, about, url),
        }
    }

    /// The versions that it lists, each with the position of its file; the newest first.
    fn listed(self, list: &List) -> impl Iterator<Item = (&Version, usize)> {
        let is_usable =
            |version: &&Version| list.latest.as_ref().is_some_and(|latest| version.name <= *latest);
        list.versions.iter().filter(is_usable).filter_map(move |version| {
            let has = |form: &Form| version.files.iter().position(|file| file.form == Some(*form));
            Some((version, self.forms().iter().find_map(has)?))
        })
    }
}

/// A document of plain data.
fn written(document: &serde_json::Value) -> String {
    format!("{document:#}\n")
}
