//! Lists of checksums, as many tools write them: their text, their lines, and which line speaks of a file at a URL.
//! Knows nothing of where lists come from or what is done with a digest.

use std::borrow::Cow;
use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;

use crate::digest::{Algorithm, Digest};

/// What a list says of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The name as it is listed, folders included.
    pub name: Vec<u8>,
    pub digest: Digest,
}

/// Why a list gives no digest for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No line has this name; these are there.
    NotListed(Vec<String>),
    /// These names fit equally well, and their digests differ.
    Ambiguous(Vec<String>),
}

/// The text of a list without its byte order mark, in UTF-8 even where a Windows tool wrote UTF-16. Names need not be
/// UTF-8: other bytes stay as they are.
pub fn text(bytes: &[u8]) -> Cow<'_, [u8]> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        let text: String = char::decode_utf16(units)
            .map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect();
        Cow::Owned(text.into_bytes())
    };
    match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => Cow::Borrowed(rest),
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        // Without a mark, the zero half of the first character tells.
        [0, _, ..] => utf16(bytes, u16::from_be_bytes),
        [_, 0, ..] => utf16(bytes, u16::from_le_bytes),
        _ => Cow::Borrowed(bytes),
    }
}

/// The lines of a [`text`], each without its end, CRLF or LF.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = text.split(|byte| *byte == b'\n');
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// Reads a line: coreutils' forms (`HEX  NAME`, `HEX *NAME`), BSD's (`SHA256 (NAME) = HEX`) and OpenSSL's
/// (`SHA2-256(NAME)= HEX`). A backslash before it says that the name is escaped (coreutils manual, "md5sum invocation").
/// The length of the digits tells the algorithm.
pub fn parse(line: &[u8]) -> Option<Line> {
    let (escaped, line) = match line.strip_prefix(b"\\") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (name, digest) = coreutils(line).or_else(|| tagged(line))?;
    let name = if escaped { unescape(name)? } else { name.to_vec() };
    (!name.is_empty()).then_some(Line { name, digest })
}

fn coreutils(line: &[u8]) -> Option<(&[u8], Digest)> {
    let line = line.trim_ascii_start();
    let end = line.iter().position(|byte| b" \t".contains(byte))?;
    let (hex, rest) = line.split_at(end);
    let digest = digest(hex)?;
    // Exactly one character stands for the mode, so that a name may begin with a blank or a star.
    let name = match rest {
        [b' ', b' ' | b'*', name @ ..] => name,
        [_, name @ ..] => name.trim_ascii_start(),
        [] => return None,
    };
    Some((name, digest))
}

fn tagged(line: &[u8]) -> Option<(&[u8], Digest)> {
    let line = line.trim_ascii();
    let open = line.iter().position(|byte| *byte == b'(')?;
    let tag = line[..open].trim_ascii_end();
    let is_tag = |byte: &u8| byte.is_ascii_alphanumeric() || b"-/".contains(byte);
    if tag.is_empty() || !tag.iter().all(is_tag) {
        return None;
    }
    let equals = line.iter().rposition(|byte| *byte == b'=')?;
    let name = line.get(open + 1..equals)?.trim_ascii_end().strip_suffix(b")")?;
    Some((name, digest(line[equals + 1..].trim_ascii())?))
}

fn digest(hex: &[u8]) -> Option<Digest> {
    let algorithm = Algorithm::ALL.into_iter().find(|a| a.hex_len() == hex.len())?;
    let hex = std::str::from_utf8(hex).ok()?.to_ascii_lowercase();
    let is_hex = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then_some(Digest { algorithm, hex })
}

fn unescape(name: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                b'r' => b'\r',
                _ => return None,
            },
            byte => *byte,
        });
    }
    Some(plain)
}

