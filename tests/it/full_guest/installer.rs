//! The real Debian installer as far as the mirror lets it come, and what is said when it cannot go on.

use std::fs;
use std::time::Duration;

use crate::installer::{failure, manifest};
use crate::support::debian_installer::{HalfMirror, netboot};
use crate::support::tool;
use crate::support::vm::{is_real, story, wait_until};

/// Longest time until an installer does something, with others next to it, under emulation.
const GUEST: Duration = Duration::from_secs(600);

/// Real installers: one that cannot get its own parts from its mirror, and one that has its answers in its initial RAM disk and
/// whose mirror is pulled away while it reads from it. At night, also one with answers that are none; what that one prints is
/// in a unit test of `installer::watch`.
#[test]
fn the_real_installer_takes_its_answers_and_its_end_is_understood_in_seconds() {
    let boot = netboot();
    let story = story(2);
    let bench = &story.bench;
    let mirror = HalfMirror::start(bench, "mirror", &boot.kernel);
    let pulled = HalfMirror::start(bench, "pulled", &boot.kernel);
    // As on Debian's own media; the installer itself is that of the network.
    fs::create_dir_all(bench.path("cd/install.amd")).unwrap();
    fs::copy(&boot.kernel, bench.path("cd/install.amd/vmlinuz")).unwrap();
    fs::copy(&boot.initrd, bench.path("cd/install.amd/initrd.gz")).unwrap();
    let image = ["-as", "mkisofs", "-quiet", "-R", "-J", "-o", "debian.iso", "cd"];
    tool("xorriso", &image, &bench.path("."));
    let (kernel, initrd) = (boot.kernel.display(), boot.initrd.display());
    let netboot =
        format!("netboot]\nkernel = {{ path = \"{kernel}\" }}\ninitrd = {{ path = \"{initrd}\" }}\n");
    let distro = |name: &str, answers: &str, source: &str, mirror: &str| {
        // Looking for an IPv6 router takes the emulated installer most of a minute.
        format!(
            "[distros.{name}]\nfamily = \"debian\"\nversion = \"13\"\ncpus = 1\n{answers}\n[distros.{name}.source.{source}\n\
             suite = \"trixie\"\nmirror = \"{mirror}\"\narguments = \"ipv6.disable=1\"\n"
        )
    };
    bench.write(
        "broken.cfg.j2",
        "{% extends \"preseed-debian.cfg.j2\" %}\n{% block clock %}\nthis is no answer\nd-i\n{% endblock %}\n",
    );
    bench.write(
        "unsigned.cfg.j2",
        "{% extends \"preseed-debian.cfg.j2\" %}\n{% block head %}\n#_preseed_V1\n\
         d-i debian-installer/allow_unauthenticated boolean true\n{% endblock %}\n",
    );
    let unsigned = "answers = \"unsigned.cfg.j2\"";
    let injected = format!("{netboot}answers_by = \"initrd\"\n");
    let mut names = vec!["plain", "away"];
    let mut distros = distro("plain", unsigned, "iso]\npath = \"debian.iso\"\n", &mirror.url())
        + &distro("away", unsigned, &injected, &pulled.url());
    if is_real() {
        names.push("broken");
        distros += &distro("broken", "answers = \"broken.cfg.j2\"", &netboot, &mirror.url());
    }
    bench.write("images.toml", manifest(&distros, &names));
    let pulling = std::thread::spawn(move || {
        wait_until("the installer to ask its mirror", GUEST, || {
            pulled.asked().contains("\"GET /debian/dists/")
        });
        drop(pulled.server);
    });
    let ran = bench.run(&["run", "images.toml", "--progress=plain"]);
    pulling.join().unwrap();
    assert_eq!(ran.code, 1, "{}", ran.all());
    let all = format!("{}{}", ran.stdout, ran.stderr);
    for (distro, what) in [
        (
            "plain",
            "the installer failed to download a file from the mirror (it had its answers; its last phase was: ",
        ),
        (
            "broken",
            "the installer cannot make sense of its answers (it had its answers; its last phase was: ",
        ),
        (
            "away",
            "the mirror does not have this release or cannot be reached (it had its answers; its last phase was: ",
        ),
    ] {
        if !names.contains(&distro) {
            continue;
        }
        let line = failure(&all, distro);
        assert!(line.contains(what), "{line}\n{all}");
    }
    assert!(all.contains("the screen is in "), "{all}");

    let run = fs::read_dir(bench.path("store/runs"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let events = fs::read_to_string(run.join("events.jsonl")).unwrap();
    let events: Vec<serde_json::Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |distro: &str| {
        let node = format!("install/{distro}");
        events
            .iter()
            .filter(move |event| event["node"] == node.as_str())
            .collect::<Vec<_>>()
    };
    for distro in names {
        let events = of(distro);
        let asked = events
            .iter()
            .any(|e| e["stream"] == "http" && e["text"] == "GET /preseed.cfg 200");
        assert_eq!(asked, distro != "away", "{distro}: who fetches its answers");
        let phases: Vec<_> = events.iter().filter_map(|e| e["phase"].as_str()).collect();
        assert!(
            phases.contains(&"configuring the network"),
            "{distro}: {phases:?}"
        );
        assert!(
            events.iter().any(|e| e["stream"] == "syslog"),
            "{distro} sent no syslog"
        );
        let folder = run.join(format!("install-{distro}"));
        assert!(
            fs::read(folder.join("screen.png"))
                .unwrap()
                .starts_with(b"\x89PNG"),
            "{distro}"
        );
        assert!(
            fs::metadata(folder.join("syslog.log")).unwrap().len() > 0,
            "{distro}"
        );
    }
    // From the prompt to the end of the node.
    let events = of("plain");
    let at = |event: &serde_json::Value| event["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let prompt = events.iter().find(|e| {
        e["text"]
            .as_str()
            .is_some_and(|t| t.contains("failed to download a file"))
    });
    let end = events.iter().find(|e| e["event"] == "node_finished").unwrap();
    let took = at(end).duration_since(at(prompt.unwrap()));
    assert!(
        took < jiff::SignedDuration::from_secs(20),
        "the failure took {took:?} to be reported"
    );
    // What was served had the key of the build in it, and the manifest's own words.
    let served = fs::read_to_string(run.join("install-plain/preseed.cfg")).unwrap();
    assert!(
        served.contains("d-i mirror/suite string trixie\n") && !served.contains("AAAA-build-key"),
        "{served}"
    );
    assert!(
        served.contains("pipeline-build") || served.contains("ssh-ed25519 "),
        "{served}"
    );
}
