//! One build of one template: its options with everything resolved that is known, and the files it names.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::go::{self, Piece, Scope};
use super::model::{Builder, Fault, Found, LARGEST_FILE, Look, Request, Step, Template};
use crate::import::node::{Node, Place};
use crate::import::note::{Notes, Weight};
use crate::import::path;
use crate::platform::Platform;

/// What all of an import shares.
pub struct Importer<'a> {
    /// What was asked for.
    pub request: &'a Request,
    /// How to look at files.
    pub look: Look<'a>,
    /// What there is to tell.
    pub notes: RefCell<Notes>,
    /// Why templates and builds are left out.
    pub refusals: RefCell<Vec<Fault>>,
    /// Files to be written next to the manifest.
    pub files: RefCell<BTreeMap<String, String>>,
}

impl Importer<'_> {
    /// Tells something.
    pub fn note(
        &self,
        weight: Weight,
        place: Option<&Place>,
        subject: impl Into<String>,
        text: impl Into<String>,
    ) {
        self.notes.borrow_mut().add(weight, place, subject, text);
    }

    /// Leaves something out, and says why.
    pub fn refuse(&self, place: Option<&Place>, subject: &str, cause: &str, remedy: &str) {
        self.note(
            Weight::Todo,
            place,
            subject,
            format!("is left out: {cause}; {remedy}"),
        );
        self.refused(Fault {
            place: place.cloned(),
            cause: format!("{subject}: {cause}"),
            remedy: remedy.to_owned(),
        });
    }

    /// Keeps a reason for when nothing is left.
    pub fn refused(&self, fault: Fault) {
        let mut refusals = self.refusals.borrow_mut();
        if !refusals.contains(&fault) {
            refusals.push(fault);
        }
    }

    /// A file's text.
    pub fn text(&self, path: &str) -> Option<String> {
        match (self.look)(path) {
            Found::Text(text) if text.len() <= LARGEST_FILE => Some(text),
            _ => None,
        }
    }

    /// How the manifest names an absolute path.
    pub fn named(&self, path: &str) -> String {
        path::relative(&path::folder(&self.request.manifest), path)
    }

    /// Puts a file next to the manifest; one of the same text is used again, one of another text is never replaced.
    pub fn write(&self, name: &str, text: String) -> String {
        let mut files = self.files.borrow_mut();
        if let Some((known, _)) = files.iter().find(|(_, known)| **known == text) {
            return known.clone();
        }
        let (start, end) = name.split_once('.').unwrap_or((name, "j2"));
        let name = (1..)
            .map(|number| {
                if number == 1 {
                    name.to_owned()
                } else {
                    format!("{start}-{number}.{end}")
                }
            })
            .find(|name| !files.contains_key(name))
            .unwrap_or_default();
        files.insert(name.clone(), text);
        name
    }
}

pub struct Build<'a> {
    /// Shared.
    pub importer: &'a Importer<'a>,
    pub template: &'a Template,
    pub builder: &'a Builder,
    /// What its texts may use.
    pub scope: Scope,
    /// Steps before those of the template: what its answers did, and what has to be decided before an image is what it was.
    pub first: RefCell<Vec<Step>>,
}

impl<'a> Build<'a> {
    /// With variables settled; none is kept yet.
    pub fn new(importer: &'a Importer<'a>, template: &'a Template, builder: &'a Builder) -> Self {
        let mut scope = Scope {
            template_dir: template.folder.clone(),
            now: importer.request.now,
            env: Arc::new(importer.request.env.clone()),
            ..Scope::default()
        };
        let known: Vec<_> = template
            .variables
            .iter()
            .map(|variable| (variable.name.clone(), variable.known.clone()))
            .collect();
        scope.vars = go::settle(&known, &scope);
        let mut build = Self {
            importer,
            template,
            builder,
            scope,
            first: RefCell::default(),
        };
        build.scope.build_name = build.lasting("name", &builder.name);
        let written = build
            .option("vm_name")
            .and_then(Node::text)
            .filter(|name| !name.is_empty());
        build.scope.vm_name = match written {
            Some(written) => build.lasting("vm_name", &written),
            None => format!("packer-{}", build.scope.build_name),
        };
        build
    }

