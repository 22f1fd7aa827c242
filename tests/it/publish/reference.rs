//! Against the reference: its server takes what we send, its downloader finds, verifies and gets it, openssl agrees, and
//! what is on the wire is what its uploader sends.

use serde_json::Value;

use super::{LARGE, SMALL, bench, golden, listed, manifest, noise, package, says, well};
use crate::support::daemon::Daemon;
use crate::support::python::{program, python};
use crate::support::shelf::{Shelf, sha512};
use crate::support::{Bench, tool};

/// The newest one that was there when this was written.
pub(super) const REFERENCE: &str = "slapos.libnetworkcache==0.30";

/// The reference server, with its files in `tree`.
pub fn server(bench: &Bench) -> Daemon {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/it/publish/reference_server.py"
    );
    Daemon::start(&bench.path("reference.log"), |port| {
        let mut command = python(REFERENCE);
        command.arg(script).arg(port.to_string()).arg(bench.path("tree"));
        command
    })
}

/// A key, its certificate, and a configuration with both.
pub fn configure(bench: &Bench, cache: &str, directory: &str, bits: u32) {
    let new_key = format!("rsa:{bits}");
    let args = [
        "req",
        "-x509",
        "-nodes",
        "-days",
        "36500",
        "-newkey",
        &new_key,
        "-subj",
        "/CN=house",
        "-keyout",
        "signature.key",
        "-out",
        "signature.cert",
    ];
    tool("openssl", &args, &bench.path(""));
    let certificate: String = bench
        .read("signature.cert")
        .lines()
        .map(|line| format!("  {line}\n"))
        .collect();
    bench.write(
        "shacache.cfg",
        format!(
            "[networkcache]\ndownload-cache-url = {cache}\nupload-cache-url = {cache}\n\
             download-dir-url = {directory}\nupload-dir-url = {directory}\n\
             signature-private-key-file = {}\nsignature-certificate-list =\n{certificate}",
            bench.path("signature.key").display()
        ),
    );
}

/// What the reference downloader gives for these filters.
pub fn download(bench: &Bench, filters: &[&str]) -> std::process::Output {
    python(REFERENCE)
        .arg(program(REFERENCE, "networkcache-download"))
        .args(["-c", "shacache.cfg", "-k", "packer-images"])
        .args(filters)
        .current_dir(bench.path(""))
        .output()
        .unwrap()
}

const TARGET: &str = "[publish]\nfile = \"output-{{ id }}/packer-{{ id }}{{ suffix }}\"\n\
    [publish.shacache]\nconfig = \"shacache.cfg\"\n";

#[test]
fn images_are_found_and_verified_by_the_reference_downloader_and_listed_as_ever() {
    let bench = bench(TARGET, 300_000);
    let server = server(&bench);
    configure(&bench, &server.url("/shacache"), &server.url("/shadir"), 2048);
    let mut command = bench.command(&["upload", "m.toml"]);
    command.env("UPLOAD", "yes");
    well(&bench.finish(command));
    for (id, size, seed) in [(SMALL, 3, 1), (LARGE, 20, 2)] {
        let by_size = format!("disk-size=={size}");
        let title = format!("title==\"packerimage-{id}.gz\"");
        let filters = [
            &by_size,
            &title,
            "distribution==\"debian\"",
            "version==\"12\"",
            "compressed==true",
        ];
        let got = download(&bench, &filters);
        assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
        assert_eq!(got.stdout, noise(300_000, seed), "{id}");
    }
    let line = |id: &str, seed| {
        let bytes = noise(300_000, seed);
        bench.write("one", &bytes);
        let md5 = tool("md5sum", &["one"], &bench.path(""));
        let (url, md5) = (server.url("/shacache"), md5.split(' ').next().unwrap().to_owned());
        format!("packer-{id}.gz  {url}/{}   {md5}\n", sha512(&bytes))
    };
    assert_eq!(bench.read("out/URL.txt"), line(SMALL, 1) + &line(LARGE, 2));
    well(&bench.run(&["check-urls", "m.toml"]));

    // Nothing to do: neither a blob nor an entry is sent again.
    let entries = || serde_json::from_str::<Value>(&bench.read("tree/shadir/packer-images")).unwrap();
    let before = entries();
    let again = bench.run(&["upload", "m.toml"]);
    well(&again);
    says(&again, &["nothing was sent", "nothing to do"]);
    assert_eq!(entries(), before);

    // One size is rebuilt: one upload, one new entry, one new line.
    package(&bench, SMALL, &noise(300_000, 5));
    let rebuilt = bench.run(&["upload", "m.toml"]);
    well(&rebuilt);
    assert_eq!(
        rebuilt.stderr.matches("nothing was sent").count(),
        1,
        "{}",
        rebuilt.all()
    );
    assert_eq!(entries().as_array().unwrap().len(), 3);
    assert_eq!(bench.read("out/URL.txt"), line(SMALL, 5) + &line(LARGE, 2));
    assert_eq!(listed(&bench), [SMALL, LARGE]);
    let blobs = std::fs::read_dir(bench.path("tree/shacache")).unwrap().count();
    assert_eq!(blobs, 3);

    // A downloader that knows another certificate gets nothing.
    configure(&bench, &server.url("/shacache"), &server.url("/shadir"), 2048);
    assert!(!download(&bench, &["disk-size==3"]).status.success());
}

