//! Into an image that has no account for anyone: by the key that `pipeline boot` makes, offered to its systemd for root, and
//! written into a copy for another user.

use std::fs::File;

use crate::support::vm::{SMALL, image, quickstart};

#[test]
fn an_image_without_accounts_lets_its_user_in() {
    let story = quickstart(1);
    let bench = &story.bench;
    bench.write("input", "id; cat /root/.ssh/authorized_keys; exit 0\n");
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
    // The one user of a Debian whose shell needs no password and ends well by itself.
    let ran = log_in("sync");
    assert_eq!(ran.code, 0, "{}", ran.all());
}
