//! What a move of an archive is about: named packages, the images that depend on it, and nothing else. What is installed
//! stands in the store as builds leave it; the rest is the program's own work.

use std::collections::BTreeSet;

use jiff::Timestamp;
use pipeline::internals::digest::Algorithm;
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::host::fs::hash_file;
use pipeline::internals::manifest::load;
use pipeline::internals::run::prepare::{Ask, prepare};
use pipeline::internals::store::{Claim, Store};
use serde_json::{Value, json};

use super::{assert_ran, good};
use crate::support::Bench;
use crate::support::archive::{Archive, Suite};

const SECURITY: &str = "bookworm-security";
/// What both distros have installed.
const INSTALLED: [&str; 9] = [
    "bash", "curl", "libc6", "libcurl4", "libssl3", "openssl", "perl", "sudo", "tzdata",
];

/// Two distros of two suites of this archive.
fn bench_of(archive: &Archive) -> Bench {
    let bench = Bench::new();
    archive.signer.export("archive", &bench.path("archive.gpg"));
    let distro = |name: &str, suite: &str| {
        format!(
            "[distros.{name}]\nfamily = \"debian\"\nversion = \"12\"\n\
             source = {{ bootstrap = {{ suite = \"{suite}\", mirror = \"{}\", keyring = \"archive.gpg\" }} }}\n",
            archive.url()
        )
    };
    let images = "[flavors.base]\nsteps = [{ inline = \"true\" }]\n\
                  [[images]]\ndistro = [\"plain\", \"secured\"]\nflavor = \"base\"\nsizes = [\"3G\"]\n";
    bench.write(
        "m.toml",
        distro("plain", "bookworm") + &distro("secured", SECURITY) + images,
    );
    bench
}

/// A list in which these packages have the version 1.0-2, and the others 1.0-1.
fn packages(newer: &[&str]) -> String {
    let version = |name: &str| if newer.contains(&name) { "1.0-2" } else { "1.0-1" };
    let package = |name: &&str| format!("Package: {name}\nVersion: {}\n\n", version(name));
    INSTALLED.iter().map(package).collect()
}

/// What was built of a distro, up to its packaged image.
fn built(bench: &Bench, distro: &str, newer: &[&str]) {
    let manifest = load(&bench.path("m.toml")).unwrap();
    let store = Store::open(&bench.path("store")).unwrap();
    let all: Vec<_> = (0..manifest.images.len()).collect();
    let plan = prepare(&manifest, &all, &store, Ask::default(), &|_| {})
        .unwrap()
        .plan;
    let (scratch, cancel) = (store.scratch("seed").unwrap(), Cancel::default());
    let package = |name: &&str| {
        let version = if newer.contains(name) { "1.0-2" } else { "1.0-1" };
        json!({ "name": name, "architecture": "amd64", "version": version })
    };
    let installed: Vec<_> = INSTALLED.iter().map(package).collect();
    let inside = json!({ "os": { "ID": "debian" }, "manager": "dpkg", "packages": installed }).to_string();
    for (_, node) in plan.nodes().filter(|(_, node)| node.id().contains(distro)) {
        let stage = node.stage.name;
        let image = format!("{} {}", node.id(), newer.concat());
        let files: &[(&str, &str)] = match stage {
            "install" | "size" => &[("disk", "a disk")],
            "provision" => &[("disk", "a disk"), ("packages.json", &inside)],
            "package" => &[("image", &image)],
            _ => continue,
        };
        let claim = store
            .claim(stage, &node.key, &scratch, true, &cancel, &mut || {})
            .unwrap();
        let Claim::Miss(mut slot) = claim else {
            panic!("{} is to be replaced", node.id())
        };
        slot.build_for(&plan.pipeline, &node.subject);
        let mut facts = json!({});
        for (name, text) in files {
            let path = slot.path(name);
            std::fs::write(&path, text).unwrap();
            if stage == "package" {
                let digests = hash_file(&path, &Algorithm::ALL, &cancel).unwrap();
                slot.set_digests(name, digests.clone());
                facts = json!({ "digests": digests });
            }
        }
        let entry = slot.commit(node.inputs.clone(), facts, &cancel).unwrap();
        store
            .set_latest(&plan.history, stage, &node.subject, &entry.latest())
            .unwrap();
    }
}

fn json_of(bench: &Bench, args: &[&str]) -> Value {
    let ran = bench.run(&[args, &["--format", "json"]].concat());
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.all()))
}

/// The nodes that must run.
fn todo(bench: &Bench) -> BTreeSet<String> {
    let plan = json_of(bench, &["plan", "m.toml", "--no-check"]);
    let nodes = plan["nodes"].as_array().unwrap().iter();
    let todo = nodes.filter(|node| node["state"] == "todo");
    todo.map(|node| node["id"].as_str().unwrap().to_owned()).collect()
}

