//! A user writes manifests in Nickel, and reads what the program says about them. The reports are in `snapshots/`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::Bench;

const GOOD: &str = r#"let p = import "pipeline.ncl" in
{
  vars = { keymap = "fr" },
  resources = { cpus = 4 },
  distros = p.family "debian" (fun version => "debian%{version}") {
    "12" = p.bootstrap "bookworm" & { disk = "2G" },
  },
  flavors.plain = {
    steps = [{ run = "guest/update.sh", timeout = "10m" }, p.agent],
  },
  images = [{ distro = "debian12", flavor = "plain", sizes = ["3G"] }],
  publish = { compress = "gzip" },
} | p.Manifest
"#;

/// Changes the good manifest, and gives what `validate` says.
fn report(changes: &[(&str, &str)]) -> String {
    let bench = Bench::new();
    let mut text = GOOD.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "the good manifest has no {from}");
        text = text.replacen(from, to, 1);
    }
    bench.write("images.ncl", text);
    bench.run(&["validate", "images.ncl"]).all()
}

/// One story each: a change to the good manifest, and the report in `snapshots/it__nickel__<name>.snap`.
macro_rules! stories {
    ($($name:ident: $([$from:expr => $to:expr]),+;)+) => {$(
        #[test]
        fn $name() {
            let report = report(&[$(($from, $to)),+]);
            assert!(report.starts_with("code: 2\n"), "{report}");
            insta::assert_snapshot!(stringify!($name), report);
        }
    )+};
}

stories! {
    a_size_that_is_none: ["\"2G\"" => "\"2 gigs\""];
    a_number_for_a_text: ["\"3G\"" => "3"];
    a_text_for_a_number: ["cpus = 4" => "cpus = \"4\""];
    a_number_out_of_range: ["cpus = 4" => "cpus = 0"];
    a_word_that_is_no_choice: ["\"gzip\"" => "\"gz\""];
    a_field_that_is_missing: ["flavor = \"plain\", " => ""];
    a_field_that_nobody_knows: ["disk =" => "dsik ="];
    a_step_of_two_kinds: ["timeout = \"10m\"" => "reboot = true"];
    a_step_of_no_kind: ["run = \"guest/update.sh\", " => ""];
    a_url_that_is_none: ["p.bootstrap \"bookworm\"" => "{ source.bootstrap = { suite = \"bookworm\", mirror = \"mirror.example\" } }"];
    a_digest_cut_short: ["p.bootstrap \"bookworm\"" => "p.iso { url = \"https://a.example/x.iso\", sha256 = \"0123abcd\" }"];
    a_step_that_does_nothing: ["p.agent" => "{ reboot = false }"];
    a_record_among_the_vars: ["keymap = \"fr\"" => "keymap = { console = \"fr\" }"];
    an_empty_list_of_sizes: ["[\"3G\"]" => "[]"];
    a_function_that_lacks_an_argument: ["p.bootstrap \"bookworm\" &" => "{ source = p.bootstrap } &"];
    a_name_that_is_not_bound: ["p.agent" => "agent"];
    a_type_error: ["cpus = 4" => "cpus = (4 + \"1\" : Number)"];
    two_values_for_one_field: ["{ disk = \"2G\" }" => "{ disk = \"2G\" } & { disk = \"3G\" }"];
    an_import_that_is_not_there: ["{ cpus = 4 }" => "import \"resources.toml\""];
    a_field_made_of_itself: ["cpus = 4" => "cpus = cpus + 1"];
    a_bracket_too_few: ["\"3G\"] }]" => "\"3G\"] ]"];
    a_null: ["keymap = \"fr\"" => "keymap = null"];
    a_place_to_publish_to_that_lacks_its_path: ["compress = \"gzip\"" => "mirror = { to = 'directory }"];
    a_field_that_such_a_place_does_not_know: ["compress = \"gzip\"" => "s3 = { endpoint = \"https://s3.example\", buckets = \"images\" }"];
    // What the checker finds afterwards, at its place.
    a_distro_that_is_not_there: ["distro = \"debian12\"" => "distro = \"debain12\""];
    a_script_that_is_not_there: ["guest/update.sh" => "update.sh"];
    a_mistake_in_what_a_function_made: ["p.bootstrap \"bookworm\"" => "p.iso { path = \"x.iso\" }"];
    not_even_a_contract: ["| p.Manifest" => ""], ["keymap = \"fr\"" => "suite = \"fr\""], ["timeout = \"10m\"" => "timout = \"10m\""];
}

