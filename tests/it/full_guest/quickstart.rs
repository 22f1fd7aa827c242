//! The quickstart's story: two images from nothing and a second run that does nothing.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::inside::partition;
use crate::support::vm::{LARGE, SMALL, checked, checked_images, image, is_real, unpack};
use crate::support::{Bench, Ran, tool};

/// The folder of a run's logs.
fn logs(ran: &Ran) -> String {
    let said = ran
        .stderr
        .split("[ROOT]/")
        .find(|rest| rest.starts_with("store/runs/"));
    let said = said.unwrap_or_else(|| panic!("it does not say where its logs are:\n{}", ran.all()));
    said.lines().next().unwrap().to_owned()
}

/// The nodes that a run started, from its journal.
pub fn started(bench: &Bench, ran: &Ran) -> Vec<String> {
    let journal = bench.read(&format!("{}/events.jsonl", logs(ran)));
    let events = journal
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    events
        .filter(|e| e["event"] == "node_started")
        .map(|e| e["node"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn two_images_come_out_and_a_second_run_does_nothing() {
    let (bench, ran) = checked();
    let count = if is_real() { 2 } else { 1 };
    for id in &[SMALL, LARGE][..count] {
        assert!(
            ran.stderr.contains(&image(id)),
            "the summary must say where {id} is:\n{}",
            ran.all()
        );
    }
    let passed = format!("{} checks passed", 9 * count);
    let checks = |junit: &str, what: &str| {
        let path = format!("count({what})");
        tool("xmllint", &["--xpath", &path, junit], &bench.path(""))
            .trim()
            .to_owned()
    };
    assert!(ran.stderr.contains(&passed), "{}", ran.all());
    assert_eq!(
        checks("reports/junit.xml", "//testsuite[count(testcase[not(*)])=9]"),
        count.to_string()
    );
    // The disk was looked through for keys of the build here, so that the guest did not have to.
    let asked = bench.read(&format!("{}/check-{SMALL}/script.sh", logs(ran)));
    assert!(asked.contains("\nKEYS_OUT=yes\n"), "{asked}");
    let out = bench.path("out");
    tool("sha512sum", &["--strict", "-c", "SHA512SUM.txt"], &out);
    tool("md5sum", &["--strict", "-c", "MD5SUM.txt"], &out);
    assert_eq!(bench.read("out/MD5SUM.txt").lines().count(), 2);
    for (id, gib) in [(SMALL, 3u64), (LARGE, 20)] {
        tool("gzip", &["-t", &image(id)], &bench.path(""));
        let disk = unpack(bench, id);
        let info: Value = serde_json::from_str(&tool(
            "qemu-img",
            &["info", "--output=json", &disk],
            &bench.path(""),
        ))
        .unwrap();
        assert_eq!(info["virtual-size"], gib << 30);
        assert!(info.get("backing-filename").is_none(), "{info}");
        tool("qemu-img", &["check", "-q", &disk], &bench.path(""));
        let raw = format!("{id}.raw");
        tool(
            "qemu-img",
            &["convert", "-O", "raw", &disk, &raw],
            &bench.path(""),
        );
        let table: Value = serde_json::from_str(&tool("sfdisk", &["-J", &raw], &bench.path(""))).unwrap();
        let table = &table["partitiontable"];
        let root = table["partitions"].as_array().unwrap().last().unwrap();
        let end = root["start"].as_u64().unwrap() + root["size"].as_u64().unwrap();
        assert_eq!(
            end,
            table["lastlba"].as_u64().unwrap() + 1,
            "root ends with the disk"
        );
        // The backup of the table takes 33 sectors behind it (UEFI specification, 5.3.1).
        assert_eq!((end + 33) * 512, gib << 30);
        tool(
            "e2fsck",
            &["-fn", &format!("./{raw}?offset={}", partition(&bench.path(&raw)))],
            &bench.path(""),
        );
        fs::remove_file(bench.path(&raw)).unwrap();
    }

    let before = fs::metadata(bench.path(&image(SMALL)))
        .unwrap()
        .modified()
        .unwrap();
    let began = Instant::now();
    let again = bench.run(
        &[
            &["run", "quickstart.toml"],
            checked_images(),
            &["--junit", "again.xml"],
        ]
        .concat(),
    );
    let took = began.elapsed();
    assert_eq!(again.code, 0, "{}", again.all());
    assert!(started(bench, &again).is_empty(), "{}", again.all());
    assert!(again.stderr.contains("nothing to do"), "{}", again.all());
    assert!(again.stderr.contains(&passed), "{}", again.all());
    assert_eq!(
        checks("again.xml", "//testcase[not(*)]"),
        (9 * count).to_string(),
        "what was found out before counts"
    );
    assert!(
        took < Duration::from_secs(10),
        "a run with nothing to do took {took:?}"
    );
    assert_eq!(
        fs::metadata(bench.path(&image(SMALL)))
            .unwrap()
            .modified()
            .unwrap(),
        before
    );
}
