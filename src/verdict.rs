//! The kinds of failure: one row for each, with the words that people and programs read, and what to do where that follows
//! from the kind alone. `docs/reliability.md` tells them apart.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Declares the kinds: documentation, name, words, and a remedy where there is one.
macro_rules! verdicts {
    ($($(#[$meta:meta])+ $name:ident = $words:literal $(, $remedy:literal)?;)+) => {
        /// Why a node failed, in a word or a few. Programs may rely on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Verdict {
            $($(#[$meta])+ $name,)+
        }

        impl Verdict {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            fn words(self) -> &'static str {
                match self {
                    $(Self::$name => $words,)+
                }
            }

            /// What to do, where the kind alone says it; else empty.
            pub fn remedy(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("" $(, $remedy)?),)+
                }
            }
        }
    };
}

verdicts! {
    /// A server does not let us in: it wants other credentials.
    AccessDenied = "access denied";
    /// Packages are not signed by a key that the host, the manifest or the guest trusts.
    BadSignature = "bad signature",
        "install the keyring of this distribution (`pipeline doctor` names the package), or use a mirror that is signed by a \
         key of it";
    /// A bug of ours: the node panicked, or its process crashed.
    Bug = "bug";
    /// The booted image is not what the manifest promises.
    CheckFailed = "check failed";
    /// The clock of this host is behind.
    ClockWrong = "clock wrong", "set the clock of this host";
    /// The bytes are not those that were expected.
    DigestDiffers = "digest differs";
    /// A file system of the host is full.
    DiskFull = "disk full";
    /// The machine ended while the guest was still needed.
    GuestDied = "guest died";
    /// The guest's own kernel killed processes for lack of memory.
    GuestOutOfMemory = "guest out of memory";
    /// The host ran out of memory, and its kernel killed the machine or the process of the node.
    HostOutOfMemory = "host out of memory";
    /// Another program uses the file.
    InUse = "in use", "end the program that uses the file, and run again";
    /// The installer said that it failed, or its machine ended before it had finished.
    InstallerFailed = "installer failed";
    /// The guest's kernel panicked.
    KernelPanic = "kernel panic";
    /// sshd answers and does not take the build's key.
    KeyRefused = "key refused";
    /// The process of the node was killed from outside.
    Killed = "killed";
    /// The index of a mirror is too old to be trusted.
    MirrorExpired = "mirror expired", "use a mirror that is up to date (`mirror` of the distro)";
    /// A mirror of packages cannot be reached.
    MirrorUnreachable = "mirror unreachable", "check `mirror` of the distro, and the network of this host";
    /// The installer never asked for its answers.
    NeverAsked = "never asked";
    /// Nothing started: firmware or boot loader found nothing, or no kernel ever said anything.
    NeverBooted = "never booted";
    /// The guest's network never answered.
    NoNetwork = "no network";
    /// The guest did not restart when it was asked to.
    NoReboot = "no reboot";
    /// A secret is not set.
    NoSecret = "no secret";
    /// The distribution has no package of this name.
    NoSuchPackage = "no such package", "check the name of the package, and that the sources (`components` of the distro) have it";
    /// The mirror does not have the suite.
    NoSuchSuite = "no such suite", "check `suite` and `mirror` of the distro";
    /// A file is not an ISO image that can be read.
    NotAnIsoImage = "not an ISO image";
    /// A file is not a disk image that can be read.
    NotADiskImage = "not a disk image";
    /// The server has no such file.
    NotFound = "not found";
    /// None of the others; the message tells.
    Other = "other";
    /// A package could not be installed or configured.
    PackageFailed = "package failed";
    /// This user may not use a file.
    PermissionDenied = "permission denied";
    /// An https:// address where plain HTTP is spoken.
    PlainHttp = "plain http", "write http:// instead of https://, or the port of its TLS";
    /// A playbook failed.
    PlaybookFailed = "playbook failed";
    /// The guest is on the network and its port 22 is closed.
    PortClosed = "port closed";
    /// A proxy did not do what it was asked for.
    Proxy = "proxy";
    /// qemu did not start.
    QemuFailed = "qemu failed";
    /// The guest waits in a rescue shell for a person at its console.
    RescueShell = "rescue shell";
    /// A server answers with an error of its own.
    ServerError = "server error";
    /// A server of media, or one to publish to, cannot be reached.
    ServerUnreachable = "server unreachable";
    /// Neither console nor disk moved for too long.
    Silence = "silence";
    /// A step exited with a code that it must not exit with, or took too long, and no package manager was to blame.
    StepFailed = "step failed";
    /// The installer waits at a prompt that will not be answered.
    StuckAtPrompt = "stuck at prompt";
    /// Something still moved, and took longer than it may.
    TimedOut = "timed out";
    /// A certificate, or the TLS of a server, is not acceptable.
    Tls = "tls";
    /// What is in the image is larger than the image is to be.
    TooSmall = "too small";
    /// A program of the host failed.
    ToolFailed = "tool failed";
    /// A program that is needed is not installed.
    ToolMissing = "tool missing";
    /// The guest powered itself off while it was worked on.
    UnexpectedPowerOff = "unexpected power off";
    /// The guest restarted while it was worked on, and the pipeline did not order that.
    UnexpectedRestart = "unexpected restart";
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}
