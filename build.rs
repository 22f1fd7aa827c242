//! What `--version` says: of a release build from a repository also the commit. Development builds go without, so that a
//! commit compiles nothing again.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let mut version = env!("CARGO_PKG_VERSION").to_owned();
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rerun-if-changed=.git/HEAD");
        println!("cargo::rerun-if-changed=.git/logs/HEAD");
        let described = Command::new("git")
            .args(["describe", "--always", "--dirty"])
            .output();
        let described = described.ok().filter(|output| output.status.success());
        let commit = described.and_then(|output| String::from_utf8(output.stdout).ok());
        if let Some(commit) = commit {
            version = format!("{version} ({})", commit.trim());
        }
    }
    println!("cargo::rustc-env=PIPELINE_VERSION={version}");
}
