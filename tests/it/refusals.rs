//! Things that cannot work, and what the program says about them: hosts without what a manifest takes for granted, media
//! that are no disks, a store that is damaged or in the way. Real tools, no VM that boots.

use std::path::Path;
use std::process::Command;

use pipeline::internals::digest::sha256_hex;
use pipeline::internals::platform::Platform;
use pipeline::internals::size::{ByteSize, MIB};
use pipeline::internals::stage::distro::{GuestAccess, GuestLogin, MachineWish};
use pipeline::internals::stage::provision::{Provisioned, Root};
use pipeline::internals::stage::size::{self, SizeWork};

use crate::machine::tiny::{Then, disk};
use crate::support::http::{DeadPort, Server};
use crate::support::{Bench, Ran, tool};

/// A manifest of one image over this source.
fn manifest(source: &str, rest: &str) -> String {
    format!(
        "[distros.tiny]\nfamily = \"debian\"\nversion = \"12\"\nmemory = \"64M\"\nsource = {{ {source} }}\n{rest}\n\
         [flavors.base]\nsteps = [{{ inline = \"true\" }}]\n\
         [[images]]\ndistro = \"tiny\"\nflavor = \"base\"\nsizes = [\"3G\"]\n"
    )
}

/// A bench whose one distro is this disk, with root's door open.
fn bench_of_disk(content: impl AsRef<[u8]>) -> Bench {
    let bench = Bench::new();
    bench.write("tiny.raw", content);
    bench.write(
        "m.toml",
        manifest("disk = { path = \"tiny.raw\", user = \"root\" }", ""),
    );
    bench
}

/// Asserts an exit code and that each of these was said.
#[track_caller]
fn assert_said(ran: &Ran, code: i32, said: &[&str]) {
    assert_eq!(ran.code, code, "{}", ran.all());
    let flat = ran.stderr.replace(['│', '\n'], " ");
    let flat = flat.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in said {
        assert!(flat.contains(words), "no `{words}` in\n{}", ran.all());
    }
}

/// A folder with links to all programs on the search path but these.
fn path_without(bench: &Bench, programs: &[&str]) -> std::path::PathBuf {
    let folder = bench.path("programs");
    std::fs::create_dir(&folder).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    for from in std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]) {
        let Ok(entries) = from.read_dir() else { continue };
        for entry in entries.map(Result::unwrap) {
            let name = entry.file_name();
            if !programs.iter().any(|program| name == *program) {
                let _ = std::os::unix::fs::symlink(entry.path(), folder.join(name));
            }
        }
    }
    folder
}

fn run_with_path(bench: &Bench, args: &[&str], path: &Path) -> Ran {
    let mut command = bench.command(args);
    command.env("PATH", path).env("PIPELINE_SBIN", path);
    bench.finish(command)
}

/// Runs the program in namespaces of its own, by way of another command.
fn enclosed(bench: &Bench, namespaces: &[&str], by: &[&str], args: &[&str]) -> Ran {
    let inner = bench.command(args);
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user"])
        .args(namespaces)
        .arg("--")
        .args(by);
    command.arg(inner.get_program()).args(inner.get_args());
    command.current_dir(bench.path("")).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    bench.finish(command)
}

#[test]
fn a_host_without_apt_must_be_told_a_mirror() {
    let bench = Bench::new();
    bench.write("m.toml", manifest("bootstrap = { suite = \"bookworm\" }", ""));
    let hide = "mount -t tmpfs none /etc/apt && exec \"$@\"";
    let ran = enclosed(
        &bench,
        &["--mount"],
        &["sh", "-c", hide, "sh"],
        &["plan", "m.toml"],
    );
    assert_said(
        &ran,
        2,
        &[
            "no mirror is known for distro `tiny` (suite bookworm)",
            "mirror = ",
        ],
    );
}

