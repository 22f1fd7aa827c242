//! What an import makes of templates as people write them: one story for each kind of thing that once went wrong, from the
//! template to a manifest that `validate` accepts, or that says what has to be decided first.

mod answers;
mod served;

use crate::support::{Bench, Ran};

const DEBIAN: &str =
    "iso_url = \"https://mirror.example/debian-12.9.0-amd64-netinst.iso\"\n  iso_checksum = \"none\"\n";
const ROCKY: &str = "iso_url = \"https://mirror.example/Rocky-9.5-x86_64-dvd.iso\"\n  iso_checksum = \"none\"\n  http_directory = \"http\"\n  \
                     boot_command = [\"<tab> inst.ks=http://{{ .HTTPIP }}:{{ .HTTPPort }}/ks.cfg<enter>\"]\n";
const NOBLE: &str = "iso_url = \"https://mirror.example/ubuntu-24.04.2-live-server-amd64.iso\"\n  iso_checksum = \"none\"\n  \
                     http_directory = \"http\"\n  ssh_username = \"ann\"\n  boot_command = [\"c linux /casper/vmlinuz --- autoinstall \
                     ds=nocloud-net;s=http://{{ .HTTPIP }}:{{ .HTTPPort }}/<enter>initrd /casper/initrd<enter>boot<enter>\"]\n";

/// A configuration with one source of the name `house`.
fn house(source: &str, build: &str) -> String {
    format!(
        "source \"qemu\" \"house\" {{\n  {source}}}\nbuild {{\n  sources = [\"source.qemu.house\"]\n{build}\n}}\n"
    )
}

fn import(bench: &Bench, args: &[&str]) -> Ran {
    bench.run(&[&["import", "packer"], args, &["-o", "images.toml", "--force"]].concat())
}

/// Imports, and gives the manifest and the report; the manifest is valid.
fn imported(bench: &Bench, args: &[&str]) -> (String, String) {
    let ran = import(bench, args);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let judged = bench.run(&["validate", "images.toml"]);
    assert_eq!(judged.code, 0, "{}\n{}", ran.all(), judged.all());
    let text = bench.read("images.toml");
    let (manifest, _) = text.split_once("\n# ---- ").unwrap();
    (manifest.to_owned(), words(&ran.stderr))
}

/// Imports; `validate` says what has to be decided first.
fn undecided(bench: &Bench, args: &[&str], todo: &str) -> String {
    let ran = import(bench, args);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let judged = bench.run(&["validate", "images.toml"]);
    assert!(
        judged.code != 0 && judged.all().contains(todo),
        "{}\n{}",
        ran.all(),
        judged.all()
    );
    words(&ran.stderr)
}

fn refused(bench: &Bench, args: &[&str]) -> String {
    let ran = import(bench, args);
    assert_eq!(ran.code, 2, "{}", ran.all());
    words(&ran.stderr)
}

fn words(text: &str) -> String {
    let words = text.split_whitespace().filter(|word| *word != "│");
    words.collect::<Vec<_>>().join(" ")
}

fn has(text: &str, all: &[&str]) {
    for one in all {
        assert!(text.contains(one), "no `{one}` in\n{text}");
    }
}

fn lacks(text: &str, all: &[&str]) {
    for one in all {
        assert!(!text.contains(one), "`{one}` in\n{text}");
    }
}

#[test]
fn files_that_declare_the_same_names_are_templates_of_their_own() {
    let bench = Bench::new();
    for (name, medium) in [
        ("red", "debian-12.9.0-amd64-netinst"),
        ("blue", "ubuntu-24.04.2-live-server-amd64"),
    ] {
        let text = format!("variable \"medium\" {{ default = \"https://mirror.example/{medium}.iso\" }}\n");
        let source = house("iso_url = var.medium\n  iso_checksum = \"none\"\n", "").replace("house", name);
        bench.write(&format!("{name}.pkr.hcl"), text + &source);
    }
    for args in [["."].as_slice(), &["red.pkr.hcl", "blue.pkr.hcl"]] {
        let (manifest, report) = imported(&bench, args);
        has(
            &manifest,
            &[
                "[distros.red]\nfamily = \"debian\"",
                "[distros.blue]\nfamily = \"ubuntu\"",
            ],
        );
        has(&report, &["red.pkr.hcl:1", "each is a template of its own"]);
    }
    // Within one file it is a mistake, for Packer too.
    bench.write("red.pkr.hcl", "locals { a = 1 }\nlocals {\n  a = 2\n}\n");
    let report = refused(&bench, &["red.pkr.hcl"]);
    has(
        &report,
        &["red.pkr.hcl:3: local a is declared a second time; first at red.pkr.hcl:1"],
    );
}

