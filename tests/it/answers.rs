//! The answers that installers get: as the fleet's manifest renders them, read by the installers' own validators.

use std::fs;
use std::path::Path;

use crate::support::{Bench, python, tool};

/// Distros of every installer and version, with every choice that the templates have.
const ROWS: [(&str, &str, &str); 15] = [
    ("centos7", "rhel", "7"),
    ("centos8", "rhel", "8"),
    ("alma9", "rhel", "9"),
    ("alma10", "rhel", "10"),
    ("fedora42", "rhel", "42"),
    ("fedora45", "rhel", "45"),
    ("debian11", "debian", "11"),
    ("debian12", "debian", "12"),
    ("debian13", "debian", "13"),
    ("ubuntu2004", "ubuntu", "20.04"),
    ("ubuntu2204", "ubuntu", "22.04"),
    ("ubuntu2404", "ubuntu", "24.04"),
    ("ubuntu2604", "ubuntu", "26.04"),
    ("leap156", "suse", "15.6"),
    ("leap160", "suse", "16.0"),
];

/// Versions as publishers write them, and which of the others each is like.
const WRITTEN: [(&str, &str, &str, &str); 9] = [
    ("centos7_9", "rhel", "7.9.2009", "centos7"),
    ("centos_8.1", "rhel", "8.1.1911", "centos8"),
    ("stream9", "rhel", "9-stream", "alma9"),
    ("rawhide", "rhel", "rawhide", "fedora42"),
    ("ubuntu-20.04.6", "ubuntu", "20.04.6", "ubuntu2004"),
    ("focal", "ubuntu", "focal", "ubuntu2004"),
    ("jammy", "ubuntu", "jammy", "ubuntu2204"),
    ("ubuntu-24.04.2", "ubuntu", "24.04.2", "ubuntu2404"),
    ("noble", "ubuntu", "noble", "ubuntu2404"),
];

/// Renders one distro's answers; `vars` go to all.
fn render(bench: &Bench, vars: &str, distro: &str) -> String {
    render_for(bench, "", vars, distro)
}

