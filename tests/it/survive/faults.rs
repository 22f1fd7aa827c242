//! Bits that flip, results that go, clocks that jump, runs next to each other: on a pipeline without machines.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::chaos::{House, mini, tool};
use crate::support::Bench;

const SIZES: [&str; 2] = ["64M", "96M"];

/// What a run said.
pub struct Ran {
    pub code: Option<i32>,
    pub stderr: String,
}

/// Runs the pipeline with these arguments more.
pub fn run(house: &House, more: &[&str]) -> Ran {
    let args: Vec<_> = house
        .args
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    let output = house.command(&args).output().unwrap();
    Ran {
        code: output.status.code(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn well(ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

/// The images and their lists are right, as others see them.
pub fn good(house: &House, sizes: &[&str]) {
    for size in sizes {
        mini::has_content(house, &mini::packed(size));
    }
    for place in ["sha512sum", "md5sum"] {
        let list = format!("{}.txt", place.to_uppercase());
        let listed = tool(place, &["--check", "--strict", &list], &house.folder.join("out"));
        assert_eq!(listed.lines().count(), sizes.len(), "{listed}");
    }
    for size in sizes {
        let file = mini::packed(size).replace("out/", "");
        tool(
            "cmp",
            &[&format!("out/{file}"), &format!("share/{file}")],
            &house.folder,
        );
    }
}

/// The one result of a stage for an image, by its file.
fn results(house: &House, stage: &str) -> Vec<PathBuf> {
    let folder = house.folder.join("store/results").join(stage);
    let mut found: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    found.sort();
    found
}

/// Turns one bit in the middle of a file, and leaves its times as they were: so does a disk that goes bad.
fn flip(path: &Path) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mode = fs::metadata(path).unwrap().permissions();
    let mut writable = mode.clone();
    std::os::unix::fs::PermissionsExt::set_mode(&mut writable, 0o600);
    fs::set_permissions(path, writable).unwrap();
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let at = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    file.set_modified(modified).unwrap();
    fs::set_permissions(path, mode).unwrap();
}

#[test]
fn a_flipped_bit_is_found_where_it_would_be_built_upon_and_built_anew() {
    let bench = Bench::new();
    let house = mini::house(&bench.path("house"), &SIZES);
    well(&run(&house, &[]));

    // In a result that the next node is built from.
    flip(&results(&house, "size")[0].join("disk"));
    let ran = run(&house, &["--rebuild", "package/*"]);
    well(&ran);
    assert!(
        ran.stderr.contains("in the store is damaged (written as sha256:"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("it is removed and rebuilt"), "{}", ran.stderr);
    good(&house, &SIZES);

    // In packaged images that are to be put into the output folder once more.
    for size in SIZES {
        fs::remove_file(house.folder.join(mini::packed(size))).unwrap();
    }
    results(&house, "package")
        .iter()
        .for_each(|entry| flip(&entry.join("image")));
    let ran = run(&house, &[]);
    well(&ran);
    assert!(ran.stderr.contains("it is removed and rebuilt"), "{}", ran.stderr);
    good(&house, &SIZES);

    // In what is published: its owner sees it by the digests, and a run puts it right.
    let published = house
        .folder
        .join(mini::packed(SIZES[1]).replace("out/", "share/"));
    fs::write(&published, "something else").unwrap();
    well(&run(&house, &[]));
    good(&house, &SIZES);

    // Records and notes of the store itself: what cannot be read counts as absent.
    fs::write(
        results(&house, "package")[0].join("entry.json"),
        "{ \"version\": 1, ",
    )
    .unwrap();
    for file in walk(&house.folder.join("store/latest")) {
        fs::write(file, "\0\0\0").unwrap();
    }
    well(&run(&house, &[]));
    good(&house, &SIZES);
}

/// The second size takes pieces of the first one's package, and none of a damaged one. Whatever it takes, its bytes are those
/// that it would have in an empty store.
#[test]
fn a_second_size_is_packaged_from_the_first_ones_pieces_and_nothing_of_a_damaged_one() {
    let bench = Bench::new();
    let house = mini::house(&bench.path("house"), &SIZES);
    let [first, second] = SIZES.map(|size| format!("tiny-{size}-base"));
    well(&run(&house, &[&first]));
    let package = results(&house, "package").remove(0).join("image");
    let whole = fs::read(&package).unwrap();
    flip(&package);
    let ran = run(&house, &[&second]);
    well(&ran);
    let named = format!(
        "package {second}: warning: {} is not what was written",
        package.display()
    );
    assert!(ran.stderr.contains(&named), "{}", ran.stderr);
    mini::has_content(&house, &mini::packed(SIZES[1]));
    let image = || fs::read(house.folder.join(mini::packed(SIZES[1]))).unwrap();
    let from_damaged = image();

    fs::set_permissions(&package, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(&package, whole).unwrap();
    let ran = run(&house, &[&second, "--rebuild", "package/*"]);
    well(&ran);
    assert!(!ran.stderr.contains("not what was written"), "{}", ran.stderr);
    assert!(image() == from_damaged);
    // Nothing to take from.
    fs::remove_dir_all(house.folder.join("store/latest")).unwrap();
    well(&run(&house, &[&second, "--rebuild", "package/*"]));
    assert!(image() == from_damaged);
}

/// What was read and found as written is not read again within a day, unless it was touched: or within another time.
#[test]
fn what_was_read_back_is_read_again_when_it_was_touched_or_its_time_is_over() {
    let bench = Bench::new();
    let house = mini::house(&bench.path("house"), &SIZES[..1]);
    let read = |more: &[&str]| {
        drop(fs::remove_dir_all(house.folder.join("store/runs")));
        well(&run(&house, more));
        let events = tool("sh", &["-c", "cat store/runs/*/events.jsonl"], &house.folder);
        let said = events
            .lines()
            .find_map(|line| line.split_once("reading back ")?.1.split_once('"'));
        said.map(|(said, _)| said.to_owned())
    };
    // Its bytes were hashed when it was stored.
    assert_eq!(read(&[]), None);
    assert_eq!(read(&["--rebuild", "package/*"]), None);
    let disk = results(&house, "provision")[0].join("disk");
    fs::set_permissions(&disk, fs::metadata(&disk).unwrap().permissions()).unwrap();
    let one = Some("1 result from the store".to_owned());
    assert_eq!(read(&["--rebuild", "package/*"]), one);
    assert_eq!(read(&["--rebuild", "package/*"]), None);
    // What is published is read in any case.
    fs::remove_dir_all(house.folder.join("out")).unwrap();
    assert_eq!(read(&[]), one);
    let manifest = bench.read("house/mini.toml");
    bench.write(
        "house/mini.toml",
        manifest.replace("[resources]", "[resources]\nreread = \"1s\""),
    );
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(
        read(&["--rebuild", "package/*"]),
        Some("2 results from the store".to_owned())
    );
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn what_goes_from_store_or_output_comes_back_also_while_a_run_goes_on() {
    let bench = Bench::new();
    let house = mini::house(&bench.path("house"), &SIZES);
    well(&run(&house, &[]));
    for gone in [
        "results/size",
        "results/sums",
        "locks",
        "latest",
        "runs",
        "secret",
    ] {
        let path = house.folder.join("store").join(gone);
        drop(fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)));
    }
    fs::remove_dir_all(house.folder.join("out")).unwrap();
    well(&run(&house, &[]));
    good(&house, &SIZES);

    // Sizes are built again, and go the moment they are there: the run says so, or was quicker.
    for stage in ["size", "package"] {
        // A packaged image needs no size to be put where it belongs.
        let _ = fs::remove_dir_all(house.folder.join("store/results").join(stage));
    }
    let mut command = house.command(&["run", mini::MANIFEST, "--format=json"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut message = String::new();
    for line in lines {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let node = event["node"].as_str().unwrap_or_default();
        if event["event"] == "node_finished" && node.starts_with("size/") {
            let _ = fs::remove_dir_all(house.folder.join("store/results/size"));
        }
        if event["outcome"] == "failed" {
            message += event["message"].as_str().unwrap();
        }
    }
    let code = child.wait().unwrap().code();
    match code {
        Some(0) => assert_eq!(message, ""),
        Some(1) => assert!(
            message.contains("has gone from the store while this run was going; run again")
                || message.contains("No such file"),
            "{message}"
        ),
        _ => panic!("{code:?}: {message}"),
    }
    well(&run(&house, &[]));
    good(&house, &SIZES);
}

/// Equal inputs need not give equal bytes: what is listed, published and in the output folder must be the same ones.
#[test]
fn an_image_that_was_packaged_anew_by_a_killed_run_replaces_the_old_one_everywhere() {
    let bench = Bench::new();
    let sizes = [SIZES[0]];
    let house = mini::house(&bench.path("house"), &sizes);
    well(&run(&house, &[]));
    let old = fs::read(house.folder.join(mini::packed(sizes[0]))).unwrap();
    let mut command = house.command(&["run", mini::MANIFEST, "--rebuild", "size/*", "--format=json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    for line in std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap())) {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap_or_default();
        if event["event"] == "node_finished" && event["node"].as_str().unwrap().starts_with("package/") {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    well(&run(&house, &[]));
    good(&house, &sizes);
    let new = fs::read(house.folder.join(mini::packed(sizes[0]))).unwrap();
    let kept = fs::read(results(&house, "package")[0].join("image")).unwrap();
    assert!(new == kept, "what is in the output folder is what the store has");
    assert!(new != old || kept == old);
    let again = run(&house, &[]);
    assert!(
        again.code == Some(0) && again.stderr.contains("nothing to do"),
        "{}",
        again.stderr
    );
}

/// From a provisioned disk on, whoever builds a size gets the same bytes.
#[test]
fn the_same_size_in_two_stores_has_the_same_bytes() {
    let bench = Bench::new();
    let house = mini::house(&bench.path("house"), &SIZES);
    tool("cp", &["-a", "house", "other"], &bench.path(""));
    let other = House::new(
        &bench.path("other"),
        &["run", mini::MANIFEST, "--upload"],
        &mini::PLACES,
    );
    well(&run(&house, &[]));
    std::thread::sleep(std::time::Duration::from_millis(1100));
    well(&run(&other, &["--jobs", "1"]));
    good(&house, &SIZES);
    let sums = |house: &House| {
        let disks = tool(
            "sh",
            &["-c", "sha256sum store/results/*/*/disk store/results/*/*/image"],
            &house.folder,
        );
        let published = tool(
            "sha256sum",
            &SIZES.map(mini::packed).each_ref().map(String::as_str),
            &house.folder,
        );
        disks + &published
    };
    assert_eq!(sums(&house), sums(&other));
    // They are layers, of a few of the disk's megabytes.
    let layers = results(&house, "size");
    assert!(
        layers
            .iter()
            .all(|layer| fs::metadata(layer.join("disk")).unwrap().len() < 4 << 20)
    );
}

#[test]
fn a_clock_that_jumps_costs_nothing() {
    let bench = Bench::new();
    let house = mini::house(&bench.path("house"), &SIZES);
    well(&run(&house, &[]));
    let keys = || [results(&house, "size"), results(&house, "package")].concat();
    let before: Vec<_> = keys()
        .iter()
        .map(|path| fs::read(path.join("entry.json")).unwrap())
        .collect();
    for year in ["1971", "2099"] {
        let age = format!("find store out share -exec touch -h -d {year}-01-01 {{}} +");
        tool("sh", &["-c", &age], &house.folder);
        well(&run(&house, &[]));
        good(&house, &SIZES);
        let now: Vec<_> = keys()
            .iter()
            .map(|path| fs::read(path.join("entry.json")).unwrap())
            .collect();
        assert!(now == before, "nothing is built again because a clock was wrong");
    }
}

/// Waits and limits go by the monotonic clock; the other one is only shown and recorded.
#[test]
fn no_decision_hangs_on_the_clock_on_the_wall() {
    let asks = |text: &str| {
        ["SystemTime::now", "Timestamp::now", "Zoned::now"]
            .iter()
            .any(|call| text.contains(call))
    };
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found: Vec<_> = walk(&src)
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs") && asks(&fs::read_to_string(path).unwrap()))
        .map(|path| path.strip_prefix(&src).unwrap().display().to_string())
        .collect();
    found.sort();
    // And what is asked for by its age: `gc --older-than`, `max_age`, results that were read back; how long a list of an archive is
    // valid; which times a snapshot service can have; a guest's clock; and since when files of a guest can have the build key.
    let shown_or_recorded = [
        "cli/boot.rs",
        "cli/gc.rs",
        "cli/import.rs",
        "cli/ls.rs",
        "cli/run.rs",
        "cli/runs.rs",
        "cli/store/ls.rs",
        "emit.rs",
        "farm/work.rs",
        "places/deliver.rs",
        "report/bars.rs",
        "report/mod.rs",
        "run/bundle.rs",
        "run/lock/mod.rs",
        "run/look.rs",
        "run/workers.rs",
        "stage/check/boot.rs",
        "stage/install/bootstrap.rs",
        "stage/install/snapshot.rs",
        "stage/requests.rs",
        "store/entry.rs",
        "store/gc.rs",
        "store/lease.rs",
    ];
    let others: Vec<_> = found
        .iter()
        .filter(|path| !shown_or_recorded.contains(&path.as_str()))
        .collect();
    assert!(
        others.is_empty(),
        "who else asks for the time of day, and what for? {others:?}"
    );
}

#[test]
fn five_runs_at_once_on_one_store_and_one_output_build_everything_once() {
    let bench = Bench::new();
    let house = mini::house(&bench.path("house"), &SIZES);
    for runs in [2, 5] {
        // All but the provisioned disk is to be made.
        for stage in ["size", "package", "sums", "upload", "index"] {
            let _ = fs::remove_dir_all(house.folder.join("store/results").join(stage));
        }
        for place in ["out", "share"] {
            let _ = fs::remove_dir_all(house.folder.join(place));
        }
        fs::create_dir(house.folder.join("share")).unwrap();
        let children: Vec<_> = (0..runs)
            .map(|_| {
                let mut command = house.command(&["run", mini::MANIFEST, "--upload", "--format=json"]);
                command
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let mut built = BTreeMap::<String, u32>::new();
        for child in children {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let printed = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(0), "{said}\n{printed}");
            for line in printed.lines() {
                let event: Value = serde_json::from_str(line).unwrap();
                let node = event["node"].as_str().unwrap_or_default();
                if event["outcome"] == "built" && (node.starts_with("size/") || node.starts_with("package/"))
                {
                    *built.entry(node.to_owned()).or_default() += 1;
                }
            }
        }
        assert_eq!(built.len(), 2 * SIZES.len(), "{built:?}");
        assert!(built.values().all(|count| *count == 1), "{built:?}");
        good(&house, &SIZES);
        let scratch: Vec<_> = fs::read_dir(house.folder.join("store/scratch"))
            .unwrap()
            .collect();
        assert!(scratch.is_empty(), "{scratch:?}");
    }
}
