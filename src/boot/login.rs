//! Lets the user of a throw-away machine log in to any image: by a key that is made for it and goes with it.
//! A guest whose systemd takes credentials is offered it from outside; into the copy of another one a unit is written.

use std::fs;
use std::path::Path;

use super::image::Bootable;
use crate::host::cancel::Cancel;
use crate::host::process::shell_quote;
use crate::machine::disk::{self, DiskError, Put};
use crate::machine::spec::{Disk, DiskFormat};
use crate::machine::ssh::Key;
use crate::machine::systemd::{Inside, authorized, root_key};
use crate::platform::Hardware;
use crate::stage::error::StageError;

/// Behind the key, in the guest.
const COMMENT: &str = "pipeline-boot";
/// Where the script that puts the key in lies in the guest.
const SCRIPT: &str = "/pipeline-login";
/// Who may be let in by a credential.
const ROOT: &str = "root";

/// A key with the way that it takes into the guest.
#[derive(Debug)]
pub struct Login {
    pub key: Key,
    /// For the machine.
    pub credentials: Vec<(String, String)>,
}

/// Makes a key for `user`, and whatever the guest needs to know it. The disk may be replaced by a copy in `scratch`, which is
/// private and goes with the machine.
///
/// # Errors
/// [`StageError`].
pub fn open(
    image: &mut Bootable,
    user: &str,
    scratch: &Path,
    hardware: &Hardware,
    cancel: &Cancel,
) -> Result<Login, StageError> {
    let key = Key::generate(scratch, cancel)?;
    let raw = scratch.join("login.raw");
    disk::convert(&image.disk.path, image.disk.format, &raw, DiskFormat::Raw, cancel)?;
    let credentials = vec![root_key(&key, COMMENT)];
    let found = disk::read_table(&raw, cancel)
        .and_then(|table| disk::root(&raw, &table, None, cancel))
        .and_then(|root| Ok((root.start, Inside::look(&raw, root.start, hardware, cancel)?)));
    let (offset, inside) = match found {
        Ok(found) => found,
        Err(DiskError::Cancelled) => return Err(StageError::Cancelled),
        // What cannot be looked into may take the credential all the same.
        Err(_) => (0, Inside::Closed),
    };
    if let Inside::Systemd { .. } = inside
        && !(user == ROOT && inside.takes_credentials())
    {
        write_unit(&raw, offset, user, &authorized(&key, COMMENT), scratch, cancel)?;
        image.disk = Disk::new(&raw, DiskFormat::Raw);
    } else {
        fs::remove_file(&raw).map_err(|e| StageError::file("remove", &raw, e))?;
    }
    Ok(Login { key, credentials })
}

fn write_unit(
    raw: &Path,
    offset: u64,
    user: &str,
    line: &str,
    scratch: &Path,
    cancel: &Cancel,
) -> Result<(), StageError> {
    let (user, line) = (shell_quote(user), shell_quote(line));
    let script = format!(
        "home=$(getent passwd {user} | cut -d: -f6)\n[ -n \"$home\" ] || exit 1\nmkdir -p \"$home/.ssh\"\n\
         echo {line} >>\"$home/.ssh/authorized_keys\"\nchmod 700 \"$home/.ssh\"\n\
         chmod 600 \"$home/.ssh/authorized_keys\"\nchown -R {user} \"$home/.ssh\"\n\
         if command -v restorecon >/dev/null; then restorecon -R \"$home/.ssh\"; fi\n"
    );
    let unit = format!(
        "[Unit]\nDescription=Key of pipeline boot\nAfter=local-fs.target\nBefore=ssh.service sshd.service\n\n\
         [Service]\nType=oneshot\nExecStart=/bin/sh {SCRIPT}\n"
    );
    let write = |name: &str, text: &str| {
        let path = scratch.join(name);
        fs::write(&path, text).map_err(|e| StageError::file("write", &path, e))?;
        Ok::<_, StageError>(path)
    };
    let (script, unit) = (write("login-script", &script)?, write("login-unit", &unit)?);
    let folder = "/etc/systemd/system";
    let name = "pipeline-login.service";
    let wants = format!("{folder}/multi-user.target.wants");
    let puts = [
        Put::File(SCRIPT, &script),
        Put::File(&format!("{folder}/{name}"), &unit),
        Put::Folder(&wants),
        Put::Link(&format!("{wants}/{name}"), &format!("../{name}")),
    ];
    Ok(disk::put(raw, offset, &puts, cancel)?)
}
