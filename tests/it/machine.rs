//! TODO machine
