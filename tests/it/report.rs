//! A run is watched: what a recorded run looks like as lines, as JSON, in its journal and in the closing summary.

mod checks;

use std::io::Write;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pipeline::internals::deciding::cause;
use pipeline::internals::event::{
    Event, FailureInfo, ImageInfo, NodeInfo, Outcome, Stream, Unit, Verdict, WantedImage, What,
};
use pipeline::internals::report;
use pipeline::internals::report::style::Style;
use pipeline::internals::report::summary::{Page, RunSummary};
use pipeline::internals::report::{Options, Progress, Verbosity};

use crate::support::Bench;

/// A screen that can be read afterwards.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn options(progress: Progress, verbosity: Verbosity, paper: &Paper) -> Options {
    Options {
        progress,
        verbosity,
        style: Style::PLAIN,
        zone: TimeZone::UTC,
        ci: None,
        heartbeat: Duration::MAX,
        out: Box::new(paper.clone()),
        events: None,
        journal: None,
    }
}

fn page(width: Option<usize>) -> Page {
    Page {
        style: Style::PLAIN,
        width,
        store: String::new(),
    }
}

/// Sends the events down a real channel and reads them as the program does.
fn watch(events: &[Event], options: Options) -> RunSummary {
    let (sender, receiver) = mpsc::channel();
    for event in events {
        sender.send(event.clone()).unwrap();
    }
    drop(sender);
    report::run(&receiver, options)
}

fn event(second: i64, node: &str, what: What) -> Event {
    // 2026-02-03T04:05:00Z
    Event {
        at: Timestamp::from_second(1_770_091_500 + second).unwrap(),
        node: (!node.is_empty()).then(|| node.to_owned()),
        host: None,
        what,
    }
}

fn node(id: &str, cached: bool) -> NodeInfo {
    let (stage, subject) = id.split_once('/').unwrap();
    NodeInfo {
        id: id.to_owned(),
        stage: stage.to_owned(),
        subject: subject.to_owned(),
        cached,
        ..NodeInfo::default()
    }
}

fn started(nodes: Vec<NodeInfo>) -> What {
    What::RunStarted {
        version: 1,
        run: "20260203-040500".to_owned(),
        folder: "store/runs/20260203-040500".to_owned(),
        pipeline: "fleet".to_owned(),
        manifest: "/srv/images.toml".to_owned(),
        images: vec![WantedImage {
            id: "debian12-3G-base".to_owned(),
            nodes: nodes.iter().map(|node| node.id.clone()).collect(),
        }],
        nodes,
    }
}

fn phase(text: &str) -> What {
    What::Phase {
        phase: text.to_owned(),
    }
}

fn bytes(done: u64, total: u64) -> What {
    let unit = Unit::Bytes;
    What::Progress {
        done: done << 20,
        total: total << 20,
        unit,
    }
}

fn ended(outcome: Outcome, seconds: f64, mib: Option<u64>, message: Option<&str>) -> What {
    What::NodeFinished {
        outcome,
        seconds,
        bytes: mib.map(|mib| mib << 20),
        message: message.map(str::to_owned),
        failure: (outcome == Outcome::Failed).then(|| FailureInfo {
            verdict: Verdict::StepFailed,
            cause: cause(message.unwrap_or_default()),
            log: "store/runs/20260203-040500/provision-debian12-base/packages.sh.log".to_owned(),
            kept: false,
        }),
    }
}

fn image(size: u64, built: bool) -> ImageInfo {
    let id = format!("debian12-{size}G-base");
    ImageInfo {
        path: format!("out/{id}/{id}.qcow2.gz"),
        id,
        bytes: 182 << 20,
        disk_bytes: size << 30,
        built,
        ..ImageInfo::default()
    }
}

/// One image is made from an installed system in the store, another one is there already.
fn a_good_run() -> Vec<Event> {
    let nodes = vec![
        node("bootstrap/debian12", true),
        node("provision/debian12-base", false),
        node("size/debian12-3G-base", false),
        node("package/debian12-3G-base", false),
        node("package/debian12-20G-base", true),
    ];
    let text = "Setting up vim (2:9.0.1378-2) ...".to_owned();
    let stream = Stream::Step;
    vec![
        event(0, "", started(nodes)),
        event(0, "provision/debian12-base", What::NodeStarted),
        event(1, "provision/debian12-base", phase("booting")),
        event(60, "provision/debian12-base", phase("running packages.sh")),
        event(70, "provision/debian12-base", What::Line { stream, text }),
        event(
            80,
            "provision/debian12-base",
            What::Warning {
                text: "the guest's clock is 40 s behind\nset the host's clock".to_owned(),
            },
        ),
        event(
            125,
            "provision/debian12-base",
            ended(Outcome::Built, 125.0, Some(451), None),
        ),
        event(
            125,
            "size/debian12-3G-base",
            What::NodeWaiting {
                reason: "disk: needs 3 GiB, 1 GiB free".to_owned(),
            },
        ),
        event(126, "size/debian12-3G-base", What::NodeStarted),
        event(
            127,
            "size/debian12-3G-base",
            ended(Outcome::Built, 1.5, Some(460), None),
        ),
        event(127, "package/debian12-3G-base", What::NodeStarted),
        event(127, "package/debian12-3G-base", phase("compressing")),
        event(128, "package/debian12-3G-base", bytes(10, 460)),
        event(132, "package/debian12-3G-base", bytes(230, 460)),
        event(139, "package/debian12-3G-base", bytes(300, 460)),
        event(142, "package/debian12-3G-base", bytes(310, 460)),
        event(
            148,
            "package/debian12-3G-base",
            ended(Outcome::Shared, 21.0, Some(182), None),
        ),
        event(
            148,
            "",
            What::RunFinished {
                built: 3,
                present: 0,
                cached: 2,
                failed: 0,
                skipped: 0,
                interrupted: false,
                seconds: 148.2,
                images: vec![image(3, true), image(20, false)],
            },
        ),
    ]
}

