//! Following releases: what the newest medium is by each family's kind of list, and which lists are refused.

mod replay;

use crate::support::publisher::{Publisher, sha256, sha512};
use crate::support::{Bench, Ran};

/// A key that signs, and the day.
const KEY: (&str, &str) = ("publisher@example.com", "20260115");
const DAYS: [&str; 2] = ["20251020", "20251103"];

/// Serves what each publisher has: an older and a newer medium of each, for one architecture.
fn world(publisher: &Publisher) {
    // Debian: a folder for each version, the older ones in the archive.
    for (folder, version) in [
        ("debian-cd", "12.11.0"),
        ("cdimage/archive", "12.9.0"),
        ("cdimage/archive", "11.11.0"),
    ] {
        let name = format!("debian-{version}-arm64-netinst.iso");
        let path = format!("/{folder}/{version}/arm64/iso-cd/");
        publisher.put(&format!("{path}{name}"), &name);
        let sums = format!(
            "{}  {name}\n{}  debian-edu-{version}-arm64-netinst.iso\n",
            sha512(name.as_bytes()),
            sha512(b"x")
        );
        let list = format!("{path}SHA512SUMS");
        publisher.put_signed(KEY, &list, &format!("{list}.sign"), &sums);
    }
    for day in DAYS {
        let name = format!("debian-12-genericcloud-amd64-{day}-2274.qcow2");
        let sums = format!("{}  {name}\n", sha512(name.as_bytes()));
        publisher.put(&format!("/images/cloud/bookworm/{day}-2274/SHA512SUMS"), sums);
    }
    // Ubuntu: one signed JSON for all.
    let item = |path: &str| {
        format!(
            "{{\"path\": \"{path}\", \"sha256\": \"{}\", \"size\": 1000}}",
            sha256(path.as_bytes())
        )
    };
    let product = |fields: &str, item: &str, versions: [(&str, String); 2]| {
        let versions =
            versions.map(|(version, path)| format!("\"{version}\": {{\"items\": {{\"{item}\": {path}}}}}"));
        format!(
            "{{\"products\": {{\"p\": {{{fields}, \"versions\": {{{}}}}}}}}}",
            versions.join(",")
        )
    };
    let iso = |version: &str| item(&format!("noble/ubuntu-{version}-live-server-amd64.iso"));
    let server = "\"arch\": \"amd64\", \"version\": \"24.04\", \"image_type\": \"live-server\"";
    let list = "/streams/v1/com.ubuntu.releases:ubuntu-server.json";
    let text = product(
        server,
        "iso",
        [("24.04.2", iso("24.04.2")), ("24.04", iso("24.04"))],
    );
    publisher.put_signed(KEY, list, &format!("{list}.gpg"), &text);
    let disk = |day: &str| {
        item(&format!(
            "server/releases/noble/release-{day}/ubuntu-24.04-server-cloudimg-arm64.img"
        ))
    };
    let cloud = "\"arch\": \"arm64\", \"version\": \"24.04\"";
    let list = "/releases/streams/v1/com.ubuntu.cloud:released:download.json";
    let text = product(
        cloud,
        "disk1.img",
        [(DAYS[0], disk(DAYS[0])), (DAYS[1], disk(DAYS[1]))],
    );
    publisher.put_signed(KEY, list, &format!("{list}.gpg"), &text);
    // The rebuilds of RHEL: lists as BSD's tools write them, signed in one way or another.
    let bsd = |name: &str| {
        format!(
            "# {name}: 1000 bytes\nSHA256 ({name}) = {}\n",
            sha256(name.as_bytes())
        )
    };
    for version in ["9.6", "9.10"] {
        let names = ["boot", "minimal"].map(|variant| format!("AlmaLinux-{version}-x86_64-{variant}.iso"));
        let text = names.map(|name| bsd(&name)).concat();
        publisher.put_clear_signed(KEY, &format!("/almalinux/{version}/isos/x86_64/CHECKSUM"), &text);
        let list = format!("/pub/rocky/{version}/isos/aarch64/CHECKSUM");
        let text = bsd(&format!("Rocky-{version}-aarch64-minimal.iso"));
        publisher.put_signed(KEY, &list, &format!("{list}.sig"), &text);
        let list = format!("/pub/rocky/{version}/images/x86_64/CHECKSUM");
        publisher.put(
            &list,
            bsd(&format!(
                "Rocky-9-GenericCloud-Base-{version}-20251123.2.x86_64.qcow2"
            )),
        );
    }
    let list = "/almalinux/9/cloud/x86_64/images/CHECKSUM";
    let text = ["9.6-20250522", "9.10-20251201"]
        .map(|version| format!("AlmaLinux-9-GenericCloud-{version}.x86_64.qcow2"))
        .map(|name| format!("{}  {name}\n", sha256(name.as_bytes())))
        .concat();
    publisher.put_signed(KEY, list, &format!("{list}.asc"), &text);
    for day in DAYS {
        for name in [
            format!("/9-stream/BaseOS/x86_64/iso/CentOS-Stream-9-{day}.0-x86_64-dvd1.iso"),
            format!("/centos/9-stream/x86_64/images/CentOS-Stream-GenericCloud-9-{day}.0.x86_64.qcow2"),
        ] {
            publisher.put(&name, "x");
            let file = name.rsplit('/').next().unwrap();
            publisher.put(&format!("{name}.SHA256SUM"), bsd(file));
        }
    }
    // Fedora: JSON, and next to each file a signed list.
    let fedora = |kind: &str, folder: &str, name: &str| {
        let path = format!("/pub/fedora/linux/releases/43/{kind}/x86_64/{folder}");
        let text = bsd(name);
        publisher.put_clear_signed(
            KEY,
            &format!("{path}/Fedora-{kind}-43-1.6-x86_64-CHECKSUM"),
            &text,
        );
        format!(
            "{{\"version\": \"43\", \"arch\": \"x86_64\", \"variant\": \"{kind}\", \"sha256\": \"{}\", \"size\": \"1000\", \
             \"link\": \"https://download.fedoraproject.org{path}/{name}\"}}",
            sha256(name.as_bytes())
        )
    };
    let files = [
        fedora("Server", "iso", "Fedora-Server-dvd-x86_64-43-1.6.iso"),
        fedora("Cloud", "images", "Fedora-Cloud-Base-Generic-43-1.6.x86_64.qcow2"),
    ];
    publisher.put("/releases.json", format!("[{}]", files.join(",")));
    // openSUSE: each file has a signed list of its own.
    for name in [
        "15.6/iso/openSUSE-Leap-15.6-NET-x86_64-Build709.1-Media.iso",
        "15.6/iso/openSUSE-Leap-15.6-NET-x86_64-Build710.3-Media.iso",
        "15.6/iso/openSUSE-Leap-15.6-NET-x86_64-Media.iso",
        "15.6/appliances/openSUSE-Leap-15.6-Minimal-VM.x86_64-15.6.0-Cloud-Build19.103.qcow2",
        "16.0/offline/Leap-16.0-online-installer-x86_64-Build171.1.install.iso",
    ] {
        let path = format!("/distribution/leap/{name}");
        publisher.put(&path, "x");
        let file = path.rsplit('/').next().unwrap();
        let list = format!("{path}.sha256");
        let text = format!("{}  {file}\n", sha256(file.as_bytes()));
        publisher.put_signed(KEY, &list, &format!("{list}.asc"), &text);
    }
    // Alpine: YAML, and disk images with a digest and nothing else in a file.
    let name = "alpine-virt-3.22.2-x86_64.iso";
    let yaml = format!(
        "---\n-\n  title: \"Virtual\"\n  branch: v3.22\n  arch: x86_64\n  file: {name}\n  size: 1000\n  sha256: {}\n  sha512: {}\n",
        sha256(name.as_bytes()),
        sha512(name.as_bytes())
    );
    publisher.put("/alpine/v3.22/releases/x86_64/latest-releases.yaml", yaml);
    for version in [
        "3.22.2-x86_64-bios-cloudinit-r0",
        "3.22.10-x86_64-bios-cloudinit-r1",
    ] {
        let name = format!("nocloud_alpine-{version}.qcow2");
        let path = format!("/alpine/v3.22/releases/cloud/{name}");
        publisher.put(&path, "x");
        publisher.put(&format!("{path}.sha512"), sha512(name.as_bytes()));
    }
    publisher.list();
}

