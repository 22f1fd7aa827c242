//! Turns a disk image into the file that users download: one reading of the input, compression on all cores, digests of
//! the output on threads of their own, a sync, done. Also the way back, for images that come compressed. Knows nothing
//! of manifests' images, of the store, or of the files that list checksums.
//!
//! The same bytes in give the same bytes out, whatever the number of threads and whatever earlier packages there are.
//!
//! ```text
//! caller's thread: read pieces ─► rayon's pool (gzip) or the library's threads (zstd, xz) ─► in order ─┬─► writer thread
//!                                                                                                      ├─► SHA-256 thread
//!                                                                                                      └─► SHA-512, MD5 threads
//! ```
//!
//! Call it from a plain thread, never from a worker of rayon's pool: it waits, and a waiting worker would take up
//! other work or starve its own.

mod copy;
mod cut;
mod deflate;
mod error;
mod gzip;
mod meter;
mod output;
mod pass;
mod pieces;
mod plan;
mod sink;
mod task;
mod unpack;
mod workers;
mod xz;
mod zstd;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::digest::{Algorithm, Digest};
use crate::host::cancel::Cancel;
use crate::host::fs::{BlockReader, Blocks};
use crate::manifest::model::Compression;

pub use error::PackageError;
pub use pieces::Earlier;
pub use plan::PackageWork;
pub(super) use plan::plan;
pub use task::IMAGE;
use task::SIZED;
pub(super) use task::{AGAIN, stands};
pub use unpack::detect;
pub use unpack::unpack;
pub use unpack::unpack_at_most;

use output::Output;
use pass::Pass;
use workers::Workers;

/// How to package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Compression of the output.
    pub compression: Compression,
    /// Level, one of [`levels`]; absent: the compression's own default. Without compression there is none.
    pub level: Option<u32>,
    /// Digests wanted of the output. SHA-256 is always made.
    pub algorithms: Vec<Algorithm>,
    /// Packages that have pieces of this one, perhaps: those are not deflated again. gzip alone is made of pieces.
    pub earlier: Vec<Earlier>,
    /// Where the index of its own pieces goes.
    pub index: Option<PathBuf>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Packaged {
    /// Length of the output in bytes.
    #[serde(skip)]
    pub bytes: u64,
    /// Digests of the output: those asked for, in the order asked, each once; then SHA-256 unless it was asked for.
    pub digests: Vec<Digest>,
    /// Bytes of input whose deflated form was taken from earlier packages.
    #[serde(skip)]
    pub taken: u64,
    /// Earlier packages that are not what was written. Nothing was taken from there.
    #[serde(skip)]
    pub damaged: Vec<PathBuf>,
}

/// The levels a compression has, none for [`Compression::None`]. zstd's 20 to 22 are left out: they need more memory
/// to unpack than many hosts want to give.
pub fn levels(compression: Compression) -> Option<RangeInclusive<u32>> {
    match compression {
        Compression::Gzip => Some(1..=9),
        Compression::Zstd => Some(1..=19),
        Compression::Xz => Some(0..=9),
        Compression::None => None,
    }
}

/// Compresses the file `input` into a new file at exactly `output` and digests what is written. The output is on the disk when
/// this returns; after an error or a stop it is gone. A file that is at its place is replaced: give a temporary path.
/// `progress` is called on this thread with bytes of input done and their total.
///
/// Threads are those of rayon's global pool; memory stays below 256 MiB however many there are, except for xz at the
/// levels 7 to 9, whose dictionaries alone are larger.
///
/// # Errors
/// Every [`PackageError`] but [`PackageError::Corrupt`].
pub fn package(
    input: &Path,
    output: &Path,
    spec: &Spec,
    cancel: &Cancel,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Packaged, PackageError> {
    package_blocks(file(input)?, output, spec, cancel, progress)
}

/// The same for what is no file of its own, in blocks of [`CLUSTER`] bytes.
///
/// # Errors
/// As [`package`].
pub fn package_blocks<'a>(
    input: Box<dyn Blocks + 'a>,
    output: &Path,
    spec: &Spec,
    cancel: &'a Cancel,
    progress: &'a mut dyn FnMut(u64, u64),
) -> Result<Packaged, PackageError> {
    run(input, output, spec, Workers::Shared, cancel, progress)
}

fn file(path: &Path) -> Result<Box<dyn Blocks>, PackageError> {
    Ok(Box::new(BlockReader::open(path, cut::CLUSTER)?))
}

/// The same on the threads of a pool of the caller's.
///
/// # Errors
/// As [`package`].
pub fn package_in(
    pool: &rayon::ThreadPool,
    input: &Path,
    output: &Path,
    spec: &Spec,
    cancel: &Cancel,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Packaged, PackageError> {
    run(file(input)?, output, spec, Workers::Pool(pool), cancel, progress)
}

fn run<'a>(
    input: Box<dyn Blocks + 'a>,
    output: &Path,
    spec: &Spec,
    workers: Workers<'a>,
    cancel: &'a Cancel,
    progress: &'a mut dyn FnMut(u64, u64),
) -> Result<Packaged, PackageError> {
    check_level(spec)?;
    let file = Output::create(output)?;
    let mut pass = Pass::start(input, &file, spec, workers, cancel, progress)?;
    let mut pieces = gzip::Pieces::default();
    match spec.compression {
        Compression::Gzip => pieces = gzip::compress(&mut pass, spec)?,
        Compression::Zstd => zstd::compress(&mut pass, spec.level.unwrap_or(3))?,
        Compression::Xz => xz::compress(&mut pass, spec.level.unwrap_or(6))?,
        Compression::None => copy::copy(&mut pass)?,
    }
    let packaged = pass.finish()?;
    file.keep();
    Ok(Packaged {
        taken: pieces.taken,
        damaged: pieces.damaged,
        ..packaged
    })
}

fn check_level(spec: &Spec) -> Result<(), PackageError> {
    let allowed = levels(spec.compression);
    match (spec.level, &allowed) {
        (Some(level), Some(range)) if !range.contains(&level) => {}
        (Some(_), None) => {}
        _ => return Ok(()),
    }
    Err(PackageError::Level {
        level: spec.level.unwrap_or_default(),
        allowed: allowed.map_or_else(
            || "no compression has no level; leave it out".to_owned(),
            |range| {
                let name = spec.compression.suffix().trim_start_matches('.');
                format!(
                    ".{name} has the levels {} (fast) to {} (small)",
                    range.start(),
                    range.end()
                )
            },
        ),
    })
}
