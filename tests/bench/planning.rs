//! The daily commands that build nothing: planning 1,000 images, and a run that finds everything done. Both are the
//! release program as a user starts it, whole processes, with the start of the process in the figure.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipeline::internals::digest::Algorithm;
use pipeline::internals::event::Emitter;
use pipeline::internals::host::cancel::Cancel;
use pipeline::internals::host::fs::hash_file;
use pipeline::internals::machine::spec::Accel;
use pipeline::internals::manifest::load::load;
use pipeline::internals::run::execute::{Shared, execute};
use pipeline::internals::run::prepare::{Ask, prepare};
use pipeline::internals::stage::aftermath::OnError;
use pipeline::internals::stage::{Order, Room, sums};
use pipeline::internals::store::{Claim, Store};
use serde_json::json;

use crate::median;

/// Runs counted.
const ROUNDS: usize = 9;
/// Longest time for the plan of 1,000 images, in milliseconds …
const PLANNED: f64 = 100.0;
/// … and for a run with nothing to do.
const NOTHING: f64 = 1000.0;
/// Longest time for the page of the recorded fleet: 16 images, and the run before it.
const PAGE: f64 = 300.0;
const FLEET: [(&str, &str); 2] = [
    ("1", include_str!("../it/fixtures/fleet/before.jsonl")),
    ("2", include_str!("../it/fixtures/fleet/events.jsonl")),
];

/// Prints both figures.
pub fn section(folder: &Path) {
    let folder = folder.join("planning");
    fs::create_dir_all(&folder).unwrap();
    println!("\nCommands that build nothing (median of {ROUNDS} runs of the whole process)\n");
    fs::write(folder.join("thousand.toml"), manifest(20, 50)).unwrap();
    let judged = |what: &str, taken: f64, wanted: f64| {
        let verdict = super::verdict(taken < wanted);
        println!("  {what:<40} {taken:>7.1} ms   under {wanted} ms: {verdict}");
    };
    let taken = time(&folder, &["plan", "thousand.toml"]);
    judged("plan of 1,000 images, empty store", taken, PLANNED);
    for name in ["images.toml", "images.ncl"] {
        let path = format!("{}/pipelines/{name}", env!("CARGO_MANIFEST_DIR"));
        println!(
            "  plan of the fleet, {name:<12}          {:>7.1} ms",
            time(&folder, &["plan", &path])
        );
    }
    fill(&folder, "fifteen.toml", &manifest(5, 3));
    let taken = time(&folder, &["run", "fifteen.toml"]);
    judged("run of 15 images, all done already", taken, NOTHING);
    fill(&folder, "thousand.toml", &manifest(20, 50));
    let taken = time(&folder, &["run", "thousand.toml"]);
    judged("run of 1,000 images, all done already", taken, NOTHING);
    for (run, journal) in FLEET {
        let runs = folder.join("fleet/store/runs").join(run);
        fs::create_dir_all(&runs).unwrap();
        fs::write(runs.join("events.jsonl"), journal).unwrap();
    }
    let fleet = folder.join("fleet");
    let taken = time(&fleet, &["report", "--output", "page.html"]);
    judged("report of the recorded fleet", taken, PAGE);
}

fn manifest(distros: usize, sizes: usize) -> String {
    let names: Vec<_> = (0..distros).map(|n| format!("\"d{n}\"")).collect();
    let sizes: Vec<_> = (0..sizes).map(|n| format!("\"{}G\"", n + 3)).collect();
    let mut text =
        "[flavors.base]\nsteps = [{ inline = \"true\" }, { install = \"vm-bootstrap\" }]\n".to_owned();
    for n in 0..distros {
        text.push_str(&format!(
            "[distros.d{n}]\nfamily = \"debian\"\nversion = \"12\"\n\
             source = {{ bootstrap = {{ suite = \"bookworm\", mirror = \"http://mirror{n}.invalid/\" }} }}\n"
        ));
    }
    let (names, sizes) = (names.join(", "), sizes.join(", "));
    text + &format!("[[images]]\ndistro = [{names}]\nflavor = \"base\"\nsizes = [{sizes}]\n")
}

/// Median of the wall times, in milliseconds.
fn time(folder: &Path, args: &[&str]) -> f64 {
    let once = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pipeline"));
        command
            .args(args)
            .current_dir(folder)
            .env("PIPELINE_STORE", folder.join("store"));
        let began = Instant::now();
        let status = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{args:?}");
        began.elapsed()
    };
    once();
    let times: Vec<Duration> = (0..ROUNDS).map(|_| once()).collect();
    median(&times).as_secs_f64() * 1000.0
}

/// A store and an output folder as a finished run leaves them, but for the size of the files: what a run with nothing
/// to do looks at does not depend on it.
fn fill(folder: &Path, name: &str, text: &str) {
    let cancel = Cancel::default();
    fs::write(folder.join(name), text).unwrap();
    let mut manifest = load(&folder.join(name)).unwrap();
    manifest.output = folder.join(&manifest.output);
    let store = Store::open(&folder.join("store")).unwrap();
    let all: Vec<_> = (0..manifest.images.len()).collect();
    let scratch = store.scratch("fill").unwrap();
    let plan = prepare(&manifest, &all, &store, Ask::default(), &|_| {})
        .unwrap()
        .plan;
    let order = Arc::new(Order {
        files: manifest.images.iter().map(|image| image.file.clone()).collect(),
        ids: Vec::new(),
    });
    let (sender, _receiver) = std::sync::mpsc::channel();
    let emit = Emitter::new(sender);
    let shared = Shared {
        store: &store,
        remote: None,
        scratch: &scratch,
        run: "fill",
        on_error: OnError::Abort,
        layers: false,
        reread: Duration::ZERO,
        attend: &|_, _| {},
        logs: &store.run_folder("fill"),
        pipeline: &manifest.name,
        history: &plan.history,
        manifest: &manifest.path,
        accel: Accel::Tcg,
        cpus: 1,
        program: Path::new(env!("CARGO_BIN_EXE_pipeline")),
        order: &order,
        cancel: &cancel,
    };
    for (index, node) in plan.nodes() {
        if node.stage == sums::STAGE {
            execute(&plan, index, false, Room::One, &shared, &emit).unwrap();
            continue;
        }
        let claim = store
            .claim(node.stage.name, &node.key, &scratch, false, &cancel, &mut || {})
            .unwrap();
        let Claim::Miss(mut slot) = claim else { continue };
        fs::write(slot.path("image"), &node.key).unwrap();
        let digests = hash_file(&slot.path("image"), &Algorithm::ALL, &cancel).unwrap();
        slot.set_digests("image", digests);
        slot.commit(node.inputs.clone(), json!({}), &cancel).unwrap();
    }
}
