//! How a further format of an image is a stage.

use std::fs;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ConvertWork, DISK, SYSTEM, container, root, vagrant};
use crate::digest::{Algorithm, Digest};
use crate::disk_format::Form;
use crate::host::fs::hash_file;
use crate::machine::disk::{Ext, Held, Layer, Layers, convert_to, must_equal};
use crate::manifest::model::Compression;
use crate::stage::Site;
use crate::stage::error::StageError;
use crate::stage::package::{self, Spec};
use crate::stage::part::IMAGE;
use crate::stage::provision::Provisioned;
use crate::stage::result::Taken;
use crate::stage::task::{File, Made, Stored, Task};

/// Facts of a further format.
#[derive(Serialize, Deserialize)]
struct Facts {
    /// Digest of the packaged file that it was made of.
    made_of: Digest,
}

impl Task for ConvertWork {
    fn programs(&self) -> Vec<&'static str> {
        match self.form {
            Form::RootTar => Vec::new(),
            _ => vec!["qemu-img"],
        }
    }

    fn largest_file(&self) -> u64 {
        match self.form {
            Form::Raw | Form::Vhd => self.appliance.disk,
            _ => 0,
        }
    }

    fn is_isolated(&self) -> bool {
        true
    }

    fn files(&self) -> &'static [File] {
        const { &[File::internal(DISK)] }
    }

    /// It is of certain bytes, not of a key: see the check stage.
    fn stands(&self, stored: &Stored<'_>) -> Result<(), Option<String>> {
        let result = stored.result.as_ref().ok_or(None)?;
        let made_of = result.facts::<Facts>().ok().map(|facts| facts.made_of);
        package::stands(stored, |packaged| packaged.has_digests(&made_of))
    }

    fn run(&self, taken: &Taken, out: &Path, site: &Site) -> Result<Made, StageError> {
        let packaged = taken.get(&IMAGE)?.artifact(package::IMAGE)?;
        let checked = if self.packaged == Compression::None {
            packaged.path.clone()
        } else {
            site.emit.phase("unpacking the packaged image");
            unpacked(&packaged.path, "image", site)?
        };
        site.emit.phase(format!("converting to {}", self.form.name()));
        let (other, offset) = if self.form == Form::RootTar {
            let archive = site.scratch.join("archive");
            let mut file = create(&archive)?;
            root::write(
                &mut self.system(taken, &checked, site)?,
                &mut file,
                &archive,
                &site.cancel,
            )?;
            file.flush().map_err(|e| StageError::file("write", &archive, e))?;
            (archive, None)
        } else {
            self.convert(&checked, site)?
        };
        let published = out.join(DISK);
        let spec = Spec {
            compression: self.compress,
            level: None,
            algorithms: Algorithm::ALL.to_vec(),
            earlier: Vec::new(),
            index: None,
        };
        site.emit.phase("writing and hashing it");
        let mut progress = |done, total| site.emit.bytes(done, total);
        let written = package::package(&other, &published, &spec, &site.cancel, &mut progress)?;
        fs::remove_file(&other).map_err(|e| StageError::file("remove", &other, e))?;

        site.emit.phase("comparing it with the packaged image");
        let opened = if self.compress == Compression::None {
            published
        } else {
            unpacked(&published, "again", site)?
        };
        if self.form == Form::RootTar {
            let mut same = Same::of(&opened)?;
            root::write(
                &mut self.system(taken, &checked, site)?,
                &mut same,
                &opened,
                &site.cancel,
            )?;
            same.end()
                .map_err(|e| StageError::file("read back", &opened, e))?;
        } else {
            let other = Held {
                path: &opened,
                form: self.form,
                part: offset,
            };
            must_equal(&checked, self.format, &other, &site.cancel)?;
        }
        let made_of = packaged.digest(Algorithm::Sha256)?.clone();
        let mut made = Made::with(&Facts { made_of });
        made.digests.insert(DISK.to_owned(), written.digests);
        Ok(made)
    }
}

impl ConvertWork {
    /// The root file system in the image.
    fn system(&self, taken: &Taken, checked: &Path, site: &Site) -> Result<Ext, StageError> {
        let provisioned: Provisioned = taken.get(&SYSTEM)?.facts()?;
        let start = provisioned.root.map_or(0, |root| root.start);
        let layer = Layer::of(checked, self.format, &site.cancel)?;
        Ok(Ext::open(Layers::new(vec![layer]), start)?)
    }

    /// Writes the other format to a file of the scratch folder. A disk inside of an archive has a place there: its first byte,
    /// and how many it has.
    fn convert(&self, checked: &Path, site: &Site) -> Result<(PathBuf, Option<(u64, u64)>), StageError> {
        let name = match self.form {
            Form::Ova => self.appliance.disk_name(),
            _ => self.file.clone(),
        };
        // A VMDK says its own name: it is made under that one.
        let folder = site.scratch.join("made");
        fs::create_dir(&folder).map_err(|e| StageError::file("make", &folder, e))?;
        let disk = folder.join(name);
        convert_to(checked, self.format, &disk, self.form, &site.cancel)?;
        if !matches!(self.form, Form::Ova | Form::ContainerDisk | Form::VagrantLibvirt) {
            return Ok((disk, None));
        }
        let bytes = fs::metadata(&disk)
            .map_err(|e| StageError::file("read", &disk, e))?
            .len();
        let archive = site.scratch.join("archive");
        let written = match self.form {
            Form::Ova => {
                let digests = hash_file(&disk, &[Algorithm::Sha256], &site.cancel)?;
                let hex = digests.first().map_or("", |digest| &digest.hex);
                self.appliance.write(&disk, bytes, hex, &archive)
            }
            Form::VagrantLibvirt => vagrant::write(&self.appliance, &self.arch, &disk, bytes, &archive),
            _ => container::write(&disk, bytes, &self.arch, &archive),
        };
        let offset = written.map_err(|e| StageError::file("write", &archive, e))?;
        fs::remove_file(&disk).map_err(|e| StageError::file("remove", &disk, e))?;
        Ok((archive, Some((offset, bytes))))
    }
}

fn create(path: &Path) -> Result<BufWriter<fs::File>, StageError> {
    let file = fs::File::create(path).map_err(|e| StageError::file("write", path, e))?;
    Ok(BufWriter::with_capacity(1 << 20, file))
}

/// A file that must have what is written.
struct Same {
    file: BufReader<fs::File>,
    seen: Vec<u8>,
}

impl Same {
    fn of(path: &Path) -> Result<Self, StageError> {
        let file = fs::File::open(path).map_err(|e| StageError::file("read back", path, e))?;
        Ok(Self {
            file: BufReader::with_capacity(1 << 20, file),
            seen: Vec::new(),
        })
    }

    /// Nothing must be behind it.
    fn end(mut self) -> io::Result<()> {
        match self.file.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(io::Error::other("it has more than the file system")),
        }
    }
}

impl Write for Same {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.seen.resize(bytes.len(), 0);
        self.file.read_exact(&mut self.seen)?;
        if self.seen == bytes {
            Ok(bytes.len())
        } else {
            Err(io::Error::other("it is not what is in the file system"))
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unpacked(packed: &Path, name: &str, site: &Site) -> Result<PathBuf, StageError> {
    let path = site.scratch.join(name);
    let mut progress = |done, total| site.emit.bytes(done, total);
    package::unpack(packed, &path, &site.cancel, &mut progress)?;
    Ok(path)
}
