//! Which names a template may use, and their values: the vars, and what the program tells about a distro and a build.
//! Knows the model, nothing of the template language.

use std::collections::BTreeMap;

use serde_json::json;

use super::model::{Distro, Image, Publish, Source};
use crate::installer;
use crate::size::{GIB, MIB};

/// What a template may use, by name.
pub type Context = BTreeMap<String, serde_json::Value>;

/// Names that the program gives their values; `[vars]` cannot have them.
pub const RESERVED: [&str; 25] = [
    "build_key",
    "components",
    "disk_gb",
    "distro",
    "family",
    "file",
    "flavor",
    "format",
    "host",
    "hostname",
    "id",
    "kept_arguments",
    "mirror",
    "mirror_url",
    "password",
    "platform",
    "report_installed",
    "report_url",
    "root_uuid",
    "security_mirror",
    "size",
    "suffix",
    "suite",
    "user",
    "version",
];

/// In the sample of [`BuildFacts::report_installed`]: answers without it do not report.
pub const REPORT: &str = "report of the end";
/// In the sample of [`BuildFacts::build_key`]: answers without it lock the build out.
pub const KEY: &str = "key of the build";

/// What an answer template knows about the build in addition to the vars and the distro.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildFacts {
    /// URL of the package mirror.
    pub mirror: String,
    /// URL of the mirror of security updates; empty where none is to be used.
    pub security_mirror: String,
    /// `bookworm`; empty where the source has none.
    pub suite: String,
    /// Archive components.
    pub components: Vec<String>,
    /// The build's public key, as in `authorized_keys`.
    pub build_key: String,
    /// UUID of the root file system.
    pub root_uuid: String,
    /// Who the build logs in as.
    pub user: String,
    /// Kernel arguments that the installed system keeps.
    pub kept_arguments: String,
    /// Hash of the password of the user of the answers; empty: none.
    pub password: String,
    /// Where an installer may report how far it is; empty: nowhere.
    pub report_url: String,
    /// Shell command by which an installer's answers report that all is done; empty for other answers.
    pub report_installed: String,
}

impl BuildFacts {
    /// What the manifest alone tells, and stand-ins in angle brackets for what only a run knows.
    pub fn sample(distro: &Distro) -> Self {
        let (mirror, suite, components, user) = match &distro.source {
            Source::Bootstrap(source) => (
                source.mirror.clone(),
                source.suite.clone(),
                source.components.clone(),
                "root".to_owned(),
            ),
            Source::Disk(source) => (None, String::new(), Vec::new(), source.user.clone()),
            Source::Installer(source) => {
                let usual = match source.installer.mirror.as_str() {
                    installer::HOST_MIRROR => "http://mirror-of-this-host.invalid/debian".to_owned(),
                    usual => usual.to_owned(),
                };
                (
                    Some(source.mirror.clone().unwrap_or(usual)),
                    source.suite.clone().unwrap_or_default(),
                    Vec::new(),
                    "root".to_owned(),
                )
            }
        };
        Self {
            security_mirror: "<security mirror of this host>".to_owned(),
            mirror: mirror.unwrap_or_else(|| "<mirror of this host>".to_owned()),
            suite,
            components,
            report_installed: format!("<{REPORT}>"),
            build_key: format!("<{KEY}>"),
            root_uuid: "<UUID of the root file system>".to_owned(),
            user,
            ..Self::default()
        }
    }
}

/// What an answer template may use.
pub fn answers_context(distro: &Distro, facts: &BuildFacts) -> Context {
    let BuildFacts {
        mirror,
        security_mirror,
        suite,
        components,
        build_key,
        root_uuid,
        user,
        kept_arguments,
        password,
        report_url,
        report_installed,
    } = facts;
    let hostname = host_name(&distro.name);
    let mut context = distro_context(distro);
    let texts = [
        ("mirror", mirror),
        ("security_mirror", security_mirror),
        ("suite", suite),
        ("hostname", &hostname),
        ("build_key", build_key),
        ("root_uuid", root_uuid),
        ("user", user),
        ("kept_arguments", kept_arguments),
        ("password", password),
        ("report_url", report_url),
        ("report_installed", report_installed),
    ];
    context.extend(texts.map(|(key, text)| (key.to_owned(), text.as_str().into())));
    context.insert("components".to_owned(), components.clone().into());
    context.insert("mirror_url".to_owned(), parts(mirror));
    context
}

