//! Deflates one block of a longer stream, in memory. Knows nothing of gzip, threads or order.
//!
//! The library is zlib-rs, as under flate2. Its own level 6 looks for matches of four bytes and more, which makes the
//! programs on a Linux disk 2 to 3 % larger than `pigz -6` does; its level 9 finds those of three, but searches for
//! very long. The best of both is level 9 with a short search, and for that `deflateTune` is needed, which flate2
//! does not offer. Measured on a Debian 12 disk (464 MiB; CPU seconds, size against `pigz -6` with its 24.6 s):
//!
//! | search | seconds | size |
//! | --- | ---: | ---: |
//! | level 6 | 10.6 | +2.2 % |
//! | level 9, tuned to 8 16 64 12 | 11.4 | +1.4 % |
//! | level 9, tuned to 8 16 128 20 | 12.9 | +0.8 % |
//! | level 9, tuned to 6 12 64 32 | 13.4 | +0.6 % |
//! | level 9, tuned to 8 16 128 32 | 14.1 | +0.5 % |
//! | level 9 | 34 | -0.6 % |
//!
//! Taken is 8 16 128 36: a tree of scripts and sources gains less from short matches and more from a longer search.
#![expect(
    unsafe_code,
    reason = "the C form of the library is the only one with deflateTune; see SAFETY"
)]

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::marker::PhantomData;

use libz_rs_sys as z;

/// How far back deflate may refer, in bytes (RFC 1951 §2).
pub(super) const WINDOW: usize = 32 << 10;
/// Logarithm of [`WINDOW`], negative for a stream without a zlib header.
const RAW_WINDOW_BITS: c_int = -15;
/// Symbols in a deflate block: 2^(7 + 6). Smaller blocks fit their codes better to a disk's mixture; here 7 is better
/// than the usual 8 by 0.3 %, and `pigz` takes 9.
const MEMORY_LEVEL: c_int = 7;

/// How to search for matches; the numbers are those of zlib's `deflateTune`.
struct Search {
    level: c_int,
    /// Good, lazy and nice match length, longest chain; absent: the level's own.
    tune: Option<[c_int; 4]>,
}

/// What the levels of a manifest mean.
fn search(level: u32) -> Search {
    let (level, tune) = match level {
        0..=5 => (c_int::try_from(level).expect("below six"), None),
        6 => (9, Some([8, 16, 128, 36])),
        7 => (9, Some([8, 32, 128, 64])),
        8 => (9, Some([32, 128, 258, 256])),
        _ => (9, None),
    };
    Search { level, tune }
}

/// What a stream works in, 0.3 MiB; used again by the next one. With the library's own allocator, which asks for aligned
/// memory, the heap grew with the input (glibc 2.36; 284 MiB after 2 GiB on 64 threads, 69 MiB like this).
#[derive(Debug, Default)]
pub(super) struct Memory {
    words: Vec<u64>,
    taken: bool,
}

/// Gives out the memory that `opaque` points to; none while it is taken (a stream asks once).
unsafe extern "C" fn take(opaque: *mut c_void, items: c_uint, size: c_uint) -> *mut c_void {
    // SAFETY: `Stream::open` sets `opaque` to its `Memory`, which it borrows for as long as the stream lives.
    let memory = unsafe { &mut *opaque.cast::<Memory>() };
    let bytes = usize::try_from(u64::from(items) * u64::from(size));
    let words = bytes.unwrap_or(usize::MAX).div_ceil(size_of::<u64>());
    if memory.taken {
        return std::ptr::null_mut();
    }
    if memory.words.len() < words {
        memory.words.resize(words, 0);
    }
    memory.taken = true;
    memory.words.as_mut_ptr().cast()
}

/// Takes the memory back.
unsafe extern "C" fn give_back(opaque: *mut c_void, _address: *mut c_void) {
    // SAFETY: as in `take`.
    unsafe { &mut *opaque.cast::<Memory>() }.taken = false;
}

/// A stream that is closed when it is dropped.
struct Stream<'a>(Box<z::z_stream>, PhantomData<&'a mut Memory>);

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        // SAFETY: the stream was opened by `deflateInit2_` and is closed once, here.
        unsafe { z::deflateEnd(&raw mut *self.0) };
    }
}

impl<'a> Stream<'a> {
    /// A new stream. One that was reset will not do: it remembers bytes of its earlier block, and those reach the hash of
    /// a dictionary's last bytes (zlib-rs 0.6.8), so the output would depend on what the stream had done before.
    fn open(search: &Search, memory: &'a mut Memory) -> Self {
        let mut stream = Box::new(z::z_stream {
            zalloc: Some(take),
            zfree: Some(give_back),
            opaque: (&raw mut *memory).cast(),
            ..z::z_stream::default()
        });
        let size = c_int::try_from(size_of::<z::z_stream>()).expect("a struct of a hundred bytes");
        // SAFETY: the stream is in its default state but for the allocator, whose memory outlives it; it is boxed, so it
        // keeps its address.
        let opened = unsafe {
            z::deflateInit2_(
                &raw mut *stream,
                search.level,
                z::Z_DEFLATED,
                RAW_WINDOW_BITS,
                MEMORY_LEVEL,
                z::Z_DEFAULT_STRATEGY,
                z::zlibVersion(),
                size,
            )
        };
        assert_eq!(opened, z::Z_OK, "no memory for a deflate stream");
        let mut stream = Self(stream, PhantomData);
        if let Some([good, lazy, nice, chain]) = search.tune {
            // SAFETY: the stream is open.
            let tuned = unsafe { z::deflateTune(&raw mut *stream.0, good, lazy, nice, chain) };
            assert_eq!(tuned, z::Z_OK, "an open stream can be tuned");
        }
        stream
    }

