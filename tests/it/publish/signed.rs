//! Lists of what is published are signed, and verified by the programs that everybody has.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{LARGE, SMALL, bench, file, manifest, noise, package, says, well};
use crate::support::{Bench, Ran, tool};

const PASSWORD: &str = "correct horse";
const IDENTITY: &str = "images@house.example";

/// Keys of all three kinds below `keys/`, with their public halves.
struct Keys {
    fingerprint: String,
    /// The exported secret key of OpenPGP.
    exported: String,
}

fn gpg(bench: &Bench, folder: &str) -> Command {
    let mut command = Command::new("gpg");
    command
        .args([
            "--batch",
            "--quiet",
            "--no-tty",
            "--pinentry-mode",
            "loopback",
            "--homedir",
        ])
        .arg(bench.path(&format!("{folder}/gnupg")));
    command
}

fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Keys {
    /// The OpenPGP key has this password.
    fn make(bench: &Bench, folder: &str, password: &str) -> Self {
        let keys = bench.path(folder);
        std::fs::create_dir_all(keys.join("gnupg")).unwrap();
        tool("chmod", &["700", "gnupg"], &keys);
        succeeds(gpg(bench, folder).args([
            "--passphrase",
            password,
            "--quick-gen-key",
            "Images <images@house.example>",
            "ed25519",
            "sign",
            "never",
        ]));
        let listed = succeeds(gpg(bench, folder).args(["--with-colons", "--list-secret-keys"]));
        let fingerprint = listed
            .lines()
            .find_map(|line| line.strip_prefix("fpr:::::::::"))
            .unwrap();
        let exported =
            succeeds(gpg(bench, folder).args(["--passphrase", password, "--armor", "--export-secret-keys"]));
        succeeds(
            gpg(bench, folder)
                .arg("--output")
                .arg(keys.join("house.gpg"))
                .arg("--export"),
        );
        tool(
            "ssh-keygen",
            &["-q", "-t", "ed25519", "-N", "", "-C", IDENTITY, "-f", "ssh"],
            &keys,
        );
        let public = bench.read(&format!("{folder}/ssh.pub"));
        bench.write(
            &format!("{folder}/allowed_signers"),
            format!("{IDENTITY} {public}"),
        );
        tool(
            "minisign",
            &["-G", "-W", "-p", "minisign.pub", "-s", "minisign.key"],
            &keys,
        );
        Self {
            fingerprint: fingerprint.trim_end_matches(':').to_owned(),
            exported,
        }
    }
}

/// Asserts that a list in the output folder has all three signatures, by other people's programs.
fn is_signed(bench: &Bench, list: &str) {
    let out = bench.path("out");
    let keys = bench.path("keys");
    let at = |name: &str| keys.join(name).display().to_string();
    tool(
        "gpgv",
        &["--keyring", &at("house.gpg"), &format!("{list}.asc"), list],
        &out,
    );
    // The line of the README.
    let script = format!(
        "ssh-keygen -Y verify -f {} -I {IDENTITY} -n file -s {list}.sig < {list}",
        at("allowed_signers")
    );
    tool("sh", &["-c", &script], &out);
    tool(
        "minisign",
        &[
            "-V",
            "-p",
            &at("minisign.pub"),
            "-x",
            &format!("{list}.minisig"),
            "-m",
            list,
        ],
        &out,
    );
}

fn run(bench: &Bench, args: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = bench.command(args);
    command.envs(env.iter().copied());
    bench.finish(command)
}