/// A step fails; what depends on it never starts; the other image was there already.
fn a_failing_run() -> Vec<Event> {
    let nodes = vec![
        node("provision/debian12-base", false),
        node("size/debian12-3G-base", false),
        node("package/debian12-20G-base", true),
    ];
    let message = "step `packages.sh` exited with code 100\n  | E: Unable to locate package vmi";
    let needs = Some("needs provision/debian12-base");
    vec![
        event(0, "", started(nodes)),
        event(0, "provision/debian12-base", What::NodeStarted),
        event(
            9,
            "provision/debian12-base",
            ended(Outcome::Failed, 9.0, None, Some(message)),
        ),
        event(
            9,
            "size/debian12-3G-base",
            ended(Outcome::Skipped, 0.0, None, needs),
        ),
        event(
            9,
            "",
            What::RunFinished {
                built: 0,
                present: 0,
                cached: 1,
                failed: 1,
                skipped: 1,
                interrupted: false,
                seconds: 9.0,
                images: vec![image(20, false)],
            },
        ),
    ]
}

#[test]
fn a_log_tells_the_story_line_by_line() {
    let paper = Paper::default();
    watch(&a_good_run(), options(Progress::Plain, Verbosity::Normal, &paper));
    insta::assert_snapshot!(paper.text(), @"
    04:05:00 run 20260203-040500 started at 2026-02-03 04:05:00 +00:00: 5 nodes, 2 of them from the store
               logs in store/runs/20260203-040500
    04:05:01 provision debian12-base: booting
    04:06:00 provision debian12-base: running packages.sh
    04:06:20 provision debian12-base: warning: the guest's clock is 40 s behind
               set the host's clock
    04:07:05 provision debian12-base: done in 2m 05s, 451 MiB
    04:07:05 size debian12-3G-base: waiting (disk: needs 3 GiB, 1 GiB free)
    04:07:07 size debian12-3G-base: done in 1.5s, 460 MiB
    04:07:07 package debian12-3G-base: compressing
    04:07:19 package debian12-3G-base: compressing 65%, 300 MiB of 460 MiB
    04:07:28 package debian12-3G-base: made meanwhile by another, taken after 21s, 182 MiB
    ");

    let paper = Paper::default();
    watch(
        &a_failing_run(),
        options(Progress::Plain, Verbosity::Normal, &paper),
    );
    insta::assert_snapshot!(paper.text(), @"
    04:05:00 run 20260203-040500 started at 2026-02-03 04:05:00 +00:00: 3 nodes, 1 of them from the store
               logs in store/runs/20260203-040500
    04:05:09 provision debian12-base: FAILED after 9.0s: step failed: step `packages.sh`: Unable to locate package vmi
    ");
}

#[test]
fn output_of_steps_is_shown_to_those_who_ask() {
    let shown = |verbosity| {
        let paper = Paper::default();
        watch(&a_good_run(), options(Progress::Plain, verbosity, &paper));
        paper
            .text()
            .contains("04:06:10 provision debian12-base: | Setting up vim")
    };
    assert!(shown(Verbosity::Verbose));
    assert!(!shown(Verbosity::Normal));
}

#[test]
fn the_summary_says_what_where_how_large_how_long_and_what_next() {
    let summary = |events: &[Event]| {
        let options = options(Progress::Plain, Verbosity::Normal, &Paper::default());
        watch(events, options).render(&page(None))
    };
    insta::assert_snapshot!(summary(&a_good_run()), @"
    image              size     disk               file
    debian12-3G-base   182 MiB  3 GiB   new        out/debian12-3G-base/debian12-3G-base.qcow2.gz
    debian12-20G-base  182 MiB  20 GiB  unchanged  out/debian12-20G-base/debian12-20G-base.qcow2.gz

    3 nodes built, 2 from the store, 1 warning, in 2m 28s
    longest: provision debian12-base 2m 05s, size debian12-3G-base 1.5s
    logs: store/runs/20260203-040500
    next: pipeline boot /srv/images.toml debian12-3G-base --ssh
    ");
    insta::assert_snapshot!(summary(&a_failing_run()), @"
    image              size     disk               file
    debian12-20G-base  182 MiB  20 GiB  unchanged  out/debian12-20G-base/debian12-20G-base.qcow2.gz

    0 nodes built, 1 from the store, 1 failed, 1 not done, in 9.0s

    FAILED step failed: provision debian12-base
        step `packages.sh`: Unable to locate package vmi
        step `packages.sh` exited with code 100
          | E: Unable to locate package vmi
        images  debian12-3G-base
        log     store/runs/20260203-040500/provision-debian12-base/packages.sh.log
        next    pipeline logs provision/debian12-base
    fix the cause and run the same command again: what is done comes from the store
    ");
    let nothing = vec![
        event(0, "", started(vec![node("package/debian12-3G-base", true)])),
        event(
            0,
            "",
            What::RunFinished {
                built: 0,
                present: 0,
                cached: 1,
                failed: 0,
                skipped: 0,
                interrupted: false,
                seconds: 0.04,
                images: vec![image(3, false)],
            },
        ),
    ];
    insta::assert_snapshot!(summary(&nothing), @"
    image             size     disk              file
    debian12-3G-base  182 MiB  3 GiB  unchanged  out/debian12-3G-base/debian12-3G-base.qcow2.gz

    nothing to do: 1 node in the store already (0.0s)
    logs: store/runs/20260203-040500
    ");
    // The senders died (a panic in the scheduler): the summary must not claim success.
    insta::assert_snapshot!(summary(&a_good_run()[..5]), @"
    the run ended without a word; see its logs
    logs: store/runs/20260203-040500
    ");
}

/// A broken step, with an output of long lines, that three images depend on.
#[test]
fn a_single_failure_fits_on_a_small_screen() {
    let ids = ["3G", "20G", "50G"].map(|size| format!("debian12-{size}-base"));
    let mut events = a_failing_run();
    let line = "  | Get:17 http://mirror.example/debian bookworm/main amd64 libpackage-with-a-long-name amd64 2:9.0.1378-2 [7,025 kB]\n";
    let message = format!(
        "step `packages.sh` exited with code 100\n{}  | E: Unable to locate package vmi",
        line.repeat(9)
    );
    let What::RunStarted { images, .. } = &mut events[0].what else {
        panic!()
    };
    *images = ids
        .clone()
        .map(|id| WantedImage {
            id,
            nodes: vec!["provision/debian12-base".to_owned()],
        })
        .to_vec();
    events[2].what = ended(Outcome::Failed, 9.0, None, Some(&message));
    let summary = watch(
        &events,
        options(Progress::None, Verbosity::Normal, &Paper::default()),
    );
    let text = summary.render(&page(Some(80)));
    let rows: usize = text.lines().map(|line| line.len().div_ceil(80).max(1)).sum();
    // One row for the failure when it happened, one for the prompt.
    assert!(rows <= 22, "{rows} rows:\n{text}");
    for words in [
        "Unable to locate package vmi",
        &ids.join(", "),
        "packages.sh.log",
        "pipeline logs provision/",
    ] {
        assert!(text.contains(words), "no `{words}` in\n{text}");
    }
}

#[test]
fn programs_get_one_object_a_line_and_the_journal_holds_the_same() {
    let bench = Bench::new();
    let paper = Paper::default();
    let mut options = options(Progress::None, Verbosity::Normal, &Paper::default());
    options.events = Some(Box::new(paper.clone()));
    options.journal = Some(bench.path("runs/1/events.jsonl"));
    watch(&a_failing_run(), options);

    let text = paper.text();
    let events: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<_> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    let expected = [
        "run_started",
        "node_started",
        "node_finished",
        "node_finished",
        "run_finished",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(events[2]["at"], "2026-02-03T04:05:09Z");
    assert_eq!(events[2]["outcome"], "failed");
    assert_eq!(bench.read("runs/1/events.jsonl"), text);
}

#[test]
fn a_journal_that_cannot_be_written_is_a_warning_and_nothing_more() {
    let bench = Bench::new();
    let paper = Paper::default();
    let mut options = options(Progress::Plain, Verbosity::Normal, &paper);
    // A file stands where the folder should be: fails for root too.
    bench.write("runs", "");
    options.journal = Some(bench.path("runs/1/events.jsonl"));
    let summary = watch(&a_good_run(), options);

    assert_eq!(summary.built, 3);
    let shown = summary
        .warnings
        .iter()
        .filter(|text| text.contains("the run's journal"))
        .count();
    assert_eq!(shown, 1, "{:?}", summary.warnings);
    assert!(paper.text().contains("the run goes on"), "{}", paper.text());
}

#[test]
fn a_run_that_is_silent_for_long_says_what_it_does() {
    let paper = Paper::default();
    let options = Options {
        heartbeat: Duration::from_millis(50),
        ..options(Progress::Plain, Verbosity::Normal, &paper)
    };
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::spawn(move || report::run(&receiver, options));
    for one in [
        event(0, "", started(vec![node("size/x", false), node("size/y", false)])),
        event(0, "size/x", What::NodeStarted),
        event(0, "size/x", phase("converting")),
    ] {
        sender.send(one).unwrap();
    }
    while !paper.text().contains("still running: size x: converting (") {
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(sender);
    reader.join().unwrap();
    assert!(!paper.text().contains("size y"), "{}", paper.text());
}
