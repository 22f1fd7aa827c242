//! What verbs about a manifest share: the manifest, which of its images, and the store.

use std::path::{Path, PathBuf};

use clap_complete::ArgValueCandidates;
use globset::GlobSet;

use super::complete;
use super::exit::Exit;
use super::remote::with_fingerprint_key;
use super::report_error::{fail, note};
use crate::host::process::{shell_quote, withhold};
use crate::manifest::ManifestErrors;
use crate::manifest::load::{load_with, open};
use crate::manifest::model::Manifest;
use crate::manifest::overrides::Override;
use crate::manifest::select::{Selectors, select};
use crate::manifest::{glob, parse};
use crate::plan::assess::Pick;
use crate::remote::Remote;
use crate::run::facts::Facts;
use crate::run::prepare::{Ask, Prepared, prepare};
use crate::size::{ByteSize, SizeError};
use crate::stage::recipe::Wanted;
use crate::stage::{Node, Work, install, provision, size};
use crate::store::Store;

/// Names the store where no option does.
const STORE_VARIABLE: &str = "PIPELINE_STORE";

/// Values of a manifest that are given with the command.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DefineArgs {
    /// Give a key of the manifest another value, written as in TOML (or as a bare text): -D vars.keymap=fr
    #[arg(short = 'D', long = "define", value_name = "KEY=VALUE")]
    define: Vec<Override>,
}

/// A manifest.
#[derive(Clone, Debug, clap::Args)]
pub struct ManifestArgs {
    /// The manifest: images.toml or, in Nickel, images.ncl
    #[arg(value_name = "MANIFEST", add = complete::manifests())]
    manifest: PathBuf,
    #[command(flatten)]
    define: DefineArgs,
}

/// A manifest and which of its images.
#[derive(Clone, Debug, clap::Args)]
pub struct Selection {
    #[command(flatten)]
    source: ManifestArgs,
    /// Images: ids or globs, as in 'debian12-50G-*', or terms, as in size=50G; all when absent
    #[arg(value_name = "SELECTOR", add = ArgValueCandidates::new(complete::images))]
    selectors: Vec<String>,
    /// Only images of this distro
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::distros))]
    distro: Vec<String>,
    /// Only images of this size
    #[arg(long, value_name = "SIZE", add = ArgValueCandidates::new(complete::sizes))]
    size: Vec<String>,
    /// Only images of this flavor
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::flavors))]
    flavor: Vec<String>,
}

/// Where results are kept.
#[derive(Debug, clap::Args)]
pub struct StoreArgs {
    /// Folder of the store [default: $PIPELINE_STORE, $XDG_CACHE_HOME/pipeline or ~/.cache/pipeline]
    // Not by clap: where the variable is set, its errors would show a usage with this option in it.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

/// Whether images are published too.
#[derive(Debug, clap::Args)]
pub struct UploadArgs {
    /// Publish the images to every [publish.…] place of the manifest too; UPLOAD=yes in the environment means the same
    #[arg(long, env = UPLOAD, value_parser = yes_or_no)]
    pub upload: bool,
}

/// The variable that asks for publication.
const UPLOAD: &str = "UPLOAD";

/// A value of [`UPLOAD`]: a path, say, must not mean yes.
fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "y" | "true" | "on" | "1" => Ok(true),
        "" | "no" | "n" | "false" | "off" | "0" => Ok(false),
        _ => Err(
            "the variable UPLOAD in the environment must be yes or no; set it to one of them, or unset it"
                .to_owned(),
        ),
    }
}

/// Which nodes to build, and by which facts.
#[derive(Debug, Default, clap::Args)]
pub struct WorkArgs {
    /// Build this again and what depends on it: a node as in install/debian12, an image, a pattern of either, or a term as in
    /// distro=debian12
    #[arg(long, value_name = "SELECTOR", add = ArgValueCandidates::new(complete::images_and_nodes))]
    rebuild: Vec<String>,
    /// Stop after this node, as in provision/debian12-base, or after all nodes of this stage, as in package; without it
    /// images are delivered
    #[arg(long, value_name = "NODE", add = ArgValueCandidates::new(complete::planned))]
    until: Vec<String>,
    /// Take what depends on the host (package mirrors, the lock, fingerprints of secrets, digests of local media) from this
    /// file of `pipeline plan --write-facts`, so that keys are those of the host that wrote it
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,
}

/// Whether images are checked.
#[derive(Debug, Default, clap::Args)]
pub struct CheckArgs {
    /// Leave the checks out: images appear without having been booted (never to be published)
    #[arg(long)]
    no_check: bool,
}

/// What is asked for beyond images in the output folder.
///
/// # Errors
/// [`Exit::Usage`], after saying so: what is not checked is not published.
pub fn wanted(checks: &CheckArgs, upload: &UploadArgs) -> Result<Wanted, Exit> {
    if checks.no_check && upload.upload {
        let is_typed = std::env::args_os().any(|arg| arg == "--upload");
        let (what, help) = if is_typed {
            ("--upload", "leave one of them out")
        } else {
            (
                "UPLOAD=yes in the environment",
                "unset UPLOAD, or leave --no-check out",
            )
        };
        let error = miette::miette!(
            help = help,
            "--no-check and {what} exclude each other: an image is checked before it is published"
        );
        return Err(fail(Exit::Usage, error));
    }
    Ok(Wanted {
        checks: !checks.no_check,
        upload: upload.upload,
    })
}