#[test]
fn lists_are_signed_by_keys_of_all_three_kinds_and_verified_by_their_own_programs() {
    const SHARE: &str = "[publish.directory]\npath = \"share\"\n";
    let bench = bench(SHARE, 10_000);
    std::fs::create_dir(bench.path("share")).unwrap();
    let keys = Keys::make(&bench, "keys", "");
    well(&bench.run(&["run", "m.toml"]));
    let lists = ["SHA512SUM.txt", "MD5SUM.txt"];
    let plain = lists.map(|list| bench.read(&format!("out/{list}")));

    let sign = "[publish]\nsign = [\n\
        { openpgp = { env = \"RELEASE_KEY\" }},\n\
        { ssh = { file = \"keys/ssh\" } },\n\
        { minisign = { file = \"keys/minisign.key\" } },\n]\n";
    bench.write("m.toml", manifest(&format!("{sign}{SHARE}")));
    let env = [("RELEASE_KEY", keys.exported.as_str())];
    let signed = run(&bench, &["run", "m.toml"], &env);
    well(&signed);
    lists.iter().for_each(|list| is_signed(&bench, list));
    assert_eq!(
        lists.map(|list| bench.read(&format!("out/{list}"))),
        plain,
        "what is signed stays as it is"
    );
    let again = run(&bench, &["run", "m.toml"], &env);
    well(&again);
    says(&again, &["nothing to do"]);

    // The catalog is signed by what publishes, which builds nothing.
    assert!(!bench.path("out/index.json").exists());
    let uploaded = run(&bench, &["upload", "m.toml"], &env);
    well(&uploaded);
    is_signed(&bench, "index.json");
    let signature = bench.read("out/index.json.asc");
    well(&run(&bench, &["upload", "m.toml"], &env));
    assert_eq!(
        bench.read("out/index.json.asc"),
        signature,
        "one that did not change is not signed again"
    );

    // Whoever changes a list signs it, and a signature that was touched is made again.
    package(&bench, LARGE, &noise(10_000, 7));
    well(&run(&bench, &["run", "m.toml", "--size", "20G"], &env));
    lists.iter().for_each(|list| is_signed(&bench, list));
    bench.write("out/MD5SUM.txt.sig", "no signature");
    std::fs::remove_file(bench.path("out/SHA512SUM.txt.minisig")).unwrap();
    let repaired = run(&bench, &["run", "m.toml", "--size", "3G"], &env);
    well(&repaired);
    lists.iter().for_each(|list| is_signed(&bench, list));

    // Nothing of the keys is anywhere but in their own files.
    let secret = |text: &str, line: usize| text.lines().nth(line).unwrap().to_owned();
    let needles = [
        secret(&keys.exported, 3),
        secret(&bench.read("keys/ssh"), 1),
        secret(&bench.read("keys/minisign.key"), 1),
    ];
    for needle in needles {
        let found = Command::new("grep")
            .args(["-rlF", "--", &needle, "store", "out", "share"])
            .current_dir(bench.path(""))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "");
        for ran in [&signed, &again, &uploaded, &repaired] {
            assert!(!ran.all().contains(&needle));
        }
    }
}

/// An agent of OpenSSH, until it is dropped.
struct Agent(Child);

