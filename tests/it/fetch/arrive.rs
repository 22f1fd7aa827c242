//! What arrives, and how little is asked for twice.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use pipeline::internals::event::{Emitter, Unit, What};
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::host::http::{Client, Limits};
use pipeline::internals::stage::fetch::{FetchError, Fetcher, Spec};

use super::{MIB, bytes, fetch, fetch_with, fetcher, process, sha256};
use crate::support::Bench;
use crate::support::http::{Fault, Server};

#[test]
fn a_file_arrives_whole_and_nothing_is_left_beside_it() {
    let (bench, content) = (Bench::new(), bytes(3 * MIB + 5));
    let server = Server::start(content.clone()).etag("\"v1\"");
    let part = bench.path("part");
    let fetched = fetch(&[server.url("/disk.img")], &sha256(&content), &part);
    assert_eq!(fetched.ok().bytes, content.len() as u64);
    assert_eq!(fetched.ok().url_used, Some(server.url("/disk.img")));
    assert!(std::fs::read(&part).unwrap() == content);
    assert_eq!(std::fs::read_dir(part.parent().unwrap()).unwrap().count(), 1);
    let asked = &server.asked()[0];
    assert_eq!(asked.header("accept-encoding"), Some("identity"));
    assert!(asked.header("user-agent").unwrap().starts_with("pipeline/"));
    assert_eq!(asked.header("range"), None);
    let total = content.len() as u64;
    let last = fetched.events.last().map(|e| format!("{:?}", e.what));
    let done = What::Progress {
        done: total,
        total,
        unit: Unit::Bytes,
    };
    assert_eq!(last, Some(format!("{done:?}")));
    // A run that was killed between the last byte and the store finds it complete, and asks no server.
    assert_eq!(
        fetch(&["http://127.0.0.1:1/gone".into()], &sha256(&content), &part)
            .ok()
            .url_used,
        None
    );
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn the_next_run_transfers_only_the_rest() {
    let (bench, content) = (Bench::new(), bytes(2 * MIB));
    let cut = 1_300_000;
    let server = Server::start(content.clone())
        .etag("\"v1\"")
        .faults([Fault::CutAfter(cut)]);
    let (part, url) = (bench.path("part"), [server.url("/disk.img")]);
    let once = Fetcher {
        attempts: 1,
        ..fetcher(&[])
    };
    let first = fetch_with(&once, &url, &sha256(&content), &part);
    insta::assert_snapshot!(first.error(), @"could not fetch http://127.0.0.1:[PORT]/disk.img: the connection was cut after 1.2 MiB of 2 MiB; run again to fetch the rest");
    let second = fetch_with(&once, &url, &sha256(&content), &part);
    second.ok();
    assert!(std::fs::read(&part).unwrap() == content);
    assert_eq!(server.sent(), content.len() as u64);
    let asked = &server.asked()[1];
    assert_eq!(asked.header("range"), Some("bytes=1300000-"));
    assert_eq!(asked.header("if-range"), Some("\"v1\""));
}

#[test]
fn a_line_that_is_cut_every_few_mebibytes_still_carries_it_over() {
    let (bench, content) = (Bench::new(), bytes(8 * MIB));
    let server = Server::start(content.clone()).always(Fault::CutAfter(MIB as u64 + 4096));
    let fetched = fetch(&[server.url("/a")], &sha256(&content), &bench.path("part"));
    fetched.ok();
    assert_eq!((server.asked().len(), server.sent()), (8, content.len() as u64));
    assert_eq!(
        fetched.warnings()[0],
        "http://127.0.0.1:[PORT]/a: the connection was cut after 1.0 MiB of 8 MiB; trying again in 0.0s (attempt 2 of 3)"
    );
    // But not where every attempt begins again.
    let server = Server::start(content.clone()).always(Fault::WholeCutAfter(3 * MIB as u64));
    let fetched = fetch(&[server.url("/a")], &sha256(&content), &bench.path("other"));
    assert!(
        fetched
            .error()
            .contains("the connection was cut after 3 MiB of 8 MiB;"),
        "{}",
        fetched.error()
    );
    assert!(server.asked().len() <= 4, "{}", server.asked().len());
}

#[test]
fn one_mirror_completes_what_another_began() {
    let (bench, content) = (Bench::new(), bytes(2 * MIB));
    let faults = [Fault::CutAfter(MIB as u64), Fault::Status(404, vec![])];
    let first = Server::start(content.clone()).etag("\"one\"").faults(faults);
    let second = Server::start(content.clone()).etag("\"two\"");
    let urls = [first.url("/a"), second.url("/b")];
    let fetched = fetch(&urls, &sha256(&content), &bench.path("part"));
    assert_eq!(fetched.ok().url_used.as_ref(), Some(&urls[1]));
    assert_eq!(second.sent(), MIB as u64);
    assert_eq!(second.asked()[0].header("if-range"), None);
}

#[test]
fn a_file_that_changed_on_the_server_is_fetched_again() {
    let (bench, old, new) = (Bench::new(), vec![1; MIB], bytes(MIB));
    let server = Server::start(old)
        .etag("\"old\"")
        .faults([Fault::CutAfter(500_000)]);
    let url = [server.url("/a")];
    let once = Fetcher {
        attempts: 1,
        ..fetcher(&[])
    };
    fetch_with(&once, &url, &sha256(&new), &bench.path("part")).error();
    server.replace(new.clone(), "\"new\"");
    fetch(&url, &sha256(&new), &bench.path("part")).ok();
    assert!(std::fs::read(bench.path("part")).unwrap() == new);
    assert_eq!(server.asked().len(), 2);
    assert_eq!(server.asked()[1].header("if-range"), Some("\"old\""));
    // The user asks for another file now: what was fetched of the old one is of no use.
    let server = Server::start(new.clone()).faults([Fault::CutAfter(500_000)]);
    let url = [server.url("/a")];
    fetch_with(&once, &url, &sha256(b"something else"), &bench.path("second")).error();
    fetch(&url, &sha256(&new), &bench.path("second")).ok();
    assert_eq!(server.asked()[1].header("range"), None);
}

#[test]
fn bytes_that_do_not_fit_are_thrown_away_once() {
    let content = bytes(MIB);
    let digest = sha256(&content);
    let story = |left: Vec<u8>, fault: Option<Fault>| {
        let (bench, server) = (Bench::new(), Server::start(content.clone()).faults(fault));
        let part = bench.write("part", left);
        let fetched = fetch(&[server.url("/a")], &digest, &part);
        fetched.ok();
        assert!(std::fs::read(&part).unwrap() == content);
        (fetched.warnings().join("\n"), server.asked().len(), server.sent())
    };
    // Junk that is shorter than the file: the digest finds it out at the end.
    let (warning, asked, sent) = story(vec![7; 300_000], None);
    insta::assert_snapshot!(warning, @"http://127.0.0.1:[PORT]/a: what was fetched earlier and this file do not fit together; starting over from zero");
    assert_eq!((asked, sent), (2, 2 * MIB as u64 - 300_000));
    // Longer than the file, or as long: the server says 416.
    for length in [2 * MIB, MIB] {
        let (warning, asked, sent) = story(vec![7; length], None);
        assert!(warning.contains("not the start of this file"), "{warning}");
        assert_eq!((asked, sent), (2, MIB as u64));
    }
    // The right start, but the server sends another range.
    let start = content[..400_000].to_vec();
    let (warning, asked, _) = story(start.clone(), Some(Fault::EarlierRange(1000)));
    assert!(warning.contains("another range"), "{warning}");
    assert_eq!(asked, 2);
    // The right start, and a server without ranges.
    let (warning, asked, sent) = story(start, Some(Fault::IgnoreRange));
    assert_eq!((warning.as_str(), asked, sent), ("", 1, MIB as u64));
}

#[test]
fn a_server_that_recovers_is_asked_again() {
    let (bench, content) = (Bench::new(), bytes(MIB));
    let faults = [
        Fault::Status(503, vec![("Retry-After", "3600".into())]),
        Fault::Mute(Duration::ZERO),
    ];
    let server = Server::start(content.clone()).faults(faults);
    let fetched = fetch(&[server.url("/a")], &sha256(&content), &bench.path("part"));
    fetched.ok();
    insta::assert_snapshot!(fetched.warnings().join("\n"), @r"
    http://127.0.0.1:[PORT]/a: the server has a problem of its own (HTTP 503); trying again in 0.2s (attempt 2 of 3)
    http://127.0.0.1:[PORT]/a: lost 127.0.0.1:[PORT] (it closed the connection without an answer); trying again in 0.0s (attempt 3 of 3)
    ");
    // No length at all is no fault, only less of a progress bar; a slow drip is not silence.
    let drip = Fault::Drip(MIB / 8, Duration::from_millis(100));
    for fault in [Fault::NoLength, drip] {
        let server = Server::start(content.clone()).faults([fault]);
        let bench = Bench::new();
        fetch(&[server.url("/a")], &sha256(&content), &bench.path("part")).ok();
        assert_eq!(server.asked().len(), 1);
    }
}

#[test]
fn ctrl_c_stops_at_once_and_what_arrived_stays() {
    let (bench, content) = (Bench::new(), bytes(MIB));
    let server = Server::start(content.clone()).faults([
        Fault::Drip(64 * 1024, Duration::from_millis(100)),
        Fault::Mute(Duration::from_secs(20)),
    ]);
    let (part, url) = (bench.path("part"), server.url("/a"));
    let patient = Fetcher {
        client: Client {
            limits: Limits::default(),
            ..fetcher(&[]).client
        },
        ..fetcher(&[])
    };
    for round in 0..2 {
        let cancel = Cancel::default();
        let (sender, _events) = mpsc::channel();
        let spec = Spec {
            urls: vec![url.clone()],
            digest: sha256(&content),
        };
        std::thread::scope(|scope| {
            let run = scope.spawn(|| patient.fetch(&spec, &part, &cancel, &Emitter::new(sender)));
            let deadline = Instant::now() + Duration::from_secs(20);
            let under_way = || server.sent() >= 256 * 1024 && server.asked().len() == round + 1;
            while !under_way() {
                assert!(Instant::now() < deadline);
                std::thread::sleep(Duration::from_millis(5));
            }
            let asked = Instant::now();
            cancel.cancel();
            let error = run.join().unwrap().unwrap_err();
            assert!(matches!(error, FetchError::Cancelled), "{error}");
            assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        });
    }
    let arrived = std::fs::metadata(&part).unwrap().len();
    assert!(arrived > 0);
    fetch(&[url], &sha256(&content), &part).ok();
    assert_eq!(
        server.asked()[2].header("range"),
        Some(format!("bytes={arrived}-").as_str())
    );
}

#[test]
fn a_killed_process_is_taken_up_where_it_was() {
    let (bench, content) = (Bench::new(), bytes(MIB));
    let server = Server::start(content.clone())
        .last_modified("Sat, 01 Aug 2026 10:00:00 GMT")
        .faults([Fault::Drip(64 * 1024, Duration::from_millis(100))]);
    let (part, url) = (bench.path("part"), server.url("/a"));
    let mut child = process(&url, &sha256(&content), &part, &[]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::fs::metadata(&part).map_or(0, |m| m.len()) < 256 * 1024 {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let arrived = std::fs::metadata(&part).unwrap().len();
    assert!(arrived < content.len() as u64);
    fetch(&[url], &sha256(&content), &part).ok();
    assert!(std::fs::read(&part).unwrap() == content);
    let asked = &server.asked()[1];
    assert_eq!(asked.header("range"), Some(format!("bytes={arrived}-").as_str()));
    assert_eq!(asked.header("if-range"), Some("Sat, 01 Aug 2026 10:00:00 GMT"));
}

#[test]
fn files_of_this_host_are_sources_too() {
    let (bench, content) = (Bench::new(), bytes(MIB));
    let digest = sha256(&content);
    let here = bench.write("an image.img", &content);
    let plain = here.display().to_string();
    for (i, source) in [plain.clone(), format!("file://{}", plain.replace(' ', "%20"))]
        .into_iter()
        .enumerate()
    {
        let part = bench.write(&format!("part{i}"), "left by an earlier run");
        assert_eq!(
            fetch(std::slice::from_ref(&source), &digest, &part).ok().url_used,
            Some(source)
        );
        assert!(std::fs::read(&part).unwrap() == content);
    }
    let error = fetch(
        std::slice::from_ref(&plain),
        &sha256(b"other"),
        &bench.path("other"),
    )
    .error();
    insta::assert_snapshot!(error.replace(&plain, "[FILE]"), @r"
    could not fetch [FILE]: the bytes are not those expected
        expected sha256:d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa
        received sha256:f29fb072131fcfc725b5ec446ad19960b2b1b4fd78a3cbf5867009111fe602e0 (1 MiB)
        if the file changed on purpose, put the new digest into the manifest; if not, do not trust this source
    ");
}