#[test]
fn the_fleet_plans_to_the_same_keys_in_both_languages() {
    let bench = Bench::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let plan = |name: &str| {
        let manifest = folder.join(name).display().to_string();
        let ran = bench.run(&["plan", &manifest, "--format", "json"]);
        assert_eq!(ran.code, 0, "{}", ran.all());
        ran.stdout
    };
    let (toml, nickel) = (plan("images.toml"), plan("images.ncl"));
    assert!(toml.matches("\"key\"").count() > 60, "{toml}");
    assert_eq!(toml, nickel);
    let lines = |name: &str| {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let says = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        text.lines().filter(says).count()
    };
    assert!(lines("images.ncl") * 4 < lines("images.toml") * 3);
}

/// What the library makes in three lines is what the same manifest says without it.
#[test]
fn a_matrix_of_distros_with_something_in_common_says_all_of_them() {
    let bench = Bench::new();
    bench.write(
        "images.ncl",
        r#"let p = import "pipeline.ncl" in
let debians = p.family "debian" (fun version => "debian%{version}") {
  "12" = p.bootstrap "bookworm",
  "13" = p.bootstrap "trixie" & { memory = "2G" },
} in
p.matrix {
  distros = p.with { memory = "3G", disk = "2G" } debians,
  flavors = { plain.steps = [], agent.steps = [p.agent] },
  sizes = ["3G", "20G"],
} & { publish.mirror = { to = "directory", path = "/srv/images" } } | p.Manifest
"#,
    );
    bench.write(
        "images.toml",
        r#"
images = [{ distro = ["debian12", "debian13"], flavor = ["agent", "plain"], sizes = ["3G", "20G"] }]
[distros.debian12]
family = "debian"
version = "12"
memory = "3G"
disk = "2G"
source.bootstrap.suite = "bookworm"
[distros.debian13]
family = "debian"
version = "13"
memory = "2G"
disk = "2G"
source.bootstrap.suite = "trixie"
[flavors]
plain.steps = []
agent.steps = [{ install = "vm-bootstrap" }]
[publish.mirror]
to = "directory"
path = "/srv/images"
"#,
    );
    let exported = |name: &str| {
        let ran = bench.run(&["export", name, "--format", "json"]);
        assert_eq!(ran.code, 0, "{}", ran.all());
        serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap()
    };
    assert_eq!(exported("images.ncl"), exported("images.toml"));
    let listed = bench.run(&["validate", "--list", "images.ncl"]);
    assert_eq!(listed.stdout.lines().count(), 8, "{}", listed.all());
}

#[test]
fn imported_files_count_and_relative_names_are_those_of_the_manifest() {
    let bench = Bench::new();
    bench.write(
        "images.ncl",
        GOOD.replace("[\"3G\"]", "(import \"sub/sizes.json\")")
            .replace("{ keymap = \"fr\" }", "import \"vars.toml\""),
    );
    bench.write("sub/sizes.json", "[\"3G\"]");
    bench.write("vars.toml", "keymap = \"fr\"\n");
    let list = || bench.run(&["validate", "--list", "images.ncl"]).stdout;
    assert_eq!(list(), "debian12-3G-plain\n");
    assert!(
        bench
            .run(&["validate", "images.ncl"])
            .stdout
            .contains("2 imported files")
    );
    bench.write("sub/sizes.json", "[\"3G\", \"20G\"]");
    assert_eq!(list(), "debian12-3G-plain\ndebian12-20G-plain\n");
    // A mistake in an imported file is shown in that file.
    bench.write("vars.toml", "suite = \"fr\"\n");
    let said = bench.run(&["validate", "images.ncl"]);
    assert!(
        said.code == 2 && said.stderr.contains("`vars.suite`"),
        "{}",
        said.all()
    );
}

