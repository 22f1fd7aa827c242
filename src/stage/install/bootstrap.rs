//! A Debian or Ubuntu disk without an installer: packages and boot loader into a folder, the folder into a file system, the
//! file system into a partition. Nothing is mounted on the host. Without a machine, if the host runs the system's programs.

mod archive;
mod plan;
mod second_stage;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

pub(super) use self::plan::plan;
pub use self::plan::{BootstrapWork, Mirror, SecurityArchive};
use super::{BUILD_KEY, DISK, FILES, Installed, KEY, snapshot};
use crate::event::Stream;
use crate::guest;
use crate::host::cancel::Cancel;
use crate::host::foreign::{self, Foreign, Handler};
use crate::host::http::redact;
use crate::host::process::{Cmd, shell_quote};
use crate::host::{facts, namespace};
use crate::machine::disk::{self, Ext4, Layer, Layers, Partition, StartsBy};
use crate::machine::spec::DiskFormat;
use crate::machine::ssh::{Key, key_core};
use crate::platform::{BootLoader, Hardware, Platform};
use crate::size::ByteSize;
use crate::stage::Site;
use crate::stage::distro::MachineWish;
use crate::stage::error::StageError;
use crate::stage::result::Taken;
use crate::stage::task::{File, Finding, Made, Memo, Task};

/// What was looked for on this host, which is the same for all.
#[derive(Debug, Default)]
struct LookedFor {
    foreign_programs: bool,
    namespaces: bool,
}

impl Task for BootstrapWork {
    fn programs(&self) -> Vec<&'static str> {
        let mut programs = vec![
            "mmdebstrap",
            "unshare",
            "sfdisk",
            "mke2fs",
            "qemu-img",
            "ssh-keygen",
        ];
        if !facts::is_root() {
            programs.push("newuidmap");
        }
        if let Some(machine) = self.machine() {
            programs.push("cpio");
            programs.extend(machine.without_entering());
        }
        programs
    }

    fn preflight(&self, memo: &Memo) -> Vec<Finding> {
        let note = memo.note::<LookedFor>();
        let mut looked = note.borrow_mut();
        let mut found = Vec::new();
        if let Some(Foreign::Machine(why)) = foreign::find(self.first())
            && !std::mem::replace(&mut looked.foreign_programs, true)
        {
            found.push(Finding::Warning(format!(
                "an emulated machine installs the packages of {}, which takes longer than user-mode emulation: {why}",
                self.first().hardware().arch
            )));
            found.extend(self.machine().and_then(|machine| machine.lacks()));
        }
        if !facts::is_root() && !std::mem::replace(&mut looked.namespaces, true) {
            let needs = [facts::user_namespaces(&Cancel::default()), facts::spare_ids()];
            let obstacles = needs.into_iter().filter_map(Result::err);
            let lacks = |cause| format!("what a plain user needs for `bootstrap` ({cause})");
            found.extend(obstacles.map(|obstacle| Finding::Missing(lacks(obstacle.cause))));
        }
        found
    }

    fn platform(&self) -> Option<Platform> {
        self.machine().map(|machine| machine.computer.platform)
    }

    fn asks(&self) -> Option<String> {
        let (uri, suite) = (&self.mirror.uri, &self.suite);
        Some(format!(
            "{uri} {suite} {} {}",
            self.components.join(","),
            self.named.join(",")
        ))
    }

    fn probe(&self, cancel: &Cancel) -> Vec<Finding> {
        archive::probe(self, cancel)
    }

    fn largest_file(&self) -> u64 {
        self.disk
    }

    fn is_isolated(&self) -> bool {
        true
    }

    fn files(&self) -> &'static [File] {
        FILES
    }

    fn answers(&self) -> Option<&str> {
        Some(&self.setup)
    }

    fn unkept(&self) -> Option<&'static str> {
        let why =
            "the machine that installs packages takes no logins; what it printed is in the logs of this node";
        self.machine().map(|_| why)
    }

    fn logs(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("mmdebstrap.log", "how the packages were installed"),
            ("setup.sh", "what the new system was configured with"),
        ]
    }

    fn run(&self, _taken: &Taken, out: &Path, site: &Site) -> Result<Made, StageError> {
        let installed = bootstrap(self, site, &out.join(DISK), &out.join(KEY))?;
        Ok(Made::with(&installed))
    }
}

impl BootstrapWork {
    /// The kind of computer that it is for first; all are of one architecture.
    fn first(&self) -> Platform {
        self.platforms.first().copied().unwrap_or_default()
    }

