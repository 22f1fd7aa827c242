//! Random bytes of the kernel, and names made of them. A process id tells nothing apart that two hosts or containers share.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// Random bytes, fit for secrets (getrandom(2)).
///
/// # Errors
/// Where the kernel gives none.
pub fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    Ok(bytes)
}

/// Eight random hexadecimal digits, for a name that is free.
pub fn word() -> String {
    let word = bytes().map_or_else(|_| std::process::id(), u32::from_ne_bytes);
    format!("{word:08x}")
}
