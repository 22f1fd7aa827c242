//! Mistakes that once cost an installation and a boot, and are found before either: by `validate` where the manifest alone
//! tells, by `run` before anything starts where this host or a server does. Real files, real HTTP; no machine starts.

use std::fs;
use std::process::Command;

use crate::machine::tiny::{Then, disk};
use crate::support::http::DeadPort;
use crate::support::shelf::Shelf;
use crate::support::{Bench, Ran, tool};

/// Asserts an exit code, and that each of these was said, however lines were broken.
#[track_caller]
fn assert_said(ran: &Ran, code: i32, said: &[&str]) {
    assert_eq!(ran.code, code, "{}", ran.all());
    let flat = |text: &str| {
        let text = text.replace(['│', '\n'], " ");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let all = flat(&ran.stderr) + &flat(&ran.stdout);
    for words in said {
        assert!(all.contains(words), "no `{words}` in\n{}", ran.all());
    }
}

const FLAVOR: &str = "[flavors.base]\nsteps = [{ inline = \"true\" }]\n";

fn distro(name: &str, source: &str) -> String {
    format!(
        "[distros.{name}]\nfamily = \"debian\"\nversion = \"12\"\nmemory = \"64M\"\nsource = {{ {source} }}\n\
         [[images]]\ndistro = \"{name}\"\nflavor = \"base\"\nsizes = [\"3G\"]\n"
    )
}

#[test]
fn validate_doubts_what_is_most_likely_not_meant() {
    let bench = Bench::new();
    bench.write(
        "child.cfg.j2",
        "{% extends \"preseed-debian.cfg.j2\" %}\n{% block nosuch %}lost{% endblock %}\nd-i foo bar\n",
    );
    bench.write("own.cfg", "d-i foo bar\n{{ report_installed }}\n");
    bench.write("setup.iso", "");
    let text = r#"
[vars]
keymap = "de"
[distros.child]
family = "debian"
version = "13"
source = { netboot = { kernel = { path = "setup.iso" }, initrd = { path = "setup.iso" }, suite = "bookworm" } }
answers = "child.cfg.j2"
[distros.keyless]
family = "debian"
version = "12"
source = { netboot = { kernel = { path = "setup.iso" }, initrd = { path = "setup.iso" } } }
answers = "own.cfg"
[distros.typo]
family = "debian"
version = "12"
source = { bootstrap = { suite = "bookwurm" } }
[distros.other]
family = "ubuntu"
version = "24.04"
source = { bootstrap = { suite = "trixie" } }
[[images]]
distro = ["child", "keyless", "typo", "other"]
flavor = "base"
sizes = ["10G", "10240M"]
"#;
    bench.write("m.toml", format!("{FLAVOR}{text}"));
    let ran = bench.run(&[
        "validate",
        "m.toml",
        "-D",
        "vars.kemyap=fr",
        "-D",
        "vars.keymap=fr",
    ]);
    assert_said(
        &ran,
        0,
        &[
            "template `child.cfg.j2`: the block `nosuch` is never used: `preseed-debian.cfg.j2` has no block of that name",
            "blocks of `preseed-debian.cfg.j2` are",
            "text outside blocks is never used in a template that extends `preseed-debian.cfg.j2`",
            "suite `bookworm` is debian 12, but the version of distro `child` is \"13\"",
            "write suite = \"trixie\", or version = \"12\"",
            "the answers `own.cfg` of distro `keyless` do not use `build_key`",
            "no release of debian that is known here has the suite `bookwurm`",
            "did you mean `bookworm`?",
            "suite `trixie` is debian 13, but the family of distro `other` is ubuntu",
            "`10G` and `10240M` are the same size",
            "-D gives the var `kemyap` a value, but nothing uses it",
            "did you mean `keymap`?",
            "8 warnings",
        ],
    );
    let ran = bench.run(&["validate", "m.toml", "-D", "keymap=fr"]);
    assert_said(
        &ran,
        2,
        &[
            "unknown key `keymap`",
            "`keymap` is one of the vars: -D vars.keymap=…",
        ],
    );
}

#[test]
fn scripts_that_no_shell_can_read_are_refused_with_the_line() {
    let bench = Bench::new();
    bench.write("cut.sh", "#!/bin/bash\nif true; then\n  echo\n");
    bench.write(
        "good.sh",
        "#!/bin/bash\nshopt -s extglob\ncase x in !(a|b)) echo;; esac\n",
    );
    bench.write("other.py", "#!/usr/bin/python3\nif True:\n  print('(')\n");
    bench.write(
        "m.toml",
        FLAVOR.replace(
            "{ inline = \"true\" }",
            "{ run = \"cut.sh\" }, { run = \"good.sh\" }, { run = \"other.py\" }, { inline = \"echo 'a\" }",
        ) + &distro("tiny", "bootstrap = { suite = \"bookworm\" }"),
    );
    let ran = bench.run(&["validate", "m.toml"]);
    assert_said(
        &ran,
        2,
        &[
            "`cut.sh` cannot be read by a shell: line 4: syntax error",
            "correct it until `bash -n cut.sh` says nothing",
            "this script cannot be read by a shell: line 1: unexpected EOF",
            "m.toml: 2 mistakes",
        ],
    );
}

#[test]
fn media_that_are_no_disks_or_too_large_are_refused_before_anything_starts() {
    let bench = Bench::new();
    bench.write("page.raw", "<!DOCTYPE html><html><body>log in</body></html>\n");
    bench.write("noise.raw", vec![0xc3; 1 << 20]);
    bench.write("page.iso", "<html>not found</html>\n");
    tool(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "large.qcow2", "5G"],
        &bench.path(""),
    );
    let disk = |name: &str| format!("disk = {{ path = \"{name}\", user = \"root\" }}");
    bench.write(
        "m.toml",
        [
            FLAVOR.to_owned(),
            distro("page", &disk("page.raw")),
            distro("noise", &disk("noise.raw")),
            distro("large", &disk("large.qcow2")),
            distro("iso", "iso = { path = \"page.iso\" }").replace("3G", "10G"),
        ]
        .concat(),
    );
    let ran = bench.run(&["run", "m.toml"]);
    assert_said(
        &ran,
        2,
        &[
            "/page.raw` is an HTML page (`<!DOCTYPE html>",
            "/noise.raw` is",
            "/large.qcow2 is a disk of 5 GiB, larger than the largest image made of it (3 GiB)",
            "/page.iso is not an ISO image that can be read: it is an HTML page",
            "nothing was started",
        ],
    );
    assert!(!ran.stderr.contains("install page"), "{}", ran.all());
    let runs = bench.run(&["runs", "--format", "json"]).stdout;
    let run = &serde_json::from_str::<serde_json::Value>(&runs).unwrap()["runs"][0];
    assert_eq!(run["outcome"], "refused", "{runs}");
    assert!(run["error"].as_str().unwrap().contains("HTML page"), "{runs}");
}

