//! Files that are offered as disk images: those that would bring other files of the host along, and those that are no disk
//! images at all. They are refused before any tool opens them.

use std::fs;

use pipeline::internals::digest::sha256_hex;
use pipeline::internals::platform::Platform;
use pipeline::internals::size::MIB;
use pipeline::internals::stage::fetch::MediaAt;
use pipeline::internals::stage::install::{self, DiskWork};

use crate::support::{Bench, Ran, tool};

const SECRET: &str = "SECRET OF THE HOST\n";

/// A bench with a manifest whose only distro is the disk image `file`.
fn bench(file: &str) -> Bench {
    let bench = Bench::new();
    bench.write(
        "m.toml",
        format!(
            "[pipeline]\nname = \"offered\"\noutput = \"out\"\n[resources]\nscratch = \"10G\"\n\
             [distros.x]\nfamily = \"debian\"\nversion = \"12\"\nmemory = \"64M\"\nsource = {{ disk = {{ path = \"{file}\" }} }}\n\
             [flavors.f]\nsteps = []\n\
             [[images]]\ndistro = \"x\"\nflavor = \"f\"\nsizes = [\"64M\"]\n"
        ),
    );
    bench
}

fn qemu_img(bench: &Bench, args: &[&str]) {
    tool("qemu-img", args, &bench.path(""));
}

/// The file is refused with these words before anything starts, and nothing of it is in the store.
fn refused(bench: &Bench, words: &[&str]) {
    refused_with(2, bench, words);
}

/// The same with this exit code: 1 where the install node finds it.
fn refused_with(code: i32, bench: &Bench, words: &[&str]) {
    let ran = bench.run(&["run", "m.toml"]);
    assert_eq!(ran.code, code, "{}", ran.all());
    said(&ran, words);
    let stored = tool("find", &["store", "-name", "disk"], &bench.path(""));
    assert_eq!(stored, "");
}

fn said(ran: &Ran, words: &[&str]) {
    for word in words {
        assert!(unfolded(ran).contains(word), "no `{word}` in\n{}", ran.all());
    }
}

/// What it said, without the line ends that fit it to a screen: also words are cut, behind a slash and a hyphen.
fn unfolded(ran: &Ran) -> String {
    let whole = ran.stderr.replace("/\n  │ ", "/").replace("-\n  │ ", "-");
    let words = whole.split_whitespace().filter(|word| *word != "│");
    let mut text = words.collect::<Vec<_>>().join(" ");
    let folder = format!("{}/pipeline-test-", std::env::temp_dir().display());
    while let Some(at) = text.find(&folder) {
        text.replace_range(at..at + folder.len() + 6, "[ROOT]");
    }
    text
}

#[test]
fn an_image_that_names_files_of_the_host_is_refused_with_their_names() {
    let bench = bench("evil.qcow2");
    bench.write("secret.raw", SECRET.repeat(200_000));
    let secret = bench.path("secret.raw").display().to_string();

    qemu_img(
        &bench,
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            "data_file=own.raw,data_file_raw=on",
            "evil.qcow2",
            "4M",
        ],
    );
    qemu_img(
        &bench,
        &[
            "amend",
            "-f",
            "qcow2",
            "-o",
            &format!("data_file={secret}"),
            "evil.qcow2",
        ],
    );
    let words = ["names another file of this host as its external data file: [ROOT]/secret.raw"];
    refused(&bench, &words);
    let message = ["names another file of this host as its external data file: "];
    // Nor is it booted, with or without its changes kept, packed or not.
    for args in [&["boot", "evil.qcow2"][..], &["boot", "--write", "evil.qcow2"]] {
        said(&bench.run(args), &message);
    }
    tool("gzip", &["-k", "evil.qcow2"], &bench.path(""));
    said(&bench.run(&["boot", "evil.qcow2.gz"]), &message);

    // The name alone, as in an image that was made to look harmless: QEMU reads it where another bit of the header is set.
    let mut header = fs::read(bench.path("evil.qcow2")).unwrap();
    header[79] &= !4;
    bench.write("evil.qcow2", &header);
    refused(&bench, &words);

    for format in ["2", "3"] {
        let compat = format!("compat={}", if format == "2" { "0.10" } else { "1.1" });
        qemu_img(
            &bench,
            &[
                "create",
                "-q",
                "-f",
                "qcow2",
                "-o",
                &compat,
                "-F",
                "raw",
                "-b",
                &secret,
                "evil.qcow2",
            ],
        );
        refused(&bench, &["as its backing file: [ROOT]/secret.raw"]);
    }

    // A text that names its parts.
    let extent = format!(
        "# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 8192 FLAT \"{secret}\" 0\n"
    );
    bench.write("evil.qcow2", extent);
    refused(
        &bench,
        &["is the description of a vmdk image, which names other files"],
    );
}

