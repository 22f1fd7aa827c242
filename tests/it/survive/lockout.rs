//! Real guests that lock us out: what a flavor's steps can break, and how soon it is known.

use serde_json::Value;

use crate::support::vm::{BUSY, quickstart, variant};

/// Longest time from the guest's last word to the verdict, on a host that is busy with other guests.
const LIMIT: f64 = 120.0;

#[test]
fn a_closed_port_a_refused_key_and_a_restart_that_never_comes_are_told_apart_and_soon() {
    let story = quickstart(3 * BUSY);
    let shared = story.bench;
    let closed = "systemctl mask ssh.service ssh.socket && systemctl disable ssh.service";
    let refused = "rm -rf /root/.ssh/authorized_keys";
    let stays = "ln -sf /bin/true /usr/local/sbin/reboot";
    let mut text = variant("lockout", "");
    let (head, _) = text.split_once("[[images]]").unwrap();
    text = format!("{head}[resources]\njobs = 3\ncpus = 3\n");
    for (name, step) in [("closed", closed), ("refused", refused), ("stays", stays)] {
        text += &format!(
            "[flavors.{name}]\nsteps = [{{ inline = \"{step}\", name = \"break\" }}, {{ reboot = true }}]\n\
             [[images]]\ndistro = \"debian12\"\nflavor = \"{name}\"\nsizes = [\"2G\"]\n"
        );
    }
    shared.write("lockout.toml", text);
    let ran = shared.run(&["run", "lockout.toml", "--format=json"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    let events: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let at = |event: &Value| event["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    for (name, word) in [
        ("closed", "port_closed"),
        ("refused", "key_refused"),
        ("stays", "no_reboot"),
    ] {
        let node = format!("provision/debian12-{name}");
        let mine: Vec<_> = events
            .iter()
            .filter(|event| event["node"] == node.as_str())
            .collect();
        let end = mine.last().unwrap();
        assert_eq!(end["verdict"], word, "{end}");
        // A guest that still prints may yet come; the wait is for one that has nothing more to say.
        let last = mine.iter().rev().find(|event| event["stream"] == "console");
        let took = at(end).duration_since(at(last.unwrap())).as_secs_f64();
        assert!(took < LIMIT, "{name} was known after {took} seconds");
    }
}
