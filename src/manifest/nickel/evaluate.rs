//! The process that evaluates: Nickel's machine between two pieces of plain data. It may be killed at any time.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;

use nickel_lang_core::ast::InputFormat;
use nickel_lang_core::cache::{CacheHub, SourcePath};
use nickel_lang_core::error::{Diagnostic, Error, IntoDiagnostics, LabelStyle, NullReporter};
use nickel_lang_core::eval::cache::CacheImpl;
use nickel_lang_core::eval::value::{Container, EnumVariantData, NickelValue, ValueContentRef};
use nickel_lang_core::eval::{VirtualMachine, VmContext};
use nickel_lang_core::files::{FileId, Files};
use nickel_lang_core::position::{PosTable, TermPos};
use nickel_lang_core::serialize::{self, ExportFormat};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::exchange::{Answer, Label, Report, Request, Text, TextKind};
use super::remedy;
use crate::manifest::describe::library;
use crate::manifest::error::Span;
use crate::manifest::export::nickel_text;
use crate::manifest::parse::{Entry, Node, Value};
use crate::manifest::sources::NOWHERE;

/// How much memory an evaluation may take, in bytes; the fleet's takes a few dozen MiB.
pub const MEMORY: u64 = 1 << 30;
/// Nickel's parser and some of its passes recurse.
const STACK: usize = 256 << 20;
/// Where the library seems to be. Nickel looks for imports next to the importing file first, then here.
const LIBRARY_FOLDER: &str = "/built-in";
const LIBRARY: &str = "/built-in/pipeline.ncl";

/// Reads a request from standard input, and writes the answer to standard output.
///
/// # Errors
/// Whoever asks is gone, or asks for something else.
pub fn serve() -> io::Result<()> {
    let mut question = Vec::new();
    io::stdin().read_to_end(&mut question)?;
    let request: Request = serde_json::from_slice(&question)?;
    limit(Resource::As, MEMORY + STACK as u64, 0)?;
    limit(Resource::Cpu, request.seconds, 1)?;
    limit(Resource::Core, 0, 0)?;
    let worker = thread::Builder::new().stack_size(STACK).spawn(move || {
        let answer = answer(&request);
        let json = serde_json::to_vec(&answer)?;
        io::stdout().write_all(&json)
    })?;
    // The panic itself was printed on standard error.
    worker.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}

/// `grace` lies between the limit that a signal reports and the one that kills.
fn limit(resource: Resource, most: u64, grace: u64) -> io::Result<()> {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most + grace),
    };
    Ok(setrlimit(resource, limit)?)
}

type Context = VmContext<CacheHub, CacheImpl>;

fn answer(request: &Request) -> Answer {
    let mut cache = CacheHub::new();
    let nickel = |path: &Path| SourcePath::Path(path.to_owned(), InputFormat::Nickel);
    let sources = &mut cache.sources;
    let manifest = sources.add_string(nickel(&request.path), request.text.clone());
    let library = sources.add_string(nickel(Path::new(LIBRARY)), library());
    sources.add_import_paths([LIBRARY_FOLDER].into_iter());
    let main = if request.overrides.is_empty() {
        manifest
    } else {
        let path = nickel_text(&request.path.to_string_lossy());
        let fields = request.overrides.join(", ");
        let merged = format!("(import {path})\n& {{ {fields} }}");
        sources.add_string(SourcePath::Generated("the command line".to_owned()), merged)
    };
    let mut context: Context = VmContext::new(cache, io::sink(), NullReporter {});
    let result = evaluate(&mut context, main);
    let mut files = context.import_resolver.sources.files().clone();
    let texts = Texts::new(&context, manifest, library, main);
    let outcome = match result {
        Ok(value) => Ok(Tree {
            positions: &context.pos_table,
            texts: &texts,
        }
        .root(&value)),
        Err(error) => Err(reports(error.into_diagnostics(&mut files), &files, &texts)),
    };
    Answer {
        texts: texts.list,
        outcome,
    }
}

