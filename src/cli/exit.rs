//! How the program ends.

/// Exit codes, documented in the README: scripts rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for is done.
    Ok = 0,
    /// A node failed; others may have been built.
    Failed = 1,
    /// The command line or the manifest is wrong; nothing was started.
    Usage = 2,
    /// The host lacks something (a tool, memory, disk); nothing was started.
    Host = 3,
    /// Of `--detailed-exitcode`: a run would do something, or two builds differ. Of `outdated`: something has moved.
    Todo = 4,
    /// Stopped by Ctrl-C or SIGTERM.
    Interrupted = 130,
}