    /// The machine that installs its packages, where this host does not run their programs.
    fn machine(&self) -> Option<MachineWish> {
        let in_machine = matches!(foreign::find(self.first()), Some(Foreign::Machine(_)));
        in_machine.then(|| MachineWish {
            computer: self.first().into(),
            memory: ByteSize(plan::MACHINE_MEMORY),
            cpus: plan::MACHINE_CPUS,
        })
    }
}

/// Makes the disk (qcow2) at `result`, and the private half of the key that lets the build in at `key_file`.
///
/// # Errors
/// [`StageError`].
pub fn bootstrap(
    work: &BootstrapWork,
    site: &Site,
    result: &Path,
    key_file: &Path,
) -> Result<Installed, StageError> {
    let key = Key::generate(&site.scratch, &site.cancel)?;
    let raw = site.scratch.join("disk.raw");
    disk::create_raw(&raw, ByteSize(work.disk))?;
    let loader = Loader::of(&work.platforms);
    let starts = StartsBy {
        bios: loader.hardware.bios_partition,
        efi: loader.efi.is_some(),
    };
    let kind = loader.hardware.partition_table;
    let table = disk::write_root_table(&raw, kind, starts, &site.cancel)?;
    let partition = disk::last_partition(&table, &raw)?;
    let root = site.scratch.join("root");
    let cleanup = RemoveTree(root.clone());
    let efi = site.scratch.join("efi");
    let script = loader.script(work, &partition);
    packages(work, site, &root, (&script, &efi), key.public())?;
    site.emit.phase("making the disk");
    let content = Ext4 {
        features: work.features.clone(),
        root: Some(root.clone()),
        label: Some("root".to_owned()),
        uuid: Some(work.root_uuid.clone()),
    };
    disk::make_ext4(&raw, &partition, &content, &site.cancel)?;
    if let Some(bios) = loader.bios {
        let grub = root.join("boot/grub").join(bios.grub_target);
        disk::write_grub(&raw, &table, &grub.join("boot.img"), &grub.join("core.img"))?;
    }
    if let Some(partition) = table.efi() {
        disk::make_esp(&raw, partition, esp_number(work), &efi)?;
    }
    drop(cleanup);
    site.emit.phase("compacting the disk");
    disk::convert(&raw, DiskFormat::Raw, result, DiskFormat::Qcow2, &site.cancel)?;
    // Only for the nodes after this one: sealing takes the key out of the guest, and nothing of it is published.
    fs::copy(key.path(), key_file).map_err(|e| StageError::file("copy the build key to", key_file, e))?;
    // A template of the user's may have put the key into other files too.
    let layer = Layer::qcow2(result)?;
    let found = disk::occurrences(&Layers::new(vec![layer]), &[key_core(key.body())], &site.cancel)?;
    let is_alone = found.is_some_and(|counts| counts == [1]);
    Ok(Installed {
        key_since: is_alone.then(jiff::Timestamp::now),
    })
}

/// The root folder, also when the work ends early; parts of it may belong to other ids.
struct RemoveTree(PathBuf);

impl Drop for RemoveTree {
    fn drop(&mut self) {
        // What stays is swept with the scratch folder.
        let _ = namespace::remove_tree(&self.0);
    }
}

/// Installs the packages and the boot loader into a folder and configures it.
fn packages(
    work: &BootstrapWork,
    site: &Site,
    root: &Path,
    (boot_loader, efi): (&str, &Path),
    public_key: &str,
) -> Result<(), StageError> {
    site.emit.phase("installing packages");
    let setup = work.setup.replace(BUILD_KEY, public_key);
    fs::write(site.logs.join("setup.sh"), &setup).map_err(|e| StageError::file("write", &site.logs, e))?;
    if let Some(machine) = work.machine() {
        let scripts = [("setup.sh", setup.as_str()), ("boot-loader.sh", boot_loader)];
        return second_stage::packages(work, site, root, &scripts, efi, machine);
    }
    let handler = match foreign::find(work.first()) {
        Some(Foreign::Own(handler)) => Some(handler),
        _ => None,
    };
    let options = Vec::from([
        "--variant=minbase".to_owned(),
        format!("--include={}", work.packages.join(",")),
        format!(
            "--customize-hook=chroot \"$1\" /bin/sh -eu -c {}",
            shell_quote(&setup)
        ),
        // What it mounts vanishes with its namespace.
        format!(
            "--customize-hook=unshare --mount chroot \"$1\" /bin/sh -eu -c {}",
            shell_quote(boot_loader)
        ),
        format!(
            "--customize-hook=if [ -d \"$1/boot/efi/EFI\" ]; then mv \"$1/boot/efi\" {} && mkdir \"$1/boot/efi\"; fi",
            shell_quote(&efi.to_string_lossy())
        ),
    ]);
    mmdebstrap(work, site, root, handler.as_ref(), &options)
}

