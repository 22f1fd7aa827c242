//! Two clones have machine ids, SSH host keys and other private keys of their own.

use std::collections::{BTreeMap, BTreeSet};

use super::judge::Fault::Fails;
use super::judge::{Case, Finding, Look, brief};
use super::{Kind, Needs, one_key};

/// The guest's list of identities that clones share on purpose; `guest/inventory.sh` reads it.
const SHARED_LIST: &str = "/etc/shared-identities";

one_key! {
    Identity = "identity",
    "two clones have machine ids, SSH host keys, and private keys below /etc and /var/lib of their own (a second boot)"
}

impl Kind for Identity {
    fn needs(&self) -> Needs {
        Needs {
            second: true,
            ..Needs::fact("identity")
        }
    }

    fn expected(&self, _case: &Case<'_>) -> String {
        "two clones with machine ids, SSH host keys and other private keys of their own".to_owned()
    }

    fn find(&self, look: &Look<'_>) -> Finding {
        let answer = look.answer()?;
        let Some(second) = look.case.second else {
            return Err(Fails("there was no second boot".to_owned()));
        };
        let of_second = |why: &str| Fails(format!("the second clone: {why}"));
        second.life.as_ref().map_err(|why| of_second(why))?;
        let others = second.answers.as_ref().map_err(|cause| of_second(&cause.text))?;
        let other = others
            .get(&look.number)
            .map_or("", |answer| answer.output.as_str());
        compare(&answer.output, other)
    }
}

/// Two clones against each other.
fn compare(first: &str, second: &str) -> Finding {
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
    let mut faults = Vec::new();
    if !is_id(&ours) || !is_id(&theirs) {
        faults.push(format!("machine ids `{ours}` and `{theirs}`"));
    } else if ours == theirs {
        faults.push(format!("the machine id {ours} in both"));
    }
    let (our_keys, their_keys) = (keys(first), keys(second));
    let has_sshd = first.lines().any(|line| line == "sshd");
    if let Some(key) = our_keys.intersection(&their_keys).next() {
        let kind = key.split(' ').next().unwrap_or_default();
        faults.push(format!("one SSH host key in both ({kind})"));
    } else if has_sshd && (our_keys.is_empty() || their_keys.is_empty()) {
        faults.push("no SSH host key although there is an sshd".to_owned());
    }
    let their_secrets = secrets(second);
    let same: Vec<_> = secrets(first)
        .into_iter()
        .filter(|(digest, _)| their_secrets.contains_key(digest))
        .map(|(_, path)| path)
        .collect();
    if !same.is_empty() {
        faults.push(format!(
            "the same in both: {}\nmake {} at the first boot, or list in {SHARED_LIST} what clones share on purpose",
            brief(&same.join("\n")),
            if same.len() == 1 { "it" } else { "them" }
        ));
    }
    if !faults.is_empty() {
        return Err(Fails(faults.join("\n")));
    }
    let shared: Vec<_> = first
        .lines()
        .filter_map(|line| line.strip_prefix("shared "))
        .collect();
    Ok(match shared.as_slice() {
        [] => "machine ids, host keys and private keys differ".to_owned(),
        shared => format!(
            "machine ids, host keys and private keys differ; shared on purpose: {}",
            shared.join(", ")
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::judge::testing::said;

    #[test]
    fn clones_share_neither_machine_ids_nor_host_keys() {
        let clone = |id: &str, key: &str| format!("machine-id {id}\nsshd\n{key}");
        let (a, b) = ("a".repeat(32), "b".repeat(32));
        let (k, l) = ("host-key ssh-ed25519 AAAAk", "host-key ssh-ed25519 AAAAl");
        let seen = |x: &str, y: &str| said(compare(x, y)).1;
        assert!(compare(&clone(&a, k), &clone(&b, l)).is_ok());
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
        assert!(
            seen(&with(&a, k, tls), &with(&a, k, moved)).starts_with(&format!(
                "the machine id {a} in both\none SSH host key in both (ssh-ed25519)\nthe same in both: /etc/munge"
            )),
            "all that is the same is reported at once"
        );
        let listed = "secret 3c /etc/x.key\nshared /etc/munge/munge.key";
        let differ = compare(
            &with(&a, k, "secret 1a /etc/x.key\nshared /etc/munge/munge.key"),
            &with(&b, l, listed),
        );
        let (holds, said) = said(differ);
        assert!(
            holds && said.ends_with("shared on purpose: /etc/munge/munge.key"),
            "{said}"
        );
    }
}
