//! gzip (RFC 1952) on all cores: the input is cut into pieces by its content, each is deflated by itself, and they are
//! joined at byte boundaries into one ordinary member, as `pigz -i` does with blocks. A piece that an earlier package has
//! is not deflated again.
//!
//! Header without name and time; what becomes of a piece depends on its bytes alone. So the output depends on the input
//! and the level, and on nothing else: not on the earlier packages either.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::host::fs::{Block, Chunk, add_zeros};

use super::cut::{CLUSTER, PIECE, is_cut};
use super::deflate::Deflater;
use super::pass::Pass;
use super::pieces::{Index, Known, Sum, name, sum};
use super::{PackageError, Spec};

/// Pieces that may be read but not yet handed on: at most 20 x (1 MiB in, as much out, 1 MiB of a deflater, 1 MiB to inflate
/// to). More than 20 threads would wait for SHA-512 anyway: 0.5 GB/s, on one core.
const MOST_PIECES: usize = 20;
/// How often a wait looks at the stop flag.
const POLL: Duration = Duration::from_millis(50);

/// What came of earlier packages.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// Bytes of input whose deflated form they had.
    pub(super) taken: u64,
    /// Those that are damaged.
    pub(super) damaged: Vec<PathBuf>,
}

/// What one piece needs while it is worked on; used again for the next.
#[derive(Debug)]
struct Compressor {
    level: u32,
    deflater: Deflater,
    bytes: Vec<u8>,
    /// Where it is deflated to. The room stays here, a copy of the right size is handed on.
    deflated: Vec<u8>,
    /// CRC-32 of the piece's input, which remembers how long that was.
    crc: crc32fast::Hasher,
}

/// A finished piece.
#[derive(Clone, Debug)]
struct Piece {
    bytes: Arc<Vec<u8>>,
    crc: crc32fast::Hasher,
    input: u64,
    /// Its name, and the digest of what became of it; none where nothing is indexed and nothing known.
    sums: Option<(Sum, Sum)>,
    taken: bool,
}

/// The work in hand.
struct Job<'p, 'a> {
    pass: &'p mut Pass<'a>,
    level: u32,
    known: Arc<Known>,
    /// Where pieces are noted, and the names of those that are.
    index: Option<(Index, HashSet<Sum>)>,
    compressors: Vec<Compressor>,
    sender: mpsc::Sender<(u64, Compressor, Piece)>,
    finished: mpsc::Receiver<(u64, Compressor, Piece)>,
    /// Finished out of turn.
    waiting: BTreeMap<u64, Piece>,
    /// Number of the next piece to read, and of the next to hand on.
    next: u64,
    turn: u64,
    /// What the largest piece of zeros becomes, once one was seen.
    zeros: Option<Piece>,
    /// CRC-32 of a cluster of zeros.
    zero_cluster: crc32fast::Hasher,
    crc: crc32fast::Hasher,
    taken: u64,
}

/// Compresses the input into one gzip member.
pub(super) fn compress(pass: &mut Pass<'_>, spec: &Spec) -> Result<Pieces, PackageError> {
    let level = spec.level.unwrap_or(6);
    // RFC 1952 §2.3: magic, deflate, no flags, no time, "slowest" or "fastest" where it applies, Unix.
    let effort = match level {
        9 => 2,
        1 => 4,
        _ => 0,
    };
    pass.push(vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, effort, 3])?;
    let most = (pass.workers.threads() * 2 + 2).min(MOST_PIECES) as u64;
    let (sender, finished) = mpsc::channel();
    let mut zero_cluster = crc32fast::Hasher::new();
    zero_cluster.update(&[0; CLUSTER]);
    let mut job = Job {
        pass,
        level,
        known: Arc::new(Known::load(&spec.earlier)),
        index: spec.index.as_ref().map(|_| (Index::new(), HashSet::new())),
        compressors: Vec::new(),
        sender,
        finished,
        waiting: BTreeMap::new(),
        next: 0,
        turn: 0,
        zeros: None,
        zero_cluster,
        crc: crc32fast::Hasher::new(),
        taken: 0,
    };
    // An empty input is one empty piece.
    let mut all_read = false;
    while !all_read || job.turn < job.next {
        while !all_read && job.next - job.turn < most {
            job.start_piece()?;
            all_read = job.pass.at_end();
        }
        job.take_finished()?;
        job.hand_on()?;
    }
    let pieces = Pieces {
        taken: job.taken,
        damaged: job.known.damaged(),
    };
    let mut trailer = job.crc.finalize().to_le_bytes().to_vec();
    if let (Some((index, _)), Some(path)) = (job.index, &spec.index) {
        index.write(path)?;
    }
    // ISIZE: the length modulo 2^32 (RFC 1952 §2.3.1).
    trailer.extend(&pass.size().to_le_bytes()[..4]);
    pass.push(trailer)?;
    Ok(pieces)
}

