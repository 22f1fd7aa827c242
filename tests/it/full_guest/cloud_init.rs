//! The other way in: a disk image that another tool made, with cloud-init in it. Its root is btrfs, so that each size of
//! it is grown by booting it.

use std::fs;
use std::path::Path;

use pipeline::internals::size::MIB;

use crate::support::cloud_image::btrfs_with_cloud_init;
use crate::support::vm::story;
use crate::support::{Bench, tool};

#[test]
fn a_disk_image_with_cloud_init_is_entered_by_a_seed_provisioned_and_grown_from_inside() {
    let story = story(1);
    let bench = &story.bench;
    let theirs = btrfs_with_cloud_init(&bench.path(""));
    let digest = tool("sha256sum", &[&theirs.display().to_string()], &bench.path(""));
    let digest = digest.split(' ').next().unwrap();

    let grow = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/grow-root.sh")).unwrap();
    bench.write("grow.sh", grow);
    bench.write(
        "derived.toml",
        format!(
            r#"
[pipeline]
name   = "derived"
output = "out-derived"

[distros.theirs]
family  = "debian"
version = "12"
disk    = "3G"
cpus    = 1
source  = {{ disk = {{ path = "theirs.raw.zst", sha256 = "{digest}", access = "cloud-init", user = "debian" }} }}

# The same by a key, which sealing takes out: grown before that.
[distros.keyed]
family  = "debian"
version = "12"
cpus    = 1
source  = {{ disk = {{ path = "theirs.raw.zst", sha256 = "{digest}", access = {{ key = "ops" }}, user = "ops" }} }}

[flavors.plain]
steps = []

[flavors.grown]
steps = [
  {{ inline = "id -un; sudo -u debian id -un", name = "who" }},
  # With a partition behind root there is nothing to grow, and growpart and sfdisk call that a success.
  {{ inline = "echo 'start=4196352' | sfdisk -q -a --no-reread --no-tell-kernel /dev/vda", name = "in the way" }},
  {{ run = "grow.sh", exit_codes = [1] }},
  {{ inline = "sfdisk -q --delete --no-reread --no-tell-kernel /dev/vda 2", name = "out of the way" }},
  {{ run = "grow.sh" }},
  {{ inline = "test $(df -B1 --output=size / | tail -n 1) -gt 2900000000", name = "has it grown" }},
]

[[images]]
distro = "theirs"
flavor = "grown"
sizes  = ["4G"]

[[images]]
distro = "keyed"
flavor = "plain"
sizes  = ["3G"]

[publish]
format   = "raw"
compress = "zstd"
"#
        ),
    );
    let ran = bench.run(&["run", "derived.toml", "--verbose"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    for expected in [
        "| debian",
        // It has no locale of the name that cloud-init wants; all that comes after is waited for nevertheless.
        "cloud-init in the guest ended with code 1",
        "size theirs-4G-grown: growing the file system from inside",
        "the root file system (btrfs) fills its partition",
        "another partition may lie behind it",
        "size keyed-3G-plain: growing the file system from inside",
        "seal: build key: removed from /home/ops/.ssh/authorized_keys",
    ] {
        assert!(ran.stderr.contains(expected), "no `{expected}` in\n{}", ran.all());
    }
    for (id, bytes) in [("keyed-3G-plain", 3 << 30), ("theirs-4G-grown", 4 << 30)] {
        grown(bench, id, bytes);
    }
    // What the build brought along is gone, although the guest booted once more to be grown: its keys, and cloud-init's
    // memory of its seeds.
    fs::create_dir(bench.path("inside")).unwrap();
    // All of it would take minutes.
    let wanted = "^/(|home(|/.*)|root(|/.*)|usr(|/lib(|/os-release))|var(|/lib(|/cloud(|/.*))))$";
    tool(
        "btrfs",
        &["restore", "-S", "--path-regex", wanted, "grown.btrfs", "inside"],
        &bench.path(""),
    );
    for keys in ["home/debian/.ssh/authorized_keys", "root/.ssh/authorized_keys"] {
        let left = fs::read_to_string(bench.path("inside").join(keys)).unwrap_or_default();
        assert!(!left.contains("AAAA"), "a key is left in {keys}: {left}");
    }
    assert!(bench.path("inside/usr/lib/os-release").is_file());
    assert!(bench.path("inside/var/lib/cloud").is_dir());
    let remembered = bench.path("inside/var/lib/cloud/instances");
    let remembered: Vec<_> = remembered.read_dir().into_iter().flatten().collect();
    assert!(
        remembered.is_empty(),
        "cloud-init remembers its seeds: {remembered:?}"
    );
}

/// The image has this size, and its sound root fills it; it is `grown.btrfs` then.
fn grown(bench: &Bench, id: &str, bytes: u64) {
    let packed = format!("out-derived/{id}/{id}.raw.zst");
    tool(
        "zstd",
        &["-q", "-f", "-d", &packed, "-o", "grown.raw"],
        &bench.path(""),
    );
    assert_eq!(fs::metadata(bench.path("grown.raw")).unwrap().len(), bytes);
    let partition = format!("driver=raw,offset={MIB},file.filename=grown.raw");
    tool(
        "qemu-img",
        &["convert", "-O", "raw", "--image-opts", &partition, "grown.btrfs"],
        &bench.path(""),
    );
    tool(
        "btrfs",
        &["check", "--check-data-csum", "grown.btrfs"],
        &bench.path(""),
    );
    let facts = tool(
        "btrfs",
        &["inspect-internal", "dump-super", "grown.btrfs"],
        &bench.path(""),
    );
    let total = facts
        .lines()
        .find_map(|line| line.strip_prefix("total_bytes"))
        .unwrap();
    let total: u64 = total.trim().parse().unwrap();
    assert!(bytes - total < 4 << 20, "the root is only {total} bytes large");
}
