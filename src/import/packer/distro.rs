//! A builder as a distro of the manifest: its medium, its installer, its machine.

use std::sync::LazyLock;

use regex::Regex;
use toml_edit::{InlineTable, Value};

use super::build::Build;
use super::model::{Distro, Found, Keys, Step};
use super::options::{self, Fate};
use super::typed::{self, Start, Words};
use super::{feed, machine, media, seed, system};
use crate::import::node;
use crate::import::note::Weight;
use crate::import::path;
use crate::installer::Installer;
use crate::platform::Platform;

static SIZED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^(.+?)[-_.]([0-9]+)[GgMmTt](?:i?[Bb])?(?:[-_.](.+))?$").ok());

/// Distro and flavor, as the build's name says them.
pub fn names(build: &Build<'_>) -> (String, Option<String>) {
    let name = build.name();
    let parts = SIZED.as_ref().and_then(|sized| sized.captures(name));
    let (distro, flavor) = match parts {
        Some(parts) => (
            parts[1].to_owned(),
            parts.get(3).map(|flavor| flavor.as_str().to_owned()),
        ),
        None => {
            let start = build.builder.name.split("{{").next().unwrap_or_default();
            let fits = !start.is_empty() && start != build.builder.name && name.starts_with(start);
            match fits.then(|| name.split_at(start.len())) {
                Some((distro, flavor)) if !flavor.is_empty() => (distro.to_owned(), Some(flavor.to_owned())),
                _ => (name.to_owned(), None),
            }
        }
    };
    let distro = if ["qemu", "", "default", "main", "vm"].contains(&distro.as_str()) {
        let shown = path::name(&build.template.shown);
        let shown = shown.split('.').next().unwrap_or_default();
        if shown.is_empty() {
            distro
        } else {
            path::stem(&build.template.shown)
                .trim_end_matches(".pkr")
                .to_owned()
        }
    } else {
        distro
    };
    (
        path::plain_name(&distro),
        flavor.map(|flavor| path::plain_name(&flavor)),
    )
}

/// Reads a builder. `None`: it cannot be a distro, which is reported.
pub fn read(build: &Build<'_>) -> Option<Distro> {
    tell(build);
    let urls = media::urls(build);
    let is_disk = build.text("disk_image").is_some_and(|text| text == "true");
    let arch = match system::arch(build, &urls) {
        Ok(arch) => arch,
        Err(other) => {
            let cause = format!("it is for {other}, and machines for amd64 and arm64 can be built");
            build.refuse(&cause, "take a medium of the same system for one of these");
            return None;
        }
    };
    let medium = urls.first().map_or("nothing", |url| path::name(url));
    let Some(mut system) = system::of(build, &urls) else {
        let cause = format!(
            "pipeline cannot install {medium}: no name says that it is a Debian, an Ubuntu, a SUSE, a RHEL or one of its rebuilds"
        );
        let remedy = "if it is one, say so: --system FAMILY:VERSION, as in --system rhel:9";
        // Why there is no medium at all says more.
        if media::read(build, &urls).is_some() {
            build.refuse(&cause, remedy);
        }
        return None;
    };
    let mut source = media::read(build, &urls)?;
    let (name, _) = names(build);
    let mut distro = Distro {
        name,
        system: system.clone(),
        kind: if is_disk { "disk" } else { "iso" },
        comments: Vec::new(),
        source: Keys::new(),
        keys: Vec::new(),
        vars: Vec::new(),
    };
    distro.keys.extend(arch.map(|arch| ("arch", Value::from(arch))));
    machine::read(build, &mut distro);
    if is_disk {
        access(build, &mut source);
        seed::check(build);
        distro.source = source;
        return Some(distro);
    }
    let arch = arch.unwrap_or(Platform::default().hardware().arch);
    let has_arch = |known: &&Installer| known.images.contains_key(arch);
    if let Some(program) = system::unread(&system) {
        let cause = format!("answers of {program}, which installs {medium}, are not read");
        let remedy = format!(
            "write the distro by hand: pipeline installs `family = \"{}\"` from answers like the built-in ones",
            system.family
        );
        build.refuse(&cause, &remedy);
        return None;
    }
    if system::installer(&system).filter(has_arch).is_none() {
        let cause = format!(
            "pipeline cannot install {medium}: no installer of {} {} for {arch} is known",
            system.family, system.version
        );
        build.refuse(
            &cause,
            "take a newer release, or a cloud image as `source.disk`, written by hand",
        );
        return None;
    }
    let wanted = feed::on_server(build);
    let mut words = Words::default();
    match typed::read(build, &system, &wanted) {
        Start::Direct(found) => {
            distro.comments.push(format!(
                "Its installer's kernel is started directly. Packer typed: {}",
                found.shown
            ));
            words = found;
        }
        Start::Keys(keys) => source.push(("boot_command", Value::from(keys), None)),
        Start::Nothing => {}
    }
    if let Some(version) = words.version.take() {
        distro.comments.push(format!("Version {version}, not {}: of this release there are two installers, and this is the one that was used.", system.version));
        system.version = version;
    }
    distro.system = system.clone();
    let known = system::installer(&system)?;
    feed::answered(build, known, words, wanted, &mut distro, &mut source);
    distro.source = source;
    Some(distro)
}

