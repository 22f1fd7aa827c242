//! The .xz format on several cores, by the library's own threads: one stream of independent blocks of a fixed size, so
//! the output does not depend on the number of threads.

use liblzma::stream::{Action, Check, MtStreamBuilder, Status, Stream};

use super::PackageError;
use super::pass::{BLOCK, Pass};

/// What the threads may use together. Each needs about eleven times the level's dictionary (8 MiB at level 6) and its
/// blocks; a level whose single thread needs more gets one thread.
const MEMORY: u64 = 240 << 20;
/// How long the library may work before it lets us look at the stop flag, in milliseconds.
const TURN: u32 = 100;
/// Bytes of output handed on at once.
const PIECE: usize = 256 << 10;

/// Compresses the input into one stream.
pub(super) fn compress(pass: &mut Pass<'_>, level: u32) -> Result<(), PackageError> {
    let mut stream = start(level, pass.workers.threads()).map_err(|e| pass.refused(e))?;
    let mut input = Vec::with_capacity(BLOCK);
    let mut output = Vec::with_capacity(PIECE);
    while !pass.at_end() {
        pass.read_filled(&mut input)?;
        let before = stream.total_in();
        let taken = |stream: &Stream| usize::try_from(stream.total_in() - before).expect("within the block");
        while taken(&stream) < input.len() {
            pass.check()?;
            let rest = &input[taken(&stream)..];
            let ran = stream.process_vec(rest, &mut output, Action::Run);
            ran.map_err(|e| pass.refused(e))?;
            hand_on(pass, &mut output)?;
        }
        pass.advance(input.len() as u64);
    }
    loop {
        pass.check()?;
        let ran = stream.process_vec(&[], &mut output, Action::Finish);
        if ran.map_err(|e| pass.refused(e))? == Status::StreamEnd {
            return pass.push(output);
        }
        hand_on(pass, &mut output)?;
    }
}

fn start(level: u32, threads: usize) -> Result<Stream, liblzma::stream::Error> {
    let mut builder = MtStreamBuilder::new();
    builder
        .preset(level)
        .check(Check::Crc64)
        .block_size(block_size(level))
        .timeout_ms(TURN);
    let wanted = u32::try_from(threads).unwrap_or(u32::MAX).min(64);
    let fits = |threads: &u32| builder.threads(*threads).memusage() <= MEMORY;
    let threads = (1..=wanted).rev().find(fits).unwrap_or(1);
    builder.threads(threads).encoder()
}

/// Bytes of input in a block: as large as the level's dictionary (`xz(1)`, table of presets), since more costs memory in
/// every thread and gains little, but at least a mebibyte.
fn block_size(level: u32) -> u64 {
    let dictionary: u64 = match level {
        0 => 256 << 10,
        1 => 1 << 20,
        2 => 2 << 20,
        3 | 4 => 4 << 20,
        5 | 6 => 8 << 20,
        7 => 16 << 20,
        8 => 32 << 20,
        _ => 64 << 20,
    };
    dictionary.max(1 << 20)
}

/// Hands the buffer on when it is full, and starts a new one.
fn hand_on(pass: &mut Pass<'_>, output: &mut Vec<u8>) -> Result<(), PackageError> {
    if output.len() < output.capacity() {
        return Ok(());
    }
    pass.push(std::mem::replace(output, Vec::with_capacity(PIECE)))
}
