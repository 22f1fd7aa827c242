//! A newcomer asks for a manifest to start from, on one distribution or another, or with templates of their own.

use crate::support::Bench;

const DEBIAN: &str = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
const UBUNTU: &str =
    "ID=ubuntu\nVERSION_ID=\"24.04\"\nVERSION_CODENAME=noble\nPRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\n";
const FEDORA: &str = "ID=fedora\nVERSION_ID=42\nPRETTY_NAME=\"Fedora Linux 42\"\n";

fn init(bench: &Bench, system: &str, args: &[&str]) -> crate::support::Ran {
    let system = bench.write("os-release", system);
    let mut command = bench.command(&[&["init"], args].concat());
    command.env("PIPELINE_OS_RELEASE", system);
    bench.finish(command)
}

#[test]
fn a_manifest_for_this_host_is_good_as_it_is_and_nobodys_file_is_taken_away() {
    for (system, wanted) in [
        (DEBIAN, "debian12-3G-plain\n"),
        (UBUNTU, "ubuntu24.04-3G-plain\n"),
        (FEDORA, "debian12-3G-plain\n"),
    ] {
        let bench = Bench::new();
        let made = init(&bench, system, &[]);
        assert_eq!(made.code, 0, "{}", made.all());
        let valid = bench.run(&["validate", "--list", "images.toml"]);
        assert_eq!(
            (valid.stdout.as_str(), valid.stderr.as_str()),
            (wanted, ""),
            "{}",
            valid.all()
        );
        // Ubuntu's mirror is the one of the host, which is none.
        if system != UBUNTU {
            assert_eq!(bench.run(&["plan", "images.toml"]).code, 0);
        }
        let before = bench.read("images.toml");
        let again = init(&bench, system, &[]);
        assert!(
            again.code == 2 && again.stderr.contains("is there already"),
            "{}",
            again.all()
        );
        assert_eq!(bench.read("images.toml"), before);
        if system == DEBIAN {
            insta::assert_snapshot!("a_manifest_for_debian", before);
        }
    }
}

#[test]
fn each_template_of_a_folder_becomes_a_distro() {
    let bench = Bench::new();
    bench.write(
        "http/debian11.cfg",
        "#_preseed_V1\nd-i passwd/root-login boolean {{ root_login }}\n",
    );
    bench.write("http/alma.ks", "lang en_US.UTF-8\n%packages\n@core\n%end\n");
    bench.write("http/user-data", "#cloud-config\nautoinstall:\n  version: 1\n");
    bench.write("http/notes.yml", "hello: world\n");
    let made = init(&bench, DEBIAN, &["--from", "http"]);
    assert_eq!(made.code, 0, "{}", made.all());
    let text = bench.read("images.toml");
    let valid = bench.run(&["validate", "--list", "images.toml"]);
    assert_eq!(valid.code, 0, "{}\n{text}", valid.all());
    insta::assert_snapshot!("a_manifest_from_templates", text);
    let nothing = init(
        &bench,
        DEBIAN,
        &["other.toml", "--from", "store-that-is-not-there"],
    );
    assert!(
        nothing.code == 2 && !bench.path("other.toml").exists(),
        "{}",
        nothing.all()
    );
}
