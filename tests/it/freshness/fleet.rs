//! What `pipeline outdated` costs a fleet: one request for each suite and each list, under validators.

use pipeline::internals::store::Store;

use super::{NEW, OLD, assert_ran, good};
use crate::support::Bench;
use crate::support::archive::{Archive, Suite};

const FLEET: &str = include_str!("../../../pipelines/images.toml");
const SUITES: [&str; 3] = ["bullseye", "bookworm", "trixie"];
const LIST: &str = "/iso/CHECKSUM";

/// The fleet of the project from this archive, and one more distro of a list that it follows.
fn bench_of(archive: &Archive) -> Bench {
    let bench = Bench::new();
    let mut text = FLEET.replace(
        "https://repo.almalinux.org/almalinux/9/isos/x86_64/",
        &archive.shelf.url("/iso/"),
    );
    archive.signer.export("archive", &bench.path("archive.gpg"));
    for suite in SUITES {
        let line = format!("suite  = \"{suite}\"\n");
        let own = format!(
            "mirror = \"{}\"\narchive_keyring = \"archive.gpg\"\n",
            archive.url()
        );
        assert!(text.contains(&line));
        text = text.replace(&line, &format!("{line}{own}"));
    }
    let (_, followed) = text.split_once("[distros.almalinux9]").unwrap();
    let (followed, _) = followed.split_once("[flavors.").unwrap();
    text += &format!(
        "\n[distros.second]{}",
        followed.replace(".almalinux9.", ".second.")
    );
    text += "\n[[images]]\ndistro = \"second\"\nflavor = \"vm-bootstrap\"\nsizes = [\"20G\"]\n";
    bench.write("images.toml", text);
    bench
}

#[test]
fn a_fleet_is_asked_about_by_one_conditional_request_for_each_suite_and_list() {
    let archive = Archive::start();
    for name in SUITES {
        archive.publish(&Suite { name, ..good(OLD, 3) });
    }
    let list = |digit: &str| {
        let name = "AlmaLinux-9-latest-x86_64-boot.iso";
        archive.shelf.put(
            LIST,
            format!("SHA256 ({name}) = {}\n", digit.repeat(64)).as_bytes(),
        );
    };
    list("a");
    let bench = bench_of(&archive);
    // A fleet that was built has a store: that is where validators are kept.
    Store::open(&bench.path("store")).unwrap();
    assert_ran(
        &bench.run(&["update", "images.toml"]),
        0,
        &["5 moved in images.lock"],
    );
    let outdated = || {
        archive.shelf.forget_asked();
        let ran = bench.run(&["outdated", "images.toml"]);
        let asked = archive.shelf.asked();
        let is_conditional = asked.iter().all(|one| one.header("if-none-match").is_some());
        let mut lines: Vec<_> = asked.into_iter().map(|one| one.line).collect();
        lines.sort();
        (ran, lines, is_conditional)
    };
    // The lists of packages are fetched once.
    outdated();
    let suites =
        ["bookworm", "bullseye", "trixie"].map(|suite| format!("GET /debian/dists/{suite}/InRelease"));
    let once = [&suites[..], &[format!("GET {LIST}")]].concat();
    let (ran, asked, is_conditional) = outdated();
    assert_ran(&ran, 0, &["Nothing has moved"]);
    assert_eq!((asked, is_conditional), (once.clone(), true));

    // What has moved costs its own answer, and once its list of packages.
    list("b");
    archive.publish(&Suite {
        name: "trixie",
        ..good(NEW, 0)
    });
    let (ran, ..) = outdated();
    assert_ran(
        &ran,
        4,
        &[
            "debian13 trixie 20",
            "almalinux9 iso sha256:aaaa",
            "second iso sha256:aaaa",
        ],
    );
    let (again, asked, is_conditional) = outdated();
    assert_eq!((again.stdout, asked, is_conditional), (ran.stdout, once, true));
}
