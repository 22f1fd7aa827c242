//! What `execute_command` says: the interpreter, and what else it did.

use super::provisioner::Provisioner;
use crate::import::note::Weight;
use crate::import::path;

/// The interpreter that `execute_command` names. Tells what else it did.
pub(super) fn command(provisioner: &Provisioner<'_>) -> Option<String> {
    let Provisioner { build, options, .. } = *provisioner;
    let user = build.text("ssh_username").filter(|user| user != "root");
    let Some(written) = options.text_of("execute_command") else {
        if let Some(user) = user {
            provisioner.note(
                Weight::Decided,
                "execute_command",
                format!("without one, commands ran as {user}; steps run as root"),
            );
        }
        return None;
    };
    let text = build.resolve(&written);
    let unquoted: String = text
        .replace("{{ .Path }}", "PATH_")
        .chars()
        .filter(|c| !matches!(c, '\'' | '"'))
        .collect();
    let words: Vec<&str> = unquoted.split_whitespace().collect();
    if !unquoted.contains("PATH_") {
        provisioner.note(
            Weight::Todo,
            "execute_command",
            "does not run the script at all; see what it did, and write a step for it",
        );
        return None;
    }
    let is_root = words
        .iter()
        .any(|word| matches!(path::name(word), "sudo" | "su" | "doas" | "dzdo"));
    match user.filter(|_| !is_root) {
        Some(user) => provisioner.note(
            Weight::Decided,
            "execute_command",
            format!("ran the script as {user}; steps run as root"),
        ),
        None => provisioner.note(
            Weight::Decided,
            "execute_command",
            "became root; steps run as root, without a password",
        ),
    }
    let at = words.iter().rposition(|word| word.contains("PATH_"))?;
    let shells = ["bash", "sh", "dash", "ksh", "zsh", "python", "python3", "perl"];
    let start = words[..at]
        .iter()
        .rposition(|word| shells.contains(&path::name(word)))?;
    let between = &words[start + 1..at];
    // `sh -c "… PATH"` runs the script by its own first line.
    let plain = between
        .iter()
        .all(|word| word.starts_with('-') && !word.contains('c'));
    plain.then(|| words[start..at].join(" "))
}
