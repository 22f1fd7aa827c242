//! Plans the installation of a distro by its own installer: media, answers and boot line, with stand-ins for what only
//! a run knows. Pure.

use std::path::Path;

use petgraph::graph::NodeIndex;
use saphyr_parser::Parser;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::installer::{Delivery, HOST_MIRROR, Images, Installer, Program};
use crate::manifest::context::{self, BootFacts, BuildFacts};
use crate::manifest::model::{Distro, InstallMedia, InstallerSource, Manifest, Secret, Template};
use crate::manifest::template;
use crate::plan::graph::{Draft, Nodes};
use crate::plan::node::{Cost, Take};
use crate::platform::Platform;
use crate::stage::Work;
use crate::stage::distro::{MachineWish, wish};
use crate::stage::fetch::{MediaAt, MediaInput, medium};
use crate::stage::install::{BUILD_KEY, STAGE, largest, sources};
use crate::stage::recipe::{Inputs as Facts, PlanError};

/// The CD or DVD image.
pub const ISO: &str = "iso";
/// The kernel, by itself.
pub const KERNEL: &str = "kernel";
/// The initial RAM disk, by itself.
pub const INITRD: &str = "initrd";

/// Stand in rendered answers and boot lines where the run puts its own: URLs and ports are new each time, and no input.
pub const ANSWERS_FOLDER: &str = "http://answers.invalid/";
/// See [`ANSWERS_FOLDER`].
pub const ANSWERS_PORT: &str = "answers-port.invalid";
/// See [`ANSWERS_FOLDER`].
pub const LOG_PORT: &str = "log-port.invalid";
/// See [`ANSWERS_FOLDER`].
pub const REPORT_URL: &str = "http://report.invalid/";
/// See [`ANSWERS_FOLDER`]. Both together are the sign by which an installer reports that all is done.
pub const SIGN: [&str; 2] = ["first-half.invalid", "second-half.invalid"];
/// Reports that all is done: on the console, and by a request where there is no serial console. The sign is put together in
/// the guest, so that a console that shows this command does not count; one that a message of the kernel cuts follows again.
/// No backslash and no quote is in it: preseeds have rules of their own for those.
const REPORT_INSTALLED: &str = "{ { echo; printf %s%s- first-half.invalid second-half.invalid first-half.invalid \
     second-half.invalid; echo; } > /dev/console; curl -fsm 20 http://answers.invalid/installed || \
     wget -qO - http://answers.invalid/installed; } > /dev/null 2>&1 || :";
/// See [`ANSWERS_FOLDER`]. The hash has a random salt.
pub const PASSWORD: &str = "$6$password.invalid";
/// The host's address as a guest on qemu's user network sees it.
pub const HOST_ADDRESS: &str = "10.0.2.2";

/// Revision of what it makes; see [`Draft::revision`].
const REVISION: u32 = 1;

/// Work of [`STAGE`] by the distro's own installer. Texts have stand-ins for what only a run knows: see
/// [`ANSWERS_FOLDER`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InstallerWork {
    /// What starts.
    pub boot: InstallerBoot,
    /// Command line of the kernel.
    pub command_line: String,
    /// How the answers come to it.
    pub delivery: Delivery,
    pub answers: String,
    /// What they are called.
    pub file: String,
    /// Label of a seed.
    pub label: String,
    /// Empty files next to them on a seed.
    pub other_seed_files: Vec<String>,
    /// What is seen while it works. No part of the key.
    pub program: Program,
    /// Password of the user of the answers, or its hash.
    pub password: Option<Secret>,
    /// Size of the disk in bytes.
    pub disk: u64,
    /// Size of the largest image made of it, in bytes. No part of the key.
    pub largest: u64,
    /// Its VM.
    pub machine: MachineWish,
}

/// What an installer's machine starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstallerBoot {
    /// Kernel and initial RAM disk out of an ISO, which stays attached.
    Iso {
        iso: MediaAt,
        /// Both in it, where the family has usual places.
        images: Option<(String, String)>,
        /// What the image's `.treeinfo` calls the architecture; it goes before the usual places.
        treeinfo: Option<String>,
    },
    /// The ISO's own boot loader, which is typed to.
    Typed {
        iso: MediaAt,
        /// What is typed.
        keys: String,
    },
    /// Kernel and initial RAM disk by themselves.
    Netboot {
        kernel: MediaAt,
        /// Initial RAM disk.
        initrd: MediaAt,
    },
}

impl InstallerBoot {
    /// The ISO that it starts from, where that is a file of this host.
    pub(super) fn local_iso(&self) -> Option<&Path> {
        match self {
            Self::Iso { iso, .. } | Self::Typed { iso, .. } => match iso {
                MediaAt::Local { path, .. } => Some(path),
                MediaAt::Fetched { .. } => None,
            },
            Self::Netboot { .. } => None,
        }
    }
}

