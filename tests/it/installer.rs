//! Distros installed by their own installers: media, signatures, and guests of one sector in the place of installers. What
//! the real installer does is in `full_guest::installer`.

use std::fs;
use std::time::Duration;

use crate::machine::tiny::{self, Then};
use crate::support::http::Server;
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
    let start = format!("failed       install {distro}");
    let found = text.lines().find(|line| line.starts_with(&start));
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
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(started.elapsed() < Duration::from_secs(60));
    for (distro, what) in [
        (
            "absent",
            "has no file install.amd/vmlinuz; beside where it should be are: install.386",
        ),
        ("wrong", "is not what the manifest says"),
        ("text", "is not an ISO image that can be read"),
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
    let home = bench.path("gnupg");
    fs::create_dir(&home).unwrap();
    tool("chmod", &["700", "gnupg"], &folder);
    let gpg = |args: &[&str]| {
        let home = home.display().to_string();
        let all: Vec<_> = ["--homedir", &home, "--batch", "--passphrase", ""]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        tool("gpg", &all, &folder)
    };
    for name in ["publisher", "stranger"] {
        gpg(&[
            "--quick-generate-key",
            &format!("{name}@example.com"),
            "ed25519",
            "sign",
            "never",
        ]);
        gpg(&[
            "--output",
            &format!("{name}.gpg"),
            "--export",
            &format!("{name}@example.com"),
        ]);
    }
    gpg(&[
        "--local-user",
        "publisher@example.com",
        "--output",
        "SHA256SUMS.sign",
        "--detach-sign",
        "SHA256SUMS",
    ]);
    gpg(&[
        "--local-user",
        "publisher@example.com",
        "--output",
        "CHECKSUM",
        "--clear-sign",
        "SHA256SUMS",
    ]);
    fs::write(
        bench.path("MORE"),
        format!("{}{}  netinst.iso\n", bench.read("CHECKSUM"), "0".repeat(64)),
    )
    .unwrap();
    // Its agent would stay behind.
    tool(
        "gpgconf",
        &["--homedir", &home.display().to_string(), "--kill", "all"],
        &folder,
    );
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
    let told = |distro: &str| {
        let start = format!("failed       fetch {distro}");
        let line = ran.stderr.lines().find(|line| line.starts_with(&start));
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
            told(bad).contains("the signature of the checksum file"),
            "{}",
            told(bad)
        );
    }
    let ambiguous = told("ambiguous");
    assert!(
        ambiguous.contains("no line fits") && ambiguous.contains("./edu/netinst.iso, ./mini/netinst.iso"),
        "{}",
        ran.all()
    );
}

/// A CD that starts a guest of one sector.
fn cd(bench: &Bench, name: &str, text: &str, then: Then) {
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
            "good",
            "rhel",
            "seed",
            "Installing boot loader\r\n",
            Then::PowerOff,
        ),
    ] {
        cd(&bench, name, text, then);
        distros += &format!(
            "[distros.{name}]\nfamily = \"{family}\"\nversion = \"9\"\ndisk = \"64M\"\nmemory = \"64M\"\ncpus = 1\n\
             source = {{ iso = {{ path = \"{name}.iso\", answers_by = \"{by}\", boot_command = \"<wait0>\" }} }}\n"
        );
    }
    bench.write(
        "images.toml",
        manifest(&distros, &["deaf", "panic", "stuck", "small", "asks", "good"]),
    );
    let ran = bench.run(&["run", "images.toml", "--progress=plain"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    for (distro, verdict) in [
        ("deaf", "never asked"),
        ("panic", "kernel panic"),
        ("stuck", "stuck at prompt"),
        ("small", "stuck at prompt"),
        ("asks", "stuck at prompt"),
    ] {
        let told = ran
            .stderr
            .split(&format!("install {distro}: FAILED"))
            .nth(1)
            .unwrap();
        let line = told.lines().find(|line| line.contains("verdict: ")).unwrap();
        assert!(
            line.ends_with(&format!("verdict: {verdict}")),
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
    ] {
        assert!(failure(&ran.stderr, distro).contains(what), "{}", ran.all());
    }
    assert!(
        ran.stderr.contains("install good: installing the boot loader\n"),
        "{}",
        ran.all()
    );
    assert!(!ran.stderr.contains("failed       install good"), "{}", ran.all());
    // Nothing was installed, of course: the disk that it left starts nothing.
    assert!(
        ran.stderr.contains("the machine found nothing to boot"),
        "{}",
        ran.all()
    );
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
