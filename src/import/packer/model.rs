//! What an import works on, as plain data: the request, a template as both of Packer's languages are read into it (texts
//! in it are still Packer's templates), what the playbook does, and the parts of the manifest that come of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml_edit::Value;

use super::go::Known;
use crate::import::node::{self, Node, Place};
use crate::import::note::{Notes, printable};

/// Largest file that is read, in bytes.
pub const LARGEST_FILE: usize = 4 * 1024 * 1024;

/// A file that the user named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// As the user named it.
    pub shown: String,
    /// Absolute, without `..`.
    pub path: String,
    pub text: String,
}

/// A template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Config {
    /// An old JSON one.
    Json(Input),
    /// An HCL2 one, of several files in one folder.
    Hcl {
        /// As the user named it.
        shown: String,
        /// Its folder, absolute.
        folder: String,
        /// Its files, in the order of their names.
        files: Vec<Input>,
        /// Files of variables that Packer reads without being asked.
        auto: Vec<Input>,
    },
}

/// What is to be imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Templates.
    pub configs: Vec<Config>,
    /// `-var NAME=VALUE`, in order.
    pub vars: Vec<(String, String)>,
    /// `--var-file`, in order; they count less than `vars`.
    pub var_files: Vec<Input>,
    /// The playbook that runs Packer.
    pub playbook: Option<Input>,
    /// The working directory, absolute: Packer's relative paths start here.
    pub folder: String,
    /// Where the manifest will be, absolute.
    pub manifest: String,
    /// The time, in seconds since 1970: for `isotime`.
    pub now: i64,
    /// The environment: for `env` and `PKR_VAR_…`.
    pub env: BTreeMap<String, String>,
    /// Patterns of the names of builds; none: all builds.
    pub only: Vec<String>,
    /// What all builds install, where their names do not say it.
    pub system: Option<System>,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A file, with its text.
    Text(String),
    /// A file without a text of a reasonable size.
    Bytes,
    /// A folder, with the names in it, sorted.
    Folder(Vec<String>),
    Missing,
}

/// Looks at an absolute path.
pub type Look<'a> = &'a dyn Fn(&str) -> Found;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The manifest's text.
    pub manifest: String,
    /// Files that it needs next to it, with their texts.
    pub files: BTreeMap<String, String>,
    /// What there is to tell.
    pub notes: Notes,
    /// Number of distros.
    pub distros: usize,
    /// Number of images.
    pub images: usize,
}

/// Why nothing came of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{cause}", place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default())]
pub struct Fault {
    pub place: Option<Place>,
    pub cause: String,
    pub remedy: String,
}

impl Fault {
    /// A fault at a place.
    pub fn new(place: &Place, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            place: Some(place.clone()),
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }
}

/// Values that are given from outside a template.
#[derive(Clone, Copy, Debug)]
pub struct Overrides<'a> {
    /// Files of variables; the last value of a name counts.
    pub files: &'a [Input],
    /// `-var`, which count more.
    pub vars: &'a [(String, String)],
    /// The environment.
    pub env: &'a BTreeMap<String, String>,
    /// The folder that Packer was started in.
    pub cwd: &'a str,
}

impl Overrides<'_> {
    /// The value of a name by `-var`.
    pub fn value(&self, name: &str) -> Option<String> {
        let found = self.vars.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    }
}

/// A template with the variables of one build command.
#[derive(Clone, Debug)]
pub struct Template {
    /// The file (or folder) as the user named it.
    pub shown: Arc<str>,
    pub folder: String,
    /// Variables, in the order they were declared.
    pub variables: Vec<Variable>,
    /// What is built.
    pub builders: Vec<Builder>,
}

/// A user variable.
#[derive(Clone, Debug)]
pub struct Variable {
    pub name: String,
    /// What is known of it; not yet settled.
    pub known: Known,
    /// What it is for, where the template says so.
    pub description: Option<String>,
    /// Where it is declared.
    pub place: Place,
}

/// One builder with all that is done in its machine.
#[derive(Clone, Debug)]
pub struct Builder {
    /// `qemu`.
    pub kind: String,
    /// Name of the build, a template; Packer's default is the kind.
    pub name: String,
    /// Name of the `build` block around it.
    pub group: Option<String>,
    /// All other keys.
    pub options: Node,
    pub provisioners: Vec<Block>,
    /// In order, chains laid end to end.
    pub post_processors: Vec<Block>,
}

/// A provisioner or a post-processor.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Its type: `shell`.
    pub kind: String,
    /// Its keys, without `type`, `only`, `except` and `override`.
    pub options: Node,
}

