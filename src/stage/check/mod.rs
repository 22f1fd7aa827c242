//! Check: boots what will be published, on throw-away overlays, and asserts what the manifest wants of it. The very file
//! that was packaged is unpacked for that, and proven unchanged by its digest before and after.

mod boot;
#[cfg(test)]
mod example;
mod overlay;
mod plan;
mod questions;
mod watch;

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, thread};

use serde::{Deserialize, Serialize};

use self::boot::{Agent, BootSpec, OnLife, Way};
use self::overlay::FirstWay;
pub(super) use self::plan::plan;
pub use self::plan::{CheckWork, Further, WayIn, of_computer};
use self::questions::{Setting, script};
use crate::checks::Needs;
use crate::checks::judge::{Case, Owner, Seen, judge};
use crate::digest::{Algorithm, Digest};
use crate::event::{CheckOutcome, CheckResult, What};
use crate::host::fs::hash_file;
use crate::host::http::Proxies;
use crate::machine::disk::{self, DiskError, Layer, Layers};
use crate::machine::spec::{Accel, Disk, DiskFormat};
use crate::machine::ssh::{KEY_NAME, Key, key_core};
use crate::platform::Platform;
use crate::size::ByteSize;
use crate::stage::distro::MachineWish;
use crate::stage::error::StageError;
use crate::stage::guest::{TCG_FACTOR, scaled};
use crate::stage::install::{ACCESS, KEY};
use crate::stage::package::{self, unpack};
use crate::stage::part::IMAGE;
use crate::stage::result::{Given, Taken};
use crate::stage::task::{File, Finding, Made, Memo, Stored, Task};
use crate::stage::{Room, Site};

/// The results of the checks.
const REPORT: &str = "report.json";

/// Facts of passed checks.
#[derive(Debug, Serialize, Deserialize)]
struct Facts {
    /// Of the file that was checked; absent in results of a version that did not note it.
    checked: Option<Digest>,
    /// How the machines ran, and when the first one showed its first sign of life; absent as above.
    #[serde(default)]
    life: Option<(Accel, Duration)>,
}

impl Task for CheckWork {
    fn programs(&self) -> Vec<&'static str> {
        let machines = self.machines();
        match self.way_in {
            WayIn::Agent => machines.flat_map(|machine| machine.without_entering()).collect(),
            WayIn::Overlay => {
                let programs = machines.flat_map(|machine| machine.programs());
                programs.chain(["sfdisk", "debugfs"]).collect()
            }
        }
    }

    fn preflight(&self, _memo: &Memo) -> Vec<Finding> {
        self.machines().filter_map(|machine| machine.lacks()).collect()
    }

    fn platform(&self) -> Option<Platform> {
        Some(self.machine.computer.platform)
    }

    fn is_isolated(&self) -> bool {
        true
    }

    fn doubles(&self) -> bool {
        self.has_second()
    }

    fn files(&self) -> &'static [File] {
        const { &[File::internal(REPORT)] }
    }

    /// A pass is one of certain bytes, not of a key: a run that was killed after it had packaged an image again may have
    /// left other ones.
    fn stands(&self, stored: &Stored<'_>) -> Result<(), Option<String>> {
        let result = stored.result.as_ref().ok_or(None)?;
        let checked = result.facts::<Facts>().ok().and_then(|facts| facts.checked);
        package::stands(stored, |packaged| packaged.has_digests(&checked))
    }

    /// For when a guest like this one is up.
    fn looks_back(&self) -> bool {
        self.way_in == WayIn::Agent
    }

    fn recalls(&self) -> bool {
        true
    }

    fn recalled(&self, result: &Given) -> Vec<What> {
        let results = results(result).unwrap_or_default().into_iter();
        results
            .map(|result| What::Check { result, cached: true })
            .collect()
    }

    fn logs(&self) -> &'static [(&'static str, &'static str)] {
        &[("script.sh", "what was asked in the guest")]
    }

    fn unkept(&self) -> Option<&'static str> {
        Some(
            "the guest of a check is a copy without a login for us; what it showed is in the logs of this node",
        )
    }

    fn run(&self, taken: &Taken, out: &Path, site: &Site) -> Result<Made, StageError> {
        let packaged = taken.get(&IMAGE)?.artifact(package::IMAGE)?;
        let digest = packaged.digest(Algorithm::Sha256)?;
        let artifact = Artifact {
            path: &packaged.path,
            digest,
        };
        // Only an install of our own put a key in that it still has.
        let key = taken.find(&ACCESS).and_then(|install| install.path(KEY).ok());
        let life = check(self, artifact, key.as_deref(), site, &out.join(REPORT))?;
        Ok(Made::with(&Facts {
            checked: Some(digest.clone()),
            life: life.map(|life| (site.accel, life)),
        }))
    }
}

