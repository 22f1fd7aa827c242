//! Which stages an image goes through: from a manifest and some facts to a plan. One install for each distro, one
//! provision for each (distro, flavor), one size for each image; only what the selected images need. Pure.

mod error;
#[cfg(test)]
mod golden;
#[cfg(test)]
pub mod testing;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use petgraph::graph::NodeIndex;

pub use self::error::PlanError;
use super::install::Mirror;
use super::part::Ready;
use super::{
    Plan, Work, check, convert, index, install, package, provenance, provision, sbom, sign, size, sums,
    upload,
};
use crate::digest::Digest;
use crate::lock::Lock;
use crate::manifest::model::{Distro, Flavor, Image, Manifest, Secret};
use crate::plan::graph::{Nodes, PlannedImage};
use crate::platform::Platform;

/// What planning needs in addition to the manifest.
pub struct Inputs<'a> {
    /// What is planned beyond images in the output folder.
    pub wanted: Wanted,
    /// Package archives by distro, for bootstrap sources without one in the manifest.
    pub mirrors: &'a BTreeMap<String, Mirror>,
    /// Which state of archives and lists it is built from.
    pub lock: &'a Lock,
    /// Fingerprint of a secret; what it gives stands in the key for the secret.
    pub fingerprint: &'a dyn Fn(&Secret) -> String,
    /// Digest of a local medium that the manifest gives none for; none where it cannot be read.
    pub digest: &'a dyn Fn(&Path) -> Option<Digest>,
    /// Whether this host runs the programs of a platform only in a machine.
    pub only_in_machine: &'a dyn Fn(Platform) -> bool,
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

impl fmt::Debug for Inputs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        nodes: Nodes::default(),
        installs: BTreeMap::new(),
        provisions: BTreeMap::new(),
    };
    let mut images = Vec::with_capacity(selected.len());
    for image in selected.iter().filter_map(|&i| manifest.images.get(i)) {
        images.push(planner.image(image)?);
    }
    Ok(planner
        .nodes
        .into_plan(&manifest.name, manifest.history(), images))
}

struct Planner<'a> {
    manifest: &'a Manifest,
    inputs: &'a Inputs<'a>,
    nodes: Nodes<Work>,
    installs: BTreeMap<&'a str, NodeIndex>,
    provisions: BTreeMap<(&'a str, &'a str), NodeIndex>,
}

impl<'a> Planner<'a> {
    /// All that an image goes through.
    fn image(&mut self, image: &'a Image) -> Result<PlannedImage, PlanError> {
        let manifest = self.manifest;
        let (distro, flavor) = resolved(manifest, image);
        let publish = &manifest.publish;
        let install = self.install(distro)?;
        let provision = self.provision(distro, flavor, install)?;
        let nodes = &mut self.nodes;
        let before = nodes.count();
        let sized = size::plan(nodes, image, distro, provision, install);
        let packaged = package::plan(nodes, image, distro, publish, (sized, provision));
        let mut ready = Ready::new(&image.file, packaged, nodes);
        sbom::plan(nodes, image, publish, provision, &mut ready);
        #[cfg(test)]
        super::example::plan(nodes, manifest, image, &mut ready);
        let is_checked = self.inputs.wanted.checks && !image.checks.is_empty();
        let check =
            is_checked.then(|| check::plan(nodes, image, (distro, flavor), publish.format, &ready, install));
        ready.wait_for(check);
        // The check does not wait for these: it looks at the packaged file.
        convert::plan(nodes, publish, image, distro, provision, &mut ready);
        let inputs = self.inputs;
        provenance::plan(
            nodes,
            manifest,
            image,
            (distro, flavor),
            install,
            inputs,
            &mut ready,
        );
        let delivery = sums::plan(nodes, manifest, image, &ready, inputs.lock);
        let fingerprint = self.inputs.fingerprint;
        let signed = sign::lists(nodes, manifest, &image.id, fingerprint, delivery);
        let mut signed: Vec<_> = signed.into_iter().collect();
        let mut published = Vec::new();
        if self.inputs.wanted.upload {
            for target in &publish.targets {
                let upload = upload::plan(nodes, manifest, image, distro, target, &ready)?;
                let parts = (distro, flavor);
                let listed = index::plan(nodes, manifest, image, parts, target, &ready, upload);
                let subject = &nodes.node(listed).subject.clone();
                signed.extend(sign::catalog(nodes, manifest, subject, fingerprint, listed));
                published.push(listed);
            }
        }
        let alike = format!("{}/{}", distro.name, flavor.name);
        self.nodes.alike_since(before, &alike);
        Ok(PlannedImage {
            id: image.id.clone(),
            distro: distro.name.clone(),
            flavor: flavor.name.clone(),
            install,
            provision,
            disk_bytes: image.size.0,
            firmware: distro.computers.iter().map(|computer| computer.start()).collect(),
            path: manifest.output.join(&image.file),
            checksums: publish.checksums.clone(),
            delivery,
            check,
            unchecked: !is_checked && !image.checks.is_empty(),
            published,
            signed,
        })
    }

    fn provision(
        &mut self,
        distro: &'a Distro,
        flavor: &'a Flavor,
        install: NodeIndex,
    ) -> Result<NodeIndex, PlanError> {
        let name = (distro.name.as_str(), flavor.name.as_str());
        if let Some(&index) = self.provisions.get(&name) {
            return Ok(index);
        }
        let before = self.nodes.count();
        let index = provision::plan(
            &mut self.nodes,
            (distro, flavor),
            self.inputs.fingerprint,
            install,
            self.inputs.lock,
        )?;
        self.nodes.alike_since(before, &distro.name);
        self.nodes.renewed_after(index, distro.max_age);
        self.provisions.insert(name, index);
        Ok(index)
    }

    fn install(&mut self, distro: &'a Distro) -> Result<NodeIndex, PlanError> {
        if let Some(&index) = self.installs.get(distro.name.as_str()) {
            return Ok(index);
        }
        let index = install::plan(&mut self.nodes, self.manifest, distro, self.inputs)?;
        self.nodes.renewed_after(index, distro.max_age);
        self.installs.insert(&distro.name, index);
        Ok(index)
    }
}

/// An image's distro and flavor.
fn resolved<'a>(manifest: &'a Manifest, image: &Image) -> (&'a Distro, &'a Flavor) {
    let distro = manifest.distro(&image.distro);
    let flavor = manifest.flavor(&image.flavor);
    (
        distro.expect("names in a checked manifest resolve"),
        flavor.expect("names in a checked manifest resolve"),
    )
}
