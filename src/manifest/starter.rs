//! Manifests to start from: for a host's own distribution, or for answer templates that are there already. Gives text;
//! whether it is a good manifest is for the loader to say.

use super::error::{ManifestErrors, ProblemKind};
use super::parse::{self, Node, Value};
use super::{builtin, export, names};
use crate::families::Tables;
use crate::host::facts::OsRelease;

/// Media that are known to work are taken from the fleet's manifest.
const FLEET: &str = include_str!("../../pipelines/images.toml");
/// Stands for a mirror on hosts that have none of the kind: which one is near cannot be known.
const MIRROR: &str = "https://mirror.example/debian";

/// A template of the user's.
#[derive(Clone, Debug)]
pub struct Found {
    /// As the manifest is to name it.
    pub name: String,
    pub text: String,
}

/// A value for a variable that a template uses and nothing defines.
pub type Blanks = std::collections::BTreeSet<String>;

/// What is bootstrapped where the host's own distribution cannot be.
fn elsewhere() -> OsRelease {
    OsRelease {
        id: "debian".to_owned(),
        version: "12".to_owned(),
        codename: "bookworm".to_owned(),
        ..OsRelease::default()
    }
}

/// A manifest that builds a system like the host's; `name` is its file.
pub fn for_host(host: &OsRelease, name: &str) -> String {
    let own = matches!(host.id.as_str(), "debian" | "ubuntu") && !host.codename.is_empty();
    let other = elsewhere();
    let from = if own { host } else { &other };
    let version = if from.version.is_empty() {
        &from.codename
    } else {
        &from.version
    };
    let distro = names::from_stem(std::path::Path::new(&format!("{}{version}.", from.id)));
    let (comment, mirror) = if own {
        (
            "# What is installed, once for all images. Packages come from the mirror that this host's own apt uses.",
            String::new(),
        )
    } else {
        (
            "# What is installed, once for all images: Debian, which is made of packages without an installer. For this host's\n\
             # own distribution, take its installer (`source.iso`) or one of its cloud images (`source.disk`). Write the name of\n\
             # a Debian mirror near you in place of mirror.example.",
            format!(", mirror = \"{MIRROR}\""),
        )
    };
    format!(
        r#"{head}
[vars]                         # every template sees these
timezone = "Etc/UTC"

{comment}
[distros.{key}]
family  = "{family}"
version = "{version}"
source  = {{ bootstrap = {{ suite = "{suite}"{mirror}, packages = ["sudo"] }} }}
disk    = "2G"                 # it is installed at this size; images only grow
firmware = "bios+uefi"         # one disk that both start; its checks boot it by each

{tail}[[images]]
distro = "{distro}"
flavor = "plain"
sizes  = ["3G"]                # a further size costs seconds: "20G", "100G"

{publish}"#,
        head = head(&host.name, name),
        key = export::toml_key(&distro),
        family = from.id,
        suite = from.codename,
        tail = TAIL,
        publish = PUBLISH,
    )
}

/// A manifest that makes a distro of each template that it knows, and says which it does not.
pub fn for_templates(templates: &[Found], blanks: &Blanks, host: &OsRelease, name: &str) -> Option<String> {
    let mut used: Vec<String> = Vec::new();
    let (mut distros, mut strangers) = (String::new(), String::new());
    for template in templates {
        let Some(kind) = recognise(template) else {
            strangers.push_str(&format!("#   {}\n", template.name));
            continue;
        };
        let path = std::path::Path::new(&template.name);
        let stem = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let stem = stem.split('.').next().unwrap_or_default();
        let mut distro = names::from_stem(std::path::Path::new(&format!("{stem}.")));
        while used.contains(&distro) {
            distro.push_str("-2");
        }
        distros.push_str(&section(&distro, template, kind, host)?);
        used.push(distro);
    }
    if used.is_empty() {
        return None;
    }
    let blanks: String = blanks
        .iter()
        .map(|name| {
            format!(
                "{name} = \"\"{}# a template uses it: give it its value\n",
                " ".repeat(20)
            )
        })
        .collect();
    let strangers = if strangers.is_empty() {
        String::new()
    } else {
        format!(
            "# Not recognised as a preseed, a kickstart, an autoinstall or a setup script, and left out:\n{strangers}\n"
        )
    };
    let quoted: Vec<_> = used.iter().map(|name| format!("\"{name}\"")).collect();
    Some(format!(
        r#"{head}
[vars]                         # every template sees these
timezone = "Etc/UTC"
{blanks}
{strangers}{distros}{TAIL}[[images]]
distro = [{distros_used}]
flavor = "plain"
sizes  = ["20G"]               # a further size costs seconds

{PUBLISH}"#,
        head = head(&host.name, name),
        distros_used = quoted.join(", "),
    ))
}

