//! What is asked inside the guest: from checks to a script, from what it sends to answers. Pure text; how it gets in and
//! out is not known here.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checks::{Answer, Answers, Check, Question};
use crate::guest;
use crate::host::process::{clean_line, shell_quote};

/// The line that ends answers: without it they were cut short.
const END: &str = "end";
/// What an answer begins with.
const ANSWER: &str = "answer";

/// Bytes that a guest reads in a second, at least, under KVM.
const READ_PER_SECOND: u64 = 100 << 20;

/// What the script must know in addition to its questions.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// Where answers are posted; empty: they are printed.
    pub url: String,
    /// Whether to look again after the agent's end.
    pub look_again: bool,
    /// The base64 part of the build's public key, where it is known.
    pub build_key: String,
    /// Whether it is known of the disk that no key of a build is on it.
    pub no_keys: bool,
    /// Addresses of the build host.
    pub build_hosts: Vec<String>,
}

/// The script that asks what these checks want to know; `asks` picks them by their position.
pub fn script(checks: &[Check], asks: impl Fn(usize) -> bool, setting: &Setting) -> String {
    let mut plan = String::from("    settle\n");
    for (number, check) in checks.iter().enumerate().filter(|(number, _)| asks(*number)) {
        match check.assertion.needs().question {
            None => {}
            Some(Question::Fact(name) | Question::Along(name)) => {
                let _ = writeln!(plan, "    fact {number} {name}");
            }
            Some(Question::Command(text, limit)) => {
                let (seconds, text) = (limit.as_secs().max(1), shell_quote(&text));
                let _ = writeln!(plan, "    try {number} {seconds} {text}");
            }
        }
    }
    format!(
        "#!/bin/sh\nCHECK_URL={}\nCHECK_AFTER={}\nBUILD_KEY={}\nKEYS_OUT={}\nBUILD_HOSTS={}\nplan() {{\n{plan}}}\n{}",
        shell_quote(&setting.url),
        if setting.look_again { "yes" } else { "no" },
        shell_quote(&pieces(&setting.build_key)),
        if setting.no_keys { "yes" } else { "no" },
        shell_quote(&setting.build_hosts.join("\n")),
        guest::CHECK
    )
}

/// The key in two pieces: the guest may have this script in a file, which is no trace of the build.
fn pieces(key: &str) -> String {
    let (first, second) = key.split_at_checked(key.len() / 2).unwrap_or((key, ""));
    format!("{first} {second}")
}

/// How long the guest may take for all questions of its own and those of others, under KVM. To look for the build key,
/// it reads all files of an image of this size.
pub fn limit(checks: &[Check], size: u64) -> Duration {
    let needs = || checks.iter().map(|check| check.assertion.needs());
    let reads = needs().any(|needs| needs.reads_all);
    let read = if reads { size / READ_PER_SECOND } else { 0 };
    let own = Duration::from_secs(60 + read);
    let theirs = needs().filter_map(|needs| match needs.question {
        Some(Question::Command(_, limit)) => Some(limit),
        _ => None,
    });
    own + theirs.sum::<Duration>()
}

/// Reads what the script sent; `None` when it was cut short or is something else.
pub fn answers(text: &str) -> Option<Answers> {
    let mut answers = Answers::new();
    let mut lines = text.lines().peekable();
    loop {
        let line = lines.next()?;
        if line == END {
            return Some(answers);
        }
        let words: Vec<_> = line.split(' ').collect();
        let [ANSWER, number, code, seconds] = words.as_slice() else {
            return None;
        };
        let mut encoded = String::new();
        while let Some(line) = lines.next_if(|line| *line != END && !line.contains(' ')) {
            encoded += line;
        }
        let bytes = STANDARD.decode(encoded).ok()?;
        let output = String::from_utf8_lossy(&bytes);
        let output: Vec<_> = output.lines().map(clean_line).collect();
        let answer = Answer {
            code: code.parse().ok()?,
            // A clock that is set meanwhile may run backwards.
            took: Duration::from_secs(seconds.parse::<i64>().ok()?.try_into().unwrap_or(0)),
            output: output.join("\n"),
        };
        answers.insert(number.parse().ok()?, answer);
    }
}

/// Answers for people: what was asked, what came.
pub fn show(checks: &[Check], answers: &Answers) -> String {
    let mut text = String::new();
    for (number, answer) in answers {
        let name = checks.get(*number).map_or("?", |check| check.name.as_str());
        let _ = writeln!(
            text,
            "== {name}: code {}, {}s",
            answer.code,
            answer.took.as_secs()
        );
        if !answer.output.is_empty() {
            let _ = writeln!(text, "{}", answer.output);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::{Command, Identity, Network};
    use crate::host::cancel::Cancel;
    use crate::host::process::Cmd;

    fn command(text: &str) -> Check {
        Check::from(Command {
            command: text.to_owned(),
            exit_code: 0,
            output: None,
            matches: None,
            timeout: Duration::from_secs(2),
        })
    }

    /// Runs a script here, as a guest would; it only asks.
    fn ask(script: String) -> String {
        let mut text = String::new();
        let cmd = Cmd::new("/bin/sh").arg("-s").stdin(script);
        let ran = cmd.run(&Cancel::default(), None, &mut |_, line| {
            text.push_str(line);
            text.push('\n');
        });
        assert!(ran.is_ok(), "{ran:?}\n{text}");
        text
    }

    #[test]
    fn the_script_asks_and_its_answers_are_read_whatever_is_in_them() {
        let checks = [
            Check::from(Network),
            command("echo 'it'\\''s here'; printf 'a\\033[1mb\\nend\\n'; exit 3"),
            command("sleep 60"),
            Check::from(Identity),
            // More than a line of ours may have.
            command("seq 1000000 1001500"),
        ];
        let text = ask(script(&checks, |number| number != 3, &Setting::default()));
        let found = answers(&text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [1, 2, 4]);
        assert_eq!(
            (found[&1].code, found[&1].output.as_str()),
            (3, "it's here\nab\nend")
        );
        assert_eq!(found[&2].code, 124, "cut off by timeout(1)");
        let lines: Vec<_> = (1_000_000..=1_001_500).map(|n| n.to_string()).collect();
        assert!(found[&4].output == lines.join("\n"), "{}", found[&4].output);
        assert!(show(&checks, &found).contains("== sleep 60: code 124"));
        // The agent keeps the script in a file, where the search for the build key finds it.
        let setting = Setting {
            build_key: "AAAAC3Nz".to_owned(),
            no_keys: true,
            ..Setting::default()
        };
        let text = script(&checks, |_| true, &setting);
        assert!(text.contains("AAAA C3Nz") && !text.contains("AAAAC3Nz"));
        assert!(text.contains("\nKEYS_OUT=yes\n"));
    }

    #[test]
    fn answers_that_were_cut_short_are_none() {
        assert_eq!(answers("answer 0 0 1\naGk=\n"), None);
        assert_eq!(answers("<html>\nend\n"), None);
        let found = answers("answer 0 0 -3\nend\n").unwrap();
        assert_eq!(found[&0], Answer::default());
    }
}