/// What the checks of a stored result said.
pub fn results(result: &Given) -> Option<Vec<CheckResult>> {
    let report = result.path(REPORT).ok()?;
    serde_json::from_slice(&fs::read(report).ok()?).ok()
}

/// Longest time to a first sign of life where no check says another, under KVM.
const BOOT: Duration = Duration::from_secs(5 * 60);

/// How much longer a clone boots while the other one is asked, under KVM.
const CONTENTION: Duration = Duration::from_secs(3);

/// The packaged file.
#[derive(Clone, Copy, Debug)]
pub struct Artifact<'a> {
    /// Its place in the store.
    pub path: &'a Path,
    /// What it must be.
    pub digest: &'a Digest,
}

/// Checks an artifact; the results go to `report` (JSON) and to whoever listens. `build_key` is the private half of the
/// key that let the build in, where there is one. Gives when it showed its first sign of life.
///
/// # Errors
/// [`StageError::Checks`] when a check failed, and other [`StageError`]s when it could not be made.
pub fn check(
    work: &CheckWork,
    artifact: Artifact<'_>,
    build_key: Option<&Path>,
    site: &Site,
    report: &Path,
) -> Result<Option<Duration>, StageError> {
    site.emit.phase("reading the packaged image");
    artifact.verify(site)?;
    let base = site.scratch.join("image");
    unpack(artifact.path, &base, &site.cancel, &mut |done, total| {
        site.emit.bytes(done, total);
    })?;
    sound(work, &base, site)?;
    let setting = setting(work, &base, build_key, site)?;
    let (mut results, life) = examine(work, "", &base, &setting, site)?;
    for further in &work.further {
        let start = further.computer.start().name();
        results.extend(examine(&work.within(further), start, &base, &setting, site)?.0);
    }
    site.emit.phase("reading the packaged image again");
    artifact.verify(site)?;
    for result in &results {
        let (result, cached) = (result.clone(), false);
        site.emit.emit(What::Check { result, cached });
    }
    if results
        .iter()
        .any(|result| result.outcome != CheckOutcome::Passed)
    {
        return Err(StageError::Checks(results));
    }
    let text =
        serde_json::to_vec_pretty(&results).map_err(|e| StageError::file("write", report, e.into()))?;
    fs::write(report, text).map_err(|e| StageError::file("write", report, e))?;
    Ok(life)
}

/// When guests like this one showed their first sign of life, by the last check of one on a host like this.
fn known_life(site: &Site) -> Option<Duration> {
    let mut facts = site
        .earlier
        .iter()
        .filter_map(|given| given.facts::<Facts>().ok());
    let (_, life) = facts.find_map(|facts| facts.life.filter(|(accel, _)| *accel == site.accel))?;
    Some(life)
}

/// Boots the image in one computer, and judges what was seen; gives also when the first clone showed its first sign of life.
/// `label` tells the computer from others, where there are any.
fn examine(
    work: &CheckWork,
    label: &str,
    base: &Path,
    setting: &Setting,
    site: &Site,
) -> Result<(Vec<CheckResult>, Option<Duration>), StageError> {
    let name = |what: &str| match label {
        "" => what.to_owned(),
        label => format!("{what}-{label}"),
    };
    let boots = |first_way| {
        let first = |on_life| first_boot(work, &name("first"), base, setting, first_way, on_life, site);
        let second = |life| second_boot(work, &name("second"), base, setting, first_way, life, site);
        both(work, first, second, site)
    };
    let (mut first, mut second) = boots(FirstWay::Key)?;
    // A hardened sshd is no fault of the image: then it is asked another way, if there is one.
    if matches!(&first.answers, Err(cause) if cause.owner == Owner::Refused) {
        site.emit
            .phase("asking without sshd, which takes no key of the check's");
        (first, second) = boots(FirstWay::Unit)?;
    }
    let results = judge(&Case {
        checks: &work.checks,
        size: work.size,
        slower: match site.accel {
            Accel::Kvm => 1,
            Accel::Tcg => TCG_FACTOR,
        },
        first: &first,
        second: second.as_ref(),
    });
    for (what, seen) in [("first", Some(&first)), ("second", second.as_ref())] {
        if let Some(Ok(answers)) = seen.map(|seen| &seen.answers) {
            let path = site.logs.join(format!("answers-{}-boot.txt", name(what)));
            let text = questions::show(&work.checks, answers);
            fs::write(&path, text).map_err(|e| StageError::file("write", &path, e))?;
        }
    }
    let life = first.life.ok().map(|(after, _)| after);
    Ok((results, life))
}

