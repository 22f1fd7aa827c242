//! Which line of a program's output says why it failed, and which kind of failure that is. Pure functions of a text.

use crate::verdict::Verdict;

/// Part of a line by which it is known.
struct Sign {
    /// Words of the line in this order, in lower case. What stands before the first of them is left out when it is shown.
    words: &'static [&'static str],
    verdict: Option<Verdict>,
}

const fn sign(words: &'static [&'static str], verdict: Verdict) -> Sign {
    let verdict = Some(verdict);
    Sign { words, verdict }
}

/// The same where the line is the cause, and its kind is that of whoever ran the program.
const fn plain(words: &'static [&'static str]) -> Sign {
    Sign { words, verdict: None }
}

/// What programs say, the most telling first: of apt (and mmdebstrap, which runs it), dnf, apk, pacman, zypper, dpkg,
/// qemu-img, ssh and Ansible.
const SIGNS: &[Sign] = &[
    sign(&["no space left on device"], Verdict::DiskFull),
    sign(&["you don't have enough free space in"], Verdict::DiskFull),
    // apt has tried the mirror's index before it says that there is none.
    sign(
        &["could not handshake", "an unexpected tls packet was received"],
        Verdict::PlainHttp,
    ),
    sign(&["certificate verification failed"], Verdict::Tls),
    sign(&["could not handshake"], Verdict::Tls),
    sign(&["could not resolve '"], Verdict::MirrorUnreachable),
    sign(&["temporary failure resolving '"], Verdict::MirrorUnreachable),
    sign(
        &["could not connect to ", " - connect ("],
        Verdict::MirrorUnreachable,
    ),
    sign(
        &["could not connect to ", "connection timed out"],
        Verdict::MirrorUnreachable,
    ),
    sign(&["unable to connect to "], Verdict::MirrorUnreachable),
    sign(
        &["cannot initiate the connection to "],
        Verdict::MirrorUnreachable,
    ),
    sign(&["curl error (6)"], Verdict::MirrorUnreachable),
    sign(&["curl error (7)"], Verdict::MirrorUnreachable),
    sign(&["401  unauthorized"], Verdict::AccessDenied),
    sign(&["403  forbidden"], Verdict::AccessDenied),
    sign(&["failed to fetch ", "404  not found"], Verdict::NotFound),
    sign(&["release file for ", " is expired"], Verdict::MirrorExpired),
    sign(&["release file for ", " is not valid yet"], Verdict::ClockWrong),
    sign(&["hash sum mismatch"], Verdict::DigestDiffers),
    sign(&["file has unexpected size"], Verdict::DigestDiffers),
    sign(&["the following signatures"], Verdict::BadSignature),
    sign(&["the repository '", "' is not signed"], Verdict::BadSignature),
    sign(&["no_pubkey"], Verdict::BadSignature),
    sign(
        &["the repository '", "' does not have a release file"],
        Verdict::NoSuchSuite,
    ),
    sign(&["unable to locate package "], Verdict::NoSuchPackage),
    sign(
        &["package '", "' has no installation candidate"],
        Verdict::NoSuchPackage,
    ),
    sign(&["unable to find a match: "], Verdict::NoSuchPackage),
    sign(&["no match for argument: "], Verdict::NoSuchPackage),
    sign(&["target not found: "], Verdict::NoSuchPackage),
    sign(&["no provider of '"], Verdict::NoSuchPackage),
    sign(&["", " (no such package):"], Verdict::NoSuchPackage),
    sign(&["dpkg: error processing "], Verdict::PackageFailed),
    sign(
        &["errors were encountered while processing"],
        Verdict::PackageFailed,
    ),
    sign(
        &["the following packages have unmet dependencies"],
        Verdict::PackageFailed,
    ),
    sign(&["image is not in ", " format"], Verdict::NotADiskImage),
    sign(&["failed to get ", " lock"], Verdict::InUse),
    sign(&["permission denied (publickey"], Verdict::KeyRefused),
    plain(&["host key verification failed"]),
    plain(&["connect to host ", "connection refused"]),
    plain(&["connect to host ", "timed out"]),
    plain(&["fatal: [", "unreachable! =>"]),
    plain(&["fatal: [", "failed! =>"]),
    plain(&["failed: [", " => "]),
];

