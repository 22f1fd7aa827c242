//! Versions that are kept of an image in several formats: each says how it was made, and is signed as the newest one is.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use super::formats::{ID, bench, package_disk};
use super::{says, well};
use crate::support::shelf::Shelf;
use crate::support::{Bench, Ran, tool};

const PUBLISH: &str = "formats = [\"vmdk\"]\nversions = { keep = 2 }\nprovenance = true\n\
                       sign = [{ ssh = { file = \"keys/ssh\" } }]\n";

fn sh(bench: &Bench, script: &str) -> String {
    tool("sh", &["-ec", script], &bench.path(""))
}

fn verify(bench: &Bench, place: &str) -> Ran {
    bench.run(&["verify", place, "--key", "keys/ssh.pub"])
}

#[test]
fn each_version_in_each_format_is_signed_and_says_how_it_was_made() {
    let bench = bench(PUBLISH);
    sh(
        &bench,
        "mkdir keys; ssh-keygen -q -t ed25519 -N '' -C images@example.org -f keys/ssh; \
         echo \"images@example.org $(cat keys/ssh.pub)\" > allowed",
    );
    let run = || bench.run(&["run", "m.toml", "--upload"]);
    well(&run());
    std::thread::sleep(Duration::from_millis(1100));
    package_disk(&bench, 5);
    well(&run());
    let versions = sh(&bench, &format!("cd out/versions/{ID}; ls -d 2*"));
    let versions: Vec<_> = versions.lines().map(str::to_owned).collect();
    let [old, new] = &versions[..] else {
        panic!("{versions:?}")
    };

    // A stranger needs no program of ours.
    let by_hand = "sha256sum --quiet --check --strict SHA256SUMS; wc -l < SHA256SUMS; ssh-keygen -Y verify -n file \
                   -f ../../../../allowed -I images@example.org -s SHA256SUMS.sig < SHA256SUMS";
    for version in &versions {
        let said = sh(&bench, &format!("cd out/versions/{ID}/{version}; {by_hand}"));
        assert!(said.starts_with("3\nGood \"file\" signature"), "{said}");
    }
    let good = verify(&bench, "out");
    well(&good);
    assert!(!good.stdout.contains("unproven"), "{}", good.all());
    let described = good.stdout.lines().filter(|line| {
        let is_statement = line.contains(".qcow2.gz.intoto.jsonl ");
        is_statement
            && line.contains("says how it was made")
            && line.contains("; signed by images@example.org")
    });
    assert_eq!(described.count(), 3, "{}", good.all());
    let of_old = format!("versions/{ID}/{old}");
    let by = format!("as in {of_old}/SHA256SUMS; signed by images@example.org");
    assert!(good.stdout.contains(&by), "{}", good.all());

    // What is done to a copy, the file that is named, and why.
    let vmdk = format!("{of_old}/{ID}.vmdk");
    let statement = format!("{ID}.qcow2.gz.intoto.jsonl");
    let resign = "rm SHA256SUMS.sig; ssh-keygen -q -Y sign -n file -f ../../../../keys/ssh SHA256SUMS";
    for (script, file, why) in [
        (
            format!("echo >> {vmdk}"),
            vmdk.clone(),
            format!("it is not what {of_old}/SHA256SUMS says"),
        ),
        (format!("rm {vmdk}"), vmdk.clone(), "it is missing".to_owned()),
        (
            format!("rm {of_old}/SHA256SUMS.sig"),
            format!("{of_old}/SHA256SUMS"),
            "no trusted key has signed it".to_owned(),
        ),
        (
            format!("sed -i /vmdk/d {of_old}/SHA256SUMS"),
            format!("{of_old}/SHA256SUMS.sig"),
            format!("does not sign this {of_old}/SHA256SUMS"),
        ),
        (
            format!("cd {of_old}; cp -f ../{new}/{statement} .; sha256sum {ID}.* > SHA256SUMS; {resign}"),
            format!("{of_old}/{statement}"),
            "it is about other bytes than those of".to_owned(),
        ),
    ] {
        sh(
            &bench,
            &format!("rm -rf copy; cp -r --no-preserve=mode out copy; cd copy; {script}"),
        );
        let ran = verify(&bench, "copy");
        let is_named = |line: &str| line.starts_with("bad ") && line.contains(&file) && line.contains(&why);
        assert!(
            ran.code == 1 && ran.stdout.lines().any(is_named),
            "{file}: {why}: {}",
            ran.all()
        );
    }

    // On a server they are found by the lists of versions.
    let shelf = Shelf::start();
    let served = sh(&bench, "find out -type f -printf '%P\\n'");
    for name in served.lines() {
        let bytes = std::fs::read(bench.path("out").join(name)).unwrap();
        shelf.put(&format!("/images/{name}"), &bytes);
    }
    let url = shelf.url("/images");
    let remote = verify(&bench, &url);
    well(&remote);
    assert!(remote.stdout.contains(&by), "{}", remote.all());
    // A server that is slow with a file: what is read is said after a second.
    let asked = shelf.lines();
    let first = asked.iter().position(|line| line.ends_with(".vmdk")).unwrap();
    shelf.fall_silent_after(Some(first));
    let mut child = bench.command(&["verify", &url]);
    let mut child = child
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    said.read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.starts_with("reading ") && line.contains(" of 9: "), "{line}");

    // A signature that is gone is made again; a version that is pruned takes its own along.
    sh(&bench, &format!("rm out/{of_old}/SHA256SUMS.sig"));
    let run = || bench.run(&["run", "m.toml"]);
    says(&run(), &["1 node built"]);
    well(&verify(&bench, "out"));
    well(&bench.run(&["prune", "m.toml", "--keep", "1"]));
    says(&run(), &["nothing to do"]);
    well(&verify(&bench, "out"));
}