#[test]
fn answers_that_are_lost_stop_every_build_until_they_are_written() {
    let bench = Bench::new();
    bench.write("a.pkr.hcl", house(ROCKY, ""));
    has(
        &undecided(&bench, &["a.pkr.hcl"], "TODO-house.j2"),
        &["write it as TODO-house.j2"],
    );
    let source = ROCKY.replace(
        "http_directory = \"http\"",
        "http_content = { \"/ks.cfg\" = templatefile(\"ks.tpl\", { who = 1 }) }",
    );
    bench.write("a.pkr.hcl", house(&source, ""));
    bench.write("ks.tpl", "lang ${absent}\n");
    let report = undecided(&bench, &["a.pkr.hcl"], "TODO-house.j2");
    has(
        &report,
        &["the template `ks.tpl` cannot be evaluated: `absent` is not known here"],
    );
}

#[test]
fn values_come_from_where_packer_takes_them() {
    let bench = Bench::new();
    bench.write(
        "t.json",
        r#"{ "builders": [{ "type": "qemu", "iso_url": "{{user `medium`}}", "iso_checksum": "none", "disk_size": "{{user `size`}}" }],
             "provisioners": [{ "type": "shell", "inline": ["echo {{user `greeting`}}{{user `none`}} > /etc/motd"] }] }"#,
    );
    bench.write(
        "more.json",
        r#"{ "medium": "https://mirror.example/debian-12.9.0-amd64-netinst.iso", "size": "9000", "greeting": "hello" }"#,
    );
    let (manifest, report) = imported(&bench, &["t.json", "-var-file=more.json"]);
    has(&manifest, &["sizes = [\"9000M\"]", "echo hello > /etc/motd"]);
    has(
        &report,
        &["variable none is declared nowhere and has no value: empty, as in Packer"],
    );

    let variables = "variable \"release\" { type = string }\nvariable \"file\" { default = env(\"MEDIUM\") }\n\
                     variable \"proxy\" { default = env(\"HOUSE_PROXY\") }\nlocals { name = env(\"NAME\") == \"\" ? upper(env(\"MEDIUM\")) : \"no\" }\n";
    let source = "iso_url = \"https://mirror.example/${var.file}-${var.release}-amd64-netinst.iso\"\n  iso_checksum = \"none\"\n";
    let step = "  provisioner \"shell\" {\n    environment_vars = [\"http_proxy=${var.proxy}\"]\n    inline = [\"echo ${local.name} at ${var.proxy}\"]\n  }";
    bench.write("a.pkr.hcl", variables.to_owned() + &house(source, step));
    let mut command = bench.command(&["import", "packer", "a.pkr.hcl", "-o", "env.toml"]);
    command.env("PKR_VAR_release", "12.9.0").env("MEDIUM", "debian");
    let ran = bench.finish(command);
    assert_eq!(ran.code, 0, "{}", ran.all());
    has(
        &bench.read("env.toml"),
        &[
            "url = \"https://mirror.example/debian-12.9.0-amd64-netinst.iso\"",
            "echo DEBIAN at ${HOUSE_PROXY}\n",
            "HOUSE_PROXY = { env = \"HOUSE_PROXY\", default = \"\" }",
            "checks = [\"standard\"]",
            "http_proxy = { env = \"HOUSE_PROXY\", default = \"\" }",
        ],
    );
    // What a password is taken from is one, whatever it is called.
    let variables =
        "variable \"word\" { default = \"lily\" }\nlocals { login = \"${var.word}\" }\n".to_owned();
    let step = "  provisioner \"shell\" { inline = [\"echo ${var.word}\"] }";
    bench.write(
        "a.pkr.hcl",
        variables
            + &house(
                &format!("{DEBIAN}  ssh_username = \"ann\"\n  ssh_password = local.login\n"),
                step,
            ),
    );
    let (manifest, report) = imported(&bench, &["a.pkr.hcl"]);
    has(&manifest, &["password = { env = \"WORD\" }", "echo ${WORD}"]);
    lacks(&(manifest + &report), &["lily"]);
    let variable = "variable \"medium\" { default = env(\"MEDIUM\") }\n".to_owned();
    bench.write("a.pkr.hcl", variable + &house("iso_url = var.medium\n", ""));
    let report = refused(&bench, &["a.pkr.hcl"]);
    has(
        &report,
        &[
            "its medium is named by the environment (MEDIUM), which does not say it now",
            "export MEDIUM=…",
        ],
    );
}

