//! Plans the installation of a distro by its own installer: media, answers and boot line, with stand-ins for what only
//! a run knows. Pure.

use std::path::PathBuf;

use petgraph::graph::NodeIndex;
use serde_json::{Value, json};

use super::build::{BUILD_KEY, Planner, wish};
use super::error::PlanError;
use super::node::{Cost, FetchWork, InstallerBoot, InstallerWork, MediaAt, Stage, Work};
use crate::installer::{self, Delivery, HOST_MIRROR, Installer};
use crate::manifest::context::{self, BootFacts, BuildFacts};
use crate::manifest::model::{Distro, InstallMedia, InstallerSource, Media, Proof, Template};
use crate::manifest::template;

/// Revision of what an installer node makes; see [`super::build`].
const REVISION: u32 = 1;

/// Stand in rendered answers and boot lines where the run puts its own: URLs and ports are new each time, and no input.
pub const ANSWERS_FOLDER: &str = "http://answers.invalid/";
/// See [`ANSWERS_FOLDER`].
pub const ANSWERS_PORT: &str = "answers-port.invalid";
/// See [`ANSWERS_FOLDER`].
pub const LOG_PORT: &str = "log-port.invalid";
/// See [`ANSWERS_FOLDER`].
pub const REPORT_URL: &str = "http://report.invalid/";
/// See [`ANSWERS_FOLDER`]. The hash has a random salt.
pub const PASSWORD: &str = "$6$password.invalid";
/// The host's address as a guest on qemu's user network sees it.
pub const HOST_ADDRESS: &str = "10.0.2.2";

impl Planner<'_> {
    pub(super) fn installer(
        &mut self,
        distro: &Distro,
        source: &InstallerSource,
    ) -> Result<NodeIndex, PlanError> {
        let known = installer::find(distro.family.name(), &distro.version);
        let known = known.ok_or_else(|| PlanError::Family {
            distro: distro.name.clone(),
            family: distro.family.name().to_owned(),
        })?;
        // A medium that starts itself brings its own initial RAM disk: nothing can be slipped into that.
        let usual = match known.delivery {
            Delivery::Initrd if source.boot_command.is_some() => Delivery::Http,
            usual => usual,
        };
        let delivery = source.delivery.unwrap_or(usual);
        let mirror = self.mirror(distro, source, known)?;
        let answers = answers(distro, source, known, &mirror)?;
        let boot_facts = boot_facts(known, &mirror);
        let arch = distro.platform.hardware().arch;
        let mut needs = Vec::new();
        let (boot, media) = match &source.media {
            InstallMedia::Iso(media) => {
                let (iso, what) = self.medium(&distro.name, media, &mut needs);
                let boot = match &source.boot_command {
                    Some(text) => InstallerBoot::Typed {
                        iso,
                        keys: boot_text(distro, "boot_command", text, &boot_facts)?,
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
                (boot, json!({ "iso": what }))
            }
            InstallMedia::Netboot { kernel, initrd } => {
                let (kernel, of_kernel) = self.medium(&format!("{}-kernel", distro.name), kernel, &mut needs);
                let (initrd, of_initrd) = self.medium(&format!("{}-initrd", distro.name), initrd, &mut needs);
                let what = json!({ "kernel": of_kernel, "initrd": of_initrd });
                (InstallerBoot::Netboot { kernel, initrd }, what)
            }
        };
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
        let fingerprint = self.inputs.fingerprint;
        let inputs = json!({
            "stage": "install", "revision": REVISION, "source": "installer", "media": media,
            "answers": answers, "boot line": command_line, "boot command": typed, "disk": distro.disk.0,
            "password": source.password.as_ref().map(fingerprint),
        });
        let work = InstallerWork {
            boot,
            command_line,
            delivery,
            answers,
            file: known.file.clone(),
            label: known.label.clone(),
            other_seed_files: known.other_seed_files.clone(),
            program: known.program.clone(),
            password: source.password.clone(),
            disk: distro.disk.0,
            largest: self.largest(distro),
            machine: wish(distro),
        };
        let cost = Cost {
            machines: 1,
            memory: distro.memory.0,
            cpus: distro.cpus,
            scratch: 2 * distro.disk.0,
        };
        let work = Work::Installer(Box::new(work));
        Ok(self.add(Stage::Install, &distro.name, inputs, work, cost, &needs))
    }

    /// Where packages come from.
    fn mirror(
        &self,
        distro: &Distro,
        source: &InstallerSource,
        known: &Installer,
    ) -> Result<String, PlanError> {
        match &source.mirror {
            Some(mirror) => Ok(mirror.clone()),
            None if known.mirror == HOST_MIRROR => {
                let of_host = self.inputs.mirrors.get(&distro.name);
                let of_host = of_host.ok_or_else(|| PlanError::NoMirror {
                    distro: distro.name.clone(),
                    suite: source.suite.clone().unwrap_or_else(|| "any".to_owned()),
                })?;
                Ok(of_host.uri.clone())
            }
            None => Ok(known.mirror.clone()),
        }
    }

    /// Where a medium will be, with what stands for it in keys. A URL gets a fetch node.
    pub(super) fn medium(
        &mut self,
        subject: &str,
        media: &Media,
        needs: &mut Vec<NodeIndex>,
    ) -> (MediaAt, Value) {
        match media {
            Media::Urls { urls, proof } => {
                let mut inputs = json!({ "stage": "fetch", "revision": super::build::REVISION_FETCH });
                match proof {
                    Proof::Digest(digest) => inputs["digest"] = json!(digest.to_string()),
                    // What the list says is only known once it is fetched: the name in it stands for the bytes.
                    Proof::List(list) => {
                        inputs["checksum file"] = json!(list.url);
                        inputs["name"] = json!(urls.first().and_then(|url| url.rsplit('/').next()));
                        // What was believed without a signature is not good enough where one is wanted.
                        inputs["signed by"] = json!(list.keyring.as_ref().map(|keyring| &keyring.digest));
                        inputs["signature"] = json!(if list.signature.is_some() {
                            "beside it"
                        } else {
                            "in it"
                        });
                    }
                }
                let work = Work::Fetch(FetchWork {
                    urls: urls.clone(),
                    proof: proof.clone(),
                });
                let fetch = self.add(Stage::Fetch, subject, inputs, work, Cost::default(), &[]);
                needs.push(fetch);
                (
                    MediaAt::Fetched(subject.to_owned()),
                    json!({ "fetch": self.key(fetch) }),
                )
            }
            Media::Path { path, digest } => {
                let what = digest
                    .as_ref()
                    .map_or_else(|| (self.inputs.stamp)(path), ToString::to_string);
                let at = MediaAt::Local {
                    path: PathBuf::from(path),
                    digest: digest.clone(),
                };
                (at, json!({ "file": what }))
            }
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
        hostname: distro.name.clone(),
        build_key: BUILD_KEY.to_owned(),
        user: "root".to_owned(),
        kept_arguments: kept,
        password: source
            .password
            .as_ref()
            .map(|_| PASSWORD.to_owned())
            .unwrap_or_default(),
        report_url: REPORT_URL.to_owned(),
        ..BuildFacts::default()
    };
    let context = context::answers_context(distro, &facts);
    let rendered = template::render(answers, &context).map_err(|error| PlanError::Answers {
        distro: distro.name.clone(),
        reason: error.to_string(),
    })?;
    // A block at the end takes the last line's end with it.
    Ok(rendered.trim_end().to_owned() + "\n")
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
