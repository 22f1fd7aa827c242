//! The packages of an architecture whose programs this host does not run: downloaded and half unpacked here, installed in an
//! emulated machine whose initial RAM disk is the root folder, and brought back as a tar on its disk.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::BootstrapWork;
use crate::guest;
use crate::host::namespace;
use crate::host::process::{ProcessError, shell_quote};
use crate::machine::disk;
use crate::machine::qemu::{CONSOLE_LOG, Machine};
use crate::machine::spec::{Boot, Disk, DiskFormat, MachineSpec};
use crate::size::{ByteSize, GIB};
use crate::stage::Site;
use crate::stage::distro::MachineWish;
use crate::stage::error::StageError;
use crate::stage::guest::scaled;
use crate::stage::presence::Present;

/// The machine's name, and that of the folder of its logs.
const NAME: &str = "second-stage";
/// How long the machine may show no sign of life (console, disk), under KVM.
const SILENCE: Duration = Duration::from_secs(3 * 60);
/// Longest time from its last line to its end, under KVM.
const POWER_OFF: Duration = Duration::from_secs(90);
/// How the lines of `second-stage.sh` begin that are for us. They end with a full stop, as one may be seen half written.
const MARK: &str = "pipeline: ";
/// Lines shown in errors.
const SHOWN: usize = 10;

/// Makes the initial RAM disk `$2` of the folder `$1`.
const PACK: &str = r#"
cd "$1"
find . -print0 | cpio --quiet --null --create --format=newc >"$2"
"#;
/// Puts what is in the tar `$2` in place of the folder `$1`, its device files excepted, which only root can make; what is on
/// the EFI system partition becomes the folder `$3`.
const UNPACK: &str = r#"
cd "$1"
find . -mindepth 1 -maxdepth 1 ! -name dev -exec rm -rf {} +
tar --extract --file="$2" --numeric-owner --preserve-permissions --xattrs --xattrs-include='*'
if [ -d boot/efi/EFI ]; then
    mv boot/efi "$3"
    mkdir boot/efi
fi
"#;

/// Fills the root folder, and `efi` with what is on the EFI system partition. The scripts run in the new system, by their
/// names, which `second-stage.sh` knows.
pub(super) fn packages(
    work: &BootstrapWork,
    site: &Site,
    root: &Path,
    scripts: &[(&str, &str)],
    efi: &Path,
    machine: MachineWish,
) -> Result<(), StageError> {
    let out = site.scratch.join(NAME);
    fs::create_dir(&out).map_err(|e| StageError::file("make", &out, e))?;
    let hardware = machine.computer.platform.hardware();
    let own = [("init", guest::SECOND_STAGE), ("disk", hardware.disk)];
    for (name, text) in scripts.iter().chain(&own) {
        let path = out.join(name);
        fs::write(&path, text).map_err(|e| StageError::file("write", &path, e))?;
    }
    let arch = hardware.arch;
    let settings = [
        ("SUITE", work.suite.as_str()),
        ("ARCH", arch),
        ("PACKAGES", &work.packages.join(" ")),
        ("OUT", &out.to_string_lossy()),
    ];
    let settings = settings.map(|(name, value)| format!("{name}={}\n", shell_quote(value)));
    let options = [
        "--variant=extract".to_owned(),
        // As mmdebstrap selects them for its other variants.
        format!(
            "--include=?narrow(?or(?archive(^{0}$),?codename(^{0}$)),?architecture({arch}),?essential)",
            work.suite
        ),
        "--skip=cleanup/apt".to_owned(),
        format!("--extract-hook={}{}", settings.concat(), guest::FIRST_STAGE),
    ];
    super::mmdebstrap(work, site, root, None, &options)?;

    site.emit.phase("starting a machine for the packages");
    let in_namespace = |what, script, paths: &[&Path]| {
        let cmd = namespace::as_root("sh").args(["-euc", script, "sh"]).args(paths);
        let ran = cmd.run(&site.cancel, None, &mut site.tool_lines());
        ran.map_err(|source| StageError::Tool {
            what,
            log: None,
            source,
        })
    };
    let initrd = out.join("initrd");
    in_namespace("packing the root folder", PACK, &[root, &initrd])?;
    let result = out.join("result");
    disk::create_raw(&result, ByteSize(work.disk))?;
    install(site, &out, machine)?;
    site.emit.phase("unpacking the result");
    in_namespace("unpacking the result", UNPACK, &[root, &result, efi])?;
    fs::remove_dir_all(&out).map_err(|e| StageError::file("remove", &out, e))
}

/// Runs the second stage in a machine.
fn install(site: &Site, out: &Path, wish: MachineWish) -> Result<(), StageError> {
    let needed = memory(&out.join("installed"))?;
    let (memory, cpus) = site.grant(wish);
    if needed > memory {
        site.emit.warn(format!(
            "the machine that installs the packages takes {needed} of memory, and {memory} were planned"
        ));
    }
    let mut spec = MachineSpec::with_disk(
        NAME,
        wish.computer,
        site.accel,
        memory.max(needed),
        Disk::new(out.join("result"), DiskFormat::Raw),
    );
    (spec.cpus, spec.ssh, spec.no_reboot) = (cpus, false, true);
    let serial = wish.computer.platform.hardware().serial;
    spec.boot = Boot::Kernel {
        kernel: out.join("vmlinuz"),
        initrd: Some(out.join("initrd")),
        cmdline: format!("console={serial} rdinit=/second-stage/init quiet"),
    };
    let logs = site.logs.join(NAME);
    let mut machine = Machine::start(&spec, &logs, &site.emit, &site.cancel)?;
    let _present = Present::tell(NAME, &machine, site);
    let code = loop {
        let line = machine.wait_console(MARK, scaled(site.accel, SILENCE))?;
        let said = line.split_once(MARK).and_then(|(_, said)| said.strip_suffix('.'));
        match said.and_then(|said| said.split_once(' ')) {
            Some(("phase", phase)) => site.emit.phase(phase),
            Some(("exit", code)) => break code.to_owned(),
            _ => {}
        }
    };
    machine.wait_off(scaled(site.accel, POWER_OFF))?;
    if code == "0" {
        return Ok(());
    }
    let mut tail = machine.console().last_lines(SHOWN);
    let end = tail.iter().position(|line| line.starts_with(MARK));
    // What the kernel says when it switches the machine off is no part of it.
    tail.truncate(end.unwrap_or(tail.len()));
    Err(StageError::Tool {
        what: "installing packages in a machine",
        log: Some(logs.join(CONSOLE_LOG)),
        source: ProcessError::Failed {
            program: NAME.to_owned(),
            status: format!("exited with code {code}"),
            code: code.parse().ok(),
            tail,
        },
    })
}

/// What the machine needs for packages of this size in KiB: before they are installed the initial RAM disk is there twice,
/// and half of the memory is its limit.
fn memory(installed: &Path) -> Result<ByteSize, StageError> {
    let text = fs::read_to_string(installed).map_err(|e| StageError::file("read", installed, e))?;
    let kib: u64 = text.trim().parse().unwrap_or_default();
    Ok(ByteSize(GIB + 2 * 1024 * kib))
}
