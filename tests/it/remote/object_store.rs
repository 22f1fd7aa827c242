//! A real S3 implementation: moto's server.

use super::{Farm, IMAGE, build, host, noise, well};
use crate::support::daemon::Daemon;
use crate::support::http::Server;
use crate::support::python::python;
use crate::support::shelf::Shelf;
use crate::support::{Bench, Ran};

const MOTO: &str = "moto[server]==5.2.5";

#[test]
fn a_bucket_is_shared_and_its_server_differs_from_a_deaf_one() {
    let medium = Server::start(b"x".to_vec());
    let builder = host(&medium.url("/m"), b"x");
    let moto = Daemon::start(&builder.path("moto.log"), |port| {
        let mut command = python(MOTO);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        command
    });
    let script = format!(
        "import boto3\nboto3.client('s3', endpoint_url='{}', region_name='us-east-1').create_bucket(Bucket='images')",
        moto.url("")
    );
    let made = python(MOTO)
        .args(["-c", &script])
        .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "s3cr3t")
        .status();
    assert!(made.unwrap().success());
    let mut farm = Farm::at("s3://images/farm");
    let on = |farm: &Farm, bench: &Bench, args: &[&str]| -> Ran {
        let text = format!("[remote]\nendpoint = \"{}\"\n", moto.url(""));
        bench.write(".config/pipeline/farm.toml", text);
        farm.on(bench, args)
    };
    let package = noise((2 << 20) + 7, 8);
    build(&builder, &format!("package/{IMAGE}"), "image", &package);
    let push = ["store", "push", &format!("package/{IMAGE}")];
    well(&on(&farm, &builder, &push), &["pushed"]);
    well(&on(&farm, &builder, &push), &["was there already"]);
    well(
        &on(&farm, &builder, &["store", "ls", "--remote"]),
        &["package/", "1 result in s3://images/farm"],
    );
    let third = host(&medium.url("/m"), b"x");
    well(&on(&farm, &third, &["run", "m.toml"]), &[]);
    assert!(std::fs::read(third.path(&format!("out/{IMAGE}/{IMAGE}.qcow2.gz"))).unwrap() == package);

    let checks = |ran: &Ran| -> Vec<String> {
        let lines = ran.stdout.lines().filter(|line| line.contains(" remote "));
        lines
            .map(|line| line.split_whitespace().take(4).collect::<Vec<_>>().join(" "))
            .collect()
    };
    let right = checks(&on(&farm, &builder, &["doctor", "--remote"]));
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
    farm.url = shelf.url("/farm");
    let deaf = checks(&on(&farm, &builder, &["doctor", "--remote"]));
    let expected = ["warn remote condition deaf:", "warn remote list a"];
    assert!(
        expected.iter().all(|line| deaf.iter().any(|found| found == line)),
        "{deaf:?}"
    );
    assert!(shelf.paths().is_empty(), "{:?}", shelf.paths());
}
