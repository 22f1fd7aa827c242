//! A user has Packer templates and a playbook, and wants a manifest. The fixtures are whole templates of every shape
//! that is recognised; what comes of them is in `snapshots/`.

use std::collections::BTreeMap;
use std::path::Path;

use pipeline::internals::import::packer::{self, Config, Found, Input, Request};
use pipeline::internals::manifest;

use crate::support::{Bench, Ran};

/// A folder with one of the fixtures in it.
fn bench(fixture: &str) -> Bench {
    let bench = Bench::new();
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/fixtures/packer")
        .join(fixture);
    copy(&from, &from, &bench);
    bench
}

fn copy(root: &Path, folder: &Path, bench: &Bench) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            copy(root, &path, bench);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            bench.write(&name, std::fs::read(&path).unwrap());
        }
    }
}

/// Every file in the folder that an import wrote, with its text.
fn written(bench: &Bench, ran: &Ran) -> String {
    let mut text = String::new();
    let line = ran
        .stderr
        .lines()
        .find_map(|line| line.split_once("; written: "))
        .unwrap()
        .1;
    let names = line.split(';').next().unwrap();
    for name in names.split(", ") {
        text += &format!("==> {name} <==\n{}", bench.read(name));
    }
    text
}

fn good(ran: &Ran) {
    assert_eq!(ran.code, 0, "{}", ran.all());
}

#[test]
fn templates_and_a_playbook_become_the_fleet_they_were() {
    let bench = bench("house");
    let ran = bench.run(&[
        "import",
        "packer",
        ".",
        "--ansible",
        "build.yml",
        "-o",
        "images.toml",
    ]);
    good(&ran);
    let files = written(&bench, &ran);
    insta::assert_snapshot!("house_manifest", files);
    insta::assert_snapshot!("house_report", ran.stderr);
    for text in [&files, &ran.stderr] {
        assert!(
            !text.contains("not-in-manifests") && !text.contains("notinmanifests"),
            "{text}"
        );
    }

    let list = bench.run(&["validate", "--list", "images.toml"]);
    good(&list);
    let sized = |distro: &str, sizes: &[u32]| {
        sizes
            .iter()
            .map(|size| format!("{distro}-{size}G-vm-bootstrap\n"))
            .collect::<String>()
    };
    let wanted = [
        sized("debian11", &[200, 50, 25]),
        sized("debian12", &[50]),
        sized("debian13", &[50]),
        sized("ubuntu-20.04-server", &[200, 50, 25]),
        sized("ubuntu-22.04-server", &[200, 50, 25]),
        sized("ubuntu-24.04-server", &[100]),
        sized("centos8", &[200, 50, 25]),
    ];
    assert_eq!(list.stdout, wanted.concat());

    let manifest = manifest::load(&bench.path("images.toml")).unwrap();
    assert_eq!(manifest.images[1].size.0, 50_000 << 20);
    let file = manifest.images[1].file.to_str().unwrap();
    assert_eq!(
        file,
        "output-debian11-50G-vm-bootstrap/packer-debian11-50G-vm-bootstrap.gz"
    );

    let plan = bench.run(&["plan", "images.toml"]);
    good(&plan);
    assert!(
        plan.stdout.contains("debian11-25G-vm-bootstrap"),
        "{}",
        plan.all()
    );
    // The converted answers render, with the built-in ones around them.
    for (distro, says) in [
        ("debian12", "apt-setup/non-free boolean true"),
        (
            "ubuntu-20.04-server",
            "user-setup/allow-password-weak boolean true",
        ),
        ("ubuntu-22.04-server", "/target/etc/sudoers.d/builder"),
        ("centos8", "url --mirrorlist=http://mirrorlist.example/?release=8"),
    ] {
        let rendered = bench.run(&["render", "images.toml", "--distro", distro]);
        good(&rendered);
        assert!(rendered.stdout.contains(says), "{distro}: {}", rendered.all());
    }
}

#[test]
fn a_configuration_in_hcl_becomes_a_manifest() {
    let bench = bench("hcl");
    let args = [
        "import",
        "packer",
        ".",
        "-var-file=small.pkrvars.hcl",
        "-var",
        "username=ann",
        "-o",
        "noble.toml",
    ];
    let ran = bench.run(&args);
    good(&ran);
    // The stamp in the name of the file is that of the day.
    let today = jiff::Timestamp::now().strftime("%Y%m%d").to_string();
    let folder = bench.path(".").canonicalize().unwrap();
    let folder = folder.file_name().unwrap().to_str().unwrap().to_owned();
    let files = written(&bench, &ran)
        .replace(&today, "[TODAY]")
        .replace(&folder, "[FOLDER]");
    insta::assert_snapshot!("hcl_manifest", files);
    insta::assert_snapshot!("hcl_report", ran.stderr.replace(&today, "[TODAY]"));
    for text in [&files, &ran.stderr] {
        assert!(
            !text.contains("not-in-manifests") && !text.contains("notinmanifests"),
            "{text}"
        );
    }
    good(&bench.run(&["validate", "noble.toml"]));
    good(&bench.run(&["plan", "noble.toml"]));
}

