//! `pipeline verify`: an untouched output folder is good, here and on a server, and whatever is done to it is found.

use std::process::Command;

use serde_json::Value;

use super::sbom::provisioned;
use super::{LARGE, SMALL, bench, file, manifest, noise, package, says, well};
use crate::support::shelf::Shelf;
use crate::support::{Bench, tool};

fn sh(bench: &Bench, script: &str) {
    tool("sh", &["-ec", script], &bench.path(""));
}

/// Two images with bills of materials, built, uploaded and signed, in `out`; what was signed before the last build in `old`.
fn published() -> Bench {
    const PUBLISH: &str = "[publish]\nsbom = [\"spdx\"]\nprovenance = true\nsign = [{ ssh = { file = \"keys/ssh\" } }]\n\
        [publish.directory]\npath = \"share\"\n";
    let bench = bench(PUBLISH, 10_000);
    sh(
        &bench,
        "mkdir share keys; ssh-keygen -q -t ed25519 -N '' -C images@example.org -f keys/ssh",
    );
    sh(
        &bench,
        "ssh-keygen -q -t ed25519 -N '' -C images@example.org -f keys/other; \
         echo \"images@example.org $(cat keys/ssh.pub)\" > allowed_signers",
    );
    bench.write("m.toml", manifest(PUBLISH));
    provisioned(&bench);
    well(&bench.run(&["run", "m.toml", "--upload"]));
    sh(&bench, "cp -r out old");
    package(&bench, LARGE, &noise(10_000, 9));
    well(&bench.run(&["run", "m.toml", "--upload"]));
    bench
}

#[test]
fn an_untouched_folder_is_good_and_of_twenty_tamperings_each_is_named_by_its_file() {
    let bench = published();
    let trust = ["--key", "keys/ssh.pub"];
    let good = bench.run(&[&["verify", "out"][..], &trust].concat());
    well(&good);
    assert!(!good.stdout.contains("unproven"), "{}", good.all());
    for part in [
        "signs SHA512SUM.txt, by images@example.org (SSH ED25519 key SHA256:",
        "as in SHA512SUM.txt, MD5SUM.txt, index.json; signed by images@example.org (SSH",
        "lists 2 packages; as in",
        "says how it was made: by pipeline 0.1.0, from 2 inputs with digests; as in",
    ] {
        assert!(good.stdout.contains(part), "{}", good.all());
    }

    // A stranger needs no program of ours: the line of the README.
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let line = readme
        .lines()
        .find(|line| line.contains("ssh-keygen -Y verify"))
        .unwrap();
    sh(
        &bench,
        &format!("cp -r out copy; cd copy; cp ../allowed_signers .; {line}"),
    );
    let changed = format!(
        "cd copy; chmod u+w {0}; echo >> {0}; ! {{ {line} ; }}",
        file(SMALL)
    );
    sh(&bench, &changed);

    let (small, large) = (file(SMALL), file(LARGE));
    let list = "SHA512SUM.txt";
    let replaced = format!(
        "echo other > {small}; sed -i '/{SMALL}.qcow2.gz$/d' SHA512SUM.txt MD5SUM.txt; \
         sha512sum {small} >> SHA512SUM.txt; md5sum {small} >> MD5SUM.txt"
    );
    let resign = |list: &str| format!("rm {list}.sig; ssh-keygen -q -Y sign -n file -f ../keys/other {list}");
    // What is done to a copy, the file that is named, and why.
    let by_publisher = |file: &str| {
        format!(
            "rm index.json*; for sum in sha512:SHA512SUM.txt md5:MD5SUM.txt; do list=${{sum#*:}}; \
             sed -i '\\#  {file}$#d' $list; ${{sum%:*}}sum {file} >> $list; rm $list.sig; \
             ssh-keygen -q -Y sign -n file -f ../keys/ssh $list; done"
        )
    };
    let (of_small, of_large) = (format!("{small}.intoto.jsonl"), format!("{large}.intoto.jsonl"));
    let bill = format!("{large}.spdx.json");
    let cases: [(String, &str, &str); 23] = [
        (
            format!("printf x | dd of={small} bs=1 seek=99 conv=notrunc status=none"),
            &small,
            "it is not what SHA512SUM.txt says",
        ),
        (
            format!("truncate -s 9000 {small}"),
            &small,
            "it is not what SHA512SUM.txt says",
        ),
        (
            format!("echo >> {large}"),
            &large,
            "it is not what SHA512SUM.txt says",
        ),
        (format!("rm {large}"), &large, "it is missing"),
        (
            format!("mv {small} x; mv {large} {small}; mv x {large}"),
            &small,
            "it is not what SHA512SUM.txt says",
        ),
        (
            replaced.clone(),
            "SHA512SUM.txt.sig",
            "does not sign this SHA512SUM.txt",
        ),
        (
            format!("{replaced}; {}; {}", resign(list), resign("MD5SUM.txt")),
            list,
            "no trusted key has signed it",
        ),
        (
            format!("sed -i '/{LARGE}/d' {list}"),
            "SHA512SUM.txt.sig",
            "does not sign this SHA512SUM.txt",
        ),
        (
            format!(": > {list}"),
            "SHA512SUM.txt.sig",
            "does not sign this SHA512SUM.txt",
        ),
        (format!("rm {list}.sig"), list, "no trusted key has signed it"),
        (
            format!("cp MD5SUM.txt.sig {list}.sig"),
            "SHA512SUM.txt.sig",
            "does not sign this SHA512SUM.txt",
        ),
        (
            format!("cp ../old/{list}* ."),
            &large,
            "it is not what SHA512SUM.txt says",
        ),
        (
            format!("rm {list} {list}.sig"),
            "MD5SUM.txt",
            "MD5 alone proves nothing",
        ),
        (
            "sed -i s/0/1/ MD5SUM.txt".to_owned(),
            "MD5SUM.txt.sig",
            "does not sign this MD5SUM.txt",
        ),
        (
            "echo hello > MD5SUM.txt.sig".to_owned(),
            "MD5SUM.txt.sig",
            "does not sign this MD5SUM.txt",
        ),
        (
            "sed -i s,file:///,http://evil.example/, index.json".to_owned(),
            "index.json.sig",
            "does not sign this index.json",
        ),
        (
            "rm index.json.sig".to_owned(),
            "index.json",
            "no trusted key has signed it",
        ),
        (
            "cp ../old/index.json* .".to_owned(),
            &large,
            "it is not what index.json says",
        ),
        (
            format!("sed -i s/openssl/openfoo/ {small}.spdx.json"),
            ".spdx.json",
            "it is not what SHA512SUM.txt says",
        ),
        (
            format!("cp {small}.spdx.json {large}.spdx.json"),
            ".spdx.json",
            "it is not what SHA512SUM.txt says",
        ),
        // What the publisher signed by mistake, or with a key that was lent.
        (
            format!("cp {small}.spdx.json {bill}; {}", by_publisher(&bill)),
            &bill,
            "it is about other bytes than those of",
        ),
        (
            format!("cp {of_small} {of_large}; {}", by_publisher(&of_large)),
            &of_large,
            "it is not about",
        ),
        (
            format!(
                "sig=$(sed 's/.*\"sig\":\"\\([^\"]*\\)\".*/\\1/' {of_small}); \
                 sed -i \"s#\\\"sig\\\":\\\"[^\\\"]*#\\\"sig\\\":\\\"$sig#\" {of_large}; {}",
                by_publisher(&of_large)
            ),
            &of_large,
            "a signature in it is wrong",
        ),
    ];
    for (script, named, why) in cases {
        sh(
            &bench,
            &format!("rm -rf t; cp -r out t; chmod -R u+w t; cd t; {script}"),
        );
        let ran = bench.run(&[&["verify", "t", "--format", "json"][..], &trust].concat());
        assert_eq!(ran.code, 1, "{script}: {}", ran.all());
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(report["good"], false);
        let found = report["entries"].as_array().unwrap().iter().any(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap();
            text("state") == "bad" && text("file").ends_with(named) && text("what").contains(why)
        });
        assert!(found, "{script}: {}", ran.all());
    }
    // What no list names proves nothing.
    sh(&bench, "rm -rf t; cp -r out t; echo > t/extra.qcow2");
    let extra = bench.run(&[&["verify", "t"][..], &trust].concat());
    well(&extra);
    assert!(extra.stdout.contains("unproven  extra.qcow2"), "{}", extra.all());
}

