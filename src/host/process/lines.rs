//! A child's output, line by line, fit to be shown.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc;
use std::thread;

use super::Output;

/// Longest line passed on, in bytes; a longer one comes in several, so that a child cannot fill our memory.
const MAX_LINE: usize = 8 * 1024;

/// Reads a pipe line by line on a thread of its own until it ends.
pub fn read_lines(pipe: impl Read + Send + 'static, output: Output, sender: mpsc::Sender<(Output, String)>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        loop {
            let room = MAX_LINE - line.len();
            let read = (&mut reader).take(room as u64).read_until(b'\n', &mut line);
            let over = !matches!(read, Ok(1..));
            if over && line.is_empty() {
                break;
            }
            let end = if over { line.len() } else { piece(&line) };
            let text = clean_line(&String::from_utf8_lossy(&line[..end]));
            line.drain(..end);
            if sender.send((output, text)).is_err() || over {
                break;
            }
        }
    });
}

/// How much of a line that is whole, or as long as it may be, is passed on now: it is not cut inside a word, which could be a
/// secret that is looked for later, unless it is one word.
fn piece(line: &[u8]) -> usize {
    if line.ends_with(b"\n") || line.len() < MAX_LINE {
        return line.len();
    }
    let blank = line.iter().rposition(u8::is_ascii_whitespace);
    blank.map_or(line.len(), |at| at + 1)
}

/// Takes terminal controls out of a line: a guest must not drive the user's terminal.
pub fn clean_line(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut chars = line.trim_end_matches(['\r', '\n']).chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                // CSI: parameters, then one letter (ECMA-48 §5.4).
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                // OSC: up to BEL or ESC \ (ECMA-48 §8.3.89).
                Some(']') => {
                    while let Some(c) = chars.next() {
                        if c == '\u{7}' {
                            break;
                        }
                        if c == '\u{1b}' {
                            chars.next();
                            break;
                        }
                    }
                }
                Some('(' | ')') => drop(chars.next()),
                _ => {}
            },
            '\t' => clean.push(' '),
            // A progress line that redraws itself: what stands after the last carriage return is what one would see.
            '\r' if chars.peek().is_some() => clean.clear(),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean.truncate(clean.trim_end().len());
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_comes_in_pieces_that_split_no_word() {
        let text = format!(
            "{} secret-value {}\nlast words",
            "x".repeat(MAX_LINE - 8),
            "y".repeat(MAX_LINE * 2)
        );
        let (sender, lines) = mpsc::channel();
        read_lines(std::io::Cursor::new(text.clone()), Output::Stdout, sender);
        let lines: Vec<_> = lines.iter().map(|(_, line)| line).collect();
        assert!(lines.iter().all(|line| line.len() <= MAX_LINE));
        assert_eq!(lines[1], "secret-value");
        assert_eq!(lines.last().map(String::as_str), Some("last words"));
        assert_eq!(lines.concat().replace(' ', ""), text.replace([' ', '\n'], ""));
    }

    #[test]
    fn terminal_controls_are_taken_out() {
        assert_eq!(clean_line("\u{1b}[32mok\u{1b}[0m\r\n"), "ok");
        assert_eq!(clean_line("10%\r20%\r\n"), "20%");
        assert_eq!(clean_line("\u{1b}]0;title\u{7}x"), "x");
    }
}
