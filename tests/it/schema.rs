//! An editor checks manifests by the schema: those that are shipped pass, wrong ones do not. Python's `jsonschema`, which
//! cloud-init brings along, is the judge.

use std::fs;
use std::path::Path;

use crate::support::{Bench, tool};

const JUDGE: &str = r#"
import json, pathlib, sys, tomllib
from jsonschema import Draft7Validator
schema = json.load(open("schema.json"))
Draft7Validator.check_schema(schema)
judge = Draft7Validator(schema)
for path in sorted(pathlib.Path(".").glob("*/*.toml")):
    faults = [e.message for e in judge.iter_errors(tomllib.loads(path.read_text()))]
    if path.parts[0] == "good" and faults: print(path, faults)
    if path.parts[0] == "bad" and not faults: print(path, "passes")
"#;

/// Changes to the fleet's manifest, each of which makes it wrong.
const MUTANTS: &[(&str, &str)] = &[
    ("family  = \"debian\"", "family  = \"de bian\""),
    ("family  = \"debian\"\n", ""),
    ("family  = \"debian\"", "famliy  = \"debian\""),
    ("version = \"11\"", "version = 11"),
    ("memory  = \"3G\"", "memory  = \"3 G\""),
    (
        "[distros.debian13.source.iso]\nurl    =",
        "[distros.debian13.source.iso]\nurls   =",
    ),
    (
        "[distros.debian13.source.iso]\n",
        "[distros.debian13.source.iso]\npath   = \"x\"\n",
    ),
    ("suite  = \"bullseye\"", "sha512 = \"00\""),
    ("7892981e1da216", "7892981e1da21"),
    ("timeout = \"2h\"", "timeout = \"2 hours\""),
    ("{ reboot = true }", "{ reboot = false }"),
    ("{ reboot = true }", "{ reboot = true, run = \"x\" }"),
    ("{ reboot = true }", "{ reboot = true, env = { A = \"1\" } }"),
    ("{ reboot = true }", "{ copy = \"x\" }"),
    ("{ reboot = true }", "{ }"),
    ("{ TIMEOUT = \"5\" }", "{ TIMEOUT = 5 }"),
    (
        "{ TIMEOUT = \"5\" }",
        "{ TIMEOUT = { env = \"A\", file = \"b\" } }",
    ),
    ("sizes  = [\"100G\"]", "sizes  = []"),
    ("compress  = \"gzip\"", "compress  = \"bzip2\""),
    ("checksums = [\"sha512\", \"md5\"]", "checksums = [\"sha1\"]"),
    ("[publish]\n", "[[checks]]\nport = 70000\n[publish]\n"),
    ("[publish]\n", "[[checks]]\nport = 22\nexit_code = 1\n[publish]\n"),
    ("[publish]\n", "[publish.mirror]\npath = \"/srv\"\n[publish]\n"),
    (
        "[publish]\n",
        "[publish.http]\nurl = \"ftp://a.example\"\n[publish]\n",
    ),
];

#[test]
fn the_schema_tells_good_manifests_from_bad_ones() {
    let bench = Bench::new();
    bench.write("schema.json", bench.run(&["schema"]).stdout);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["images", "quickstart"] {
        let text = fs::read_to_string(root.join(format!("pipelines/{name}.toml"))).unwrap();
        bench.write(&format!("good/{name}.toml"), text);
    }
    // The manual's examples are manifests, or tables of one that lack what others say.
    let manual = fs::read_to_string(root.join("docs/manifest.md")).unwrap();
    let whole = manual
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let whole: Vec<_> = whole
        .filter(|text| text.contains("[[images]]") && text.contains("[distros."))
        .collect();
    assert!(!whole.is_empty());
    for (number, text) in whole.into_iter().enumerate() {
        bench.write(&format!("good/manual-{number}.toml"), text);
    }
    let fleet = bench.read("good/images.toml");
    for (number, (from, to)) in MUTANTS.iter().enumerate() {
        assert!(fleet.contains(from), "the fleet has no {from}");
        let mutant = fleet.replacen(from, to, 1);
        bench.write(&format!("bad/{number:02}.toml"), mutant);
    }
    assert_eq!(
        tool("python3", &["-W", "ignore", "-c", JUDGE], &bench.path(".")),
        ""
    );
}

#[test]
fn the_manual_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/manifest.md");
    let manual = Bench::new().run(&["schema", "--format", "markdown"]).stdout;
    assert!(
        fs::read_to_string(path).unwrap() == manual,
        "docs/manifest.md is old: make docs"
    );
}
