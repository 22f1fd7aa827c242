//! Further formats of an image: each is read by other people's programs, which find the disk of the packaged image in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pipeline::internals::digest::Algorithm;
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::host::fs::hash_file;
use serde_json::{Value, json};

use super::{catalog, noise, package, says, vagrant, well};
use crate::support::python::program;
use crate::support::{Bench, tool};

pub(super) const ID: &str = "tiny-16M-base";
const MIB: usize = 1 << 20;

const FORMATS: &str = r#"formats = [
  "qcow2", "qcow2-zlib", "qcow2-zstd", "raw", "vmdk", "vhdx", "vhd", "vdi", "ova", "container-disk", "vagrant-libvirt",
  { form = "raw", compress = "zstd" },
  { form = "vhd", compress = "xz", file = "azure/{{ id }}.{{ format }}{{ suffix }}" },
]
"#;

pub(super) fn manifest(formats: &str) -> String {
    format!(
        r#"
[distros.tiny]
family  = "debian"
version = "12 & <later>"
disk    = "16M"
source  = {{ disk = {{ path = "base.qcow2" }} }}

[flavors.base]
steps = []

[[images]]
distro = "tiny"
flavor = "base"
sizes  = ["16M"]

[publish]
{formats}

[publish.share]
to   = "directory"
path = "share"
"#
    )
}

/// A bench whose image is packaged: `disk.raw` as it is.
pub(super) fn bench(formats: &str) -> Bench {
    let bench = Bench::new();
    bench.write("base.qcow2", "no disk is read in this story");
    bench.write("m.toml", manifest(formats));
    fs::create_dir(bench.path("share")).unwrap();
    package_disk(&bench, 1);
    bench
}

pub(super) fn package_disk(bench: &Bench, seed: u64) {
    let mut disk = noise(MIB, seed);
    disk.extend(b"etaoin shrdlu ".repeat(MIB / 7));
    disk.resize(15 * MIB, 0);
    disk.extend(noise(MIB, seed + 1));
    bench.write("disk.raw", disk);
    let script = "qemu-img convert -O qcow2 disk.raw disk.qcow2 && gzip -fn disk.qcow2";
    tool("sh", &["-ec", script], &bench.path(""));
    package(bench, ID, &fs::read(bench.path("disk.qcow2.gz")).unwrap());
}

/// Asserts that a file holds the disk, and gives what `qemu-img` says of it.
fn holds(bench: &Bench, file: &Path, format: &str) -> Value {
    let file = file.display().to_string();
    let words = ["compare", "-f", "raw", "-F", format, "disk.raw", &file];
    tool("qemu-img", &words, &bench.path(""));
    let info = tool(
        "qemu-img",
        &["info", "--output=json", "-f", format, &file],
        &bench.path(""),
    );
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["virtual-size"], 16 * MIB, "{file}");
    if !matches!(format, "raw" | "vpc") {
        tool("qemu-img", &["check", "-q", "-f", format, &file], &bench.path(""));
    }
    info
}

