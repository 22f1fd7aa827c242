//! Asks a mirror, before anything starts, whether it answers, and has the suite and the packages that the manifest names.

use std::collections::BTreeSet;
use std::io::{self, BufReader, Read};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use liblzma::read::XzDecoder;

use super::BootstrapWork;
use crate::host::cancel::Cancel;
use crate::host::http::{Body, Client, Get, HttpError, Limits, redact};
use crate::manifest::suggest;
use crate::stage::task::Finding;

/// Time for a connection, and for a sign of life: the installation itself has more patience.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is wrong with the mirror, the suite or the packages; nothing where that cannot be found out.
pub(super) fn probe(work: &BootstrapWork, cancel: &Cancel) -> Vec<Finding> {
    let client = Client {
        limits: Limits {
            connect: PATIENCE,
            silence: PATIENCE,
            ..Limits::default()
        },
        ..Client::default()
    };
    let base = format!("{}/dists/{}", work.mirror.uri.trim_end_matches('/'), work.suite);
    let mirror = redact(&work.mirror.uri);
    let has = |file: &str| {
        client
            .head(&Get::new(&format!("{base}/{file}")), cancel)
            .map(|head| head.status)
    };
    let found = match has("InRelease") {
        Ok(404 | 410) => has("Release"),
        found => found,
    };
    match found {
        Ok(404 | 410) => {
            let cause = format!(
                "the mirror {mirror} has no suite `{}`; correct `suite`, or name a mirror that has it: mirror = \"…\"",
                work.suite
            );
            return vec![Finding::Absent(cause)];
        }
        Ok(_) => {}
        Err(HttpError::Cancelled) => return Vec::new(),
        Err(error) => return vec![Finding::Unreachable(format!("the mirror {mirror}: {error}"))],
    }
    // Names of packages are plain; what else apt takes (versions, patterns, tasks) is apt's to read.
    let is_plain = |name: &&String| {
        name.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    let mut missing: BTreeSet<&str> = work.named.iter().filter(is_plain).map(String::as_str).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let mut all = BTreeSet::new();
    for component in &work.components {
        let index = format!(
            "{base}/{component}/binary-{}/Packages",
            work.first().hardware().arch
        );
        if read_index(&client, &index, &mut all, cancel).is_none() {
            return Vec::new();
        }
    }
    missing.retain(|name| !all.contains(*name));
    let absent = missing.into_iter().map(|name| {
        let near = suggest::near(name, all.iter().map(String::as_str));
        let remedy = near.first().map_or_else(
            || format!("correct `packages`, or add the component that has it: components = [\"main\", …] (now {})",
                work.components.join(", ")),
            |best| format!("did you mean `{best}`?"),
        );
        Finding::Absent(format!(
            "suite `{}` of the mirror {mirror} has no package `{name}`; {remedy}",
            work.suite
        ))
    });
    absent.collect()
}

/// Adds the names that a list of packages has, and those that its packages provide. None: it cannot be read.
fn read_index(client: &Client, index: &str, names: &mut BTreeSet<String>, cancel: &Cancel) -> Option<()> {
    for suffix in ["xz", "gz"] {
        let url = format!("{index}.{suffix}");
        let (head, body) = client.get(&Get::new(&url), cancel).ok()?;
        if head.status != 200 {
            continue;
        }
        let body = Arriving {
            body,
            cancel,
            rest: Vec::new(),
        };
        let plain: Box<dyn Read + '_> = match suffix {
            "xz" => Box::new(XzDecoder::new_multi_decoder(body)),
            _ => Box::new(MultiGzDecoder::new(body)),
        };
        return add_names(BufReader::new(plain), names).ok();
    }
    None
}

fn add_names(text: impl io::BufRead, names: &mut BTreeSet<String>) -> io::Result<()> {
    for line in text.split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if let Some(name) = line.strip_prefix("Package: ") {
            names.insert(name.trim().to_owned());
        } else if let Some(provided) = line.strip_prefix("Provides: ") {
            let provided = provided
                .split(',')
                .filter_map(|one| one.split_whitespace().next());
            names.extend(provided.map(str::to_owned));
        }
    }
    Ok(())
}

/// A body as something to read from.
struct Arriving<'c> {
    body: Body,
    cancel: &'c Cancel,
    rest: Vec<u8>,
}

impl Read for Arriving<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.body.next(self.cancel) {
                Ok(Some(bytes)) => self.rest = bytes,
                Ok(None) => return Ok(0),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        let count = self.rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }
}
