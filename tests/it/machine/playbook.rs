//! Ansible against a real sshd.

use std::fs::File;
use std::time::{Duration, Instant};

use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::machine::ssh::{Key, Ssh, SshAddress};
use pipeline::internals::manifest::model::AnsibleStep;
use pipeline::internals::stage::provision::{Action, PlannedStep, ansible};

use super::LONG;
use super::sshd::Sshd;
use crate::support::vm::processes_naming;
use crate::support::{Bench, tool};

#[test]
fn a_playbook_keeps_one_connection_and_leaves_none() {
    let bench = Bench::new();
    let key = Key::generate(&bench.path(""), &Cancel::default()).unwrap();
    let sshd = Sshd::start(&bench, key.public());
    let target = SshAddress {
        host: "127.0.0.1".to_owned(),
        port: sshd.port,
        user: tool("id", &["-un"], &bench.path("")).trim().to_owned(),
    };
    let ssh = Ssh::connect(&target, &key, LONG, &mut || true).unwrap();
    let before = sshd.connections();
    let tasks = "    - raw: echo $((6 * 7)) >> DONE\n"
        .repeat(5)
        .replace("DONE", bench.path("done").to_str().unwrap());
    let playbook = bench.write(
        "play/site.yml",
        format!("- hosts: all\n  gather_facts: false\n  become: false\n  tasks:\n{tasks}"),
    );
    // A configuration of the user's next to it is not lost, and its name for connections is no danger.
    let step = AnsibleStep {
        playbook,
        args: vec![
            "--ssh-common-args".to_owned(),
            "-o ServerAliveInterval=7".to_owned(),
        ],
        digest: String::new(),
    };
    let planned = PlannedStep {
        label: "ansible site.yml".to_owned(),
        action: Action::Ansible(step.clone()),
        timeout: LONG,
        retries: 0,
    };
    let (site, _events) = bench.site("provision/x");
    let log = bench.path("logs/ansible.log");
    let file = File::create(&log).unwrap();
    let began = Instant::now();
    ansible::playbook(&step, &planned, &ssh, (log, file), &site).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(bench.read("done"), "42\n".repeat(5));
    assert_eq!(
        sshd.connections() - before,
        1,
        "{}",
        bench.read("logs/ansible.log")
    );
    // Its connection has ended with it; ours has not.
    super::soon("the end of Ansible's connection", || {
        processes_naming(key.path())
            .iter()
            .all(|line| !line.contains("ServerAliveInterval=7"))
    });
    assert!(ssh.is_alive());
    assert!(
        began.elapsed() < Duration::from_secs(50),
        "it waits for nothing to end by itself"
    );
}
