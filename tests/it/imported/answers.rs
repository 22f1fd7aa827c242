//! What answers of a template's own become: what they meant is there, and no password.

use super::{DEBIAN, NOBLE, ROCKY, has, house, imported, lacks, undecided};
use crate::support::Bench;

#[test]
fn a_preseed_means_what_it_meant() {
    let bench = Bench::new();
    let source = format!(
        "{DEBIAN}  http_directory = \"http\"\n  boot_command = [\"<esc>auto url=http://{{{{ .HTTPIP }}}}:{{{{ .HTTPPort }}}}/p.cfg<enter>\"]\n"
    );
    bench.write("a.pkr.hcl", house(&source, ""));
    let start = "d-i passwd/username string ann\n# password: lily\nd-i passwd/user-password password lily\n";
    bench.write(
        "http/p.cfg",
        format!("{start}d-i passwd/root-login boolean false\n"),
    );
    let (manifest, _) = imported(&bench, &["a.pkr.hcl"]);
    has(
        &manifest,
        &["sudo = false", "groups = [\"sudo\"]", "recommends = true"],
    );
    let rendered = bench.run(&["render", "images.toml"]).stdout;
    has(
        &rendered,
        &["install-recommends boolean true", "usermod -a -G sudo ann"],
    );
    lacks(&rendered, &["NOPASSWD", "lily"]);

    let more = "d-i base-installer/install-recommends boolean false\nd-i mirror/http/proxy string http://proxy.example:3128\n\
                d-i other/secret password lily\nd-i preseed/late_command string in-target touch /x; echo ann:lily | chpasswd; \
                cp k /target/root/.ssh/authorized_keys\n";
    bench.write("http/p.cfg", format!("{start}{more}"));
    let report = undecided(&bench, &["a.pkr.hcl"], "todo_password");
    let answers = bench.read("p.cfg.j2");
    has(
        &answers,
        &[
            "d-i mirror/http/proxy string http://proxy.example:3128",
            "d-i other/secret password {{ todo_password }}",
            "echo ann:{{ todo_password }} | chpasswd",
            "|| echo '{{ build_key }}' >> /target/root/.ssh/authorized_keys",
        ],
    );
    lacks(&(answers + &report + &bench.read("images.toml")), &["lily"]);

    // What is no longer encrypted has to be decided; a plain partition in place of volumes is reported.
    bench.write(
        "http/p.cfg",
        format!("{start}d-i partman-auto/method string crypto\n"),
    );
    has(
        &undecided(&bench, &["a.pkr.hcl"], "todo_encryption"),
        &["the disk was encrypted"],
    );
    bench.write(
        "http/p.cfg",
        format!("{start}d-i partman-auto/method string lvm\n"),
    );
    let (manifest, report) = imported(&bench, &["a.pkr.hcl"]);
    has(
        &report,
        &["To do:", "partman-auto/method lvm the disk had logical volumes"],
    );
    has(&manifest, &["recommends = true"]);

    // Nothing but the answers is served.
    let fetch = "d-i preseed/late_command string wget -O /target/x http://10.0.2.2:8000/more.sh\n";
    bench.write("http/p.cfg", format!("{start}{fetch}"));
    bench.write("http/more.sh", "");
    let (manifest, _) = imported(&bench, &["a.pkr.hcl"]);
    has(&manifest, &["the answers name more.sh of it", "name = \"TODO\""]);

    // Root's password is set by a step, where root had one.
    let root = "d-i passwd/root-password-crypted password $6$lily\n";
    bench.write("http/p.cfg", format!("{start}{root}"));
    let (manifest, report) = imported(&bench, &["a.pkr.hcl"]);
    has(&manifest, &["name = \"password of root\""]);
    has(
        &report,
        &["http/p.cfg:4 passwd/root-password-crypted a password of root's"],
    );
    for none in [
        "d-i passwd/root-login boolean false\n",
        "d-i passwd/root-password-crypted password !\n",
    ] {
        let root = root.replace("$6$lily", if none.contains('!') { "*" } else { "$6$lily" });
        bench.write("http/p.cfg", format!("{start}{root}{none}"));
        lacks(&imported(&bench, &["a.pkr.hcl"]).0, &["password of root"]);
    }
}