impl UploadArgs {
    /// As it can be typed again.
    pub fn as_typed(&self) -> &'static str {
        if self.upload { " --upload" } else { "" }
    }
}

impl CheckArgs {
    /// As it can be typed again.
    pub fn as_typed(&self) -> &'static str {
        if self.no_check { " --no-check" } else { "" }
    }
}

impl DefineArgs {
    fn as_typed(&self) -> impl Iterator<Item = String> {
        self.define.iter().map(|value| format!("--define={}", value.text))
    }

    /// Loads a manifest; says what is wrong with it.
    ///
    /// # Errors
    /// [`Exit::Usage`], after saying why on stderr.
    pub fn load(&self, manifest: &Path) -> Result<Manifest, Exit> {
        load_with(manifest, &self.define).map_err(|errors| fail(Exit::Usage, errors))
    }
}

impl ManifestArgs {
    /// Loads it; says what is wrong with it.
    ///
    /// # Errors
    /// As [`DefineArgs::load`].
    pub fn load(&self) -> Result<Manifest, Exit> {
        self.define.load(&self.manifest)
    }

    /// Loads it, and says nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn try_load(&self) -> Result<Manifest, ManifestErrors> {
        load_with(&self.manifest, &self.define.define)
    }

    /// The manifest as the user named it.
    pub fn path(&self) -> &Path {
        &self.manifest
    }

    /// Reads, or evaluates, and checks it, and gives its data.
    ///
    /// # Errors
    /// As [`DefineArgs::load`].
    pub fn evaluate(&self) -> Result<parse::Node, Exit> {
        let found = open(&self.manifest, &self.define.define).and_then(|document| {
            let tree = document.tree().clone();
            document.check().map(|_| tree)
        });
        found.map_err(|errors| fail(Exit::Usage, errors))
    }
}

impl Selection {
    /// Values of the manifest that were given with the command, as another command needs them.
    pub fn defined(&self) -> impl Iterator<Item = String> {
        self.source.define.as_typed()
    }

    /// Loads the manifest and finds the images; says what is wrong with either.
    ///
    /// # Errors
    /// [`Exit::Usage`], after saying why on stderr.
    pub fn load(&self) -> Result<(Manifest, Vec<usize>), Exit> {
        let manifest = self.source.load()?;
        withhold(manifest.secret_variables());
        let selectors = Selectors {
            patterns: self.selectors.clone(),
            distro: self.distro.clone(),
            size: self.size.clone(),
            flavor: self.flavor.clone(),
        };
        let selected = select(&manifest, &selectors).map_err(|error| fail(Exit::Usage, error))?;
        Ok((manifest, selected))
    }

    /// As it can be typed again, quoted for a shell.
    pub fn as_typed(&self) -> String {
        let mut words = vec![self.source.manifest.to_string_lossy().into_owned()];
        words.extend(self.selectors.iter().cloned());
        let defined = self.source.define.define.iter().map(|one| one.text.clone());
        let lists = [
            ("-D", defined.collect()),
            ("--distro", self.distro.clone()),
            ("--size", self.size.clone()),
            ("--flavor", self.flavor.clone()),
        ];
        for (option, values) in lists {
            let values: Vec<_> = values;
            words.extend(values.into_iter().flat_map(|value| [option.to_owned(), value]));
        }
        let words: Vec<_> = words.iter().map(|word| shell_quote(word)).collect();
        words.join(" ")
    }

    /// The same without selectors that name nodes, and those: ids of images have no slash in them.
    pub fn part_nodes(&self) -> (Self, Vec<String>) {
        let (nodes, images): (Vec<_>, Vec<_>) = self
            .selectors
            .iter()
            .cloned()
            .partition(|selector| selector.contains('/'));
        let target = Self {
            selectors: images,
            ..self.clone()
        };
        (target, nodes)
    }

    /// Whether nothing narrows it down: every image is meant.
    pub fn is_all(&self) -> bool {
        let narrowing = [&self.selectors, &self.distro, &self.size, &self.flavor];
        narrowing.into_iter().all(Vec::is_empty)
    }
}

impl StoreArgs {
    /// What another command needs to find the same store: ` --store DIR` where that was given with this one.
    pub fn as_typed(&self) -> String {
        let store = self.store.as_ref();
        store.map_or_else(String::new, |folder| {
            format!(" --store {}", shell_quote(&folder.to_string_lossy()))
        })
    }

    /// The store's folder.
    pub fn folder(&self) -> PathBuf {
        self.store.clone().unwrap_or_else(default_store)
    }

