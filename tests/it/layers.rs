//! TODO layers
