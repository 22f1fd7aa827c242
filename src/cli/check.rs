//! `pipeline check`: the checks of this program on an image from anywhere.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::computer::{ComputerArgs, must_be_there};
use super::exit::Exit;
use super::left::{ready_for, write_junit};
use super::report_error::{fail, note, out};
use super::run::run_id;
use super::session::{Session, node};
use super::show::ShowArgs;
use super::target::StoreArgs;
use crate::checks::CheckSet;
use crate::digest::Algorithm;
use crate::event::{CheckOutcome, CheckResult, Outcome};
use crate::host::cancel::Cancel;
use crate::host::facts;
use crate::host::fs::{hash_file, private_dir};
use crate::host::private;
use crate::machine::disk;
use crate::manifest::model::Compression;
use crate::manifest::secret::Secrets;
use crate::platform::Computer;
use crate::size::ByteSize;
use crate::stage::aftermath::OnError;
use crate::stage::check::{Artifact, CheckWork, WayIn, check, of_computer};
use crate::stage::distro::MachineWish;
use crate::stage::error::StageError;
use crate::stage::package::{detect, unpack};
use crate::stage::task::Task as _;
use crate::stage::{Order, Room, Site};
use crate::store::Store;

/// Arguments of `pipeline check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pipeline check disk.qcow2.gz\n  \
    pipeline check disk.raw --size 20G --junit check.xml\n  \
    pipeline check disk.qcow2.gz --secure-boot --tpm\n\n\
    Boots throw-away copies of the image twice and asserts what the sets of checks say (docs/manifest.md): a login prompt, \
    network, sshd, a root file system that fills the disk, no failed units, an identity of its own, no traces of a build. \
    The image itself is not changed. Exits with 1 if a check failed.")]
pub struct Args {
    /// The image: qcow2 or raw, also compressed by gzip, zstd or xz
    image: PathBuf,
    /// A set of checks: standard, or vm-bootstrap for an image with the boot-time agent
    #[arg(long, value_name = "SET", default_value = "standard", value_parser = set)]
    set: Vec<CheckSet>,
    /// The size that its disk must have [default: any]
    #[arg(long, value_name = "SIZE")]
    size: Option<ByteSize>,
    /// Memory of the machine
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    memory: ByteSize,
    #[command(flatten)]
    computer: ComputerArgs,
    /// Write the results to this file, as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    show: ShowArgs,
    #[command(flatten)]
    store: StoreArgs,
}

fn set(text: &str) -> Result<CheckSet, String> {
    let all = [CheckSet::Standard, CheckSet::VmBootstrap];
    let found = all.into_iter().find(|set| set.name() == text);
    found.ok_or_else(|| "there are the sets standard and vm-bootstrap".to_owned())
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    if !args.image.is_file() {
        let error = miette::miette!(
            help = "name an image file, such as disk.qcow2.gz; images of a manifest are checked by `pipeline run`",
            "there is no image file {}",
            args.image.display()
        );
        return Err(fail(Exit::Usage, error));
    }
    if let Some(path) = &args.junit {
        ready_for("--junit", path)?;
    }
    let computer = args.computer.computer(Computer::default())?;
    let work = work(args, computer);
    must_be_there(&work.programs(), computer)?;
    let host = |error: &dyn std::fmt::Display| fail(Exit::Host, miette::miette!("{error}"));
    private::place().map_err(|error| host(&error))?;
    let store = Store::open(&args.store.folder()).map_err(|error| host(&error))?;
    let id = format!("check-{}", run_id());
    let logs = store.run_folder(&id);
    private_dir(&logs).map_err(|error| host(&error))?;
    let scratch = store.scratch(&id).map_err(|error| host(&error))?;
    let folder = scratch.folder("check").map_err(|error| host(&error))?;
    let processor = computer.platform.hardware().emulator.processor;
    let accel = facts::accelerator_for(processor);
    if let Some(warning) = accel.warning() {
        note(&format!("warning: {warning}"));
    }
    let name = args.image.file_name().unwrap_or_default().to_string_lossy();
    let shown = node("check", &name);
    let session = Session::start(&args.show, vec![shown.clone()])?;
    let done = session.perform(
        &shown,
        |emit| {
            let site = Site {
                keep: folder.join("kept"),
                lasting: folder.clone(),
                scratch: folder,
                logs: logs.clone(),
                on_error: OnError::Abort,
                emit: emit.clone(),
                cancel: session.cancel.clone(),
                released: Cancel::default(),
                secrets: Secrets::default(),
                accel: (&accel).into(),
                cpus: u32::try_from(facts::cpus()).unwrap_or(1),
                program: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("pipeline")),
                key: id.clone(),
                before: None,
                earlier: Vec::new(),
                keeps_layers: false,
                room: match facts::memory() {
                    Some(memory) if memory.available <= 2 * args.memory.0 => Room::One,
                    Some(_) if facts::cpus() > 1 => Room::Both,
                    Some(_) => Room::Memory,
                    None => Room::One,
                },
                order: Arc::new(Order::default()),
            };
            check_image(args, work, &site)
        },
        StageError::is_cancelled,
        StageError::verdict,
        |_| (Outcome::Built, None),
    );
    let (interrupted, summary) = session.finish();
    if let (Some(path), Some(summary)) = (&args.junit, &summary) {
        write_junit(path, summary)?;
    }
    let results = match &done {
        Ok(results) | Err(StageError::Checks(results)) => results.as_slice(),
        Err(_) => &[],
    };
    if args.show.is_text() {
        results.iter().for_each(|result| out(&line(result)));
        note(&format!("logs: {}", logs.display()));
    }
    Ok(match done {
        _ if interrupted => Exit::Interrupted,
        Ok(_) => Exit::Ok,
        Err(_) => Exit::Failed,
    })
}