/// Boots the two clones that the checks ask for. Where there is room both run at once, or the second one boots while the first
/// one waits for its agent's minute. A second one says nothing new of an image whose first one did not answer.
fn both(
    work: &CheckWork,
    first: impl FnOnce(OnLife) -> Result<Seen, StageError>,
    second: impl FnOnce(Option<Duration>) -> Result<Seen, StageError> + Send,
    site: &Site,
) -> Result<(Seen, Option<Seen>), StageError> {
    let (on_life, life) = mpsc::channel();
    if work.has_second() && site.room != Room::One {
        return thread::scope(|scope| {
            let other = scope.spawn(move || match site.room {
                Room::Memory => {
                    let slower = scaled(site.accel, CONTENTION);
                    life.recv().ok().map(|life| second(Some(life + slower)))
                }
                _ => Some(second(known_life(site))),
            });
            let first = first(on_life);
            let other = other.join().unwrap_or_else(|panic| resume_unwind(panic));
            let first = first?;
            let second = other.filter(|_| first.answers.is_ok()).transpose()?;
            Ok((first, second))
        });
    }
    let first = first(on_life)?;
    let is_wanted = work.has_second() && first.answers.is_ok();
    let second = is_wanted
        .then(|| second(first.life.as_ref().ok().map(|(after, _)| *after)))
        .transpose()?;
    Ok((first, second))
}

impl CheckWork {
    /// The VMs that it boots.
    fn machines(&self) -> impl Iterator<Item = MachineWish> {
        let further = self.further.iter().map(|further| self.within(further).machine);
        std::iter::once(self.machine).chain(further)
    }

    /// The same in a further computer.
    fn within(&self, further: &Further) -> Self {
        Self {
            checks: further.checks.clone(),
            machine: MachineWish {
                computer: further.computer,
                ..self.machine
            },
            further: Vec::new(),
            ..self.clone()
        }
    }

    /// Whether a second clone is booted.
    fn has_second(&self) -> bool {
        self.needs().any(|needs| needs.second)
    }

    fn needs(&self) -> impl Iterator<Item = Needs> {
        self.checks.iter().map(|check| check.assertion.needs())
    }
}

impl Artifact<'_> {
    /// Reads it and compares its digest.
    fn verify(&self, site: &Site) -> Result<(), StageError> {
        let found = hash_file(self.path, &[self.digest.algorithm], &site.cancel)?;
        match found.into_iter().next() {
            Some(found) if found == *self.digest => Ok(()),
            found => Err(StageError::Changed {
                path: self.path.to_owned(),
                wanted: self.digest.clone(),
                found: found.map_or_else(|| "nothing".to_owned(), |digest| digest.to_string()),
            }),
        }
    }
}

/// The image by itself: stand-alone, and sound where its format can tell.
fn sound(work: &CheckWork, base: &Path, site: &Site) -> Result<(), StageError> {
    let info = disk::look_as(base, work.format)?;
    if info.virtual_size.0 != work.size {
        return Err(StageError::OtherSize {
            have: info.virtual_size,
            wanted: ByteSize(work.size),
        });
    }
    if work.format == DiskFormat::Qcow2 {
        disk::check_image(base, &site.cancel)?;
    }
    Ok(())
}

/// What the guest is to know in addition to its questions.
fn setting(
    work: &CheckWork,
    base: &Path,
    build_key: Option<&Path>,
    site: &Site,
) -> Result<Setting, StageError> {
    let build_key = public_half(build_key, site)?;
    Ok(Setting {
        url: match work.way_in {
            WayIn::Agent => boot::url(),
            WayIn::Overlay => String::new(),
        },
        look_again: false,
        no_keys: work.needs().any(|needs| needs.reads_all) && has_no_keys(work, base, &build_key, site)?,
        build_key,
        build_hosts: Proxies::from_env().hosts(),
    })
}

