//! The boot-time agent keeps its contract.

use super::judge::Fault::Fails;
use super::judge::{Answer, Case, Finding, Look, Owner, Seen};
use super::{Kind, Needs, one_key};

one_key! {
    Agent = "agent",
    "the boot-time agent fetches its script, runs it once as root, and stops for good"
}

impl Kind for Agent {
    fn needs(&self) -> Needs {
        Needs {
            agent: true,
            ..Needs::fact("agent")
        }
    }

    fn owns(&self, owner: Owner) -> bool {
        owner == Owner::Agent
    }

    fn expected(&self, _case: &Case<'_>) -> String {
        "the agent to fetch its script, run it once, and stop for good".to_owned()
    }

    fn find(&self, look: &Look<'_>) -> Finding {
        compare(look.answer()?, look.case.first)
    }
}

/// The agent's contract: what it said when it ran, and when it had ended.
fn compare(answer: &Answer, seen: &Seen) -> Finding {
    let value = |name: &str| {
        answer
            .values()
            .find(|(key, _)| *key == name)
            .map_or("", |(_, value)| value)
    };
    let missing: Vec<_> = answer
        .values()
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
            let left = after.values().filter(|(key, _)| *key == "left");
            faults.extend(left.map(|(_, what)| format!("{what} is still there after the script succeeded")));
        }
    }
    if seen.fetched != 1 {
        faults.push(format!("the script was fetched {} times", seen.fetched));
    }
    if faults.is_empty() {
        Ok("fetched, run once, stopped".to_owned())
    } else {
        Err(Fails(faults.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Answers;
    use crate::checks::judge::testing::{said, seen};

    #[test]
    fn an_agent_is_held_to_every_part_of_its_contract() {
        let good = "uid=0\nfolder=/root/bootstrap\nterm=xterm\npath=/usr/sbin:/usr/bin:/sbin:/bin\nruns=1\nmost=10\nlogged=1";
        let mut first = seen();
        first.after = Some(Answers::from([(0, Answer::saying("runs=1"))]));
        assert!(compare(&Answer::saying(good), &first).is_ok());
        let fails = |text: String, first: &Seen| said(compare(&Answer::saying(&text), first)).1;
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
        again.after = Some(Answers::from([(0, Answer::saying("left=vm-bootstrap.timer"))]));
        assert!(fails(good.to_owned(), &again).starts_with("vm-bootstrap.timer is still there"));
    }
}