/// What the key of an installation is made of.
#[derive(Serialize)]
struct Inputs<'a> {
    source: &'static str,
    media: InstallerMedia,
    answers: &'a str,
    #[serde(rename = "boot line")]
    boot_line: &'a str,
    #[serde(rename = "boot command")]
    boot_command: Option<&'a str>,
    disk: u64,
    password: Option<String>,
    /// Suites of its mirror, as the lock has them; absent without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    archives: Option<Value>,
    /// Absent for BIOS machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
    /// Of rows of the user's alone: the built-in ones are the program's, and have a revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    installer: Option<OwnInstaller<'a>>,
}

/// What else of an installer's row its result depends on.
#[derive(Serialize)]
struct OwnInstaller<'a> {
    delivery: Delivery,
    file: &'a str,
    label: &'a str,
    #[serde(rename = "other seed files")]
    other_seed_files: &'a [String],
    images: Option<&'a Images>,
    treeinfo: Option<&'a String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum InstallerMedia {
    Iso { iso: MediaInput },
    Netboot { kernel: MediaInput, initrd: MediaInput },
}

/// The node that installs a distro by its own installer, and those that fetch what it starts from.
pub(in crate::stage) fn plan(
    nodes: &mut Nodes<Work>,
    distro: &Distro,
    source: &InstallerSource,
    manifest: &Manifest,
    facts: &Facts<'_>,
) -> Result<NodeIndex, PlanError> {
    let known = &source.installer;
    // A medium that starts itself brings its own initial RAM disk: nothing can be slipped into that.
    let usual = match known.delivery {
        Delivery::Initrd if source.boot_command.is_some() => Delivery::Http,
        usual => usual,
    };
    let delivery = source.delivery.unwrap_or(usual);
    let mirror = mirror(distro, source, known, facts)?;
    let answers = answers(distro, source, known, &mirror)?;
    let boot_facts = boot_facts(known, &mirror);
    let platform = distro.computer().platform;
    let arch = platform.hardware().arch;
    let mut takes = Vec::new();
    let (boot, media) = boot(nodes, distro, source, &boot_facts, facts, &mut takes)?;
    let has_iso = matches!(source.media, InstallMedia::Iso(_));
    let mut line = known.command_line(delivery, has_iso);
    if let Some(more) = &source.arguments {
        line = format!("{more} {line}");
    }
    let command_line = boot_text(distro, "kernel arguments", &line, &boot_facts)?;
    let command_line = command_line.split_whitespace().collect::<Vec<_>>().join(" ");
    let typed = match &boot {
        InstallerBoot::Typed { keys, .. } => Some(keys.clone()),
        _ => None,
    };
    let draft = Draft {
        stage: STAGE,
        revision: REVISION,
        subject: &distro.name,
        inputs: Inputs {
            source: "installer",
            media,
            answers: &answers,
            boot_line: &command_line,
            boot_command: typed.as_deref(),
            disk: distro.disk.0,
            password: source.password.as_ref().map(facts.fingerprint),
            archives: sources::locked(&sources::archives(distro, facts.mirrors), facts.lock),
            platform: (platform != Platform::default()).then_some(platform),
            installer: known.origin.as_ref().map(|_| OwnInstaller {
                delivery,
                file: &known.file,
                label: &known.label,
                other_seed_files: &known.other_seed_files,
                images: known.images.get(arch),
                treeinfo: known.treeinfo.get(arch),
            }),
        },
        takes,
        cost: Cost {
            machines: 1,
            memory: distro.memory.0,
            cpus: distro.cpus,
            scratch: 2 * distro.disk.0,
        },
    };
    let work = InstallerWork {
        boot,
        command_line: command_line.clone(),
        delivery,
        answers: answers.clone(),
        file: known.file.clone(),
        label: known.label.clone(),
        other_seed_files: known.other_seed_files.clone(),
        program: Program::clone(&source.program),
        password: source.password.clone(),
        disk: distro.disk.0,
        largest: largest(manifest, distro),
        // Its kernel starts without the boot loader, whose signature Secure Boot would look for.
        machine: MachineWish {
            computer: platform.into(),
            ..wish(distro)
        },
    };
    Ok(nodes.add(draft, work))
}

