//! Real guests that are lost: what a flavor's steps can break, or somebody else's disk can lack, and how soon it is known.

use std::path::Path;

use pipeline::machine::disk::Put;
use serde_json::Value;

use crate::support::inside::{read, remove, replace, write};
use crate::support::vm::{SMALL, quickstart, raw_disk, variant};
use crate::support::{Bench, tool};

/// Longest time from the guest's last word to the verdict, in seconds, on a host whose processors other guests want too.
/// With nobody else there, a closed port is known after some 45.
const LIMIT: f64 = 120.0;

/// How an end is told: the verdict, and a part of what is said.
type End = (&'static str, &'static str);

/// Flavors whose only step does this before a restart.
const STEPS: &[(&str, &str, End)] = &[
    (
        "stays",
        "ln -sf /bin/true /usr/local/sbin/reboot",
        ("no_reboot", "the guest was told to restart and did not: "),
    ),
    (
        "hungry",
        "tail /dev/zero",
        (
            "guest_out_of_memory",
            "the guest ran out of memory; give the machine more: ",
        ),
    ),
];

/// What is done to a disk, in a folder of its own.
type Break = fn(&Path, &Bench);

/// Copies of a good image, which nobody gave a key to and which are entered by one.
const DISKS: &[(&str, Break, End)] = &[
    (
        "closed",
        |disk, bench| {
            let folder = "/etc/systemd/system";
            remove(
                disk,
                &format!("{folder}/multi-user.target.wants/ssh.service"),
                bench,
            );
            write(disk, &[Put::Link(&format!("{folder}/ssh.service"), "/dev/null")]);
        },
        (
            "port_closed",
            "the guest is on the network but its port 22 is closed; is sshd installed and started?",
        ),
    ),
    (
        "refused",
        |_, _| {},
        (
            "key_refused",
            "sshd answers but refuses the build key; was it put into authorized_keys of this user?",
        ),
    ),
    (
        "rootless",
        |disk, bench| {
            let menu = "/boot/grub/grub.cfg";
            let text = read(disk, menu, bench);
            let broken = text.replace("root=UUID=", "rootdelay=3 root=UUID=not-");
            assert_ne!(text, broken);
            replace(disk, menu, &broken, bench);
        },
        (
            "rescue_shell",
            "the guest stopped in a rescue shell and waits for somebody: ",
        ),
    ),
];

#[test]
fn guests_that_are_lost_in_five_ways_have_five_verdicts_and_soon() {
    let story = quickstart(2);
    let shared = &story.bench;
    let text = variant("lockout", "");
    let (head, _) = text.split_once("[[images]]").unwrap();
    let mut text = format!("{head}[resources]\njobs = 2\ncpus = 2\n");
    for (name, step, _) in STEPS {
        text += &format!(
            "[flavors.{name}]\nsteps = [{{ inline = \"{step}\", name = \"break\" }}, {{ reboot = true }}]\n\
             [[images]]\ndistro = \"debian12\"\nflavor = \"{name}\"\nsizes = [\"2G\"]\n"
        );
    }
    let key = ["-q", "-t", "ed25519", "-N", "", "-f", "lockout-key"];
    tool("ssh-keygen", &key, &shared.path(""));
    text += "[flavors.base]\nsteps = [{ inline = \"true\", name = \"never\" }]\n";
    for (name, break_it, _) in DISKS {
        let bench = Bench::new();
        let raw = bench.path("disk.raw");
        raw_disk(shared, SMALL, &raw);
        break_it(&raw, &bench);
        let disk = format!("lockout-{name}.qcow2");
        let broken = shared.path(&disk).display().to_string();
        let words = ["convert", "-O", "qcow2", "disk.raw", &broken];
        tool("qemu-img", &words, &bench.path(""));
        text += &format!(
            "[distros.{name}]\nfamily = \"debian\"\nversion = \"12\"\ndisk = \"3G\"\ncpus = 1\n\
             source = {{ disk = {{ path = \"{disk}\", access = {{ key = \"lockout-key\" }} }} }}\n\
             [[images]]\ndistro = \"{name}\"\nflavor = \"base\"\nsizes = [\"3G\"]\n"
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
    let steps = STEPS
        .iter()
        .map(|(name, _, verdict)| (format!("debian12-{name}"), verdict));
    let disks = DISKS
        .iter()
        .map(|(name, _, verdict)| (format!("{name}-base"), verdict));
    let mut late = Vec::new();
    for (name, (verdict, said)) in steps.chain(disks) {
        let node = format!("provision/{name}");
        let mine: Vec<_> = events
            .iter()
            .filter(|event| event["node"] == node.as_str())
            .collect();
        let end = mine
            .last()
            .unwrap_or_else(|| panic!("nothing of {name}: {}", ran.all()));
        assert_eq!(end["verdict"], *verdict, "{end}");
        assert!(end["message"].as_str().unwrap().contains(said), "{end}");
        // A guest that still prints may yet come; the wait is for one that has nothing more to say.
        let last = mine.iter().rev().find(|event| event["stream"] == "console");
        let took = at(end).duration_since(at(last.unwrap())).as_secs_f64();
        if took > LIMIT {
            late.push(format!("{name} was known after {took:.0} seconds"));
        }
    }
    assert!(late.is_empty(), "{}", late.join("\n"));
}
