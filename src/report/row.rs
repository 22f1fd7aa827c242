//! The text of bars: one row for a node, one for the run, one for what ended. Pure functions of a state, a moment and
//! a width; no row is ever wider than the screen.

use std::time::Duration;

use jiff::Timestamp;

use crate::event::Outcome;
use crate::report::board::Board;
use crate::report::node::{Done, Node, State, Work, since};
use crate::report::style::{Role, Style, columns, pad};
use crate::size::{ByteSize, show_duration};

/// Frames of the spinner, one for each eighth of a second.
const SPINNER: [&str; 8] = ["⠋", "⠙", "⠸", "⠴", "⠦", "⠧", "⠇", "⠏"];
const ASCII_SPINNER: [&str; 4] = ["|", "/", "-", "\\"];
/// Cells of the little bar, where there is room for one.
const CELLS: usize = 10;
/// Narrower screens get no little bar.
const BAR_FROM: usize = 100;
/// Narrower screens get no time left.
const ETA_FROM: usize = 60;

/// What rows are drawn for.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Columns that a row may take.
    pub width: usize,
    /// Colours and characters.
    pub style: Style,
    /// The moment shown.
    pub now: Timestamp,
}

/// Which columns rows have: one in which no row has anything is left out, for the sake of what they do.
#[derive(Clone, Copy, Debug)]
struct Columns {
    /// Width of the titles.
    titles: usize,
    percent: bool,
    eta: bool,
}

/// The rows of all running nodes, aligned, then the row of the run; at most `height` of them.
pub fn frame(board: &Board, view: &View, height: usize) -> Vec<String> {
    let running = board.running();
    let shown = running.len().min(height.saturating_sub(1));
    let running = &running[..shown];
    let titles = running.iter().map(|(node, _)| columns(&node.title())).max();
    let columns = Columns {
        titles: titles.unwrap_or(0).min(view.width / 2),
        percent: running.iter().any(|(_, work)| percent(work).is_some()),
        eta: view.width >= ETA_FROM && running.iter().any(|(node, _)| board.expected(node).is_some()),
    };
    let mut rows: Vec<_> = running
        .iter()
        .map(|(node, work)| running_row(node, work, board.expected(node), columns, view))
        .collect();
    rows.push(run_row(board, view));
    rows
}

/// `⠹ provision debian12-base  45%  1m 02s  eta 30s  running packages.sh  Setting up vim`
fn running_row(
    node: &Node,
    work: &Work,
    expected: Option<Duration>,
    columns: Columns,
    view: &View,
) -> String {
    let View { width, style, now } = *view;
    let titles = columns.titles;
    let percent = percent(work);
    let elapsed = show_whole(since(work.since, now));
    let mut pieces = vec![
        (Role::Busy, format!("{} ", spinner(style, now))),
        (Role::Strong, pad(&style.cut(&node.title(), titles), titles)),
    ];
    if width >= BAR_FROM && columns.percent {
        let bar = percent.map_or_else(|| " ".repeat(CELLS), |percent| little_bar(style, percent));
        pieces.push((Role::Busy, format!("  {bar}")));
    }
    if columns.percent {
        let percent = percent.map_or_else(String::new, |percent| format!("{percent}%"));
        pieces.push((Role::Plain, format!(" {percent:>4}")));
    }
    pieces.push((Role::Plain, format!("  {elapsed:>7}  ")));
    if columns.eta {
        let eta = work
            .eta(expected, now)
            .map(|eta| format!("eta {}", show_whole(eta)));
        pieces.push((Role::Dim, format!("{:<10}  ", eta.unwrap_or_default())));
    }
    let amount = work.progress.and_then(|advance| advance.amount());
    let doing: Vec<_> = work.phase.clone().into_iter().chain(amount).collect();
    let doing = doing.join(", ");
    if !doing.is_empty() {
        pieces.push((Role::Plain, format!("{doing}  ")));
    }
    pieces.push((Role::Dim, work.line.clone().unwrap_or_default()));
    style.join(&pieces, width).trim_end().to_owned()
}