#[test]
fn a_kickstart_is_read_as_anaconda_reads_it() {
    let bench = Bench::new();
    bench.write(
        "a.pkr.hcl",
        house(&format!("{ROCKY}  ssh_username = \"ann\"\n"), ""),
    );
    bench.write(
        "http/ks.cfg",
        "lang fr_FR.UTF-8\nkeyboard --xlayouts='fr (oss)'\ntimezone --utc Europe/Paris # here\n\
         user --name ann --groups docker,wheel --shell /bin/zsh --uid=1500 --password lily\n\
         bootloader --append \"elevator=noop quiet\"\nfirewall --enabled --service=ssh,http\n\
         sshkey --username=root \"ssh-ed25519 AAAA ann@desk\"\nurl --url=http://mirror.example/os --proxy=http://p.example:3128\n\
         %packages\nvim\n%end\n%post\necho root:lily | chpasswd\n%end\n",
    );
    undecided(&bench, &["a.pkr.hcl"], "todo_password");
    let answers = bench.read("house-ks.cfg.j2");
    has(
        &answers,
        &[
            "keyboard --xlayouts='fr (oss)'",
            "url --url=http://mirror.example/os --proxy=http://p.example:3128",
            "echo 'ssh-ed25519 AAAA ann@desk' >> /root/.ssh/authorized_keys",
            "echo root:{{ todo_password }} | chpasswd",
        ],
    );
    bench.write(
        "house-ks.cfg.j2",
        answers.replace("echo root:{{ todo_password }} | chpasswd\n", ""),
    );
    let rendered = bench.run(&["render", "images.toml"]);
    has(
        &rendered.stdout,
        &[
            "user --name=ann --gecos=\"ann\" --groups=docker,wheel --shell=/bin/zsh --uid=1500 --",
            "firewall --enabled --service=ssh,http\n",
            "timezone Europe/Paris --utc",
            "elevator=noop",
            "%packages\n@core\nopenssh-server\nsudo\nvim\n%end",
        ],
    );
    lacks(&rendered.stdout, &["lily", "NOPASSWD", "--groups=wheel"]);

    // Lines of one command; a file that is not there to be read; another account.
    bench.write(
        "http/ks.cfg",
        "%pre\necho > /tmp/disk.ks\n%end\n%include /tmp/disk.ks\nrootpw --plaintext lily\nnetwork --bootproto=static --ip=10.1.2.3\n\
         user --name=bob --groups=backup --password=lily\nuser --name=ann --password=lily\nreboot\n%packages\n%end\n",
    );
    let report = undecided(&bench, &["a.pkr.hcl"], "todo_include");
    has(
        &report,
        &[
            "%include /tmp/disk.ks another file",
            "network a fixed address",
            "rootpw a password of root's; the first step sets it",
        ],
    );
    let answers = bench.read("house-ks.cfg.j2");
    has(
        &answers,
        &["user --name=bob --groups=backup --password={{ todo_password }}\n"],
    );
    let manifest = bench.read("images.toml");
    has(
        &manifest,
        &["name = \"password of root\", env = { ROOT_PASSWORD = { env = \"ROOT_PASSWORD\" } } },\n]"],
    );
    lacks(&(answers + &report + &manifest), &["lily", "reboot\n"]);
}

#[test]
fn an_autoinstall_keeps_its_logins_its_network_and_its_commands() {
    let bench = Bench::new();
    bench.write("a.pkr.hcl", house(NOBLE, ""));
    bench.write("http/meta-data", "");
    let start = "#cloud-config\nautoinstall:\n  version: 1\n  identity: {hostname: h, username: ann, password: \"$6$lily\"}\n";
    bench.write(
        "http/user-data",
        format!(
            "{start}  ssh: {{install-server: true, allow-pw: false, authorized-keys: [\"ssh-ed25519 AAAA ann@desk\"]}}\n  \
             network: {{version: 2, ethernets: {{enp1s0: {{addresses: [10.0.0.5/24]}}}}}}\n  \
             apt: {{conf: \"APT::Install-Recommends 0;\"}}\n  late-commands: [\"echo a > /target/etc/a\", [touch, /b]]\n  \
             error-commands: [tar czf /tmp/x /var/log]\n"
        ),
    );
    let (manifest, report) = imported(&bench, &["a.pkr.hcl"]);
    has(
        &manifest,
        &[
            "sudo = false",
            "password_logins = false",
            "authorized_keys = [\"ssh-ed25519 AAAA ann@desk\"]",
        ],
    );
    has(
        &report,
        &[
            "network a fixed address",
            "storage not said: the installer made logical volumes",
        ],
    );
    let rendered = bench.run(&["render", "images.toml"]).stdout;
    has(
        &rendered,
        &[
            "allow-pw: false\n    authorized-keys: [\"ssh-ed25519 AAAA ann@desk\"]",
            "    - \"echo a > /target/etc/a\"\n    - [\"touch\", \"/b\"]\n",
            "  apt: {conf: \"APT::Install-Recommends 0;\"}",
        ],
    );
    lacks(&rendered, &["tar czf", "NOPASSWD", "lily"]);
    bench.write(
        "http/user-data",
        format!("{start}  storage: {{layout: {{name: lvm, password: lily}}}}\n"),
    );
    has(
        &undecided(&bench, &["a.pkr.hcl"], "todo_encryption"),
        &["the disk was encrypted"],
    );

    // The one release with two installers, and its other one.
    bench.write("http/user-data", start);
    bench.write("a.pkr.hcl", house(&NOBLE.replace("24.04.2", "20.04.6"), ""));
    let (manifest, _) = imported(&bench, &["a.pkr.hcl"]);
    has(&manifest, &["version = \"20.04-live\""]);
    has(&bench.run(&["render", "images.toml"]).stdout, &["autoinstall:\n"]);
}