/// The same for the machines that these keys of a distro describe.
fn render_for(bench: &Bench, machine: &str, vars: &str, distro: &str) -> String {
    let mut manifest = format!("[vars]\n{vars}\n");
    let written = WRITTEN.map(|(name, family, version, _)| (name, family, version));
    for (name, family, version) in ROWS.into_iter().chain(written) {
        // Debian's is else the one of the host that the test happens to run on.
        let mirror = match family {
            "debian" => ", mirror = \"http://mirror.example/debian\"",
            _ => "",
        };
        let machine = if name == distro { machine } else { "" };
        manifest += &format!(
            "[distros.\"{name}\"]\nfamily = \"{family}\"\nversion = \"{version}\"\n{machine}\n\
             source = {{ iso = {{ path = \"x.iso\"{mirror} }} }}\n"
        );
    }
    let names = ROWS
        .iter()
        .map(|(name, ..)| name)
        .chain(WRITTEN.iter().map(|(name, ..)| name));
    let names: Vec<_> = names.map(|name| format!("\"{name}\"")).collect();
    manifest += &format!(
        "[flavors.base]\nsteps = []\n[[images]]\ndistro = [{}]\nflavor = \"base\"\nsizes = [\"20G\"]\n",
        names.join(", ")
    );
    bench.write("x.iso", "");
    bench.write("images.toml", manifest);
    let ran = bench.run(&["render", "images.toml", "--distro", distro]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    ran.stdout
}

const FULL: &str = "username = \"slapos\"\nswap = \"1G\"\npackages = [\"wget\", \"vim\"]\nkernel_args = \"quiet\"\n\
                    keymap = \"fr\"\ntimezone = \"Europe/Paris\"\npredictable_nics = true\n";

/// What imported answers say that the built-in ones would not.
const IMPORTED: &str = "username = \"ann\"\nsudo = false\ngroups = [\"wheel\", \"docker\"]\nwithout = []\nrecommends = true\n\
                        user_options = \"--shell=/bin/zsh --uid=1500\"\nfirewall = \"--enabled --service=ssh,http\"\n\
                        password_logins = true\nauthorized_keys = [\"ssh-ed25519 AAAA ann@desk\"]\n";

/// Machines that start by UEFI.
const BY_UEFI: [&str; 2] = ["firmware = \"uefi\"\nsecure_boot = true", "arch = \"arm64\""];

#[test]
fn kickstarts_are_good_for_their_versions() {
    let bench = Bench::new();
    let validator = "pykickstart==3.78";
    for (distro, version) in [
        ("centos7", "RHEL7"),
        ("centos8", "RHEL8"),
        ("alma9", "RHEL9"),
        ("alma10", "RHEL10"),
        ("fedora42", "F42"),
        ("fedora45", "F45"),
    ] {
        let plain = ["", FULL, IMPORTED].map(|vars| render(&bench, vars, distro));
        let by_uefi = BY_UEFI.map(|machine| render_for(&bench, machine, FULL, distro));
        for text in &by_uefi {
            // Root is the last partition.
            let of = |line: &str| text.find(&format!("\npart {line} --fstype=")).unwrap();
            assert!(of("/boot/efi") < of("/"), "{text}");
            assert!(
                !text.contains("msdos") && text.contains("/etc/grub2-efi.cfg"),
                "{text}"
            );
        }
        assert!(
            by_uefi[1].contains(" console=tty0 console=ttyAMA0,115200\""),
            "{}",
            by_uefi[1]
        );
        for text in plain.iter().chain(&by_uefi) {
            let file = bench.write("ks.cfg", text);
            let judged = python::python(validator)
                .arg(python::program(validator, "ksvalidator"))
                .args(["-e", "-v", version])
                .arg(&file)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&[judged.stdout, judged.stderr].concat()).into_owned();
            assert!(judged.status.success(), "{distro}: {said}");
            assert!(!said.contains("deprecated"), "{distro}: {said}");
        }
    }
}

#[test]
fn preseeds_are_good_for_debconf_and_autoinstalls_for_cloud_init() {
    let bench = Bench::new();
    let check = |program: &str, args: &[&str], text: &str| {
        let file = bench.write("answers", text).display().to_string();
        let args: Vec<_> = args.iter().copied().chain([file.as_str()]).collect();
        tool(program, &args, &bench.path("."));
    };
    for (distro, family, version) in ROWS {
        for vars in ["", FULL, IMPORTED] {
            let text = render(&bench, vars, distro);
            match (family, version) {
                ("debian", _) | ("ubuntu", "20.04") => check("debconf-set-selections", &["-c"], &text),
                ("ubuntu", _) => check("cloud-init", &["schema", "-c"], &text),
                _ => {}
            }
        }
        // The last release with the Debian installer never had one for arm64.
        let machines = BY_UEFI.into_iter().take(if version == "20.04" { 1 } else { 2 });
        for machine in machines.filter(|_| ["debian", "ubuntu"].contains(&family)) {
            let text = render_for(&bench, machine, FULL, distro);
            if text.contains("#cloud-config") {
                check("cloud-init", &["schema", "-c"], &text);
                continue;
            }
            check("debconf-set-selections", &["-c"], &text);
            for line in [
                "free $iflabel{ gpt } method{ efi } format{ } . 1000 10000 -1 ext4 method{ format }",
                "d-i partman-partitioning/default_label string gpt\n",
                "d-i grub-installer/force-efi-extra-removable boolean true\n",
            ] {
                assert!(text.contains(line), "{distro}: {text}");
            }
            // On a GPT that flag makes an EFI system partition of root.
            assert!(!text.contains("bootable"), "{distro}: {text}");
        }
    }
    let arm = render_for(&bench, BY_UEFI[1], "", "ubuntu2404");
    assert!(
        arm.contains("http://ports.ubuntu.com/ubuntu-ports") && arm.contains("ttyAMA0,115200\""),
        "{arm}"
    );
    assert!(
        arm.contains("GRUB_TERMINAL=console\n") && !arm.contains("GRUB_SERIAL"),
        "{arm}"
    );
}

