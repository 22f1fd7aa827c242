//! `pipeline diff`: what two builds, or two images, have inside that the other has not. Changes nothing.

use serde::Serialize;

use super::exit::Exit;
use super::packages::{not_built, not_recorded};
use super::report_error::{fail, note, out};
use super::table::{overflows_stdout, stdout_style, stdout_width};
use super::target::{Selection, StoreArgs};
use super::time::moment;
use crate::host::cancel::Cancel;
use crate::machine::disk::{Entry, Kind, Tree};
use crate::packages::PackageChange;
use crate::plan::graph::PlannedImage;
use crate::report::style::Role;
use crate::run::builds::builds;
use crate::run::prepare::{Ask, Prepared, prepare};
use crate::size::ByteSize;
use crate::stage::provision::{files, inside};
use crate::stage::result::Given;
use crate::store::Store;

/// Files that are listed where the screen has no room for all.
const LISTED: usize = 20;

/// Arguments of `pipeline diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  pipeline diff images.toml debian12-50G-base\n  \
    pipeline diff images.toml debian12-50G-base debian12-50G-web\n\n\
    One image is compared with what it was built as before, where the store still has that; two images with each other. \
    Compared is the system as it was sealed, which is the same in all sizes: its packages, and all files of its root file \
    system (ext4) with their owners, modes and contents.")]
pub struct Args {
    #[command(flatten)]
    target: Selection,
    /// Exit with 4 if they differ, and with 0 only if they are equal
    #[arg(long)]
    detailed_exitcode: bool,
    /// Every file, however many there are
    #[arg(long)]
    full: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t = super::show::OutputFormat::Text)]
    format: super::show::OutputFormat,
    #[command(flatten)]
    store: StoreArgs,
}

/// What differs. The serialised form is an interface.
#[derive(Debug, Serialize)]
struct Differences {
    version: u32,
    old: Side,
    new: Side,
    packages: Vec<PackageChange>,
    files: Vec<FileChange>,
}

#[derive(Debug, Serialize)]
struct Side {
    image: String,
    built: jiff::Timestamp,
    os: String,
    /// Bytes of all files.
    bytes: u64,
}

/// A file that is not the same in both.
#[derive(Debug, Serialize)]
struct FileChange {
    path: String,
    old: Option<Entry>,
    new: Option<Entry>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let (manifest, selected) = args.target.load()?;
    let store = args.store.look()?;
    let prepared = prepare(&manifest, &selected, &store, Ask::default(), &note)
        .map_err(|error| fail(Exit::Usage, error))?;
    let (old, new) = sides(&prepared, &store)?;
    let found = compare(old, new)?;
    let equal = found.packages.is_empty() && found.files.is_empty();
    match args.format {
        super::show::OutputFormat::Json => {
            let all = serde_json::to_value(&found).unwrap_or_default();
            out(&format!("{all:#}\n"));
        }
        super::show::OutputFormat::Text => print(&found, args.full),
    }
    Ok(if args.detailed_exitcode && !equal {
        Exit::Todo
    } else {
        Exit::Ok
    })
}

type Build<'a> = (&'a PlannedImage, Given);

/// What is compared: the two systems of two images, or the last two builds of one.
fn sides<'a>(prepared: &'a Prepared, store: &Store) -> Result<(Build<'a>, Build<'a>), Exit> {
    let plan = &prepared.plan;
    match plan.images.as_slice() {
        [image] => {
            let mut found = builds(store, plan, image).into_iter();
            let new = found.next().ok_or_else(|| not_built(image))?;
            let old = found.next().ok_or_else(|| {
                let help = "a second image to compare it with can be named";
                fail(
                    Exit::Failed,
                    miette::miette!(help = help, "the store has one build of `{}` only", image.id),
                )
            })?;
            Ok(((image, old), (image, new)))
        }
        [first, second] => {
            let newest = |image| {
                builds(store, plan, image)
                    .into_iter()
                    .next()
                    .ok_or_else(|| not_built(image))
            };
            Ok(((first, newest(first)?), (second, newest(second)?)))
        }
        images => {
            let help = "name one image, to compare it with its build before, or two";
            let error = miette::miette!(help = help, "{} images are selected", images.len());
            Err(fail(Exit::Usage, error))
        }
    }
}