#[test]
fn a_small_file_that_stands_for_a_huge_disk_is_refused_before_it_is_written_out() {
    let bench = bench("bomb");
    qemu_img(&bench, &["create", "-q", "-f", "qcow2", "bomb", "2000T"]);
    refused(
        &bench,
        &["is a disk of 2000 TiB, larger than the largest image made of it (64 MiB)"],
    );

    // Compressed letters, not zeros: they would fill the disk.
    let bomb = "yes | head -c 2G | zstd -q -1 > bomb";
    tool("sh", &["-c", bomb], &bench.path(""));
    refused_with(1, &bench, &["unpacks to more than 1.1 GiB"]);
}

/// The file becomes a distro's disk, whose largest image has this size.
fn installed(bench: &Bench, largest: u64) {
    let (site, _events) = bench.site("install/x");
    let (media, result) = (bench.path("offered"), bench.path("installed"));
    let work = DiskWork {
        media: MediaAt::Local {
            path: media.clone(),
            digest: None,
            declared: false,
        },
        disk: 0,
        largest,
        platforms: vec![Platform::default()],
    };
    install::disk(&work, &media, &site, &result).unwrap();
    assert!(result.is_file());
}

/// Without a digest in the manifest the key is that of the bytes at planning; other ones must not come under it.
#[test]
fn a_medium_that_changes_after_planning_is_refused() {
    let bench = bench("offered");
    partitioned(&bench, "offered", "label: gpt\\nstart=2048\\n");
    let (site, _events) = bench.site("install/x");
    let (media, result) = (bench.path("offered"), bench.path("installed"));
    let planned = |bytes: &[u8]| format!("sha256:{}", sha256_hex(bytes)).parse().ok();
    let mut work = DiskWork {
        media: MediaAt::Local {
            path: media.clone(),
            digest: planned(b"what it was"),
            declared: false,
        },
        disk: 0,
        largest: 64 << 20,
        platforms: vec![Platform::default()],
    };
    let error = install::disk(&work, &media, &site, &result)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("offered changed after this run was planned"),
        "{error}"
    );
    work.media = MediaAt::Local {
        path: media.clone(),
        digest: planned(&fs::read(&media).unwrap()),
        declared: false,
    };
    install::disk(&work, &media, &site, &result).unwrap();
}

/// A raw disk of 8 MiB with this table, as sfdisk reads it.
fn partitioned(bench: &Bench, name: &str, table: &str) {
    let script =
        format!("rm -f {name}; truncate -s 8M {name}; printf '{table}' | /usr/sbin/sfdisk -q {name}");
    tool("sh", &["-c", &script], &bench.path(""));
}

#[test]
fn what_is_no_disk_image_is_refused_with_its_name_and_the_command_that_makes_one_of_it() {
    let bench = bench("offered");
    let shell = |script: &str| tool("sh", &["-ec", script], &bench.path(""));
    partitioned(&bench, "disk.raw", "label: gpt\\nstart=2048\\n");
    let cases = [
        (
            "tar -cf offered disk.raw",
            "is a tar archive, not a raw or qcow2 disk image; unpack it: tar -xf [ROOT]/offered, and use",
        ),
        ("tar -cJf offered disk.raw", "(it begins with `disk.raw`)"),
        (
            "xz -c disk.raw | gzip > offered",
            "is an xz file inside another one",
        ),
        (
            "bzip2 -c disk.raw > offered",
            "is a bzip2 file, not a raw or qcow2 disk image; decompress it: bzip2 -dk [ROOT]/offered",
        ),
        ("lz4 -q -f disk.raw offered", "lz4 -d [ROOT]/offered image.raw"),
        (
            "zip -q offered.zip disk.raw && mv offered.zip offered",
            "is a zip archive",
        ),
        (": > offered", "is empty"),
        (
            "printf '<!DOCTYPE html>\\n<html>404</html>\\n' > offered",
            "is an HTML page (`<!DOCTYPE html>",
        ),
        (
            "echo '{\"error\": \"not found\"}' > offered",
            "is a text (`{\"error\": \"not found\"}`)",
        ),
        (
            "rm -f offered; mkdir cd && cp disk.raw cd/ && xorriso -as mkisofs -quiet -o offered cd 2>&1",
            "is an ISO image",
        ),
        (
            "truncate -s 0 offered; truncate -s 8M offered && /usr/sbin/mke2fs -q -F offered",
            "is ext4 without a partition table",
        ),
        (
            "head -c 1M /dev/zero > offered",
            "is a file without a partition table",
        ),
        // The table for sectors of 4096 bytes, behind the entry that guards it; and that entry alone.
        (
            "cp disk.raw offered && dd if=disk.raw of=offered bs=512 skip=1 seek=8 count=1 conv=notrunc status=none && \
             dd if=/dev/zero of=offered bs=512 seek=1 count=1 conv=notrunc status=none",
            "is a disk with sectors of 4096 bytes",
        ),
        (
            "head -c 512 disk.raw > offered && truncate -s 8M offered",
            "is a disk whose GPT is missing or cut off",
        ),
        // In a qcow2 as well.
        (
            "rm offered; qemu-img convert -f raw -O qcow2 offered.raw offered",
            "is a file without a partition table",
        ),
    ];
    shell("head -c 1M /dev/zero > offered.raw");
    for (make, message) in cases {
        shell(make);
        let ran = bench.run(&["run", "m.toml"]);
        // What is packed shows itself when it is unpacked.
        assert!([1, 2].contains(&ran.code), "{make}\n{}", ran.all());
        said(&ran, &[message]);
    }
    // Half a GPT is enough: sfdisk restores the other half.
    shell("cp disk.raw offered && dd if=/dev/zero of=offered bs=512 seek=1 count=1 conv=notrunc status=none");
    installed(&bench, 64 * MIB);
}

