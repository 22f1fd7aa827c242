//! Packaging, unpacking and publishing: what is written is read back by the tools that users have (`gzip`, `zstd`, `xz`,
//! `cmp`, `sha512sum`, `md5sum`), and what is interrupted leaves nothing.

mod lists;

use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use pipeline::internals::digest::{Algorithm, sha256_hex};
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::manifest::model::Compression;
use pipeline::internals::stage::package::{
    Earlier, PackageError, Packaged, Spec, package, package_in, unpack,
};
use pipeline::internals::stage::sums;

use super::support::{Bench, noise, tool};

/// The largest piece that gzip output is made of; sizes around it are where mistakes would be.
const BLOCK: usize = 1 << 20;
const ALL: [Compression; 4] = [
    Compression::Gzip,
    Compression::Zstd,
    Compression::Xz,
    Compression::None,
];

fn spec(compression: Compression) -> Spec {
    Spec {
        compression,
        level: None,
        algorithms: vec![Algorithm::Sha512, Algorithm::Md5],
        earlier: Vec::new(),
        index: None,
    }
}

fn pack(input: &Path, output: &Path, compression: Compression) -> Result<Packaged, PackageError> {
    package(
        input,
        output,
        &spec(compression),
        &Cancel::default(),
        &mut |_, _| {},
    )
}

fn unpack_to(input: &Path, output: &Path) -> Result<Vec<u8>, PackageError> {
    unpack(input, output, &Cancel::default(), &mut |_, _| {})?;
    Ok(fs::read(output).unwrap())
}

/// Something like a disk: text with far repeats, noise, and zeros, changing every 300,000 bytes.
fn disk(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = noise(length, seed);
    for (number, part) in bytes.chunks_mut(300_000).enumerate() {
        match number % 3 {
            0 => part
                .iter_mut()
                .for_each(|b| *b = b"etaoin shrdlu\n.,"[usize::from(*b & 15)]),
            1 => {}
            _ => part.fill(0),
        }
    }
    bytes
}

/// The tool that reads a compression, as a shell command writing to standard output, and its own test of a file.
fn reader(compression: Compression) -> (&'static str, &'static str) {
    match compression {
        Compression::Gzip => ("zcat", "gzip -t"),
        Compression::Zstd => ("zstd -dc", "zstd -qt"),
        Compression::Xz => ("xz -dc", "xz -t"),
        Compression::None => ("cat", "test -e"),
    }
}

#[test]
fn the_tools_users_have_read_back_what_went_in() {
    let bench = Bench::new();
    let sizes = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 5 * BLOCK + 12_345];
    for compression in ALL {
        let (cat, check) = reader(compression);
        // Only gzip is cut and joined by us.
        let sizes = if compression == Compression::Gzip {
            &sizes[..]
        } else {
            &[0, 1, 2 * BLOCK + 12_345]
        };
        for &size in sizes {
            for (name, bytes) in [
                ("zeros", vec![0; size]),
                ("noise", noise(size, 3)),
                ("disk", disk(size, 5)),
            ] {
                let input = bench.write("disk.img", &bytes);
                let output = bench.path("disk.img.out");
                let packaged = pack(&input, &output, compression).unwrap();
                let case = format!("{compression:?} {name} {size}");
                assert_eq!(packaged.bytes, fs::metadata(&output).unwrap().len(), "{case}");
                let script = format!("{check} <disk.img.out; {cat} <disk.img.out | cmp - disk.img");
                let script = script.replace("test -e <", "test -e ");
                tool("sh", &["-euc", &script], &bench.path(""));
                let back = unpack_to(&output, &bench.path("back")).unwrap();
                assert!(back == bytes, "{case}");
            }
        }
    }
}

