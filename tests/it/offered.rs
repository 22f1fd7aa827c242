//! Files that are offered as disk images: those that would bring other files of the host along, and those that are no disk
//! images at all. They are refused before any tool opens them.

use std::fs;

use crate::support::{Bench, Ran, tool};

const SECRET: &str = "SECRET OF THE HOST\n";

/// A bench with a manifest whose only distro is the disk image `file`.
fn bench(file: &str) -> Bench {
    let bench = Bench::new();
    bench.write(
        "m.toml",
        format!(
            "[pipeline]\nname = \"offered\"\noutput = \"out\"\n\
             [distros.x]\nfamily = \"debian\"\nversion = \"12\"\nsource = {{ disk = {{ path = \"{file}\" }} }}\n\
             [flavors.f]\nsteps = []\n\
             [[images]]\ndistro = \"x\"\nflavor = \"f\"\nsizes = [\"64M\"]\n"
        ),
    );
    bench
}

fn qemu_img(bench: &Bench, args: &[&str]) {
    tool("qemu-img", args, &bench.path(""));
}

/// The install node refuses the file with these words, and nothing of it is in the store.
fn refused(bench: &Bench, words: &[&str]) {
    let ran = bench.run(&["run", "m.toml"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    said(&ran, words);
    let stored = tool("find", &["store", "-name", "disk"], &bench.path(""));
    assert_eq!(stored, "");
}

fn said(ran: &Ran, words: &[&str]) {
    for word in words {
        assert!(ran.stderr.contains(word), "no `{word}` in\n{}", ran.all());
    }
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
    let told = ["names another file of this host as its external data file: "];
    // Nor is it booted, with or without its changes kept, packed or not.
    for args in [&["boot", "evil.qcow2"][..], &["boot", "--write", "evil.qcow2"]] {
        said(&bench.run(args), &told);
    }
    tool("gzip", &["-k", "evil.qcow2"], &bench.path(""));
    said(&bench.run(&["boot", "evil.qcow2.gz"]), &told);

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
        &["the disk to grow is 2000 TiB already, larger than the 64 MiB asked for"],
    );

    // Compressed letters, not zeros: they would fill the disk.
    let bomb = "yes | head -c 2G | zstd -q -1 > bomb";
    tool("sh", &["-c", bomb], &bench.path(""));
    refused(&bench, &["unpacks to more than 1.1 GiB"]);
}
