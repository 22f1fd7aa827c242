//! Looks at the text of a script before a guest has to: line ends and marks of Windows, which a shell takes for part of
//! the script and reports, if at all, in words that hide the cause.

/// Interpreters to which a carriage return is a letter like any other.
const SHELLS: [&str; 8] = ["ash", "bash", "busybox", "dash", "ksh", "mksh", "sh", "zsh"];
/// What some editors put at the beginning of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Why a script would not run as it is meant, if so. It runs by `interpreter`, or by its `#!`, or by `sh`.
pub fn fault(script: &str, interpreter: Option<&str>) -> Option<String> {
    let first = script.lines().next().unwrap_or_default();
    let by_first_line = interpreter.is_none() && first.starts_with("#!");
    let line = match interpreter {
        Some(interpreter) => interpreter,
        None => first.strip_prefix("#!").unwrap_or("sh"),
    };
    if !by_first_line && !is_shell(line) {
        return None;
    }
    if script.starts_with(BYTE_ORDER_MARK) {
        return Some("begins with a byte order mark, which hides its first line".to_owned());
    }
    // `lines` takes the carriage return away.
    let mut lines = script.split('\n').enumerate();
    let (at, _) = lines.find(|(_, line)| line.ends_with('\r'))?;
    (is_shell(line) || (by_first_line && at == 0)).then(|| {
        format!(
            "has line ends of Windows (CRLF, first in line {}), which the guest takes for part of the line",
            at + 1
        )
    })
}

/// What to do about it, for a file.
pub fn remedy(name: &str) -> String {
    format!(
        "convert it: sed -i '1s/^\\xef\\xbb\\xbf//; s/\\r$//' {name}; for git, put `*.sh text eol=lf` into .gitattributes"
    )
}

/// What to do about it where the script stands in the manifest.
pub const REMEDY_INLINE: &str =
    "save the manifest with line ends of Unix (LF), and take every \\r at the end of a line out";

/// The shell that runs a script: by `interpreter`, or by its `#!`, or `sh`. None: something else runs it.
pub fn shell<'s>(script: &'s str, interpreter: Option<&'s str>) -> Option<&'s str> {
    let first = script.lines().next().unwrap_or_default();
    shell_of(interpreter.unwrap_or_else(|| first.strip_prefix("#!").unwrap_or("sh")))
}

/// Whether what runs is a shell, by the words that start it: `/usr/bin/env -S bash -e`.
fn is_shell(line: &str) -> bool {
    shell_of(line).is_some()
}

fn shell_of(line: &str) -> Option<&str> {
    let mut names = line
        .split_whitespace()
        .filter(|word| !word.starts_with('-') && !word.contains('='))
        .map(|word| word.rsplit('/').next().unwrap_or(word));
    let mut name = names.next();
    if matches!(name, Some("env" | "sudo" | "exec")) {
        name = names.next();
    }
    name.filter(|name| SHELLS.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_stumble_over_is_found_and_what_others_read_is_not() {
        let at = |script: &str, interpreter| {
            let fault = fault(script, interpreter)?;
            Some(
                fault
                    .split_once("first in line ")
                    .map_or("mark".to_owned(), |(_, at)| at[..1].to_owned()),
            )
        };
        let found = |line: &str| Some(line.to_owned());
        assert_eq!(at("#!/bin/sh\r\necho\r\n", None), found("1"));
        assert_eq!(at("#!/usr/bin/env -S bash -e\ntrue\nfi\r\n", None), found("3"));
        assert_eq!(at("echo a\r\necho b", None), found("1"));
        assert_eq!(at("echo a\r", Some("/bin/dash -e")), found("1"));
        assert_eq!(at("#!/usr/bin/python3\r\nprint(1)\r\n", None), found("1"));
        assert_eq!(at("\u{feff}#!/bin/sh\n", None), found("mark"));
        assert_eq!(at("#!/usr/bin/python3\nprint(1)\r\n", None), None);
        assert_eq!(at("#!/bin/sh\r\nprint 1;\r\n", Some("perl")), None);
        assert_eq!(at("printf 'a\\r\\n' # a\rb\n", None), None);
    }
}
