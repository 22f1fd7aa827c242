//! A guest on a user's own disk, with the user's own key in it: entered while its step runs, kept when the step fails, entered
//! again.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};

use crate::support::Bench;
use crate::support::small_guest::small_disk;
use crate::support::vm::processes_naming;

/// Waits for a login, and fails.
const STEP: &str =
    "touch /root/waiting; until [ -e /root/go ]; do sleep 1; done; echo lesson > /root/learned; exit 3";

const NODE: &str = "provision/theirs-entered";

/// A guest in which this step fails.
fn bench(step: &str) -> Bench {
    let bench = Bench::new();
    small_disk(&bench, "theirs");
    let manifest = format!(
        "[pipeline]\nname = \"entered\"\noutput = \"out-entered\"\n\
         [distros.theirs]\nfamily = \"debian\"\nversion = \"12\"\ndisk = \"64M\"\nmemory = \"128M\"\ncpus = 1\n\
         source = {{ disk = {{ path = \"theirs.raw\", access = {{ key = \"theirs-key\" }} }} }}\n\
         [flavors.entered]\nsteps = [{{ inline = \"{step}\", name = \"wait\" }}]\n\
         [[images]]\ndistro = \"theirs\"\nflavor = \"entered\"\nsizes = [\"128M\"]\n"
    );
    bench.write("entered.toml", manifest);
    bench
}

#[test]
fn somebody_comes_in_while_a_step_runs_and_again_after_it_failed() {
    let bench = bench(STEP);
    let mut run = bench.command(&["run", "entered.toml", "--on-error", "keep"]);
    let mut run = run.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(run.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.contains("step 1/1: wait") {
        assert!(said.read_line(&mut seen).unwrap() > 0, "{seen}");
    }
    let entered = bench.run(&["ssh", NODE, "--", "touch /root/go; cat /proc/sys/kernel/ostype"]);
    assert_eq!(
        (entered.code, entered.stdout.as_str()),
        (0, "Linux\n"),
        "{}",
        entered.all()
    );
    std::io::Read::read_to_string(&mut said, &mut seen).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(1), "{seen}");
    assert!(seen.contains("step `wait` exited with code 3"), "{seen}");

    let again = bench.run(&["ssh", NODE, "--", "cat /root/learned"]);
    assert_eq!(
        (again.code, again.stdout.as_str()),
        (0, "lesson\n"),
        "{}",
        again.all()
    );
    let list = bench.run(&["ssh", "--list"]);
    assert!(
        list.stdout.contains("kept: step `wait` exited with code 3"),
        "{}",
        list.all()
    );
}

/// A user at a terminal, with bars on it. Keys go to the guest while its shell has the terminal, Ctrl-C among them; the run
/// goes on when the shell is left.
#[test]
fn a_failed_step_lends_the_terminal_to_a_shell_in_its_machine() {
    let bench = bench("echo lesson > /root/learned; exit 3");
    let plain = bench.command(&[]);
    let line = format!(
        "{} run entered.toml --on-error shell",
        env!("CARGO_BIN_EXE_pipeline")
    );
    let mut run = Command::new("script")
        .args(["-qefc", &line, "/dev/null"])
        .current_dir(bench.path(""))
        .env_clear()
        .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keys = run.stdin.take().unwrap();
    let mut screen = run.stdout.take().unwrap();
    let mut seen = String::new();
    let mut read = 0;
    let mut wait_for = |words: &str| {
        // What comes behind these words may have come with them.
        read = loop {
            if let Some(at) = seen[read..].find(words) {
                break read + at + words.len();
            }
            let mut bytes = [0; 4096];
            let count = screen.read(&mut bytes).unwrap();
            assert!(count > 0, "it ended without `{words}`:\n{seen}");
            seen += &String::from_utf8_lossy(&bytes[..count]);
        };
    };
    wait_for("This is a shell in its VM, as root");
    wait_for("# ");
    keys.write_all(b"echo asleep-$((6 * 7)); sleep 900\n").unwrap();
    wait_for("asleep-42");
    let other = bench.run(&[
        "ssh",
        NODE,
        "--",
        "until pidof sleep; do :; done; cat /root/learned",
    ]);
    assert!(other.stdout.ends_with("\nlesson\n"), "{}", other.all());
    keys.write_all(b"\x03").unwrap();
    wait_for("# ");
    keys.write_all(b"tty; echo awake-$((6 * 7))\n").unwrap();
    wait_for("awake-42");
    assert!(processes_naming(&bench.path("store")).len() > 1);
    keys.write_all(b"exit\n").unwrap();
    wait_for("step `wait` exited with code 3");
    screen.read_to_string(&mut seen).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(1), "{seen}");
    assert!(seen.contains("/dev/pts/"), "{seen}");
    assert!(processes_naming(&bench.path("store")).is_empty());

    let runs = std::fs::read_dir(bench.path("store/runs")).unwrap();
    let journal = runs.flatten().next().unwrap().path().join("events.jsonl");
    let journal = std::fs::read_to_string(journal).unwrap();
    let held = journal.lines().find(|line| line.contains("\"machine_held\""));
    assert!(
        held.is_some_and(|line| line.contains("\"machine\":\"provision\"")),
        "{journal}"
    );
}
