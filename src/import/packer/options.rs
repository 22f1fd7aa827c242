//! What becomes of every key of Packer's qemu builder, of its provisioners and post-processors: `options.toml`, for the
//! report. Keys that are taken are read elsewhere.

use std::sync::LazyLock;

use serde::Deserialize;

/// What becomes of a key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It is in the manifest: where.
    Taken(String),
    /// The program does this without being asked: how.
    Ours(String),
    /// It has no place: what it meant and what to do.
    Lost(String),
}

#[derive(Debug, Deserialize)]
struct Row {
    /// The type of a provisioner; `*`: every one.
    #[serde(default)]
    of: String,
    keys: Vec<String>,
    #[serde(flatten)]
    fate: Fate,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    builder: Vec<Row>,
    provisioner: Vec<Row>,
    provisioner_type: Vec<Row>,
    post_processor: Vec<Row>,
}

static OPTIONS: LazyLock<Options> = LazyLock::new(|| {
    toml_edit::de::from_str(include_str!("options.toml")).expect("options.toml is as its test wants it")
});

fn fate(rows: &'static [Row], of: &str, key: &str) -> Option<&'static Fate> {
    let fits = |row: &&Row| {
        (row.of.is_empty() || row.of == "*" || row.of == of) && row.keys.iter().any(|known| known == key)
    };
    rows.iter().find(fits).map(|row| &row.fate)
}

/// The fate of a builder's key.
pub fn of_builder(key: &str) -> Option<&'static Fate> {
    fate(&OPTIONS.builder, "", key)
}

/// The fate of a provisioner's key.
pub fn of_provisioner(kind: &str, key: &str) -> Option<&'static Fate> {
    fate(&OPTIONS.provisioner, kind, key)
}

/// The fate of a provisioner that becomes no step.
pub fn of_provisioner_type(kind: &str) -> Option<&'static Fate> {
    fate(&OPTIONS.provisioner_type, "", kind)
}

/// The fate of a post-processor as a whole.
pub fn of_post_processor(kind: &str) -> Option<&'static Fate> {
    fate(&OPTIONS.post_processor, "", kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_names_every_key() {
        let page = include_str!("../../../docs/from-packer.md");
        let rows = OPTIONS.builder.iter().chain(&OPTIONS.provisioner);
        let missing: Vec<_> = rows
            .flat_map(|row| &row.keys)
            .filter(|key| !page.contains(&format!("`{key}`")))
            .collect();
        assert!(missing.is_empty(), "docs/from-packer.md lacks {missing:?}");
    }

    #[test]
    fn the_table_can_be_read_and_has_no_key_twice() {
        for rows in [&OPTIONS.builder, &OPTIONS.provisioner, &OPTIONS.post_processor] {
            let mut keys: Vec<_> = rows
                .iter()
                .flat_map(|row| row.keys.iter().map(move |key| (&row.of, key)))
                .collect();
            keys.sort_unstable();
            let count = keys.len();
            keys.dedup();
            assert_eq!(count, keys.len());
            assert!(count > 5, "{count}");
        }
    }
}
