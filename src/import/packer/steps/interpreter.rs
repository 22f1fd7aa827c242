//! What `execute_command` says: who runs the script, by what, and with which environment.

use toml_edit::Value;

use super::provisioner::{Provisioner, Shared};
use crate::import::note::Weight;
use crate::import::packer::go;
use crate::import::path;

/// How a script is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Runs {
    /// Absent: as its first line says.
    pub(super) interpreter: Option<String>,
    /// Absent: root.
    pub(super) user: Option<String>,
    /// Variables that the command sets.
    pub(super) env: Vec<(String, String)>,
    /// It became root, but kept its own home.
    pub(super) keeps_home: bool,
}

impl Runs {
    /// Adds what it says to the keys of steps.
    pub(super) fn add_to(&self, shared: &mut Shared) {
        for (name, value) in &self.env {
            shared.env.insert(name, Value::from(go::escape(value)));
        }
        let keys = [("interpreter", &self.interpreter), ("user", &self.user)];
        let said = keys
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.as_deref()?)));
        shared
            .keys
            .extend(said.map(|(key, value)| (key, Value::from(value))));
    }
}

const SHELLS: [&str; 8] = ["bash", "sh", "dash", "ksh", "zsh", "python", "python3", "perl"];

/// What the command says; an error: why no step can do the same.
pub(super) fn command(provisioner: &Provisioner<'_>) -> Result<Runs, String> {
    let Provisioner { build, options, .. } = *provisioner;
    let login = build.text("ssh_username").filter(|user| user != "root");
    let Some(written) = options.text_of("execute_command") else {
        return Ok(Runs {
            user: login,
            ..Runs::default()
        });
    };
    let runs = read(&build.resolve(&written), login)?;
    let text = match &runs.user {
        Some(user) => format!("the step's `user` is {user}"),
        None => "steps run as root, without a password".to_owned(),
    };
    provisioner.note(Weight::Decided, "execute_command", text);
    Ok(runs)
}

/// Reads a command of a login (absent: root's).
fn read(command: &str, login: Option<String>) -> Result<Runs, String> {
    let lost = |part: &str| Err(format!("`{}` in it is not what a step does", part.trim()));
    let marked = command
        .replace("{{ .Path }}", "PATH_")
        .replace("{{ .Vars }}", "VARS_");
    let unquoted: String = marked.chars().filter(|c| !matches!(c, '\'' | '"')).collect();
    let parts = unquoted.replace("&&", ";").replace('|', ";");
    let Some(run) = parts
        .split(';')
        .rfind(|part| part.contains("PATH_") && !is_harmless(part))
    else {
        return Err("it does not run the script at all".to_owned());
    };
    if let Some(other) = parts.split(';').find(|part| *part != run && !is_harmless(part)) {
        return lost(other);
    }
    let mut runs = Runs {
        user: login,
        ..Runs::default()
    };
    let mut words = run.split_whitespace().peekable();
    while let Some(word) = words.next_if(|word| !word.contains("PATH_")) {
        match path::name(word) {
            "sudo" | "doas" => {
                runs.user = None;
                while let Some(option) = words.next_if(|word| word.starts_with('-')) {
                    match option {
                        "-u" | "--user" => runs.user = words.next().map(str::to_owned),
                        option if option.starts_with("--user=") => runs.user = Some(option[7..].to_owned()),
                        option => runs.keeps_home |= !option.starts_with("--") && option.contains('E'),
                    }
                }
            }
            "su" => {
                runs.user = None;
                while let Some(word) = words.next_if(|word| *word != "-c" && !word.contains("PATH_")) {
                    if !word.starts_with('-') {
                        runs.user = Some(word.to_owned());
                    }
                }
                words.next_if(|word| *word == "-c");
            }
            "env" | "VARS_" | "exec" => {}
            shell if SHELLS.contains(&shell) => {
                let mut line = vec![word];
                let mut by_itself = false;
                while let Some(option) = words.next_if(|word| word.starts_with('-')) {
                    by_itself |= !option.starts_with("--") && option.contains('c');
                    line.push(option);
                }
                // `sh -c PATH` runs the script by its own first line.
                runs.interpreter = (!by_itself).then(|| line.join(" "));
            }
            _ => match word.split_once('=') {
                Some((name, value)) if go::is_variable(name) => {
                    runs.env.push((name.to_owned(), value.to_owned()));
                }
                _ => {
                    // Whatever it is, it starts what follows.
                    let mut line = vec![word];
                    while let Some(word) = words.next_if(|word| !word.contains("PATH_")) {
                        line.push(word);
                    }
                    if line.iter().any(|word| {
                        matches!(*word, "VARS_" | "." | "source") || word.contains(['|', '>', '$'])
                    }) {
                        return lost(run);
                    }
                    runs.interpreter = Some(line.join(" "));
                }
            },
        }
    }
    if runs.user.as_deref() == Some("root") {
        runs.user = None;
    }
    match words.next() {
        Some("PATH_") if words.next().is_none() => Ok(runs),
        _ => lost(run),
    }
}

/// Whether a part of a command only makes the script ready, or gives a password to sudo.
fn is_harmless(part: &str) -> bool {
    let mut words = part.split_whitespace();
    let words: Vec<_> = words
        .by_ref()
        .skip_while(|word| matches!(*word, "sudo" | "-S" | "-E"))
        .collect();
    match words.first() {
        None => true,
        Some(first) => matches!(*first, "chmod" | "echo" | "printf" | "set" | "rm" | "true"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_interpreters_and_variables_are_read() {
        let made = |command: &str| {
            let runs = read(command, Some("ann".to_owned())).ok()?;
            let env: Vec<_> = runs
                .env
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            Some(format!(
                "{}|{}|{}",
                runs.user.unwrap_or_else(|| "root".to_owned()),
                runs.interpreter.unwrap_or_default(),
                env.join(" ")
            ))
        };
        for (command, wanted) in [
            ("chmod +x {{ .Path }}; {{ .Vars }} {{ .Path }}", "ann||"),
            (
                "chmod +x {{ .Path }}; sudo -u deploy {{ .Vars }} sh {{ .Path }}",
                "deploy|sh|",
            ),
            (
                "sudo env DEBIAN_FRONTEND=noninteractive LC_ALL=C {{ .Vars }} bash -eux {{ .Path }}",
                "root|bash -eux|DEBIAN_FRONTEND=noninteractive LC_ALL=C",
            ),
            (
                "echo 'tulip' | {{ .Vars }} sudo -S -E bash '{{ .Path }}'",
                "root|bash|",
            ),
            ("echo 'tulip' | sudo -S sh -c '{{ .Vars }} {{ .Path }}'", "root||"),
            ("sudo su - deploy -c '{{ .Path }}'", "deploy||"),
            (
                "echo tulip | sudo -S nsenter -t 1 -m bash {{ .Path }}",
                "root|nsenter -t 1 -m bash|",
            ),
        ] {
            assert_eq!(made(command).as_deref(), Some(wanted), "{command}");
        }
        for lost in [
            "cd /opt && {{ .Vars }} sudo -E bash {{ .Path }}",
            "sudo bash",
            "{{ .Path }} one two",
        ] {
            assert_eq!(made(lost), None, "{lost}");
        }
    }
}
