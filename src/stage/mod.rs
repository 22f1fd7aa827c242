//! The kinds of work, one file or folder each: `plan` says what a node's result depends on and is pure, the rest does the
//! work. A stage gets plain data, earlier results by their role and a scratch folder, and leaves files; it knows nothing
//! of the graph, the store, the scheduler or other stages' insides. They are listed here, and put together in `recipe`.

pub mod aftermath;
pub mod check;
pub mod convert;
pub mod distro;
pub mod down;
pub mod error;
#[cfg(test)]
mod example;
pub mod fetch;
pub mod guest;
pub mod index;
pub mod install;
pub mod layer;
pub mod package;
pub mod part;
pub mod presence;
pub mod provenance;
pub mod provision;
pub mod recipe;
pub mod requests;
pub mod result;
mod sbom;
mod sign;
mod site;
pub mod size;
pub mod sums;
pub mod task;
pub mod upload;
mod verdict;
pub mod versions;

use serde::{Deserialize, Serialize};

pub use self::site::{Order, Room, Site};
use self::task::Task;
use crate::plan::{graph, node};

/// Why a result never leaves this host; none: other hosts may have it. What no stage made has no place there.
pub fn stays(stage: &str, facts: &serde_json::Value) -> Option<&'static str> {
    match stage {
        "install" => Some("it has the private key of the build"),
        "provision" => provision::stays(facts),
        "size" => size::stays(facts),
        "fetch" | "package" | "sbom" | "convert" | "check" => None,
        _ => Some("it is of use on this host alone"),
    }
}

/// The plan of a manifest.
pub type Plan = graph::Plan<Work>;
pub type Node = node::Node<Work>;

/// Makes one type of all kinds of work.
macro_rules! stages {
    ($($(#[doc = $doc:literal])+ $(#[cfg($cfg:meta)])? $name:ident($work:ty)),+ $(,)?) => {
        /// The work of a node. Plain data: whoever has it and the results that it takes can do it.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Work {
            $($(#[doc = $doc])+ $(#[cfg($cfg)])? $name(Box<$work>)),+
        }

        impl std::ops::Deref for Work {
            type Target = dyn Task;

            fn deref(&self) -> &Self::Target {
                match self {
                    $($(#[cfg($cfg)])? Self::$name(work) => work.as_ref()),+
                }
            }
        }

        $(
            $(#[cfg($cfg)])?
            impl From<$work> for Work {
                fn from(work: $work) -> Self {
                    Self::$name(Box::new(work))
                }
            }
        )+
    };
}

stages! {
    /// Downloads.
    Fetch(fetch::FetchWork),
    /// Installs from packages.
    Bootstrap(install::BootstrapWork),
    /// Takes an existing disk.
    Disk(install::DiskWork),
    /// Runs the distro's own installer.
    Installer(install::InstallerWork),
    /// Runs steps and seals.
    Provision(provision::ProvisionWork),
    /// Makes a size.
    Size(size::SizeWork),
    /// Compresses.
    Package(package::PackageWork),
    /// Lists what is inside.
    Sbom(sbom::SbomWork),
    /// Says how it was made.
    Provenance(provenance::ProvenanceWork),
    /// Makes a further format.
    Convert(convert::ConvertWork),
    /// Boots and asserts.
    Check(check::CheckWork),
    /// Delivers.
    Sums(sums::SumsWork),
    /// Signs lists.
    Sign(sign::SignWork),
    /// Publishes.
    Upload(upload::UploadWork),
    /// Lists.
    Index(index::IndexWork),
    /// Says something of an image.
    #[cfg(test)]
    Example(example::ExampleWork),
}
