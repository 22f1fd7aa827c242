//! The guest's HTTP door, asked by curl over its socket, and through the relay as qemu starts it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use pipeline::internals::machine::door::{Content, Door, Posted, Visit};

use super::soon;
use crate::support::Bench;

/// A door with a boot script, a folder and a place for forms, and who came.
struct House {
    bench: Bench,
    door: Door,
    visits: Arc<Mutex<Vec<Visit>>>,
}

impl House {
    fn new() -> Self {
        let bench = Bench::new();
        bench.write("served/data", "from the folder\n");
        bench.write("secret", "not for guests\n");
        let content = Content {
            files: BTreeMap::from([("vm-bootstrap".to_owned(), b"echo hello\n".to_vec())]),
            folder: Some(bench.path("served")),
            received: Some(bench.path("received")),
        };
        let visits = Arc::<Mutex<Vec<Visit>>>::default();
        let seen = Arc::clone(&visits);
        let door = Door::open(content, move |visit| seen.lock().unwrap().push(visit.clone())).unwrap();
        Self { bench, door, visits }
    }

    /// curl's output and the status, as in `echo hello\n200`.
    fn curl(&self, args: &[&str]) -> String {
        let output = Command::new("curl")
            .args(["-sS", "-w", "%{http_code}", "--path-as-is", "--unix-socket"])
            .arg(self.door.socket())
            .args(args)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Who came, as the user sees it.
    fn visits(&self) -> Vec<String> {
        let folder = self.bench.path("").display().to_string();
        let visits = self.visits.lock().unwrap();
        visits
            .iter()
            .map(|visit| visit.to_string().replace(&folder, ""))
            .collect()
    }
}

#[test]
fn a_guest_gets_what_is_behind_its_door_and_nothing_else() {
    let house = House::new();
    assert_eq!(house.curl(&["http://10.0.2.100/vm-bootstrap"]), "echo hello\n200");
    assert_eq!(
        house.curl(&["http://10.0.2.100/data?x=1"]),
        "from the folder\n200"
    );
    assert!(
        house
            .curl(&["-I", "http://10.0.2.100/data"])
            .contains("Content-Length: 16\r\n")
    );
    for outside in [
        "/../secret",
        "/%2e%2e/secret",
        "//etc/passwd",
        "/",
        "/served/../../secret",
    ] {
        let answer = house.curl(&[&format!("http://10.0.2.100{outside}")]);
        assert!(answer.ends_with("404"), "{outside}: {answer}");
    }
    assert!(
        house
            .curl(&["-X", "DELETE", "http://10.0.2.100/data"])
            .ends_with("405")
    );
    house.door.put("vm-bootstrap", "echo changed\n");
    assert_eq!(
        house.curl(&["http://10.0.2.100/vm-bootstrap"]),
        "echo changed\n200"
    );
    soon("the last visit", || house.visits().len() == 10);
    assert_eq!(
        house.visits()[..3],
        [
            "GET /vm-bootstrap: 200, 11 bytes",
            "GET /data: 200, 16 bytes",
            "HEAD /data: 200, 0 bytes"
        ]
    );
}

#[test]
fn a_guest_writes_files_by_form_below_one_folder_only() {
    let house = House::new();
    let url = "http://10.0.2.100/";
    house.bench.write("large", vec![b'x'; 3 << 20]);
    let large = format!("content@{}", house.bench.path("large").display());
    assert_eq!(house.curl(&["-d", "path=log/a.txt&content=one%0A", url]), "200");
    assert_eq!(
        house.curl(&["-F", "path=log/a.txt", "-F", "content=two", url]),
        "200"
    );
    assert_eq!(house.bench.read("received/log/a.txt"), "one\ntwo");
    assert_eq!(
        house.curl(&["-d", "path=log/a.txt&clear=1", "--data-urlencode", &large, url]),
        "200"
    );
    assert_eq!(house.bench.read("received/log/a.txt").len(), 3 << 20);
    assert!(
        house
            .curl(&[&format!("{url}log/a.txt"), "-o", "/dev/null"])
            .ends_with("200")
    );

    for (path, status) in [
        ("../secret", "403"),
        ("/../../x", "403"),
        ("vm-bootstrap", "403"),
        ("log", "409"),
    ] {
        let answer = house.curl(&[
            "--data-urlencode",
            &format!("path={path}"),
            "-d",
            "content=x",
            url,
        ]);
        assert!(answer.ends_with(status), "{path}: {answer}");
    }
    assert_eq!(house.bench.read("secret"), "not for guests\n");
    let refused = house.curl(&["-H", "Content-Type: text/plain", "-d", "hello", url]);
    assert!(
        refused.starts_with("post a form with the fields path, content"),
        "{refused}"
    );
    assert!(house.curl(&["-d", "content=x", url]).ends_with("400"));

    let report = house.curl(&[
        "--data-binary",
        "outcome",
        "http://10.0.2.100/.pipeline/done?code=3",
    ]);
    assert_eq!(report, "204");
    let visits = house.visits.lock().unwrap();
    let last = visits.last().unwrap();
    assert_eq!(last.posted, Some(Posted::Report(b"outcome".to_vec())));
    assert_eq!(
        (last.path.as_str(), last.query.as_str()),
        (".pipeline/done", "code=3")
    );
}

#[test]
fn the_relay_passes_a_connection_on_and_ends_with_it() {
    let house = House::new();
    let program = env!("CARGO_BIN_EXE_pipeline");
    let words = house.door.relay(program.as_ref());
    let mut relay = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The guest keeps its end open, as HTTP clients do.
    let mut to_guest = relay.stdin.take().unwrap();
    to_guest.write_all(b"GET /vm-bootstrap HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    relay.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\necho hello\n"),
        "{answer}"
    );
    assert!(relay.wait().unwrap().success());

    // Nothing listens any more: no word, only a code.
    let gone = house.door.socket().to_owned();
    drop(house);
    let output = Command::new(program)
        .arg("door-relay")
        .arg(gone)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty() && output.stderr.is_empty());
}

#[test]
fn garbage_and_crowds_hurt_nobody() {
    let house = House::new();
    let connect = || std::os::unix::net::UnixStream::connect(house.door.socket()).unwrap();
    let mut garbage = connect();
    garbage.write_all(b"\x16\x03\x01 no HTTP at all\r\n\r\n").unwrap();
    let mut answer = String::new();
    garbage.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    // Those who only keep a connection open take up places, but never all the host's threads.
    let crowd: Vec<_> = (0..100).map(|_| connect()).collect();
    thread::sleep(super::MOMENT);
    drop(crowd);
    soon("a place to be free again", || {
        let mut one = connect();
        let mut answer = String::new();
        let asked = one
            .write_all(b"GET /data HTTP/1.0\r\n\r\n")
            .and_then(|()| one.read_to_string(&mut answer));
        asked.is_ok() && answer.ends_with("from the folder\n")
    });
    assert!(
        house
            .visits()
            .contains(&"a request that is no HTTP: 400".to_owned())
    );
}
