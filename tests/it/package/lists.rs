//! The checksum files of an output folder: other programs read them, and runs keep them whole.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::{fs, thread};

use pipeline::internals::digest::{Algorithm, Digest};
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::stage::sums;

use super::{ALL, BLOCK, disk, pack};
use crate::support::{Bench, tool};

#[test]
fn the_lists_satisfy_the_tools_and_partial_runs_keep_them_whole() {
    let bench = Bench::new();
    let out = bench.path("out");
    let cancel = Cancel::default();
    let names = ["a 1/a.gz", "b\\1/b.gz", "c\n1/c.gz", "d/d.qcow2"].map(PathBuf::from);
    let make = |index: usize, seed| {
        let input = bench.write("disk.img", disk(BLOCK / 2, seed));
        let stored = bench.path(&format!("store/{index}-{seed}"));
        fs::create_dir_all(stored.parent().unwrap()).unwrap();
        let compression = ALL[if index == 3 { 3 } else { 0 }];
        let packaged = pack(&input, &stored, compression).unwrap();
        let stamp = sums::deliver(&stored, &out.join(&names[index]), &cancel).unwrap();
        assert_eq!(stamp.size, packaged.bytes);
        let digests = packaged.digests.into_iter();
        digests.map(|d| (names[index].clone(), d)).collect::<Vec<_>>()
    };
    let lists = Algorithm::ALL;
    let check = || {
        for (program, algorithm) in [("md5sum", 0), ("sha256sum", 1), ("sha512sum", 2)] {
            let list = sums::file_name(lists[algorithm]);
            tool(program, &["--strict", "-c", list], &out);
        }
    };
    let all: Vec<_> = [2, 0, 3, 1].into_iter().flat_map(|i| make(i, 20)).collect();
    for algorithm in lists {
        assert!(sums::merge(&out, algorithm, &names, &all, &cancel).unwrap());
        assert!(!sums::merge(&out, algorithm, &names, &all, &cancel).unwrap());
    }
    check();
    // The tool itself would have written the same list.
    let theirs = tool("md5sum", &names.each_ref().map(|n| n.to_str().unwrap()), &out);
    assert_eq!(bench.read("out/MD5SUM.txt"), theirs);

    let rebuilt = make(1, 21);
    for algorithm in lists {
        assert!(sums::merge(&out, algorithm, &names, &rebuilt, &cancel).unwrap());
    }
    check();
    let theirs = tool("sha512sum", &names.each_ref().map(|n| n.to_str().unwrap()), &out);
    assert_eq!(bench.read("out/SHA512SUM.txt"), theirs);

    // A bootable disk in the output folder is not the store's file; a compressed one may be, and is read-only.
    let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
    assert_ne!(inode(out.join("d/d.qcow2")), inode(bench.path("store/3-20")));
    let mode = fs::metadata(out.join(&names[0])).unwrap().mode();
    assert_eq!(mode & 0o777, 0o444);
}

#[test]
fn runs_at_the_same_time_lose_no_line_of_each_other() {
    let bench = Bench::new();
    let order: Vec<_> = (0..40)
        .map(|n| PathBuf::from(format!("image-{n:02}.gz")))
        .collect();
    let digest = |n: usize| Digest {
        algorithm: Algorithm::Md5,
        hex: format!("{n:032x}"),
    };
    thread::scope(|scope| {
        for run in 0..8 {
            let (bench, order) = (&bench, &order);
            scope.spawn(move || {
                for n in (run..40).step_by(8) {
                    let new = [(order[n].clone(), digest(n))];
                    sums::merge(
                        &bench.path("out"),
                        Algorithm::Md5,
                        order,
                        &new,
                        &Cancel::default(),
                    )
                    .unwrap();
                }
            });
        }
    });
    let expected: String = (0..40).map(|n| format!("{n:032x}  image-{n:02}.gz\n")).collect();
    assert_eq!(bench.read("out/MD5SUM.txt"), expected);
}
