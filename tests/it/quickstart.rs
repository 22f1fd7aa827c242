//! The quickstart's story, with real VMs: two images from nothing, a second run that does nothing, what a change costs,
//! what a kill costs, and images that boot as they should. Without KVM these take minutes; they share one install.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::vm::{Guest, processes_naming, quickstart, variant, wait_until};
use crate::support::{Bench, Ran, tool};

/// Longest time for a guest to do one thing, under emulation on a busy machine.
const GUEST: Duration = Duration::from_secs(600);
/// Offset of the only partition, in bytes.
const PARTITION: u64 = 1 << 20;

const SMALL: &str = "debian12-3G-vm-bootstrap";
const LARGE: &str = "debian12-20G-vm-bootstrap";

fn image(id: &str) -> String {
    format!("out/{id}/{id}.qcow2.gz")
}

/// The nodes that a run started, from its journal.
fn started(bench: &Bench, ran: &Ran) -> Vec<String> {
    let said = ran
        .stderr
        .split("[ROOT]/")
        .find_map(|rest| rest.strip_prefix("store/runs/"));
    let run = said.unwrap_or_else(|| panic!("it does not say where its logs are:\n{}", ran.all()));
    let run = run.lines().next().unwrap();
    let journal = bench.read(&format!("store/runs/{run}/events.jsonl"));
    let events = journal
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    events
        .filter(|e| e["event"] == "node_started")
        .map(|e| e["node"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn two_images_come_out_and_a_second_run_does_nothing() {
    let story = quickstart(0);
    let (bench, first) = (story.bench, story.first);
    for id in [SMALL, LARGE] {
        assert!(
            first.stderr.contains(&image(id)),
            "the summary must say where {id} is:\n{}",
            first.all()
        );
    }
    let checks = |junit: &str, what: &str| {
        let path = format!("count({what})");
        tool("xmllint", &["--xpath", &path, junit], &bench.path(""))
            .trim()
            .to_owned()
    };
    assert!(first.stderr.contains("18 checks passed"), "{}", first.all());
    assert_eq!(
        checks("reports/junit.xml", "//testsuite[count(testcase[not(*)])=9]"),
        "2"
    );
    let out = bench.path("out");
    tool("sha512sum", &["--strict", "-c", "SHA512SUM.txt"], &out);
    tool("md5sum", &["--strict", "-c", "MD5SUM.txt"], &out);
    assert_eq!(bench.read("out/MD5SUM.txt").lines().count(), 2);
    for (id, gib) in [(SMALL, 3u64), (LARGE, 20)] {
        tool("gzip", &["-t", &image(id)], &bench.path(""));
        let disk = unpack(bench, id);
        let info: Value = serde_json::from_str(&tool(
            "qemu-img",
            &["info", "--output=json", &disk],
            &bench.path(""),
        ))
        .unwrap();
        assert_eq!(info["virtual-size"], gib << 30);
        assert!(info.get("backing-filename").is_none(), "{info}");
        tool("qemu-img", &["check", "-q", &disk], &bench.path(""));
        let raw = format!("{id}.raw");
        tool(
            "qemu-img",
            &["convert", "-O", "raw", &disk, &raw],
            &bench.path(""),
        );
        let table: Value = serde_json::from_str(&tool("sfdisk", &["-J", &raw], &bench.path(""))).unwrap();
        let part = &table["partitiontable"]["partitions"][0];
        let end = (part["start"].as_u64().unwrap() + part["size"].as_u64().unwrap()) * 512;
        assert_eq!(end, gib << 30, "the partition ends with the disk");
        tool(
            "e2fsck",
            &["-fn", &format!("./{raw}?offset={PARTITION}")],
            &bench.path(""),
        );
        fs::remove_file(bench.path(&raw)).unwrap();
    }

    let before = fs::metadata(bench.path(&image(SMALL)))
        .unwrap()
        .modified()
        .unwrap();
    let began = Instant::now();
    let again = bench.run(&["run", "quickstart.toml", "--junit", "again.xml"]);
    let took = began.elapsed();
    assert_eq!(again.code, 0, "{}", again.all());
    assert!(started(bench, &again).is_empty(), "{}", again.all());
    assert!(again.stderr.contains("nothing to do"), "{}", again.all());
    assert!(again.stderr.contains("18 checks passed"), "{}", again.all());
    assert_eq!(
        checks("again.xml", "//testcase[not(*)]"),
        "18",
        "what was found out before counts"
    );
    assert!(
        took < Duration::from_secs(10),
        "a run with nothing to do took {took:?}"
    );
    assert_eq!(
        fs::metadata(bench.path(&image(SMALL)))
            .unwrap()
            .modified()
            .unwrap(),
        before
    );
}

fn unpack(bench: &Bench, id: &str) -> String {
    let disk = format!("{id}.qcow2");
    if !bench.path(&disk).exists() {
        tool(
            "sh",
            &[
                "-c",
                &format!("gzip -dc {} > {disk}.part && mv {disk}.part {disk}", image(id)),
            ],
            &bench.path(""),
        );
    }
    disk
}

#[test]
fn a_change_costs_what_hangs_on_it_and_the_plan_said_so() {
    let story = quickstart(0);
    let shared = story.bench;
    let text = shared.read("quickstart.toml");
    // Under its own name for the file, so that the other stories' manifest stays as it is.
    shared.write("changed.toml", format!("# a comment\n{text}"));
    let plan = shared.run(&["plan", "changed.toml"]);
    assert!(plan.stdout.contains("Nothing to do"), "{}", plan.all());

    shared.write(
        "changed.toml",
        text.replace("Made by pipeline.", "made by pipeline."),
    );
    let plan = shared.run(&["plan", "changed.toml"]);
    let install = plan
        .stdout
        .lines()
        .find(|line| line.contains("install "))
        .unwrap();
    assert!(install.ends_with("cached"), "{}", plan.all());
    assert!(plan.stdout.contains("to do: motd changed"), "{}", plan.all());
    let explained = shared.run(&["explain", "changed.toml", "provision/debian12-vm-bootstrap"]);
    for line in [
        "changed.toml: steps.motd.script",
        "-echo 'Made by pipeline.' > /etc/motd",
        "+echo 'made by pipeline.' > /etc/motd",
    ] {
        assert!(
            explained.stdout.contains(line),
            "no `{line}` in\n{}",
            explained.all()
        );
    }
    let listed = shared.run(&["ls", "changed.toml"]);
    assert!(
        listed.stdout.contains("0 current, 2 outdated"),
        "{}",
        listed.all()
    );
    let listed = shared.run(&["ls", "quickstart.toml", "--format", "json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let small = &listed["images"][0];
    assert_eq!(
        (&small["state"], &small["checks"]["count"]),
        (&"current".into(), &9.into())
    );
    let sums = shared.read("out/SHA512SUM.txt");
    assert!(
        sums.starts_with(
            small["digests"][0]
                .as_str()
                .unwrap()
                .strip_prefix("sha512:")
                .unwrap()
        ),
        "{small}"
    );

    // A check that is new is asked of what is built already.
    let own = "[[checks]]\nname = \"web\"\nport = 80\nimages = \"*-3G-*\"\n\n[publish]";
    shared.write("changed.toml", text.replace("[publish]", own));
    let plan = shared.run(&["plan", "changed.toml"]);
    assert!(plan.stdout.contains("to do: check web is new"), "{}", plan.all());
    assert!(plan.stdout.contains("2 to do, 8 cached"), "{}", plan.all());

    let resized = text
        .replace("\"20G\"", "\"21G\"")
        .replace("\"out\"", "\"out-resized\"");
    shared.write("resized.toml", resized);
    let ran = shared.run(&["run", "resized.toml", "--size", "21G", "--no-check"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let id = "debian12-21G-vm-bootstrap";
    assert_eq!(
        started(shared, &ran),
        [
            format!("size/{id}"),
            format!("package/{id}"),
            format!("sums/{id}")
        ]
    );
    assert!(
        ran.stderr.contains(&format!("not checked: {id}")),
        "{}",
        ran.all()
    );
    assert_eq!(shared.read("out-resized/MD5SUM.txt").lines().count(), 1);

    let ran = shared.run(&["run", "resized.toml", "--size", "3G"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert_eq!(
        started(shared, &ran),
        [format!("sums/{SMALL}")],
        "what is built is only put into another folder"
    );
    let sums = shared.read("out-resized/SHA512SUM.txt");
    let names: Vec<_> = sums
        .lines()
        .map(|line| line.split("  ").nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(
        names,
        [format!("{SMALL}/{SMALL}.qcow2.gz"), format!("{id}/{id}.qcow2.gz")],
        "in manifest order"
    );
}

#[test]
fn a_failed_check_keeps_its_image_back_and_shows_what_was_seen() {
    let story = quickstart(1);
    let shared = story.bench;
    let own = r#"
[[checks]]
name    = "motd"
images  = "*-3G-*"
command = "cat /etc/motd"
output  = "by pipeline."
matches = "^Made"

[[checks]]
port   = 22
images = "*-3G-*"

[[checks]]
name    = "coffee"
images  = "*-3G-*"
command = "echo no beans; exit 3"

[publish]"#;
    let text = shared
        .read("quickstart.toml")
        .replace("checks = [\"standard\", \"vm-bootstrap\"]", "")
        .replace("\"out\"", "\"out-gate\"")
        .replace("[publish]", own);
    shared.write("gate.toml", text);
    let ran = shared.run(&["run", "gate.toml", "--junit", "gate.xml"]);
    assert_eq!(ran.code, 1, "{}", ran.all());
    for expected in [
        "motd ok",
        "port-22 ok",
        "coffee FAILED",
        "1 of 3 checks failed",
        "expected  exit code 0",
        "seen      exit code 3 and the output",
        "no beans",
        "2 checks passed, 1 failed",
    ] {
        assert!(ran.stderr.contains(expected), "no `{expected}` in\n{}", ran.all());
    }
    assert!(
        !shared.path(&format!("out-gate/{SMALL}")).exists(),
        "only what passed is published"
    );
    assert!(
        shared
            .path(&format!("out-gate/{LARGE}/{LARGE}.qcow2.gz"))
            .exists()
    );
    let failure = [
        "--xpath",
        "string(//testcase[@name='coffee']/failure)",
        "gate.xml",
    ];
    let failure = tool("xmllint", &failure, &shared.path(""));
    assert!(failure.contains("no beans"), "{failure}");

    let logs = ran.stderr.split("logs of this node: [ROOT]/").nth(1).unwrap();
    let logs = logs.lines().next().unwrap();
    assert!(shared.read(&format!("{logs}/verdict.txt")).contains("no beans"));
    assert!(shared.read(&format!("{logs}/script.sh")).contains("no beans"));
    assert!(
        shared
            .read(&format!("{logs}/answers-first-boot.txt"))
            .contains("== motd: code 0")
    );
    assert!(
        shared
            .read(&format!("{logs}/requests.log"))
            .contains("GET /vm-bootstrap: 200")
    );
    for kept in ["console.log", "qemu.argv", "qemu.stderr", "screen.png"] {
        assert!(
            shared.path(&format!("{logs}/first-boot/{kept}")).exists(),
            "{kept}"
        );
    }
}

/// The script that the guests fetch and run as their boot script: it tells on the console what the host wants to know.
const PROBE: &str = r#"{
echo "probe-root-bytes=$(df -B1 --output=size / | tail -n 1 | tr -d ' ')"
echo "probe-disk-bytes=$(($(cat /sys/block/vda/size) * 512))"
echo "probe-machine-id=$(cat /etc/machine-id)"
echo "probe-host-key=$(cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub)"
echo "probe-build-keys=$(cat /root/.ssh/authorized_keys 2>/dev/null | wc -l)"
echo "probe-backing=$(findmnt -n -o UUID / | wc -c)"
echo "probe-cmdline=$(cat /proc/cmdline)"
echo "probe-failed=$(systemctl --failed --no-legend --plain | tr '\n' ';')"
echo "probe-sshd=$(ss -ltn 'sport = :22' | grep -c LISTEN)"
echo probe-end
} > /dev/ttyS0 2>&1
exit 0
"#;

#[test]
fn images_boot_from_bios_with_their_whole_root_and_an_identity_of_their_own() {
    let story = quickstart(2);
    let bench = story.bench;
    // qemu starts this once a connection, with the connection as its standard input and output.
    let door = bench.write(
        "door.sh",
        format!(
            "#!/bin/sh\nwhile read -r line; do [ \"$line\" = \"$(printf '\\r')\" ] && break; done\n\
             printf 'HTTP/1.0 200 OK\\r\\nContent-Length: {}\\r\\n\\r\\n'\ncat <<'PROBE'\n{PROBE}PROBE\n",
            PROBE.len()
        ),
    );
    let forward = format!(
        "user,id=n0,guestfwd=tcp:10.0.2.100:80-cmd:/bin/sh {}",
        door.display()
    );
    let extra = [
        "-netdev".to_owned(),
        forward,
        "-device".to_owned(),
        "virtio-net-pci,netdev=n0".to_owned(),
    ];
    let mut guests: Vec<_> = [(SMALL, 3u64), (LARGE, 20)]
        .into_iter()
        .map(|(id, gib)| {
            let disk = bench.path(&unpack(bench, id));
            (
                id,
                gib,
                Guest::boot(&disk, &bench.path(&format!("{id}.console")), &extra),
            )
        })
        .collect();
    let mut identities = Vec::new();
    for (id, gib, guest) in &mut guests {
        let shown = guest.wait_for("probe-end", GUEST);
        let fact = |name: &str| {
            let start = format!("probe-{name}=");
            let line = shown
                .split_once(&start)
                .and_then(|(_, rest)| rest.lines().next())
                .map(str::trim);
            line.unwrap_or_else(|| panic!("{id} did not tell {name}:\n{shown}"))
                .to_owned()
        };
        assert_eq!(fact("disk-bytes"), (*gib << 30).to_string());
        let root: u64 = fact("root-bytes").parse().unwrap();
        // What ext4 keeps for itself (inode tables, journal) is some percent.
        assert!(root > (*gib << 30) / 100 * 93, "{id}: root is only {root} bytes");
        assert_eq!(fact("build-keys"), "0", "{id}");
        assert_eq!(fact("failed"), "", "{id}");
        assert_eq!(
            fact("sshd"),
            if fact("sshd") == "2" { "2" } else { "1" },
            "{id}: sshd listens"
        );
        assert!(
            fact("cmdline").contains("root=UUID="),
            "{id}: {}",
            fact("cmdline")
        );
        assert_eq!(fact("machine-id").len(), 32, "{id}");
        assert!(fact("host-key").len() > 40, "{id}");
        identities.push((fact("machine-id"), fact("host-key")));
        guest.wait_for("login:", GUEST);
    }
    assert_ne!(
        identities[0].0, identities[1].0,
        "two clones must not share a machine-id"
    );
    assert_ne!(
        identities[0].1, identities[1].1,
        "two clones must not share host keys"
    );
}

#[test]
fn a_kill_leaves_no_vm_and_no_half_file_and_costs_only_the_node_it_was_in() {
    let story = quickstart(1);
    let shared = story.bench;
    let flavor =
        "[flavors.killed]\nsteps = [{ inline = \"echo step-is-running; sleep 5\", name = \"slow\" }]\n";
    let text = variant("killed", flavor).replace("compress = \"none\"", "compress = \"gzip\"\nlevel = 1");
    shared.write("killed.toml", text);
    // Other stories run in the same store: only what is of this one counts.
    let ours = Path::new("debian12-killed");

    kill_when(shared, "step 1/1");
    wait_until("all VMs to be gone", Duration::from_secs(10), || {
        processes_naming(ours).is_empty()
    });
    assert!(!shared.path("out-killed").exists());

    kill_when(shared, "compressing");
    let left: Vec<_> = walk(&shared.path("out-killed"));
    assert!(left.is_empty(), "half files: {left:?}");

    let last = shared.run(&["run", "killed.toml"]);
    assert_eq!(last.code, 0, "{}", last.all());
    let id = "debian12-2G-killed";
    assert_eq!(
        started(shared, &last),
        [format!("package/{id}"), format!("sums/{id}")],
        "{}",
        last.all()
    );
    tool(
        "sha512sum",
        &["--strict", "-c", "SHA512SUM.txt"],
        &shared.path("out-killed"),
    );
    tool(
        "gzip",
        &["-t", &format!("out-killed/{id}/{id}.qcow2.gz")],
        &shared.path(""),
    );
    let scratch = tool("find", &["store/scratch", "-name", "*killed*"], &shared.path(""));
    assert_eq!(scratch, "", "the next run sweeps what a killed one left");
}

/// Runs `killed.toml` and kills the program, as the system would, as soon as it says this.
fn kill_when(bench: &Bench, said: &str) {
    let mut command = bench.command(&["run", "killed.toml", "--progress", "plain"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut seen = String::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        seen.push_str(&line);
        seen.push('\n');
        if line.contains(said) {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(seen.contains(said), "it never said `{said}`:\n{seen}");
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path) } else { vec![path] }
        })
        .collect()
}

/// Turns the root file system of a bootable raw disk into btrfs, which nobody can grow while it is not mounted. The boot
/// loader that `grub-mkimage` makes can read it; the UUID stays.
const TO_BTRFS: &str = r#"set -eu
qemu-img convert -O raw "$1" theirs.raw
dd if=theirs.raw of=root.img bs=1M skip=1 conv=sparse status=none
echo "UUID=$(blkid -s UUID -o value root.img) / btrfs defaults 0 0" > fstab
debugfs -w -f - root.img 2>&1 <<END
rm /etc/fstab
write fstab /etc/fstab
rdump /usr/lib/grub/i386-pc .
END
e2fsck -fp root.img || [ $? -eq 1 ]
btrfs-convert --uuid copy root.img
grub-mkimage -O i386-pc -d i386-pc -p '(hd0,msdos1)/boot/grub' -o core.img biosdisk part_msdos btrfs
dd if=root.img of=theirs.raw bs=1M seek=1 conv=notrunc,sparse status=none
dd if=i386-pc/boot.img of=theirs.raw bs=440 count=1 conv=notrunc status=none
dd if=core.img of=theirs.raw bs=512 seek=1 conv=notrunc status=none
zstd -q --rm theirs.raw
rm -r root.img core.img i386-pc
"#;

/// The other way in: somebody's disk image with cloud-init, which here is one that we built before. Its root is btrfs, so
/// that each size of it is grown by booting it.
#[test]
fn a_disk_image_with_cloud_init_is_entered_by_a_seed_provisioned_and_grown_from_inside() {
    let story = quickstart(1);
    let shared = story.bench;
    let packages = "cloud-init fdisk btrfs-progs";
    let flavor = format!(
        "[flavors.cloud]\nsteps = [{{ run = \"guest/packages.sh\", env = {{ PACKAGES = \"{packages}\" }} }}]\n"
    );
    shared.write("cloud.toml", variant("cloud", &flavor));
    let ran = shared.run(&["run", "cloud.toml"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let id = "debian12-2G-cloud";
    let published = format!("out-cloud/{id}/{id}.qcow2");
    tool("sh", &["-c", TO_BTRFS, "sh", &published], &shared.path(""));
    let digest = tool("sha256sum", &["theirs.raw.zst"], &shared.path(""));
    let digest = digest.split(' ').next().unwrap();

    let grow = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/grow-root.sh")).unwrap();
    shared.write("grow.sh", grow);
    shared.write(
        "derived.toml",
        format!(
            r#"
[pipeline]
name   = "derived"
output = "out-derived"

[distros.theirs]
family  = "debian"
version = "12"
disk    = "3G"
source  = {{ disk = {{ path = "theirs.raw.zst", sha256 = "{digest}", access = "cloud-init", user = "debian" }} }}

[flavors.grown]
steps = [
  {{ inline = "id -un; sudo -u debian id -un", name = "who" }},
  {{ run = "grow.sh" }},
  {{ inline = "test $(df -B1 --output=size / | tail -n 1) -gt 2900000000", name = "has it grown" }},
]

[[images]]
distro = "theirs"
flavor = "grown"
sizes  = ["5G"]

[publish]
format   = "raw"
compress = "zstd"
"#
        ),
    );
    let ran = shared.run(&["run", "derived.toml", "--verbose"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    for expected in [
        "| debian",
        "size theirs-5G-grown: growing the file system from inside",
        "the root file system (btrfs) fills its partition",
    ] {
        assert!(ran.stderr.contains(expected), "no `{expected}` in\n{}", ran.all());
    }
    let raw = "out-derived/theirs-5G-grown/theirs-5G-grown.raw";
    tool(
        "zstd",
        &["-q", "-d", &format!("{raw}.zst"), "-o", "grown.raw"],
        &shared.path(""),
    );
    assert_eq!(fs::metadata(shared.path("grown.raw")).unwrap().len(), 5 << 30);
    let skip = format!("skip={}", PARTITION >> 20);
    tool(
        "dd",
        &[
            "if=grown.raw",
            "of=grown.btrfs",
            "bs=1M",
            &skip,
            "conv=sparse",
            "status=none",
        ],
        &shared.path(""),
    );
    tool(
        "btrfs",
        &["check", "--check-data-csum", "grown.btrfs"],
        &shared.path(""),
    );
    let facts = tool(
        "btrfs",
        &["inspect-internal", "dump-super", "grown.btrfs"],
        &shared.path(""),
    );
    let total = facts
        .lines()
        .find_map(|line| line.strip_prefix("total_bytes"))
        .unwrap();
    let total: u64 = total.trim().parse().unwrap();
    assert!(
        (5 << 30) - total < 4 << 20,
        "the root is only {total} bytes large"
    );
    // What the build brought along is gone, although the guest booted once more to be grown: its keys, and cloud-init's
    // memory of its seeds.
    fs::create_dir(shared.path("inside")).unwrap();
    // All of it would take minutes.
    let wanted = "^/(|home(|/.*)|root(|/.*)|usr(|/lib(|/os-release))|var(|/lib(|/cloud(|/.*))))$";
    tool(
        "btrfs",
        &["restore", "-S", "--path-regex", wanted, "grown.btrfs", "inside"],
        &shared.path(""),
    );
    for keys in ["home/debian/.ssh/authorized_keys", "root/.ssh/authorized_keys"] {
        let left = fs::read_to_string(shared.path("inside").join(keys)).unwrap_or_default();
        assert!(!left.contains("AAAA"), "a key is left in {keys}: {left}");
    }
    assert!(shared.path("inside/usr/lib/os-release").is_file());
    assert!(shared.path("inside/var/lib/cloud").is_dir());
    let remembered = shared.path("inside/var/lib/cloud/instances");
    let remembered: Vec<_> = remembered.read_dir().into_iter().flatten().collect();
    assert!(
        remembered.is_empty(),
        "cloud-init remembers its seeds: {remembered:?}"
    );
}

#[test]
fn steps_run_in_order_and_a_failed_one_shows_its_output_and_hides_secrets() {
    let story = quickstart(1);
    let shared = story.bench;
    shared.write("files/motd", "hello from the host\n");
    shared.write("files/deep/er/file", "deep\n");
    shared.write(
        "check.py",
        "#!/usr/bin/perl\nprint \"by perl: $ENV{GREETING}\\n\"; exit 4;\n",
    );
    // `raw` asks for no Python in the guest.
    let playbook =
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - raw: cat /etc/hostname > /root/by-ansible\n";
    shared.write("site/site.yml", playbook);
    let flavor = r#"[flavors.steps]
steps = [
  { copy = "files", to = "/srv/files", owner = "daemon:daemon" },
  { copy = "files/motd", to = "/etc/motd", mode = "0640" },
  { run = "check.py", env = { GREETING = "it's {{ timezone }}" }, exit_codes = [4] },
  { reboot = true },
  { ansible = "site/site.yml" },
  { inline = "grep -q debian12 /root/by-ansible && grep -q 'hello from the host' /etc/motd && stat -c '%a %U' /etc/motd /srv/files/deep/er/file", name = "look" },
  { inline = "echo the token is $TOKEN; echo $TOKEN > /root/kept; rm /root/kept; exit 3", env = { TOKEN = { env = "TEST_TOKEN" } }, name = "broken", retries = 1 },
]
"#;
    shared.write("steps.toml", variant("steps", flavor));
    let refused = shared.run(&["run", "steps.toml"]);
    assert_eq!(refused.code, 2, "{}", refused.all());
    assert!(refused.stderr.contains("TEST_TOKEN"), "{}", refused.all());

    let mut command = shared.command(&["run", "steps.toml", "--verbose"]);
    command.env("TEST_TOKEN", "s3cret-value-of-this-test");
    let ran = shared.finish(command);
    assert_eq!(ran.code, 1, "{}", ran.all());
    for expected in [
        "by perl: it's Etc/UTC",
        "640 root",
        "644 daemon",
        "attempt 2 of 2",
        "step `broken` exited with code 3",
        "the token is ***",
        "not started",
    ] {
        assert!(ran.stderr.contains(expected), "no `{expected}` in\n{}", ran.all());
    }
    assert!(!ran.all().contains("s3cret-value"), "{}", ran.all());
    let hits = std::process::Command::new("grep")
        .args(["-rlaF", "s3cret-value-of-this-test", "store", "out-steps"])
        .current_dir(shared.path(""))
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&hits.stdout),
        "",
        "a secret was written to disk"
    );
    assert!(!shared.path("out-steps").exists());
}
