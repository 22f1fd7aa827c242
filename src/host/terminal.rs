//! What the terminal behind our standard error is like. Knows nothing of what is drawn there.

/// Columns and rows of the terminal behind standard error; none when it is no terminal.
pub fn stderr_size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok()?;
    // A serial line or a bare pseudo-terminal has no idea of its size and says 0.
    let or = |value: u16, default: usize| if value == 0 { default } else { usize::from(value) };
    Some((or(size.ws_col, 80), or(size.ws_row, 24)))
}