#[test]
fn the_newest_medium_of_every_recipe_is_found_and_its_list_verified() {
    let (bench, publisher) = (Bench::new(), Publisher::start());
    publisher.key(KEY.0, "20200101");
    world(&publisher);
    let keyring = publisher.keyring(&[KEY.0], &bench.path("publisher.asc"));
    let (keyring, from) = (keyring.display().to_string(), publisher.shelf.url("/"));
    let mut found = String::new();
    for (release, kind, arch, is_signed) in [
        ("debian-12", "iso", "arm64", true),
        ("debian-11", "iso", "arm64", true),
        ("debian-12", "disk", "amd64", false),
        ("ubuntu-24.04", "iso", "amd64", true),
        ("ubuntu-24.04", "disk", "arm64", true),
        ("almalinux-9", "iso", "amd64", true),
        ("almalinux-9", "disk", "amd64", true),
        ("rocky-9", "iso", "arm64", true),
        ("rocky-9", "disk", "amd64", false),
        ("centos-stream-9", "iso", "amd64", false),
        ("centos-stream-9", "disk", "amd64", false),
        ("fedora-43", "iso", "amd64", true),
        ("fedora-43", "disk", "amd64", true),
        ("opensuse-leap-15.6", "iso", "amd64", true),
        ("opensuse-leap-15.6", "disk", "amd64", true),
        ("opensuse-leap-16.0", "iso", "amd64", true),
        ("alpine-3.22", "iso", "amd64", false),
        ("alpine-3.22", "disk", "amd64", false),
    ] {
        let mut args = vec![
            "releases",
            release,
            "--kind",
            kind,
            "--arch",
            arch,
            "--from",
            &from,
            "--format=json",
        ];
        if is_signed {
            args.extend(["--keyring", &keyring]);
        }
        let ran = bench.run(&args);
        assert_eq!(ran.code, 0, "{release} {kind}: {}", ran.all());
        let all: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let latest = &all["releases"][0]["latest"];
        let urls = latest["medium"]["urls"].as_array().unwrap();
        let urls: Vec<_> = urls
            .iter()
            .map(|url| url.as_str().unwrap().replace(&from, "/"))
            .collect();
        let file = urls[0].rsplit('/').next().unwrap();
        let digest = latest["medium"]["digests"][0].as_str().unwrap();
        let path = urls[0].split_once('/').unwrap().1;
        // Each test file's digest is that of its name, or of its path where a list names one.
        let wanted = [file, path, path.strip_prefix("releases/").unwrap_or(path)];
        let wanted = wanted.map(|text| {
            [
                format!("sha512:{}", sha512(text.as_bytes())),
                format!("sha256:{}", sha256(text.as_bytes())),
            ]
        });
        assert!(
            wanted.concat().iter().any(|one| one == digest),
            "{release} {kind}: {digest}"
        );
        let trust = &latest["trust"];
        assert_eq!(
            trust["signed"]["at"]
                .as_str()
                .is_some_and(|at| at.starts_with("2026-01-15")),
            is_signed,
            "{trust}"
        );
        assert_eq!(trust["unverified"].is_string(), !is_signed, "{trust}");
        let version = latest["medium"]["version"].as_str().unwrap();
        found += &format!("{release} {kind} {arch}: {version}\n  {}\n", urls.join("\n  "));
    }
    insta::assert_snapshot!(found);
}

