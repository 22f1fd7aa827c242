//! The images of a run: what came of each, its file, its checks, its digests.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Mark;
use super::groups::{Groups, sorted};
use crate::digest::Digest;
use crate::event::{CheckOutcome, CheckResult, ImageInfo, Outcome, WantedImage};
use crate::report::causes::Cause;
use crate::report::node::{Node, State};
use crate::report::summary::RunSummary;
use crate::size::ByteSize;

/// Groups are open where there are no more images than this.
const OPEN: usize = 24;
/// Stage of the nodes that publish.
const UPLOAD: &str = "upload";

#[derive(Serialize)]
pub(super) struct ImageGroup<'a> {
    name: &'a str,
    /// `4 images: 2 new, 2 failed`.
    summary: String,
    is_open: bool,
    is_bad: bool,
    images: Vec<Image<'a>>,
}

#[derive(Serialize)]
struct Image<'a> {
    id: &'a str,
    flavor: &'a str,
    mark: Mark,
    /// Its failure, by the number of that.
    failure: Option<usize>,
    size: String,
    disk: String,
    firmware: Vec<&'static str>,
    path: &'a str,
    digests: &'a [Digest],
    /// `5 passed, 1 failed`.
    checked: String,
    checks: Vec<&'a CheckResult>,
    /// Where it is published.
    places: Vec<&'a str>,
}

pub(super) fn of<'a>(
    summary: &'a RunSummary,
    groups: &Groups<'a>,
    causes: &[Cause<'a>],
) -> Vec<ImageGroup<'a>> {
    let nodes: BTreeMap<&str, &Node> = summary
        .nodes
        .iter()
        .map(|node| (node.info.id.as_str(), node))
        .collect();
    let files: BTreeMap<&str, &ImageInfo> = summary
        .images
        .iter()
        .map(|image| (image.id.as_str(), image))
        .collect();
    let all = summary.wanted.iter().enumerate().map(|(place, wanted)| {
        let (distro, flavor) = groups.image(place);
        let of_image = wanted
            .nodes
            .iter()
            .filter_map(|id| nodes.get(id.as_str()).copied());
        let of_image: Vec<&Node> = of_image.collect();
        let failure = causes.iter().position(|cause| cause.images.contains(&place));
        let file = files.get(wanted.id.as_str()).copied();
        (distro, image(wanted, flavor, &of_image, failure, file))
    });
    let is_open = summary.wanted.len() <= OPEN;
    let group = |(name, images): (&'a str, Vec<Image<'a>>)| {
        let is_bad = images.iter().any(|image| image.mark.class == "bad");
        ImageGroup {
            name,
            summary: summed(&images),
            is_open: is_open || is_bad,
            is_bad,
            images,
        }
    };
    sorted(all).into_iter().map(group).collect()
}

fn image<'a>(
    wanted: &'a WantedImage,
    flavor: &'a str,
    nodes: &[&'a Node],
    failure: Option<usize>,
    file: Option<&'a ImageInfo>,
) -> Image<'a> {
    let is_left = |node: &&Node| match &node.state {
        State::Done(done) => matches!(done.outcome, Outcome::Skipped | Outcome::Cancelled),
        State::Cached => false,
        State::Pending | State::Waiting { .. } | State::Running(_) => true,
    };
    let mark = match (failure, file) {
        (Some(_), _) => Mark::bad("failed"),
        (None, _) if nodes.iter().any(is_left) => Mark::idle("not done"),
        (None, Some(file)) if file.unchecked => Mark::idle("not checked"),
        (None, Some(file)) if file.built => Mark::good("new"),
        (None, Some(_)) => Mark::idle("unchanged"),
        (None, None) => Mark::idle("no file"),
    };
    // A file that an earlier run left is not what this one was to make.
    let file = file.filter(|_| failure.is_none());
    let checks: Vec<&CheckResult> = nodes.iter().flat_map(|node| &node.checks).collect();
    let places = nodes.iter().filter(|node| node.info.stage == UPLOAD);
    Image {
        id: &wanted.id,
        flavor,
        mark,
        failure: failure.map(|place| place + 1),
        size: file.map_or_else(String::new, |file| ByteSize(file.bytes).to_string()),
        disk: file.map_or_else(String::new, |file| ByteSize(file.disk_bytes).to_string()),
        firmware: file.map_or_else(Vec::new, |file| {
            file.firmware.iter().map(|start| start.name()).collect()
        }),
        path: file.map_or("", |file| file.path.as_str()),
        digests: file.map_or(&[], |file| file.digests.as_slice()),
        checked: checked(&checks),
        checks,
        places: places.filter_map(|node| node.published()).collect(),
    }
}

fn checked(checks: &[&CheckResult]) -> String {
    let number = |outcome| checks.iter().filter(|check| check.outcome == outcome).count();
    let parts = [
        (CheckOutcome::Failed, "failed"),
        (CheckOutcome::Skipped, "not run"),
        (CheckOutcome::Passed, "passed"),
    ];
    let parts = parts.map(|(outcome, word)| (number(outcome), word));
    let parts: Vec<_> = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"))
        .collect();
    parts.join(", ")
}

fn summed(images: &[Image<'_>]) -> String {
    let words: BTreeSet<&str> = images.iter().map(|image| image.mark.word).collect();
    let number = |word: &str| images.iter().filter(|image| image.mark.word == word).count();
    let parts: Vec<_> = words
        .into_iter()
        .map(|word| format!("{} {word}", number(word)))
        .collect();
    let noun = if images.len() == 1 { "image" } else { "images" };
    format!("{} {noun}: {}", images.len(), parts.join(", "))
}
