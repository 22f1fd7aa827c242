//! From a manifest and some facts to the graph of nodes. One install for each distro, one provision for each (distro,
//! flavor), one size for each image; only what the selected images need.

use std::collections::BTreeMap;

use petgraph::graph::{DiGraph, NodeIndex};
use serde_json::{Value, json};

use super::error::PlanError;
use super::families;
use super::graph::Plan;
use super::key;
use super::node::{
    BootstrapWork, CheckWork, Cost, DiskWork, Door, GuestAccess, MachineWish, Mirror, Node, PackageWork,
    ProvisionWork, SizeWork, Stage, SumsWork, WayIn, Work,
};
use super::step::plan_step;
use crate::digest::sha256_hex;
use crate::guest;
use crate::manifest::assertion::Assertion;
use crate::manifest::context::{self, BuildFacts};
use crate::manifest::model::{Bootstrap, Distro, Image, Manifest, Media, Secret, Source, StepKind};
use crate::manifest::template;
use crate::size::MIB;

/// Stands in rendered answers where the key of the build will stand: the key pair is made anew for each install and
/// is no input of it.
pub const BUILD_KEY: &str = "ssh-ed25519 AAAA-build-key pipeline-build";

/// Revisions of the stages. A stage whose code changes what it produces from equal inputs gets the next number here,
/// so that older results of it are built anew.
pub(super) const REVISION_FETCH: u32 = 1;
const REVISION_BOOTSTRAP: u32 = 1;
const REVISION_DISK: u32 = 2;
const REVISION_PROVISION: u32 = 2;
const REVISION_SIZE: u32 = 1;
const REVISION_PACKAGE: u32 = 1;
const REVISION_CHECK: u32 = 1;
const REVISION_SUMS: u32 = 1;

/// Virtual CPUs of a VM that is checked: a boot does one thing after another, and so more images boot at once.
const CHECK_CPUS: u32 = 1;
/// Memory of a package node beyond what it maps: blocks in flight, in bytes.
const PACKAGE_MEMORY: u64 = 256 * MIB;

/// What planning needs beside the manifest.
pub struct Inputs<'a> {
    /// What is planned beyond images in the output folder.
    pub wanted: Wanted,
    /// Package archives by distro, for bootstrap sources without one in the manifest.
    pub mirrors: &'a BTreeMap<String, Mirror>,
    /// Fingerprint of a secret; what it gives stands in the key for the secret.
    pub fingerprint: &'a dyn Fn(&Secret) -> String,
    /// What tells a local medium without a digest from another (size and time of change).
    pub stamp: &'a dyn Fn(&std::path::Path) -> String,
}

/// Which of the stages are planned that a run can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Boot and check images, as the manifest says, before they appear anywhere. Without is the quick way, for trying
    /// things out.
    pub checks: bool,
    /// Publish them too.
    pub upload: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            checks: true,
            upload: false,
        }
    }
}

impl std::fmt::Debug for Inputs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inputs")
            .field("mirrors", &self.mirrors)
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

/// Plans the selected images of a manifest (positions in `manifest.images`).
///
/// # Errors
/// [`PlanError`].
pub fn build(manifest: &Manifest, selected: &[usize], inputs: &Inputs<'_>) -> Result<Plan, PlanError> {
    let mut planner = Planner {
        manifest,
        inputs,
        graph: DiGraph::new(),
        order: Vec::new(),
        bases: BTreeMap::new(),
        provisions: BTreeMap::new(),
        unchecked: Vec::new(),
    };
    let mut images = Vec::with_capacity(selected.len());
    let mut published = Vec::new();
    for image in selected.iter().filter_map(|&i| manifest.images.get(i)) {
        let (ready, sums) = planner.image(image)?;
        images.push((image.id.clone(), sums));
        if inputs.wanted.upload {
            for target in &manifest.publish.targets {
                published.push((image.id.clone(), planner.publish(image, target, ready)?));
            }
        }
    }
    let Planner {
        graph,
        order,
        unchecked,
        ..
    } = planner;
    Ok(Plan {
        pipeline: manifest.name.clone(),
        graph,
        order,
        images,
        unchecked,
        published,
    })
}