#[test]
fn a_list_that_cannot_be_believed_is_refused_with_its_reason() {
    let (bench, publisher) = (Bench::new(), Publisher::start());
    publisher.key(KEY.0, "20200101");
    publisher.key("stranger@example.com", "20200101");
    let keyring = publisher.keyring(&[KEY.0], &bench.path("publisher.asc"));
    let keyring = keyring.display().to_string();
    let from = publisher.shelf.url("");
    let look = |release: &str, arch: &str| {
        let args = [
            "releases",
            release,
            "--arch",
            arch,
            "--from",
            &from,
            "--keyring",
            &keyring,
        ];
        let ran = bench.run(&args);
        format!("{} {}", ran.code, words(&ran).replace(&from, "http://m.example"))
    };
    let list = "/debian-cd/12.11.0/arm64/iso-cd/SHA512SUMS";
    let signature = format!("{list}.sign");
    world(&publisher);
    let shelf = &publisher.shelf;
    let whole = [list, &signature, "/debian-cd/"].map(|path| (path, shelf.file(path).unwrap()));
    let spoil = |change: &dyn Fn()| {
        whole.iter().for_each(|(path, bytes)| publisher.put(path, bytes));
        change();
        look("debian-12", "arm64")
    };
    let good = String::from_utf8(whole[0].1.clone()).unwrap();
    let forged = good.replace(&good[..8], "00000000");

    let said = spoil(&|| publisher.put(list, &forged));
    assert!(
        said.contains("the signature of the list http://m.example/debian-cd/12.11.0")
            && said.contains("is not good"),
        "{said}"
    );
    let said =
        spoil(&|| publisher.put_signed(("stranger@example.com", "20260115"), list, &signature, &forged));
    assert!(
        said.contains("is signed by the key ") && said.contains("publisher.asc does not have"),
        "{said}"
    );
    let said = spoil(&|| shelf.remove(&signature));
    assert!(
        said.contains("is not signed, but its publisher signs it"),
        "{said}"
    );
    let said = spoil(&|| publisher.put(&signature, "<html>log in</html>"));
    assert!(said.contains("is not good"), "{said}");
    // A mirror that is being filled has a folder before it has a list.
    let said = spoil(&|| shelf.remove(list));
    assert!(said.starts_with("0 "), "{said}");
    let said =
        spoil(&|| publisher.put_signed(KEY, list, &signature, &format!("{}  other.iso\n", sha512(b"x"))));
    assert!(
        said.contains("has no medium for debian-12; choose one of its files by `variant`: other.iso"),
        "{said}"
    );
    let said = spoil(&|| publisher.put("/debian-cd/", "<html>log in</html>"));
    assert!(said.starts_with("0 "), "the archive has an older one: {said}");
    assert!(look("debian-10", "arm64").contains("has nothing of debian-10; check the version"));

    // Another text before the signed one.
    let clear = "/almalinux/9.10/isos/x86_64/CHECKSUM";
    let line = |digit: &str| {
        format!(
            "SHA256 (AlmaLinux-9.10-x86_64-minimal.iso) = {}\n",
            digit.repeat(64)
        )
    };
    let signed = shelf.file(clear).unwrap();
    let also = |key: (&str, &str), digit: &str| {
        publisher.put_clear_signed(key, clear, &line(digit));
        let second = shelf.file(clear).unwrap();
        publisher.put(clear, [&second[..], &signed].concat());
    };
    also(("stranger@example.com", "20260115"), "0");
    let said = look("almalinux-9", "amd64");
    assert!(said.starts_with("1 "), "{said}");
    publisher.put(clear, line("0"));
    assert!(look("almalinux-9", "amd64").contains("there is no signature in it"));
    publisher.put(clear, "<!doctype html><html>log in</html>");
    assert!(look("almalinux-9", "amd64").starts_with("1 "));

    // Fedora's list is not signed; the one next to the file is.
    let text = String::from_utf8(shelf.file("/releases.json").unwrap()).unwrap();
    publisher.put(
        "/releases.json",
        text.replace(&sha256(b"Fedora-Server-dvd-x86_64-43-1.6.iso"), &"0".repeat(64)),
    );
    let said = look("fedora-43", "amd64");
    assert!(
        said.contains("has another digest") && said.contains("than the signed http://m.example/pub/fedora"),
        "{said}"
    );

    let said = look("alpine-3.22", "arm64");
    assert!(
        said.starts_with("2 ") && said.contains("the publisher of alpine-3.22 does not sign its list"),
        "{said}"
    );
    assert!(look("debain-12", "arm64").starts_with("2 "));
    let ran = bench.run(&[
        "releases",
        "debian-12",
        "--arch",
        "arm64",
        "--from",
        "http://127.0.0.1:1",
    ]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(
        ran.stderr.contains("cannot fetch http://127.0.0.1:1/debian-cd/"),
        "{}",
        ran.all()
    );
}

/// What a command reported, without the breaks of its lines.
fn words(ran: &Ran) -> String {
    let words = ran.stderr.split_whitespace().filter(|word| *word != "│");
    words.collect::<Vec<_>>().join(" ")
}
