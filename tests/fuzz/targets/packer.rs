//! Packer templates of any shape, whole folders of them, with a playbook, variables and the files that they name.
//!
//! The input is a text of several files, each below a line `@@ NAME`. `build.yml` is the playbook, `*.pkr.hcl` are one
//! configuration, `*.vars.json` and `*.pkrvars.hcl` are variable files, any other `*.json` is a template; a file `vars`
//! has a `NAME=VALUE` for `-var` on each line. All others are there to be found.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use pipeline::internals::import::packer::{self, Config, Found, Input, LARGEST_FILE, Request};
use pipeline::internals::import::path;

const FOLDER: &str = "/w";

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut request = Request {
        folder: FOLDER.to_owned(),
        manifest: format!("{FOLDER}/images.toml"),
        now: 1_700_000_000,
        ..Request::default()
    };
    let (mut hcl, mut json) = (Vec::new(), Vec::new());
    let text = format!("\n{text}");
    for part in text.split("\n@@ ").skip(1) {
        let (name, text) = part.split_once('\n').unwrap_or((part, ""));
        let input = Input {
            shown: name.to_owned(),
            path: path::join(FOLDER, name),
            text: text.to_owned(),
        };
        // The caller reads no file that is larger.
        if text.len() > LARGEST_FILE || files.insert(input.path.clone(), text.to_owned()).is_some() {
            return;
        }
        match name {
            "build.yml" => request.playbook = Some(input),
            "vars" => {
                let pairs = text.lines().filter_map(|line| line.split_once('='));
                let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
                request.vars.extend(pairs);
            }
            _ if name.ends_with(".vars.json") || name.ends_with(".pkrvars.hcl") => {
                request.var_files.push(input)
            }
            _ if name.ends_with(".pkr.hcl") => hcl.push(input),
            _ if name.ends_with(".json") => json.push(Config::Json(input)),
            _ => {}
        }
    }
    if !hcl.is_empty() {
        request.configs.push(Config::Hcl {
            shown: ".".to_owned(),
            folder: FOLDER.to_owned(),
            files: hcl,
            auto: Vec::new(),
        });
    }
    request.configs.extend(json);
    let look = |path: &str| match files.get(path) {
        Some(text) => Found::Text(text.clone()),
        None if files.keys().any(|file| path::folder(file) == path) => {
            let inside = files.keys().filter(|file| path::folder(file) == path);
            Found::Folder(inside.map(|file| path::name(file).to_owned()).collect())
        }
        None => Found::Missing,
    };
    match packer::import(&request, &look) {
        Ok(imported) => {
            let manifest = imported.manifest.parse::<toml_edit::DocumentMut>();
            if let Err(error) = manifest {
                panic!("the manifest is no TOML: {error}\n{}", imported.manifest);
            }
            for name in imported.files.keys() {
                // They are written next to the manifest.
                let plain = !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..";
                assert!(plain, "a file of the name {name:?} would be written");
            }
            let _ = imported.notes.show();
        }
        Err(faults) => {
            assert!(!faults.is_empty(), "nothing came of it, and unknown why");
            for fault in faults {
                let _ = fault.to_string();
            }
        }
    }
});