/// How a line begins that reports an error in general; the mark is left out when it is shown.
const MARKS: [&str; 6] = [
    "e: ",
    "error: ",
    "error! ",
    "[error]: ",
    "fatal: ",
    "fatal error: ",
];
/// Lines that only say that something failed.
const EMPTY_TALK: [&str; 6] = [
    "e: apt-get ",
    "e: setup failed",
    "e: mmdebstrap failed to run",
    "e: some index files failed to download",
    "e: sub-process ",
    "e: failed to fetch",
];
/// What apt adds to a server's answer.
const ADDRESS: &str = " [IP: ";
/// How lines of output are marked in our messages.
const QUOTED: &str = "| ";
/// What our messages say of a program, before its output is quoted.
const ENDED: &str = "exited with code ";
/// What is quoted of a console is no answer to anything.
const CONSOLE: &str = "last lines of the console";

/// A line that decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deciding {
    /// What it says, without marks.
    pub text: String,
    /// The kind of failure, where the line alone tells it.
    pub verdict: Option<Verdict>,
}

/// The line of an output that says why the program failed; none where no line looks like it.
pub fn deciding<'l>(lines: impl IntoIterator<Item = &'l str>) -> Option<Deciding> {
    ranked(lines).map(|(_, found)| found)
}

/// The same with its rank.
fn ranked<'l>(lines: impl IntoIterator<Item = &'l str>) -> Option<(usize, Deciding)> {
    let ranked = lines.into_iter().filter_map(|line| Some((rank(line)?, line)));
    // Of equal ones the first: what follows is mostly a consequence.
    let (rank, line) = ranked.min_by_key(|(rank, _)| *rank)?;
    let found = match SIGNS.get(rank) {
        Some(sign) => Deciding {
            text: shown(line, sign.words[0]),
            verdict: sign.verdict,
        },
        None => Deciding {
            text: unmarked(line),
            verdict: None,
        },
    };
    Some((rank, found))
}

/// Whether a line may say why a program failed: such lines are kept when an output is cut to its end.
pub fn may_decide(line: &str) -> bool {
    rank(line).is_some_and(|rank| rank < SIGNS.len())
}

/// The cause of a failure in one line, from its whole message: the deciding line of an output where one is quoted there,
/// else how the message begins.
pub fn cause(message: &str) -> String {
    let mut lines = message.lines();
    let head = lines.next().unwrap_or_default().trim();
    if !head.contains(ENDED) {
        return head.to_owned();
    }
    let lines = lines.take_while(|line| !line.contains(CONSOLE));
    let quoted: Vec<_> = lines
        .filter_map(|line| line.trim_start().strip_prefix(QUOTED))
        .filter(|line| !line.trim().is_empty())
        .collect();
    let step = head.strip_prefix("step `").and_then(|rest| rest.split_once('`'));
    let found = ranked(quoted.iter().copied()).map(|(rank, found)| (rank < SIGNS.len(), found.text));
    // Most programs say why they fail in the end.
    let found = found.or_else(|| Some((false, quoted.last()?.trim().to_owned())));
    // What was done belongs to a line that does not speak for itself.
    let doing = head.split(ENDED).next().and_then(|start| start.rsplit_once(": "));
    match (found, step, doing) {
        (None, ..) => head.to_owned(),
        (Some((_, found)), Some((step, _)), _) => format!("step `{step}`: {found}"),
        (Some((false, found)), None, Some((doing, _))) => format!("{doing}: {found}"),
        (Some((_, found)), None, _) => found,
    }
}

/// The lower, the more telling.
fn rank(line: &str) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    let of_sign = SIGNS.iter().position(|sign| {
        let mut rest = lower.as_str();
        sign.words.iter().all(|word| match rest.split_once(word) {
            Some((_, behind)) => {
                rest = behind;
                true
            }
            None => false,
        })
    });
    let begins = lower.trim_start();
    let is_error = || {
        MARKS.iter().any(|mark| begins.starts_with(mark))
            && !EMPTY_TALK.iter().any(|talk| begins.starts_with(talk))
    };
    of_sign.or_else(|| is_error().then_some(SIGNS.len()))
}

