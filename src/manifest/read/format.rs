//! `publish.formats`: the further formats in which images appear.

use crate::manifest::describe::row::{Cell, Choice, Either, In};
use crate::manifest::describe::tables::{FORMAT, FormatKeys, MANIFEST, PUBLISH};
use crate::manifest::error::Span;
use crate::manifest::fields::Fields;
use crate::manifest::model::{Compression, Form};

use super::Spot;

/// A further format, and where it stands.
#[derive(Debug)]
pub struct FormatDraft {
    pub form: Form,
    pub compress: Compression,
    /// `file`; absent: as images are named.
    pub file: Option<Spot>,
    pub span: Span,
}

pub(super) fn read_all(root: &Fields<'_>) -> Vec<FormatDraft> {
    let mut formats: Vec<FormatDraft> = Vec::new();
    for cell in root.table(&MANIFEST.publish).items(&PUBLISH.formats) {
        let Some(format) = read(&cell) else { continue };
        let is_same = |other: &FormatDraft| (other.form, other.compress) == (format.form, format.compress);
        if formats.iter().any(is_same) {
            let name = format.form.name();
            cell.bad(format!("`{name}` is there twice"), "take one of them out");
        } else {
            formats.push(format);
        }
    }
    formats
}

fn read(cell: &Cell<'_, Either<Choice<Form>, In<FormatKeys>>>) -> Option<FormatDraft> {
    let span = cell.span().clone();
    let table = match cell.either() {
        Ok(word) => {
            return Some(FormatDraft {
                form: word.read()?,
                compress: Compression::None,
                file: None,
                span,
            });
        }
        Err(table) => table.fields()?,
    };
    let form = table.read(&FORMAT.form)?;
    let compress = table.read_or_default(&FORMAT.compress);
    if let Some(cell) = table.get(&FORMAT.compress)
        && form.is_compressed()
        && compress != Compression::None
    {
        cell.bad(
            format!("the data in a {} is compressed already", form.name()),
            "take `compress` out",
        );
    }
    Some(FormatDraft {
        form,
        compress,
        file: table.get(&FORMAT.file).and_then(|cell| Spot::of(&cell)),
        span,
    })
}