#[test]
fn the_output_depends_on_the_input_and_on_nothing_else() {
    let bench = Bench::new();
    let input = bench.path("disk.img");
    for compression in ALL {
        // Enough for several jobs of each: zstd's have 8 MiB; xz, the slowest, has blocks of 1 MiB at its level 1.
        let (blocks, level) = match compression {
            Compression::Xz => (4, Some(1)),
            _ => (20, None),
        };
        bench.write("disk.img", disk(blocks * BLOCK + 7, 11));
        let spec = Spec {
            level,
            ..spec(compression)
        };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let (output, cancel) = (bench.path("disk.out"), Cancel::default());
            let packaged = package_in(&pool, &input, &output, &spec, &cancel, &mut |_, _| {});
            (packaged.unwrap(), fs::read(output).unwrap())
        };
        let runs = [1, 2, 8].map(run);
        assert!(runs[0] == runs[1] && runs[1] == runs[2], "{compression:?}");
        let algorithms: Vec<_> = runs[0].0.digests.iter().map(|d| d.algorithm).collect();
        assert_eq!(algorithms, [Algorithm::Sha512, Algorithm::Md5, Algorithm::Sha256]);
    }
    // No name and no time in the header: magic, deflate, no flags, no time, no effort, Unix.
    let output = bench.path("disk.gz");
    pack(&input, &output, Compression::Gzip).unwrap();
    assert_eq!(
        fs::read(output).unwrap()[..10],
        [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]
    );
}

/// Packages `disk`, with an index next to it, and gives both as what a later package may take from.
fn indexed(bench: &Bench, disk: &[u8], name: &str, earlier: &[Earlier]) -> (Packaged, Earlier) {
    let input = bench.write("disk.img", disk);
    let [package_file, index] = ["gz", "pieces"].map(|end| bench.path(&format!("{name}.{end}")));
    let spec = Spec {
        earlier: earlier.to_vec(),
        index: Some(index.clone()),
        ..spec(Compression::Gzip)
    };
    let packaged = package(&input, &package_file, &spec, &Cancel::default(), &mut |_, _| {}).unwrap();
    let digest = format!("sha256:{}", sha256_hex(&fs::read(&index).unwrap()));
    let earlier = Earlier {
        package: package_file,
        index,
        digest: digest.parse().unwrap(),
    };
    (packaged, earlier)
}

/// Changes at a few places such a disk as another size or a changed step would: clusters replaced, inserted, removed, and
/// bytes in the middle of one.
fn changed(disk: &[u8], seed: u64) -> Vec<u8> {
    const CLUSTER: usize = 64 << 10;
    let mut other = disk.to_vec();
    for edit in noise(3 * 8, seed).chunks_exact(8) {
        let at = (usize::from(edit[0]) << 8 | usize::from(edit[1])) % (other.len() / CLUSTER) * CLUSTER;
        let new = noise(usize::from(edit[2] % 3 + 1) * CLUSTER, seed + u64::from(edit[3]));
        match edit[4] % 4 {
            0 => drop(other.splice(at..at, new)),
            1 => drop(other.drain(at..at + CLUSTER)),
            2 => other[at..at + CLUSTER].copy_from_slice(&new[..CLUSTER]),
            _ => other[at + usize::from(edit[5])] ^= 1,
        }
    }
    other
}

#[test]
fn a_package_takes_pieces_of_earlier_ones_and_has_the_same_bytes() {
    let bench = Bench::new();
    let mut disk = disk(24 * BLOCK + 4321, 17);
    disk.extend(vec![0; 5 * BLOCK + 100]);
    let (_, mut earlier) = indexed(&bench, &disk, "first", &[]);
    for seed in 1..=8 {
        let name = format!("warm{seed}");
        disk = changed(&disk, seed);
        let (cold, _) = indexed(&bench, &disk, "cold", &[]);
        let (warm, next) = indexed(&bench, &disk, &name, &[earlier]);
        assert_eq!(cold.taken, 0);
        assert!(
            warm.taken > disk.len() as u64 * 7 / 10,
            "{seed}: {} taken",
            warm.taken
        );
        assert!(warm.taken < disk.len() as u64, "{seed}: some of it is new");
        assert_eq!(warm.digests, cold.digests, "{seed}");
        for script in [
            format!("cmp cold.gz {name}.gz; cmp cold.pieces {name}.pieces"),
            format!(
                "gzip -t {name}.gz; gzip -dc {name}.gz | cmp - disk.img; pigz -dc {name}.gz | cmp - disk.img"
            ),
        ] {
            tool("sh", &["-euc", &script], &bench.path(""));
        }
        earlier = next;
    }
}

