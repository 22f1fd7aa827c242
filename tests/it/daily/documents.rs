//! The command line and the events as documents: what is committed is what the program says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pipeline::internals::event::{
    CheckOutcome, CheckResult, Event, FailureInfo, ImageInfo, NodeInfo, Outcome, Stream, Unit, Verdict,
    WantedImage, What,
};
use pipeline::internals::platform::Start;
use pipeline::internals::took::By;
use serde_json::Value;

use crate::support::{Bench, tool};

fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
#[cfg(feature = "import-packer")]
fn the_reference_of_the_command_line_is_current() {
    let ran = Bench::new().run(&["reference"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(
        ran.stdout == document("docs/cli.md"),
        "docs/cli.md is not what the program says of itself; make it again with: make docs"
    );
}

#[test]
fn shells_complete_and_every_verb_has_a_man_page() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish"] {
        let ran = bench.run(&["completions", shell]);
        assert!(
            ran.code == 0 && ran.stdout.contains("COMPLETE"),
            "{shell}: {}",
            ran.all()
        );
        bench.write(shell, ran.stdout);
    }
    tool("bash", &["-n", "bash"], &bench.path(""));
    let ran = bench.run(&["man", "man"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    for page in ["pipeline.1", "pipeline-run.1", "pipeline-store-ls.1"] {
        assert!(bench.read(&format!("man/{page}")).contains(".TH"), "{page}");
    }
    let hidden = tool("ls", &["man"], &bench.path(""));
    assert!(!hidden.contains("door-relay"), "{hidden}");
}

/// One of each kind with every field set. A new kind does not compile before it is in here.
fn every_kind() -> Vec<What> {
    let text = String::new;
    let node = NodeInfo {
        id: text(),
        stage: text(),
        subject: text(),
        cached: false,
        expected_seconds: Some(1.0),
        expected_by: Some(By::Alike),
        alike: "debian12/base".to_owned(),
        needs: vec![text()],
        reason: "never built".to_owned(),
    };
    let image = ImageInfo {
        id: text(),
        path: text(),
        bytes: 1,
        disk_bytes: 1,
        built: true,
        unchecked: true,
        firmware: vec![Start::Bios],
        digests: vec!["md5:d41d8cd98f00b204e9800998ecf8427e".parse().unwrap()],
    };
    let result = CheckResult {
        check: text(),
        outcome: CheckOutcome::Passed,
        seconds: 1.0,
        expected: text(),
        seen: text(),
    };
    let all = vec![
        What::RunStarted {
            version: 1,
            run: text(),
            folder: text(),
            pipeline: "p".to_owned(),
            manifest: "m".to_owned(),
            nodes: vec![node],
            images: vec![WantedImage {
                id: text(),
                nodes: vec![text()],
            }],
        },
        What::NodeWaiting { reason: text() },
        What::NodeStarted,
        What::Phase { phase: text() },
        What::Progress {
            done: 1,
            total: 1,
            unit: Unit::Bytes,
        },
        What::Line {
            stream: Stream::Console,
            text: text(),
        },
        What::Check { result, cached: true },
        What::Warning { text: text() },
        What::Layer {
            key: text(),
            steps: 2,
            file: "layer-1.qcow2".into(),
        },
        What::MachineHeld {
            machine: text(),
            error: text(),
        },
        What::NodeFinished {
            outcome: Outcome::Built,
            seconds: 1.0,
            bytes: Some(1),
            message: Some(text()),
            failure: Some(FailureInfo {
                verdict: Verdict::KernelPanic,
                cause: text(),
                log: text(),
                kept: true,
            }),
        },
        What::RunRefused {
            pipeline: text(),
            manifest: text(),
            error: text(),
            interrupted: true,
        },
        What::RunFinished {
            built: 1,
            present: 1,
            cached: 1,
            failed: 1,
            skipped: 1,
            interrupted: true,
            seconds: 1.0,
            images: vec![image],
        },
    ];
    for what in &all {
        match what {
            What::RunStarted { .. }
            | What::NodeWaiting { .. }
            | What::NodeStarted
            | What::Phase { .. }
            | What::Progress { .. }
            | What::Line { .. }
            | What::Check { .. }
            | What::Warning { .. }
            | What::Layer { .. }
            | What::MachineHeld { .. }
            | What::NodeFinished { .. }
            | What::RunRefused { .. }
            | What::RunFinished { .. } => {}
        }
    }
    all
}

/// Fields by heading: ``### `phase` `` and the first cells of the table below it.
fn documented(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut kind = None;
    let quoted = |text: &str| text.split('`').nth(1).map(str::to_owned);
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            kind = quoted(heading);
            found.extend(kind.clone().map(|kind| (kind, BTreeSet::new())));
        } else if let (Some(kind), Some(row)) = (&kind, line.strip_prefix("| `")) {
            let name = row.split('`').next().unwrap().to_owned();
            found.get_mut(kind).unwrap().insert(name);
        }
    }
    found
}

#[test]
fn every_event_and_every_field_is_documented_and_nothing_else_is() {
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for what in every_kind() {
        let event = Event {
            at: jiff::Timestamp::UNIX_EPOCH,
            node: Some("size/x".to_owned()),
            host: None,
            what,
        };
        let value: Value = serde_json::to_value(&event).unwrap();
        let mut fields = BTreeSet::new();
        for (name, value) in value.as_object().unwrap() {
            if !["at", "event", "node"].contains(&name.as_str()) {
                fields.insert(name.clone());
            }
            for (inner, _) in value.get(0).and_then(Value::as_object).into_iter().flatten() {
                fields.insert(format!("{name}[].{inner}"));
            }
        }
        wanted.insert(value["event"].as_str().unwrap().to_owned(), fields);
        let again: Event = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(
            serde_json::to_value(again).unwrap(),
            value,
            "it is read as it was written"
        );
    }
    assert_eq!(documented(&document("docs/events.md")), wanted, "docs/events.md");
}
