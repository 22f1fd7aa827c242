//! What is inside: the packages that a guest had when it was provisioned, and what two builds differ in.

use serde_json::Value;

use pipeline::internals::machine::disk::Put;

use crate::support::inside::{replace, write};
use crate::support::small_guest::small_disk;
use crate::support::{Bench, tool};

const MANIFEST: &str = r#"
[pipeline]
name = "inside"
[distros.small]
family = "alpine"
version = "3.20"
disk = "64M"
memory = "128M"
cpus = 1
source = { disk = { path = "small.raw", access = { key = "small-key" } } }
[flavors.base]
steps = [{ inline = "STEP", name = "step" }]
[[images]]
distro = "small"
flavor = "base"
sizes = ["128M", "256M"]
[publish]
formats = ["root-tar"]
"#;

/// As apk writes it (wiki.alpinelinux.org, "Apk spec").
const DATABASE: &str = "C:Q1aaaa=\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\n\n\
                        C:Q1bbbb=\nP:libssl3\nV:3.3.0-r2\nA:x86_64\nL:Apache-2.0\no:openssl\n\n";

#[test]
fn packages_are_listed_and_two_builds_are_compared_by_packages_and_files() {
    let bench = Bench::new();
    let disk = small_disk(&bench, "small");
    let database = bench.write("installed", DATABASE);
    let release = "ID=alpine\nVERSION_ID=3.20.1\nPRETTY_NAME=\"Alpine Linux v3.20\"\n";
    replace(&disk, "/etc/os-release", release, &bench);
    write(
        &disk,
        &[
            Put::Folder("/lib"),
            Put::Folder("/lib/apk"),
            Put::Folder("/lib/apk/db"),
            Put::File("/lib/apk/db/installed", &database),
        ],
    );
    let build = |step: &str| {
        bench.write("inside.toml", MANIFEST.replace("STEP", step));
        let ran = bench.run(&["run", "inside.toml", "--no-check", "--size", "128M"]);
        assert_eq!(ran.code, 0, "{}", ran.all());
    };
    bench.write("inside.toml", MANIFEST.replace("STEP", "true"));
    let missing = bench.run(&["packages", "inside.toml", "--size", "128M"]);
    assert_eq!(missing.code, 1, "{}", missing.all());
    assert!(
        missing.stderr.contains("`small-128M-base` is not in the store"),
        "{}",
        missing.all()
    );

    build("echo r2 > /lib/libssl.so.3; echo old > /etc/note; chmod 600 /etc/note; touch /etc/gone");
    let page = || bench.run(&["report", "--output", "-"]).stdout;
    assert!(!page().contains("libssl3"), "there is no build before this one");
    let listed = bench.run(&["packages", "inside.toml"]);
    assert!(
        listed.stdout.contains("libssl3  3.3.0-r2  x86_64        openssl")
            && listed
                .stdout
                .contains("Alpine Linux v3.20: 2 packages in small-128M-base, small-256M-base"),
        "{}",
        listed.all()
    );
    let document = |format: &str| -> Value {
        let printed = bench.run(&["packages", "inside.toml", "--format", format]);
        assert_eq!(printed.code, 0, "{}", printed.all());
        serde_json::from_str(&printed.stdout).unwrap()
    };
    let purl = "pkg:apk/alpine/libssl3@3.3.0-r2?arch=x86_64&distro=alpine-3.20.1";
    let cyclonedx = document("cyclonedx");
    assert_eq!(cyclonedx["components"][0]["purl"], purl);
    assert_eq!(
        cyclonedx["components"][0]["licenses"][0]["license"]["name"],
        "Apache-2.0"
    );
    let spdx = document("spdx");
    assert_eq!(spdx["packages"][1]["externalRefs"][0]["referenceLocator"], purl);
    assert_eq!(spdx, document("spdx"), "equal builds give equal documents");
    let alone = bench.run(&["diff", "inside.toml", "--size", "128M"]);
    assert_eq!(alone.code, 1, "{}", alone.all());
    assert!(
        alone.stderr.contains("one build of `small-128M-base` only"),
        "{}",
        alone.all()
    );

    build(
        "sed -i s/3.3.0-r2/3.3.0-r3/ /lib/apk/db/installed; echo r3 > /lib/libssl.so.3; echo new > /etc/note; ln -s note /etc/link",
    );
    let row = "<th scope=\"row\">libssl3</th><td data-label=\"then\">3.3.0-r2</td><td data-label=\"now\">3.3.0-r3</td>";
    let page = page();
    assert!(
        page.contains(row) && page.contains("small-base</strong> 1 changed"),
        "{page}"
    );
    let diff = bench.run(&["diff", "inside.toml", "--size", "128M", "--detailed-exitcode"]);
    assert_eq!(diff.code, 4, "{}", diff.all());
    for line in [
        "\n1 package differs\n  libssl3  3.3.0-r2 -> 3.3.0-r3\n",
        " files differ\n",
        "  changed  /lib/apk/db/installed  content\n",
        "  changed  /lib/libssl.so.3  content\n",
        "  changed  /etc/note  content; mode 0600 -> 0644\n",
        "  added    /etc/link  0777 0:0, link\n",
        "  removed  /etc/gone  0644 0:0, 0 B\n",
    ] {
        assert!(diff.stdout.contains(line), "no `{line}` in\n{}", diff.all());
    }
    let page = bench.run(&["gallery", "inside.toml", "--size", "128M"]);
    assert_eq!(page.code, 0, "{}", page.all());
    let page = bench.read("out/index.html");
    assert!(page.contains("<li>libssl3 3.3.0-r2 → 3.3.0-r3</li>"), "{page}");
    let archive = bench.path("out/small-128M-base/small-128M-base.root.tar");
    let archive = archive.to_str().unwrap();
    let database = tool(
        "tar",
        &["-xOf", archive, "./lib/apk/db/installed"],
        &bench.path(""),
    );
    assert_eq!(database, DATABASE.replace("3.3.0-r2", "3.3.0-r3"));
    let listed = tool(
        "tar",
        &[
            "-tvf",
            archive,
            "--numeric-owner",
            "./etc/note",
            "./etc/link",
            "./tmp/",
        ],
        &bench.path(""),
    );
    let lines: Vec<_> = listed
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .collect();
    let shown: Vec<_> = lines
        .iter()
        .map(|words| [&words[..2], &words[5..]].concat().join(" "))
        .collect();
    let expected = [
        "lrwxrwxrwx 0/0 ./etc/link -> note",
        "-rw-r--r-- 0/0 ./etc/note",
        "drwxrwxrwt 0/0 ./tmp/",
    ];
    assert_eq!(shown, expected, "{listed}");

    let equal = bench.run(&["diff", "inside.toml", "--detailed-exitcode"]);
    assert_eq!(equal.code, 0, "two sizes have one system: {}", equal.all());
    assert!(equal.stdout.ends_with("they are equal\n"), "{}", equal.all());
}
