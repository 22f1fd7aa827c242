//! `pipeline doctor`: can this host build images, and what is to be done where it cannot?

mod checks;

use std::path::PathBuf;

use serde::Serialize;

use super::exit::Exit;
use super::report_error::{note, out};
use super::show::OutputFormat;
use super::table::stdout_width;
use crate::host::cancel::Cancel;
use crate::host::packages;
use crate::host::packages::{Apt, By, PackageManager, Remedy, System};
use crate::host::process::Cmd;
use crate::host::tools::{Need, Tool};
use crate::report::style::wrap;
use checks::{HostCheck, State};

/// Arguments of `pipeline doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Install what is missing (Debian and Ubuntu; as root, or with sudo that asks no password)
    #[arg(long)]
    install: bool,
    /// Also look for what this project's own tests use
    #[arg(long)]
    tests: bool,
    /// Also try the store that hosts share: that of the settings, or this one
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    remote: Option<String>,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
    /// Folder of the store, whose disk is looked at
    #[arg(long, value_name = "FOLDER")]
    store: Option<PathBuf>,
    /// The os-release file to go by; for tests, which pretend to be on another distribution
    #[arg(
        long,
        env = "PIPELINE_OS_RELEASE",
        value_name = "FILE",
        default_value = "/etc/os-release",
        hide = true
    )]
    os_release: PathBuf,
}

/// All that is printed.
#[derive(Debug, Serialize)]
struct Findings {
    /// No check found something missing.
    ready: bool,
    system: String,
    checks: Vec<HostCheck>,
    /// One shell line; absent when there is nothing to type.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
    notes: Vec<String>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Exit {
    let cancel = Cancel::default();
    let system = System::load(&args.os_release);
    let mut found = look(args, &system, &cancel);
    let mut typed = None;
    // Twice at most: what is to be installed may only be known once apt was updated.
    for _ in 0..if args.install { 2 } else { 0 } {
        let line = packages::remedy(&system, &found.apt, &found.missing, By::Root).line;
        if typed.as_ref() == Some(&line) || found.missing.is_empty() && line.is_empty() {
            break;
        }
        if let Err(why) = install(&system, &line, &cancel) {
            note(&format!("doctor: {why}"));
            break;
        }
        found = look(args, &system, &cancel);
        typed = Some(line);
    }
    let ready = found.findings.ready;
    match args.format {
        OutputFormat::Text => out(&text(&found.findings)),
        OutputFormat::Json => {
            let json = serde_json::to_string_pretty(&found.findings);
            out(&(json.expect("findings are strings and flags") + "\n"));
        }
    }
    if ready { Exit::Ok } else { Exit::Host }
}

fn who() -> By {
    if crate::host::facts::is_root() {
        By::Root
    } else {
        By::User
    }
}

/// What a look at the host gave.
struct Found {
    findings: Findings,
    apt: Apt,
    missing: Vec<&'static Tool>,
}

fn look(args: &Args, system: &System, cancel: &Cancel) -> Found {
    let who = who();
    let mut needs = vec![Need::Build];
    // Under sudo the host is set up for whoever called it.
    if who != By::Root || std::env::var_os("SUDO_UID").is_some_and(|uid| uid != "0") {
        needs.push(Need::BuildAsUser);
    }
    if args.tests {
        needs.push(Need::Tests);
    }
    let apt = match system.manager {
        PackageManager::Debian => Apt::load(cancel),
        PackageManager::Fedora | PackageManager::Arch | PackageManager::Other => Apt::default(),
    };
    let (mut checks, missing) = checks::tools(&needs, cancel);
    checks.extend(checks::versions(cancel));
    let host = checks::host(args.store.as_deref(), who, system, &apt, cancel);
    checks.extend(host.checks);
    if let Some(url) = &args.remote {
        checks.extend(checks::remote(
            Some(url.as_str()).filter(|url| !url.is_empty()),
            cancel,
        ));
    }

    let Remedy { line, mut notes } = packages::remedy(system, &apt, &missing, who);
    notes.extend(host.notes);
    let lines: Vec<_> = std::iter::once(line)
        .chain(host.remedies)
        .filter(|line| !line.is_empty())
        .collect();
    let findings = Findings {
        ready: checks.iter().all(|check| check.state != State::Missing),
        system: system.name.clone(),
        checks,
        remedy: (!lines.is_empty()).then(|| lines.join(" && ")),
        notes,
    };
    Found {
        findings,
        apt,
        missing,
    }
}

/// Types root's line.
fn install(system: &System, line: &str, cancel: &Cancel) -> Result<(), String> {
    if system.manager != PackageManager::Debian {
        return Err(format!("--install knows only apt, and this is {}", system.name));
    }
    // Children have no terminal to ask a password on: only a sudo that does not ask can be used from here.
    let shell = ["sh", "-c", line];
    let cmd = match who() {
        By::Root => Cmd::new("sh").args(&shell[1..]),
        By::User => {
            let asks = "this needs root, and sudo is absent or wants a password";
            let test = Cmd::new("sudo").args(["-n", "true"]).read(cancel);
            test.map_err(|_| format!("{asks}; run the line below yourself"))?;
            Cmd::new("sudo")
                .args(["-n", "DEBIAN_FRONTEND=noninteractive"])
                .args(shell)
        }
    };
    note(&format!("doctor: {line}"));
    let cmd = cmd.env("DEBIAN_FRONTEND", "noninteractive");
    cmd.run(cancel, None, &mut |_, line| note(line))
        .map_err(|error| error.to_string())
}

fn text(findings: &Findings) -> String {
    let width = findings
        .checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    let screen = stdout_width().unwrap_or(usize::MAX);
    let mut lines: Vec<_> = findings
        .checks
        .iter()
        .map(|check| {
            let HostCheck { name, state, detail } = check;
            let line = format!("{:<7}  {name:<width$}  {detail}", state.word());
            wrap(line.trim_end(), screen, 7 + 2 + width + 2)
        })
        .collect();
    lines.push(String::new());
    lines.extend(
        findings
            .notes
            .iter()
            .map(|note| wrap(&format!("note: {note}"), screen, 6)),
    );
    match (&findings.remedy, findings.ready) {
        (Some(line), _) => lines.extend(["to set this host up, run:".to_owned(), format!("  {line}")]),
        (None, true) => lines.push("this host can build images".to_owned()),
        (None, false) => lines.push("this host cannot build images as it is; see `missing` above".to_owned()),
    }
    lines.join("\n") + "\n"
}