fn evaluate(context: &mut Context, main: FileId) -> Result<NickelValue, Error> {
    let value = context.prepare_eval(main)?;
    let value = VirtualMachine::new(context).eval_full_for_export(value)?;
    // TOML has no null, and neither has a manifest.
    serialize::validate(ExportFormat::Toml, &value)
        .map_err(|error| Error::export_error(context.pos_table.clone(), error))?;
    Ok(value)
}

/// The texts of an answer, and where each begins.
struct Texts {
    list: Vec<Text>,
    starts: HashMap<FileId, (usize, TextKind)>,
}

impl Texts {
    fn new(context: &Context, manifest: FileId, library: FileId, main: FileId) -> Self {
        let sources = &context.import_resolver.sources;
        let mut known: Vec<(FileId, PathBuf)> = Vec::new();
        for (id, path) in &sources.file_paths {
            match path {
                SourcePath::Path(path, _) => known.push((*id, path.clone())),
                SourcePath::Generated(_) if *id == main => known.push((*id, PathBuf::new())),
                _ => {}
            }
        }
        // The manifest first; the others in an order that does not change.
        known.sort_by(|a, b| (a.0 != manifest, &a.1).cmp(&(b.0 != manifest, &b.1)));
        let mut texts = Self {
            list: Vec::new(),
            starts: HashMap::new(),
        };
        let mut start = 0;
        for (id, path) in known {
            let kind = if id == manifest {
                TextKind::Manifest
            } else if id == library {
                TextKind::Library
            } else if id == main {
                TextKind::CommandLine
            } else {
                TextKind::Import
            };
            let text = sources.source(id).to_owned();
            texts.starts.insert(id, (start, kind));
            start += text.len() + 1;
            texts.list.push(Text { path, text, kind });
        }
        texts
    }

    /// A span over all texts; nothing for Nickel's own library.
    fn span(&self, id: FileId, local: Span) -> Option<(Span, TextKind)> {
        let (start, kind) = self.starts.get(&id)?;
        Some((start + local.start..start + local.end, *kind))
    }

    /// The place of a field in what the user wrote, where only one has this name: for mistakes that Nickel places in the
    /// library, because a function there made the record.
    fn only_field(&self, name: &str) -> Option<Span> {
        let mut start = 0;
        let mut found = Vec::new();
        for text in &self.list {
            if text.kind != TextKind::Library {
                let of_text = text.text.match_indices(name).map(|(at, _)| at);
                let here = of_text.filter(|at| is_field(&text.text, *at, name.len()));
                found.extend(here.map(|at| start + at..start + at + name.len()));
            }
            start += text.text.len() + 1;
        }
        (found.len() == 1).then(|| found.remove(0))
    }

    /// The place of a value in what the user wrote.
    fn place(&self, position: TermPos) -> Option<Span> {
        let span = position.into_opt()?;
        let (span, kind) = self.span(span.src_id, span.to_range())?;
        (kind != TextKind::Library).then_some(span)
    }
}

/// An evaluated value as a tree.
struct Tree<'a> {
    positions: &'a PosTable,
    texts: &'a Texts,
}

impl Tree<'_> {
    fn root(&self, value: &NickelValue) -> Node {
        self.node(value, &NOWHERE, false)
    }

    /// `near` is the place of what it is in, for values that functions made. A field's key stands for its table.
    fn node(&self, value: &NickelValue, near: &Span, is_field: bool) -> Node {
        let place = self.texts.place(value.pos(self.positions));
        let own = place.unwrap_or_else(|| near.clone());
        let (span, value) = match value.content_ref() {
            ValueContentRef::Bool(flag) => (own, Value::Boolean(flag)),
            ValueContentRef::String(text) => (own, Value::Text(text.to_string())),
            ValueContentRef::EnumVariant(EnumVariantData { tag, .. }) => {
                (own, Value::Text(tag.label().to_owned()))
            }
            ValueContentRef::Array(items) => {
                let item = |item: &NickelValue| self.node(item, &own, false);
                let items = items.iter().map(item).collect();
                (own, Value::List(items))
            }
            ValueContentRef::Record(record) => {
                let span = if is_field || own == NOWHERE {
                    near.clone()
                } else {
                    own.start..own.start + 1
                };
                let entries = self.entries(record, &span);
                (span, Value::Table(entries))
            }
            ValueContentRef::Number(_) => (own, number(value)),
            // Nothing else is let through by the check before.
            _ => (own, Value::Table(Vec::new())),
        };
        Node { span, value }
    }

    fn entries(
        &self,
        record: Container<&nickel_lang_core::term::record::RecordData>,
        near: &Span,
    ) -> Vec<Entry> {
        let Container::Alloc(record) = record else {
            return Vec::new();
        };
        let mut entries = Vec::new();
        for (key, field) in &record.fields {
            let Some(value) = field.value.as_ref().filter(|_| !field.metadata.not_exported()) else {
                continue;
            };
            let key_span = self.texts.place(key.pos).unwrap_or_else(|| near.clone());
            entries.push(Entry {
                key: key.label().to_owned(),
                node: self.node(value, &key_span, true),
                key_span,
            });
        }
        // As in TOML, what the user sees is the order of the file, where there is one.
        if entries.iter().all(|entry| entry.key_span != *near) {
            entries.sort_by_key(|entry| entry.key_span.start);
        }
        entries
    }
}