/// What the machine starts from, with the nodes that fetch it.
fn boot(
    nodes: &mut Nodes<Work>,
    distro: &Distro,
    source: &InstallerSource,
    boot_facts: &BootFacts,
    facts: &Facts<'_>,
    takes: &mut Vec<Take>,
) -> Result<(InstallerBoot, InstallerMedia), PlanError> {
    let (known, arch) = (&source.installer, distro.computer().platform.hardware().arch);
    Ok(match &source.media {
        InstallMedia::Iso(media) => {
            let (iso, input) = medium(nodes, &distro.name, (&distro.name, media), ISO, facts, takes);
            let boot = match &source.boot_command {
                Some(text) => InstallerBoot::Typed {
                    iso,
                    keys: boot_text(distro, "boot_command", text, boot_facts)?,
                },
                None => InstallerBoot::Iso {
                    iso,
                    images: known
                        .images
                        .get(arch)
                        .map(|images| (images.kernel.clone(), images.initrd.clone())),
                    treeinfo: known.treeinfo.get(arch).cloned(),
                },
            };
            (boot, InstallerMedia::Iso { iso: input })
        }
        InstallMedia::Netboot { kernel, initrd } => {
            let mut at = |role: &'static str, media| {
                let subject = format!("{}-{role}", distro.name);
                medium(nodes, &subject, (&distro.name, media), role, facts, takes)
            };
            let (kernel, of_kernel) = at(KERNEL, kernel);
            let (initrd, of_initrd) = at(INITRD, initrd);
            let input = InstallerMedia::Netboot {
                kernel: of_kernel,
                initrd: of_initrd,
            };
            (InstallerBoot::Netboot { kernel, initrd }, input)
        }
    })
}

/// Where packages come from.
fn mirror(
    distro: &Distro,
    source: &InstallerSource,
    known: &Installer,
    facts: &Facts<'_>,
) -> Result<String, PlanError> {
    match &source.mirror {
        Some(mirror) => Ok(mirror.clone()),
        None if known.mirror == HOST_MIRROR => {
            let of_host = facts.mirrors.get(&distro.name);
            let of_host = of_host.ok_or_else(|| PlanError::NoMirror {
                distro: distro.name.clone(),
                suite: source.suite.clone().unwrap_or_else(|| "any".to_owned()),
            })?;
            Ok(of_host.uri.clone())
        }
        None => {
            let arch = distro.computer().platform.hardware().arch;
            Ok(known.mirrors.get(arch).unwrap_or(&known.mirror).clone())
        }
    }
}

fn boot_facts(known: &Installer, mirror: &str) -> BootFacts {
    BootFacts {
        url: format!("{ANSWERS_FOLDER}{}", known.file),
        folder: ANSWERS_FOLDER.to_owned(),
        address: HOST_ADDRESS.to_owned(),
        port: ANSWERS_PORT.to_owned(),
        log_port: LOG_PORT.to_owned(),
        mirror: mirror.to_owned(),
    }
}

fn answers(
    distro: &Distro,
    source: &InstallerSource,
    known: &Installer,
    mirror: &str,
) -> Result<String, PlanError> {
    let Some(answers) = &distro.answers else {
        return Ok(String::new());
    };
    let kept = boot_text(distro, "kept arguments", &known.kept, &boot_facts(known, mirror))?;
    let facts = BuildFacts {
        mirror: mirror.to_owned(),
        suite: source.suite.clone().unwrap_or_default(),
        build_key: BUILD_KEY.to_owned(),
        user: "root".to_owned(),
        kept_arguments: kept,
        password: source
            .password
            .as_ref()
            .map(|_| PASSWORD.to_owned())
            .unwrap_or_default(),
        report_url: REPORT_URL.to_owned(),
        report_installed: REPORT_INSTALLED.to_owned(),
        ..BuildFacts::default()
    };
    let context = context::answers_context(distro, &facts);
    let rendered = template::render(answers, &context).map_err(|error| PlanError::Answers {
        distro: distro.name.clone(),
        reason: error.to_string(),
    })?;
    if known.yaml {
        check_yaml(distro, &rendered)?;
    }
    // A block at the end takes the last line's end with it.
    Ok(rendered.trim_end().to_owned() + "\n")
}

fn check_yaml(distro: &Distro, text: &str) -> Result<(), PlanError> {
    let Some(error) = Parser::new_from_str(text).find_map(Result::err) else {
        return Ok(());
    };
    let line = error.marker().line();
    Err(PlanError::NotYaml {
        distro: distro.name.clone(),
        line,
        text: text
            .lines()
            .nth(line.saturating_sub(1))
            .unwrap_or_default()
            .trim()
            .to_owned(),
        reason: error.info().to_owned(),
    })
}

/// Whether answers report that all is done.
pub(super) fn reports(answers: &str) -> bool {
    SIGN.iter().all(|half| answers.contains(half))
}

/// A text of a boot line or of what is typed, rendered.
fn boot_text(distro: &Distro, name: &str, text: &str, facts: &BootFacts) -> Result<String, PlanError> {
    let template = Template {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    template::render(&template, &context::boot_context(distro, facts)).map_err(|error| PlanError::Answers {
        distro: distro.name.clone(),
        reason: error.to_string(),
    })
}
