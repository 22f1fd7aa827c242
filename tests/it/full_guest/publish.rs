//! The quickstart's images, built by real VMs, on their way to a shacache: found there by the reference downloader, sent
//! once, and one of them again after a rebuild.

use crate::publish::reference::{configure, download, server};
use crate::publish::{says, well};
use crate::support::vm::{LARGE, SMALL, quickstart};
use crate::support::{Bench, tool};

const IDS: [(&str, &str); 2] = [(SMALL, "disk-size==3"), (LARGE, "disk-size==20")];

/// Name, URL and MD5 of each line of `URL.txt`.
fn lines(bench: &Bench) -> Vec<[String; 3]> {
    let text = bench.read("out/URL.txt");
    text.lines()
        .map(|line| {
            let (name, rest) = line.split_once("  ").unwrap();
            let (url, md5) = rest.split_once("   ").unwrap();
            [name, url, md5].map(str::to_owned)
        })
        .collect()
}

#[test]
fn images_are_published_once_and_a_rebuilt_one_again() {
    let story = quickstart(0);
    let bench = &story.bench;
    let server = server(bench);
    configure(bench, &server.url("/shacache"), &server.url("/shadir"), 2048);
    // What is checked before it is published has a story of its own; here it would only boot the rebuilt image.
    let text = bench.read("quickstart.toml");
    let text = text.replace("checks = [\"standard\", \"vm-bootstrap\"]", "");
    bench.write(
        "m.toml",
        format!("{text}\n[publish.shacache]\nconfig = \"shacache.cfg\"\n"),
    );
    let mut command = bench.command(&["run", "m.toml"]);
    command.env("UPLOAD", "yes");
    let first_run = bench.finish(command);
    well(&first_run);
    assert!(
        !first_run.stderr.contains("install debian12: started"),
        "{}",
        first_run.all()
    );
    let out = bench.path("out");
    let first = lines(bench);
    assert_eq!(first.len(), 2);
    for ([name, url, md5], (id, by_size)) in first.iter().zip(IDS) {
        assert_eq!(*name, format!("{id}.qcow2.gz"));
        let file = format!("{id}/{name}");
        assert!(tool("md5sum", &[&file], &out).starts_with(md5.as_str()));
        let sha512 = tool("sha512sum", &[&file], &out);
        assert_eq!(
            *url,
            server.url(&format!("/shacache/{}", sha512.split(' ').next().unwrap()))
        );
        let got = download(bench, &[by_size, "distribution==\"debian\"", "version==\"12\""]);
        assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
        assert!(got.stdout == std::fs::read(out.join(&file)).unwrap(), "{id}");
    }

    let again = bench.run(&["run", "m.toml", "--upload"]);
    well(&again);
    assert_eq!(
        again.stderr.matches("nothing was sent").count(),
        2,
        "{}",
        again.all()
    );
    says(&again, &["nothing to do"]);

    let (small, _) = IDS[0];
    let size = format!("size/{small}");
    let rebuilt = bench.run(&["run", "m.toml", "--upload", "--rebuild", &size]);
    well(&rebuilt);
    assert_eq!(
        rebuilt.stderr.matches("nothing was sent").count(),
        1,
        "{}",
        rebuilt.all()
    );
    let second = lines(bench);
    assert_eq!(second.len(), 2);
    assert_eq!(second[1], first[1], "the other line stays");
    assert_ne!(second[0][1], first[0][1], "new bytes have a new name");
    well(&bench.run(&["check-urls", "m.toml"]));
}