#[test]
fn what_servers_do_not_have_is_found_before_and_mute_ones_are_named_once() {
    let bench = Bench::new();
    let shelf = Shelf::start();
    shelf.put("/debian/dists/bookworm/Release", b"Suite: bookworm\n");
    bench.write(
        "Packages",
        "Package: sudo\nProvides: become (= 1), root\n\nPackage: vim\n",
    );
    tool("xz", &["-k", "Packages"], &bench.path(""));
    let index = fs::read(bench.path("Packages.xz")).unwrap();
    shelf.put("/debian/dists/bookworm/main/binary-amd64/Packages.xz", &index);
    let mirror = shelf.url("/debian");
    let bootstrap = |suite: &str, packages: &str| {
        format!("bootstrap = {{ suite = \"{suite}\", mirror = \"{mirror}\", packages = [{packages}] }}")
    };
    let missing = format!(
        "disk = {{ url = \"{}\", sha256 = \"{}\", user = \"root\" }}",
        shelf.url("/gone.qcow2"),
        "ab".repeat(32)
    );
    bench.write(
        "m.toml",
        [
            FLAVOR.to_owned(),
            distro("suite", &bootstrap("bookwurm", "")),
            distro(
                "packages",
                &bootstrap("bookworm", "\"sudoo\", \"root\", \"vim\", \"git/stable\""),
            ),
            distro("medium", &missing),
        ]
        .concat(),
    );
    let ran = bench.run(&["run", "m.toml"]);
    assert_said(
        &ran,
        2,
        &[
            "install/suite: the mirror http://127.0.0.1:",
            "has no suite `bookwurm`; correct `suite`, or name a mirror that has it",
            "install/packages: suite `bookworm` of the mirror",
            "has no package `sudoo`; did you mean `sudo`?",
            "fetch/medium: http://127.0.0.1:",
            "/gone.qcow2: not found; check the URL",
            "nothing was started",
        ],
    );
    for fine in ["`root`", "`vim`", "git/stable"] {
        assert!(!ran.stderr.contains(fine), "{}", ran.all());
    }

    // A mirror that is down may come back: the run begins, and says it once for all that want it.
    let down = format!("http://127.0.0.1:{}/debian", DeadPort::new().port());
    let bootstrap = |suite: &str| format!("bootstrap = {{ suite = \"{suite}\", mirror = \"{down}\" }}");
    let text = [
        FLAVOR.to_owned(),
        distro("one", &bootstrap("bookworm")),
        distro("two", &bootstrap("bullseye").replace("64M", "65M")),
    ];
    bench.write("m.toml", text.concat());
    let ran = bench.run(&["run", "m.toml"]);
    assert_said(
        &ran,
        1,
        &["refused the connection", "(wanted by install/one, install/two)"],
    );
    assert_eq!(ran.stderr.matches("wanted by").count(), 1, "{}", ran.all());
}

