//! The forms that texts can have: what the schema and the contracts are made of, and what reads them. Knows no key.

use std::str::FromStr;
use std::time::Duration;

use globset::GlobSet;
use regex::Regex;

use super::key::Form;
use super::{glob, names};
use crate::digest::{Algorithm, Digest};
use crate::size::{ByteSize, MIB, parse_duration};

/// A form that texts can have, as a type.
pub trait TextForm {
    const FORM: &'static Form;
    /// What such a text is read as.
    type Value;

    /// Reads a text with something in it.
    ///
    /// # Errors
    /// It is not of the form.
    fn parse(text: &str) -> Result<Self::Value, BadText>;
}

/// Why a text is not of a form.
#[derive(Debug, PartialEq, Eq)]
pub struct BadText {
    pub cause: String,
    /// What to do, where an example would not say it.
    pub remedy: Option<String>,
}

impl From<String> for BadText {
    fn from(cause: String) -> Self {
        Self { cause, remedy: None }
    }
}

/// Forms of texts as types: what the contracts call one, what a text is read as and how, what it is, its pattern, an
/// example. In the second braces: texts that have the form of another one, of which the reader wants more than a pattern says.
macro_rules! forms {
    (
        {$($shape:ident $name:literal -> $value:ty = $parse:expr, $what:literal, $pattern:literal, $example:literal;)+}
        {$($strict:ident: $like:ident -> $strict_value:ty = $strict_parse:expr;)+}
    ) => {
        $(forms!(@form $shape, $value, $parse, &Form {
            name: $name,
            what: $what,
            pattern: $pattern,
            example: $example,
        });)+
        $(forms!(@form $strict, $strict_value, $strict_parse, $like::FORM);)+

        /// All forms that have a name.
        pub const FORMS: &[&Form] = &[$($shape::FORM),+];
    };
    (@form $shape:ident, $value:ty, $parse:expr, $form:expr) => {
        #[doc = concat!("Texts of the form `", stringify!($shape), "`.")]
        #[derive(Debug)]
        pub struct $shape;

        impl TextForm for $shape {
            const FORM: &'static Form = $form;
            type Value = $value;

            fn parse(text: &str) -> Result<$value, BadText> {
                $parse(text)
            }
        }
    };
}

forms! {{
    Text "Text" -> String = any, "a text with something in it", r"[^\s]", "text";
    AnyText "AnyText" -> String = any, "a text", "", "text";
    Variable "Variable" -> String = variable, "the name of a variable: letters, digits and `_`",
        r"^[A-Za-z_][A-Za-z0-9_]*$", "keymap";
    Size "Size" -> ByteSize = size, "a size", r"^[0-9]+(\.[0-9]{1,6})?(B|[KkMmGgTt]|[KMGT]iB|[kmgt]iB)?$", "20G";
    Time "Duration" -> Duration = time, "a duration", r"^([0-9]+[smhd])+$", "15m";
    Url "Url" -> String = url, "an http:// or https:// URL", r"^https?://[^/\s][^\s]*$",
        "https://mirror.example/debian";
    Sha256 "Sha256" -> Digest = |text| digest(Algorithm::Sha256, text), "the 64 hexadecimal digits of a SHA-256",
        r"^(sha256:)?[0-9a-fA-F]{64}$", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    Sha512 "Sha512" -> Digest = |text| digest(Algorithm::Sha512, text), "the 128 hexadecimal digits of a SHA-512",
        r"^(sha512:)?[0-9a-fA-F]{128}$",
        "ee26b0dd4af7e749aa1a8ee3c10ae9923f618980772e473f8819a5d4940e0db27ac185f8a0e1d5f84f88bc887fd67b143732c304cc5fa9ad8e6f57f50028a8ff";
    Md5 "Md5" -> Digest = |text| digest(Algorithm::Md5, text), "the 32 hexadecimal digits of an MD5", r"^(md5:)?[0-9a-fA-F]{32}$",
        "098f6bcd4621d373cade4e832627b4f6";
    Mode "Mode" -> u32 = mode, "a file mode of three or four octal digits", r"^[0-7]{3,4}$", "0644";
    Owner "Owner" -> String = owner, "`user` or `user:group`",
        r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$", "root:root";
    GuestPath "GuestPath" -> String = guest_path, "an absolute path in the guest", r"^/", "/etc/motd";
    Name "Name" -> String = name, "a name of letters, digits, `.`, `_` and `-`", r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        "base";
    Bucket "Bucket" -> String = bucket,
        "the name of a bucket: 3 to 63 small letters, digits, dots and hyphens", r"^[a-z0-9.-]{3,63}$", "images";
} {
    BaseUrl: Url -> String = base_url;
    SnapshotUrl: Url -> String = snapshot_url;
    Glob: Text -> GlobSet = glob;
    Expression: Text -> String = expression;
    ListKey: Text -> String = list_key;
    ObjectPrefix: Text -> String = object_prefix;
    OneLine: Text -> String = one_line;
}}

