//! Builds that differ by the size of their disk alone become one distro with sizes; lists of steps that are the same
//! become one flavor.

use std::collections::BTreeSet;

use toml_edit::Value;

use super::build::{Build, Importer};
use super::model::{Distro, Fleet, Images, Kept, Key, Step};
use super::{distro, steps};
use crate::families::Tables;
use crate::import::node::{Node, Place};
use crate::import::note::Weight;
use crate::import::path;
use crate::size::{ByteSize, MIB};

/// What one build is in a manifest.
#[derive(Clone, Debug)]
pub struct Made {
    key: Key,
    distro: Distro,
    /// What is done inside.
    steps: Vec<Step>,
    /// The flavor's name, where the build's name has one.
    flavor: Option<String>,
    /// Size of its disk, as the manifest writes it.
    size: String,
    /// The build's name.
    pub name: String,
    /// Name of the `build` block around it.
    group: Option<String>,
    /// Folder and name of its file.
    pub file: (String, String),
    place: Place,
}

/// Reads a build.
pub fn made(key: Key, build: &Build<'_>) -> Option<Made> {
    let distro = distro::read(build)?;
    let (own, flavor) = distro::names(build);
    let written = build.option("output_directory").and_then(Node::text);
    let written = written.filter(|folder| !folder.is_empty());
    let folder = match written {
        Some(written) => build.lasting("output_directory", &written),
        None => format!("output-{}", build.name()),
    };
    let steps = steps::read(build);
    let size = size(build);
    Some(Made {
        key,
        steps: build.first.take().into_iter().chain(steps).collect(),
        distro,
        flavor,
        size,
        // A build without a name of its own is called as its distro.
        name: match build.name() {
            "qemu" => own,
            name => name.to_owned(),
        },
        group: build.builder.group.clone(),
        file: (folder, build.scope.vm_name.clone()),
        place: build.place().clone(),
    })
}

/// Packer's `disk_size`: a bare number is MiB.
fn size(build: &Build<'_>) -> String {
    let written = build.text("disk_size").unwrap_or_else(|| "40960M".to_owned());
    let number = written.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = written[number.len()..].to_uppercase();
    let text = match (unit.as_str(), number.parse::<u64>()) {
        ("", _) => format!("{number}M"),
        // Bytes, of which a disk has whole MiB here.
        ("B", Ok(bytes)) => format!("{}M", bytes.div_ceil(MIB)),
        (unit, _) => format!("{number}{}", unit.trim_end_matches('B').trim_end_matches('I')),
    };
    let fits = |size: &ByteSize| size.0 >= MIB && size.0.is_multiple_of(512);
    match text.parse::<ByteSize>().ok().filter(fits) {
        Some(_) => {
            if matches!(unit.as_str(), "" | "B") && build.option("disk_size").is_some() {
                let size = text.trim_end_matches('M');
                let what = match unit.as_str() {
                    "B" => format!("bytes in Packer; in whole MiB that is {text}"),
                    _ => format!(
                        "MiB in Packer, so {size} is written {text}; `50G` would be 50 GiB, a little more than 50000M"
                    ),
                };
                build.note(Weight::Decided, "disk_size", what);
            }
            text
        }
        None => {
            build.stop(
                "disk_size",
                "not a size; Packer's default of 40960M stands in the manifest",
            );
            "40960M".to_owned()
        }
    }
}

/// Folds builds.
pub fn fold(all: Vec<Made>, kept: Vec<(Key, Vec<Kept>)>, importer: &Importer<'_>) -> Fleet {
    let mut fleet = Fleet::default();
    shared_vars(&all, &kept, &mut fleet);
    let mut names: Vec<(String, String)> = Vec::new();
    let mut flavors: Vec<(String, Vec<Step>)> = Vec::new();
    for one in all {
        let mut distro = one.distro.clone();
        own_vars(&one, &kept, &fleet.vars, &mut distro);
        let text = shown(&distro);
        let known = names
            .iter()
            .find(|(_, known)| *known == text)
            .map(|(name, _)| name.clone());
        let distro_name = known.unwrap_or_else(|| {
            let name = free(&distro.name, |name| {
                fleet.distros.iter().any(|distro| distro.name == name)
            });
            if name != distro.name {
                importer.note(
                    Weight::Decided,
                    Some(&one.place),
                    format!("build {}", one.name),
                    format!(
                        "another system than `{}` under the same name, so it is `{name}`",
                        distro.name
                    ),
                );
            }
            distro.name.clone_from(&name);
            names.push((name.clone(), text));
            fleet.distros.push(distro);
            name
        });
        let group = one.group.as_deref().map(path::plain_name);
        let wanted = one.flavor.clone().or(group);
        let wanted = wanted.unwrap_or_else(|| usual_flavor(&one.steps));
        let flavor = flavor(&mut flavors, &wanted, &one, &distro_name);
        add(&mut fleet, one, &distro_name, flavor, importer);
    }
    fleet.flavors = flavors;
    disks(&mut fleet, importer);
    unique(&mut fleet);
    merge(&mut fleet);
    fleet
}

