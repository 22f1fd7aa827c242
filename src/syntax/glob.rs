//! Patterns over names: `debian12-*`. Knows nothing of what has the names.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Longest pattern, in bytes: far more than any name has.
const LONGEST: usize = 1024;

/// Compiles a pattern; a set of one, because that is what says when its alternatives are nested too deep.
///
/// # Errors
/// What is wrong with it, in a few words.
pub fn compile(text: &str) -> Result<GlobSet, String> {
    if text.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    let glob = GlobBuilder::new(text).build();
    let glob = glob.map_err(|error| error.kind().to_string())?;
    let set = GlobSetBuilder::new().add(glob).build();
    set.map_err(|_| "its alternatives are nested too deep".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monsters_are_refused() {
        assert!(
            compile("debian1[12]-{25,50}G-*")
                .unwrap()
                .is_match("debian12-50G-x")
        );
        assert!(compile("a[").is_err());
        let nested = format!("{}{}", "{a,".repeat(300), "}".repeat(300));
        assert_eq!(
            compile(&nested).map(|_| ()).unwrap_err(),
            "it is longer than 1024 bytes"
        );
        let nested = format!("{}{}", "{a,".repeat(253), "}".repeat(253));
        let refused = compile(&nested).map(|_| ());
        assert_eq!(refused, Err("its alternatives are nested too deep".to_owned()));
    }
}
