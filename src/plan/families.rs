//! Facts about families as data: which packages a bootstrap starts from. Reads the compiled-in table
//! `templates/families.toml`; a new suite is an entry there, not code here.

use toml_edit::{DocumentMut, Item};

use crate::manifest::model::Family;

const TABLE: &str = include_str!("../../templates/families.toml");

/// What a bootstrap of a suite starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Packages, without the kernel.
    pub packages: Vec<String>,
    /// The small kernel for virtual machines.
    pub kernel: String,
}

/// The base of a suite: the family's entry, with what the suite's own entry says instead.
pub fn base(family: Family, suite: &str) -> Option<Base> {
    let family = match family {
        Family::Debian => "debian",
        Family::Ubuntu => "ubuntu",
        Family::Rhel | Family::Alpine => return None,
    };
    let table: DocumentMut = TABLE.parse().ok()?;
    let family = table.get(family)?;
    let own = family.get(suite);
    let find = |name: &str| own.and_then(|o| o.get(name)).or_else(|| family.get(name));
    let packages = find("packages").and_then(Item::as_array)?;
    let kernel = find("kernel").and_then(Item::as_str)?.to_owned();
    let packages = packages.iter().filter_map(|p| p.as_str()).map(str::to_owned).collect();
    Some(Base { packages, kernel })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_supported_suite_has_a_base() {
        for (family, suite) in [
            (Family::Debian, "bullseye"),
            (Family::Debian, "bookworm"),
            (Family::Debian, "trixie"),
            (Family::Ubuntu, "jammy"),
            (Family::Ubuntu, "noble"),
        ] {
            let base = base(family, suite).unwrap_or_else(|| panic!("{suite}"));
            assert!(base.packages.iter().any(|p| p == "openssh-server"), "{suite}");
            assert!(base.kernel.starts_with("linux-image"), "{suite}");
        }
        assert_eq!(base(Family::Rhel, "9"), None);
    }
}
