//! One manifest on several hosts: what one of them found out is what the others plan by, and each does a part.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use pipeline::internals::store::Store;
use serde_json::Value;

use crate::machine::tiny::{Then, disk};
use crate::support::{Bench, Ran};

/// Keys of it depend on apt, on two secrets and on a file whose digest the manifest leaves to the host.
const MANIFEST: &str = r#"
[distros.debian12]
family  = "debian"
version = "12"
source  = { bootstrap = { suite = "bookworm" } }

[distros.cloud]
family  = "debian"
version = "13"
source  = { disk = { path = "../media/./base.raw", user = "root" } }

[flavors.base]
steps = [{ run = "up.sh", env = { TOKEN = { env = "TOKEN" }, PASSWORD = { file = "password" } } }]

[[images]]
distro = ["debian12", "cloud"]
flavor = "base"
sizes  = ["5G"]
"#;

/// A host with a checkout of the manifest, its own apt, and a store with its own secret.
fn host(mirror: &str) -> Bench {
    let bench = Bench::new();
    bench.write(&format!("{}/m.toml", bench_name(mirror)), MANIFEST);
    bench.write(&format!("{}/up.sh", bench_name(mirror)), "#!/bin/sh\ntrue\n");
    bench.write("media/base.raw", vec![0; 1 << 20]);
    bench.write("sources.list", format!("deb {mirror} bookworm main\n"));
    let store = Store::open(&bench.path("store")).unwrap();
    store.fingerprint(b"").unwrap();
    bench
}

/// Checkouts have other names too.
fn bench_name(mirror: &str) -> &str {
    let host = mirror.strip_prefix("http://").unwrap();
    host.split('/').next().unwrap()
}

/// Runs the program where apt is configured as this host's is to be.
fn on(bench: &Bench, checkout: &str, token: Option<&str>, args: &[&str]) -> Ran {
    let inner = bench.command(args);
    let mut command = Command::new("unshare");
    let configure = "mount -t tmpfs none /etc/apt && cp ../sources.list /etc/apt && exec \"$@\"";
    command.args([
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        configure,
        "sh",
    ]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.current_dir(bench.path(checkout)).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(token) = token {
        command.env("TOKEN", token);
    }
    bench.finish(command)
}

fn keys(ran: &Ran) -> BTreeMap<String, String> {
    assert_eq!(ran.code, 0, "{}", ran.all());
    let plan: Value = serde_json::from_str(&ran.stdout).unwrap();
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let nodes = plan["nodes"].as_array().unwrap().iter();
    nodes.map(|n| (text(&n["id"]), text(&n["key"]))).collect()
}

fn facts_of(bench: &Bench) -> Value {
    serde_json::from_str(&bench.read("facts.json")).unwrap()
}

#[test]
fn facts_of_one_host_give_its_keys_on_another() {
    let (here, there) = (host("http://a.invalid/debian"), host("http://b.invalid/debian"));
    here.write("a.invalid/password", "hunter2\n");
    let plan = ["plan", "m.toml", "--format", "json"];
    let write = [&plan[..], &["--write-facts", "../facts.json"]].concat();
    let planned = keys(&on(&here, "a.invalid", Some("hunter3"), &write));
    // The other host has neither secret, another mirror and another store: all that is installed or provisioned differs.
    let own = keys(&on(&there, "b.invalid", None, &plan));
    for id in [
        "install/debian12",
        "provision/debian12-base",
        "provision/cloud-base",
    ] {
        assert_ne!(own[id], planned[id], "{id}");
    }
    let facts = here.path("facts.json");
    let given = [&plan[..], &["--facts", facts.to_str().unwrap()]].concat();
    assert_eq!(keys(&on(&there, "b.invalid", None, &given)), planned);
    // Not even where it lacks the medium.
    fs::write(there.path("media/base.raw"), "").unwrap();
    assert_eq!(keys(&on(&there, "b.invalid", None, &given)), planned);

    let text = here.read("facts.json");
    assert!(
        !text.contains("hunter") && !text.contains(here.path("").to_str().unwrap()),
        "{text}"
    );
    let facts = facts_of(&here);
    assert_eq!(facts["mirrors"]["debian12"]["uri"], "http://a.invalid/debian");
    assert_eq!(
        facts["media"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["../media/./base.raw"]
    );

    // Facts of fewer images, of another version, of nothing.
    let few = [&write[..], &["--distro", "debian12"]].concat();
    keys(&on(&here, "a.invalid", None, &few));
    let refused = on(&there, "b.invalid", None, &given);
    assert_eq!(refused.code, 2, "{}", refused.all());
    assert!(
        refused
            .stderr
            .contains("say nothing about the medium ../media/./base.raw"),
        "{}",
        refused.all()
    );
    here.write("facts.json", text.replace("\"media\"", "\"discs\""));
    let refused = on(&there, "b.invalid", None, &given);
    assert!(
        refused.code == 2 && refused.stderr.contains("unknown field `discs`"),
        "{}",
        refused.all()
    );
}

#[test]
fn a_run_stops_at_the_node_that_it_is_asked_to_stop_at() {
    let bench = Bench::new();
    let distro = |name: &str| {
        bench.write(&format!("{name}.raw"), disk(name, Then::Halt));
        format!(
            "[distros.{name}]\nfamily = \"debian\"\nversion = \"12\"\n\
             source = {{ disk = {{ path = \"{name}.raw\", user = \"root\" }} }}\n"
        )
    };
    let rest = "[flavors.base]\nsteps = [{ inline = \"true\" }]\n\
        [[images]]\ndistro = [\"one\", \"two\"]\nflavor = \"base\"\nsizes = [\"1G\"]\n\
        [report]\nfile = \"report.html\"\n\
        [[hooks]]\nafter = \"run\"\ncommand = \"touch called\"\n";
    bench.write("m.toml", distro("one") + &distro("two") + rest);
    let has = |place: &str| bench.path(place).exists();

    let plan = bench.run(&["plan", "m.toml", "--until", "install/one"]);
    assert!(plan.stdout.contains("1 to do"), "{}", plan.all());
    let ran = bench.run(&["run", "m.toml", "--until", "install/one"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let results = |stage: &str| {
        let found = Path::new(&bench.path("store/results")).join(stage).read_dir();
        found.map_or(0, Iterator::count)
    };
    assert_eq!(
        (results("install"), results("provision")),
        (1, 0),
        "{}",
        ran.all()
    );
    assert!(
        !has("out") && !has("called") && !has("report.html"),
        "{}",
        ran.all()
    );
    // A stage stands for all its nodes; what is there already is not built again.
    let ran = bench.run(&["run", "m.toml", "--until", "install"]);
    assert_eq!((ran.code, results("install")), (0, 2), "{}", ran.all());
    let ran = bench.run(&["plan", "m.toml", "--until", "install", "--detailed-exitcode"]);
    assert!(
        ran.code == 0 && ran.stdout.contains("Nothing to do"),
        "{}",
        ran.all()
    );
    // What is asked for again, and lies behind the end, is left alone.
    let behind = ["--until", "install", "--rebuild", "provision/one-base"];
    let ran = bench.run(&[&["plan", "m.toml", "--detailed-exitcode"], &behind[..]].concat());
    assert_eq!(ran.code, 0, "{}", ran.all());
    let ran = bench.run(&["run", "m.toml", "--until", "instal"]);
    assert!(
        ran.code == 2 && ran.stderr.contains("--until instal matches no node of this plan"),
        "{}",
        ran.all()
    );
}
