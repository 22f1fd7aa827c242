//! Two years of releases, with forged and rolled-back lists among them: what the lock takes from month to month.

use std::collections::BTreeMap;

use super::words;
use crate::support::Bench;
use crate::support::publisher::{Publisher, sha256, sha512};

/// A publisher that moves: what is newest in a month, and what happened to what was newest before.
struct Months {
    publisher: Publisher,
    debian: Vec<(String, String)>,
}

/// The name of a key in use, by month: one takes over from another twice, the second time before this host knows it.
fn key_of(month: usize) -> &'static str {
    ["first@example.com", "second@example.com", "third@example.com"][month / 10]
}

fn day_of(month: usize) -> String {
    format!("{}{:02}10", 2024 + month / 12, month % 12 + 1)
}

impl Months {
    fn start() -> Self {
        let publisher = Publisher::start();
        for month in [0, 10, 20] {
            publisher.key(key_of(month), "20240101");
        }
        publisher.key("stranger@example.com", "20240101");
        Self {
            publisher,
            debian: Vec::new(),
        }
    }

    /// Goes on to a month.
    fn turn(&mut self, month: usize) {
        let (publisher, day) = (&self.publisher, day_of(month));
        let by = (key_of(month), day.as_str());
        let shelf = &publisher.shelf;
        // Debian has a point release every other month; what was there before goes to the archive.
        if month.is_multiple_of(2) {
            let version = format!("12.{}.0", month / 2);
            let name = format!("debian-{version}-amd64-netinst.iso");
            let folder = format!("{version}/amd64/iso-cd/");
            if let Some((folder, name)) = self.debian.last() {
                for file in [name.as_str(), "SHA512SUMS", "SHA512SUMS.sign"] {
                    let path = format!("/debian-cd/{folder}{file}");
                    publisher.put(
                        &format!("/cdimage/archive/{folder}{file}"),
                        shelf.file(&path).unwrap(),
                    );
                    shelf.remove(&path);
                }
            }
            let list = format!("/debian-cd/{folder}SHA512SUMS");
            publisher.put(&format!("/debian-cd/{folder}{name}"), &name);
            let sums = format!("{}  {name}\n", sha512(name.as_bytes()));
            publisher.put_signed(by, &list, &format!("{list}.sign"), &sums);
            self.debian.push((folder, name));
        }
        // Ubuntu's cloud images come out every month, and stay for three.
        let path =
            |day: &str| format!("server/releases/noble/release-{day}/ubuntu-24.04-server-cloudimg-amd64.img");
        let recent = (month.saturating_sub(2)..=month).map(day_of);
        let versions = recent.map(|day| {
            let path = path(&day);
            publisher.put(&format!("/releases/{path}"), &path);
            let digest = sha256(path.as_bytes());
            format!("\"{day}\": {{\"items\": {{\"disk1.img\": {{\"path\": \"{path}\", \"sha256\": \"{digest}\"}}}}}}")
        });
        let text = format!(
            "{{\"products\": {{\"p\": {{\"arch\": \"amd64\", \"version\": \"24.04\", \"versions\": {{{}}}}}}}}}",
            versions.collect::<Vec<_>>().join(",")
        );
        if let Some(gone) = month.checked_sub(3) {
            shelf.remove(&format!("/releases/{}", path(&day_of(gone))));
        }
        publisher.put_signed(by, UBUNTU, &format!("{UBUNTU}.gpg"), &text);
        // AlmaLinux comes out twice a year; what was there before goes to the vault.
        if month.is_multiple_of(6) {
            let of = |month: usize| {
                format!(
                    "9.{}/isos/x86_64/AlmaLinux-9.{}-x86_64-minimal.iso",
                    month / 6,
                    month / 6
                )
            };
            if let Some(before) = month.checked_sub(6) {
                let path = of(before);
                publisher.put(
                    &format!("/{path}"),
                    shelf.file(&format!("/almalinux/{path}")).unwrap(),
                );
                let (folder, _) = path.rsplit_once('/').unwrap();
                shelf.remove(&format!("/almalinux/{path}"));
                shelf.remove(&format!("/almalinux/{folder}/CHECKSUM"));
            }
            let path = of(month);
            let (folder, name) = path.rsplit_once('/').unwrap();
            publisher.put(&format!("/almalinux/{path}"), name);
            let text = format!(
                "# {name}: {} bytes\nSHA256 ({name}) = {}\n",
                name.len(),
                sha256(name.as_bytes())
            );
            publisher.put_clear_signed(by, &format!("/almalinux/{folder}/CHECKSUM"), &text);
        }
        // Alpine's images stay where they are, and their lists are not signed.
        let image = format!(
            "/alpine/v3.20/releases/cloud/nocloud_alpine-3.20.{month}-x86_64-bios-cloudinit-r0.qcow2"
        );
        publisher.put(&image, &image);
        publisher.put(&format!("{image}.sha512"), sha512(image.as_bytes()));
        publisher.list();
    }
}