#[test]
fn a_family_that_bootstrap_cannot_install_is_told() {
    let bench = Bench::new();
    let text = manifest("bootstrap = { suite = \"9\" }", "").replace("debian", "rhel");
    bench.write("m.toml", text);
    let ran = bench.run(&["validate", "m.toml"]);
    assert_said(
        &ran,
        2,
        &["only debian, ubuntu can be bootstrapped", "another family"],
    );
}

#[test]
fn a_playbook_without_ansible_is_told_before_anything_starts() {
    let bench = bench_of_disk(disk("hello\r\n", Then::Halt));
    bench.write("site.yml", "- hosts: all\n");
    let text = bench
        .read("m.toml")
        .replace("{ inline = \"true\" }", "{ ansible = \"site.yml\" }");
    bench.write("m.toml", text);
    let path = path_without(&bench, &["ansible-playbook"]);
    let ran = run_with_path(&bench, &["run", "m.toml"], &path);
    assert_said(
        &ran,
        3,
        &[
            "this host lacks ansible-playbook",
            "pipeline doctor",
            "nothing was started",
        ],
    );
    assert!(
        !bench.path("store/scratch").exists() || bench.path("store/scratch").read_dir().unwrap().count() == 0
    );
}

#[test]
fn a_medium_of_a_foreign_format_is_told_with_the_way_out() {
    let bench = bench_of_disk("");
    tool(
        "qemu-img",
        &["create", "-q", "-f", "vmdk", "tiny.raw", "1M"],
        &bench.path(""),
    );
    let ran = bench.run(&["run", "m.toml"]);
    assert_said(&ran, 2, &["is a vmdk image", "qemu-img convert -f vmdk -O qcow2"]);
}

#[test]
fn words_of_no_meaning_are_refused_with_those_that_have_one() {
    let bench = bench_of_disk("");
    let ran = bench.run(&["run", "m.toml", "--progress", "loud"]);
    assert_said(
        &ran,
        2,
        &["`loud` is not a kind of progress", "auto, bars, plain or none"],
    );
    // Whatever the environment sets, a usage has what is to be typed.
    let ran = bench.run(&["run"]);
    assert_said(&ran, 2, &["Usage: pipeline run <MANIFEST> [SELECTOR]..."]);
    let text = bench.read("m.toml").replace("\"3G\"", "\"99999999T\"");
    bench.write("m.toml", text);
    let ran = bench.run(&["validate", "m.toml"]);
    assert_said(&ran, 2, &["`99999999T` is larger than any disk"]);
}

#[test]
fn a_script_that_is_no_file_or_cannot_be_read_is_told_apart() {
    let bench = bench_of_disk("");
    tool("mkfifo", &["pipe.sh"], &bench.path(""));
    let long = "x".repeat(300);
    let steps = format!("{{ run = \"pipe.sh\" }}, {{ run = \"{long}\" }}");
    let text = bench.read("m.toml").replace("{ inline = \"true\" }", &steps);
    bench.write("m.toml", text);
    let ran = bench.run(&["validate", "m.toml"]);
    assert_said(
        &ran,
        2,
        &[
            "`pipe.sh` is not a regular file",
            "cannot be read: File name too long",
        ],
    );
}

#[test]
fn a_store_that_cannot_be_made_is_named() {
    let bench = bench_of_disk("");
    bench.write("file", "");
    let mut command = bench.command(&["run", "m.toml"]);
    command.env("PIPELINE_STORE", bench.path("file/store"));
    let ran = bench.finish(command);
    assert_said(
        &ran,
        3,
        &["[ROOT]/file/store", "Not a directory", "move that file away"],
    );
}

#[test]
fn an_output_folder_that_is_a_file_is_told() {
    let bench = bench_of_disk("");
    bench.write("out", "");
    let ran = bench.run(&["run", "m.toml"]);
    assert_said(
        &ran,
        3,
        &[
            "could not write into out: Not a directory",
            "`output` under [pipeline]",
            "nothing was started",
        ],
    );
}

