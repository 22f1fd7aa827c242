//! Checks in a run: as they end, in the closing summary, and as JUnit XML.

use pipeline::internals::event::{CheckOutcome, CheckResult, Event, ImageInfo, Outcome, What};
use pipeline::internals::report::{Progress, Verbosity, junit};

use super::{Paper, ended, event, image, node, options, page, started, watch};
use crate::support::{Bench, tool};

fn check(name: &str, outcome: CheckOutcome, seen: &str, cached: bool) -> What {
    let result = CheckResult {
        check: name.to_owned(),
        outcome,
        seconds: 1.5,
        expected: "no <failed> unit".to_owned(),
        seen: seen.to_owned(),
    };
    What::Check { result, cached }
}

/// One image passed in an earlier run, one fails, one was never built, one could not be looked at.
fn a_run_with_checks() -> Vec<Event> {
    let images = ["old", "bad", "unbuilt", "broken"];
    let nodes = images.map(|name| node(&format!("check/{name}"), name == "old"));
    let message = "1 of 3 checks failed\n  no-failed-units";
    vec![
        event(0, "", started(nodes.to_vec())),
        event(
            0,
            "check/old",
            check("boots-within", CheckOutcome::Passed, "a prompt", true),
        ),
        event(1, "check/bad", What::NodeStarted),
        event(
            9,
            "check/bad",
            check("network", CheckOutcome::Passed, "a request", false),
        ),
        event(
            9,
            "check/bad",
            check(
                "no-failed-units",
                CheckOutcome::Failed,
                "a & b.service: \"off\"\nsecond line",
                false,
            ),
        ),
        event(
            9,
            "check/bad",
            check(
                "agent",
                CheckOutcome::Skipped,
                "depends on network, which failed",
                false,
            ),
        ),
        event(9, "check/bad", ended(Outcome::Failed, 8.0, None, Some(message))),
        event(
            9,
            "check/unbuilt",
            ended(Outcome::Skipped, 0.0, None, Some("size/unbuilt did not end well")),
        ),
        event(
            9,
            "check/broken",
            ended(Outcome::Failed, 1.0, None, Some("qemu did not start")),
        ),
        event(
            9,
            "",
            What::RunFinished {
                built: 0,
                cached: 1,
                present: 0,
                failed: 2,
                skipped: 1,
                interrupted: false,
                seconds: 9.0,
                images: vec![ImageInfo {
                    unchecked: true,
                    ..image(3, true)
                }],
            },
        ),
    ]
}

#[test]
fn checks_are_told_as_they_end_and_summed_up() {
    let paper = Paper::default();
    let summary = watch(
        &a_run_with_checks(),
        options(Progress::Plain, Verbosity::Normal, &paper),
    );
    let shown: Vec<_> = paper.text().lines().skip(2).take(6).map(str::to_owned).collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    04:05:09 check bad: network ok
    04:05:09 check bad: no-failed-units FAILED
               expected no <failed> unit
               seen a & b.service: "off"
               second line
    04:05:09 check bad: agent not run: depends on network, which failed
    "#);
    insta::assert_snapshot!(summary.render(&page(None)), @"
    image             size     disk        file
    debian12-3G-base  182 MiB  3 GiB  new  out/debian12-3G-base/debian12-3G-base.qcow2.gz

    0 nodes built, 1 from the store, 2 failed, 1 not done, in 9.0s
    2 checks passed, 1 failed, 1 not run, not checked: debian12-3G-base

    FAILED step failed: check bad
        1 of 3 checks failed
          no-failed-units
        images  debian12-3G-base
        log     store/runs/20260203-040500/provision-debian12-base/packages.sh.log
        next    pipeline logs check/bad
    FAILED step failed: check broken
        qemu did not start
        images  debian12-3G-base
        log     store/runs/20260203-040500/provision-debian12-base/packages.sh.log
        next    pipeline logs check/broken
    fix the cause and run the same command again: what is done comes from the store
    ");
}

#[test]
fn junit_has_every_check_in_the_form_of_the_schema() {
    let bench = Bench::new();
    let paper = Paper::default();
    let summary = watch(
        &a_run_with_checks(),
        options(Progress::Plain, Verbosity::Normal, &paper),
    );
    let xml = junit::render(&summary);
    bench.write("junit.xml", &xml);
    // The schema of Apache Ant's JUnit tasks, from https://github.com/windyroad/JUnit-Schema.
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/junit.xsd");
    tool(
        "xmllint",
        &["--noout", "--schema", schema, "junit.xml"],
        &bench.path(""),
    );
    let count = |path: &str| {
        tool("xmllint", &["--xpath", path, "junit.xml"], &bench.path(""))
            .trim()
            .to_owned()
    };
    assert_eq!(count("count(//testsuite)"), "4");
    assert_eq!(
        count("count(//testsuite[@name='old']/testcase[not(*)])"),
        "1",
        "a pass of an earlier run"
    );
    assert_eq!(count("string(//testsuite[@name='bad']/@failures)"), "1");
    assert_eq!(
        count("string(//testcase[@name='no-failed-units']/failure)"),
        "expected: no <failed> unit\nseen: a & b.service: \"off\"\nsecond line"
    );
    assert_eq!(count("count(//testsuite[@name='unbuilt']/testcase/skipped)"), "1");
    assert_eq!(
        count("string(//testsuite[@name='broken']/testcase/error/@message)"),
        "qemu did not start"
    );
}
