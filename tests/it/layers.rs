//! The direction of imports, as drawn in `ARCHITECTURE.md`: a module may use those its row names, itself, and nothing
//! else. Fails with the place of each import that goes up or sideways.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

/// Plain values that every layer may use.
const VALUES: [&str; 18] = [
    "boot_command",
    "checksum_list",
    "deciding",
    "digest",
    "disk_format",
    "emit",
    "event",
    "families",
    "guest",
    "installer",
    "key",
    "lock",
    "packages",
    "platform",
    "releases",
    "size",
    "took",
    "verdict",
];

/// Each module with what it may import in addition to the values and itself; below first.
const LAYERS: [(&str, &[&str]); 17] = [
    ("host", &[]),
    ("store", &["host"]),
    ("machine", &["host"]),
    ("syntax", &[]),
    ("checks", &["syntax"]),
    ("places", &["host", "syntax"]),
    ("signing", &["host", "syntax"]),
    ("manifest", &["checks", "host", "places", "signing", "syntax"]),
    ("import", &["manifest"]),
    ("plan", &["manifest"]),
    (
        "stage",
        &[
            "checks", "host", "machine", "manifest", "places", "plan", "signing",
        ],
    ),
    ("remote", &["host", "places", "store", "syntax"]),
    (
        "run",
        &["host", "machine", "manifest", "plan", "remote", "stage", "store"],
    ),
    (
        "farm",
        &[
            "host", "manifest", "plan", "remote", "run", "stage", "store", "syntax",
        ],
    ),
    ("boot", &["host", "machine", "manifest", "stage"]),
    ("report", &["host"]),
    (
        "cli",
        &[
            "boot", "checks", "farm", "host", "import", "machine", "manifest", "places", "plan", "remote",
            "report", "run", "signing", "stage", "store",
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
            // What tests call, of all layers.
            None if module == "internals" => continue,
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

/// Layers in which not even files of one folder import each other in a circle, a parent and its children included.
const FREE_OF_CIRCLES: [&str; 3] = ["boot", "boot_command", "import"];

#[test]
fn imports_inside_these_layers_form_no_circle() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files: BTreeMap<Vec<String>, String> = rust_files(&src)
        .into_iter()
        .map(|file| (module_of(&src, &file), code(&fs::read_to_string(&file).unwrap())))
        .collect();
    let imports: BTreeMap<&Vec<String>, BTreeSet<&Vec<String>>> = files
        .iter()
        .map(|(module, text)| (module, imported(module, text, &files)))
        .collect();
    let checked = |module: &&Vec<String>| {
        module
            .first()
            .is_some_and(|layer| FREE_OF_CIRCLES.contains(&layer.as_str()))
    };
    let circles: Vec<_> = files
        .keys()
        .filter(checked)
        .filter_map(|from| circle(from, &imports))
        .map(|way| {
            way.iter()
                .map(|module| module.join("::"))
                .collect::<Vec<_>>()
                .join(" -> ")
        })
        .collect();
    assert!(circles.is_empty(), "circles of imports:\n{}", circles.join("\n"));
    assert!(
        imports.values().map(BTreeSet::len).sum::<usize>() > files.len(),
        "no imports were found"
    );
}

/// The path of a file's module below the crate.
fn module_of(src: &Path, file: &Path) -> Vec<String> {
    let inside = file.strip_prefix(src).unwrap().with_extension("");
    let parts = inside.iter().map(|part| part.to_string_lossy().into_owned());
    parts
        .filter(|part| !["mod", "lib", "main"].contains(&part.as_str()))
        .collect()
}

/// A file without comments and without its tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    text.lines()
        .map(|line| line.split("//").next().unwrap())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Modules that a file names: by `use`, or by a path where it needs one. The parent of a module is no import of it.
fn imported<'m>(
    module: &[String],
    text: &str,
    files: &'m BTreeMap<Vec<String>, String>,
) -> BTreeSet<&'m Vec<String>> {
    let mut paths = Vec::new();
    for statement in text.split("use ").skip(1) {
        branches(statement.split(';').next().unwrap(), &mut Vec::new(), &mut paths);
    }
    for start in ["crate::", "super::", "self::"] {
        for rest in text.split(start).skip(1) {
            let path = format!("{start}{rest}");
            let end = path.find(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
            let path = &path[..end.unwrap_or(path.len())];
            // `super::{a, b}` is a statement above, and names the parent only on the way.
            if !path.ends_with("::") {
                branches(path, &mut Vec::new(), &mut paths);
            }
        }
    }
    paths
        .iter()
        .filter_map(|path| {
            let mut at = match path[0].as_str() {
                "crate" => Vec::new(),
                _ => module.to_vec(),
            };
            for part in path {
                match part.as_str() {
                    "crate" | "self" => {}
                    "super" => drop(at.pop()),
                    name => {
                        at.push(name.to_owned());
                        if !files.contains_key(&at) {
                            at.pop();
                            break;
                        }
                    }
                }
            }
            files.get_key_value(&at).map(|(found, _)| found)
        })
        .filter(|found| *found != module)
        .collect()
}

/// All paths of a tree of imports: `a::{b, c::{d, e}}`.
fn branches(tree: &str, before: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    let (start, group) = match tree.split_once('{') {
        Some((start, rest)) => (start, rest.rsplit_once('}').map(|(inside, _)| inside)),
        None => (tree, None),
    };
    let length = before.len();
    let names = start
        .split("::")
        .map(|name| name.split(" as ").next().unwrap().trim());
    before.extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
    match group {
        None if !before.is_empty() => paths.push(before.clone()),
        None => {}
        Some(group) => {
            let (mut depth, mut from) = (0, 0);
            for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        branches(&group[from..at], before, paths);
                        from = at + 1;
                    }
                    _ => {}
                }
            }
        }
    }
    before.truncate(length);
}

