//! Disks without a machine, with the host's real tools; checked with other tools than those that made them.

use std::path::{Path, PathBuf};

use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::machine::disk::{
    self, DiskError, Ext4, FEATURES, FileSystem, Image, Layer, Layers, Put, Skeleton, StartsBy, TableKind,
};
use pipeline::internals::machine::seed::Seed;
use pipeline::internals::machine::spec::DiskFormat;
use pipeline::internals::size::{ByteSize, GIB, MIB};

use crate::support::{Bench, tool};

/// A raw disk with one root file system that holds `/etc/hello` and 20 MiB of letters.
fn make_disk(bench: &Bench, kind: TableKind) -> (PathBuf, disk::Partition) {
    make_disk_of(bench, kind, ByteSize(64 * MIB))
}

fn make_disk_of(bench: &Bench, kind: TableKind, size: ByteSize) -> (PathBuf, disk::Partition) {
    let cancel = Cancel::default();
    bench.write("root/etc/hello", "hello from the old disk\n");
    bench.write("root/big", vec![b'x'; 20 << 20]);
    // A folder that e2fsck gives an index, as it does in what bootstrap makes.
    for number in 100..200 {
        bench.write(&format!("root/many/{}{number}", "n".repeat(200)), "");
    }
    let raw = bench.path("disk one.raw");
    disk::create_raw(&raw, size).unwrap();
    let table = disk::write_root_table(&raw, kind, StartsBy::BIOS, &cancel).unwrap();
    let root = table.last().unwrap().clone();
    let content = Ext4 {
        root: Some(bench.path("root")),
        label: Some("root".to_owned()),
        ..Ext4::default()
    };
    disk::make_ext4(&raw, &root, &content, &cancel).unwrap();
    (raw, root)
}

fn debugfs(raw: &Path, offset: u64, request: &str) -> String {
    let device = format!("{}?offset={offset}", raw.display());
    tool("/usr/sbin/debugfs", &["-R", request, &device], Path::new("/"))
}

fn stored(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(&path.metadata().unwrap()) * 512
}

#[test]
fn a_disk_grows_from_64_mib_to_4_gib_without_being_mounted() {
    let cancel = Cancel::default();
    for kind in [TableKind::Dos, TableKind::Gpt] {
        let bench = Bench::new();
        let (raw, before) = make_disk(&bench, kind);
        disk::punch_free_blocks(&raw, before.start, &cancel).unwrap();
        let after = disk::grow_last_partition(&raw, ByteSize(4 * GIB), &cancel).unwrap();
        assert_eq!((after.number, after.start), (before.number, before.start));
        // All but the table's backup copy, if there is one.
        assert!(4 * GIB - after.end() < MIB, "{kind:?} {after:?}");
        disk::grow_ext(&raw, &after, &cancel).unwrap();
        disk::verify_ext(&raw, after.start, &cancel).unwrap();

        assert_eq!(raw.metadata().unwrap().len(), 4 * GIB);
        assert!(
            stored(&raw) < 128 * MIB,
            "it stays sparse: {} bytes",
            stored(&raw)
        );
        assert_eq!(
            debugfs(&raw, after.start, "cat /etc/hello"),
            "hello from the old disk\n"
        );
        let stats = debugfs(&raw, after.start, "stats -h");
        let blocks = stats
            .lines()
            .find_map(|line| line.strip_prefix("Block count:"))
            .unwrap();
        assert_eq!(blocks.trim().parse::<u64>().unwrap(), after.size / 4096);
        let checked = tool(
            "/usr/sbin/sfdisk",
            &["--verify", raw.to_str().unwrap()],
            Path::new("/"),
        );
        assert!(checked.contains("No errors detected"), "{checked}");
    }
}

