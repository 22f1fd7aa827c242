//! Several hosts that share results: what one of them built, the others take, and nothing that was left there in its
//! place.

mod faults;
mod object_store;

use std::time::{Duration, Instant};

use pipeline::internals::digest::{Algorithm, sha256_hex};
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::host::fs::hash_file;
use pipeline::internals::manifest::load;
use pipeline::internals::run::prepare::{Ask, prepare};
use pipeline::internals::store::{Claim, Store};

use crate::support::http::Server;
use crate::support::shelf::Shelf;
use crate::support::{Bench, Ran, noise};

const IMAGE: &str = "debian12-3G-base";
/// Bytes of a package, none of which can be compressed.
const BYTES: usize = (3 << 20) + 12_345;

/// Hosts of one farm: a key that they sign with, and where their results are.
struct Farm {
    key: Bench,
    public: String,
    url: String,
}

impl Farm {
    fn at(url: &str) -> Self {
        let key = Bench::new();
        let made = key.run(&["farm", "key", "key"]);
        assert_eq!(made.code, 0, "{}", made.all());
        let (public, url) = (made.stdout.trim().to_owned(), url.to_owned());
        Self { key, public, url }
    }

    /// Runs the program on a host that builds.
    fn on(&self, host: &Bench, args: &[&str]) -> Ran {
        let mut command = host.command(args);
        command.env("PIPELINE_REMOTE_SIGN_KEY", self.key.path("key"));
        self.finish(host, command)
    }

    /// Runs it on a host that only reads.
    fn reading(&self, host: &Bench, args: &[&str]) -> Ran {
        let mut command = host.command(args);
        command.env("PIPELINE_REMOTE_TRUST", &self.public);
        self.finish(host, command)
    }

    fn finish(&self, host: &Bench, mut command: std::process::Command) -> Ran {
        self.login(&mut command);
        host.finish(command)
    }

    fn login(&self, command: &mut std::process::Command) {
        command
            .env("PIPELINE_REMOTE", &self.url)
            .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "s3cr3t");
    }
}

/// A host with a manifest of one image, made from a medium by URL, and an empty store.
fn host(medium: &str, content: &[u8]) -> Bench {
    let bench = Bench::new();
    let text = format!(
        r#"
[distros.debian12]
family  = "debian"
version = "12"
source  = {{ disk = {{ urls = ["{medium}"], sha256 = "{}", user = "root" }} }}

[flavors.base]
steps = [{{ inline = "true" }}]

[[images]]
distro = "debian12"
flavor = "base"
sizes  = ["3G"]
"#,
        sha256_hex(content)
    );
    bench.write("m.toml", text);
    bench
}

/// Puts a result into the host's store as if it had been built there.
fn build(bench: &Bench, id: &str, file: &str, bytes: &[u8]) {
    let store = Store::open(&bench.path("store")).unwrap();
    let manifest = load(&bench.path("m.toml")).unwrap();
    let plan = prepare(&manifest, &[0], &store, Ask::default(), &|_| {})
        .unwrap()
        .plan;
    let (_, node) = plan.nodes().find(|(_, node)| node.id() == id).unwrap();
    let (scratch, cancel) = (store.scratch("seed").unwrap(), Cancel::default());
    let claim = store.claim(node.stage.name, &node.key, &scratch, true, &cancel, &mut || {});
    let Claim::Miss(mut slot) = claim.unwrap() else {
        unreachable!()
    };
    slot.build_for("m", &node.subject);
    std::fs::write(slot.path(file), bytes).unwrap();
    let digests = hash_file(&slot.path(file), &Algorithm::ALL, &cancel).unwrap();
    slot.set_digests(file, digests.clone());
    let facts = serde_json::json!({ "digests": digests });
    slot.commit(node.inputs.clone(), facts, &cancel).unwrap();
}

fn well(ran: &Ran, says: &[&str]) {
    assert_eq!(ran.code, 0, "{}", ran.all());
    for words in says {
        assert!(ran.all().contains(words), "no `{words}` in: {}", ran.all());
    }
}

