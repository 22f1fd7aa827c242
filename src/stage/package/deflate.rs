//! Deflates one block of a longer stream, in memory. Knows nothing of gzip, threads or order.
//!
//! The library is libdeflate. It compresses a block as a stream of its own: nothing before the block is referred to, and the
//! stream ends with it. Here that end is taken out, so that the results can be joined (as zlib's `gzjoin` does): the last
//! block's mark is cleared, and an empty stored block brings the stream to a byte boundary. Where the last block starts is
//! found by inflating, which also proves that what was deflated inflates to as many bytes.
//!
//! Measured on 64 MiB of programs and libraries, in blocks of 320 KiB (MiB per CPU second, size against `pigz -6` with its
//! 21):
//!
//! | search | MiB/s | size |
//! | --- | ---: | ---: |
//! | zlib-rs, level 9, tuned to 8 16 128 36, with the 32 KiB before | 31 | +0.5 % |
//! | libdeflate, level 5 | 77 | +0.5 % |
//! | libdeflate, level 6 | 64 | -0.0 % |
//! | libdeflate, level 7 | 51 | -0.4 % |
//! | libdeflate, level 9 | 27 | -0.6 % |
#![expect(
    unsafe_code,
    reason = "the C form of zlib-rs is the only one that says at which bit a block ends; see SAFETY"
)]

use std::ffi::c_int;
use std::fmt;

use libdeflater::{CompressionLvl, Compressor};
use libz_rs_sys as z;

/// Negative for a stream without a zlib header; the largest window.
const RAW_WINDOW_BITS: c_int = -15;
/// What brings a stream to a byte boundary behind the three bits of a stored block's header: its length, none, and the
/// length's complement (RFC 1951 §3.2.4).
const EMPTY: [u8; 4] = [0, 0, 0xff, 0xff];

/// Deflates blocks one after another, in the same memory (about a mebibyte).
pub(super) struct Deflater {
    compressor: Compressor,
    inflater: Inflater,
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").finish_non_exhaustive()
    }
}

impl Deflater {
    /// A level of the manifest is the library's.
    pub(super) fn new(level: u32) -> Self {
        let level = i32::try_from(level).expect("levels end at nine");
        let level = CompressionLvl::new(level).expect("the library has more levels than a manifest");
        Self {
            compressor: Compressor::new(level),
            inflater: Inflater::default(),
        }
    }

    /// Deflates a block into `bytes`, whose old content goes. All but the last block of a stream are left open: what follows
    /// can be joined.
    pub(super) fn deflate(&mut self, block: &[u8], last: bool, bytes: &mut Vec<u8>) {
        let most = self.compressor.deflate_compress_bound(block.len());
        bytes.resize(most + 1 + EMPTY.len(), 0);
        let written = self.compressor.deflate_compress(block, &mut bytes[..most]);
        bytes.truncate(written.expect("there is room for what cannot be compressed"));
        if !last {
            let Ends { start, end } = self.inflater.ends(bytes, block.len());
            bytes[start / 8] &= !(1 << (start % 8));
            // The bits that fill up the last byte are zeros, as is the header of a stored block that is not the last one.
            bytes.resize((end + 3).div_ceil(8), 0);
            bytes.extend(EMPTY);
        }
    }
}

/// The last block of a stream, in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    start: usize,
    end: usize,
}

/// A raw inflate stream that is used again and again, and where it inflates to.
struct Inflater {
    stream: Box<z::z_stream>,
    room: Vec<u8>,
}

// SAFETY: the stream's memory belongs to it alone, and zlib-rs keeps nothing by thread.
unsafe impl Send for Inflater {}

impl Default for Inflater {
    fn default() -> Self {
        let mut stream = Box::new(z::z_stream::default());
        let size = c_int::try_from(size_of::<z::z_stream>()).expect("a struct of a hundred bytes");
        // SAFETY: the stream is in its default state; it is boxed, so it keeps its address.
        let opened = unsafe { z::inflateInit2_(&raw mut *stream, RAW_WINDOW_BITS, z::zlibVersion(), size) };
        assert_eq!(opened, z::Z_OK, "no memory for an inflate stream");
        let room = Vec::new();
        Self { stream, room }
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        // SAFETY: the stream was opened in `default` and is closed once, here.
        unsafe { z::inflateEnd(&raw mut *self.stream) };
    }
}