#[test]
fn sources_and_builds_are_those_that_packer_means() {
    let bench = Bench::new();
    let source = format!(
        "{DEBIAN}  output_directory = \"made/${{source.name}}\"\n  vm_name = \"${{source.name}}.img\"\n"
    );
    let build = "  provisioner \"shell\" {\n    only = [\"qemu.web\"]\n    inline = [\"install nginx\"]\n  }\n  \
                 provisioner \"shell\" {\n    except = [\"qemu.web\"]\n    inline = [\"install ${source.name}\"]\n  }\n  \
                 provisioner \"shell\" {\n    only = [\"virtualbox-iso.box\"]\n    inline = [data.absent.x]\n  }\n";
    let two = format!(
        "variable \"which\" {{ default = \"house\" }}\n{}",
        house(&source, build).replace(
            "sources = [\"source.qemu.house\"]",
            "sources = [\"sources.qemu.${var.which}\"]\n  source \"qemu.house\" {\n    name = \"web\"\n  }"
        )
    );
    bench.write("a.pkr.hcl", two);
    let (manifest, report) = imported(&bench, &["."]);
    has(
        &manifest,
        &[
            "[distros.house]",
            "[distros.web]",
            "install house",
            "install nginx",
            "file = \"made/{{ id }}/{{ id }}.img{{ suffix }}\"",
        ],
    );
    lacks(&manifest, &["install web"]);
    lacks(&report, &["cannot be known"]);
    let (manifest, _) = imported(&bench, &[".", "--only", "we*"]);
    lacks(&manifest, &["[distros.house]"]);
    has(
        &refused(&bench, &[".", "--only", "x"]),
        &["name builds that the templates have"],
    );

    // Two builds of one source; templates without names.
    let builds = house(DEBIAN, "  name = \"plain\"")
        + "build {\n  name = \"web\"\n  sources = [\"source.qemu.house\"]\n  provisioner \"shell\" {\n    inline = [\"x\"]\n  }\n}\n";
    bench.write("a.pkr.hcl", builds);
    imported(&bench, &["."]);
    assert_eq!(
        bench.run(&["validate", "--list", "images.toml"]).stdout,
        "house-plain\nhouse-web\n"
    );
    for (name, medium) in [
        ("red", "debian-12.9.0-amd64-netinst"),
        ("blue", "ubuntu-24.04.2-live-server-amd64"),
    ] {
        let text = format!(
            "{{ \"builders\": [{{ \"type\": \"qemu\", \"iso_url\": \"https://mirror.example/{medium}.iso\", \"iso_checksum\": \"none\" }}] }}"
        );
        bench.write(&format!("{name}.json"), text);
    }
    imported(&bench, &["red.json", "blue.json"]);
    assert_eq!(
        bench.run(&["validate", "--list", "images.toml"]).stdout,
        "red\nblue\n"
    );
}

