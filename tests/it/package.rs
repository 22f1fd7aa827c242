//! TODO package
