//! The boot-time agent in real guests, driven from outside by `pipeline boot --bootstrap --wait`: with cron, and with the
//! systemd timer, which must behave alike. What needs no guest is in `guest::agent`.

use std::thread;

use crate::support::inside::read;
use crate::support::vm::{SMALL, booted_quickstart, image, is_real, quickstart, variant};
use crate::support::{Bench, Ran, tool};

/// Four runs in one machine: a crash in mid-run that takes the machine down, after the maximum was changed; a plain
/// failure; one that takes longer than a minute; success. They are counted here and not by the agent's count, which may
/// be ahead: an agent that starts before the guest has a network counts that as a run, at each of the two boots.
const SCRIPT: &str = r#"
case=$(($(cat /root/case 2>/dev/null || echo 0) + 1))
echo $case > /root/case
echo "case $case: TERM=$TERM in $PWD as $(id -un)"
case $case in
1)
    echo $(($(cat retry-amount) + 5)) > bootstrap-max-retry
    sync
    sleep 3
    echo b > /proc/sysrq-trigger
    sleep 60
    ;;
2)
    exit 3
    ;;
3)
    before=$(cat retry-amount)
    sleep 75
    echo "after 75 s: $(($(cat retry-amount) - before)) more runs"
    exit 1
    ;;
4)
    # What the host offers next to the script.
    curl -fsS http://10.0.2.100/motd || wget -qO- http://10.0.2.100/motd
    echo "starter: $(systemctl is-active vm-bootstrap.timer) $([ -x /usr/sbin/cron ] && echo cron)"
    exit 0
    ;;
esac
"#;

fn drive(bench: &Bench, image: &str) -> Ran {
    bench.write("agent/script", SCRIPT);
    bench.write("agent/motd", "hello from the host\n");
    bench.run(&[
        "boot",
        image,
        "--cpus",
        "1",
        "--bootstrap",
        "agent/script",
        "--serve",
        "agent",
        "--wait",
        "--timeout",
        "30m",
    ])
}

/// The story is the same whoever starts the agent. Without the crash it begins at the second run, in the first boot.
fn went_by_the_contract(ran: &Ran, starter: &str, crashes: bool) {
    assert_eq!(ran.code, 0, "{}", ran.all());
    let lines = ran.stderr.lines().filter_map(|line| line.split_once("  "));
    let reports: Vec<_> = lines.map(|(_, what)| what).collect();
    let first = reports
        .iter()
        .find_map(|what| what.strip_prefix("run ")?.strip_suffix(" of at most 10 begins"));
    let first: u32 = first.unwrap_or_else(|| panic!("{}", ran.all())).parse().unwrap();
    let max = if crashes { first + 5 } else { 10 };
    let failed = format!(" of at most {max} exited with 3; the agent tries again in a minute");
    let second = reports
        .iter()
        .find_map(|what| what.strip_prefix("run ")?.strip_suffix(&failed));
    let second: u32 = second.unwrap_or_else(|| panic!("{}", ran.all())).parse().unwrap();
    assert_eq!(second > first, crashes, "{}", ran.all());
    let (third, last) = (second + 1, second + 2);
    let mut reports = reports.into_iter();
    let mut crash = vec![
        format!("run {first} of at most 10 begins"),
        "the guest restarts".to_owned(),
    ];
    crash.truncate(if crashes { 2 } else { 0 });
    let rest = [
        format!("run {second} of at most {max} begins"),
        format!("run {second}{failed}"),
        format!("run {third} of at most {max} begins"),
        format!("run {third} of at most {max} exited with 1; the agent tries again in a minute"),
        format!("run {last} of at most {max} begins"),
        format!("the boot script succeeded after {last} runs ("),
    ];
    for expected in crash.into_iter().chain(rest) {
        assert!(
            reports.any(|what| what.starts_with(&expected)),
            "no `{expected}`, or out of order: {}",
            ran.all()
        );
    }
    for expected in [
        "case 2: TERM=xterm in /root/bootstrap as root",
        "after 75 s: 0 more runs",
        "hello from the host",
        &format!("starter: {starter}"),
    ] {
        assert!(ran.stdout.contains(expected), "no `{expected}`: {}", ran.all());
    }
    // The agent's own words are in the log too: the line of each run, once.
    let last = format!("run {last} of at most {max}: fetching");
    assert_eq!(ran.stdout.matches(&last).count(), 1, "{}", ran.all());
}

#[test]
fn an_agent_started_by_cron_or_by_a_timer_is_driven_to_success_through_a_crash() {
    // Two guests, each of which mostly waits for the next minute.
    let story = booted_quickstart(1);
    let bench = &story.bench;
    // What a crash does to the agent has nothing to do with what starts it: by day it is seen once.
    let crashes = is_real();
    let first = if crashes { "true" } else { "echo 1 > /root/case" };
    let flavor = format!(
        "[flavors.timer]\nsteps = [\n  {{ inline = \"dpkg --purge cron\", name = \"no cron\" }},\n  \
         {{ inline = \"{first}\", name = \"first case\" }},\n  {{ install = \"vm-bootstrap\" }},\n]\n"
    );
    bench.write("timer.toml", variant("timer", &flavor));
    let image = image(SMALL);
    thread::scope(|scope| {
        let by_cron = scope.spawn(|| drive(bench, &image));
        let built = bench.run(&["run", "timer.toml"]);
        assert_eq!(built.code, 0, "{}", built.all());
        let by_timer = drive(bench, "out-timer/debian12-2G-timer/debian12-2G-timer.qcow2");
        went_by_the_contract(&by_cron.join().unwrap(), "inactive cron", true);
        went_by_the_contract(&by_timer, "active", crashes);
    });
}

/// In the machine that an orchestrator gives it: no serial console, a second network card that leads nowhere.
#[test]
fn an_agent_that_gives_up_is_a_failure_and_what_it_wrote_is_kept_where_asked() {
    let story = quickstart(1);
    let bench = &story.bench;
    let unpack = format!("gzip -dc {} > kept.qcow2", image(SMALL));
    tool("sh", &["-c", &unpack], &bench.path(""));
    bench.write(
        "hopeless",
        "echo hopeless | tee /root/hopeless; echo 1 > bootstrap-max-retry; exit 5\n",
    );
    let ran = bench.run(&[
        "boot",
        "kept.qcow2",
        "--write",
        "--cpus",
        "1",
        "--machine",
        "kvm-orchestrator",
        "--bootstrap",
        "hopeless",
        "--wait",
    ]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.stdout.contains("\nhopeless\n"), "{}", ran.all());
    assert!(
        ran.stderr.contains("the agent gave up after ")
            && ran.stderr.contains("; the last one exited with 5 ("),
        "{}",
        ran.all()
    );
    assert!(ran.stderr.contains("powering the guest off"), "{}", ran.all());
    assert!(!ran.stderr.contains("did not power off"), "{}", ran.all());

    // The disk has what the agent did last: it runs no more.
    let words = ["convert", "-O", "raw", "kept.qcow2", "kept.raw"];
    tool("qemu-img", &words, &bench.path(""));
    let raw = bench.path("kept.raw");
    assert_eq!(read(&raw, "/root/hopeless", bench), "hopeless\n");
    assert!(!read(&raw, "/etc/crontab", bench).is_empty());
    assert_eq!(read(&raw, "/etc/cron.d/vm-boostrap", bench), "");
}
