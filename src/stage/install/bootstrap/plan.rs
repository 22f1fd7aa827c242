//! Plans a distro that is put together from packages. Pure.

use std::path::PathBuf;

use petgraph::graph::NodeIndex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::key;
use crate::lock::Archive;
use crate::manifest::context::{self, BuildFacts};
use crate::manifest::model::{Bootstrap, Distro};
use crate::manifest::template;
use crate::plan::graph::{Draft, Nodes, inputs};
use crate::plan::node::Cost;
use crate::platform::Platform;
use crate::size::MIB;
use crate::stage::Work;
use crate::stage::distro::user;
use crate::stage::install::{BUILD_KEY, STAGE, sources};
use crate::stage::recipe::{Inputs as Facts, PlanError};

/// A distribution's package archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// Main archive.
    pub uri: String,
    /// Security archive, where one is known.
    pub security: Option<SecurityArchive>,
}

/// Where a suite's security updates come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityArchive {
    /// Archive.
    pub uri: String,
    /// Its suite: `bookworm-security`.
    pub suite: String,
}

/// Enough for apt, and for the compression of the initial RAM disk, in bytes.
const MEMORY: u64 = 512 * MIB;
/// The same where a machine installs the packages, for up to 750 MiB of them.
pub(super) const MACHINE_MEMORY: u64 = 2560 * MIB;
/// Processors of that machine: dpkg unpacks in two processes.
pub(super) const MACHINE_CPUS: u32 = 2;
/// Revision of what it makes; see [`Draft::revision`].
const REVISION: u32 = 3;

/// Work of [`STAGE`] for a bootstrap source.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BootstrapWork {
    pub suite: String,
    /// Archive.
    pub mirror: Mirror,
    pub components: Vec<String>,
    /// All packages, kernel included.
    pub packages: Vec<String>,
    /// Those of them that the manifest names. No part of the key.
    pub named: Vec<String>,
    /// Keyring that signs the archive; absent: what the host trusts.
    pub keyring: Option<PathBuf>,
    /// Its suites, as the lock has them; empty without it.
    pub locked: Vec<Archive>,
    /// URL template of the archive's earlier states. No part of the key: they are what the lock says, wherever they are.
    pub snapshot: Option<String>,
    /// The setup script with [`BUILD_KEY`] where the build key will stand.
    pub setup: String,
    /// UUID of the root file system.
    pub root_uuid: String,
    /// Its features.
    pub features: Vec<String>,
    /// Size of the disk in bytes.
    pub disk: u64,
    /// What kinds of computer it starts.
    pub platforms: Vec<Platform>,
}

/// What the key of such a disk is made of.
#[derive(Serialize)]
struct Inputs<'a> {
    source: &'static str,
    family: &'a str,
    suite: &'a str,
    mirror: &'a Mirror,
    components: &'a [String],
    packages: &'a [String],
    ext4: &'a [String],
    disk: u64,
    /// Absent for BIOS alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    platforms: Option<&'a [Platform]>,
    /// Suites of the mirror, as the lock has them; absent without it, and in what the identity of the root file system is
    /// made of: each of its states is the same system.
    #[serde(skip_serializing_if = "Option::is_none")]
    archives: Option<&'a Value>,
    /// Absent in what the identity of the root file system is made of, which the answers hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<&'a str>,
}