#[test]
fn a_host_without_network_says_so() {
    let bench = Bench::new();
    let digest = "ab".repeat(32);
    bench.write(
        "m.toml",
        manifest(
            &format!(
                "disk = {{ url = \"http://192.0.2.1/tiny.qcow2\", sha256 = \"{digest}\", user = \"root\" }}"
            ),
            "",
        ),
    );
    let ran = enclosed(&bench, &["--net"], &[], &["run", "m.toml"]);
    assert_said(
        &ran,
        1,
        &[
            "http://192.0.2.1/tiny.qcow2",
            "192.0.2.1 cannot be reached (Network is unreachable",
            "check the network",
        ],
    );
}

#[test]
fn a_damaged_result_is_taken_out_named_and_built_anew() {
    let bench = bench_of_disk(disk(
        "Kernel panic - not syncing: VFS: Unable to mount root fs\r\n",
        Then::Halt,
    ));
    let first = bench.run(&["run", "m.toml"]);
    assert_said(&first, 1, &["install tiny: done", "Unable to mount root fs"]);
    let stored = tool(
        "sh",
        &[
            "-c",
            "ls -d store/results/install/*/*/disk 2>/dev/null || find store -name disk",
        ],
        &bench.path(""),
    );
    let path = bench.path(stored.trim());
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    tool("chmod", &["u+w", stored.trim()], &bench.path(""));
    std::fs::write(&path, bytes).unwrap();

    let second = bench.run(&["run", "m.toml"]);
    assert_said(
        &second,
        1,
        &[
            "in the store is damaged (",
            "; it is removed and rebuilt",
            "install tiny: done",
            "Unable to mount root fs",
        ],
    );
    // Half a disk is no reason for a third way to fail.
    let third = bench.run(&["plan", "m.toml", "--format", "json"]);
    assert_eq!(third.code, 0, "{}", third.all());
    assert!(!third.stderr.contains("damaged"), "{}", third.all());
}

#[test]
fn a_disk_of_a_wrong_size_or_of_no_partitions_is_told_before_it_is_grown() {
    let bench = Bench::new();
    let (site, _events) = bench.site("size/house");
    let work = |size| SizeWork {
        size,
        guest: GuestAccess {
            user: "root".to_owned(),
            login: GuestLogin::Installed,
        },
        machine: MachineWish {
            computer: Platform::default().into(),
            memory: ByteSize(MIB),
            cpus: 1,
        },
        may_boot: false,
    };
    tool(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "disk", "1M"],
        &bench.path(""),
    );
    let (disk, result) = (bench.path("disk"), bench.path("result"));
    let grow = |size| {
        size::size(
            &work(size),
            &disk,
            &Provisioned::default(),
            &|| panic!("it is not entered"),
            &site,
            &result,
        )
        .unwrap_err()
        .to_string()
    };
    assert_eq!(
        grow(MIB / 2),
        "the disk to grow is 1 MiB already, larger than the 512 KiB asked for; ask for a larger size in `sizes`"
    );
    let message = grow(2 * MIB);
    assert!(
        message.starts_with("reading the partitions of `")
            && message.contains("does not contain a recognized partition table"),
        "{message}"
    );
    // Two ext4, both empty: only the guest knows which one was its root.
    tool(
        "sh",
        &[
            "-ec",
            "truncate -s 8M raw; printf 'label: dos\nstart=2048,size=4096\nstart=6144\n' | /usr/sbin/sfdisk -q raw; \
             /usr/sbin/mke2fs -q -F -t ext4 -E offset=1048576 raw 2048k; \
             /usr/sbin/mke2fs -q -F -t ext4 -E offset=3145728 raw 5120k; qemu-img convert -f raw -O qcow2 raw disk",
        ],
        &bench.path(""),
    );
    let sized = |start, size| {
        let provisioned = Provisioned {
            root: Some(Root {
                start,
                file_system: "ext4".to_owned(),
            }),
            sealed: true,
        };
        let _ = std::fs::remove_file(bench.path("scratch/disk.raw"));
        let _ = std::fs::remove_file(&result);
        size::size(
            &work(size),
            &disk,
            &provisioned,
            &|| panic!("it is not entered"),
            &site,
            &result,
        )
        .map_err(|e| e.to_string())
    };
    let message = sized(MIB, 128 * MIB).unwrap_err();
    assert!(
        message.contains("partition 2 (ext4) lies behind partition 1, the root"),
        "{message}"
    );
    let message = sized(3 * MIB, 3 << 40).unwrap_err();
    assert!(
        message.contains("are in a DOS table, which ends at 2.0 TiB, and 3 TiB was asked for"),
        "{message}"
    );
    sized(3 * MIB, 128 * MIB).unwrap();
    sized(MIB, 8 * MIB).unwrap();
}