    /// The store, to look into.
    ///
    /// # Errors
    /// [`Exit::Host`], after saying why: a store that cannot be read must not look like an empty one.
    pub fn look(&self) -> Result<Store, Exit> {
        let folder = self.folder();
        for part in ["", "results", "runs"].map(|part| folder.join(part)) {
            if let Err(error) = part.read_dir()
                && error.kind() != std::io::ErrorKind::NotFound
            {
                let help =
                    "read it as the user that it belongs to, or name another one: --store or PIPELINE_STORE";
                let error = miette::miette!(
                    help = help,
                    "the store {} cannot be read: {error}",
                    part.display()
                );
                return Err(fail(Exit::Host, error));
            }
        }
        with_fingerprint_key(Store::peek(&folder))
    }
}

/// Where the store is where no option names one (XDG base directory specification).
pub fn default_store() -> PathBuf {
    let from = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    if let Some(store) = from(STORE_VARIABLE) {
        return store;
    }
    let cache = from("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let cache = cache.or_else(|| from("HOME").map(|home| home.join(".cache")));
    cache
        .unwrap_or_else(|| PathBuf::from("/var/cache"))
        .join("pipeline")
}

impl WorkArgs {
    /// Whether another host, or another run, sees to the whole.
    pub fn is_part(&self) -> bool {
        self.has_facts() || !self.until.is_empty()
    }

    pub fn has_facts(&self) -> bool {
        self.facts.is_some()
    }

    /// Plans with these nodes forced, and these as the last.
    ///
    /// # Errors
    /// [`Exit::Usage`], after saying why on stderr.
    pub fn prepare(
        &self,
        manifest: &Manifest,
        selected: &[usize],
        store: &Store,
        remote: Option<&Remote>,
        wanted: Wanted,
    ) -> Result<Prepared, Exit> {
        let mut whats = Vec::new();
        for text in &self.rebuild {
            let what = Rebuild::read(text)
                .map_err(|cause| fail(Exit::Usage, miette::miette!("--rebuild {text}: {cause}")))?;
            whats.push((text, what));
        }
        let mut ends = Vec::new();
        for text in &self.until {
            let end = glob::compile(text)
                .map_err(|cause| fail(Exit::Usage, miette::miette!("--until {text}: {cause}")))?;
            ends.push((text, end));
        }
        let facts = self.facts.as_deref().map(Facts::read).transpose();
        let facts = facts.map_err(|error| fail(Exit::Usage, error))?;
        let is_end = |end: &GlobSet, node: &Node| end.is_match(node.id()) || end.is_match(node.stage.name);
        let until = |node: &Node| ends.iter().any(|(_, end)| is_end(end, node));
        let ask = Ask {
            wanted,
            rebuild: &|node| whats.iter().any(|(_, what)| what.matches(node)),
            until: (!ends.is_empty()).then_some(&until as Pick<'_, Work>),
            remote,
            facts: facts.as_ref(),
        };
        let prepared =
            prepare(manifest, selected, store, ask, &note).map_err(|error| fail(Exit::Usage, error))?;
        for (text, end) in &ends {
            if !prepared.plan.nodes().any(|(_, node)| is_end(end, node)) {
                let error = miette::miette!(
                    help = "name a node such as provision/debian12-base (`pipeline plan --format json` lists them), or a stage \
                            such as package",
                    "--until {text} matches no node of this plan"
                );
                return Err(fail(Exit::Usage, error));
            }
        }
        for (text, what) in &whats {
            if !prepared.plan.nodes().any(|(_, node)| what.matches(node)) {
                let error = miette::miette!(
                    help = "name a node such as install/debian12 (`pipeline plan --format json` lists them), an image, a \
                            pattern of either, or a term such as distro=debian12, flavor=base or size=50G",
                    "--rebuild {text} matches no node of this plan"
                );
                return Err(fail(Exit::Usage, error));
            }
        }
        Ok(prepared)
    }
}

/// What is to be built again. What depends on it follows.
enum Rebuild {
    /// Nodes by id, or by subject: an image's own nodes.
    Nodes(GlobSet),
    /// Nodes by the value of a term of theirs.
    Term(&'static str, GlobSet),
    /// Images of this size.
    Size(ByteSize),
}

impl Rebuild {
    fn read(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((install::TERM, name)) => Ok(Self::Term(install::TERM, glob::compile(name)?)),
            Some((provision::TERM, name)) => Ok(Self::Term(provision::TERM, glob::compile(name)?)),
            Some((size::TERM, size)) => size
                .parse()
                .map(Self::Size)
                .map_err(|error: SizeError| error.to_string()),
            _ => glob::compile(text).map(Self::Nodes),
        }
    }

    fn matches(&self, node: &Node) -> bool {
        let of = |word| node.term.as_ref().filter(|(known, _)| *known == word);
        match self {
            Self::Nodes(glob) => glob.is_match(node.id()) || glob.is_match(&node.subject),
            Self::Term(word, glob) => of(*word).is_some_and(|(_, value)| glob.is_match(value)),
            Self::Size(size) => of(size::TERM).is_some_and(|(_, value)| *value == size.0.to_string()),
        }
    }
}