    /// Primes it with the bytes before the block.
    fn prime(&mut self, before: &[u8]) {
        let length = u32::try_from(before.len()).expect("a window at most");
        // SAFETY: the stream is open, and pointer and length are those of a slice that is only read.
        let primed = unsafe { z::deflateSetDictionary(&raw mut *self.0, before.as_ptr(), length) };
        assert_eq!(primed, z::Z_OK, "a raw stream takes a dictionary at its start");
    }

    /// Deflates all of the block into `bytes`, whose room is used again and again.
    fn run(&mut self, block: &[u8], last: bool, bytes: &mut Vec<u8>) {
        let flush = if last { z::Z_FINISH } else { z::Z_SYNC_FLUSH };
        bytes.clear();
        bytes.reserve(most_deflated(block.len()));
        self.0.next_in = block.as_ptr();
        self.0.avail_in = u32::try_from(block.len()).expect("a block is small");
        loop {
            let room = bytes.spare_capacity_mut();
            let offered = u32::try_from(room.len()).expect("little more than a block");
            self.0.next_out = room.as_mut_ptr().cast();
            self.0.avail_out = offered;
            // SAFETY: the stream is open; its input is what is left of `block`, its output the spare room of `bytes`,
            // both borrowed for longer than the call.
            let result = unsafe { z::deflate(&raw mut *self.0, flush) };
            let written = offered - self.0.avail_out;
            let length = bytes.len() + usize::try_from(written).expect("what was offered at most");
            // SAFETY: the library has just written up to there.
            unsafe { bytes.set_len(length) };
            let in_order = matches!(result, z::Z_OK | z::Z_STREAM_END | z::Z_BUF_ERROR);
            assert!(in_order, "deflate from memory to memory gave {result}");
            // Room that is left over means that nothing waits inside (zlib.h, "deflate").
            if result == z::Z_STREAM_END || (!last && self.0.avail_in == 0 && self.0.avail_out > 0) {
                return;
            }
            bytes.reserve(64 << 10);
        }
    }
}

/// The library and its version.
pub(super) fn version() -> String {
    // SAFETY: the library gives the address of a constant that ends with a zero.
    let version = unsafe { CStr::from_ptr(z::zlibVersion()) };
    version.to_string_lossy().into_owned()
}

/// Bytes that so many can become, near enough: what cannot be compressed becomes stored blocks, 5 bytes more for each, and
/// the flush adds as much.
fn most_deflated(length: usize) -> usize {
    length + length / 512 + 64
}

/// Deflates a block that may refer to the bytes before it (the last [`WINDOW`] of them count) into `bytes`, whose old
/// content goes. All but the last block end with an empty stored block, which brings the stream to a byte boundary: the
/// results can be joined.
pub(super) fn deflate(
    memory: &mut Memory,
    before: &[u8],
    block: &[u8],
    level: u32,
    last: bool,
    bytes: &mut Vec<u8>,
) {
    let mut stream = Stream::open(&search(level), memory);
    if !before.is_empty() {
        stream.prime(before);
    }
    stream.run(block, last, bytes);
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn joined_blocks_of_every_level_inflate_to_the_whole() {
        // Text-like, then bytes that do not repeat, then zeros; the second half begins with what the first ended with.
        let mut bytes: Vec<u8> = (0..70_000_u32)
            .map(|n| b"lorem ipsum"[(n % 11) as usize] ^ (n / 9_000) as u8)
            .collect();
        bytes.extend((0..70_000_u64).map(|n| ((n * n * 2_654_435_761) >> 13) as u8));
        bytes.extend([0; 40_000]);
        let (mut sizes, mut memory) = (Vec::new(), Memory::default());
        for level in 1..=9 {
            let (first, second) = bytes.split_at(90_000);
            let (mut joined, mut more) = (Vec::new(), Vec::new());
            deflate(&mut memory, &[], first, level, false, &mut joined);
            let before = &first[first.len() - WINDOW..];
            deflate(&mut memory, before, second, level, true, &mut more);
            // What the memory held before must not matter.
            let mut again = Vec::new();
            deflate(&mut Memory::default(), before, second, level, true, &mut again);
            assert!(more == again, "level {level}");
            joined.append(&mut more);
            let mut back = Vec::new();
            flate2::read::DeflateDecoder::new(&joined[..])
                .read_to_end(&mut back)
                .unwrap();
            assert!(back == bytes, "level {level}");
            sizes.push(joined.len());
        }
        assert!(sizes[8] <= sizes[5] && sizes[5] <= sizes[0], "{sizes:?}");
    }

    #[test]
    fn an_empty_last_block_ends_the_stream() {
        let mut bytes = b"left over".to_vec();
        deflate(&mut Memory::default(), &[], &[], 6, true, &mut bytes);
        assert_eq!(bytes, [3, 0]);
    }
}
