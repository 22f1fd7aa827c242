//! The boot-time agent in real guests, driven from outside by `pipeline boot --bootstrap --wait`: with cron, and with the
//! systemd timer, which must behave alike. What needs no guest is in `guest::agent`.

use std::thread;

use crate::support::Ran;
use crate::support::vm::{QUICKSTART, variant};

/// Four runs in one machine, told apart by the agent's own count: a crash in mid-run that takes the machine down, after
/// the maximum was changed; a plain failure; one that takes longer than a minute; success.
const SCRIPT: &str = r#"
run=$(cat retry-amount)
echo "case $run: TERM=$TERM in $PWD as $(id -un)"
case $run in
1)
    echo 4 > bootstrap-max-retry
    sync
    sleep 3
    echo b > /proc/sysrq-trigger
    sleep 60
    ;;
2)
    exit 3
    ;;
3)
    sleep 75
    echo "after 75 s: count $(cat retry-amount), scripts $(pgrep -fc 'bash /root/bootstrap/bootstrap-script')"
    exit 1
    ;;
4)
    # What the host offers beside the script, and takes back.
    curl -fsS http://10.0.2.100/motd || wget -qO- http://10.0.2.100/motd
    echo "starter: $(systemctl is-active vm-bootstrap.timer) $([ -x /usr/sbin/cron ] && echo cron)"
    exit 0
    ;;
esac
"#;

fn drive(image: &str) -> Ran {
    let bench = &QUICKSTART.bench;
    bench.write("agent/script", SCRIPT);
    bench.write("agent/motd", "hello from the host\n");
    bench.run(&[
        "boot",
        image,
        "--bootstrap",
        "agent/script",
        "--serve",
        "agent",
        "--wait",
        "--timeout",
        "30m",
    ])
}

/// The story is the same whoever starts the agent.
fn went_by_the_contract(ran: &Ran, starter: &str) {
    assert_eq!(ran.code, 0, "{}", ran.all());
    let mut told = ran
        .stderr
        .lines()
        .filter_map(|line| line.split_once("  ").map(|(_, what)| what));
    for expected in [
        "run 1 of at most 10 begins",
        "the guest restarts",
        "run 2 of at most 4 begins",
        "run 2 of at most 4 exited with 3; the agent tries again in a minute",
        "run 3 of at most 4 begins",
        "run 3 of at most 4 exited with 1; the agent tries again in a minute",
        "run 4 of at most 4 begins",
        "the boot script succeeded after 4 runs (",
    ] {
        assert!(
            told.any(|what| what.starts_with(expected)),
            "no `{expected}`, or out of order: {}",
            ran.all()
        );
    }
    for expected in [
        "case 1: TERM=xterm in /root/bootstrap as root",
        "case 2: TERM=xterm in /root/bootstrap as root",
        "after 75 s: count 3, scripts ",
        "hello from the host",
        &format!("starter: {starter}"),
    ] {
        assert!(ran.stdout.contains(expected), "no `{expected}`: {}", ran.all());
    }
    // The agent's own words are in the log too: the line of each run, once.
    assert_eq!(
        ran.stdout.matches("run 4 of at most 4: fetching").count(),
        1,
        "{}",
        ran.all()
    );
}

#[test]
fn an_agent_started_by_cron_or_by_a_timer_is_driven_to_success_through_a_crash() {
    let bench = &QUICKSTART.bench;
    let flavor = "[flavors.timer]\nsteps = [\n  { inline = \"apt-get -y purge cron\", name = \"no cron\" },\n  \
                  { install = \"vm-bootstrap\" },\n]\n";
    bench.write("timer.toml", variant("timer", flavor));
    let by_cron = thread::spawn(|| drive("out/debian12-3G-vm-bootstrap/debian12-3G-vm-bootstrap.qcow2.gz"));
    let built = bench.run(&["run", "timer.toml"]);
    assert_eq!(built.code, 0, "{}", built.all());
    let by_timer = drive("out-timer/debian12-2G-timer/debian12-2G-timer.qcow2");
    went_by_the_contract(&by_cron.join().unwrap(), "inactive cron");
    went_by_the_contract(&by_timer, "active");
}

#[test]
fn an_agent_that_gives_up_and_one_that_never_asks_are_failures_with_their_reasons() {
    let bench = &QUICKSTART.bench;
    let image = "out/debian12-3G-vm-bootstrap/debian12-3G-vm-bootstrap.qcow2.gz";
    bench.write(
        "hopeless",
        "echo hopeless; echo 1 > bootstrap-max-retry; exit 5\n",
    );
    let ran = bench.run(&[
        "boot",
        image,
        "--machine",
        "kvm-orchestrator",
        "--bootstrap",
        "hopeless",
        "--wait",
    ]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.stdout.contains("\nhopeless\n"), "{}", ran.all());
    assert!(
        ran.stderr
            .contains("the agent gave up after 1 run; the last one exited with 5"),
        "{}",
        ran.all()
    );

    let ran = bench.run(&[
        "boot",
        image,
        "--bootstrap",
        "hopeless",
        "--wait",
        "--timeout",
        "5s",
    ]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.all());
    assert!(
        ran.stderr
            .contains("the guest never asked for /vm-bootstrap within 5s"),
        "{}",
        ran.all()
    );
}
