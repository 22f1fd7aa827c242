//! The form by which a guest writes a file: `path`, `content`, and `clear` = 1 where the file is to be emptied first
//! (else the content is appended). In both encodings that HTML knows. Pure.

use std::borrow::Cow;

/// A form, as sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    pub path: String,
    pub content: Vec<u8>,
    pub clear: bool,
}

/// Why a body is no such form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoForm {
    /// Another media type.
    Type,
    /// Not in the form of its media type, or without a path or a content.
    Fields,
}

/// A field of a form: its name and its value.
type Field<'a> = (Cow<'a, str>, Cow<'a, [u8]>);

/// Reads the body of a POST.
pub(super) fn read(content_type: &str, body: &[u8]) -> Result<Form, NoForm> {
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let kind = kind.trim().to_ascii_lowercase();
    let fields: Vec<Field<'_>> = match kind.as_str() {
        "application/x-www-form-urlencoded" => pairs(body).collect(),
        "multipart/form-data" => parts(parameters, body).ok_or(NoForm::Fields)?,
        _ => return Err(NoForm::Type),
    };
    let last = |wanted: &str| {
        fields
            .iter()
            .rev()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value)
    };
    let path = last("path").ok_or(NoForm::Fields)?;
    Ok(Form {
        path: String::from_utf8(path.to_vec()).map_err(|_| NoForm::Fields)?,
        content: last("content").ok_or(NoForm::Fields)?.to_vec(),
        clear: last("clear").is_some_and(|value| value.as_ref() == b"1"),
    })
}

/// `application/x-www-form-urlencoded` (the URL standard, §5.1), values as bytes: a content need not be text.
fn pairs(body: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let decode = |bytes: &[u8]| -> Vec<u8> {
        let spaced: Vec<u8> = bytes.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
        percent_encoding::percent_decode(&spaced).collect()
    };
    body.split(|&b| b == b'&').map(move |pair| {
        let split = pair.iter().position(|&b| b == b'=');
        let (name, value) = match split {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        let name = String::from_utf8_lossy(&decode(name)).into_owned();
        (Cow::Owned(name), Cow::Owned(decode(value)))
    })
}

/// `multipart/form-data` (RFC 7578).
fn parts<'a>(parameters: &str, body: &'a [u8]) -> Option<Vec<Field<'a>>> {
    let boundary = parameter(parameters, "boundary")?;
    // RFC 2046 §5.1.1: no longer than 70.
    if boundary.is_empty() || boundary.len() > 70 {
        return None;
    }
    let delimiter = format!("--{boundary}");
    let mut rest = body.get(find(body, delimiter.as_bytes())? + delimiter.len()..)?;
    let mut fields = Vec::new();
    while !rest.starts_with(b"--") {
        let part = rest.strip_prefix(b"\r\n")?;
        let end = find(part, format!("\r\n{delimiter}").as_bytes())?;
        let head_end = find(part, b"\r\n\r\n").filter(|at| at + 4 <= end)?;
        let head = std::str::from_utf8(&part[..head_end]).ok()?;
        let name = head.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let wanted = name.trim().eq_ignore_ascii_case("content-disposition");
            wanted.then(|| parameter(value, "name")).flatten()
        })?;
        fields.push((Cow::Owned(name), Cow::Borrowed(&part[head_end + 4..end])));
        rest = &part[end + 2 + delimiter.len()..];
    }
    Some(fields)
}

/// A parameter of a header field, with or without quotes.
fn parameter(text: &str, wanted: &str) -> Option<String> {
    text.split(';').find_map(|piece| {
        let (name, value) = piece.split_once('=')?;
        let found = name.trim().eq_ignore_ascii_case(wanted);
        found.then(|| value.trim().trim_matches('"').to_owned())
    })
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings_mean_the_same() {
        let plain = read(
            "application/x-www-form-urlencoded; charset=UTF-8",
            b"path=a%2Fb.txt&content=one+two%0A%00%ff&clear=1",
        );
        let form = Form {
            path: "a/b.txt".to_owned(),
            content: b"one two\n\x00\xff".to_vec(),
            clear: true,
        };
        assert_eq!(plain.as_ref(), Ok(&form));
        let body =
            b"preamble\r\n--XX\r\nContent-Disposition: form-data; name=\"path\"\r\n\r\na/b.txt\r\n--XX\r\n\
            content-disposition: form-data; name=\"content\"; filename=\"f\"\r\nContent-Type: x/y\r\n\r\n\
            one two\n\x00\xff\r\n--XX\r\nContent-Disposition: form-data; name=clear\r\n\r\n1\r\n--XX--\r\n";
        assert_eq!(read("multipart/form-data; boundary=XX", body).as_ref(), Ok(&form));
    }

    #[test]
    fn what_is_no_form_is_told_apart() {
        assert_eq!(read("text/plain", b"path=a&content=b"), Err(NoForm::Type));
        let url = "application/x-www-form-urlencoded";
        assert_eq!(read(url, b"path=a"), Err(NoForm::Fields));
        assert_eq!(read(url, b"content=a"), Err(NoForm::Fields));
        assert!(!read(url, b"path=a&content=").unwrap().clear);
        for body in [
            &b""[..],
            b"--X",
            b"--X\r\n\r\nno name\r\n--X--",
            b"--X\r\nA: b\r\n--X--",
            // The blank line below the head is the line break before the delimiter too.
            b"--X\r\nContent-Disposition: form-data; name=path\r\n\r\n--X--",
        ] {
            assert_eq!(read("multipart/form-data; boundary=X", body), Err(NoForm::Fields));
        }
        assert_eq!(read("multipart/form-data", b"--X--"), Err(NoForm::Fields));
    }
}