#[test]
fn expressions_are_evaluated_or_stop_the_step_that_needs_them() {
    let bench = Bench::new();
    bench.write("files/one.sh", "");
    bench.write("who.txt", "ann\n");
    let script = "  provisioner \"shell\" {\n    inline = [<<-EOT\n      # prepares for the platform, before the format\n      \
                  for room in a b; do echo ${local.say}; done\n    EOT\n    ]\n  }\n  provisioner \"shell\" {\n    \
                  inline = [\"echo ${local.lost}\"]\n  }\n  provisioner \"shell\" {\n    inline = [\"echo ${bcrypt(\"x\")}\"]\n  }";
    let locals = "locals {\n  say = join(\" \", [try(local.other.nope, \"fallback\"), can(local.other.nope) ? \"yes\" : \"no\", \
                  regex(\"[0-9]+\", \"debian-12\"), substr(sha256(\"x\"), 0, 8), trimspace(file(\"who.txt\")), \
                  join(\"\", fileset(\"files\", \"*.sh\")), format(\"%03d-%5.1f\", 7, 2.5), jsondecode(\"{\\\"x\\\":1}\").x, \
                  base64encode(\"x\"), slice([\"a\", \"b\"], 0, 1)[0], formatlist(\"%s!\", [\"x\"])[0], cidrhost(\"10.0.0.0/8\", 2), \
                  csvdecode(\"a,b\\n1,2\")[0].b, yamldecode(\"x: [3]\").x[0], timeadd(\"2020-02-28T23:30:00Z\", \"24h30m\"), \
                  formatdate(\"YYYY\", \"2020-02-28T23:30:00Z\"), substr(uuidv5(\"dns\", \"example.com\"), 0, 8)])\n  other = { x = 1 }\n  \
                  lost = consul_key(\"x\")\n  unused = data.http.x.body\n}\n";
    bench.write("a.pkr.hcl", locals.to_owned() + &house(DEBIAN, script));
    let (manifest, report) = imported(&bench, &["."]);
    has(
        &manifest,
        &[
            "echo fallback no 12 2d711642 ann one.sh 007-  2.5 1 eA== a x! 10.0.0.2 2 3 2020-03-01T00:00:00Z 2020 cfbff0d1; done",
            "TODO: shell of a.pkr.hcl:",
            "inline cannot be known: local.lost: the function `consul_key` is not known here",
            "env = { PASSWORD_HASH = { env = \"PASSWORD_HASH\" } }",
        ],
    );
    lacks(&report, &["unused"]);
}

