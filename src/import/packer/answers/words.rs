//! What the words of installers mean, as far as that is a table: `words.toml`.

use std::sync::LazyLock;

use serde::Deserialize;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Meaning {
    /// Its value is this var.
    Var(String),
    /// The program does this instead.
    Decided(String),
    /// It has no place: what it meant and what to do.
    Lost(String),
    /// The image is not what it was before the user has decided.
    Todo(String),
    Is(Kind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Nothing,
    /// Of an account.
    Password,
    /// Root's password.
    Root,
    /// Partitions and boot loader.
    Disk,
    /// Of the installation.
    End,
}

#[derive(Debug, Deserialize)]
pub struct Row {
    keys: Vec<String>,
    #[serde(flatten)]
    meaning: Meaning,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    pub preseed: Vec<Row>,
    pub kickstart: Vec<Row>,
    pub autoinstall: Vec<Row>,
    pub typed: Vec<Row>,
}

pub static WORDS: LazyLock<Words> = LazyLock::new(|| {
    toml_edit::de::from_str(include_str!("words.toml")).expect("words.toml is as its test wants it")
});

/// What a word means; none where code has to look.
pub fn meaning(rows: &'static [Row], word: &str) -> Option<&'static Meaning> {
    let fits = |key: &String| match key.strip_suffix('*') {
        Some(start) => word.starts_with(start),
        None => word == key,
    };
    let row = rows.iter().find(|row| row.keys.iter().any(fits))?;
    Some(&row.meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_read_and_has_no_word_twice() {
        for rows in [&WORDS.preseed, &WORDS.kickstart, &WORDS.autoinstall, &WORDS.typed] {
            let mut keys: Vec<_> = rows.iter().flat_map(|row| &row.keys).collect();
            let count = keys.len();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), count);
        }
        let disk = Some(&Meaning::Is(Kind::Disk));
        assert_eq!(meaning(&WORDS.preseed, "partman-auto/method"), disk);
        assert_eq!(meaning(&WORDS.preseed, "d-i"), None);
    }
}
