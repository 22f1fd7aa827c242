//! A user writes manifests, most of them wrong, and reads what the program says about it. The reports are in `snapshots/`.

use pipeline::internals::manifest::select::{Selectors, select};
use pipeline::internals::manifest::{self, Manifest};

use crate::support::Bench;

pub const GOOD: &str = r#"# images of the house
[pipeline]
name   = "house"
output = "out"

[resources]
memory = "4G"
cpus   = 4

[vars]
keymap = "fr"
editor = "vim"

[distros.debian12]
family  = "debian"
version = "12"
source  = { bootstrap = { suite = "bookworm", packages = ["sudo"] } }
answers = "setup.sh.j2"

[distros.noble]
family  = "ubuntu"
version = "24.04"
source  = { disk = { path = "noble.qcow2", access = "cloud-init" } }
vars    = { keymap = "us" }

[flavors.base]
steps = [
  { run = "update.sh", env = { PACKAGES = "wget {{ editor }}" }, timeout = "10m", exit_codes = [0, 3] },
  { copy = "files", to = "/etc/house", mode = "0644", owner = "root:root" },
]

[flavors.full]
extends = "base"
steps   = [
  { inline = "echo {{ not a template }}", name = "greet" },
  { reboot = true },
  { install = "vm-bootstrap" },
]

[[images]]
distro = ["debian12", "noble"]
flavor = "full"
sizes  = ["3G", "20G"]

[publish]
compress  = "zstd"
level     = 6
checksums = ["sha512", "sha256"]
"#;

/// A folder with everything that the good manifest names.
pub fn house() -> Bench {
    let bench = Bench::new();
    bench.write(
        "setup.sh.j2",
        "#!/bin/sh\nloadkeys {{ keymap }}\nhostname {{ hostname }}\necho '{{ build_key }}' >>/root/.ssh/authorized_keys\n",
    );
    bench.write("update.sh", "apt-get update\n");
    bench.write("files/motd", "hello\n");
    bench.write("noble.qcow2", "a disk\n");
    bench.write("images.toml", GOOD);
    bench
}

/// Changes the good manifest, and gives what `validate` says.
fn report(changes: &[(&str, &str)]) -> String {
    let bench = house();
    let mut text = GOOD.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "the good manifest has no {from}");
        text = text.replacen(from, to, 1);
    }
    bench.write("images.toml", text);
    bench.run(&["validate", "images.toml"]).all()
}

pub fn load(bench: &Bench) -> Manifest {
    manifest::load(&bench.path("images.toml")).unwrap()
}

/// One story each: a change to the good manifest, the exit code, and the report in `snapshots/it__manifest__<name>.snap`.
macro_rules! stories {
    ($code:literal; $($name:ident: $([$from:expr => $to:expr]),+;)+) => {$(
        #[test]
        fn $name() {
            let report = report(&[$(($from, $to)),+]);
            assert!(report.starts_with(concat!("code: ", $code, "\n")), "{report}");
            insta::assert_snapshot!(stringify!($name), report);
        }
    )+};
}