/// What is to be done, but for what only the image tells.
fn work(args: &Args, computer: Computer) -> CheckWork {
    let way_in = if args.set.contains(&CheckSet::VmBootstrap) {
        WayIn::Agent
    } else {
        WayIn::Overlay
    };
    let mut sets = args.set.clone();
    sets.sort_unstable();
    sets.dedup();
    let own = computer.unusual().map(of_computer);
    CheckWork {
        checks: sets
            .into_iter()
            .flat_map(CheckSet::checks)
            .chain(own.into_iter().flatten())
            .collect(),
        size: 0,
        format: crate::manifest::model::DiskFormat::Raw,
        way_in,
        further: Vec::new(),
        machine: MachineWish {
            computer,
            memory: args.memory,
            cpus: 1,
        },
    }
}

fn check_image(args: &Args, work: CheckWork, site: &Site) -> Result<Vec<CheckResult>, StageError> {
    let plain = if detect(&args.image)? == Compression::None {
        args.image.clone()
    } else {
        site.emit.phase("unpacking");
        let plain = site.scratch.join("plain");
        unpack(&args.image, &plain, &site.cancel, &mut |done, total| {
            site.emit.bytes(done, total);
        })?;
        plain
    };
    let info = disk::look(&plain, &args.image)?;
    if let Some(wanted) = args.size.filter(|wanted| *wanted != info.virtual_size) {
        return Err(StageError::Checks(vec![CheckResult {
            check: "disk-size".to_owned(),
            outcome: CheckOutcome::Failed,
            seconds: 0.0,
            expected: format!("a disk of {wanted}"),
            seen: format!("a disk of {}", info.virtual_size),
        }]));
    }
    let work = CheckWork {
        size: info.virtual_size.0,
        format: info.format,
        ..work
    };
    site.emit.phase("hashing");
    let digests = hash_file(&plain, &[Algorithm::Sha256], &site.cancel)?;
    let Some(digest) = digests.first() else {
        return Err(StageError::Cancelled);
    };
    let artifact = Artifact { path: &plain, digest };
    let report = site.logs.join("report.json");
    check(&work, artifact, None, site, &report)?;
    let text = fs::read(&report).map_err(|e| StageError::file("read", &report, e))?;
    serde_json::from_slice(&text).map_err(|e| StageError::file("read", &report, e.into()))
}

fn line(result: &CheckResult) -> String {
    let CheckResult {
        check,
        expected,
        seen,
        ..
    } = result;
    match result.outcome {
        CheckOutcome::Passed => format!("ok       {check}\n"),
        CheckOutcome::Failed => format!("FAILED   {check}: expected {expected}, seen {seen}\n"),
        CheckOutcome::Skipped => format!("not run  {check}: {seen}\n"),
    }
}
