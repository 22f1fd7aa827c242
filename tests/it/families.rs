//! Families and installers of the user's own, in files next to the manifest.

use std::fs;
use std::path::Path;

use crate::installer::{cd, failure, manifest};
use crate::machine::tiny::Then;
use crate::support::Bench;

const FLAVORS_AND_IMAGES: &str = r#"
[distros.debian12]
family  = "debian"
version = "12"
source  = { bootstrap = { suite = "bookworm", mirror = "http://mirror.invalid/debian" } }

[flavors.base]
steps = []

[[images]]
distro = ["daedalus", "daedalus-small", "debian12"]
flavor = "base"
sizes  = ["20G"]
"#;

/// The manifest and the file of families of the manual, with the templates that they name.
fn devuan() -> Bench {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/manifest.md");
    let manual = fs::read_to_string(manual).unwrap();
    let (_, section) = manual.split_once("### A family of your own\n").unwrap();
    let mut examples = section.split("```toml\n").skip(1);
    let mut example = || examples.next().unwrap().split("```").next().unwrap();
    let bench = Bench::new();
    bench.write("images.toml", example().to_owned() + FLAVORS_AND_IMAGES);
    bench.write("families/devuan.toml", example());
    bench.write(
        "families/devuan.cfg.j2",
        "{% extends \"preseed-debian.cfg.j2\" %}\n{% block clock %}\nd-i clock-setup/ntp boolean true\n{% endblock %}\n",
    );
    bench.write(
        "families/devuan.sh.j2",
        "{% extends \"bootstrap-debian.sh.j2\" %}\n{% block extra %}\ntouch /etc/devuan\n{% endblock %}\n",
    );
    bench.write("devuan_daedalus_5.0.1_amd64_netinstall.iso", "");
    bench
}

/// The installs whose keys differ after `new` stands in a file in place of `old`.
fn rebuilt(bench: &Bench, file: &str, old: &str, new: &str) -> Vec<String> {
    let before = bench.keys("images.toml");
    let text = bench.read(file);
    assert!(text.contains(old), "{text}");
    bench.write(file, text.replace(old, new));
    let after = bench.keys("images.toml");
    bench.write(file, text);
    let differ = after.into_iter().filter(|(id, key)| before.get(id) != Some(key));
    let installs = differ.filter(|(id, _)| id.starts_with("install/"));
    installs.map(|(id, _)| id).collect()
}

