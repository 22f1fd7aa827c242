//! Yesterday's archive, for real: a guest whose apt installs from it, its list of packages, and the move of one of them.

use std::fs;

use pipeline::internals::digest::sha256_hex;
use pipeline::internals::machine::disk::Put;

use super::{assert_ran, good};
use crate::support::archive::{Archive, Suite};
use crate::support::inside::write;
use crate::support::small_guest::small_apt_disk;
use crate::support::{Bench, tool};

const SECURITY: &str = "bookworm-security";

/// Puts a package into the archive's pool; its paragraph in the list of packages.
fn package(archive: &Archive, bench: &Bench, name: &str, version: &str) -> String {
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: A <a@example.org>\nDescription: {name}\n"
    );
    let file = format!("{name}_{version}_amd64.deb");
    for folder in ["DEBIAN", "etc"] {
        fs::create_dir_all(bench.path(name).join(folder)).unwrap();
    }
    bench.write(&format!("{name}/DEBIAN/control"), &control);
    bench.write(&format!("{name}/etc/{name}"), version);
    tool(
        "dpkg-deb",
        &["--root-owner-group", "--build", name, &file],
        &bench.path(""),
    );
    let bytes = fs::read(bench.path(&file)).unwrap();
    archive.shelf.put(&format!("/debian/pool/{file}"), &bytes);
    format!(
        "{control}Filename: pool/{file}\nSize: {}\nSHA256: {}\n\n",
        bytes.len(),
        sha256_hex(&bytes)
    )
}

#[test]
fn a_lock_of_yesterday_names_what_moved_rebuilds_it_and_then_there_is_nothing_to_do() {
    let archive = Archive::start();
    let bench = Bench::new();
    let disk = small_apt_disk(&bench, "small");
    archive.signer.export("archive", &bench.path("archive.gpg"));
    let keyring = bench.path("archive.gpg");
    write(
        &disk,
        &[Put::File("/etc/apt/trusted.gpg.d/archive.gpg", &keyring)],
    );
    let in_guest = archive.url().replace("127.0.0.1", "10.0.2.2");
    bench.write(
        "m.toml",
        format!(
            "[distros.small]\nfamily = \"debian\"\nversion = \"12\"\ndisk = \"128M\"\nmemory = \"192M\"\ncpus = 1\n\
             archives = [{{ url = \"{}\", suites = [\"{SECURITY}\"], keyring = \"archive.gpg\" }}]\n\
             source = {{ disk = {{ path = \"small.raw\", access = {{ key = \"small-key\" }} }} }}\n\
             [flavors.base]\nsteps = [{{ name = \"upgrade\", inline = \"\"\"\n\
             echo 'deb {in_guest} {SECURITY} main' > /etc/apt/sources.list\n\
             apt-get update\napt-get install -y openssl tzdata\n\"\"\" }}]\n\
             [[images]]\ndistro = \"small\"\nflavor = \"base\"\nsizes = [\"256M\"]\n\
             [publish]\ncompress = \"none\"\n",
            archive.url()
        ),
    );
    let publish = |packages: &str, age: i64| {
        archive.publish(&Suite {
            name: SECURITY,
            ..good(packages, age)
        });
    };
    let tzdata = package(&archive, &bench, "tzdata", "2025b-0");
    publish(&(package(&archive, &bench, "openssl", "3.0.17-1") + &tzdata), 1);
    let run = |option: &str| bench.run(&["run", "m.toml", "--no-check", "--progress", "plain", option]);
    let packages = || bench.run(&["packages", "m.toml"]).stdout;
    assert_ran(&run("--no-layers"), 0, &["m.lock: 1 new entry", "5 nodes built"]);
    let listed = packages();
    assert!(
        listed.contains("openssl  3.0.17-1 ") && listed.contains("tzdata   2025b-0 "),
        "{listed}"
    );

    publish(&(package(&archive, &bench, "openssl", "3.0.17-2") + &tzdata), 0);
    assert_ran(&run("--locked"), 0, &["nothing to do"]);
    let ran = bench.run(&["outdated", "m.toml"]);
    let moved = "openssl 3.0.17-1 → 3.0.17-2 (security) images: small-256M-base";
    assert_ran(&ran, 4, &[moved]);
    assert!(!ran.stdout.contains("tzdata"), "{}", ran.all());
    assert_ran(&bench.run(&["update", "m.toml"]), 0, &["1 moved in m.lock"]);
    let explained = bench.run(&["explain", "m.toml", "provision/small-base"]);
    assert_ran(&explained, 0, &[": openssl 3.0.17-1 → 3.0.17-2 (security)"]);

    let ran = run("--locked");
    assert_ran(&ran, 0, &["4 nodes built"]);
    assert!(!ran.stderr.contains("install small: "), "{}", ran.all());
    let listed = packages();
    assert!(
        listed.contains("openssl  3.0.17-2 ") && listed.contains("tzdata   2025b-0 "),
        "{listed}"
    );
    assert_ran(&run("--locked"), 0, &["nothing to do"]);
    assert_ran(&bench.run(&["outdated", "m.toml"]), 0, &["Nothing has moved"]);
}