/// A shortest way from a module back to it.
fn circle<'m>(
    from: &'m Vec<String>,
    imports: &BTreeMap<&'m Vec<String>, BTreeSet<&'m Vec<String>>>,
) -> Option<Vec<&'m Vec<String>>> {
    let mut ways = VecDeque::from([vec![from]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in &imports[way.last().unwrap()] {
            let longer = [way.as_slice(), &[*next]].concat();
            if *next == from {
                return Some(longer);
            }
            if seen.insert(*next) {
                ways.push_back(longer);
            }
        }
    }
    None
}

/// The examples of `CONTRIBUTING.md`: words that name one, the files that are its own, and those that it has to touch.
const EXAMPLES: [(&[&str], &[&str], &[&str]); 3] = [
    (
        &["ExampleWork", "example::STAGE", "example::plan"],
        &["stage/example.rs", "run/example.rs"],
        &["stage/mod.rs", "stage/recipe/mod.rs"],
    ),
    (
        &["ExampleCheck", "polite"],
        &["checks/example.rs", "stage/check/example.rs"],
        &["checks/mod.rs", "manifest/describe/tests.rs"],
    ),
    (
        &["ExamplePlace", "attic"],
        &["places/example.rs", "stage/upload/example.rs"],
        &["manifest/describe/tests.rs", "places/mod.rs"],
    ),
];

#[test]
fn a_stage_a_check_and_a_place_are_added_in_few_files() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (words, own, touched) in EXAMPLES {
        let naming: Vec<_> = rust_files(&src)
            .into_iter()
            .filter(|file| {
                let text = fs::read_to_string(file).unwrap();
                words.iter().any(|word| text.contains(word))
            })
            .map(|file| file.strip_prefix(&src).unwrap().display().to_string())
            .collect();
        let (ours, others): (Vec<_>, Vec<_>) = naming
            .iter()
            .map(String::as_str)
            .partition(|name| own.contains(name));
        assert!(
            ours.contains(&own[0]),
            "{} does not name itself {words:?}",
            own[0]
        );
        assert_eq!(others, touched, "files that name {words:?}");
    }
}

/// What depends on the kind of computer: architecture, disk, boot loader, console.
const WORDS_OF_A_PLATFORM: [&str; 5] = ["\"amd64\"", "vda", "grub-pc", "i386-pc", "ttyS0"];

/// Another platform is a row of `src/platform.rs` and, where answers differ, a template: nothing else knows these words.
#[test]
fn only_the_platform_table_and_templates_know_one_platform() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = rust_files(&root.join("src"));
    let sources = sources.into_iter().map(|file| {
        let text = code(&fs::read_to_string(&file).unwrap());
        (file, text)
    });
    let scripts = fs::read_dir(root.join("guest")).unwrap().map(|entry| {
        let file = entry.unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        (file, lines.collect::<Vec<_>>().join("\n"))
    });
    let mut knowing = BTreeMap::new();
    for (file, text) in sources.chain(scripts) {
        let words: Vec<_> = WORDS_OF_A_PLATFORM
            .into_iter()
            .filter(|word| text.contains(word))
            .collect();
        if !words.is_empty() {
            knowing.insert(file.strip_prefix(root).unwrap().to_owned(), words);
        }
    }
    let table = knowing.remove(Path::new("src/platform.rs")).unwrap();
    assert!(table.len() >= 5, "is this the table? it has {table:?}");
    assert!(knowing.is_empty(), "{knowing:#?}");
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

/// A lock on a file that was opened in another way is refused by NFS.
#[test]
fn only_one_module_locks_files() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let locks: Vec<_> = rust_files(&src)
        .into_iter()
        .filter(|file| {
            let text = fs::read_to_string(file).unwrap();
            [
                ".try_lock()",
                ".try_lock_shared()",
                ".lock_shared()",
                "fs::flock",
                "fcntl_lock",
            ]
            .iter()
            .any(|call| text.contains(call))
        })
        .map(|file| file.strip_prefix(&src).unwrap().to_owned())
        .collect();
    assert_eq!(locks, [PathBuf::from("host/fs/lock.rs")]);
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
