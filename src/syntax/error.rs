//! What is wrong with a manifest: a [`Problem`] says where, its [`ProblemKind`] says what and what to do.
//! Knows nothing of how problems are found or printed.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};

pub use super::kind::ProblemKind;
use super::sources::Sources;

/// A text that problems point into: the manifest or a template, with its name.
pub type Source = Arc<NamedSource<Arc<str>>>;

/// Bytes of the text that something was read from.
pub type Span = Range<usize>;

/// One mistake (or warning) with its place.
#[derive(Clone)]
pub struct Problem {
    kind: ProblemKind,
    place: Place,
    /// Places in other texts that belong to it.
    others: Vec<Place>,
    /// Where in the manifest it belongs, for the order of reports.
    position: usize,
}

/// A text with some of it underlined.
#[derive(Clone)]
struct Place {
    source: Option<Source>,
    labels: Vec<LabeledSpan>,
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
    sources: Sources,
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
        self.place.source_code()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.place.labels()
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.others.iter().map(|place| place as &dyn Diagnostic)))
    }
}

impl Place {
    /// Labels that carry spans of all texts, by the text that they are in: the first primary one's text comes first.
    fn all(sources: &Sources, labels: Vec<LabeledSpan>) -> Vec<Self> {
        let mut places: Vec<Self> = Vec::new();
        let (primary, others): (Vec<_>, Vec<_>) = labels.into_iter().partition(LabeledSpan::primary);
        for label in primary.into_iter().chain(others) {
            let span = label.offset()..label.offset() + label.len();
            let Some((source, local)) = sources.find(&span) else {
                continue;
            };
            let text = label.label().map(str::to_owned);
            let label = if label.primary() {
                LabeledSpan::new_primary_with_span(text, local)
            } else {
                LabeledSpan::new_with_span(text, local)
            };
            let is_there = |place: &&mut Self| {
                place
                    .source
                    .as_ref()
                    .is_some_and(|there| Arc::ptr_eq(there, source))
            };
            match places.iter_mut().find(is_there) {
                Some(place) => place.labels.push(label),
                None => places.push(Self {
                    source: Some(Arc::clone(source)),
                    labels: vec![label],
                }),
            }
        }
        places
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.source.as_ref().map_or("", |source| source.name());
        write!(f, "in {name}")
    }
}

impl std::error::Error for Place {}

impl Diagnostic for Place {
    fn severity(&self) -> Option<Severity> {
        Some(Severity::Advice)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        let source = self.source.as_ref().filter(|_| !self.labels.is_empty());
        source.map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}

impl ManifestErrors {
    /// One problem of a file that could not be read at all.
    pub fn unreadable(path: PathBuf, cause: String, remedy: String) -> Self {
        let problems = Problems::new(Sources::new([]));
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
    /// No problem yet in these texts.
    pub fn new(sources: Sources) -> Self {
        Self {
            sources,
            list: RefCell::default(),
        }
    }

    /// The texts.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Gives the texts back, for what comes next.
    pub fn into_sources(self) -> Sources {
        self.sources
    }

    /// A problem at one place of the manifest.
    pub fn add(&self, span: &Span, kind: ProblemKind) {
        let label = primary(&kind, span);
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
        let labels = vec![secondary(first.0, first.1), primary(&kind, second)];
        self.push(kind, second.start, labels);
    }

    /// A problem of several places, each with what it is; those to look at first are marked.
    #[cfg(feature = "nickel")]
    pub fn add_labelled<'a>(
        &self,
        labels: impl IntoIterator<Item = (&'a Span, &'a str, bool)>,
        kind: ProblemKind,
    ) {
        let mut position = 0;
        let labels: Vec<_> = labels
            .into_iter()
            .map(|(span, text, is_primary)| {
                let mut label = secondary(span, text);
                if is_primary {
                    position = span.start;
                    label =
                        LabeledSpan::new_primary_with_span(label.label().map(str::to_owned), *label.inner());
                }
                label
            })
            .collect();
        self.push(kind, position, labels);
    }

    /// A problem inside a file that the manifest names at `named`.
    pub fn add_elsewhere(&self, named: &Span, source: Source, span: Option<Span>, kind: ProblemKind) {
        let labels = span.map(|span| primary(&kind, &span)).into_iter().collect();
        self.list.borrow_mut().push(Problem {
            kind,
            place: Place {
                source: Some(source),
                labels,
            },
            others: Vec::new(),
            position: named.start,
        });
    }

    fn push(&self, kind: ProblemKind, position: usize, labels: Vec<LabeledSpan>) {
        let mut places = Place::all(&self.sources, labels).into_iter();
        let nowhere = || Place {
            source: None,
            labels: Vec::new(),
        };
        self.list.borrow_mut().push(Problem {
            kind,
            place: places.next().unwrap_or_else(nowhere),
            others: places.collect(),
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

fn primary(kind: &ProblemKind, span: &Span) -> LabeledSpan {
    LabeledSpan::new_primary_with_span(Some(kind.label().to_owned()), span.clone())
}

fn secondary(span: &Span, text: &str) -> LabeledSpan {
    let text = Some(text.to_owned()).filter(|text| !text.is_empty());
    LabeledSpan::new_with_span(text, span.clone())
}
