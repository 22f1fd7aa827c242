//! The direction of imports, as drawn in `ARCHITECTURE.md`: a module may use those its row names, itself, and nothing
//! else. Fails with the place of each import that goes up or sideways.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Plain values that anybody may use.
const VALUES: [&str; 9] = [
    "boot_command",
    "checksum_list",
    "digest",
    "disk_format",
    "event",
    "guest",
    "installer",
    "platform",
    "size",
];

/// Each module with what it may import beside the values and itself; below first.
const LAYERS: [(&str, &[&str]); 11] = [
    ("host", &[]),
    ("store", &["host"]),
    ("machine", &["host"]),
    ("manifest", &["host"]),
    ("import", &["manifest"]),
    ("plan", &["manifest"]),
    ("stage", &["host", "machine", "manifest", "plan"]),
    ("run", &["host", "machine", "manifest", "plan", "stage", "store"]),
    ("boot", &["host", "machine", "manifest", "stage"]),
    ("report", &["host"]),
    (
        "cli",
        &[
            "boot", "host", "import", "machine", "manifest", "plan", "report", "run", "stage", "store",
        ],
    ),
];

#[test]
fn imports_go_down_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for file in rust_files(&src) {
        let inside = file.strip_prefix(&src).unwrap();
        let module = inside.iter().next().unwrap().to_string_lossy();
        let module = module.trim_end_matches(".rs").to_owned();
        let allowed: &[&str] = match LAYERS.iter().find(|(name, _)| *name == module) {
            Some((_, allowed)) => allowed,
            None if VALUES.contains(&module.as_str()) || ["lib", "main"].contains(&module.as_str()) => &[],
            None => panic!(
                "{} belongs to no layer: give it a row in tests/it/layers.rs",
                inside.display()
            ),
        };
        seen.insert(module.clone());
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for used in code.split("crate::").skip(1) {
                let used: String = used
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let fine =
                    used == module || VALUES.contains(&used.as_str()) || allowed.contains(&used.as_str());
                if !fine {
                    wrong.push(format!(
                        "src/{}:{}: {module} -> {used}",
                        inside.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports that go up or sideways:\n{}",
        wrong.join("\n")
    );
    for (layer, _) in LAYERS {
        assert!(
            seen.contains(layer),
            "the layer {layer} has no files: is the test looking at the right place?"
        );
    }
}

/// A process that is started in another way outlives us when we are killed.
#[test]
fn only_one_module_starts_processes() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let starts: Vec<_> = rust_files(&src)
        .into_iter()
        .filter(|file| {
            fs::read_to_string(file)
                .unwrap()
                .contains("process::Command::new")
        })
        .map(|file| file.strip_prefix(&src).unwrap().to_owned())
        .collect();
    assert_eq!(starts, [PathBuf::from("host/process/mod.rs")]);
}

#[test]
fn every_dependency_has_its_line_of_why() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let cargo: toml_edit::DocumentMut = read("Cargo.toml").parse().unwrap();
    let tables = ["dependencies", "dev-dependencies"].map(|table| cargo[table].as_table().unwrap());
    let used: BTreeSet<_> = tables
        .into_iter()
        .flat_map(|table| table.iter().map(|(name, _)| name.to_owned()))
        .collect();
    let text = read("ARCHITECTURE.md");
    let (_, table) = text.split_once("| crate | why |\n").unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let explained: BTreeSet<_> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap().split(','))
        // `flate2 (zlib-rs)`, `insta (tests)`: what is in brackets is a remark.
        .map(|name| name.trim().split(' ').next().unwrap().to_owned())
        // That of a package of its own.
        .filter(|name| name != "libfuzzer-sys")
        .collect();
    assert_eq!(used, explained);
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