/// How a build gets into a disk image.
fn access(build: &Build<'_>, source: &mut Keys) {
    if let Some(user) = build.text("ssh_username") {
        source.push(("user", Value::from(user), None));
    }
    if let Some(key) = build.text("ssh_private_key_file") {
        let (found, what) = build.find(&key);
        let mut table = InlineTable::new();
        table.insert("key", Value::from(build.importer.named(&found)));
        source.push(("access", Value::InlineTable(table), None));
        if what == Found::Missing {
            build.note(
                Weight::Todo,
                "ssh_private_key_file",
                "there is no such file now; the image is entered by this key",
            );
        }
        return;
    }
    if build.option("ssh_password").is_some() {
        build.note(Weight::Decided, "ssh_password", "the image is entered by a key that a cloud-init seed brings; an image without cloud-init needs `access = { key = … }`");
    }
    for key in [
        "boot_command",
        "boot_steps",
        "cd_files",
        "cd_content",
        "http_directory",
        "http_content",
        "floppy_files",
        "floppy_content",
    ] {
        if build.option(key).is_some() {
            build.note(Weight::Lost, key, "a disk image is started as it is, with a cloud-init seed of ours: nothing is typed into it, nothing else is served to it");
        }
    }
}

/// Reports what becomes of options that are not read elsewhere.
fn tell(build: &Build<'_>) {
    for (key, value) in build.builder.options.entries() {
        // Of what names the medium, there is more to say.
        if let node::Value::Unknown(cause) = &value.value
            && !key.starts_with("iso_")
            && matches!(options::of_builder(key), Some(Fate::Taken(_)))
        {
            let text = format!("{key}: its value cannot be known: {cause}");
            build.first.borrow_mut().push(Step::todo(&text));
        }
        match options::of_builder(key) {
            Some(Fate::Taken(_)) => {}
            Some(Fate::Ours(text)) => build.note(Weight::Decided, key, text.as_str()),
            Some(Fate::Lost(text)) => build.note(Weight::Lost, key, text.as_str()),
            None => build.note(
                Weight::Lost,
                key,
                "not a key of Packer's qemu builder that is known here; look up what it meant",
            ),
        }
    }
    let more = build
        .text("shutdown_command")
        .map(|command| besides_power(&command));
    if let Some(more) = more.filter(|more| !more.is_empty()) {
        let text = format!(
            "did more than to switch off ({}): write that as a last step",
            more.join(", ")
        );
        build.stop("shutdown_command", &text);
    }
    match build.text("communicator").as_deref() {
        None | Some("ssh") => {}
        Some("none") => build.note(Weight::Lost, "communicator", "no login: Packer waited for the machine to power off; here the build logs in by a key, to seal the image"),
        Some(_) => build.note(Weight::Lost, "communicator", "only guests with SSH can be built here"),
    }
    if let Some(folder) = build.text("http_directory") {
        build.note(
            Weight::Decided,
            "http_directory",
            format!(
                "of {folder}/ the one file that the installer asks for is its answers; nothing else is served"
            ),
        );
    }
}

/// Programs that a command to switch off starts for something else.
fn besides_power(command: &str) -> Vec<String> {
    let plain: String = command
        .chars()
        .filter(|c| !matches!(c, '\'' | '"' | '\\'))
        .collect();
    // A script that was written by the command itself, of such commands.
    let written = plain.split([';', '&']).filter_map(|part| {
        let (text, file) = part.trim().strip_prefix("echo ")?.split_once('>')?;
        besides_power(text).is_empty().then(|| path::name(file.trim()))
    });
    let written: Vec<_> = written.collect();
    let programs = plain.split([';', '&', '|']).filter_map(|part| {
        let starts = ["sudo", "su", "root", "-", "sh", "bash", "exec", "nohup", "env"];
        let mut words = part.split_whitespace();
        let first = words.find(|word| !starts.contains(&path::name(word)) && !word.starts_with('-'))?;
        let ours = [
            "echo",
            "printf",
            "shutdown",
            "poweroff",
            "halt",
            "init",
            "systemctl",
            "sync",
            "sleep",
            "exit",
            "true",
        ];
        let known = ours.iter().chain(&written);
        let is_known = known.into_iter().any(|known| *known == path::name(first));
        (!is_known).then(|| path::name(first).to_owned())
    });
    programs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shutdown_does_besides_is_found() {
        for plain in [
            "echo 'tulip' | sudo -S shutdown -P now",
            "sudo su root -c \"/sbin/halt -h -p\"",
            "/sbin/poweroff",
            "echo '/sbin/halt -h -p' > off.sh; echo 'tulip'|sudo -S bash 'off.sh'",
        ] {
            assert_eq!(besides_power(plain), Vec::<String>::new(), "{plain}");
        }
        let more = "echo tulip | sudo -S sh -c 'userdel -rf ann; rm -f /etc/sudoers.d/ann; cloud-init clean && poweroff'";
        assert_eq!(besides_power(more), ["userdel", "rm", "cloud-init"]);
        let written = "echo 'userdel ann' > /tmp/off.sh; sudo sh /tmp/off.sh; poweroff";
        assert_eq!(besides_power(written), ["off.sh"]);
    }
}
