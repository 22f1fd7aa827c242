//! How verbs that take their time show what happens: options that they share.

use clap_complete::ArgValueCandidates;

use super::complete;
use crate::report::{Format, Options, Progress, Verbosity};

/// What goes to standard output, and what to standard error meanwhile.
#[derive(Debug, Default, clap::Args)]
pub struct ShowArgs {
    /// What to print on standard output: json is one object a line for everything that happens (docs/events.md)
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub format: OutputFormat,
    /// How to show progress on standard error [auto: bars on a terminal, plain lines elsewhere, none with --format json]
    #[arg(long, value_name = "auto|bars|plain|none", default_value = "auto", add = ArgValueCandidates::new(complete::progress))]
    pub progress: Progress,
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

impl ShowArgs {
    /// For the report of this process.
    pub fn options(&self, verbosity: Verbosity) -> Options {
        let format = match self.format {
            OutputFormat::Text => Format::Text,
            OutputFormat::Json => Format::Json,
        };
        Options::detect(self.progress, format, verbosity, |name| std::env::var(name).ok())
    }

    /// Whether people read what is printed.
    pub fn is_text(&self) -> bool {
        self.format == OutputFormat::Text
    }
}
