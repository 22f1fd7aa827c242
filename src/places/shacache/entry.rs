//! One entry of a shadir list: what is said about a file, as JSON inside JSON, byte for byte as the reference client
//! writes it, for the signature is over the inner text.

use std::io;

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{CharEscape, Formatter, Serializer};

use super::super::Metadata;
use crate::digest::Digest;

/// What is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The description, as JSON text: what is signed.
    pub info: String,
    /// Signature in base64; empty where there is no signing key.
    pub signature: String,
}

impl Entry {
    /// As it is sent: an array of the two texts.
    pub fn body(&self) -> String {
        dump(&(&self.info, &self.signature))
    }

    /// Whether a list, as a server gives it, has this very entry.
    pub fn is_in(&self, list: &[u8]) -> bool {
        let Ok(Value::Array(entries)) = serde_json::from_slice(list) else {
            return false;
        };
        entries
            .iter()
            .any(|entry| match entry.as_array().map(Vec::as_slice) {
                Some([info, signature]) => {
                    info.as_str() == Some(&self.info)
                        && signature.as_str().map(str::trim_end) == Some(&self.signature)
                }
                _ => false,
            })
    }
}

/// The description of a file: its SHA-512, then the metadata in their order.
pub fn info(sha512: &Digest, metadata: &Metadata) -> String {
    let mut all = Metadata::new();
    all.insert("sha512".to_owned(), sha512.hex.clone().into());
    all.extend(metadata.iter().map(|(key, value)| (key.clone(), value.clone())));
    dump(&all)
}

/// JSON as Python's `json.dumps` writes it: a blank behind commas and colons, ASCII only.
fn dump(value: &impl Serialize) -> String {
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, Python);
    match value.serialize(&mut serializer) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => unreachable!("maps of text to JSON always serialise: {error}"),
    }
}

struct Python;

impl Formatter for Python {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        for c in text.chars() {
            // Python escapes what is not ASCII, and the control character that JSON leaves alone.
            if c.is_ascii() && c != '\u{7f}' {
                write!(writer, "{c}")?;
            } else if c == '\u{7f}' {
                writer.write_all(&[0x7f])?;
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        let short: &[u8] = match escape {
            CharEscape::Quote => b"\\\"",
            CharEscape::ReverseSolidus => b"\\\\",
            CharEscape::Solidus => b"/",
            CharEscape::Backspace => b"\\b",
            CharEscape::FormFeed => b"\\f",
            CharEscape::LineFeed => b"\\n",
            CharEscape::CarriageReturn => b"\\r",
            CharEscape::Tab => b"\\t",
            CharEscape::AsciiControl(byte) => return write!(writer, "\\u{byte:04x}"),
        };
        writer.write_all(short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = include_str!("../../../tests/golden/shacache/put-body.json");
    const SIGNED: &str = include_str!("../../../tests/golden/shacache/signed-bytes.txt");
    const SIGNATURE: &str = include_str!("../../../tests/golden/shacache/signature.b64");
    const METADATA: &str = include_str!("../../../tests/golden/shacache/metadata.json");

    fn golden() -> Entry {
        let hex = SIGNED.split('"').nth(3).unwrap();
        let sha512 = format!("sha512:{hex}").parse().unwrap();
        let metadata: Metadata = serde_json::from_str(METADATA).unwrap();
        Entry {
            info: info(&sha512, &metadata),
            signature: SIGNATURE.trim().to_owned(),
        }
    }

    #[test]
    fn a_body_that_the_reference_client_sent_is_written_byte_for_byte() {
        let entry = golden();
        assert_eq!(entry.info, SIGNED);
        assert_eq!(entry.body(), BODY);
    }

    #[test]
    fn text_is_escaped_as_python_does() {
        let text = "é \u{1f600} \"\\/\u{7f}\u{1}\n";
        // What CPython's json.dumps gives for it.
        assert_eq!(
            dump(&text),
            "\"\\u00e9 \\ud83d\\ude00 \\\"\\\\/\u{7f}\\u0001\\n\""
        );
        let value: Value = serde_json::from_str(r#"{"b": [1, true, null], "a": {}}"#).unwrap();
        assert_eq!(dump(&value), r#"{"b": [1, true, null], "a": {}}"#);
    }

    #[test]
    fn an_entry_is_found_in_a_list_also_as_older_clients_sign() {
        let entry = golden();
        let list = |entries: &[(&str, String)]| serde_json::to_vec(entries).unwrap();
        let wrapped = format!("{}\n", entry.signature);
        assert!(entry.is_in(&list(&[("{}", String::new()), (&entry.info, wrapped)])));
        assert!(!entry.is_in(&list(&[(&entry.info, String::new())])));
        assert!(!entry.is_in(b"<html>"));
        assert!(!entry.is_in(b"[1, [], [\"a\"]]"));
    }
}
