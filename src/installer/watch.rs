//! What an installer's lines mean: how far it is, and whether it is stuck. A state machine over lines; where they come
//! from is others' business.

use super::{Dead, Program};

/// Something worth showing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Another phase.
    Phase(String),
    /// A detail of the phase: one of hundreds of packages. Not each must be shown.
    Detail(String),
}

/// Nothing will happen any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatal {
    /// In our words.
    pub means: String,
    pub remedy: String,
    /// The line that said so.
    pub line: String,
}

/// Reads lines.
#[derive(Clone, Debug)]
pub struct Watch {
    program: Program,
    phase: String,
    detail: String,
}

impl Watch {
    /// Nothing read yet.
    pub fn new(program: Program) -> Self {
        Self {
            program,
            phase: String::new(),
            detail: String::new(),
        }
    }

    /// Reads a line of the console or of syslog. A phase is told when it is another than before, however many details
    /// came since, so that a line can be read again and again while it grows.
    pub fn read(&mut self, line: &str) -> Option<Seen> {
        let found = |progress: &&super::Progress| line.contains(&progress.has);
        let progress = self.program.progress.iter().rev().find(found)?;
        let Some((before, after)) = progress.phase.split_once("{}") else {
            let phase = progress.phase.clone();
            return (phase != self.phase).then(|| {
                self.phase.clone_from(&phase);
                Seen::Phase(phase)
            });
        };
        let rest = line.split(&progress.has).nth(1).unwrap_or_default();
        let word = rest.split_whitespace().next().unwrap_or_default();
        // `linux-image-amd64:amd64` and `(6.12.1-1)` are of no interest.
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        let word = word.split(':').next().unwrap_or(word);
        let detail = format!("{before}{word}{after}");
        (!word.is_empty() && detail != self.detail).then(|| {
            self.detail.clone_from(&detail);
            Seen::Detail(detail)
        })
    }

    /// Whether a line of the console (or the beginning of one) says that the installer is stuck.
    pub fn fatal(&self, line: &str) -> Option<Fatal> {
        known(&self.program.fatal, line)
    }

    /// Whether the beginning of a line is a question, at which the installer is stuck when nobody answers it.
    pub fn question(&self, unfinished: &str) -> Option<Fatal> {
        known(&self.program.question, unfinished)
    }
}

fn known(texts: &[Dead], line: &str) -> Option<Fatal> {
    let Dead { means, remedy, .. } = texts.iter().find(|dead| line.contains(&dead.has))?;
    Some(Fatal {
        means: means.clone(),
        remedy: remedy.clone(),
        line: line.trim().to_owned(),
    })
}

/// The last percentage in a line: `Installing the base system  ... 2%... 45%`.
pub fn percent(line: &str) -> Option<u8> {
    let before = line.rsplit_once('%')?.0;
    let start = before.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
    before[start..].parse().ok().filter(|percent| *percent <= 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::installer::program;

    #[test]
    fn the_debian_installers_console_and_syslog() {
        // As printed by the installer of Debian 13.
        let mut watch = Watch::new(program("debian-installer"));
        let phase = |text: &str| Some(Seen::Phase(text.to_owned()));
        assert_eq!(
            watch.read("Configuring the network with DHCP  ... 4%"),
            phase("configuring the network")
        );
        assert_eq!(
            watch.read("Configuring the network with DHCP  ... 4%... 100%"),
            None
        );
        assert_eq!(
            watch.read("Checking the Debian archive mirror  ... 25%"),
            phase("checking the mirror")
        );
        assert_eq!(
            watch.read("Installing the base system  ... 45%"),
            phase("installing the base system")
        );
        let line = "debootstrap: Unpacking linux-image-6.12.41+deb13-amd64:amd64 (6.12.41-1) ...";
        let detail = "unpacking linux-image-6.12.41+deb13-amd64".to_owned();
        assert_eq!(watch.read(line), Some(Seen::Detail(detail)));
        assert_eq!(
            watch.read("Installing the base system  ... 45%... 46%"),
            None,
            "the same phase still"
        );
        assert_eq!(watch.read("something else"), None);
        let fatal =
            watch.fatal("The installer failed to download a file from the mirror. This may be a problem ");
        assert!(
            fatal
                .unwrap()
                .means
                .contains("failed to download a file from the mirror")
        );
        assert_eq!(watch.fatal("Retrieving libc6-udeb"), None);
    }

    #[test]
    fn prompts_that_wait_for_ever_are_known() {
        // Titles and sentences of the installers, wrapped as their text front ends do.
        for (name, line, means) in [
            (
                "debian-installer",
                "Downloading a file failed:",
                "failed to download a file",
            ),
            (
                "debian-installer",
                "Bad archive mirror",
                "does not have this release",
            ),
            (
                "debian-installer",
                "!! ERROR: No root file system is defined.",
                "no place for the root file system",
            ),
            (
                "debian-installer",
                "Failed to partition the selected disk",
                "disk is too small",
            ),
            (
                "debian-installer",
                "No disk drive was detected. If you know the name",
                "sees no disk",
            ),
            (
                "debian-installer",
                "Failed to process the preconfiguration file",
                "make sense of its answers",
            ),
            (
                "debian-installer",
                "Network autoconfiguration failed",
                "no address by DHCP",
            ),
            (
                "debian-installer",
                "Debootstrap warning",
                "base system cannot be installed",
            ),
            (
                "debian-installer",
                "Unable to install GRUB in /dev/vda",
                "boot loader cannot be installed",
            ),
            (
                "debian-installer",
                "Failed to run preseeded command",
                "late_command",
            ),
            ("debian-installer", "Debian installer main menu", "shows its menu"),
            (
                "anaconda",
                "Traceback (most recent call last):",
                "Anaconda crashed",
            ),
            (
                "anaconda",
                "The following problem occurred on line 9 of the kickstart file:",
                "make sense of its answers",
            ),
            (
                "anaconda",
                "Error setting up base repository",
                "cannot reach its packages",
            ),
            (
                "anaconda",
                "Please make a choice from above ['b' to begin installation",
                "asks something",
            ),
            (
                "subiquity",
                "finish: subiquity/Install/install: FAIL",
                "Ubuntu's installer failed",
            ),
            (
                "subiquity",
                "Continue with autoinstall? (yes|no)",
                "asks whether it may erase the disk",
            ),
        ] {
            let fatal = Watch::new(program(name))
                .fatal(line)
                .unwrap_or_else(|| panic!("{name}: {line}"));
            assert!(fatal.means.contains(means), "{line}: {}", fatal.means);
            assert_eq!(fatal.line, line);
        }
        let asked = Watch::new(program("debian-installer")).question("Prompt: '?' for help, default=10> ");
        assert!(asked.unwrap().means.contains("asks something"));
    }

    #[test]
    fn percentages() {
        assert_eq!(percent("Installing the base system  ... 2%... 45%"), Some(45));
        assert_eq!(percent("100%"), Some(100));
        assert_eq!(percent("no number %"), None);
        assert_eq!(percent("3000%"), None);
        assert_eq!(percent("45"), None);
    }
}
