//! `pipeline store verify`.

use std::io::IsTerminal as _;
use std::sync::mpsc;

use super::target;
use crate::cli::exit::Exit;
use crate::cli::report_error::{fail, out, talk};
use crate::cli::table::counted;
use crate::emit::Emitter;
use crate::host::cancel::Cancel;
use crate::run::signals;
use crate::size::ByteSize;
use crate::store::{Condition, Store, StoreError, Stored};

pub(super) fn run(store: &Store, wanted: &[String], remove: bool) -> Result<Exit, Exit> {
    let mut all = store.results();
    let before = all.len();
    all.retain(|result| result.condition != Condition::Other);
    let others = before - all.len();
    let chosen: Vec<&Stored> = if wanted.is_empty() {
        all.iter().collect()
    } else {
        wanted
            .iter()
            .map(|text| target::one(&all, text))
            .collect::<Result<_, _>>()?
    };
    let cancel = Cancel::default();
    let (unheard, _) = mpsc::channel();
    let _listening = signals::listen(&cancel, &Emitter::new(unheard)).map_err(|error| failed(&error))?;
    let moving = std::io::stderr().is_terminal();
    let (mut bad, mut bytes) = (0, 0);
    for (number, result) in chosen.iter().enumerate() {
        let subject = result.built_for.as_ref().map_or("", |(_, subject)| subject);
        let name = format!("{}  {subject}", result.address.short());
        if moving {
            talk(&format!("\r\u{1b}[K{}/{}  {name}", number + 1, chosen.len()));
        }
        let read = store.verify(&result.address, &cancel);
        if moving {
            talk("\r\u{1b}[K");
        }
        match read {
            Ok(()) => bytes += result.bytes,
            Err(StoreError::Cancelled) => return Ok(Exit::Interrupted),
            Err(error) => {
                bad += 1;
                out(&format!("damaged  {}: {error}\n", name.trim_end()));
                if remove {
                    let address = &result.address;
                    store
                        .evict(&address.stage, &address.key)
                        .map_err(|error| failed(&error))?;
                }
            }
        }
    }
    let good = chosen.len() - bad;
    out(&format!(
        "{good} of {} as written ({} read)\n",
        counted(chosen.len(), "result"),
        ByteSize(bytes)
    ));
    if others > 0 && wanted.is_empty() {
        talk(&format!(
            "{} in the format of another version of pipeline not read\n",
            counted(others, "result")
        ));
    }
    match bad {
        0 => return Ok(Exit::Ok),
        _ if remove => {
            talk("the damaged ones were taken out; the next run that needs them rebuilds them\n");
        }
        _ => talk("`--remove` takes the damaged ones out; the next run that needs them rebuilds them\n"),
    }
    Ok(Exit::Failed)
}

fn failed(error: &dyn std::fmt::Display) -> Exit {
    fail(Exit::Failed, miette::miette!("{error}"))
}
