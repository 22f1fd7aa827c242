//! Every kind of step in a real guest, and a step that fails.

use crate::support::saved_guest::{SAVED, was_restored};
use crate::support::vm::{booted_quickstart, variant};

#[test]
fn steps_run_in_order_and_a_failed_one_shows_its_output_and_hides_secrets() {
    let story = booted_quickstart(1);
    let shared = &story.bench;
    shared.write("files/motd", "hello from the host\n");
    shared.write("files/deep/er/file", "deep\n");
    shared.write(
        "check.py",
        "#!/usr/bin/perl\nprint \"by perl: $ENV{GREETING}\\n\"; exit 4;\n",
    );
    // `raw` asks for no Python in the guest. It succeeds at its second attempt.
    let playbook = "- hosts: all\n  gather_facts: false\n  tasks:\n    - raw: test -e /root/by-ansible || \
                    { cat /etc/hostname > /root/by-ansible; echo out of coffee; exit 1; }\n";
    shared.write("site/site.yml", playbook);
    let flavor = r#"[flavors.steps]
steps = [
  { copy = "files", to = "/srv/files", owner = "daemon:daemon" },
  { copy = "files/motd", to = "/etc/motd", mode = "0640" },
  { inline = "mount -t tmpfs -o noexec tmpfs /tmp", name = "noexec" },
  { run = "check.py", env = { GREETING = "it's {{ timezone }}" }, exit_codes = [4] },
  { inline = "print \"by $^X: @ARGV\"; exit 5;", interpreter = "perl -l", exit_codes = [5], name = "interpreted" },
  { inline = "echo \"$(id -un) in $(pwd), $HOME: $GREETING\"; exit 6", user = "daemon", env = { GREETING = "it's me" }, exit_codes = [6], name = "by another" },
  { inline = "test -e /root/slow || { touch /root/slow; sleep 600; }", timeout = "15s", retries = 1, name = "slow" },
  { reboot = true },
  { ansible = "site/site.yml", retries = 1 },
  { inline = "grep -q debian12 /root/by-ansible && grep -q 'hello from the host' /etc/motd && stat -c '%a %U' /etc/motd /srv/files/deep/er/file", name = "look" },
  { inline = "echo the token is $TOKEN; echo $TOKEN > /root/kept; rm /root/kept; exit 3", env = { TOKEN = { env = "TEST_TOKEN" } }, name = "broken", retries = 1 },
]
"#;
    shared.write("steps.toml", variant("steps", flavor));
    let refused = shared.run(&["run", "steps.toml"]);
    assert_eq!(refused.code, 2, "{}", refused.all());
    assert!(refused.stderr.contains("TEST_TOKEN"), "{}", refused.all());

    let mut command = shared.command(&["run", "steps.toml", "--verbose"]);
    command.env("TEST_TOKEN", "s3cret-value-of-this-test");
    let ran = shared.finish(command);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert_eq!(was_restored(shared), SAVED.is_some());
    for expected in [
        "by perl: it's Etc/UTC",
        "by /usr/bin/perl:",
        "daemon in /usr/sbin, /usr/sbin: it's me",
        "step slow failed; trying again (attempt 2 of 2): step `slow` did not end within 15s",
        "trying again (attempt 2 of 2): step `ansible site/site.yml`: `ansible-playbook` exited with code 2",
        "out of coffee",
        "640 root",
        "644 daemon",
        "attempt 2 of 2",
        "step `broken` exited with code 3",
        "the token is ***",
        " not done",
    ] {
        assert!(ran.stderr.contains(expected), "no `{expected}` in\n{}", ran.all());
    }
    assert!(!ran.all().contains("s3cret-value"), "{}", ran.all());
    let log = ran.stderr.split("    log     [ROOT]/").nth(1).unwrap();
    let (logs, log) = log.lines().next().unwrap().rsplit_once('/').unwrap();
    assert_eq!(log, "broken.log");
    let verdict = shared.read(&format!("{logs}/verdict.txt"));
    for expected in ["step `broken` exited with code 3", "| the token is ***"] {
        assert!(verdict.contains(expected), "no `{expected}` in\n{verdict}");
    }
    let hits = std::process::Command::new("grep")
        .args(["-rlaF", "s3cret-value-of-this-test", "store", "out-steps"])
        .current_dir(shared.path(""))
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&hits.stdout),
        "",
        "a secret was written to disk"
    );
    assert!(!shared.path("out-steps").exists());
}

/// Two flavors: in one a step restarts the guest, in the other a step leaves something behind that switches it off.
#[test]
fn a_guest_that_goes_down_by_itself_is_neither_worked_on_nor_sealed() {
    let story = booted_quickstart(2);
    let shared = &story.bench;
    let restarts = r#"[flavors.restarts]
steps = [
  { inline = "systemctl reboot", name = "upgrade", retries = 3 },
  { inline = "echo the next step ran", name = "next" },
]
[flavors.leaves]
steps = [
  { inline = "setsid sh -c 'sleep 5; systemctl poweroff' >/dev/null 2>&1 </dev/null &", name = "arm" },
  { inline = "echo it waits; sleep 600", name = "wait", retries = 3 },
]
[[images]]
distro = "debian12"
flavor = "leaves"
sizes = ["2G"]
"#;
    shared.write("restarts.toml", variant("restarts", restarts));
    let ran = shared.run(&["run", "restarts.toml", "--verbose"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    let words = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        "the guest is restarting after `upgrade`, and the pipeline did not order that",
        "put { reboot = true } behind the step",
        "unexpected restart: provision",
        "the guest powered itself off while `wait` ran (which ran after `arm`)",
        "unexpected power off: provision",
    ] {
        assert!(words.contains(expected), "no `{expected}` in\n{}", ran.all());
    }
    for absent in ["the next step ran", "sealing", "trying again"] {
        assert!(!words.contains(absent), "`{absent}` in\n{}", ran.all());
    }
}