fn any(text: &str) -> Result<String, BadText> {
    Ok(text.to_owned())
}

fn variable(text: &str) -> Result<String, BadText> {
    named(text, names::variable_fault(text), names::VARIABLE_REMEDY)
}

fn name(text: &str) -> Result<String, BadText> {
    named(text, names::file_fault(text), names::FILE_REMEDY)
}

fn named(text: &str, cause: Option<String>, remedy: &str) -> Result<String, BadText> {
    match cause {
        None => Ok(text.to_owned()),
        Some(cause) => Err(BadText {
            cause: format!("`{text}` cannot be a name: {cause}"),
            remedy: Some(remedy.to_owned()),
        }),
    }
}

/// A size of a disk or of memory.
fn size(text: &str) -> Result<ByteSize, BadText> {
    let size = ByteSize::from_str(text).map_err(|error| error.to_string())?;
    if size.0 < MIB {
        return Err(BadText {
            cause: format!("{size} is too small"),
            remedy: Some(format!("did you mean \"{text}G\"?")),
        });
    }
    if !size.0.is_multiple_of(512) {
        return Err(BadText {
            cause: format!("{} bytes are not a whole number of sectors", size.0),
            remedy: Some("write a multiple of 512 bytes".to_owned()),
        });
    }
    Ok(size)
}

/// A time that something may take.
fn time(text: &str) -> Result<Duration, BadText> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("a time limit must be greater than zero".to_owned().into()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string().into()),
    }
}

fn url(text: &str) -> Result<String, BadText> {
    if host(text).is_empty() || text.contains(char::is_whitespace) {
        return Err(format!("`{text}` is not an http:// or https:// URL").into());
    }
    Ok(text.to_owned())
}

fn host(url: &str) -> &str {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    rest.and_then(|rest| rest.split('/').next()).unwrap_or_default()
}

/// A URL that paths are appended to: no query, no password; a slash at its end is dropped.
fn base_url(text: &str) -> Result<String, BadText> {
    let text = url(text)?;
    if host(&text).contains('@') {
        let cause = "a user and a password do not belong into the text of a manifest: \
            give them as `user = …` and `password = { env = \"…\" }`";
        return Err(cause.to_owned().into());
    }
    if text.contains(['?', '#']) {
        return Err(format!("`{text}` has a `?` or `#`; file names are appended to it").into());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// A URL with the place of a time in it, and perhaps that of the name of an archive.
fn snapshot_url(text: &str) -> Result<String, BadText> {
    let text = url(text)?;
    let example = "as in \"https://snapshot.debian.org/archive/{archive}/{timestamp}/\"";
    let rest = text.replace("{archive}", "");
    if !rest.contains("{timestamp}") {
        return Err(BadText {
            cause: format!("`{text}` says nowhere which time is meant"),
            remedy: Some(format!("write {{timestamp}} in its place, {example}")),
        });
    }
    if rest.replace("{timestamp}", "").contains(['{', '}']) {
        return Err(BadText {
            cause: format!("`{text}` has something else in braces than `timestamp` and `archive`"),
            remedy: Some(format!("write it {example}")),
        });
    }
    Ok(text)
}

fn digest(algorithm: Algorithm, text: &str) -> Result<Digest, BadText> {
    let bare = text
        .strip_prefix(algorithm.name())
        .and_then(|text| text.strip_prefix(':'));
    let hex = bare.unwrap_or(text);
    Digest::from_str(&format!("{algorithm}:{hex}")).map_err(|_| {
        let cause = match hex.chars().find(|c| !c.is_ascii_hexdigit()) {
            Some(odd) => format!("{odd:?} is not a hexadecimal digit"),
            None => format!(
                "a {algorithm} has {} hexadecimal digits, not {}",
                algorithm.hex_len(),
                hex.len()
            ),
        };
        let remedy = Some("copy it from where the publisher of the file gives it".to_owned());
        BadText { cause, remedy }
    })
}

fn mode(text: &str) -> Result<u32, BadText> {
    let digits = matches!(text.len(), 3 | 4) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if digits => Ok(mode),
        _ => Err(format!("`{text}` is not a file mode (three or four octal digits)").into()),
    }
}

fn owner(text: &str) -> Result<String, BadText> {
    let (user, group) = text.split_once(':').unwrap_or((text, "root"));
    let fits = |name: &str| {
        let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        starts && name.chars().all(rest)
    };
    if fits(user) && fits(group) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not `user` or `user:group`").into())
    }
}

