//! One boot of a throw-away overlay: the machine, the way in, the guest's door, and what was kept of it. What is looked at
//! while it runs is `watch`'s.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use jiff::Timestamp;

use super::watch::Watch;
use crate::checks::SSH;
use crate::checks::judge::Seen;
use crate::machine::door::{ADDRESS, BOOT_SCRIPT, Content, Door, REPORTS, Visit};
use crate::machine::qemu::{Machine, SCREEN_FILE};
use crate::machine::spec::{Accel, Disk, Forward, MachineSpec};
use crate::machine::ssh::Key;
use crate::machine::systemd::root_key;
use crate::stage::Site;
use crate::stage::distro::MachineWish;
use crate::stage::error::StageError;
use crate::stage::presence::Present;
use crate::stage::requests::RequestLog;

/// What Linux says when its timer does not tick while it is tried, before it has seen a disk (arch/x86, `check_timer`).
/// An emulated one may come late when the host has no time for it.
const STARVED: &str = "IO-APIC + timer doesn't work";
/// Further boots of a guest that was starved.
const STARVED_BOOTS: usize = 3;
/// When the starter of the agent is up, most likely: cron comes with the last of a boot.
const STARTER_UP: [(Accel, Duration); 2] = [
    (Accel::Kvm, Duration::from_secs(12)),
    (Accel::Tcg, Duration::from_secs(70)),
];

/// A boot to be made.
#[derive(Debug)]
pub struct BootSpec {
    /// For phases and logs: "first boot".
    pub name: String,
    /// The overlay.
    pub disk: Disk,
    /// How questions get in.
    pub way: Way,
    /// Longest time to the first sign of life.
    pub limit: Duration,
    /// Longest time for the questions, in addition to that for the jobs of the boot.
    pub questions: Duration,
    /// Whether a login prompt is waited for.
    pub login: bool,
    /// Ports to knock at.
    pub ports: Vec<u16>,
    pub on_life: Option<OnLife>,
    /// The VM.
    pub machine: MachineWish,
}

/// How questions get into the guest.
#[derive(Debug)]
pub enum Way {
    /// The agent fetches this script.
    Agent {
        /// What is served to it.
        script: String,
        agent: Agent,
    },
    /// This key is offered to the guest's systemd, and the script is run over SSH.
    Key {
        key: Key,
        /// What is run.
        script: String,
        /// Whether a unit can be written into this disk where sshd refuses the key.
        takes_unit: bool,
    },
    /// A unit in the disk prints its answers on the console, see [`super::overlay`].
    Unit,
    /// Nothing is asked.
    None,
}

/// What is known and wanted of the agent in a boot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Agent {
    /// Whether the script reports once more when the agent has ended.
    pub reports_again: bool,
    /// When an earlier boot of the same image, or of another one like it, showed its first sign of life.
    pub life: Option<Duration>,
}

/// Receives when a boot shows its first sign of life.
pub type OnLife = mpsc::Sender<Duration>;

/// Where posts of the script go, as the guest sees it.
pub fn url() -> String {
    format!("http://{ADDRESS}/{}", REPORTS.trim_end_matches('/'))
}

/// Boots, watches, and ends the machine. A kernel that an overloaded host starved at its very start is booted again: that
/// tells nothing of the image.
///
/// # Errors
/// [`StageError`] when the host cannot run the machine, and when it is stopped.
pub fn boot(boot: &BootSpec, site: &Site) -> Result<Seen, StageError> {
    let mut seen = boot_once(boot, site)?;
    for _ in 0..STARVED_BOOTS {
        if site.accel != Accel::Tcg || !seen.life.as_ref().is_err_and(|why| why.contains(STARVED)) {
            break;
        }
        site.emit.warn(format!(
            "{}: this host is too busy for the guest's timer; booting again",
            boot.name
        ));
        seen = boot_once(boot, site)?;
    }
    Ok(seen)
}

