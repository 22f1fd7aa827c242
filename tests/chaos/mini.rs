//! A small pipeline without a machine: a disk of a few megabytes, as if it had been provisioned, becomes images of several
//! sizes, packaged, listed and published into a folder. It goes through every kind of write to store and output.

use std::path::Path;

use pipeline::internals::event::Emitter;
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::machine::disk::{self, Ext4, StartsBy, TableKind};
use pipeline::internals::manifest::load;
use pipeline::internals::run::prepare::{Ask, prepare};
use pipeline::internals::size::{ByteSize, MIB};
use pipeline::internals::stage::provision::{Provisioned, Root, flatten};
use pipeline::internals::store::{Claim, Store};
use serde_json::Value;

use super::{House, tool};

/// The manifest's file.
pub const MANIFEST: &str = "mini.toml";
/// Bytes of the file in the file system.
const CONTENT: usize = 6 << 20;

/// The folders where its files appear.
pub const PLACES: [&str; 2] = ["out", "share"];

fn manifest(sizes: &[&str]) -> String {
    let sizes = sizes
        .iter()
        .map(|size| format!("{size:?}"))
        .collect::<Vec<_>>()
        .join(", ");
    format!(
        r#"
[pipeline]
name = "mini"

[resources]
scratch = "10G"
memory  = "4G"
cpus    = 2
jobs    = 2

[distros.tiny]
family  = "debian"
version = "12"
disk    = "32M"
source  = {{ disk = {{ path = "base.qcow2" }} }}

[flavors.base]
steps = [{{ inline = "true", name = "nothing" }}]

[[images]]
distro = "tiny"
flavor = "base"
sizes  = [{sizes}]

[publish]
compress  = "gzip"
checksums = ["sha512", "md5"]

[publish.share]
to   = "directory"
path = "share"
"#
    )
}

/// A house with it, whose provisioned disk is in the store.
pub fn house(folder: &Path, sizes: &[&str]) -> House {
    std::fs::create_dir_all(folder.join("share")).unwrap();
    std::fs::write(folder.join("base.qcow2"), "no disk is read in these stories").unwrap();
    std::fs::write(folder.join(MANIFEST), manifest(sizes)).unwrap();
    let house = House::new(folder, &["run", MANIFEST, "--upload"], &PLACES);
    provision(&house);
    house
}

/// The file in the images.
fn content() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    // Half of it compresses well.
    (0..CONTENT / 16)
        .flat_map(|_| [next().to_le_bytes(), [7; 8]].concat())
        .collect()
}

/// Puts a disk with one file system into the store, under the key of the provision node.
pub fn provision(house: &House) {
    let store = Store::open(&house.folder.join("store")).unwrap();
    let scratch = store.scratch("seed").unwrap();
    let cancel = Cancel::default();
    let manifest = load(&house.folder.join(MANIFEST)).unwrap();
    let plan = prepare(&manifest, &[0], &store, Ask::default(), &|_| {})
        .unwrap()
        .plan;
    let (_, node) = plan
        .nodes()
        .find(|(_, node)| node.id() == "provision/tiny-base")
        .unwrap();
    let Claim::Miss(slot) = store
        .claim("provision", &node.key, &scratch, true, &cancel, &mut || {})
        .unwrap()
    else {
        panic!("it is not built yet")
    };
    let root = house.folder.join("root");
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(root.join("content"), content()).unwrap();
    let raw = house.folder.join("seed.raw");
    disk::create_raw(&raw, ByteSize(32 * MIB)).unwrap();
    let table = disk::write_root_table(&raw, TableKind::Dos, StartsBy::BIOS, &cancel).unwrap();
    let partition = table.last().unwrap();
    let files = Ext4 {
        root: Some(root.clone()),
        label: Some("root".to_owned()),
        ..Ext4::default()
    };
    disk::make_ext4(&raw, partition, &files, &cancel).unwrap();
    let facts = Provisioned {
        root: Some(Root {
            start: partition.start,
            file_system: "ext4".to_owned(),
        }),
        sealed: true,
    };
    let emit = Emitter::new(std::sync::mpsc::channel().0);
    flatten(&raw, &facts, &slot.path("disk"), &emit, &cancel).unwrap();
    let facts = serde_json::to_value(facts).unwrap();
    slot.commit(node.inputs.clone(), facts, &cancel).unwrap();
    std::fs::remove_file(raw).unwrap();
    std::fs::remove_dir_all(root).unwrap();
}

/// Where an image appears, below the house.
pub fn packed(size: &str) -> String {
    let id = format!("tiny-{size}-base");
    format!("out/{id}/{id}.qcow2.gz")
}

/// Looks into an image: the file in its file system is what was put there. `packed` is below the house.
pub fn has_content(house: &House, packed: &str) {
    let folder = house.folder.join("judged");
    std::fs::create_dir_all(&folder).unwrap();
    let script = format!(
        "gzip -dc ../{packed} > image.qcow2 && qemu-img check -q image.qcow2 && \
         qemu-img convert -O raw image.qcow2 disk.raw"
    );
    tool("sh", &["-c", &script], &folder);
    let table: Value = serde_json::from_str(&tool("sfdisk", &["--json", "disk.raw"], &folder)).unwrap();
    let start = table["partitiontable"]["partitions"][0]["start"]
        .as_u64()
        .unwrap()
        * 512;
    let disk = format!("disk.raw?offset={start}");
    tool("e2fsck", &["-fn", &disk], &folder);
    tool("debugfs", &["-R", "dump /content content", &disk], &folder);
    assert!(
        std::fs::read(folder.join("content")).unwrap() == content(),
        "{packed} has another content"
    );
    std::fs::remove_dir_all(&folder).unwrap();
}