#[test]
fn nothing_that_is_there_is_replaced_and_nothing_is_written_unasked() {
    let bench = bench("house");
    let printed = bench.run(&["import", "packer", "debian12.json"]);
    good(&printed);
    assert!(printed.stdout.contains("[distros.debian12]"), "{}", printed.all());
    assert!(
        printed.stderr.contains("which only --output writes"),
        "{}",
        printed.all()
    );
    assert!(!bench.path("preseed-debian.cfg.j2").exists());

    bench.write("mine.toml", "mine\n");
    let args = ["import", "packer", "debian12.json", "-o", "mine.toml"];
    let refused = bench.run(&args);
    assert_eq!(refused.code, 2);
    assert!(
        refused.stderr.contains("is there already") && refused.stderr.contains("--force"),
        "{}",
        refused.stderr
    );
    assert_eq!(bench.read("mine.toml"), "mine\n");

    // Nor are the answers next to it, whatever they were.
    bench.write("preseed-debian.cfg.j2", "mine\n");
    let refused = bench.run(&["import", "packer", "debian12.json", "-o", "new.toml"]);
    assert_eq!(refused.code, 2);
    assert!(!bench.path("new.toml").exists() && bench.read("preseed-debian.cfg.j2") == "mine\n");
    good(&bench.run(&[args.as_slice(), &["--force"]].concat()));
    assert!(bench.read("mine.toml").contains("[distros.debian12]"));
}

#[test]
fn what_cannot_be_understood_is_refused_at_its_place() {
    let bench = Bench::new();
    bench.write("broken.json", "{\n  \"builders\": [\n    {]\n}\n");
    bench.write(
        "value.pkr.hcl",
        "variable \"x\" {\n  type = string\n}\nbuild {\n  sources = [\"source.qemu.y\"]\n}\n",
    );
    bench.write("empty.json", "{ \"builders\": [ { \"type\": \"docker\" } ] }\n");
    bench.write("play.yml", "- hosts: all\n  tasks:\n    - command: true\n");
    let mut reports = String::new();
    for args in [
        ["broken.json"].as_slice(),
        &["value.pkr.hcl"],
        &["empty.json"],
        &["empty.json", "--ansible", "play.yml"],
        &["no.json"],
        &["empty.json", "--var", "x"],
    ] {
        let ran = bench.run(&[&["import", "packer"], args].concat());
        assert_eq!(ran.code, 2, "{}", ran.all());
        reports += &format!("$ pipeline import packer {}\n{}", args.join(" "), ran.stderr);
    }
    insta::assert_snapshot!("refusals", reports);
}

/// Whatever the input, an import ends, with a manifest and answers that can be read or with faults: every prefix of every fixture, and every fixture with
/// one piece taken out.
#[test]
fn damaged_templates_never_stop_the_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/packer");
    let mut files = BTreeMap::new();
    for name in [
        "house/debian12.json",
        "house/centos8.json",
        "house/ubuntu-22.04-server.json",
        "house/build.yml",
        "hcl/noble.pkr.hcl",
        "hcl/variables.pkr.hcl",
        "house/http/preseed-debian.cfg",
        "house/http/jammy/user-data",
        "house/http/ks.cfg",
        "hcl/http/user-data.pkrtpl.hcl",
    ] {
        files.insert(name, std::fs::read_to_string(root.join(name)).unwrap());
    }
    let attempt = |files: &BTreeMap<&str, String>| {
        let input = |name: &str| Input {
            shown: name.to_owned(),
            path: format!("/{name}"),
            text: files[name].clone(),
        };
        let look = |path: &str| match files.get(path.trim_start_matches('/')) {
            Some(text) => Found::Text(text.clone()),
            None => Found::Missing,
        };
        let hcl = Config::Hcl {
            shown: "hcl".to_owned(),
            folder: "/hcl".to_owned(),
            files: vec![input("hcl/noble.pkr.hcl"), input("hcl/variables.pkr.hcl")],
            auto: Vec::new(),
        };
        let json = ["debian12", "centos8", "ubuntu-22.04-server"]
            .map(|name| Config::Json(input(&format!("house/{name}.json"))));
        for (configs, playbook) in [
            (vec![hcl], None),
            (json.to_vec(), None),
            (json.to_vec(), Some(input("house/build.yml"))),
        ] {
            let request = Request {
                configs,
                playbook,
                folder: "/house".to_owned(),
                manifest: "/house/images.toml".to_owned(),
                ..Request::default()
            };
            if let Ok(imported) = packer::import(&request, &look) {
                assert!(
                    imported.manifest.parse::<toml_edit::DocumentMut>().is_ok(),
                    "{}",
                    imported.manifest
                );
                for text in imported.files.values() {
                    let compiled = minijinja::Environment::new().template_from_str(text).map(|_| ());
                    assert!(compiled.is_ok(), "{compiled:?}\n{text}");
                }
            }
        }
    };
    attempt(&files);
    for name in files.keys().copied().collect::<Vec<_>>() {
        let whole = files[name].clone();
        let cuts: Vec<usize> = whole
            .char_indices()
            .map(|(at, _)| at)
            .step_by(whole.len() / 12 + 1)
            .collect();
        for pair in cuts.windows(2) {
            files.insert(name, whole[..pair[1]].to_owned());
            attempt(&files);
            files.insert(name, format!("{}{}", &whole[..pair[0]], &whole[pair[1]..]));
            attempt(&files);
        }
        files.insert(name, whole);
    }
}
