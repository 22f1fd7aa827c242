//! A real S3 implementation: moto's server. Whole objects, objects in parts, and one that is cut and goes on.

use super::{LARGE, SMALL, bench, catalog, file, listed, noise, package, says, well};
use crate::support::daemon::Daemon;
use crate::support::python::python;
use crate::support::relay::Relay;
use crate::support::{Bench, Ran};

const MOTO: &str = "moto[server]==5.2.5";
/// Three parts, the last of them short.
const BYTES: usize = (40 << 20) + 12_345;

/// Moto, with a bucket.
fn moto(bench: &Bench) -> Daemon {
    let moto = Daemon::start(&bench.path("moto.log"), |port| {
        let mut command = python(MOTO);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        command
    });
    boto(&moto, "c.create_bucket(Bucket='images')", bench);
    moto
}

/// What Amazon's own client does and prints; it is `c`.
fn boto(moto: &Daemon, script: &str, bench: &Bench) -> String {
    let connect = format!(
        "import boto3\nc = boto3.client('s3', endpoint_url='{}', region_name='us-east-1')",
        moto.url("")
    );
    let output = python(MOTO)
        .args(["-c", &format!("{connect}\n{script}")])
        .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "s3cr3t")
        .current_dir(bench.path(""))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn run(bench: &Bench, args: &[&str]) -> Ran {
    let mut command = bench.command(args);
    command
        .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "s3cr3t");
    bench.finish(command)
}

fn point_at(bench: &Bench, endpoint: &str) {
    let text = bench.read("m.toml").replace("http://mirror.invalid", endpoint);
    bench.write("m.toml", text);
}

const TARGET: &str =
    "[publish.s3]\nendpoint = \"http://mirror.invalid\"\nbucket = \"images\"\nprefix = \"nightly\"\n";

#[test]
fn a_large_object_goes_in_parts_and_goes_on_after_a_cut() {
    let bench = bench(TARGET, BYTES);
    let moto = moto(&bench);
    let relay = Relay::to(moto.port);
    point_at(&bench, &relay.url(""));
    let without = bench.run(&["upload", "m.toml", "--size", "3G"]);
    assert_eq!(without.code, 2, "{}", without.all());
    says(
        &without,
        &["publish.s3.access_key", "AWS_ACCESS_KEY_ID", "not set"],
    );

    // Two parts get there, then the line is dead for good.
    relay.end_after(Some(33 << 20));
    let failed = run(&bench, &["upload", "m.toml", "--size", "3G"]);
    assert_eq!(failed.code, 1, "{}", failed.all());
    says(
        &failed,
        &["attempt 4 of 4", &format!("images/nightly/{}", file(SMALL))],
    );
    assert!(!failed.stderr.contains("X-Amz"), "{}", failed.all());
    assert!(listed(&bench).is_empty());

    relay.end_after(None);
    let before = relay.sent();
    let second = run(&bench, &["upload", "m.toml", "--size", "3G"]);
    well(&second);
    says(&second, &["sending the rest"]);
    assert!(
        relay.sent() - before < 9 << 20,
        "only the last part: {}",
        relay.sent() - before
    );
    assert_eq!(listed(&bench), [SMALL]);
    boto(
        &moto,
        &format!("c.download_file('images', 'nightly/{}', 'got')", file(SMALL)),
        &bench,
    );
    assert!(
        std::fs::read(bench.path("got")).unwrap() == noise(BYTES, 1),
        "what is there is the image"
    );
    let url = catalog(&bench)[0]["urls"]["s3"]["url"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(url, relay.url(&format!("/images/nightly/{}", file(SMALL))));

    let before = relay.sent();
    let again = run(&bench, &["upload", "m.toml", "--size", "3G"]);
    well(&again);
    says(&again, &["nothing to do"]);
    assert!(relay.sent() - before < 4096);
    well(&run(&bench, &["check-urls", "m.toml", "--size", "3G"]));
}

#[test]
fn a_small_object_goes_whole_and_a_bucket_that_is_not_there_is_told() {
    let bench = bench(TARGET, 100_000);
    let moto = moto(&bench);
    point_at(&bench, &moto.url(""));
    let ran = run(&bench, &["upload", "m.toml"]);
    well(&ran);
    assert_eq!(listed(&bench), [SMALL, LARGE]);
    let object = format!("Bucket='images', Key='nightly/{}'", file(LARGE));
    let printed = boto(
        &moto,
        &format!("print(c.head_object({object})['Metadata']['sha512'])"),
        &bench,
    );
    assert_eq!(printed.trim(), catalog(&bench)[1]["digests"]["sha512"]);
    // Another object of the same size under that name is found out by what the store says of it.
    boto(
        &moto,
        &format!("c.put_object({object}, Body=bytes(100000))"),
        &bench,
    );
    let ran = run(&bench, &["upload", "m.toml"]);
    well(&ran);
    says(&ran, &["replacing it"]);
    well(&run(&bench, &["check-urls", "m.toml"]));

    let text = bench
        .read("m.toml")
        .replace("bucket = \"images\"", "bucket = \"no-such-bucket\"");
    bench.write("m.toml", text);
    let ran = run(&bench, &["upload", "m.toml", "--size", "3G"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    says(
        &ran,
        &[
            "takes no file there (HTTP 404",
            "NoSuchBucket",
            "folder or bucket exists",
        ],
    );
}

#[test]
fn a_bucket_keeps_versions_and_loses_old_ones() {
    let keep = "[publish]\nversions = { keep = 1 }\n";
    let bench = bench(&format!("{keep}{TARGET}versions = true\n"), 100_000);
    let moto = moto(&bench);
    point_at(&bench, &moto.url(""));
    let objects = || {
        let list = "for o in c.list_objects_v2(Bucket='images')['Contents']: print(o['Key'])";
        let printed = boto(&moto, list, &bench);
        let prefix = format!("nightly/versions/{SMALL}/");
        let names = printed.lines().filter_map(|name| name.strip_prefix(&prefix));
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    well(&run(&bench, &["upload", "m.toml", SMALL]));
    let first = objects();
    assert_eq!(first.len(), 3, "an image, its digest and the list: {first:?}");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    package(&bench, SMALL, &noise(100_000, 5));
    well(&run(&bench, &["upload", "m.toml", SMALL]));
    let second = objects();
    assert!(second.len() == 3 && second != first, "{first:?} {second:?}");
    let listed = run(&bench, &["ls", "m.toml", SMALL, "--versions", "--at", "s3"]);
    well(&listed);
    let version = second[0].split('/').next().unwrap();
    assert_eq!(listed.stdout, format!("{SMALL} {version} latest\n"));
    well(&run(&bench, &["check-urls", "m.toml", SMALL]));
}
