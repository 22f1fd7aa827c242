//! What stories with real VMs share: the quickstart, built once for all of them, and guests booted as a user would.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::{Bench, Ran, tool};

/// Guests that run at once, at most: those beyond the number of processors mostly wait.
const AT_MOST: usize = 6;
/// How long processors must have had nothing to do for a share of that time, before a guest is let in that makes them more
/// than there are processors. Some guests mostly wait for the next minute.
const WATCHED: Duration = Duration::from_secs(6);
const IDLE: f64 = 0.35;
/// How often one who waits looks.
const POLL: Duration = Duration::from_secs(1);

/// A story that plays in the quickstart's folder and store, and the guests that it may have running.
pub struct Story {
    pub bench: &'static Bench,
    _guests: Guests,
}

/// The quickstart without its checks, built by whichever story comes first; the others wait for it, and then until the
/// guests that this one has at once may run.
pub fn quickstart(guests: usize) -> Story {
    Place::take().quickstart(guests)
}

/// The quickstart as the README has it, and what the run that checked its images printed.
pub fn checked() -> (&'static Bench, &'static Ran) {
    // In this order: its place in the line is that of whoever comes first.
    let ran = &*CHECKED;
    (&*QUICKSTART, ran)
}

/// A story's place in the line for guests. One that has several after another keeps it, and does not fall behind those that
/// came later.
#[derive(Clone, Copy)]
pub struct Place(usize);

/// Leave to run so many guests, given back when dropped.
pub struct Guests(usize);

/// How many guests run, and who waits for leave.
struct Line {
    running: usize,
    waiting: BTreeSet<(usize, usize)>,
    next: usize,
    /// When somebody was let in or processors were looked at last, and how they had been used by then.
    watched: Option<(Instant, Ticks)>,
}

static LINE: Mutex<Line> = Mutex::new(Line {
    running: 0,
    waiting: BTreeSet::new(),
    next: 0,
    watched: None,
});
static CHANGED: Condvar = Condvar::new();

impl Place {
    /// For the longest stories, and those whose guests wait for minutes: begun early, others fill the time.
    pub const EARLY: Self = Self(0);

    /// The one behind all that are taken.
    pub fn take() -> Self {
        Self(LINE.lock().unwrap().number())
    }

    /// As [`quickstart`], from this place.
    pub fn quickstart(self, guests: usize) -> Story {
        let bench = &*QUICKSTART;
        let _guests = self.allow(guests);
        Story { bench, _guests }
    }

    /// Waits for it. An emulated guest's clock goes on while it waits for a processor: beside four others a boot takes twice
    /// the processor time that it takes beside one, so more of them than processors are only let in where those are idle.
    pub fn allow(self, guests: usize) -> Guests {
        let mut line = LINE.lock().unwrap();
        let place = (self.0, line.number());
        line.waiting.insert(place);
        while guests > 0 && !(line.waiting.first() == Some(&place) && line.has_room_for(guests)) {
            line = CHANGED.wait_timeout(line, POLL).unwrap().0;
        }
        line.waiting.remove(&place);
        line.running += guests;
        CHANGED.notify_all();
        Guests(guests)
    }
}

impl Line {
    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    fn has_room_for(&mut self, guests: usize) -> bool {
        let after = self.running + guests;
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let room = after <= processors.max(guests) || (after <= AT_MOST && self.processors_are_idle());
        if room {
            // What was let in has not shown yet how busy it is.
            self.watched = None;
        }
        room
    }

    fn processors_are_idle(&mut self) -> bool {
        let now = Ticks::read();
        let (since, before) = *self.watched.get_or_insert((Instant::now(), now));
        if since.elapsed() < WATCHED {
            return false;
        }
        self.watched = None;
        // The time of waiting for disks may go backwards (proc_stat(5)).
        let since = |now: u64, before: u64| now.saturating_sub(before);
        let (idle, all) = (since(now.idle, before.idle), since(now.all, before.all));
        idle as f64 >= all as f64 * IDLE
    }
}

/// How long all processors were idle, of how long altogether (proc_stat(5)).
#[derive(Clone, Copy)]
struct Ticks {
    idle: u64,
    all: u64,
}

impl Ticks {
    fn read() -> Self {
        let text = fs::read_to_string("/proc/stat").unwrap();
        let line = text.lines().next().unwrap();
        // The guests of virtual machines are counted as user time already.
        let ticks: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .take(8)
            .map(|n| n.parse().unwrap())
            .collect();
        Self {
            idle: ticks[3] + ticks[4],
            all: ticks.iter().sum(),
        }
    }
}

impl Guests {
    /// Takes it, whoever waits.
    fn take(guests: usize) -> Self {
        LINE.lock().unwrap().running += guests;
        Self(guests)
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        LINE.lock().unwrap().running -= self.0;
        CHANGED.notify_all();
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
    // Most of the others wait for this: it waits for nobody.
    let _guests = Guests::take(1);
    let ran = bench.run(&["run", "quickstart.toml", "--no-check"]);
    assert_eq!(ran.code, 0, "the quickstart failed:\n{}", ran.all());
    bench
});

static CHECKED: LazyLock<Ran> = LazyLock::new(|| {
    let story = quickstart(2);
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
