//! A booted guest, saved to a file and restored in stories that need one and not its boot: 2 s of processor time instead of
//! 30. The program does not know: it starts a qemu, which goes on where the saved one stopped. All that follows is real.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, mpsc};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, thread};

use pipeline::internals::digest::sha256_hex;
use pipeline::internals::event::Emitter;
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::host::facts;
use pipeline::internals::machine::argv::{Parts, Sandbox, Sockets, argv};
use pipeline::internals::machine::disk::create_overlay;
use pipeline::internals::machine::qemu::Machine;
use pipeline::internals::machine::spec::{Accel, Disk, DiskFormat, MachineSpec};
use pipeline::internals::machine::ssh::Key;
use pipeline::internals::platform::Platform;
use pipeline::internals::size::{ByteSize, GIB};
use serde_json::json;

use super::Bench;
use super::deadline::{Deadline, WITH_GUESTS};
use super::line::guests;
use super::vm::{is_real, quickstart_base};

/// What stands before qemu.
const WRAPPER: &str = include_str!("qemu-or-restored.sh");
const QEMU: &str = "qemu-system-x86_64";
/// Longest time in which the guest shows no sign of life, and for saving it.
const LIMIT: Duration = Duration::from_secs(600);
const ANSWER: Duration = Duration::from_secs(20);

/// The folder to put first in PATH so that machines over the quickstart's installed disk, with one processor and the usual
/// memory, are restored. Absent where guests boot: for the night, and with KVM, where a boot costs little.
pub static SAVED: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    if is_real() || matches!(facts::accelerator(), facts::Accelerator::Kvm) {
        return None;
    }
    Some(saved(quickstart_base()))
});

/// Whether a machine whose layer is below this folder was restored.
pub fn was_restored(bench: &Bench) -> bool {
    let Some(saved) = &*SAVED else {
        return false;
    };
    let log = fs::read_to_string(saved.join("restored")).unwrap_or_default();
    let folder = bench.path("").display().to_string();
    log.lines().any(|layer| layer.starts_with(&folder))
}

fn saved(base: &Bench) -> PathBuf {
    let install = base.run(&["store", "path", "install/debian12"]);
    assert_eq!(install.code, 0, "{}", install.all());
    let install = install.stdout.trim().replace("[ROOT]/", "");
    let install = base.path(&install);
    let spec = MachineSpec {
        program: Some("wrapper".into()),
        ..spec(Path::new("layer.qcow2"))
    };
    let sockets = Sockets {
        console: "console".into(),
        qmp: "qmp".into(),
    };
    let version = Command::new(QEMU).arg("--version").output().unwrap().stdout;
    // A guest's clock goes on from where it was saved: by no more than a day it may be wrong.
    let day = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / (24 * 60 * 60);
    let words = argv(&spec, &Parts::default(), &sockets, Sandbox::On);
    let key = format!("{install:?} {words:?} {version:?} {day} {WRAPPER}");
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("saved-guest");
    let folder = all.join(&sha256_hex(key.as_bytes())[..16]);
    if !folder.exists() {
        let _guests = guests(1);
        let _deadline = Deadline::begin(WITH_GUESTS);
        let _ = fs::remove_dir_all(&all);
        let draft = all.join("draft");
        fs::create_dir_all(&draft).unwrap();
        save(&install, &draft);
        fs::rename(draft, &folder).unwrap();
    }
    folder
}

fn spec(layer: &Path) -> MachineSpec {
    let disk = Disk::new(layer, DiskFormat::Qcow2);
    MachineSpec::with_disk("provision", Platform::Amd64Bios, Accel::Tcg, ByteSize(GIB), disk)
}

/// Boots the installed disk, by its own boot loader, until the program's own waiting is over, and saves the guest.
fn save(install: &Path, folder: &Path) {
    let cancel = Cancel::default();
    let wrapper = folder.join(QEMU);
    fs::write(&wrapper, WRAPPER).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    symlink(install.join("disk"), folder.join("disk")).unwrap();
    let layer = folder.join("layer.qcow2");
    create_overlay(&install.join("disk"), DiskFormat::Qcow2, &layer, None, &cancel).unwrap();
    let key = Key::adopt(&install.join("build_key"), folder, &cancel).unwrap();
    let spec = MachineSpec {
        program: Some(wrapper),
        ..spec(&layer)
    };
    let (sender, _events) = mpsc::channel();
    let emit = Emitter::new(sender).for_node("provision/saved");
    let mut machine = Machine::start(&spec, &folder.join("vm"), &emit, &cancel).unwrap();
    let ssh = machine.wait_ssh(&key, "root", LIMIT).unwrap();
    // What still starts would cost each story that restores it.
    let settle = "systemctl is-system-running --wait || true; sync";
    ssh.read(settle, &cancel).unwrap();
    drop(ssh);
    let state = format!("file:{}", folder.join("state").display());
    let ask = |command: &str, arguments| machine.qmp().command(command, arguments, ANSWER).unwrap();
    ask("migrate", json!({ "uri": state }));
    let begun = Instant::now();
    loop {
        let status = ask("query-migrate", json!({}));
        match status["status"].as_str() {
            Some("completed") => break,
            Some("failed" | "cancelled") => panic!("the guest cannot be saved: {status}"),
            _ => assert!(
                begun.elapsed() < LIMIT,
                "the guest is not saved within {LIMIT:?}: {status}"
            ),
        }
        thread::sleep(Duration::from_millis(100));
    }
}