impl Block {
    /// The block for the builder of this name, if it is for it at all. `full`: the name that `only` and `except` use.
    pub fn of(kind: &str, options: &Node, builder: &str, full: &str) -> Option<Self> {
        let named = |key: &str| {
            let names = options.get(key).filter(|names| !names.items().is_empty())?;
            Some(
                names
                    .items()
                    .iter()
                    .filter_map(Node::text)
                    .any(|name| name == full),
            )
        };
        if named("only") == Some(false) || named("except") == Some(true) {
            return None;
        }
        let mut entries: Vec<_> = options
            .entries()
            .iter()
            .filter(|(key, _)| !["type", "only", "except", "override"].contains(&key.as_str()))
            .cloned()
            .collect();
        let over = options.get("override").and_then(|all| all.get(builder));
        for (key, node) in over.map(Node::entries).unwrap_or_default() {
            entries.retain(|(known, _)| known != key);
            entries.push((key.clone(), node.clone()));
        }
        let value = node::Value::Map(entries);
        Some(Self {
            kind: kind.to_owned(),
            options: Node::new(value, &options.place),
        })
    }
}

/// What the playbook does.
#[derive(Clone, Debug, Default)]
pub struct PlaybookPlan {
    /// Its runs of Packer.
    pub builds: Vec<Command>,
    /// It compresses: how, and where it says so.
    pub compress: Option<(&'static str, Place)>,
    /// It writes checksum files.
    pub checksums: Vec<(&'static str, Place)>,
    /// It uploads to a shacache.
    pub shacache: Option<Place>,
    /// Items of tasks that are not runs of Packer: what they say of a distro.
    pub matrix: Vec<Item>,
}

/// One run of Packer.
#[derive(Clone, Debug)]
pub struct Command {
    /// Where the template could be.
    pub templates: Vec<String>,
    pub written: String,
    /// `-var`.
    pub vars: Vec<(String, String)>,
    /// `-var-file`.
    pub var_files: Vec<Input>,
    /// `-only` and `-except`.
    pub only: Vec<String>,
    pub except: Vec<String>,
    pub place: Place,
}

/// What a task says of a distro.
#[derive(Clone, Debug)]
pub struct Item {
    /// Names with values.
    pub values: BTreeMap<String, String>,
    /// The task's name.
    pub task: String,
    pub place: Place,
}

/// A builder of a template: their numbers.
pub type Key = (usize, usize);

/// A family and a version, as in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// `debian`.
    pub family: &'static str,
    /// `12`, `22.04`.
    pub version: String,
}

/// Keys of a medium with their values, and comments in front of them.
pub type Keys = Vec<(&'static str, Value, Option<String>)>;

/// A distro, still without its disk: that depends on the sizes of its images.
#[derive(Clone, Debug)]
pub struct Distro {
    pub name: String,
    /// Family and version.
    pub system: System,
    /// `iso` or `disk`.
    pub kind: &'static str,
    /// What stands above it.
    pub comments: Vec<String>,
    pub source: Keys,
    /// Other keys of its table.
    pub keys: Vec<(&'static str, Value)>,
    /// Its own vars.
    pub vars: Vec<(String, Value)>,
}

/// A step, as it will be written.
#[derive(Clone, Debug, Default)]
pub struct Step {
    pub keys: Vec<(&'static str, Value)>,
    /// What stands above it.
    pub comment: Option<String>,
}

impl Step {
    /// A step of one key.
    pub fn of(key: &'static str, value: impl Into<Value>) -> Self {
        Self {
            keys: vec![(key, value.into())],
            comment: None,
        }
    }

    /// A step that fails: the image would not be what it was. The user has to decide first.
    pub fn todo(what: &str) -> Self {
        let what = printable(what).replace('\'', "`");
        let mut step = Self::of("inline", format!("echo 'TODO: {what}' >&2\nexit 1\n"));
        step.keys.push(("name", Value::from("TODO")));
        step
    }

    /// As a text.
    pub fn show(&self) -> String {
        let keys = self.keys.iter().map(|(key, value)| format!("{key} = {value}"));
        keys.collect::<Vec<_>>().join(", ")
    }
}

/// A variable of the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name in the manifest.
    pub name: String,
    pub value: String,
    /// What it is for.
    pub description: Option<String>,
}

/// All builds, folded.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// `[vars]`.
    pub vars: Vec<Kept>,
    /// `[distros.*]`.
    pub distros: Vec<Distro>,
    /// `[flavors.*]`: names with steps.
    pub flavors: Vec<(String, Vec<Step>)>,
    /// `[[images]]`.
    pub images: Vec<Images>,
}

/// One `[[images]]` table.
#[derive(Clone, Debug)]
pub struct Images {
    /// Names of its distros.
    pub distros: Vec<String>,
    /// Name of its flavor.
    pub flavor: String,
    pub sizes: Vec<String>,
    /// Its ids, a template.
    pub id: String,
    /// Distro, id, folder and name of each file.
    pub files: Vec<(String, String, (String, String))>,
}

/// `[publish]`.
#[derive(Clone, Debug, Default)]
pub struct Publish {
    /// `format`.
    pub format: String,
    /// `compress`.
    pub compress: &'static str,
    /// `level`.
    pub level: Option<i64>,
    /// `checksums`.
    pub checksums: Vec<&'static str>,
    /// `file`, a template; absent: the usual one.
    pub file: Option<String>,
    /// A `[publish.shacache]` table.
    pub shacache: bool,
}
