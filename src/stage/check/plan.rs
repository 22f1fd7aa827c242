//! Plans the check of an image: what is asked, how the questions get in. Pure.

use petgraph::graph::NodeIndex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checks::{Check, Needs, StartedBy, Tpm};
use crate::digest::sha256_hex;
use crate::guest;
use crate::manifest::model::{DiskFormat, Distro, Flavor, Image, StepKind};
use crate::plan::graph::{Draft, Nodes};
use crate::plan::node::{Cost, Input, Named, Results, Stage};
use crate::platform::Computer;
use crate::stage::Work;
use crate::stage::distro::{MachineWish, data_bound, wish};
use crate::stage::install::ACCESS;
use crate::stage::part::{IMAGE, Ready};

/// Boots what was packaged and asserts what the manifest wants of it.
pub const STAGE: Stage = Stage {
    name: "check",
    results: Results::Stored,
    inputs: &[
        ("checks", Input::Named(CHECKS)),
        (
            "questions",
            Input::BuiltIn("this version of pipeline checks differently"),
        ),
    ],
};
/// Its checks, in its keys.
const CHECKS: Named = Named {
    noun: "check",
    members: &[("asserts", Input::Content)],
};

/// Virtual CPUs of a VM that is checked: a boot does one thing after another, and so more images boot at once.
const CPUS: u32 = 1;

/// Revision of what it makes; see [`Draft::revision`].
const REVISION: u32 = 1;

/// Work of [`STAGE`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckWork {
    /// What is asserted, in order.
    pub checks: Vec<Check>,
    /// Virtual size of the image in bytes.
    pub size: u64,
    /// Format of the disk inside the packaged file.
    pub format: DiskFormat,
    /// How questions get into the guest.
    pub way_in: WayIn,
    /// The VM.
    pub machine: MachineWish,
    /// The same image in other computers.
    pub further: Vec<Further>,
}

/// What is asserted of an image in a further computer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Further {
    pub checks: Vec<Check>,
    pub computer: Computer,
}

/// How the check stage asks its questions in a guest that it has no credentials for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WayIn {
    /// The boot-time agent fetches them.
    Agent,
    /// Something that is put into the throw-away overlay, or offered to it from outside.
    Overlay,
}

/// What the key of a check is made of.
#[derive(Serialize)]
struct Inputs<'a> {
    package: &'a str,
    checks: Vec<CheckInput<'a>>,
    #[serde(rename = "way in")]
    way_in: WayIn,
    questions: String,
    /// Absent for a plain one.
    #[serde(skip_serializing_if = "Option::is_none")]
    computers: Option<&'a [Computer]>,
}

/// A check in a key.
#[derive(Serialize)]
struct CheckInput<'a> {
    check: &'a str,
    asserts: Value,
}

impl<'a> From<&'a Check> for CheckInput<'a> {
    fn from(check: &'a Check) -> Self {
        Self {
            check: &check.name,
            asserts: check.assertion.in_key(),
        }
    }
}

/// That the guest finds itself in such a computer.
pub fn of_computer(computer: Computer) -> Vec<Check> {
    let started = Check::from(StartedBy(computer.start()));
    let tpm = computer.tpm.then(|| Check::from(Tpm));
    std::iter::once(started).chain(tpm).collect()
}

/// The node that checks an image, once all that is published with it is there. `install` made the key of which no trace
/// may be left.
pub(in crate::stage) fn plan(
    nodes: &mut Nodes<Work>,
    image: &Image,
    (distro, flavor): (&Distro, &Flavor),
    format: DiskFormat,
    ready: &Ready<'_>,
    install: NodeIndex,
) -> NodeIndex {
    let is_installed = flavor
        .steps
        .iter()
        .any(|step| step.kind == StepKind::InstallAgent);
    let needs = |what: fn(Needs) -> bool| image.checks.iter().any(|check| what(check.assertion.needs()));
    let way_in = if is_installed || needs(|needs| needs.agent) {
        WayIn::Agent
    } else {
        WayIn::Overlay
    };
    let is_plain = image.computers == [Computer::default()];
    let own = |computer: &Computer| {
        let own = of_computer(*computer).into_iter();
        own.filter(|check| !is_plain && image.checks.iter().all(|other| other.name != check.name))
            .collect::<Vec<_>>()
    };
    let plain = Computer::default();
    let (first, others) = image.computers.split_first().unwrap_or((&plain, &[]));
    let further = others.iter().map(|computer| {
        let checks = image.checks.iter().cloned().chain(own(computer));
        // Which clone it is does not depend on what starts it.
        let checks = checks.filter(|check| !check.assertion.needs().second);
        let named = checks.map(|check| Check {
            name: format!("{} ({})", check.name, computer.start().name()),
            ..check
        });
        Further {
            checks: named.collect(),
            computer: *computer,
        }
    });
    let work = CheckWork {
        checks: image.checks.iter().cloned().chain(own(first)).collect(),
        size: image.size.0,
        format,
        way_in,
        machine: MachineWish {
            computer: *first,
            cpus: CPUS,
            ..wish(distro)
        },
        further: further.collect(),
    };
    let packaged = nodes.key(ready.package()).to_owned();
    let mut takes = vec![IMAGE.bytes_of(ready.package()), ACCESS.if_there(install)];
    takes.extend(ready.beside().map(|(role, node)| role.of(*node)));
    let draft = Draft {
        stage: STAGE,
        revision: REVISION,
        subject: &image.id,
        inputs: Inputs {
            package: &packaged,
            checks: image.checks.iter().map(CheckInput::from).collect(),
            way_in,
            questions: sha256_hex(guest::CHECK.as_bytes()),
            computers: (!is_plain).then_some(&image.computers[..]),
        },
        takes,
        cost: Cost {
            machines: 1 + u32::from(needs(|needs| needs.second)) + others.len() as u32,
            memory: distro.memory.0,
            cpus: CPUS,
            scratch: 3 * data_bound(distro),
        },
    };
    nodes.add(draft, work)
}
