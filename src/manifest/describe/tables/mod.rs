//! The description itself: every key with its form, range, default, example and company, once.

mod distro;
mod flavor;
mod publish;
mod root;

pub use self::distro::*;
pub use self::flavor::*;
pub use self::publish::*;
pub use self::root::*;
pub use crate::syntax::secret::SecretKeys;

use crate::manifest::target::TargetKind;
use crate::syntax::key::Table;
use crate::syntax::row::Record;

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
