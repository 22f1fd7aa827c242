//! Which names are allowed where. Knows nothing of tables or problems.

use std::path::{Component, Path};

/// Longest name of a distro, a flavor or an image; well below the 255 bytes of a file name.
const LONGEST: usize = 120;

/// What to write where [`file_fault`] complains.
pub const FILE_REMEDY: &str =
    "names become file names: use letters, digits, `.`, `_` and `-`, and begin with a letter or a digit";

/// What to write where [`variable_fault`] complains.
pub const VARIABLE_REMEDY: &str = "use letters, digits and `_`, and begin with a letter or `_`";

/// Why a name cannot be part of a file name, an argument and a glob.
pub fn file_fault(name: &str) -> Option<String> {
    let odd = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if name.is_empty() {
        Some("it is empty".to_owned())
    } else if let Some(odd) = name.chars().find(odd) {
        Some(format!("it contains {odd:?}"))
    } else if name.starts_with(['.', '-', '_']) {
        Some(format!("it begins with `{}`", &name[..1]))
    } else if name.len() > LONGEST {
        Some(format!("it is longer than {LONGEST} characters"))
    } else {
        None
    }
}

/// Why a name cannot be that of a variable, in templates and in the shell.
pub fn variable_fault(name: &str) -> Option<String> {
    let odd = |c: &char| !(c.is_ascii_alphanumeric() || *c == '_');
    if name.is_empty() {
        Some("it is empty".to_owned())
    } else if let Some(odd) = name.chars().find(odd) {
        Some(format!("it contains {odd:?}"))
    } else if name.starts_with(|c: char| c.is_ascii_digit()) {
        Some("it begins with a digit".to_owned())
    } else {
        None
    }
}

/// Why a path cannot be that of a published file below the output folder.
pub fn output_fault(path: &str) -> Option<&'static str> {
    if path.is_empty() || path.ends_with('/') {
        return Some("it names no file");
    }
    for component in Path::new(path).components() {
        match component {
            Component::RootDir | Component::Prefix(_) => return Some("it is absolute"),
            Component::ParentDir => return Some("it leaves the output folder"),
            Component::CurDir => return Some("it has a `.` in it"),
            Component::Normal(name) => {
                if name.to_str().is_none_or(|name| file_fault(name).is_some()) {
                    return Some(
                        "its parts must be letters, digits, `.`, `_` and `-`, and begin with a letter or a digit",
                    );
                }
            }
        }
    }
    path.contains("//").then_some("it has an empty part")
}

/// A file's stem as a name: what is not allowed becomes `-`.
pub fn from_stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
            c
        } else {
            '-'
        }
    };
    let name: String = stem.chars().map(fit).take(LONGEST).collect();
    let name = name.trim_start_matches(['.', '-', '_']);
    if name.is_empty() { "pipeline" } else { name }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_files_arguments_and_globs_can_take() {
        for good in ["debian12", "ubuntu-22.04-server", "a_b", "1.5G"] {
            assert_eq!(file_fault(good), None);
        }
        let long = "x".repeat(LONGEST + 1);
        for (bad, why) in [
            ("", "it is empty"),
            ("..", "it begins with `.`"),
            ("-x", "it begins with `-`"),
            ("a/b", "it contains '/'"),
            ("a b", "it contains ' '"),
            ("*", "it contains '*'"),
            ("é", "it contains 'é'"),
            ("a\n", "it contains '\\n'"),
            (&long, "it is longer than 120 characters"),
        ] {
            assert_eq!(file_fault(bad).as_deref(), Some(why), "{bad}");
        }
        assert_eq!(variable_fault("A_1"), None);
        for (bad, why) in [
            ("", "it is empty"),
            ("1A", "it begins with a digit"),
            ("A-1", "it contains '-'"),
        ] {
            assert_eq!(variable_fault(bad).as_deref(), Some(why), "{bad}");
        }
    }

    #[test]
    fn published_files_stay_below_the_output_folder() {
        assert_eq!(output_fault("output-x/packer-x.gz"), None);
        for (bad, why) in [
            ("", "it names no file"),
            ("a/", "it names no file"),
            ("/etc/x", "it is absolute"),
            ("../x", "it leaves the output folder"),
            ("a/../b", "it leaves the output folder"),
            ("a//b", "it has an empty part"),
            ("./a", "it has a `.` in it"),
            ("a/.b", "its parts must be letters"),
            ("a b", "its parts must be letters"),
        ] {
            assert!(
                output_fault(bad).is_some_and(|fault| fault.starts_with(why)),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_file_name_is_a_pipeline_name() {
        assert_eq!(from_stem(Path::new("dir/my images.toml")), "my-images");
        assert_eq!(from_stem(Path::new("..")), "pipeline");
    }
}
