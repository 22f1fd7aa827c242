//! A command in the guest, run by root's `/bin/sh`, does what it should.

use std::time::Duration;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::judge::Fault::Fails;
use super::judge::{Answer, Case, Finding, Look, brief};
use super::{Kind, Needs, Question, Written};
use crate::size::show_duration;
use crate::syntax::fields::Fields;
use crate::syntax::key::{Key, Keys};
use crate::syntax::row::{Row, Whole};
use crate::syntax::script;
use crate::syntax::text::{Expression, Text, Time};

const WITH: Keys = || vec![&COMMAND.key];
static COMMAND: Row<Text> = Row::new(
    "command",
    "\"systemctl is-active nginx\"",
    "the command, run by root's `/bin/sh` in the guest, does as the keys that go with it say",
);
static EXIT_CODE: Row<Whole<i32, 0, 255>> = Row::new("exit_code", "0", "its exit code")
    .default("0")
    .goes_with(WITH);
static OUTPUT: Row<Text> = Row::new("output", "\"active\"", "a text that its output has").goes_with(WITH);
static MATCHES: Row<Expression> = Row::new(
    "matches",
    "\"^OpenSSH_[0-9]+\"",
    "a [regular expression](https://docs.rs/regex) for its output",
)
.goes_with(WITH);
static TIMEOUT: Row<Time> = Row::new("timeout", "\"1m\"", "longest time for it")
    .default("\"1m\"")
    .goes_with(WITH);

/// A command and what it must do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// For `/bin/sh`.
    pub command: String,
    pub exit_code: i32,
    /// A text that its output must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// A regular expression that its output must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// Longest time.
    pub timeout: Duration,
}

impl Written for Command {
    const ROWS: &'static [&'static Key] = &[
        &COMMAND.key,
        &EXIT_CODE.key,
        &OUTPUT.key,
        &MATCHES.key,
        &TIMEOUT.key,
    ];

    fn read(table: &Fields<'_>) -> Option<Self> {
        // The other keys first: a wrong command must not hide what is wrong with them.
        let check = Self {
            command: String::new(),
            exit_code: table.read_or_default(&EXIT_CODE),
            output: table.read(&OUTPUT),
            matches: table.read(&MATCHES),
            timeout: table.read_or_default(&TIMEOUT),
        };
        let cell = table.get(&COMMAND)?;
        let command = cell.read()?;
        if let Some(fault) = script::fault(&command, Some("sh")) {
            cell.bad(format!("this command {fault}"), script::REMEDY_INLINE);
        }
        Some(Self { command, ..check })
    }
}

impl Kind for Command {
    fn name(&self) -> Option<String> {
        let first = self.command.trim().lines().next().unwrap_or_default();
        Some(first.chars().take(40).collect())
    }

    /// Without the time limit, which changes no answer that is a pass.
    fn input(&self) -> Value {
        let mut input = serde_json::json!(self);
        if let Some(members) = input.as_object_mut() {
            members.shift_remove("timeout");
        }
        input
    }

    fn needs(&self) -> Needs {
        Needs {
            question: Some(Question::Command(self.command.clone(), self.timeout)),
            ..Needs::default()
        }
    }

    fn expected(&self, _case: &Case<'_>) -> String {
        let mut wanted = vec![format!("exit code {}", self.exit_code)];
        wanted.extend(self.output.iter().map(|text| format!("output with `{text}`")));
        let patterns = self.matches.iter();
        wanted.extend(patterns.map(|text| format!("output that matches `{text}`")));
        wanted.join(" and ")
    }

    fn find(&self, look: &Look<'_>) -> Finding {
        self.compare(look.answer()?)
    }
}

impl Command {
    fn compare(&self, answer: &Answer) -> Finding {
        let seen = |what: String| match brief(&answer.output) {
            nothing if nothing.is_empty() => format!("{what} and no output"),
            output => format!("{what} and the output\n{output}"),
        };
        if answer.code != self.exit_code {
            let what = match answer.code {
                // timeout(1)
                124 => format!("no end within {}", show_duration(self.timeout)),
                code => format!("exit code {code}"),
            };
            return Err(Fails(seen(what)));
        }
        let has_text = self
            .output
            .as_ref()
            .is_none_or(|text| answer.output.contains(text));
        // Compiled once when the manifest was checked.
        let matches =
            |pattern: &String| Regex::new(pattern).is_ok_and(|regex| regex.is_match(&answer.output));
        if has_text && self.matches.as_ref().is_none_or(matches) {
            Ok(format!("exit code {}", answer.code))
        } else {
            Err(Fails(seen(format!("exit code {}", answer.code))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::judge::testing::said;

    #[test]
    fn a_command_is_judged_by_code_text_and_pattern() {
        let wanted = Command {
            command: "true".to_owned(),
            exit_code: 3,
            output: Some("beans".to_owned()),
            matches: Some("^no \\w+$".to_owned()),
            timeout: Duration::from_secs(60),
        };
        let seen = |code, output: &str| {
            let answer = Answer {
                code,
                ..Answer::saying(output)
            };
            said(wanted.compare(&answer))
        };
        assert!(seen(3, "no beans").0);
        assert_eq!(seen(0, ""), (false, "exit code 0 and no output".to_owned()));
        assert_eq!(seen(3, "two beans").1, "exit code 3 and the output\ntwo beans");
        assert_eq!(seen(124, "").1, "no end within 1m 00s and no output");
    }
}
