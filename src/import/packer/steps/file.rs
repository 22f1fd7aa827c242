//! `file` provisioners: what is copied into the guest.

use toml_edit::Value;

use super::provisioner::Provisioner;
use crate::import::note::Weight;
use crate::import::packer::model::{Found, Step};
use crate::import::path;

pub(super) fn file(provisioner: &Provisioner<'_>, steps: &mut Vec<Step>) {
    let Provisioner { build, options, .. } = *provisioner;
    let shared = provisioner.shared();
    let to = provisioner.text("destination").unwrap_or_default();
    if options
        .text_of("direction")
        .is_some_and(|text| text == "download")
    {
        provisioner.note(Weight::Todo,
            "direction",
            format!(
                "brought {to} out of the guest; not supported: publish it from the image, or make it on this host"
            ),
        );
        return;
    }
    let user = build.text("ssh_username").unwrap_or_else(|| "root".to_owned());
    let home = if user == "root" {
        "/root".to_owned()
    } else {
        format!("/home/{user}")
    };
    let to = if to.starts_with('/') {
        to
    } else {
        let text = format!("`{to}` was in the home of {user}: {home}/ here");
        provisioner.note(Weight::Decided, "destination", text);
        format!("{home}/{}", to.trim_start_matches("~/"))
    };
    if let Some(content) = options.text_of("content") {
        if build.is_secret(&content) {
            let text = "has a secret in it: write the file by a `run` step with `env`";
            return provisioner.stop("content", text, steps);
        }
        if build.changes(&content) {
            let text =
                "a part of it changes with each build: write the file by an `inline` step, a time by `date`";
            return provisioner.stop("content", text, steps);
        }
        let content = build.resolve(&content);
        let marker = (0..)
            .map(|number| format!("END{number}"))
            .find(|marker| !content.contains(marker.as_str()))
            .unwrap_or_default();
        let text =
            format!("mkdir -p \"$(dirname '{to}')\"\ncat > '{to}' <<'{marker}'\n{content}\n{marker}\n");
        let mut step = Step::of("inline", text);
        step.keys
            .push(("name", Value::from(format!("write {}", path::name(&to)))));
        if user != "root" {
            step.keys.push(("user", Value::from(user)));
        }
        shared.finish(&mut step);
        steps.push(step);
        return;
    }
    for written in [options.texts_of("source"), options.texts_of("sources")].concat() {
        let from = build.resolve(&written);
        let (found, what) = build.find(from.trim_end_matches('/'));
        let to = match what {
            // Like rsync: without a slash at the end, the folder itself arrives.
            Found::Folder(_) if !from.ends_with('/') => {
                format!("{}/{}", to.trim_end_matches('/'), path::name(&found))
            }
            Found::Folder(_) => to.clone(),
            _ if to.ends_with('/') => format!("{to}{}", path::name(&found)),
            _ => to.clone(),
        };
        if what == Found::Missing {
            provisioner.note(
                Weight::Todo,
                "source",
                format!("there is no file {from}; the manifest is not valid until it is there"),
            );
        }
        let mut step = Step::of("copy", build.importer.named(&found));
        step.keys.push(("to", Value::from(path::plain(&to))));
        if user != "root" {
            step.keys.push(("owner", Value::from(user.as_str())));
        }
        shared.finish(&mut step);
        steps.push(step);
    }
}
