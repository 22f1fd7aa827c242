//! What is to be seen between two runs: processes, results, files. Judged by other people's tools.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{House, MARK};

/// A file as it is known by: who changes or replaces it changes one of these.
type Stamp = (u64, u64, i64, i64);

/// Results and output at one time.
#[derive(Default)]
pub struct Snapshot {
    /// `stage/key`, with the stamp of its record.
    results: BTreeMap<String, Stamp>,
    /// What is to be seen in the places, hidden names apart.
    files: BTreeMap<PathBuf, Stamp>,
    broken: Vec<String>,
}

impl Snapshot {
    pub fn take(house: &House) -> Self {
        let mut now = Self::default();
        for stage in entries(&house.folder.join("store/results")) {
            let name = name(&stage);
            if ["sums", "upload", "index"].contains(&name.as_str()) {
                continue;
            }
            for entry in entries(&stage) {
                let id = format!("{name}/{}", self::name(&entry));
                match whole(&entry) {
                    Ok(stamp) => drop(now.results.insert(id, stamp)),
                    Err(why) => now.broken.push(format!("the result {id}: {why}")),
                }
            }
        }
        for place in &house.places {
            walk(&house.folder.join(place), &mut now.files);
        }
        now
    }

    pub fn results(&self) -> usize {
        self.results.len()
    }

    /// Results that are no longer what they were.
    pub fn lost_since(&self, before: &Self) -> Vec<String> {
        let gone = before
            .results
            .iter()
            .filter(|(id, stamp)| self.results.get(*id) != Some(stamp));
        gone.map(|(id, _)| format!("the result {id} is gone or replaced"))
            .collect()
    }

    /// What is not whole among what has changed since.
    pub fn halves(&self, house: &House, before: &Self) -> Vec<String> {
        let mut halves = self.broken.clone();
        let new = |path: &PathBuf| before.files.get(path) != self.files.get(path);
        for path in self.files.keys().filter(|path| new(path)) {
            let shown = path.strip_prefix(&house.folder).unwrap_or(path).display();
            let file = path.to_str().unwrap();
            let folder = path.parent().unwrap();
            let judged = match path.extension().and_then(|end| end.to_str()) {
                Some("gz") => ask("gzip", &["-t", file], folder),
                Some("txt") if name(path).ends_with("SUM.txt") => {
                    let program = name(path).replace("SUM.txt", "sum").to_lowercase();
                    ask(&program, &["--check", "--strict", "--quiet", &name(path)], folder)
                }
                Some("json") => match serde_json::from_slice::<Value>(&fs::read(path).unwrap()) {
                    Ok(_) => Ok(()),
                    Err(error) => Err(error.to_string()),
                },
                _ => Err("what is this?".to_owned()),
            };
            if let Err(why) = judged {
                halves.push(format!("{shown}: {why}"));
            }
        }
        halves
    }
}

/// A result's record, when all its files are there as it has them.
fn whole(entry: &Path) -> Result<Stamp, String> {
    let path = entry.join("entry.json");
    let text = fs::read(&path).map_err(|error| format!("entry.json: {error}"))?;
    let record: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    for (name, file) in record["files"].as_object().ok_or("no files")? {
        let length = fs::metadata(entry.join(name)).map(|m| m.len());
        if length.as_ref().ok() != file["bytes"].as_u64().as_ref() {
            return Err(format!("{name} is not as long as its record says: {length:?}"));
        }
    }
    // The time is that of its last use, which a run writes down for whoever cleans up.
    let (inode, length, ..) = stamp(&path);
    Ok((inode, length, 0, 0))
}