#[test]
fn a_host_with_an_empty_store_delivers_what_another_one_packaged() {
    let shelf = Shelf::start();
    shelf.heed_conditions();
    let farm = Farm::at(&shelf.url("/farm"));
    let package = noise(BYTES, 1);
    let medium = Server::start(b"a medium".to_vec());
    let url = medium.url("/base.raw");
    let builder = host(&url, b"a medium");
    build(&builder, &format!("package/{IMAGE}"), "image", &package);
    let push = ["store", "push", &format!("package/{IMAGE}")];
    well(&farm.on(&builder, &push), &["pushed"]);
    well(&farm.on(&builder, &push), &["was there already"]);

    // It only reads.
    let third = host(&url, b"a medium");
    let plan = farm.reading(&third, &["plan", "m.toml"]);
    well(
        &plan,
        &[
            "in the remote store",
            "1 to do, 1 cached; 1 of them in the remote store; no VM to boot",
        ],
    );
    assert!(!third.path("store").exists(), "a plan changes nothing");
    shelf.forget_asked();
    let before = shelf.sent();
    let ran = farm.reading(&third, &["run", "m.toml", "--progress", "plain"]);
    well(&ran, &["taking 1 result from the remote store (3.0 MiB)"]);
    let image = third.path(&format!("out/{IMAGE}/{IMAGE}.qcow2.gz"));
    assert!(
        std::fs::read(image).unwrap() == package,
        "the image is the package"
    );
    let moved = shelf.sent() - before;
    assert!(moved as f64 <= 1.05 * BYTES as f64, "{moved} bytes for {BYTES}");
    assert!(
        shelf.lines().iter().all(|line| !line.starts_with("PUT")),
        "{:?}",
        shelf.lines()
    );
    assert_eq!(
        medium.asked().len(),
        0,
        "nothing is fetched for what is not built"
    );
    well(&farm.reading(&third, &["run", "m.toml"]), &[]);

    let refused = farm.reading(&third, &push);
    assert!(
        refused.code == 1 && refused.stderr.contains("remote.sign_key"),
        "{}",
        refused.all()
    );
    // An install has the key of the build.
    build(&builder, "install/debian12", "build_key", b"PRIVATE");
    let refused = farm.on(&builder, &["store", "push", "install/debian12"]);
    assert!(
        refused.code == 2 && refused.stderr.contains("never leaves this host"),
        "{}",
        refused.all()
    );
    let stored: Vec<u8> = shelf
        .paths()
        .iter()
        .flat_map(|path| shelf.file(path).unwrap())
        .collect();
    assert!(!stored.windows(7).any(|part| part == b"PRIVATE"));
    let untrusting = third.run(&["run", "m.toml", "--remote", &shelf.url("/farm")]);
    assert!(
        untrusting.code == 2 && untrusting.stderr.contains("remote.trust"),
        "{}",
        untrusting.all()
    );
}

#[test]
fn a_run_takes_what_is_there_and_puts_there_what_it_built() {
    let shelf = Shelf::start();
    shelf.heed_conditions();
    let farm = Farm::at(&shelf.url("/farm"));
    let content = [noise(200_000, 2), vec![0; 1 << 20]].concat();
    let medium = Server::start(content.clone());
    let (one, two) = (
        host(&medium.url("/m"), &content),
        host(&medium.url("/m"), &content),
    );
    let fetch = ["run", "m.toml", "--until", "fetch", "--progress", "plain"];
    let unshared = "not shared with other hosts: install/debian12: it has the private key of the build";
    well(&farm.on(&one, &["plan", "m.toml"]), &[unshared]);
    assert!(!one.run(&["plan", "m.toml"]).all().contains("not shared"));
    // What the server cannot do at first it can a moment later.
    shelf.faults([500, 409].map(crate::support::shelf::Fault::Status));
    let ran = farm.on(&one, &fetch);
    well(&ran, &["putting it into the remote store"]);
    assert!(!ran.stderr.contains("warning"), "{}", ran.all());
    let asked = medium.asked().len();
    let key = &one.keys("m.toml")["fetch/debian12"];
    assert!(
        shelf
            .file(&format!("/farm/results/fetch/{key}/entry.json"))
            .is_some(),
        "{:?}",
        shelf.paths()
    );
    // A transfer that is cut goes on where it was.
    shelf.cut_reads([50_000]);
    let before = shelf.sent();
    let taken = farm.reading(&two, &["run", "m.toml", "--until", "fetch", "--dry-run"]);
    well(&taken, &["Nothing to do"]);
    let pull = farm.reading(&two, &["store", "pull", &format!("fetch/{key}")]);
    well(&pull, &["taken"]);
    assert!(shelf.sent() - before < 210_000, "{}", shelf.sent() - before);
    assert!(
        shelf.asked().iter().any(|asked| asked.header("range").is_some()),
        "{:?}",
        shelf.lines()
    );
    let result = two.path(&format!("store/results/fetch/{key}"));
    let medium_file = std::fs::read_dir(&result)
        .unwrap()
        .flatten()
        .map(|file| file.path());
    assert!(
        medium_file
            .filter(|path| path.extension().is_none())
            .any(|path| std::fs::read(path).unwrap() == content)
    );
    well(&two.run(&["store", "verify"]), &["1 of 1 result as written"]);
    assert_eq!(medium.asked().len(), asked, "its publisher is not asked again");
}

#[test]
fn a_server_that_is_away_costs_seconds_and_is_reported_once() {
    let content = b"a medium";
    let medium = Server::start(content.to_vec());
    let silent = Shelf::start();
    silent.fall_silent_after(Some(0));
    let dead = crate::support::http::DeadPort::new();
    for (url, most) in [
        (format!("http://127.0.0.1:{}/farm", dead.port()), 8),
        (silent.url("/farm"), 20),
    ] {
        let farm = Farm::at(&url);
        let bench = host(&medium.url("/m"), content);
        let begun = Instant::now();
        let ran = farm.on(
            &bench,
            &["run", "m.toml", "--until", "fetch", "--progress", "plain"],
        );
        well(&ran, &["is not used for now"]);
        assert_eq!(
            ran.stderr.matches("is not used for now").count(),
            1,
            "{}",
            ran.all()
        );
        assert!(
            begun.elapsed() < Duration::from_secs(most),
            "{:?}: {}",
            begun.elapsed(),
            ran.all()
        );
        assert!(
            bench
                .path(&format!(
                    "store/results/fetch/{}",
                    bench.keys("m.toml")["fetch/debian12"]
                ))
                .exists()
        );
    }
}
