//! A guest on a user's own disk, with the user's own key in it: entered while its step runs, kept when the step fails, entered
//! again.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::Bench;
use crate::support::small_guest::small_disk;

/// Waits for somebody who comes in, and fails.
const STEP: &str =
    "touch /root/waiting; until [ -e /root/go ]; do sleep 1; done; echo lesson > /root/learned; exit 3";

#[test]
fn somebody_comes_in_while_a_step_runs_and_again_after_it_failed() {
    let bench = Bench::new();
    small_disk(&bench, "theirs");
    let manifest = format!(
        "[pipeline]\nname = \"entered\"\noutput = \"out-entered\"\n\
         [distros.theirs]\nfamily = \"debian\"\nversion = \"12\"\ndisk = \"64M\"\nmemory = \"128M\"\ncpus = 1\n\
         source = {{ disk = {{ path = \"theirs.raw\", access = {{ key = \"theirs-key\" }} }} }}\n\
         [flavors.entered]\nsteps = [{{ inline = \"{STEP}\", name = \"wait\" }}]\n\
         [[images]]\ndistro = \"theirs\"\nflavor = \"entered\"\nsizes = [\"128M\"]\n"
    );
    bench.write("entered.toml", manifest);
    let node = "provision/theirs-entered";
    let mut run = bench.command(&["run", "entered.toml", "--on-error", "keep"]);
    let mut run = run.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(run.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.contains("step 1/1: wait") {
        assert!(said.read_line(&mut seen).unwrap() > 0, "{seen}");
    }
    let entered = bench.run(&["ssh", node, "--", "touch /root/go; cat /proc/sys/kernel/ostype"]);
    assert_eq!(
        (entered.code, entered.stdout.as_str()),
        (0, "Linux\n"),
        "{}",
        entered.all()
    );
    std::io::Read::read_to_string(&mut said, &mut seen).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(1), "{seen}");
    assert!(seen.contains("step `wait` exited with code 3"), "{seen}");

    let again = bench.run(&["ssh", node, "--", "cat /root/learned"]);
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
