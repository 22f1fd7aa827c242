//! A guest with a kernel, a shell and an sshd and nothing else, for stories that need no more: it boots in a quarter of a
//! Debian's processor time. Made of Debian's packages the first time, and kept below `target/`.

use std::fs;
use std::path::{Path, PathBuf};

use pipeline::internals::digest::sha256_hex;
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::host::namespace;
use pipeline::internals::machine::disk::Put;

use super::inside::write;
use super::{Bench, debian_mirror, tool};

const SCRIPT: &str = include_str!("small_guest.sh");

/// One of its raw disks, which must not be written to.
fn disk(name: &str) -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("small-guest");
    fs::create_dir_all(&all).unwrap();
    let lock = fs::File::create(all.join("lock")).unwrap();
    lock.lock().unwrap();
    let folder = all.join(&sha256_hex(SCRIPT.as_bytes())[..16]);
    if !folder.exists() {
        let draft = all.join("draft");
        let _ = fs::remove_dir_all(&draft);
        fs::create_dir(&draft).unwrap();
        let made = namespace::as_root("sh")
            .args(["-c", SCRIPT, "sh", &debian_mirror()])
            .folder(&draft)
            .read(&Cancel::default());
        made.unwrap();
        fs::rename(draft, &folder).unwrap();
    }
    folder.join(name)
}

/// A copy of it as `NAME.raw` in the story's folder, which lets in the owner of `NAME-key`, made next to it.
pub fn small_disk(bench: &Bench, name: &str) -> PathBuf {
    copy(&disk("disk.raw"), bench, name)
}

/// The same with apt and dpkg.
pub fn small_apt_disk(bench: &Bench, name: &str) -> PathBuf {
    copy(&disk("apt.raw"), bench, name)
}

fn copy(disk: &Path, bench: &Bench, name: &str) -> PathBuf {
    let raw = bench.path(&format!("{name}.raw"));
    let words = [
        "--sparse=always",
        &disk.display().to_string(),
        &raw.display().to_string(),
    ];
    tool("cp", &words, &bench.path(""));
    let key = format!("{name}-key");
    let words = ["-q", "-t", "ed25519", "-N", "", "-f", &key];
    tool("ssh-keygen", &words, &bench.path(""));
    let public = bench.path(&format!("{key}.pub"));
    write(
        &raw,
        &[
            Put::Folder("/root/.ssh"),
            Put::File("/root/.ssh/authorized_keys", &public),
        ],
    );
    raw
}
