//! `pipeline explain`: what keys are made of, and why they miss. Changes nothing.

use petgraph::graph::NodeIndex;
use serde::Serialize;
use serde_json::Value;

use super::exit::Exit;
use super::outdated::updates;
use super::report_error::{fail, note, out};
use super::show::OutputFormat;
use super::table::{stdout_style, stdout_width};
use super::target::{CheckArgs, Selection, StoreArgs, UploadArgs, wanted};
use super::time::moment;
use crate::host::cancel::Cancel;
use crate::manifest::glob;
use crate::manifest::model::Manifest;
use crate::plan::assess::{LastFailure, State};
use crate::plan::explain::{Change, Origins, changes, parts, shown};
use crate::plan::node::{Input, Stage};
use crate::report::style::{Role, Style, wrap};
use crate::run::lock::{Keeper, in_short};
use crate::run::prepare::{Ask, Prepared, prepare};
use crate::size::{ByteSize, show_seconds};
use crate::stage::Node;
use crate::store::{Latest, Store};

/// Longest value that a line shows.
const SHOWN: usize = 60;
/// Digits of a key that tell it from others.
const KEY: usize = 12;

/// Arguments of `pipeline explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pipeline explain images.toml                    what must run, and what has changed\n  \
    pipeline explain images.toml 'debian12-50G-*'   all nodes of these images\n  \
    pipeline explain images.toml install/debian12   one node, with all its key is made of\n\n\
    A node whose key is in the store does not run. A key is the SHA-256 of everything that its result depends on; what is \
    shown here is the difference to the key that was last built for the same node. Secrets are never shown.")]
pub struct Args {
    #[command(flatten)]
    target: Selection,
    #[command(flatten)]
    upload: UploadArgs,
    #[command(flatten)]
    checks: CheckArgs,
    /// How to print it
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
    #[command(flatten)]
    store: StoreArgs,
}

/// A node explained. The fields are an interface.
#[derive(Serialize)]
struct Explained<'a> {
    id: String,
    state: State,
    reason: String,
    key: &'a str,
    /// What was last built for it.
    last: Option<Last>,
    /// Why the last attempt to build it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<&'a LastFailure>,
    /// What differs from that; empty where nothing does, and where nothing was built.
    changes: Vec<Change>,
    /// Steps that are done in the layer that it goes on from; 0: it begins at its beginning.
    layer: usize,
    inputs: Value,
    #[serde(skip)]
    stage: Stage,
}

#[derive(Serialize)]
struct Last {
    key: String,
    created: jiff::Timestamp,
    seconds: f64,
    bytes: u64,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let (target, nodes) = args.target.part_nodes();
    let (manifest, selected) = target.load()?;
    let store = args.store.look()?;
    let ask = Ask {
        wanted: wanted(&args.checks, &args.upload)?,
        ..Ask::default()
    };
    let prepared =
        prepare(&manifest, &selected, &store, ask, &note).map_err(|error| fail(Exit::Usage, error))?;
    let chosen = choose(&prepared, &nodes, !args.target.is_all())?;
    let mut explained: Vec<_> = chosen
        .iter()
        .map(|index| one(&manifest, &prepared, &store, *index))
        .collect();
    let keeper = Keeper {
        manifest: &manifest,
        selected: &selected,
        store: &store,
        is_held: true,
        is_dry: true,
        cancel: &Cancel::default(),
        say: &note,
    };
    name_packages(&mut explained, &chosen, &prepared, &keeper);
    match args.format {
        OutputFormat::Json => {
            let all = serde_json::json!({ "version": 1, "pipeline": manifest.name, "nodes": explained });
            out(&format!("{all:#}\n"));
        }
        OutputFormat::Text => {
            let style = stdout_style();
            if explained.is_empty() {
                out("Nothing must run: every key is in the store.\n");
            }
            // What fits a line stands with its neighbours, what takes more by itself.
            let mut long = false;
            for (position, one) in explained.iter().enumerate() {
                let text = text(one, !nodes.is_empty(), style);
                let was_long = std::mem::replace(&mut long, text.lines().count() > 1);
                if position > 0 && (long || was_long) {
                    out("\n");
                }
                let width = stdout_width().unwrap_or(usize::MAX);
                for line in text.lines() {
                    let indent = line.len() - line.trim_start().len() + 4;
                    out(&format!("{}\n", wrap(line, width, indent)));
                }
            }
        }
    }
    Ok(Exit::Ok)
}

