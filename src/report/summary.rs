//! What is said when a run is over: which images there are and where, what it took, and last what failed and what to do next.

use std::path::Path;

use jiff::Timestamp;

use crate::event::{CheckOutcome, ImageInfo, Outcome, WantedImage};
use crate::host::process::shell_quote;
use crate::report::causes;
use crate::report::node::{Done, Node, State};
use crate::report::style::{Role, Style, columns, pad};
use crate::size::{ByteSize, show_seconds};

/// Nodes named in the line that tells where the time went.
const LONGEST: usize = 3;
/// More images are summed up in one line.
const LISTED: usize = 20;

/// What a summary is written for.
#[derive(Clone, Debug)]
pub struct Page {
    pub style: Style,
    /// Columns of the screen; absent where none limits it.
    pub width: Option<usize>,
    /// What commands need that are to find the store of this run: ` --store DIR`, or nothing.
    pub store: String,
}

/// Whether the run reported its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ended {
    /// Its last event came.
    Whole,
    /// The senders went away before that.
    #[default]
    Cut,
}

/// A run that is over.
#[derive(Clone, Debug, Default)]
pub struct RunSummary {
    /// Folder of its logs.
    pub folder: String,
    /// Its manifest.
    pub manifest: String,
    /// The images that were wanted.
    pub wanted: Vec<WantedImage>,
    /// When it began, where it said so.
    pub started: Option<Timestamp>,
    /// Whether it reported its end.
    pub ended: Ended,
    /// Wall time.
    pub seconds: f64,
    /// Nodes whose results were made (by this run, or by another one meanwhile).
    pub built: usize,
    /// Nodes taken from the store.
    pub cached: usize,
    /// Nodes whose results were in their places outside the store already.
    pub present: usize,
    /// Nodes failed.
    pub failed: usize,
    /// Nodes that never started, or were stopped.
    pub skipped: usize,
    /// All nodes and how they ended.
    pub nodes: Vec<Node>,
    /// The images that exist now, in manifest order.
    pub images: Vec<ImageInfo>,
    /// Warnings, in order.
    pub warnings: Vec<String>,
}

impl RunSummary {
    /// The closing text, several lines, each ended by a newline. What failed comes last: that is what stays on a screen.
    pub fn render(&self, page: &Page) -> String {
        let style = page.style;
        let mut lines = Vec::new();
        self.images_table(style, &mut lines);
        lines.push(self.totals(style));
        lines.extend(self.checks(style));
        lines.extend(self.time_went());
        let causes = causes::lines(&self.nodes, &self.wanted, &self.folder, page);
        if causes.is_empty() && !self.folder.is_empty() {
            lines.push(format!("logs: {}", self.folder));
        }
        if !causes.is_empty() {
            lines.push(String::new());
            lines.extend(causes);
        }
        lines.extend(self.next_step(&page.store));
        lines.join("\n") + "\n"
    }

    /// The images that are in the output folder as the manifest has them: not those that an earlier run left there and this one
    /// could not replace.
    pub fn good_images(&self) -> impl Iterator<Item = &ImageInfo> {
        let bad: Vec<_> = self
            .ended_badly()
            .map(|(node, _)| node.info.subject.as_str())
            .collect();
        self.images
            .iter()
            .filter(move |image| !bad.contains(&image.id.as_str()))
    }

    /// The same for a page: which images there are, and what failed.
    pub fn markdown(&self) -> String {
        let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
        let mut text = format!("### {}\n\n", self.totals(Style::PLAIN));
        let images: Vec<_> = self.good_images().collect();
        if !images.is_empty() {
            text += "| image | size | disk | | file |\n| --- | --- | --- | --- | --- |\n";
        }
        for image in images {
            text += &format!(
                "| {} | {} | {} | {} | `{}` |\n",
                cell(&image.id),
                ByteSize(image.bytes),
                ByteSize(image.disk_bytes),
                if image.built { "new" } else { "unchanged" },
                cell(&image.path),
            );
        }
        for (node, done) in self.ended_badly() {
            if done.outcome == Outcome::Failed {
                let message = done.message.as_deref().unwrap_or_default().replace("```", "~~~");
                text += &format!("\n**{}** failed:\n\n```\n{message}\n```\n", node.title());
            }
        }
        text + "\n"
    }

    fn ended_badly(&self) -> impl Iterator<Item = (&Node, &Done)> {
        self.nodes.iter().filter_map(|node| match &node.state {
            State::Done(done) => match done.outcome {
                Outcome::Failed | Outcome::Skipped | Outcome::Cancelled => Some((node, done)),
                Outcome::Built | Outcome::Shared | Outcome::Present => None,
            },
            _ => None,
        })
    }