/// Ids that two images would have say more.
fn unique(fleet: &mut Fleet) {
    let ids = |images: &Images| -> Vec<String> {
        let each = images
            .distros
            .iter()
            .flat_map(|distro| images.sizes.iter().map(move |size| (distro, size)));
        each.map(|(distro, size)| {
            let short = size
                .strip_suffix("000M")
                .map_or(size.clone(), |number| format!("{number}G"));
            images
                .id
                .replace("{{ distro }}", distro)
                .replace("{{ flavor }}", &images.flavor)
                .replace("{{ size }}", size)
                .replace(SHORT_SIZE, &short)
        })
        .collect()
    };
    let longer = [
        "{{ distro }}-{{ flavor }}",
        "{{ distro }}-{{ size }}-{{ flavor }}",
    ];
    for longer in longer {
        let all: Vec<Vec<String>> = fleet.images.iter().map(ids).collect();
        let count = |id: &String| all.iter().flatten().filter(|known| *known == id).count();
        for (images, own) in fleet.images.iter_mut().zip(&all) {
            if own.iter().any(|id| count(id) > 1) {
                longer.clone_into(&mut images.id);
            }
        }
    }
}

/// The size in ids, where it is so many thousands of MiB.
const SHORT_SIZE: &str = "{{ size | replace(\"000M\", \"G\") }}";

/// The distro as a text, to see whether two are the same.
fn shown(distro: &Distro) -> String {
    use std::fmt::Write as _;
    let mut text = format!("{} {:?} {}\n", distro.name, distro.system, distro.kind);
    let source = distro
        .source
        .iter()
        .map(|(key, value, _)| format!("{key} = {value}"));
    let keys = distro.keys.iter().map(|(key, value)| format!("{key} = {value}"));
    let vars = distro
        .vars
        .iter()
        .map(|(key, value)| format!("vars.{key} = {value}"));
    for line in source.chain(keys).chain(vars) {
        let _ = writeln!(text, "{line}");
    }
    text
}

fn free(name: &str, taken: impl Fn(&str) -> bool) -> String {
    (1..)
        .map(|number| {
            if number == 1 {
                name.to_owned()
            } else {
                format!("{name}-{number}")
            }
        })
        .find(|name| !taken(name))
        .unwrap_or_default()
}

/// Variables that have one value in all templates.
fn shared_vars(all: &[Made], kept: &[(Key, Vec<Kept>)], fleet: &mut Fleet) {
    let used: BTreeSet<Key> = all.iter().map(|one| one.key).collect();
    let kept: Vec<_> = kept.iter().filter(|(key, _)| used.contains(key)).collect();
    for var in kept.iter().flat_map(|(_, vars)| vars) {
        let same = |other: &Kept| other.name != var.name || other.value == var.value;
        let shared = kept.iter().flat_map(|(_, vars)| vars).all(same);
        if shared && !fleet.vars.iter().any(|known| known.name == var.name) {
            fleet.vars.push(var.clone());
        }
    }
}

/// The others go to the distro; so does what its answers say in another way.
fn own_vars(one: &Made, kept: &[(Key, Vec<Kept>)], shared: &[Kept], distro: &mut Distro) {
    let kept = kept
        .iter()
        .find(|(key, _)| *key == one.key)
        .map(|(_, vars)| vars.as_slice())
        .unwrap_or_default();
    let own = kept
        .iter()
        .filter(|var| !shared.iter().any(|known| known.name == var.name));
    let mut vars: Vec<(String, Value)> = Vec::new();
    for var in own {
        vars.push((var.name.clone(), Value::from(var.value.as_str())));
    }
    for (name, value) in std::mem::take(&mut distro.vars) {
        let same = |known: &Kept| known.name == name && value.as_str() == Some(&known.value);
        if shared.iter().any(same) {
            continue;
        }
        vars.retain(|(known, _)| *known != name);
        vars.push((name, value));
    }
    distro.vars = vars;
}

fn usual_flavor(steps: &[Step]) -> String {
    if has_agent(steps) { "vm-bootstrap" } else { "base" }.to_owned()
}

/// Whether the boot-time agent is installed.
pub fn has_agent(steps: &[Step]) -> bool {
    let mut keys = steps.iter().flat_map(|step| &step.keys);
    keys.any(|(key, _)| *key == "install")
}

