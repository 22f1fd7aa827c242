//! What a child does between fork and exec. The only unsafe code apart from that of `stage::package::deflate`.

use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Signal;

#[expect(
    unsafe_code,
    reason = "pre_exec is the only way to set the parent-death signal; see its SAFETY"
)]
pub(super) fn die_with_us(command: &mut Command) {
    let us = rustix::process::getpid();
    // SAFETY: the closure runs between fork and exec and makes two system calls; it neither allocates nor locks.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the line above.
            if rustix::process::getppid() == Some(us) {
                Ok(())
            } else {
                Err(std::io::ErrorKind::NotFound.into())
            }
        });
    }
}

#[expect(
    unsafe_code,
    reason = "pre_exec is the only way to set this for a child; see its SAFETY"
)]
pub(super) fn forgo_privileges(command: &mut Command) {
    // SAFETY: the closure runs between fork and exec and makes one system call; it neither allocates nor locks.
    unsafe {
        command.pre_exec(|| Ok(rustix::thread::set_no_new_privs(true)?));
    }
}

#[expect(
    unsafe_code,
    reason = "pre_exec is the only way to start a session; see its SAFETY"
)]
pub(super) fn own_session(command: &mut Command) {
    // SAFETY: the closure runs between fork and exec and makes one system call; it neither allocates nor locks.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?));
    }
}
