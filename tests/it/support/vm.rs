//! What stories with real VMs share: the quickstart, built once for all of them, and guests booted as a user would.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::{Bench, Ran, tool};

/// Guests that run at once: how many are kept busy, and how many mostly wait for the next minute.
#[derive(Clone, Copy)]
pub struct Load {
    pub busy: usize,
    pub idle: usize,
}

/// What all stories together may have, whatever the number of those that are told at once. Guests' clocks go on while they
/// wait for a processor: the more of them there are, the more of their time goes into ticks and nothing else, and fewer
/// leave processors idle. Those of stories have one processor: three guests with two each take 38 % more of two host
/// processors' time for the same boot.
const AT_ONCE: Load = Load { busy: 2, idle: 3 };
pub const NONE: Load = Load { busy: 0, idle: 0 };
pub const BUSY: Load = Load { busy: 1, idle: 0 };
pub const IDLE: Load = Load { busy: 0, idle: 1 };

impl Load {
    /// Whether both want some of the same.
    fn meets(self, other: Self) -> bool {
        self.busy.min(other.busy) + self.idle.min(other.idle) > 0
    }

    fn fits(self, running: Self) -> bool {
        running.busy + self.busy <= AT_ONCE.busy && running.idle + self.idle <= AT_ONCE.idle
    }
}

/// A story that plays in the quickstart's folder and store, and the guests that it may have running.
pub struct Story {
    pub bench: &'static Bench,
    _guests: Guests,
}

/// The quickstart without its checks, built by whichever story comes first; the others wait for it, and then until the
/// guests that this one has at once may run.
pub fn quickstart(load: Load) -> Story {
    let bench = &*QUICKSTART;
    let _guests = Guests::allow(load);
    Story { bench, _guests }
}

/// The quickstart as the README has it, and what the run that checked its images printed.
pub fn checked() -> (&'static Bench, &'static Ran) {
    (&*QUICKSTART, &*CHECKED)
}

/// Leave to run guests, given back when dropped.
pub struct Guests(Load);

/// What runs, and who waits for leave, by the order in which they came.
struct Line {
    running: Load,
    waiting: BTreeMap<usize, Load>,
    next: usize,
}

static LINE: Mutex<Line> = Mutex::new(Line {
    running: NONE,
    waiting: BTreeMap::new(),
    next: 0,
});
static ENDED: Condvar = Condvar::new();

impl Guests {
    /// Waits for it, in turn: nobody is passed by somebody who wants the same.
    pub fn allow(load: Load) -> Self {
        assert!(load.fits(NONE), "it would wait for ever");
        let mut line = LINE.lock().unwrap();
        let place = line.next;
        line.next += 1;
        line.waiting.insert(place, load);
        let mut line = ENDED
            .wait_while(line, |line| {
                let mut before = line.waiting.range(..place);
                !load.fits(line.running) || before.any(|(_, other)| other.meets(load))
            })
            .unwrap();
        line.waiting.remove(&place);
        line.running.busy += load.busy;
        line.running.idle += load.idle;
        // The next one may find room too.
        ENDED.notify_all();
        Self(load)
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        let mut line = LINE.lock().unwrap();
        line.running.busy -= self.0.busy;
        line.running.idle -= self.0.idle;
        ENDED.notify_all();
    }
}

/// Its folder. Checks come later: most stories need none of them, and wait for what is built.
static QUICKSTART: LazyLock<Bench> = LazyLock::new(|| {
    // Nobody drops what is static: the folder is the same each time, and cleared at the start.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quickstart");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let bench = Bench::at(&folder);
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/quickstart.toml");
    bench.write("quickstart.toml", fs::read(manifest).unwrap());
    // Most of the others wait for this: it does not wait for what keeps processors busy meanwhile.
    let _guests = Guests::allow(IDLE);
    let ran = bench.run(&["run", "quickstart.toml", "--no-check"]);
    assert_eq!(ran.code, 0, "the quickstart failed:\n{}", ran.all());
    bench
});

/// Two guests at a time, of which one or the other mostly waits.
static CHECKED: LazyLock<Ran> = LazyLock::new(|| {
    let story = quickstart(BUSY);
    let ran = story
        .bench
        .run(&["run", "quickstart.toml", "--junit", "reports/junit.xml"]);
    assert_eq!(ran.code, 0, "the quickstart's checks failed:\n{}", ran.all());
    ran
});

/// The quickstart's images.
pub const SMALL: &str = "debian12-3G-vm-bootstrap";
pub const LARGE: &str = "debian12-20G-vm-bootstrap";

/// One of them, as it is published.
pub fn image(id: &str) -> String {
    format!("out/{id}/{id}.qcow2.gz")
}

/// Its disk as its users have it, unpacked once for all stories, which leave it as it is.
pub fn unpack(bench: &Bench, id: &str) -> String {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap();
    let disk = format!("{id}.qcow2");
    if !bench.path(&disk).exists() {
        let line = format!("gzip -dc {} > {disk}.part && mv {disk}.part {disk}", image(id));
        tool("sh", &["-c", &line], &bench.path(""));
    }
    disk
}

/// The same as a raw disk that is the story's own.
pub fn unpack_raw(bench: &Bench, id: &str, to: &Path) {
    let (disk, to) = (unpack(bench, id), to.display().to_string());
    let words = ["convert", "-O", "raw", &disk, &to];
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
