//! The files of `guest/`, compiled in: what runs inside guests, or puts them together, travels with the program. Plain data.

/// Removes everything that clones must not share; the last act of every provisioning.
pub const SEAL: &str = concat!(
    include_str!("../guest/inventory.sh"),
    include_str!("../guest/lib.sh"),
    include_str!("../guest/seal.sh")
);
/// Asks questions in a guest that is being checked.
pub const CHECK: &str = concat!(
    include_str!("../guest/inventory.sh"),
    include_str!("../guest/lib.sh"),
    include_str!("../guest/check.sh")
);
/// Installs the boot loader in a root folder that no machine has booted yet.
pub const BOOT_LOADER: &str = include_str!("../guest/boot-loader.sh");
/// The half of a bootstrap for another architecture that runs on the host.
pub const FIRST_STAGE: &str = include_str!("../guest/first-stage.sh");
/// The half that runs in a machine.
pub const SECOND_STAGE: &str = include_str!("../guest/second-stage.sh");
/// Says whether the guest is going down.
pub const GOING_DOWN: &str = include_str!("../guest/going-down.sh");
/// Prints where the root file system is.
pub const ROOT: &str = concat!(include_str!("../guest/lib.sh"), include_str!("../guest/root.sh"));
/// Prints what system this is and which packages are installed.
pub const PACKAGES: &str = include_str!("../guest/list-packages.sh");
/// Grows the root partition and its file system from inside the guest.
pub const GROW: &str = include_str!("../guest/grow-root.sh");
/// Installs the boot-time agent; expects [`AGENT`] next to it.
pub const INSTALL_AGENT: &str = concat!(
    include_str!("../guest/lib.sh"),
    include_str!("../guest/install-agent.sh")
);
/// The boot-time agent.
pub const AGENT: &str = include_str!("../guest/vm-bootstrap");
/// Runs a boot script as the agent would and reports how it went; the script's base64 goes behind it.
pub const REPORT_RUN: &str = include_str!("../guest/report-run");