#[test]
fn an_evaluation_that_does_not_end_is_ended() {
    let bench = Bench::new();
    let stories = [
        (
            "let rec f = fun n => f n in { vars.x = f 1 }",
            "was stopped after",
        ),
        (
            "let rec f = fun n => [n] @ f (n + 1) in { vars.x = f 1 }",
            "was stopped",
        ),
    ];
    let deep = format!("{{ vars.x = {}1{} }}", "(".repeat(400_000), ")".repeat(400_000));
    let cases = stories.into_iter().map(|(text, says)| (text.to_owned(), says));
    for (text, says) in cases.chain([(deep, "")]) {
        bench.write("images.ncl", &text);
        let mut command = bench.command(&["validate", "images.ncl"]);
        command.env("PIPELINE_NICKEL_SECONDS", "1");
        let began = Instant::now();
        let ran = bench.finish(command);
        assert_eq!(ran.code, 2, "{}", ran.all());
        assert!(
            ran.stderr.contains(says) && ran.stderr.contains("help: "),
            "{}",
            ran.all()
        );
        assert!(began.elapsed() < Duration::from_secs(60));
    }
}

#[test]
fn the_command_line_overrides_both_languages_alike() {
    let bench = Bench::new();
    bench.write(
        "images.ncl",
        GOOD.replace("sizes = [\"3G\"]", "sizes = [vars.smallest]")
            .replace("keymap = \"fr\"", "smallest = \"3G\""),
    );
    bench.write("images.toml", bench.run(&["export", "images.ncl"]).stdout);
    let exported = |manifest: &str, define: &[&str]| {
        let mut args = vec!["export", manifest, "--format", "json"];
        args.extend(define.iter().flat_map(|value| ["-D", value]));
        let ran = bench.run(&args);
        assert_eq!(ran.code, 0, "{}", ran.all());
        serde_json::from_str::<BTreeMap<String, serde_json::Value>>(&ran.stdout).unwrap()
    };
    let given = [
        "publish.compress=zstd",
        "resources.cpus=2",
        "publish.checksums=[\"sha256\"]",
    ];
    let (nickel, toml) = (exported("images.ncl", &given), exported("images.toml", &given));
    assert_eq!(nickel, toml);
    assert_eq!(nickel["resources"]["cpus"], 2);
    // Nickel computes what depends on it again.
    let sizes = &exported("images.ncl", &["vars.smallest=5G"])["images"][0]["sizes"];
    assert_eq!(sizes.to_string(), "[\"5G\"]");
    for (name, manifest, value) in [
        ("an_override_in_nickel", "images.ncl", "publish.level=high"),
        ("an_override_in_toml", "images.toml", "publish.level=high"),
        ("an_override_of_a_list", "images.toml", "images.0.sizes=[\"5G\"]"),
    ] {
        insta::assert_snapshot!(name, bench.run(&["validate", manifest, "-D", value]).all());
    }
}

#[test]
fn what_is_exported_says_the_same() {
    let bench = Bench::new();
    bench.write("images.ncl", GOOD);
    let plan = |name: &str| bench.run(&["plan", name, "--format", "json"]).stdout;
    let wanted = plan("images.ncl");
    assert!(wanted.contains("\"key\""));
    for (format, name) in [("toml", "images.toml"), ("nickel", "again/images.ncl")] {
        let exported = bench.run(&["export", "images.ncl", "--format", format]);
        bench.write(name, exported.stdout);
        assert_eq!(plan(name), wanted, "{format}: {}", bench.read(name));
    }
}