/// What must not be there when all is done: hidden names in the places, work in progress in the store.
pub fn leftovers(house: &House) -> Vec<String> {
    let mut left = Vec::new();
    for place in &house.places {
        let mut folders = vec![house.folder.join(place)];
        while let Some(folder) = folders.pop() {
            for path in entries(&folder) {
                if path.is_dir() {
                    folders.push(path);
                } else if name(&path).ends_with(".part") {
                    left.push(path.display().to_string());
                }
            }
        }
    }
    let scratch = entries(&house.folder.join("store/scratch"));
    left.extend(scratch.iter().map(|path| path.display().to_string()));
    // Every byte of every result, as another program computes it.
    for stage in entries(&house.folder.join("store/results")) {
        for entry in entries(&stage) {
            let record: Value = serde_json::from_slice(&fs::read(entry.join("entry.json")).unwrap()).unwrap();
            for (file, facts) in record["files"].as_object().unwrap() {
                let digests = facts["digests"].as_array().unwrap();
                let mut digests = digests
                    .iter()
                    .filter_map(|digest| digest.as_str()?.strip_prefix("sha256:"));
                let (sha256, found) = (digests.next().unwrap(), tool("sha256sum", &[file], &entry));
                if !found.starts_with(sha256) {
                    left.push(format!("{}/{file}: {found}, and {sha256}", entry.display()));
                }
            }
        }
    }
    left
}

/// Unpacks every image and has qemu-img and e2fsck look at it; gives how many there are.
pub fn images(house: &House) -> usize {
    let mut files = BTreeMap::new();
    walk(&house.folder.join(house.places[0]), &mut files);
    let packed: Vec<_> = files
        .keys()
        .filter(|path| path.extension().is_some_and(|e| e == "gz"))
        .collect();
    let folder = house.folder.join("judged");
    fs::create_dir_all(&folder).unwrap();
    for path in &packed {
        let unpack = format!("gzip -dc '{}' > image.qcow2", path.display());
        tool("sh", &["-c", &unpack], &folder);
        tool("qemu-img", &["check", "-q", "image.qcow2"], &folder);
        tool(
            "qemu-img",
            &["convert", "-O", "raw", "image.qcow2", "disk.raw"],
            &folder,
        );
        let table: Value = serde_json::from_str(&tool("sfdisk", &["--json", "disk.raw"], &folder)).unwrap();
        let partitions = table["partitiontable"]["partitions"].as_array().unwrap();
        let start = partitions.last().unwrap()["start"].as_u64().unwrap() * 512;
        tool("e2fsck", &["-fn", &format!("disk.raw?offset={start}")], &folder);
    }
    fs::remove_dir_all(&folder).unwrap();
    packed.len()
}

/// Processes of a house that live on although the program was killed.
pub fn orphans(mark: &str, patience: Duration) -> Vec<String> {
    let began = Instant::now();
    loop {
        let found = marked(mark);
        if found.is_empty() || began.elapsed() > patience {
            return found;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn marked(mark: &str) -> Vec<String> {
    let wanted = format!("{MARK}={mark}");
    let mut found = Vec::new();
    for process in entries(Path::new("/proc")) {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        if environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == wanted.as_bytes())
        {
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&line).replace('\0', " "));
        }
    }
    found
}

fn walk(folder: &Path, files: &mut BTreeMap<PathBuf, Stamp>) {
    for path in entries(folder) {
        if path.is_dir() {
            walk(&path, files);
        } else if !name(&path).starts_with('.') {
            files.insert(path.clone(), stamp(&path));
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries.flatten().map(|entry| entry.path()).collect()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn stamp(path: &Path) -> Stamp {
    let facts = fs::metadata(path).unwrap();
    (facts.ino(), facts.len(), facts.mtime(), facts.mtime_nsec())
}

fn ask(program: &str, args: &[&str], folder: &Path) -> Result<(), String> {
    let output = Command::new(program)
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{program} says {}",
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

/// Runs a foreign tool that must succeed, and gives what it printed.
pub fn tool(program: &str, args: &[&str], folder: &Path) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let output = Command::new(program)
        .args(args)
        .current_dir(folder)
        .env("PATH", path)
        .output();
    let output =
        output.unwrap_or_else(|e| panic!("{program}: {e}; `make setup` installs what the tests need"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