fn boot_once(boot: &BootSpec, site: &Site) -> Result<Seen, StageError> {
    let (memory, cpus) = site.grant(boot.machine);
    let mut spec = MachineSpec::with_disk(
        boot.name.clone(),
        boot.machine.computer,
        site.accel,
        memory,
        boot.disk.clone(),
    );
    spec.cpus = cpus;
    let others = boot.ports.iter().filter(|port| **port != SSH);
    spec.forwards = others
        .map(|port| Forward {
            host: 0,
            guest: *port,
        })
        .collect();
    let (sender, visits) = mpsc::channel();
    let door = match &boot.way {
        Way::Agent { script, agent } => {
            spec.clock = Some(turning_after(
                Timestamp::now(),
                starter_up(agent.life, site.accel),
            ));
            let door = open_door(script, sender, site)?;
            spec.door = Some(door.relay(&site.program));
            Some(door)
        }
        Way::Key { key, .. } => {
            spec.credentials = vec![root_key(key, "pipeline-check")];
            None
        }
        Way::Unit | Way::None => None,
    };
    let folder = site.logs.join(boot.name.replace(' ', "-"));
    site.emit
        .phase(format!("{}: waiting for a sign of life", boot.name));
    let machine = Machine::start(&spec, &folder, &site.emit, &site.cancel)?;
    let present = Present::tell(&boot.name, &machine, site);
    let mut watch = Watch::new(machine, visits, site);
    let seen = watch.all(boot);
    // A picture says what the console may not; a machine that has ended has none.
    let mut machine = watch.machine;
    let _ = machine.screendump(&folder.join(SCREEN_FILE));
    drop(present);
    machine.stop(Duration::ZERO);
    drop(door);
    seen
}

/// When the agent's starter will be up. What it came up for is started at the next turn of the minute.
fn starter_up(life: Option<Duration>, accel: Accel) -> Duration {
    let usual = STARTER_UP.iter().find(|(known, _)| *known == accel);
    let usual = usual.map_or(Duration::ZERO, |(_, usual)| *usual);
    life.map_or(usual, |life| life + life / 4 + Duration::from_secs(2))
}

/// The moment nearest to `now` from which on the minute turns after this time, or whole minutes before.
fn turning_after(now: Timestamp, wait: Duration) -> Timestamp {
    const MINUTE: i64 = 60;
    let wait = i64::try_from(wait.as_secs()).unwrap_or_default();
    let early = (now.as_second() + wait).rem_euclid(MINUTE);
    let shift = if early < MINUTE / 2 {
        -early
    } else {
        MINUTE - early
    };
    Timestamp::from_second(now.as_second() + shift).unwrap_or(now)
}

/// Serves the script, and tells and logs each request.
fn open_door(script: &str, sender: mpsc::Sender<Visit>, site: &Site) -> Result<Door, StageError> {
    let log = RequestLog::open(site)?;
    let content = Content {
        files: BTreeMap::from([(BOOT_SCRIPT.to_owned(), script.as_bytes().to_vec())]),
        ..Content::default()
    };
    let sender = std::sync::Mutex::new(sender);
    let on_visit = move |visit: &Visit| {
        log.tell(visit);
        // Whoever watched may have seen enough.
        if let Ok(sender) = sender.lock() {
            let _ = sender.send(visit.clone());
        }
    };
    Door::open(content, on_visit).map_err(|e| StageError::file("listen for the guest in", &site.scratch, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minute_turns_when_the_starter_is_up() {
        for now in [0, 1, 29, 30, 31, 59, 1_795_000_007] {
            for wait in [0, 12, 40, 75] {
                let moment = turning_after(Timestamp::from_second(now).unwrap(), Duration::from_secs(wait));
                let turned = moment.as_second() + i64::try_from(wait).unwrap();
                assert_eq!(turned.rem_euclid(60), 0, "{now} {wait}");
                assert!((moment.as_second() - now).abs() <= 30, "{now} {wait}");
            }
        }
        let known = starter_up(Some(Duration::from_secs(20)), Accel::Tcg);
        assert_eq!(known, Duration::from_secs(27));
    }
}
