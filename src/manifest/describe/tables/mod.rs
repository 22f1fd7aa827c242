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

use crate::places;
use crate::signing::SignerKeys;
use crate::syntax::key::Table;
use crate::syntax::row::Record;

/// Those that are no place's; the manifest itself first.
const TABLES: &[&Table] = &[
    ManifestKeys::TABLE,
    PipelineKeys::TABLE,
    ResourcesKeys::TABLE,
    DistroKeys::TABLE,
    ArchiveKeys::TABLE,
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
    FormatKeys::TABLE,
    VersionsKeys::TABLE,
    ReportKeys::TABLE,
    HookKeys::TABLE,
];

/// All tables, in the order of the manual.
pub fn tables() -> impl Iterator<Item = &'static Table> {
    let all = TABLES.iter().chain(places::TABLES);
    all.copied().chain([SignerKeys::TABLE, SecretKeys::TABLE])
}
