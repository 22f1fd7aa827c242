//! Facts about families as data: which packages a bootstrap starts from, which features its file system has. Reads the
//! compiled-in table `templates/families.toml`; a new suite is an entry there, not code here.

use toml_edit::{DocumentMut, Item};

use crate::manifest::model::Family;

const TABLE: &str = include_str!("../../../templates/families.toml");

/// What a bootstrap of a suite starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Packages, without the kernel.
    pub packages: Vec<String>,
    /// The small kernel for virtual machines.
    pub kernel: String,
    /// Features of its ext4 root.
    pub features: Vec<String>,
}

/// The base of a suite: the family's packages and the suite's own; the suite's kernel, else the family's.
pub fn base(family: Family, suite: &str) -> Option<Base> {
    let family = match family {
        Family::Debian => "debian",
        Family::Ubuntu => "ubuntu",
        Family::Rhel | Family::Alpine => return None,
    };
    let table: DocumentMut = TABLE.parse().ok()?;
    let family = table.get(family)?;
    let own = family.get(suite);
    let texts = |tables: &[Option<&Item>], name: &str| -> Vec<String> {
        let lists = tables.iter().flatten().filter_map(|t| t.get(name)?.as_array());
        lists
            .flatten()
            .filter_map(|text| text.as_str())
            .map(str::to_owned)
            .collect()
    };
    let packages = texts(&[Some(family), own], "packages");
    let mut features = texts(&[own], "ext4");
    if features.is_empty() {
        features = texts(&[Some(family)], "ext4");
    }
    let kernel = own.and_then(|o| o.get("kernel")).or_else(|| family.get("kernel"));
    Some(Base {
        packages,
        kernel: kernel.and_then(Item::as_str)?.to_owned(),
        features,
    })
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
            assert!(base.features.iter().any(|f| f == "has_journal"), "{suite}");
        }
        assert_eq!(base(Family::Rhel, "9"), None);
    }
}