#[test]
fn an_image_for_other_firmware_than_the_manifest_says_is_refused_with_the_key_to_set() {
    let bench = bench("offered");
    let bios = bench.read("m.toml");
    let uefi = bios.replace("memory =", "firmware = \"uefi\"\nmemory =");
    // Root takes what the first partition leaves.
    for (label, esp) in [("gpt", "U"), ("dos", "ef")] {
        let table = format!("label: {label}\\nsize=1M,type={esp}\\ntype=L\\n");
        partitioned(&bench, "offered", &table);
        bench.write("m.toml", &bios);
        let said = "partitions of `[ROOT]/offered` are for UEFI, and there is no boot code for BIOS; set `firmware = \"uefi\"`";
        refused_with(1, &bench, &[said]);
    }
    partitioned(&bench, "offered", "label: gpt\\nstart=2048\\n");
    bench.write("m.toml", &uefi);
    let said = "partitions of `[ROOT]/offered` have no EFI system partition, so UEFI cannot start the disk";
    refused_with(1, &bench, &[said]);
}

#[test]
fn the_command_for_an_encrypted_image_decrypts_it() {
    let bench = bench("offered");
    partitioned(&bench, "disk.raw", "label: dos\\nstart=2048,type=83\\n");
    bench.write("passphrase.txt", "open sesame");
    for (options, what) in [
        (
            &["-O", "luks", "-o", "key-secret=key,iter-time=10"][..],
            "is a LUKS container",
        ),
        (
            &[
                "-O",
                "qcow2",
                "-o",
                "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10",
            ],
            "is an encrypted qcow2 image",
        ),
    ] {
        let mut args = vec![
            "convert",
            "--object",
            "secret,id=key,file=passphrase.txt",
            "-f",
            "raw",
        ];
        args.extend(options);
        args.extend(["disk.raw", "offered"]);
        qemu_img(&bench, &args);
        let ran = bench.run(&["run", "m.toml"]);
        said(&ran, &[what]);
        let text = unfolded(&ran);
        let (_, remedy) = text.split_once("decrypt it: ").unwrap();
        let (remedy, _) = remedy.split_once(" help: ").unwrap();
        let remedy = remedy.replace("[ROOT]/", "");
        tool("sh", &["-ec", &remedy], &bench.path(""));
        qemu_img(
            &bench,
            &[
                "compare",
                "-q",
                "-f",
                "raw",
                "-F",
                "qcow2",
                "disk.raw",
                "image.qcow2",
            ],
        );
    }
}

#[test]
fn a_disk_whose_root_cannot_grow_is_refused_at_its_install_and_one_that_keeps_its_size_is_not() {
    let bench = bench("offered");
    let shell = |script: &str| tool("sh", &["-ec", script], &bench.path(""));
    // Root from 1 to 5 MiB, something behind it; the image is to have 64 MiB more.
    let grown = fs::read_to_string(bench.path("m.toml"))
        .unwrap()
        .replace("64M", "128M");
    bench.write("m.toml", grown);
    let root = "/usr/sbin/mke2fs -q -F -t ext4 -E offset=1048576 offered 4096k && echo / > fstab && \
                printf 'mkdir etc\\nwrite fstab etc/fstab\\n' | /usr/sbin/debugfs -w -f - 'offered?offset=1048576' 2>&1";
    for (table, more, message) in [
        (
            "label: gpt\\nstart=2048,size=8192\\ntype=S\\n",
            "true",
            "partition 2 (swap) lies behind partition 1, the root",
        ),
        (
            "label: dos\\nstart=2048,size=8192\\ntype=83\\n",
            "/usr/sbin/mke2fs -q -F -t ext4 -E offset=5242880 offered 2048k",
            "partition 2 (ext4) lies behind partition 1, the root",
        ),
        (
            "label: dos\\nstart=2048,size=8192\\ntype=8e\\n",
            "printf LABELONE | dd of=offered bs=1 seek=$((5242880 + 512)) conv=notrunc status=none",
            "partition 2 (LVM) lies behind partition 1, the root",
        ),
    ] {
        partitioned(&bench, "offered", table);
        shell(root);
        shell(more);
        let ran = bench.run(&["run", "m.toml"]);
        assert_eq!(ran.code, 1, "{}", ran.all());
        said(&ran, &["[ROOT]/offered", message]);
        assert!(!bench.path("store/results/provision").exists());
    }
    // With a swap behind root and no larger image, nothing has to grow.
    partitioned(&bench, "offered", "label: gpt\\nstart=2048,size=8192\\ntype=S\\n");
    shell(root);
    installed(&bench, 8 * MIB);
}