const UBUNTU: &str = "/releases/streams/v1/com.ubuntu.cloud:released:download.json";

const FOLLOWED: &str = r#"
[distros.alma]
family = "rhel"
version = "9"
source = { iso = { latest = "almalinux-9", FROM, keyring = "keys.asc" } }
[distros.alpine]
family = "alpine"
version = "3.20"
source = { disk = { latest = "alpine-3.20", FROM } }
[distros.debian]
family = "debian"
version = "12"
source = { iso = { latest = "debian-12", FROM, keyring = "keys.asc" } }
[distros.ubuntu]
family = "ubuntu"
version = "24.04"
source = { disk = { latest = "ubuntu-24.04", FROM, keyring = "keys.asc" } }
[flavors.base]
steps = [{ inline = "true" }]
[[images]]
distro = ["alma", "alpine", "debian", "ubuntu"]
flavor = "base"
sizes = ["20G"]
"#;

/// The media of a lock, by distro: URLs and digest.
fn media(lock: &str) -> BTreeMap<String, (Vec<String>, String)> {
    let mut media = BTreeMap::new();
    for entry in lock.split("[[medium]]").skip(1) {
        let texts = |key: &str| {
            let (_, rest) = entry.split_once(&format!("\n{key} = ")).unwrap_or_default();
            let end = if rest.starts_with('[') {
                rest.find(']')
            } else {
                rest.find('\n')
            };
            let texts = rest[..end.unwrap_or(0)].split('"').skip(1).step_by(2);
            texts.map(str::to_owned).collect::<Vec<_>>()
        };
        let digest = [texts("sha512"), texts("sha256")].concat();
        media.insert(texts("distro").concat(), (texts("urls"), digest[0].clone()));
    }
    media
}

