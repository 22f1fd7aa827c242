//! Distros installed by their own installers: media, signatures, and guests of one sector in the place of installers. What
//! the real installer does is in `full_guest::installer`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::machine::tiny::{self, Then};
use crate::support::debian_installer::netboot;
use crate::support::http::Server;
use crate::support::signer::Signer;
use crate::support::{Bench, tool};

/// A manifest of distros with one image each.
pub fn manifest(distros: &str, names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    format!(
        "[resources]\njobs = 2\ncpus = 2\nmemory = \"4G\"\n{distros}\n[flavors.base]\nsteps = []\n\
         [[images]]\ndistro = [{}]\nflavor = \"base\"\nsizes = [\"5G\"]\n",
        names.join(", ")
    )
}

/// The first line of what is said of a node.
pub fn failure<'a>(text: &'a str, distro: &str) -> &'a str {
    let start = format!(" install {distro}: FAILED");
    let found = text.lines().find(|line| line.contains(&start));
    found.unwrap_or_else(|| panic!("nothing failed for {distro}:\n{text}"))
}

#[test]
fn media_that_cannot_be_used_are_refused_before_any_machine_starts() {
    let bench = Bench::new();
    bench.write("tree/install.386/vmlinuz", "a kernel\n");
    bench.write("tree/install.386/initrd.gz", "an initrd\n");
    tool(
        "xorriso",
        &["-as", "mkisofs", "-quiet", "-R", "-o", "old.iso", "tree"],
        &bench.path("."),
    );
    bench.write("text.iso", "no image");
    let distro = |name: &str, iso: &str| {
        format!("[distros.{name}]\nfamily = \"debian\"\nversion = \"13\"\nsource = {{ iso = {{ {iso} }} }}\n")
    };
    let zeros = "0".repeat(64);
    let distros = [
        distro("absent", "path = \"old.iso\""),
        distro("wrong", &format!("path = \"old.iso\", sha256 = \"{zeros}\"")),
        distro("text", "path = \"text.iso\""),
    ];
    bench.write(
        "images.toml",
        manifest(&distros.concat(), &["absent", "wrong", "text"]),
    );
    let started = std::time::Instant::now();
    let ran = bench.run(&["run", "images.toml", "--progress=plain"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(
        ran.stderr
            .contains("text.iso is not an ISO image that can be read"),
        "{}",
        ran.all()
    );
    bench.write(
        "images.toml",
        manifest(&distros[..2].concat(), &["absent", "wrong"]),
    );
    let ran = bench.run(&["run", "images.toml", "--progress=plain"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(started.elapsed() < Duration::from_secs(60));
    for (distro, what) in [
        (
            "absent",
            "has no file install.amd/vmlinuz; next to where it should be are: install.386",
        ),
        ("wrong", "is not what the manifest says"),
    ] {
        assert!(
            failure(&ran.stderr, distro).contains(what) || ran.stderr.contains(what),
            "{}",
            ran.all()
        );
    }
    assert!(ran.stderr.contains(&format!("sha256:{zeros}")), "{}", ran.all());
}

#[test]
fn a_publishers_checksum_file_is_believed_only_with_a_good_signature() {
    let bench = Bench::new();
    let folder = bench.path(".");
    fs::write(bench.path("netinst.iso"), "not really an image").unwrap();
    tool("sh", &["-c", "sha256sum netinst.iso > SHA256SUMS"], &folder);
    // The publisher has other files of this name, in other folders.
    let line = |digit: &str, name: &str| format!("{}  {name}/netinst.iso\n", digit.repeat(64));
    bench.write("SHA256SUMS", bench.read("SHA256SUMS") + &line("0", "./edu"));
    bench.write("TWO", line("1", "./edu") + &line("2", "./mini"));
    let signer = Signer::new(&["publisher", "stranger"]);
    for name in ["publisher", "stranger"] {
        signer.export(name, &bench.path(&format!("{name}.gpg")));
    }
    let sums = bench.path("SHA256SUMS");
    signer.sign(
        "publisher",
        "--detach-sign",
        &sums,
        &bench.path("SHA256SUMS.sign"),
    );
    signer.sign("publisher", "--clear-sign", &sums, &bench.path("CHECKSUM"));
    fs::write(
        bench.path("MORE"),
        format!("{}{}  netinst.iso\n", bench.read("CHECKSUM"), "0".repeat(64)),
    )
    .unwrap();
    let server = Server::start(bench.read("netinst.iso"));
    let url = server.url("/netinst.iso");
    let distro = |name: &str, proof: &str| {
        format!(
            "[distros.{name}]\nfamily = \"debian\"\nversion = \"13\"\nsource = {{ iso = {{ url = \"{url}\", {proof} }} }}\n"
        )
    };
    let distros = [
        distro("unsigned", "checksums = \"SHA256SUMS\""),
        distro(
            "detached",
            "checksums = \"SHA256SUMS\", signature = \"SHA256SUMS.sign\", keyring = \"publisher.gpg\"",
        ),
        distro("clear", "checksums = \"CHECKSUM\", keyring = \"publisher.gpg\""),
        distro("appended", "checksums = \"MORE\", keyring = \"publisher.gpg\""),
        distro(
            "forged",
            "checksums = \"SHA256SUMS\", signature = \"SHA256SUMS.sign\", keyring = \"stranger.gpg\"",
        ),
        distro(
            "without",
            "checksums = \"SHA256SUMS\", keyring = \"publisher.gpg\"",
        ),
        distro("ambiguous", "checksums = \"TWO\""),
    ];
    let names = [
        "unsigned",
        "detached",
        "clear",
        "appended",
        "forged",
        "without",
        "ambiguous",
    ];
    bench.write("images.toml", manifest(&distros.concat(), &names));
    let ran = bench.run(&["run", "images.toml", "--progress=plain"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    let message = |distro: &str| {
        let start = format!(" fetch {distro}: FAILED");
        let line = ran.stderr.lines().find(|line| line.contains(&start));
        line.unwrap_or_else(|| panic!("{distro}: {}", ran.all()))
            .to_owned()
    };
    for good in ["unsigned", "detached", "clear", "appended"] {
        // The list was believed and the medium fetched; that it is no ISO is found later.
        let failed = failure(&ran.stderr, good);
        assert!(failed.contains("is not an ISO image"), "{good}: {}", ran.all());
    }
    for bad in ["forged", "without"] {
        assert!(
            message(bad).contains("the signature of the checksum file"),
            "{}",
            message(bad)
        );
    }
    let ambiguous = message("ambiguous");
    assert!(
        ambiguous.contains("no line fits") && ambiguous.contains("./edu/netinst.iso, ./mini/netinst.iso"),
        "{}",
        ran.all()
    );
}

/// A CD that starts a guest of one sector.
pub fn cd(bench: &Bench, name: &str, text: &str, then: Then) {
    let mut loader = tiny::disk(text, then);
    loader.truncate(2048);
    bench.write(&format!("{name}/boot.img"), loader);
    let image = [
        "-as",
        "mkisofs",
        "-quiet",
        "-R",
        "-b",
        "boot.img",
        "-no-emul-boot",
        "-boot-load-size",
        "4",
    ];
    let file = format!("{name}.iso");
    let image: Vec<_> = image.into_iter().chain(["-o", &file, name]).collect();
    tool("xorriso", &image, &bench.path("."));
}

/// Guests of one sector in the place of installers: what the node makes of their ends.
#[test]
fn the_end_of_an_installer_is_judged_and_a_good_one_leaves_a_disk() {
    let bench = Bench::new();
    let mut distros = String::new();
    for (name, family, by, text, then) in [
        ("deaf", "debian", "http", "hello\r\n", Then::PowerOff),
        (
            "panic",
            "debian",
            "http",
            "Kernel panic - not syncing: VFS: no root\r\n",
            Then::Halt,
        ),
        (
            "stuck",
            "rhel",
            "seed",
            "Traceback (most recent call last):\r\n  x\r\n",
            Then::Halt,
        ),
        // As Debian 13's installer was seen to say it, with a disk of 600 MiB.
        (
            "small",
            "debian",
            "http",
            "Partition disks\r\n---------------\r\n!! ERROR: Failed to partition the selected disk\r\n\
             This probably happened because the selected disk or free space is too small\r\n",
            Then::Halt,
        ),
        // As its text front end asks.
        (
            "asks",
            "debian",
            "http",
            "Select a language\r\n-----------------\r\n  1: C [*], 2: English,\r\nPrompt: '?' for help, default=1> ",
            Then::Halt,
        ),
        (
            "unfinished",
            "rhel",
            "seed",
            "Installing boot loader\r\n",
            Then::PowerOff,
        ),
        (
            "good",
            "rhel",
            "seed",
            "Installing boot loader\r\n",
            Then::PowerOff,
        ),
    ] {
        cd(&bench, name, text, then);
        // Answers that report nothing: the end of the machine is all there is.
        let answers = if name == "good" {
            "answers = \"ks.cfg\"\n"
        } else {
            ""
        };
        distros += &format!(
            "[distros.{name}]\nfamily = \"{family}\"\nversion = \"9\"\ndisk = \"64M\"\nmemory = \"64M\"\ncpus = 1\n\
             {answers}source = {{ iso = {{ path = \"{name}.iso\", answers_by = \"{by}\", boot_command = \"<wait0>\" }} }}\n"
        );
    }
    bench.write(
        "images.toml",
        manifest(
            &distros,
            &["deaf", "panic", "stuck", "small", "asks", "unfinished", "good"],
        ),
    );
    bench.write("ks.cfg", "text\npoweroff\n");
    let validated = bench.run(&["validate", "images.toml"]);
    assert_eq!(validated.code, 0, "{}", validated.all());
    let warning = "the answers `ks.cfg` of distro `good` do not report that the installation is done";
    assert!(validated.stderr.contains(warning), "{}", validated.all());
    let ran = bench.run(&["run", "images.toml", "--progress=plain"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    for (distro, verdict) in [
        ("deaf", "never asked"),
        ("panic", "kernel panic"),
        ("stuck", "installer failed"),
        ("small", "stuck at prompt"),
        ("asks", "stuck at prompt"),
        ("unfinished", "installer failed"),
    ] {
        let line = failure(&ran.stderr, distro);
        assert!(
            line.contains(&format!("s: {verdict}: ")),
            "{distro}: {}",
            ran.all()
        );
    }
    for (distro, what) in [
        (
            "deaf",
            "the installer ended without having asked for its answers (it never asked for its answers",
        ),
        (
            "panic",
            "the guest's kernel panicked: Kernel panic - not syncing: VFS: no root",
        ),
        ("stuck", "Anaconda crashed (it had its answers"),
        ("small", "the disk is too small for what the answers want on it"),
        ("asks", "the installer asks something that the answers do not say"),
        (
            "unfinished",
            "the machine went off before the installer reported that it had finished",
        ),
    ] {
        assert!(failure(&ran.stderr, distro).contains(what), "{}", ran.all());
    }
    assert!(
        ran.stderr.contains("install good: installing the boot loader\n"),
        "{}",
        ran.all()
    );
    assert!(!ran.stderr.contains("install good: FAILED"), "{}", ran.all());
    let warning = "the answers `ks.cfg` do not report that the installation is done";
    assert_eq!(ran.stderr.matches(warning).count(), 1, "{}", ran.all());
    // Nothing was installed, of course: the disk that it left starts nothing.
    assert!(
        ran.stderr.contains("the machine found nothing to boot"),
        "{}",
        ran.all()
    );
}

/// What stands in the place of an installer: takes its answers as one does, shows them (so that all of them is on the console),
/// prints what it is asked to, and in a good ending runs the last command of the answers, traced.
const STAND_IN: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
echo 1 > /proc/sys/kernel/printk
exec > /dev/console 2>&1
for argument in $(cat /proc/cmdline); do
    case $argument in
    ending=*) ending=${argument#*=} ;;
    preseed/file=* | inst.ks=file:*) answers=${argument#*[=:]} ;;
    ds=*)
        for name in failover net_failover virtio_net; do
            insmod "/$name.ko"
        done
        ip address add 10.0.2.15/24 dev eth0
        ip link set eth0 up
        answers=/user-data
        until wget -qO "$answers" "${argument#*;s=}user-data"; do
            sleep 0.2
        done
        ;;
    esac
done
answers=/${answers##*/}
cat "$answers" "/$ending"
case $ending in
good-*) sh -xc "$(sed 's/\\u003e/>/g; s/\\u0026/\&/g' "$answers" | grep -o '{ { echo; .*|| :')" ;;
esac
poweroff -f
"#;

/// An initial RAM disk with busybox, the network card's modules, and these files.
fn stand_in(bench: &Bench, installer: &Path, files: &[(&str, &str)]) {
    bench.write("early/init", STAND_IN);
    for (name, text) in files {
        bench.write(&format!("early/{name}"), text);
    }
    let script = "chmod +x early/init && mkdir -p early/bin early/dev early/proc && cp \"$(command -v busybox)\" early/bin/ &&
        ldd early/bin/busybox | grep -o '/[^ ]*' | while read -r lib; do
            mkdir -p \"early${lib%/*}\" && cp -L \"$lib\" \"early$lib\"
        done
        mkdir modules && cd modules && zcat \"$1\" | cpio -id --quiet '*/failover.ko*' '*/net_failover.ko*' '*/virtio_net.ko*' &&
        find . -name '*.xz' -exec xz -d {} + && find . -name '*.ko' -exec cp {} ../early/ \\; &&
        cd ../early && find . | cpio -o -H newc --quiet | gzip -1 > ../initrd.gz";
    let initrd = installer.display().to_string();
    tool("sh", &["-ec", script, "sh", &initrd], &bench.path("."));
}

/// Machines with busybox in the place of each installer: an installation counts when the last command of the answers was run,
/// by the console or by a request, and not when the machine goes off, whatever is on its console.
#[test]
fn an_installer_must_report_that_it_is_done() {
    let bench = Bench::new();
    let boot = netboot();
    let ubuntu = "start: subiquity/Mirror/apply_autoinstall_config: \n";
    let aborts = "finish: subiquity/Mirror/apply_autoinstall_config: aborting install since no mirror is usable\n\
                  An error occurred. Press enter to start a shell\n";
    let spokes = "The exact error message is:\n\nThe following mandatory spokes are not completed:\nSoftware selection\n\n\
                  The installer will now terminate.\n";
    let files = [
        ("good-debian", "Finishing the installation\n"),
        ("good-ubuntu", ubuntu),
        ("good-rhel", "Running post-installation scripts\n"),
        ("bad-debian", "Finishing the installation\n"),
        ("bad-ubuntu", aborts),
        ("bad-rhel", spokes),
    ];
    stand_in(&bench, &boot.initrd, &files);
    let kernel = boot.kernel.display();
    let mut distros = String::new();
    for (ending, _) in files {
        let family = ending.split('-').next_back().unwrap();
        let (version, by, more) = match family {
            "debian" => ("13", "initrd", ", suite = \"trixie\""),
            "ubuntu" => ("24.04.2", "http", ""),
            _ => ("8.1.1911", "initrd", ", mirror = \"http://mirror.example/\""),
        };
        let more = match family {
            "ubuntu" => ", arguments = \"url=http://mirror.example/server.iso",
            _ => &format!("{more}, arguments = \""),
        };
        distros += &format!(
            "[distros.{ending}]\nfamily = \"{family}\"\nversion = \"{version}\"\ndisk = \"64M\"\nmemory = \"192M\"\n\
             cpus = 1\nsource = {{ netboot = {{ kernel = {{ path = \"{kernel}\" }}, initrd = {{ path = \"initrd.gz\" }}, \
             answers_by = \"{by}\"{more} ending={ending}\" }} }}\n"
        );
    }
    bench.write(
        "images.toml",
        manifest(&distros, &files.map(|(ending, _)| ending)),
    );
    let ran = bench.run(&["run", "images.toml", "--progress=plain"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    for (ending, _) in files.iter().filter(|(ending, _)| ending.starts_with("good")) {
        let done = format!("install {ending}: done in ");
        assert!(ran.stderr.contains(&done), "{ending}: {}", ran.all());
    }
    for (ending, what) in [
        (
            "bad-debian",
            "the machine went off before the installer reported that it had finished",
        ),
        ("bad-ubuntu", "the installer can use none of its mirrors"),
        (
            "bad-rhel",
            "what the answers say cannot be done: Software selection",
        ),
    ] {
        let shown = failure(&ran.stderr, ending);
        assert!(shown.contains(what), "{ending}: {}", ran.all());
    }
    assert_eq!(
        ran.stderr.matches("s: installer failed: ").count(),
        3,
        "{}",
        ran.all()
    );
}

#[test]
fn an_installer_without_an_image_that_would_not_find_its_second_part_is_refused() {
    let bench = Bench::new();
    bench.write("linux", "a kernel");
    bench.write("initrd", "an initrd");
    for (family, version, more, remedy) in [
        ("rhel", "9", "", "write `mirror`: the URL of an installation tree"),
        ("rhel", "9", ", mirror = \"http://mirror.example/\"", ""),
        (
            "rhel",
            "9",
            ", arguments = \"inst.stage2=http://mirror.example/\"",
            "",
        ),
        (
            "ubuntu",
            "22.04",
            "",
            "arguments = \"ip=dhcp url=http://…/server.iso\"",
        ),
        (
            "ubuntu",
            "22.04",
            ", arguments = \"ip=dhcp url=http://mirror.example/s.iso\"",
            "",
        ),
        ("ubuntu", "20.04.6", "", ""),
        ("debian", "13", "", ""),
    ] {
        let distro = format!(
            "[distros.d]\nfamily = \"{family}\"\nversion = \"{version}\"\ndisk = \"5G\"\n\
             source = {{ netboot = {{ kernel = {{ path = \"linux\" }}, initrd = {{ path = \"initrd\" }}{more} }} }}\n"
        );
        bench.write("images.toml", manifest(&distro, &["d"]));
        let ran = bench.run(&["validate", "images.toml"]);
        assert_eq!(ran.code, if remedy.is_empty() { 0 } else { 2 }, "{}", ran.all());
        let text = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(remedy), "{}", ran.all());
    }
}

/// A CD whose boot loader prints each key that it gets: what is typed is seen on the console, and understood there.
#[test]
fn keys_are_typed_into_the_boot_loader_of_a_medium() {
    let bench = Bench::new();
    cd(&bench, "loader", "boot: ", Then::EchoKeys);
    let distro = "[distros.typed]\nfamily = \"debian\"\nversion = \"13\"\ndisk = \"64M\"\nmemory = \"64M\"\n\
        [distros.typed.source.iso]\npath = \"loader.iso\"\n\
        boot_command = [\"<waitFor 'boot:' 1m><wait2>\", \"url={{ host.url }} \", \"No root file system is defined\"]\n";
    bench.write("images.toml", manifest(distro, &["typed"]));
    let ran = bench.run(&["run", "images.toml", "--progress=plain"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    let what = "the installer has no place for the root file system (it never asked for its answers";
    assert!(failure(&ran.stderr, "typed").contains(what), "{}", ran.all());
    assert!(ran.stderr.contains("url=http://10.0.2.2:"), "{}", ran.all());
    assert!(
        ran.stderr.contains("/preseed.cfg No root file system is defined"),
        "{}",
        ran.all()
    );
}
