//! Pipelines for CI systems, judged by the schemas that editors have of them.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::chaos::mini;
use crate::machine::tiny::{Then, disk};
use crate::publish::webdav::nginx;
use crate::support::npm::node;
use crate::support::python::python;
use crate::support::{Bench, tool};

const JUDGE: &str = "check-jsonschema==0.39.0";

/// Two images of one base, and two whose base may leave the key of the build in its disk: those are packaged in one job.
const MANIFEST: &str = r#"
[distros.one]
family  = "debian"
version = "12"
memory  = "3G"
source  = { bootstrap = { suite = "bookworm", mirror = "http://mirror.invalid/debian" } }

[distros.two]
family  = "debian"
version = "13"
source  = { disk = { path = "two.raw", user = "root" } }

[flavors.base]
steps  = [{ inline = "true", env = { TOKEN = { env = "TOKEN", default = "it's" } } }]
checks = ["standard"]

[[images]]
distro = "one"
flavor = "base"
sizes  = ["5G", "6G"]

[[images]]
distro = "two"
flavor = "base"
sizes  = ["5G", "6G"]
"#;

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("fleet of ours.toml", MANIFEST);
    let remote = "[remote]\nurl = \"http://127.0.0.1:9/farm\"\nsign_key = { file = \"sign.key\" }\n";
    bench.write(".config/pipeline/farm.toml", remote);
    let made = bench.run(&["farm", "key", ".config/pipeline/sign.key"]);
    assert_eq!(made.code, 0, "{}", made.all());
    bench.write("two.raw", disk("two", Then::Halt));
    bench
}

fn judge(bench: &Bench, schema: &str, file: &str) {
    let mut judge = python(JUDGE);
    judge.args(["-m", "check_jsonschema", "--builtin-schema", schema]);
    let output = judge.arg(bench.path(file)).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", bench.read(file));
}

fn generate(bench: &Bench, args: &[&str]) -> String {
    let ran = bench.run(&[&["ci"], args].concat());
    assert_eq!(ran.code, 0, "{}", ran.all());
    ran.stdout
}

#[test]
fn gitlab_gets_a_job_for_each_chain_that_waits_for_its_base_alone() {
    let bench = bench();
    let words = [
        "gitlab",
        "fleet of ours.toml",
        "-D",
        "vars.x=y z",
        "--runner",
        "images",
    ];
    let text = generate(&bench, &words);
    bench.write("child.yml", &text);
    judge(&bench, "vendor.gitlab-ci", "child.yml");
    let (before, rest) = text.split_once("printf").unwrap();
    let (facts, rest) = rest.split_once("> pipeline-facts.json").unwrap();
    assert!(facts.contains("two.raw"), "{facts}");
    insta::assert_snapshot!(format!("{before}…{rest}"));
}

/// Runners that would wait for the one that installs a base install it too, once it is known how long all takes.
#[test]
fn a_base_of_two_flavors_is_installed_by_two_of_many_runners() {
    const MORE: &str =
        "\n[flavors.more]\n\n[[images]]\ndistro = \"one\"\nflavor = \"more\"\nsizes = [\"5G\"]\n";
    let bench = bench();
    bench.write("fleet.toml", format!("{MANIFEST}{MORE}"));
    let bases = || -> Vec<String> {
        let text = generate(&bench, &["gitlab", "fleet.toml", "one-*"]);
        let jobs = text.split("\n\n").filter(|job| job.starts_with("\"provision/"));
        let untils = |job: &str| job.matches("--until provision/").count();
        jobs.map(|job| format!("{} {}", job.lines().next().unwrap(), untils(job)))
            .collect()
    };
    let together = ["\"provision/one-more\": 2"];
    assert_eq!(bases(), together);
    let settings = bench.read(".config/pipeline/farm.toml");
    bench.write(".config/pipeline/farm.toml", format!("workers = 3\n{settings}"));
    assert_eq!(bases(), together);
    let took = [
        ("install", 300),
        ("provision", 60),
        ("size", 3),
        ("package", 40),
        ("check", 60),
    ];
    let took = took.map(|(stage, seconds)| {
        format!(
            "{{\"at\":\"2026-11-29T23:59:46Z\",\"run\":\"r\",\"pipeline\":\"p\",\"stage\":\"{stage}\",\
             \"subject\":\"s\",\"alike\":\"\",\"key\":\"{}\",\"seconds\":{seconds}.0}}\n",
            "0".repeat(64)
        )
    });
    bench.write("store/attempts.jsonl", took.concat());
    assert_eq!(
        bases(),
        ["\"provision/one-base\": 1", "\"provision/one-more\": 1"]
    );
    bench.write(".config/pipeline/farm.toml", settings);
    assert_eq!(bases(), together);
}

