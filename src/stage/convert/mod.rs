//! Further formats of an image, for those who cannot use the packaged file: each is made of that file, opened again, and
//! compared with it byte by byte, as a guest sees both; an archive of files with the file system in it.

mod container;
mod ova;
mod root;
pub(super) mod tar;
mod task;
mod vagrant;

use petgraph::graph::NodeIndex;
use serde::{Deserialize, Serialize};

pub use self::ova::Appliance;
use super::Work;
use super::distro::data_bound;
use super::part::{IMAGE, Ready};
use crate::disk_format::Form;
use crate::manifest::model::{Compression, DiskFormat, Distro, Image, Publish};
use crate::plan::graph::{Draft, Nodes};
use crate::plan::node::{Cost, Results, Role, Stage};
use crate::platform::Start;

/// Makes a further format of a packaged image.
pub const STAGE: Stage = Stage {
    name: "convert",
    results: Results::Stored,
    inputs: &[],
};

/// Revision of what it makes; see [`Draft::revision`].
const REVISION: u32 = 1;

/// The provisioned system, which says where its root file system is.
const SYSTEM: Role = Role::new("system");
/// The image in its other format.
const DISK: &str = "disk";

/// Work of [`STAGE`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConvertWork {
    pub form: Form,
    /// Compression of the file.
    pub compress: Compression,
    /// Its name, which some formats have inside.
    pub file: String,
    /// Of the disk in the packaged file.
    pub format: DiskFormat,
    /// Compression of the packaged file.
    pub packaged: Compression,
    /// The machine that starts it.
    pub appliance: Appliance,
    /// Its architecture, as container images and boxes name it.
    pub arch: String,
}

/// What the key of a further format is made of. A VMDK has its own file name inside, which only people read: it is left out.
#[derive(Serialize)]
struct Inputs<'a> {
    package: &'a str,
    form: Form,
    compress: Compression,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<&'a Appliance>,
}

/// Adds a node for each further format of an image.
pub(super) fn plan(
    nodes: &mut Nodes<Work>,
    publish: &Publish,
    image: &Image,
    distro: &Distro,
    provision: NodeIndex,
    ready: &mut Ready<'_>,
) {
    let packaged = ready.package();
    let package = nodes.key(packaged).to_owned();
    let appliance = Appliance {
        name: image.id.clone(),
        system: format!("{} {}", distro.family.name, distro.version),
        disk: image.size.0,
        memory: distro.memory.0,
        cpus: distro.cpus,
        uefi: distro.started_by(Start::Bios).is_none(),
    };
    for format in &image.formats {
        let name = format!("{}{}", format.form.name(), format.compress.suffix());
        let file = format.file.file_name().unwrap_or_default();
        let work = ConvertWork {
            form: format.form,
            compress: format.compress,
            file: file.to_string_lossy().into_owned(),
            format: publish.format,
            packaged: publish.compress,
            appliance: appliance.clone(),
            arch: distro.computer().platform.arch().name().to_owned(),
        };
        let mut takes = vec![IMAGE.bytes_of(packaged)];
        if format.form == Form::RootTar {
            takes.push(SYSTEM.of(provision));
        }
        let draft = Draft {
            stage: STAGE,
            revision: REVISION,
            subject: &format!("{}@{name}", image.id),
            inputs: Inputs {
                package: &package,
                form: format.form,
                compress: format.compress,
                machine: matches!(format.form, Form::Ova | Form::VagrantLibvirt).then_some(&appliance),
            },
            takes,
            cost: Cost {
                // The packaged file unpacked, the other format, and that once more as it is published.
                scratch: 3 * data_bound(distro),
                cpus: 1,
                ..Cost::default()
            },
        };
        let node = nodes.add(draft, work);
        ready.add_at(Role::named(name), node, DISK, &format.file);
    }
}
