//! Zstandard (RFC 8878) on several cores, by the library's own threads: one frame, with its content's size and checksum.
//! The library cuts the input into jobs of a fixed size, so the output does not depend on the number of threads.

use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};

use super::PackageError;
use super::pass::{BLOCK, Pass};

/// Bytes of input in a job. Part of the output: another size gives other bytes.
const JOB: u32 = 8 << 20;
/// Bytes of output handed on at once.
const PIECE: usize = 256 << 10;

/// Threads that stay below 200 MiB together. One needs two jobs' bytes, the window before its job, and tables that grow
/// with the level (`clevels.h`: 1 to 10 MiB up to level 9, some 50 MiB up to 15, 90 MiB and more above).
fn most_threads(level: u32) -> usize {
    match level {
        0..=4 => 8,
        5..=9 => 5,
        10..=15 => 2,
        _ => 1,
    }
}

/// Compresses the input into one frame.
pub(super) fn compress(pass: &mut Pass<'_>, level: u32) -> Result<(), PackageError> {
    let threads = pass.workers.threads().min(most_threads(level));
    let mut encoder = start(level, threads, pass.size()).map_err(|e| pass.refused(e))?;
    let mut input = Vec::with_capacity(BLOCK);
    let mut output = Vec::with_capacity(PIECE);
    while !pass.at_end() {
        pass.read_filled(&mut input)?;
        let mut rest = InBuffer::around(&input);
        while rest.pos() < input.len() {
            pass.check()?;
            let at = output.len();
            let mut room = OutBuffer::around_pos(&mut output, at);
            let ran = encoder.run(&mut rest, &mut room);
            ran.map_err(|e| pass.refused(e))?;
            hand_on(pass, &mut output)?;
        }
        pass.advance(input.len() as u64);
    }
    loop {
        pass.check()?;
        let at = output.len();
        let mut room = OutBuffer::around_pos(&mut output, at);
        let left = encoder.finish(&mut room, false).map_err(|e| pass.refused(e))?;
        if left == 0 {
            return pass.push(output);
        }
        hand_on(pass, &mut output)?;
    }
}

fn start(level: u32, threads: usize, size: u64) -> std::io::Result<Encoder<'static>> {
    let level = i32::try_from(level).expect("levels end at 19");
    let threads = u32::try_from(threads).expect("at most eight");
    let mut encoder = Encoder::new(level)?;
    encoder.set_parameter(CParameter::NbWorkers(threads))?;
    encoder.set_parameter(CParameter::JobSize(JOB))?;
    encoder.set_parameter(CParameter::ChecksumFlag(true))?;
    encoder.set_pledged_src_size(Some(size))?;
    Ok(encoder)
}

/// Hands the buffer on when it is full, and starts a new one.
fn hand_on(pass: &mut Pass<'_>, output: &mut Vec<u8>) -> Result<(), PackageError> {
    if output.len() < output.capacity() {
        return Ok(());
    }
    pass.push(std::mem::replace(output, Vec::with_capacity(PIECE)))
}
