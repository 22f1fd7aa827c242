//! Living with it: runs looked into from another terminal, failed VMs entered, keys explained, the store looked after. Real
//! qemu; guests of 512 bytes, and one with an sshd.

mod documents;
mod entered;
mod inside;
mod layered;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::chaos::mini;
use crate::machine::tiny::{Then, disk};
use crate::support::vm::wait_until;
use crate::support::{Bench, Ran, tool};

/// Two distros of tiny guests: one repeats what is typed on its console, one panics.
fn bench() -> Bench {
    let bench = Bench::new();
    let said = "Kernel panic - not syncing: VFS: Unable to mount root fs\r\n";
    bench.write("panics.raw", disk(said, Then::Halt));
    bench.write("echo.raw", disk("type and I repeat\r\n", Then::Echo));
    bench.write("update.sh", "#!/bin/sh\napt-get update\n");
    let distro = |name: &str| {
        format!(
            "[distros.{name}]\nfamily = \"debian\"\nversion = \"12\"\nmemory = \"64M\"\ncpus = 1\n\
             source = {{ disk = {{ path = \"{name}.raw\", user = \"root\" }} }}\n\
             [[images]]\ndistro = \"{name}\"\nflavor = \"base\"\nsizes = [\"1G\"]\n"
        )
    };
    let head = "[pipeline]\nname = \"tiny\"\n[flavors.base]\nsteps = [{ run = \"update.sh\", env = { TOKEN = { env = \"TOKEN\" } } }]\n";
    bench.write("m.toml", format!("{head}{}{}", distro("echo"), distro("panics")));
    bench
}

fn command(bench: &Bench, args: &[&str]) -> Command {
    let mut command = bench.command(args);
    command.env("TOKEN", "hunter2-is-the-word");
    command
}

fn run(bench: &Bench, args: &[&str]) -> Ran {
    bench.finish(command(bench, args))
}

/// Runs what must go well, and gives what it printed.
fn printed(bench: &Bench, args: &[&str]) -> String {
    let ran = run(bench, args);
    assert_eq!(ran.code, 0, "{args:?}\n{}", ran.all());
    ran.stdout
}

fn json(bench: &Bench, args: &[&str]) -> Value {
    serde_json::from_str(&printed(bench, &[args, &["--format", "json"]].concat())).unwrap()
}

/// The failing half of the manifest, run to its end.
fn fail(bench: &Bench, more: &[&str]) -> Ran {
    let ran = run(bench, &[&["run", "m.toml", "--distro", "panics"], more].concat());
    assert_eq!(ran.code, 1, "{}", ran.all());
    ran
}

/// The other half, up to where its guest waits for input.
fn start(bench: &Bench) -> (Child, BufReader<ChildStdout>) {
    let args = ["run", "m.toml", "--distro", "echo", "--format=json"];
    let mut command = command(bench, &args);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut events = BufReader::new(child.stdout.take().unwrap());
    let mut event = Value::Null;
    while event["text"] != "type and I repeat" {
        let mut line = String::new();
        events.read_line(&mut line).unwrap();
        event = serde_json::from_str(&line).unwrap();
        assert_ne!(event["event"], "run_finished", "{line}");
    }
    assert_eq!(event["node"], "provision/echo-base");
    (child, events)
}

#[test]
fn a_run_is_looked_into_from_another_terminal() {
    let bench = bench();
    let (mut child, mut events) = start(&bench);
    let runs = json(&bench, &["runs"]);
    let run_now = &runs["runs"][0];
    assert_eq!(
        (&run_now["outcome"], &run_now["pipeline"]),
        (&"running".into(), &"tiny".into())
    );
    // (A guest may be quicker to say something than its machine is to be listed.)
    wait_until("it to be listed", Duration::from_secs(20), || {
        let list = printed(&bench, &["ssh", "--list"]);
        list.contains("\nprovision/echo-base") && list.contains("running (provision)")
    });

    let mut console = command(&bench, &["ssh", "--console", "echo-base"]);
    let mut console = console
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keyboard = console.stdin.take().unwrap();
    let mut screen = BufReader::new(console.stdout.take().unwrap());
    let mut read_until = |wanted: &str| {
        let mut seen = String::new();
        while !seen.contains(wanted) {
            let mut byte = [0];
            screen.read_exact(&mut byte).unwrap();
            seen.push(char::from(byte[0]));
        }
    };
    read_until("type and I repeat");
    keyboard.write_all(b"who is there?\n").unwrap();
    read_until("who is there?");
    drop(keyboard);
    assert!(console.wait().unwrap().success());

    // Its log has what was typed; a clean-up of everything leaves what it needs.
    // (A line is shown once it has ended; what stands on the screen may not have yet.)
    wait_until("the line in the log", Duration::from_secs(20), || {
        printed(&bench, &["logs", "provision/echo-base"]).contains("provision echo-base: | who is there?")
    });
    let gone = json(&bench, &["gc", "--max-size", "0", "--keep-runs", "0"]);
    assert_eq!(
        (&gone["results"], &gone["runs"]),
        (&Value::Array(vec![]), &Value::Array(vec![]))
    );
    assert!(gone["over_bytes"].as_u64().unwrap() > 0);

    let mut follow = command(&bench, &["logs", "--follow"]);
    let follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    tool("kill", &["-INT", &child.id().to_string()], &bench.path(""));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let followed = follow.wait_with_output().unwrap();
    let followed = String::from_utf8(followed.stdout).unwrap();
    assert!(
        followed.contains("provision echo-base: stopped after") && followed.contains(" run stopped after "),
        "{followed}"
    );

    // What the program printed is what its journal holds; only progress is thinned out there.
    let mut rest = String::new();
    events.read_to_string(&mut rest).unwrap();
    let last_line = rest.lines().last().unwrap();
    let last: Value = serde_json::from_str(last_line).unwrap();
    assert_eq!(
        (&last["event"], &last["interrupted"]),
        (&"run_finished".into(), &true.into())
    );
    assert_eq!(json(&bench, &["runs"])["runs"][0]["outcome"], "interrupted");
    let folder = printed(&bench, &["logs", "--path"]);
    let folder = folder.trim().replace("[ROOT]/", "");
    assert!(
        bench
            .read(&format!("{folder}/events.jsonl"))
            .ends_with(&format!("{last_line}\n"))
    );
    let absent = run(&bench, &["ssh", "echo-base"]);
    assert_eq!(absent.code, 1, "{}", absent.all());
    assert!(
        absent.stderr.contains("no VM of `echo-base` runs"),
        "{}",
        absent.all()
    );
}

