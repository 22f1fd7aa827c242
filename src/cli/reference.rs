//! The command line as documents: completions for shells, man pages, and docs/cli.md. All of it is made from the same
//! definitions that arguments are read by.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command};

use super::exit::Exit;
use super::nushell;
use super::report_error::{fail, out};

/// The program.
const NAME: &str = "pipeline";

/// Arguments of `pipeline completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    source <(pipeline completions bash)                                          in ~/.bashrc\n  \
    pipeline completions zsh > \"${fpath[1]}/_pipeline\"\n  \
    pipeline completions fish > ~/.config/fish/completions/pipeline.fish\n  \
    pipeline completions nushell > ~/.local/share/nushell/vendor/autoload/pipeline.nu")]
pub struct Completions {
    /// The shell
    #[arg(value_parser = PossibleValuesParser::new(nushell::SHELLS.names()))]
    shell: String,
}

/// Arguments of `pipeline man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  pipeline man ~/.local/share/man/man1 && man pipeline-run")]
pub struct Man {
    /// The folder; made where it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Prints what makes a shell ask this program for completions.
pub(super) fn completions(args: &Completions) -> Exit {
    let mut text = Vec::new();
    let shell = nushell::SHELLS.completer(&args.shell);
    let written = shell.map(|shell| shell.write_registration("COMPLETE", NAME, NAME, NAME, &mut text));
    match written {
        Some(Ok(())) => {
            out(&String::from_utf8_lossy(&text));
            Exit::Ok
        }
        _ => unreachable!("memory can be written to, and every shell that is known is built in"),
    }
}

/// Writes a page for the program and one for each verb.
pub(super) fn man(args: &Man, command: Command) -> Exit {
    let written =
        fs::create_dir_all(&args.folder).and_then(|()| clap_mangen::generate_to(command, &args.folder));
    match written {
        Ok(()) => Exit::Ok,
        Err(error) => {
            let folder = args.folder.display();
            fail(
                Exit::Failed,
                miette::miette!("the man pages could not be written to {folder}: {error}"),
            )
        }
    }
}

/// Prints docs/cli.md.
pub(super) fn reference(command: &mut Command) -> Exit {
    command.build();
    let mut text = String::from(
        "# Command line\n\n<!-- Made by `make docs` from the program itself; edit the arguments' own words in src/cli. -->\n\n",
    );
    for verb in verbs(command) {
        section(&mut text, verb, "pipeline", 2);
    }
    text.push_str("## Options of every verb\n\n| argument | meaning |\n| --- | --- |\n");
    let global = command.get_arguments().filter(|arg| arg.is_global_set()).map(row);
    text.extend(global);
    text.push_str(
        "\n## Exit codes\n\n| code | meaning |\n| --- | --- |\n| 0 | everything asked for is done |\n| 1 | something failed |\n\
         | 2 | the command line or the manifest is wrong; nothing was started |\n\
         | 3 | the host lacks something; nothing was started |\n| 4 | `outdated`: something has moved; `plan --detailed-exitcode`: a run would do something; `diff --detailed-exitcode`: they differ |\n| 130 | interrupted |\n",
    );
    out(&text);
    Exit::Ok
}

fn verbs(command: &Command) -> impl Iterator<Item = &Command> {
    let shown = |verb: &&Command| !verb.is_hide_set() && verb.get_name() != "help";
    command.get_subcommands().filter(shown)
}

fn section(text: &mut String, command: &Command, parent: &str, level: usize) {
    let name = format!("{parent} {}", command.get_name());
    let _ = write!(text, "{} {name}\n\n", "#".repeat(level));
    if let Some(about) = command.get_about() {
        let _ = write!(text, "{about}.\n\n");
    }
    let inner: Vec<_> = verbs(command).collect();
    if inner.is_empty() {
        let usage = command.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").trim();
        let _ = write!(text, "```\n{usage}\n```\n\n");
        arguments(text, command);
    }
    if let Some(after) = command.get_after_help() {
        let after = after.to_string();
        let (examples, rest) = match after.strip_prefix("Examples:\n") {
            Some(examples) => examples.split_once("\n\n").unwrap_or((examples, "")),
            None => ("", after.as_str()),
        };
        if !examples.is_empty() {
            let lines = examples
                .lines()
                .map(|line| line.strip_prefix("  ").unwrap_or(line));
            let _ = write!(text, "```sh\n{}\n```\n\n", lines.collect::<Vec<_>>().join("\n"));
        }
        if !rest.is_empty() {
            let _ = write!(text, "{}\n\n", rest.trim());
        }
    }
    for verb in inner {
        section(text, verb, &name, level + 1);
    }
}

fn arguments(text: &mut String, command: &Command) {
    let shown = |arg: &&Arg| {
        !arg.is_hide_set() && !arg.is_global_set() && !["help", "version"].contains(&arg.get_id().as_str())
    };
    let rows: Vec<_> = command.get_arguments().filter(shown).map(row).collect();
    if !rows.is_empty() {
        let _ = write!(text, "| argument | meaning |\n| --- | --- |\n{}\n", rows.concat());
    }
}

fn row(arg: &Arg) -> String {
    let values: Vec<_> = arg
        .get_value_names()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect();
    let takes =
        arg.get_num_args().is_none_or(|count| count.takes_values()) && arg.get_action().takes_values();
    let value = if takes { values.join(" ") } else { String::new() };
    let name = match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long} {value}"),
        (None, Some(long)) => format!("--{long} {value}"),
        (Some(short), None) => format!("-{short} {value}"),
        (None, None) => value,
    };
    let mut meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let choices: Vec<_> = arg
        .get_possible_values()
        .iter()
        .filter(|_| takes)
        .map(choice)
        .collect();
    if !choices.is_empty() {
        let _ = write!(meaning, ". One of: {}", choices.join("; "));
    }
    let defaults: Vec<_> = arg
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy())
        .collect();
    if takes && !defaults.is_empty() {
        let _ = write!(meaning, " (default: `{}`)", defaults.join(" "));
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(meaning, " (environment: `{}`)", variable.to_string_lossy());
    }
    format!("| `{}` | {} |\n", escape(name.trim()), escape(&meaning))
}

fn choice(value: &clap::builder::PossibleValue) -> String {
    match value.get_help() {
        Some(help) => format!("`{}` ({help})", value.get_name()),
        None => format!("`{}`", value.get_name()),
    }
}

/// For a cell of a table.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::{Command, verbs};
    use crate::cli::Cli;

    /// A line break in a paragraph of help leaves short lines on a terminal that is narrower than the source.
    #[test]
    fn paragraphs_of_help_are_wrapped_by_the_terminal_alone() {
        fn look(command: &Command) {
            let help = command.get_after_help().map(ToString::to_string);
            for paragraph in help.unwrap_or_default().split("\n\n") {
                let lines = paragraph.lines().filter(|line| !line.starts_with(' '));
                let lines: Vec<_> = lines.filter(|line| !line.ends_with(':')).collect();
                assert!(lines.len() < 2, "pipeline {}: {lines:?}", command.get_name());
            }
            verbs(command).for_each(look);
        }
        look(&Cli::command());
    }
}
