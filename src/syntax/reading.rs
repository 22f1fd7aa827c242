//! What whoever reads a part of a manifest is given, and texts with their places.

use super::error::{Problems, Span};
use super::fields::Field;
use super::files::Files;
use crate::families::Tables;

/// What every part needs.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The manifest's text.
    pub text: &'a str,
    /// Where mistakes go.
    pub problems: &'a Problems,
    /// The files that the manifest names.
    pub files: &'a Files,
    /// The families and installers that there are.
    pub tables: &'a Tables,
}

/// A text and where it stands.
#[derive(Clone, Debug)]
pub struct Spot {
    /// Dotted place in the manifest.
    pub path: String,
    pub text: String,
    pub span: Span,
}

impl Spot {
    pub fn new(field: &Field<'_>, text: &str) -> Self {
        Self {
            path: field.path.clone(),
            text: text.to_owned(),
            span: field.span().clone(),
        }
    }

    /// A text and where it stands. Nothing: it is no text, and was reported.
    pub fn of(field: &Field<'_>) -> Option<Self> {
        Some(Self::new(field, field.text()?))
    }
}