/// A size is a layer over the disk that it is made from. It reads as the disk that was copied and grown as a whole does, in
/// each form, and equal disks give equal files.
#[test]
fn a_disk_grown_as_a_layer_is_the_disk_grown_as_a_whole() {
    let cancel = Cancel::default();
    let bench = Bench::new();
    let run = |script: &str| tool("sh", &["-euc", script], &bench.path(""));
    // Of several groups of blocks, some of which have copies of the superblock.
    let (raw, root) = make_disk_of(&bench, TableKind::Gpt, ByteSize(600 * MIB));
    disk::punch_free_blocks(&raw, root.start, &cancel).unwrap();
    let skeleton = Skeleton::of(&raw, &root, &cancel).unwrap();
    let base = bench.path("base.qcow2");
    let whole = |layers, format, name: &str| {
        let path = bench.path(name);
        Image::whole(layers, format).write(&path, &cancel).unwrap();
    };
    whole(
        Layers::new(vec![Layer::raw(&raw, &cancel).unwrap()]),
        DiskFormat::Qcow2,
        "base.qcow2",
    );
    run("qemu-img check -q base.qcow2; qemu-img compare -q -f raw -F qcow2 'disk one.raw' base.qcow2");
    let base_layers = || Layers::new(vec![Layer::qcow2(&base).unwrap()]);

    let grown = |name: &str| {
        let layer = bench.path(&format!("{name}.raw"));
        skeleton.copy(&base_layers(), &layer).unwrap();
        assert!(
            stored(&layer) < 12 * MIB,
            "the file's 20 MiB are not copied: {}",
            stored(&layer)
        );
        let before = disk::descriptor_blocks(&layer, root.start).unwrap();
        let after = disk::grow_last_partition(&layer, ByteSize(4 * GIB), &cancel).unwrap();
        disk::grow_ext(&layer, &after, &cancel).unwrap();
        disk::verify_ext(&layer, after.start, &cancel).unwrap();
        assert_eq!(before, disk::descriptor_blocks(&layer, root.start).unwrap());
        let changed = skeleton.changed(&base_layers(), &layer).unwrap().unwrap();
        let upper = || base_layers().under(Layer::raw_with(&layer, 4 * GIB, changed.clone()).unwrap());
        let path = bench.path(&format!("{name}.qcow2"));
        Image::upper(upper(), "base.qcow2")
            .unwrap()
            .write(&path, &cancel)
            .unwrap();
        base_layers().under(Layer::qcow2(&path).unwrap())
    };
    whole(grown("layer"), DiskFormat::Qcow2, "whole.qcow2");
    whole(grown("again"), DiskFormat::Raw, "whole.raw");

    let after = disk::grow_last_partition(&raw, ByteSize(4 * GIB), &cancel).unwrap();
    // What is written at another second has the same bytes.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    disk::grow_ext(&raw, &after, &cancel).unwrap();
    run(
        "cmp layer.qcow2 again.qcow2; qemu-img check -q layer.qcow2; qemu-img check -q whole.qcow2; \
         cmp 'disk one.raw' whole.raw; qemu-img compare -q -F qcow2 -f raw whole.raw whole.qcow2; \
         qemu-img compare -q -F qcow2 -f raw whole.raw layer.qcow2",
    );
    let layer = std::fs::metadata(bench.path("layer.qcow2")).unwrap().len();
    assert!(layer < 12 * MIB, "{layer}");
    for name in ["whole.raw", "whole.qcow2"] {
        assert!(
            stored(&bench.path(name)) < 64 * MIB,
            "{name} has holes, or leaves them out"
        );
    }
}

/// Where growing moves what files have, a layer made of the skeleton would lose it.
#[test]
fn a_disk_whose_growth_moves_data_is_no_layer() {
    let cancel = Cancel::default();
    let bench = Bench::new();
    let raw = bench.path("disk.raw");
    disk::create_raw(&raw, ByteSize(64 * MIB)).unwrap();
    let table = disk::write_root_table(&raw, TableKind::Gpt, StartsBy::BIOS, &cancel).unwrap();
    let root = table.last().unwrap().clone();
    bench.write("root/big", vec![b'x'; 40 << 20]);
    let features = FEATURES.iter().filter(|feature| **feature != "resize_inode");
    let content = Ext4 {
        root: Some(bench.path("root")),
        features: features.map(|feature| (*feature).to_owned()).collect(),
        ..Ext4::default()
    };
    disk::make_ext4(&raw, &root, &content, &cancel).unwrap();
    disk::punch_free_blocks(&raw, root.start, &cancel).unwrap();
    let skeleton = Skeleton::of(&raw, &root, &cancel).unwrap();
    let base = || Layers::new(vec![Layer::raw(&raw, &cancel).unwrap()]);
    let layer = bench.path("layer.raw");
    skeleton.copy(&base(), &layer).unwrap();
    let before = disk::descriptor_blocks(&layer, root.start).unwrap();
    let after = disk::grow_last_partition(&layer, ByteSize(64 * GIB), &cancel).unwrap();
    disk::grow_ext(&layer, &after, &cancel).unwrap();
    assert_ne!(before, disk::descriptor_blocks(&layer, root.start).unwrap());
}

