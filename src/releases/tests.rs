//! Lists as publishers write them, with other names and digests.

use super::*;
use crate::families::Tables;

fn query<'a>(release: &str, kind: Kind, arch: Arch, from: Option<&'a str>) -> Query<'a> {
    let (recipe, version) = Tables::built_in().release(release).unwrap();
    recipe.query(version, kind, arch, None, from).unwrap()
}

fn digest(digit: &str) -> String {
    digit.repeat(64)
}

/// The newest of a list: its version, its URLs, the first digit of its digest, its size.
fn newest(query: &Query<'_>, list: &str) -> (String, Vec<String>, String, Option<u64>) {
    let media = query.media(None, &query.list(None), list.as_bytes()).unwrap();
    let first = media.into_iter().next().unwrap();
    (
        first.version,
        first.urls,
        first.digests[0].hex[..1].to_owned(),
        first.size,
    )
}

#[test]
fn listings_of_all_servers_are_read() {
    let entries = |listing: &str| {
        let query = query("debian-12", Kind::Iso, Arch::Amd64, None);
        let entries = query.entries("http://m.example/debian-cd/", listing.as_bytes());
        let versions = entries.into_iter().map(|entry| (entry.version, entry.url));
        versions.collect::<Vec<_>>()
    };
    let wanted = [("12.11.0", "12.11.0/"), ("12.9.0", "12.9.0/")]
        .map(|(version, name)| (version.to_owned(), format!("http://m.example/debian-cd/{name}")));
    for link in [
        "<a href=\"NAME\">NAME</a>",
        "<a href='./NAME'>NAME</a>",
        "<td><a class=x href=\"/pub/debian-cd/NAME?C=M\">NAME</a>",
        "<a href=\"http://other.example/debian-cd/NAME\">",
    ] {
        let names = [
            "../",
            "12.9.0/",
            "12.11.0/",
            "12.11.0-live/",
            "13.1.0/",
            "current/",
            "12.9.0/",
        ];
        let listing: String = names.iter().map(|name| link.replace("NAME", name)).collect();
        assert_eq!(entries(&listing), wanted, "{link}");
    }
    assert_eq!(entries("<html>log in, please: <a href=/login>"), []);
    assert_eq!(entries("href=\""), []);
}

#[test]
fn lists_of_checksums_have_versions_in_their_names() {
    let alma = query("almalinux-9", Kind::Disk, Arch::Amd64, None);
    let list = format!(
        "# AlmaLinux-9-GenericCloud-9.6-20250522.x86_64.qcow2: 123 bytes\n{}  AlmaLinux-9-GenericCloud-9.6-20250522.x86_64.qcow2\n\
         {}  AlmaLinux-9-GenericCloud-9.10-20251201.x86_64.qcow2\nSHA256 (AlmaLinux-9-GenericCloud-latest.x86_64.qcow2) = {}\n",
        digest("a"),
        digest("b"),
        digest("b")
    );
    let url = "https://repo.almalinux.org/almalinux/9/cloud/x86_64/images/AlmaLinux-9-GenericCloud-9.10-20251201.x86_64.qcow2";
    assert_eq!(
        newest(&alma, &list),
        (
            "9.10-20251201".to_owned(),
            vec![url.to_owned()],
            "b".to_owned(),
            None
        )
    );
    let entry = Entry {
        version: "12.11.0".to_owned(),
        url: "http://m.example/pub/debian-cd/12.11.0/".to_owned(),
    };
    let debian = query("debian-12", Kind::Iso, Arch::Arm64, Some("http://m.example/pub/"));
    let list = debian.list(Some(&entry));
    assert_eq!(
        list,
        "http://m.example/pub/debian-cd/12.11.0/arm64/iso-cd/SHA512SUMS"
    );
    assert_eq!(debian.signature(&list), Signature::At(format!("{list}.sign")));
    let sums = format!(
        "{}  debian-12.11.0-arm64-netinst.iso\n{}  debian-edu-12.11.0-arm64-netinst.iso\n",
        "c".repeat(128),
        "d".repeat(128)
    );
    let media = debian.media(Some(&entry), &list, sums.as_bytes()).unwrap();
    assert_eq!(media.len(), 1);
    assert_eq!(
        media[0].urls,
        [
            "http://m.example/pub/debian-cd/12.11.0/arm64/iso-cd/debian-12.11.0-arm64-netinst.iso",
            "http://m.example/pub/cdimage/archive/12.11.0/arm64/iso-cd/debian-12.11.0-arm64-netinst.iso",
        ]
    );
}

