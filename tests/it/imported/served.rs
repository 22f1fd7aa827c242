//! What a template's answers, its keys and its variables take from each other, as real templates write it.

use super::{DEBIAN, NOBLE, ROCKY, has, house, import, imported, lacks, undecided};
use crate::support::Bench;

const AUTO: &str = "http_directory = \"http\"\n  boot_command = [\"<esc>auto url=http://{{ .HTTPIP }}:{{ .HTTPPort }}/d/p.cfg<enter>\"]\n";

#[test]
fn a_preseed_brings_those_that_it_includes_and_public_mirrors_serve_nothing_of_packers() {
    let bench = Bench::new();
    bench.write("a.pkr.hcl", house(&format!("{DEBIAN}  {AUTO}"), ""));
    bench.write("http/debian/x", "");
    bench.write("http/kickstart/x", "");
    bench.write(
        "http/d/p.cfg",
        "d-i mirror/http/hostname string deb.example\nd-i mirror/http/directory string /debian\n\
         # from http://mirror.example/8/kickstart/\nd-i pkgsel/upgrade select none\nd-i preseed/include string ../more.cfg last.cfg\n",
    );
    bench.write("http/more.cfg", "d-i time/zone string Europe/Paris\n");
    bench.write(
        "http/d/last.cfg",
        "d-i time/zone string Europe/Rome\n\nd-i partman-auto/method string lvm\n",
    );
    let (manifest, report) = imported(&bench, &["a.pkr.hcl"]);
    has(
        &manifest,
        &[
            "timezone = \"Europe/Rome\"",
            "mirror = \"http://deb.example/debian\"",
        ],
    );
    lacks(&manifest, &["name = \"TODO\""]);
    has(&report, &["http/d/last.cfg:3 partman-auto/method lvm"]);

    std::fs::remove_file(bench.path("http/more.cfg")).unwrap();
    let report = undecided(&bench, &["a.pkr.hcl"], "todo_include");
    has(
        &report,
        &["http/d/p.cfg:5 preseed/include more answers, which are not read here"],
    );
}

#[test]
fn what_cloud_init_does_in_the_live_system_is_kept() {
    let bench = Bench::new();
    bench.write("a.pkr.hcl", house(NOBLE, ""));
    bench.write("http/meta-data", "");
    bench.write(
        "http/user-data",
        "#cloud-config\nwrite_files:\n  - path: /boot-order.sh\n    content: |\n      #!/bin/sh\n      efibootmgr\n\
         chpasswd:\n  list: |\n    installer:lily\nautoinstall:\n  version: 1\n  identity: {hostname: h, username: ann, password: \"$6$x\"}\n  \
         late-commands:\n    - /boot-order.sh\nruncmd: [touch /x]\n",
    );
    let (_, report) = imported(&bench, &["a.pkr.hcl"]);
    has(
        &report,
        &["http/user-data:7 chpasswd who may log in to the live system"],
    );
    let rendered = bench.run(&["render", "images.toml"]).stdout;
    let (of_installer, live) = rendered.split_once("\n  shutdown: poweroff\n").unwrap();
    has(of_installer, &["    - /boot-order.sh\n"]);
    has(
        live,
        &[
            "write_files:\n  - path: /boot-order.sh\n    content: |\n      #!/bin/sh\n      efibootmgr\n",
            "runcmd: [touch /x]\n",
        ],
    );
    lacks(&rendered, &["lily", "chpasswd"]);
}

#[test]
fn what_is_typed_is_read_through_variables_and_waits() {
    let bench = Bench::new();
    bench.write(
        "http/ks.cfg",
        "lang fr_FR.UTF-8\n%packages --nocore --excludedocs\nvim\n%end\n",
    );
    bench.write(
        "t.json",
        r#"{ "variables": { "medium": "https://mirror.example/Rocky-9.5-x86_64-dvd.iso",
                            "keys": "<tab> inst.<wait>ks=http://{{ .HTTPIP }}:<wait>{{.HTTPPort}}/ks.cfg inst.repo=http://mirror.example/os/<enter><wait>" },
             "builders": [{ "type": "qemu", "iso_url": "{{user `medium`}}", "iso_checksum": "none", "http_directory": "http",
                            "boot_command": "{{user `keys`}}",
                            "shutdown_command": "echo 'halt -p' > off.sh; echo 'lily'|sudo -S bash 'off.sh'" }] }"#,
    );
    let (manifest, report) = imported(&bench, &["t.json"]);
    has(
        &manifest,
        &[
            "locale = \"fr_FR.UTF-8\"",
            "Packer typed: inst.ks=http://HOST:PORT/ks.cfg",
            "mirror = \"http://mirror.example/os/\"",
            "package_options = \"--excludedocs\"",
        ],
    );
    lacks(&manifest, &["arguments", "name = \"TODO\""]);
    has(
        &bench.run(&["render", "images.toml"]).stdout,
        &["%packages --excludedocs\n@core\n"],
    );
    lacks(&report, &["did more than to switch off"]);

    // Answers came with it, but not from a place that is known.
    let typed = "boot_command = [\"c<wait>linux /casper/vmlinuz autoinstall ---<enter>initrd /casper/initrd<enter>boot<enter>\"]\n";
    let (medium, _) = NOBLE.split_once("http_directory").unwrap();
    bench.write("a.pkr.hcl", house(&format!("{medium}{typed}"), ""));
    undecided(&bench, &["a.pkr.hcl"], "TODO-house.j2");
}

