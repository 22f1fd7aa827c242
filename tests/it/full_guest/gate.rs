//! Checks as a gate: what failed one is not published, and what was seen is kept.

use crate::support::tool;
use crate::support::vm::{LARGE, SMALL, quickstart};

#[test]
fn a_failed_check_keeps_its_image_back_and_shows_what_was_seen() {
    let story = quickstart(1);
    let shared = &story.bench;
    let own = r#"
[[checks]]
name    = "motd"
images  = "*-3G-*"
command = "cat /etc/motd"
output  = "by pipeline."
matches = "^Made"

[[checks]]
port   = 22
images = "*-3G-*"

[[checks]]
name    = "coffee"
images  = "*-3G-*"
command = "echo no beans; exit 3"

[publish]"#;
    let text = shared
        .read("quickstart.toml")
        .replace("checks = [\"standard\", \"vm-bootstrap\"]", "")
        .replace("\"out\"", "\"out-gate\"")
        .replace("[publish]", own);
    shared.write("gate.toml", text);
    let ran = shared.run(&["run", "gate.toml", "--junit", "gate.xml"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    for expected in [
        "motd ok",
        "port-22 ok",
        "coffee FAILED",
        "1 of 3 checks failed",
        "expected  exit code 0",
        "seen      exit code 3 and the output",
        "no beans",
        "2 checks passed, 1 failed",
    ] {
        assert!(ran.stderr.contains(expected), "no `{expected}` in\n{}", ran.all());
    }
    assert!(
        !shared.path(&format!("out-gate/{SMALL}")).exists(),
        "only what passed is published"
    );
    assert!(
        shared
            .path(&format!("out-gate/{LARGE}/{LARGE}.qcow2.gz"))
            .exists()
    );
    let failure = [
        "--xpath",
        "string(//testcase[@name='coffee']/failure)",
        "gate.xml",
    ];
    let failure = tool("xmllint", &failure, &shared.path(""));
    assert!(failure.contains("no beans"), "{failure}");

    let logs = ran.stderr.split("logs of this node: [ROOT]/").nth(1).unwrap();
    let logs = logs.lines().next().unwrap();
    assert!(shared.read(&format!("{logs}/verdict.txt")).contains("no beans"));
    assert!(shared.read(&format!("{logs}/script.sh")).contains("no beans"));
    assert!(
        shared
            .read(&format!("{logs}/answers-first-boot.txt"))
            .contains("== motd: code 0")
    );
    assert!(
        shared
            .read(&format!("{logs}/requests.log"))
            .contains("GET /vm-bootstrap: 200")
    );
    for kept in ["console.log", "qemu.argv", "qemu.stderr", "screen.png"] {
        assert!(
            shared.path(&format!("{logs}/first-boot/{kept}")).exists(),
            "{kept}"
        );
    }
}