#[test]
fn machines_are_what_they_were_or_are_refused() {
    let bench = Bench::new();
    let source = format!(
        "{DEBIAN}  qemuargs = [[\"-m\", \"3072M\"], [\"-smp\", \"cpus=4,sockets=1\"], [\"-device\", \"virtio-rng-pci\"]]\n  \
         disk_size = \"30000000000b\"\n  boot_wait = \"1500ms\"\n  boot_command = [\"<esc>linux hello<enter>\"]\n  \
         output_directory = \"/srv/images/house-of-debians\"\n"
    );
    let build = "  post-processor \"checksum\" {\n    checksum_types = [var.sum]\n  }\n  post-processor \"compress\" {\n    format = \".gz\"\n  }";
    bench.write(
        "a.pkr.hcl",
        "variable \"sum\" { default = \"sha256\" }\n".to_owned() + &house(&source, build),
    );
    let (manifest, report) = imported(&bench, &["."]);
    has(
        &manifest,
        &[
            "memory = \"3072M\"",
            "cpus = 4",
            "sizes = [\"28611M\"]",
            "boot_command = \"<wait1500ms><esc>linux hello<enter>\"",
            "checksums = [\"sha256\"]",
            "compress = \"gzip\"",
            "file = \"{{ id }}-of-debians/packer-{{ id }}{{ suffix }}\"",
        ],
    );
    has(&report, &["qemuargs -device virtio-rng-pci"]);
    lacks(&report, &["512 MiB"]);

    for (medium, cause) in [
        (
            "debian-12.9.0-i386-netinst",
            "it is for i386, and machines for amd64 and arm64 can be built",
        ),
        (
            "ubuntu-14.04.6-server-amd64",
            "no installer of ubuntu 14.04 for amd64 is known",
        ),
        (
            "CentOS-6.10-x86_64-minimal",
            "no installer of rhel 6 for amd64 is known",
        ),
        (
            "archlinux-2026.01.01-x86_64",
            "pipeline cannot install archlinux-2026.01.01-x86_64.iso",
        ),
    ] {
        let source =
            format!("iso_url = \"https://mirror.example/{medium}.iso\"\n  iso_checksum = \"sha1:abc\"\n");
        bench.write(
            "a.pkr.hcl",
            "data \"http\" \"x\" {}\n".to_owned() + &house(&source, ""),
        );
        has(&refused(&bench, &["."]), &["a.pkr.hcl:2: build house:", cause]);
    }
    // Another architecture, by its emulator or its medium; firmware by its files.
    for (medium, more, wanted) in [
        ("debian-12.9.0-arm64-netinst", "", "arch = \"arm64\"\n"),
        (
            "Fedora-Server-dvd-42-1.1",
            "qemu_binary = \"/usr/bin/qemu-system-aarch64\"\n  efi_boot = true\n",
            "arch = \"arm64\"\nfirmware = \"uefi\"\n",
        ),
        (
            "ubuntu-24.04.2-live-server-amd64",
            "qemuargs = [[\"-drive\", \"if=pflash,format=raw,file=/usr/share/OVMF/OVMF_CODE_4M.fd\"]]\n",
            "firmware = \"uefi\"\n",
        ),
    ] {
        let source =
            format!("iso_url = \"https://mirror.example/{medium}.iso\"\n  iso_checksum = \"none\"\n  {more}");
        bench.write("a.pkr.hcl", house(&source, ""));
        has(&imported(&bench, &["."]).0, &[wanted]);
    }
    // A cloud image has its firmware, a TPM, and what cloud-init does by the build's own seed.
    let source = "iso_url = \"https://mirror.example/debian-12-genericcloud-amd64.qcow2\"\n  iso_checksum = \"none\"\n  \
                  disk_image = true\n  ssh_username = \"ann\"\n  efi_firmware_vars = \"/x/OVMF_VARS_4M.ms.fd\"\n  vtpm = true\n  \
                  cd_content = { \"user-data\" = \"#cloud-config\\nusers: [{name: ann, plain_text_passwd: lily}, {name: bob}]\\nruncmd: [x]\\n\" }\n";
    bench.write("a.pkr.hcl", house(source, ""));
    let (manifest, report) = imported(&bench, &["."]);
    has(
        &manifest,
        &[
            "firmware = \"uefi\"\nsecure_boot = true\n",
            "tpm = true",
            "(password of ann, user bob, runcmd)",
        ],
    );
    lacks(&(manifest + &report), &["lily"]);
    let more = "users: [{name: ann, plain_text_passwd: lily}, {name: bob}]\\nruncmd: [x]";
    bench.write(
        "a.pkr.hcl",
        house(
            &source.replace(more, "hostname: x\\nusers: [default, {name: ann}]"),
            "",
        ),
    );
    lacks(&imported(&bench, &["."]).0, &["name = \"TODO\""]);
    let (manifest, _) = imported(&bench, &[".", "--system", "rhel:9"]);
    has(&manifest, &["family = \"rhel\"\nversion = \"9\""]);
    has(&refused(&bench, &[".", "--system", "arch"]), &["--system rhel:9"]);
}

#[test]
fn boot_lines_hold_no_pieces_of_actions() {
    let bench = Bench::new();
    let source = format!(
        "{DEBIAN}  http_directory = \"http\"\n  boot_command = [\"<esc>insmod gzio<enter>search --file /x<enter>linux /install.amd/vmlinuz auto \
         url=http://192.168.122.1:{{{{ .HTTPPort }}}}/p.cfg hostname={{{{ .Name }}}} quietly=yes<enter>boot<enter>\"]\n"
    );
    bench.write("a.pkr.hcl", house(&source, ""));
    bench.write("http/p.cfg", "d-i debian-installer/locale string fr_FR\n");
    let (manifest, _) = imported(&bench, &["."]);
    has(&manifest, &["arguments = \"quietly=yes\"", "locale = \"fr_FR\""]);
}