/// The line from this word on; of what Ansible reports its message.
fn shown(line: &str, from: &str) -> String {
    if let Some((_, json)) = line.split_once(" => ")
        && let Ok(report) = serde_json::from_str::<serde_json::Value>(json)
        && let Some(text) = report.get("msg").and_then(serde_json::Value::as_str)
    {
        return text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    let start = line.to_ascii_lowercase().find(from).unwrap_or_default();
    let text = line.get(start..).unwrap_or(line);
    let text = text.split_once(ADDRESS).map_or(text, |(text, _)| text);
    text.trim().to_owned()
}

fn unmarked(line: &str) -> String {
    let line = line.trim();
    let lower = line.to_ascii_lowercase();
    let mark = MARKS.iter().find(|mark| lower.starts_with(**mark));
    mark.map_or(line, |mark| line[mark.len()..].trim_start())
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(output: &str) -> (String, Option<Verdict>) {
        let found = deciding(output.lines()).unwrap_or_else(|| panic!("nothing decides in\n{output}"));
        (found.text, found.verdict)
    }

    /// Outputs as they were seen, of mmdebstrap 1.3.5 with apt 2.6, and of qemu-img, ssh and Ansible on Debian 12; the line that
    /// decides, and the kind of failure.
    const SEEN: &[(&str, &str, Option<Verdict>)] = &[
        (
            "Ign:1 http://127.0.0.1:9/debian bookworm InRelease\n\
         Err:1 http://127.0.0.1:9/debian bookworm InRelease\n  \
         Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)\n\
         Reading package lists...\n\
         E: Failed to fetch http://127.0.0.1:9/debian/dists/bookworm/InRelease  Could not connect to 127.0.0.1:9 \
         (127.0.0.1). - connect (111: Connection refused)\n\
         E: Some index files failed to download. They have been ignored, or old ones used instead.\n\
         E: apt-get update --error-on=any -oAPT::Status-Fd=<$fd> -oDpkg::Use-Pty=false failed\n\
         I: main() received signal PIPE: waiting for setup...\n\
         E: mmdebstrap failed to run",
            "Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)",
            Some(Verdict::MirrorUnreachable),
        ),
        (
            "E: Failed to fetch http://no-such-host.invalid/debian/dists/bookworm/InRelease  Could not resolve \
         'no-such-host.invalid'\n\
         E: Some index files failed to download. They have been ignored, or old ones used instead.",
            "Could not resolve 'no-such-host.invalid'",
            Some(Verdict::MirrorUnreachable),
        ),
        (
            "Err:2 http://deb.example/debian bookwurm Release\n  404  Not Found [IP: 203.0.113.80 80]\n\
         Reading package lists...\n\
         E: The repository 'http://deb.example/debian bookwurm Release' does not have a Release file.\n\
         E: apt-get update --error-on=any -oAPT::Status-Fd=<$fd> -oDpkg::Use-Pty=false failed\n\
         E: mmdebstrap failed to run",
            "The repository 'http://deb.example/debian bookwurm Release' does not have a Release file.",
            Some(Verdict::NoSuchSuite),
        ),
        (
            "Building dependency tree...\nE: Unable to locate package sudoo\n\
         E: setup failed: E: apt-get -o Dir::Bin::dpkg=env --yes install sudoo failed\n\
         E: mmdebstrap failed to run",
            "Unable to locate package sudoo",
            Some(Verdict::NoSuchPackage),
        ),
        (
            "  Could not handshake: An unexpected TLS packet was received. [IP: 127.0.0.1 18333]\n\
         Reading package lists...",
            "Could not handshake: An unexpected TLS packet was received.",
            Some(Verdict::PlainHttp),
        ),
        (
            "  Certificate verification failed: The certificate is NOT trusted. The certificate issuer is unknown.  Could \
         not handshake: Error in the certificate verification. [IP: 203.0.113.80 443]",
            "Certificate verification failed: The certificate is NOT trusted. The certificate issuer is unknown.  Could \
         not handshake: Error in the certificate verification.",
            Some(Verdict::Tls),
        ),
        (
            "W: GPG error: http://deb.example/debian bookworm InRelease: The following signatures couldn't be verified \
         because the public key is not available: NO_PUBKEY 6ED0E7B82643E131\n\
         E: The repository 'http://deb.example/debian bookworm InRelease' is not signed.",
            "The following signatures couldn't be verified because the public key is not available: NO_PUBKEY \
         6ED0E7B82643E131",
            Some(Verdict::BadSignature),
        ),
        (
            "E: Release file for http://deb.example/debian/dists/sid/InRelease is expired (invalid since 4d 2h 3min 8s). \
         Updates for this repository will not be applied.",
            "Release file for http://deb.example/debian/dists/sid/InRelease is expired (invalid since 4d 2h 3min 8s). \
         Updates for this repository will not be applied.",
            Some(Verdict::MirrorExpired),
        ),
        (
            "dpkg: error processing package postfix (--configure):\n installed postfix package post-installation script \
         subprocess returned error exit status 1\nErrors were encountered while processing:\n postfix\n\
         E: Sub-process env returned an error code (1)",
            "dpkg: error processing package postfix (--configure):",
            Some(Verdict::PackageFailed),
        ),
        (
            "Error: Unable to find a match: sudoo",
            "Unable to find a match: sudoo",
            Some(Verdict::NoSuchPackage),
        ),
        (
            "error: target not found: sudoo",
            "target not found: sudoo",
            Some(Verdict::NoSuchPackage),
        ),
        (
            "ERROR: unable to select packages:\n  sudoo (no such package):\n    required by: world[sudoo]",
            "sudoo (no such package):",
            Some(Verdict::NoSuchPackage),
        ),
        (
            "qemu-img: Could not open 'noise.qcow2': Image is not in qcow2 format",
            "Image is not in qcow2 format",
            Some(Verdict::NotADiskImage),
        ),
        (
            "qemu-img: Could not open 'a.qcow2': Failed to get shared \"write\" lock\n\
         Is another process using the image [a.qcow2]?",
            "Failed to get shared \"write\" lock",
            Some(Verdict::InUse),
        ),
        (
            "qemu-img: /dev/full: error while converting qcow2: Could not write qcow2 header: No space left on device",
            "No space left on device",
            Some(Verdict::DiskFull),
        ),
        (
            "ssh: connect to host 127.0.0.1 port 9: Connection refused",
            "connect to host 127.0.0.1 port 9: Connection refused",
            None,
        ),
        (
            "TASK [get sudoo] ****\n\
         fatal: [guest]: FAILED! => {\"changed\": false, \"msg\": \"No package matching 'sudoo' is available\"}\n\
         PLAY RECAP ****\nguest : ok=0    changed=0    unreachable=0    failed=1    skipped=0",
            "No package matching 'sudoo' is available",
            None,
        ),
        (
            "fatal: [guest]: UNREACHABLE! => {\"changed\": false, \"msg\": \"Failed to connect to the host via ssh: ssh: \
         connect to host 127.0.0.1 port 9: Connection refused\", \"unreachable\": true}",
            "Failed to connect to the host via ssh: ssh: connect to host 127.0.0.1 port 9: Connection refused",
            None,
        ),
        (
            "ERROR! the role 'nosuch' was not found in /srv/roles:/etc/ansible/roles\n\n\
         The error appears to be in '/srv/q.yml': line 3, column 11, but may",
            "the role 'nosuch' was not found in /srv/roles:/etc/ansible/roles",
            None,
        ),
        (
            "make: nothing\nerror: linker `cc` not found\nmake: *** [all] Error 2",
            "linker `cc` not found",
            None,
        ),
    ];

    #[test]
    fn the_deciding_line_of_each_program_is_found() {
        for (output, text, verdict) in SEEN {
            assert_eq!(found(output), ((*text).to_owned(), *verdict), "{output}");
        }
        assert_eq!(deciding("Setting up vim ...\nW: some warning".lines()), None);
    }

    #[test]
    fn the_cause_of_a_message_is_one_line_that_says_why() {
        for (message, expected) in [
            (
                "installing packages: `mmdebstrap` exited with code 25\n  | Building dependency tree...\n  | E: Unable to locate \
                 package sudoo\n  | E: mmdebstrap failed to run",
                "Unable to locate package sudoo",
            ),
            (
                "step `packages.sh` exited with code 100\n  | Reading package lists...\n  | E: Unable to locate package vmi",
                "step `packages.sh`: Unable to locate package vmi",
            ),
            (
                "step `site.sh` exited with code 3\n  | copying\n  | the licence server does not answer\n  | ",
                "step `site.sh`: the licence server does not answer",
            ),
            (
                "step `site.sh` did not end within 30m\n  | copying",
                "step `site.sh` did not end within 30m",
            ),
            (
                "the guest's kernel panicked: Kernel panic - not syncing: VFS\n  last lines of the console:\n  | Booting",
                "the guest's kernel panicked: Kernel panic - not syncing: VFS",
            ),
            (
                "the machine ended too early: qemu exited with code 0\n  last lines of the console:\n  | error: no such thing",
                "the machine ended too early: qemu exited with code 0",
            ),
            (
                "qemu did not start: it exited with code 1\n  last lines of the stderr:\n  | qemu-system-x86_64: cannot set up \
                 guest memory 'pc.ram': Cannot allocate memory",
                "qemu did not start: qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory",
            ),
            (
                "the signature of the checksum file SUMS is not good: `gpgv` exited with code 2\n  | gpgv: Signature made Sat\n  \
                 | gpgv: Can't check signature: No public key\n  is the keyring the publisher's?",
                "the signature of the checksum file SUMS is not good: gpgv: Can't check signature: No public key",
            ),
            ("", ""),
        ] {
            assert_eq!(cause(message), expected);
        }
    }
}
