//! What is there and must not be used, and writers that are killed or come second.

use std::time::{Duration, Instant};

use super::{Farm, IMAGE, build, host, noise, well};
use crate::machine::tiny::{Then, disk};
use crate::support::Bench;
use crate::support::http::Server;
use crate::support::shelf::Shelf;
use crate::support::vm::wait_until;

/// What is said of it, the entry that is there, and the file that is there.
type Damaged<'a> = (&'static str, &'a [u8], Option<Vec<u8>>);

/// What a host may find, by what was done to the entry and to the file of a good result.
#[test]
fn what_is_poisoned_or_damaged_is_built_and_reported_once() {
    let content = disk("one", Then::Halt);
    let medium = Server::start(content.clone());
    let shelf = Shelf::start();
    let (farm, other) = (Farm::at(&shelf.url("/farm")), Farm::at(&shelf.url("/other")));
    // An install is each host's own, and takes what was fetched.
    let fetch = ["run", "m.toml", "--until", "install", "--progress", "plain"];
    let builder = host(&medium.url("/m"), &content);
    well(&farm.on(&builder, &fetch), &[]);
    well(&other.on(&host(&medium.url("/m"), &content), &fetch), &[]);
    let key = &builder.keys("m.toml")["fetch/debian12"];
    let entry = format!("/farm/results/fetch/{key}/entry.json");
    let paths = shelf.paths();
    let blob = paths.iter().find(|path| path.starts_with("/farm/blobs")).unwrap();
    let (good, file) = (shelf.file(&entry).unwrap(), shelf.file(blob).unwrap());
    let foreign = shelf.file(&entry.replace("/farm", "/other")).unwrap();
    let changed = String::from_utf8(good.clone())
        .unwrap()
        .replace("1048576", "1048577")
        .into_bytes();
    let mut flipped = file.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let packed = |bytes: &[u8]| zstd(bytes);
    let damaged: [Damaged<'_>; 10] = [
        ("is signed by", &foreign, Some(file.clone())),
        ("signature is wrong", &changed, Some(file.clone())),
        ("is not an entry", &good[..good.len() - 9], Some(file.clone())),
        ("is not an entry", b"{}", Some(file.clone())),
        ("is gone", &good, None),
        ("is damaged", &good, Some(file[..file.len() / 2].to_vec())),
        ("is damaged", &good, Some(flipped)),
        ("is damaged", &good, Some(packed(&content[1..]))),
        (
            "is damaged",
            &good,
            Some(packed(&[&content[..], b"more"].concat())),
        ),
        ("is damaged", &good, Some(packed(&noise(1 << 20, 4)))),
    ];
    let mut puts_right = vec!["is signed by", "is gone", "is damaged"];
    for (says, entry_there, file_there) in damaged {
        shelf.put(&entry, entry_there);
        match file_there {
            Some(bytes) => shelf.put(blob, &bytes),
            None => shelf.remove(blob),
        }
        let asked = medium.asked().len();
        let reader = host(&medium.url("/m"), &content);
        let ran = farm.reading(&reader, &fetch);
        well(&ran, &[says]);
        assert_eq!(ran.stderr.matches("warning: ").count(), 1, "{}", ran.all());
        assert!(medium.asked().len() > asked, "{says}: it was used");
        if !puts_right.contains(&says) {
            continue;
        }
        // Whoever writes puts it right.
        puts_right.retain(|word| *word != says);
        let writer = host(&medium.url("/m"), &content);
        well(&farm.on(&writer, &fetch), &[]);
        let asked = medium.asked().len();
        let reader = host(&medium.url("/m"), &content);
        let pull = farm.reading(&reader, &["store", "pull", &format!("fetch/{key}")]);
        well(&pull, &["taken"]);
        assert_eq!(medium.asked().len(), asked, "{says}");
    }
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut child = std::process::Command::new("zstd")
        .args(["-q", "-c"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("zstd: {e}; `make setup` installs what the tests need"));
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap().stdout
}

#[test]
fn a_writer_killed_at_any_request_leaves_all_of_a_result_or_nothing() {
    let medium = Server::start(b"x".to_vec());
    let builder = host(&medium.url("/m"), b"x");
    build(&builder, &format!("package/{IMAGE}"), "image", &noise(300_000, 5));
    let address = format!("package/{}", builder.keys("m.toml")[&format!("package/{IMAGE}")]);
    let mut whole = 0;
    for requests in 0.. {
        let shelf = Shelf::start();
        let farm = Farm::at(&shelf.url("/farm"));
        shelf.fall_silent_after(Some(requests));
        let mut command = builder.command(&["store", "push", &address]);
        command
            .env("PIPELINE_REMOTE", &farm.url)
            .env("PIPELINE_REMOTE_SIGN_KEY", farm.key.path("key"));
        let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
        wait_until(
            "a request without an answer, or the end",
            Duration::from_secs(20),
            || shelf.is_silent() || child.try_wait().unwrap().is_some(),
        );
        let is_over = !shelf.is_silent();
        child.kill().unwrap();
        child.wait().unwrap();
        shelf.fall_silent_after(None);
        let reader = host(&medium.url("/m"), b"x");
        let pull = farm.reading(&reader, &["store", "pull", &address]);
        let is_whole = pull.code == 0;
        assert!(
            is_whole || pull.stderr.contains("not there") && !pull.stderr.contains("warning"),
            "{}",
            pull.all()
        );
        assert!(is_whole || !is_over, "{}", pull.all());
        whole += usize::from(is_whole);
        // The next one finds whatever is left and makes a whole of it.
        let again = farm.on(&builder, &["store", "push", &address]);
        well(&again, &[]);
        well(&farm.reading(&reader, &["store", "pull", &address]), &["taken"]);
        if is_over {
            assert!(requests >= 4 && whole >= 1, "{requests} requests");
            break;
        }
    }
}

/// Two hosts build the same at once, and the second one looks so many times before the entry of the first is seen. It takes
/// those bytes, unless the server lets both through: then its own stand, whole.
#[test]
fn who_comes_second_takes_the_bytes_of_the_first() {
    for (heeds, looks, takes) in [
        (true, 2, true),
        (false, 2, true),
        // It is refused when it writes.
        (true, 3, true),
        // A deaf server, and a racy one: it is not.
        (false, 3, false),
        // And what it wrote itself is not seen at once.
        (false, 4, false),
    ] {
        let content = noise(40_000, 6);
        let medium = Server::start(content.clone());
        let shelf = Shelf::start();
        if heeds {
            shelf.heed_conditions();
        }
        let farm = Farm::at(&shelf.url("/farm"));
        let first = host(&medium.url("/m"), &content);
        // Equal keys need not give equal bytes.
        let bytes = noise(40_000, 7);
        build(&first, "fetch/debian12", "medium", &bytes);
        well(
            &farm.on(&first, &["store", "push", "fetch/debian12"]),
            &["pushed"],
        );
        let key = &first.keys("m.toml")["fetch/debian12"];
        shelf.hide(&format!("fetch/{key}/entry.json"), looks);
        let second = host(&medium.url("/m"), &content);
        let ran = farm.on(
            &second,
            &["run", "m.toml", "--until", "fetch", "--progress", "plain"],
        );
        well(&ran, &["putting it into the remote store"]);
        assert!(!medium.asked().is_empty(), "it built its own");
        let case = format!("{heeds} {looks}: {}", ran.all());
        assert_eq!(
            ran.stderr.contains("taking it from the remote store"),
            takes,
            "{case}"
        );
        let third = host(&medium.url("/m"), &content);
        well(
            &farm.reading(&third, &["store", "pull", &format!("fetch/{key}")]),
            &["taken"],
        );
        for host in [&second, &third] {
            assert!(
                fetched(host) == if takes { &bytes[..] } else { &content[..] },
                "{case}"
            );
        }
    }
}

/// It answers for entries, and for files no more, or hardly: to a host that takes one, and to one that puts one there.
#[test]
fn a_server_that_fails_in_mid_run_costs_seconds_and_fails_nothing() {
    // More than a line holds that is not read from.
    let content = [disk("one", Then::Halt), noise(14 << 20, 9)].concat();
    let medium = Server::start(content.clone());
    let install = ["run", "m.toml", "--until", "install", "--progress", "plain"];
    let one = &|reads: bool, drip: usize, says: &str| {
        let shelf = Shelf::start();
        let farm = Farm::at(&shelf.url("/farm"));
        if reads {
            well(&farm.on(&host(&medium.url("/m"), &content), &install), &[]);
        }
        shelf.drip(drip);
        let bench = host(&medium.url("/m"), &content);
        let begun = Instant::now();
        let ran = match reads {
            true => farm.reading(&bench, &install),
            false => farm.on(&bench, &install),
        };
        let took = begun.elapsed();
        well(&ran, &["is not used for now", says]);
        assert_eq!(ran.stderr.matches("warning: ").count(), 1, "{}", ran.all());
        assert!(took < Duration::from_secs(40), "{took:?}: {}", ran.all());
        assert!(fetched(&bench) == content);
    };
    std::thread::scope(|scope| {
        for (reads, drip, says) in [
            (true, 500, "is too slow"),
            (true, 0, "sent nothing"),
            (false, 500, "is too slow"),
            (false, 0, "sent nothing"),
        ] {
            scope.spawn(move || one(reads, drip, says));
        }
    });
}

/// The medium that a host fetched, or took.
fn fetched(bench: &Bench) -> Vec<u8> {
    let key = &bench.keys("m.toml")["fetch/debian12"];
    let files = std::fs::read_dir(bench.path(&format!("store/results/fetch/{key}"))).unwrap();
    let mut files = files.flatten().map(|file| file.path());
    let medium = files.find(|path| path.extension().is_none()).unwrap();
    std::fs::read(medium).unwrap()
}