#[test]
fn a_value_that_is_not_known_is_no_mistake_for_try() {
    let bench = Bench::new();
    let source = "iso_url = \"https://mirror.example/debian-12.9.0-amd64-netinst.iso\"\n  iso_checksum = \"none\"\n  \
                  disk_image = try(local.all.image, true)\n  memory = can(local.all.x) ? 1024 : 512\n  \
                  cpus = try(local.none.x, 3)\n";
    let locals = "locals {\n  all = {\n    image = false\n    text = templatefile(\"${path.cwd}/shared/t.tpl\", {})\n  }\n}\n";
    bench.write("sub/a.pkr.hcl", format!("{locals}{}", house(source, "")));
    let ran = import(&bench, &["sub"]);
    has(&ran.all(), &["local.all: there is no file `./shared/t.tpl`"]);
    let manifest = bench.read("images.toml");
    has(
        &manifest,
        &["echo 'TODO: disk_image: its value cannot be known", "cpus = 3"],
    );
    // Files below `path.cwd` are those of the folder in which Packer was started.
    bench.write("shared/t.tpl", "text");
    let (manifest, _) = imported(&bench, &["sub"]);
    has(&manifest, &["source.iso]", "memory = \"512M\"", "cpus = 3"]);
    lacks(&manifest, &["name = \"TODO\""]);
}

#[test]
fn variables_of_a_template_are_no_vars_of_the_built_in_answers() {
    let bench = Bench::new();
    let variables = "variable \"kernel\" { default = \"\" }\nvariable \"swap\" { default = \"2048\" }\n";
    let build = "  provisioner \"shell\" { inline = [\"echo ${var.swap}\"] }\n";
    let source = format!("{DEBIAN}  {}", AUTO.replace("/d/", "/"));
    bench.write("a.pkr.hcl", format!("{variables}{}", house(&source, build)));
    bench.write("http/p.cfg", "d-i debian-installer/locale string fr_FR\n");
    let (manifest, report) = imported(&bench, &["a.pkr.hcl"]);
    has(
        &manifest,
        &["packer_kernel = \"\"", "packer_swap = \"2048\"", "echo 2048"],
    );
    has(&report, &["`swap` is not free in a manifest"]);
    lacks(
        &bench.run(&["render", "images.toml"]).stdout,
        &["base-installer/kernel/image", "swapfile"],
    );
}

#[test]
fn answers_that_another_builder_writes_and_hashes_that_a_function_makes_are_found() {
    let bench = Bench::new();
    let files = "source \"file\" \"answers\" {\n  target = \"http/user-data\"\n  content = <<EOF\n#cloud-config\nautoinstall:\n  version: 1\n  \
                 identity:\n    hostname: h\n    username: ${var.login}\n    password: ${bcrypt(\"lily\")}\n  timezone: Europe/Paris\nEOF\n}\n\
                 build { sources = [\"sources.file.answers\"] }\nvariable \"login\" { default = \"ann\" }\n";
    bench.write("a.pkr.hcl", format!("{files}{}", house(NOBLE, "")));
    let (manifest, report) = imported(&bench, &["a.pkr.hcl"]);
    has(
        &manifest,
        &[
            "timezone = \"Europe/Paris\"",
            "username = \"ann\"",
            "password = { env = \"SSH_PASSWORD\" }",
        ],
    );
    has(&report, &["builder file wrote a file before the build"]);
    lacks(&manifest, &["name = \"TODO\"", "lily"]);

    // For a disk image it is a seed, wherever it is written.
    let files = files
        .replace("http/user-data", "seed/user-data")
        .replace("autoinstall:", "packages: [vim]\nx:");
    let image = "iso_url = \"https://mirror.example/debian-12-generic-amd64.qcow2\"\n  iso_checksum = \"none\"\n  disk_image = true\n";
    bench.write("a.pkr.hcl", format!("{files}{}", house(image, "")));
    let (manifest, _) = imported(&bench, &["a.pkr.hcl"]);
    has(
        &manifest,
        &["user-data: did more in the image than to let Packer in (packages, x)"],
    );
}

#[test]
fn the_users_home_is_another_name_than_variables_that_begin_with_it() {
    let bench = Bench::new();
    let build = "  provisioner \"shell\" {\n    script = \"s.sh\"\n    execute_command = \"{{ .Vars }} sudo -E sh {{ .Path }}\"\n  }\n";
    bench.write(
        "a.pkr.hcl",
        house(&format!("{ROCKY}  ssh_username = \"ann\"\n"), build),
    );
    bench.write("http/ks.cfg", "lang fr_FR.UTF-8\n");
    bench.write("s.sh", "touch $HOME_DIR/x\n");
    let says = "says `$HOME`: here that is root's";
    lacks(&imported(&bench, &["a.pkr.hcl"]).1, &[says]);
    bench.write("s.sh", "touch $HOME/x\n");
    has(&imported(&bench, &["a.pkr.hcl"]).1, &[says]);
}
