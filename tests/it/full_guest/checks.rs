//! Images that are broken must fail the checks that are there for what is broken, and no others; and those that have no
//! agent are asked in other ways. Real guests, made from the quickstart's image by editing its file system while it is off.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use std::{fs, thread};

use pipeline::internals::checks::{Agent, Check, CheckSet, Command, Identity, Network, NoTraces};
use pipeline::internals::event::{CheckOutcome, CheckResult, What};
use pipeline::internals::host::fs::hash_file;
use pipeline::internals::machine::disk::Put;
use pipeline::internals::machine::spec::DiskFormat;
use pipeline::internals::platform::Platform;
use pipeline::internals::size::{ByteSize, GIB, MIB};
use pipeline::internals::stage::Room;
use pipeline::internals::stage::check::{Artifact, CheckWork, WayIn, check};
use pipeline::internals::stage::distro::MachineWish;
use pipeline::internals::stage::error::StageError;

use crate::support::deadline::WITH_GUESTS;
use crate::support::inside::{remove, replace, write};
use crate::support::line::guests;
use crate::support::vm::{SMALL, quickstart, raw_disk};
use crate::support::{Bench, tool};

const SIZE: u64 = 3 * GIB;

/// One doctored image and what must come of it.
struct Case {
    name: &'static str,
    /// Breaks the raw disk; the folder is for files on the way in.
    break_it: fn(&Path, &Bench),
    checks: fn() -> Vec<Check>,
    way_in: WayIn,
    /// The checks that fail, in their order, each with a part of what is seen; one that says several things several times.
    fails: &'static [(&'static str, &'static str)],
}

fn standard() -> Vec<Check> {
    CheckSet::Standard.checks()
}

/// All that needs one boot.
fn one_boot() -> Vec<Check> {
    let mut checks = standard();
    checks.retain(|check| *check != Identity.into());
    checks
}

fn agent_and_command() -> Vec<Check> {
    let mut coffee = command("echo no beans; exit 3", 0, None);
    coffee.name = "coffee".to_owned();
    vec![Network.into(), Agent.into(), coffee]
}

fn command(text: &str, exit_code: i32, matches: Option<&str>) -> Check {
    Check::from(Command {
        command: text.to_owned(),
        exit_code,
        output: None,
        matches: matches.map(str::to_owned),
        timeout: Duration::from_secs(60),
    })
}

fn one_boot_and_questions() -> Vec<Check> {
    let mut checks = one_boot();
    checks.push(command(
        "id -u; cat /etc/motd; exit 7",
        7,
        Some("(?s)^0\n.*pipeline"),
    ));
    checks
}

