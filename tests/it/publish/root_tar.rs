//! The root file system as a tar archive: what is in it is what the file system has, as GNU tar and Python read it.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use pipeline::internals::digest::sha256_hex;
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::machine::disk::{Layer, Layers, tree};
use serde_json::Value;

use super::{noise, package, says, store_result, well};
use crate::support::{Bench, tool};

const ID: &str = "tiny-32M-base";
const MANIFEST: &str = r#"
[distros.tiny]
family  = "debian"
version = "12"
disk    = "32M"
source  = { disk = { path = "base.qcow2" } }
[flavors.base]
steps = []
[[images]]
distro = "tiny"
flavor = "base"
sizes  = ["32M"]
[publish]
format   = "raw"
compress = "none"
formats  = ["root-tar", { form = "root-tar", compress = "zstd" }]
"#;

/// What Python's own reader makes of it: a line of JSON for each member.
const JUDGE: &str = "
import hashlib, json, sys, tarfile
archive = tarfile.open(sys.argv[1])
for m in archive:
    content = archive.extractfile(m).read() if m.isreg() else b''
    attributes = {k[13:]: v.encode('utf-8', 'surrogateescape').hex()
                  for k, v in m.pax_headers.items() if k.startswith('SCHILY.xattr.')}
    print(json.dumps([m.name, m.type.decode(), oct(m.mode), m.uid, m.gid, m.size, int(m.mtime), m.linkname,
                      m.devmajor, m.devminor, hashlib.sha256(content).hexdigest(), attributes]))
";

/// `cap_net_raw+ep` (linux/capability.h, version 2), and a list with a user of its own (linux/posix_acl_xattr.h).
const CAPABILITY: &str = "0100000200200000000000000000000000000000";
const ACCESS: &str =
    "0200000001000700ffffffff02000500e803000004000500ffffffff10000700ffffffff20000500ffffffff";

fn hex(text: &str) -> Vec<u8> {
    let pairs = (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16));
    pairs.map(Result::unwrap).collect()
}