/// The schemas of both are not in packages of this system; their form is, and that their scripts are scripts.
#[test]
fn profiles_for_suse_are_xml_and_json_with_clean_scripts() {
    let bench = Bench::new();
    let odd = "fullname = \"R & D <it>\"\n";
    for vars in [String::new(), format!("{FULL}product = \"SLES\"\n{odd}")] {
        let text = render(&bench, &vars, "leap156");
        let file = bench.write("autoinst.xml", &text);
        let element = |path: &str| {
            let words = ["--xpath", path, file.to_str().unwrap()];
            tool("xmllint", &words, &bench.path(".")).trim().to_owned()
        };
        let script = element("string(//*[local-name()='source'])");
        let profile: serde_json::Value = serde_json::from_str(&render(&bench, &vars, "leap160")).unwrap();
        let post = profile["scripts"]["post"][0]["content"].as_str().unwrap().trim();
        for script in [&script, post] {
            let path = bench.write("script", format!("#!/bin/sh\n{script}\n"));
            tool("dash", &["-n", path.to_str().unwrap()], &bench.path("."));
            let key = "\necho 'ssh-ed25519 AAAA-build-key pipeline-build' > /root/.ssh/authorized_keys\n";
            assert!(script.contains(key), "{script}");
            let last = script.lines().last().unwrap();
            assert!(last.contains("/installed; } > /dev/null 2>&1 || :"), "{script}");
        }
        if !vars.is_empty() {
            assert_eq!(element("string(//*[local-name()='fullname'])"), "R & D <it>");
            assert_eq!(profile["user"]["fullName"], "R & D <it>");
            assert_eq!(profile["product"]["id"], "SLES");
        }
    }
}

#[test]
fn versions_and_names_as_publishers_write_them_render_as_they_are_meant() {
    let bench = Bench::new();
    for (distro, _, _, like) in WRITTEN {
        // A host name has neither dots nor underscores: installers cut or refuse it.
        let host = distro.replace(['.', '_'], "-");
        let (found, wanted) = (render(&bench, "", distro), render(&bench, "", like));
        assert_eq!(found, wanted.replace(like, &host), "{distro}");
    }
    // The kernel of EL 8 depends on linux-firmware.
    let excludes = |distro| render(&bench, "", distro).contains("\n-*firmware\n");
    assert!(!excludes("centos8") && excludes("centos7") && excludes("alma9"));
}

#[test]
fn what_each_installer_of_the_fleet_gets_is_reviewed_as_text() {
    let bench = Bench::new();
    for distro in [
        "debian13",
        "ubuntu2004",
        "ubuntu2404",
        "centos7",
        "alma9",
        "leap160",
    ] {
        insta::assert_snapshot!(format!("{distro}_plain"), render(&bench, "", distro));
    }
    for distro in ["debian13", "ubuntu2204", "centos8", "leap156"] {
        insta::assert_snapshot!(format!("{distro}_full"), render(&bench, FULL, distro));
    }
}

