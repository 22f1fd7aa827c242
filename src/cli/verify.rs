//! `pipeline verify`: from an image to what is said of it, and to who signed that. Changes nothing.

mod documents;
mod place;
mod progress;
mod walk;

use std::path::{Path, PathBuf};

use self::place::Place;
use self::progress::Progress;
use self::walk::{Entry, State, walk};
use super::exit::Exit;
use super::report_error::{fail, note, out};
use super::table::{Table, stdout_style, stdout_width};
use crate::host::cancel::Cancel;
use crate::lock::{self, Lock, LockFileError};
use crate::report::style::Role;
use crate::signing::Trust;

/// Arguments of `pipeline verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  pipeline verify out --key release.pub\n  \
    pipeline verify https://images.example.org/debian --key allowed_signers\n  pipeline verify out --format json\n\n\
    Reads every file that the checksum files, those of versions too, and index.json name, and compares it with all that is \
    said of it, in bills of materials and provenance too. With --key, each of these lists must have a good signature by one \
    of the keys; gpgv, ssh-keygen or minisign verify it. Exits with 1 unless all is good, and names the file that is not.")]
pub struct Args {
    /// An output folder, or the URL where one is published
    #[arg(value_name = "FOLDER|URL")]
    place: String,
    /// Public keys that are trusted: a keyring of OpenPGP, public keys or allowed signers of OpenSSH, a public key of minisign
    #[arg(long, value_name = "FILE", num_args = 1..)]
    key: Vec<PathBuf>,
    /// The lock that images with provenance must have been built from
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A table for people
    Text,
    /// For programs
    Json,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let usage = |error: &dyn std::fmt::Display| fail(Exit::Usage, miette::miette!("{error}"));
    let mut trust = Trust::default();
    for path in &args.key {
        trust.add(path).map_err(|error| usage(&error))?;
    }
    if let Some(program) = trust.lacks() {
        let help = "`pipeline doctor` names its package";
        let error = miette::miette!(
            help = help,
            "this host lacks {program}, which verifies signatures by these keys"
        );
        return Err(fail(Exit::Host, error));
    }
    let place = Place::of(&args.place).map_err(|error| usage(&error))?;
    let lock = args.lock.as_deref().map(read_lock).transpose()?;
    let walked = Progress::show(|progress| walk(&place, &trust, lock.as_ref(), progress, &Cancel::default()));
    let entries = walked.map_err(|error| fail(Exit::Failed, miette::miette!("{error}")))?;
    let is_good = entries.iter().all(|entry| entry.state != State::Bad);
    match args.format {
        Format::Json => {
            let all = serde_json::json!({
                "version": 1, "place": args.place, "good": is_good, "entries": entries,
            });
            out(&format!("{all:#}\n"));
        }
        Format::Text => print(&entries),
    }
    if trust.is_empty() {
        note("nothing here says who made it: --key FILE names the publisher's public keys");
    }
    Ok(if is_good { Exit::Ok } else { Exit::Failed })
}

fn read_lock(path: &Path) -> Result<Lock, Exit> {
    let unreadable = |cause| LockFileError::Unreadable {
        path: path.to_owned(),
        cause,
    };
    let text = std::fs::read_to_string(path).map_err(|error| fail(Exit::Usage, unreadable(error)))?;
    lock::read(path, &text).map_err(|error| fail(Exit::Usage, error))
}

fn print(entries: &[Entry]) {
    let mut table = Table::new(&["", "file", ""], 3);
    for entry in entries {
        let role = match entry.state {
            State::Good => Role::Good,
            State::Unproven => Role::Dim,
            State::Bad => Role::Bad,
        };
        let by = match entry.by.as_slice() {
            [] => String::new(),
            by => format!("; signed by {}", by.join(", ")),
        };
        table.row(vec![
            (role, entry.state.word().to_owned()),
            (Role::Strong, entry.file.clone()),
            (Role::Plain, format!("{}{by}", entry.what)),
        ]);
    }
    out(&format!("{}\n", table.render(stdout_style(), stdout_width())));
}
