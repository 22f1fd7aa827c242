//! `make install`, into a folder of its own: what it leaves, and that shells take it.

use std::path::Path;
use std::process::Command;

use toml_edit::DocumentMut;

use crate::support::{Bench, tool};

#[test]
fn what_is_installed_is_the_program_its_manual_and_completions() {
    let bench = Bench::new();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = bench.path("root").display().to_string();
    // The program is built already.
    let mut command = Command::new("make");
    command
        .arg("install")
        .args(["CARGO=true", "PREFIX=/usr", &format!("DESTDIR={target}")])
        .arg(format!("RELEASE={}", env!("CARGO_BIN_EXE_pipeline")))
        .current_dir(repository);
    let ran = bench.finish(command);
    assert_eq!(ran.code, 0, "{}", ran.all());

    let version = tool("root/usr/bin/pipeline", &["--version"], &bench.path(""));
    assert!(
        version.starts_with(concat!("pipeline ", env!("CARGO_PKG_VERSION"))),
        "{version}"
    );
    for (page, words) in [
        ("pipeline", "pipeline\\-run(1)"),
        ("pipeline-run", "\\-\\-on\\-error"),
    ] {
        let text = bench.read(&format!("root/usr/share/man/man1/{page}.1"));
        assert!(text.contains(words), "no {words} in {page}.1: {text}");
    }
    let script = "source root/usr/share/bash-completion/completions/pipeline && complete -p pipeline";
    let bash = tool("bash", &["-c", script], &bench.path(""));
    assert!(bash.contains("_clap_complete_pipeline"), "{bash}");
    for (file, words) in [
        ("zsh/site-functions/_pipeline", "#compdef pipeline"),
        ("fish/vendor_completions.d/pipeline.fish", "complete "),
        (
            "nushell/vendor/autoload/pipeline.nu",
            "completions.external.completer",
        ),
    ] {
        let text = bench.read(&format!("root/usr/share/{file}"));
        assert!(text.contains(words), "no {words} in {file}: {text}");
    }
}

/// The Debian package depends on what `pipeline doctor` asks for.
#[test]
fn the_package_depends_on_all_that_a_build_needs() {
    let read = |file: &str| {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        text.parse::<DocumentMut>().unwrap()
    };
    let (cargo, tools) = (read("Cargo.toml"), read("src/host/tools.toml"));
    let depends = cargo["package"]["metadata"]["deb"]["depends"].as_str().unwrap();
    let depends: Vec<_> = depends.split(", ").collect();
    for tool in tools["tools"].as_array().unwrap() {
        let of = |key: &str| tool.as_inline_table().unwrap()[key].as_str().unwrap();
        if of("need") == "build" {
            assert!(
                depends.contains(&of("debian")),
                "{} of {}",
                of("debian"),
                of("name")
            );
        }
    }
}