#[test]
fn a_disk_that_did_not_grow_as_asked_is_not_taken_for_one_that_did() {
    let cancel = Cancel::default();
    let bench = Bench::new();
    let (raw, _) = make_disk(&bench, TableKind::Dos);
    let root = || {
        let table = disk::read_table(&raw, &cancel).unwrap();
        disk::root(&raw, &table, None, &cancel).unwrap()
    };
    disk::must_fill(&raw, &root()).unwrap();
    disk::resize(&raw, DiskFormat::Raw, ByteSize(256 * MIB), &cancel).unwrap();
    let error = disk::must_fill(&raw, &root()).unwrap_err().to_string();
    assert!(
        error.contains("came out wrong: partition 1 ends at 64 MiB of 256 MiB"),
        "{error}"
    );
    disk::grow_last_partition(&raw, ByteSize(256 * MIB), &cancel).unwrap();
    let error = disk::must_fill(&raw, &root()).unwrap_err().to_string();
    assert!(
        error.contains("did not grow: it has 63 MiB of its partition's 255 MiB"),
        "{error}"
    );
    disk::punch_free_blocks(&raw, root().start, &cancel).unwrap();
    disk::grow_ext(&raw, &root(), &cancel).unwrap();
    disk::must_fill(&raw, &root()).unwrap();
    // A DOS table would hold what is left of the size modulo 2 TiB.
    let error = disk::grow_last_partition(&raw, ByteSize(3 << 40), &cancel)
        .unwrap_err()
        .to_string();
    assert!(error.contains("are in a DOS table, which ends at"), "{error}");
    assert_eq!(raw.metadata().unwrap().len(), 256 * MIB);
    // A GPT holds it, and the file system grows to it.
    let bench = Bench::new();
    let (raw, root) = make_disk(&bench, TableKind::Gpt);
    disk::punch_free_blocks(&raw, root.start, &cancel).unwrap();
    let root = disk::grow_last_partition(&raw, ByteSize(3 << 40), &cancel).unwrap();
    disk::grow_ext(&raw, &root, &cancel).unwrap();
    disk::must_fill(&raw, &root).unwrap();
    assert!(
        root.size > 3_298_000_000_000 && stored(&raw) < 256 * MIB,
        "{root:?}, {}",
        stored(&raw)
    );
}

#[test]
fn files_are_put_into_a_file_system_where_nothing_is_yet() {
    let bench = Bench::new();
    let (raw, root) = make_disk(&bench, TableKind::Dos);
    let new = bench.write("new", "new\n");
    let put = |puts: &[Put<'_>]| {
        let put = disk::put(&raw, root.start, puts, &Cancel::default());
        put.map_err(|error| error.to_string())
    };
    let read = |path: &str| debugfs(&raw, root.start, &format!("cat {path}"));
    put(&[
        Put::Folder("/etc"),
        Put::Folder("/new"),
        Put::File("/new/file", &new),
        Put::Link("/new/link", "file"),
    ])
    .unwrap();
    assert_eq!(read("/new/file"), "new\n");
    for there in [
        Put::File("/etc/hello", new.as_path()),
        Put::Link("/new/link", "elsewhere"),
        Put::File("/nowhere/file", new.as_path()),
    ] {
        let error = put(&[Put::Folder("/etc"), there]).unwrap_err();
        assert!(error.contains("could not be written to: "), "{error}");
    }
    assert_eq!(read("/etc/hello"), "hello from the old disk\n");
}

