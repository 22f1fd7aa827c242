//! The process that qemu starts for each connection to the door: passes bytes between its standard streams (the
//! guest's connection) and the server's socket. Ends when either end does.
//!
//! Its standard error is the guest's connection too: it must never print.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

/// The hidden verb of the command line that runs [`relay`].
pub const VERB: &str = "door-relay";

/// Passes bytes until the server closes its end.
///
/// # Errors
/// When the server is not there, or the guest went away.
pub fn relay(socket: &Path) -> io::Result<()> {
    let server = UnixStream::connect(socket)?;
    let mut to_server = server.try_clone()?;
    // Ends with the process at the latest.
    thread::spawn(move || {
        let _ = copy(&mut io::stdin().lock(), &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    copy(&mut &server, &mut io::stdout().lock())
}

/// Every piece goes on as soon as it is there.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                to.write_all(&buffer[..count])?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