/// The nodes that are meant: those named, else all of the images named, else those that must run.
fn choose(prepared: &Prepared, nodes: &[String], images: bool) -> Result<Vec<NodeIndex>, Exit> {
    let mut globs = Vec::new();
    for text in nodes {
        let glob = glob::compile(text)
            .map_err(|cause| fail(Exit::Usage, miette::miette!("`{text}` is not a pattern: {cause}")))?;
        if !prepared.plan.nodes().any(|(_, node)| glob.is_match(node.id())) {
            let ids: Vec<_> = prepared.plan.nodes().map(|(_, node)| node.id()).collect();
            let help = crate::manifest::suggest::remedy(text, "nodes", ids.iter().map(String::as_str));
            return Err(fail(
                Exit::Usage,
                miette::miette!(help = help, "no node of this plan is `{text}`"),
            ));
        }
        globs.push(glob);
    }
    let is_meant = |index: &NodeIndex, node: &Node| {
        if globs.is_empty() {
            images || prepared.assessments[index].state == State::Todo
        } else {
            globs.iter().any(|glob| glob.is_match(node.id()))
        }
    };
    let nodes = prepared
        .plan
        .nodes()
        .filter(|(index, node)| is_meant(index, node));
    Ok(nodes.map(|(index, _)| index).collect())
}

fn one<'a>(manifest: &Manifest, prepared: &'a Prepared, store: &Store, index: NodeIndex) -> Explained<'a> {
    let node = prepared.plan.node(index);
    let verdict = &prepared.assessments[&index];
    let latest = store.latest(&prepared.plan.history, node.stage.name, &node.subject);
    let of_now = node.work.texts();
    let known = |digest: &str| {
        let now = of_now.iter().find(|(known, _)| known == digest);
        now.map(|(_, text)| (*text).to_owned())
            .or_else(|| store.text(digest))
    };
    let differs = |latest: &Latest| {
        let origins = Origins::of(manifest, node);
        let is_key = |input: &Value| prepared.plan.is_key_of_another(node, input);
        changes(
            node.stage,
            &latest.inputs,
            &node.inputs,
            &origins,
            &is_key,
            &known,
        )
    };
    Explained {
        id: node.id(),
        state: verdict.state,
        reason: verdict.reason.clone(),
        key: &node.key,
        failed: verdict.failed.as_ref(),
        layer: verdict.layer,
        changes: latest.as_ref().map(differs).unwrap_or_default(),
        last: latest.map(|latest| Last {
            key: latest.key,
            created: latest.created,
            seconds: latest.seconds,
            bytes: latest.bytes,
        }),
        inputs: shown(node.stage, &node.inputs),
        stage: node.stage,
    }
}