/// A distro's name as a host name: installers cut others at a dot or refuse them (RFC 1123: letters, digits and hyphens, at
/// most 63).
fn host_name(distro: &str) -> String {
    let one = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = distro.chars().map(one).take(63).collect();
    name.trim_matches('-').to_owned()
}

/// The parts of a URL, for installers that want them one by one.
fn parts(url: &str) -> serde_json::Value {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = format!("/{}", path.trim_end_matches('/'));
    json!({ "scheme": scheme, "host": host, "path": path })
}

/// What an installer's kernel arguments and what is typed may use, in addition to the vars: all but `mirror` as parts of `host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootFacts {
    /// URL of the answers.
    pub url: String,
    /// URL of the folder that they are in, with its last slash.
    pub folder: String,
    /// The host's address, as the guest sees it.
    pub address: String,
    /// Port of the answers.
    pub port: String,
    /// Port that takes syslog.
    pub log_port: String,
    /// Where packages come from.
    pub mirror: String,
}

/// What they are made from.
pub fn boot_context(distro: &Distro, facts: &BootFacts) -> Context {
    let BootFacts {
        url,
        folder,
        address,
        port,
        log_port,
        mirror,
    } = facts;
    let mut context = distro_context(distro);
    let host =
        json!({ "url": url, "folder": folder, "address": address, "port": port, "log_port": log_port });
    context.insert("host".to_owned(), host);
    context.insert("mirror".to_owned(), mirror.as_str().into());
    context
}

/// What the environment values of a step may use. Not the size: all sizes share one provisioned disk.
pub fn env_context(distro: &Distro, flavor: &str) -> Context {
    let mut context = distro_context(distro);
    context.insert("flavor".to_owned(), flavor.into());
    context
}

/// What the metadata of a published image may use.
pub fn publish_context(distro: &Distro, image: &Image, publish: &Publish) -> Context {
    let mut context = env_context(distro, &image.flavor);
    let file = image.file.file_name().unwrap_or_default().to_string_lossy();
    let texts = [
        ("size", image.size_label.as_str()),
        ("id", &image.id),
        ("file", &file),
        ("format", publish.format.name()),
        ("suffix", publish.compress.suffix()),
    ];
    context.extend(texts.map(|(key, text)| (key.to_owned(), text.into())));
    context.insert("disk_gb".to_owned(), disk_gb(image.size.0).into());
    context
}

/// The size of a disk as people call it: GiB where it is whole ones, else thousands of MiB (Packer's `50000` is "50"),
/// else GiB rounded up.
fn disk_gb(bytes: u64) -> u64 {
    const THOUSAND: u64 = 1000 * MIB;
    match bytes {
        whole if whole.is_multiple_of(GIB) => whole / GIB,
        packers if packers.is_multiple_of(THOUSAND) => packers / THOUSAND,
        odd => odd.div_ceil(GIB),
    }
}

/// The vars as this distro sees them, its own name, family and version, and the platform of its images.
pub fn distro_context(distro: &Distro) -> Context {
    let mut context = distro.vars.clone();
    context.insert("distro".to_owned(), distro.name.as_str().into());
    context.insert("family".to_owned(), distro.family.name.as_str().into());
    context.insert("version".to_owned(), distro.version.as_str().into());
    let hardware = distro.computer().platform.hardware();
    let mut platform = json!(hardware);
    platform["uefi"] = hardware.emulator.uefi.is_some().into();
    context.insert("platform".to_owned(), platform);
    context
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_distros_become_names_that_every_installer_takes() {
        assert_eq!(host_name("debian12"), "debian12");
        assert_eq!(host_name("ubuntu-20.04-server"), "ubuntu-20-04-server");
        assert_eq!(host_name("alma_9."), "alma-9");
        assert_eq!(host_name(&"x".repeat(80)).len(), 63);
    }
}
