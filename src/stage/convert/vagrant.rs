//! A box for Vagrant's libvirt provider: a tar archive of a disk in qcow2 and what starts it.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use serde_json::json;

use super::ova::Appliance;
use super::tar::{self, Member};
use crate::size::{GIB, MIB};

/// Name of the disk in the archive.
const DISK: &str = "box.img";

/// Writes the archive. Gives the byte at which the disk begins.
pub(super) fn write(machine: &Appliance, arch: &str, disk: &Path, bytes: u64, to: &Path) -> io::Result<u64> {
    let metadata = json!({
        "provider": "libvirt",
        "format": "qcow2",
        "virtual_size": machine.disk.div_ceil(GIB),
        "architecture": arch,
    });
    let texts = [
        ("metadata.json".to_owned(), metadata.to_string()),
        ("Vagrantfile".to_owned(), settings(machine)),
    ];
    let mut out = BufWriter::new(File::create(to)?);
    let at = tar::write_texts(&mut out, &texts)?;
    let member = Member::file(DISK, bytes);
    tar::write_file(&mut out, &member, disk)?;
    tar::end(&mut out)?;
    out.into_inner()?;
    Ok(at + member.header().len() as u64)
}

/// What each machine of this box begins with. A folder is not shared: the image need not have what that takes.
fn settings(machine: &Appliance) -> String {
    format!(
        "Vagrant.configure(\"2\") do |config|\n  \
           config.vm.synced_folder \".\", \"/vagrant\", disabled: true\n  \
           config.vm.provider :libvirt do |libvirt|\n    \
             libvirt.memory = {}\n    \
             libvirt.cpus = {}\n  \
           end\n\
         end\n",
        machine.memory.div_ceil(MIB),
        machine.cpus
    )
}
