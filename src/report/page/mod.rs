//! A run as a page for a browser: one HTML file that needs no script and no network. What failed comes first; then the images,
//! where the time went, what changed since the last run. Pure: the same run gives the same bytes.

mod compare;
mod failures;
mod groups;
mod images;
mod timeline;

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use self::compare::Comparison;
use self::failures::Failure;
use self::groups::Groups;
use self::images::ImageGroup;
use self::timeline::Timeline;
use crate::packages::PackageChange;
use crate::report::causes;
use crate::report::changes::{self, PackageGroup};
use crate::report::html::{self, PageError};
use crate::report::recorded::Recorded;
use crate::report::style::Style;
use crate::report::summary::Ended;
use crate::size::show_seconds;

/// What a page is made of.
pub struct Material<'a> {
    pub run: &'a Recorded,
    /// The run before it, of the same manifest.
    pub before: Option<&'a Recorded>,
    /// What changed in the packages of what it provisioned, by node, since the build before.
    pub packages: &'a BTreeMap<String, Vec<PackageChange>>,
    /// The last picture of the screen of a node's machine, as PNG.
    pub picture: &'a dyn Fn(&str) -> Option<Vec<u8>>,
}

#[derive(Serialize)]
struct Page<'a> {
    pipeline: &'a str,
    run: &'a str,
    manifest: &'a str,
    folder: &'a str,
    started: String,
    outcome: Mark,
    totals: String,
    checks: Option<String>,
    refused: Option<&'a str>,
    failures: Vec<Failure<'a>>,
    images: Vec<ImageGroup<'a>>,
    image_count: usize,
    timeline: Timeline<'a>,
    before: Option<Comparison<'a>>,
    packages: Vec<PackageGroup<'a>>,
    warnings: &'a [String],
}

/// How something ended: a word, and the class that gives it a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Mark {
    word: &'static str,
    class: &'static str,
}

impl Mark {
    const fn good(word: &'static str) -> Self {
        Self { word, class: "good" }
    }

    const fn bad(word: &'static str) -> Self {
        Self { word, class: "bad" }
    }

    const fn idle(word: &'static str) -> Self {
        Self { word, class: "idle" }
    }
}

/// Makes the page.
///
/// # Errors
/// A bug in the template.
pub fn render(material: &Material<'_>) -> Result<String, PageError> {
    let run = material.run;
    let summary = &run.summary;
    let groups = Groups::of(summary);
    let causes = causes::fold(&summary.nodes, &summary.wanted);
    let page = Page {
        pipeline: &run.pipeline,
        run: &run.run,
        manifest: &run.manifest,
        folder: &summary.folder,
        started: run.started.map_or_else(String::new, moment),
        outcome: outcome(run),
        totals: totals(run),
        checks: summary.checks(Style::PLAIN),
        refused: run.refused.as_deref(),
        failures: failures::of(run, &causes, material.picture),
        images: images::of(summary, &groups, &causes),
        image_count: summary.wanted.len(),
        timeline: timeline::of(run, &groups),
        before: material.before.map(|before| compare::of(run, before)),
        packages: changes::of(material.packages),
        warnings: &summary.warnings,
    };
    html::render("report.html", page)
}

fn outcome(run: &Recorded) -> Mark {
    let summary = &run.summary;
    match summary.ended {
        _ if run.refused.is_some() => Mark::bad("refused"),
        Ended::Cut => Mark::bad("unfinished"),
        Ended::Whole if run.interrupted => Mark::idle("interrupted"),
        Ended::Whole if summary.failed + summary.skipped > 0 => Mark::bad("failed"),
        Ended::Whole => Mark::good("done"),
    }
}

fn totals(run: &Recorded) -> String {
    match run.summary.ended {
        Ended::Whole => run.summary.totals(Style::PLAIN),
        Ended::Cut if run.refused.is_some() => "nothing was started".to_owned(),
        Ended::Cut => format!(
            "no end of the run was recorded; its last event came after {}",
            took(run.millis)
        ),
    }
}

fn moment(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%d %H:%M:%S UTC")
        .to_string()
}

/// A time for people.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn took(millis: u64) -> String {
    show_seconds(millis as f64 / 1000.0)
}