/// Of when the sources of the second image are.
fn sources(bench: &Bench) -> Timestamp {
    let listed = json_of(bench, &["ls", "m.toml"]);
    let image = &listed["images"][1];
    assert_eq!(image["id"], "secured-3G-base");
    image["sources"].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_moved_archive_names_its_packages_and_costs_what_depends_on_it() {
    let archive = Archive::start();
    let old = packages(&[]);
    archive.publish(&good(&old, 30));
    archive.publish(&Suite {
        name: SECURITY,
        ..good(&old, 3)
    });
    let bench = bench_of(&archive);
    assert_ran(&bench.run(&["update", "m.toml"]), 0, &["2 moved in m.lock"]);
    built(&bench, "plain", &[]);
    built(&bench, "secured", &[]);
    let run = || bench.run(&["run", "m.toml", "--no-check", "--progress", "plain"]);
    assert_ran(&run(), 0, &["2 nodes built"]);
    assert_ran(&bench.run(&["outdated", "m.toml"]), 0, &["Nothing has moved"]);
    let first = sources(&bench);
    let age = Timestamp::now().duration_since(first).as_hours();
    assert!((71..74).contains(&age), "{first}");
    let listed = bench.run(&["ls", "m.toml"]).stdout;
    assert!(listed.contains("  30d ") && listed.contains("  3d "), "{listed}");

    let newer = ["curl", "libc6", "libcurl4", "libssl3", "openssl", "perl", "sudo"];
    let new = packages(&newer);
    archive.publish(&Suite {
        name: SECURITY,
        ..good(&new, 0)
    });
    let ran = bench.run(&["outdated", "m.toml"]);
    let moved = format!("secured {SECURITY} 20");
    let last = "openssl 1.0-1 → 1.0-2 (security) perl 1.0-1 → 1.0-2 (security) sudo 1.0-1 → 1.0-2 (security) images: secured-3G-base";
    assert_ran(&ran, 4, &[&moved, last]);
    assert!(
        !ran.stdout.contains("plain") && !ran.stdout.contains("tzdata"),
        "{}",
        ran.all()
    );

    let ran = bench.run(&["update", "m.toml"]);
    assert_ran(
        &ran,
        0,
        &[
            "secured: curl 1.0-1 → 1.0-2 (security), 6 more",
            "1 moved in m.lock",
        ],
    );
    let behind = [
        "install/secured",
        "package/secured-3G-base",
        "provision/secured-base",
        "size/secured-3G-base",
        "sums/secured-3G-base",
    ];
    assert_eq!(todo(&bench), behind.map(str::to_owned).into());
    let explained = bench.run(&["explain", "m.toml", "install/secured"]);
    let [then, now] = [first, Timestamp::now()].map(|at| at.strftime("%Y-%m-%d").to_string());
    let why = format!("to do: {SECURITY} {then} → {now}: curl 1.0-1 → 1.0-2 (security), 6 more");
    assert_ran(&explained, 0, &[&why]);
    assert_eq!(sources(&bench), first, "what is there is as old as before");

    // The archive has no base system: the run begins with what depends on it, and with nothing else.
    let ran = run();
    assert_ran(&ran, 1, &["install secured: FAILED"]);
    assert!(
        !ran.stderr.contains("plain: ") && !ran.stderr.contains("lock: moved"),
        "{}",
        ran.all()
    );
    built(&bench, "secured", &newer);
    assert_ran(&run(), 0, &["1 node built"]);
    assert_ran(&run(), 0, &["nothing to do"]);
    assert!(todo(&bench).is_empty());
    assert_ran(&bench.run(&["outdated", "m.toml"]), 0, &["Nothing has moved"]);
    assert!(sources(&bench) > first);

    // The same in the suite that is no security archive.
    archive.publish(&good(&packages(&["tzdata"]), 0));
    let found = json_of(&bench, &["outdated", "m.toml"]);
    let distros = found["distros"].as_array().unwrap();
    let package = &distros[0]["packages"][0];
    assert_eq!(
        (distros.len(), &distros[0]["distro"]),
        (1, &"plain".into()),
        "{found}"
    );
    assert_eq!(
        (&package["name"], &package["security"]),
        (&"tzdata".into(), &false.into()),
        "{found}"
    );
}

/// A disk image that others made: its steps install from archives that the manifest names.
#[test]
fn what_steps_install_from_is_locked_and_costs_the_steps_alone() {
    let archive = Archive::start();
    let old = packages(&[]);
    let publish = |packages: &str, age: i64| {
        archive.publish(&Suite {
            name: SECURITY,
            ..good(packages, age)
        });
    };
    publish(&old, 3);
    let bench = Bench::new();
    archive.signer.export("archive", &bench.path("archive.gpg"));
    bench.write("base.qcow2", "no disk is read in this story");
    let distro = |name: &str, archives: &str| {
        format!(
            "[distros.{name}]\nfamily = \"debian\"\nversion = \"12\"\n{archives}\
             source = {{ disk = {{ path = \"base.qcow2\" }} }}\n"
        )
    };
    let archives = format!(
        "archives = [{{ url = \"{}\", suites = [\"{SECURITY}\"], keyring = \"archive.gpg\" }}]\n",
        archive.url()
    );
    let images = "[flavors.base]\nsteps = [{ inline = \"apt-get update && apt-get full-upgrade\" }]\n\
                  [[images]]\ndistro = [\"cloud\", \"other\"]\nflavor = \"base\"\nsizes = [\"3G\"]\n";
    bench.write(
        "m.toml",
        distro("cloud", &archives) + &distro("other", "") + images,
    );
    let others = distro("cloud", &archives).replace("debian", "rhel");
    bench.write("rpm.toml", others + &images.replace(", \"other\"", ""));
    let only = "only archives of apt are locked, and guests of `rhel` have none";
    assert_ran(&bench.run(&["validate", "rpm.toml"]), 2, &[only, "`max_age`"]);
    let ran = bench.run(&["update", "m.toml"]);
    let name = format!("{SECURITY} of {}", archive.url());
    assert_ran(
        &ran,
        0,
        &[&format!("cloud: {name} is locked at 20"), "1 moved in m.lock"],
    );
    assert!(bench.read("m.lock").contains("guest = true\n"));
    built(&bench, "cloud", &[]);
    built(&bench, "other", &[]);
    let run = |option: &str| bench.run(&["run", "m.toml", "--no-check", "--progress", "plain", option]);
    assert_ran(&run("--locked"), 0, &["2 nodes built"]);

    publish(&packages(&["openssl"]), 0);
    assert_ran(&run("--locked"), 0, &["nothing to do"]);
    let ran = bench.run(&["outdated", "m.toml"]);
    let said = ["openssl 1.0-1 → 1.0-2 (security)", "images: cloud-3G-base"];
    assert_ran(&ran, 4, &[&[name.as_str()][..], &said].concat());
    assert_ran(
        &bench.run(&["update", "m.toml"]),
        0,
        &["cloud: openssl 1.0-1 → 1.0-2 (security)", "1 moved"],
    );
    let behind = [
        "package/cloud-3G-base",
        "provision/cloud-base",
        "size/cloud-3G-base",
        "sums/cloud-3G-base",
    ];
    assert_eq!(
        todo(&bench),
        behind.map(str::to_owned).into(),
        "the installed system stays"
    );
    let explained = bench.run(&["explain", "m.toml", "provision/cloud-base"]);
    assert_ran(
        &explained,
        0,
        &[&format!("to do: {name} 20"), ": openssl 1.0-1 → 1.0-2 (security)"],
    );

    // The archive moves again before the run.
    publish(&old, -1);
    let moved = format!("would have to be moved: cloud: {name} 20");
    assert_ran(&run("--locked"), 2, &[&moved, "nothing was started"]);
    built(&bench, "cloud", &["openssl"]);
    assert_ran(&run("--locked"), 0, &["1 node built"]);
}

/// Two architectures of one suite.
#[test]
fn each_distro_is_compared_with_the_lists_of_its_own_architecture() {
    let archive = Archive::start();
    let (old, new) = (packages(&[]), packages(&["openssl"]));
    let publish = |arm64: &str, age: i64| {
        archive.publish(&Suite {
            arm64,
            ..good(&old, age)
        });
    };
    publish(&old, 3);
    let bench = Bench::new();
    archive.signer.export("archive", &bench.path("archive.gpg"));
    let distro = |name: &str, arch: &str| {
        format!(
            "[distros.{name}]\nfamily = \"debian\"\nversion = \"12\"\narch = \"{arch}\"\n\
             source = {{ bootstrap = {{ suite = \"bookworm\", mirror = \"{}\", keyring = \"archive.gpg\" }} }}\n",
            archive.url()
        )
    };
    let images = "[flavors.base]\nsteps = []\n\
                  [[images]]\ndistro = [\"intel\", \"other\"]\nflavor = \"base\"\nsizes = [\"3G\"]\n";
    bench.write(
        "m.toml",
        distro("intel", "x86_64") + &distro("other", "arm64") + images,
    );
    assert_ran(&bench.run(&["update", "m.toml"]), 0, &["2 moved in m.lock"]);
    built(&bench, "intel", &[]);
    built(&bench, "other", &[]);
    publish(&new, 0);
    let found = json_of(&bench, &["outdated", "m.toml"]);
    let packages = |distro: usize| found["distros"][distro]["packages"].as_array().unwrap().len();
    assert_eq!((packages(0), packages(1)), (0, 1), "{found}");
    assert_eq!(found["distros"][1]["packages"][0]["name"], "openssl");
}
