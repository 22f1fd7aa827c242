//! The nodes that publish an image: an upload to each target, and behind it the node that lists it. Pure; no key, input or
//! fact in here has a secret in it.

use petgraph::Direction;
use petgraph::graph::NodeIndex;
use serde_json::{Map, Value, json};

use super::build::{Planner, Ready};
use super::error::PlanError;
use super::node::{Cost, IndexWork, Stage, UploadWork, Work};
use crate::manifest::context;
use crate::manifest::model::{Image, InstallMedia, Media, Proof, Source};
use crate::manifest::target::{Destination, Metadatum, Shacache, Target};
use crate::manifest::template;

/// Revisions, as in `build`.
const REVISION_UPLOAD: u32 = 1;
const REVISION_INDEX: u32 = 1;

impl Planner<'_> {
    /// Adds what publishes an image to a target, once it is ready; gives the last node of it.
    pub(super) fn publish(
        &mut self,
        image: &Image,
        target: &Target,
        ready: Ready,
    ) -> Result<NodeIndex, PlanError> {
        let subject = format!("{}@{}", image.id, target.name);
        let metadata = match &target.to {
            Destination::Shacache(shacache) => self.metadata(image, target, shacache)?,
            _ => Map::new(),
        };
        let mut inputs = json!({
            "stage": "upload", "revision": REVISION_UPLOAD, "package": self.key(ready.package),
            "target": place(target), "file": image.file, "metadata": metadata,
        });
        if let Some(check) = ready.check {
            inputs["check"] = self.key(check).into();
        }
        let work = Work::Upload(Box::new(UploadWork {
            target: target.clone(),
            file: image.file.clone(),
            metadata,
        }));
        let upload = self.add(
            Stage::Upload,
            &subject,
            inputs,
            work,
            Cost::default(),
            &ready.nodes(),
        );
        let facts = self.facts(image, ready);
        let inputs = json!({
            "stage": "index", "revision": REVISION_INDEX, "upload": self.key(upload), "facts": facts,
        });
        let mut shacaches = self
            .manifest
            .publish
            .targets
            .iter()
            .filter(|target| is_shacache(target));
        let work = Work::Index(Box::new(IndexWork {
            output: self.manifest.output.clone(),
            lists_url: shacaches.next().is_some_and(|first| first.name == target.name),
            target: target.clone(),
            file: image.file.clone(),
            facts,
        }));
        Ok(self.add(Stage::Index, &subject, inputs, work, Cost::default(), &[upload]))
    }

    fn metadata(
        &self,
        image: &Image,
        target: &Target,
        shacache: &Shacache,
    ) -> Result<Map<String, Value>, PlanError> {
        let distro = self
            .manifest
            .distro(&image.distro)
            .expect("names in a checked manifest resolve");
        let context = context::publish_context(distro, image, &self.manifest.publish);
        let mut rendered = Map::new();
        for (key, value) in &shacache.metadata {
            let value = match value {
                Metadatum::Plain(value) => value.clone(),
                Metadatum::Template(text) => {
                    template::render_value(key, text, &context).map_err(|error| PlanError::Metadata {
                        target: target.name.clone(),
                        key: key.clone(),
                        image: image.id.clone(),
                        reason: error.to_string(),
                    })?
                }
            };
            rendered.insert(key.clone(), value);
        }
        Ok(rendered)
    }

    /// What the catalog says of an image: the manifest's words, and the keys of all that it hangs on.
    fn facts(&self, image: &Image, ready: Ready) -> Value {
        let manifest = self.manifest;
        let distro = manifest
            .distro(&image.distro)
            .expect("names in a checked manifest resolve");
        let flavor = manifest
            .flavor(&image.flavor)
            .expect("names in a checked manifest resolve");
        let mut keys = Map::new();
        let mut next = ready.nodes();
        while let Some(index) = next.pop() {
            let node = &self.graph[index];
            keys.insert(node.id(), node.key.clone().into());
            next.extend(self.graph.neighbors_directed(index, Direction::Incoming));
        }
        let source = match &distro.source {
            Source::Bootstrap(source) => json!({ "bootstrap": { "suite": source.suite } }),
            Source::Disk(source) => json!({ "disk": medium(&source.media) }),
            Source::Installer(source) => match &source.media {
                InstallMedia::Iso(media) => json!({ "iso": medium(media) }),
                InstallMedia::Netboot { kernel, initrd } => {
                    json!({ "netboot": { "kernel": medium(kernel), "initrd": medium(initrd) } })
                }
            },
        };
        let steps: Vec<_> = flavor.steps.iter().map(|step| step.label.as_str()).collect();
        json!({
            "id": image.id, "file": image.file, "distro": distro.name, "family": distro.family,
            "version": distro.version, "flavor": flavor.name, "size": image.size_label,
            "disk_bytes": image.size.0, "format": manifest.publish.format,
            "compression": manifest.publish.compress,
            "built_from": { "source": source, "steps": steps, "keys": keys },
        })
    }
}

/// What a medium is known by.
fn medium(media: &Media) -> Value {
    match media {
        Media::Path { digest, .. } => json!({ "digest": digest.as_ref().map(ToString::to_string) }),
        Media::Urls { proof, .. } => match proof {
            Proof::Digest(digest) => json!({ "digest": digest.to_string() }),
            Proof::List(list) => json!({ "checksums": list.url }),
        },
    }
}

fn is_shacache(target: &Target) -> bool {
    matches!(target.to, Destination::Shacache(_))
}

/// What tells one place from another.
fn place(target: &Target) -> Value {
    let mut place = match &target.to {
        Destination::Shacache(to) => json!({ "config": to.config, "key": to.key }),
        Destination::Directory(folder) => json!({ "path": folder }),
        Destination::Http(to) => json!({ "url": to.url }),
        Destination::S3(to) => json!({
            "endpoint": to.endpoint, "bucket": to.bucket, "prefix": to.prefix, "region": to.region,
        }),
    };
    place["to"] = target.to.kind().into();
    place["public_url"] = target.public_url.clone().into();
    place
}