/// Whether a word is whole, and followed by what makes a field of it.
fn is_field(text: &str, at: usize, length: usize) -> bool {
    let before = text.get(..at).and_then(|text| text.chars().next_back());
    let inside = before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '"'));
    let rest = text.get(at + length..).unwrap_or_default().trim_start();
    !inside && rest.starts_with(['=', '|', '.', ':']) && !rest.starts_with("|>") && !rest.starts_with("==")
}

/// Where Nickel looked for an import are places of this host that the user did not name.
fn without_search(message: &str) -> String {
    message.split(" (looked in").next().unwrap_or_default().to_owned()
}

fn number(value: &NickelValue) -> Value {
    let text = serialize::to_string(ExportFormat::Json, value).unwrap_or_default();
    match text.trim().parse::<i64>() {
        Ok(number) => Value::Integer(number),
        Err(_) => Value::Float(text.trim().parse().unwrap_or(f64::NAN)),
    }
}

/// Nickel's diagnostics as plain data: mistakes with their notes, without the calls that led there.
fn reports(diagnostics: Vec<Diagnostic<FileId>>, files: &Files, texts: &Texts) -> Vec<Report> {
    let mut reports: Vec<Report> = Vec::new();
    for diagnostic in diagnostics {
        let is_first = reports.is_empty();
        if diagnostic.severity < Diagnostic::<FileId>::error().severity && !is_first {
            continue;
        }
        let lines: Vec<_> = diagnostic.message.lines().map(str::trim).collect();
        let mut report = Report {
            message: without_search(&lines.join("\n")),
            labels: Vec::new(),
            notes: diagnostic.notes,
        };
        let mut inside = Vec::new();
        for label in diagnostic.labels {
            let placed = Label {
                span: NOWHERE,
                text: label.message,
                is_primary: label.style == LabelStyle::Primary,
            };
            match texts.span(label.file_id, label.range.clone()) {
                Some((span, TextKind::Library)) => inside.push(Label { span, ..placed }),
                Some((span, _)) => report.labels.push(Label { span, ..placed }),
                None if files.is_stdlib(label.file_id) => {}
                // A value that stands nowhere is shown in a text of its own.
                None => {
                    let value = files.source(label.file_id).get(label.range).unwrap_or_default();
                    report.notes.push(format!("{}: {value}", placed.text));
                }
            }
        }
        if report.labels.is_empty() {
            let name = remedy::extra(&report.message).or_else(|| remedy::broken(&report.message));
            let found = name.and_then(|name| texts.only_field(name));
            report.labels.extend(found.map(|span| Label {
                span,
                text: "this field".to_owned(),
                is_primary: true,
            }));
        }
        // Which line of the library noticed it helps only where there is nothing else.
        if report.labels.is_empty() {
            report.labels = inside;
        }
        if report.labels.iter().all(|label| !label.is_primary)
            && let Some(first) = report.labels.first_mut()
        {
            first.is_primary = true;
        }
        reports.push(report);
    }
    reports
}
