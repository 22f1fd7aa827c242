//! Commands of the user's after a run, and its page: what they are given, and what their failures cost.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{LARGE, SMALL, bench, file, says, well};
use crate::support::Bench;

const HOOKS: &str = r#"
[report]
file = "reports/newest.html"

[[hooks]]
after   = "image"
command = "cat >>seen.jsonl; echo for the log"

[[hooks]]
after   = "run"
command = "cat >>runs.jsonl"

[[hooks]]
after   = "failure"
command = "cat >>failures.jsonl"
"#;

fn given(bench: &Bench, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(bench.path(name)).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn hooks_are_given_what_happened_and_cost_no_image() {
    let bench = bench(HOOKS, 100_000);
    well(&bench.run(&["run", "m.toml"]));
    let seen = given(&bench, "seen.jsonl");
    let ids: Vec<_> = seen
        .iter()
        .map(|given| given["image"]["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [SMALL, LARGE]);
    let image = &seen[0]["image"];
    let path = bench.path(&format!("out/{}", file(SMALL))).display().to_string();
    assert_eq!(
        (&image["path"], &image["files"][0]),
        (&path.clone().into(), &path.into())
    );
    assert_eq!(image["disk_bytes"], 3u64 << 30);
    assert!(image["digests"][0].as_str().unwrap().starts_with("sha512:"));
    let logs = seen[0]["logs"].as_str().unwrap();
    let log = std::fs::read_to_string(format!("{logs}/hook-1.log")).unwrap();
    assert_eq!(log, "for the log\n");
    let runs = given(&bench, "runs.jsonl");
    assert_eq!(
        (&runs[0]["after"], &runs[0]["pipeline"]),
        (&"run".into(), &"house".into())
    );
    assert_eq!(runs[0]["images"].as_array().unwrap().len(), 2);
    assert!(
        bench
            .read("reports/newest.html")
            .contains(runs[0]["run"].as_str().unwrap())
    );

    // Nothing was built: there is a run, and no image.
    well(&bench.run(&["run", "m.toml"]));
    assert_eq!(
        (
            given(&bench, "seen.jsonl").len(),
            given(&bench, "runs.jsonl").len()
        ),
        (2, 2)
    );
    assert!(!bench.path("failures.jsonl").exists());

    // A failed run, and one that is refused.
    let ran = bench.run(&["run", "m.toml", "-D", "publish.formats=[\"vdi\"]"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    std::fs::write(bench.path("blocked"), "").unwrap();
    let ran = bench.run(&["run", "m.toml", "-D", "pipeline.output=\"blocked\""]);
    assert_ne!(ran.code, 0, "{}", ran.all());
    let failures = given(&bench, "failures.jsonl");
    assert_eq!(failures[0]["failures"].as_array().unwrap().len(), 2);
    let first = &failures[0]["failures"][0];
    assert_eq!(first["node"], format!("convert/{SMALL}@vdi"));
    assert!(!first["cause"].as_str().unwrap().is_empty());
    assert!(failures[1]["refused"].as_str().unwrap().contains("blocked"));
    assert_eq!(failures.len(), 2);

    // Hooks that fail, or take too long, are reported; those behind them are called, and the image is there.
    std::fs::remove_dir_all(bench.path("out")).unwrap();
    let hooks = |first: &str| {
        format!(
            "hooks=[{{ after = \"image\", command = \"{first}\", timeout = \"1s\" }}, \
             {{ after = \"run\", command = \"cat >last.json\" }}]"
        )
    };
    let started = Instant::now();
    let ran = bench.run(&["run", "m.toml", SMALL, "-D", &hooks("echo no cloud >&2; exit 3")]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    says(
        &ran,
        &[
            "the hook after image failed: `sh` exited with code 3",
            "no cloud",
            "what was built stays as it is",
        ],
    );
    assert!(bench.path(&format!("out/{}", file(SMALL))).exists());
    assert_eq!(given(&bench, "last.json")[0]["images"][0]["id"], SMALL);
    let ran = bench.run(&["run", "m.toml", LARGE, "-D", &hooks("sleep 600")]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    says(&ran, &["`sh` did not end within 1.0s"]);
    assert!(bench.path(&format!("out/{}", file(LARGE))).exists());
    assert!(started.elapsed() < Duration::from_secs(300));
}