impl Agent {
    fn start(socket: &Path) -> Self {
        let child = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !socket.exists() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Self(child)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn keys_of_agents_sign_and_what_cannot_sign_is_refused_before_any_work() {
    let bench = bench("", 1000);
    let keys = Keys::make(&bench, "keys", "");
    let locked = Keys::make(&bench, "locked", PASSWORD);
    let home = bench.path("keys/gnupg").display().to_string();
    let socket = bench.path("agent");
    let agent = Agent::start(&socket);
    let socket = socket.display().to_string();
    let env = [("GNUPGHOME", home.as_str()), ("SSH_AUTH_SOCK", &socket)];
    let sign = |signers: &str, env: &[(&str, &str)]| {
        bench.write(
            "m.toml",
            manifest(&format!("[publish]\nprovenance = true\nsign = [{signers}]\n")),
        );
        run(&bench, &["run", "m.toml", "--size", "3G"], env)
    };

    // What is not there, not right or not installed.
    tool(
        "ssh-keygen",
        &["-q", "-t", "ed25519", "-N", "secret", "-f", "locked"],
        &bench.path("keys"),
    );
    let unknown = "F".repeat(40);
    let exported = [("RELEASE_KEY", keys.exported.as_str())];
    let nowhere = [("PATH", "/nonexistent"), ("PIPELINE_SBIN", "/nonexistent")];
    /// A key as the manifest has it, the environment, and what is said.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 9] = [
        (
            &format!("{{ openpgp = \"{unknown}\" }}"),
            &env,
            &format!("gpg has no secret key {unknown}"),
        ),
        (
            "{ openpgp = { env = \"RELEASE_KEY\" } }",
            &[],
            "the environment variable `RELEASE_KEY` is not set",
        ),
        (
            "{ openpgp = { file = \"keys/ssh\" } }",
            &[],
            "gpg cannot read the secret key of `openpgp`",
        ),
        (
            "{ openpgp = { env = \"RELEASE_KEY\" }, password = { env = \"RELEASE_PASSWORD\" } }",
            &[
                ("RELEASE_KEY", locked.exported.as_str()),
                ("RELEASE_PASSWORD", "wrong"),
            ],
            "gpg cannot sign with the secret key of `openpgp`",
        ),
        (
            "{ ssh = \"keys/ssh.pub\" }",
            &env,
            "the SSH agent does not have the key",
        ),
        (
            "{ ssh = { file = \"keys/locked\" } }",
            &[],
            "one with a password must be in the SSH agent",
        ),
        (
            "{ minisign = { file = \"keys/ssh\" } }",
            &[],
            "minisign cannot sign with the key",
        ),
        (
            "{ minisign = { file = \"keys/minisign.key\" } }",
            &nowhere,
            "this host lacks minisign",
        ),
        (
            "{ openpgp = { env = \"RELEASE_KEY\" } }, { ssh = \"keys/absent.pub\" }",
            &exported,
            "could not read the public key",
        ),
    ];
    for (signers, env, expected) in cases {
        let ran = sign(signers, env);
        assert!((2..=3).contains(&ran.code), "{signers}: {}", ran.all());
        says(&ran, &[expected]);
        assert!(!bench.path("out").exists(), "{signers}: {}", ran.all());
    }

    // With the agents, nothing but public keys is named.
    tool(
        "sh",
        &[
            "-c",
            &format!("SSH_AUTH_SOCK={socket} ssh-add -q keys/ssh && mv keys/ssh keys/hidden"),
        ],
        &bench.path(""),
    );
    let by = format!(
        "{{ openpgp = \"{}\" }}, {{ ssh = \"keys/ssh.pub\" }}, {{ minisign = {{ file = \"keys/minisign.key\" }} }}",
        keys.fingerprint
    );
    well(&sign(&by, &env));
    is_signed(&bench, "SHA512SUM.txt");
    tool(
        "sha512sum",
        &["--check", "--strict", "SHA512SUM.txt"],
        &bench.path("out"),
    );
    let provenance = bench.read(&format!("out/{}.intoto.jsonl", file(SMALL)));
    assert_eq!(provenance.matches("\"keyid\"").count(), 2, "{provenance}");
    let verified = bench.run(&["verify", "out", "--key", "keys/ssh.pub", "keys/minisign.pub"]);
    well(&verified);
    let by = "signed by images@house.example (SSH ED25519 key SHA256:";
    assert!(
        verified.stdout.contains("says how it was made"),
        "{}",
        verified.all()
    );
    assert!(verified.stdout.contains(by), "{}", verified.all());
    assert!(bench.path(&format!("out/{}", file(SMALL))).is_file());
    drop(agent);

    // A key with a password signs with it.
    let env = [
        ("RELEASE_KEY", locked.exported.as_str()),
        ("RELEASE_PASSWORD", PASSWORD),
    ];
    let ran = sign(
        "{ openpgp = { env = \"RELEASE_KEY\" }, password = { env = \"RELEASE_PASSWORD\" } }",
        &env,
    );
    well(&ran);
    let keyring = bench.path("locked/house.gpg").display().to_string();
    tool(
        "gpgv",
        &["--keyring", &keyring, "SHA512SUM.txt.asc", "SHA512SUM.txt"],
        &bench.path("out"),
    );
    let found = Command::new("grep")
        .args(["-rlF", PASSWORD, "store", "out"])
        .current_dir(bench.path(""))
        .output()
        .unwrap();
    assert_eq!(
        (
            String::from_utf8_lossy(&found.stdout).as_ref(),
            ran.all().contains(PASSWORD)
        ),
        ("", false)
    );
    tool("gpgconf", &["--homedir", &home, "--kill", "all"], &bench.path(""));
}

#[test]
fn signers_that_make_no_sense_are_shown_at_their_places() {
    let bench = bench("", 10);
    bench.write("key", "a key");
    let sign = "[publish]\nsign = [\n{ openpgp = \"DEADBEEF\" },\n{ ssh = { file = \"key\" } },\n{ ssh = { file = \"key\" } },\n\
        { ssh = { file = \"key\" }, password = { file = \"key\" } },\n{ minisign = \"key\" },\n{ gpg = \"key\" },\n]\n";
    bench.write("m.toml", manifest(sign));
    let ran = bench.run(&["validate", "m.toml"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    says(
        &ran,
        &[
            "`DEADBEEF` is no fingerprint of an OpenPGP key",
            "`ssh` is there twice, and both would write the same `.sig` files",
            "`password`",
            "`publish.sign[4].minisign`",
            "`gpg`",
        ],
    );
}
