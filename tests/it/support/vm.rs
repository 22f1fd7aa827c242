//! What stories with full guests share: the quickstart, built once for all of them and kept until something that it is
//! made of changes, and guests booted as a user would.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use std::{fs, thread};

use super::deadline::{Deadline, WITH_GUESTS};
use super::line::{Guests, guests};
use super::saved_guest::SAVED;
use super::{Bench, Ran, tool};

/// A story with full guests, and the leave to run so many of them at once.
pub struct Story {
    pub bench: Bench,
    _guests: Guests,
}

/// In an empty folder.
pub fn story(count: usize) -> Story {
    // In this order: the time in the line is not the story's.
    let _guests = guests(count);
    let bench = Bench::lasting(WITH_GUESTS);
    Story { bench, _guests }
}

/// In a folder with the quickstart, built and not checked.
pub fn quickstart(count: usize) -> Story {
    let base = &*QUICKSTART;
    let story = story(count);
    copy(base, &story.bench);
    story
}

/// The same, where guests over the quickstart's installed disk are restored instead of booted, if they have one processor.
pub fn booted_quickstart(count: usize) -> Story {
    let saved = SAVED.as_ref();
    let mut story = quickstart(count);
    story.bench.path_first = saved.cloned();
    story
}

/// The folder in which the quickstart was built.
pub fn quickstart_base() -> &'static Bench {
    &QUICKSTART
}

/// In a folder with the quickstart, its [`checked_images`] checked.
pub fn checked_quickstart() -> Story {
    let (base, _) = checked();
    let story = story(0);
    copy(base, &story.bench);
    story
}

/// The folder in which the quickstart was built and checked, and what the run that checked it printed.
pub fn checked() -> (&'static Bench, &'static Ran) {
    let ran = &*CHECKED;
    (&*QUICKSTART, ran)
}

/// Selectors of the images that are checked: both differ in the size of their root alone, and the other one is booted by
/// `full_guest::plain_boot`.
pub fn checked_images() -> &'static [&'static str] {
    if is_real() { &[] } else { &["--size", "3G"] }
}

/// Whether everything is done for real: nothing is kept from an earlier run, and no guest is restored.
pub fn is_real() -> bool {
    std::env::var_os("PIPELINE_TEST_REAL").is_some_and(|value| value == "1")
}

/// Its folder outlives the test run: what of it is still good, the program knows by its keys. Checks come later: most stories
/// need none of them.
static QUICKSTART: LazyLock<Bench> = LazyLock::new(|| {
    let _guests = guests(1);
    let _deadline = Deadline::begin(WITH_GUESTS);
    sweep();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quickstart");
    if is_real() {
        let _ = fs::remove_dir_all(&folder);
    }
    fs::create_dir_all(&folder).unwrap();
    let bench = Bench::at(&folder);
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/quickstart.toml");
    bench.write("quickstart.toml", fs::read(manifest).unwrap());
    let ran = bench.run(&["run", "quickstart.toml", "--no-check"]);
    assert_eq!(ran.code, 0, "the quickstart failed:\n{}", ran.all());
    let clean = bench.run(&["gc", "--max-size", "4G", "--keep-runs", "4"]);
    assert_eq!(clean.code, 0, "{}", clean.all());
    bench
});

static CHECKED: LazyLock<Ran> = LazyLock::new(|| {
    let bench = &*QUICKSTART;
    let _guests = guests(2);
    let _deadline = Deadline::begin(WITH_GUESTS);
    let ran = bench.run(
        &[
            &["run", "quickstart.toml"],
            checked_images(),
            &["--junit", "reports/junit.xml"],
        ]
        .concat(),
    );
    assert_eq!(ran.code, 0, "the quickstart's checks failed:\n{}", ran.all());
    ran
});

/// Removes what stories of a test run that was killed have left.
fn sweep() {
    for entry in fs::read_dir(env!("CARGO_TARGET_TMPDIR")).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name
            .strip_prefix(super::STORY_PREFIX)
            .and_then(|rest| rest.split('-').next());
        if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
}

