//! `URL.txt`: a line for each image of a shacache, in the form that has always been parsed: the file's name, two blanks,
//! its URL, three blanks, its MD5. Pure text.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlLine {
    /// Name of the file, without folders.
    pub name: String,
    pub url: String,
    /// Its MD5, lower-case hexadecimal.
    pub md5: String,
}

impl UrlLine {
    /// Reads a line; none where it has another form.
    pub fn parse(line: &str) -> Option<Self> {
        let words: Vec<_> = line.split_whitespace().collect();
        let [name, url, md5] = words[..] else { return None };
        let fits = url.contains("://") && md5.len() == 32 && md5.bytes().all(|b| b.is_ascii_hexdigit());
        fits.then(|| Self {
            name: name.to_owned(),
            url: url.to_owned(),
            md5: md5.to_ascii_lowercase(),
        })
    }
}

impl std::fmt::Display for UrlLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}  {}   {}", self.name, self.url, self.md5)
    }
}

/// The list with a new line. `names` are those of the whole manifest: their lines come first, in that order; lines of
/// others, and those in no form that we know, keep theirs.
pub(super) fn merged(old: &str, names: &[String], new: &UrlLine) -> String {
    let known: BTreeSet<&str> = names
        .iter()
        .map(String::as_str)
        .chain([new.name.as_str()])
        .collect();
    let mut ours = BTreeMap::new();
    let mut others = Vec::new();
    for line in old.lines().filter(|line| !line.trim().is_empty()) {
        match UrlLine::parse(line) {
            Some(parsed) if known.contains(parsed.name.as_str()) => {
                ours.insert(parsed.name.clone(), parsed.to_string());
            }
            _ => others.push(line.to_owned()),
        }
    }
    ours.insert(new.name.clone(), new.to_string());
    let mut lines: Vec<String> = names
        .iter()
        .chain([&new.name])
        .filter_map(|name| ours.remove(name))
        .collect();
    lines.extend(others);
    lines.iter().fold(String::new(), |text, line| text + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, digit: &str) -> UrlLine {
        UrlLine {
            name: name.to_owned(),
            url: format!("http://a/{name}"),
            md5: digit.repeat(32),
        }
    }

    #[test]
    fn a_new_line_keeps_the_others_in_manifest_order_and_strangers_behind() {
        let names = ["a.gz", "b.gz", "c.gz"].map(str::to_owned);
        let md5 = |digit: &str| digit.repeat(32);
        let first = merged("", &names, &line("c.gz", "1"));
        assert_eq!(first, format!("c.gz  http://a/c.gz   {}\n", md5("1")));
        let old = format!("{first}old.gz  http://a/old   {}\nby hand\n", md5("2"));
        let second = merged(&old, &names, &line("a.gz", "3"));
        let (a, c) = (line("a.gz", "3"), line("c.gz", "1"));
        let rest = format!("old.gz  http://a/old   {}\nby hand\n", md5("2"));
        assert_eq!(second, format!("{a}\n{c}\n{rest}"));
        assert_eq!(merged(&second, &names, &a), second);
        let again = merged(&second, &names, &line("a.gz", "4"));
        assert_eq!(again.lines().count(), 4);
        assert!(again.starts_with(&line("a.gz", "4").to_string()));
    }
}
