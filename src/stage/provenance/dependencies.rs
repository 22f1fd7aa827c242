//! What an image is built from, each with its digest: media, states of package archives, the lock, answers, scripts, files.
//! Pure.

use petgraph::graph::NodeIndex;
use serde::{Deserialize, Serialize};

use super::statement::Descriptor;
use crate::digest::{Digest, sha256_hex};
use crate::host::http::redact;
use crate::lock::{self, Archive, Lock, Medium};
use crate::manifest::model::{Distro, Flavor, Manifest, Media, Proof, Step, StepKind};
use crate::plan::graph::Nodes;
use crate::plan::node::{Role, Take};
use crate::stage::Work;
use crate::stage::fetch::locked;
use crate::stage::install::{ArchiveSource, all_media, archives, guest_archives};
use crate::stage::recipe::Inputs as Facts;

/// The annotation of the lock that names the distro whose part it is.
pub const DISTRO: &str = "distro";
/// Digest of a folder: over names, modes and contents, by a way of our own.
const TREE: &str = "pipelineTree";

/// Something that an image is built from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Dependency {
    pub descriptor: Descriptor,
    /// The download whose result tells its digest, where nothing else does.
    pub fetched: Option<Role>,
}

impl From<Descriptor> for Dependency {
    fn from(descriptor: Descriptor) -> Self {
        let fetched = None;
        Self { descriptor, fetched }
    }
}

/// All of them, and what is taken for their digests. `install` made the distro's disk.
pub(super) fn dependencies(
    nodes: &Nodes<Work>,
    manifest: &Manifest,
    (distro, flavor): (&Distro, &Flavor),
    install: NodeIndex,
    facts: &Facts<'_>,
) -> (Vec<Dependency>, Vec<Take>) {
    let mut takes = Vec::new();
    let mut all = Vec::new();
    for (role, media) in all_media(distro) {
        let mut dependency = medium(distro, role, media, facts);
        let mut of_install = nodes.node(install).takes.iter();
        let fetch = of_install.find(|take| take.role.name() == role);
        if let Some(fetch) = fetch.filter(|_| dependency.descriptor.digest.is_empty()) {
            let role = Role::named(format!("download of {role}"));
            takes.push(role.if_there(fetch.node));
            dependency.fetched = Some(role);
        }
        all.push(dependency);
    }
    let mut suites = archives(distro, facts.mirrors);
    suites.extend(guest_archives(distro));
    all.extend(suites.iter().map(|suite| archive(suite, facts.lock).into()));
    all.extend(of_distro(manifest, distro, facts.lock).map(Dependency::from));
    if let Some(answers) = &distro.answers {
        let digest = sha256_hex(answers.text.as_bytes());
        let name = format!("answers: {}", answers.name);
        all.push(Descriptor::named(name).with_sha256(digest).into());
    }
    all.extend(flavor.steps.iter().filter_map(step).map(Dependency::from));
    (all, takes)
}

/// The part of a lock that a distro is built from, as a text that is equal wherever its entries are.
pub fn part_of(lock: &Lock, distro: &str) -> Option<String> {
    let archives = lock.archives.iter().filter(|one| one.distro == distro);
    let media = lock.media.iter().filter(|one| one.distro == distro);
    let part = Lock {
        archives: archives.cloned().collect(),
        media: media.cloned().collect(),
    };
    (part != Lock::default()).then(|| lock::write(&part))
}