/// The same results in a store of its own, which other stories do not touch. Files are links: no test writes into a result.
/// What was last built is remembered by the manifest's path; without that it counts for every manifest of the name.
fn copy(base: &Bench, to: &Bench) {
    fs::create_dir(to.path("store")).unwrap();
    let script = "cp -al store/results \"$1/store\" && cp -a store/latest store/texts \"$1/store\" && \
                  for of in \"$1\"/store/latest/*; do mv \"$of\" \"${of%.*}\"; done && cp -al out quickstart.toml quickstart.lock \"$1\"";
    let words = ["-c", script, "sh", &to.path("").display().to_string()];
    tool("sh", &words, &base.path(""));
}

/// The quickstart's images.
pub const SMALL: &str = "debian12-3G-vm-bootstrap";
pub const LARGE: &str = "debian12-20G-vm-bootstrap";

/// One of them, as it is published.
pub fn image(id: &str) -> String {
    format!("out/{id}/{id}.qcow2.gz")
}

/// Its disk as its users have it.
pub fn unpack(bench: &Bench, id: &str) -> String {
    let disk = format!("{id}.qcow2");
    let line = format!("gzip -dc {} > {disk}", image(id));
    tool("sh", &["-c", &line], &bench.path(""));
    disk
}

/// The same as a raw disk, from the store.
pub fn raw_disk(bench: &Bench, id: &str, to: &Path) {
    let sized = bench.run(&["store", "path", &format!("size/{id}")]);
    assert_eq!(sized.code, 0, "{}", sized.all());
    let sized = sized.stdout.trim().replace("[ROOT]", ".") + "/disk";
    let words = ["convert", "-O", "raw", &sized, &to.display().to_string()];
    tool("qemu-img", &words, &bench.path(""));
}

/// A manifest of its own on the quickstart's install: same distro, with one processor, another flavor and name, in the
/// same store.
pub fn variant(name: &str, flavor: &str) -> String {
    let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/quickstart.toml");
    let quickstart = fs::read_to_string(quickstart).unwrap();
    let (head, _) = quickstart.split_once("[flavors.vm-bootstrap]").unwrap();
    let head = head
        .replace("\"quickstart\"", &format!("\"{name}\""))
        .replace("\"out\"", &format!("\"out-{name}\""))
        .replace("[distros.debian12]\n", "[distros.debian12]\ncpus = 1\n");
    format!(
        "{head}\n{flavor}\n[[images]]\ndistro = \"debian12\"\nflavor = \"{name}\"\nsizes = [\"2G\"]\n\
         [publish]\ncompress = \"none\"\n"
    )
}

/// A qemu started by a test, killed when dropped.
pub struct Guest {
    child: Child,
    /// Its serial console.
    pub console: PathBuf,
}

impl Guest {
    /// Boots a disk as plain qemu would, from BIOS; `extra` are further arguments.
    pub fn boot(disk: &Path, console: &Path, extra: &[String]) -> Self {
        let drive = format!("file={},if=virtio,format=qcow2,snapshot=on", disk.display());
        let serial = format!("file:{}", console.display());
        let child = Command::new("qemu-system-x86_64")
            .args([
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "max",
                "-m",
                "1G",
                "-display",
                "none",
            ])
            .args(["-drive", &drive, "-serial", &serial])
            .args(extra)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            console: console.to_owned(),
        }
    }

    /// Waits until the console shows a text; gives all that it showed.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> String {
        let started = Instant::now();
        loop {
            let shown = fs::read(&self.console).unwrap_or_default();
            let shown = String::from_utf8_lossy(&shown).into_owned();
            if shown.contains(text) {
                return shown;
            }
            assert!(
                self.child.try_wait().unwrap().is_none(),
                "qemu ended before `{text}`:\n{shown}"
            );
            assert!(
                started.elapsed() < limit,
                "no `{text}` on the console within {limit:?}:\n{shown}"
            );
            thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Command lines of living processes that mention a path.
pub fn processes_naming(path: &Path) -> Vec<String> {
    let wanted = path.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(line) = fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&wanted) {
            found.push(line);
        }
    }
    found
}

/// The process of a living qemu whose command line has all of these words.
pub fn qemu_with(words: &[&str]) -> Option<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut found = processes.filter(|process| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.starts_with("qemu-system") && words.iter().all(|word| line.contains(word))
    });
    found
        .next()
        .map(|process| process.file_name().into_string().unwrap())
}

/// Waits until something holds.
pub fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < limit, "waited {limit:?} for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}
