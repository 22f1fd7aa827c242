//! Real guests that are lost: what a flavor's steps can break, and how soon it is known.

use serde_json::Value;

use crate::support::vm::{BUSY, quickstart, variant};

/// Longest time from the guest's last word to the verdict, on a host that is busy with other guests.
const LIMIT: f64 = 120.0;

/// A flavor whose step does this, and restarts, and how that is told.
struct Broken {
    name: &'static str,
    step: &'static str,
    verdict: &'static str,
}

const BROKEN: &[Broken] = &[
    Broken {
        name: "closed",
        step: "systemctl mask ssh.service ssh.socket && systemctl disable ssh.service",
        verdict: "port_closed",
    },
    Broken {
        name: "refused",
        step: "rm -rf /root/.ssh/authorized_keys",
        verdict: "key_refused",
    },
    Broken {
        name: "stays",
        step: "ln -sf /bin/true /usr/local/sbin/reboot",
        verdict: "no_reboot",
    },
    Broken {
        name: "hungry",
        step: "tail /dev/zero",
        verdict: "guest_out_of_memory",
    },
    Broken {
        name: "rootless",
        step: "sed -i 's/root=UUID=[0-9a-f-]*/root=UUID=none rootdelay=3/' /boot/grub/grub.cfg",
        verdict: "rescue_shell",
    },
];

#[test]
fn guests_that_are_lost_in_five_ways_have_five_verdicts_and_soon() {
    let story = quickstart(2 * BUSY);
    let shared = story.bench;
    let mut text = variant("lockout", "");
    let (head, _) = text.split_once("[[images]]").unwrap();
    text = format!("{head}[resources]\njobs = 2\ncpus = 2\n");
    for Broken { name, step, .. } in BROKEN {
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
    for Broken { name, verdict, .. } in BROKEN {
        let node = format!("provision/debian12-{name}");
        let mine: Vec<_> = events
            .iter()
            .filter(|event| event["node"] == node.as_str())
            .collect();
        let end = mine.last().unwrap();
        assert_eq!(end["verdict"], *verdict, "{end}");
        // A guest that still prints may yet come; the wait is for one that has nothing more to say.
        let last = mine.iter().rev().find(|event| event["stream"] == "console");
        let took = at(end).duration_since(at(last.unwrap())).as_secs_f64();
        assert!(took < LIMIT, "{name} was known after {took} seconds");
    }
}
