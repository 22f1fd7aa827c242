//! The page of a run, as people see it in a browser, and its trace.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use pipeline::internals::packages::PackageChange;
use pipeline::internals::report::gallery::{self, Gallery, Image, Version};
use serde_json::{Value, json};

use crate::machine::tiny::{Then, disk};
use crate::support::browser::{Browser, HEIGHT};
use crate::support::{Bench, tool};

/// A real run of `fixtures/fleet/fleet.toml`: sixteen images of small guests, one check that failed, one installer whose
/// kernel panicked. And the run before it, in which that check was not asked for; its lines of output are left out.
const FLEET: &str = include_str!("fixtures/fleet/events.jsonl");
const BEFORE: &str = include_str!("fixtures/fleet/before.jsonl");
/// The screen of the machine whose kernel panicked.
const SCREEN: &[u8] = include_bytes!("fixtures/fleet/screen.png");

const PANICKED: &str = "install/debian14";

/// Puts a run into the store, as its journal; gives its id.
fn record(bench: &Bench, journal: &str) -> String {
    let started: Value = journal
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .find(is_start)
        .unwrap();
    let run = started["run"].as_str().unwrap();
    bench.write(&format!("store/runs/{run}/events.jsonl"), journal);
    run.to_owned()
}

fn is_start(event: &Value) -> bool {
    event["event"] == "run_started"
}

/// The page of the newest run.
fn page(bench: &Bench) -> PathBuf {
    let ran = bench.run(&["report", "-o", "page.html"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "page.html\n"),
        "{}",
        ran.all()
    );
    bench.path("page.html")
}

fn fleet() -> Bench {
    let bench = Bench::new();
    record(&bench, BEFORE);
    let run = record(&bench, FLEET);
    let folder = format!("store/runs/{run}/{}/installer", PANICKED.replace('/', "-"));
    bench.write(&format!("{folder}/screen.png"), SCREEN);
    bench
}

#[test]
fn the_page_of_a_fleet_says_on_its_first_screen_what_failed_and_why() {
    let bench = fleet();
    let page = page(&bench);
    let bytes = fs::read(&page).unwrap();
    assert!(bytes.len() < 1 << 20, "{} bytes", bytes.len());
    bench.run(&["report", "-o", "again.html"]);
    assert!(
        bytes == fs::read(bench.path("again.html")).unwrap(),
        "the same run gives the same bytes"
    );

    let mut browser = Browser::start();
    let mut papers = Vec::new();
    for width in [390, 820, 1400] {
        for scheme in ["light", "dark"] {
            browser.open(&page, width, scheme);
            assert_eq!(browser.outside(), [""; 0], "{width} {scheme}");
            papers.push(browser.ask("getComputedStyle(document.body).backgroundColor"));
        }
    }
    assert_ne!(papers[0], papers[1], "light and dark differ");

    // In a window of a laptop, before anything is scrolled.
    let seen = browser.texts(&format!(
        "[...document.querySelectorAll('h1, .short li')].filter(e => e.getBoundingClientRect().bottom <= {HEIGHT})\
         .map(e => e.innerText)"
    ));
    assert!(seen[0].ends_with("failed"), "{seen:?}");
    for expected in [
        [
            "kernel panic: install/debian14: ",
            "Kernel panic - not syncing",
            "(4 of 16 images)",
        ],
        [
            "check failed: check/debian13-128M-web: ",
            "web",
            "(1 of 16 images)",
        ],
    ] {
        let is_meant = |line: &String| expected.iter().all(|words| line.contains(words));
        assert!(seen.iter().any(is_meant), "no {expected:?} in {seen:?}");
    }
    let failures = browser.ask("document.querySelector('#failures').parentNode.innerText");
    let failures = failures.as_str().unwrap();
    for expected in [
        "expected port 80 to be open",
        "pipeline logs ",
        "End of the output",
    ] {
        assert!(failures.contains(expected), "no `{expected}` in\n{failures}");
    }
    let picture = browser
        .ask("(() => { const i = document.images[0]; return [i.naturalWidth, i.naturalHeight, i.src] })()");
    let src = picture[2]
        .as_str()
        .unwrap()
        .strip_prefix("data:image/png;base64,")
        .unwrap();
    assert!(
        STANDARD.decode(src).unwrap() == SCREEN && picture[0].as_u64() > Some(600),
        "{picture}"
    );

    // Links lead somewhere, and nothing is loaded.
    let dangling = "[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.getElementById(a.hash.slice(1))).map(a => a.hash)";
    assert_eq!(browser.texts(dangling), [""; 0]);
    assert_eq!(browser.ask("document.querySelectorAll('a').length > 4"), true);
    let loaded =
        "performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:'))";
    assert_eq!(browser.texts(loaded), [""; 0]);
    assert_eq!(browser.ask("document.scripts.length"), 0);

    let images = browser
        .texts("[...document.querySelectorAll('[aria-labelledby=images] tbody tr')].map(e => e.innerText)");
    assert_eq!(images.len(), 16, "{images:?}");
    let web = images
        .iter()
        .find(|row| row.contains("debian12-128M-web"))
        .unwrap();
    assert!(
        web.contains("bios") && web.contains("2 passed") && web.contains("128 MiB"),
        "{web}"
    );
    let digest =
        browser.ask("document.querySelector('[aria-labelledby=images]').textContent.includes('sha512:')");
    assert_eq!(digest, true);
    let since = browser.ask("document.querySelector('[aria-labelledby=before]').innerText");
    let since = since.as_str().unwrap();
    assert!(
        since.contains("Fails now, and did not: check/debian13-128M-web"),
        "{since}"
    );

    // A screen reader has a name for each picture and each thing that can be used.
    let spoken = browser.spoken();
    let named = ["image", "link", "DisclosureTriangle", "heading", "img"];
    let nameless: Vec<_> = spoken
        .iter()
        .filter(|(role, name)| named.contains(&role.as_str()) && name.is_empty())
        .collect();
    assert!(
        nameless.is_empty() && spoken.len() > 100,
        "{nameless:?} of {}",
        spoken.len()
    );
}

