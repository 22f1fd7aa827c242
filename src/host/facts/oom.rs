//! Whether the kernel killed a process for lack of memory. What can be known depends on the host: its log names the
//! process (root, or `kernel.dmesg_restrict` = 0), its counter (/proc/vmstat) only says that it happened.

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::{fmt, fs};

use rustix::fs::OFlags;

/// A record of the kernel's log is at most this long (`CONSOLE_EXT_LOG_MAX` in its source).
const RECORD: usize = 8192;
/// Records that are looked at, at most: far more than a log buffer has.
const RECORDS: usize = 1_000_000;

/// The counter at some moment.
#[derive(Clone, Copy, Debug)]
pub struct OomWatch {
    kills: Option<u64>,
}

/// What tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OomKill {
    /// The kernel's log, by this line: it is certain.
    Logged(String),
    /// The counter rose meanwhile; the log cannot be read here, or does not know this process: it is likely.
    Counted,
}

impl fmt::Display for OomKill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Logged(line) => write!(f, "the kernel's log has: {line}"),
            Self::Counted => f.write_str(
                "the kernel's counter of such kills rose just then; its log, which only root may read, names the process",
            ),
        }
    }
}

impl OomWatch {
    /// Remembers the counter. Of all processes and control groups, as the kernel has no other one that everybody may read.
    pub fn begin() -> Self {
        Self {
            kills: fs::read_to_string("/proc/vmstat")
                .ok()
                .and_then(|text| kills(&text)),
        }
    }

    /// Whether this process, which ended by SIGKILL, was killed for lack of memory since then.
    pub fn killed(self, process: u32) -> Option<OomKill> {
        let now = Self::begin().kills;
        // The process id may have been another process's when the log was written.
        if let (Some(before), Some(now)) = (self.kills, now)
            && before == now
        {
            return None;
        }
        if let Some(line) = logged(process) {
            return Some(OomKill::Logged(line));
        }
        (self.kills.is_some() && now > self.kills).then_some(OomKill::Counted)
    }
}

/// `oom_kill` of /proc/vmstat (Linux 4.13 and later).
fn kills(vmstat: &str) -> Option<u64> {
    let line = vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
    line.trim().parse().ok()
}

/// The last line of the kernel's log (/dev/kmsg) that says that this process was killed.
fn logged(process: u32) -> Option<String> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut log = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open("/dev/kmsg")
        .ok()?;
    let mut record = [0; RECORD];
    let mut found = None;
    for _ in 0..RECORDS {
        match log.read(&mut record) {
            Ok(count @ 1..) => {
                let text = String::from_utf8_lossy(&record[..count]);
                found = names(&text, process).map(str::to_owned).or(found);
            }
            // Records that were overwritten meanwhile are left out.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PIPE.raw_os_error()) => {}
            Ok(_) | Err(_) => break,
        }
    }
    found
}

/// The message of a record (`6,339,5140900,-;Out of memory: Killed process 1234 (qemu-system-x86) total-vm:…`), as far as
/// it is of interest, where it tells of this process.
fn names(record: &str, process: u32) -> Option<&str> {
    let (_, message) = record.split_once(';')?;
    let message = message.lines().next()?;
    let lower = message.to_ascii_lowercase();
    if !lower.contains("out of memory") {
        return None;
    }
    // "Kill process 1234 (…) score …" in older kernels.
    let at = lower.find("process ")? + "process ".len();
    let (number, _) = lower[at..].split_once(' ')?;
    (number.parse() == Ok(process)).then(|| message.split(" total-vm").next().unwrap_or(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_and_the_log_are_read() {
        assert_eq!(kills("nr_free_pages 1\noom_kill 12\nfoo 3\n"), Some(12));
        assert_eq!(kills("nr_free_pages 1\n"), None);
        // As printed by Linux 6.1 and 4.18.
        let record = "3,1052,81,-;Memory cgroup out of memory: Killed process 4242 (qemu-system-x86) total-vm:1kB, anon-rss:2kB\n SUBSYSTEM=x\n";
        let expected = "Memory cgroup out of memory: Killed process 4242 (qemu-system-x86)";
        assert_eq!(names(record, 4242), Some(expected));
        assert_eq!(names(record, 424), None);
        let old = "3,1,1,-;Out of memory: Kill process 7 (qemu) score 900 or sacrifice child";
        assert!(names(old, 7).is_some());
        assert_eq!(names("6,1,1,-;process 7 is fine", 7), None);
        assert!(OomWatch::begin().killed(std::process::id()).is_none());
    }
}
