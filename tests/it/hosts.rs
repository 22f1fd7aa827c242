//! One manifest on several hosts: what one of them found out is what the others plan by, and each does a part.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use pipeline::internals::farm::workspace::{Workspace, WorkspaceError};
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::manifest::load::load;
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
fn on(bench: &Bench, checkout: &str, env: &[(&str, &str)], args: &[&str]) -> Ran {
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
    command.envs(env.iter().copied());
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
    let planned = keys(&on(&here, "a.invalid", &[("TOKEN", "hunter3")], &write));
    // The other host has neither secret, another mirror and another store: all that is installed or provisioned differs.
    let own = keys(&on(&there, "b.invalid", &[], &plan));
    for id in [
        "install/debian12",
        "provision/debian12-base",
        "provision/cloud-base",
    ] {
        assert_ne!(own[id], planned[id], "{id}");
    }
    let facts = here.path("facts.json");
    let given = [&plan[..], &["--facts", facts.to_str().unwrap()]].concat();
    assert_eq!(keys(&on(&there, "b.invalid", &[], &given)), planned);
    // Not even where it lacks the medium.
    fs::write(there.path("media/base.raw"), "").unwrap();
    assert_eq!(keys(&on(&there, "b.invalid", &[], &given)), planned);

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
    keys(&on(&here, "a.invalid", &[], &few));
    let refused = on(&there, "b.invalid", &[], &given);
    assert_eq!(refused.code, 2, "{}", refused.all());
    assert!(
        refused
            .stderr
            .contains("say nothing about the medium ../media/./base.raw"),
        "{}",
        refused.all()
    );
    here.write("facts.json", text.replace("\"media\"", "\"discs\""));
    let refused = on(&there, "b.invalid", &[], &given);
    assert!(
        refused.code == 2 && refused.stderr.contains("unknown field `discs`"),
        "{}",
        refused.all()
    );
}