#[test]
fn a_file_system_has_the_features_of_its_guest_whatever_the_hosts_configuration() {
    // This test again, as a host with other settings runs it: it leaves its disk and ends.
    const DISK: &str = "PIPELINE_TEST_DISK";
    if let Some(raw) = std::env::var_os(DISK) {
        let table = disk::write_root_table(
            Path::new(&raw),
            TableKind::Gpt,
            StartsBy::BIOS,
            &Cancel::default(),
        )
        .unwrap();
        let root = table.last().unwrap();
        let content = Ext4::default();
        return disk::make_ext4(Path::new(&raw), root, &content, &Cancel::default()).unwrap();
    }
    let bench = Bench::new();
    let foreign = bench.write(
        "mke2fs.conf",
        "[defaults]\nbase_features = sparse_super,large_file,filetype,ext_attr\nblocksize = 1024\ninode_size = 128\n\
         inode_ratio = 65536\nreserved_ratio = 20\nenable_periodic_fsck = 1\nerrors = panic\n\
         [fs_types]\next4 = {\nfeatures = has_journal,extent,metadata_csum,metadata_csum_seed,orphan_file,casefold\n}\n",
    );
    let fsck = bench.write("e2fsck.conf", "nonsense");
    let made = |name: &str, settings: &[(&str, &Path)]| {
        let raw = bench.path(name);
        disk::create_raw(&raw, ByteSize(64 * MIB)).unwrap();
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args([
            "--exact",
            "machine::disks::a_file_system_has_the_features_of_its_guest_whatever_the_hosts_configuration",
        ]);
        again.env(DISK, &raw).envs(settings.iter().copied());
        assert!(again.output().unwrap().status.success());
        let device = format!("{}?offset={}", raw.display(), 2 * MIB);
        let head = tool("/usr/sbin/dumpe2fs", &["-h", &device], Path::new("/"));
        let is_its_own = |line: &&str| {
            let own = [
                "UUID",
                "Hash Seed",
                "created",
                "write time",
                "Last checked",
                "Checksum",
                "Journal checksum",
            ];
            !own.iter()
                .any(|word| line.to_lowercase().contains(&word.to_lowercase()))
        };
        head.lines()
            .filter(is_its_own)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let plain = made("plain.raw", &[]);
    let other = made(
        "other.raw",
        &[
            ("MKE2FS_CONFIG", &foreign),
            ("E2FSCK_CONFIG", &fsck),
            ("SOURCE_DATE_EPOCH", Path::new("1")),
            ("TZ", Path::new("Pacific/Apia")),
        ],
    );
    assert_eq!(plain, other);
    let features = plain
        .iter()
        .find_map(|line| line.strip_prefix("Filesystem features:"))
        .unwrap();
    let mut features: Vec<_> = features.split_whitespace().collect();
    let mut wanted = FEATURES.to_vec();
    features.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(features, wanted);
    for line in ["Block size:               4096", "Inode size:\t          256"] {
        assert!(plain.iter().any(|found| found == line), "{line}: {plain:#?}");
    }
}

#[test]
fn what_was_deleted_leaves_the_file() {
    let cancel = Cancel::default();
    let bench = Bench::new();
    let (raw, root) = make_disk(&bench, TableKind::Dos);
    tool(
        "/usr/sbin/debugfs",
        &[
            "-w",
            "-R",
            "rm /big",
            &format!("{}?offset={}", raw.display(), root.start),
        ],
        Path::new("/"),
    );
    let before = stored(&raw);
    disk::punch_free_blocks(&raw, root.start, &cancel).unwrap();
    assert!(before - stored(&raw) > 19 * MIB, "{before} -> {}", stored(&raw));
    disk::verify_ext(&raw, root.start, &cancel).unwrap();
    assert_eq!(
        debugfs(&raw, root.start, "cat /etc/hello"),
        "hello from the old disk\n"
    );
}

#[test]
fn a_root_inside_an_extended_partition_grows_with_it() {
    let cancel = Cancel::default();
    let bench = Bench::new();
    let raw = bench.path("disk");
    disk::create_raw(&raw, ByteSize(64 * MIB)).unwrap();
    let table = bench.write(
        "table",
        "label: dos\nstart=2048,size=20480,type=83\ntype=5\ntype=83\n",
    );
    tool(
        "sh",
        &["-c", "/usr/sbin/sfdisk -q disk < table"],
        table.parent().unwrap(),
    );
    let after = disk::grow_last_partition(&raw, ByteSize(GIB), &cancel).unwrap();
    assert_eq!((after.number, after.end()), (5, GIB));
}

#[test]
fn a_disk_that_cannot_be_grown_says_why() {
    let cancel = Cancel::default();
    let bench = Bench::new();
    let (raw, root) = make_disk(&bench, TableKind::Dos);
    let error = disk::grow_last_partition(&raw, ByteSize(32 * MIB), &cancel)
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("cannot shrink: the disk has 64 MiB and should get 32 MiB; ask for at least 64 MiB"),
        "{error}"
    );

    // The journal's flag, as a guest leaves it that was switched off while it ran.
    let device = format!("{}?offset={}", raw.display(), root.start);
    tool(
        "/usr/sbin/debugfs",
        &["-w", "-R", "feature needs_recovery", &device],
        Path::new("/"),
    );
    let error = disk::punch_free_blocks(&raw, root.start, &cancel).unwrap_err();
    assert!(matches!(error, DiskError::FileSystem { .. }), "{error}");
    assert!(
        error.to_string().contains("the guest must power off cleanly"),
        "{error}"
    );

    let empty = bench.write("empty.raw", vec![0; 1 << 20]);
    assert_eq!(disk::probe(&empty, 0).unwrap(), FileSystem::Unknown);
    let error = disk::read_table(&empty, &cancel).unwrap_err().to_string();
    assert!(error.starts_with("reading the partitions of `"), "{error}");
    for (at, magic, kind) in [
        (0usize, &b"XFSB"[..], FileSystem::Xfs),
        (0x1_0040, b"_BHRfS_M", FileSystem::Btrfs),
        (4086, b"SWAPSPACE2", FileSystem::Swap),
    ] {
        let mut bytes = vec![0; 1 << 20];
        bytes[4096 + at..][..magic.len()].copy_from_slice(magic);
        let other = bench.write("other.raw", bytes);
        assert_eq!(disk::probe(&other, 4096).unwrap(), kind);
        let error = disk::punch_free_blocks(&other, 4096, &cancel)
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with(&format!("is not ext4 but {}", kind.name())),
            "{error}"
        );
    }
    assert_eq!(disk::probe(&raw, root.start).unwrap(), FileSystem::Ext);
}