/// Where archives have moved: which installed packages that is about, as far as their lists were fetched before.
fn name_packages(
    explained: &mut [Explained<'_>],
    chosen: &[NodeIndex],
    prepared: &Prepared,
    keeper: &Keeper<'_>,
) {
    let mut now = None;
    for (one, index) in explained.iter_mut().zip(chosen) {
        let has_moved = |change: &Change| {
            let (input, _) = change.field.split_once('.').unwrap_or_default();
            one.stage.input(input) == Some(Input::Archives) && !change.old.is_null()
        };
        if one.state == State::Todo && one.changes.iter().any(has_moved) {
            let now = now.get_or_insert_with(|| keeper.known());
            let mut images = prepared.plan.images.iter();
            let image = images.find(|image| [image.install, image.provision].contains(index));
            let updates = image.map(|image| updates(&image.distro, prepared, keeper.store, now));
            let packages = in_short(&updates.unwrap_or_default());
            one.reason
                .extend(packages.map(|packages| format!(": {packages}")));
        }
    }
}

fn text(one: &Explained<'_>, with_parts: bool, style: Style) -> String {
    let (state, role) = match one.state {
        State::Cached => ("in the store", Role::Good),
        State::Todo => ("to do", Role::Attention),
        State::Unneeded => ("not needed", Role::Dim),
    };
    let reason = match one.reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    let mut text = format!(
        "{}  {}{reason}\n",
        style.paint(Role::Strong, &one.id),
        style.paint(role, state)
    );
    if let Some(failed) = one.failed {
        let (role, when) = (Role::Bad, moment(failed.at));
        let changed = if failed.changed_since {
            ", and has changed since"
        } else {
            ""
        };
        let why = style.paint(role, &failed.why());
        text += &format!("  {}  {when}{changed}: {why}\n", style.paint(role, "failed"));
        text += &format!("  see     pipeline logs {} {}\n", failed.run, one.id);
    }
    if one.layer > 0 {
        text += &format!("  layer   it starts from the layer after step {}\n", one.layer);
    }
    if !with_parts && one.changes.is_empty() {
        return text;
    }
    let short = |key: &str| key.get(..KEY).unwrap_or(key).to_owned();
    text += &format!("  key         {}\n", short(one.key));
    if let Some(last) = &one.last {
        let size = match last.bytes {
            0 => String::new(),
            bytes => format!(", {}", ByteSize(bytes)),
        };
        let took = show_seconds(last.seconds);
        text += &format!(
            "  last built  {}, {}, in {took}{size}\n",
            short(&last.key),
            moment(last.created)
        );
    }
    if with_parts {
        text += "  made of\n";
        let parts = parts(one.stage, &one.inputs);
        let width = parts
            .iter()
            .map(|(field, _)| field.chars().count())
            .max()
            .unwrap_or(0)
            .min(40);
        for (field, value) in parts {
            text += &format!(
                "    {field:<width$}  {}\n",
                style.paint(Role::Plain, &brief(&value))
            );
        }
    }
    if !one.changes.is_empty() {
        text += "  changed\n";
    }
    for change in &one.changes {
        text += &format!("    {}\n", line(one.stage, change, style));
        for line in change.diff.iter().flat_map(|diff| diff.lines()) {
            let role = match line.as_bytes().first() {
                Some(b'-') => Role::Bad,
                Some(b'+') => Role::Good,
                Some(b'@') => Role::Busy,
                _ => Role::Plain,
            };
            text += &format!("      {}\n", style.paint(role, line));
        }
    }
    text
}

fn line(stage: Stage, change: &Change, style: Style) -> String {
    let place = change
        .file
        .as_ref()
        .map_or_else(String::new, |file| format!("{file}: "));
    let what = if change.diff.is_some() {
        String::new()
    } else {
        let arrow = style.pick(" → ", " -> ");
        format!(
            "  {}{arrow}{}",
            sized(stage, &change.field, &change.old),
            sized(stage, &change.field, &change.new)
        )
    };
    format!("{place}{}{what}", style.paint(Role::Strong, &change.field))
}

/// A value on a line; sizes in the units of people.
fn sized(stage: Stage, field: &str, value: &Value) -> String {
    match (stage.input(field), value.as_u64()) {
        (Some(Input::Size), Some(bytes)) => ByteSize(bytes).to_string(),
        _ => brief(value),
    }
}

fn brief(value: &Value) -> String {
    let text = match value {
        Value::Null => return "nothing".to_owned(),
        Value::String(text) if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            return format!("{}…", &text[..KEY]);
        }
        Value::String(text) if text.contains('\n') => return format!("{} lines", text.lines().count()),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(|item| !item.is_object()) => {
            items.iter().map(brief).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    if text.chars().count() > SHOWN {
        text.chars().take(SHOWN - 1).collect::<String>() + "…"
    } else {
        text
    }
}