#[test]
fn places_to_publish_to_are_looked_at_before_the_images_are_built() {
    let bench = Bench::new();
    bench.write("tiny.raw", disk("hello\r\n", Then::Halt));
    bench.write("file", "");
    let source = "disk = { path = \"tiny.raw\", user = \"root\" }";
    let shelf = Shelf::start();
    shelf.password("Bearer right");
    let places = format!(
        "[publish.directory]\npath = \"not-mounted\"\n[publish.plain]\nto = \"directory\"\npath = \"file\"\n\
         [publish.web]\nto = \"http\"\nurl = \"{}\"\ntoken = {{ env = \"TOKEN\" }}\n",
        shelf.url("/images")
    );
    bench.write(
        "m.toml",
        [FLAVOR.to_owned(), distro("tiny", source), places].concat(),
    );
    let run = |variables: &[(&str, &str)], args: &[&str]| {
        let mut command = bench.command(args);
        command.env("TOKEN", "wrong").envs(variables.iter().copied());
        bench.finish(command)
    };
    let ran = run(&[], &["run", "m.toml", "--upload"]);
    assert_said(
        &ran,
        2,
        &[
            "`publish.directory`: there is no folder [ROOT]/not-mounted; make it, or mount the share",
            "`publish.plain`: `path` is [ROOT]/file, which is no folder",
            "nothing was started",
        ],
    );
    fs::create_dir(bench.path("not-mounted")).unwrap();
    let text = bench
        .read("m.toml")
        .replace("path = \"file\"", "path = \"not-mounted\"");
    bench.write("m.toml", text);
    let ran = run(&[], &["run", "m.toml", "--upload"]);
    assert_said(
        &ran,
        2,
        &[
            "`publish.web`: could not ask for http://127.0.0.1:",
            "401",
            "nothing was started",
        ],
    );

    let ran = run(&[("UPLOAD", "/srv/incoming")], &["plan", "m.toml"]);
    assert_said(
        &ran,
        2,
        &["the variable UPLOAD in the environment must be yes or no"],
    );
    let ran = run(&[("UPLOAD", "yes")], &["plan", "m.toml", "--no-check"]);
    assert_said(
        &ran,
        2,
        &[
            "--no-check and UPLOAD=yes in the environment exclude each other",
            "unset UPLOAD",
        ],
    );
    let ran = run(&[("UPLOAD", "no")], &["plan", "m.toml", "--no-check"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
}

#[test]
fn what_this_host_cannot_do_is_found_before_anything_starts() {
    let bench = Bench::new();
    bench.write("tiny.raw", disk("hello\r\n", Then::Halt));
    let source = "disk = { path = \"tiny.raw\", user = \"root\" }";
    let good = [FLAVOR.to_owned(), distro("tiny", source)].concat();
    bench.write("m.toml", good.replace("3G", "9000000T"));
    let ran = bench.run(&["run", "m.toml"]);
    assert_said(
        &ran,
        3,
        &[
            "size/tiny-9000000T-base makes a disk of",
            "holds no file that large",
            "take a smaller size, or a store on a file system with larger files",
        ],
    );
    bench.write("m.toml", &good);
    let ran = bench.run(&["run", "m.toml", "-D", "pipeline.output=/proc/out"]);
    assert_said(
        &ran,
        3,
        &[
            "could not write into /proc: ",
            "`output` under [pipeline]",
            "nothing was started",
        ],
    );
    fs::create_dir_all(bench.path("out/tiny-3G-base/tiny-3G-base.qcow2.gz")).unwrap();
    let ran = bench.run(&["run", "m.toml"]);
    assert_said(
        &ran,
        3,
        &["tiny-3G-base.qcow2.gz: is a directory", "nothing was started"],
    );
    let ran = bench.run(&["boot", "tiny.raw", "--memory", "900000G", "--ssh"]);
    assert_said(
        &ran,
        3,
        &["--memory asks for", "and this host has", "nothing was started"],
    );
    // A lock as a machine that runs from the image holds it.
    let image = bench.path("tiny.qcow2");
    tool(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "tiny.qcow2", "1M"],
        &bench.path(""),
    );
    let mut machine = Command::new("qemu-system-x86_64")
        .args([
            "-display",
            "none",
            "-machine",
            "none",
            "-nodefaults",
            "-S",
            "-blockdev",
        ])
        .arg(format!(
            "driver=qcow2,node-name=d,file.driver=file,file.filename={}",
            image.display()
        ))
        .args([
            "-machine",
            "pc,accel=tcg",
            "-m",
            "16",
            "-device",
            "virtio-blk,drive=d",
        ])
        .spawn()
        .unwrap();
    let is_locked = || {
        let info = Command::new("qemu-img").arg("info").arg(&image).output().unwrap();
        !info.status.success()
    };
    while !is_locked() {
        assert!(machine.try_wait().unwrap().is_none(), "qemu ended");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let ran = bench.run(&["boot", "tiny.qcow2", "--write", "--ssh"]);
    machine.kill().unwrap();
    machine.wait().unwrap();
    assert_said(
        &ran,
        1,
        &[
            "tiny.qcow2` is in use by another process",
            "end that one first, or use a copy",
        ],
    );
}

#[test]
fn a_store_that_cannot_be_read_does_not_look_empty() {
    let bench = Bench::new();
    bench.write(
        "m.toml",
        [
            FLAVOR.to_owned(),
            distro("tiny", "bootstrap = { suite = \"bookworm\" }"),
        ]
        .concat(),
    );
    let ran = bench.run(&["logs", "nothing/here"]);
    assert_said(
        &ran,
        1,
        &[
            "no run has left logs in",
            "`pipeline run` leaves some",
            "PIPELINE_STORE",
        ],
    );
    // Root reads everything: in a namespace without other users' rights it does not.
    let hide = "mkdir store && chmod 0 store && if [ \"$(id -u)\" = 0 ]; then chown 12345 store; fi";
    tool("sh", &["-c", hide], &bench.path(""));
    for args in [&["runs"][..], &["ls", "m.toml"], &["store", "ls"], &["logs"]] {
        let inner = bench.command(args);
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--"]);
        command.arg(inner.get_program()).args(inner.get_args());
        command.current_dir(bench.path("")).env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ran = bench.finish(command);
        assert_said(
            &ran,
            3,
            &["the store [ROOT]/store", "cannot be read: Permission denied"],
        );
    }
}

#[test]
fn manifests_that_share_an_output_folder_are_told_and_orphans_are_listed() {
    let bench = Bench::new();
    bench.write(
        "tiny.raw",
        disk("Kernel panic - not syncing: VFS: no root\r\n", Then::Halt),
    );
    let source = "disk = { path = \"tiny.raw\", user = \"root\" }";
    bench.write("one.toml", [FLAVOR.to_owned(), distro("tiny", source)].concat());
    bench.write("two.toml", bench.read("one.toml"));
    // What an earlier run of one.toml put there; the guest of this one does not come up.
    bench.write("out/tiny-3G-base/tiny-3G-base.qcow2.gz", "an image");
    let ran = bench.run(&["run", "one.toml"]);
    assert!(!ran.stderr.contains("writes into"), "{}", ran.all());
    let ran = bench.run(&["run", "two.toml"]);
    assert_said(
        &ran,
        1,
        &[
            "[ROOT]/one.toml writes into out too, and its tiny-3G-base/tiny-3G-base.qcow2.gz will be replaced",
            "give one of the two manifests another `output` under [pipeline]",
        ],
    );
    // A size that was dropped, known by the store; and one that only the checksum file knows.
    bench.write("out/old/old.qcow2.gz", "older");
    bench.write(
        "out/SHA256SUMS",
        format!("{}  old/old.qcow2.gz\n", "ab".repeat(32)),
    );
    let text = bench.read("two.toml").replace("3G", "4G");
    bench.write("two.toml", text);
    let ran = bench.run(&["ls", "two.toml", "--orphans"]);
    assert_said(
        &ran,
        0,
        &[
            "out/tiny-3G-base/tiny-3G-base.qcow2.gz",
            "out/old/old.qcow2.gz",
            "takes out of the checksum files",
        ],
    );
    let ran = bench.run(&["ls", "two.toml", "--orphans", "--format", "json"]);
    let all: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(all["orphans"].as_array().unwrap().len(), 2, "{all}");
    assert_said(
        &bench.run(&["ls", "two.toml", "tiny-4G-base", "--orphans"]),
        2,
        &["none can be selected"],
    );
}
