//! Installer media: what is in an ISO image, and files slipped into an initial RAM disk. Without root, mounts or other
//! programs. Knows nothing of which files an installer wants.

pub mod initrd;
pub mod iso;
pub mod treeinfo;