impl Inflater {
    /// Where the last block of a whole stream lies that inflates to so many bytes.
    fn ends(&mut self, deflated: &[u8], length: usize) -> Ends {
        // SAFETY: the stream is open.
        unsafe { z::inflateReset(&raw mut *self.stream) };
        if self.room.len() < length {
            self.room.resize(length, 0);
        }
        let stream = &mut *self.stream;
        stream.next_in = deflated.as_ptr();
        stream.avail_in = u32::try_from(deflated.len()).expect("little more than a block");
        stream.next_out = self.room.as_mut_ptr();
        stream.avail_out = u32::try_from(length).expect("a block is small");
        let mut ends = Ends { start: 0, end: 0 };
        loop {
            // SAFETY: the stream is open; its input is what is left of `deflated`, its output what is left of `room`, both
            // borrowed for longer than the call.
            let result = unsafe { z::inflate(&raw mut *stream, z::Z_BLOCK) };
            assert_eq!(result, z::Z_OK, "what libdeflate made cannot be inflated");
            // zlib.h, "inflate": bits of the last byte that are not used yet, 64 in the last block, 128 behind a block.
            let (unused, is_last, is_behind) = (
                usize::try_from(stream.data_type & 7).expect("three bits"),
                stream.data_type & 64 != 0,
                stream.data_type & 128 != 0,
            );
            assert!(is_behind, "what libdeflate made stops within a block");
            let taken = deflated.len() - usize::try_from(stream.avail_in).expect("less than was given");
            ends = Ends {
                start: ends.end,
                end: taken * 8 - unused,
            };
            if is_last {
                assert_eq!(stream.avail_out, 0, "what libdeflate made inflates to less");
                return ends;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::digest::sha256_hex;

    /// Text-like, then bytes that do not repeat, then zeros.
    fn sample() -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..270_000_u32)
            .map(|n| b"lorem ipsum"[(n % 11) as usize] ^ (n / 9_000) as u8)
            .collect();
        bytes.extend((0..70_000_u64).map(|n| ((n * n * 2_654_435_761) >> 13) as u8));
        bytes.extend([0; 40_000]);
        bytes
    }

    #[test]
    fn joined_blocks_of_every_level_inflate_to_the_whole() {
        let bytes = sample();
        let mut sizes = Vec::new();
        for level in 1..=9 {
            let mut deflater = Deflater::new(level);
            let (mut joined, mut more) = (Vec::new(), b"old".to_vec());
            // Blocks of every length from none up: each ends at another bit.
            let cuts = (0..40).chain([300, 90_000, 300_000, 320_000, bytes.len()]);
            let mut start = 0;
            for end in cuts {
                deflater.deflate(&bytes[start..end], end == bytes.len(), &mut more);
                // What it deflated before must not matter.
                let mut again = Vec::new();
                Deflater::new(level).deflate(&bytes[start..end], end == bytes.len(), &mut again);
                assert!(more == again, "level {level}");
                joined.append(&mut more);
                start = end;
            }
            let mut back = Vec::new();
            flate2::read::DeflateDecoder::new(&joined[..])
                .read_to_end(&mut back)
                .unwrap();
            assert!(back == bytes, "level {level}");
            sizes.push(joined.len());
        }
        assert!(sizes.is_sorted_by(|faster, slower| faster >= slower), "{sizes:?}");
    }

    /// Packages, and so their keys, depend on what the library makes: when this digest changes, raise the stage's revision.
    #[test]
    fn the_library_makes_the_same_bytes_as_ever() {
        let mut deflated = Vec::new();
        Deflater::new(6).deflate(&sample(), false, &mut deflated);
        assert_eq!(
            sha256_hex(&deflated),
            "b067044c39fc583c2c890cebc59fe4e403cec9719499a6b7fa29b7e5c2c3a425"
        );
    }
}
