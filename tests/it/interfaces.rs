//! What programs read: mistakes as JSON and as annotations, exit codes, colours, what CI systems fold and show, completions
//! of a real shell.

use std::fs;

use serde_json::Value;

use crate::machine::tiny::{Then, disk};
use crate::support::{Bench, Ran, tool};

const MANIFEST: &str = "[distros.tiny]\nfamily = \"debian\"\nversion = \"12\"\nmemory = \"64M\"\n\
    source = { disk = { path = \"tiny.raw\", user = \"root\" } }\n\
    [flavors.base]\nsteps = [{ inline = \"true\" }]\n\
    [[images]]\ndistro = \"tiny\"\nflavor = \"base\"\nsizes = [\"3G\"]\n";

/// A manifest whose one guest does not come up.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.write(
        "tiny.raw",
        disk("Kernel panic - not syncing: VFS: no root\r\n", Then::Halt),
    );
    bench.write("m.toml", MANIFEST);
    bench
}

fn with(bench: &Bench, variables: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command = bench.command(args);
    command.env_remove("NO_COLOR").envs(variables.iter().copied());
    bench.finish(command)
}

#[test]
fn mistakes_are_data_annotations_and_exit_codes() {
    let bench = bench();
    let json = |args: &[&str]| {
        let ran = bench.run(&[&["validate", "m.toml", "--format", "json"], args].concat());
        (ran.code, serde_json::from_str::<Value>(&ran.stdout).unwrap())
    };
    let (code, all) = json(&[]);
    assert_eq!(
        (code, &all["images"], &all["problems"]),
        (0, &1.into(), &Value::Array(Vec::new()))
    );

    bench.write("m.toml", format!("{MANIFEST}[flavors.spare]\nsteps = []\n"));
    assert_eq!(json(&[]).0, 0);
    let (code, all) = json(&["--strict"]);
    let warning = &all["problems"][0];
    assert_eq!(
        (code, &warning["severity"], &warning["line"]),
        (2, &"warning".into(), &12.into()),
        "{all}"
    );

    bench.write("m.toml", MANIFEST.replace("\"3G\"", "\"3 GB, é\""));
    let (code, all) = json(&[]);
    let problem = &all["problems"][0];
    assert_eq!(code, 2, "{all}");
    assert_eq!(
        (
            &problem["file"],
            &problem["line"],
            &problem["column"],
            &problem["end_column"]
        ),
        (&"m.toml".into(), &11.into(), &10.into(), &19.into()),
        "{all}"
    );
    assert!(
        problem["help"].is_string() && problem["code"].is_string(),
        "{all}"
    );

    let ran = bench.run(&["validate", "m.toml", "--format", "sarif"]);
    let log: Value = serde_json::from_str(&ran.stdout).unwrap();
    let result = &log["runs"][0]["results"][0];
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(
        (ran.code, &log["version"], &result["level"], &result["ruleId"]),
        (2, &"2.1.0".into(), &"error".into(), &problem["code"]),
        "{log}"
    );
    assert_eq!(place["artifactLocation"]["uri"], "m.toml", "{log}");
    let region = serde_json::json!({ "startLine": 11, "startColumn": 10, "endLine": 11, "endColumn": 19 });
    assert_eq!(place["region"], region, "{log}");

    let ran = with(&bench, &[("GITHUB_ACTIONS", "true")], &["run", "m.toml"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(
        ran.stderr
            .contains("\n::error file=m.toml,line=11,endLine=11,col=10,title=manifest%3A%3A"),
        "{}",
        ran.all()
    );
}

#[test]
fn a_plan_tells_by_its_code_whether_there_is_something_to_do() {
    let bench = bench();
    assert_eq!(bench.run(&["plan", "m.toml"]).code, 0);
    assert_eq!(bench.run(&["plan", "m.toml", "--detailed-exitcode"]).code, 4);
    let coloured = |variables: &[(&str, &str)], args: &[&str]| {
        let ran = with(&bench, variables, &[&["ls", "m.toml"], args].concat());
        assert_eq!(ran.code, 0, "{}", ran.all());
        ran.stdout.contains("\u{1b}[")
    };
    assert!(!coloured(&[], &[]), "a pipe has no colours");
    assert!(coloured(&[("FORCE_COLOR", "1")], &[]) && coloured(&[("CLICOLOR_FORCE", "1")], &[]));
    assert!(!coloured(&[("FORCE_COLOR", "1"), ("NO_COLOR", "1")], &[]));
    assert!(coloured(&[("NO_COLOR", "1")], &["--color", "always"]));
    assert!(!coloured(&[("FORCE_COLOR", "1")], &["--color=never"]));
}

#[test]
fn a_failed_run_in_ci_is_one_group_with_a_summary_page() {
    let bench = bench();
    let page = bench.path("page.md");
    let github = [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_STEP_SUMMARY", page.to_str().unwrap()),
    ];
    let ran = with(&bench, &github, &["run", "m.toml"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (1, ""),
        "no image, no path: {}",
        ran.all()
    );
    let at = |words: &str| {
        ran.stderr
            .find(words)
            .unwrap_or_else(|| panic!("no {words} in {}", ran.all()))
    };
    assert!(at("::group::run ") < at("provision tiny-base: "), "{}", ran.all());
    assert!(
        at("::endgroup::") < at("FAILED kernel panic: "),
        "the summary is not folded: {}",
        ran.all()
    );
    let page = fs::read_to_string(page).unwrap();
    assert!(
        page.starts_with("### ") && page.contains("**provision tiny-base** failed"),
        "{page}"
    );
    assert!(page.contains("Kernel panic"), "{page}");
    let ran = with(&bench, &[("GITLAB_CI", "true")], &["run", "m.toml"]);
    assert!(
        ran.stderr.contains("section_start:") && ran.stderr.contains("section_end:"),
        "{}",
        ran.all()
    );
}

#[test]
fn a_report_has_an_error_for_every_image_that_was_not_built() {
    let bench = bench();
    bench.write("m.toml", MANIFEST.replace("[\"3G\"]", "[\"3G\", \"4G\"]"));
    let cases = |args: &[&str], code: i32| {
        let ran = bench.run(&[&["run", "m.toml", "--junit", "j.xml"], args].concat());
        assert_eq!(ran.code, code, "{}", ran.all());
        let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/junit.xsd");
        tool(
            "xmllint",
            &["--noout", "--schema", schema, "j.xml"],
            &bench.path(""),
        );
        let ask = |path: &str| tool("xmllint", &["--xpath", path, "j.xml"], &bench.path(""));
        let image = |id: &str| {
            ask(&format!(
                "string(//testsuite[@name='{id}']/testcase[@name='build']/error)"
            ))
        };
        [image("tiny-3G-base"), image("tiny-4G-base")]
    };
    for error in cases(&[], 1) {
        assert!(
            error.contains("Kernel panic"),
            "the cause, for each image that it cost: {error}"
        );
    }
    for error in cases(&["-D", "pipeline.output=/proc/out"], 3) {
        assert!(
            error.contains("could not write into /proc"),
            "what was refused is no green report: {error}"
        );
    }
}

#[test]
fn an_image_from_anywhere_is_checked() {
    let bench = bench();
    let ran = bench.run(&["check", "tiny.raw", "--memory", "64M", "--junit", "j.xml"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(
        ran.stdout.contains("FAILED   boots-within: expected"),
        "{}",
        ran.all()
    );
    assert!(ran.stdout.contains("Kernel panic"), "{}", ran.all());
    let failures = tool(
        "xmllint",
        &[
            "--xpath",
            "string(//testsuite[@name='tiny.raw']/@failures)",
            "j.xml",
        ],
        &bench.path(""),
    );
    assert_eq!(failures.trim(), "1");
    let ran = bench.run(&["check", "tiny.raw", "--size", "20G"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(
        ran.stdout
            .contains("FAILED   disk-size: expected a disk of 20 GiB, seen a disk of"),
        "{}",
        ran.all()
    );
    let ran = bench.run(&["check", "gone.raw"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(
        ran.stderr.contains("there is no image file gone.raw"),
        "{}",
        ran.all()
    );
}

/// Bash itself asks, by what `pipeline completions bash` gives it.
#[test]
fn a_shell_completes_images_nodes_runs_and_manifests() {
    let bench = bench();
    bench.run(&["run", "m.toml"]);
    let run = bench.run(&["runs", "--format", "json"]);
    let run = serde_json::from_str::<Value>(&run.stdout).unwrap()["runs"][0]["run"].clone();
    let complete = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let script = format!(
            "source <(pipeline completions bash); COMP_WORDS=({}); COMP_CWORD={}; COMP_TYPE=9; \
             _clap_complete_pipeline pipeline '{}' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words
                .iter()
                .map(|word| format!("'{word}'"))
                .collect::<Vec<_>>()
                .join(" "),
            words.len() - 1,
            words[words.len() - 1],
        );
        let mut command = std::process::Command::new("bash");
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_pipeline"))
            .parent()
            .unwrap();
        let path = std::env::var_os("PATH").unwrap();
        let paths = std::iter::once(program.to_owned()).chain(std::env::split_paths(&path));
        command
            .args(["-c", &script])
            .current_dir(bench.path(""))
            .env("PATH", std::env::join_paths(paths).unwrap());
        command.env("PIPELINE_STORE", bench.path("store"));
        let ran = bench.finish(command);
        assert_eq!(ran.code, 0, "{line}: {}", ran.all());
        ran.stdout
            .lines()
            .map(|line| line.trim().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(complete("pipeline run m"), ["m.toml"]);
    assert_eq!(complete("pipeline run m.toml ti"), ["tiny-3G-base"]);
    assert_eq!(complete("pipeline run m.toml --distro "), ["tiny"]);
    assert!(complete("pipeline run m.toml --rebuild ").contains(&"install/tiny".to_owned()));
    assert_eq!(complete("pipeline logs 2"), [run.as_str().unwrap()]);
    assert!(complete("pipeline logs ").contains(&"provision/tiny-base".to_owned()));
    assert!(complete("pipeline store pin inst").contains(&"install/tiny".to_owned()));
    assert_eq!(
        complete("pipeline run --progress "),
        ["auto", "bars", "plain", "none"]
    );
    // Nushell reads JSON.
    let mut nushell = bench.command(&["--", "pipeline", "run", "m.toml", "ti"]);
    nushell.env("COMPLETE", "nushell");
    let ran = bench.finish(nushell);
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(found[0]["value"], "tiny-3G-base", "{}", ran.all());
    let script = bench.run(&["completions", "nushell"]).stdout;
    assert!(
        script.contains("with-env { COMPLETE: nushell } { ^\"pipeline\" -- ...$spans }"),
        "{script}"
    );
    let verbs = complete("pipeline ");
    assert!(verbs.contains(&"explain".to_owned()), "{verbs:?}");
    for hidden in ["door-relay", "execute-node", "evaluate-nickel", "reference"] {
        assert!(!verbs.contains(&hidden.to_owned()), "{verbs:?}");
    }
}

#[test]
fn results_of_another_version_are_named_and_stay() {
    let bench = bench();
    bench.run(&["run", "m.toml"]);
    let change = "f=$(echo store/results/install/*/entry.json); sed -i 's/\"version\": 1,/\"version\": 9,/' $f; cat $f";
    let changed = tool("sh", &["-c", change], &bench.path(""));
    assert!(changed.contains("\"version\": 9"), "{changed}");
    let said = |args: &[&str]| {
        let ran = bench.run(args);
        assert_eq!(ran.code, 0, "{}", ran.all());
        ran.stdout + &ran.stderr
    };
    assert!(said(&["store", "ls"]).contains("other version"));
    let all = said(&["store", "verify"]);
    assert!(
        all.contains("1 result in the format of another version of pipeline not read"),
        "{all}"
    );
    let all = said(&["gc", "--keep-runs", "0", "--max-size", "0"]);
    assert!(
        all.contains("1 result in the format of another version of pipeline left alone"),
        "{all}"
    );
    assert!(said(&["gc", "--other-versions", "--dry-run"]).contains("another version's format"));
    // It is built again, next to the other one.
    let ran = bench.run(&["run", "m.toml"]);
    assert!(ran.stderr.contains("install tiny: done"), "{}", ran.all());
    let kept = tool(
        "sh",
        &[
            "-c",
            "grep -l '\"version\": 9' store/results/install/*/entry.json",
        ],
        &bench.path(""),
    );
    assert_eq!(kept.lines().count(), 1, "{kept}");
}