fn of_distro(manifest: &Manifest, distro: &Distro, lock: &Lock) -> Option<Descriptor> {
    let part = part_of(lock, &distro.name)?;
    let path = lock::path_of(&manifest.path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let descriptor = Descriptor::named(format!("lock: {name}")).with_sha256(sha256_hex(part.as_bytes()));
    Some(descriptor.noting(DISTRO, distro.name.as_str()))
}

fn archive(source: &ArchiveSource, lock: &Lock) -> Descriptor {
    let place = |url: &str| Some(format!("{}/dists/{}/InRelease", redact(url), source.suite));
    let descriptor = Descriptor::named(format!("archive: {}", source.suite));
    let Some(Archive {
        url,
        date,
        sha256,
        signed_by,
        ..
    }) = source.locked(lock)
    else {
        let uri = place(&source.url);
        return Descriptor { uri, ..descriptor };
    };
    let uri = place(url);
    Descriptor { uri, ..descriptor }
        .with_sha256(sha256.clone())
        .noting("date", date.to_string())
        .noting("signedBy", signed_by.clone())
}

fn medium(distro: &Distro, role: &'static str, media: &Media, facts: &Facts<'_>) -> Dependency {
    let named = |place: &str| {
        let name = place.rsplit('/').next().unwrap_or_default();
        Descriptor::named(format!("{role}: {name}"))
    };
    match media {
        Media::Path { path, digest } => {
            let digest = digest.clone().or_else(|| (facts.digest)(path));
            named(&path.to_string_lossy()).with_digests(&digest).into()
        }
        Media::Urls { urls, proof } => {
            let of_lock = locked(facts.lock, (&distro.name, role), urls, proof);
            let url = of_lock.and_then(|medium| medium.urls.first()).or(urls.first());
            let url = url.map(|url| redact(url)).unwrap_or_default();
            let descriptor = Descriptor {
                uri: Some(url.clone()),
                ..named(url.split('?').next().unwrap_or_default())
            };
            match (of_lock, proof) {
                (Some(medium), _) => of_list(descriptor, medium).into(),
                (None, Proof::Digest(digest)) => descriptor.with_digests([digest]).into(),
                (None, _) => descriptor.into(),
            }
        }
    }
}

/// A medium, with who says what it is.
fn of_list(descriptor: Descriptor, medium: &Medium) -> Descriptor {
    let digests: Vec<Digest> = medium.digests().collect();
    let descriptor = descriptor
        .with_digests(&digests)
        .noting("listedIn", medium.source.as_str())
        .noting("signedBy", medium.signed_by.clone());
    match &medium.version {
        Some(version) => descriptor.noting("version", version.as_str()),
        None => descriptor,
    }
}

fn step(step: &Step) -> Option<Descriptor> {
    let named = |what: &str| Descriptor::named(format!("step {}: {what}", step.label));
    let tree = |what: &std::path::Path, digest: &str| {
        let name = what.file_name().unwrap_or_default().to_string_lossy();
        let mut descriptor = named(&name);
        descriptor.digest.insert(TREE.to_owned(), digest.to_owned());
        descriptor
    };
    match &step.kind {
        StepKind::Run(run) => Some(named(&run.origin).with_sha256(sha256_hex(run.script.as_bytes()))),
        StepKind::Copy(copy) => Some(tree(&copy.from, &copy.digest)),
        StepKind::Ansible(ansible) => Some(tree(&ansible.playbook, &ansible.digest)),
        StepKind::Reboot | StepKind::InstallAgent => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;
    use crate::manifest::load::load_text;
    use crate::plan::node::Bond;
    use crate::stage::Node;
    use crate::stage::recipe::{Wanted, build};

    const MANIFEST: &str = r#"
distros.own  = { family = "debian", version = "12", source = { bootstrap = { suite = "bookworm", mirror = "http://user:pw@m.example/debian" } } }
distros.disk = { family = "debian", version = "12", source = { disk = { url = "http://m.example/a.img", checksums = "http://m.example/SUMS" } } }
flavors.base = { steps = [{ inline = "true", name = "nothing" }] }
images       = [{ distro = ["own", "disk"], flavor = "base", sizes = ["3G"] }]
publish      = { provenance = true }
"#;

    fn planned(lock: &Lock, id: &str) -> Node {
        let manifest = load_text(Path::new("m.toml"), MANIFEST).unwrap_or_else(|error| panic!("{error:?}"));
        let facts = Facts {
            wanted: Wanted::default(),
            mirrors: &std::collections::BTreeMap::new(),
            lock,
            fingerprint: &|_| String::new(),
            digest: &|_| None,
            only_in_machine: &|_| false,
        };
        let plan = build(&manifest, &[0, 1], &facts).unwrap_or_else(|error| panic!("{error}"));
        let mut nodes = plan.nodes();
        let found = nodes.find(|(_, node)| node.id() == format!("provenance/{id}"));
        found.unwrap().1.clone()
    }

    #[test]
    fn what_an_image_is_built_from_is_named_with_its_digests_and_nothing_of_other_distros() {
        let archive = |distro: &str| Archive {
            distro: distro.to_owned(),
            guest: false,
            suite: "bookworm".to_owned(),
            url: "http://***@m.example/debian".to_owned(),
            date: "2026-11-28T20:12:33Z".parse().unwrap(),
            sha256: "ab".repeat(32),
            signed_by: vec!["F00".to_owned()],
        };
        let mut lock = Lock::default();
        lock.set_archive(archive("own"));
        let own = planned(&lock, "own-3G-base");
        let inputs = own.inputs["inputs"].as_array().unwrap();
        let names: Vec<_> = inputs
            .iter()
            .map(|input| input["input"].as_str().unwrap())
            .collect();
        let expected = [
            "archive: bookworm",
            "lock: m.lock",
            "answers: bootstrap-debian.sh.j2",
            "step nothing: inline",
        ];
        assert_eq!(names, expected);
        let archived = &inputs[0]["is"];
        assert_eq!(
            archived["uri"],
            "http://***@m.example/debian/dists/bookworm/InRelease"
        );
        assert_eq!(archived["digest"], json!({ "sha256": "ab".repeat(32) }));
        let annotations = json!({ "date": "2026-11-28T20:12:33Z", "signedBy": ["F00"] });
        assert_eq!(archived["annotations"], annotations);
        assert_eq!(inputs[3]["is"]["digest"]["sha256"], sha256_hex(b"true"));

        lock.set_archive(archive("other"));
        assert_eq!(planned(&lock, "own-3G-base").key, own.key);
        let mut moved = archive("own");
        moved.signed_by.clear();
        lock.set_archive(moved);
        assert_ne!(planned(&lock, "own-3G-base").key, own.key);
    }

    #[test]
    fn what_only_a_download_tells_is_taken_from_it_where_it_is_there() {
        let disk = planned(&Lock::default(), "disk-3G-base");
        let role = |take: &&Take| take.bond == Bond::IfThere;
        let taken: Vec<_> = disk
            .takes
            .iter()
            .filter(role)
            .map(|take| take.role.name())
            .collect();
        assert_eq!(taken, ["download of medium"]);
        assert_eq!(disk.inputs["inputs"][0]["is"]["digest"], Value::Null);
    }
}