/// The node that puts a distro together from packages.
pub(in crate::stage) fn plan(
    nodes: &mut Nodes<Work>,
    distro: &Distro,
    source: &Bootstrap,
    facts: &Facts<'_>,
) -> Result<NodeIndex, PlanError> {
    let mirror = sources::mirror(source, facts.mirrors.get(&distro.name));
    let mirror = mirror.ok_or_else(|| PlanError::NoMirror {
        distro: distro.name.clone(),
        suite: source.suite.clone(),
    })?;
    let base = &source.base;
    let platforms = distro.platforms();
    let mut packages = base.packages.clone();
    match &platforms[..] {
        [one] => packages.extend(
            one.hardware()
                .boot_loader
                .packages
                .iter()
                .map(|&name| name.to_owned()),
        ),
        _ => packages.extend(base.both_boot_loaders.iter().cloned()),
    }
    packages.push(source.kernel.as_ref().unwrap_or(&base.kernel).clone());
    packages.extend(source.packages.iter().cloned());
    let suites = sources::archives(distro, facts.mirrors);
    let archives = sources::locked(&suites, facts.lock);
    let made_of = |answers, archives| Inputs {
        source: "bootstrap",
        family: &distro.family.name,
        suite: &source.suite,
        mirror: &mirror,
        components: &source.components,
        packages: &packages,
        ext4: &base.ext4,
        disk: distro.disk.0,
        platforms: (platforms != [Platform::default()]).then_some(&platforms[..]),
        archives,
        answers,
    };
    // The identity of the file system follows from what is in it, so that equal inputs give equal answers.
    let root_uuid = uuid(&key::of(&inputs(STAGE, REVISION, &made_of(None, None))));
    let setup = answers(distro, source, &mirror, &root_uuid)?;
    let disk = distro.disk.0;
    let here = Cost {
        cpus: 1,
        memory: MEMORY,
        scratch: 3 * disk,
        ..Cost::default()
    };
    let cost = if platforms
        .first()
        .is_some_and(|first| (facts.only_in_machine)(*first))
    {
        Cost {
            machines: 1,
            cpus: MACHINE_CPUS,
            memory: MACHINE_MEMORY,
            // The initial RAM disk and what the machine hands over.
            scratch: here.scratch + 2 * disk,
        }
    } else {
        here
    };
    let draft = Draft {
        stage: STAGE,
        revision: REVISION,
        subject: &distro.name,
        inputs: made_of(Some(&setup), archives.as_ref()),
        takes: Vec::new(),
        cost,
    };
    let work = BootstrapWork {
        suite: source.suite.clone(),
        mirror: mirror.clone(),
        components: source.components.clone(),
        packages: packages.clone(),
        named: source.kernel.iter().chain(&source.packages).cloned().collect(),
        keyring: source.keyring.clone(),
        locked: archives
            .iter()
            .flat_map(|_| &suites)
            .filter_map(|suite| suite.locked(facts.lock).cloned())
            .collect(),
        snapshot: source.snapshot.clone(),
        setup: setup.clone(),
        root_uuid,
        features: base.ext4.clone(),
        disk,
        platforms: platforms.clone(),
    };
    Ok(nodes.add(draft, work))
}

/// The setup script; empty where there is none.
fn answers(
    distro: &Distro,
    source: &Bootstrap,
    mirror: &Mirror,
    root_uuid: &str,
) -> Result<String, PlanError> {
    let Some(answers) = &distro.answers else {
        return Ok(String::new());
    };
    let facts = BuildFacts {
        mirror: mirror.uri.clone(),
        suite: source.suite.clone(),
        components: source.components.clone(),
        build_key: BUILD_KEY.to_owned(),
        root_uuid: root_uuid.to_owned(),
        security_mirror: mirror
            .security
            .as_ref()
            .map(|s| s.uri.clone())
            .unwrap_or_default(),
        user: user(distro).to_owned(),
        ..BuildFacts::default()
    };
    let context = context::answers_context(distro, &facts);
    template::render(answers, &context).map_err(|error| PlanError::Answers {
        distro: distro.name.clone(),
        reason: error.to_string(),
    })
}

/// A UUID made of a hash (RFC 9562 §5.8: version 8, free form).
fn uuid(hash: &str) -> String {
    let (a, b, c, d, e) = (
        &hash[..8],
        &hash[8..12],
        &hash[13..16],
        &hash[17..20],
        &hash[20..32],
    );
    format!("{a}-{b}-8{c}-8{d}-{e}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::load::load_text;
    use crate::platform::Arch;
    use crate::stage::recipe::testing::planned_on;

    #[test]
    fn a_machine_that_installs_the_packages_is_in_the_cost_and_in_no_key() {
        let text = r#"
distros.own     = { family = "debian", version = "12", source = { bootstrap = { suite = "bookworm" } } }
distros.foreign = { family = "debian", version = "12", arch = "arm64", source = { bootstrap = { suite = "bookworm" } } }
flavors.base    = { steps = [{ inline = "true" }] }
images          = [{ distro = ["own", "foreign"], flavor = "base", sizes = ["3G"] }]
"#;
        let manifest = load_text(Path::new("m.toml"), text).unwrap_or_else(|error| panic!("{error:?}"));
        let nodes = |only_in_machine: &dyn Fn(Platform) -> bool| {
            let plan = planned_on(&manifest, only_in_machine);
            let nodes = plan
                .nodes()
                .map(|(_, node)| (node.id(), node.key.clone(), node.cost));
            nodes.collect::<Vec<_>>()
        };
        let (here, in_machine) = (
            nodes(&|_| false),
            nodes(&|platform| platform.arch() == Arch::Arm64),
        );
        let mut dearer = Vec::new();
        for ((id, key, cost), (_, other_key, other)) in here.iter().zip(&in_machine) {
            assert_eq!(key, other_key, "{id}");
            if cost != other {
                assert_eq!(other.machines, cost.machines + 1);
                assert!(
                    other.memory > 2 << 30 && other.scratch > cost.scratch,
                    "{other:?}"
                );
                dearer.push(id.as_str());
            }
        }
        assert_eq!(dearer, ["install/foreign"]);
    }
}