#[test]
fn json_and_yaml_of_publishers_are_read() {
    let iso = |version: &str, digit: &str| {
        format!(
            r#""{version}": {{"items": {{"iso": {{"ftype": "iso", "path": "noble/ubuntu-{version}-live-server-amd64.iso",
             "sha256": "{}", "size": 42}}, "list": {{"path": "x"}}}}}}"#,
            digest(digit)
        )
    };
    let arch = Arch::Amd64.name();
    let ubuntu = format!(
        r#"{{"content_id": "x", "products": {{
            "desktop": {{"arch": "{arch}", "image_type": "desktop", "version": "24.04", "versions": {{}}}},
            "old": {{"arch": "{arch}", "image_type": "live-server", "version": "22.04", "versions": {{{}}}}},
            "server": {{"arch": "{arch}", "image_type": "live-server", "version": "24.04", "versions": {{{}, {}}}}}
        }}}}"#,
        iso("22.04.9", "f"),
        iso("24.04", "a"),
        iso("24.04.1", "b")
    );
    let urls = [
        "https://releases.ubuntu.com/",
        "https://old-releases.ubuntu.com/releases/",
    ]
    .map(|at| format!("{at}noble/ubuntu-24.04.1-live-server-amd64.iso"));
    let wanted = ("24.04.1".to_owned(), urls.to_vec(), "b".to_owned(), Some(42));
    assert_eq!(
        newest(&query("ubuntu-24.04", Kind::Iso, Arch::Amd64, None), &ubuntu),
        wanted
    );

    let file = |version: &str, digit: &str| {
        format!(
            r#"{{"version": "{version}", "arch": "x86_64", "variant": "Server", "subvariant": "Server", "size": "77",
             "link": "https://download.fedoraproject.org/pub/f/Fedora-Server-dvd-x86_64-{version}-1.6.iso", "sha256": "{}"}}"#,
            digest(digit)
        )
    };
    let fedora = format!(
        "[{}, {}, {{\"version\": \"43\"}}]",
        file("43", "c"),
        file("44 Beta", "d")
    );
    let query43 = query("fedora-43", Kind::Iso, Arch::Amd64, Some("http://m.example"));
    let (version, urls, first, size) = newest(&query43, &fedora);
    assert_eq!(
        (version.as_str(), first.as_str(), size),
        ("43-1.6", "c", Some(77))
    );
    assert_eq!(
        urls[0],
        "http://m.example/pub/f/Fedora-Server-dvd-x86_64-43-1.6.iso"
    );

    let alpine = format!(
        "---\n-\n  title: \"Virtual\"\n  desc: |\n    Like standard: slimmed down.\n  branch: v3.22\n  arch: x86_64\n  version: 3.22.2\n  \
         flavor: alpine-virt\n  file: alpine-virt-3.22.2-x86_64.iso\n  size: 66060288\n  sha256: {}\n  sha512: {}\n-\n  \
         branch: v3.22\n  arch: x86_64\n  file: alpine-standard-3.22.2-x86_64.iso\n  sha256: {}\n",
        digest("a"),
        "e".repeat(128),
        digest("b")
    );
    let url = "https://dl-cdn.alpinelinux.org/alpine/v3.22/releases/x86_64/alpine-virt-3.22.2-x86_64.iso";
    assert_eq!(
        newest(&query("alpine-3.22", Kind::Iso, Arch::Amd64, None), &alpine),
        (
            "3.22.2".to_owned(),
            vec![url.to_owned()],
            "e".to_owned(),
            Some(66_060_288)
        )
    );
}