    fn images_table(&self, style: Style, lines: &mut Vec<String>) {
        if self.images.is_empty() {
            return;
        }
        if self.images.len() > LISTED {
            let new = self.images.iter().filter(|image| image.built).count();
            let bytes = self.images.iter().map(|image| image.bytes).sum();
            let all = self.images.len();
            lines.push(format!(
                "{all} images, {}: {new} new, {} unchanged; `pipeline ls {}` lists them",
                ByteSize(bytes),
                all - new,
                shell_quote(&self.manifest)
            ));
            return;
        }
        let heads = ["image", "size", "disk", "", "file"].map(str::to_owned);
        let mut rows = vec![heads];
        for image in &self.images {
            rows.push([
                image.id.clone(),
                ByteSize(image.bytes).to_string(),
                ByteSize(image.disk_bytes).to_string(),
                if image.built { "new" } else { "unchanged" }.to_owned(),
                image.path.clone(),
            ]);
        }
        let width = |column: usize| rows.iter().map(|row| columns(&row[column])).max().unwrap_or(0);
        let widths: Vec<_> = (0..rows[0].len()).map(width).collect();
        for (index, row) in rows.iter().enumerate() {
            let cells: Vec<_> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| pad(cell, *width))
                .collect();
            let role = if index == 0 { Role::Dim } else { Role::Plain };
            lines.push(style.paint(role, cells.join("  ").trim_end()));
        }
        lines.push(String::new());
    }

    pub(super) fn totals(&self, style: Style) -> String {
        if self.ended == Ended::Cut {
            return style.paint(Role::Bad, "the run ended without a word; see its logs");
        }
        let took = show_seconds(self.seconds);
        if self.built + self.failed + self.skipped == 0 {
            let mut all = count(self.cached, "in the store");
            if self.present > 0 {
                all = format!("{all}, {} published", self.present);
            }
            let all = format!("nothing to do: {all} already ({took})");
            return style.paint(Role::Good, &all);
        }
        let mut parts = vec![count(self.built, "built")];
        parts.push(format!("{} from the store", self.cached));
        for (number, word) in [
            (self.present, "there already"),
            (self.failed, "failed"),
            (self.skipped, "not done"),
        ] {
            if number > 0 {
                parts.push(format!("{number} {word}"));
            }
        }
        let warnings = match self.warnings.len() {
            0 => String::new(),
            1 => ", 1 warning".to_owned(),
            more => format!(", {more} warnings"),
        };
        let role = if self.failed + self.skipped > 0 {
            Role::Bad
        } else {
            Role::Good
        };
        style.paint(role, &format!("{}{warnings}, in {took}", parts.join(", ")))
    }

    /// How many checks passed, in this run or in the one whose result was taken; and which images were not checked.
    pub(super) fn checks(&self, style: Style) -> Option<String> {
        let results = || self.nodes.iter().flat_map(|node| &node.checks);
        let number = |outcome| results().filter(|result| result.outcome == outcome).count();
        let (passed, failed) = (number(CheckOutcome::Passed), number(CheckOutcome::Failed));
        let mut parts = Vec::new();
        if results().next().is_some() {
            let noun = if passed == 1 { "check" } else { "checks" };
            parts.push(format!("{passed} {noun} passed"));
        }
        for (number, word) in [(failed, "failed"), (number(CheckOutcome::Skipped), "not run")] {
            if number > 0 {
                parts.push(format!("{number} {word}"));
            }
        }
        let unchecked: Vec<_> = self.images.iter().filter(|image| image.unchecked).collect();
        if !unchecked.is_empty() {
            let names: Vec<_> = unchecked.iter().map(|image| image.id.as_str()).collect();
            parts.push(format!("not checked: {}", names.join(", ")));
        }
        let role = match (failed, unchecked.is_empty()) {
            (0, true) => Role::Good,
            (0, false) => Role::Attention,
            _ => Role::Bad,
        };
        (!parts.is_empty()).then(|| style.paint(role, &parts.join(", ")))
    }

    fn time_went(&self) -> Option<String> {
        let mut built: Vec<_> = self
            .nodes
            .iter()
            .filter_map(|node| match &node.state {
                State::Done(done) if done.outcome == Outcome::Built => Some((node, done.seconds)),
                _ => None,
            })
            .collect();
        if built.len() < 2 {
            return None;
        }
        built.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let longest: Vec<_> = built
            .iter()
            .take(LONGEST)
            .map(|(node, seconds)| format!("{} {}", node.title(), show_seconds(*seconds)))
            .collect();
        Some(format!("longest: {}", longest.join(", ")))
    }

    fn next_step(&self, store: &str) -> Option<String> {
        if self.failed + self.skipped > 0 {
            let what = if self.failed > 0 {
                "fix the cause and run"
            } else {
                "run"
            };
            return Some(format!(
                "{what} the same command again: what is done comes from the store"
            ));
        }
        let image = self.images.iter().find(|image| image.built)?;
        let here = std::env::current_dir().unwrap_or_default();
        let manifest = Path::new(&self.manifest);
        let manifest = manifest.strip_prefix(here).unwrap_or(manifest).to_string_lossy();
        Some(format!(
            "next: pipeline boot {} {} --ssh{store}",
            shell_quote(&manifest),
            image.id
        ))
    }
}

fn count(number: usize, word: &str) -> String {
    let noun = if number == 1 { "node" } else { "nodes" };
    format!("{number} {noun} {word}")
}
