//! One build of one template: its options with everything resolved that is known, and the files it names.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::go::{self, Piece, Scope};
use super::model::{Builder, Found, LARGEST_FILE, Look, Request, Template};
use crate::import::node::{Node, Place};
use crate::import::note::{Notes, Weight};
use crate::import::path;

/// What all of an import shares.
pub struct Importer<'a> {
    /// What was asked for.
    pub request: &'a Request,
    /// How to look at files.
    pub look: Look<'a>,
    /// What there is to tell.
    pub notes: RefCell<Notes>,
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
}

impl<'a> Build<'a> {
    /// With variables settled; none is kept yet.
    pub fn new(importer: &'a Importer<'a>, template: &'a Template, builder: &'a Builder) -> Self {
        let mut scope = Scope {
            template_dir: template.folder.clone(),
            now: importer.request.now,
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
        };
        build.scope.build_name = go::resolve(&builder.name, &build.scope);
        build.scope.vm_name = build
            .text("vm_name")
            .unwrap_or_else(|| format!("packer-{}", build.scope.build_name));
        build
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

    /// Whether a text has a secret in it.
    pub fn is_secret(&self, text: &str) -> bool {
        go::pieces(text, &self.scope)
            .iter()
            .any(|piece| matches!(piece, Piece::Secret(_)))
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
