//! What an operator sees when something failed: each cause once, last on the screen, with what it cost and how to go on.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use pipeline::internals::digest::sha256_hex;
use serde_json::Value;

use crate::chaos::mini;
use crate::support::Bench;
use crate::support::http::{DeadPort, Fault, Server};

/// Lines that a run may print, however much fails in it.
const LINES: usize = 60;

/// Ten distros, six flavors and five sizes: 300 images. Each distro has a mirror where nothing listens.
fn fleet(ports: &[DeadPort]) -> String {
    let mut text = String::new();
    for number in 0..10 {
        let port = ports[number % ports.len()].port();
        write!(
            text,
            "[distros.debian{number}]\nfamily = \"debian\"\nversion = \"12\"\ncpus = 1\n\
             source = {{ bootstrap = {{ suite = \"bookworm\", mirror = \"http://127.0.0.1:{port}/debian\" }} }}\n"
        )
        .unwrap();
    }
    for flavor in ["base", "web", "db", "ci", "gpu", "desk"] {
        writeln!(text, "[flavors.{flavor}]\nsteps = [{{ inline = \"true\" }}]").unwrap();
        for number in 0..10 {
            write!(
                text,
                "[[images]]\ndistro = \"debian{number}\"\nflavor = \"{flavor}\"\n\
                 sizes = [\"3G\", \"4G\", \"5G\", \"6G\", \"7G\"]\n"
            )
            .unwrap();
        }
    }
    text
}

#[test]
fn three_hundred_images_with_ten_dead_mirrors_fail_on_one_page() {
    let bench = Bench::new();
    for (causes, ports) in [(1, 1), (10, 10)] {
        let ports: Vec<_> = (0..ports).map(|_| DeadPort::new()).collect();
        bench.write("fleet.toml", fleet(&ports));
        let ran = bench.run(&["run", "fleet.toml", "--jobs", "10"]);
        assert_eq!(ran.code, 1, "{}", ran.all());
        let lines: Vec<_> = ran.stderr.lines().collect();
        assert!(lines.len() <= LINES, "{} lines:\n{}", lines.len(), ran.stderr);
        assert!(!ran.stderr.contains("not started"), "{}", ran.stderr);
        let entries = lines
            .iter()
            .filter(|line| line.contains("FAILED mirror unreachable: install debian"));
        assert_eq!(entries.count(), causes, "{}", ran.stderr);
        let port = ports[0].port();
        let cause = format!(
            "    Could not connect to 127.0.0.1:{port} (127.0.0.1). - connect (111: Connection refused)"
        );
        assert_eq!(
            lines.iter().filter(|line| **line == cause).count(),
            1,
            "{}",
            ran.stderr
        );
        let words = match causes {
            1 => "    images  all 300",
            _ => "FAILED mirror unreachable: install debian0; 30 images; log install-debian0/mmdebstrap.log",
        };
        assert!(lines.contains(&words), "no `{words}` in\n{}", ran.stderr);
        let last = [
            "    next    pipeline logs install/debian0",
            "fix the cause and run the same command again: what is done comes from the store",
        ];
        assert_eq!(lines[lines.len() - 2..], last, "{}", ran.stderr);
    }
    // What was left out there is here.
    let logs = bench.run(&["logs", "install/debian7"]);
    for expected in [
        "installing packages: `mmdebstrap` exited with code",
        "  | E: Failed to fetch",
    ] {
        assert!(
            logs.stdout.contains(expected),
            "no `{expected}` in\n{}",
            logs.all()
        );
    }
}

/// A mirror that lacks the suite, and one that speaks plain HTTP on the port of its TLS.
#[test]
fn what_a_mirror_does_not_have_is_no_failure_of_a_tool() {
    let bench = Bench::new();
    let server = Server::start(Vec::new()).always(Fault::Status(404, Vec::new()));
    let distro = |name: &str, mirror: &str| {
        format!(
            "[distros.{name}]\nfamily = \"debian\"\nversion = \"12\"\ncpus = 1\n\
             source = {{ bootstrap = {{ suite = \"bookwurm\", mirror = \"{mirror}\" }} }}\n\
             [[images]]\ndistro = \"{name}\"\nflavor = \"base\"\nsizes = [\"3G\"]\n"
        )
    };
    let base = |distro: String| format!("{distro}[flavors.base]\n");
    bench.write("suite.toml", base(distro("suite", &server.url("/none"))));
    let suite = bench.run(&["run", "suite.toml"]);
    assert_eq!(suite.code, 2, "{}", suite.all());
    assert!(
        suite.stderr.contains("has no suite `bookwurm`"),
        "{}",
        suite.all()
    );
    bench.write("port.toml", base(distro("port", &plain_http())));
    let found = failures(&bench, &["run", "port.toml", "--format=json"]);
    let port = &found["install/port"];
    assert_eq!(port["verdict"], "plain_http", "{port}");
    let log = port["log"].as_str().unwrap();
    assert!(log.ends_with("/install-port/mmdebstrap.log"), "{port}");
}

