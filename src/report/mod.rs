//! Readers of events: bars for a terminal, lines for a log, JSON for programs, the run's journal, the closing summary; of a
//! whole run, a page and a trace.
//! They know events and nothing else: not the plan, not the stages. Called by the command line.

mod bars;
pub mod board;
mod causes;
mod changes;
pub mod ci;
mod critical;
pub mod gallery;
pub mod html;
pub mod journal;
pub mod json;
pub mod junit;
pub mod lines;
pub mod node;
pub mod page;
pub mod past;
pub mod recorded;
pub mod row;
pub mod style;
pub mod summary;
pub mod trace;

use std::fmt;
use std::io::IsTerminal as _;
use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::event::{Event, What};
use crate::host::terminal;
use crate::report::bars::Bars;
use crate::report::board::Board;
use crate::report::ci::Ci;
use crate::report::journal::Journal;
use crate::report::lines::Lines;
use crate::report::style::Style;
use crate::report::summary::RunSummary;

/// How often bars are drawn: often enough for a clock and a spinner, seldom enough for a slow line.
const REDRAW: Duration = Duration::from_millis(125);
/// The usual [`Options::heartbeat`]: CI systems end jobs that are silent.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// What is shown while a run goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// Bars where standard error is a terminal, else lines.
    #[default]
    Auto,
    /// Bars that redraw themselves.
    Bars,
    /// One line for each thing that happened.
    Plain,
    /// Nothing but what the run ends with.
    None,
}

/// What goes to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Nothing, or what the verb itself prints for people.
    #[default]
    Text,
    /// Every event as a JSON object on a line of its own.
    Json,
}

/// Not one of the words of [`Progress`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind of progress; write auto, bars, plain or none (events as JSON: --format json)")]
pub struct ProgressError(pub String);

impl FromStr for Progress {
    type Err = ProgressError;

    fn from_str(text: &str) -> Result<Self, ProgressError> {
        match text {
            "auto" => Ok(Self::Auto),
            "bars" => Ok(Self::Bars),
            "plain" => Ok(Self::Plain),
            "none" => Ok(Self::None),
            _ => Err(ProgressError(text.to_owned())),
        }
    }
}

/// Whether lines of output (console, steps, tools) are shown too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// No: they are in the run's logs, and behind the bars.
    #[default]
    Normal,
    Verbose,
}

/// How a run is reported.
pub struct Options {
    /// What is shown. [`Progress::Auto`] is decided when the run starts.
    pub progress: Progress,
    /// How much.
    pub verbosity: Verbosity,
    /// Colours and characters.
    pub style: Style,
    /// Clock of the plain lines.
    pub zone: TimeZone,
    /// The CI system whose log the plain lines are in, where it is one that folds.
    pub ci: Option<Ci>,
    /// After how long a silence plain lines say that the run goes on.
    pub heartbeat: Duration,
    /// Where plain lines go. (Bars always go to standard error.)
    pub out: Box<dyn Write + Send>,
    /// Where events go as JSON, where they are wanted.
    pub events: Option<Box<dyn Write + Send>>,
    /// The run's `events.jsonl`, where one is kept.
    pub journal: Option<PathBuf>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("progress", &self.progress)
            .field("verbosity", &self.verbosity)
            .field("style", &self.style)
            .field("journal", &self.journal)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Options for this process: JSON to standard output (it is data), all else to standard error, where a program that
    /// reads JSON gets no progress unless that is asked for. `env` looks up an environment variable.
    pub fn detect(
        progress: Progress,
        format: Format,
        verbosity: Verbosity,
        env: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let terminal = std::io::stderr().is_terminal();
        // A terminal that cannot move its cursor gets lines.
        let moves = terminal && env("TERM").is_some_and(|term| term != "dumb");
        let progress = match (progress, format, moves) {
            (Progress::Auto, Format::Json, _) => Progress::None,
            (Progress::Auto, Format::Text, true) => Progress::Bars,
            (Progress::Auto, Format::Text, false) => Progress::Plain,
            (asked, _, _) => asked,
        };
        let ci = Ci::detect(&env);
        let stdout = || -> Box<dyn Write + Send> { Box::new(std::io::stdout()) };
        Self {
            progress,
            verbosity,
            style: Style::detect(terminal, env),
            ci,
            heartbeat: HEARTBEAT,
            zone: TimeZone::system(),
            out: Box::new(std::io::stderr()),
            events: (format == Format::Json).then(stdout),
            journal: None,
        }
    }
}