stories! { 2;
    answers_of_a_wrong_type: ["answers = \"setup.sh.j2\"" => "answers = [\"setup.sh.j2\"]"];
    bad_digest: ["path = \"noble.qcow2\"" => "path = \"noble.qcow2\", sha256 = \"c0ffee\""];
    bad_duration: ["\"10m\"" => "\"10 minutes\""];
    bad_exit_code: ["[0, 3]" => "[0, 300]"];
    bad_level: ["\"zstd\"" => "\"gzip\""], ["level     = 6" => "level = 12"];
    bad_mode: ["\"0644\"" => "\"rw-r--r--\""];
    bad_name: ["[distros.noble]" => "[distros.\"noble/24\"]"], ["\"noble\"]" => "\"noble/24\"]"];
    bad_owner_and_place: ["\"root:root\"" => "\"root:\""], ["\"/etc/house\"" => "\"/etc/../house\""];
    bad_size: ["\"20G\"" => "\"20 GB\""];
    firmware_of_an_installer: ["source  = { bootstrap = { suite = \"bookworm\", packages = [\"sudo\"] } }" => "firmware = \"bios+uefi\"\nsource = { iso = { path = \"noble.qcow2\" } }"], ["\"3G\"" => "\"5G\""];
    arch_without_a_kernel_or_bios: ["version = \"12\"" => "version = \"12\"\narch = \"aarch64\"\nfirmware = \"bios+uefi\""], ["family  = \"ubuntu\"\nversion = \"24.04\"\nsource  = { disk = { path = \"noble.qcow2\", access = \"cloud-init\" } }" => "family  = \"ubuntu\"\nversion = \"24.04\"\narch = \"arm64\"\nsource  = { bootstrap = { suite = \"noble\" } }"];
    firmware_of_answers_for_bios: ["family  = \"ubuntu\"\nversion = \"24.04\"\nsource  = { disk = { path = \"noble.qcow2\", access = \"cloud-init\" } }" => "family = \"suse\"\nversion = \"15.6\"\nfirmware = \"uefi\"\nsource = { iso = { path = \"noble.qcow2\" } }"], ["\"3G\"" => "\"10G\""];
    firmware_that_starts_nothing: ["version = \"12\"" => "version = \"12\"\nsecure_boot = true"], ["sizes  = [\"3G\"" => "firmware = [\"bios\", \"uefi\"]\nsizes  = [\"3G\""];
    boot_command_of_an_initrd: ["source  = { bootstrap = { suite = \"bookworm\", packages = [\"sudo\"] } }" => "source = { iso = { path = \"noble.qcow2\", answers_by = \"initrd\", boot_command = \"<enter>\" } }"], ["\"3G\"" => "\"5G\""];
    check_of_no_image: ["[publish]" => "[[checks]]\nroot_size = true\nimages = \"debain12-*\"\n\n[publish]"];
    check_of_two_kinds: ["[publish]" => "[[checks]]\nport = 22\ncommand = \"true\"\n\n[publish]"];
    check_set_of_no_name: ["extends = \"base\"" => "extends = \"base\"\nchecks  = [\"standart\"]"];
    check_that_checks_nothing: ["[publish]" => "[[checks]]\nidentity = false\n\n[[checks]]\nset = \"standard\"\nname = \"all\"\n\n[publish]"];
    check_with_a_bad_pattern: ["[publish]" => "[[checks]]\ncommand = \"true\"\nmatches = \"a(b\"\nexit_code = 256\nouput = \"x\"\n\n[publish]"];
    check_with_odd_values: ["[publish]" => "[[checks]]\nport = 80\nname = \"a\\nb\"\n\n[[checks]]\nboots_within = \"0s\"\n\n[publish]"], ["extends = \"base\"" => "extends = \"base\"\nchecks = [\"standard\", \"standard\"]"];
    checks_of_one_name: ["[publish]" => "[[checks]]\nport = 80\nname = \"web\"\n\n[[checks]]\nport = 443\nname = \"web\"\ndistros = \"noble\"\n\n[publish]"];
    checksum_of_no_kind: ["\"sha256\"]" => "\"sha265\"]"];
    checksum_file_as_an_image: ["[publish]" => "[publish]\nfile = \"SHA512SUM.txt/{{ id }}\""];
    circle_of_flavors: ["[flavors.base]\n" => "[flavors.base]\nextends = \"full\"\n"];
    checksum_file_for_a_path: ["path = \"noble.qcow2\"" => "path = \"noble.qcow2\", checksums = \"update.sh\""];
    copy_of_a_file_to_a_folder: ["copy = \"files\", to = \"/etc/house\"" => "copy = \"files/motd\", to = \"/etc/house/\""];
    copy_of_nothing: ["\"files\"" => "\"fils\""];
    dangling_distro: ["\"debian12\", \"noble\"" => "\"debain12\", \"noble\""];
    dangling_flavor: ["extends = \"base\"" => "extends = \"bas\""];
    disk_that_is_not_there: ["noble.qcow2" => "noble.raw"];
    duplicate_id: ["[publish]" => "[[images]]\ndistro = \"noble\"\nflavor = \"full\"\nsizes = [\"20G\"]\n\n[publish]"];
    duplicate_id_by_template: ["[\"3G\", \"20G\"]" => "[\"3G\", \"20G\"]\nid = \"{{ distro }}\""];
    empty_list: ["[\"3G\", \"20G\"]" => "[]"];
    empty_text: ["suite = \"bookworm\"" => "suite = \" \""];
    first_key_twice: ["output = \"out\"" => "output = \"out\"\nname = \"again\""];
    image_smaller_than_its_distro: ["[\"3G\", \"20G\"]" => "[\"1G\", \"20G\"]"];
    level_of_nothing: ["\"zstd\"" => "\"none\""];
    missing_key: ["version = \"24.04\"\n" => ""];
    missing_script: ["\"update.sh\"" => "\"updates.sh\""];
    missing_template: ["\"setup.sh.j2\"" => "\"setup.j2\""];
    nothing_to_build: ["[[images]]\ndistro = [\"debian12\", \"noble\"]\nflavor = \"full\"\nsizes  = [\"3G\", \"20G\"]" => ""];
    no_time_for_a_step: ["\"10m\"" => "\"0s\""], ["{ reboot = true }" => "{ reboot = false }"];
    one_file_below_another: ["[\"debian12\", \"noble\"]" => "\"noble\""], ["[publish]" => "[publish]\nfile = \"{% if size == '3G' %}a.gz{% else %}a.gz/b.gz{% endif %}\""];
    one_file_for_two_images: ["[publish]" => "[publish]\nfile = \"{{ distro }}.gz\""];
    one_name_in_url_txt: ["[\"debian12\", \"noble\"]" => "\"noble\""], ["[publish]" => "[publish.shacache]\nconfig = \"shacache.cfg\"\n\n[publish]\nfile = \"{{ id }}/image.gz\""];
    output_outside: ["[publish]" => "[publish]\nfile = \"../{{ id }}.gz\""];
    playbook_that_is_not_there: ["{ reboot = true }" => "{ ansible = \"site.yml\" }"];
    reserved_name: ["editor = \"vim\"" => "editor = \"vim\"\nhostname = \"house\""];
    script_that_is_a_folder: ["\"update.sh\"" => "\"files\""];
    iso_as_a_text: ["source  = { bootstrap = { suite = \"bookworm\", packages = [\"sudo\"] } }" => "source = { iso = \"debian.iso\" }"];
    boot_command_with_mistakes: ["source  = { bootstrap = { suite = \"bookworm\", packages = [\"sudo\"] } }" => "source = { iso = { path = \"noble.qcow2\", boot_command = [\"<esc><wait5x>\", 'auto url={{ host.ulr }}<entr>'] } }"], ["\"3G\"" => "\"5G\""];
    netboot_of_half: ["source  = { bootstrap = { suite = \"bookworm\", packages = [\"sudo\"] } }" => "source = { netboot = { kernel = { path = \"noble.qcow2\" }, boot_command = \"x\", answers_by = \"seed\" } }"], ["\"3G\"" => "\"5G\""];
    installer_of_nobody: ["family  = \"debian\"" => "family  = \"alpine\""], ["source  = { bootstrap = { suite = \"bookworm\", packages = [\"sudo\"] } }" => "source = { iso = { path = \"noble.qcow2\" } }"];
    signature_of_a_digest: ["path = \"noble.qcow2\"" => "urls = [], md5 = \"d41d8cd98f00b204e9800998ecf8427e\", signature = \"noble.gpg\""];
    size_of_half_a_sector: ["\"20G\"" => "\"3221225473\""];
    step_of_no_kind: ["{ reboot = true }" => "{ timeout = \"5m\" }"];
    disk_of_no_place: ["path = \"noble.qcow2\", " => "user = \"me\", "];
    step_with_a_key_of_another_kind: ["{ reboot = true }" => "{ reboot = true, env = { A = \"1\" } }"];
    step_of_two_kinds: ["{ reboot = true }" => "{ reboot = true, run = \"update.sh\" }"];
    syntax_errors: ["memory = \"4G\"" => "memory = "], ["mode = \"0644\"" => "mode = \"\\q\""], ["[publish]" => "[publish"];
    template_of_an_id: ["[\"3G\", \"20G\"]" => "[\"3G\", \"20G\"]\nid = \"{{ distro }}-{{ sise }}\""];
    undefined_variable_in_env: ["{{ editor }}" => "{{ edtor }}"];
    unknown_key: ["packages =" => "package ="];
    url_without_digest: ["path = \"noble.qcow2\"" => "url = \"https://images.example/noble.img\""];
    vm_larger_than_the_share: ["cpus   = 4" => "cpus = 1"], ["memory = \"4G\"" => "memory = \"256M\""];
    wrong_type: ["version = \"12\"" => "version = 12"];
}

