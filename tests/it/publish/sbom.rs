//! Bills of materials next to images: in every list and place that has the image, valid for other programs.

use serde_json::Value;

use super::{LARGE, SMALL, bench, catalog, file, manifest, noise, package, store_result, well};
use crate::support::python::python;
use crate::support::{Bench, tool};

/// What a guest reported.
const INSIDE: &str = r#"{
  "os": { "ID": "debian", "VERSION_ID": "12", "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)" },
  "manager": "dpkg",
  "packages": [
    { "name": "libstdc++6", "architecture": "amd64", "version": "12.2.0-14+deb12u1", "source": "gcc-12" },
    { "name": "openssl", "architecture": "amd64", "version": "3.0.17-1~deb12u3", "licence": "Apache-2.0 and more" }
  ]
}"#;

/// Validators with the published schemas, and readers of both forms.
const JUDGES: &str = "cyclonedx-python-lib[json-validation]==8.9.0 spdx-tools==0.8.3";
const JUDGE: &str = "
import sys
from cyclonedx.validation.json import JsonStrictValidator
from cyclonedx.schema import SchemaVersion
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
text = open(sys.argv[2]).read()
fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
assert fault is None, fault
document = parse_file(sys.argv[1])
faults = validate_full_spdx_document(document)
assert not faults, faults
for package in document.packages:
    print(package.name, package.version)
";

/// The provisioned system, as a guest would have left it.
pub fn provisioned(bench: &Bench) {
    let files: [(&str, &[u8]); 2] = [("disk", b"a disk"), ("packages.json", INSIDE.as_bytes())];
    store_result(bench, "provision/debian12-base", &files);
}

#[test]
fn bills_of_materials_appear_with_their_images_and_are_valid_for_other_readers() {
    const SHARE: &str = "[publish.directory]\npath = \"share\"\n";
    let bench = bench(SHARE, 10_000);
    std::fs::create_dir(bench.path("share")).unwrap();
    let plain = bench.run(&["run", "m.toml", "--upload"]);
    well(&plain);
    let sums = bench.read("out/SHA512SUM.txt");
    provisioned(&bench);
    bench.write(
        "m.toml",
        manifest(&format!("[publish]\nsbom = [\"spdx\", \"cyclonedx\"]\n{SHARE}")),
    );
    well(&bench.run(&["run", "m.toml", "--upload"]));

    let names = [".spdx.json", ".cdx.json"].map(|end| format!("{}{end}", file(SMALL)));
    let [spdx, cyclonedx] = names.each_ref().map(|name| -> Value {
        let here = bench.read(&format!("out/{name}"));
        assert_eq!(here, bench.read(&format!("share/{name}")));
        serde_json::from_str(&here).unwrap()
    });
    tool(
        "sha512sum",
        &["--check", "--strict", "SHA512SUM.txt"],
        &bench.path("out"),
    );
    let with_bills = bench.read("out/SHA512SUM.txt");
    assert_eq!(with_bills.lines().count(), 6);
    let of_images: String = with_bills
        .lines()
        .filter(|line| line.ends_with(".gz"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(of_images, sums, "the lines of the images stay as they were");
    let beside = catalog(&bench)[0]["beside"].as_array().unwrap().clone();
    let listed: Vec<_> = beside.iter().map(|file| file["file"].as_str().unwrap()).collect();
    assert_eq!(listed, names);

    // Both say which file they are of, and what is in it.
    let sha512 = sums.split(' ').next().unwrap();
    let system = &spdx["packages"][0];
    assert_eq!(system["name"], SMALL);
    assert_eq!(system["checksums"][2]["checksumValue"], sha512);
    assert_eq!(cyclonedx["metadata"]["component"]["hashes"][2]["content"], sha512);
    let purl = "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12";
    assert_eq!(cyclonedx["components"][0]["purl"], purl);
    let judged = python(JUDGES)
        .args(["-c", JUDGE])
        .args(names.each_ref().map(|name| bench.path(&format!("out/{name}"))))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&judged.stdout).into_owned();
    assert!(
        judged.status.success(),
        "{}",
        String::from_utf8_lossy(&judged.stderr)
    );
    let expected = format!(
        "{SMALL} Debian GNU/Linux 12 (bookworm)\nlibstdc++6 12.2.0-14+deb12u1\nopenssl 3.0.17-1~deb12u3\n"
    );
    assert_eq!(said, expected);

    // The same again is the same; another image of the same system is another document.
    let first = names.each_ref().map(|name| bench.read(&format!("out/{name}")));
    std::fs::remove_dir_all(bench.path("store/results/sbom")).unwrap();
    std::fs::remove_dir_all(bench.path("out")).unwrap();
    well(&bench.run(&["run", "m.toml"]));
    assert_eq!(
        names.each_ref().map(|name| bench.read(&format!("out/{name}"))),
        first
    );
    package(&bench, SMALL, &noise(10_000, 7));
    well(&bench.run(&["run", "m.toml"]));
    tool(
        "sha512sum",
        &["--check", "--strict", "SHA512SUM.txt"],
        &bench.path("out"),
    );
    let again: Value = serde_json::from_str(&bench.read(&format!("out/{}", names[0]))).unwrap();
    let sha512 = tool("sha512sum", &[&file(SMALL)], &bench.path("out"));
    assert_eq!(
        again["packages"][0]["checksums"][2]["checksumValue"],
        sha512.split(' ').next().unwrap()
    );
    assert!(bench.path(&format!("out/{}.cdx.json", file(LARGE))).is_file());
}

#[test]
fn a_system_whose_packages_were_not_recorded_has_no_bill_of_materials() {
    let bench = bench("[publish]\nsbom = [\"spdx\"]\n", 1000);
    store_result(&bench, "provision/debian12-base", &[("disk", b"a disk")]);
    let ran = bench.run(&["run", "m.toml", "--size", "3G"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    super::says(
        &ran,
        &[
            "the result of provision/debian12-base has no file `packages.json`; build it again: --rebuild provision/debian12-base",
        ],
    );
    assert!(
        !bench.path("out").join(file(SMALL)).exists(),
        "no image without what was asked for with it"
    );
}