#[test]
fn every_format_is_read_by_others_and_holds_the_disk_that_was_checked() {
    let bench = bench(FORMATS);
    let plain = bench.path(&format!("out/{ID}/{ID}"));
    let at = |ending: &str| PathBuf::from(format!("{}.{ending}", plain.display()));
    let ran = bench.run(&["run", "m.toml"]);
    well(&ran);

    for (ending, format) in [
        ("qcow2", "qcow2"),
        ("zlib.qcow2", "qcow2"),
        ("zstd.qcow2", "qcow2"),
    ] {
        let info = holds(&bench, &at(ending), format);
        let kind = if ending.starts_with("zstd") {
            "zstd"
        } else {
            "zlib"
        };
        assert_eq!(info["format-specific"]["data"]["compression-type"], kind);
    }
    let bytes = |ending: &str| fs::metadata(at(ending)).unwrap().len() as usize;
    assert!(bytes("zlib.qcow2") < bytes("qcow2") && bytes("zstd.qcow2") < bytes("qcow2"));
    for (ending, format) in [("raw", "raw"), ("vhdx", "vhdx"), ("vhd", "vpc"), ("vdi", "vdi")] {
        holds(&bench, &at(ending), format);
    }
    let vmdk = holds(&bench, &at("vmdk"), "vmdk");
    assert_eq!(vmdk["format-specific"]["data"]["create-type"], "streamOptimized");
    let inside = fs::read(at("vmdk")).unwrap();
    let own = format!("SPARSE \"{ID}.vmdk\"").into_bytes();
    assert!(
        inside.windows(own.len()).any(|window| window == own),
        "it says its own name"
    );
    // A fixed VHD is the disk with a footer behind it; Azure takes whole MiB.
    assert_eq!(bytes("vhd"), 16 * MIB + 512);
    let vhd = fs::read(at("vhd")).unwrap();
    assert_eq!(&vhd[16 * MIB..][..8], b"conectix");
    assert!(vhd[..16 * MIB] == fs::read(bench.path("disk.raw")).unwrap()[..]);

    let unpack =
        format!("zstd -qdo raw.again out/{ID}/{ID}.raw.zst; xz -dc out/azure/{ID}.vhd.xz >vhd.again");
    tool("sh", &["-euc", &unpack], &bench.path(""));
    holds(&bench, &bench.path("raw.again"), "raw");
    holds(&bench, &bench.path("vhd.again"), "vpc");

    let sums = bench.read("out/SHA512SUM.txt");
    assert_eq!(sums.lines().count(), 14, "{sums}");
    tool(
        "sha512sum",
        &["--quiet", "--check", "--strict", "SHA512SUM.txt"],
        &bench.path("out"),
    );
    an_appliance_is_read(&bench, &at("ova"));
    a_container_image_is_read(&bench, &at("oci.tar"));
    a_box_is_added(&bench, &at("libvirt.box"));

    // They go where the image goes, once.
    well(&bench.run(&["upload", "m.toml"]));
    let files = &catalog(&bench)[0]["beside"];
    assert_eq!(files.as_array().unwrap().len(), 13);
    assert!(bench.path(&format!("share/azure/{ID}.vhd.xz")).exists());
    let again = bench.run(&["run", "m.toml", "--upload"]);
    well(&again);
    says(&again, &["nothing to do"]);

    // Another disk under the same key makes them again; a format that is not wanted any more is an orphan.
    package_disk(&bench, 7);
    bench.write("m.toml", manifest("formats = [\"vdi\"]"));
    well(&bench.run(&["run", "m.toml"]));
    holds(&bench, &at("vdi"), "vdi");
    let orphans = bench.run(&["ls", "m.toml", "--orphans"]).stdout;
    assert!(
        orphans.contains("vhd.xz") && !orphans.contains(".vdi"),
        "{orphans}"
    );
    assert_eq!(
        orphans.lines().filter(|line| line.contains("out/")).count(),
        12,
        "{orphans}"
    );
}

