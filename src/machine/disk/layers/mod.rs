//! A disk that lies in layers: a raw file, or qcow2 files of which each has only what differs from the one below. It is read
//! as one disk, and as the one image file that it would be, without anything being written.

mod qcow2;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use self::qcow2::Clusters;
use super::super::spec::DiskFormat;
use super::DiskError;
use crate::host::cancel::Cancel;
use crate::host::fs::{Block, BlockReader, Blocks, FsError, SparseWriter, is_zero};

/// Bytes of a cluster.
pub const CLUSTER: u64 = 64 << 10;

/// A file with clusters of a disk.
#[derive(Debug)]
pub struct Layer {
    file: File,
    path: PathBuf,
    /// Of the disk.
    size: u64,
    clusters: Clusters,
}

impl Layer {
    /// A raw disk; it is looked through to see which clusters are zeros.
    ///
    /// # Errors
    /// [`DiskError::Fs`], [`DiskError::File`], [`DiskError::Cancelled`].
    pub fn raw(path: &Path, cancel: &Cancel) -> Result<Self, DiskError> {
        let mut reader = BlockReader::open(path, usize_of(CLUSTER))?;
        let mut clusters = Clusters::new();
        while !reader.at_end() {
            if cancel.is_cancelled() {
                return Err(DiskError::Cancelled);
            }
            let at = reader.position();
            if reader.pass()? == Block::Data {
                clusters.insert(at / CLUSTER, Some(at));
            }
        }
        Self::with(path, reader.size(), clusters)
    }

    /// A raw disk of which these clusters count, whatever they hold.
    ///
    /// # Errors
    /// [`DiskError::File`].
    pub fn raw_with(
        path: &Path,
        size: u64,
        clusters: impl IntoIterator<Item = u64>,
    ) -> Result<Self, DiskError> {
        let clusters = clusters
            .into_iter()
            .map(|cluster| (cluster, Some(cluster * CLUSTER)));
        Self::with(path, size, clusters.collect())
    }

    /// A qcow2 image that [`Image`] or qemu-img wrote.
    ///
    /// # Errors
    /// [`DiskError::File`], [`DiskError::Image`].
    pub fn qcow2(path: &Path) -> Result<Self, DiskError> {
        let file = File::open(path).map_err(DiskError::file(path))?;
        let (size, clusters) = qcow2::read(&file, path)?;
        Self::with(path, size, clusters)
    }

    /// A file in this format.
    ///
    /// # Errors
    /// Those of its format.
    pub fn of(path: &Path, format: DiskFormat, cancel: &Cancel) -> Result<Self, DiskError> {
        match format {
            DiskFormat::Raw => Self::raw(path, cancel),
            DiskFormat::Qcow2 => Self::qcow2(path),
        }
    }

    fn with(path: &Path, size: u64, clusters: Clusters) -> Result<Self, DiskError> {
        Ok(Self {
            file: File::open(path).map_err(DiskError::file(path))?,
            path: path.to_owned(),
            size,
            clusters,
        })
    }
}

/// Layers as one disk.
#[derive(Debug)]
pub struct Layers {
    /// The upper one first, whose size is the disk's.
    layers: Vec<Layer>,
}

impl Layers {
    /// A disk of these layers, the upper one first.
    pub fn new(layers: Vec<Layer>) -> Self {
        Self { layers }
    }

    /// The same with a layer over it.
    #[must_use]
    pub fn under(mut self, layer: Layer) -> Self {
        self.layers.insert(0, layer);
        self
    }

    /// Bytes of the disk.
    pub fn size(&self) -> u64 {
        self.layers.first().map_or(0, |top| top.size)
    }

    /// Where a cluster lies; none where it is zeros.
    fn find(&self, cluster: u64) -> Option<(&Layer, u64)> {
        let found = self
            .layers
            .iter()
            .find_map(|layer| Some((layer, *layer.clusters.get(&cluster)?)));
        found.and_then(|(layer, at)| Some((layer, at?)))
    }

