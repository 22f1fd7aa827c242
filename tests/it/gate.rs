//! Checks as a gate: what failed one is not published, and what was seen is kept.

use crate::support::browser::Browser;
use crate::support::small_guest::small_disk;
use crate::support::{Bench, tool};

const MANIFEST: &str = r#"
[pipeline]
name = "gate"

[resources]
cpus = 2

[distros.small]
family  = "debian"
version = "12"
disk    = "64M"
memory  = "128M"
cpus    = 1
source  = { disk = { path = "small.raw", access = { key = "small-key" } } }

[flavors.base]
steps = []

[[images]]
distro = "small"
flavor = "base"
sizes  = ["64M", "128M"]

[[checks]]
images = "*-64M-*"
login_prompt = true

[[checks]]
images = "*-64M-*"
port   = 22

[[checks]]
name         = "web"
images       = "*-64M-*"
port         = 80

[publish]
checksums = ["sha512"]
"#;

#[test]
fn a_failed_check_keeps_its_image_back_and_shows_what_was_seen() {
    let bench = Bench::new();
    small_disk(&bench, "small");
    bench.write("gate.toml", MANIFEST);
    let ran = bench.run(&["run", "gate.toml", "--junit", "gate.xml"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    for expected in [
        "login-prompt ok",
        "port-22 ok",
        "web FAILED",
        "1 of 3 checks failed",
        "seen      a closed port",
        "2 checks passed, 1 failed",
    ] {
        assert!(ran.stderr.contains(expected), "no `{expected}` in\n{}", ran.all());
    }
    let (failed, other) = ("small-64M-base", "small-128M-base");
    assert!(
        !bench.path(&format!("out/{failed}")).exists(),
        "only what passed is published"
    );
    assert!(bench.path(&format!("out/{other}/{other}.qcow2.gz")).exists());
    let failure = ["--xpath", "string(//testcase[@name='web']/failure)", "gate.xml"];
    let failure = tool("xmllint", &failure, &bench.path(""));
    assert!(failure.contains("a closed port"), "{failure}");

    let logs = ran.stderr.split("    log     [ROOT]/").nth(1).unwrap();
    let logs = logs.lines().next().unwrap();
    assert!(
        bench
            .read(&format!("{logs}/verdict.txt"))
            .contains("a closed port")
    );
    for kept in ["console.log", "qemu.argv", "qemu.stderr", "screen.png"] {
        assert!(
            bench.path(&format!("{logs}/first-boot/{kept}")).exists(),
            "{kept}"
        );
    }
    is_offered(&bench, other);
}

/// Those who download see what passed, with commands that work as they stand.
fn is_offered(bench: &Bench, image: &str) {
    let ran = bench.run(&["gallery", "gate.toml"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "out/feed.xml\nout/index.html\n"),
        "{}",
        ran.all()
    );
    let mut browser = Browser::start();
    for (width, scheme) in [(390, "light"), (1400, "dark")] {
        browser.open(&bench.path("out/index.html"), width, scheme);
        assert_eq!(browser.outside(), [""; 0]);
    }
    let rows = browser.texts("[...document.querySelectorAll('tbody tr')].map(e => e.innerText)");
    let [row] = &rows[..] else {
        panic!("{rows:?}");
    };
    assert!(
        row.contains(image) && row.contains("128 MiB") && row.contains("bios"),
        "{row}"
    );
    let link = browser.ask("document.querySelector('tbody a').href");
    let file = bench.path(&format!("out/{image}/{image}.qcow2.gz"));
    assert_eq!(link, format!("file://{}", file.display()));
    let commands = browser.texts("[...document.querySelectorAll('pre')].map(e => e.textContent)");
    let folder = file.parent().unwrap();
    for command in &commands[..2] {
        tool("sh", &["-ec", command], folder);
    }
    let disk = format!("{image}.qcow2");
    assert!(tool("qemu-img", &["info", &disk], folder).contains("128 MiB"));
    for (command, tool) in commands[2..].iter().zip(["virt-install ", "qm ", "openstack "]) {
        assert!(command.starts_with(tool) && command.contains(&disk), "{command}");
    }
    let entries = "concat(count(//*[local-name()='entry']), ' ', //*[@rel='enclosure']/@href)";
    let feed = tool("xmllint", &["--xpath", entries, "out/feed.xml"], &bench.path(""));
    assert_eq!(feed.trim(), format!("1 {image}/{image}.qcow2.gz"));
}