#[test]
fn a_failed_vm_is_kept_where_that_is_asked_for_and_goes_with_its_run() {
    let bench = bench();
    fail(&bench, &[]);
    assert!(!bench.path("store/kept").exists(), "nothing is kept unasked");
    let ran = fail(&bench, &["--on-error=keep"]);
    assert!(
        ran.stderr
            .contains("`pipeline ssh provision/panics-base` starts it again"),
        "{}",
        ran.all()
    );
    assert!(
        ran.stderr
            .contains("\n    next    pipeline ssh provision/panics-base\n"),
        "{}",
        ran.all()
    );
    let key = tool(
        "sh",
        &["-c", "stat -c %a store/kept/*/*/pipeline-build-key"],
        &bench.path(""),
    );
    assert_eq!(key.trim(), "600");
    let list = printed(&bench, &["ssh", "--list"]);
    assert!(list.contains("kept: the guest's kernel panicked"), "{list}");

    // Started again, it does the same again, on the console of whoever looks.
    let mut again = command(&bench, &["ssh", "panics-base", "--console"]);
    let mut again = again
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut screen = BufReader::new(again.stdout.take().unwrap());
    let mut seen = String::new();
    while !seen.contains("Unable to mount root fs") {
        assert!(screen.read_line(&mut seen).unwrap() > 0, "{seen}");
    }
    tool("kill", &["-INT", &again.id().to_string()], &bench.path(""));
    drop(again.stdin.take());
    again.wait().unwrap();

    // Its disk is a layer over a result, which stays as long as it does.
    let gone = json(&bench, &["gc", "--max-size", "0"]);
    assert_eq!(gone["results"], Value::Array(vec![]));
    let gone = json(&bench, &["gc", "--keep-runs", "0"]);
    assert_eq!(gone["kept"].as_array().unwrap().len(), 1);
    assert_eq!(gone["results"].as_array().unwrap().len(), 1);
    assert_eq!(json(&bench, &["runs"])["runs"], Value::Array(vec![]));

    let ran = run(&bench, &["run", "m.toml", "--on-error=shell"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(
        ran.stderr.contains("--on-error=shell needs a terminal"),
        "{}",
        ran.all()
    );
}

#[test]
fn the_store_is_listed_verified_pinned_and_cleaned_up() {
    let bench = bench();
    fail(&bench, &[]);
    let listed = json(&bench, &["store", "ls"]);
    let result = &listed["results"][0];
    assert_eq!(
        (&result["stage"], &result["subject"]),
        (&"install".into(), &"panics".into())
    );
    let key = result["key"].as_str().unwrap();
    let path = printed(&bench, &["store", "path", "install/panics"]);
    assert_eq!(
        path,
        printed(&bench, &["store", "path", &format!("install/{}", &key[..6])])
    );
    assert!(
        path.ends_with(&format!("store/results/install/{key}\n")),
        "{path}"
    );

    printed(&bench, &["store", "pin", "install/panics"]);
    let everything = ["gc", "--max-size", "0", "--keep-runs", "0"];
    let dry = json(&bench, &[&everything[..], &["--dry-run"]].concat());
    assert_eq!(
        (dry["runs"].as_array().unwrap().len(), &dry["dry_run"]),
        (1, &true.into())
    );
    assert_eq!(
        json(&bench, &["runs"])["runs"].as_array().unwrap().len(),
        1,
        "nothing was done"
    );
    let gone = json(&bench, &everything);
    assert_eq!(gone["results"], Value::Array(vec![]), "it is pinned");
    assert!(printed(&bench, &["store", "ls"]).contains("pinned"));

    printed(&bench, &["store", "unpin", "install/panics"]);

    let whole = printed(&bench, &["store", "verify"]);
    assert!(whole.starts_with("1 of 1 result as written"), "{whole}");
    let disk = format!("store/results/install/{key}/disk");
    let mut bytes = std::fs::read(bench.path(&disk)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bench.write(&disk, bytes);
    let ran = run(&bench, &["store", "verify", "install/panics", "--remove"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(
        ran.stdout.contains("damaged  install/") && ran.stdout.contains("read back as"),
        "{}",
        ran.all()
    );
    assert_eq!(json(&bench, &["store", "ls"])["results"], Value::Array(vec![]));

    // A run that is pinned keeps its logs and what it needed.
    fail(&bench, &[]);
    let id = json(&bench, &["runs"])["runs"][0]["run"]
        .as_str()
        .unwrap()
        .to_owned();
    printed(&bench, &["store", "pin", &id]);
    let gone = json(&bench, &everything);
    assert_eq!(
        (&gone["results"], &gone["runs"]),
        (&Value::Array(vec![]), &Value::Array(vec![]))
    );
    printed(&bench, &["store", "unpin", &id]);
    let text = printed(&bench, &everything);
    assert!(
        text.contains("no kept run needs it") && text.contains("freed: 1 result, logs of 1 run"),
        "{text}"
    );
    assert_eq!(
        run(&bench, &["store", "unpin", &id]).code,
        2,
        "neither run nor pin is left"
    );
}

#[test]
fn a_key_is_explained_by_what_changed_in_which_file() {
    let bench = bench();
    let before = json(&bench, &["explain", "m.toml", "provision/panics-base"]);
    assert_eq!(before["nodes"][0]["reason"], "never built");
    let parts = printed(&bench, &["explain", "m.toml", "provision/panics-base"]);
    for part in [
        "steps.update.sh.script",
        "steps.update.sh.environment.TOKEN",
        "(secret)",
    ] {
        assert!(parts.contains(part), "no `{part}` in\n{parts}");
    }
    assert!(!parts.contains("hunter2") && !before.to_string().contains("hunter2"));

    fail(&bench, &[]);
    let cached = printed(&bench, &["explain", "m.toml", "install/panics"]);
    assert!(cached.starts_with("install/panics  in the store\n"), "{cached}");
    let text = bench
        .read("m.toml")
        .replacen("version = \"12\"", "version = \"12\"\ndisk = \"512M\"", 2);
    bench.write("m.toml", text);
    let explained = json(&bench, &["explain", "m.toml", "install/panics"]);
    let node = &explained["nodes"][0];
    assert_eq!(
        (&node["state"], &node["reason"]),
        (&"todo".into(), &"disk changed from 0 B to 512 MiB".into())
    );
    let change = serde_json::json!([{ "file": "m.toml", "field": "disk", "old": 0, "new": 536_870_912 }]);
    assert_eq!(node["changes"], change);
    let text = printed(&bench, &["explain", "m.toml", "--distro", "panics"]);
    assert!(text.contains("m.toml: disk  0 B -> 512 MiB"), "{text}");

    let ran = run(&bench, &["explain", "m.toml", "install/panic"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(
        ran.stderr.contains("did you mean `install/panics`?"),
        "{}",
        ran.all()
    );
}

#[test]
fn images_are_listed_and_what_is_asked_for_anew_is_built_anew() {
    let bench = bench();
    let listed = printed(&bench, &["ls", "m.toml"]);
    insta::assert_snapshot!(listed, @r"
    image           state    disk   checks
    echo-1G-base    missing  1 GiB  none
    panics-1G-base  missing  1 GiB  none

    0 current, 2 missing; 0 B in all
    ");
    fail(&bench, &[]);
    let forced = |what: &str| {
        let plan = json(&bench, &["plan", "m.toml", "--rebuild", what]);
        let nodes = plan["nodes"].as_array().unwrap().iter();
        let forced = nodes.filter(|node| node["reason"] == "asked for by --rebuild");
        forced
            .map(|node| node["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(forced("distro=panics"), ["install/panics"]);
    assert_eq!(
        forced("flavor=base"),
        ["provision/echo-base", "provision/panics-base"]
    );
    assert_eq!(forced("size=1024M"), ["size/echo-1G-base", "size/panics-1G-base"]);
    let ran = run(&bench, &["plan", "m.toml", "--rebuild", "distro=debian"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
}

#[test]
fn a_delivered_image_is_listed_with_its_digests_in_the_manifests_order() {
    let bench = Bench::new();
    let house = mini::house(&bench.path("house"), &["64M"]);
    let ran = |args: &[&str]| bench.finish(house.command(args));
    let built = ran(&["run", mini::MANIFEST]);
    assert_eq!(built.code, 0, "{}", built.all());
    let listed = ran(&["ls", mini::MANIFEST, "--format", "json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let digests = listed["images"][0]["digests"].as_array().unwrap().iter();
    let algorithms: Vec<_> = digests
        .map(|digest| digest.as_str().unwrap().split(':').next().unwrap())
        .collect();
    assert_eq!(algorithms, ["sha512", "md5"]);
}
