//! Facts about the host.