/// GNU tar, libxml2, the digests of its own list and a reader of OVF take it.
fn an_appliance_is_read(bench: &Bench, ova: &Path) {
    let folder = bench.path("ova");
    fs::create_dir(&folder).unwrap();
    let ova = ova.display().to_string();
    let names = tool("tar", &["-tf", &ova], &folder);
    assert_eq!(
        names,
        format!("{ID}.ovf\n{ID}.mf\n{ID}-disk1.vmdk\n"),
        "the description first"
    );
    tool("tar", &["-xf", &ova], &folder);
    holds(bench, &folder.join(format!("{ID}-disk1.vmdk")), "vmdk");
    let list = fs::read_to_string(folder.join(format!("{ID}.mf"))).unwrap();
    assert_eq!(list.lines().count(), 2);
    for line in list.lines() {
        let (name, hex) = line.strip_prefix("SHA256(").unwrap().split_once(")= ").unwrap();
        let digest = hash_file(&folder.join(name), &[Algorithm::Sha256], &Cancel::default()).unwrap();
        assert_eq!(digest[0].hex, hex, "{name}");
    }
    let ovf = format!("{ID}.ovf");
    let asked = |path: &str| {
        tool("xmllint", &["--xpath", path, &ovf], &folder)
            .trim()
            .to_owned()
    };
    let bytes = fs::metadata(folder.join(format!("{ID}-disk1.vmdk")))
        .unwrap()
        .len();
    assert_eq!(
        asked("string(//*[local-name()='File']/@*[local-name()='size'])"),
        bytes.to_string()
    );
    assert_eq!(
        asked("string(//*[local-name()='Disk']/@*[local-name()='capacity'])"),
        (16 * MIB).to_string()
    );
    let system = "string(//*[local-name()='OperatingSystemSection']/*[local-name()='Description'])";
    assert_eq!(asked(system), "debian 12 & <later>");
    is_ovf(&folder, &ovf);

    // COT knows SHA-1 alone in lists of OVF 1; VMware's and VirtualBox's readers take both.
    fs::remove_file(folder.join(format!("{ID}.mf"))).unwrap();
    let cot = crate::support::python::python("cot==2.2.1")
        .arg(program("cot==2.2.1", "cot"))
        .args(["info", "--verbose", &ovf])
        .current_dir(&folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&cot.stdout).into_owned();
    let warned = String::from_utf8_lossy(&cot.stderr);
    let is_fine = cot.status.success() && !warned.contains("ERROR") && !warned.contains("WARNING");
    assert!(is_fine, "{said}{warned}");
    for expected in ["SATA", "E1000", "16 MiB", ID] {
        assert!(said.contains(expected), "no `{expected}` in {said}");
    }
}

/// It has the form of OVF's standard, and what refers to something finds it.
fn is_ovf(folder: &Path, ovf: &str) {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/publish/ovf.rng");
    let judge = |file: &str| {
        let mut xmllint = Command::new("xmllint");
        xmllint.args(["--noout", "--relaxng"]).arg(&schema).arg(file);
        xmllint.current_dir(folder).output().unwrap()
    };
    let judged = judge(ovf);
    assert!(
        judged.status.success(),
        "{}",
        String::from_utf8_lossy(&judged.stderr)
    );
    let dangling = [
        "//@*[local-name()='fileRef'][not(. = //*[local-name()='File']/@*[local-name()='id'])]",
        "//*[local-name()='HostResource'][not(substring-after(., 'ovf:/disk/') = //@*[local-name()='diskId'])]",
        "//*[local-name()='Connection'][not(. = //*[local-name()='Network']/@*[local-name()='name'])]",
        "//*[local-name()='Parent'][not(. = //*[local-name()='InstanceID'])]",
        "//*[local-name()='InstanceID'][. = ../following-sibling::*/*[local-name()='InstanceID']]",
    ];
    for path in dangling {
        let count = tool("xmllint", &["--xpath", &format!("count({path})"), ovf], folder);
        assert_eq!(count.trim(), "0", "{path}");
    }
    // The judge sees what importers refuse: elements of hardware in another order, a section that is missing.
    let text = fs::read_to_string(folder.join(ovf)).unwrap();
    let (head, rest) = text.split_once("<rasd:InstanceID>1</rasd:InstanceID>").unwrap();
    let swapped = format!(
        "{head}{}",
        rest.replacen(
            "</rasd:ResourceType>",
            "</rasd:ResourceType><rasd:InstanceID>1</rasd:InstanceID>",
            1
        )
    );
    let (head, rest) = text.split_once("<OperatingSystemSection").unwrap();
    let (_, rest) = rest.split_once("</OperatingSystemSection>").unwrap();
    for wrong in [swapped, format!("{head}{rest}")] {
        fs::write(folder.join("wrong.ovf"), wrong).unwrap();
        assert!(!judge("wrong.ovf").status.success());
    }
}

