//! Servers that misbehave: what is retried, what is not, what is said, and that nothing wrong is ever listed.

use std::path::Path;
use std::time::Duration;

use pipeline::internals::event::Emitter;
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::host::http::send::{Method, Outgoing};
use pipeline::internals::host::http::{Client, Proxies};
use pipeline::internals::places::{
    Around, Destination, Http, Item, Login, Metadata, Policy, Target, Verify, upload,
};

use super::{LARGE, SMALL, bench, file, listed, noise, says, well};
use crate::support::shelf::{Fault, Shelf, sha512};
use crate::support::{Bench, Ran};

/// A bench that publishes to a shelf by PUT and as to a shacache.
fn shelf(kind: &str) -> (Bench, Shelf) {
    let shelf = Shelf::start();
    let target = match kind {
        "http" => format!("[publish.http]\nurl = \"{}\"\n", shelf.url("/images")),
        _ => "[publish.shacache]\nconfig = \"shacache.cfg\"\n".to_owned(),
    };
    let bench = bench(&target, 50_000);
    let config = format!(
        "[networkcache]\ndownload-cache-url = {0}\nupload-cache-url = {0}\ndownload-dir-url = {1}\nupload-dir-url = {1}\n",
        shelf.url("/shacache"),
        shelf.url("/shadir")
    );
    bench.write("shacache.cfg", config);
    (bench, shelf)
}

fn publish(bench: &Bench) -> Ran {
    bench.run(&["upload", "m.toml", "--size", "3G"])
}

#[test]
fn a_moment_of_trouble_is_waited_out_also_where_the_reference_client_gives_up() {
    for kind in ["http", "shacache"] {
        for fault in [Fault::Status(500), Fault::CutAfter(10_000)] {
            let (bench, shelf) = shelf(kind);
            shelf.faults([fault.clone()]);
            let ran = publish(&bench);
            well(&ran);
            says(&ran, &["trying again in"]);
            assert_eq!(listed(&bench), [SMALL], "{kind} {fault:?}");
            let path = match kind {
                "http" => format!("/images/{}", file(SMALL)),
                _ => format!("/shacache/{}", sha512(&noise(50_000, 1))),
            };
            assert_eq!(shelf.file(&path), Some(noise(50_000, 1)), "{kind} {fault:?}");
        }
    }
}

#[test]
fn what_is_no_success_fails_is_explained_and_is_not_listed() {
    for (kind, faults, said) in [
        (
            "http",
            vec![Fault::Status(507)],
            &["has no room left (HTTP 507", "make room there"][..],
        ),
        (
            "http",
            vec![Fault::Status(403)],
            &["does not let us (HTTP 403", "check the credentials"],
        ),
        (
            "http",
            vec![Fault::Login],
            &["redirects to", "/login?from=…", "login page"],
        ),
        (
            "http",
            vec![Fault::Spoil],
            &["has other bytes than the image", "it is not listed"],
        ),
        (
            "shacache",
            vec![Fault::Login],
            &["redirects to", "/login?from=…", "login page"],
        ),
        (
            "shacache",
            vec![Fault::Spoil],
            &["has other bytes than the image", "it is not listed"],
        ),
        (
            "shacache",
            vec![Fault::WrongReceipt],
            &["answered \"000000", "is this the right address?"],
        ),
        (
            "shacache",
            vec![Fault::Status(200)],
            &["unexpected answer (HTTP 200"],
        ),
        (
            "shacache",
            vec![Fault::Status(500); 4],
            &["problem of its own (HTTP 500", "attempt 4 of 4"],
        ),
    ] {
        let (bench, shelf) = shelf(kind);
        shelf.faults(faults.clone());
        let ran = publish(&bench);
        assert_eq!(ran.code, 1, "{kind} {faults:?}: {}", ran.all());
        says(&ran, said);
        says(&ran, &[&format!("{SMALL}@{kind}"), &shelf.url("/")]);
        assert!(listed(&bench).is_empty(), "{kind} {faults:?}");
        assert!(!bench.path("out/URL.txt").exists(), "{kind} {faults:?}");
        assert!(
            !shelf.paths().iter().any(|path| path.starts_with("/shadir")),
            "{kind} {faults:?}"
        );
    }
}

#[test]
fn a_server_that_takes_all_and_keeps_nothing_is_found_out() {
    let shelf = Shelf::start();
    shelf.faults([Fault::Forget]);
    let bench = Bench::new();
    let path = bench.write("image", noise(1000, 1));
    let target = Target {
        name: "http".to_owned(),
        to: Destination::Http(Http {
            url: shelf.url("/images"),
            login: Login::Anonymous,
        }),
        verify: Verify::Head,
        public_url: None,
        versions: None,
        catalogs: Vec::new(),
    };
    let item = Item {
        path: &path,
        name: Path::new("a b.gz"),
        bytes: 1000,
        sha512: &format!("sha512:{}", sha512(&noise(1000, 1))).parse().unwrap(),
        metadata: &Metadata::new(),
        listed: true,
    };
    let (sender, _events) = std::sync::mpsc::channel();
    let around = Around {
        cancel: &Cancel::default(),
        emit: &Emitter::new(sender),
        state: Path::new(""),
        policy: Policy {
            pause: Duration::from_millis(1),
            ..Policy::default()
        },
    };
    let error = upload(&target, &item, None, &around).unwrap_err().to_string();
    assert!(error.contains("/images/a%20b.gz is not there"), "{error}");
    // The next attempt is a good one.
    assert!(upload(&target, &item, None, &around).unwrap().sent);
}

