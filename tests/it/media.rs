//! Installer media: ISO images made by xorriso as publishers make them, and what is taken out of them; initial RAM disks
//! read by cpio.

use std::fs;

use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::machine::media::{initrd, iso::Iso, treeinfo};

use crate::support::{Bench, tool};

const KERNEL: &str = "a kernel\n";
const TREEINFO: &str = "[general]\nfamily = Rocky Linux\n[images-x86_64]\nkernel = images/pxeboot/vmlinuz\ninitrd = images/pxeboot/initrd.img\n";

/// An image of this layout; `options` choose the kinds of names.
fn image(bench: &Bench, name: &str, options: &[&str], files: &[(&str, &str)]) -> std::path::PathBuf {
    for (file, text) in files {
        bench.write(&format!("{name}/{file}"), text);
    }
    let iso = bench.path(&format!("{name}.iso"));
    let (iso_name, folder) = (iso.display().to_string(), bench.path(name).display().to_string());
    let mut args = vec!["-as", "mkisofs", "-quiet", "-o", &iso_name];
    args.extend(options);
    args.push(&folder);
    tool("xorriso", &args, &bench.path("."));
    iso
}

#[test]
fn kernels_come_out_of_images_of_every_family_whatever_names_they_have() {
    let bench = Bench::new();
    let deep = "a/b/c/d/e/f/g/h/i/a-rather-long-name-of-a-file.tar.gz";
    for (n, options) in [&["-R", "-J"][..], &["-R"], &["-J"], &[]].into_iter().enumerate() {
        let mut files = vec![
            ("install.amd/vmlinuz", KERNEL),
            ("install.amd/initrd.gz", "an initrd\n"),
            ("casper/vmlinuz", KERNEL),
            ("images/pxeboot/vmlinuz", KERNEL),
            ("images/pxeboot/initrd.img", "an initrd\n"),
        ];
        if n < 2 {
            files.extend([(".treeinfo", TREEINFO), (deep, "deep\n")]);
        }
        let path = image(&bench, &format!("iso{n}"), options, &files);
        let iso = Iso::open(&path, &path).unwrap_or_else(|e| panic!("{options:?}: {e}"));
        let to = bench.path("vmlinuz");
        for kernel in ["install.amd/vmlinuz", "/casper/vmlinuz", "images/pxeboot/vmlinuz"] {
            let _ = fs::remove_file(&to);
            iso.take(kernel, &to, &Cancel::default())
                .unwrap_or_else(|e| panic!("{options:?}: {e}"));
            assert_eq!(fs::read_to_string(&to).unwrap(), KERNEL, "{options:?}");
        }
        if n < 2 {
            let found = treeinfo::images(&iso.text(".treeinfo").unwrap(), "x86_64").unwrap();
            assert!(iso.has(&found.kernel) && iso.has(&found.initrd));
            assert_eq!(iso.text(deep).unwrap(), "deep\n", "{options:?}");
        }
    }
}

#[test]
fn what_is_not_in_an_image_is_told_with_what_is() {
    let bench = Bench::new();
    let path = image(
        &bench,
        "iso",
        &["-R"],
        &[("install.386/vmlinuz", KERNEL), ("README", "hi\n")],
    );
    let iso = Iso::open(&path, &path).unwrap();
    let to = bench.path("taken");
    let error = |wanted: &str| iso.take(wanted, &to, &Cancel::default()).unwrap_err().to_string();
    let text = error("install.amd/vmlinuz");
    assert!(
        text.contains("has no file install.amd/vmlinuz; next to where it should be are: README, install.386"),
        "{text}"
    );
    assert!(error("install.386").contains("has no file"));
    assert!(error("../README").contains("has no file"));
    assert!(error("README/x").contains("has no file"));

    // Cut in the middle of a file, as a download that was broken off.
    let cut = bench.write("cut.iso", &fs::read(&path).unwrap()[..19 * 2048]);
    assert!(Iso::open(&cut, &cut).is_err());
}

#[test]
fn a_file_slipped_into_an_initrd_is_where_the_kernel_looks() {
    let bench = Bench::new();
    let first = bench.write("first", "");
    initrd::append(&first, &[("preseed.cfg", b"d-i test\n"), ("ks.cfg", b"text\n")]).unwrap();
    let listed = tool(
        "sh",
        &[
            "-c",
            "cpio -i < first && cat preseed.cfg ks.cfg && stat -c %a preseed.cfg",
        ],
        &bench.path("."),
    );
    assert_eq!(listed, "d-i test\ntext\n600\n");
}
