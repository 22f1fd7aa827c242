//! Which checks an image gets: the sets of its flavor and of itself, then what `[[checks]]` says of it. Knows names and
//! patterns, nothing of what a check does.

use std::collections::BTreeSet;

use super::error::{ProblemKind, Span};
use super::model::Image;
use super::read::{CheckDraft, Checks, Pattern};
use super::rules::Rules;
use super::suggest;
use crate::checks::{Check, CheckSet};

/// A check while an image's list is made, with its place where the user wrote it himself.
type Placed<'a> = (Check, Option<&'a Span>);

/// Gives each image its checks. `sets` are those that the `[[images]]` table of each image names. Reports patterns that
/// match nothing, and two own checks of one name on one image.
pub fn give_checks(rules: &Rules<'_>, images: &mut [Image], sets: &[&[CheckSet]]) {
    // With other mistakes there may be images missing.
    let is_whole = rules.reading.problems.is_fine();
    let mut reported = BTreeSet::new();
    for (image, own) in images.iter_mut().zip(sets) {
        image.checks = checks(rules, image, own, &mut reported);
    }
    for draft in &rules.draft.checks {
        if is_whole {
            dangling(
                rules,
                "image",
                &draft.images,
                images.iter().map(|i| i.id.as_str()),
            );
        }
        let flavors = rules.draft.flavors.iter().map(|f| f.name.as_str());
        dangling(rules, "flavor", &draft.flavors, flavors);
        let distros = rules.draft.distros.iter().map(|d| d.distro.name.as_str());
        dangling(rules, "distro", &draft.distros, distros);
    }
}

fn checks(rules: &Rules<'_>, image: &Image, own: &[CheckSet], reported: &mut BTreeSet<usize>) -> Vec<Check> {
    let tables: Vec<_> = rules.draft.checks.iter().filter(|d| is_for(d, image)).collect();
    let in_tables = tables.iter().filter_map(|draft| match &draft.what {
        Checks::Set(set) => Some(*set),
        Checks::One(_) => None,
    });
    let mut list: Vec<Placed<'_>> = Vec::new();
    let mut seen = BTreeSet::new();
    for set in rules
        .sets_of_flavor(&image.flavor)
        .into_iter()
        .chain(own.iter().copied())
        .chain(in_tables)
    {
        if seen.insert(set) {
            list.extend(set.checks().into_iter().map(|check| (check, None)));
        }
    }
    for draft in &tables {
        let Checks::One(check) = &draft.what else { continue };
        match list.iter_mut().find(|(other, _)| other.name == check.name) {
            None => list.push((check.clone(), Some(&draft.span))),
            Some((_, Some(first))) => {
                if reported.insert(draft.span.start) {
                    let (name, image) = (check.name.clone(), image.id.clone());
                    let kind = ProblemKind::DuplicateCheck { name, image };
                    let problems = rules.reading.problems;
                    problems.add_pair((first, "first here"), &draft.span, kind);
                }
            }
            // An own check takes the place of one of a set that has the same name.
            Some(place) => *place = (check.clone(), Some(&draft.span)),
        }
    }
    list.into_iter().map(|(check, _)| check).collect()
}

fn is_for(draft: &CheckDraft, image: &Image) -> bool {
    let fits = |patterns: &[Pattern], name: &str| {
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.glob.is_match(name))
    };
    fits(&draft.images, &image.id)
        && fits(&draft.flavors, &image.flavor)
        && fits(&draft.distros, &image.distro)
}

fn dangling<'a>(
    rules: &Rules<'_>,
    what: &'static str,
    patterns: &[Pattern],
    names: impl Iterator<Item = &'a str> + Clone,
) {
    for pattern in patterns {
        if names.clone().any(|name| pattern.glob.is_match(name)) {
            continue;
        }
        let name = pattern.spot.text.clone();
        let remedy = suggest::remedy(&name, &format!("{what}s"), names.clone());
        let kind = ProblemKind::Dangling { what, name, remedy };
        rules.reading.problems.add(&pattern.spot.span, kind);
    }
}
