//! Ways into a guest that has no agent and gave us no credentials, on throw-away copies only: a key that its systemd takes
//! from outside, or a unit written into its file system while it is off.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::boot::Way;
use super::plan::CheckWork;
use crate::machine::disk::{self, Put};
use crate::machine::spec::{Disk, DiskFormat};
use crate::machine::ssh::Key;
use crate::machine::systemd::Inside;
use crate::stage::Site;
use crate::stage::error::StageError;

/// Lines around the answers on the console.
const BEGIN: &str = "pipeline-check-begin";
const END: &str = "pipeline-check-end";
/// Where the unit's script lies in the guest.
const SCRIPT: &str = "/pipeline-check";

/// Which way in is tried first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstWay {
    /// A key, where systemd takes one: it changes nothing on the disk.
    Key,
    /// The unit: for a guest whose sshd does not take root's key from where systemd puts it.
    Unit,
}

/// A throw-away disk over `base` with a way in, for asking by this script.
///
/// # Errors
/// [`StageError::NoWayIn`] when there is none, and others.
pub fn prepare(
    work: &CheckWork,
    base: &Path,
    name: &str,
    script: String,
    first_way: FirstWay,
    site: &Site,
) -> Result<(Disk, Way), StageError> {
    let (raw, offset) = copy(work, base, name, site)?;
    // Clones are made at the same time: the key and the unit of one must not be those of another.
    let folder = site.scratch.join(format!("way-{name}"));
    fs::create_dir_all(&folder).map_err(|e| StageError::file("make", &folder, e))?;
    let site = &Site {
        scratch: folder,
        ..site.clone()
    };
    let disk = Disk::new(&raw, DiskFormat::Raw);
    let hardware = work.machine.computer.platform.hardware();
    match Inside::look(&raw, offset, hardware, &site.cancel)? {
        Inside::Closed => Ok((disk, by_key(script, false, site)?)),
        inside if inside.takes_credentials() && first_way == FirstWay::Key => {
            Ok((disk, by_key(script, true, site)?))
        }
        Inside::Systemd { .. } => {
            write_unit(&raw, offset, hardware.serial, &script, site)?;
            Ok((disk, Way::Unit))
        }
        Inside::Other => Err(StageError::NoWayIn),
    }
}

/// A raw copy, and where its root file system begins.
fn copy(work: &CheckWork, base: &Path, name: &str, site: &Site) -> Result<(PathBuf, u64), StageError> {
    let raw = site.scratch.join(format!("{name}.raw"));
    disk::convert(base, work.format, &raw, DiskFormat::Raw, &site.cancel)?;
    let root = disk::read_table(&raw, &site.cancel)?.last().cloned();
    let offset = root
        .ok_or_else(|| StageError::NoPartition {
            path: base.to_owned(),
        })?
        .start;
    Ok((raw, offset))
}

fn by_key(script: String, takes_unit: bool, site: &Site) -> Result<Way, StageError> {
    let key = Key::generate(&site.scratch, &site.cancel)?;
    Ok(Way::Key {
        key,
        script,
        takes_unit,
    })
}

fn write_unit(raw: &Path, offset: u64, serial: &str, script: &str, site: &Site) -> Result<(), StageError> {
    // `simple`: the boot does not wait for it, as it waits for the boot.
    let unit = format!(
        "[Unit]\nDescription=Questions of the image check\nAfter=multi-user.target\n\n[Service]\nType=simple\n\
         ExecStart=/bin/sh -c 'dmesg -n 1; /bin/sh {SCRIPT} >/run/pipeline-check 2>/dev/null; \
         {{ echo; echo {BEGIN}; base64 /run/pipeline-check; echo {END}; }} >/dev/{serial}'\n"
    );
    let write = |name: &str, text: &str| -> Result<PathBuf, StageError> {
        let path = site.scratch.join(name);
        fs::write(&path, text).map_err(|e| StageError::file("write", &path, e))?;
        Ok(path)
    };
    let (script, unit) = (write("unit-script", script)?, write("unit", &unit)?);
    let folder = "/etc/systemd/system";
    let name = "pipeline-check.service";
    let wants = format!("{folder}/multi-user.target.wants");
    let puts = [
        Put::File(SCRIPT, &script),
        Put::File(&format!("{folder}/{name}"), &unit),
        Put::Folder(&wants),
        Put::Link(&format!("{wants}/{name}"), &format!("../{name}")),
    ];
    Ok(disk::put(raw, offset, &puts, &site.cancel)?)
}

/// What the unit printed, once all of it is in the console's log.
pub fn printed(log: &[u8]) -> Option<String> {
    let log = String::from_utf8_lossy(log);
    let (_, rest) = log.rsplit_once(BEGIN)?;
    let (inside, _) = rest.split_once(END)?;
    let is_ours = |line: &&str| {
        line.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
    };
    let text: String = inside.lines().map(str::trim).filter(is_ours).collect();
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_found_between_what_else_a_console_says() {
        let log = format!("debian login: \r\n{BEGIN}\r\nYW5zd2\r\n[   9.1] usb: new\r\nVy\r\n{END}\r\n");
        assert_eq!(printed(log.as_bytes()).as_deref(), Some("answer"));
        assert_eq!(printed(format!("{BEGIN}\r\nYW5z\r\n").as_bytes()), None);
    }
}