/// Runs mmdebstrap on the folder with these options and those that are the same for all.
fn mmdebstrap(
    work: &BootstrapWork,
    site: &Site,
    root: &Path,
    handler: Option<&Handler>,
    options: &[String],
) -> Result<(), StageError> {
    let mut cmd: Cmd = namespace::as_root_with("mmdebstrap", handler);
    let platform = work.first();
    if platform.is_foreign() {
        // It looks for a handler by itself, but not in every place.
        cmd = cmd
            .arg(format!("--architectures={}", platform.hardware().arch))
            .arg("--skip=check/qemu");
    }
    let mut cmd = cmd
        .args(["--mode=root", "--format=directory", "--verbose"])
        .arg(format!("--components={}", work.components.join(",")))
        .args([
            "--aptopt=Acquire::Languages \"none\"",
            "--aptopt=APT::Install-Recommends \"false\"",
        ])
        .args(options)
        .without("SOURCE_DATE_EPOCH")
        .without("TAR_OPTIONS")
        .env("TZ", "UTC")
        .env("TMPDIR", &site.scratch)
        .env("LC_ALL", "C.UTF-8")
        // boot-loader.sh makes the initial RAM disks, once for all packages.
        .env("INITRD", "No");
    if let Some(keyring) = &work.keyring {
        cmd = cmd.arg(format!("--keyring={}", keyring.display()));
    }
    if !work.locked.is_empty() {
        let digests: Vec<_> = work.locked.iter().map(|one| one.sha256.as_str()).collect();
        cmd = cmd.arg(format!("--extract-hook={}", as_locked(&digests)));
    }
    cmd = cmd.arg(&work.suite).arg(root).args(source_lines(work, site));
    let emit = site.emit.clone();
    let log_file = site.logs.join("mmdebstrap.log");
    let mut log = fs::File::create(&log_file).map_err(|e| StageError::file("write", &log_file, e))?;
    let ran = cmd.run(&site.cancel, None, &mut |_, line| {
        // A log that cannot grow must not stop the work: the error shows the last lines itself.
        let _ = writeln!(log, "{line}");
        // mmdebstrap's own words start with "I: "; apt's and dpkg's lines lie between them.
        if let Some(phase) = line.strip_prefix("I: ").and_then(phase) {
            emit.phase(phase);
        } else if !line.trim().is_empty() {
            emit.line(Stream::Tool, line);
        }
    });
    ran.map_err(|source| StageError::Tool {
        what: "installing packages",
        log: Some(log_file),
        source,
    })
}

/// Refuses, before anything is installed, what apt has fetched in another state than the lock has: the archive may move
/// between the two, and the result stands for what its key says.
fn as_locked(digests: &[&str]) -> String {
    format!(
        "cd \"$1/var/lib/apt/lists\" && sha256sum *InRelease | while read -r sum name; do case ' {} ' in *\" $sum \"*) ;; \
         *) echo \"E: the archive has moved since the lock was looked at ($name); run again\" >&2; exit 1 ;; esac; done",
        digests.join(" ")
    )
}

/// mmdebstrap's announcements, in our words.
fn phase(said: &str) -> Option<&'static str> {
    let phases = [
        ("running apt-get update", "reading package lists"),
        ("downloading packages", "downloading packages"),
        ("extracting archives", "unpacking the base"),
        ("installing essential", "installing the base"),
        ("installing remaining", "installing packages"),
        ("running --extract-hook", "downloading packages"),
        ("running --customize-hook", "configuring"),
        ("cleaning package lists", "cleaning up"),
    ];
    phases
        .iter()
        .find(|(start, _)| said.starts_with(start))
        .map(|(_, phase)| *phase)
}