const CASES: &[Case] = &[
    Case {
        name: "no dhcp",
        break_it: |disk, bench| {
            let text = "auto lo\niface lo inet loopback\n";
            replace(disk, "/etc/network/interfaces", text, bench);
        },
        checks: one_boot,
        way_in: WayIn::Agent,
        fails: &[("network", "no answer")],
    },
    Case {
        name: "an agent that never stops, and a command that fails",
        break_it: |disk, bench| {
            let text = include_str!("../../../guest/vm-bootstrap");
            let broken = text.replace("rm -f \"$cron_entry\"", ":");
            assert_ne!(text, broken);
            replace(disk, "/root/bootstrap/vm-bootstrap", &broken, bench);
        },
        checks: agent_and_command,
        way_in: WayIn::Agent,
        fails: &[
            (
                "agent",
                "/etc/cron.d/vm-boostrap is still there after the script succeeded; the script was fetched ",
            ),
            ("coffee", "exit code 3 and the output\nno beans"),
        ],
    },
    Case {
        name: "nothing to boot",
        break_it: |disk, _| {
            use std::os::unix::fs::FileExt as _;
            let file = fs::OpenOptions::new().write(true).open(disk).unwrap();
            // The code of the boot sector, up to the partition table.
            file.write_all_at(&[0; 440], 0).unwrap();
            file.write_all_at(&[0; 2], 510).unwrap();
        },
        checks: one_boot,
        way_in: WayIn::Agent,
        fails: &[("boots-within", "nothing to boot")],
    },
    Case {
        name: "no login prompt, no sshd, a failed unit, and the build left its key; asked by a unit of our own",
        break_it: |disk, bench| {
            for name in [
                "/etc/systemd/system/getty.target.wants/getty@tty1.service",
                "/etc/systemd/system/sshd.service",
                "/etc/systemd/system/multi-user.target.wants/ssh.service",
                // Without it there is no other way in.
                "/usr/sbin/sshd",
            ] {
                remove(disk, name, bench);
            }
            for unit in ["getty@tty1.service", "serial-getty@ttyS0.service"] {
                let mask = format!("/etc/systemd/system/{unit}");
                write(disk, &[Put::Link(&mask, "/dev/null")]);
            }
            let unit = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo out of coffee; exit 1'\n";
            let unit = bench.write("unit", unit);
            let body = "Build".repeat(9);
            let key = format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAA{body} pipeline-build-key\n");
            let key = bench.write("key", &key);
            write(
                disk,
                &[
                    Put::File("/etc/ssh/root.keys", &key),
                    Put::File("/etc/systemd/system/brewing.service", &unit),
                    Put::Link(
                        "/etc/systemd/system/multi-user.target.wants/brewing.service",
                        "../brewing.service",
                    ),
                ],
            );
        },
        checks: one_boot_and_questions,
        way_in: WayIn::Overlay,
        fails: &[
            ("login-prompt", "no such line"),
            ("port-22", "a closed port"),
            ("no-failed-units", "brewing.service"),
            ("no-traces", "/etc/ssh/root.keys: the key of another build"),
        ],
    },
    Case {
        name: "root not grown, and the build left its proxy; asked by a key from outside",
        break_it: |disk, bench| {
            let file = fs::OpenOptions::new().write(true).open(disk).unwrap();
            file.set_len(SIZE + GIB).unwrap();
            let proxy = bench.write("proxy", "Acquire::http::Proxy \"http://10.0.2.2:3142\";\n");
            write(disk, &[Put::File("/etc/apt/apt.conf.d/30proxy", &proxy)]);
        },
        checks: one_boot_and_questions,
        way_in: WayIn::Overlay,
        fails: &[
            ("root-size", "ends at 3.0 GiB of 4 GiB"),
            ("no-traces", "/etc/apt/apt.conf.d/30proxy: Acquire"),
        ],
    },
    Case {
        name: "an sshd that takes no key of root's, which is no fault; one identity and one private key for all, and a key \
               shared on purpose",
        break_it: |disk, bench| {
            replace(
                disk,
                "/etc/machine-id",
                "0123456789abcdef0123456789abcdef\n",
                bench,
            );
            let sshd = "AuthorizedKeysFile /etc/ssh/keys/%u\nPermitRootLogin no\n";
            let sshd = bench.write("sshd", sshd);
            let key = "-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n";
            let key = bench.write("key", key);
            let shared = bench.write("shared", "/etc/ours.pem\n");
            write(
                disk,
                &[
                    Put::File("/etc/ssh/sshd_config.d/10-hardened.conf", &sshd),
                    Put::File("/etc/all.pem", &key),
                    Put::File("/etc/ours.pem", &key),
                    Put::File("/etc/shared-identities", &shared),
                ],
            );
        },
        checks: || vec![Network.into(), NoTraces.into(), Identity.into()],
        way_in: WayIn::Overlay,
        fails: &[
            (
                "identity",
                "the machine id 0123456789abcdef0123456789abcdef in both",
            ),
            ("identity", "the same in both: /etc/all.pem\n"),
        ],
    },
];

