//! TODO plan