/// Whether it is certain that no key of a build is on the disk: then the guest need not read all of its files, which takes it
/// half a minute where it is emulated.
fn has_no_keys(work: &CheckWork, base: &Path, build_key: &str, site: &Site) -> Result<bool, StageError> {
    site.emit.phase("looking for keys of builds on the disk");
    let layer = match Layer::of(base, work.format, &site.cancel) {
        // One with compressed clusters.
        Err(DiskError::Image { .. }) => return Ok(false),
        layer => layer?,
    };
    let mut texts = vec![KEY_NAME];
    texts.extend(Some(key_core(build_key)).filter(|core| !core.is_empty()));
    let found = disk::occurrences(&Layers::new(vec![layer]), &texts, &site.cancel)?;
    Ok(found.is_some_and(|counts| counts.iter().all(|count| *count == 0)))
}

/// The base64 part of the key that let the build in: that is what a trace of it would have.
fn public_half(build_key: Option<&Path>, site: &Site) -> Result<String, StageError> {
    let Some(private) = build_key else {
        return Ok(String::new());
    };
    let key = Key::adopt(private, &site.scratch, &site.cancel)?;
    Ok(key.body().to_owned())
}

/// A disk to throw away and how questions get into its guest. None are asked without a script.
fn clone(
    work: &CheckWork,
    base: &Path,
    name: &str,
    script: Option<String>,
    agent: Agent,
    first_way: FirstWay,
    site: &Site,
) -> Result<(Disk, Way), StageError> {
    if let (WayIn::Overlay, Some(script)) = (work.way_in, &script) {
        return overlay::prepare(work, base, name, script.clone(), first_way, site);
    }
    let path = site.scratch.join(format!("{name}.qcow2"));
    disk::create_overlay(base, work.format, &path, None, &site.cancel)?;
    let way = script.map_or(Way::None, |script| Way::Agent { script, agent });
    Ok((Disk::new(path, DiskFormat::Qcow2), way))
}

/// The boot in which everything is asked.
fn first_boot(
    work: &CheckWork,
    name: &str,
    base: &Path,
    setting: &Setting,
    first_way: FirstWay,
    on_life: OnLife,
    site: &Site,
) -> Result<Seen, StageError> {
    let limit = work.needs().filter_map(|needs| needs.within).max();
    let watches_agent = work.needs().any(|needs| needs.agent);
    let setting = Setting {
        look_again: watches_agent,
        ..setting.clone()
    };
    let asks = work.needs().any(|needs| needs.asks());
    let script = asks.then(|| script(&work.checks, |_| true, &setting));
    if let Some(script) = &script {
        let path = site.logs.join("script.sh");
        fs::write(&path, script).map_err(|e| StageError::file("write", &path, e))?;
    }
    let agent = Agent {
        reports_again: watches_agent,
        life: known_life(site),
    };
    let (disk, way) = clone(work, base, name, script, agent, first_way, site)?;
    let spec = BootSpec {
        name: format!("{name} boot"),
        disk,
        way,
        limit: scaled(site.accel, limit.unwrap_or(BOOT)),
        questions: questions::limit(&work.checks, work.size),
        login: work.needs().any(|needs| needs.login),
        ports: work.needs().filter_map(|needs| needs.port).collect(),
        on_life: Some(on_life),
        machine: work.machine,
    };
    boot::boot(&spec, site)
}

/// The boot of another clone, which is only asked who it is; `life` is when the first one showed its first sign of life.
fn second_boot(
    work: &CheckWork,
    name: &str,
    base: &Path,
    setting: &Setting,
    first_way: FirstWay,
    life: Option<Duration>,
    site: &Site,
) -> Result<Seen, StageError> {
    let asks = |number: usize| work.checks[number].assertion.needs().second;
    let script = script(&work.checks, asks, setting);
    let agent = Agent {
        life,
        ..Agent::default()
    };
    let (disk, way) = clone(work, base, name, Some(script), agent, first_way, site)?;
    let spec = BootSpec {
        name: format!("{name} boot"),
        disk,
        way,
        limit: scaled(site.accel, BOOT),
        questions: questions::limit(&[], work.size),
        login: false,
        ports: Vec::new(),
        on_life: None,
        machine: work.machine,
    };
    boot::boot(&spec, site)
}