#[test]
fn each_broken_image_fails_its_own_checks_and_no_others() {
    let story = quickstart(0);
    let base = story.bench.path("base.raw");
    raw_disk(&story.bench, SMALL, &base);
    let wrong = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for case in CASES {
            scope.spawn(|| {
                let _guest = guests(1);
                if let Err(text) = try_case(case, &base) {
                    wrong.lock().unwrap().push(format!("{}: {text}", case.name));
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Breaks a copy of the disk, checks it, and compares what fails with what must.
fn try_case(case: &Case, base: &Path) -> Result<(), String> {
    let bench = Bench::lasting(WITH_GUESTS);
    let raw = bench.path("disk.raw");
    let copy = format!("cp --sparse=always {} {}", base.display(), raw.display());
    tool("sh", &["-c", &copy], &bench.path(""));
    (case.break_it)(&raw, &bench);
    let size = fs::metadata(&raw).unwrap().len();
    tool(
        "qemu-img",
        &["convert", "-O", "qcow2", "disk.raw", "artifact"],
        &bench.path(""),
    );
    fs::remove_file(&raw).unwrap();
    let (results, error) = look(case, &bench, size);

    let bad: Vec<_> = results
        .iter()
        .filter(|r| r.outcome == CheckOutcome::Failed)
        .collect();
    let names: Vec<_> = bad.iter().map(|r| r.check.as_str()).collect();
    let mut wanted: Vec<_> = case.fails.iter().map(|(name, _)| *name).collect();
    wanted.dedup();
    if names != wanted || results.len() != (case.checks)().len() {
        return Err(format!(
            "{wanted:?} should fail, and {names:?} did: {results:#?}\n{error:?}"
        ));
    }
    for (name, seen) in case.fails {
        let result = bad.iter().find(|result| result.check == *name).unwrap();
        if !result.seen.contains(seen) {
            return Err(format!("{name} does not say `{seen}`: {}", result.seen));
        }
    }
    match error {
        Some(error) => {
            let text = error.to_string();
            let head = format!(
                "{} of {} checks failed: {}\n  {}\n  expected  ",
                wanted.len(),
                results.len(),
                wanted.join(", "),
                case.fails[0].0
            );
            if !text.starts_with(&head) || !text.contains("\n  seen      ") {
                return Err(text);
            }
            for kept in ["console.log", "qemu.argv", "qemu.stderr"] {
                if !bench.path("logs/first-boot").join(kept).exists() {
                    return Err(format!("the bundle has no {kept}"));
                }
            }
            if names.contains(&"coffee") {
                for (file, text) in [
                    ("script.sh", "no beans"),
                    ("answers-first-boot.txt", "== coffee: code 3"),
                    ("requests.log", "GET /vm-bootstrap: 200"),
                ] {
                    if !bench.read(&format!("logs/{file}")).contains(text) {
                        return Err(format!("no `{text}` in {file}"));
                    }
                }
            }
            let screen = fs::read(bench.path("logs/first-boot/screen.png")).unwrap_or_default();
            if !screen.starts_with(b"\x89PNG") {
                return Err("the bundle has no picture of the screen".to_owned());
            }
        }
        None => return Err(format!("{results:#?}")),
    }
    Ok(())
}

fn look(case: &Case, bench: &Bench, size: u64) -> (Vec<CheckResult>, Option<StageError>) {
    let (mut site, events) = bench.site("check/broken");
    site.room = Room::Both;
    let artifact = bench.path("artifact");
    let digests = hash_file(
        &artifact,
        &[pipeline::internals::digest::Algorithm::Sha256],
        &site.cancel,
    )
    .unwrap();
    let work = CheckWork {
        checks: (case.checks)(),
        size,
        format: DiskFormat::Qcow2,
        way_in: case.way_in,
        machine: MachineWish {
            computer: Platform::default().into(),
            memory: ByteSize(512 * MIB),
            cpus: 1,
        },
        further: Vec::new(),
    };
    let artifact = Artifact {
        path: &artifact,
        digest: &digests[0],
    };
    let error = check(&work, artifact, None, &site, &bench.path("report.json")).err();
    drop(site);
    let (mut results, mut phases) = (Vec::new(), Vec::new());
    for event in events {
        match event.what {
            What::Check { result, .. } => results.push(result),
            What::Phase { phase } => phases.push(phase),
            _ => {}
        }
    }
    // A second clone starts while the first one is still asked.
    let of = |boot| {
        phases
            .iter()
            .enumerate()
            .filter(move |(_, phase)| phase.starts_with(boot))
            .map(|(at, _)| at)
    };
    if let Some(second) = of("second boot").next() {
        assert!(of("first boot").next_back() > Some(second), "{phases:?}");
    }
    (results, error)
}
