//! Layers of a guest's disk: where steps took long, the disk is kept as it is, and the guest goes on in a new layer over
//! it. A later build with the same beginning starts from there; its guest boots once more, as after a restart.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::event::What;
use crate::host::fs::private_dir;
use crate::machine::disk;
use crate::stage::Site;
use crate::stage::error::StageError;
use crate::stage::guest::Session;
use crate::stage::install;
use crate::stage::layer::{Checkpoint, LAYER_DISK, LayerFacts};
use crate::stage::result::Given;

/// Work that is worth a layer.
const WORTH: Duration = Duration::from_secs(2);
/// Layers over each other: qemu keeps each open.
const MOST: usize = 48;

/// The layers of a guest's disk, from the installed disk up. They lie in one folder under names that say how deep they are,
/// as a qcow2 names the one below it.
#[derive(Debug)]
pub struct KeptLayers<'a> {
    checkpoints: &'a [Checkpoint],
    folder: PathBuf,
    depth: usize,
    done: usize,
    unkept: Duration,
}

impl<'a> KeptLayers<'a> {
    /// Begins over the installed disk, or where earlier layers ended, with a layer to write to.
    ///
    /// # Errors
    /// [`StageError`].
    pub fn begin(checkpoints: &'a [Checkpoint], base: &Given, site: &Site) -> Result<Self, StageError> {
        let folder = site.scratch.join("layers");
        private_dir(&folder)?;
        let mut layers = Self {
            checkpoints,
            folder,
            depth: 0,
            done: 0,
            unkept: Duration::ZERO,
        };
        layers.link(&base.path(install::DISK)?)?;
        for layer in &site.earlier {
            layers.depth += 1;
            layers.link(&layer.path(LAYER_DISK)?)?;
            layers.done = layer.facts::<LayerFacts>()?.steps;
        }
        layers.grow(site)?;
        Ok(layers)
    }

    /// Steps that are done already.
    pub fn done(&self) -> usize {
        self.done
    }

    /// The layer that is written to.
    pub fn top(&self) -> PathBuf {
        self.place(self.depth)
    }

    /// Keeps what the guest has written so far, if that is worth it.
    ///
    /// # Errors
    /// Those of the connection to the guest. A layer that cannot be kept is a warning.
    pub fn after_step(
        &mut self,
        steps: usize,
        took: Duration,
        session: &mut Session<'_>,
        site: &Site,
    ) -> Result<(), StageError> {
        self.unkept += took;
        let mut checkpoints = self.checkpoints.iter();
        let Some(checkpoint) = checkpoints.find(|checkpoint| checkpoint.steps == steps) else {
            return Ok(());
        };
        let is_wanted = checkpoint.always || checkpoint.shared || self.unkept >= WORTH;
        if !site.keeps_layers || !is_wanted || self.depth == MOST {
            return Ok(());
        }
        session.sync()?;
        let file = self.top();
        match self.grow(site) {
            Ok(()) => {}
            Err(error) if error.is_cancelled() => return Err(error),
            Err(error) => {
                drop(std::fs::remove_file(self.top()));
                self.depth -= 1;
                site.emit
                    .warn(format!("no layer is kept after step {steps}: {error}"));
                return Ok(());
            }
        }
        // After an error here it is not known which of the two the guest writes to.
        session.continue_on(&self.top())?;
        self.unkept = Duration::ZERO;
        site.emit.emit(What::Layer {
            key: checkpoint.key.clone(),
            steps,
            file,
        });
        Ok(())
    }

    /// Removes what was written here; layers that were kept stay in the store.
    pub fn remove(self) {
        drop(std::fs::remove_dir_all(self.folder));
    }

    fn place(&self, depth: usize) -> PathBuf {
        self.folder.join(name(depth))
    }

    fn link(&self, file: &Path) -> Result<(), StageError> {
        let place = self.place(self.depth);
        symlink(file, &place).map_err(|e| StageError::file("make", &place, e))
    }

    /// Another layer on top.
    fn grow(&mut self, site: &Site) -> Result<(), StageError> {
        self.depth += 1;
        let below = name(self.depth - 1);
        Ok(disk::create_layer(&below, &self.top(), &site.cancel)?)
    }
}

fn name(depth: usize) -> String {
    format!("layer-{depth}.qcow2")
}
