//! `file` provisioners: what is copied into the guest.

use toml_edit::Value;

use super::{Step, finish, note, shared};
use crate::import::note::Weight;
use crate::import::packer::Found;
use crate::import::packer::build::Build;
use crate::import::packer::template::Block;
use crate::import::path;

pub(super) fn file(build: &Build<'_>, block: &Block, steps: &mut Vec<Step>) {
    let shared = shared(build, block);
    let to = block
        .options
        .text_of("destination")
        .map(|text| build.resolve(&text))
        .unwrap_or_default();
    if block
        .options
        .text_of("direction")
        .is_some_and(|text| text == "download")
    {
        note(
            build,
            block,
            Weight::Todo,
            "direction",
            format!(
                "brought {to} out of the guest; not to be had: publish it from the image, or make it on this host"
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
        note(build, block, Weight::Decided, "destination", text);
        format!("{home}/{}", to.trim_start_matches("~/"))
    };
    if user != "root" {
        note(
            build,
            block,
            Weight::Decided,
            "destination",
            format!("files belonged to {user}; now they belong to root, unless `owner` says otherwise"),
        );
    }
    if let Some(content) = block.options.text_of("content") {
        if build.is_secret(&content) {
            note(
                build,
                block,
                Weight::Todo,
                "content",
                "has a secret in it: write the file by a `run` step with `env`",
            );
            return;
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
        finish(&mut step, &shared);
        steps.push(step);
        return;
    }
    for written in [
        block.options.texts_of("source"),
        block.options.texts_of("sources"),
    ]
    .concat()
    {
        let from = build.resolve(&written);
        let (found, what) = build.find(from.trim_end_matches('/'));
        let to = match what {
            // Like rsync: without a slash at the end, the folder itself arrives.
            Found::Folder if !from.ends_with('/') => {
                format!("{}/{}", to.trim_end_matches('/'), path::name(&found))
            }
            Found::Folder => to.clone(),
            _ if to.ends_with('/') => format!("{to}{}", path::name(&found)),
            _ => to.clone(),
        };
        if what == Found::Missing {
            note(
                build,
                block,
                Weight::Todo,
                "source",
                format!("there is no file {from}; the manifest is not valid until it is there"),
            );
        }
        let mut step = Step::of("copy", build.desk.named(&found));
        step.keys.push(("to", Value::from(path::plain(&to))));
        finish(&mut step, &shared);
        steps.push(step);
    }
}
