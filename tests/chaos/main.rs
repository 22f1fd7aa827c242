//! `make chaos`: kills a running quickstart again and again, then looks whether anything was lost. `KILLS` (200), `SEED`
//! (of the clock) and `PIPELINE` (the manifest; `mini` is the small one of the tests) may be given in the environment; the
//! folder for all of it is below `target/` and is kept when something was lost.
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]
#![expect(clippy::print_stderr, reason = "it takes half an hour: say what goes on")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

#[path = "mod.rs"]
mod chaos;

use std::path::Path;
use std::process::ExitCode;

use chaos::{House, mini, unleash};

fn main() -> ExitCode {
    let number = |name: &str| {
        let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
        Some(
            text.parse::<u64>()
                .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        )
    };
    let kills = u32::try_from(number("KILLS").unwrap_or(200)).unwrap();
    let seed = number("SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_secs()
    });
    let pipeline = std::env::var("PIPELINE").unwrap_or_default();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos");
    let _ = std::fs::remove_dir_all(&folder);
    let at = |name: &str| {
        let folder = folder.join(name);
        if pipeline == "mini" {
            return mini::house(&folder, &["64M", "96M", "128M"]);
        }
        std::fs::create_dir_all(&folder).unwrap();
        let manifest = match pipeline.as_str() {
            "" => Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/quickstart.toml"),
            path => std::path::absolute(path).unwrap(),
        };
        std::fs::copy(manifest, folder.join("pipeline.toml")).unwrap();
        House::new(&folder, &["run", "pipeline.toml"], &["out"])
    };
    let (house, calm) = (at("house"), at("calm"));
    let report = unleash(&house, &calm, kills, seed, &mut |line| eprintln!("{line}"));
    println!("{report}");
    if pipeline == "mini" {
        for size in ["64M", "96M", "128M"] {
            mini::has_content(&house, &mini::packed(size));
        }
    }
    if report.is_good() {
        let _ = std::fs::remove_dir_all(&folder);
        return ExitCode::SUCCESS;
    }
    println!("everything is in {}", folder.display());
    ExitCode::FAILURE
}