#[test]
fn one_file_by_hand_is_on_the_wire_what_the_reference_uploader_sends() {
    let bench = Bench::new();
    let shelf = Shelf::start();
    // As small as deployed signers' keys are.
    configure(&bench, &shelf.url("/shacache"), &shelf.url("/shadir"), 1024);
    let image = noise(3_000_000, 7);
    bench.write("img.gz", &image);
    std::fs::copy(golden("metadata.json"), bench.path("metadata.json")).unwrap();
    let args = [
        "upload-file",
        "img.gz",
        "--config",
        "shacache.cfg",
        "--key",
        "packer-images",
        "-m",
        "metadata.json",
    ];
    for _ in 0..2 {
        let ran = bench.run(&args);
        well(&ran);
        let url = format!("{}/{}", shelf.url("/shacache"), sha512(&image));
        assert!(
            ran.stdout.starts_with(&format!("img.gz  {url}   ")),
            "{}",
            ran.all()
        );
    }
    let lines = shelf.lines();
    let count = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!(count("POST /shacache"), 1, "{lines:?}");
    assert_eq!(
        count("PUT /shadir/packer-images"),
        2,
        "an entry each time, as the reference client: {lines:?}"
    );
    for asked in shelf.asked() {
        assert_eq!(asked.header("transfer-encoding"), None);
        assert_eq!(asked.header("expect"), None);
        assert_eq!(asked.header("accept-encoding"), Some("identity"));
        match asked.line.split(' ').next().unwrap() {
            "POST" => {
                assert_eq!(asked.header("content-type"), Some("application/octet-stream"));
                assert_eq!(asked.body, image.len());
            }
            "PUT" => assert_eq!(asked.header("content-type"), Some("application/json")),
            _ => {}
        }
    }

    let list: Vec<(String, String)> =
        serde_json::from_slice(&shelf.file("/shadir/packer-images").unwrap()).unwrap();
    assert_eq!(list[0], list[1], "the same bytes each time");
    let (info, signature) = &list[0];
    let metadata = std::fs::read_to_string(golden("metadata.json")).unwrap();
    let expected = metadata
        .trim_end()
        .replacen('{', &format!("{{\"sha512\": \"{}\", ", sha512(&image)), 1);
    assert_eq!(*info, expected);
    bench.write("info", info);
    bench.write("signature.b64", signature);
    let verify = "openssl x509 -pubkey -noout -in signature.cert > public && base64 -d signature.b64 > signature && \
        openssl dgst -sha1 -verify public -signature signature info";
    assert_eq!(tool("sh", &["-c", verify], &bench.path("")), "Verified OK\n");
}

/// The golden vector: a body that the reference client sent, whose key is thrown away. (That we write the same body is
/// tested in the same file as the code.)
#[test]
fn the_golden_vector_verifies() {
    let folder = golden("");
    let verify = "t=$(mktemp -d) && openssl x509 -pubkey -noout -in signature.cert > $t/public && \
        base64 -d signature.b64 > $t/signature && \
        openssl dgst -sha1 -verify $t/public -signature $t/signature signed-bytes.txt; rm -r $t";
    assert_eq!(tool("sh", &["-c", verify], &folder), "Verified OK\n");
    let blob = tool("sha512sum", &["packer-debian12-50G-vm-bootstrap.gz"], &folder);
    let signed = std::fs::read_to_string(golden("signed-bytes.txt")).unwrap();
    assert!(signed.contains(blob.split(' ').next().unwrap()));
}