const TAIL: &str = r#"# What is done inside, once for each distro: scripts, files, reboots, Ansible.
[flavors.plain]
steps = [
  { inline = "echo 'Made by pipeline.' > /etc/motd", name = "motd" },
  # An image has no account to log in to unless a step makes one: with your public key in admin.pub, take out the #s.
  # { inline = "useradd -m -s /bin/bash -G sudo admin && echo 'admin ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/admin" },
  # { copy = "admin.pub", to = "/home/admin/.ssh/authorized_keys", mode = "0600", owner = "admin" },
]
checks = ["standard"]          # each image is booted and looked at before it appears; --no-check leaves that out

# What is wanted: every size of every flavor of every distro.
"#;

const PUBLISH: &str = r#"[publish]
compress  = "gzip"             # zstd, xz, none
checksums = ["sha512"]
"#;

fn head(title: &str, name: &str) -> String {
    let made = if title.is_empty() {
        "# Made by `pipeline init`.".to_owned()
    } else {
        format!("# Made by `pipeline init` on {title}.")
    };
    format!(
        "{made}\n#\n#   pipeline plan {name}    what would be done, and why\n\
         #   pipeline run {name}     do it; a second run does nothing\n#\n\
         # `pipeline schema` prints what every key means, for editors; `pipeline schema --format markdown` for people.\n"
    )
}

/// What a template answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    family: &'static str,
    /// The built-in template of its kind.
    like: &'static str,
}

const KINDS: [Kind; 4] = [
    Kind {
        family: "debian",
        like: "preseed-debian.cfg.j2",
    },
    Kind {
        family: "ubuntu",
        like: "preseed-ubuntu.cfg.j2",
    },
    Kind {
        family: "ubuntu",
        like: "autoinstall-ubuntu.yaml.j2",
    },
    Kind {
        family: "rhel",
        like: "kickstart.cfg.j2",
    },
];
const SETUP: Kind = Kind {
    family: "debian",
    like: "bootstrap.sh.j2",
};

fn recognise(template: &Found) -> Option<Kind> {
    let text = template.text.as_str();
    let line = |start: &str| text.lines().any(|line| line.trim_start().starts_with(start));
    let extends = |name: &str| text.contains(&format!("\"{name}\"")) && text.contains("extends");
    if let Some(kind) = KINDS.iter().find(|kind| extends(kind.like)) {
        return Some(*kind);
    }
    let ubuntu = template.name.to_lowercase().contains("ubuntu") || text.to_lowercase().contains("ubuntu");
    let [debian, legacy, autoinstall, kickstart] = KINDS;
    if line("d-i ") {
        Some(if ubuntu { legacy } else { debian })
    } else if line("autoinstall:") {
        Some(autoinstall)
    } else if line("%packages") || line("rootpw ") {
        Some(kickstart)
    } else if text.starts_with("#!") && (text.contains("build_key") || extends(SETUP.like)) {
        Some(SETUP)
    } else {
        None
    }
}

