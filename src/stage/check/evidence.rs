//! What the guest's answers say: each kind of question with what it must be answered. Pure.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use super::judge::{Cause, Seen};
use super::questions::Answer;
use crate::manifest::assertion::CommandCheck;
use crate::size::{ByteSize, MIB, show_duration};

/// Room at a disk's end that belongs to no partition, at most: the second copy of a GUID table, and alignment.
const TAIL: u64 = 2 * MIB;
/// What a file system may keep of its partition for itself, in hundredths: inode tables and the journal.
const OWN_HUNDREDTHS: u64 = 10;
/// The guest's list of identities that clones share on purpose; `guest/inventory.sh` reads it.
const SHARED_LIST: &str = "/etc/shared-identities";
/// Lines of an output that a verdict shows.
const SHOWN: usize = 12;

/// What came of one check before others are looked at, with what was seen.
#[derive(Debug)]
pub enum Finding {
    Holds(String),
    Fails(String),
    /// It could not be looked at.
    Blocked(Cause),
}
use Finding::{Fails, Holds};

/// Values of `name=…` lines, by name.
fn values(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once('='))
}

/// A value of `a*b`, in bytes.
fn product(text: &str, name: &str) -> Option<u64> {
    let (_, value) = values(text).find(|(key, _)| *key == name)?;
    let (a, b) = value.split_once('*')?;
    a.trim().parse::<u64>().ok()?.checked_mul(b.trim().parse().ok()?)
}

/// Disk, partition and file system against the size of the image in bytes.
pub fn root_size(answer: &Answer, size: u64) -> Finding {
    let value = |name| product(&answer.output, name);
    let (Some(filesystem), Some(device)) = (value("filesystem"), value("device")) else {
        return Fails(format!("sizes that make no sense: {}", brief(&answer.output)));
    };
    if let Some(disk) = value("disk").filter(|disk| *disk != size) {
        return Fails(format!("a disk of {}", ByteSize(disk)));
    }
    let end = value("start").map(|start| start.saturating_add(device));
    if let Some(end) = end.filter(|end| end.saturating_add(TAIL) < size) {
        return Fails(format!(
            "a root partition that ends at {} of {}",
            ByteSize(end),
            ByteSize(size)
        ));
    }
    if filesystem < device / 100 * (100 - OWN_HUNDREDTHS) {
        let (have, room) = (ByteSize(filesystem), ByteSize(device));
        return Fails(format!("a root file system of {have} on {room}"));
    }
    Holds(format!("{} for files", ByteSize(filesystem)))
}

/// Two clones against each other.
pub fn identity(first: &str, second: &str) -> Finding {
    let id = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("machine-id"));
        line.unwrap_or_default().trim().to_owned()
    };
    let keys = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("host-key "));
        lines.map(str::to_owned).collect()
    };
    // By their digests: the same key may have another name in the other clone.
    let secrets = |text: &str| -> BTreeMap<String, String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("secret "));
        let pairs = lines.filter_map(|line| line.split_once(' '));
        pairs
            .map(|(digest, path)| (digest.to_owned(), path.to_owned()))
            .collect()
    };
    let (ours, theirs) = (id(first), id(second));
    // 32 hexadecimal digits: machine-id(5). Some systems have none.
    let is_id = |id: &str| id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit());
    if !is_id(&ours) || !is_id(&theirs) {
        return Fails(format!("machine ids `{ours}` and `{theirs}`"));
    }
    if ours == theirs {
        return Fails(format!("the machine id {ours} in both"));
    }
    let (our_keys, their_keys) = (keys(first), keys(second));
    if let Some(key) = our_keys.intersection(&their_keys).next() {
        let kind = key.split(' ').next().unwrap_or_default();
        return Fails(format!("one SSH host key in both ({kind})"));
    }
    let has_sshd = first.lines().any(|line| line == "sshd");
    if has_sshd && (our_keys.is_empty() || their_keys.is_empty()) {
        return Fails("no SSH host key although there is an sshd".to_owned());
    }
    let their_secrets = secrets(second);
    let same: Vec<_> = secrets(first)
        .into_iter()
        .filter(|(digest, _)| their_secrets.contains_key(digest))
        .map(|(_, path)| path)
        .collect();
    if !same.is_empty() {
        return Fails(format!(
            "the same in both: {}\nmake {} at the first boot, or list in {SHARED_LIST} what clones share on purpose",
            brief(&same.join("\n")),
            if same.len() == 1 { "it" } else { "them" }
        ));
    }
    let shared: Vec<_> = first
        .lines()
        .filter_map(|line| line.strip_prefix("shared "))
        .collect();
    Holds(match shared.as_slice() {
        [] => "machine ids, host keys and private keys differ".to_owned(),
        shared => format!(
            "machine ids, host keys and private keys differ; shared on purpose: {}",
            shared.join(", ")
        ),
    })
}