#[test]
fn nothing_is_taken_from_a_damaged_package() {
    let bench = Bench::new();
    let disk = disk(6 * BLOCK, 23);
    let (cold, earlier) = indexed(&bench, &disk, "cold", &[]);
    let (again, _) = indexed(&bench, &disk, "again", std::slice::from_ref(&earlier));
    assert_eq!((again.taken, again.damaged), (disk.len() as u64, vec![]));

    let good = fs::read(&earlier.package).unwrap();
    let mut flipped = good.clone();
    let half = good.len() / 2;
    flipped[half] ^= 0x10;
    let cut_off = good[..half].to_vec();
    for damaged in [flipped, cut_off] {
        fs::write(&earlier.package, damaged).unwrap();
        let (warm, _) = indexed(&bench, &disk, "warm", std::slice::from_ref(&earlier));
        assert_eq!(
            (&warm.digests, &warm.damaged),
            (&cold.digests, &vec![earlier.package.clone()])
        );
        assert!(warm.taken > 0 && warm.taken < disk.len() as u64);
        assert!(fs::read(bench.path("warm.gz")).unwrap() == good);
    }
    // One that has gone, and an index that is not what was written.
    fs::remove_file(&earlier.package).unwrap();
    let (warm, _) = indexed(&bench, &disk, "warm", std::slice::from_ref(&earlier));
    assert_eq!((warm.taken, warm.digests), (0, cold.digests.clone()));
    fs::write(&earlier.package, &good).unwrap();
    let mut index = fs::read(&earlier.index).unwrap();
    let middle = index.len() / 2;
    index[middle] ^= 1;
    fs::write(&earlier.index, index).unwrap();
    let (warm, _) = indexed(&bench, &disk, "warm", &[earlier]);
    assert_eq!((warm.taken, warm.digests), (0, cold.digests));
}

#[test]
fn a_large_empty_disk_is_quick_and_comes_back_with_its_holes() {
    let bench = Bench::new();
    let input = bench.path("disk.raw");
    let file = fs::File::create(&input).unwrap();
    file.set_len(150 * BLOCK as u64 + 5).unwrap();
    file.write_all_at(b"boot", 0).unwrap();
    file.write_all_at(&disk(2 * BLOCK, 1), 80 * BLOCK as u64 + 17)
        .unwrap();
    drop(file);
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let (output, back) = (bench.path("out"), bench.path("back"));
        let mut seen = Vec::new();
        let cancel = Cancel::default();
        let packaged = package(
            &input,
            &output,
            &spec(compression),
            &cancel,
            &mut |done, total| {
                seen.push((done, total));
            },
        );
        let total = 150 * BLOCK as u64 + 5;
        assert_eq!(seen.last(), Some(&(total, total)));
        assert!(seen.is_sorted());
        if compression != Compression::None {
            assert!(packaged.unwrap().bytes < 4 * BLOCK as u64);
        }
        unpack(&output, &back, &cancel, &mut |_, _| {}).unwrap();
        tool("cmp", &["disk.raw", "back"], &bench.path(""));
        for file in [&back]
            .into_iter()
            .chain((compression == Compression::None).then_some(&output))
        {
            let taken = fs::metadata(file).unwrap().blocks() * 512;
            assert!(taken < 4 * BLOCK as u64, "{compression:?} takes {taken} on disk");
        }
    }
}