fn compare(old: Build<'_>, new: Build<'_>) -> Result<Differences, Exit> {
    let inside_of = |build: &Build<'_>| inside(&build.1).ok_or_else(|| not_recorded(build.0, &build.1));
    let (old_inside, new_inside) = (inside_of(&old)?, inside_of(&new)?);
    note("reading the files of both");
    let tree = |build: &Build<'_>| {
        files(&build.1, &Cancel::default()).map_err(|error| fail(Exit::Failed, miette::miette!("{error}")))
    };
    let (old_files, new_files) = (tree(&old)?, tree(&new)?);
    let side = |build: &Build<'_>, os: &str, files: &Tree| Side {
        image: build.0.id.clone(),
        built: build.1.created,
        os: os.to_owned(),
        bytes: files.values().map(|entry| entry.bytes).sum(),
    };
    Ok(Differences {
        version: 1,
        old: side(&old, old_inside.os_name(), &old_files),
        new: side(&new, new_inside.os_name(), &new_files),
        packages: old_inside.changes(&new_inside),
        files: changed(old_files, new_files),
    })
}

fn changed(mut old: Tree, new: Tree) -> Vec<FileChange> {
    let mut changes = Vec::new();
    for (path, new) in new {
        let old = old.remove(&path);
        if old.as_ref() != Some(&new) {
            let new = Some(new);
            changes.push(FileChange { path, old, new });
        }
    }
    let removed = old.into_iter().map(|(path, old)| FileChange {
        path,
        old: Some(old),
        new: None,
    });
    changes.extend(removed);
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    changes
}

fn print(found: &Differences, full: bool) {
    let style = stdout_style();
    let arrow = style.pick(" → ", " -> ");
    for (name, side) in [("old", &found.old), ("new", &found.new)] {
        let name = style.paint(Role::Strong, name);
        out(&format!(
            "{name}  {}, built {}: {}, {} in files\n",
            side.image,
            moment(side.built),
            side.os,
            ByteSize(side.bytes)
        ));
    }
    if found.packages.is_empty() && found.files.is_empty() {
        out("they are equal\n");
        return;
    }
    out(&format!("\n{}\n", differ(found.packages.len(), "package")));
    for change in &found.packages {
        out(&format!("  {}\n", change.to_string().replace(" -> ", arrow)));
    }
    out(&format!("\n{}\n", differ(found.files.len(), "file")));
    let is_long = !full && overflows_stdout(found.files.len() + found.packages.len() + 8);
    let listed = if is_long { LISTED } else { usize::MAX };
    for change in found.files.iter().take(listed) {
        let line = format!("  {}", line(change, arrow));
        out(&format!(
            "{}\n",
            style.cut(&line, stdout_width().unwrap_or(usize::MAX))
        ));
    }
    if let Some(more @ 1..) = found.files.len().checked_sub(listed) {
        out(&format!("  … and {more} more; --full lists them\n"));
    }
}

/// `1 package differs`.
fn differ(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun} differs"),
        count => format!("{count} {noun}s differ"),
    }
}

fn line(change: &FileChange, arrow: &str) -> String {
    let path = &change.path;
    match (&change.old, &change.new) {
        (None, Some(new)) => format!("added    {path}  {}", about(new)),
        (Some(old), None) => format!("removed  {path}  {}", about(old)),
        (Some(old), Some(new)) => format!("changed  {path}  {}", what(old, new, arrow)),
        (None, None) => path.clone(),
    }
}

fn about(entry: &Entry) -> String {
    let size = match entry.kind {
        Kind::File => format!(", {}", ByteSize(entry.bytes)),
        Kind::Folder => ", folder".to_owned(),
        Kind::Link => ", link".to_owned(),
        Kind::Special => ", device, pipe or socket".to_owned(),
    };
    format!("{:04o} {}:{}{size}", entry.mode, entry.uid, entry.gid)
}

/// What of a file is not the same.
fn what(old: &Entry, new: &Entry, arrow: &str) -> String {
    let mut parts = Vec::new();
    if old.kind != new.kind {
        parts.push(format!("{}{arrow}{}", about(old), about(new)));
    }
    if old.content != new.content {
        parts.push(match old.bytes == new.bytes {
            true => "content".to_owned(),
            false => format!("content, {}{arrow}{}", ByteSize(old.bytes), ByteSize(new.bytes)),
        });
    }
    if old.mode != new.mode {
        parts.push(format!("mode {:04o}{arrow}{:04o}", old.mode, new.mode));
    }
    if (old.uid, old.gid) != (new.uid, new.gid) {
        parts.push(format!(
            "owner {}:{}{arrow}{}:{}",
            old.uid, old.gid, new.uid, new.gid
        ));
    }
    parts.join("; ")
}