/// A file system with one of everything, and what is in it.
fn file_system(bench: &Bench) -> Vec<u8> {
    let at = |name: &str| bench.path("tree").join(name);
    for folder in ["bin", "dev", "etc", "many", "var/empty"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    fs::write(at("bin/ping"), noise(300_000, 1)).unwrap();
    fs::set_permissions(at("bin/ping"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(at("bin/ping"), at("bin/ping6")).unwrap();
    symlink("ping", at("bin/p")).unwrap();
    symlink(long_link(), at("etc/far")).unwrap();
    fs::write(at("etc/listed"), "for some").unwrap();
    fs::write(at("etc/owned"), "by another").unwrap();
    fs::write(at(&long_name()), "a long name").unwrap();
    let sparse = fs::File::create(at("var/sparse")).unwrap();
    sparse.write_all_at(b"end", 1 << 20).unwrap();
    for number in 0..400 {
        fs::write(
            at(&format!("many/file with a longish name {number}")),
            number.to_string(),
        )
        .unwrap();
    }
    bench.write("capability", hex(CAPABILITY));
    bench.write("access", hex(ACCESS));
    bench.write(
        "commands",
        "ea_set -f big var/empty user.big\ncd /dev\nmknod console c 5 1\nmknod large b 259 300\nmknod pipe p\ncd /\n\
         ea_set -f capability bin/ping security.capability\nea_set etc/listed user.note why\n\
         ea_set -f access etc/listed system.posix_acl_access\n\
         sif etc/owned uid 3000000\nsif etc/owned gid 70000\nsif etc/owned mtime @1000000000\n",
    );
    bench.write("big", "b".repeat(400));
    let script = "find tree -depth -exec touch -h -d @1700000000 {} +\n\
                  mke2fs -q -t ext4 -d tree -O ^has_journal disk.raw 32M\n\
                  debugfs -w -f commands disk.raw > said 2>&1\n\
                  e2fsck -fn disk.raw";
    tool("sh", &["-ec", script], &bench.path(""));
    fs::read(bench.path("disk.raw")).unwrap()
}

fn long_name() -> String {
    format!("etc/{}", "long".repeat(40))
}

fn long_link() -> String {
    format!("../{}/end", "far".repeat(50))
}

#[test]
fn files_of_an_image_are_an_archive_with_all_that_the_file_system_has() {
    let bench = Bench::new();
    bench.write("base.qcow2", "no disk is read in this story");
    bench.write("m.toml", MANIFEST);
    let disk = file_system(&bench);
    store_result(&bench, "provision/tiny-base", &[("disk", b"a disk")]);
    package(&bench, ID, &disk);
    well(&bench.run(&["run", "m.toml"]));

    let archive = bench.path(&format!("out/{ID}/{ID}.root.tar"));
    let path = archive.to_str().unwrap();
    let printed = tool("python3", &["-c", JUDGE, path], &bench.path(""));
    let members: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let member = |name: &str| {
        let found = members.iter().find(|member| member[0] == format!("./{name}"));
        found
            .unwrap_or_else(|| panic!("no {name} in {printed}"))
            .to_string()
    };
    let empty = sha256_hex(b"");
    let (user, group) = (own_ids().0, own_ids().1);
    let plain = |name: &str, kind: &str, mode: &str, rest: &str| {
        assert_eq!(
            member(name),
            format!("[\"./{name}\",\"{kind}\",\"{mode}\",{rest}]")
        );
    };
    let ping = sha256_hex(&noise(300_000, 1));
    let owner = format!("{user},{group}");
    plain(
        "bin/ping",
        "0",
        "0o4755",
        &format!(
            "{owner},300000,1700000000,\"\",0,0,\"{ping}\",{{\"security.capability\":\"{CAPABILITY}\"}}"
        ),
    );
    plain(
        "bin/ping6",
        "1",
        "0o4755",
        &format!("{owner},0,1700000000,\"./bin/ping\",0,0,\"{empty}\",{{}}"),
    );
    plain(
        "bin/p",
        "2",
        "0o777",
        &format!("{owner},0,1700000000,\"ping\",0,0,\"{empty}\",{{}}"),
    );
    plain(
        "etc/far",
        "2",
        "0o777",
        &format!("{owner},0,1700000000,\"{}\",0,0,\"{empty}\",{{}}", long_link()),
    );
    let listed = sha256_hex(b"for some");
    let attributes = format!("{{\"system.posix_acl_access\":\"{ACCESS}\",\"user.note\":\"776879\"}}");
    plain(
        "etc/listed",
        "0",
        "0o644",
        &format!("{owner},8,1700000000,\"\",0,0,\"{listed}\",{attributes}"),
    );
    let owned = sha256_hex(b"by another");
    plain(
        "etc/owned",
        "0",
        "0o644",
        &format!("3000000,70000,10,1000000000,\"\",0,0,\"{owned}\",{{}}"),
    );
    let sparse = sha256_hex(&[vec![0; 1 << 20], b"end".to_vec()].concat());
    plain(
        "var/sparse",
        "0",
        "0o644",
        &format!("{owner},1048579,1700000000,\"\",0,0,\"{sparse}\",{{}}"),
    );
    for (name, kind, numbers) in [
        ("console", "3", "5,1"),
        ("large", "4", "259,300"),
        ("pipe", "6", "0,0"),
    ] {
        let found: Value = serde_json::from_str(&member(&format!("dev/{name}"))).unwrap();
        assert_eq!(
            (&found[1], format!("{},{}", found[8], found[9])),
            (&kind.into(), numbers.to_owned())
        );
    }
    // What has no room in an inode lies in a block.
    assert!(member("var/empty").contains(&format!("{{\"user.big\":\"{}\"}}", "62".repeat(400))));
    assert!(member(&long_name()).contains(&sha256_hex(b"a long name")));
    // All of it, and nothing else.
    let find = "find tree -mindepth 1 -printf './%P\\n'; printf './dev/%s\\n' console large pipe; printf '.\\n./lost+found\\n'";
    let mut wanted: Vec<_> = tool("sh", &["-ec", find], &bench.path(""))
        .lines()
        .map(str::to_owned)
        .collect();
    wanted.sort_unstable();
    let mut names: Vec<_> = members
        .iter()
        .map(|member| member[0].as_str().unwrap().to_owned())
        .collect();
    names.sort_unstable();
    assert_eq!(names, wanted);

    // GNU tar lists the same, and knows the attributes.
    let long = tool(
        "tar",
        &["-tvvf", path, "--numeric-owner", "--xattrs", "--xattrs-include=*"],
        &bench.path(""),
    );
    for line in [
        "x: 20 security.capability",
        "3000000/70000",
        "259,300",
        "link to ./bin/ping",
    ] {
        assert!(long.contains(line), "no `{line}` in {long}");
    }
    let short = tool("tar", &["-tf", path], &bench.path(""));
    assert_eq!(short.lines().count(), members.len());
    let unpacked = tool(
        "sh",
        &["-ec", &format!("zstd -dc {path}.zst | cmp - {path} && echo same")],
        &bench.path(""),
    );
    assert_eq!(unpacked, "same\n");

    // The same file system gives the same bytes.
    let first = fs::read(&archive).unwrap();
    fs::remove_dir_all(bench.path("store/results/convert")).unwrap();
    fs::remove_dir_all(bench.path("out")).unwrap();
    well(&bench.run(&["run", "m.toml"]));
    assert!(fs::read(&archive).unwrap() == first);

    // What is no ext4 is refused, and nothing of the image appears.
    package(&bench, ID, &noise(32 << 20, 9));
    fs::remove_dir_all(bench.path("out")).unwrap();
    let ran = bench.run(&["run", "m.toml"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    says(
        &ran,
        &[
            "the root file system is not ext4",
            "only ext4 is read without a machine",
        ],
    );
    assert!(!archive.exists());
}

/// The user and group that make files here.
fn own_ids() -> (String, String) {
    let id = |flag: &str| tool("id", &[flag], Path::new("/")).trim().to_owned();
    (id("-u"), id("-g"))
}

/// Whatever a guest writes into its file system, the reader comes to an end, and reads nothing from elsewhere.
#[test]
fn a_file_system_with_wrong_numbers_is_read_or_refused_and_nothing_else() {
    let bench = Bench::new();
    let disk = file_system(&bench);
    let path = bench.path("disk.raw");
    let file = fs::File::options().write(true).open(&path).unwrap();
    let with = |at: usize, byte: u8| {
        file.write_all_at(&[byte], at as u64).unwrap();
        let layer = Layer::raw(&path, &Cancel::default()).unwrap();
        let read = tree(Layers::new(vec![layer]), 0, &Cancel::default());
        file.write_all_at(&disk[at..=at], at as u64).unwrap();
        read.map(|tree| tree.len()).map_err(|error| error.to_string())
    };
    // Of its superblock (kernel documentation, ext4): size of blocks, number of inodes, features, magic number.
    for (at, byte, why) in [
        (0x18, 9, "the size of its blocks"),
        (0x03, 0xff, "its superblock"),
        (0x60, 0xc6, "journal is not replayed"),
        (0x61, 0xff, "features"),
        (0x38, 0, "not ext4"),
    ] {
        let refused = with(1024 + at, byte).unwrap_err();
        assert!(refused.contains(why), "{at:#x}: {refused}");
    }
    // All that is not zeros in the first blocks: descriptors, inodes, folders.
    let places: Vec<_> = (1024..6 << 20).filter(|at| disk[*at] != 0).take(40_000).collect();
    let mut draw = noise(16 * 30, 3).into_iter();
    let mut next = || u64::from_le_bytes(std::array::from_fn(|_| draw.next().unwrap())) as usize;
    for _ in 0..30 {
        let at = places[next() % places.len()];
        drop(with(at, next() as u8));
    }
    assert!(with(0, disk[0]).unwrap() > 400, "it is as it was");
}