#[test]
fn github_plans_in_each_run_and_makes_a_matrix_of_each_level() {
    let bench = bench();
    let text = generate(&bench, &["github", "fleet of ours.toml"]);
    bench.write("images.yml", &text);
    judge(&bench, "vendor.github-workflows", "images.yml");
    insta::assert_snapshot!(text);

    let outputs = generate(&bench, &["github", "fleet of ours.toml", "--matrix", "2"]);
    let output = |name: &str| -> Value {
        let line = outputs
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}=")));
        serde_json::from_str(line.unwrap()).unwrap()
    };
    assert!(output("facts")["media"]["two.raw"].is_string(), "{outputs}");
    let names = |level: &str| -> Vec<String> {
        let jobs = output(level).as_array().unwrap().clone();
        jobs.iter()
            .map(|job| job["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("level0"), ["package/two-6G-base", "provision/one-base"]);
    let images = ["two-5G", "two-6G", "one-5G", "one-6G"].map(|image| format!("check/{image}-base"));
    assert_eq!(names("level1"), images);
    let base = &output("level0")[1];
    assert_eq!(base["labels"], serde_json::json!(["self-hosted", "kvm"]));
    assert_eq!(
        base["command"],
        "pipeline run 'fleet of ours.toml' --facts pipeline-facts.json --until provision/one-base"
    );
    // A plan that the workflow was not made for.
    let ran = bench.run(&["ci", "github", "fleet of ours.toml", "--matrix", "1"]);
    assert!(
        ran.code == 2 && ran.stderr.contains("2 jobs follow each other"),
        "{}",
        ran.all()
    );
}

/// All that leads to one image is one job, and delivers nothing.
#[test]
fn the_command_of_a_job_runs_its_chain_alone() {
    let bench = bench();
    let outputs = generate(
        &bench,
        &["github", "fleet of ours.toml", "one-5G-base", "--matrix", "1"],
    );
    let line = outputs
        .lines()
        .find_map(|line| line.strip_prefix("level0="))
        .unwrap();
    let jobs: Value = serde_json::from_str(line).unwrap();
    let facts = outputs
        .lines()
        .find_map(|line| line.strip_prefix("facts="))
        .unwrap();
    bench.write("pipeline-facts.json", facts);
    let command = jobs[0]["command"].as_str().unwrap();
    let command = command.replacen("pipeline run", "\"$0\" plan --format json", 1);
    let inner = bench.command(&[]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &command]).arg(inner.get_program());
    shell.current_dir(bench.path("")).env_clear();
    shell.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = bench.finish(shell);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let plan: Value = serde_json::from_str(&ran.stdout).unwrap();
    let todo = plan["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|node| node["state"] == "todo");
    let todo: Vec<_> = todo.map(|node| node["id"].as_str().unwrap()).collect();
    let own = ["size", "package", "check"].map(|stage| format!("{stage}/one-5G-base"));
    let chain = ["install/one", "provision/one-base"].map(str::to_owned);
    assert_eq!(todo, [&chain[..], &own].concat());
    assert!(!bench.path("store").exists());
    // Jobs without a remote store would all build everything.
    let ran = bench.run(&["ci", "gitlab", "fleet of ours.toml", "--remote", "none"]);
    assert!(
        ran.code == 2 && ran.stderr.contains("no remote store"),
        "{}",
        ran.all()
    );
}

/// Each job has a checkout and a store of its own, so that nothing passes from one to the next but by the remote store. What
/// the first job would do another host has done since the plan was made.
#[test]
fn gitlabs_jobs_take_results_of_each_other_from_the_remote_store() {
    const SIZES: [&str; 2] = ["64M", "96M"];
    let bench = Bench::new();
    let remote = nginx(
        &bench,
        "server {\nlisten 127.0.0.1:PORT;\nroot FOLDER/www;\nlocation / {\ndav_methods PUT;\n\
         create_full_put_path on;\n}\n}",
    );
    let house = mini::house(&bench.path("here"), &SIZES);
    // Sizes of a bootstrapped distro never boot: they are jobs of their own.
    let text = std::fs::read_to_string(house.folder.join(mini::MANIFEST)).unwrap();
    let (disk, bootstrap) = (
        r#"disk = { path = "base.qcow2" }"#,
        r#"bootstrap = { suite = "bookworm", mirror = "http://mirror.invalid" }"#,
    );
    assert!(text.contains(disk), "{text}");
    bench.write("here/mini.toml", text.replace(disk, bootstrap));
    std::fs::remove_dir_all(house.folder.join("store")).unwrap();
    mini::provision(&house);
    let settings = format!(
        "[remote]\nurl = \"{}\"\nsign_key = {{ file = \"sign.key\" }}\n",
        remote.url("/farm")
    );
    let farm = bench.write("farm.toml", settings);
    let pipeline = |store: &str, args: &[&str]| {
        let mut command = house.command(args);
        command.env("PIPELINE_FARM", &farm);
        command.env("PIPELINE_STORE", bench.path(store));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    };
    pipeline("here/store", &["farm", "key", "../sign.key"]);
    let child = pipeline("planner", &["ci", "gitlab", mini::MANIFEST, "--runner", "images"]);
    let base = std::fs::read_dir(house.folder.join("store/results/provision")).unwrap();
    let base = base.last().unwrap().unwrap().file_name();
    let base = format!("provision/{}", base.to_str().unwrap());
    pipeline("here/store", &["store", "push", &base]);
    assert_eq!(
        child.matches(r#"needs: ["provision/tiny-base"]"#).count(),
        2,
        "{child}"
    );

    bench.write("checkout/.gitlab-ci.yml", &child);
    std::fs::copy(
        house.folder.join(mini::MANIFEST),
        bench.path("checkout/mini.toml"),
    )
    .unwrap();
    let checkout = bench.path("checkout");
    tool("git", &["init", "--quiet"], &checkout);
    tool("git", &["add", "--all"], &checkout);
    let program = format!(
        "#!/bin/sh\nexport PIPELINE_FARM={0}/farm.toml PIPELINE_STORE={0}/stores/$CI_JOB_NAME_SLUG\nexec {1} \"$@\"\n",
        bench.path("").display().to_string().trim_end_matches('/'),
        env!("CARGO_BIN_EXE_pipeline")
    );
    let program = bench.write("bin/pipeline", program);
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut ci = node("gitlab-ci-local/dist/index.js");
    let paths = std::env::var_os("PATH").unwrap();
    let paths = [bench.path("bin")]
        .into_iter()
        .chain(std::env::split_paths(&paths));
    ci.args(["--shell-isolation", "--home"])
        .arg(bench.path("ci-home"));
    ci.current_dir(&checkout).env_clear().env("HOME", bench.path(""));
    ci.env("PATH", std::env::join_paths(paths).unwrap());
    let ran = bench.finish(ci);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let built = |job: &str, stage: &str| {
        let attempts = bench.path("stores").join(job).join("attempts.jsonl");
        let attempts = std::fs::read_to_string(attempts).unwrap_or_default();
        let stage = format!("\"stage\":\"{stage}\"");
        attempts.lines().filter(|line| line.contains(&stage)).count()
    };
    for job in ["package-tiny-64m-base", "package-tiny-96m-base"] {
        assert_eq!(
            [built(job, "provision"), built(job, "package")],
            [0, 1],
            "{job}: {}",
            ran.all()
        );
    }
    assert_eq!(
        [built("deliver", "package"), built("deliver", "sums")],
        [0, 2],
        "{}",
        ran.all()
    );
    for size in SIZES {
        let packed = format!("checkout/.gitlab-ci-local/builds/deliver/{}", mini::packed(size));
        mini::has_content(&house, &format!("../{packed}"));
    }
}