#[test]
fn what_is_no_list_is_called_so() {
    let error = |release: &str, kind, list: &str| {
        let query = query(release, kind, Arch::Amd64, None);
        query
            .media(None, "http://m.example/LIST", list.as_bytes())
            .unwrap_err()
    };
    let page = "\n<!DOCTYPE html>\n<html><title>Log in</title>";
    for release in ["almalinux-9", "ubuntu-24.04"] {
        assert!(error(release, Kind::Disk, page).contains("web page"), "{release}");
    }
    assert!(error("alpine-3.22", Kind::Iso, page).contains("web page"));
    assert!(error("ubuntu-24.04", Kind::Disk, "{\"products\": ").contains("JSON"));
    assert!(error("ubuntu-24.04", Kind::Disk, "{}").contains("no `products`"));
    assert!(error("fedora-43", Kind::Disk, "{}").contains("JSON"));
    let twice = format!("{}  x.iso\n{}  x.iso\n", digest("a"), digest("b"));
    assert!(error("almalinux-9", Kind::Disk, &twice).contains("two digests for x.iso"));
    // A link elsewhere than to a server is none, and MD5 proves nothing.
    let local = format!(
        r#"[{{"version": "43", "arch": "x86_64", "variant": "Server", "sha256": "{}",
         "link": "file:///etc/Fedora-Server-dvd-x86_64-43-1.6.iso"}}]"#,
        digest("a")
    );
    let media = |release: &str, kind, list: &str| {
        let query = query(release, kind, Arch::Amd64, None);
        query
            .media(None, "http://m.example/LIST", list.as_bytes())
            .unwrap()
    };
    assert_eq!(media("fedora-43", Kind::Iso, &local), []);
    let md5 = format!(
        "{}  AlmaLinux-9-GenericCloud-9.6-20250522.x86_64.qcow2\n",
        "a".repeat(32)
    );
    assert_eq!(media("almalinux-9", Kind::Disk, &md5), []);
}

#[test]
fn releases_that_no_recipe_has_are_refused_with_what_there_is() {
    let tables = Tables::built_in();
    let error = |release: &str| tables.release(release).unwrap_err().to_string();
    assert!(
        error("debain-12").contains("alpine, centos-stream, debian"),
        "{}",
        error("debain-12")
    );
    assert!(
        error("almalinux").contains("add the version: almalinux-12"),
        "{}",
        error("almalinux")
    );
    assert!(error("debian-").contains("NAME-VERSION"));
    let (recipe, version) = tables.release("centos-stream-9").unwrap();
    assert_eq!((recipe.name.as_str(), version), ("centos-stream", "9"));
    let (debian, version) = tables.release("debian-99").unwrap();
    let unknown = debian
        .query(version, Kind::Disk, Arch::Amd64, None, None)
        .unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "the recipe `debian` has no name for version 99; it has 10, 11, 12, 13, 14"
    );
}

#[test]
fn recipes_with_mistakes_have_a_place_and_a_cause() {
    let fault = |row: &str| {
        let text =
            format!("[[release.x.iso]]\narches = {{ amd64 = \"x\" }}\nlist = \"http://m.example\"\n{row}\n");
        let (tables, mistakes) = crate::families::read(&text);
        assert_eq!(mistakes, []);
        tables.recipes().next().unwrap().fault()
    };
    let said = |row: &str| {
        fault(row)
            .map(|(key, cause)| format!("{key}: {cause}"))
            .unwrap_or_default()
    };
    assert_eq!(fault("file = 'a-([0-9]+)-{arch}'"), None);
    assert_eq!(
        said("file = 'a-[0-9]+'"),
        "iso.file: none of its groups `(…)` is the version"
    );
    assert!(said("file = 'a-(['").starts_with("iso.file: regex parse error"));
    assert!(said("entry = '(1)'").starts_with("iso.entry: `folders` and `entry`"));
    assert!(said("").starts_with("iso.file: without it"));
}