/// The names that the old set-up gave, from a manifest of ours.
#[test]
fn the_metadata_of_the_old_setup_come_out_of_a_manifest() {
    let bench = Bench::new();
    let shelf = Shelf::start();
    configure(&bench, &shelf.url("/shacache"), &shelf.url("/shadir"), 2048);
    bench.write("base.qcow2", "");
    let text = manifest(TARGET)
        .replace("\"base\"", "\"vm-bootstrap\"")
        .replace("[flavors.base]", "[flavors.vm-bootstrap]")
        .replace(
            "[\"3G\", \"20G\"]",
            "[\"50000M\"]\nid = \"{{ distro }}-50G-{{ flavor }}\"",
        );
    bench.write("m.toml", text);
    package(
        &bench,
        "debian12-50G-vm-bootstrap",
        &std::fs::read(golden("packer-debian12-50G-vm-bootstrap.gz")).unwrap(),
    );
    well(&bench.run(&["upload", "m.toml"]));
    let list: Vec<(String, String)> =
        serde_json::from_slice(&shelf.file("/shadir/packer-images").unwrap()).unwrap();
    assert_eq!(
        list[0].0,
        std::fs::read_to_string(golden("signed-bytes.txt")).unwrap()
    );
    let line = bench.read("out/URL.txt");
    assert!(
        line.starts_with("packer-debian12-50G-vm-bootstrap.gz  "),
        "{line}"
    );
}

#[test]
fn an_unsigned_upload_is_warned_of_by_the_misspelt_key() {
    let bench = bench(TARGET, 1000);
    let shelf = Shelf::start();
    configure(&bench, &shelf.url("/shacache"), &shelf.url("/shadir"), 2048);
    let config = bench.read("shacache.cfg");
    bench.write(
        "shacache.cfg",
        config.replace("signature-private-key-file", "signature_private_key_file"),
    );
    let ran = bench.run(&["upload", "m.toml"]);
    well(&ran);
    says(
        &ran,
        &["the key `signature_private_key_file` is not read; it is spelled `signature-private-key-file`"],
    );
    says(&ran, &["listed unsigned"]);
    let list = String::from_utf8(shelf.file("/shadir/packer-images").unwrap()).unwrap();
    assert!(list.contains(",\"\"]"), "{list}");

    bench.write(
        "shacache.cfg",
        config.replace("-----BEGIN CERTIFICATE-----", "-----BEGIN NOTHING-----"),
    );
    shelf.forget_asked();
    let ran = bench.run(&["upload", "m.toml"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    says(
        &ran,
        &[
            "no certificate in signature-certificate-list belongs to",
            "nothing was started",
        ],
    );
    assert!(shelf.asked().is_empty());
}

/// Whether the reference uploader and ours write the same entry for one file.
#[test]
fn the_reference_uploader_writes_the_same_entry() {
    let bench = Bench::new();
    let server = server(&bench);
    configure(&bench, &server.url("/shacache"), &server.url("/shadir"), 2048);
    bench.write("img.gz", noise(10_000, 3));
    bench.write(
        "metadata.json",
        r#"{"title": "é \"x\" \\ /", "version": "12", "size": 1.5, "list": [1, null, true]}"#,
    );
    let theirs = python(REFERENCE)
        .arg(program(REFERENCE, "networkcache-upload"))
        .args([
            "--key",
            "k",
            "--file",
            "img.gz",
            "--config",
            "shacache.cfg",
            "-m",
            "metadata.json",
        ])
        .current_dir(bench.path(""))
        .output()
        .unwrap();
    assert!(
        theirs.status.success(),
        "{}",
        String::from_utf8_lossy(&theirs.stderr)
    );
    well(&bench.run(&[
        "upload-file",
        "img.gz",
        "-c",
        "shacache.cfg",
        "-k",
        "k",
        "-m",
        "metadata.json",
    ]));
    let entries: Vec<(String, String)> = serde_json::from_str(&bench.read("tree/shadir/k")).unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0], entries[1]);
}
