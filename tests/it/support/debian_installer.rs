//! The real Debian installer: kernel and initial RAM disk as Debian ships them in a package, fetched once by apt from the
//! host's own mirror into a folder below `target/`, whatever release the host is. And a mirror for it that has little.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pipeline::internals::digest::sha256_hex;

use super::daemon::Daemon;
use super::{Bench, debian_mirror, tool};

const SUITE: &str = "trixie";
const PACKAGE: &str = "debian-installer-13-netboot-amd64";
const IMAGES: &str = "usr/lib/debian-installer/images/13/amd64/text/debian-installer/amd64";

/// What starts it.
pub struct Netboot {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
}

/// Fetches it the first time.
pub fn netboot() -> Netboot {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian-installer");
    fs::create_dir_all(&folder).unwrap();
    let lock = fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let done = folder.join("complete");
    if !done.exists() {
        fetch(&folder);
        fs::write(done, "").unwrap();
    }
    let images = folder.join(IMAGES);
    Netboot {
        kernel: images.join("linux"),
        initrd: images.join("initrd.gz"),
    }
}

fn fetch(folder: &Path) {
    let mirror = debian_mirror();
    for part in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    let keys = pipeline::internals::host::tools::ARCHIVE_KEYS;
    let source = format!("deb [signed-by={keys}] {mirror} {SUITE} main\n");
    fs::write(folder.join("sources.list"), source).unwrap();
    let place = folder.display();
    let options = [
        format!("Dir::Etc::sourcelist={place}/sources.list"),
        format!("Dir::Etc::sourceparts={place}/none"),
        format!("Dir::State::lists={place}/lists"),
        format!("Dir::Cache={place}/cache"),
        "Acquire::Languages=none".to_owned(),
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
    ];
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.current_dir(folder).args(["-q", "-y"]);
        command.args(options.iter().flat_map(|option| ["-o", option]));
        let output = command.args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "apt-get {words:?}: {said}");
    };
    apt(&["update"]);
    apt(&["download", PACKAGE]);
    let package = format!("dpkg-deb --fsys-tarfile {PACKAGE}_*.deb | tar -x --wildcards './{IMAGES}/*'");
    tool("sh", &["-c", &package], folder);
    tool("sh", &["-c", &format!("rm {PACKAGE}_*.deb")], folder);
}

/// A mirror on loopback, like a real one that a transfer left half done: it lists the one installer component that the
/// kernel needs, and does not have it. Its lists are not signed. Listens at 10.0.2.2 for a guest.
pub struct HalfMirror {
    pub server: Daemon,
    log: PathBuf,
}

impl HalfMirror {
    pub fn start(bench: &Bench, name: &str, kernel: &Path) -> Self {
        let version = kernel_version(&fs::read(kernel).unwrap());
        let lists = format!("{name}/debian/dists/{SUITE}");
        let part = "main/debian-installer/binary-amd64/Packages";
        let package = format!("loop-modules-{version}-di");
        let component = format!(
            "Package: {package}\nVersion: 1\nArchitecture: amd64\nProvides: loop-modules\nSection: debian-installer\n\
             Priority: standard\nKernel-Version: {version}\nFilename: pool/{package}.udeb\nSize: 1000\n\
             SHA256: {}\nMaintainer: Tests <tests@example.com>\nDescription: listed and absent\n",
            "0".repeat(64)
        );
        bench.write(&format!("{lists}/{part}"), component);
        tool("gzip", &["-nk", part], &bench.path(&lists));
        let mut release = format!(
            "Origin: Debian\nSuite: stable\nCodename: {SUITE}\nArchitectures: amd64\nComponents: main\nSHA256:\n"
        );
        for file in [part.to_owned(), format!("{part}.gz")] {
            let bytes = fs::read(bench.path(&format!("{lists}/{file}"))).unwrap();
            release += &format!(" {} {} {file}\n", sha256_hex(&bytes), bytes.len());
        }
        bench.write(&format!("{lists}/Release"), release);
        bench.write(
            &format!("{lists}/main/binary-amd64/Release"),
            "Archive: stable\nComponent: main\nArchitecture: amd64\n",
        );
        // The installer looks its suite up by both names.
        std::os::unix::fs::symlink(SUITE, bench.path(&format!("{name}/debian/dists/stable"))).unwrap();
        let (folder, log) = (bench.path(name), bench.path(&format!("{name}.log")));
        let server = Daemon::start(&log, |port| {
            let mut command = Command::new("python3");
            command.args(["-u", "-m", "http.server", "--bind", "127.0.0.1"]);
            command.arg("--directory").arg(folder).arg(port.to_string());
            command
        });
        Self { server, log }
    }

    /// As a guest on qemu's user network names it.
    pub fn url(&self) -> String {
        format!("http://10.0.2.2:{}/debian", self.server.port)
    }

    /// What it was asked for so far, a line each.
    pub fn asked(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

/// The version in a kernel's header (Linux, Documentation/arch/x86/boot.rst: `kernel_version`, at 0x20e, points to it).
fn kernel_version(kernel: &[u8]) -> String {
    let at = usize::from(u16::from_le_bytes([kernel[0x20e], kernel[0x20f]])) + 0x200;
    let text = kernel[at..].split(|byte| *byte == b' ').next().unwrap();
    String::from_utf8(text.to_owned()).unwrap()
}
