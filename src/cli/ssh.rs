//! `pipeline ssh`: into a VM of a run that goes on, or into one that was kept after a failure.

mod kept;

use std::path::Path;

use super::attach::{Left, attach};
use clap_complete::ArgValueCandidates;

use super::complete;
use super::exit::Exit;
use super::report_error::{fail, out, report_error, talk};
use super::table::{Table, stdout_style, stdout_width};
use super::target::StoreArgs;
use crate::host::cancel::Cancel;
use crate::host::process::ProcessError;
use crate::manifest::glob;
use crate::report::style::{Role, Style};
use crate::stage::aftermath::Kept;
use crate::stage::presence::{self, Presence};
use crate::store::{KeptFolder, Store};

/// Exit code of ssh itself (ssh(1)).
const SSH_FAILED: i32 = 255;

/// Arguments of `pipeline ssh`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pipeline ssh --list                        the VMs there are\n  \
    pipeline ssh provision/debian12-base       a shell in it, by the build's own key\n  \
    pipeline ssh debian12-base -- journalctl   one command in it\n  \
    pipeline ssh install/debian13 --console    its serial console: also of an installer\n\n\
    What is done in the VM of a run that goes on is in the image that comes out of it. A VM that a run with \
    --on-error=keep left is started again, and powered off when you leave it; what you do in it stays.")]
pub struct Args {
    /// A node as in install/debian12, or a pattern that only one VM's node matches; may be left out where there is one VM
    #[arg(add = ArgValueCandidates::new(complete::machines))]
    node: Option<String>,
    /// A command to run there instead of a shell
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "console")]
    command: Vec<String>,
    /// Attach to its serial console instead
    #[arg(long)]
    console: bool,
    /// Only VMs of this run
    #[arg(long, value_name = "RUN", add = ArgValueCandidates::new(complete::runs))]
    run: Option<String>,
    /// Print the VMs that can be entered, and enter none
    #[arg(long, conflicts_with_all = ["console", "command"])]
    list: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// A VM that can be entered.
#[derive(Debug)]
enum Found {
    Running(String, Presence),
    Kept(KeptFolder, Box<Kept>),
}

impl Found {
    fn node(&self) -> &str {
        match self {
            Self::Running(_, presence) => &presence.node,
            Self::Kept(_, kept) => &kept.node,
        }
    }

    fn run(&self) -> &str {
        match self {
            Self::Running(run, _) => run,
            Self::Kept(folder, _) => &folder.run,
        }
    }

    fn what(&self) -> String {
        match self {
            Self::Running(_, presence) => {
                let ways = match (&presence.login, &presence.console) {
                    (Some(_), _) => "running",
                    (None, Some(_)) => "running, console only",
                    (None, None) => "running, no way in",
                };
                format!("{ways} ({})", presence.name)
            }
            Self::Kept(_, kept) => format!("kept: {}", kept.why),
        }
    }
}

fn table(all: &[Found]) -> Table<'static> {
    let mut table = Table::new(&["node", "run", "vm"], 3);
    for found in all {
        let cells = [found.node().to_owned(), found.run().to_owned(), found.what()];
        table.row(cells.map(|text| (Role::Plain, text)).to_vec());
    }
    table
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let store = args.store.look()?;
    let all = find(&store, args)?;
    if args.list {
        if all.is_empty() {
            talk("no VM runs, and none is kept (a run with --on-error=keep keeps those that failed)\n");
        } else {
            out(&table(&all).render(stdout_style(), stdout_width()));
        }
        return Ok(Exit::Ok);
    }
    match choose(all, args)? {
        Found::Running(_, presence) if args.console => console(&presence),
        Found::Running(_, presence) => shell(&presence, args),
        Found::Kept(folder, kept) => kept::enter(&store, &folder, &kept, args),
    }
}

/// Running VMs first, then kept ones, those of newer runs first.
fn find(store: &Store, args: &Args) -> Result<Vec<Found>, Exit> {
    let glob = |text: &str| {
        glob::compile(text)
            .map_err(|cause| fail(Exit::Usage, miette::miette!("`{text}` is not a pattern: {cause}")))
    };
    let glob = args.node.as_deref().map(glob).transpose()?;
    let mut found = all(store);
    found.retain(|one| {
        let node = one.node();
        let subject = node.split_once('/').map_or(node, |(_, subject)| subject);
        let fits = glob
            .as_ref()
            .is_none_or(|glob| glob.is_match(node) || glob.is_match(subject));
        fits && args.run.as_deref().is_none_or(|run| run == one.run())
    });
    Ok(found)
}

