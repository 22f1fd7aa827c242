//! No compression: the bytes as they are, with holes for zeros.

use std::sync::Arc;

use crate::host::fs::{Block, Chunk};

use super::PackageError;
use super::pass::Pass;

/// Copies the input.
pub(super) fn copy(pass: &mut Pass<'_>) -> Result<(), PackageError> {
    while !pass.at_end() {
        let mut buffer = Vec::new();
        let (length, chunk) = match pass.append(&mut buffer)? {
            Block::Data => (buffer.len(), Chunk::Data(Arc::new(buffer))),
            Block::Zeros(length) => (length, Chunk::Zeros(length as u64)),
        };
        pass.push_chunk(chunk)?;
        pass.advance(length as u64);
    }
    Ok(())
}