/// `3 of 9 done · 2m 05s · about 3m 10s left · 2 running · 4 from the store · 1 waiting (memory: …)`
fn run_row(board: &Board, view: &View) -> String {
    let counts = board.counts();
    let mut parts = vec![format!("{} of {} done", counts.done, counts.total)];
    if counts.failed > 0 {
        parts.push(format!("{} failed", counts.failed));
    }
    parts.push(show_whole(board.elapsed(view.now)));
    if let Some(eta) = board.eta(view.now).filter(|eta| !eta.is_zero()) {
        parts.push(format!("about {} left", show_whole(eta)));
    }
    for (count, what) in [
        (counts.running, "running"),
        (counts.skipped, "not started"),
        (counts.cached, "from the store"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    // The longest part goes last: it is the one that may be cut.
    let reason = board.nodes.iter().find_map(|node| match &node.state {
        State::Waiting { reason } => Some(reason),
        _ => None,
    });
    if let Some(reason) = reason {
        parts.push(format!("{} waiting ({reason})", counts.waiting));
    }
    let separator = view.style.pick(" · ", ", ");
    let role = if counts.failed > 0 {
        Role::Bad
    } else {
        Role::Strong
    };
    view.style.join(&[(role, parts.join(separator))], view.width)
}

/// What is said once about a node that ended: one row. `whole`: below it the whole message of a failure, where no summary
/// will have it.
pub fn ended(node: &Node, done: &Done, view: &View, whole: bool) -> Vec<String> {
    let style = view.style;
    let (role, mark, word) = match done.outcome {
        Outcome::Built => (Role::Good, style.pick("✓", "ok"), ""),
        Outcome::Present => (Role::Good, style.pick("✓", "ok"), "there already"),
        Outcome::Shared => (Role::Good, style.pick("✓", "ok"), "made meanwhile by another"),
        Outcome::Failed => (Role::Bad, style.pick("✗", "FAILED"), "failed"),
        Outcome::Skipped => (Role::Attention, style.pick("−", "--"), "not started"),
        Outcome::Cancelled => (Role::Attention, style.pick("−", "--"), "stopped"),
    };
    let mut facts = vec![word.to_owned()];
    if done.outcome != Outcome::Skipped {
        facts.push(show_duration(
            Duration::try_from_secs_f64(done.seconds).unwrap_or_default(),
        ));
    }
    facts.extend(done.bytes.map(|bytes| ByteSize(bytes).to_string()));
    let message = done.message.as_deref().unwrap_or_default();
    match (done.outcome, whole) {
        (Outcome::Failed, true) => {}
        (Outcome::Failed, false) => facts.push(done.why()),
        _ => facts.push(message.to_owned()),
    }
    facts.retain(|fact| !fact.is_empty());
    let pieces = [
        (role, format!("{mark} ")),
        (Role::Strong, node.title()),
        (Role::Plain, format!("  {}", facts.join("  "))),
    ];
    let mut lines = vec![style.join(&pieces, view.width)];
    if done.outcome == Outcome::Failed && whole {
        // A failure is read, copied and searched for: its lines are left whole.
        lines.extend(
            message
                .lines()
                .map(|line| format!("  {line}").trim_end().to_owned()),
        );
    }
    lines
}

fn percent(work: &Work) -> Option<u64> {
    work.progress.and_then(|advance| advance.percent())
}

fn spinner(style: Style, now: Timestamp) -> &'static str {
    let eighth = usize::try_from(now.as_millisecond() / 125).unwrap_or(0);
    let frames: &[&'static str] = match style.glyphs {
        super::style::Glyphs::Unicode => &SPINNER,
        super::style::Glyphs::Ascii => &ASCII_SPINNER,
    };
    frames[eighth % frames.len()]
}

fn little_bar(style: Style, percent: u64) -> String {
    let full = usize::try_from(percent).unwrap_or(100).min(100) * CELLS / 100;
    style.pick("━", "=").repeat(full) + &style.pick("─", ".").repeat(CELLS - full)
}

/// A duration without tenths of a second: they would only flicker.
fn show_whole(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        _ => show_duration(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deciding::cause;
    use crate::event::{Event, FailureInfo, NodeInfo, Stream, Unit, What};
    use crate::report::style::{Colour, Glyphs};
    use crate::verdict::Verdict;

    const RICH: Style = Style {
        colour: Colour::Off,
        glyphs: Glyphs::Unicode,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_770_000_000 + second).unwrap()
    }

    fn phase(phase: &str) -> What {
        let phase = phase.to_owned();
        What::Phase { phase }
    }

    /// A run in its 65th second: one download, one VM, one node that waits for memory.
    fn board() -> Board {
        let node = |id: &str, cached, expected_seconds| NodeInfo {
            id: id.to_owned(),
            stage: id.split_once('/').unwrap().0.to_owned(),
            subject: id.split_once('/').unwrap().1.to_owned(),
            cached,
            expected_seconds,
            ..NodeInfo::default()
        };
        let nodes = vec![
            node("bootstrap/debian12", true, None),
            node("fetch/alpine", false, None),
            node("provision/debian12-base", false, Some(120.0)),
            node("provision/alpine-base", false, Some(60.0)),
        ];
        let text = "Setting up vim (2:9.0.1378-2) ...".to_owned();
        let unit = Unit::Bytes;
        let events = [
            (
                0,
                None,
                What::RunStarted {
                    version: 1,
                    run: "r1".to_owned(),
                    folder: "runs/r1".to_owned(),
                    pipeline: String::new(),
                    manifest: String::new(),
                    nodes,
                    images: Vec::new(),
                },
            ),
            (1, Some("provision/debian12-base"), What::NodeStarted),
            (1, Some("fetch/alpine"), What::NodeStarted),
            (2, Some("fetch/alpine"), phase("downloading")),
            (
                5,
                Some("fetch/alpine"),
                What::Progress {
                    done: 0,
                    total: 64 << 20,
                    unit,
                },
            ),
            (
                65,
                Some("fetch/alpine"),
                What::Progress {
                    done: 48 << 20,
                    total: 64 << 20,
                    unit,
                },
            ),
            (30, Some("provision/debian12-base"), phase("running packages.sh")),
            (
                60,
                Some("provision/debian12-base"),
                What::Line {
                    stream: Stream::Step,
                    text,
                },
            ),
            (
                60,
                Some("provision/alpine-base"),
                What::NodeWaiting {
                    reason: "memory: needs 1 GiB".to_owned(),
                },
            ),
        ];
        let mut board = Board::default();
        for (second, node, what) in events {
            let node = node.map(str::to_owned);
            board.apply(&Event {
                at: at(second),
                node,
                host: None,
                what,
            });
        }
        board
    }

    fn view(width: usize, style: Style) -> View {
        View {
            width,
            style,
            now: at(65),
        }
    }

    #[test]
    fn a_wide_screen_shows_everything_aligned() {
        let rows = frame(&board(), &view(120, RICH), 24).join("\n");
        insta::assert_snapshot!(rows, @"
        ⠋ fetch alpine             ━━━━━━━───  75%   1m 04s              downloading, 48 MiB of 64 MiB
        ⠋ provision debian12-base                    1m 04s  eta 56s     running packages.sh  Setting up vim (2:9.0.1378-2) ...
        1 of 4 done · 1m 05s · 2 running · 1 from the store · 1 waiting (memory: needs 1 GiB)
        ");
    }

    #[test]
    fn a_narrow_screen_shows_the_start_and_never_wraps() {
        let rows = frame(&board(), &view(64, Style::PLAIN), 24).join("\n");
        insta::assert_snapshot!(rows, @"
        | fetch alpine             75%   1m 04s              downloadin~
        | provision debian12-base        1m 04s  eta 56s     running pa~
        1 of 4 done, 1m 05s, 2 running, 1 from the store, 1 waiting (me~
        ");
        for width in 0..140 {
            for row in frame(&board(), &view(width, RICH), 24) {
                assert!(columns(&row) <= width, "{width}: {row}");
            }
        }
    }

    #[test]
    fn a_low_screen_keeps_the_row_of_the_run() {
        let rows = frame(&board(), &view(80, RICH), 2);
        assert_eq!(rows.len(), 2);
        assert!(rows[1].starts_with("1 of 4 done"), "{}", rows[1]);
    }

    #[test]
    fn what_ended_is_one_row_and_a_failure_tells_all() {
        let mut board = board();
        let mut end = |node: &str, outcome, bytes, message: Option<&str>, whole| {
            let message = message.map(str::to_owned);
            let what = What::NodeFinished {
                outcome,
                seconds: 125.0,
                bytes,
                message: message.clone(),
                failure: (outcome == Outcome::Failed).then(|| FailureInfo {
                    verdict: Verdict::StepFailed,
                    cause: cause(message.as_deref().unwrap_or_default()),
                    log: String::new(),
                    kept: false,
                }),
            };
            board.apply(&Event {
                at: at(70),
                node: Some(node.to_owned()),
                host: None,
                what,
            });
            let State::Done(done) = board.node(node).unwrap().state.clone() else {
                panic!("{node} is not done");
            };
            ended(board.node(node).unwrap(), &done, &view(60, RICH), whole).join("\n")
        };
        let message = "step `packages.sh` exited with code 100\n  | E: Unable to locate package a-package-with-a-long-name";
        let (failed, provision) = (Outcome::Failed, "provision/debian12-base");
        let text = [
            end("fetch/alpine", Outcome::Built, Some(451 << 20), None, false),
            end(provision, failed, None, Some(message), false),
            end(provision, failed, None, Some(message), true),
        ];
        insta::assert_snapshot!(text.join("\n"), @"
        ✓ fetch alpine  2m 05s  451 MiB
        ✗ provision debian12-base  failed  2m 05s  step failed: ste…
        ✗ provision debian12-base  failed  2m 05s
          step `packages.sh` exited with code 100
            | E: Unable to locate package a-package-with-a-long-name
        ");
    }
}