/// The digest that a list has for the file at `url`: of the lines with its name, the one whose path has the longest end in
/// common with the URL. A list that is nothing but one digest speaks of whatever file it is given for.
///
/// # Errors
/// [`Missing`].
pub fn digest_of(list: &[u8], url: &str) -> Result<Digest, Missing> {
    let text = text(list);
    let found: Vec<Line> = lines(&text).filter_map(parse).collect();
    if found.is_empty() {
        // Tools that write `NAME.sha256` leave the name out; certutil puts words on lines of their own around it.
        let bare: BTreeSet<_> = lines(&text)
            .filter_map(|line| digest(line.trim_ascii()))
            .collect();
        if let (1, Some(digest)) = (bare.len(), bare.into_iter().next()) {
            return Ok(digest);
        }
    }
    let wanted = Wanted::new(url);
    let rated: Vec<_> = found.iter().map(|line| (wanted.rate(&line.name), line)).collect();
    let best = rated.iter().map(|(rating, _)| *rating).max().unwrap_or_default();
    let shown = |line: &Line| String::from_utf8_lossy(&line.name).into_owned();
    if best.common == 0 {
        return Err(Missing::NotListed(found.iter().map(shown).collect()));
    }
    let fitting = rated.into_iter().filter(|(rating, _)| *rating == best);
    let fitting: Vec<_> = fitting.map(|(_, line)| line).collect();
    // Lists may have sections, one for each algorithm: the strongest counts, and each name must agree with it.
    let strongest = fitting.iter().map(|line| line.digest.algorithm).max();
    let strong = fitting
        .iter()
        .filter(|line| Some(line.digest.algorithm) == strongest);
    let digests: BTreeSet<_> = strong.map(|line| &line.digest).collect();
    let agrees = |name: &[u8]| {
        let mut lines = fitting.iter().filter(|line| line.name == name);
        lines.any(|line| digests.contains(&line.digest))
    };
    match digests.first() {
        Some(digest) if digests.len() == 1 && fitting.iter().all(|line| agrees(&line.name)) => {
            Ok((*digest).clone())
        }
        _ => Err(Missing::Ambiguous(fitting.into_iter().map(shown).collect())),
    }
}

/// The path of a URL, by its parts, as they are written and as they are meant (`%20` is a blank).
struct Wanted {
    parts: Vec<(String, Vec<u8>)>,
}

/// How well a listed path fits; the greater the better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Rating {
    /// Parts in common, counted from the end.
    common: usize,
    /// Whether that is all of the listed path.
    whole: bool,
}

impl Wanted {
    fn new(url: &str) -> Self {
        let path = url.split(['?', '#']).next().unwrap_or(url);
        let part = |part: &str| (part.to_owned(), percent_decode_str(part).collect());
        let parts = path.split('/').filter(|part| !part.is_empty()).map(part);
        Self {
            parts: parts.collect(),
        }
    }

    fn rate(&self, listed: &[u8]) -> Rating {
        let listed: Vec<_> = listed
            .trim_ascii()
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty() && *part != b".")
            .collect();
        let pairs = self.parts.iter().rev().zip(listed.iter().rev());
        let fits = |((written, meant), part): &(&(String, Vec<u8>), &&[u8])| {
            written.as_bytes() == **part || meant.as_slice() == **part
        };
        let common = pairs.take_while(fits).count();
        let whole = common == listed.len();
        Rating { common, whole }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://mirror.example/debian/images/netboot/amd64/linux";

    fn hex(fill: char, algorithm: Algorithm) -> String {
        fill.to_string().repeat(algorithm.hex_len())
    }

    fn sha256(fill: char) -> String {
        hex(fill, Algorithm::Sha256)
    }

    /// The first digit of what the list says for the URL.
    fn first(list: &[u8], url: &str) -> Result<String, Missing> {
        digest_of(list, url).map(|digest| format!("{}:{}", digest.algorithm, &digest.hex[..1]))
    }

    #[test]
    fn lines_of_all_tools_are_read() {
        let (sha256, md5) = (sha256('a'), hex('B', Algorithm::Md5));
        let text = format!(
            "# made by hand\n{sha256}  debian.iso\n{sha256} *ubuntu (1) = x.iso\r\n{md5}\t./iso/old.iso\n\
             SHA256 (AlmaLinux-9-latest-x86_64-boot.iso) = {sha256}\nSHA2-256(a (1).raw)= {sha256}\nnot a line\n\
             zz  x.iso\n\\{sha256}  back\\\\slash\n"
        );
        let found: Vec<_> = lines(text.as_bytes()).filter_map(parse).collect();
        let names: Vec<_> = found
            .iter()
            .map(|line| String::from_utf8_lossy(&line.name))
            .collect();
        assert_eq!(
            names,
            [
                "debian.iso",
                "ubuntu (1) = x.iso",
                "./iso/old.iso",
                "AlmaLinux-9-latest-x86_64-boot.iso",
                "a (1).raw",
                "back\\slash",
            ]
        );
        assert_eq!(found[2].digest.to_string(), format!("md5:{}", "b".repeat(32)));
    }