    /// A name, without the times in it.
    pub fn lasting(&self, key: &str, written: &str) -> String {
        let (name, has_time) = go::lasting(written, &self.scope);
        if has_time {
            let text = format!(
                "changed with each build; here it is always `{name}`: what looks for the other name has to change"
            );
            self.note(Weight::Todo, key, text);
        }
        name
    }

    /// Leaves this build out.
    pub fn refuse(&self, cause: &str, remedy: &str) {
        let subject = format!("build {}", self.name());
        self.importer.refuse(Some(self.place()), &subject, cause, remedy);
    }

    /// Tells something that has to be decided before an image is what it was: until then none is built.
    pub fn stop(&self, key: &str, text: &str) {
        self.note(Weight::Todo, key, text);
        self.first
            .borrow_mut()
            .push(Step::todo(&format!("{key}: {text}")));
    }

    /// The build's name.
    pub fn name(&self) -> &str {
        &self.scope.build_name
    }

    /// Where the builder stands.
    pub fn place(&self) -> &Place {
        &self.builder.options.place
    }

    pub fn option(&self, key: &str) -> Option<&'a Node> {
        self.builder.options.get(key)
    }

    /// A scalar option, resolved; absent where it is empty.
    pub fn text(&self, key: &str) -> Option<String> {
        let text = self.resolve(&self.option(key)?.text()?);
        (!text.is_empty()).then_some(text)
    }

    /// A text of the template, resolved.
    pub fn resolve(&self, text: &str) -> String {
        go::resolve(text, &self.scope)
    }

    /// Whether a text has something in it that changes with each build.
    pub fn changes(&self, text: &str) -> bool {
        let pieces = go::pieces(text, &self.scope);
        pieces.iter().any(|piece| matches!(piece, Piece::Now(..)))
    }

    /// Whether a text has something in it that must not be written down.
    pub fn is_secret(&self, text: &str) -> bool {
        go::pieces(text, &self.scope)
            .iter()
            .any(|piece| matches!(piece, Piece::Secret(_) | Piece::Env(_)))
    }

    /// Tells something of an option.
    pub fn note(&self, weight: Weight, key: &str, text: impl Into<String>) {
        let node = self.option(key);
        let subject = match node.and_then(Node::text) {
            // A password can stand in the midst of these.
            _ if key.contains("password")
                || ["shutdown_command", "boot_command", "boot_steps"].contains(&key) =>
            {
                key.to_owned()
            }
            _ => node.map_or(key.to_owned(), |node| format!("{key} = {}", node.short())),
        };
        self.importer.note(
            weight,
            Some(node.map_or(self.place(), |node| &node.place)),
            subject,
            text,
        );
    }

    /// Tells where a text means a disk or a network card that the machine does not have.
    pub fn look_for_names(&self, subject: &str, text: &str) {
        if text.contains("/dev/sd") {
            let disk = Platform::default().hardware().disk;
            let what = format!("names disks as /dev/sd…; here the disk is /dev/{disk}");
            self.importer
                .note(Weight::Todo, Some(self.place()), subject, what);
        }
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
        let is_card = |word: &str| {
            let rest = word.strip_prefix("ens").or_else(|| word.strip_prefix("enp"));
            rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        if let Some(card) = words.find(|word| is_card(word)) {
            let what = format!(
                "names the network card {card}; here it is eth0, or with `predictable_nics = true` in `vars` ens3 or the like"
            );
            self.importer
                .note(Weight::Todo, Some(self.place()), subject, what);
        }
    }

    /// Absolute paths that a relative one can mean: Packer's working directory first.
    pub fn candidates(&self, written: &str) -> Vec<String> {
        let request = self.importer.request;
        let playbook = request
            .playbook
            .as_ref()
            .map(|playbook| path::folder(&playbook.path));
        let mut all = vec![
            path::join(&request.folder, written),
            path::join(&self.template.folder, written),
        ];
        all.extend(playbook.map(|folder| path::join(&folder, written)));
        // Templates in a folder of their own, run from the one above.
        all.push(path::join(&path::folder(&self.template.folder), written));
        all.dedup();
        all
    }

    /// Where a file or folder is; where there is none, where it should be.
    pub fn find(&self, written: &str) -> (String, Found) {
        let mut first = None;
        for path in self.candidates(written) {
            let found = (self.importer.look)(&path);
            if found != Found::Missing {
                return (path, found);
            }
            first.get_or_insert(path);
        }
        (first.unwrap_or_default(), Found::Missing)
    }
}
