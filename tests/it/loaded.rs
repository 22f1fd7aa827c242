//! What the program makes of a manifest that is right, and what it does not depend on.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use pipeline::internals::checks::{BootsWithin, Check};

use crate::manifest::{GOOD, house, load};

#[test]
fn what_was_written_is_what_is_loaded() {
    let manifest = load(&house());
    let ids: Vec<_> = manifest.images.iter().map(|image| image.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "debian12-3G-full",
            "debian12-20G-full",
            "noble-3G-full",
            "noble-20G-full"
        ]
    );
    let file = manifest.images[0].file.display().to_string();
    assert_eq!(file, "debian12-3G-full/debian12-3G-full.qcow2.zst");
    let labels: Vec<_> = manifest
        .flavor("full")
        .unwrap()
        .steps
        .iter()
        .map(|step| step.label.as_str())
        .collect();
    assert_eq!(
        labels,
        [
            "update.sh",
            "copy files",
            "greet",
            "reboot",
            "install vm-bootstrap"
        ]
    );
    let keymap = |distro: &str| manifest.distro(distro).unwrap().vars["keymap"].clone();
    assert_eq!((keymap("debian12"), keymap("noble")), ("fr".into(), "us".into()));
    assert_eq!(manifest.distro("debian12").unwrap().disk.to_string(), "2 GiB");
}

#[test]
fn comments_and_the_order_of_tables_and_keys_change_nothing() {
    let bench = house();
    let before = load(&bench);
    let publish = GOOD.find("[publish]").unwrap();
    let images = GOOD.find("[[images]]").unwrap();
    let vars = GOOD.find("[vars]").unwrap();
    let moved = format!(
        "{}\n# a comment\n{}{}{}",
        &GOOD[publish..],
        &GOOD[images..publish],
        &GOOD[vars..images],
        &GOOD[..vars]
    );
    let moved = moved.replace(
        "family  = \"debian\"\nversion = \"12\"\n",
        "version = \"12\" # bookworm\nfamily = \"debian\"\n",
    );
    assert_ne!(moved.len(), GOOD.len());
    bench.write("images.toml", moved);
    assert_eq!(load(&bench), before);

    bench.write("files/motd", "bye\n");
    assert_ne!(
        load(&bench),
        before,
        "a copied file is part of what the manifest says"
    );
}

#[test]
fn a_playbook_counts_with_the_roles_beside_it_but_not_with_what_was_built() {
    let bench = house();
    bench.write("site.yml", "- hosts: all\n");
    bench.write("roles/web/tasks/main.yml", "[]\n");
    bench.write(
        "images.toml",
        GOOD.replace(
            "{ reboot = true }",
            "{ ansible = \"site.yml\", args = [\"--diff\"] }",
        )
        .replace(
            "output = \"out\"",
            &format!("output = \"{}\"", bench.path("out").display()),
        ),
    );
    let before = load(&bench);
    bench.write("out/a/a.gz", "an image\n");
    assert_eq!(load(&bench), before);
    bench.write("roles/web/tasks/main.yml", "[{}]\n");
    assert_ne!(load(&bench), before);
}

#[test]
fn secrets_are_known_by_place_and_read_only_when_asked_for() {
    let bench = house();
    let text = GOOD.replace(
        "PACKAGES = \"wget {{ editor }}\"",
        "KEY = { file = \"key\" }, T = { env = \"HOUSE_TOKEN\" }, Z = { env = \"HOUSE_PROXY\", default = \"none\" }",
    );
    bench.write("images.toml", text);
    bench.write("key", "s3cret\n");
    let manifest = load(&bench);
    let uses = manifest.secrets();
    let places: Vec<_> = uses
        .iter()
        .map(|used| (used.flavor, used.step, used.variable))
        .collect();
    assert_eq!(
        places[..2],
        [("base", "update.sh", "KEY"), ("base", "update.sh", "T")]
    );
    assert_eq!(uses[0].secret.read().unwrap().expose(), "s3cret");
    let unset = uses[1].secret.read().unwrap_err().to_string();
    assert_eq!(
        unset,
        "the environment variable `HOUSE_TOKEN` is not set; export it before the run"
    );
    assert_eq!(uses[2].secret.read().unwrap().expose(), "none");
    // Programs that fetch something depend on proxies.
    assert_eq!(manifest.secret_variables(), ["HOUSE_TOKEN"].into());
    assert!(!format!("{manifest:?}").contains("s3cret"));
}

#[test]
fn an_image_gets_the_checks_of_its_flavors_its_own_and_those_that_name_it() {
    let bench = house();
    let text = GOOD
        .replace("[flavors.base]\n", "[flavors.base]\nchecks = [\"standard\"]\n")
        .replace("sizes  = [\"3G\", \"20G\"]", "sizes  = [\"3G\", \"20G\"]\nchecks = [\"vm-bootstrap\", \"standard\"]")
        .replace(
            "[publish]",
            "[[checks]]\nboots_within = \"1m\"\ndistros = \"noble\"\n\n\
             [[checks]]\nname = \"web\"\ncommand = \"curl http://127.0.0.1/\"\noutput = \"Welcome\"\nimages = \"*-20G-*\"\n\n[publish]",
        );
    bench.write("images.toml", text);
    let manifest = load(&bench);
    let names = |image: usize| -> Vec<_> {
        manifest.images[image]
            .checks
            .iter()
            .map(|c| c.name.as_str())
            .collect()
    };
    let standard = [
        "boots-within",
        "login-prompt",
        "network",
        "port-22",
        "root-size",
        "no-failed-units",
        "identity",
        "no-traces",
        "agent",
    ];
    assert_eq!(names(0), standard, "each set once");
    assert_eq!(names(1), [&standard[..], &["web"]].concat());
    // An own check takes the place of one of a set that has its name.
    let within = |seconds| Check::from(BootsWithin(Duration::from_secs(seconds)));
    assert_eq!(manifest.images[0].checks[0], within(300));
    assert_eq!(manifest.images[2].checks[0], within(60));
}

#[test]
fn a_thousand_images_load_at_once() {
    let bench = house();
    let sizes: Vec<_> = (0..500).map(|n| format!("\"{}G\"", 10 + n)).collect();
    bench.write("images.toml", GOOD.replace("\"3G\", \"20G\"", &sizes.join(", ")));
    let start = Instant::now();
    let manifest = load(&bench);
    // The promise is 100 ms for a release build on a quiet machine; this is neither.
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let ids: BTreeSet<_> = manifest.images.iter().map(|image| &image.id).collect();
    assert_eq!(ids.len(), 1000);
}