/// The longest chain that ends with a node: of all there are, by trying each.
fn longest(
    id: &str,
    needs: &BTreeMap<String, Vec<String>>,
    took: &BTreeMap<String, i64>,
) -> (i64, Vec<String>) {
    let before = needs[id].iter().map(|need| longest(need, needs, took));
    let (sum, mut way) = before.max_by_key(|(sum, _)| *sum).unwrap_or_default();
    match took.get(id) {
        Some(own) => {
            way.push(id.to_owned());
            (sum + own, way)
        }
        None => (sum, way),
    }
}

#[test]
fn the_critical_path_is_the_longest_of_all_chains_and_the_trace_has_every_node() {
    let (mut needs, mut began, mut took) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for line in FLEET.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let at: Timestamp = event["at"].as_str().unwrap().parse().unwrap();
        let node = event["node"].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str().unwrap() {
            "run_started" => {
                for node in event["nodes"].as_array().unwrap() {
                    let list = node.get("needs").cloned().unwrap_or_else(|| json!([]));
                    let list: Vec<String> = serde_json::from_value(list).unwrap();
                    needs.insert(node["id"].as_str().unwrap().to_owned(), list);
                }
            }
            "node_started" => drop(began.insert(node, at)),
            "node_finished" => {
                if let Some(from) = began.get(&node) {
                    took.insert(node, at.duration_since(*from).as_millis() as i64);
                }
            }
            _ => {}
        }
    }
    let (_, chain) = needs
        .keys()
        .map(|id| longest(id, &needs, &took))
        .max_by_key(|(sum, _)| *sum)
        .unwrap();
    assert!(chain.len() > 3, "{chain:?}");
    let bench = fleet();
    let mut browser = Browser::start();
    browser.open(&page(&bench), 1400, "light");
    assert_eq!(
        browser.texts("[...document.querySelectorAll('.chain code')].map(e => e.textContent)"),
        chain
    );
    let mut marked =
        browser.texts("[...document.querySelectorAll('.bars .critical .name')].map(e => e.textContent)");
    marked.sort();
    let mut sorted = chain.clone();
    sorted.sort();
    assert_eq!(marked, sorted);
    let bars = browser.texts("[...document.querySelectorAll('.bars .name')].map(e => e.textContent)");
    assert_eq!(bars.len(), took.len());

    let ran = bench.run(&["report", "--format", "trace", "--output", "-"]);
    let trace: Value = serde_json::from_str(&ran.stdout).unwrap();
    let all = trace["traceEvents"].as_array().unwrap();
    let spans: Vec<_> = all
        .iter()
        .filter(|event| event["ph"] == "X" && event["pid"] == 1)
        .collect();
    let nodes: BTreeMap<&str, &Value> = spans
        .iter()
        .filter(|span| !span["args"]["outcome"].is_null())
        .map(|span| (span["name"].as_str().unwrap(), *span))
        .collect();
    for (id, millis) in &took {
        let (of_trace, wanted) = (nodes[id.as_str()]["dur"].as_i64().unwrap(), millis * 1000);
        assert!(
            (of_trace - wanted).abs() <= 2000,
            "{id}: {of_trace} is not {wanted}"
        );
    }
    // Two nodes of one lane are never at work at once.
    let mut lanes: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
    for span in nodes.values() {
        let number = |name: &str| span[name].as_i64().unwrap();
        lanes
            .entry(number("tid"))
            .or_default()
            .push((number("ts"), number("ts") + number("dur")));
    }
    for lane in lanes.values_mut() {
        lane.sort_unstable();
        assert!(lane.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{lane:?}");
    }
    assert!(lanes.len() > 1);
}