    /// Reads a cluster to the end of the buffer. False: it is zeros, and was not read.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn append(&self, cluster: u64, buffer: &mut Vec<u8>) -> Result<bool, FsError> {
        let Some((layer, at)) = self.find(cluster) else {
            return Ok(false);
        };
        let start = buffer.len();
        buffer.resize(start + usize_of(CLUSTER), 0);
        // The last cluster of a raw file may be cut off.
        let wanted = usize_of(layer.size.saturating_sub(cluster * CLUSTER).min(CLUSTER));
        let read = layer.file.read_exact_at(&mut buffer[start..start + wanted], at);
        read.map_err(FsError::at("read", &layer.path))?;
        Ok(true)
    }

    /// The clusters that may be other than zeros, in order.
    fn clusters(&self) -> Vec<u64> {
        let all = self.layers.iter().flat_map(|layer| layer.clusters.keys());
        let mut all: Vec<u64> = all
            .copied()
            .filter(|cluster| self.find(*cluster).is_some())
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// A disk as the file that it would be in a format.
#[derive(Debug)]
pub struct Image {
    disk: Layers,
    size: u64,
    position: u64,
    /// What stands before the clusters.
    head: Vec<u8>,
    /// Those with bytes in the file, in its order; none for a raw disk, which has all.
    clusters: Option<Vec<u64>>,
}

impl Image {
    /// The whole disk.
    pub fn whole(disk: Layers, format: DiskFormat) -> Self {
        match format {
            DiskFormat::Raw => Self {
                size: disk.size(),
                position: 0,
                head: Vec::new(),
                clusters: None,
                disk,
            },
            DiskFormat::Qcow2 => {
                let clusters: Vec<_> = disk
                    .clusters()
                    .into_iter()
                    .map(|cluster| (cluster, true))
                    .collect();
                Self::qcow2(disk, &clusters, None)
            }
        }
    }

    /// The upper layer alone, as a qcow2 file over a base of that name. Its clusters that are zeros are so in the table.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn upper(disk: Layers, base: &str) -> Result<Self, FsError> {
        let (mut clusters, mut buffer) = (Vec::new(), Vec::new());
        let upper = disk
            .layers
            .first()
            .map(|layer| layer.clusters.keys().copied().collect::<Vec<_>>());
        for cluster in upper.unwrap_or_default() {
            buffer.clear();
            let has_bytes = disk.append(cluster, &mut buffer)? && !is_zero(&buffer);
            clusters.push((cluster, has_bytes));
        }
        Ok(Self::qcow2(disk, &clusters, Some(base)))
    }

    fn qcow2(disk: Layers, clusters: &[(u64, bool)], base: Option<&str>) -> Self {
        let head = qcow2::head(disk.size(), clusters, base);
        let with_bytes = clusters.iter().filter(|(_, has_bytes)| *has_bytes);
        let clusters: Vec<u64> = with_bytes.map(|(cluster, _)| *cluster).collect();
        Self {
            size: head.len() as u64 + clusters.len() as u64 * CLUSTER,
            position: 0,
            head,
            clusters: Some(clusters),
            disk,
        }
    }

    /// Writes it to a new file.
    ///
    /// # Errors
    /// [`FsError`].
    pub fn write(mut self, path: &Path, cancel: &Cancel) -> Result<(), FsError> {
        let file = File::create_new(path).map_err(FsError::at("write", path))?;
        let mut writer = SparseWriter::new(&file);
        let mut buffer = Vec::new();
        while !self.at_end() {
            if cancel.is_cancelled() {
                return Err(FsError::Cancelled);
            }
            buffer.clear();
            match self.append(&mut buffer)? {
                Block::Data => writer
                    .data(&buffer)
                    .map_err(|source| FsError::needing("write", path, self.size, source))?,
                Block::Zeros(length) => writer.zeros(length as u64),
            }
        }
        writer.finish().map(drop).map_err(FsError::at("write", path))
    }
}

impl Blocks for Image {
    fn size(&self) -> u64 {
        self.size
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn append(&mut self, buffer: &mut Vec<u8>) -> Result<Block, FsError> {
        let length = usize_of((self.size - self.position).min(CLUSTER));
        let start = buffer.len();
        let head = usize::try_from(self.position)
            .ok()
            .and_then(|at| self.head.get(at..at + length));
        let number = (self.position - (self.head.len() as u64).min(self.position)) / CLUSTER;
        let is_data = match (head, &self.clusters) {
            (Some(head), _) => {
                buffer.extend(head);
                true
            }
            (None, Some(clusters)) => self.disk.append(clusters[usize_of(number)], buffer)?,
            (None, None) => self.disk.append(number, buffer)?,
        };
        self.position += length as u64;
        buffer.truncate(start + length);
        if is_data && !is_zero(&buffer[start..]) {
            return Ok(Block::Data);
        }
        buffer.truncate(start);
        Ok(Block::Zeros(length))
    }
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).expect("bytes of a cluster, or clusters of a disk")
}
