//! A real guest, somebody's disk with a key of theirs in it: entered while its step runs, kept when the step fails, entered
//! again.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use pipeline::machine::disk::Put;

use crate::support::inside::write;
use crate::support::vm::{SMALL, quickstart, raw_disk};
use crate::support::{Bench, tool};

/// Waits for somebody who comes in, and fails.
const STEP: &str =
    "touch /root/waiting; until [ -e /root/go ]; do sleep 1; done; echo lesson > /root/learned; exit 3";

#[test]
fn somebody_comes_in_while_a_step_runs_and_again_after_it_failed() {
    let story = quickstart(1);
    let bench = &story.bench;
    a_disk_with_a_key(bench);
    let manifest = format!(
        "[pipeline]\nname = \"entered\"\noutput = \"out-entered\"\n\
         [distros.theirs]\nfamily = \"debian\"\nversion = \"12\"\ndisk = \"3G\"\ncpus = 1\n\
         source = {{ disk = {{ path = \"entered.qcow2\", access = {{ key = \"entered-key\" }} }} }}\n\
         [flavors.entered]\nsteps = [{{ inline = \"{STEP}\", name = \"wait\" }}]\n\
         [[images]]\ndistro = \"theirs\"\nflavor = \"entered\"\nsizes = [\"3G\"]\n"
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

/// The quickstart's image as somebody has it who put a key of their own in.
fn a_disk_with_a_key(bench: &Bench) {
    let key = ["-q", "-t", "ed25519", "-N", "", "-f", "entered-key"];
    tool("ssh-keygen", &key, &bench.path(""));
    let own = Bench::new();
    let raw = own.path("disk.raw");
    raw_disk(bench, SMALL, &raw);
    let public = bench.path("entered-key.pub");
    write(
        &raw,
        &[
            Put::Folder("/root/.ssh"),
            Put::File("/root/.ssh/authorized_keys", &public),
        ],
    );
    let disk = bench.path("entered.qcow2").display().to_string();
    tool(
        "qemu-img",
        &["convert", "-O", "qcow2", "disk.raw", &disk],
        &own.path(""),
    );
}