#[test]
fn steps_run_as_who_ran_them() {
    let bench = Bench::new();
    bench.write("deploy.sh", "echo key > ~/.ssh/authorized_keys\n");
    bench.write("play.yml", "- hosts: all\n");
    let build = "  provisioner \"shell\" { script = \"deploy.sh\" }\n  provisioner \"shell\" {\n    \
                 execute_command = \"chmod +x {{ .Path }}; sudo -u deploy {{ .Vars }} sh {{ .Path }}\"\n    inline = [\"id\"]\n  }\n  \
                 provisioner \"shell\" {\n    execute_command = \"sudo -E env LC_ALL=C {{ .Vars }} bash -eux {{ .Path }}\"\n    \
                 script = \"deploy.sh\"\n  }\n  provisioner \"shell\" {\n    execute_command = \"cd /opt && {{ .Path }}\"\n    \
                 inline = [\"id\"]\n  }\n  provisioner \"file\" {\n    content = \"hello\"\n    destination = \"/tmp/hello\"\n  }\n  \
                 provisioner \"shell\" { scripts = [\"/dev/null\"] }\n  \
                 provisioner \"shell\" { inline = [\"echo 'root:lily' | sudo chpasswd\"] }\n  provisioner \"ansible\" {\n    playbook_file = \"play.yml\"\n    \
                 extra_arguments = [\"--extra-vars\", \"\", \"--diff\"]\n  }\n  provisioner \"puppet\" {}";
    bench.write(
        "a.pkr.hcl",
        house(&format!("{DEBIAN}  ssh_username = \"ann\"\n"), build),
    );
    let (manifest, report) = imported(&bench, &["."]);
    has(
        &manifest,
        &[
            "{ run = \"deploy.sh\", user = \"ann\" },",
            "name = \"id\", interpreter = \"sh\", user = \"deploy\" },",
            "{ run = \"deploy.sh\", env = { LC_ALL = \"C\" }, interpreter = \"bash -eux\" },",
            "`cd /opt` in it is not what a step does",
            "name = \"write hello\", user = \"ann\" }",
            "args = [\"--diff\"]",
            "echo 'root:'\"${PASSWORD}\"'' | sudo chpasswd",
            "env = { PASSWORD = { env = \"PASSWORD\" } }",
            "provisioner puppet of a.pkr.hcl",
        ],
    );
    assert_eq!(
        manifest.matches("exit 1\n''', name = \"TODO\"").count(),
        2,
        "{manifest}"
    );
    has(&report, &["says `~/`: here that is root's"]);
}

#[test]
fn times_are_those_of_the_build() {
    let bench = Bench::new();
    let build = "  provisioner \"shell\" {\n    inline = [\"echo 'built on ${local.day}' > /etc/built\"]\n  }\n  \
                 provisioner \"shell\" {\n    inline = [\"echo ${uuidv4()} > /etc/id\"]\n  }\n  \
                 provisioner \"shell\" {\n    inline = [\"echo ${split(\"T\", timestamp())[1]}\"]\n  }\n  \
                 provisioner \"shell\" {\n    inline = [\"echo ${substr(timestamp(), 2, 2)}\"]\n  }\n  \
                 provisioner \"shell\" {\n    inline = [\"echo ${formatdate(\"YY\", timeadd(timestamp(), \"24h\"))}\"]\n  }\n  \
                 provisioner \"shell\" {\n    inline = [\"echo ${substr(uuidv4(), 0, 8)}\"]\n  }\n  \
                 provisioner \"file\" {\n    content = \"${timestamp()}\"\n    destination = \"/etc/built\"\n  }";
    let source = format!("{DEBIAN}  vm_name = \"house-${{local.day}}.qcow2\"\n");
    bench.write(
        "a.pkr.hcl",
        "locals { day = formatdate(\"YYYYMMDD\", timestamp()) }\n".to_owned() + &house(&source, build),
    );
    let (manifest, report) = imported(&bench, &["."]);
    has(
        &manifest,
        &[
            "echo 'built on '\"$(date -u +'%Y%m%d')\"'' > /etc/built",
            "echo $(cat /proc/sys/kernel/random/uuid) > /etc/id",
            "/{{ id }}.{{ format }}{{ suffix }}",
        ],
    );
    assert_eq!(manifest.matches("name = \"TODO\"").count(), 5, "{manifest}");
    has(
        &report,
        &[
            "vm_name",
            "changed with each build; here it is always `house.qcow2`",
        ],
    );
}