fn section(distro: &str, template: &Found, kind: Kind, host: &OsRelease) -> Option<String> {
    let (answers, key) = (export::toml_text(&template.name), export::toml_key(distro));
    if kind == SETUP {
        let other = elsewhere();
        let (from, mirror) = match host.id.as_str() {
            "debian" if !host.codename.is_empty() => (host, String::new()),
            _ => (&other, format!(", mirror = \"{MIRROR}\"")),
        };
        let (suite, version) = (&from.codename, &from.version);
        return Some(format!(
            "[distros.{key}]\nfamily  = \"debian\"\nversion = \"{version}\"\nanswers = {answers}\n\
             source  = {{ bootstrap = {{ suite = \"{suite}\"{mirror} }} }}\n\n"
        ));
    }
    let (version, iso) = medium(kind, &template.name)?;
    Some(format!(
        "# The medium is the one of the program's own fleet: take yours.\n\
         [distros.{key}]\nfamily  = \"{}\"\nversion = \"{version}\"\nanswers = {answers}\n\n\
         [distros.{key}.source.iso]\n{}\n",
        kind.family,
        export::toml(&iso)
    ))
}

/// A medium of the fleet whose installer takes answers of this kind: that of the version in the template's name, else
/// the last one.
fn medium(kind: Kind, template: &str) -> Option<(String, Node)> {
    let fleet = parse::parse(FLEET).ok()?;
    let mut fitting = Vec::new();
    if let Value::Table(distros) = &get(&fleet, "distros")?.value {
        for entry in distros {
            let text = |key| match &get(&entry.node, key)?.value {
                Value::Text(text) => Some(text.clone()),
                _ => None,
            };
            let (Some(family), Some(version)) = (text("family"), text("version")) else {
                continue;
            };
            let answers = Tables::built_in()
                .installer(&family, &version)
                .map(|known| known.answers.as_str());
            let iso = get(&entry.node, "source").and_then(|source| get(source, "iso"));
            if let Some(iso) = iso.filter(|_| family == kind.family && answers == Some(kind.like)) {
                fitting.push((version, iso.clone()));
            }
        }
    }
    let named = fitting
        .iter()
        .position(|(version, _)| template.contains(version.as_str()));
    let index = named.or(fitting.len().checked_sub(1))?;
    Some(fitting.swap_remove(index))
}

fn get<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    match &node.value {
        Value::Table(entries) => entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.node),
        _ => None,
    }
}

/// The variables that a manifest lacks, where that is all that is wrong with it.
pub fn blanks(errors: &ManifestErrors) -> Option<Blanks> {
    let name = |problem: &super::error::Problem| match problem.kind() {
        ProblemKind::UndefinedVariable { name, .. } => Some(name.clone()),
        _ => None,
    };
    errors.problems().iter().map(name).collect()
}

/// Whether a file looks like a template to look at: text, and not the manifest or a script of a step.
pub fn is_template(name: &str) -> bool {
    let endings = [
        ".cfg", ".ks", ".j2", ".jinja", ".jinja2", ".yaml", ".yml", ".seed", ".preseed", ".sh",
    ];
    builtin::template(name).is_none() && endings.iter().any(|ending| name.ends_with(ending))
        || name == "user-data"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, text: &str) -> Option<Kind> {
        recognise(&Found {
            name: name.to_owned(),
            text: text.to_owned(),
        })
    }

    #[test]
    fn templates_are_recognised_by_what_is_in_them() {
        assert_eq!(
            kind("a.cfg", "#_preseed_V1\nd-i debian-installer/locale string en\n"),
            Some(KINDS[0])
        );
        assert_eq!(kind("ubuntu.cfg", "d-i x string y\n"), Some(KINDS[1]));
        assert_eq!(
            kind("user-data", "#cloud-config\nautoinstall:\n  version: 1\n"),
            Some(KINDS[2])
        );
        assert_eq!(kind("x.ks", "lang en\n%packages\n%end\n"), Some(KINDS[3]));
        assert_eq!(
            kind("x.cfg.j2", "{% extends \"kickstart.cfg.j2\" %}\n"),
            Some(KINDS[3])
        );
        assert_eq!(kind("notes.yml", "hello: 1\n"), None);
        let newest = medium(KINDS[0], "my.cfg").unwrap().0;
        assert_eq!(
            (
                newest.as_str(),
                medium(KINDS[0], "debian11.cfg").unwrap().0.as_str()
            ),
            ("13", "11")
        );
    }
}