#[test]
fn the_example_of_the_manual_is_planned_explained_and_rendered() {
    let bench = devuan();
    assert_eq!(
        bench
            .keys("images.toml")
            .keys()
            .filter(|id| id.starts_with("install/"))
            .count(),
        3
    );

    let ran = bench.run(&["render", "images.toml", "--distro", "daedalus"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(
        ran.stdout.contains("\nd-i clock-setup/ntp boolean true\n"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout
            .contains("d-i mirror/http/hostname string deb.devuan.example\n"),
        "{}",
        ran.stdout
    );

    let ran = bench.run(&["render", "images.toml", "--distro", "daedalus-small"]);
    assert!(ran.stdout.contains("\ntouch /etc/devuan\n"), "{}", ran.all());

    let ran = bench.run(&["explain", "images.toml", "install/daedalus"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    for line in [
        "boot line                auto=true priority=critical DEBIAN_FRONTEND=text console=tt",
        "installer.images.kernel  boot/isolinux/linux\n",
    ] {
        assert!(ran.stdout.contains(line), "{}", ran.stdout);
    }
}

/// A guest of one sector in the place of an installer that no table of the program knows.
#[test]
fn an_installer_of_ones_own_is_followed_by_its_own_words() {
    let bench = Bench::new();
    bench.write(
        "house.toml",
        r#"
[family.house]
user = "root"

[installer.house]
family    = "house"
program   = "bricklayer"
answers   = "plan.cfg"
file      = "plan.cfg"
delivery  = "seed"
label     = "HOUSE"
disk      = "64M"
memory    = "64M"
arguments = "plan=LABEL=HOUSE"
images.amd64 = { kernel = "linux", initrd = "initrd" }

[program.bricklayer]
progress = [{ has = "laying brick ", phase = "laying {}" }]
fatal    = [{ has = "out of mortar", means = "the wall cannot be finished", remedy = "order mortar" }]
"#,
    );
    bench.write("plan.cfg", "four walls\n{{ report_installed }}\n");
    cd(
        &bench,
        "house",
        "laying brick number\r\nout of mortar\r\n",
        Then::Halt,
    );
    let distro = "[distros.shed]\nfamily = \"house\"\nversion = \"1\"\ncpus = 1\n\
                  source = { iso = { path = \"house.iso\", boot_command = \"<wait0>\" } }\n";
    bench.write(
        "images.toml",
        format!("families = [\"house.toml\"]\n{}", manifest(distro, &["shed"])),
    );
    let ran = bench.run(&["run", "images.toml", "--progress=plain"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(
        ran.stderr.contains("install shed: laying number\n"),
        "{}",
        ran.all()
    );
    let failure = failure(&ran.stderr, "shed");
    assert!(failure.contains("the wall cannot be finished"), "{}", ran.all());
    assert!(ran.stderr.contains("order mortar"), "{}", ran.all());
}

#[test]
fn a_change_of_ones_own_file_rebuilds_what_depends_on_it() {
    let bench = devuan();
    let rows = "families/devuan.toml";
    assert_eq!(
        rebuilt(&bench, rows, "auto=true", "auto=true quiet"),
        ["install/daedalus"]
    );
    assert_eq!(
        rebuilt(&bench, rows, "isolinux/linux", "isolinux/vmlinuz"),
        ["install/daedalus"]
    );
    assert_eq!(
        rebuilt(
            &bench,
            "families/devuan.cfg.j2",
            "ntp boolean true",
            "ntp boolean false"
        ),
        ["install/daedalus"]
    );
    assert_eq!(
        rebuilt(&bench, rows, "\"cron\", ", "\"cron\", \"wget\", "),
        ["install/daedalus-small"]
    );
    assert_eq!(
        rebuilt(&bench, "families/devuan.sh.j2", "touch", "rm -f"),
        ["install/daedalus-small"]
    );
    // A row for a version goes before those for all, and one of the user's before the built-in ones.
    let other = "[installer.other]\nversions = [\"5\"]\n";
    assert_eq!(
        rebuilt(&bench, rows, "[installer.devuan]\n", other),
        Vec::<String>::new()
    );
    // What is only shown changes nothing.
    let shown = "[program.debian-installer]\nprogress = []\nfatal = []\n[installer.devuan]\n";
    assert_eq!(
        rebuilt(&bench, rows, "[installer.devuan]\n", shown),
        Vec::<String>::new()
    );
}

#[test]
fn mistakes_are_shown_at_their_places_in_these_files() {
    let bench = devuan();
    bench.write(
        "families/void.toml",
        r#"
[family.void]
usr = "void"

[family."bad name"]
user = "x"

[distro.void]
x = 1
"#,
    );
    let second = bench.read("families/devuan.toml");
    let second = second
        .replace("\"debian-installer\" ", "\"debian-instaler\" ")
        .replace("devuan.cfg.j2", "devuan.cfg")
        .replace("devuan.sh.j2", "bootstrap-debain.sh.j2")
        .replace("delivery  = \"http\"", "delivery  = \"seed\"")
        .replace("{{ host.url }}", "{{ host.uri }}");
    bench.write("families/second.toml", second);
    let manifest = bench.read("images.toml");
    let files = "\"families/second.toml\", \"families/devaun.toml\", \"families/void.toml\"";
    bench.write("images.toml", manifest.replace("\"families/devuan.toml\"", files));
    let ran = bench.run(&["validate", "images.toml"]);
    insta::assert_snapshot!(ran.all());
}

#[test]
fn a_row_of_two_files_is_a_mistake() {
    let bench = devuan();
    bench.write("families/again.toml", "[family.devuan]\nuser = \"root\"\n");
    let manifest = bench.read("images.toml");
    let files = "\"families/devuan.toml\", \"families/again.toml\"";
    bench.write("images.toml", manifest.replace("\"families/devuan.toml\"", files));
    let ran = bench.run(&["validate", "images.toml"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(
        ran.stderr
            .contains("`families/devuan.toml` has a row of this name already"),
        "{}",
        ran.stderr
    );
}