const HOSTILE: &str =
    "<script>window.pwned=1</script><img src=x onerror=window.pwned=1>\"'>&amp;\u{202e}\u{1b}[2J{{ 7 * 7 }}";

#[test]
fn what_guests_and_manifests_say_is_text_and_no_markup() {
    // A real guest that prints markup before it dies, under a step that is called so.
    let bench = Bench::new();
    let said = "<script>window.pwned=1</script>\r\nKernel panic - not syncing: <b onclick=x>VFS</b>\r\n";
    bench.write("tiny.raw", disk(said, Then::Halt));
    bench.write(
        "m.toml",
        "[distros.tiny]\nfamily = \"debian\"\nversion = \"12\"\nmemory = \"64M\"\n\
         source = { disk = { path = \"tiny.raw\", user = \"root\" } }\n\
         [flavors.base]\nsteps = [{ inline = \"true\", name = \"<script>window.pwned=1</script>\" }]\n\
         [[images]]\ndistro = \"tiny\"\nflavor = \"base\"\nsizes = [\"3G\"]\n",
    );
    let ran = bench.run(&["run", "m.toml", "--report", "pages/page.html"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    let mut browser = Browser::start();
    browser.open(&bench.path("pages/page.html"), 820, "light");
    let text = browser.ask("document.body.innerText");
    let text = text.as_str().unwrap();
    for expected in [
        "kernel panic",
        "<b onclick=x>VFS</b>",
        "<script>window.pwned=1</script>",
        "provision/tiny-base",
    ] {
        assert!(text.contains(expected), "no `{expected}` in\n{text}");
    }
    let elements =
        "[document.scripts.length, document.querySelectorAll('b').length, typeof window.pwned].join()";
    assert_eq!(browser.ask(elements), "0,0,undefined");

    // The same in every text that an event has.
    let events = [
        json!({ "event": "run_started", "version": 1, "run": "1", "folder": HOSTILE, "pipeline": HOSTILE, "manifest": HOSTILE,
            "nodes": [
                { "id": format!("check/{HOSTILE}"), "stage": "check", "subject": HOSTILE, "cached": false, "alike": format!("{HOSTILE}/x"), "reason": HOSTILE },
                { "id": "upload/x", "stage": "upload", "subject": "x", "cached": false, "needs": [format!("check/{HOSTILE}")] },
                { "id": format!("size/{HOSTILE}"), "stage": "size", "subject": HOSTILE, "cached": true },
            ],
            "images": [{ "id": HOSTILE, "nodes": [format!("check/{HOSTILE}")] }, { "id": "x", "nodes": ["upload/x"] }] }),
        json!({ "event": "warning", "text": HOSTILE }),
        json!({ "event": "node_waiting", "node": format!("check/{HOSTILE}"), "reason": HOSTILE }),
        json!({ "event": "node_started", "node": format!("check/{HOSTILE}") }),
        json!({ "event": "phase", "node": format!("check/{HOSTILE}"), "phase": HOSTILE }),
        json!({ "event": "line", "node": format!("check/{HOSTILE}"), "stream": "console", "text": HOSTILE }),
        json!({ "event": "check", "node": format!("check/{HOSTILE}"), "check": HOSTILE, "outcome": "failed", "seconds": 1.0, "expected": HOSTILE, "seen": HOSTILE, "cached": false }),
        json!({ "event": "node_finished", "node": format!("check/{HOSTILE}"), "outcome": "failed", "seconds": 1.0, "message": HOSTILE, "verdict": "check_failed", "cause": HOSTILE, "log": HOSTILE }),
        json!({ "event": "node_finished", "node": "upload/x", "outcome": "built", "seconds": 1.0, "message": format!("javascript:{HOSTILE}") }),
        json!({ "event": "run_finished", "built": 1, "present": 0, "cached": 1, "failed": 1, "skipped": 0, "seconds": 9.0,
            "images": [{ "id": "x", "path": HOSTILE, "bytes": 1, "disk_bytes": 1, "built": true }] }),
    ];
    let journal: String = events
        .into_iter()
        .enumerate()
        .map(|(second, mut event)| {
            event["at"] = json!(format!("2030-02-03T04:05:{second:02}Z"));
            format!("{event}\n")
        })
        .collect();
    let bench = Bench::new();
    record(&bench, &journal);
    browser.open(&page(&bench), 390, "dark");
    assert_eq!(
        browser.ask("[document.scripts.length, document.images.length, typeof window.pwned].join()"),
        "0,0,undefined"
    );
    assert_eq!(browser.outside(), [""; 0]);
    let shown = HOSTILE.replace(['\u{202e}', '\u{1b}'], "\u{fffd}");
    let texts = browser.ask("document.body.textContent");
    let count = texts.as_str().unwrap().matches(&shown).count();
    assert!(count > 15, "{count} times in {texts}");
    assert_eq!(
        browser.ask("document.querySelectorAll('a:not([href^=\"#\"])').length"),
        0,
        "no link that runs a script"
    );

    // And in the page for those who download.
    let image = Image {
        id: HOSTILE.to_owned(),
        distro: HOSTILE.to_owned(),
        flavor: HOSTILE.to_owned(),
        file: format!("{HOSTILE}/{HOSTILE}.qcow2.gz"),
        base: String::new(),
        format: "qcow2",
        bytes: 1,
        disk_bytes: 1,
        created: Some(Timestamp::UNIX_EPOCH),
        firmware: vec!["bios", "uefi"],
        checks: Some(1),
        digests: vec!["md5:d41d8cd98f00b204e9800998ecf8427e".parse().unwrap()],
        urls: vec![format!("javascript:{HOSTILE}")],
        boxes: Some(HOSTILE.to_owned()),
        streams: Some((HOSTILE.to_owned(), HOSTILE.to_owned())),
        versions: vec![Version {
            name: HOSTILE.to_owned(),
            file: format!("versions/{HOSTILE}"),
            bytes: 1,
            sha256: HOSTILE.to_owned(),
            is_latest: true,
        }],
        changes: Some(vec![PackageChange {
            name: HOSTILE.to_owned(),
            arch: HOSTILE.to_owned(),
            old: Some(HOSTILE.to_owned()),
            new: None,
        }]),
    };
    let gallery = Gallery {
        name: HOSTILE.to_owned(),
        images: vec![image],
    };
    bench.write("gallery.html", gallery::page(&gallery).unwrap());
    browser.open(&bench.path("gallery.html"), 390, "light");
    assert_eq!(
        browser.ask("[document.scripts.length, document.images.length, typeof window.pwned].join()"),
        "0,0,undefined"
    );
    assert_eq!(
        browser.ask(
            "[...document.querySelectorAll('a')].map(a => new URL(a.href).protocol).every(p => p === 'file:')"
        ),
        true
    );
    assert_eq!(browser.outside(), [""; 0]);
    bench.write("feed.xml", gallery::feed(&gallery).unwrap());
    let titles = [
        "--xpath",
        "string(//*[local-name()='entry']/*[local-name()='title'])",
        "feed.xml",
    ];
    let title = tool("xmllint", &titles, &bench.path(""));
    assert_eq!(title.trim_end_matches('\n'), shown);
}

#[test]
fn a_page_of_three_hundred_images_is_short_until_it_is_unfolded() {
    let mut nodes = Vec::new();
    let mut images = Vec::new();
    let mut files = Vec::new();
    for number in 0..300 {
        let distro = format!("distro{}", number / 20);
        let id = format!("{distro}-{number}G-base");
        let own = ["size", "package", "check", "sums"].map(|stage| format!("{stage}/{id}"));
        for node in &own {
            let (stage, alike) = (node.split('/').next().unwrap(), format!("{distro}/base"));
            nodes.push(json!({ "id": node, "stage": stage, "subject": id, "cached": number % 2 == 0, "alike": alike }));
        }
        images.push(json!({ "id": id, "nodes": own }));
        files.push(json!({ "id": id, "path": format!("out/{id}"), "bytes": 1, "disk_bytes": 1, "built": number % 2 == 1 }));
    }
    let start = json!({ "at": "2030-01-01T00:00:00Z", "event": "run_started", "version": 1, "run": "1", "folder": "f",
        "pipeline": "p", "manifest": "/m.toml", "nodes": nodes, "images": images });
    let mut journal = format!("{start}\n");
    for (number, node) in nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node["cached"] == false)
    {
        let at = |second: usize| {
            format!(
                "2030-01-01T{:02}:{:02}:{:02}Z",
                second / 3600,
                second / 60 % 60,
                second % 60
            )
        };
        let outcome = if number == 5 { "failed" } else { "built" };
        for event in [
            json!({ "at": at(number), "node": node["id"], "event": "node_started" }),
            json!({ "at": at(number + 40), "node": node["id"], "event": "node_finished", "outcome": outcome, "seconds": 40.0 }),
        ] {
            journal += &format!("{event}\n");
        }
    }
    let end = json!({ "at": "2030-01-01T01:00:00Z", "event": "run_finished", "built": 599, "present": 0, "cached": 600, "failed": 1,
        "skipped": 0, "seconds": 3600.0, "images": files });
    let bench = Bench::new();
    record(&bench, &(journal + &format!("{end}\n")));
    let mut browser = Browser::start();
    browser.open(&page(&bench), 1400, "light");
    assert_eq!(
        browser.ask("document.documentElement.scrollHeight < 4 * 800"),
        true
    );
    let open =
        "[...document.querySelectorAll('section > details[open] > summary strong')].map(e => e.innerText)";
    assert_eq!(
        browser.texts(open),
        ["distro0"],
        "what failed is unfolded, and nothing else"
    );
    let rows = "document.querySelectorAll('[aria-labelledby=images] tbody tr').length";
    assert_eq!(browser.ask(rows), 300);
}

/// Opens all that is folded.
const UNFOLD: &str = "document.querySelectorAll('details').forEach(e => e.open = true); null";

#[test]
fn axe_finds_nothing_in_the_way_on_either_page() {
    let bench = fleet();
    let pages = [
        page(&bench),
        bench.write("gallery.html", gallery::page(&offered()).unwrap()),
    ];
    let mut browser = Browser::start();
    for page in &pages {
        for scheme in ["light", "dark"] {
            browser.open(page, 820, scheme);
            browser.ask(UNFOLD);
            assert_eq!(browser.barriers(), [""; 0], "{scheme} {}", page.display());
        }
    }
    browser.ask("document.querySelector('h1').style.color = 'rgb(70 70 70)'; document.body.style.background = '#333'; null");
    let found = browser.barriers();
    assert!(
        found.iter().any(|found| found.starts_with("color-contrast: <h1")),
        "{found:?}"
    );
}

/// A page with all that an image can have.
fn offered() -> Gallery {
    let hex = "d41d8cd98f00b204e9800998ecf8427e";
    let version = |name: &str, is_latest: bool| Version {
        name: name.to_owned(),
        file: format!("versions/debian13-20G-web/{name}/debian13-20G-web.qcow2.zst"),
        bytes: 321 << 20,
        sha256: hex.repeat(2),
        is_latest,
    };
    let image = |distro: &str, flavor: &str| Image {
        id: format!("{distro}-20G-{flavor}"),
        distro: distro.to_owned(),
        flavor: flavor.to_owned(),
        file: format!("{distro}-20G-{flavor}.qcow2.zst"),
        base: "https://images.example.org/".to_owned(),
        format: "qcow2",
        bytes: 321 << 20,
        disk_bytes: 20 << 30,
        created: Some("2030-02-03T04:05:06Z".parse().unwrap()),
        firmware: vec!["bios", "uefi"],
        checks: Some(12),
        digests: vec![format!("sha256:{}", hex.repeat(2)).parse().unwrap()],
        urls: vec!["https://mirror.example.org/x".to_owned()],
        boxes: Some("https://mirror.example.org/versions/x/vagrant.json".to_owned()),
        streams: Some(("mirror".to_owned(), "https://mirror.example.org".to_owned())),
        versions: vec![
            version("20300203T040506Z", true),
            version("20300103T040506Z", false),
        ],
        changes: Some(vec![PackageChange {
            name: "openssl".to_owned(),
            arch: "amd64".to_owned(),
            old: Some("3.5.1-1".to_owned()),
            new: Some("3.5.4-1~deb13u1".to_owned()),
        }]),
    };
    Gallery {
        name: "house".to_owned(),
        images: vec![
            image("debian13", "web"),
            image("debian13", "base"),
            image("alma9", "base"),
        ],
    }
}
