//! What a manifest may say about places to publish to, and what is reported where it says something else. Plans, too.

use super::{bench, manifest};
use crate::support::Bench;

fn validate(targets: &str) -> String {
    let bench = Bench::new();
    bench.write("base.qcow2", "");
    bench.write("m.toml", manifest(targets));
    bench.run(&["validate", "m.toml"]).all()
}

#[test]
fn every_kind_of_place_is_taken() {
    let all = validate(
        r#"
[publish]
compress = "zstd"

[publish.shacache]
key      = "images"
metadata = { title = "{{ id }}", disk = "{{ disk_gb }}", compressed = true }

[publish.mirror]
to         = "directory"
path       = "/srv/mirror"
public_url = "https://images.example/"
verify     = "head"

[publish.dav]
to       = "http"
url      = "https://dav.example/images"
user     = "builder"
password = { file = "base.qcow2" }

[publish.s3]
endpoint = "https://s3.example"
bucket   = "images"
access_key = { file = "base.qcow2" }
secret_key = { file = "base.qcow2" }
"#,
    );
    insta::assert_snapshot!(all, @r##"
    code: 0
    --- stdout
    m.toml: 1 distro, 1 flavor, 2 images, all good
    --- stderr
    "##);
}

#[test]
fn mistakes_are_told_all_together_with_what_to_write() {
    let all = validate(
        r#"
[publish.nightly]
path = "/srv"

[publish.shacache]
key      = "two words"
metadata = { sha512 = "x", title = "{{ idd }}" }
pat      = 1

[publish.http]
url   = "https://joe:pw@images.example/"
user  = "joe"

[publish.s3]
to       = "s4"

[publish.bucket]
to       = "s3"
endpoint = "s3.example"
bucket   = "My_Images"
"#,
    );
    insta::assert_snapshot!(all, @r##"
    code: 2
    --- stdout
    --- stderr
    manifest::missing_key

      × `publish.nightly` lacks `to`
        ╭─[m.toml:19:1]
     18 │
     19 │ [publish.nightly]
        · ────────┬────────
        ·         ╰── in this table
     20 │ path = "/srv"
        ╰────
      help: add, for instance:
            to = "directory"  # or "shacache", "http", "s3"

    manifest::bad_value

      × `publish.shacache.key`: `two words` becomes part of a URL and has ' ' in it
        ╭─[m.toml:23:12]
     22 │ [publish.shacache]
     23 │ key      = "two words"
        ·            ─────┬─────
        ·                 ╰── here
     24 │ metadata = { sha512 = "x", title = "{{ idd }}" }
        ╰────
      help: write it like this: key = "packer-images"

    manifest::bad_value

      × `publish.shacache.metadata.sha512`: an entry has this key itself, or the reference client
      │ cannot pass it on
        ╭─[m.toml:24:23]
     23 │ key      = "two words"
     24 │ metadata = { sha512 = "x", title = "{{ idd }}" }
        ·                       ─┬─
        ·                        ╰── here
     25 │ pat      = 1
        ╰────
      help: choose another name

    manifest::undefined_variable

      × `publish.shacache.metadata.title` (for distro `debian12`): undefined variable `idd`
        ╭─[m.toml:24:40]
     23 │ key      = "two words"
     24 │ metadata = { sha512 = "x", title = "{{ idd }}" }
        ·                                        ─┬─
        ·                                         ╰── not defined
     25 │ pat      = 1
        ╰────
      help: did you mean `id`? known variables are disk_gb, distro, family, file, flavor, format, id,
            platform, size, suffix, version

    manifest::unknown_key

      × unknown key `pat` in `publish.shacache`
        ╭─[m.toml:25:1]
     24 │ metadata = { sha512 = "x", title = "{{ idd }}" }
     25 │ pat      = 1
        · ─┬─
        ·  ╰── not known here
     26 │
        ╰────
      help: known keys are to, verify, config, key, metadata

    manifest::bad_value

      × `publish.http.url`: a user and a password do not belong into the text of a manifest: give them
      │ as `user = …` and `password = { env = "…" }`
        ╭─[m.toml:28:9]
     27 │ [publish.http]
     28 │ url   = "https://joe:pw@images.example/"
        ·         ────────────────┬───────────────
        ·                         ╰── here
     29 │ user  = "joe"
        ╰────
      help: write it like this: url = "https://images.example/upload"

    manifest::misplaced_key

      × `user` in `publish.http` goes with `password`
        ╭─[m.toml:29:1]
     28 │ url   = "https://joe:pw@images.example/"
     29 │ user  = "joe"
        · ──┬─
        ·   ╰── means nothing here
     30 │
        ╰────
      help: add, for instance: password = { env = "IMAGES_PASSWORD" }

    manifest::bad_value

      × `publish.s3.to`: `s4` is not one of the choices
        ╭─[m.toml:32:12]
     31 │ [publish.s3]
     32 │ to       = "s4"
        ·            ──┬─
        ·              ╰── here
     33 │
        ╰────
      help: did you mean `s3`? choices are shacache, directory, http, s3

    manifest::bad_value

      × `publish.bucket.endpoint`: `s3.example` is not an http:// or https:// URL
        ╭─[m.toml:36:12]
     35 │ to       = "s3"
     36 │ endpoint = "s3.example"
        ·            ──────┬─────
        ·                  ╰── here
     37 │ bucket   = "My_Images"
        ╰────
      help: write it like this: endpoint = "https://s3.eu-west-1.amazonaws.com"

    manifest::bad_value

      × `publish.bucket.bucket`: `My_Images` cannot be a bucket: those have 3 to 63 small letters,
      │ digits, dots and hyphens
        ╭─[m.toml:37:12]
     36 │ endpoint = "s3.example"
     37 │ bucket   = "My_Images"
        ·            ─────┬─────
        ·                 ╰── here
     38 │
        ╰────
      help: write it like this: bucket = "images"

    m.toml: 10 mistakes; nothing was started
    "##);
}

#[test]
fn a_plan_shows_what_is_published_only_when_that_is_asked_for() {
    let bench = bench(
        "[publish.shacache]\n[publish.directory]\npath = \"share\"\n",
        1000,
    );
    let ran = bench.run(&["plan", "m.toml", "--size", "3G"]);
    assert!(!ran.stdout.contains("upload"), "{}", ran.all());
    let mut command = bench.command(&["plan", "m.toml", "--size", "3G"]);
    command.env("UPLOAD", "yes");
    insta::assert_snapshot!(bench.finish(command).all(), @r##"
    code: 0
    --- stdout
    debian12-3G-base  5 nodes to do
      ├─ install   debian12                     not needed
      ├─ provision debian12-base                not needed
      ├─ size      debian12-3G-base             not needed
      ├─ package   debian12-3G-base             cached
      ├─ sums      debian12-3G-base             to do: out/debian12-3G-base/debian12-3G-base.qcow2.gz is not there yet
      ├─ upload    debian12-3G-base@shacache    to do: the target is asked each time
      ├─ index     debian12-3G-base@shacache    to do: follows what is published
      ├─ upload    debian12-3G-base@directory   to do: the target is asked each time
      └─ index     debian12-3G-base@directory   to do: follows what is published

    5 to do, 1 cached; no VM to boot; no time estimate for 5 of them (never built).
    --- stderr
    "##);

    bench.write("m.toml", manifest(""));
    let ran = bench.run(&["plan", "m.toml", "--upload"]);
    insta::assert_snapshot!(ran.all(), @r##"
    code: 2
    --- stdout
    --- stderr
      × the manifest names no place to publish to
      help: add one, such as: [publish.shacache], or [publish.directory] with path = "/srv/images";
            nothing was started
    "##);
}
