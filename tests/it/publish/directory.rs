//! A folder as the place, perhaps on a share: whole files or none, a full disk, a share that is not mounted.

use std::process::Command;

use super::{LARGE, SMALL, bench, catalog, file, listed, noise, package, says, well};
use crate::support::tool;

const TARGET: &str = "[publish.share]\nto = \"directory\"\npath = \"share\"\n";

#[test]
fn images_are_put_into_a_folder_once_and_listed_with_all_that_is_known() {
    let bench = bench(TARGET, 100_000);
    std::fs::create_dir(bench.path("share")).unwrap();
    let first = bench.run(&["upload", "m.toml"]);
    well(&first);
    for id in [SMALL, LARGE] {
        let there = std::fs::read(bench.path(&format!("share/{}", file(id)))).unwrap();
        assert_eq!(there, noise(100_000, if id == SMALL { 1 } else { 2 }));
    }
    assert!(!bench.path("out/URL.txt").exists(), "that is for shacaches");
    let image = &catalog(&bench)[0];
    assert_eq!(image["id"], SMALL);
    assert_eq!(image["disk_bytes"], 3u64 << 30);
    assert_eq!(image["built_from"]["steps"][0], "nothing");
    let share = bench.path("share");
    let url = format!("file://{}/{}", share.display(), file(SMALL));
    assert_eq!(image["urls"]["share"]["url"], url);
    let sha512 = tool("sha512sum", &[&file(SMALL)], &share);
    assert_eq!(image["digests"]["sha512"], sha512.split(' ').next().unwrap());

    let before = bench.read("out/index.json");
    let again = bench.run(&["upload", "m.toml"]);
    well(&again);
    says(&again, &["nothing was sent", "nothing to do"]);
    assert_eq!(bench.read("out/index.json"), before);

    // A rebuild of one image costs one upload; the other one stays listed.
    package(&bench, SMALL, &noise(100_000, 3));
    let rebuilt = bench.run(&["upload", "m.toml", "--size", "3G"]);
    well(&rebuilt);
    says(&rebuilt, &["replacing it"]);
    assert_eq!(listed(&bench), [SMALL, LARGE]);

    let checked = bench.run(&["check-urls", "m.toml"]);
    well(&checked);
    assert_eq!(checked.stdout.matches("ok ").count(), 2, "{}", checked.all());
    std::fs::remove_file(bench.path(&format!("share/{}", file(LARGE)))).unwrap();
    std::fs::write(bench.path(&format!("share/{}", file(SMALL))), noise(100_000, 4)).unwrap();
    let checked = bench.run(&["check-urls", "m.toml"]);
    assert_eq!(checked.code, 1, "{}", checked.all());
    let verdict = |id: &str| {
        let line = checked.stdout.lines().find(|line| line.contains(id)).unwrap();
        line.split(' ').next().unwrap().to_owned()
    };
    assert_eq!(
        (verdict(LARGE), verdict(SMALL)),
        ("gone".to_owned(), "wrong".to_owned())
    );
}

#[test]
fn what_is_not_built_is_named_and_a_share_that_is_not_mounted_stays_one() {
    let bench = bench(TARGET, 1000);
    let failed = bench.run(&["upload", "m.toml"]);
    assert_eq!(failed.code, 2, "{}", failed.all());
    says(
        &failed,
        &["there is no folder", "mount the", "nothing was started"],
    );
    assert!(!bench.path("share").exists());
    assert!(listed(&bench).is_empty());
    let text = bench.read("m.toml").replace("\"20G\"", "\"21G\"");
    bench.write("m.toml", text);
    let ran = bench.run(&["upload", "m.toml"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    says(&ran, &["not built", "debian12-21G-base", "pipeline run"]);
    assert!(!ran.stderr.contains(SMALL), "{}", ran.all());
}

/// A real full disk: a file system of half a megabyte, in a namespace of its own.
#[test]
fn a_full_disk_is_told_and_nothing_of_it_is_listed() {
    let bench = bench(TARGET, 1 << 20);
    std::fs::create_dir(bench.path("share")).unwrap();
    let plain = bench.command(&["upload", "m.toml", "--size", "3G"]);
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-c"])
        .arg("mount -t tmpfs -o size=512k tmpfs share && \"$@\"; code=$?; ls -A share; exit $code")
        .arg("sh")
        .arg(plain.get_program())
        .args(plain.get_args())
        .current_dir(bench.path(""))
        .env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = bench.finish(command);
    assert_eq!(ran.code, 1, "{}", ran.all());
    says(&ran, &["no space left to write", "make room there"]);
    let left = ran.stdout.lines().collect::<Vec<_>>();
    assert_eq!(left, [SMALL], "its folder, and nothing in the making");
    assert!(listed(&bench).is_empty());
}