#[test]
fn a_key_for_fingerprints_makes_keys_with_secrets_equal_and_without_it_the_plan_says_why_they_are_not() {
    let (here, there) = (host("http://a.invalid/debian"), host("http://b.invalid/debian"));
    let plan = |bench: &Bench, name: &str, more: &[(&str, &str)]| {
        bench.write(&format!("{name}/password"), "hunter2\n");
        let env = [&[("TOKEN", "hunter3")], more].concat();
        let ran = on(
            bench,
            name,
            &env,
            &["plan", "m.toml", "--format", "json", "--distro", "cloud"],
        );
        assert!(!ran.all().contains("hunter"), "{}", ran.all());
        ran
    };
    let unshared = |ran: &Ran, id: &str| -> String {
        let plan: Value = serde_json::from_str(&ran.stdout).unwrap();
        let nodes = plan["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|node| node["id"] == id).unwrap();
        node["unshared"].as_str().unwrap_or_default().to_owned()
    };
    let (one, other) = (plan(&here, "a.invalid", &[]), plan(&there, "b.invalid", &[]));
    assert_ne!(
        keys(&one)["provision/cloud-base"],
        keys(&other)["provision/cloud-base"]
    );
    assert!(unshared(&one, "install/cloud").contains("private key"));
    assert!(unshared(&one, "provision/cloud-base").contains("`fingerprint_key` gives hosts one"));
    assert!(
        unshared(&one, "package/cloud-5G-base").contains("that of"),
        "{}",
        one.all()
    );

    let key = here.write("key", [7; 32]);
    here.write("farm.toml", "[remote]\nfingerprint_key = { file = \"key\" }\n");
    let farm = here.path("farm.toml");
    let one = plan(&here, "a.invalid", &[("PIPELINE_FARM", farm.to_str().unwrap())]);
    let other = plan(
        &there,
        "b.invalid",
        &[("PIPELINE_FINGERPRINT_KEY", key.to_str().unwrap())],
    );
    assert_eq!(keys(&one), keys(&other));
    assert!(unshared(&one, "install/cloud").contains("private key"));
    assert_eq!(unshared(&one, "provision/cloud-base"), "");

    here.write("key", "short");
    let refused = plan(
        &there,
        "b.invalid",
        &[("PIPELINE_FINGERPRINT_KEY", key.to_str().unwrap())],
    );
    assert!(
        refused.code == 2 && refused.stderr.contains("it has 5 bytes"),
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
            "[distros.{name}]\nfamily = \"debian\"\nversion = \"12\"\ndisk = \"64M\"\n\
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

/// What a manifest can name, in and around its folder.
const NAMING: &str = r#"
[distros.one]
family  = "debian"
version = "12"
source  = { disk = { path = "../media/one.raw", user = "root" } }

[distros.large]
family  = "debian"
version = "12"
source  = { disk = { path = "large.raw", user = "root" } }

[flavors.base]
steps = [
  { run = "../scripts/up.sh", env = { TOKEN = { file = "token" } } },
  { copy = "../files", to = "/srv" },
  { copy = "linked.conf", to = "/etc/linked.conf" },
  { ansible = "play/site.yml" },
]

[[images]]
distro = ["one", "large"]
flavor = "base"
sizes  = ["5G"]
"#;

fn checkout() -> Bench {
    let bench = Bench::new();
    bench.write("fleet/m.toml", NAMING);
    bench.write("fleet/m.lock", "");
    bench.write("lib/imported.ncl", "{}");
    bench.write("fleet/token", "hunter2");
    bench.write("fleet/real.conf", "linked");
    symlink("real.conf", bench.path("fleet/linked.conf")).unwrap();
    bench.write("fleet/play/site.yml", "- hosts: all\n  tasks: []\n");
    bench.write("fleet/play/.cache/of-ours", "no source");
    bench.write("media/one.raw", disk("one", Then::Halt));
    let large = fs::File::create(bench.path("fleet/large.raw")).unwrap();
    large.set_len(65 << 20).unwrap();
    bench.write("scripts/up.sh", "#!/bin/sh\ntrue\n");
    bench.write("files/run", "#!/bin/sh\n");
    bench.write("files/inner/text", "text");
    symlink("inner/text", bench.path("files/link")).unwrap();
    let mode = |mode| fs::set_permissions(bench.path("files/run"), fs::Permissions::from_mode(mode));
    mode(0o700).unwrap();
    bench
}

#[test]
fn a_workspace_gives_the_same_plan_where_it_is_unpacked() {
    let here = checkout();
    let packed = |bench: &Bench| {
        let mut manifest = load(&bench.path("fleet/m.toml")).unwrap();
        // A manifest in Nickel is evaluated by the program.
        manifest.imports = vec![bench.path("fleet/../lib/imported.ncl")];
        Workspace::pack(&manifest, &bench.path("w.tar.zst"), &Cancel::default())
    };
    let cancel = Cancel::default();
    let archive = here.path("w.tar.zst");
    let workspace = packed(&here).unwrap();
    let plan = [
        "plan",
        "fleet/m.toml",
        "--format",
        "json",
        "--write-facts",
        "facts.json",
    ];
    let planned = keys(&here.run(&plan));

    let there = Bench::new();
    // What was noted of it travels as JSON.
    let text = serde_json::to_string(&workspace).unwrap();
    let received: Workspace = serde_json::from_str(&text).unwrap();
    let unpacked = received.unpack(&archive, &there.path("w"), &cancel).unwrap();
    let facts = here.path("facts.json");
    let given = ["--format", "json", "--facts", facts.to_str().unwrap()];
    let args = [&["plan", unpacked.to_str().unwrap()], &given[..]].concat();
    assert_eq!(keys(&there.run(&args)), planned);
    let has = |place: &str| there.path("w").join(place).exists();
    assert!(has("fleet/m.lock") && has("files/link") && has("lib/imported.ncl") && has("fleet/large.raw"));
    assert!(
        !has("fleet/token") && !has("fleet/play/.cache"),
        "secrets and caches stay"
    );
    assert_eq!(fs::metadata(there.path("w/fleet/large.raw")).unwrap().len(), 0);

    // Another checkout of the same packs the same, whatever its files' times and modes.
    let other = checkout();
    let mode = fs::Permissions::from_mode(0o775);
    fs::set_permissions(other.path("files/run"), mode).unwrap();
    let again = packed(&other).unwrap();
    assert_eq!(
        (again.digest, again.manifest),
        (workspace.digest.clone(), workspace.manifest.clone())
    );

    // One byte on the way.
    let mut bytes = fs::read(&archive).unwrap();
    bytes[100] ^= 1;
    fs::write(&archive, bytes).unwrap();
    let error = workspace.unpack(&archive, &there.path("v"), &cancel).unwrap_err();
    assert!(
        matches!(error, WorkspaceError::Damaged { .. }) && !there.path("v").exists(),
        "{error}"
    );

    let absolute = NAMING.replace(
        "../scripts/up.sh",
        &here.path("scripts/up.sh").display().to_string(),
    );
    here.write("fleet/m.toml", absolute);
    let manifest = load(&here.path("fleet/m.toml")).unwrap();
    let error = Workspace::pack(&manifest, &archive, &cancel)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("scripts/up.sh") && error.contains("absolute paths"),
        "{error}"
    );
}
