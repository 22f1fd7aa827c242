//! Install: makes a distro's disk, by one of several sources.

mod bootstrap;
mod disk;
mod installer;
pub mod snapshot;
mod sources;

use jiff::Timestamp;
use petgraph::graph::NodeIndex;
use serde::{Deserialize, Serialize};

pub use self::bootstrap::{BootstrapWork, Mirror, SecurityArchive};
pub use self::disk::{DiskWork, disk};
pub use self::installer::{InstallerFailure, InstallerWork};
pub use self::sources::{ArchiveSource, MediumSource, all_media, archives, guest_archives, locked, media};
use super::Work;
use super::recipe::{Inputs, PlanError};
use super::task::File;
use crate::manifest::model::{Distro, Manifest, Source};
use crate::plan::graph::Nodes;
use crate::plan::node::{Input, Results, Role, Stage};

/// Makes a distro's disk.
pub const STAGE: Stage = Stage {
    name: "install",
    results: Results::Stored,
    inputs: &[
        ("disk", Input::Size),
        ("archives", Input::Archives),
        ("answers", Input::Answers("its answers changed")),
        ("password", Input::Secret("its password changed")),
    ],
};
/// What `--rebuild` selects installs by.
pub const TERM: &str = "distro";

/// Stands in rendered answers where the key of the build will stand: the key pair is new for each install and
/// is no input of it.
pub const BUILD_KEY: &str = "ssh-ed25519 AAAA-build-key pipeline-build";
/// The installed disk.
pub const DISK: &str = "disk";
/// The private half of the key that lets the build in, where the install put one in.
pub const KEY: &str = "build_key";
/// An install, to those that only want its key.
pub const ACCESS: Role = Role::new("access");
/// The files of an install.
const FILES: &[File] = &[File::internal(DISK), File::optional(KEY)];

/// What is known of an installed disk.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Installed {
    /// The key that lets the build in is in no file that was last changed before this moment, but in one of an account's
    /// `.ssh`. Where it is not known, any file may have it.
    pub key_since: Option<Timestamp>,
}

/// The nodes that make a distro's disk; gives the last of them.
pub(super) fn plan(
    nodes: &mut Nodes<Work>,
    manifest: &Manifest,
    distro: &Distro,
    facts: &Inputs<'_>,
) -> Result<NodeIndex, PlanError> {
    let disk = match &distro.source {
        Source::Bootstrap(source) => bootstrap::plan(nodes, distro, source, facts)?,
        Source::Disk(source) => disk::plan(nodes, distro, &source.media, manifest, facts),
        Source::Installer(source) => installer::plan(nodes, distro, source, manifest, facts)?,
    };
    Ok(nodes.known_as(disk, TERM, distro.name.clone()))
}

/// Size of the largest image of a distro, in bytes.
fn largest(manifest: &Manifest, distro: &Distro) -> u64 {
    let images = manifest.images.iter().filter(|image| image.distro == distro.name);
    images.map(|image| image.size.0).max().unwrap_or_default()
}
