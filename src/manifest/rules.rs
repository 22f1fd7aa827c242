//! Cross-field rules: names resolve, flavors do not go in circles, VMs fit the host's share, templates know their names.
//! Knows spans and drafts, nothing of TOML or files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::context::{self, BootFacts, BuildFacts, Context};
use super::error::{ProblemKind, Span};
use super::model::{Flavor, Form, Image, Resources, Source};
use super::read::{DistroDraft, Draft, FlavorDraft, ImageDraft, Reading, Spot};
use super::suggest;
use super::template::{self, Fault, TemplateError};
use crate::checks::CheckSet;
use crate::platform::{Arch, Start};
use crate::size::{ByteSize, GIB, MIB};

/// Draft and lookups that several rules share.
#[derive(Debug)]
pub struct Rules<'a> {
    /// Where things are read from and reported to.
    pub reading: Reading<'a>,
    /// What is checked.
    pub draft: &'a Draft,
    distros: BTreeMap<&'a str, &'a DistroDraft>,
    flavors: BTreeMap<&'a str, &'a FlavorDraft>,
}

impl<'a> Rules<'a> {
    /// Prepares the lookups.
    pub fn new(reading: Reading<'a>, draft: &'a Draft) -> Self {
        let distros = draft.distros.iter().map(|d| (d.distro.name.as_str(), d));
        let flavors = draft.flavors.iter().map(|f| (f.name.as_str(), f));
        Self {
            reading,
            draft,
            distros: distros.collect(),
            flavors: flavors.collect(),
        }
    }