/// Reads events until the run's last one (or until all senders are gone), shows them and keeps the journal.
/// Neither a closed terminal nor a full disk stops the run: what could not be written is reported in the summary.
pub fn run(receiver: &Receiver<Event>, options: Options) -> RunSummary {
    let mut reporter = Reporter::new(options);
    loop {
        match receiver.recv_timeout(REDRAW) {
            Ok(event) => {
                let last = matches!(event.what, What::RunFinished { .. });
                reporter.take(&event);
                reporter.beat();
                if last {
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) => reporter.tick(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    reporter.finish()
}

/// The one reader of the channel: keeps the board, and hands each event to the screen and to the journal.
struct Reporter {
    board: Board,
    screen: Screen,
    events: Option<Box<dyn Write + Send>>,
    journal: Option<Journal>,
    /// What could not be shown while the terminal was lent.
    held: Vec<Event>,
    ci: Option<Ci>,
    heartbeat: Duration,
    /// When a plain line was last written.
    said: Instant,
}

enum Screen {
    Bars(Bars),
    Lines(Lines, Box<dyn Write + Send>),
    Dark,
}

impl Reporter {
    fn new(options: Options) -> Self {
        let Options {
            progress,
            verbosity,
            style,
            zone,
            ci,
            heartbeat,
            out,
            events,
            journal,
        } = options;
        let screen = match progress {
            Progress::Bars => Screen::Bars(Bars::new(style, verbosity)),
            Progress::None => Screen::Dark,
            Progress::Auto | Progress::Plain => Screen::Lines(Lines::new(style, verbosity, zone), out),
        };
        Self {
            board: Board::default(),
            screen,
            events,
            journal: journal.map(Journal::create),
            held: Vec::new(),
            ci,
            heartbeat,
            said: Instant::now(),
        }
    }

    fn take(&mut self, event: &Event) {
        self.board.apply(event);
        let broken = self
            .journal
            .as_mut()
            .and_then(|journal| journal.write(event).err());
        self.tell(event);
        if let Some(error) = broken {
            let warning = Event {
                at: event.at,
                node: None,
                host: None,
                what: What::Warning {
                    text: error.to_string(),
                },
            };
            self.board.apply(&warning);
            self.tell(&warning);
        }
    }

    fn tell(&mut self, event: &Event) {
        if let Some(out) = &mut self.events {
            write_line(out, &json::line(event));
        }
        if self.is_lent() {
            self.held.push(event.clone());
        } else {
            self.show_held();
            self.show(event);
        }
    }

    /// Whether the terminal is lent; a borrower who waits gets it here.
    fn is_lent(&mut self) -> bool {
        let screen = &mut self.screen;
        terminal::hand_over(&mut || {
            if let Screen::Bars(bars) = screen {
                bars.clear();
            }
        })
    }

    fn show_held(&mut self) {
        for event in std::mem::take(&mut self.held) {
            self.show(&event);
        }
    }

    fn show(&mut self, event: &Event) {
        match &mut self.screen {
            Screen::Bars(bars) => bars.event(&self.board, event),
            Screen::Lines(lines, out) => {
                // What is no run is short, and has no summary.
                let ci = self.ci.filter(|_| !self.board.folder.is_empty());
                if let (Some(ci), What::RunStarted { run, .. }) = (ci, &event.what) {
                    write_line(out, &ci.open(&format!("run {run}"), event.at));
                }
                for line in lines.event(&self.board, event) {
                    write_line(out, &line);
                    self.said = Instant::now();
                }
                if let (Some(ci), What::RunFinished { .. }) = (ci, &event.what) {
                    write_line(out, &ci.close(event.at));
                }
            }
            Screen::Dark => {}
        }
    }

    fn tick(&mut self) {
        if self.is_lent() {
            return;
        }
        self.show_held();
        if let Screen::Bars(bars) = &mut self.screen {
            bars.draw(&self.board);
        }
        self.beat();
    }

    /// Says what goes on where nothing was said for long.
    fn beat(&mut self) {
        if let Screen::Lines(lines, out) = &mut self.screen
            && self.said.elapsed() >= self.heartbeat
        {
            if let Some(line) = lines.heartbeat(&self.board, Timestamp::now()) {
                write_line(out, &line);
            }
            self.said = Instant::now();
        }
    }

    fn finish(mut self) -> RunSummary {
        self.show_held();
        if let Screen::Bars(bars) = self.screen {
            bars.finish(&self.board);
        }
        self.board.into_summary()
    }
}

/// A reader of ours that went away (`| head`) must not stop a build that took an hour.
fn write_line(out: &mut Box<dyn Write + Send>, line: &str) {
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