/// The agent's contract: what it said when it ran, and when it had ended.
pub fn agent(answer: &Answer, seen: &Seen) -> Finding {
    let output = &answer.output;
    let value = |name: &str| {
        values(output)
            .find(|(key, _)| *key == name)
            .map_or("", |(_, value)| value)
    };
    let missing: Vec<_> = values(output)
        .filter(|(key, _)| *key == "missing")
        .map(|(_, v)| v)
        .collect();
    let mut faults = Vec::new();
    if !missing.is_empty() {
        faults.push(format!("{} missing", missing.join(", ")));
    }
    for (name, wanted, what) in [
        ("uid", "0", "its user"),
        ("folder", "/root/bootstrap", "its folder"),
        ("term", "xterm", "TERM"),
    ] {
        if value(name) != wanted {
            faults.push(format!("{what} is `{}` and not `{wanted}`", value(name)));
        }
    }
    for folder in ["/usr/sbin", "/usr/bin", "/sbin", "/bin"] {
        if !value("path").split(':').any(|part| part == folder) {
            faults.push(format!("{folder} is not in its PATH"));
        }
    }
    // The log begins empty, so it tells how many runs there really were.
    if value("runs") != value("logged") {
        let (runs, logged) = (value("runs"), value("logged"));
        faults.push(format!(
            "it counts {runs} runs at its first boot, and its log has {logged}"
        ));
    }
    if value("most").parse::<u32>().is_err() {
        faults.push(format!("the most runs are `{}`", value("most")));
    }
    match seen.after.as_ref().and_then(|answers| answers.get(&0)) {
        None => faults.push("what the script left in the background was not heard of again".to_owned()),
        Some(after) => {
            let left = values(&after.output).filter(|(key, _)| *key == "left");
            faults.extend(left.map(|(_, what)| format!("{what} is still there after the script succeeded")));
        }
    }
    if seen.fetched != 1 {
        faults.push(format!("the script was fetched {} times", seen.fetched));
    }
    if faults.is_empty() {
        Holds("fetched, run once, stopped".to_owned())
    } else {
        Fails(faults.join("; "))
    }
}

/// A command of the user's.
pub fn command(wanted: &CommandCheck, answer: &Answer) -> Finding {
    let seen = |what: String| match brief(&answer.output) {
        nothing if nothing.is_empty() => format!("{what} and no output"),
        output => format!("{what} and the output\n{output}"),
    };
    if answer.code != wanted.exit_code {
        let what = match answer.code {
            // timeout(1)
            124 => format!("no end within {}", show_duration(wanted.timeout)),
            code => format!("exit code {code}"),
        };
        return Fails(seen(what));
    }
    let has_text = wanted
        .output
        .as_ref()
        .is_none_or(|text| answer.output.contains(text));
    // Compiled once when the manifest was checked.
    let matches = |pattern: &String| Regex::new(pattern).is_ok_and(|regex| regex.is_match(&answer.output));
    if has_text && wanted.matches.as_ref().is_none_or(matches) {
        Holds(format!("exit code {}", answer.code))
    } else {
        Fails(seen(format!("exit code {}", answer.code)))
    }
}

