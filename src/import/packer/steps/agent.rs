//! Whether a script is one that installs the boot-time agent. Knows nothing of provisioners.

use crate::import::path;

/// Whether a script surely does nothing but install the boot-time agent: it writes all the agent's files, and every
/// command in it is one that such a script needs.
pub(super) fn is_agent(text: &str) -> bool {
    let marks = [
        "/root/bootstrap",
        "start-bootstrap",
        "bootstrap-max-retry",
        "http://10.0.2.100/vm-bootstrap",
        "/etc/cron.d/",
    ];
    if !marks.iter().all(|mark| text.contains(mark)) {
        return false;
    }
    let mut end: Option<String> = None;
    for line in text.lines() {
        if let Some(marker) = &end {
            if line.trim() == marker {
                end = None;
            }
            continue;
        }
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some((_, rest)) = line.split_once("<<") {
            let marker = rest
                .trim_start_matches('-')
                .split_whitespace()
                .next()
                .unwrap_or_default();
            end = Some(marker.trim_matches(['\'', '"', '\\']).to_owned());
        }
        if !unquoted(line).split(['&', ';', '|']).all(is_harmless) {
            return false;
        }
    }
    end.is_none()
}

/// A line without what is within quotes.
fn unquoted(line: &str) -> String {
    let mut quote: Option<char> = None;
    let outside = line.chars().filter(|c| match quote {
        Some(end) => {
            if *c == end {
                quote = None;
            }
            false
        }
        None if matches!(c, '\'' | '"') => {
            quote = Some(*c);
            false
        }
        None => true,
    });
    outside.collect()
}

fn is_harmless(command: &str) -> bool {
    let mut words = command.split_whitespace().skip_while(|word| *word == "sudo");
    let Some(first) = words.next() else { return true };
    match path::name(first) {
        "mkdir" | "cat" | "echo" | "printf" | "chmod" | "chown" | "cp" | "tee" | "touch" | "set" | "cd"
        | "true" | ":" | "exit" | "if" | "then" | "else" | "elif" | "fi" | "[" | "test" | "umask"
        | "command" => true,
        "apt" | "apt-get" | "yum" | "dnf" => words.all(|word| {
            word.starts_with(['-', '>', '/'])
                || ["install", "update", "cron", "cronie", "wget", "curl", "bash"].contains(&word)
        }),
        "systemctl" | "service" => words.all(|word| {
            word.starts_with(['-', '>', '/'])
                || [
                    "enable",
                    "start",
                    "restart",
                    "reload",
                    "cron",
                    "crond",
                    "cron.service",
                    "crond.service",
                ]
                .contains(&word)
        }),
        assignment => {
            assignment
                .split_once('=')
                .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
                && words.next().is_none()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_recognised_only_where_it_is_nothing_else() {
        let script = "#!/bin/sh\nset -e\nmkdir -p /root/bootstrap\ncat > /root/bootstrap/vm-bootstrap <<'EOF'\n\
                      anything http://10.0.2.100/vm-bootstrap rm -rf /\nEOF\necho 10 > /root/bootstrap/bootstrap-max-retry\n\
                      touch /root/bootstrap/start-bootstrap\nchmod 700 /root/bootstrap/vm-bootstrap\n\
                      echo '* * * * * root x' > /etc/cron.d/vm-boostrap\n";
        assert!(is_agent(script));
        assert!(!is_agent(&format!("{script}adduser ann\n")));
        assert!(!is_agent(&format!("{script}apt-get install -y cron vim\n")));
        assert!(!is_agent(&script.replace("start-bootstrap", "x")));
        assert!(!is_agent(&script.replace("\nEOF", "")));
    }
}
