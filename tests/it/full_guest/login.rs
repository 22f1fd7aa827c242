//! Into an image that has no account for anyone: by the key that `pipeline boot` makes, offered to its systemd for root, and
//! written into a copy for another user.

use std::collections::BTreeSet;
use std::fs::File;

use serde_json::Value;

use crate::support::vm::{SMALL, image, quickstart};

#[test]
fn an_image_without_accounts_lets_its_user_in() {
    let story = quickstart(1);
    let bench = &story.bench;
    let query = "dpkg-query -W -f '=${Package}|${Version}|${Architecture}\\n'";
    bench.write(
        "input",
        format!("id; cat /root/.ssh/authorized_keys; echo; {query}; exit 0\n"),
    );
    let log_in = |user: &str| {
        let user = format!("--ssh={user}");
        let mut command = bench.command(&["boot", &image(SMALL), &user, "--timeout", "15m"]);
        command.stdin(File::open(bench.path("input")).unwrap());
        bench.finish(command)
    };
    let ran = log_in("root");
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(
        ran.stdout.contains("uid=0(root)") && ran.stdout.contains(" pipeline-boot"),
        "{}",
        ran.all()
    );
    // What was recorded when it was provisioned is what is in it.
    let has: BTreeSet<_> = ran
        .stdout
        .lines()
        .filter_map(|line| line.trim().strip_prefix('='))
        .collect();
    let listed = bench.run(&["packages", "quickstart.toml", "--format", "json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let packages = listed["systems"][0]["inside"]["packages"].as_array().unwrap();
    let text = |package: &Value| {
        ["name", "version", "architecture"]
            .map(|field| package[field].as_str().unwrap().to_owned())
            .join("|")
    };
    let recorded: Vec<_> = packages.iter().map(text).collect();
    assert!(recorded.len() > 100);
    assert_eq!(recorded.iter().map(String::as_str).collect::<BTreeSet<_>>(), has);
    // The one user of a Debian whose shell needs no password and ends well by itself.
    let ran = log_in("sync");
    assert_eq!(ran.code, 0, "{}", ran.all());
}