/// The nodes that an image must have behind it before it may appear anywhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) package: NodeIndex,
    /// Absent where there is nothing to check.
    pub(super) check: Option<NodeIndex>,
}

impl Ready {
    /// The packaged file is needed for itself, however long ago it was checked.
    pub(super) fn nodes(self) -> Vec<NodeIndex> {
        self.check.into_iter().chain([self.package]).collect()
    }
}

pub(super) struct Planner<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) inputs: &'a Inputs<'a>,
    pub(super) graph: DiGraph<Node, ()>,
    order: Vec<NodeIndex>,
    bases: BTreeMap<&'a str, NodeIndex>,
    provisions: BTreeMap<(&'a str, &'a str), NodeIndex>,
    unchecked: Vec<String>,
}

impl<'a> Planner<'a> {
    pub(super) fn add(
        &mut self,
        stage: Stage,
        subject: &str,
        inputs: Value,
        work: Work,
        cost: Cost,
        needs: &[NodeIndex],
    ) -> NodeIndex {
        let node = Node {
            stage,
            subject: subject.to_owned(),
            key: key::of(&inputs),
            inputs,
            work,
            cost,
        };
        let index = self.graph.add_node(node);
        for &need in needs {
            self.graph.add_edge(need, index, ());
        }
        self.order.push(index);
        index
    }

    pub(super) fn key(&self, index: NodeIndex) -> &str {
        &self.graph[index].key
    }

    /// Gives what makes it ready to appear, and the node that puts it into the output folder.
    fn image(&mut self, image: &'a Image) -> Result<(Ready, NodeIndex), PlanError> {
        let manifest = self.manifest;
        let provision = self.provision(&image.distro, &image.flavor)?;
        let distro = manifest
            .distro(&image.distro)
            .expect("names in a checked manifest resolve");
        let size = {
            let may_boot = !matches!(distro.source, Source::Bootstrap(_));
            let work = SizeWork {
                size: image.size.0,
                format: manifest.publish.format,
                guest: access(distro),
                machine: wish(distro),
                may_boot,
            };
            let inputs = json!({
                "stage": "size", "revision": REVISION_SIZE, "provision": self.key(provision),
                "size": image.size.0, "format": manifest.publish.format,
            });
            let cost = Cost {
                scratch: 2 * data_bound(distro),
                cpus: if may_boot { distro.cpus } else { 1 },
                memory: if may_boot { distro.memory.0 } else { 64 * MIB },
                ..Cost::default()
            };
            self.add(
                Stage::Size,
                &image.id,
                inputs,
                Work::Size(work),
                cost,
                &[provision],
            )
        };
        let publish = &manifest.publish;
        let package = {
            let inputs = json!({
                "stage": "package", "revision": REVISION_PACKAGE, "size": self.key(size),
                "compress": publish.compress, "level": publish.level,
            });
            let work = PackageWork {
                compression: publish.compress,
                level: publish.level,
            };
            let cost = Cost {
                scratch: data_bound(distro),
                cpus: 1,
                memory: PACKAGE_MEMORY,
                ..Cost::default()
            };
            self.add(
                Stage::Package,
                &image.id,
                inputs,
                Work::Package(work),
                cost,
                &[size],
            )
        };
        let mut inputs = json!({
            "stage": "sums", "revision": REVISION_SUMS, "package": self.key(package),
            "file": image.file, "checksums": publish.checksums,
        });
        let ready = Ready {
            package,
            check: self.check(image, distro, package),
        };
        if let Some(check) = ready.check {
            inputs["check"] = self.key(check).into();
        }
        let work = SumsWork {
            output: manifest.output.clone(),
            file: image.file.clone(),
            algorithms: publish.checksums.clone(),
        };
        let cost = Cost::default();
        let sums = self.add(
            Stage::Sums,
            &image.id,
            inputs,
            Work::Sums(work),
            cost,
            &ready.nodes(),
        );
        Ok((ready, sums))
    }

