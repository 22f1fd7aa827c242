//! Programs of another architecture: how this host runs them. QEMU's user-mode emulation interprets them, and the kernel
//! starts it by a handler (binfmt_misc): the host's, or one that a namespace has to itself. A host with neither needs a
//! whole machine for them.

use std::fs;
use std::path::PathBuf;

use super::tools::{self, Version};
use crate::platform::Platform;

const HANDLERS: &str = "/proc/sys/fs/binfmt_misc";
/// Since this kernel a user namespace can have handlers of its own.
const OWN_HANDLERS: Version = Version(6, 7);

/// Variable that chooses the way; its one value is [`MACHINE`].
const CHOICE: &str = "PIPELINE_FOREIGN";
const MACHINE: &str = "machine";

/// A way in which the host runs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// A handler is registered, by this interpreter.
    Registered(PathBuf),
    /// A namespace can register this one.
    Own(Handler),
    /// Only an emulated machine runs them; why, and what the faster ways need.
    Machine(String),
}

/// What starts an interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handler {
    pub interpreter: PathBuf,
    pub(super) elf_machine: u8,
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

/// How this host runs the programs of a platform; none where they are of its own architecture.
pub fn find(platform: Platform) -> Option<Foreign> {
    if !platform.is_foreign() {
        return None;
    }
    if std::env::var_os(CHOICE).is_some_and(|choice| choice == MACHINE) {
        return Some(Foreign::Machine(format!("{CHOICE}={MACHINE} chooses it")));
    }
    let handlers = fs::read_dir(HANDLERS).into_iter().flatten().flatten();
    let handlers = handlers.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let emulator = &platform.hardware().emulator;
    let program = format!("qemu-{}-static", emulator.processor);
    let interpreter = tools::find(&program);
    let own_handlers = has_own_handlers();
    Some(choose(
        handlers,
        emulator.elf_machine,
        &program,
        interpreter,
        own_handlers,
    ))
}

/// The fastest way: by the handlers that are registered, and by the interpreter, where it is and a namespace can register it.
fn choose(
    mut handlers: impl Iterator<Item = String>,
    elf_machine: u8,
    program: &str,
    interpreter: Option<PathBuf>,
    own_handlers: bool,
) -> Foreign {
    if let Some(interpreter) = handlers.find_map(|text| interpreter_of(&text, elf_machine)) {
        return Foreign::Registered(interpreter);
    }
    match interpreter {
        Some(interpreter) if own_handlers => Foreign::Own(Handler {
            interpreter,
            elf_machine,
        }),
        Some(_) => Foreign::Machine(
            "no handler of binfmt_misc runs them here, and only since Linux 6.7 a namespace has its own; \
             register QEMU's once: systemctl restart systemd-binfmt"
                .to_owned(),
        ),
        None => {
            let packages = tools::packages(program).map(|packages| format!("; install it: {packages}"));
            Foreign::Machine(format!(
                "no handler of binfmt_misc runs them here, and there is no {program}{}",
                packages.unwrap_or_default()
            ))
        }
    }
}

/// Whether the kernel lets a namespace have handlers of its own.
pub(super) fn has_own_handlers() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    tools::parse_version(&release).is_some_and(|version| version >= OWN_HANDLERS)
}

/// The interpreter of an enabled handler for such programs, if it starts where a root file system does not have it.
fn interpreter_of(handler: &str, elf_machine: u8) -> Option<PathBuf> {
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
        assert_eq!(interpreter_of(shown, 0xb7), Some("/usr/bin/qemu-aarch64".into()));
        assert_eq!(interpreter_of(shown, 0x3e), None);
        assert_eq!(interpreter_of(&shown.replace("enabled", "disabled"), 0xb7), None);
        assert_eq!(interpreter_of(&shown.replace("flags: F", "flags: "), 0xb7), None);
    }

    #[test]
    fn the_fastest_way_is_taken_and_a_machine_where_there_is_no_other() {
        let handler =
            "enabled\ninterpreter /usr/bin/q\nflags: F\nmagic 7f454c460201010000000000000000000200b700\n";
        let ways = |handlers: &[&str], interpreter: Option<&str>, own| {
            let handlers = handlers.iter().map(|&text| text.to_owned());
            let program = "qemu-aarch64-static";
            choose(handlers, 0xb7, program, interpreter.map(PathBuf::from), own)
        };
        let static_one = Some("/usr/bin/qemu-aarch64-static");
        assert_eq!(
            ways(&[handler], static_one, true),
            Foreign::Registered("/usr/bin/q".into())
        );
        assert!(matches!(ways(&[], static_one, true), Foreign::Own(_)));
        let why = |way| match way {
            Foreign::Machine(why) => why,
            other => panic!("{other:?}"),
        };
        assert!(why(ways(&[], static_one, false)).ends_with("systemctl restart systemd-binfmt"));
        assert!(why(ways(&[], None, true)).contains("install it: qemu-user-static (Debian, Ubuntu)"));
    }
}