/// Media that cannot be fetched or used: each for a reason of its own.
#[test]
fn media_that_fail_have_a_kind_of_failure_each() {
    let bench = Bench::new();
    let server = Server::start(b"a medium".to_vec());
    let (there, dead) = (server.url("/disk.raw"), DeadPort::new());
    let zeros = "0".repeat(64);
    let digest = sha256_hex(b"a medium");
    let dead = format!("http://127.0.0.1:{}/disk.raw", dead.port());
    let plain = format!("{}/disk.raw", plain_http());
    let mut text = "[flavors.base]\n".to_owned();
    for (name, url, digest) in [
        ("differs", &there, &zeros),
        ("plain", &plain, &digest),
        ("dead", &dead, &digest),
    ] {
        write!(
            text,
            "[distros.{name}]\nfamily = \"debian\"\nversion = \"12\"\nmemory = \"64M\"\ncpus = 1\n\
             source = {{ disk = {{ url = \"{url}\", sha256 = \"{digest}\", user = \"root\" }} }}\n\
             [[images]]\ndistro = \"{name}\"\nflavor = \"base\"\nsizes = [\"3G\"]\n"
        )
        .unwrap();
    }
    // Bytes of its own: what is fetched for one distro is fetched for all that have its digest.
    let noise = Server::start(b"noise".to_vec());
    let (noise, digest) = (noise.url("/noise.iso"), sha256_hex(b"noise"));
    write!(
        text,
        "[distros.iso]\nfamily = \"debian\"\nversion = \"12\"\nmemory = \"64M\"\ncpus = 1\ndisk = \"3G\"\n\
         source = {{ iso = {{ url = \"{noise}\", sha256 = \"{digest}\" }} }}\n\
         [[images]]\ndistro = \"iso\"\nflavor = \"base\"\nsizes = [\"3G\"]\n"
    )
    .unwrap();
    bench.write("m.toml", text);
    let found = failures(&bench, &["run", "m.toml", "--format=json"]);
    for (node, words) in [
        (
            "fetch/plain",
            "it speaks plain HTTP there; write http:// instead of https://",
        ),
        (
            "install/iso",
            &format!("{noise} is not an ISO image that can be read: "),
        ),
    ] {
        let cause = found[node]["cause"].as_str().unwrap();
        assert!(cause.contains(words), "no `{words}` in {cause}");
    }
    let verdicts: BTreeMap<_, _> = found
        .iter()
        .map(|(node, failure)| {
            (
                node.split_once('/').unwrap().1,
                failure["verdict"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("dead", "server_unreachable"),
        ("differs", "digest_differs"),
        ("iso", "not_an_iso_image"),
        ("plain", "plain_http"),
    ];
    assert_eq!(verdicts, BTreeMap::from(expected), "{found:#?}");
}

/// What failed last night is known the next morning, by image, and until it is built.
#[test]
fn images_know_that_their_last_attempt_failed_when_and_why() {
    let bench = Bench::new();
    let dead = DeadPort::new();
    let manifest = |url: &str, sizes: &str| {
        format!(
            "[distros.tiny]\nfamily = \"debian\"\nversion = \"12\"\nmemory = \"64M\"\n\
             source = {{ disk = {{ url = \"{url}\", sha256 = \"{}\", user = \"root\" }} }}\n[flavors.base]\n\
             [[images]]\ndistro = \"tiny\"\nflavor = \"base\"\nsizes = [{sizes}]\n",
            "0".repeat(64)
        )
    };
    let dead = format!("http://127.0.0.1:{}/disk.raw", dead.port());
    bench.write("m.toml", manifest(&dead, "\"3G\", \"4G\""));
    assert_eq!(bench.run(&["run", "m.toml"]).code, 1);

    let listed = json(&bench, &["ls", "m.toml"]);
    let failed = &listed["images"][1]["failed"];
    assert_eq!(listed["images"][1]["state"], "failed", "{listed:#}");
    assert_eq!(
        (&failed["node"], &failed["verdict"]),
        (&"fetch/tiny".into(), &"server_unreachable".into())
    );
    let why = "server unreachable: could not fetch http://127.0.0.1";
    for (args, words) in [
        (["ls", "m.toml"], why),
        (
            ["plan", "m.toml"],
            &format!("disk.raw; the last attempt failed: {why}"),
        ),
        (["explain", "m.toml"], why),
        (["runs", "--failed"], "server unreachable"),
    ] {
        let said = bench.run(&args);
        assert!(said.stdout.contains(words), "no `{words}` in\n{}", said.all());
    }
    let listed = bench.run(&["ls", "m.toml", "--state", "failed", "--state", "outdated"]);
    assert!(
        listed.stdout.contains("0 current, 2 failed; 0 B in all"),
        "{}",
        listed.all()
    );
    let none = bench.run(&["ls", "m.toml", "--state", "missing"]);
    assert!(!none.stdout.contains("tiny-"), "{}", none.all());
    let count = |args: &[&str]| json(&bench, args)["runs"].as_array().unwrap().len();
    assert_eq!(count(&["runs", "--manifest", "m.toml"]), 1);
    assert_eq!(count(&["runs", "--manifest", "other.toml"]), 0);
    let runs = json(&bench, &["runs", "--failed"]);
    assert_eq!(
        runs["runs"][0]["causes"][0]["nodes"],
        serde_json::json!(["fetch/tiny"])
    );

    // Another URL gives another key: it is another attempt that failed.
    bench.write("m.toml", manifest("http://127.0.0.1:9/other.raw", "\"3G\""));
    let explained = bench.run(&["explain", "m.toml", "fetch/tiny"]);
    assert!(explained.stdout.contains("  failed  "), "{}", explained.all());

    // A run that is larger than the host is refused; what it left is not taken for the newest run.
    let large = "memory = \"9000G\"";
    bench.write(
        "large.toml",
        manifest(&dead, "\"3G\"").replace("memory = \"64M\"", large),
    );
    assert_eq!(bench.run(&["run", "large.toml"]).code, 3);
    let runs = json(&bench, &["runs"]);
    let (refused, last) = (&runs["runs"][0], &runs["runs"][1]);
    assert_eq!(
        (&refused["outcome"], &last["outcome"]),
        (&"refused".into(), &"failed".into())
    );
    assert!(
        refused["manifest"].as_str().unwrap().ends_with("/large.toml"),
        "{refused:#}"
    );
    assert!(refused["started"].is_string(), "{refused:#}");
    let logs = bench.run(&["logs"]);
    assert!(
        logs.stdout.contains(last["run"].as_str().unwrap()),
        "{}",
        logs.all()
    );
}

/// An image that was built without its checks is not outdated.
#[test]
fn an_image_whose_checks_were_left_out_is_unchecked_until_it_changes() {
    let bench = Bench::new();
    let house = mini::house(&bench.path("house"), &["64M"]);
    let run = |args: &[&str]| house.command(args).output().unwrap();
    let state = || {
        let said = run(&["ls", mini::MANIFEST, "--format=json"]);
        let listed: Value = serde_json::from_slice(&said.stdout).unwrap();
        listed["images"][0]["state"].as_str().unwrap().to_owned()
    };
    let path = bench.path("house").join(mini::MANIFEST);
    let text = std::fs::read_to_string(&path).unwrap();
    let check = "[[checks]]\nname = \"web\"\nport = 80\n\n[publish]\n";
    let text = text.replace("[publish]\n", check);
    std::fs::write(&path, &text).unwrap();
    assert_eq!(state(), "missing");
    let ran = run(&["run", mini::MANIFEST, "--no-check"]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(state(), "unchecked");
    std::fs::write(&path, text.replace("\"gzip\"", "\"gzip\"\nlevel = 9")).unwrap();
    assert_eq!(state(), "outdated");
}

/// An https:// address whose server answers in plain HTTP to whatever comes. It ends with the test.
fn plain_http() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut start = [0; 512];
            let _ = stream.read(&mut start);
            let _ = stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    format!("https://{address}")
}

/// What a verb says of itself to programs.
fn json(bench: &Bench, args: &[&str]) -> Value {
    let ran = bench.run(&[args, &["--format=json"]].concat());
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.all()))
}

/// The events of nodes that failed, by node.
fn failures(bench: &Bench, args: &[&str]) -> BTreeMap<String, Value> {
    let ran = bench.run(args);
    assert_eq!(ran.code, 1, "{}", ran.all());
    let events = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let failed = events.filter(|event| event["outcome"] == "failed");
    failed
        .map(|event| (event["node"].as_str().unwrap().to_owned(), event))
        .collect()
}
