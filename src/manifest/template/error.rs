//! What is wrong with a template: where, why, and what to do.

use std::fmt;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use minijinja::ErrorKind;

use crate::manifest::context::Context;
use crate::manifest::error::{Source, Span};
use crate::manifest::{builtin, suggest};

/// Why a template gave no text. Its place is in the template's own text.
#[derive(Clone, Debug)]
pub struct TemplateError {
    /// The template: a file's name, or the key it stands at.
    pub name: String,
    /// Counted from 1.
    pub line: Option<usize>,
    pub fault: Box<Fault>,
    /// The place in [`TemplateError::source`].
    pub span: Option<Span>,
    /// The template's text.
    pub source: Source,
}

/// Kinds of fault in a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A name that nothing defines.
    Undefined {
        name: String,
        /// What it could be, and what there is.
        remedy: String,
    },
    /// Anything else: syntax, an unknown filter, a missing parent template.
    Other {
        /// What the template engine says.
        cause: String,
        /// What to do, where something helpful is known.
        remedy: Option<String>,
    },
}

impl TemplateError {
    pub(super) fn undefined(template: &str, text: &str, variable: &str, context: &Context) -> Self {
        let span = uses(text, variable).next();
        let line = span
            .as_ref()
            .map(|span| text[..span.start].matches('\n').count() + 1);
        let known = context.keys().map(String::as_str);
        Self {
            name: template.to_owned(),
            line,
            fault: Box::new(Fault::Undefined {
                name: variable.to_owned(),
                remedy: suggest::remedy(variable, "known variables", known),
            }),
            span,
            source: source(template, text),
        }
    }

    pub(super) fn from_engine(error: &minijinja::Error, name: &str, text: &str, context: &Context) -> Self {
        // The fault can be in a template that this one extends.
        let name = error.name().unwrap_or(name);
        let text = error.template_source().unwrap_or(text);
        let span = error.range().filter(|span| text.get(span.clone()).is_some());
        let variable = span.clone().map(|span| text[span].trim().to_owned());
        if let (ErrorKind::UndefinedError, Some(variable)) = (error.kind(), &variable) {
            let is_name = variable
                .chars()
                .all(|c| c.is_alphanumeric() || c == '_' || c == '.');
            if is_name && !variable.is_empty() {
                let mut fault = Self::undefined(name, text, variable, context);
                (fault.span, fault.line) = (span, error.line());
                return fault;
            }
        }
        let remedy = match error.kind() {
            ErrorKind::TemplateNotFound => {
                let names = builtin::TEMPLATES.iter().map(|(name, _)| *name);
                let list = suggest::remedy("", "built-in templates", names);
                Some(format!(
                    "only built-in templates can be extended or included; {list}"
                ))
            }
            ErrorKind::SyntaxError => Some(
                "`{{ name }}` writes a variable, `{% if name %} … {% endif %}` is a block; each must be closed".to_owned(),
            ),
            ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction => {
                Some("see minijinja's documentation for those that there are".to_owned())
            }
            ErrorKind::OutOfFuel => Some("take loops out of it, or make what they make smaller".to_owned()),
            _ => None,
        };
        let cause = match error.detail() {
            _ if error.kind() == ErrorKind::OutOfFuel => {
                "it takes too long, or makes too much text".to_owned()
            }
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        };
        Self {
            name: name.to_owned(),
            line: error.line(),
            fault: Box::new(Fault::Other { cause, remedy }),
            span,
            source: source(name, text),
        }
    }
}

fn source(name: &str, text: &str) -> Source {
    Arc::new(NamedSource::new(name, Arc::from(text)))
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "template `{}`", self.name)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        match self.fault.as_ref() {
            Fault::Undefined { name, .. } => write!(f, ": undefined variable `{name}`"),
            Fault::Other { cause, .. } => write!(f, ": {cause}"),
        }
    }
}

impl std::error::Error for TemplateError {}

impl Diagnostic for TemplateError {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new("template"))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match self.fault.as_ref() {
            Fault::Undefined { remedy, .. } => Some(Box::new(remedy)),
            Fault::Other { remedy, .. } => remedy
                .as_ref()
                .map(|text| Box::new(text) as Box<dyn fmt::Display>),
        }
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.span.is_some().then_some(&self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.span.clone()?;
        let label = LabeledSpan::new_primary_with_span(Some("here".to_owned()), span);
        Some(Box::new(std::iter::once(label)))
    }
}

/// Where a template names a variable: whole words inside `{{ }}` and `{% %}` that are no attribute.
pub(super) fn uses<'t>(text: &'t str, variable: &'t str) -> impl Iterator<Item = Span> + 't {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(variable).filter_map(move |(start, found)| {
        let (before, after) = (&text[..start], &text[start + found.len()..]);
        let whole = !before.ends_with(|c| is_word(c) || c == '.' || c == '"' || c == '\'')
            && !after.starts_with(is_word);
        let opened = before.rfind("{{").max(before.rfind("{%"));
        let closed = before.rfind("}}").max(before.rfind("%}"));
        (whole && opened > closed).then_some(start..start + found.len())
    })
}
