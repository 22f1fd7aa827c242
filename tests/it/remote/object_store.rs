//! A real S3 implementation: moto's server.

use std::time::Duration;

use super::{Farm, IMAGE, build, host, noise, well};
use crate::support::daemon::Daemon;
use crate::support::http::Server;
use crate::support::python::python;
use crate::support::relay::Relay;
use crate::support::shelf::Shelf;
use crate::support::vm::wait_until;
use crate::support::{Bench, Ran};

const MOTO: &str = "moto[server]==5.2.5";
/// The server with a clock that goes behind by the days in a file.
const START: &str = "
import datetime, sys
import moto.s3.models as models
real = models.utcnow
models.utcnow = lambda: real() - datetime.timedelta(days=float(open(sys.argv[1]).read()))
from moto.server import main
main(['-H', '127.0.0.1', '-p', sys.argv[2]])
";

/// A bucket, and hosts that share it.
struct Bucket {
    farm: Farm,
    moto: Daemon,
    bench: Bench,
}

impl Bucket {
    fn start() -> Self {
        let bench = Bench::new();
        bench.write("days", "0");
        let moto = Daemon::start(&bench.path("moto.log"), |port| {
            let mut command = python(MOTO);
            command
                .args(["-c", START])
                .arg(bench.path("days"))
                .arg(port.to_string())
                // So that what is listed comes in several answers.
                .env("MOTO_S3_DEFAULT_MAX_KEYS", "2");
            command
        });
        let bucket = Self {
            farm: Farm::at("s3://images/farm"),
            moto,
            bench,
        };
        bucket.boto("c.create_bucket(Bucket='images')");
        bucket
    }

    /// What is put there from now on was put there so many days ago.
    fn days_ago(&self, days: u32) {
        self.bench.write("days", days.to_string());
    }

    /// What Amazon's own client does and prints; it is `c`.
    fn boto(&self, script: &str) -> String {
        let connect = format!(
            "import boto3\nc = boto3.client('s3', endpoint_url='{}', region_name='us-east-1')",
            self.moto.url("")
        );
        let output = python(MOTO)
            .args(["-c", &format!("{connect}\n{script}")])
            .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "s3cr3t")
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn settings(&self, bench: &Bench) {
        let text = format!("[remote]\nendpoint = \"{}\"\n", self.moto.url(""));
        bench.write(".config/pipeline/farm.toml", text);
    }

    /// Runs the program on a host that builds.
    fn on(&self, bench: &Bench, args: &[&str]) -> Ran {
        self.settings(bench);
        self.farm.on(bench, args)
    }

    /// Runs it on a host that only reads.
    fn reading(&self, bench: &Bench, args: &[&str]) -> Ran {
        self.settings(bench);
        self.farm.reading(bench, args)
    }
}

#[test]
fn a_bucket_is_shared_and_its_server_differs_from_a_deaf_one() {
    let medium = Server::start(b"x".to_vec());
    let builder = host(&medium.url("/m"), b"x");
    let mut bucket = Bucket::start();
    let package = noise((2 << 20) + 7, 8);
    build(&builder, &format!("package/{IMAGE}"), "image", &package);
    let push = ["store", "push", &format!("package/{IMAGE}")];
    well(&bucket.on(&builder, &push), &["pushed"]);
    well(&bucket.on(&builder, &push), &["was there already"]);
    let listed = bucket.on(&builder, &["store", "ls", "--remote"]);
    well(&listed, &[IMAGE, "1 result, 2.0 MiB", "in s3://images/farm"]);
    let third = host(&medium.url("/m"), b"x");
    well(&bucket.on(&third, &["run", "m.toml"]), &[]);
    assert!(std::fs::read(third.path(&format!("out/{IMAGE}/{IMAGE}.qcow2.gz"))).unwrap() == package);

    let checks = |ran: &Ran| -> Vec<String> {
        let lines = ran.stdout.lines().filter(|line| line.contains(" remote "));
        lines
            .map(|line| line.split_whitespace().take(4).collect::<Vec<_>>().join(" "))
            .collect()
    };
    let right = checks(&bucket.on(&builder, &["doctor", "--remote"]));
    assert_eq!(
        right,
        [
            "ok remote store s3://images/farm",
            "ok remote put an",
            "ok remote condition right:",
            "ok remote range a",
            "ok remote list what",
            "ok remote delete what",
        ]
    );
    let shelf = Shelf::start();
    bucket.farm.url = shelf.url("/farm");
    let deaf = checks(&bucket.on(&builder, &["doctor", "--remote"]));
    let expected = ["warn remote condition deaf:", "warn remote list a"];
    assert!(
        expected.iter().all(|line| deaf.iter().any(|found| found == line)),
        "{deaf:?}"
    );
    assert!(shelf.paths().is_empty(), "{:?}", shelf.paths());
    // It cannot be listed, and so not be cleaned.
    for args in [&["gc", "--remote"][..], &["store", "ls", "--remote"]] {
        let refused = bucket.on(&builder, args);
        assert!(
            refused.code == 1 && refused.stderr.contains("use a bucket"),
            "{}",
            refused.all()
        );
    }
}