stories! { 0;
    secret_that_is_unset: ["PACKAGES = \"wget {{ editor }}\"" => "TOKEN = { env = \"HOUSE_TOKEN\" }, CERT = { file = \"cert.pem\" }"];
    unused: ["[publish]" => "[flavors.spare]\nsteps = []\n\n[publish]"], ["[\"debian12\", \"noble\"]" => "\"noble\""];
}

#[test]
fn a_good_manifest_is_praised_in_one_line() {
    let ran = house().run(&["validate", "images.toml"]);
    insta::assert_snapshot!(ran.all(), @"
    code: 0
    --- stdout
    images.toml: 2 distros, 2 flavors, 4 images, all good
    --- stderr
    ");
}

#[test]
fn the_example_of_the_manual_is_good() {
    let bench = house();
    let manual = include_str!("../../docs/manifest.md");
    let example = manual
        .split("```toml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    bench.write("images.toml", example);
    let ran = bench.run(&["validate", "images.toml"]);
    let praise = "images.toml: 2 distros, 2 flavors, 4 images, all good\n";
    assert_eq!(
        (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
        (0, praise, "")
    );
}

#[test]
fn many_mistakes_come_in_one_report_in_the_order_of_the_file() {
    insta::assert_snapshot!(
        "many_mistakes",
        report(&[
            ("name   = \"house\"", "nmae = \"house\""),
            ("version = \"12\"", "version = 12"),
            ("family  = \"ubuntu\"", "family = \"buntu\""),
            ("\"update.sh\"", "\"updates.sh\""),
            ("{{ editor }}", "{{ edtor }}"),
            ("extends = \"base\"", "extends = \"bse\""),
            ("\"20G\"", "\"20X\""),
            ("\"zstd\"", "\"gz\""),
        ])
    );
}

#[test]
fn mistakes_inside_an_answer_template_are_shown_there() {
    let bench = house();
    bench.write(
        "setup.sh.j2",
        "#!/bin/sh\nloadkeys {{ keymp }}\n{% if kernel %}\n:\n{% endif %}\n",
    );
    insta::assert_snapshot!(
        "undefined_variable_in_answers",
        bench.run(&["validate", "images.toml"]).all()
    );
    bench.write(
        "setup.sh.j2",
        "#!/bin/sh\nloadkeys {{ keymap }}\n{% if keymap %}\n:\n",
    );
    insta::assert_snapshot!(
        "template_syntax_error",
        bench.run(&["validate", "images.toml"]).all()
    );
    bench.write("setup.sh.j2", "{% extends \"house.sh.j2\" %}\n");
    insta::assert_snapshot!(
        "template_that_extends_nothing",
        bench.run(&["validate", "images.toml"]).all()
    );
    bench.write("setup.sh.j2", "loadkeys {{ keymap | shout }}\n");
    insta::assert_snapshot!(
        "template_with_an_unknown_filter",
        bench.run(&["validate", "images.toml"]).all()
    );
}

#[test]
fn a_manifest_that_cannot_be_read_says_why() {
    let bench = house();
    bench.write("latin.toml", b"name = \"caf\xe9\"\n");
    bench.write("web.qcow2.gz", b"\x1f\x8b\x08\x00\xff");
    let ran = |name| bench.run(&["validate", name]).all();
    insta::assert_snapshot!("manifest_missing", ran("image.toml"));
    insta::assert_snapshot!("manifest_not_text", ran("latin.toml"));
    insta::assert_snapshot!("manifest_is_an_image", ran("web.qcow2.gz"));
    insta::assert_snapshot!("manifest_is_a_folder", ran("files"));
    insta::assert_snapshot!("manifest_of_no_name", ran(".."));
}

#[test]
fn a_script_that_is_not_text_is_refused() {
    let bench = house();
    bench.write("update.sh", b"\x7fELF\xff\xfe");
    insta::assert_snapshot!("script_not_text", bench.run(&["validate", "images.toml"]).all());
}

#[test]
fn scripts_with_line_ends_of_windows_are_mistakes_at_their_place() {
    let bench = house();
    bench.write("update.sh", "#!/bin/sh\r\napt-get update\r\n");
    bench.write("setup.sh.j2", "#!/bin/sh\nloadkeys {{ keymap }}\r\n");
    let text = GOOD
        .replace("{ reboot = true }", "{ inline = \"echo one\\r\\necho two\" }, { inline = \"print 1;\\r\\n\", interpreter = \"perl\" }")
        .replace("[publish]", "[[checks]]\ncommand = \"true\\r\\nfalse\"\n\n[publish]");
    bench.write("images.toml", text);
    let ran = bench.run(&["validate", "images.toml"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    for expected in [
        "`update.sh` has line ends of Windows (CRLF, first in line 1)",
        "sed -i '1s/^\\xef\\xbb\\xbf//; s/\\r$//' update.sh",
        "`setup.sh.j2` has line ends of Windows (CRLF, first in line 2)",
        "this script has line ends of Windows (CRLF, first in line 1)",
        "this command has line ends of Windows (CRLF, first in line 1)",
    ] {
        let said = ran.all();
        let plain = said
            .split_whitespace()
            .filter(|word| *word != "│")
            .collect::<Vec<_>>()
            .join(" ");
        assert!(plain.contains(expected), "no `{expected}` in\n{said}");
    }

    // A manifest that is itself saved with them gives them to the scripts in it.
    let bench = house();
    let script = "\"\"\"\necho one\necho two\n\"\"\"";
    let text = GOOD.replace("\"echo {{ not a template }}\"", script);
    bench.write("images.toml", text.replace('\n', "\r\n"));
    let ran = bench.run(&["validate", "images.toml"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(
        ran.stderr
            .contains("save the manifest with line ends of Unix (LF)"),
        "{}",
        ran.all()
    );
    bench.write("images.toml", GOOD.replace('\n', "\r\n"));
    assert_eq!(bench.run(&["validate", "images.toml"]).code, 0);
}

#[test]
fn an_empty_manifest_is_told_what_to_begin_with() {
    let bench = Bench::new();
    bench.write("images.toml", "");
    insta::assert_snapshot!("empty_manifest", bench.run(&["validate", "images.toml"]).all());
}

fn chosen(manifest: &Manifest, selectors: &Selectors) -> Vec<String> {
    let found = select(manifest, selectors).unwrap();
    found
        .into_iter()
        .map(|index| manifest.images[index].id.clone())
        .collect()
}

#[test]
fn selectors_pick_images_by_id_glob_and_value() {
    let manifest = load(&house());
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let by = |patterns: &[&str]| {
        let patterns = words(patterns);
        chosen(
            &manifest,
            &Selectors {
                patterns,
                ..Selectors::default()
            },
        )
    };
    assert_eq!(by(&[]).len(), 4);
    assert_eq!(by(&["noble-3G-full"]), ["noble-3G-full"]);
    assert_eq!(
        by(&["noble-3G-full", "debian12-*"]),
        ["debian12-3G-full", "debian12-20G-full", "noble-3G-full"]
    );
    assert_eq!(by(&["size=20480M"]), ["debian12-20G-full", "noble-20G-full"]);
    assert_eq!(
        by(&["distro=noble", "size=3G"]),
        ["debian12-3G-full", "noble-3G-full", "noble-20G-full"]
    );
    let narrowed = Selectors {
        patterns: words(&["*-full"]),
        distro: words(&["deb*"]),
        size: words(&["3G", "50G"][..1]),
        flavor: words(&["full"]),
    };
    assert_eq!(chosen(&manifest, &narrowed), ["debian12-3G-full"]);
}

#[test]
fn selectors_that_match_nothing_say_what_is_near() {
    let bench = house();
    let said = |args: &[&str]| bench.run(&[&["render", "images.toml"], args].concat()).all();
    insta::assert_snapshot!("selector_typo", said(&["debian12-3G-ful"]));
    insta::assert_snapshot!("selector_glob", said(&["centos*"]));
    insta::assert_snapshot!("selector_distro", said(&["distro=debian"]));
    insta::assert_snapshot!("selector_size", said(&["size=3X"]));
    insta::assert_snapshot!("selector_bad_glob", said(&["[a"]));
    let manifest = load(&bench);
    let nothing_left = Selectors {
        patterns: vec!["noble-*".to_owned()],
        distro: vec!["debian12".to_owned()],
        ..Selectors::default()
    };
    let error = select(&manifest, &nothing_left).unwrap_err().to_string();
    assert_eq!(error, "no image matches all of `noble-*` and `distro=debian12`");
}

#[test]
fn render_prints_the_answers_of_the_chosen_images() {
    let ran = house().run(&["render", "images.toml", "debian12-3G-full"]);
    insta::assert_snapshot!(ran.all(), @"
    code: 0
    --- stdout
    #!/bin/sh
    loadkeys fr
    hostname debian12
    echo 'ssh-ed25519 AAAA-build-key pipeline-build' >>/root/.ssh/authorized_keys
    --- stderr
    ");
}

#[test]
fn list_prints_ids_for_scripts() {
    let ran = house().run(&["validate", "--list", "images.toml"]);
    assert_eq!(
        ran.stdout,
        "debian12-3G-full\ndebian12-20G-full\nnoble-3G-full\nnoble-20G-full\n"
    );
}

/// Xorshift (Marsaglia 2003): the same mutations in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

#[test]
fn no_mutated_manifest_makes_the_reader_panic() {
    let bench = house();
    let mut random = Random(0x5eed);
    let spice = b"\"'[]{}=,.#\n\\{%}0-9aZ\xc3\xa9\0";
    let (mut refused, mut accepted) = (0, 0);
    for _ in 0..2_000 {
        let mut bytes = GOOD.as_bytes().to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] = spice[random.below(spice.len())],
                1 => bytes.insert(at, spice[random.below(spice.len())]),
                2 => {
                    let end = (at + random.below(30)).min(bytes.len());
                    bytes.drain(at..end);
                }
                _ => {
                    let end = (at + random.below(60)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    let to = random.below(bytes.len());
                    bytes.splice(to..to, piece);
                }
            }
        }
        let path = bench.write("images.toml", bytes);
        match manifest::load(&path) {
            Ok(manifest) => {
                // Nothing that the rest of the program relies on got lost on the way.
                assert!(!manifest.images.is_empty());
                for image in &manifest.images {
                    assert!(
                        manifest.distro(&image.distro).is_some() && manifest.flavor(&image.flavor).is_some()
                    );
                    assert!(image.file.is_relative() && image.file.file_name().is_some());
                }
                accepted += 1;
            }
            Err(errors) => {
                assert!(!errors.problems().is_empty());
                // Printing walks every span, but is slow in a debug build.
                refused += 1;
                if refused % 10 != 0 {
                    continue;
                }
                let mut text = String::new();
                let printer = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::none());
                printer.render_report(&mut text, &errors).unwrap();
            }
        }
    }
    assert!(
        refused > 1_000 && accepted > 0,
        "{refused} refused, {accepted} accepted"
    );
}