    #[test]
    fn of_lines_with_one_name_the_longest_common_end_of_path_and_url_counts() {
        let (a, b, c) = (sha256('a'), sha256('b'), sha256('c'));
        let debian =
            format!("{a}  ./cdrom/linux\n{b}  ./netboot/amd64/linux\n{c}  ./netboot/gtk/amd64/linux\n");
        assert_eq!(first(debian.as_bytes(), URL).unwrap(), "sha256:b");
        let gtk = URL.replace("netboot/", "netboot/gtk/") + "?x=1#y";
        assert_eq!(first(debian.as_bytes(), &gtk).unwrap(), "sha256:c");
        // A path that is listed whole is nearer than one that goes on elsewhere.
        let nested = format!("{a}  gtk/linux\n{b}  linux\n");
        assert_eq!(first(nested.as_bytes(), URL).unwrap(), "sha256:b");
        // A copy kept elsewhere still has its name.
        let single = format!("{a}  ./iso/linux\n");
        assert_eq!(first(single.as_bytes(), URL).unwrap(), "sha256:a");

        let elsewhere = "http://cache.example/linux";
        let names = [
            "./cdrom/linux",
            "./netboot/amd64/linux",
            "./netboot/gtk/amd64/linux",
        ]
        .map(str::to_owned);
        assert_eq!(
            first(debian.as_bytes(), elsewhere),
            Err(Missing::Ambiguous(names.to_vec()))
        );
        let twice = format!("{a}  linux\n{b}  linux\n");
        assert!(matches!(first(twice.as_bytes(), URL), Err(Missing::Ambiguous(_))));
        // The same bytes by two names, and sections of two algorithms, do not contradict each other.
        let same = format!("{a}  x/linux\n{a}  y/linux\n");
        assert_eq!(first(same.as_bytes(), URL).unwrap(), "sha256:a");
        let sections = format!("{a}  linux\n{}  linux\n", hex('d', Algorithm::Sha512));
        assert_eq!(first(sections.as_bytes(), URL).unwrap(), "sha512:d");
        let apart = format!("{a}  x/linux\n{}  y/linux\n", hex('d', Algorithm::Sha512));
        assert!(matches!(first(apart.as_bytes(), URL), Err(Missing::Ambiguous(_))));
        let others = format!("{a}  xlinux\n");
        assert_eq!(
            first(others.as_bytes(), URL),
            Err(Missing::NotListed(vec!["xlinux".to_owned()]))
        );
    }

    #[test]
    fn names_are_found_as_they_are_written_in_the_url_and_as_they_are_meant() {
        let list = format!("{}  my disk+é.raw\n{}  plain%20name\n", sha256('a'), sha256('b'));
        let url = |name: &str| format!("http://h.example/{name}");
        let found = |name: &str| first(list.as_bytes(), &url(name)).unwrap();
        assert_eq!(found("my%20disk+%C3%A9.raw"), "sha256:a");
        assert_eq!(found("my disk+é.raw"), "sha256:a");
        assert_eq!(found("plain%20name"), "sha256:b");
    }

    #[test]
    fn lists_of_windows_and_lists_of_one_file_are_read() {
        let digest = sha256('a');
        let windows = format!("{digest} *linux\r\n{}  other\r\n", sha256('b'));
        let utf16 = |unit: fn(u16) -> [u8; 2], mark: &str| -> Vec<u8> {
            format!("{mark}{windows}").encode_utf16().flat_map(unit).collect()
        };
        for list in [
            format!("\u{feff}{windows}").into_bytes(),
            utf16(u16::to_le_bytes, "\u{feff}"),
            utf16(u16::to_be_bytes, "\u{feff}"),
            utf16(u16::to_le_bytes, ""),
            utf16(u16::to_be_bytes, ""),
            format!("{digest}\n").into_bytes(),
            format!("\u{feff}{}\r\n", digest.to_uppercase()).into_bytes(),
            format!("SHA256 hash of linux:\r\n{digest}\r\nCertUtil: done.\r\n").into_bytes(),
            format!("SHA256(linux)= {digest}\n").into_bytes(),
        ] {
            let shown = String::from_utf8_lossy(&list).into_owned();
            assert_eq!(first(&list, URL).unwrap(), "sha256:a", "{shown:?}");
        }
        let two = format!("{digest}\n{}\n", sha256('b'));
        assert_eq!(first(two.as_bytes(), URL), Err(Missing::NotListed(Vec::new())));
    }
}
