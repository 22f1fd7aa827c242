//! gzip (RFC 1952) on all cores: the input is cut into blocks, each is deflated by itself but may refer to the 32 KiB
//! before it, and the pieces are joined at byte boundaries into one ordinary member. This is what `pigz` does.
//!
//! Header without name and time; a piece depends on its block and the 32 KiB before it alone. So the output depends on
//! the input and the level, and on nothing else.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::host::fs::{Block, Chunk, fill_with_zeros};

use super::PackageError;
use super::deflate::{Memory, WINDOW, deflate};
use super::pass::{BLOCK, Pass};

/// Blocks that may be read but not yet handed on: at most 20 x (1 MiB in, as much out, 0.3 MiB of deflate state). More than
/// 20 threads would wait for SHA-512 anyway: 0.35 GB/s, on one core.
const MOST_BLOCKS: usize = 20;
/// How often a wait looks at the stop flag.
const POLL: Duration = Duration::from_millis(50);

/// What one block needs while it is worked on; used again for the next.
#[derive(Debug)]
struct Compressor {
    level: u32,
    memory: Memory,
    /// The 32 KiB before the block, or what there is of them.
    before: Vec<u8>,
    block: Vec<u8>,
    /// What became of it. The room stays here, a copy of the right size is handed on.
    deflated: Vec<u8>,
    crc: crc32fast::Hasher,
}

/// A finished block.
#[derive(Clone, Debug)]
struct Piece {
    bytes: Arc<Vec<u8>>,
    /// CRC-32 of the block's input, which remembers how long that was.
    crc: crc32fast::Hasher,
    input: u64,
}

/// The work in hand.
struct Job<'p, 'a> {
    pass: &'p mut Pass<'a>,
    level: u32,
    compressors: Vec<Compressor>,
    sender: mpsc::Sender<(u64, Compressor)>,
    finished: mpsc::Receiver<(u64, Compressor)>,
    /// Finished out of turn.
    waiting: BTreeMap<u64, Piece>,
    /// Number of the next block to read, and of the next to hand on.
    next: u64,
    turn: u64,
    /// The end of the block read last.
    tail: Vec<u8>,
    tail_is_zero: bool,
    /// What a block of zeros behind zeros becomes, once one was seen.
    zeros: Option<Piece>,
    crc: crc32fast::Hasher,
}

/// Compresses the input into one gzip member.
pub(super) fn compress(pass: &mut Pass<'_>, level: u32) -> Result<(), PackageError> {
    // RFC 1952 §2.3: magic, deflate, no flags, no time, "slowest" or "fastest" where it applies, Unix.
    let effort = match level {
        9 => 2,
        1 => 4,
        _ => 0,
    };
    pass.push(vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, effort, 3])?;
    let most = (pass.workers.threads() * 2 + 2).min(MOST_BLOCKS) as u64;
    let (sender, finished) = mpsc::channel();
    let mut job = Job {
        pass,
        level,
        compressors: Vec::new(),
        sender,
        finished,
        waiting: BTreeMap::new(),
        next: 0,
        turn: 0,
        tail: Vec::new(),
        tail_is_zero: false,
        zeros: None,
        crc: crc32fast::Hasher::new(),
    };
    // An empty input is one empty block.
    let mut all_read = false;
    while !all_read || job.turn < job.next {
        while !all_read && job.next - job.turn < most {
            job.start_block()?;
            all_read = job.pass.at_end();
        }
        job.take_finished()?;
        job.hand_on()?;
    }
    let mut trailer = job.crc.finalize().to_le_bytes().to_vec();
    // ISIZE: the length modulo 2^32 (RFC 1952 §2.3.1).
    trailer.extend(&pass.size().to_le_bytes()[..4]);
    pass.push(trailer)
}

impl Job<'_, '_> {
    /// Reads a block and sends it to be deflated.
    fn start_block(&mut self) -> Result<(), PackageError> {
        let mut compressor = self.compressors.pop().unwrap_or_else(|| Compressor {
            level: self.level,
            memory: Memory::default(),
            before: Vec::with_capacity(WINDOW),
            block: Vec::with_capacity(BLOCK),
            deflated: Vec::new(),
            crc: crc32fast::Hasher::new(),
        });
        let found = self.pass.read(&mut compressor.block)?;
        let last = self.pass.at_end();
        let whole_zero = found == Block::Zeros(BLOCK);
        let number = self.next;
        self.next += 1;
        if whole_zero && self.tail_is_zero && !last {
            // Large disks are mostly this; once deflated, every such block is known.
            let zeros = self.zeros.get_or_insert_with(|| {
                fill_with_zeros(&mut compressor.block, BLOCK);
                compressor.before.clone_from(&self.tail);
                compressor.work(false);
                compressor.piece()
            });
            self.waiting.insert(number, zeros.clone());
            self.compressors.push(compressor);
            return Ok(());
        }
        if let Block::Zeros(length) = found {
            fill_with_zeros(&mut compressor.block, length);
        }
        std::mem::swap(&mut compressor.before, &mut self.tail);
        self.tail.clear();
        self.tail
            .extend(&compressor.block[compressor.block.len().saturating_sub(WINDOW)..]);
        self.tail_is_zero = whole_zero;
        let (sender, cancel) = (self.sender.clone(), self.pass.cancel.clone());
        self.pass.workers.spawn(move || {
            // No one listens any more after a stop: do not keep the pool busy.
            if !cancel.is_cancelled() {
                compressor.work(last);
                drop(sender.send((number, compressor)));
            }
        });
        Ok(())
    }

    /// Waits for finished blocks when the one whose turn it is is not there yet; then takes all there are.
    fn take_finished(&mut self) -> Result<(), PackageError> {
        loop {
            let due = self.waiting.contains_key(&self.turn);
            let wait = if due { Duration::ZERO } else { POLL };
            if let Ok((number, compressor)) = self.finished.recv_timeout(wait) {
                self.waiting.insert(number, compressor.piece());
                self.compressors.push(compressor);
            } else if due {
                return Ok(());
            }
            self.pass.check()?;
        }
    }

    /// Hands on every block whose turn has come.
    fn hand_on(&mut self) -> Result<(), PackageError> {
        while let Some(piece) = self.waiting.remove(&self.turn) {
            self.turn += 1;
            self.crc.combine(&piece.crc);
            self.pass.push_chunk(Chunk::Data(piece.bytes))?;
            self.pass.advance(piece.input);
        }
        Ok(())
    }
}

impl Compressor {
    /// Deflates the block.
    fn work(&mut self, last: bool) {
        let Self {
            level,
            memory,
            before,
            block,
            deflated,
            crc,
        } = self;
        *crc = crc32fast::Hasher::new();
        crc.update(block);
        deflate(memory, before, block, *level, last, deflated);
    }

    /// What [`Compressor::work`] made, in a copy of the right size.
    fn piece(&self) -> Piece {
        Piece {
            bytes: Arc::new(self.deflated.clone()),
            crc: self.crc.clone(),
            input: self.block.len() as u64,
        }
    }
}