impl Job<'_, '_> {
    /// Reads a piece and sends it to be deflated.
    fn start_piece(&mut self) -> Result<(), PackageError> {
        let mut compressor = self.compressors.pop().unwrap_or_else(|| Compressor {
            level: self.level,
            deflater: Deflater::new(self.level),
            bytes: Vec::with_capacity(PIECE),
            deflated: Vec::new(),
            crc: crc32fast::Hasher::new(),
        });
        let zeros = self.read_piece(&mut compressor)?;
        let last = self.pass.at_end();
        let number = self.next;
        self.next += 1;
        let is_named = self.index.is_some() || !self.known.is_empty();
        compressor.fill(zeros, &self.zero_cluster);
        if zeros == PIECE && !last {
            // Large disks are mostly this; once deflated, every such piece is known.
            let known = &self.known;
            let piece = self
                .zeros
                .get_or_insert_with(|| compressor.work(false, is_named, known));
            self.waiting.insert(number, piece.clone());
            self.compressors.push(compressor);
            return Ok(());
        }
        let (sender, cancel) = (self.sender.clone(), self.pass.cancel.clone());
        let known = Arc::clone(&self.known);
        self.pass.workers.spawn(move || {
            // No one listens any more after a stop: do not keep the pool busy.
            if !cancel.is_cancelled() {
                let piece = compressor.work(last, is_named, &known);
                drop(sender.send((number, compressor, piece)));
            }
        });
        Ok(())
    }

    /// Reads clusters up to the next cut. Gives the number of zeros that all begins with, which are not in the compressor yet.
    fn read_piece(&mut self, compressor: &mut Compressor) -> Result<usize, PackageError> {
        let Compressor { bytes, crc, .. } = compressor;
        bytes.clear();
        *crc = crc32fast::Hasher::new();
        let mut zeros = 0;
        for clusters in 1.. {
            let start = bytes.len();
            let mut sum = None;
            match self.pass.append(bytes)? {
                Block::Zeros(length) if start == 0 => zeros += length,
                Block::Zeros(length) => {
                    add_zeros(bytes, length);
                    add_zero_crc(crc, length, &self.zero_cluster);
                }
                Block::Data => {
                    let mut cluster = crc32fast::Hasher::new();
                    cluster.update(&bytes[start..]);
                    crc.combine(&cluster);
                    sum = Some(cluster.finalize());
                }
            }
            if is_cut(clusters, sum) || self.pass.at_end() {
                break;
            }
        }
        Ok(zeros)
    }

    /// Waits for finished pieces when the one whose turn it is is not there yet; then takes all there are.
    fn take_finished(&mut self) -> Result<(), PackageError> {
        loop {
            let due = self.waiting.contains_key(&self.turn);
            let wait = if due { Duration::ZERO } else { POLL };
            if let Ok((number, compressor, piece)) = self.finished.recv_timeout(wait) {
                self.waiting.insert(number, piece);
                self.compressors.push(compressor);
            } else if due {
                return Ok(());
            }
            self.pass.check()?;
        }
    }

    /// Hands on every piece whose turn has come.
    fn hand_on(&mut self) -> Result<(), PackageError> {
        while let Some(piece) = self.waiting.remove(&self.turn) {
            self.turn += 1;
            self.crc.combine(&piece.crc);
            if let (Some((index, noted)), Some((name, sum))) = (&mut self.index, &piece.sums)
                && noted.insert(*name)
            {
                index.add(name, sum, self.pass.handed(), piece.bytes.len());
            }
            self.taken += if piece.taken { piece.input } else { 0 };
            self.pass.push_chunk(Chunk::Data(piece.bytes))?;
            self.pass.advance(piece.input);
        }
        Ok(())
    }
}

/// Adds so many zeros to a checksum.
fn add_zero_crc(crc: &mut crc32fast::Hasher, mut length: usize, cluster: &crc32fast::Hasher) {
    while length >= CLUSTER {
        crc.combine(cluster);
        length -= CLUSTER;
    }
    crc.update(&[0; CLUSTER][..length]);
}

impl Compressor {
    /// Puts the zeros in that its piece begins with.
    fn fill(&mut self, zeros: usize, cluster: &crc32fast::Hasher) {
        if zeros == 0 {
            return;
        }
        let mut filled = Vec::with_capacity(PIECE);
        add_zeros(&mut filled, zeros);
        filled.append(&mut self.bytes);
        self.bytes = filled;
        let mut crc = crc32fast::Hasher::new();
        add_zero_crc(&mut crc, zeros, cluster);
        crc.combine(&self.crc);
        self.crc = crc;
    }

    /// Deflates the piece, or takes what it became in an earlier package.
    fn work(&mut self, last: bool, is_named: bool, known: &Known) -> Piece {
        let name = is_named.then(|| name(self.level, last, &self.bytes));
        let found = name.as_ref().and_then(|name| known.take(name));
        let taken = found.is_some();
        let (bytes, sums) = if let Some((bytes, sum)) = found {
            (bytes, name.map(|name| (name, sum)))
        } else {
            self.deflater.deflate(&self.bytes, last, &mut self.deflated);
            let bytes = self.deflated.clone();
            let sums = name.map(|name| (name, sum(&bytes)));
            (bytes, sums)
        };
        Piece {
            bytes: Arc::new(bytes),
            crc: self.crc.clone(),
            input: self.bytes.len() as u64,
            sums,
            taken,
        }
    }
}