#[test]
fn a_stop_leaves_nothing() {
    let bench = Bench::new();
    let input = bench.write("disk.img", disk(3 * BLOCK, 2));
    let output = bench.path("disk.out");
    for compression in ALL {
        let cancel = Cancel::default();
        let stopped = package(&input, &output, &spec(compression), &cancel, &mut |_, _| {
            cancel.cancel();
        });
        assert!(matches!(stopped, Err(PackageError::Cancelled)), "{stopped:?}");
        assert!(!output.exists(), "{compression:?}");

        let whole = bench.path("whole");
        pack(&input, &whole, compression).unwrap();
        let cancel = Cancel::default();
        let stopped = unpack(&whole, &output, &cancel, &mut |_, _| cancel.cancel());
        assert!(matches!(stopped, Err(PackageError::Cancelled)), "{stopped:?}");
        assert!(!output.exists(), "{compression:?}");
    }
}

#[test]
fn a_level_that_does_not_exist_is_told_with_those_that_do() {
    let bench = Bench::new();
    let input = bench.write("disk.img", "x");
    let message = |compression, level| {
        let spec = Spec {
            level: Some(level),
            ..spec(compression)
        };
        let output = bench.path("out");
        let failed = package(&input, &output, &spec, &Cancel::default(), &mut |_, _| {});
        failed.unwrap_err().to_string()
    };
    insta::assert_snapshot!(
        [
            message(Compression::Gzip, 12),
            message(Compression::Zstd, 22),
            message(Compression::Xz, 10),
            message(Compression::None, 1),
        ]
        .join("\n"),
        @r"
    level 12 does not exist: .gz has the levels 1 (fast) to 9 (small)
    level 22 does not exist: .zst has the levels 1 (fast) to 19 (small)
    level 10 does not exist: .xz has the levels 0 (fast) to 9 (small)
    level 1 does not exist: no compression has no level; leave it out
    "
    );
    assert!(!bench.path("out").exists());
}

#[test]
fn a_damaged_download_is_named_and_leaves_nothing() {
    let bench = Bench::new();
    let input = bench.write("disk.img", disk(3 * BLOCK, 4));
    let output = bench.path("back");
    for compression in [Compression::Gzip, Compression::Zstd, Compression::Xz] {
        let packed = bench.path("packed");
        pack(&input, &packed, compression).unwrap();
        let bytes = fs::read(&packed).unwrap();
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 0x10;
        for damaged in [&bytes[..bytes.len() - 1], &bytes[..bytes.len() / 2], &flipped] {
            let path = bench.write("damaged", damaged);
            let error = unpack_to(&path, &output).unwrap_err();
            assert!(
                matches!(error, PackageError::Corrupt { .. }),
                "{compression:?}: {error}"
            );
            let message = error.to_string();
            assert!(message.contains("damaged is damaged or cut off"), "{message}");
            assert!(message.contains("fetch it"), "{message}");
            assert!(!output.exists());
        }
    }
    let missing = unpack_to(&bench.path("none"), &output).unwrap_err().to_string();
    assert!(
        missing.starts_with("could not open ") && missing.contains("No such file"),
        "{missing}"
    );
}

#[test]
fn a_full_disk_is_told_with_what_is_needed() {
    let bench = Bench::new();
    let input = bench.write("disk.img", noise(6 * BLOCK, 8));
    for compression in ALL {
        let message = pack(&input, Path::new("/dev/full"), compression)
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with("no space left to write /dev/full: "),
            "{message}"
        );
        assert!(
            message.contains("about 6 MiB needed for it in all; make room there"),
            "{message}"
        );
    }
    assert!(Path::new("/dev/full").exists(), "a device is not ours to remove");

    // A limit on the size of files stops a write to a real file half way, as a full disk does.
    let limited = "trap '' XFSZ; ulimit -f 4096; exec \"$@\"";
    let mut shell = Command::new("sh");
    shell
        .args(["-c", limited, "sh"])
        .arg(std::env::current_exe().unwrap());
    let child = as_child(shell, "package", &bench).output().unwrap();
    let printed = String::from_utf8_lossy(&child.stderr).into_owned();
    assert!(printed.contains("disk.img.part: File too large"), "{printed}");
    assert!(printed.contains("ulimit -f"), "{printed}");
    assert!(!bench.path("store/disk.img.part").exists());
}