#[test]
fn playbooks_are_followed_and_a_missing_template_costs_itself() {
    let bench = Bench::new();
    let text = "variable \"size\" { default = \"10G\" }\n".to_owned()
        + &house(&format!("{DEBIAN}  disk_size = var.size\n"), "");
    bench.write("sub/a.pkr.hcl", text);
    bench.write(
        "build.yml",
        "- hosts: localhost\n  tasks:\n    - include_tasks: more.yml\n    - command: packer build gone.json\n",
    );
    bench.write(
        "more.yml",
        "- shell: cd sub && packer build -only=qemu.house .\n  environment: {PKR_VAR_size: 12G}\n",
    );
    let (manifest, report) = imported(&bench, &["sub", "--ansible", "build.yml"]);
    has(&manifest, &["sizes = [\"12G\"]"]);
    has(
        &report,
        &["build.yml:4 packer build packer builds `gone.json`, which is not there"],
    );
    bench.write("sub/broken.json", "{ \"builders\": [ }");
    let (_, report) = imported(&bench, &["sub/a.pkr.hcl", "sub/broken.json"]);
    has(
        &report,
        &["sub/broken.json:1 template is left out: this is no JSON"],
    );
    // A file of tasks is enough.
    imported(&bench, &["sub", "--ansible", "more.yml"]);

    // What make runs.
    bench.write(
        "Makefile",
        "PACKER ?= packer\nexport PKR_VAR_size := $(SIZE)\nall: images\nimages:\n\t$(MAKE) -C sub image OPTIONS=-force\n",
    );
    bench.write(
        "sub/Makefile",
        "image: ; @$(PACKER) build $(OPTIONS) $@.pkr.hcl\nPACKER = packer\n",
    );
    bench.write("sub/image.pkr.hcl", bench.read("sub/a.pkr.hcl"));
    bench.write("make.yml", "- hosts: localhost\n  tasks:\n    - command: make all SIZE=13G\n    - make: {target: images, params: {SIZE: 14G}}\n");
    let (manifest, _) = imported(&bench, &["sub/image.pkr.hcl", "--ansible", "make.yml"]);
    has(&manifest, &["sizes = [\"13G\", \"14G\"]"]);
}

#[test]
fn hcl_in_the_form_of_json_is_hcl() {
    let bench = Bench::new();
    bench.write(
        "variables.pkr.json",
        r#"{ "variable": { "//": "a comment", "size": { "type": "string", "default": "9G" }, "shells": { "type": "list(string)", "default": ["/bin/sh"] } } }"#,
    );
    bench.write(
        "build.pkr.json",
        r#"{
  "locals": { "line": "echo '${replace(\"a-b\", \"-\", \"\\\"\")}' $${x}" },
  "source": { "qemu": { "house": {
    "iso_url": "https://mirror.example/debian-12.9.0-amd64-netinst.iso",
    "//": "another one",
    "iso_checksum": "none",
    "disk_size": "${var.size}"
  } } },
  "build": [{
    "sources": ["source.qemu.house"],
    "provisioner": [
      { "shell": { "inline": ["${local.line}", "for x in a b; do\n  echo $x\ndone"] } },
      { "shell": { "inline": ["${gone}"] } }
    ]
  }]
}"#,
    );
    let (manifest, report) = imported(&bench, &["."]);
    has(
        &manifest,
        &[
            "sizes = [\"9G\"]",
            "echo 'a\"b' ${x}\nfor x in a b; do\n  echo $x\ndone\n",
            "TODO: shell of build.pkr.json:13: inline cannot be known: `gone` is not known here",
        ],
    );
    has(&report, &["variables.pkr.json:1 variable shells a list"]);
    lacks(&report, &["not a key"]);
    // In a folder with HCL, they are one configuration.
    bench.write("a.pkr.hcl", "variable \"size\" { default = \"8G\" }\n");
    has(&imported(&bench, &["."]).1, &["each is a template of its own"]);
    bench.write("build.pkr.json", "{\n \"build\": {\n  \"name\": \"${x\" } }\n");
    has(
        &refused(&bench, &["build.pkr.json"]),
        &["build.pkr.json:3: this is no HCL"],
    );
}
