//! The head of an HTTP/1 answer. Knows nothing of what follows it.

use std::io::{self, Write};

/// Sends a head that announces a body of this length, and the end of the connection.
///
/// # Errors
/// When the client has gone.
pub fn head(stream: &mut impl Write, status: u16, content_type: &str, length: u64) -> io::Result<()> {
    let reason = match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        431 => "Request Header Fields Too Large",
        _ => "Insufficient Storage",
    };
    // RFC 9110 §8.6: no length with 204.
    let body = match status {
        204 => String::new(),
        _ => format!("Content-Length: {length}\r\nContent-Type: {content_type}\r\n"),
    };
    let text = format!("HTTP/1.1 {status} {reason}\r\n{body}Connection: close\r\n\r\n");
    stream.write_all(text.as_bytes())
}
