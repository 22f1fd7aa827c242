//! Files, as this program needs them: written whole or not at all, copied without filling their holes, hashed in one
//! reading, locked between processes. Knows nothing of images, keys or checksum files; the store and the stages call it.

mod atomic;
mod error;
mod hash;
mod hidden;
mod lock;
mod sparse;
mod stat;

pub use atomic::Draft;
pub use atomic::Share;
pub use atomic::exchange_folder;
pub use atomic::place_as;
pub use atomic::sync_folder;
pub use atomic::write_atomic;
pub use error::{FsError, io_verdict};
pub use hash::Chunk;
pub use hash::HashThreads;
pub use hash::hash_file;
pub use lock::FileLock;
pub use lock::lock;
pub use lock::lock_shared;
pub use lock::try_lock;
pub use sparse::Block;
pub use sparse::BlockReader;
pub use sparse::Blocks;
pub use sparse::SparseWriter;
pub use sparse::add_zeros;
pub use sparse::data_extents;
pub use sparse::is_zero;
pub use stat::Stamp;
pub use stat::can_fill;
pub use stat::free_space;
pub use stat::is_nfs_without_holes;
pub use stat::private_dir;
pub use stat::read_small;
pub use stat::write_private;
