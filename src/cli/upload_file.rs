//! `pipeline upload-file`: one file to a shacache by hand, as the reference client's `networkcache-upload` does it, but
//! read back.

use std::path::{Path, PathBuf};

use super::exit::Exit;
use super::report_error::{fail, out};
use super::session::{Session, node};
use super::show::ShowArgs;
use crate::digest::Algorithm;
use crate::emit::Emitter;
use crate::event::Outcome;
use crate::host::cancel::Cancel;
use crate::host::fs::{FsError, hash_file, read_small};
use crate::places::retry::Policy;
use crate::places::shacache::config::Config;
use crate::places::shacache::{self, Server, TAKEN};
use crate::places::{Around, Item, Metadata, UploadError, Verify};
use crate::stage::index::list::UrlLine;

/// Most bytes read of a metadata file.
const METADATA: u64 = 1 << 20;

/// Arguments of `pipeline upload-file`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  pipeline upload-file disk.gz --config /etc/opt/shacache/shacache.cfg \\\n    \
    --key packer-images --metadata metadata.json\n\n\
    The blob is sent if it is not there yet, and read back. Its entry is put into the list of the key each time, as the \
    reference client does; without --key it is not listed. Prints the line that URL.txt would have."
)]
pub struct Args {
    /// The file
    file: PathBuf,
    /// The shacache's configuration
    #[arg(
        long,
        short,
        value_name = "FILE",
        default_value = "/etc/opt/shacache/shacache.cfg"
    )]
    config: PathBuf,
    /// The key to list it under
    #[arg(long, short, requires = "metadata")]
    key: Option<String>,
    /// What to tell about it: a file with a JSON object
    #[arg(long, short, value_name = "FILE", requires = "key")]
    metadata: Option<PathBuf>,
    /// Only ask for its size afterwards instead of reading it back
    #[arg(long)]
    head: bool,
    #[command(flatten)]
    show: ShowArgs,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    let metadata = match &args.metadata {
        Some(path) => read_metadata(path).map_err(|cause| wrong(&cause))?,
        None => Metadata::new(),
    };
    let config = Config::read(&args.config).map_err(|error| wrong(&error.to_string()))?;
    let warnings = config.warnings.clone();
    let key = args.key.clone().unwrap_or_default();
    let place = Server::open(config, &key).map_err(|error| wrong(&error.to_string()))?;

    let file = node("upload", &args.file.display().to_string());
    let session = Session::start(&args.show, vec![file.clone()])?;
    for warning in warnings {
        session.emit.warn(warning);
    }
    let sent = session.perform(
        &file,
        |emit| send(args, &place, &metadata, &session.cancel, emit),
        UploadError::is_cancelled,
        UploadError::verdict,
        |(line, sent)| {
            let outcome = if *sent { Outcome::Built } else { Outcome::Present };
            (outcome, Some(line.url.clone()))
        },
    );
    session.finish();
    match sent {
        Ok((line, _)) => {
            if args.show.is_text() {
                out(&format!("{line}\n"));
            }
            Ok(Exit::Ok)
        }
        Err(error) if error.is_cancelled() => Ok(Exit::Interrupted),
        Err(_) => Ok(Exit::Failed),
    }
}

fn send(
    args: &Args,
    place: &Server,
    metadata: &Metadata,
    cancel: &Cancel,
    emit: &Emitter,
) -> Result<(UrlLine, bool), UploadError> {
    emit.phase("hashing");
    let bytes = std::fs::metadata(&args.file)
        .map_err(FsError::at("look at", &args.file))?
        .len();
    let digests = hash_file(&args.file, &[Algorithm::Sha512, Algorithm::Md5], cancel)?;
    let [sha512, md5] = &digests[..] else {
        unreachable!("a digest for each algorithm")
    };
    let name = args.file.file_name().unwrap_or_default();
    let item = Item {
        path: &args.file,
        name: Path::new(name),
        bytes,
        sha512,
        metadata,
        listed: args.key.is_some(),
    };
    let around = Around {
        cancel,
        emit,
        state: Path::new(""),
        policy: Policy::default(),
    };
    let verify = if args.head { Verify::Head } else { Verify::Full };
    let sent = shacache::upload(place, verify, &item, args.key.is_some(), &around)?;
    let line = UrlLine {
        name: name.to_string_lossy().into_owned(),
        url: place.blob_url(sha512),
        md5: md5.hex.clone(),
    };
    Ok((line, sent))
}

fn read_metadata(path: &Path) -> Result<Metadata, String> {
    let shown = path.display();
    let text = read_small(path, METADATA).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let value = serde_json::from_slice(&text).map_err(|error| format!("{shown} is not JSON: {error}"))?;
    let serde_json::Value::Object(metadata) = value else {
        return Err(format!(
            "{shown} must hold a JSON object, as in {{\"title\": \"debian12\"}}"
        ));
    };
    if metadata.is_empty() {
        return Err(format!(
            "{shown} is empty; tell at least one thing, such as {{\"title\": \"debian12\"}}"
        ));
    }
    match metadata.keys().find(|key| TAKEN.contains(&key.as_str())) {
        None => Ok(metadata),
        Some(taken) => Err(format!(
            "{shown}: an entry has `{taken}` itself, or the reference client cannot pass it on; choose another name"
        )),
    }
}

fn wrong(cause: &str) -> Exit {
    fail(Exit::Usage, miette::miette!(help = "nothing was sent", "{cause}"))
}