#[test]
fn a_template_of_ones_own_replaces_a_block() {
    let bench = Bench::new();
    let own = "{% extends \"preseed-debian.cfg.j2\" %}\n{% block clock %}\nd-i time/zone string {{ zone }}\n{% endblock %}\n\
               {% block commands %}\n  echo mine; \\\n{% endblock %}\n";
    bench.write("own.cfg.j2", own);
    bench.write("x.iso", "");
    let manifest = "[distros.d]\nfamily = \"debian\"\nversion = \"13\"\nsource = { iso = { path = \"x.iso\" } }\n\
        answers = \"own.cfg.j2\"\nvars = { zone = \"Asia/Tokyo\" }\n[flavors.base]\nsteps = []\n\
        [[images]]\ndistro = \"d\"\nflavor = \"base\"\nsizes = [\"20G\"]\n";
    bench.write("images.toml", manifest);
    let ran = bench.run(&["render", "images.toml"]);
    assert!(
        ran.stdout.contains("d-i time/zone string Asia/Tokyo\n"),
        "{}",
        ran.all()
    );
    assert!(
        ran.stdout
            .contains("in-target update-grub; \\\n  echo mine; \\\n  { { echo;"),
        "{}",
        ran.all()
    );
    assert!(
        !ran.stdout.contains("clock-setup/utc") && ran.stdout.contains("partman-auto/disk"),
        "{}",
        ran.all()
    );
}

#[test]
fn answers_that_are_no_yaml_are_refused_before_anything_starts() {
    let bench = Bench::new();
    let own = "{% extends \"autoinstall-ubuntu.yaml.j2\" %}\n{% block packages %}\n   packages: [vim\n{% endblock %}\n";
    bench.write("own.yaml.j2", own);
    bench.write("x.iso", "");
    let manifest = "[distros.u]\nfamily = \"ubuntu\"\nversion = \"24.04\"\nsource = { iso = { path = \"x.iso\" } }\n\
        answers = \"own.yaml.j2\"\n[flavors.base]\nsteps = []\n\
        [[images]]\ndistro = \"u\"\nflavor = \"base\"\nsizes = [\"20G\"]\n";
    bench.write("images.toml", manifest);
    let ran = bench.run(&["plan", "images.toml"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    let said = "the answers of distro `u` are no YAML once they are rendered";
    assert!(ran.stderr.contains(said), "{}", ran.all());
}

#[test]
fn the_fleet_is_planned_with_todays_names() {
    let bench = Bench::new();
    let fleet = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/images.toml");
    bench.write("images.toml", fs::read(fleet).unwrap());
    let listed = bench.run(&["validate", "--list", "images.toml"]);
    assert_eq!(listed.code, 0, "{}", listed.all());
    insta::assert_snapshot!(listed.stdout, @"
    debian11-200G-vm-bootstrap
    debian11-50G-vm-bootstrap
    debian11-25G-vm-bootstrap
    debian12-50G-vm-bootstrap
    debian13-50G-vm-bootstrap
    ubuntu-20.04-server-200G-vm-bootstrap
    ubuntu-20.04-server-50G-vm-bootstrap
    ubuntu-20.04-server-25G-vm-bootstrap
    ubuntu-22.04-server-200G-vm-bootstrap
    ubuntu-22.04-server-50G-vm-bootstrap
    ubuntu-22.04-server-25G-vm-bootstrap
    ubuntu-24.04-server-100G-vm-bootstrap
    centos8-200G-vm-bootstrap
    centos8-50G-vm-bootstrap
    centos8-25G-vm-bootstrap
    almalinux9-50G-vm-bootstrap
    ");
    let plan = bench.run(&["plan", "images.toml"]);
    assert_eq!(plan.code, 0, "{}", plan.all());
    let first_time = |stage: &str| {
        let line = |line: &&str| line.contains(&format!("─ {stage} ")) && !line.contains("as above");
        plan.stdout.lines().filter(line).count()
    };
    assert_eq!(
        (
            first_time("install"),
            first_time("fetch"),
            first_time("provision")
        ),
        (8, 8, 8),
        "{}",
        plan.stdout
    );
    assert!(
        plan.stdout.contains("from https://vault.centos.org/8.1.1911/"),
        "{}",
        plan.stdout
    );
    let file = "out/output-debian12-50G-vm-bootstrap/packer-debian12-50G-vm-bootstrap.gz is not there yet";
    assert!(plan.stdout.contains(file), "{}", plan.stdout);
}