#[test]
fn killed_in_the_middle_of_packaging_nothing_is_published_and_the_next_run_does_it() {
    let bench = Bench::new();
    let input = bench.write("disk.img", noise(64 * BLOCK, 9));
    let part = bench.path("store/disk.img.part");
    let child = as_child(Command::new(std::env::current_exe().unwrap()), "package", &bench);
    kill_when(child, || {
        fs::metadata(&part).is_ok_and(|m| m.len() > 4 * BLOCK as u64)
    });
    assert!(!bench.path("out").exists());
    assert!(
        part.exists(),
        "it was killed too early or too late to tell anything"
    );

    publish(&bench.path("")).unwrap();
    tool("sha512sum", &["-c", "SHA512SUM.txt"], &bench.path("out"));
    let back = unpack_to(&bench.path("out/disk/disk.img.gz"), &bench.path("back")).unwrap();
    assert!(back == fs::read(input).unwrap());
}

#[test]
fn killed_in_the_middle_of_delivering_the_old_or_the_new_image_is_there() {
    let bench = Bench::new();
    let images = [
        bench.write("store/0", vec![1; 24 * BLOCK]),
        bench.write("store/1", vec![2; 24 * BLOCK]),
    ];
    let out = bench.path("out/disk.qcow2");
    for wait in [0, 7, 15, 40] {
        drop(fs::remove_file(&out));
        let child = as_child(Command::new(std::env::current_exe().unwrap()), "deliver", &bench);
        let mut there = None;
        kill_when(child, || {
            there = there.or(out.exists().then(Instant::now));
            there.is_some_and(|at| at.elapsed() >= Duration::from_millis(wait))
        });
        let found = fs::read(&out).unwrap();
        assert!(
            images.iter().any(|i| fs::read(i).unwrap() == found),
            "{}",
            found.len()
        );
    }
}

/// What a run does with one image: package next to it, then deliver, then list.
fn publish(folder: &Path) -> Result<(), PackageError> {
    let part = folder.join("store/disk.img.part");
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    let packaged = pack(&folder.join("disk.img"), &part, Compression::Gzip)?;
    let name = PathBuf::from("disk/disk.img.gz");
    let (out, cancel) = (folder.join("out"), Cancel::default());
    sums::deliver(&part, &out.join(&name), &cancel).unwrap();
    let new: Vec<_> = packaged.digests.into_iter().map(|d| (name.clone(), d)).collect();
    sums::merge(
        &out,
        Algorithm::Sha512,
        std::slice::from_ref(&name),
        &new,
        &cancel,
    )
    .unwrap();
    Ok(())
}

/// This test binary again, in a process of its own that a test may limit or kill.
fn as_child(mut command: Command, role: &str, bench: &Bench) -> Command {
    command.args(["--exact", "package::child", "--ignored", "--nocapture"]);
    command
        .env("PIPELINE_TEST_ROLE", role)
        .current_dir(bench.path(""));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Starts a child and kills it (with SIGKILL) when the time has come; it must not end before.
fn kill_when(mut command: Command, mut now: impl FnMut() -> bool) {
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !now() {
        if child.try_wait().unwrap().is_some() || Instant::now() > deadline {
            drop(child.kill());
            let mut printed = String::new();
            child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
            panic!("the child never came to the place where it was to be killed: {printed}");
        }
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Not a test: what the children of the tests above do, in the folder that they are started in.
#[test]
#[ignore = "run by other tests, in a process of its own"]
fn child() {
    let role = std::env::var("PIPELINE_TEST_ROLE").unwrap();
    let here = std::env::current_dir().unwrap();
    match role.as_str() {
        "package" => publish(&here).unwrap_or_else(|error| panic!("{error}")),
        "deliver" => {
            for turn in (0..2).cycle() {
                let stored = here.join(format!("store/{turn}"));
                sums::deliver(&stored, &here.join("out/disk.qcow2"), &Cancel::default()).unwrap();
            }
        }
        role => panic!("no such role: {role}"),
    }
}