/// The flavor with these steps: by its own name, or one with the distro's.
fn flavor(flavors: &mut Vec<(String, Vec<Step>)>, wanted: &str, one: &Made, distro: &str) -> String {
    let text = |steps: &[Step]| steps.iter().map(Step::show).collect::<Vec<_>>();
    let same =
        |(name, steps): &&(String, Vec<Step>)| name.starts_with(wanted) && text(steps) == text(&one.steps);
    if let Some((name, _)) = flavors.iter().find(same) {
        return name.clone();
    }
    let taken = |name: &str| flavors.iter().any(|(known, _)| known == name);
    let name = if taken(wanted) {
        free(&format!("{wanted}-{distro}"), taken)
    } else {
        wanted.to_owned()
    };
    flavors.push((name.clone(), one.steps.clone()));
    name
}

/// Adds the image of a build.
fn add(fleet: &mut Fleet, one: Made, distro: &str, flavor: String, importer: &Importer<'_>) {
    let id = path::plain_name(&one.name);
    let file = (distro.to_owned(), id.clone(), one.file.clone());
    let template = id_template(&id, distro, &one.size);
    let fits =
        |images: &&mut Images| images.distros == [distro] && images.flavor == flavor && images.id == template;
    match fleet.images.iter_mut().find(fits) {
        Some(images) if images.sizes.contains(&one.size) => {
            importer.note(
                Weight::Decided,
                Some(&one.place),
                format!("build {}", one.name),
                "the same image as another build: it is there once",
            );
        }
        Some(images) => {
            images.sizes.push(one.size);
            images.files.push(file);
        }
        None => fleet.images.push(Images {
            distros: vec![distro.to_owned()],
            flavor,
            sizes: vec![one.size],
            id: template,
            files: vec![file],
        }),
    }
}

/// The id as a template, so that one table can have several sizes: `debian12-50G-x` of 50000M.
fn id_template(id: &str, distro: &str, size: &str) -> String {
    let (start, rest) = match id.strip_prefix(distro) {
        Some(rest) => ("{{ distro }}".to_owned(), rest.to_owned()),
        None => (String::new(), id.to_owned()),
    };
    let whole = |text: &str| -> Option<(String, String)> {
        let at = rest.find(text)?;
        let (before, after) = (&rest[..at], &rest[at + text.len()..]);
        let parted = !before.ends_with(|c: char| c.is_ascii_alphanumeric())
            && !after.starts_with(|c: char| c.is_ascii_alphanumeric());
        parted.then(|| (before.to_owned(), after.to_owned()))
    };
    let short = size.strip_suffix("000M").map(|number| format!("{number}G"));
    let found = short.as_deref().and_then(whole).map(|parts| (parts, SHORT_SIZE));
    let found = found.or_else(|| whole(size).map(|parts| (parts, "{{ size }}")));
    match found {
        Some(((before, after), size)) => format!("{start}{before}{size}{after}"),
        None => format!("{start}{rest}"),
    }
}

/// Ids that would be the same get the size; disks that are too large for the smallest image become smaller.
fn disks(fleet: &mut Fleet, importer: &Importer<'_>) {
    for images in &mut fleet.images {
        if images.sizes.len() > 1 && !images.id.contains("size") {
            images.id.push_str("-{{ size }}");
            importer.note(
                Weight::Decided,
                None,
                format!("images of {}", images.distros.join(", ")),
                "builds of several sizes had one name; the size is in it now",
            );
        }
    }
    for distro in &mut fleet.distros {
        let of_distro = fleet
            .images
            .iter()
            .filter(|images| images.distros.contains(&distro.name));
        let smallest = of_distro
            .flat_map(|images| &images.sizes)
            .filter_map(|size| Some((size.parse::<ByteSize>().ok()?, size)))
            .min();
        let usual = Tables::built_in()
            .installer(distro.system.family, &distro.system.version)
            .map(|known| known.disk);
        if let (Some((bytes, text)), Some(usual)) = (smallest, usual.filter(|_| distro.kind == "iso"))
            && bytes < usual
        {
            distro.keys.push(("disk", Value::from(text.as_str())));
        }
    }
}

/// Tables that differ by their distro alone become one.
fn merge(fleet: &mut Fleet) {
    let mut merged: Vec<Images> = Vec::new();
    for images in std::mem::take(&mut fleet.images) {
        match merged.last_mut() {
            Some(last)
                if last.flavor == images.flavor
                    && last.sizes == images.sizes
                    && last.id == images.id
                    && last.id.contains("distro") =>
            {
                last.distros.extend(images.distros);
                last.files.extend(images.files);
            }
            _ => merged.push(images),
        }
    }
    fleet.images = merged;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_templates() {
        let size = "{{ size | replace(\"000M\", \"G\") }}";
        assert_eq!(
            id_template("debian12-50G-vm", "debian12", "50000M"),
            format!("{{{{ distro }}}}-{size}-vm")
        );
        assert_eq!(
            id_template("noble-20G", "noble", "20G"),
            "{{ distro }}-{{ size }}"
        );
        assert_eq!(id_template("debian", "debian", "20G"), "{{ distro }}");
        assert_eq!(id_template("x-150G", "debian", "50000M"), "x-150G");
    }
}
