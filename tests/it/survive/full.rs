//! Disks that are full: real ones, of a few megabytes, in a mount namespace of the test's own.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use pipeline::internals::event::Verdict;
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::machine::qemu::Machine;
use pipeline::internals::machine::spec::{Accel, Disk, DiskFormat, MachineSpec};
use pipeline::internals::platform::Platform;
use pipeline::internals::size::{ByteSize, MIB};

use super::faults::{good, run};
use crate::chaos::{mini, tool};
use crate::machine::tiny::{self, Then};
use crate::support::Bench;
use crate::support::mount_namespace::{inside, mount};

/// Bytes in use on a file system.
fn used(folder: &Path) -> u64 {
    let facts = rustix::fs::statvfs(folder).unwrap();
    (facts.f_blocks - facts.f_bfree) * facts.f_frsize
}

/// The file system has less room than a run needs, by more and less: each run ends in words, and the store and the output
/// hold whole things; with room enough the next run goes on from there.
#[test]
fn a_full_disk_stops_a_run_at_any_write_and_nothing_is_half() {
    if !inside("survive::full::a_full_disk_stops_a_run_at_any_write_and_nothing_is_half") {
        return;
    }
    let bench = Bench::new();
    let disk = bench.path("disk");
    fs::create_dir(&disk).unwrap();
    mount(&disk, "size=256m");
    let sizes = ["64M"];
    let house = mini::house(&disk.join("house"), &sizes);
    let start = used(&disk);
    let mut messages = Vec::new();
    let mut room = 16 * 1024;
    loop {
        let size = start + room;
        tool(
            "mount",
            &["-o", &format!("remount,size={size}"), disk.to_str().unwrap()],
            Path::new("/"),
        );
        let ran = run(&house, &[]);
        for packed in [
            mini::packed(sizes[0]),
            mini::packed(sizes[0]).replace("out/", "share/"),
        ] {
            let path = house.folder.join(&packed);
            if path.exists() {
                tool("gzip", &["-t", path.to_str().unwrap()], &house.folder);
            }
        }
        if ran.code == Some(0) {
            break;
        }
        assert!(
            matches!(ran.code, Some(1 | 3)),
            "{:?} with {room} bytes:\n{}",
            ran.code,
            ran.stderr
        );
        let words = ran.stderr.to_lowercase().replace("\n  │ ", " ");
        assert!(
            words.contains("no space left"),
            "with {room} bytes:\n{}",
            ran.stderr
        );
        assert!(words.contains("make room"), "with {room} bytes:\n{}", ran.stderr);
        messages.push(ran.stderr);
        room = room * 7 / 4;
        assert!(room < 200 << 20, "it never had enough");
    }
    assert!(messages.len() > 5, "only {} runs met a full disk", messages.len());
    // Unpacking and looking takes room too.
    tool(
        "mount",
        &["-o", "remount,size=256m", disk.to_str().unwrap()],
        Path::new("/"),
    );
    good(&house, &sizes);
    let left = tool("find", &["out", "share", "-name", ".*.part"], &house.folder);
    assert_eq!(left, "");
    let again = run(&house, &[]);
    assert!(
        again.code == Some(0) && again.stderr.contains("nothing to do"),
        "{}",
        again.stderr
    );
}

/// The guest writes, the host has no room for it: qemu stops the guest, which would hang for ever.
#[test]
fn a_guest_whose_write_finds_no_room_is_known_at_once() {
    if !inside("survive::full::a_guest_whose_write_finds_no_room_is_known_at_once") {
        return;
    }
    let bench = Bench::new();
    let full = bench.path("full");
    fs::create_dir(&full).unwrap();
    mount(&full, "size=1m");
    let image = full.join("disk.raw");
    let file = fs::File::create(&image).unwrap();
    file.set_len(1 << 20).unwrap();
    file.write_all_at(&tiny::disk("writing\n", Then::WriteFarAndPowerOff)[..512], 0)
        .unwrap();
    let mut filler = fs::File::create(full.join("filler")).unwrap();
    while filler.write_all(&[1; 4096]).is_ok() {}
    let spec = MachineSpec::with_disk(
        "tiny",
        Platform::default(),
        Accel::Tcg,
        ByteSize(32 * MIB),
        Disk::new(image, DiskFormat::Raw),
    );
    let (sender, _events) = std::sync::mpsc::channel();
    let emit = pipeline::internals::event::Emitter::new(sender);
    let mut machine = Machine::start(&spec, &bench.path("vm"), &emit, &Cancel::default()).unwrap();
    machine.wait_console("writing", Duration::from_secs(60)).unwrap();
    let began = Instant::now();
    let error = machine
        .wait_console("all is written", Duration::from_secs(300))
        .unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(error.verdict(), Verdict::DiskFull, "{error}");
    let text = error.to_string();
    assert!(
        text.starts_with("no space left for what the guest writes"),
        "{text}"
    );
    assert!(text.ends_with("| writing"), "{text}");
}
