//! What the two processes tell each other: plain data. Spans count over all texts, as in [`super::super::sources`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::manifest::error::Span;
use crate::manifest::export::{nickel, nickel_key};
use crate::manifest::overrides::Override;
use crate::manifest::parse::Node;

/// What messages call the library.
pub const LIBRARY_NAME: &str = "pipeline.ncl (built in)";

/// A manifest to evaluate.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Its file, absolute: imports are relative to it.
    pub path: PathBuf,
    pub text: String,
    /// Fields that the command line gives, as Nickel: `vars.keymap | force = "fr"`.
    pub overrides: Vec<String>,
    /// How long it may compute.
    pub seconds: u64,
}

/// What came out.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The texts that spans point into; the manifest first.
    pub texts: Vec<Text>,
    /// The manifest's data, or what is wrong.
    pub outcome: Result<Node, Vec<Report>>,
}

/// A text that took part.
#[derive(Debug, Serialize, Deserialize)]
pub struct Text {
    pub path: PathBuf,
    pub text: String,
    /// Where it comes from.
    pub kind: TextKind,
}

/// Where a text comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TextKind {
    /// The user's manifest.
    Manifest,
    /// A file of the user's that it imports.
    Import,
    /// The library that comes with the program.
    Library,
    /// What was given with `-D`.
    CommandLine,
}

/// A mistake, in Nickel's words and places.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// One line or several.
    pub message: String,
    pub labels: Vec<Label>,
    /// What else Nickel says.
    pub notes: Vec<String>,
}

/// A place.
#[derive(Debug, Serialize, Deserialize)]
pub struct Label {
    /// The place.
    pub span: Span,
    pub text: String,
    /// Whether to look there first.
    pub is_primary: bool,
}

/// A value from the command line as a field that takes the place of the manifest's.
pub fn assignment(given: &Override) -> String {
    let keys: Vec<_> = given.keys.iter().map(|key| nickel_key(key)).collect();
    format!("{} | force = {}", keys.join("."), nickel(&given.node))
}
