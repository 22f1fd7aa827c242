//! TODO quickstart