    pub fn distro(&self, name: &str) -> Option<&'a DistroDraft> {
        self.distros.get(name).copied()
    }

    /// Applies the rules; gives the flavors with the steps of those that they extend.
    pub fn run(&self) -> Vec<Flavor> {
        let flavors = self.resolve_flavors();
        for image in &self.draft.images {
            self.resolve_names(image);
            self.check_sizes(image);
            self.check_firmware(image);
            self.check_formats(image);
        }
        for distro in &self.draft.distros {
            self.check_resources(distro, &self.draft.resources);
            self.check_answers(distro);
            self.check_source(distro);
        }
        self.check_env();
        self.check_metadata();
        flavors
    }

    /// The sets of checks that a flavor and those it extends name.
    pub fn sets_of_flavor(&self, name: &str) -> Vec<CheckSet> {
        let chain = self.chain(name);
        chain
            .iter()
            .rev()
            .flat_map(|flavor| flavor.checks.iter().copied())
            .collect()
    }

    /// Names that no image uses; only worth saying where nothing is wrong.
    pub fn warn_unused(&self) {
        let images = &self.draft.images;
        let used = |list: fn(&ImageDraft) -> &Vec<Spot>| -> BTreeSet<&str> {
            images
                .iter()
                .flat_map(list)
                .map(|spot| spot.text.as_str())
                .collect()
        };
        let warn = |what, name: &str, span: &Span| {
            let name = name.to_owned();
            self.reading
                .problems
                .add(span, ProblemKind::Unused { what, name });
        };
        let (distros, named) = (used(|image| &image.distros), used(|image| &image.flavors));
        for distro in &self.draft.distros {
            if !distros.contains(distro.distro.name.as_str()) {
                warn("distro", &distro.distro.name, &distro.name_span);
            }
        }
        let extended = named.iter().flat_map(|name| self.chain(name));
        let flavors: BTreeSet<_> = extended.map(|flavor| flavor.name.as_str()).collect();
        for flavor in &self.draft.flavors {
            if !flavors.contains(flavor.name.as_str()) {
                warn("flavor", &flavor.name, &flavor.name_span);
            }
        }
    }

    /// A flavor and those it extends, itself first; ends where a circle closes or a name dangles.
    fn chain(&self, name: &str) -> Vec<&'a FlavorDraft> {
        let mut chain: Vec<&FlavorDraft> = Vec::new();
        let mut next = self.flavors.get(name).copied();
        while let Some(flavor) = next {
            if chain.iter().any(|seen| seen.name == flavor.name) {
                break;
            }
            chain.push(flavor);
            let parent = flavor.extends.as_ref();
            next = parent.and_then(|parent| self.flavors.get(parent.text.as_str()).copied());
        }
        chain
    }

    fn resolve_flavors(&self) -> Vec<Flavor> {
        let mut in_circles = BTreeSet::new();
        let mut flavors = Vec::new();
        let parents = self
            .draft
            .flavors
            .iter()
            .filter_map(|flavor| flavor.extends.as_ref());
        let extended: BTreeSet<_> = parents.map(|parent| parent.text.as_str()).collect();
        for draft in &self.draft.flavors {
            let chain = self.chain(&draft.name);
            if let Some(parent) = &draft.extends {
                self.resolve(
                    "flavor",
                    parent,
                    self.flavors.contains_key(parent.text.as_str()),
                    self.flavors.keys(),
                );
            }
            let last = chain.last().and_then(|last| last.extends.as_ref());
            let closing = last.filter(|parent| parent.text == draft.name);
            if let Some(parent) = closing.filter(|_| !in_circles.contains(draft.name.as_str())) {
                in_circles.extend(chain.iter().map(|flavor| flavor.name.as_str()));
                let names = chain.iter().map(|flavor| flavor.name.clone());
                let path = names.chain([draft.name.clone()]).collect();
                let first = draft.extends.as_ref().map_or(&draft.name_span, |spot| &spot.span);
                let problems = self.reading.problems;
                problems.add_pair((first, "from here"), &parent.span, ProblemKind::Cycle(path));
            }
            let (mut steps, mut ends) = (Vec::new(), BTreeSet::new());
            for flavor in chain.iter().rev() {
                steps.extend(flavor.steps.iter().cloned());
                if extended.contains(flavor.name.as_str()) {
                    ends.insert(steps.len());
                }
            }
            flavors.push(Flavor {
                name: draft.name.clone(),
                steps,
                ends,
            });
        }
        flavors
    }

    /// Images are only started as their distro is made to be.
    fn check_firmware(&self, image: &ImageDraft) {
        let named = image.distros.iter().filter_map(|spot| self.distro(&spot.text));
        let distros: Vec<_> = named.map(|draft| &draft.distro).collect();
        for (start, spot) in &image.firmware {
            let Some(distro) = distros.iter().find(|distro| distro.started_by(*start).is_none()) else {
                continue;
            };
            let key = match start {
                Start::SecureBoot => "secure_boot",
                Start::Bios | Start::Uefi => "firmware",
            };
            let kind = ProblemKind::BadValue {
                path: spot.path.clone(),
                cause: format!(
                    "images of `{}` are not made to start by {}",
                    distro.name,
                    start.name()
                ),
                remedy: format!("take it out, or set `{key}` of the distro"),
            };
            self.reading.problems.add(&spot.span, kind);
        }
    }

    /// Formats hold what they were made for.
    fn check_formats(&self, image: &ImageDraft) {
        for format in &self.draft.formats {
            let mut sizes = image.sizes.iter();
            let size = sizes.find_map(|(size, spot)| Some((unfit(format.form, *size)?, &spot.text)));
            let mut distros = image.distros.iter().filter_map(|spot| self.distro(&spot.text));
            let other = distros.find(|draft| draft.distro.computer().platform.arch() != Arch::Amd64);
            let cause = match (size, other) {
                (Some((reason, size)), _) => format!("a disk of {size} does not fit: {reason}"),
                (None, Some(draft)) if format.form == Form::Ova => {
                    format!("it describes a PC, and `{}` is none", draft.distro.name)
                }
                _ => continue,
            };
            let kind = ProblemKind::BadValue {
                path: "publish.formats".to_owned(),
                cause: format!("{}: {cause}", format.form.name()),
                remedy: "take the format out, or build these images by a manifest of their own".to_owned(),
            };
            self.reading.problems.add(&format.span, kind);
        }
    }

    fn resolve_names(&self, image: &ImageDraft) {
        for spot in &image.distros {
            let found = self.distros.contains_key(spot.text.as_str());
            self.resolve("distro", spot, found, self.distros.keys());
        }
        for spot in &image.flavors {
            let found = self.flavors.contains_key(spot.text.as_str());
            self.resolve("flavor", spot, found, self.flavors.keys());
        }
    }

    fn resolve<'n>(
        &self,
        what: &'static str,
        spot: &Spot,
        found: bool,
        known: impl Iterator<Item = &'n &'n str>,
    ) {
        if found {
            return;
        }
        let list = if what == "distro" { "distros" } else { "flavors" };
        let name = spot.text.clone();
        let remedy = suggest::remedy(&name, list, known.copied());
        self.reading
            .problems
            .add(&spot.span, ProblemKind::Dangling { what, name, remedy });
    }

    fn check_sizes(&self, image: &ImageDraft) {
        for (size, spot) in &image.sizes {
            for draft in image.distros.iter().filter_map(|spot| self.distro(&spot.text)) {
                if *size < draft.distro.disk {
                    let kind = ProblemKind::TooSmall {
                        size: spot.text.clone(),
                        distro: draft.distro.name.clone(),
                        disk: draft.distro.disk.to_string(),
                    };
                    let first = (&draft.disk_span, "installed on this");
                    self.reading.problems.add_pair(first, &spot.span, kind);
                }
            }
        }
    }

    fn check_resources(&self, draft: &DistroDraft, resources: &Resources) {
        let never = |key: &str, span: &Span, wanted: String, limit, allowed: String| {
            let path = format!("distros.{}.{key}", draft.distro.name);
            self.reading.problems.add(
                span,
                ProblemKind::NeverFits {
                    path,
                    wanted,
                    limit,
                    allowed,
                },
            );
        };
        let distro = &draft.distro;
        if let Some(allowed) = resources.memory.filter(|allowed| distro.memory > *allowed) {
            let wanted = distro.memory.to_string();
            never(
                "memory",
                &draft.memory_span,
                wanted,
                "resources.memory",
                allowed.to_string(),
            );
        }
        if let Some(allowed) = resources.cpus.filter(|allowed| distro.cpus > *allowed) {
            let wanted = distro.cpus.to_string();
            never(
                "cpus",
                &draft.cpus_span,
                wanted,
                "resources.cpus",
                allowed.to_string(),
            );
        }
    }

    fn check_answers(&self, draft: &DistroDraft) {
        let Some(answers) = &draft.distro.answers else {
            return;
        };
        let context = context::answers_context(&draft.distro, &BuildFacts::sample(&draft.distro));
        for error in template::lint(&answers.name, &answers.text, &context) {
            let whose = format!(" (answers of `{}`)", draft.distro.name);
            self.report_in_file(&draft.answers_span, &whose, error);
        }
        let is_silent = |text: String| !text.contains(context::REPORT);
        if matches!(draft.distro.source, Source::Installer(_))
            && template::render(answers, &context).is_ok_and(is_silent)
        {
            let kind = ProblemKind::Unreported {
                answers: answers.name.clone(),
                distro: draft.distro.name.clone(),
            };
            self.reading.problems.add(&draft.answers_span, kind);
        }
    }

    /// Templates in a source.
    fn check_source(&self, draft: &DistroDraft) {
        let sample = |name: &str| format!("<{name}>");
        let facts = BootFacts {
            url: sample("url"),
            folder: sample("folder"),
            address: sample("address"),
            port: sample("port"),
            log_port: sample("log port"),
            mirror: sample("mirror"),
        };
        let context = context::boot_context(&draft.distro, &facts);
        for spot in &draft.source_templates {
            self.check_inline(spot, "", &context, &mut BTreeSet::new());
        }
        if let Source::Installer(source) = &draft.distro.source
            && let Some(file) = &source.installer.origin
        {
            for (key, text) in source.installer.templates() {
                let name = format!("{file}: {key}");
                for error in template::lint(&name, text, &context) {
                    let whose = format!(" (installer of `{}`)", draft.distro.name);
                    self.report_in_file(&draft.name_span, &whose, error);
                }
            }
        }
    }

    /// Environment templates, for every distro that an image brings them together with.
    fn check_env(&self) {
        let mut pairs = BTreeSet::new();
        for image in &self.draft.images {
            for distro in &image.distros {
                let flavors = image.flavors.iter().map(|flavor| flavor.text.as_str());
                pairs.extend(flavors.map(|flavor| (distro.text.as_str(), flavor)));
            }
        }
        let mut reported = BTreeSet::new();
        let mut reached = BTreeSet::new();
        for (distro, flavor) in pairs {
            let Some(distro) = self.distro(distro) else {
                continue;
            };
            reached.extend(self.chain(flavor).iter().map(|flavor| flavor.name.as_str()));
            let context = context::env_context(&distro.distro, flavor);
            for spot in self.chain(flavor).into_iter().flat_map(|flavor| &flavor.env) {
                let whose = format!(" (for distro `{}`)", distro.distro.name);
                self.check_inline(spot, &whose, &context, &mut reported);
            }
        }
        // What no image reaches (yet, or because of another mistake) may use what any distro defines.
        let mut context = self.draft.vars.clone();
        for draft in &self.draft.distros {
            context.extend(context::env_context(&draft.distro, "x"));
        }
        let unreached = self
            .draft
            .flavors
            .iter()
            .filter(|flavor| !reached.contains(flavor.name.as_str()));
        for spot in unreached.flat_map(|flavor| &flavor.env) {
            self.check_inline(spot, "", &context, &mut reported);
        }
    }

    /// Metadata of published images, for every distro that has images.
    fn check_metadata(&self) {
        let mut reported = BTreeSet::new();
        let named = self.draft.images.iter().flat_map(|image| &image.distros);
        let distros: BTreeSet<_> = named.map(|spot| spot.text.as_str()).collect();
        for draft in distros.iter().filter_map(|name| self.distro(name)) {
            let sample = Image {
                id: "x".to_owned(),
                distro: draft.distro.name.clone(),
                flavor: "x".to_owned(),
                size: ByteSize(GIB),
                size_label: "1G".to_owned(),
                file: "x".into(),
                formats: Vec::new(),
                checks: Vec::new(),
                computers: Vec::new(),
            };
            let context = context::publish_context(&draft.distro, &sample, &self.draft.publish);
            let whose = format!(" (for distro `{}`)", draft.distro.name);
            for spot in self.draft.targets.iter().flat_map(|target| &target.metadata) {
                self.check_inline(spot, &whose, &context, &mut reported);
            }
        }
    }

    /// Lints a template that stands in the manifest. True: nothing was wrong. A mistake that is in `reported` already
    /// is not said again.
    pub fn check_inline(
        &self,
        spot: &Spot,
        whose: &str,
        context: &Context,
        reported: &mut BTreeSet<(usize, Option<usize>)>,
    ) -> bool {
        let errors = template::lint(&spot.path, &spot.text, context);
        let fine = errors.is_empty();
        for error in errors {
            if reported.insert((spot.span.start, error.span.as_ref().map(|span| span.start))) {
                self.report_inline(spot, whose, error);
            }
        }
        fine
    }

    /// Reports a fault of a template that stands in the manifest.
    pub fn report_inline(&self, spot: &Spot, whose: &str, error: TemplateError) {
        if error.name != spot.path {
            return self.report_in_file(&spot.span, whose, error);
        }
        let inner = error
            .span
            .clone()
            .and_then(|span| self.reading.inner(&spot.span, &spot.text, span));
        let kind = kind(format!("`{}`{whose}", spot.path), None, *error.fault);
        self.reading
            .problems
            .add(inner.as_ref().unwrap_or(&spot.span), kind);
    }

    fn report_in_file(&self, named: &Span, whose: &str, error: TemplateError) {
        let kind = kind(
            format!("template `{}`{whose}", error.name),
            error.line,
            *error.fault,
        );
        let source = Arc::clone(&error.source);
        self.reading
            .problems
            .add_elsewhere(named, source, error.span, kind);
    }
}

/// Why a disk of this size cannot be in this format.
fn unfit(form: Form, size: ByteSize) -> Option<&'static str> {
    match form {
        Form::Vhd if size.0 > 2040 * GIB => Some("a vhd has at most 2040 GiB"),
        Form::Vhd if !size.0.is_multiple_of(MIB) => Some("a vhd is imported in whole MiB alone"),
        _ => None,
    }
}

fn kind(what: String, line: Option<usize>, fault: Fault) -> ProblemKind {
    match fault {
        Fault::Undefined { name, remedy } => ProblemKind::UndefinedVariable {
            what,
            line,
            name,
            remedy,
        },
        Fault::Other { cause, remedy } => ProblemKind::Template {
            what,
            line,
            cause,
            remedy,
        },
    }
}
