//! `pipeline render`: what the systems of a manifest are configured with, exactly as a run would hand it over; only the
//! key that is made for each build has a stand-in.

use super::exit::Exit;
use super::report_error::{fail, note, out, talk};
use super::target::{Selection, StoreArgs};
use crate::manifest::model::{Access, Source};
use crate::run::prepare::{Ask, prepare};
use crate::stage::guest::seed;
use crate::stage::install::{self, BUILD_KEY};

/// Arguments of `pipeline render`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Selection,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit, Exit> {
    out(&render(args)?);
    Ok(Exit::Ok)
}

/// The answers of the selected images' distros, with a head line each where there are several.
fn render(args: &Args) -> Result<String, Exit> {
    let (manifest, selected) = args.target.load()?;
    let store = args.store.look()?;
    let prepared = prepare(&manifest, &selected, &store, Ask::default(), &note)
        .map_err(|error| fail(Exit::Usage, error))?;
    let nodes: Vec<_> = prepared.plan.nodes().map(|(_, node)| node).collect();
    let mut texts = Vec::new();
    for node in nodes.iter().filter(|node| node.stage == install::STAGE) {
        let distro = node.subject.as_str();
        let text = match node.work.answers() {
            Some(answers) => answers.to_owned(),
            None => match manifest.distro(distro).map(|d| &d.source) {
                Some(Source::Disk(disk)) if disk.access == Access::CloudInit => {
                    let seed = seed(&disk.user, BUILD_KEY)
                        .map_err(|error| fail(Exit::Usage, miette::miette!("{error}")))?;
                    seed.user_data
                }
                _ => String::new(),
            },
        };
        if text.is_empty() {
            talk(&format!("{distro}: needs no answers\n"));
        } else {
            texts.push((distro, text));
        }
    }
    if let [(_, only)] = &texts[..] {
        return Ok(only.clone());
    }
    Ok(texts
        .iter()
        .map(|(distro, text)| format!("==> {distro} <==\n{text}"))
        .collect())
}