#[test]
fn a_published_folder_is_verified_where_it_is_and_who_is_not_trusted_proves_nothing() {
    let bench = published();
    let shelf = Shelf::start();
    let found = Command::new("find")
        .args(["out", "-type", "f", "-printf", "%P\\n"])
        .current_dir(bench.path(""))
        .output()
        .unwrap();
    for name in String::from_utf8(found.stdout).unwrap().lines() {
        shelf.put(
            &format!("/images/{name}"),
            &std::fs::read(bench.path(&format!("out/{name}"))).unwrap(),
        );
    }
    let url = shelf.url("/images/");
    well(&bench.run(&["verify", &url, "--key", "keys/ssh.pub"]));
    let stranger = bench.run(&["verify", &url]);
    well(&stranger);
    says(&stranger, &["nothing here says who made it"]);
    assert!(
        stranger.stdout.contains("which is not among the trusted keys"),
        "{}",
        stranger.all()
    );
    let other = bench.run(&["verify", &url, "--key", "keys/other.pub"]);
    assert_eq!(other.code, 1, "{}", other.all());
    assert!(
        other.stdout.contains("no trusted key has signed it"),
        "{}",
        other.all()
    );
    shelf.put(&format!("/images/{}", file(LARGE)), b"other bytes");
    let changed = bench.run(&["verify", &url, "--key", "keys/ssh.pub"]);
    assert_eq!(changed.code, 1, "{}", changed.all());
    assert!(changed.stdout.contains(&file(LARGE)), "{}", changed.all());

    bench.write("empty/x", "");
    for (args, code, why) in [
        (
            ["verify", "absent", "--key", "keys/ssh.pub"],
            2,
            "absent is no folder",
        ),
        (
            ["verify", "out", "--key", "keys/ssh"],
            2,
            "is a private key; give the public half",
        ),
        (["verify", "out", "--key", "m.toml"], 2, "m.toml has no keys"),
    ] {
        let ran = bench.run(&args);
        assert_eq!(ran.code, code, "{}", ran.all());
        says(&ran, &[why]);
    }
    let empty = bench.run(&["verify", "empty"]);
    assert_eq!(empty.code, 1, "{}", empty.all());
    assert!(
        empty.stdout.contains("there is no checksum file"),
        "{}",
        empty.all()
    );
}