#[test]
fn one_image_that_fails_takes_none_of_the_others_out() {
    let (bench, shelf) = shelf("shacache");
    well(&bench.run(&["upload", "m.toml", "--size", "20G"]));
    shelf.faults([Fault::Spoil]);
    let ran = bench.run(&["upload", "m.toml"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert_eq!(listed(&bench), [LARGE]);
    assert_eq!(bench.read("out/URL.txt").lines().count(), 1);
    // The bad blob is found out, sent again and listed.
    let ran = bench.run(&["upload", "m.toml"]);
    well(&ran);
    says(&ran, &["differs; replacing it"]);
    assert_eq!(listed(&bench), [SMALL, LARGE]);
}

#[test]
fn a_file_that_is_there_and_equal_is_read_once_and_then_only_asked_for() {
    let (bench, shelf) = shelf("http");
    let path = format!("/images/{}", file(SMALL));
    shelf.put(&path, &noise(50_000, 1));
    well(&publish(&bench));
    assert_eq!(shelf.lines(), [format!("HEAD {path}"), format!("GET {path}")]);
    shelf.forget_asked();
    well(&publish(&bench));
    assert_eq!(shelf.lines(), [format!("HEAD {path}")]);
    // Behind our back it becomes something else of the same size.
    shelf.put(&path, &noise(50_000, 9));
    well(&publish(&bench));
    assert_eq!(shelf.file(&path), Some(noise(50_000, 1)));

    let text = bench
        .read("m.toml")
        .replace("[publish.http]", "[publish.http]\nverify = \"head\"");
    bench.write("m.toml", text);
    shelf.remove(&path);
    shelf.forget_asked();
    well(&publish(&bench));
    let asked = [
        format!("HEAD {path}"),
        format!("PUT {path}"),
        format!("HEAD {path}"),
    ];
    assert_eq!(shelf.lines(), asked, "`verify = \"head\"` reads nothing");
}

#[test]
fn passwords_and_tokens_let_us_in_and_are_seen_nowhere_else() {
    for (login, value) in [
        (
            "user = \"builder\"\npassword = { file = \"secret\" }",
            "Basic YnVpbGRlcjpzM2NyM3Q=",
        ),
        ("token = { env = \"IMAGES_TOKEN\" }", "Bearer s3cr3t"),
    ] {
        let (bench, shelf) = shelf("http");
        let text = bench
            .read("m.toml")
            .replace("[publish.http]", &format!("[publish.http]\n{login}"));
        bench.write("m.toml", text);
        shelf.password(value);
        let ran = publish(&bench);
        assert_eq!(ran.code, 2, "{}", ran.all());
        says(&ran, &["publish.http.", "nothing was started"]);
        bench.write("secret", "s3cr3t\n");
        let mut command = bench.command(&["upload", "m.toml", "--size", "3G"]);
        command.env("IMAGES_TOKEN", "s3cr3t");
        let ran = bench.finish(command);
        well(&ran);
        assert!(
            shelf
                .asked()
                .iter()
                .all(|asked| asked.header("authorization") == Some(value))
        );
        std::fs::remove_file(bench.path("secret")).unwrap();
        for text in [&ran.stderr, &ran.stdout] {
            assert!(
                !text.contains("s3cr3t") && !text.contains("YnVpbGRl"),
                "{}",
                ran.all()
            );
        }
        let found = std::process::Command::new("grep")
            .args(["-rlE", "s3cr3t|YnVpbGRl", "store", "out", "m.toml"])
            .current_dir(bench.path(""))
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8(found.stdout).unwrap(),
            "",
            "files with the secret"
        );
    }
}

/// Loopback is never asked for through a proxy, so this is shown of the client alone.
#[test]
fn through_a_proxy_only_the_request_line_changes() {
    let proxy = Shelf::start();
    let client = Client {
        proxies: Proxies::from_lookup(|name| (name == "http_proxy").then(|| proxy.url(""))),
        ..Client::default()
    };
    // A body that looks like requests, longer than what is sent at once.
    let body = b"PUT /a HTTP/1.1\r\n\r\n".repeat(100_000);
    let outgoing = Outgoing {
        method: Method::Put,
        url: "http://images.invalid/a",
        headers: &[],
        length: body.len() as u64,
        ask_first: true,
    };
    let reader = std::io::Cursor::new(body.clone());
    let answer = client
        .send(&outgoing, reader, &Cancel::default(), &mut |_| {})
        .unwrap();
    assert_eq!(answer.head.status, 201);
    assert_eq!(proxy.lines(), ["PUT http://images.invalid/a"]);
    assert!(proxy.file("http://images.invalid/a") == Some(body));
}
