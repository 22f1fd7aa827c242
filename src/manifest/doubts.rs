//! Warnings: what a run could go on with, and is most likely not what is meant. Only looked for where nothing is wrong.

use std::sync::Arc;

use miette::NamedSource;

use super::context::{self, BuildFacts};
use super::error::{ProblemKind, Span};
use super::model::{Access, Distro, Source};
use super::read::{DistroDraft, ImageDraft};
use super::rules::Rules;
use super::{builtin, suggest, template};
use crate::families::Family;

/// Suites that are no release of their own, of any distribution with apt.
const ALIASES: [&str; 8] = [
    "devel",
    "experimental",
    "oldoldstable",
    "oldstable",
    "rolling",
    "sid",
    "stable",
    "testing",
];

/// A var that the command line gives.
#[derive(Clone, Debug)]
pub struct Given {
    pub name: String,
    /// Where it was typed, where that is known.
    pub span: Option<Span>,
}

impl Rules<'_> {
    /// Reports all doubts.
    pub fn warn_of_doubts(&self, given: &[Given]) {
        for draft in &self.draft.distros {
            self.doubt_template(draft);
            self.doubt_suite(draft);
        }
        for image in &self.draft.images {
            self.doubt_sizes(image);
        }
        for var in given {
            self.doubt_var(var);
        }
    }

    /// Answers that lose a part of themselves, or that lock the build out.
    fn doubt_template(&self, draft: &DistroDraft) {
        let Some(answers) = &draft.distro.answers else {
            return;
        };
        let source = Arc::new(NamedSource::new(&answers.name, Arc::from(answers.text.as_str())));
        let problems = self.reading.problems;
        for lost in template::lost(&answers.text) {
            let cause = format!("template `{}`: {}", answers.name, lost.cause);
            let kind = ProblemKind::Doubtful {
                cause,
                remedy: lost.remedy,
            };
            problems.add_elsewhere(
                &draft.answers_span,
                Arc::clone(&source) as _,
                Some(lost.span),
                kind,
            );
        }
        let enters_by_key = match &draft.distro.source {
            Source::Disk(source) => source.access == Access::CloudInit,
            Source::Bootstrap(_) | Source::Installer(_) => true,
        };
        let context = context::answers_context(&draft.distro, &BuildFacts::sample(&draft.distro));
        let locks_out = |text: String| !text.contains(context::KEY);
        if enters_by_key && template::render(answers, &context).is_ok_and(locks_out) {
            let doubt = doubt(
                format!(
                    "the answers `{}` of distro `{}` do not use `build_key`: the build could not log in after the \
                     installation",
                    answers.name, draft.distro.name
                ),
                "put {{ build_key }} into root's /root/.ssh/authorized_keys (docs/manifest.md), or extend a built-in \
                 template, which does so",
            );
            problems.add(&draft.answers_span, doubt);
        }
    }

    /// A suite of another release or family, or of none that is known.
    fn doubt_suite(&self, draft: &DistroDraft) {
        let distro = &draft.distro;
        let suite = match &distro.source {
            Source::Bootstrap(source) => source.suite.as_str(),
            Source::Installer(source) => source.suite.as_deref().unwrap_or_default(),
            Source::Disk(_) => return,
        };
        let known = &distro.family.releases;
        if suite.is_empty() || known.is_empty() || ALIASES.contains(&suite) {
            return;
        }
        let Some((cause, remedy)) = self.suite_fault(distro, suite) else {
            return;
        };
        // The suite itself, where it stands there as it is.
        let span = &draft.source_span;
        let inner = self
            .reading
            .text
            .get(span.clone())
            .and_then(|text| text.find(suite));
        let inner = inner.map(|at| span.start + at..span.start + at + suite.len());
        let problems = self.reading.problems;
        problems.add(inner.as_ref().unwrap_or(span), doubt(cause, &remedy));
    }

    fn suite_fault(&self, distro: &Distro, suite: &str) -> Option<(String, String)> {
        let (family, name) = (&distro.family.name, &distro.name);
        if let Some(version) = release(&distro.family, suite) {
            let own = &distro.version;
            if own == version || own.starts_with(&format!("{version}.")) {
                return None;
            }
            let cause = format!(
                "suite `{suite}` is {family} {version}, but the version of distro `{name}` is \"{own}\""
            );
            let remedy = match distro.family.releases.get(own) {
                Some(right) => format!("write suite = \"{right}\", or version = \"{version}\""),
                None => format!("write version = \"{version}\", or the suite of {own}"),
            };
            return Some((cause, remedy));
        }
        let others = self.reading.tables.families();
        for other in others {
            if let Some(version) = release(other, suite) {
                let cause = format!(
                    "suite `{suite}` is {} {version}, but the family of distro `{name}` is {family}",
                    other.name
                );
                return Some((
                    cause,
                    format!("write family = \"{}\", or a suite of {family}", other.name),
                ));
            }
        }
        let cause = format!("no release of {family} that is known here has the suite `{suite}`");
        let suites = distro.family.releases.values().map(String::as_str);
        let remedy = suggest::remedy(suite, &format!("suites of {family}"), suites);
        Some((cause, remedy))
    }

    /// Disks that are made twice, under two names.
    fn doubt_sizes(&self, image: &ImageDraft) {
        for (index, (size, spot)) in image.sizes.iter().enumerate() {
            let before = image.sizes.iter().take(index);
            let Some((_, first)) = before.into_iter().find(|(other, _)| other == size) else {
                continue;
            };
            let doubt = doubt(
                format!(
                    "`{}` and `{}` are the same size: equal disks are built twice",
                    first.text, spot.text
                ),
                "take one of them out",
            );
            let problems = self.reading.problems;
            problems.add_pair((&first.span, "the same size"), &spot.span, doubt);
        }
    }

    /// A var of the command line that no text mentions.
    fn doubt_var(&self, given: &Given) {
        let name = given.name.as_str();
        let answers = self
            .draft
            .distros
            .iter()
            .filter_map(|draft| draft.distro.answers.as_ref());
        let answers = answers.map(|answers| answers.text.as_str());
        let built_in = builtin::TEMPLATES.iter().map(|(_, text)| *text);
        let sources = self.reading.problems.sources();
        if sources
            .files()
            .chain(answers)
            .chain(built_in)
            .any(|text| mentions(text, name))
        {
            return;
        }
        let known = self
            .draft
            .distros
            .iter()
            .flat_map(|draft| draft.distro.vars.keys());
        let known = known.chain(self.draft.vars.keys()).map(String::as_str);
        let mut known: Vec<_> = known.filter(|other| *other != name).collect();
        known.sort_unstable();
        known.dedup();
        let doubt = doubt(
            format!("-D gives the var `{name}` a value, but nothing uses it"),
            &suggest::remedy(name, "vars", known),
        );
        match &given.span {
            Some(span) => self.reading.problems.add(span, doubt),
            None => self.reading.problems.add_somewhere(doubt),
        }
    }
}

fn doubt(cause: String, remedy: &str) -> ProblemKind {
    ProblemKind::Doubtful {
        cause,
        remedy: remedy.to_owned(),
    }
}

/// The version of a family's release that has this suite.
fn release<'f>(family: &'f Family, suite: &str) -> Option<&'f str> {
    let mut releases = family.releases.iter();
    let found = releases.find(|(_, known)| known.as_str() == suite);
    found.map(|(version, _)| version.as_str())
}

/// Whether a text has a word.
fn mentions(text: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, found)| !text[..at].ends_with(is_word) && !text[at + found.len()..].starts_with(is_word))
}
