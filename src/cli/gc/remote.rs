//! `pipeline gc --remote`.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use super::Args;
use crate::cli::exit::Exit;
use crate::cli::remote::{RemoteArgs, failed};
use crate::cli::report_error::{fail, note, out, talk};
use crate::cli::show::OutputFormat;
use crate::cli::table::{Table, counted, stdout_style, stdout_width};
use crate::cli::target::DefineArgs;
use crate::cli::time::age;
use crate::host::cancel::Cancel;
use crate::remote::error::RemoteError;
use crate::remote::gc::{Doomed, Policy, Why, select};
use crate::report::style::Role;
use crate::run::look::address;
use crate::run::prepare::{Ask, prepare};
use crate::size::ByteSize;
use crate::store::{Address, Store};

pub(super) fn run(args: &Args, url: &str) -> Result<Exit, Exit> {
    let remote = RemoteArgs::of(url).need()?;
    if !args.dry_run && !remote.writes() {
        return Err(failed(&RemoteError::ReadOnly));
    }
    let mut keep = BTreeSet::new();
    for manifest in &args.keep {
        keep.extend(needed(manifest, &args.store.look()?)?);
    }
    let policy = Policy {
        older_than: args.older_than,
        max_bytes: args.max_size.map(|size| size.0),
        keep,
        other_versions: args.other_versions,
    };
    let cancel = Cancel::default();
    let contents = remote.contents(&cancel).map_err(|error| failed(&error))?;
    let doomed = select(&contents, &policy);
    match args.format {
        OutputFormat::Text => out(&text(&doomed, contents.now, args.dry_run)),
        OutputFormat::Json => out(&json(&doomed, remote.url(), args.dry_run)),
    }
    if !args.dry_run {
        remote.remove(&doomed, &cancel).map_err(|error| failed(&error))?;
    }
    if doomed.others > 0 {
        talk(&format!(
            "{} of another version of pipeline left alone, and with them all files without a result; \
             --other-versions removes them\n",
            counted(doomed.others, "result")
        ));
    }
    if doomed.foreign > 0 {
        talk(&format!(
            "{} by keys that are not trusted here left alone\n",
            counted(doomed.foreign, "result")
        ));
    }
    if doomed.over > 0 {
        let over = ByteSize(doomed.over);
        talk(&format!(
            "{over} more than --max-size are kept or were put there within 3 days\n"
        ));
    }
    Ok(Exit::Ok)
}

/// All results that a manifest as it is now leads to.
fn needed(manifest: &Path, store: &Store) -> Result<Vec<Address>, Exit> {
    let manifest = DefineArgs::default().load(manifest)?;
    let all: Vec<usize> = (0..manifest.images.len()).collect();
    let prepared =
        prepare(&manifest, &all, store, Ask::default(), &note).map_err(|error| fail(Exit::Usage, error))?;
    Ok(prepared.plan.nodes().map(|(_, node)| address(node)).collect())
}

fn word(why: Why) -> &'static str {
    match why {
        Why::Broken => "no host could take it",
        Why::Other => "another version's format",
        Why::Old => "older than --older-than",
        Why::Space => "there longest",
    }
}

fn text(doomed: &Doomed, now: Timestamp, dry: bool) -> String {
    if doomed.is_empty() {
        return "nothing to remove\n".to_owned();
    }
    let mut table = Table::new(&["result", "of", "size", "why", "put there"], 4);
    for (result, why) in &doomed.results {
        let subject = result.built_for.as_ref().map(|(_, subject)| subject.clone());
        table.row(vec![
            (Role::Plain, result.address.short()),
            (Role::Plain, subject.unwrap_or_default()),
            (Role::Plain, ByteSize(result.stored_bytes).to_string()),
            (Role::Dim, word(*why).to_owned()),
            (Role::Plain, format!("{} ago", age(result.put, now))),
        ]);
    }
    let rows = match doomed.results.is_empty() {
        true => String::new(),
        false => table.render(stdout_style(), stdout_width()) + "\n",
    };
    let (files, of_jobs, uploads) = doomed.counts();
    format!(
        "{rows}{} {}: {}, {}, {} of jobs, {}\n",
        ByteSize(doomed.bytes()),
        if dry {
            "would become free"
        } else {
            "to become free"
        },
        counted(doomed.results.len(), "result"),
        counted(files, "file"),
        counted(of_jobs, "object"),
        counted(uploads, "unfinished upload"),
    )
}

fn json(doomed: &Doomed, url: &str, dry: bool) -> String {
    let results: Vec<_> = doomed
        .results
        .iter()
        .map(|(result, why)| {
            let subject = result.built_for.as_ref().map(|(_, subject)| subject);
            json!({
                "stage": result.address.stage, "key": result.address.key, "subject": subject,
                "bytes": result.stored_bytes, "put": result.put, "why": word(*why),
            })
        })
        .collect();
    let (files, of_jobs, uploads) = doomed.counts();
    let all = json!({
        "version": 1, "remote": url, "dry_run": dry, "bytes": doomed.bytes(), "over_bytes": doomed.over,
        "other_versions": doomed.others, "foreign": doomed.foreign, "results": results,
        "files": files, "job_objects": of_jobs, "uploads": uploads,
    });
    format!("{all:#}\n")
}