/// The nodes whose VMs can be entered.
pub(super) fn nodes(store: &Store) -> Vec<String> {
    all(store).iter().map(|found| found.node().to_owned()).collect()
}

fn all(store: &Store) -> Vec<Found> {
    let scratch = store.root().join("scratch");
    let mut found = Vec::new();
    let mut runs = folders(&scratch);
    runs.reverse();
    for run in runs.into_iter().filter(|run| store.is_running(run)) {
        for node in folders(&scratch.join(&run)) {
            let machines = presence::read(&scratch.join(&run).join(node));
            found.extend(machines.into_iter().map(|one| Found::Running(run.clone(), one)));
        }
    }
    let mut kept = store.inventory().kept;
    kept.reverse();
    for folder in kept {
        if let Some(one) = Kept::read(&folder.path) {
            found.push(Found::Kept(folder, Box::new(one)));
        }
    }
    found
}

fn folders(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut names: Vec<_> = folders
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// The one that is meant: of several, those that run come before those that are kept, and of kept ones of one node the newest.
fn choose(all: Vec<Found>, args: &Args) -> Result<Found, Exit> {
    let (running, kept): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|one| matches!(one, Found::Running(..)));
    let mut candidates = if running.is_empty() { kept } else { running };
    let same = candidates.first().is_some_and(|first| {
        let node = first.node().to_owned();
        matches!(first, Found::Kept(..)) && candidates.iter().all(|one| one.node() == node)
    });
    if same || candidates.len() == 1 {
        return Ok(candidates.swap_remove(0));
    }
    let wanted = args
        .node
        .as_deref()
        .map_or_else(String::new, |node| format!(" of `{node}`"));
    let (what, help) = if candidates.is_empty() {
        (
            format!("no VM{wanted} runs, and none is kept"),
            "`pipeline ssh --list` shows the VMs there are; a run with --on-error=keep keeps those that failed".to_owned(),
        )
    } else {
        (
            format!("{} VMs{wanted} can be entered", candidates.len()),
            format!(
                "say which, by node or by --run:\n{}",
                table(&candidates).render(Style::PLAIN, None).trim_end()
            ),
        )
    };
    report_error(miette::miette!(help = help, "{what}").as_ref());
    Err(if candidates.is_empty() {
        Exit::Failed
    } else {
        Exit::Usage
    })
}

fn console(presence: &Presence) -> Result<Exit, Exit> {
    let socket = presence.console.clone().unwrap_or_default();
    match attach(&socket) {
        Ok(Left::Here) => Ok(Exit::Ok),
        Ok(Left::There) => {
            talk("\nthe machine has ended\n");
            Ok(Exit::Ok)
        }
        Err(error) => Err(failed(&format!(
            "the console of {} cannot be reached: {error}",
            presence.node
        ))),
    }
}

fn shell(presence: &Presence, args: &Args) -> Result<Exit, Exit> {
    let Some(login) = &presence.login else {
        let help = format!(
            "its console can be seen: pipeline ssh {} --console",
            presence.node
        );
        let error = miette::miette!(
            help = help,
            "{} takes no logins ({})",
            presence.node,
            presence.name
        );
        return Err(fail(Exit::Failed, error));
    };
    lend(
        login,
        &args.command,
        &format!("{} takes no logins yet", presence.node),
    )
}

/// Gives the terminal to ssh.
fn lend(login: &presence::Login, command: &[String], refused: &str) -> Result<Exit, Exit> {
    let ssh = login.client().args(command);
    let status = ssh.lend_terminal(&Cancel::default());
    let status = status.map_err(|error: ProcessError| failed(&error.to_string()))?;
    match status.code() {
        Some(0) => Ok(Exit::Ok),
        Some(SSH_FAILED) => {
            let help = "while it boots, its console can be seen: add --console";
            Err(fail(Exit::Failed, miette::miette!(help = help, "{refused}")))
        }
        // A shell ends with the code of its last command: only a command's own code says something.
        _ if command.is_empty() => Ok(Exit::Ok),
        _ => Ok(Exit::Failed),
    }
}

fn failed(what: &str) -> Exit {
    fail(Exit::Failed, miette::miette!("{what}"))
}