#[test]
fn a_large_file_goes_in_parts_and_a_writer_that_is_killed_leaves_no_half() {
    let medium = Server::start(b"x".to_vec());
    let builder = host(&medium.url("/m"), b"x");
    let bucket = Bucket::start();
    let relay = Relay::to(bucket.moto.port);
    let settings = |part: &str| {
        let text = format!(
            "[remote]\nendpoint = \"{}\"\npart_size = \"{part}\"\n",
            relay.url("")
        );
        builder.write(".config/pipeline/farm.toml", text);
    };
    // Three parts, the last one short.
    let package = noise((12 << 20) + 5, 10);
    build(&builder, &format!("package/{IMAGE}"), "image", &package);
    let push = ["store", "push", &format!("package/{IMAGE}")];
    settings("1M");
    let refused = bucket.farm.on(&builder, &push);
    assert!(
        refused.code == 2 && refused.stderr.contains("5M or more"),
        "{}",
        refused.all()
    );
    settings("5M");
    // The short part gets there, then the line is dead.
    relay.end_after(Some(10 << 20));
    let cut = bucket.farm.on(&builder, &push);
    assert_eq!(cut.code, 1, "{}", cut.all());
    // The next one goes on, and is killed on the way.
    relay.hold_after(2 << 20);
    let held = relay.sent() + (2 << 20);
    let mut command = builder.command(&push);
    command.env("PIPELINE_REMOTE_SIGN_KEY", bucket.farm.key.path("key"));
    bucket.farm.login(&mut command);
    let mut child = command.spawn().unwrap();
    wait_until("a part under way", Duration::from_secs(60), || {
        relay.sent() > held
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let there = || {
        bucket.boto(
            "l = c.list_multipart_uploads(Bucket='images').get('Uploads', [])\n\
             print(c.list_objects_v2(Bucket='images')['KeyCount'], 'objects', len(l), 'uploads')",
        )
    };
    assert_eq!(there().trim(), "0 objects 1 uploads");
    relay.end_after(None);
    let before = relay.sent();
    well(&bucket.farm.on(&builder, &push), &["pushed"]);
    let sent = relay.sent() - before;
    assert!(sent < (11 << 20), "{sent} bytes for what was left");
    assert_eq!(there().trim(), "2 objects 0 uploads");
    let reader = host(&medium.url("/m"), b"x");
    let key = &builder.keys("m.toml")[&format!("package/{IMAGE}")];
    well(
        &bucket.reading(&reader, &["store", "pull", &format!("package/{key}")]),
        &["taken"],
    );
    let file = std::fs::read(reader.path(&format!("store/results/package/{key}/image")));
    assert!(file.unwrap() == package);
    let listed = bucket.reading(&reader, &["ls", "m.toml", "--remote"]);
    well(&listed, &["shared", "yes"]);
}

#[test]
fn what_no_result_needs_is_removed_from_the_bucket_and_what_is_on_its_way_stays() {
    let medium = Server::start(b"x".to_vec());
    let (builder, other) = (host(&medium.url("/m"), b"x"), host(&medium.url("/n"), b"y"));
    let bucket = Bucket::start();
    let push = ["store", "push", &format!("package/{IMAGE}")];
    let blob = |digit: &str| format!("farm/blobs/sha256/{}.zst", digit.repeat(64));
    bucket.days_ago(10);
    for (host, seed) in [(&builder, 21), (&other, 22)] {
        build(host, &format!("package/{IMAGE}"), "image", &noise(70_000, seed));
        well(&bucket.on(host, &push), &["pushed"]);
    }
    // Of writers that were killed, ten days ago and just now.
    let left = |digit: &str| {
        bucket.boto(&format!(
            "c.put_object(Bucket='images', Key='{}', Body=b'x' * 3000)",
            blob(digit)
        ))
    };
    left("a");
    bucket.boto(&format!(
        "c.create_multipart_upload(Bucket='images', Key='{}')",
        blob("b")
    ));
    bucket.days_ago(0);
    left("c");
    let there = || {
        bucket.boto(
            "p = c.get_paginator('list_objects_v2').paginate(Bucket='images')\n\
             print([o['Key'] for page in p for o in page.get('Contents', [])], \
             len(c.list_multipart_uploads(Bucket='images').get('Uploads', [])), 'uploads')",
        )
    };
    let before = there();
    assert!(before.contains("1 uploads"), "{before}");

    let refused = bucket.reading(&builder, &["gc", "--remote"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("remote.sign_key"),
        "{}",
        refused.all()
    );
    let dry = bucket.reading(&builder, &["gc", "--remote", "--dry-run"]);
    let goes = "0 results, 1 file, 0 objects of jobs, 1 unfinished upload";
    well(&dry, &["2.9 KiB would become free", goes]);
    assert_eq!(there(), before);
    let listed = bucket.on(&builder, &["store", "ls", "--remote", "--format", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    let first = &listed["results"][0];
    assert_eq!(listed["results"].as_array().unwrap().len(), 2, "{listed:#}");
    assert_eq!(
        (&first["subject"], &first["signer"], &first["condition"]),
        (
            &IMAGE.into(),
            &bucket.farm.public.as_str().into(),
            &"whole".into()
        )
    );

    // What the manifest of the one needs stays; the result of the other goes with its file.
    let all = ["gc", "--remote", "--older-than", "5d", "--keep", "m.toml"];
    well(
        &bucket.on(&builder, &all),
        &["1 result, 2 files", "1 unfinished upload"],
    );
    let after = there();
    assert!(
        after.contains(&blob("c")) && after.contains("0 uploads"),
        "{after}"
    );
    assert_eq!(after.matches(".zst").count(), 2, "{after}");
    let key = |host: &Bench| format!("package/{}", host.keys("m.toml")[&format!("package/{IMAGE}")]);
    let reader = host(&medium.url("/m"), b"x");
    well(
        &bucket.reading(&reader, &["store", "pull", &key(&builder)]),
        &["taken"],
    );
    assert_eq!(bucket.reading(&reader, &["store", "pull", &key(&other)]).code, 1);
    well(&bucket.on(&builder, &all), &["nothing to remove"]);

    // A file that is there for long may be about to go: who needs it puts it there again, without sending it.
    bucket.boto(&format!(
        "c.delete_object(Bucket='images', Key='farm/results/{}/entry.json')",
        key(&builder)
    ));
    well(&bucket.on(&builder, &push), &["pushed"]);
    well(
        &bucket.on(&builder, &["gc", "--remote", "--older-than", "0s"]),
        &["nothing to remove"],
    );
    let ages = bucket.boto(
        "import datetime\nnow = datetime.datetime.now(datetime.timezone.utc)\n\
         print([(now - o['LastModified']).days for o in c.list_objects_v2(Bucket='images', Prefix='farm/blobs')['Contents']])",
    );
    assert_eq!(ages.trim(), "[0, 0]");
}
