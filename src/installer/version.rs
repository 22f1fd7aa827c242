//! Versions as publishers write them: `12`, `24.04.2`, `8.1.1911`, `9-stream`, `rawhide`, `noble`. Pure.

/// Names of releases whose installer or answers differ from those of the newest. Any other word counts as the newest.
const NAMES: [(&str, &str); 4] = [
    ("xenial", "16.04"),
    ("bionic", "18.04"),
    ("focal", "20.04"),
    ("jammy", "22.04"),
];

/// The number of a release that is known by a name; all else as it is.
pub fn numbered(version: &str) -> &str {
    let named = NAMES.iter().find(|(name, _)| *name == version);
    named.map_or(version, |(_, number)| number)
}

/// The first number in a version; the highest of all where it has none.
pub fn major(version: &str) -> u32 {
    let version = numbered(version);
    let start = version.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = start.find(|c: char| !c.is_ascii_digit()).unwrap_or(start.len());
    start[..end].parse().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_write_versions_in_many_ways() {
        for (version, number) in [
            ("12", 12),
            ("7.9.2009", 7),
            ("8.1.1911", 8),
            ("9-stream", 9),
            ("stream9", 9),
            ("24.04.2", 24),
            ("jammy", 22),
            ("focal", 20),
            ("noble", u32::MAX),
            ("rawhide", u32::MAX),
        ] {
            assert_eq!(major(version), number, "{version}");
        }
    }
}