    /// The node that checks an image, where there is anything to check.
    fn check(&mut self, image: &Image, distro: &Distro, package: NodeIndex) -> Option<NodeIndex> {
        if image.checks.is_empty() {
            return None;
        }
        if !self.inputs.wanted.checks {
            self.unchecked.push(image.id.clone());
            return None;
        }
        let flavor = self
            .manifest
            .flavor(&image.flavor)
            .expect("names in a checked manifest resolve");
        let is_installed = flavor
            .steps
            .iter()
            .any(|step| step.kind == StepKind::InstallAgent);
        let is_promised = image
            .checks
            .iter()
            .any(|check| check.assertion == Assertion::Agent);
        let way_in = if is_installed || is_promised {
            WayIn::Agent
        } else {
            WayIn::Overlay
        };
        let inputs = json!({
            "stage": "check", "revision": REVISION_CHECK, "package": self.key(package),
            "checks": image.checks, "way in": way_in, "questions": sha256_hex(guest::CHECK.as_bytes()),
        });
        let work = CheckWork {
            checks: image.checks.clone(),
            size: image.size.0,
            format: self.manifest.publish.format,
            way_in,
            machine: MachineWish {
                cpus: CHECK_CPUS,
                ..wish(distro)
            },
        };
        let boots = image
            .checks
            .iter()
            .any(|check| check.assertion == Assertion::Identity);
        let cost = Cost {
            machines: 1 + u32::from(boots),
            memory: distro.memory.0,
            cpus: CHECK_CPUS,
            scratch: 3 * data_bound(distro),
        };
        let work = Work::Check(Box::new(work));
        Some(self.add(Stage::Check, &image.id, inputs, work, cost, &[package]))
    }

    fn provision(&mut self, distro: &'a str, flavor: &'a str) -> Result<NodeIndex, PlanError> {
        if let Some(&index) = self.provisions.get(&(distro, flavor)) {
            return Ok(index);
        }
        let manifest = self.manifest;
        let base = self.base(distro)?;
        let distro = manifest
            .distro(distro)
            .expect("names in a checked manifest resolve");
        let flavor = manifest
            .flavor(flavor)
            .expect("names in a checked manifest resolve");
        let mut steps = Vec::with_capacity(flavor.steps.len());
        let mut step_inputs = Vec::with_capacity(flavor.steps.len());
        for step in &flavor.steps {
            let (planned, inputs) = plan_step(distro, &flavor.name, step, self.inputs)?;
            steps.push(planned);
            step_inputs.push(inputs);
        }
        let inputs = json!({
            "stage": "provision", "revision": REVISION_PROVISION, "install": self.key(base),
            "user": user(distro), "steps": step_inputs, "seal": sha256_hex(guest::SEAL.as_bytes()),
        });
        let work = ProvisionWork {
            guest: access(distro),
            steps,
            machine: wish(distro),
        };
        let cost = Cost {
            machines: 1,
            memory: distro.memory.0,
            cpus: distro.cpus,
            scratch: 2 * data_bound(distro),
        };
        let subject = format!("{}-{}", distro.name, flavor.name);
        let work = Work::Provision(Box::new(work));
        let index = self.add(Stage::Provision, &subject, inputs, work, cost, &[base]);
        self.provisions.insert((&distro.name, &flavor.name), index);
        Ok(index)
    }

    fn base(&mut self, name: &'a str) -> Result<NodeIndex, PlanError> {
        if let Some(&index) = self.bases.get(name) {
            return Ok(index);
        }
        let distro = self
            .manifest
            .distro(name)
            .expect("names in a checked manifest resolve");
        let index = match &distro.source {
            Source::Bootstrap(bootstrap) => self.bootstrap(distro, bootstrap)?,
            Source::Disk(disk) => self.disk(distro, &disk.media),
            Source::Installer(source) => self.installer(distro, source)?,
        };
        self.bases.insert(name, index);
        Ok(index)
    }

