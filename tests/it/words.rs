//! The English of messages, documents and comments: words that readers stumble over, each with what to write instead.

use std::fs;
use std::path::{Path, PathBuf};

/// Whole words, in lower case.
const WORDS: [(&str, &str); 11] = [
    ("told", "reported, shown, asked to"),
    ("anew", "again; rebuild, retry"),
    ("somebody", "a user, another process"),
    ("anybody", "any user"),
    ("nobody", "no user, nothing; or a passive"),
    ("hangs on", "depends on"),
    ("hang on", "depend on"),
    ("for want of", "for lack of"),
    ("be had", "available, supported"),
    ("mend", "fix"),
    ("beside the", "next to, in addition to"),
];

/// What is read: files, and folders with all that is in them.
const READ: [&str; 11] = [
    "src",
    "docs",
    "guest",
    "templates",
    "pipelines",
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "Makefile",
    "Cargo.toml",
];

#[test]
fn texts_use_the_words_of_the_field() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for name in READ {
        gather(&root.join(name), &mut files);
    }
    assert!(files.len() > 300, "only {} files were found", files.len());
    let mut found = Vec::new();
    for file in files {
        // Recorded consoles say what installers print.
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            let line = line.to_lowercase();
            for (word, instead) in WORDS.iter().filter(|(word, _)| has(&line, word)) {
                let place = file.strip_prefix(root).unwrap().display();
                found.push(format!("{place}:{}: `{word}`: write {instead}", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Whether a line has these words, and not as a part of others.
fn has(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !before.ends_with(is_part) && !after.starts_with(is_part)
    })
}

fn gather(place: &Path, files: &mut Vec<PathBuf>) {
    if place.is_dir() {
        for entry in fs::read_dir(place).unwrap() {
            gather(&entry.unwrap().path(), files);
        }
    } else if place
        .extension()
        .is_none_or(|ending| ending != "txt" && ending != "snap")
    {
        files.push(place.to_owned());
    }
}
