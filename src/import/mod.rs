//! Other tools' files turned into a manifest: texts in, texts and notes out. Pure: who calls reads and writes the files.
//! Knows what those tools mean and what a manifest can say; nothing of plans, runs or machines.

mod json;
pub mod node;
pub mod note;
pub mod packer;
pub mod path;
mod yaml;
