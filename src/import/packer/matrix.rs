//! What tasks of a playbook that build nothing say of distros, next to what the builds say.

use std::collections::BTreeSet;

use super::build::Importer;
use super::model::{Fleet, PlaybookPlan};
use crate::import::note::Weight;

/// Reports where the lists of other tasks say something else than the builds.
pub fn compare(plan: &PlaybookPlan, fleet: &Fleet, importer: &Importer<'_>) {
    let mut seen = BTreeSet::new();
    for item in &plan.matrix {
        let Some(distro) = item
            .values
            .values()
            .find_map(|value| fleet.distros.iter().find(|distro| distro.name == *value))
        else {
            continue;
        };
        let version = item
            .values
            .iter()
            .find(|(key, _)| key.ends_with(".version"))
            .map(|(_, value)| value.clone());
        if let Some(version) = version.filter(|version| *version != distro.system.version)
            && seen.insert((distro.name.clone(), version.clone()))
        {
            let text = format!(
                "says version {version} of {}, which is {}: the manifest has it once, from its medium",
                distro.name, distro.system.version
            );
            importer.note(
                Weight::Decided,
                Some(&item.place),
                format!("task {}", item.task),
                text,
            );
        }
        let size = item
            .values
            .iter()
            .find(|(key, _)| key.ends_with("size"))
            .map(|(_, value)| value.clone());
        if let Some(size) = size {
            let images = fleet
                .images
                .iter()
                .filter(|images| images.distros.contains(&distro.name));
            let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
            let known = images
                .flat_map(|images| &images.sizes)
                .any(|known| digits(known).trim_end_matches("000") == digits(&size).trim_end_matches("000"));
            if !known {
                let text = format!(
                    "names size {size} of {}, which no build makes: it is not in the manifest",
                    distro.name
                );
                importer.note(
                    Weight::Decided,
                    Some(&item.place),
                    format!("task {}", item.task),
                    text,
                );
            }
        }
    }
}
