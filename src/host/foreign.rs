//! Programs of another architecture: how this host runs them. QEMU's user-mode emulation interprets them, and the kernel
//! starts it by a handler (binfmt_misc): the host's, or one that a namespace has to itself.

use std::fs;
use std::path::{Path, PathBuf};

use super::facts::Obstacle;
use super::tools::{self, Version};

const HANDLERS: &str = "/proc/sys/fs/binfmt_misc";
/// Since this kernel a user namespace can have handlers of its own.
const OWN_HANDLERS: Version = Version(6, 7);

/// A way in which the host runs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// A handler is registered, by this interpreter.
    Registered(PathBuf),
    /// A namespace can register this one.
    Own(Handler),
}

/// What starts an interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handler {
    pub(super) interpreter: PathBuf,
    pub(super) elf_machine: u8,
}

impl Foreign {
    pub fn interpreter(&self) -> &Path {
        match self {
            Self::Registered(path) => path,
            Self::Own(handler) => &handler.interpreter,
        }
    }
}

impl Handler {
    /// The line that registers it (binfmt-misc in the kernel's administrator guide): programs of 64 bits, little-endian, by
    /// the beginning of their ELF header. Which ABI of the system they name does not matter, nor whether they can lie anywhere
    /// in memory. `F` opens the interpreter at once, as it is not in the root file systems that its programs see.
    pub(super) fn registration(&self) -> String {
        let zeros = |count: usize| "\\x00".repeat(count);
        let ones = |count: usize| "\\xff".repeat(count);
        format!(
            ":pipeline:M::\\x7fELF\\x02\\x01\\x01{}\\x02\\x00\\x{:02x}\\x00:{}\\x00{}\\xfe{}:{}:F",
            zeros(9),
            self.elf_machine,
            ones(7),
            ones(8),
            ones(3),
            self.interpreter.display(),
        )
    }
}

/// How this host runs the programs of a processor, of which `elf_machine` is the number in their headers.
///
/// # Errors
/// [`Obstacle`]: it does not.
pub fn find(processor: &str, elf_machine: u8) -> Result<Foreign, Obstacle> {
    let handlers = fs::read_dir(HANDLERS).into_iter().flatten().flatten();
    let mut texts = handlers.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    if let Some(interpreter) = texts.find_map(|text| interpreter(&text, elf_machine)) {
        return Ok(Foreign::Registered(interpreter));
    }
    let program = format!("qemu-{processor}-static");
    let none = format!("no handler of binfmt_misc runs the programs of {processor} here");
    let Some(interpreter) = tools::find(&program) else {
        return Err(Obstacle {
            cause: match tools::packages(&program) {
                Some(packages) => format!("{none}, and there is no {program}; install it: {packages}"),
                None => format!("{none}, and there is no {program}"),
            },
            remedy: String::new(),
        });
    };
    if !has_own_handlers() {
        return Err(Obstacle {
            cause: format!(
                "{none}, and only since Linux 6.7 a namespace has its own; register QEMU's once: systemctl restart systemd-binfmt"
            ),
            remedy: "systemctl restart systemd-binfmt".to_owned(),
        });
    }
    Ok(Foreign::Own(Handler {
        interpreter,
        elf_machine,
    }))
}

/// Whether the kernel lets a namespace have handlers of its own.
pub(super) fn has_own_handlers() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    tools::parse_version(&release).is_some_and(|version| version >= OWN_HANDLERS)
}

/// The interpreter of an enabled handler for such programs, if it starts where a root file system does not have it.
fn interpreter(handler: &str, elf_machine: u8) -> Option<PathBuf> {
    let field = |name: &str| {
        let mut lines = handler.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.trim()))
    };
    let magic = field("magic")?;
    let is_of = magic.starts_with("7f454c4602") && magic.get(36..38) == Some(&format!("{elf_machine:02x}"));
    let starts = handler.lines().next() == Some("enabled") && field("flags:")?.contains('F');
    (is_of && starts).then(|| PathBuf::from(field("interpreter").unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_is_known_by_the_kind_of_program_and_ours_is_registered_as_the_kernel_wants_it() {
        let handler = Handler {
            interpreter: "/usr/bin/qemu-aarch64-static".into(),
            elf_machine: 0xb7,
        };
        assert_eq!(
            handler.registration(),
            r":pipeline:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:F"
        );
        // As Linux 6.18 shows it.
        let shown = "enabled\ninterpreter /usr/bin/qemu-aarch64\nflags: F\noffset 0\nmagic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";
        assert_eq!(interpreter(shown, 0xb7), Some("/usr/bin/qemu-aarch64".into()));
        assert_eq!(interpreter(shown, 0x3e), None);
        assert_eq!(interpreter(&shown.replace("enabled", "disabled"), 0xb7), None);
        assert_eq!(interpreter(&shown.replace("flags: F", "flags: "), 0xb7), None);
    }
}
