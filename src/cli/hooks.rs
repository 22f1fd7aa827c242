//! What hooks are given of a run that is over.

use std::path::Path;

use serde_json::{Value, json};

use super::exit::Exit;
use super::report_error::{fail, talk};
use crate::event::{ImageInfo, Outcome};
use crate::host::cancel::Cancel;
use crate::manifest::model::{After, Hook, Image, Manifest};
use crate::report::node::{Done, Node, State};
use crate::report::summary::RunSummary;
use crate::run::error::RunError;
use crate::run::hooks::call;

/// Format revision of what hooks are given; grows when a field changes its meaning or goes away.
const VERSION: u32 = 1;
/// Stage of the nodes that publish.
const UPLOAD: &str = "upload";

/// A run that is over.
pub(super) struct Over<'a> {
    pub manifest: &'a Manifest,
    /// Its id.
    pub run: &'a str,
    /// Folder of its logs.
    pub logs: &'a Path,
    /// What came of it, or why it was refused.
    pub ended: Result<&'a RunSummary, &'a RunError>,
}

/// Calls the hooks, in the manifest's order. One that fails is reported, and the others are called nevertheless.
pub(super) fn call_all(over: &Over<'_>, cancel: &Cancel) -> Result<(), Exit> {
    let mut ended = Ok(());
    let calls = over.calls();
    for (number, (hook, happened)) in calls.iter().enumerate() {
        if cancel.is_cancelled() {
            talk("the run was stopped: hooks are not called\n");
            return ended;
        }
        let log = over.logs.join(format!("hook-{}.log", number + 1));
        if let Err(error) = call(hook, &over.manifest.folder, happened, &log, cancel) {
            ended = Err(fail(Exit::Failed, miette::miette!("{error}")));
        }
    }
    ended
}

impl Over<'_> {
    /// Which hooks are called, and what each is given.
    fn calls(&self) -> Vec<(&Hook, Value)> {
        let has_failed = self
            .ended
            .map_or(true, |summary| summary.failed + summary.skipped > 0);
        let mut calls = Vec::new();
        for hook in &self.manifest.hooks {
            match hook.after {
                After::Image => {
                    let images = self.ended.iter().flat_map(|summary| summary.good_images());
                    for image in images.filter(|image| image.built) {
                        let mut happened = self.head(hook.after);
                        happened["image"] = self.image(image);
                        calls.push((hook, happened));
                    }
                }
                After::Run if !has_failed => calls.push((hook, self.whole(hook.after))),
                After::Failure if has_failed => calls.push((hook, self.whole(hook.after))),
                After::Run | After::Failure => {}
            }
        }
        calls
    }

    fn head(&self, after: After) -> Value {
        json!({
            "version": VERSION,
            "after": after,
            "pipeline": self.manifest.name,
            "manifest": absolute(&self.manifest.path),
            "run": self.run,
            "logs": absolute(self.logs),
        })
    }

    fn whole(&self, after: After) -> Value {
        let mut happened = self.head(after);
        let summary = match self.ended {
            Ok(summary) => summary,
            Err(error) => {
                happened["refused"] = error.to_string().into();
                return happened;
            }
        };
        happened["seconds"] = summary.seconds.into();
        for (name, count) in [
            ("built", summary.built),
            ("cached", summary.cached),
            ("failed", summary.failed),
            ("skipped", summary.skipped),
        ] {
            happened[name] = count.into();
        }
        happened["images"] = summary.good_images().map(|image| self.image(image)).collect();
        happened["failures"] = summary.nodes.iter().filter_map(failure).collect();
        happened
    }

    fn image(&self, image: &ImageInfo) -> Value {
        let mut value = json!(image);
        value["path"] = absolute(Path::new(&image.path));
        let mut images = self.manifest.images.iter();
        let files = images.find(|known| known.id == image.id).map(Image::files);
        let files = files.into_iter().flatten();
        value["files"] = files
            .map(|file| absolute(&self.manifest.output.join(file)))
            .collect();
        let own = format!("{}@", image.id);
        let nodes = self.ended.iter().flat_map(|summary| &summary.nodes);
        let uploads = nodes.filter(|node| node.info.stage == UPLOAD);
        let places = uploads.filter_map(|node| {
            let place = node.info.subject.strip_prefix(&own)?;
            Some((place.to_owned(), Value::from(node.published()?)))
        });
        value["places"] = Value::Object(places.collect());
        value
    }
}

fn failure(node: &Node) -> Option<Value> {
    let State::Done(done) = &node.state else {
        return None;
    };
    let Done {
        outcome: Outcome::Failed,
        failure: Some(failure),
        ..
    } = done
    else {
        return None;
    };
    let mut value = json!(failure);
    value["node"] = node.info.id.clone().into();
    Some(value)
}

fn absolute(path: &Path) -> Value {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.display().to_string().into()
}
