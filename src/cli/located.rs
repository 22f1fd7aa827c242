//! Mistakes for programs: where each stands by file, line and column, as JSON and as annotations of GitHub's.

use miette::{Diagnostic, Severity};
use serde::Serialize;

/// A mistake or a warning. The serialised form is an interface.
#[derive(Debug, Serialize)]
pub(super) struct Located {
    /// A stable name: `manifest::too_small`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    /// `error`, `warning` or `note`.
    pub(super) severity: &'static str,
    pub(super) message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) help: Option<String>,
    #[serde(flatten)]
    pub(super) place: Option<Place>,
}

/// Lines and columns count from 1; columns count characters, and the last one is the one behind the mistake.
#[derive(Debug, Serialize)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) end_line: usize,
    pub(super) end_column: usize,
}

impl Located {
    pub(super) fn of(problem: &dyn Diagnostic) -> Self {
        Self {
            code: problem.code().map(|code| code.to_string()),
            severity: match problem.severity() {
                Some(Severity::Warning) => "warning",
                Some(Severity::Advice) => "note",
                Some(Severity::Error) | None => "error",
            },
            message: problem.to_string(),
            help: problem.help().map(|help| help.to_string()),
            place: place(problem),
        }
    }

    /// As a command of a GitHub workflow's log, which shows it next to the line.
    pub(super) fn annotation(&self) -> String {
        let word = if self.severity == "note" {
            "notice"
        } else {
            self.severity
        };
        let mut properties = Vec::new();
        if let Some(place) = &self.place {
            properties.push(("file", place.file.clone()));
            for (name, number) in [
                ("line", place.line),
                ("endLine", place.end_line),
                ("col", place.column),
            ] {
                properties.push((name, number.to_string()));
            }
        }
        properties.extend(self.code.iter().map(|code| ("title", code.clone())));
        let properties = properties.into_iter().map(|(name, value)| {
            let value = escape(&value).replace(':', "%3A").replace(',', "%2C");
            format!("{name}={value}")
        });
        let properties: Vec<_> = properties.collect();
        let help = self.help.iter().map(|help| format!("\n{help}"));
        let text = std::iter::once(self.message.clone())
            .chain(help)
            .collect::<String>();
        format!("::{word} {}::{}\n", properties.join(","), escape(&text)).replacen(
            " ::",
            "::",
            usize::from(properties.is_empty()),
        )
    }
}

/// As GitHub's runner unescapes it (actions/toolkit, `command.ts`).
fn escape(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The first place to look at.
fn place(problem: &dyn Diagnostic) -> Option<Place> {
    let labels: Vec<_> = problem.labels()?.collect();
    let label = labels.iter().find(|label| label.primary()).or(labels.first())?;
    let source = problem.source_code()?;
    let start = source.read_span(label.inner(), 0, 0).ok()?;
    let (line, column) = (start.line() + 1, start.column() + 1);
    let text = std::str::from_utf8(start.data()).ok()?;
    let text = text.get(..label.len().min(text.len())).unwrap_or(text);
    let lines = text.matches('\n').count();
    let last = text.rsplit('\n').next().unwrap_or_default().chars().count();
    Some(Place {
        file: start.name()?.to_owned(),
        line,
        column,
        end_line: line + lines,
        end_column: if lines == 0 { column + last } else { last + 1 },
    })
}
