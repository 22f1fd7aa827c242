//! What a change costs: what depends on it and nothing else, as the plan said before.

use serde_json::Value;

use super::quickstart::started;
use crate::support::vm::{SMALL, checked_quickstart};

#[test]
fn a_change_costs_what_hangs_on_it_and_the_plan_said_so() {
    let story = checked_quickstart();
    let shared = &story.bench;
    let text = shared.read("quickstart.toml");
    shared.write("changed.toml", format!("# a comment\n{text}"));
    let plan = shared.run(&["plan", "changed.toml", "--size", "3G"]);
    assert!(plan.stdout.contains("Nothing to do"), "{}", plan.all());

    shared.write(
        "changed.toml",
        text.replace("Made by pipeline.", "made by pipeline."),
    );
    let plan = shared.run(&["plan", "changed.toml", "--size", "3G"]);
    let install = plan
        .stdout
        .lines()
        .find(|line| line.contains("install "))
        .unwrap();
    assert!(install.ends_with("cached"), "{}", plan.all());
    assert!(
        plan.stdout.contains("to do: motd changed (took "),
        "{}",
        plan.all()
    );
    for part in [
        " last time)\n",
        "3 VMs to boot; about ",
        " to write; about ",
        " of work",
    ] {
        assert!(plan.stdout.contains(part), "no `{part}` in\n{}", plan.all());
    }
    let json = shared.run(&["plan", "changed.toml", "--size", "3G", "--format", "json"]);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    for node in json["nodes"].as_array().unwrap() {
        assert!(
            node["expected_seconds"]
                .as_f64()
                .is_some_and(|seconds| seconds > 0.0),
            "{node}"
        );
    }
    let explained = shared.run(&["explain", "changed.toml", "provision/debian12-vm-bootstrap"]);
    for line in [
        "changed.toml: steps.motd.script",
        "-echo 'Made by pipeline.' > /etc/motd",
        "+echo 'made by pipeline.' > /etc/motd",
    ] {
        assert!(
            explained.stdout.contains(line),
            "no `{line}` in\n{}",
            explained.all()
        );
    }
    let listed = shared.run(&["ls", "changed.toml"]);
    assert!(
        listed.stdout.contains("0 current, 2 outdated"),
        "{}",
        listed.all()
    );
    let listed = shared.run(&["ls", "quickstart.toml", "--format", "json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let small = &listed["images"][0];
    assert_eq!(
        (&small["state"], &small["checks"]["count"]),
        (&"current".into(), &9.into())
    );
    let sums = shared.read("out/SHA512SUM.txt");
    assert!(
        sums.starts_with(
            small["digests"][0]
                .as_str()
                .unwrap()
                .strip_prefix("sha512:")
                .unwrap()
        ),
        "{small}"
    );

    // A check that is new is asked of what is built already.
    let own = "[[checks]]\nname = \"web\"\nport = 80\nimages = \"*-3G-*\"\n\n[publish]";
    shared.write("changed.toml", text.replace("[publish]", own));
    let plan = shared.run(&["plan", "changed.toml", "--size", "3G"]);
    assert!(plan.stdout.contains("to do: check web is new"), "{}", plan.all());
    assert!(plan.stdout.contains("2 to do, 4 cached"), "{}", plan.all());

    let resized = text
        .replace("\"20G\"", "\"21G\"")
        .replace("\"out\"", "\"out-resized\"");
    shared.write("resized.toml", resized);
    let ran = shared.run(&["run", "resized.toml", "--size", "21G", "--no-check"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let id = "debian12-21G-vm-bootstrap";
    assert_eq!(
        started(shared, &ran),
        [
            format!("size/{id}"),
            format!("package/{id}"),
            format!("sums/{id}")
        ]
    );
    assert!(
        ran.stderr.contains(&format!("not checked: {id}")),
        "{}",
        ran.all()
    );
    assert_eq!(shared.read("out-resized/MD5SUM.txt").lines().count(), 1);

    let ran = shared.run(&["run", "resized.toml", "--size", "3G"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert_eq!(
        started(shared, &ran),
        [format!("sums/{SMALL}")],
        "what is built is only put into another folder"
    );
    let sums = shared.read("out-resized/SHA512SUM.txt");
    let names: Vec<_> = sums
        .lines()
        .map(|line| line.split("  ").nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(
        names,
        [format!("{SMALL}/{SMALL}.qcow2.gz"), format!("{id}/{id}.qcow2.gz")],
        "in manifest order"
    );
}