#[test]
fn two_years_of_releases_need_no_edit_and_end_in_no_404() {
    let (bench, mut months) = (Bench::new(), Months::start());
    let from = months.publisher.shelf.url("");
    let manifest = FOLLOWED.replace("FROM", &format!("from = \"{from}\""));
    bench.write("m.toml", &manifest);
    let keys = bench.path("keys.asc");
    months.publisher.keyring(&[key_of(0), key_of(10)], &keys);
    let update = || bench.run(&["update", "m.toml"]);
    let mut locks: Vec<String> = Vec::new();
    for month in 0..24 {
        months.turn(month);
        if month == 20 {
            let (ran, lock) = (update(), bench.read("m.lock"));
            assert_eq!(ran.code, 1, "{}", ran.all());
            assert!(words(&ran).contains("is signed by the key"), "{}", ran.all());
            assert_eq!(
                Some(&lock),
                locks.last(),
                "nothing moves by a key that this host does not have"
            );
            // The host's keyring package comes, and nothing else changes.
            months
                .publisher
                .keyring(&[key_of(0), key_of(10), key_of(20)], &keys);
        }
        // A run goes on from the lock of the month before.
        if month == 6 {
            let ran = bench.run(&[
                "run",
                "m.toml",
                "--distro",
                "alma",
                "--locked",
                "--progress=plain",
            ]);
            assert!(ran.stderr.contains("trying the next source"), "{}", ran.all());
            assert!(!ran.stderr.contains("fetch alma: FAILED"), "{}", ran.all());
            assert!(ran.stderr.contains("is not an ISO image"), "{}", ran.all());
        }
        let ran = update();
        assert_eq!(ran.code, 0, "month {month}: {}", ran.all());
        let lock = bench.read("m.lock");
        let now = media(&lock);
        for (distro, (urls, digest)) in &now {
            let path = urls[0].strip_prefix(&from).unwrap();
            let file = months
                .publisher
                .shelf
                .file(path)
                .unwrap_or_else(|| panic!("{distro}: {path} is not there"));
            assert!(
                [sha512(&file), sha256(&file)].contains(digest),
                "{distro}: {path}"
            );
        }
        assert!(
            now["debian"].0[0].contains(&format!("/12.{}.0/", month / 2)),
            "{lock}"
        );
        assert!(now["ubuntu"].0[0].contains(&day_of(month)), "{lock}");
        assert!(now["alma"].0[0].contains(&format!("/9.{}/", month / 6)), "{lock}");
        assert_eq!(lock.matches("signed_by = [").count(), 3, "{lock}");
        assert!(
            lock.contains("unverified = \"its publisher does not sign the list\""),
            "{lock}"
        );
        if month.is_multiple_of(8) {
            let again = update();
            let is_quiet = again.stdout.is_empty() && again.all().contains("is up to date");
            assert!(is_quiet, "{}", again.all());
        }
        locks.push(lock);
    }
    assert_eq!(bench.read("m.toml"), manifest);
    // Where a publisher has an archive, the first lock still leads to its media.
    for lock in &locks {
        let then = media(lock);
        for distro in ["alma", "alpine", "debian"] {
            let (urls, digest) = &then[distro];
            let mut files = urls
                .iter()
                .filter_map(|url| months.publisher.shelf.file(url.strip_prefix(&from).unwrap()));
            assert!(
                files.any(|file| [sha512(&file), sha256(&file)].contains(digest)),
                "{urls:?}"
            );
        }
    }
    // What is locked needs no publisher.
    let asked = months.publisher.shelf.asked().len();
    let ran = bench.run(&["plan", "m.toml"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert_eq!(months.publisher.shelf.asked().len(), asked);
}

#[test]
fn forged_and_rolled_back_lists_move_nothing() {
    let (bench, mut months) = (Bench::new(), Months::start());
    let from = months.publisher.shelf.url("");
    bench.write("m.toml", FOLLOWED.replace("FROM", &format!("from = \"{from}\"")));
    months.publisher.keyring(&[key_of(0)], &bench.path("keys.asc"));
    let ubuntu = [UBUNTU.to_owned(), format!("{UBUNTU}.gpg")];
    let file = |months: &Months, path: &str| months.publisher.shelf.file(path).unwrap();
    months.turn(0);
    months.turn(2);
    let older = ubuntu.each_ref().map(|path| file(&months, path));
    months.turn(4);
    assert_eq!(bench.run(&["update", "m.toml"]).code, 0);
    let lock = bench.read("m.lock");
    let publisher = &months.publisher;
    let shelf = &publisher.shelf;
    let debian = "/debian-cd/12.2.0/amd64/iso-cd/SHA512SUMS";
    let signature = format!("{debian}.sign");
    let (text, sums) = (file(&months, &ubuntu[0]), file(&months, debian));
    let stranger = ("stranger@example.com", "20240610");
    let forged = format!("{}  debian-12.2.0-amd64-netinst.iso\n", "0".repeat(128));
    let page = "<!DOCTYPE html>\n<html><title>Log in</title></html>";
    let alpine = "/alpine/v3.20/releases/cloud/";
    let lists: [(&str, &dyn Fn()); 11] = [
        ("is not good", &|| publisher.put(debian, &forged)),
        ("is signed by the key", &|| {
            publisher.put_signed(stranger, debian, &signature, &forged);
        }),
        ("is not signed, but its publisher signs it", &|| {
            shelf.remove(&signature);
        }),
        ("cannot be used: it is a web page", &|| {
            publisher.put_signed((key_of(0), "20240610"), debian, &signature, page);
        }),
        ("is not good", &|| publisher.put(debian, page)),
        ("was signed on 2024-01-01", &|| {
            let text = String::from_utf8(sums.clone()).unwrap();
            publisher.put_signed((key_of(0), "20240101"), debian, &signature, &text);
        }),
        ("has debian-12 12.1.0, which is older than 12.2.0", &|| {
            publisher.put("/debian-cd/", "");
        }),
        ("has ubuntu-24.04 20240310, which is older than 20240510", &|| {
            ubuntu
                .iter()
                .zip(&older)
                .for_each(|(path, bytes)| publisher.put(path, bytes));
        }),
        ("is not good", &|| publisher.put(UBUNTU, &text[..text.len() / 2])),
        ("is not signed, but its publisher signs it", &|| {
            shelf.remove(&ubuntu[1]);
        }),
        (
            "has alpine-3.20 3.20.2-r0, which is older than 3.20.4-r0",
            &|| {
                let listing = String::from_utf8(shelf.file(alpine).unwrap()).unwrap();
                publisher.put(alpine, listing.replace("3.20.4", "3.20.x"));
            },
        ),
    ];
    let paths = shelf.paths();
    let whole: Vec<_> = paths
        .iter()
        .map(|path| (path, shelf.file(path).unwrap()))
        .collect();
    for (number, (reason, spoil)) in lists.iter().enumerate() {
        spoil();
        let ran = bench.run(&["update", "m.toml"]);
        let said = words(&ran);
        assert_eq!(ran.code, 1, "{number}: {}", ran.all());
        assert!(
            said.contains(reason) && said.contains("nothing was moved in the lock"),
            "{number}: {said}"
        );
        assert_eq!(bench.read("m.lock"), lock, "{number}");
        whole.iter().for_each(|(path, bytes)| publisher.put(path, bytes));
    }
    let ran = bench.run(&["update", "m.toml"]);
    assert!(ran.code == 0 && ran.stdout.is_empty(), "{}", ran.all());
    // Another mirror that is behind is not taken either.
    bench.write(
        "m.toml",
        bench
            .read("m.toml")
            .replace(&from, &from.replace("127.0.0.1", "localhost")),
    );
    publisher.put("/debian-cd/", "");
    let ran = bench.run(&["update", "m.toml"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert_eq!(bench.read("m.lock"), lock);
}
