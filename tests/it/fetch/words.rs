//! What the user reads when it fails, and what must never be shown.

use std::time::Duration;

use pipeline::internals::stage::fetch::Fetcher;

use super::{MIB, bytes, fetch, fetch_with, fetcher, sha256};
use crate::support::Bench;
use crate::support::http::{DeadPort, Fault, Server};

/// Fetches some bytes from a server that misbehaves, and gives the message.
fn failure(server: Server) -> String {
    let bench = Bench::new();
    let fetched = fetch(
        &[server.url("/disk.img")],
        &sha256(&bytes(MIB)),
        &bench.path("part"),
    );
    fetched.error()
}

#[test]
fn each_failure_has_its_own_words() {
    let serve = || Server::start(bytes(MIB));
    let status = |code| failure(serve().always(Fault::Status(code, vec![])));
    insta::assert_snapshot!(status(401), @"could not fetch http://127.0.0.1:[PORT]/disk.img: the server wants a user and password (HTTP 401); put them into the URL as https://user:password@host/…");
    insta::assert_snapshot!(status(403), @"could not fetch http://127.0.0.1:[PORT]/disk.img: access is forbidden (HTTP 403); the URL may need credentials or may have expired");
    insta::assert_snapshot!(status(404), @"could not fetch http://127.0.0.1:[PORT]/disk.img: not found (HTTP 404); check the URL: files move when a new release comes out");
    insta::assert_snapshot!(status(416), @"could not fetch http://127.0.0.1:[PORT]/disk.img: the server refuses the range asked for (HTTP 416); it may hold a shorter file than its mirrors do");
    insta::assert_snapshot!(status(429), @"could not fetch http://127.0.0.1:[PORT]/disk.img: the server says that we ask too often (HTTP 429); try again later or use another mirror");
    insta::assert_snapshot!(status(502), @"could not fetch http://127.0.0.1:[PORT]/disk.img: the server has a problem of its own (HTTP 502); try again later or use another mirror");
    insta::assert_snapshot!(status(300), @"could not fetch http://127.0.0.1:[PORT]/disk.img: the server gave an unexpected answer (HTTP 300)");
    insta::assert_snapshot!(failure(serve().always(Fault::CutAfter(1000))), @"could not fetch http://127.0.0.1:[PORT]/disk.img: the connection was cut after 2.9 KiB of 1 MiB; run again to fetch the rest");
    insta::assert_snapshot!(failure(serve().always(Fault::Mute(Duration::ZERO))), @"could not fetch http://127.0.0.1:[PORT]/disk.img: lost 127.0.0.1:[PORT] (it closed the connection without an answer); try again later or use another mirror");
    insta::assert_snapshot!(failure(serve().always(Fault::Garbage)), @"could not fetch http://127.0.0.1:[PORT]/disk.img: 127.0.0.1:[PORT] does not speak HTTP (protocol: http parse fail: invalid HTTP version); check the port and whether it should be https://");
    insta::assert_snapshot!(failure(serve().always(Fault::UnaskedRange)), @"could not fetch http://127.0.0.1:[PORT]/disk.img: the server answers with a part of the file although all of it was asked for; use another mirror");
    insta::assert_snapshot!(failure(serve().always(Fault::Redirect("/round".into()))), @"could not fetch http://127.0.0.1:[PORT]/disk.img: redirected more than 10 times, last to http://127.0.0.1:[PORT]/round; use the URL of the file itself");
    insta::assert_snapshot!(failure(serve().always(Fault::Redirect("file:///etc/passwd".into()))), @"could not fetch http://127.0.0.1:[PORT]/disk.img: `file:///etc/passwd` is not a URL that can be fetched: file:// is not supported, only http:// and https://");
    insta::assert_snapshot!(failure(serve().always(Fault::WrongBytes)), @r"
    could not fetch http://127.0.0.1:[PORT]/disk.img: the bytes are not those expected
        expected sha256:f29fb072131fcfc725b5ec446ad19960b2b1b4fd78a3cbf5867009111fe602e0
        received sha256:b1982ab92bfd10ed22d49c0cb92089987e0b6a82e4c68cb61bf83307266d651f (1 MiB)
        if the file changed on purpose, put the new digest into the manifest; if not, do not trust this source
    ");
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let (bench, mute) = (Bench::new(), Fault::Mute(Duration::from_secs(3)));
    let server = Server::start(b"").always(mute);
    let mut hasty = fetcher(&[]);
    hasty.client.limits.silence = Duration::from_millis(400);
    let fetched = fetch_with(
        &hasty,
        &[server.url("/disk.img")],
        &sha256(b"x"),
        &bench.path("part"),
    );
    insta::assert_snapshot!(fetched.error(), @"could not fetch http://127.0.0.1:[PORT]/disk.img: 127.0.0.1:[PORT] sent nothing for 0.4s; try again later or use another mirror");
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn sources_that_cannot_be_asked_have_their_own_words_too() {
    let (bench, digest) = (Bench::new(), sha256(b"x"));
    let of = |url: &str| fetch(&[url.to_owned()], &digest, &bench.path("part")).error();
    let dead = DeadPort::new();
    insta::assert_snapshot!(of(&format!("http://127.0.0.1:{}/a", dead.port())), @"could not fetch http://127.0.0.1:[PORT]/a: 127.0.0.1:[PORT] refused the connection; check that the server runs and the port is right");
    insta::assert_snapshot!(of("ftp://mirror.example/a"), @"could not fetch ftp://mirror.example/a: `ftp://mirror.example/a` is not a URL that can be fetched: ftp:// is not supported, only http:// and https://");
    insta::assert_snapshot!(of("http://mirror.example:port/a"), @"could not fetch http://mirror.example:port/a: `http://mirror.example:port/a` is not a URL that can be fetched: its port is not a number");
    insta::assert_snapshot!(of("/no/such/file.img"), @"could not fetch /no/such/file.img: the file cannot be read (No such file or directory (os error 2)); check the path");
    insta::assert_snapshot!(fetch(&[], &digest, &bench.path("part")).error(), @"there is no URL for sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881; give it one");
    // The resolver's own words differ from host to host.
    let dns = of("http://no-such-host.invalid/a");
    assert!(
        dns.starts_with(
            "could not fetch http://no-such-host.invalid/a: no-such-host.invalid was not found ("
        ),
        "{dns}"
    );
    assert!(
        dns.ends_with("); check the name, and that this host's DNS works"),
        "{dns}"
    );
}

#[test]
fn all_mirrors_are_reported_together() {
    let bench = Bench::new();
    let missing = Server::start(bytes(10)).always(Fault::Status(404, vec![]));
    let wrong = Server::start(bytes(MIB)).always(Fault::WrongBytes);
    let dead = DeadPort::new();
    let urls = [
        missing.url("/a"),
        wrong.url("/a"),
        format!("http://127.0.0.1:{}/a", dead.port()),
    ];
    let fetched = fetch(&urls, &sha256(&bytes(MIB)), &bench.path("part"));
    insta::assert_snapshot!(fetched.error(), @r"
    could not fetch sha256:f29fb072131fcfc725b5ec446ad19960b2b1b4fd78a3cbf5867009111fe602e0: all 3 sources failed
      http://127.0.0.1:[PORT]/a: not found (HTTP 404); check the URL: files move when a new release comes out
      http://127.0.0.1:[PORT]/a: the bytes are not those expected
        expected sha256:f29fb072131fcfc725b5ec446ad19960b2b1b4fd78a3cbf5867009111fe602e0
        received sha256:b1982ab92bfd10ed22d49c0cb92089987e0b6a82e4c68cb61bf83307266d651f (1 MiB)
        if the file changed on purpose, put the new digest into the manifest; if not, do not trust this source
      http://127.0.0.1:[PORT]/a: 127.0.0.1:[PORT] refused the connection; check that the server runs and the port is right
    ");
    insta::assert_snapshot!(fetched.warnings().join("\n"), @r"
    http://127.0.0.1:[PORT]/a: not found (HTTP 404); trying the next source
    http://127.0.0.1:[PORT]/a: received sha256:b1982ab92bfd10ed22d49c0cb92089987e0b6a82e4c68cb61bf83307266d651f instead of sha256:f29fb072131fcfc725b5ec446ad19960b2b1b4fd78a3cbf5867009111fe602e0; trying the next source
    http://127.0.0.1:[PORT]/a: 127.0.0.1:[PORT] refused the connection; trying again in 0.0s (attempt 2 of 3)
    http://127.0.0.1:[PORT]/a: 127.0.0.1:[PORT] refused the connection; trying again in 0.0s (attempt 3 of 3)
    ");
    // Nothing of the wrong bytes stays to be resumed.
    assert_eq!(std::fs::metadata(bench.path("part")).unwrap().len(), 0);
}

#[test]
fn a_server_cannot_fill_the_disk() {
    let (bench, content) = (Bench::new(), bytes(MIB));
    let digest = sha256(&content);
    let server = Server::start(content.clone()).always(Fault::Longer(MIB));
    let part = bench.write("part", &content[..1000]);
    let fetched = fetch(&[server.url("/a")], &digest, &part);
    insta::assert_snapshot!(fetched.error(), @"could not fetch http://127.0.0.1:[PORT]/a: the server sends more than the 1 MiB that it announced; use another mirror");
    let server = Server::start(content).always(Fault::NoLength);
    let stingy = Fetcher {
        unannounced_limit: 1000,
        ..fetcher(&[])
    };
    let fetched = fetch_with(&stingy, &[server.url("/a")], &digest, &bench.path("other"));
    insta::assert_snapshot!(fetched.error(), @"could not fetch http://127.0.0.1:[PORT]/a: the server sends more than the 1000 B that any image may have; use another mirror");
    // More than is free is refused before the first byte.
    let server = Server::start(b"").always(Fault::Announce(1 << 60));
    let error = fetch(&[server.url("/a")], &digest, &bench.path("third")).error();
    assert!(error.contains(": 1048576 TiB more to come, "), "{error}");
    // And a disk that fills up meanwhile says so, whatever the number of mirrors.
    std::os::unix::fs::symlink("/dev/full", bench.path("full")).unwrap();
    let server = Server::start(bytes(MIB));
    let fetched = fetch(
        &[server.url("/a"), server.url("/b")],
        &digest,
        &bench.path("full"),
    );
    let error = fetched
        .error()
        .replace(&bench.path("full").display().to_string(), "[PART]");
    insta::assert_snapshot!(error, @"no space left for [PART]; free some, or put the store on another disk (PIPELINE_STORE)");
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn secrets_in_urls_are_used_and_never_shown() {
    let (bench, content) = (Bench::new(), bytes(MIB));
    let elsewhere = Server::start(content.clone()).always(Fault::CutAfter(1000));
    let server = Server::start(b"").always(Fault::Redirect(elsewhere.url("/b?sig=s3cret")));
    let url = format!("http://joe:s3cret@127.0.0.1:{}/a?token=s3cret", server.port());
    let fetched = fetch(&[url], &sha256(&content), &bench.path("part"));
    insta::assert_snapshot!(fetched.error(), @"could not fetch http://***@127.0.0.1:[PORT]/a?token=…: the connection was cut after 2.9 KiB of 1 MiB; run again to fetch the rest");
    assert!(
        !fetched.everything().contains("s3cret"),
        "{}",
        fetched.everything()
    );
    let left = std::fs::read_dir(bench.path(""))
        .unwrap()
        .map(|f| std::fs::read(f.unwrap().path()).unwrap());
    assert!(
        left.into_iter()
            .all(|bytes| !String::from_utf8_lossy(&bytes).contains("s3cret"))
    );
    assert_eq!(
        server.asked()[0].header("authorization"),
        Some("Basic am9lOnMzY3JldA==")
    );
    assert_eq!(server.asked()[0].target, "/a?token=s3cret");
    assert_eq!(elsewhere.asked()[0].header("authorization"), None);
}