#[test]
fn a_bootstrap_whose_mirror_is_gone_shows_what_was_said() {
    let bench = Bench::new();
    let mirror = format!("http://127.0.0.1:{}/debian", DeadPort::new().port());
    let source = format!("bootstrap = {{ suite = \"bookworm\", mirror = \"{mirror}\" }}");
    bench.write("m.toml", manifest(&source, ""));
    let ran = bench.run(&["run", "m.toml"]);
    assert_said(
        &ran,
        1,
        &[
            "install tiny: FAILED",
            "mirror unreachable: install tiny Could not connect to 127.0.0.1",
            "installing packages: `mmdebstrap` exited with code",
            "help check `mirror` of the distro",
            "mmdebstrap.log next pipeline logs install/tiny",
        ],
    );
    assert!(!bench.path("out").exists());
}

#[test]
fn a_medium_of_several_distros_is_fetched_once_and_one_that_its_list_lacks_never() {
    let bench = Bench::new();
    let medium = disk("Kernel panic - not syncing: VFS: no root\r\n", Then::Halt);
    let server = Server::start(medium.clone());
    let digest = sha256_hex(&medium);
    bench.write("SUMS", format!("{digest}  other.raw\n"));
    let distro = |name: &str, proof: &str| {
        format!(
            "[distros.{name}]\nfamily = \"debian\"\nversion = \"12\"\nmemory = \"64M\"\ncpus = 1\n\
             source = {{ disk = {{ url = \"{}\", {proof}, user = \"root\" }} }}\n\
             [[images]]\ndistro = \"{name}\"\nflavor = \"base\"\nsizes = [\"1G\"]\n",
            server.url("/tiny.raw")
        )
    };
    let good = format!("sha256 = \"{digest}\"");
    let text = [
        distro("one", &good),
        distro("two", &good),
        distro("three", &good),
        distro("unlisted", "checksums = \"SUMS\""),
        distro(
            "listless",
            &format!(
                "checksums = \"{}\"",
                server.url("/SUMS").replace("127.0.0.1", "127.0.0.2")
            ),
        ),
    ];
    bench.write(
        "m.toml",
        format!(
            "[resources]\njobs = 1\n[flavors.base]\nsteps = [{{ inline = \"true\" }}]\n{}",
            text.concat()
        ),
    );
    let ran = bench.run(&["run", "m.toml"]);
    assert_said(
        &ran,
        1,
        &[
            "install one: done",
            "install two: made meanwhile by another",
            "install three: made meanwhile by another",
            "has no line for tiny.raw; it has: other.raw",
            "the checksum file http://127.0.0.2:",
            "cannot fetch the checksum file ",
            "VFS: no root",
        ],
    );
    // Asked for before the run, then fetched once.
    let asked: Vec<_> = server.asked().into_iter().map(|asked| asked.method).collect();
    assert_eq!(asked, ["HEAD", "GET"]);
}

#[test]
fn a_report_that_could_not_be_written_is_refused_before_the_work() {
    let bench = bench_of_disk(b"a disk");
    let ran = bench.run(&["run", "m.toml", "--junit", "."]);
    assert_said(
        &ran,
        2,
        &["--junit .: this is a folder; name a file; nothing was started"],
    );
    bench.write("file", "");
    let ran = bench.run(&["run", "m.toml", "--junit", "file/report.xml"]);
    assert_said(&ran, 2, &["--junit file/report.xml: ", "nothing was started"]);
    assert!(!bench.path("store/runs").exists());
}
