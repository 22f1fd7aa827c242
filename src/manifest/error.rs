//! What is wrong with a manifest: a [`Problem`] says where, its [`ProblemKind`] says what and what to do.
//! Knows nothing of how problems are found or printed.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};

pub use super::kind::ProblemKind;

/// A text that problems point into: the manifest or a template, with its name.
pub type Source = Arc<NamedSource<Arc<str>>>;

/// Bytes of the text that something was read from.
pub type Span = Range<usize>;

/// One mistake (or warning) with its place.
#[derive(Clone)]
pub struct Problem {
    kind: ProblemKind,
    source: Source,
    labels: Vec<LabeledSpan>,
    /// Where in the manifest it belongs, for the order of reports.
    position: usize,
}

/// Everything that was wrong, in the order of the manifest.
#[derive(Clone, Debug)]
pub struct ManifestErrors {
    path: PathBuf,
    problems: Vec<Problem>,
}

/// Collects problems while a manifest is read.
#[derive(Debug)]
pub struct Problems {
    source: Source,
    list: RefCell<Vec<Problem>>,
}

impl Problem {
    /// What is wrong, without its place.
    pub fn kind(&self) -> &ProblemKind {
        &self.kind
    }
}

/// Problems are the same when they say the same, wherever they stand.
impl PartialEq for Problem {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.kind.code()))
    }

    fn severity(&self) -> Option<Severity> {
        let warning = self.kind.is_warning();
        Some(if warning {
            Severity::Warning
        } else {
            Severity::Error
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.kind
            .remedy()
            .map(|text| Box::new(text) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        (!self.labels.is_empty()).then_some(&self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}

impl ManifestErrors {
    /// One problem of a file that could not be read at all.
    pub(super) fn unreadable(path: PathBuf, cause: String, remedy: String) -> Self {
        let problems = Problems::new(&path.display().to_string(), Arc::from(""));
        problems.add_somewhere(ProblemKind::Unreadable { cause, remedy });
        problems.into_errors(path)
    }

    /// All problems, in the order of the manifest.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        write!(f, "{}: {count} {noun}; nothing was started", self.path.display())
    }
}

impl std::error::Error for ManifestErrors {}

impl Diagnostic for ManifestErrors {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|p| p as &dyn Diagnostic)))
    }
}

impl Problems {
    /// No problem yet in this manifest.
    pub fn new(name: &str, text: Arc<str>) -> Self {
        Self {
            source: Arc::new(NamedSource::new(name, text)),
            list: RefCell::default(),
        }
    }

    /// A problem at one place of the manifest.
    pub fn add(&self, span: &Span, kind: ProblemKind) {
        let label = LabeledSpan::new_primary_with_span(Some(kind.label().to_owned()), span.clone());
        self.push(kind, span.start, vec![label]);
    }

    /// A problem of the manifest as a whole.
    pub fn add_somewhere(&self, kind: ProblemKind) {
        self.push(kind, 0, Vec::new());
    }

    /// A problem of two places; `second` is the one to look at first.
    pub fn add_pair(&self, first: (&Span, &str), second: &Span, kind: ProblemKind) {
        if first.0 == second {
            return self.add(second, kind);
        }
        let labels = vec![
            LabeledSpan::new_with_span(Some(first.1.to_owned()), first.0.clone()),
            LabeledSpan::new_primary_with_span(Some(kind.label().to_owned()), second.clone()),
        ];
        self.push(kind, second.start, labels);
    }

    /// A problem inside a file that the manifest names at `named`.
    pub fn add_elsewhere(&self, named: &Span, source: Source, span: Option<Span>, kind: ProblemKind) {
        let label = |span| LabeledSpan::new_primary_with_span(Some(kind.label().to_owned()), span);
        let labels = span.map(label).into_iter().collect();
        let position = named.start;
        self.list.borrow_mut().push(Problem {
            kind,
            source,
            labels,
            position,
        });
    }

    fn push(&self, kind: ProblemKind, position: usize, labels: Vec<LabeledSpan>) {
        let source = Arc::clone(&self.source);
        self.list.borrow_mut().push(Problem {
            kind,
            source,
            labels,
            position,
        });
    }

    /// Whether nothing but warnings was found.
    pub fn is_fine(&self) -> bool {
        self.list.borrow().iter().all(|p| p.kind.is_warning())
    }

    /// The mistakes, in order; warnings would only distract from them.
    pub fn into_errors(self, path: PathBuf) -> ManifestErrors {
        let mut problems = self.into_list();
        problems.retain(|p| !p.kind.is_warning());
        ManifestErrors { path, problems }
    }

    /// Everything found, in the order of the manifest.
    pub fn into_list(self) -> Vec<Problem> {
        let mut list = self.list.into_inner();
        list.sort_by_key(|p| p.position);
        list
    }
}
