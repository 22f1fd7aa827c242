//! Guests that take no login: how soon that is known, and the word for it. Those that take a whole Debian are in
//! `full_guest::lockout`.

use serde_json::Value;

use crate::support::inside::{remove, replace};
use crate::support::small_guest::small_disk;
use crate::support::{Bench, Ran};

/// Longest time from the guest's last word to the verdict, in seconds, on a host whose processors other guests want too.
/// With no other guest there, a closed port is known after some 45.
const LIMIT: f64 = 120.0;

/// How an end is reported: the verdict, and a part of the message.
pub type End = (&'static str, &'static str);

/// Looks for the ends of these nodes among the events of a run, and at how soon each came after the guest's last word.
pub fn ended_soon_as(ran: &Ran, expected: &[(String, End)]) {
    let events: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let at = |event: &Value| event["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let mut late = Vec::new();
    for (node, (verdict, said)) in expected {
        let mine: Vec<_> = events
            .iter()
            .filter(|event| event["node"] == node.as_str())
            .collect();
        let end = mine
            .last()
            .unwrap_or_else(|| panic!("nothing of {node}: {}", ran.all()));
        assert_eq!(end["verdict"], *verdict, "{end}");
        assert!(end["message"].as_str().unwrap().contains(said), "{end}");
        // A guest that still prints may yet come; the wait is for one that has nothing more to say.
        let last = mine.iter().rev().find(|event| event["stream"] == "console");
        let took = at(end).duration_since(at(last.unwrap())).as_secs_f64();
        if took > LIMIT {
            late.push(format!("{node} was known after {took:.0} seconds"));
        }
    }
    assert!(late.is_empty(), "{}", late.join("\n"));
}

#[test]
fn a_closed_port_and_a_refused_key_are_told_apart_and_soon() {
    let bench = Bench::new();
    let ends = [
        (
            "closed",
            (
                "port_closed",
                "the guest is on the network but its port 22 is closed; is sshd installed and started?",
            ),
        ),
        (
            "refused",
            (
                "key_refused",
                "sshd answers but refuses the build key; was it put into authorized_keys of this user?",
            ),
        ),
    ];
    let mut text = "[resources]\njobs = 2\ncpus = 2\n\
                    [flavors.base]\nsteps = [{ inline = \"true\", name = \"never\" }]\n"
        .to_owned();
    for (name, _) in ends {
        let disk = small_disk(&bench, name);
        if name == "closed" {
            remove(&disk, "/bin/dropbear", &bench);
        } else {
            replace(&disk, "/root/.ssh/authorized_keys", "", &bench);
        }
        text += &format!(
            "[distros.{name}]\nfamily = \"debian\"\nversion = \"12\"\ndisk = \"64M\"\nmemory = \"128M\"\ncpus = 1\n\
             source = {{ disk = {{ path = \"{name}.raw\", access = {{ key = \"{name}-key\" }} }} }}\n\
             [[images]]\ndistro = \"{name}\"\nflavor = \"base\"\nsizes = [\"64M\"]\n"
        );
    }
    bench.write("lockout.toml", text);
    let ran = bench.run(&["run", "lockout.toml", "--format=json"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    ended_soon_as(
        &ran,
        &ends.map(|(name, end)| (format!("provision/{name}-base"), end)),
    );
}
