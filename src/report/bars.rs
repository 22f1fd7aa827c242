//! Bars on a terminal: rows that redraw themselves below what was said for good. The rows' text is `row`'s.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use crate::event::{Event, What};
use crate::host::terminal;
use crate::report::board::Board;
use crate::report::node::State;
use crate::report::row::View;
use crate::report::style::{Role, Style};
use crate::report::{Verbosity, row};

/// Events may come much faster than eyes: rows are drawn at most this often.
const AT_MOST_EVERY: Duration = Duration::from_millis(100);

/// The terminal.
pub(super) struct Bars {
    /// All rows are the message of one bar: a frame is one write, so it never tears and never flickers.
    bar: ProgressBar,
    style: Style,
    verbosity: Verbosity,
    drawn: Option<Instant>,
    has_said: bool,
}

impl Bars {
    pub(super) fn new(style: Style, verbosity: Verbosity) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template("{msg}").expect("a template of one known key"));
        Self {
            bar,
            style,
            verbosity,
            drawn: None,
            has_said: false,
        }
    }

    /// Says for good what deserves it, and redraws.
    pub(super) fn event(&mut self, board: &Board, event: &Event) {
        let view = self.view();
        let node = event.node.as_deref().and_then(|id| board.node(id));
        let title = node.map_or_else(String::new, |node| node.title() + ": ");
        match &event.what {
            What::NodeFinished { .. } => {
                let done = node.map(|node| (node, &node.state));
                if let Some((node, State::Done(done))) = done.filter(|(node, _)| !node.is_skipped()) {
                    self.say(&row::ended(node, done, &view, board.folder.is_empty()));
                }
            }
            What::Warning { text } => {
                let word = self.style.paint(Role::Attention, "warning:");
                self.say(&[format!("{word} {title}{text}")]);
            }
            What::Phase { phase } if event.node.is_none() => self.say(std::slice::from_ref(phase)),
            What::Line { text, .. } if self.verbosity == Verbosity::Verbose => {
                self.say(&[self.style.paint(Role::Dim, &format!("{title}{text}"))]);
            }
            _ => {}
        }
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= AT_MOST_EVERY) {
            self.draw(board);
        }
    }

    /// Redraws.
    pub(super) fn draw(&mut self, board: &Board) {
        let view = self.view();
        let height = terminal::stderr_size().map_or(24, |(_, rows)| rows);
        // One line stays free for the shell's cursor.
        let rows = row::frame(board, &view, height.saturating_sub(1));
        self.bar.set_message(rows.join("\n"));
        self.bar.tick();
        self.drawn = Some(Instant::now());
    }

    /// Takes the rows away until they are drawn again.
    pub(super) fn clear(&mut self) {
        self.bar.set_message("");
        self.bar.tick();
        self.drawn = None;
    }

    /// Takes the rows away; what was said stays, with an empty line between it and the summary of a run.
    pub(super) fn finish(self, board: &Board) {
        if self.has_said && !board.folder.is_empty() {
            self.bar.println("");
        }
        self.bar.finish_and_clear();
    }

    fn say(&mut self, lines: &[String]) {
        self.has_said = true;
        self.bar.println(lines.join("\n"));
    }

    fn view(&self) -> View {
        let width = terminal::stderr_size().map_or(80, |(columns, _)| columns);
        View {
            // The last column is left empty: some terminals wrap as soon as it is written.
            width: width.saturating_sub(1),
            style: self.style,
            now: Timestamp::now(),
        }
    }
}
