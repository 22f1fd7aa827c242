//! Consoles of installers, replayed: what they print goes through the reader of consoles in pieces as a serial port gives
//! them, and is judged as in a run. The lines are ours, in the form of what the installers were seen to print.
//!
//! A replay is: `=== title`, `=> verdict: what it means` (or `installed`, or `nothing`), then what else is expected of it
//! (`phases:`, `shows:` of the last lines) and what it is (`unserved`: the answers were not fetched), then lines of the
//! console. `\c` ends a line that the console does not end; `report:` comes by HTTP; `<10 seconds>` pass.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::follow::SHOWN;
use super::heard::{Heard, Wrong};
use crate::emit::Emitter;
use crate::families::Tables;
use crate::installer::{Program, Seen};
use crate::machine::console::Console;

const HALVES: [&str; 2] = ["0123456789abcdef", "fedcba9876543210"];

/// A machine that prints what it is given.
struct Replay {
    serial: UnixStream,
    console: Console,
    heard: Heard,
    printed: u64,
    now: Instant,
    phases: Vec<String>,
}

fn known(program: &str) -> Program {
    Program::clone(Tables::built_in().program(program).unwrap())
}

impl Replay {
    fn new(program: &str, is_served: bool) -> Self {
        let (guest, host) = UnixStream::pair().unwrap();
        let emit = Emitter::new(mpsc::channel().0);
        Self {
            serial: guest,
            console: Console::attach(host, std::io::sink(), emit),
            heard: Heard::new(known(program), Some(HALVES.concat()), is_served),
            printed: 0,
            now: Instant::now(),
            phases: Vec::new(),
        }
    }

    /// In pieces that end anywhere.
    fn print(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        for size in (1..).map(|count| 1 + count * 7 % 31) {
            let (piece, more) = rest.split_at(size.min(rest.len()));
            rest = more;
            self.serial.write_all(piece).unwrap();
            self.printed += piece.len() as u64;
            while self.console.bytes() < self.printed {
                std::thread::yield_now();
            }
            self.now += Duration::from_millis(1);
            self.look();
            if rest.is_empty() {
                return;
            }
        }
    }

    fn look(&mut self) {
        let (seen, _) = self.heard.console(&self.console, self.now);
        self.seen(seen);
    }

    fn seen(&mut self, seen: impl IntoIterator<Item = Seen>) {
        for seen in seen {
            match (seen, self.phases.last_mut()) {
                // It grows while its line does.
                (Seen::Detail(detail), Some(last)) if detail.starts_with(last.as_str()) => *last = detail,
                (Seen::Phase(phase) | Seen::Detail(phase), _) => self.phases.push(phase),
            }
        }
    }

    /// What comes of it; none where nothing does.
    fn outcome(&mut self, end: &str) -> Option<Result<(), Wrong>> {
        if end == "<off>" {
            self.serial.shutdown(std::net::Shutdown::Both).unwrap();
            self.console.wait_closed(Duration::from_secs(10));
            self.look();
            return Some(self.heard.ended());
        }
        let (early, late) = match end {
            "<waits>" => (Duration::from_millis(1500), Duration::from_secs(3)),
            "<waits half a minute>" => (Duration::from_secs(29), Duration::from_secs(31)),
            other => panic!("{other}"),
        };
        assert_eq!(self.heard.stuck(self.now + early), None, "too early");
        self.heard.stuck(self.now + late).map(Err)
    }
}

/// Plays one; gives its title.
fn play(program: &str, text: &str) -> String {
    let mut lines = text.lines();
    let title = lines.next().unwrap().to_owned();
    let expected = lines.next().unwrap().strip_prefix("=> ").unwrap();
    let mut replay = Replay::new(program, !text.contains("\nunserved\n"));
    let (mut phases, mut shown, mut outcome) = (None, None, None);
    for line in lines.filter(|line| *line != "unserved") {
        if let Some(list) = line.strip_prefix("phases: ") {
            phases = Some(list);
        } else if let Some(text) = line.strip_prefix("shows: ") {
            shown = Some(text);
        } else if let Some(line) = line.strip_prefix("report: ") {
            let seen = replay.heard.report(line, replay.now);
            replay.seen(seen);
        } else if let Some(time) = line
            .strip_prefix('<')
            .and_then(|line| line.strip_suffix(" seconds>"))
        {
            replay.now += Duration::from_secs(time.parse().unwrap());
            assert_eq!(replay.heard.stuck(replay.now), None, "{title}: too early");
        } else if line == "<off>" || line.starts_with("<waits") {
            outcome = replay.outcome(line);
            break;
        } else {
            let line = line.replace("{first}", HALVES[0]).replace("{second}", HALVES[1]);
            let line = line.replace("\\e", "\x1b").replace("\\r\\n", "\r\n");
            match line.strip_suffix("\\c") {
                Some(open) => replay.print(open),
                None => replay.print(&format!("{line}\r\n")),
            }
        }
    }
    let ended = match outcome {
        None => "nothing".to_owned(),
        Some(Ok(())) => "installed".to_owned(),
        Some(Err(wrong)) => {
            assert!(!wrong.remedy.is_empty(), "{title}");
            format!("{}: {}", wrong.verdict, wrong.what)
        }
    };
    assert_eq!(ended, expected, "{title}");
    if let Some(phases) = phases {
        assert_eq!(replay.phases.join(", "), phases, "{title}");
    }
    if let Some(shown) = shown {
        let lines = replay.console.last_lines(SHOWN);
        assert!(
            lines.iter().any(|line| line.contains(shown)),
            "{title}: {lines:#?}"
        );
    }
    title
}

fn play_all(program: &str, texts: &str) {
    let titles: Vec<_> = texts
        .split("=== ")
        .skip(1)
        .map(|text| play(program, text))
        .collect();
    let is_good = |text: &&str| text.contains("\n=> installed\n");
    let good = texts.split("=== ").filter(is_good).count();
    assert!(good >= 1 && titles.len() - good >= 8, "{program}: {titles:#?}");
}

#[test]
fn the_debian_installers_ends_are_understood() {
    play_all("debian-installer", include_str!("replays/debian-installer.txt"));
}

#[test]
fn subiquitys_ends_are_understood() {
    play_all("subiquity", include_str!("replays/subiquity.txt"));
}

#[test]
fn anacondas_ends_are_understood() {
    play_all("anaconda", include_str!("replays/anaconda.txt"));
}

/// Answers that report nothing leave no more to go by than the end of the machine.
#[test]
fn without_a_report_the_end_of_the_machine_must_do() {
    let mut heard = Heard::new(known("anaconda"), None, true);
    assert_eq!(heard.ended(), Ok(()));
    heard.report("The installer will now terminate.", Instant::now());
    assert!(heard.ended().is_err());
}