    fn bootstrap(&mut self, distro: &Distro, source: &Bootstrap) -> Result<NodeIndex, PlanError> {
        let base = families::base(distro.family, &source.suite).ok_or_else(|| PlanError::Family {
            distro: distro.name.clone(),
            family: distro.family.name().to_owned(),
        })?;
        let mirror = match (&source.mirror, self.inputs.mirrors.get(&distro.name)) {
            (Some(uri), _) => Mirror {
                uri: uri.clone(),
                security: None,
            },
            (None, Some(mirror)) => mirror.clone(),
            (None, None) => {
                return Err(PlanError::NoMirror {
                    distro: distro.name.clone(),
                    suite: source.suite.clone(),
                });
            }
        };
        let mut packages = base.packages;
        packages.push(source.kernel.clone().unwrap_or(base.kernel));
        packages.extend(source.packages.iter().cloned());
        let mut inputs = json!({
            "stage": "install", "revision": REVISION_BOOTSTRAP, "source": "bootstrap", "family": distro.family,
            "suite": source.suite, "mirror": mirror, "components": source.components, "packages": packages,
            "disk": distro.disk.0,
        });
        // The identity of the file system follows from what is in it, so that equal inputs give equal answers.
        let root_uuid = uuid(&key::of(&inputs));
        let setup = match &distro.answers {
            Some(answers) => {
                let facts = BuildFacts {
                    mirror: mirror.uri.clone(),
                    suite: source.suite.clone(),
                    components: source.components.clone(),
                    hostname: distro.name.clone(),
                    build_key: BUILD_KEY.to_owned(),
                    root_uuid: root_uuid.clone(),
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
                })?
            }
            None => String::new(),
        };
        inputs["answers"] = json!(setup);
        let disk = distro.disk.0;
        let work = BootstrapWork {
            suite: source.suite.clone(),
            mirror,
            components: source.components.clone(),
            packages,
            keyring: source.keyring.clone(),
            setup,
            root_uuid,
            disk,
            machine: wish(distro),
        };
        let cost = Cost {
            machines: 1,
            memory: distro.memory.0,
            cpus: distro.cpus,
            scratch: 3 * disk,
        };
        let work = Work::Bootstrap(Box::new(work));
        Ok(self.add(Stage::Install, &distro.name, inputs, work, cost, &[]))
    }

    /// Size of the largest image of a distro, in bytes.
    pub(super) fn largest(&self, distro: &Distro) -> u64 {
        let images = self.manifest.images.iter();
        let sizes = images
            .filter(|image| image.distro == distro.name)
            .map(|image| image.size.0);
        sizes.max().unwrap_or_default()
    }

    fn disk(&mut self, distro: &Distro, media: &Media) -> NodeIndex {
        let mut needs = Vec::new();
        let (media, what) = self.medium(&distro.name, media, &mut needs);
        let work = DiskWork {
            media,
            disk: distro.disk.0,
            largest: self.largest(distro),
        };
        let inputs = json!({
            "stage": "install", "revision": REVISION_DISK, "source": "disk", "media": what,
            "disk": distro.disk.0,
        });
        let cost = Cost {
            scratch: 2 * data_bound(distro),
            ..Cost::default()
        };
        self.add(
            Stage::Install,
            &distro.name,
            inputs,
            Work::Disk(work),
            cost,
            &needs,
        )
    }
}

/// Who the build is in the guest.
fn user(distro: &Distro) -> &str {
    match &distro.source {
        Source::Bootstrap(_) | Source::Installer(_) => "root",
        Source::Disk(disk) => &disk.user,
    }
}

fn access(distro: &Distro) -> GuestAccess {
    let door = match &distro.source {
        Source::Bootstrap(_) | Source::Installer(_) => Door::Installed,
        Source::Disk(disk) => Door::Given(disk.access.clone()),
    };
    GuestAccess {
        family: distro.family,
        user: user(distro).to_owned(),
        door,
    }
}

pub(super) fn wish(distro: &Distro) -> MachineWish {
    MachineWish {
        platform: distro.platform,
        memory: distro.memory,
        cpus: distro.cpus,
    }
}

/// An upper bound of the data on a distro's disk, in bytes: the disk it is installed on, or where that is only known
/// once it is fetched, what cloud images usually fit in.
fn data_bound(distro: &Distro) -> u64 {
    const CLOUD_IMAGE: u64 = 4096 * MIB;
    if distro.disk.0 == 0 {
        CLOUD_IMAGE
    } else {
        distro.disk.0
    }
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
