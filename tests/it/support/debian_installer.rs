//! The real Debian installer: kernel and initial RAM disk as Debian ships them in a package, fetched once by apt from the
//! host's own mirror into a folder below `target/`, whatever release the host is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tool;

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
    let suites = ["trixie", "bookworm", "bullseye"];
    let mirror = suites
        .iter()
        .find_map(|suite| pipeline::host::facts::apt_mirror("debian", suite));
    let mirror = mirror.expect("apt of this host knows no Debian mirror; these tests need a Debian host");
    for part in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    let keys = pipeline::host::tools::ARCHIVE_KEYS;
    let source = format!("deb [signed-by={keys}] {} {SUITE} main\n", mirror.uri);
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