#[test]
fn image_files_are_made_looked_at_and_converted() {
    let cancel = Cancel::default();
    let bench = Bench::new();
    let (raw, _) = make_disk(&bench, TableKind::Dos);
    let (overlay, flat) = (bench.path("overlay.qcow2"), bench.path("flat.qcow2"));
    let size = Some(ByteSize(GIB));
    disk::create_overlay(&raw, DiskFormat::Raw, &overlay, size, &cancel).unwrap();
    let layered = disk::look_as(&overlay, DiskFormat::Qcow2)
        .unwrap_err()
        .to_string();
    assert!(
        layered.contains(&format!("as its backing file: {}", raw.display())),
        "{layered}"
    );

    disk::convert(&overlay, DiskFormat::Qcow2, &flat, DiskFormat::Qcow2, &cancel).unwrap();
    disk::check_image(&flat, &cancel).unwrap();
    let info = disk::look(&flat, &flat).unwrap();
    assert_eq!(
        (info.format, info.virtual_size),
        (DiskFormat::Qcow2, ByteSize(GIB))
    );
    assert!(stored(&flat) < 40 * MIB, "{}", stored(&flat));
    assert_eq!(disk::look(&raw, &raw).unwrap().format, DiskFormat::Raw);

    let absent = bench.path("absent");
    let error = disk::look(&absent, &absent).unwrap_err().to_string();
    assert!(
        error.starts_with("could not use the disk `") && error.contains("No such file"),
        "{error}"
    );
}

#[test]
fn a_seed_is_found_by_its_label() {
    let bench = Bench::new();
    let seed = Seed {
        user_data: "#cloud-config\n".to_owned(),
        meta_data: "instance-id: x\n".to_owned(),
        network_config: None,
    };
    let path = bench.path("seed.img");
    seed.write(&path).unwrap();
    let seen = tool(
        "/usr/sbin/blkid",
        &["-o", "export", path.to_str().unwrap()],
        Path::new("/"),
    );
    assert!(
        seen.contains("\nLABEL=cidata\n") && seen.contains("\nTYPE=vfat\n"),
        "{seen}"
    );
}