fn guest_path(text: &str) -> Result<String, BadText> {
    if !text.starts_with('/') {
        Err(format!("`{text}` is not an absolute path in the guest").into())
    } else if text.split('/').any(|part| part == "..") || text.contains(char::is_control) {
        Err(format!("{text:?} is not a plain path").into())
    } else {
        Ok(text.to_owned())
    }
}

/// Amazon S3 user guide, "Bucket naming rules": what every store takes.
fn bucket(text: &str) -> Result<String, BadText> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    if (3..=63).contains(&text.len()) && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    let rule = "those have 3 to 63 small letters, digits, dots and hyphens";
    Err(format!("`{text}` cannot be a bucket: {rule}").into())
}

/// What the names of objects begin with; slashes around it are dropped.
fn object_prefix(text: &str) -> Result<String, BadText> {
    let trimmed = text.trim_matches('/');
    if trimmed.is_empty() || trimmed.contains("//") || trimmed.chars().any(char::is_control) {
        return Err(format!("`{text}` cannot begin the name of an object").into());
    }
    Ok(trimmed.to_owned())
}

/// A key of a shadir.
fn list_key(text: &str) -> Result<String, BadText> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:".contains(c);
    match text.chars().find(|c| !plain(*c)) {
        None => Ok(text.to_owned()),
        Some(odd) => Err(format!("`{text}` becomes part of a URL and has {odd:?} in it").into()),
    }
}

/// A name, or a pattern over names.
fn glob(text: &str) -> Result<GlobSet, BadText> {
    glob::compile(text).map_err(|cause| format!("`{text}` is not a pattern: {cause}").into())
}

/// A regular expression.
fn expression(text: &str) -> Result<String, BadText> {
    match Regex::new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => {
            // The last line says what is wrong; those before draw it.
            let error = error.to_string();
            let cause = error.lines().last().unwrap_or_default();
            let cause = cause.trim_start_matches("error: ");
            Err(format!("`{text}` is no regular expression: {cause}").into())
        }
    }
}

/// What reports call something.
fn one_line(text: &str) -> Result<String, BadText> {
    if text.contains(char::is_control) {
        return Err("a name is one line".to_owned().into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_owners_paths_and_times() {
        assert_eq!(mode("0644"), Ok(0o644));
        assert_eq!(mode("755"), Ok(0o755));
        for bad in ["", "rw-r--r--", "0899", "0o644", "+644", "00644"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
        for bad in ["", ":", "root:", "-x", "a b", "a:b:c"] {
            assert!(owner(bad).is_err(), "{bad}");
        }
        assert!(owner("www-data:adm").is_ok() && owner("1000").is_ok());
        for bad in ["etc/motd", "/etc/../x", "/a\nb"] {
            assert!(guest_path(bad).is_err(), "{bad}");
        }
        assert!(time("0s").is_err() && time("90s").is_ok());
        for bad in [
            "ftp://s/{timestamp}",
            "https://s/{archive}",
            "https://s/{timestamp}/{arch}",
        ] {
            assert!(snapshot_url(bad).is_err(), "{bad}");
        }
        assert!(snapshot_url("https://s/{archive}/{timestamp}/").is_ok());
    }

    #[test]
    fn a_broken_regular_expression_says_what_is_wrong_in_one_line() {
        assert_eq!(
            expression("a(b").unwrap_err().cause,
            "`a(b` is no regular expression: unclosed group"
        );
        assert!(expression("^a+$").is_ok());
    }

    /// The pattern is what an editor checks; nothing that it refuses may be read.
    #[test]
    fn examples_are_read_and_fit_their_patterns() {
        for form in FORMS {
            assert!(
                Regex::new(form.pattern).unwrap().is_match(form.example),
                "{}",
                form.name
            );
        }
        assert!(size(Size::FORM.example).is_ok() && time(Time::FORM.example).is_ok());
        assert!(url(Url::FORM.example).is_ok() && Sha256::parse(Sha256::FORM.example).is_ok());
        assert!(name(Name::FORM.example).is_ok() && bucket(Bucket::FORM.example).is_ok());
    }
}