/// The first lines of an output.
pub fn brief(output: &str) -> String {
    let lines: Vec<_> = output.lines().filter(|line| !line.trim().is_empty()).collect();
    let more = lines.len().saturating_sub(SHOWN);
    let mut text = lines[..lines.len() - more].join("\n");
    if more > 0 {
        text += &format!("\n… and {more} more lines");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::super::questions::Answers;
    use super::*;

    const GIB: u64 = 1 << 30;

    fn answer(output: &str) -> Answer {
        Answer {
            output: output.to_owned(),
            ..Answer::default()
        }
    }

    fn find(finding: &Finding) -> (bool, &str) {
        match finding {
            Holds(seen) => (true, seen),
            Fails(seen) => (false, seen),
            Finding::Blocked(cause) => (false, &cause.text),
        }
    }

    #[test]
    fn a_root_that_was_not_grown_is_seen_by_its_disk_its_partition_or_its_file_system() {
        let root = |fs: u64, device: u64, start: u64, disk: u64| {
            let text = format!("filesystem={fs}*1\ndevice={device}*1\nstart={start}*1\ndisk={disk}*1");
            let finding = root_size(&answer(&text), 3 * GIB);
            let (holds, seen) = find(&finding);
            (holds, seen.to_owned())
        };
        let whole = 3 * GIB - MIB;
        assert!(root(whole / 100 * 95, whole, MIB, 3 * GIB).0);
        assert_eq!(
            root(whole, whole, MIB, 2 * GIB),
            (false, "a disk of 2 GiB".to_owned())
        );
        let (_, seen) = root(2 * GIB, 2 * GIB - MIB, MIB, 3 * GIB);
        assert_eq!(seen, "a root partition that ends at 2 GiB of 3 GiB");
        let (_, seen) = root(2 * GIB, whole, MIB, 3 * GIB);
        assert!(seen.starts_with("a root file system of 2 GiB on "), "{seen}");
        assert!(!find(&root_size(&answer("df: what?"), GIB)).0);
    }

    #[test]
    fn clones_share_neither_machine_ids_nor_host_keys() {
        let clone = |id: &str, key: &str| format!("machine-id {id}\nsshd\n{key}");
        let (a, b) = ("a".repeat(32), "b".repeat(32));
        let (k, l) = ("host-key ssh-ed25519 AAAAk", "host-key ssh-ed25519 AAAAl");
        let seen = |x: &str, y: &str| find(&identity(x, y)).1.to_owned();
        assert!(find(&identity(&clone(&a, k), &clone(&b, l))).0);
        assert_eq!(
            seen(&clone(&a, k), &clone(&a, l)),
            format!("the machine id {a} in both")
        );
        assert_eq!(
            seen(&clone(&a, k), &clone(&b, k)),
            "one SSH host key in both (ssh-ed25519)"
        );
        assert_eq!(
            seen(&clone("", k), &clone(&b, l)),
            format!("machine ids `` and `{b}`")
        );
        assert_eq!(
            seen(&clone(&a, ""), &clone(&b, "")),
            "no SSH host key although there is an sshd"
        );
        let with = |id: &str, key: &str, secrets: &str| clone(id, key) + "\n" + secrets;
        let tls = "secret 1a /etc/ssl/private/a.key\nsecret 2b /etc/munge/munge.key";
        let moved = "secret 3c /etc/ssl/private/a.key\nsecret 2b /var/lib/munge.key";
        let fails = seen(&with(&a, k, tls), &with(&b, l, moved));
        assert!(
            fails.starts_with("the same in both: /etc/munge/munge.key\n") && fails.contains(SHARED_LIST),
            "{fails}"
        );
        let listed = "secret 3c /etc/x.key\nshared /etc/munge/munge.key";
        let differ = identity(
            &with(&a, k, "secret 1a /etc/x.key\nshared /etc/munge/munge.key"),
            &with(&b, l, listed),
        );
        let (holds, said) = find(&differ);
        assert!(
            holds && said.ends_with("shared on purpose: /etc/munge/munge.key"),
            "{said}"
        );
    }

    #[test]
    fn an_agent_is_held_to_every_part_of_its_contract() {
        let good = "uid=0\nfolder=/root/bootstrap\nterm=xterm\npath=/usr/sbin:/usr/bin:/sbin:/bin\nruns=1\nmost=10\nlogged=1";
        let mut first = Seen {
            life: Ok((Duration::from_secs(9), "a login prompt")),
            login: None,
            network: Ok("sshd greets"),
            ports: BTreeMap::new(),
            fetched: 1,
            answers: Ok(Answers::new()),
            after: None,
        };
        first.after = Some(Answers::from([(0, answer("runs=1"))]));
        assert!(find(&agent(&answer(good), &first)).0);
        let fails = |text: String, first: &Seen| find(&agent(&answer(&text), first)).1.to_owned();
        assert_eq!(
            fails(good.replace("xterm", "dumb"), &first),
            "TERM is `dumb` and not `xterm`"
        );
        assert!(fails(good.replace("runs=1", "runs=4"), &first).contains("it counts 4 runs"));
        assert!(
            fails(format!("{good}\nmissing=/etc/cron.d/vm-boostrap"), &first).contains("vm-boostrap missing")
        );
        let mut again = first.clone();
        again.fetched = 2;
        assert_eq!(fails(good.to_owned(), &again), "the script was fetched 2 times");
        again.after = Some(Answers::from([(0, answer("left=vm-bootstrap.timer"))]));
        assert!(fails(good.to_owned(), &again).starts_with("vm-bootstrap.timer is still there"));
    }

    #[test]
    fn a_command_is_judged_by_code_text_and_pattern() {
        let wanted = CommandCheck {
            command: "true".to_owned(),
            exit_code: 3,
            output: Some("beans".to_owned()),
            matches: Some("^no \\w+$".to_owned()),
            timeout: Duration::from_secs(60),
        };
        let seen = |code, output: &str| {
            let answer = Answer {
                code,
                ..answer(output)
            };
            let finding = command(&wanted, &answer);
            let (holds, seen) = find(&finding);
            (holds, seen.to_owned())
        };
        assert!(seen(3, "no beans").0);
        assert_eq!(seen(0, ""), (false, "exit code 0 and no output".to_owned()));
        assert_eq!(seen(3, "two beans").1, "exit code 3 and the output\ntwo beans");
        assert_eq!(seen(124, "").1, "no end within 1m 00s and no output");
    }
}
