//! The failure bundle: what a reader needs who gets the folder of a failed node and nothing else. Consoles, screens,
//! requests, answers, scripts and output are there already, left by the stages; this adds the verdict, a list of what is
//! there, and the host's state. The node's events are added by the journal, which has them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::json;

use super::error::NodeError;
use super::execute::Shared;
use crate::deciding::cause;
use crate::event::{FailureInfo, NODE_EVENTS, node_folder};
use crate::host::cancel::Cancel;
use crate::host::{facts, fs as host_fs, tools};
use crate::machine::qemu::{ARGV_FILE, CONSOLE_LOG, SCREEN_FILE, STDERR_FILE};
use crate::machine::spec::Accel;
use crate::platform::Platform;
use crate::stage::{Node, requests};
use crate::verdict::Verdict;

/// File with the verdict, the whole message and the list.
pub const VERDICT_FILE: &str = "verdict.txt";
/// File with what the host was and had.
pub const HOST_FILE: &str = "host.json";
/// Folders below the node's that are listed: one for each machine.
const DEPTH: usize = 2;
/// Files that are listed.
const LISTED: usize = 200;

/// Reports an error, with its whole message, and completes the folder.
pub fn failed(node: &Node, error: &NodeError, logs: &Path, shared: &Shared<'_>) -> (String, FailureInfo) {
    let verdict = error.verdict();
    let mut message = error.to_string();
    if verdict == Verdict::DiskFull && !message.contains("make room") {
        message += "\n  make room where the store is, or choose another one (--store)";
    }
    let log = error.log().unwrap_or(logs);
    let info = report(node, verdict, &message, (log, logs), shared);
    (message, info)
}

/// Reports a node that panicked, and completes the folder.
pub fn panicked(node: &Node, what: &str, logs: &Path, shared: &Shared<'_>) -> (String, FailureInfo) {
    let message = format!("a bug in pipeline: {what}");
    let info = report(node, Verdict::Bug, &message, (logs, logs), shared);
    (message, info)
}

fn report(
    node: &Node,
    verdict: Verdict,
    message: &str,
    (log, logs): (&Path, &Path),
    shared: &Shared<'_>,
) -> FailureInfo {
    // The failure is reported in any case; on a full disk the folder has what found room.
    let _ = fs::write(logs.join(HOST_FILE), host(shared));
    let text = format!(
        "{}: {verdict}\n\n{message}\n\n{}",
        node.id(),
        contents(logs, node.work.logs())
    );
    let _ = fs::write(logs.join(VERDICT_FILE), text);
    FailureInfo {
        verdict,
        cause: cause(message),
        log: log.display().to_string(),
        kept: shared
            .store
            .kept_folder(shared.run, &node_folder(&node.id()))
            .is_dir(),
    }
}

/// What the host is and has now.
fn host(shared: &Shared<'_>) -> Vec<u8> {
    let memory = facts::memory();
    let free = |path: &Path| host_fs::free_space(path).ok();
    let system = rustix::system::uname();
    let word = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let host = json!({
        "at": jiff::Timestamp::now(),
        "pipeline": env!("CARGO_PKG_VERSION"),
        "kernel": format!("{} {}", word(system.sysname()), word(system.release())),
        "system": facts::os_release().name,
        "qemu": tools::version(Platform::default().hardware().emulator.program, &Cancel::default()),
        "accelerator": match shared.accel {
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
        },
        "cpus": facts::cpus(),
        "load": facts::load(),
        "memory_bytes": memory.map(|memory| memory.total),
        "memory_available_bytes": memory.map(|memory| memory.available),
        "store_free_bytes": free(shared.store.root()),
        "temporary_free_bytes": free(&std::env::temp_dir()),
        "root": facts::is_root(),
    });
    serde_json::to_vec_pretty(&host).unwrap_or_default()
}

/// The files of the folder, each with what it is where its name says it.
fn contents(logs: &Path, of_stage: &[(&str, &'static str)]) -> String {
    let mut names = vec![NODE_EVENTS.to_owned(), VERDICT_FILE.to_owned()];
    walk(logs, "", DEPTH, &mut names);
    names.sort();
    names.dedup();
    let width = names.iter().map(String::len).max().unwrap_or_default();
    let mut text = "in this folder:\n".to_owned();
    for name in &names {
        let line = format!("  {name:width$}  {}", meaning(name, of_stage));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn walk(folder: &Path, above: &str, depth: usize, names: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = format!("{above}{}", entry.file_name().to_string_lossy());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 1 => {
                walk(&entry.path(), &format!("{name}/"), depth - 1, names);
            }
            _ if names.len() < LISTED => names.push(name),
            _ => {}
        }
    }
}

fn meaning(name: &str, of_stage: &[(&str, &'static str)]) -> &'static str {
    let file = name.rsplit('/').next().unwrap_or(name);
    if let Some((_, meaning)) = of_stage.iter().find(|(known, _)| *known == file) {
        return meaning;
    }
    match file {
        VERDICT_FILE => "this",
        HOST_FILE => "the host, when the node failed",
        NODE_EVENTS => "what happened in this node, one JSON object a line (docs/events.md)",
        CONSOLE_LOG => "the guest's serial console, as received",
        ARGV_FILE => "how qemu was started",
        STDERR_FILE => "what qemu itself said",
        SCREEN_FILE => "the guest's screen at the end",
        requests::FILE => "what the guest asked us for",
        _ if file.starts_with("answers-") => "what the guest answered",
        _ if file.ends_with(".log") => "a step's output",
        _ if file.ends_with(".cfg") || file.ends_with(".ks") || file == "user-data" => {
            "the installer's answers, as served (without the password's hash)"
        }
        _ => "",
    }
}