/// skopeo reads the layout and proves its digests; the layer has what KubeVirt looks for.
fn a_container_image_is_read(bench: &Bench, archive: &Path) {
    let from = format!("oci-archive:{}", archive.display());
    let folder = bench.path("").display().to_string();
    let skopeo = |words: &[&str]| {
        let words = [&["--insecure-policy", "--tmpdir", &folder], words].concat();
        tool("skopeo", &words, &bench.path(""))
    };
    let seen: Value = serde_json::from_str(&skopeo(&["inspect", &from])).unwrap();
    assert_eq!(
        (&seen["Architecture"], &seen["Os"]),
        (&"amd64".into(), &"linux".into())
    );
    skopeo(&["copy", "--quiet", &from, "dir:copied"]);
    let layer = seen["Layers"][0]
        .as_str()
        .unwrap()
        .strip_prefix("sha256:")
        .unwrap();
    let layer = bench.path(&format!("copied/{layer}")).display().to_string();
    let listed = tool("tar", &["-tvf", &layer, "--numeric-owner"], &bench.path(""));
    let lines: Vec<_> = listed
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .collect();
    let of = |line: &[&str]| [line[0], line[1], line[line.len() - 1]].join(" ");
    assert_eq!(of(&lines[0]), "dr-xr-xr-x 107/107 disk/");
    assert_eq!(of(&lines[1]), "-r--r----- 107/107 disk/disk.qcow2");
    tool("tar", &["-xf", &layer, "--no-same-owner"], &bench.path(""));
    holds(bench, &bench.path("disk/disk.qcow2"), "qcow2");
}

/// Vagrant adds the box, and reads what each machine of it begins with.
fn a_box_is_added(bench: &Bench, file: &Path) {
    let home = bench.path("vagrant");
    let file = file.display().to_string();
    vagrant(&home, &["box", "add", "--name", "house/tiny", &file]);
    let added = home.join("boxes/house-VAGRANTSLASH-tiny/0/libvirt");
    holds(bench, &added.join("box.img"), "qcow2");
    let metadata: Value = serde_json::from_slice(&fs::read(added.join("metadata.json")).unwrap()).unwrap();
    assert_eq!(
        metadata,
        json!({ "provider": "libvirt", "format": "qcow2", "virtual_size": 1, "architecture": "amd64" })
    );
    fs::write(
        home.join("Vagrantfile"),
        "Vagrant.configure(\"2\") { |c| c.vm.box = \"house/tiny\" }\n",
    )
    .unwrap();
    vagrant(&home, &["validate", "--ignore-provider"]);
}

#[test]
fn formats_that_cannot_be_are_refused_with_the_reason() {
    let bench = Bench::new();
    bench.write("base.qcow2", "no disk is read in this story");
    let refused = |formats: &str, size: &str, expected: &[&str]| {
        let text = manifest(formats).replace("[\"16M\"]", &format!("[\"{size}\"]"));
        bench.write("m.toml", text);
        let ran = bench.run(&["validate", "m.toml"]);
        assert_eq!(ran.code, 2, "{formats}\n{}", ran.all());
        says(&ran, expected);
    };
    refused(
        "formats = [\"vhd\"]",
        "2041G",
        &["a disk of 2041G does not fit: a vhd has at most 2040 GiB"],
    );
    refused(
        "formats = [\"vhd\"]",
        "66000K",
        &["a vhd is imported in whole MiB alone"],
    );
    for form in ["vmdk", "qcow2-zlib", "ova", "container-disk", "vagrant-libvirt"] {
        refused(
            &format!("formats = [{{ form = \"{form}\", compress = \"gzip\" }}]"),
            "16M",
            &[
                &format!("the data in a {form} is compressed already"),
                "take `compress` out",
            ],
        );
    }
    refused(
        "formats = [\"vdi\", { form = \"vdi\" }]",
        "16M",
        &["`vdi` is there twice"],
    );
    refused(
        "formats = [\"vbox\"]",
        "16M",
        &["`vbox` is not one of the choices"],
    );
    refused(
        "file = \"{{ id }}.img\"\nformats = [\"raw\"]",
        "16M",
        &["the file of image `tiny-16M-base` already"],
    );
    refused(
        "formats = [{ form = \"raw\", file = \"../{{ id }}\" }]",
        "16M",
        &["it leaves the output folder"],
    );
    let arm = manifest("formats = [\"ova\"]").replace("disk    =", "arch = \"arm64\"\ndisk    =");
    bench.write("m.toml", arm);
    let ran = bench.run(&["validate", "m.toml"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    says(&ran, &["it describes a PC, and `tiny` is none"]);
}