/// apt's source lines for a suite: the main archive, and updates and security where the mirror is a whole one. What is a
/// snapshot may be out of date.
fn source_lines(work: &BootstrapWork, site: &Site) -> Vec<String> {
    let Mirror { uri, security } = &work.mirror;
    let (suite, components) = (&work.suite, work.components.join(" "));
    let line = |uri: &str, suite: &str| match snapshot_of(work, uri, suite, site) {
        Some(url) => format!("deb [check-valid-until=no] {url} {suite} {components}"),
        None => format!("deb {uri} {suite} {components}"),
    };
    let mut lines = vec![line(uri, suite)];
    if let Some(security) = security {
        lines.push(line(uri, &format!("{suite}-updates")));
        lines.push(line(&security.uri, &security.suite));
    }
    lines
}

/// Where a suite is as the lock has it, if no longer at its archive. What cannot be asked, apt reports; and what it fetches in
/// another state is refused.
fn snapshot_of(work: &BootstrapWork, uri: &str, suite: &str, site: &Site) -> Option<String> {
    let template = work.snapshot.as_ref()?;
    let locked = work.locked.iter().find(|locked| locked.suite == suite)?;
    let found = snapshot::needed(template, uri, locked, &site.cancel).ok()??;
    site.emit.line(
        Stream::Tool,
        format!("{suite} is installed from {}", redact(&found)),
    );
    Some(found)
}

/// The boot loaders of a disk.
struct Loader {
    hardware: &'static Hardware,
    bios: Option<&'static BootLoader>,
    efi: Option<&'static BootLoader>,
}

impl Loader {
    fn of(platforms: &[Platform]) -> Self {
        let all = platforms.iter().map(|platform| platform.hardware());
        let (efi, bios): (Vec<_>, Vec<_>) = all.partition(|hardware| hardware.emulator.uefi.is_some());
        let first = |found: &[&'static Hardware]| found.first().map(|hardware| &hardware.boot_loader);
        Self {
            hardware: platforms.first().copied().unwrap_or_default().hardware(),
            bios: first(&bios),
            efi: first(&efi),
        }
    }

    /// The script that installs them in the new root.
    fn script(&self, work: &BootstrapWork, partition: &Partition) -> String {
        let word = |loader: Option<&BootLoader>, word: fn(&BootLoader) -> &str| {
            loader.map(word).unwrap_or_default().to_owned()
        };
        let debconf: Vec<_> = [self.bios, self.efi]
            .into_iter()
            .flatten()
            .map(|loader| loader.debconf)
            .collect();
        let esp = format!("{:08X}", esp_number(work));
        let settings = [
            ("ROOT_UUID", work.root_uuid.clone()),
            ("ROOT_NUMBER", partition.number.to_string()),
            ("DISK", self.hardware.disk.to_owned()),
            ("BIOS_TARGET", word(self.bios, |loader| loader.grub_target)),
            ("BIOS_DISK", word(self.bios, |loader| loader.grub_disk)),
            ("EFI_TARGET", word(self.efi, |loader| loader.grub_target)),
            ("EFI_SUFFIX", word(self.efi, |loader| loader.efi_suffix)),
            ("ESP", format!("{}-{}", &esp[..4], &esp[4..])),
            ("DEBCONF", debconf.join("\n")),
        ];
        let settings = settings.map(|(name, value)| format!("{name}={}\n", shell_quote(&value)));
        settings.concat() + guest::BOOT_LOADER
    }
}

/// The volume number of the EFI system partition: it follows from what is on the disk, as the UUID of root does.
fn esp_number(work: &BootstrapWork) -> u32 {
    let digits = work.root_uuid.get(..8).unwrap_or_default();
    u32::from_str_radix(digits, 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::sha256_hex;
    use crate::host::process::Cmd;

    #[test]
    fn mmdebstraps_announcements_become_phases() {
        assert_eq!(
            phase("downloading packages with apt..."),
            Some("downloading packages")
        );
        assert_eq!(phase("success in 1 seconds"), None);
    }

    #[test]
    fn an_archive_that_moved_after_it_was_locked_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let lists = root.path().join("var/lib/apt/lists");
        fs::create_dir_all(&lists).unwrap();
        fs::write(lists.join("mirror_dists_bookworm_InRelease"), "now").unwrap();
        let digests = ["0".repeat(64), sha256_hex(b"now")];
        let digests = digests.each_ref().map(String::as_str);
        let hook = |digests: &[&str]| {
            let script = as_locked(digests);
            let words = ["-c", &script, "sh", &root.path().display().to_string()];
            Cmd::new("sh").args(words).read(&Cancel::default())
        };
        hook(&digests).unwrap();
        let error = hook(&digests[..1]).unwrap_err().to_string();
        assert!(
            error.contains("has moved") && error.contains("(mirror_dists_bookworm_InRelease)"),
            "{error}"
        );
    }
}
