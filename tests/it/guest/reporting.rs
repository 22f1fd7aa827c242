//! What stands in for the boot script while a user waits for its outcome: run by the real agent in a private root,
//! against the real door.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::{io, thread};

use pipeline::internals::boot::agent::{Outcome, Report, Watch, reporting_to};
use pipeline::internals::machine::door::{BOOT_SCRIPT, Content, Door};

use super::agent::{Guest, eventually, script};

/// A guest whose agent asks a door, and what was reported there.
struct House {
    guest: Guest,
    door: Door,
    port: u16,
    reports: Arc<Mutex<Vec<Report>>>,
}

impl House {
    fn new(max_retry: &str) -> Self {
        let reports = Arc::<Mutex<Vec<Report>>>::default();
        let (watch, heard) = (Mutex::new(Watch::default()), Arc::clone(&reports));
        let door = Door::open(Content::default(), move |visit| {
            heard.lock().unwrap().extend(watch.lock().unwrap().take(visit));
        });
        let door = door.unwrap();
        let port = port_to(door.socket());
        let mut guest = Guest::with_max(script(""), max_retry);
        guest.server.url = format!("http://127.0.0.1:{port}/{BOOT_SCRIPT}");
        Self {
            guest,
            door,
            port,
            reports,
        }
    }

    fn serve(&self, script: &str) {
        self.door.put(
            BOOT_SCRIPT,
            reporting_to("127.0.0.1", self.port, script.as_bytes()),
        );
    }

    fn reports(&self) -> Vec<Report> {
        self.reports.lock().unwrap().drain(..).collect()
    }
}

/// A loopback port that leads to the socket, as qemu does for a guest.
fn port_to(socket: &Path) -> u16 {
    let socket: PathBuf = socket.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for guest in listener.incoming() {
            let (guest, Ok(host)) = (guest.unwrap(), UnixStream::connect(&socket)) else {
                return;
            };
            thread::spawn(move || pass(&guest, &host));
        }
    });
    port
}

fn pass(guest: &TcpStream, host: &UnixStream) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::copy(&mut &*guest, &mut &*host);
            let _ = host.shutdown(Shutdown::Write);
        });
        let _ = io::copy(&mut &*host, &mut &*guest);
        let _ = guest.shutdown(Shutdown::Both);
    });
}

fn log_lines(reports: &[Report]) -> Vec<String> {
    let lines = reports.iter().filter_map(|report| match report {
        Report::Log(lines) => Some(lines.clone()),
        _ => None,
    });
    lines.flatten().collect()
}

#[test]
fn a_script_that_is_waited_for_runs_as_it_would_alone_and_its_end_is_told() {
    let house = House::new("5");
    let look = "echo \"$0 $PWD $TERM ${BASH_SOURCE[0]} $# $- $(readlink /proc/$$/fd/0) $(ls /proc/$$/fd | wc -l)\"\n\
                env | grep -v -e ^SHLVL= -e ^_= | sort | sha256sum\nexit 9";
    // Alone.
    house.door.put(BOOT_SCRIPT, look);
    house.guest.minute();
    let alone = house.guest.log();
    house.serve(look);
    house.guest.minute();
    let both = house.guest.log();
    let waited_for = both.strip_prefix(&alone).unwrap();
    let said = |log: &str| {
        log.lines()
            .filter(|line| !line.contains(" vm-bootstrap: "))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let talk_of_curl = |line: &String| !line.is_empty();
    let [alone, waited_for] = [said(&alone), said(waited_for)]
        .map(|lines| lines.into_iter().filter(talk_of_curl).collect::<Vec<_>>());
    assert_eq!(waited_for, alone, "the script saw another world");
    assert_eq!(alone.len(), 2);
    assert_eq!(house.guest.bench.read("root/bootstrap/bootstrap-script"), look);

    let reports = house.reports();
    assert_eq!(reports.first(), Some(&Report::Started { run: 2, max: 5 }));
    assert_eq!(
        reports.last(),
        Some(&Report::Failed {
            run: 2,
            code: 9,
            max: 5
        })
    );
    assert!(log_lines(&reports).contains(&alone[0]), "{reports:?}");

    house.serve("echo -n no newline; exit 0");
    house.guest.minute();
    assert_eq!(
        house.reports().last(),
        Some(&Report::Ended(Outcome::Succeeded { runs: 3 }))
    );
    assert!(house.guest.retired());
}

#[test]
fn every_way_in_which_the_agent_ends_is_told() {
    for (script, outcome) in [
        (
            "echo 1 > bootstrap-max-retry; exit 3",
            Outcome::GaveUp { runs: 1, code: 3 },
        ),
        (
            "rm start-bootstrap; exit 4",
            Outcome::Disabled { runs: 1, code: 4 },
        ),
        (
            "rm ../../etc/cron.d/vm-boostrap; kill -9 $$",
            Outcome::Disabled { runs: 1, code: 137 },
        ),
    ] {
        let house = House::new("5");
        house.serve(script);
        house.guest.minute();
        assert_eq!(
            house.reports().last(),
            Some(&Report::Ended(outcome)),
            "{script}: {}",
            house.guest.log()
        );
    }
    // Raised in its last run, so there is another.
    let house = House::new("1");
    house.serve("echo 2 > bootstrap-max-retry; exit 3");
    house.guest.minute();
    assert_eq!(
        house.reports().last(),
        Some(&Report::Failed {
            run: 1,
            code: 3,
            max: 2
        })
    );
    house.guest.minute();
    assert_eq!(
        house.reports().last(),
        Some(&Report::Ended(Outcome::GaveUp { runs: 2, code: 3 }))
    );
}

#[test]
fn the_log_is_told_while_the_script_runs_and_a_host_that_is_gone_changes_nothing() {
    let house = House::new("5");
    house.serve("echo first; until [ -e go ]; do sleep 0.1; done; echo last; exit 0");
    let mut run = house.guest.start();
    let mut lines = Vec::new();
    eventually("its first line is reported", || {
        lines.extend(log_lines(&house.reports()));
        lines.contains(&"first".to_owned())
    });
    house.guest.bench.write("root/bootstrap/go", "");
    run.wait().unwrap();
    let reports = house.reports();
    lines.extend(log_lines(&reports));
    let count = |wanted: &str| lines.iter().filter(|line| *line == wanted).count();
    assert_eq!((count("first"), count("last")), (1, 1), "{lines:?}");
    assert_eq!(
        reports.last(),
        Some(&Report::Ended(Outcome::Succeeded { runs: 1 }))
    );
}
