//! What can be wrong with a manifest, each with its place and its remedy.
