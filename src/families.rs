//! What is known of families of distributions, of their installers and releases, as tables: the built-in ones of `templates/`, and
//! those that a manifest adds. Knows no row by name. Pure.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use serde::Deserialize;
use serde::de::IntoDeserializer as _;
use toml_edit::{Document, Item, Key};

use crate::installer::{Installer, Program};
use crate::platform::Arch;
use crate::releases::{Recipe, Unknown};

const BUILT_IN: [&str; 3] = [
    include_str!("../templates/families.toml"),
    include_str!("../templates/installers.toml"),
    include_str!("../templates/releases.toml"),
];

/// A family of distributions: the conventions that its guests follow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    #[serde(skip)]
    pub name: String,
    /// The file that it stands in, where that is one of the user's.
    #[serde(skip)]
    pub origin: Option<String>,
    /// Who a build logs in as on its cloud images.
    pub user: String,
    /// Origin of its archive, where it has apt.
    pub apt: Option<String>,
    /// Suites of its releases by version, where its archive has suites.
    #[serde(default)]
    pub releases: BTreeMap<String, String>,
    /// How a disk is made of its packages alone, where that can be done.
    pub bootstrap: Option<Base>,
}

/// How a disk is made of packages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Template of the setup script.
    pub answers: String,
    /// Packages, without kernel and boot loader.
    pub packages: Vec<String>,
    /// The small kernel for virtual machines.
    pub kernel: String,
    /// The same for other architectures than amd64.
    #[serde(default)]
    pub kernels: BTreeMap<String, String>,
    /// Features of the ext4 root.
    pub ext4: Vec<String>,
    /// Packages of the boot loader that starts a disk by both firmwares; without it no such disk can be made.
    #[serde(default)]
    pub both_boot_loaders: Vec<String>,
    /// What differs in suites.
    #[serde(default)]
    pub suites: BTreeMap<String, Suite>,
}

/// What differs in a suite.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// More packages.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Another kernel.
    pub kernel: Option<String>,
    /// Other features.
    pub ext4: Option<Vec<String>>,
}

/// All that is known, by name.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    families: BTreeMap<String, Arc<Family>>,
    installers: BTreeMap<String, Arc<Installer>>,
    programs: BTreeMap<String, Arc<Program>>,
    recipes: BTreeMap<String, Arc<Recipe>>,
}

/// A kind of row, by the name of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Family,
    Installer,
    Program,
    Release,
}

/// What is wrong with a text of tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Dotted place: `installer.leap`.
    pub path: String,
    pub span: Range<usize>,
    pub fault: Fault,
}

/// Kinds of mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A key that means nothing there, and those that do.
    Unknown { key: String, known: Vec<String> },
    /// A key that must be there.
    Missing(String),
    /// Anything else.
    Other(String),
}

/// What to do about a row that is not as it must be.
pub const SEE: &str =
    "docs/manifest.md (\"A family of your own\") has an example, and says where each key is explained";

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let mut tables = Tables::default();
    for text in BUILT_IN {
        let (found, mistakes) = read(text);
        assert!(mistakes.is_empty(), "the built-in tables: {mistakes:?}");
        tables.add(found);
    }
    tables
});

impl Tables {
    pub fn built_in() -> &'static Self {
        &TABLES
    }

    /// Adds rows, in place of those of the same name.
    pub fn add(&mut self, rows: Self) {
        self.families.extend(rows.families);
        self.installers.extend(rows.installers);
        self.programs.extend(rows.programs);
        self.recipes.extend(rows.recipes);
    }

    /// The same, as rows of a file of the user's.
    pub fn of_file(mut self, file: &str) -> Self {
        for row in self.families.values_mut() {
            Arc::make_mut(row).origin = Some(file.to_owned());
        }
        for row in self.installers.values_mut() {
            Arc::make_mut(row).origin = Some(file.to_owned());
        }
        for row in self.recipes.values_mut() {
            Arc::make_mut(row).origin = Some(file.to_owned());
        }
        self
    }

    /// All rows, by kind and name.
    pub fn names(&self) -> impl Iterator<Item = (Kind, &str)> {
        let families = self.families.keys().map(|name| (Kind::Family, name));
        let installers = self.installers.keys().map(|name| (Kind::Installer, name));
        let programs = self.programs.keys().map(|name| (Kind::Program, name));
        let recipes = self.recipes.keys().map(|name| (Kind::Release, name));
        let all = families.chain(installers).chain(programs).chain(recipes);
        all.map(|(kind, name)| (kind, name.as_str()))
    }

    pub fn family(&self, name: &str) -> Option<&Arc<Family>> {
        self.families.get(name)
    }

    /// The installer of a version of a family (`debian`, `12`): of the user's own rows before the built-in ones, and of
    /// those one that names the version before one for all.
    pub fn installer(&self, family: &str, version: &str) -> Option<&Arc<Installer>> {
        let of_family = self.installers.values().filter(|row| row.family == family);
        let fitting = of_family.filter(|row| row.versions.is_empty() || row.names(version));
        fitting.min_by_key(|row| (row.origin.is_none(), row.versions.is_empty()))
    }

    pub fn program(&self, name: &str) -> Option<&Arc<Program>> {
        self.programs.get(name)
    }

    /// The recipe and the version of a release: `debian-12`, `centos-stream-9`.
    ///
    /// # Errors
    /// [`Unknown::Release`].
    pub fn release<'a>(&self, release: &'a str) -> Result<(&Arc<Recipe>, &'a str), Unknown> {
        let found = release.rsplit_once('-').and_then(|(name, version)| {
            let recipe = self.recipes.get(name)?;
            (!version.is_empty()).then_some((recipe, version))
        });
        found.ok_or_else(|| {
            let names: Vec<_> = self.recipes.keys().map(String::as_str).collect();
            Unknown::Release {
                release: release.to_owned(),
                remedy: match self.recipes.contains_key(release) {
                    true => format!("add the version: {release}-12"),
                    false => format!("write NAME-VERSION with one of {}", names.join(", ")),
                },
            }
        })
    }

    /// Recipes, by name.
    pub fn recipes(&self) -> impl Iterator<Item = &Arc<Recipe>> {
        self.recipes.values()
    }

    /// Families, by name.
    pub fn families(&self) -> impl Iterator<Item = &Arc<Family>> {
        self.families.values()
    }

    /// Installers with their names.
    pub fn installers(&self) -> impl Iterator<Item = (&str, &Arc<Installer>)> {
        self.installers.iter().map(|(name, row)| (name.as_str(), row))
    }

    /// Names of programs.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        self.programs.keys().map(String::as_str)
    }
}

impl Base {
    /// The same for one suite and architecture; its kernel is empty where none is known.
    pub fn of(&self, suite: &str, arch: Arch) -> Self {
        let own = self.suites.get(suite).cloned().unwrap_or_default();
        let kernel = match arch {
            Arch::Amd64 => own.kernel.unwrap_or_else(|| self.kernel.clone()),
            Arch::Arm64 => self.kernels.get(arch.name()).cloned().unwrap_or_default(),
        };
        Self {
            answers: self.answers.clone(),
            packages: [self.packages.as_slice(), &own.packages].concat(),
            kernel,
            kernels: BTreeMap::new(),
            ext4: own.ext4.unwrap_or_else(|| self.ext4.clone()),
            both_boot_loaders: self.both_boot_loaders.clone(),
            suites: BTreeMap::new(),
        }
    }
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Family, Self::Installer, Self::Program, Self::Release];

    /// The first part of its tables' headers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Family => "family",
            Self::Installer => "installer",
            Self::Program => "program",
            Self::Release => "release",
        }
    }
}

/// Reads tables; rows with mistakes are left out.
pub fn read(text: &str) -> (Tables, Vec<Mistake>) {
    let (mut tables, mut mistakes) = (Tables::default(), Vec::new());
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            mistakes.push(Mistake {
                path: String::new(),
                span: error.span().unwrap_or(0..0),
                fault: Fault::Other(error.message().to_owned()),
            });
            return (tables, mistakes);
        }
    };
    for (name, item) in document.iter() {
        let key = document.key(name);
        match Kind::ALL.into_iter().find(|kind| kind.name() == name) {
            Some(Kind::Family) => {
                let named = |name: &str, row| Family {
                    name: name.to_owned(),
                    ..row
                };
                tables.families = rows((name, key, item), named, &mut mistakes);
            }
            Some(Kind::Installer) => {
                tables.installers = rows((name, key, item), |_, row| row, &mut mistakes);
            }
            Some(Kind::Program) => tables.programs = rows((name, key, item), |_, row| row, &mut mistakes),
            Some(Kind::Release) => {
                let named = |name: &str, row| Recipe {
                    name: name.to_owned(),
                    ..row
                };
                tables.recipes = rows((name, key, item), named, &mut mistakes);
            }
            None => mistakes.push(Mistake {
                path: String::new(),
                span: place(key, item),
                fault: Fault::Unknown {
                    key: name.to_owned(),
                    known: Kind::ALL.map(|kind| kind.name().to_owned()).into(),
                },
            }),
        }
    }
    (tables, mistakes)
}

/// The rows of one kind by name.
fn rows<T: for<'de> Deserialize<'de>>(
    (kind, key, item): (&str, Option<&Key>, &Item),
    named: impl Fn(&str, T) -> T,
    mistakes: &mut Vec<Mistake>,
) -> BTreeMap<String, Arc<T>> {
    let Some(table) = item.as_table_like() else {
        mistakes.push(Mistake {
            path: kind.to_owned(),
            span: place(key, item),
            fault: Fault::Other(format!("is no table; write [{kind}.NAME]")),
        });
        return BTreeMap::new();
    };
    let mut found = BTreeMap::new();
    for (name, item) in table.iter() {
        let row = item.clone().into_value().ok();
        let row = row.map(|value| T::deserialize(value.into_deserializer()));
        match row {
            Some(Ok(row)) => drop(found.insert(name.to_owned(), Arc::new(named(name, row)))),
            Some(Err(error)) => mistakes.push(Mistake {
                path: format!("{kind}.{name}"),
                span: error.span().unwrap_or_else(|| place(table.key(name), item)),
                fault: Fault::of(error.message()),
            }),
            None => {}
        }
    }
    found
}

/// Where a row, or a value of it, stands in a text: `installer`, `leap`, `answers`.
pub fn span(text: &str, place: &[&str]) -> Option<Range<usize>> {
    let document = Document::parse(text).ok()?;
    let mut item = document.as_item();
    let mut found = None;
    for name in place {
        let table = item.as_table_like()?;
        let key = table.key(name);
        item = table.get(name)?;
        found = item.span().or(key.and_then(Key::span));
    }
    found
}

/// Where a key or what it names stands.
fn place(key: Option<&Key>, item: &Item) -> Range<usize> {
    key.and_then(Key::span).or(item.span()).unwrap_or(0..0)
}

impl Fault {
    /// What serde says, taken apart.
    fn of(message: &str) -> Self {
        let mut quoted = message.split('`').skip(1).step_by(2).map(str::to_owned);
        if message.starts_with("unknown field")
            && let Some(key) = quoted.next()
        {
            return Self::Unknown {
                key,
                known: quoted.collect(),
            };
        }
        if message.starts_with("missing field")
            && let Some(key) = quoted.next()
        {
            return Self::Missing(key);
        }
        match message.split_once(", expected struct ") {
            Some((found, _)) => Self::Other(format!("{found}, expected a table")),
            None => Self::Other(message.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Platform;

    #[test]
    fn every_row_is_whole() {
        let tables = Tables::built_in();
        for (name, row) in tables.installers() {
            assert!(tables.program(&row.program).is_some(), "{name}");
            assert!(tables.family(&row.family).is_some(), "{name}");
            assert!(row.takes(row.delivery), "{name}");
            let arch = Platform::default().hardware().arch;
            assert!(row.images.contains_key(arch), "{name}");
            assert!(row.label.len() <= 11, "{name}: a FAT label has eleven letters");
        }
        for name in tables.programs() {
            let program = tables.program(name).unwrap();
            assert!(
                !program.progress.is_empty() && !program.fatal.is_empty(),
                "{name}"
            );
            let mut known = program.fatal.iter().chain(&program.question);
            assert!(known.all(|dead| !dead.remedy.is_empty()), "{name}");
        }
        for recipe in tables.recipes() {
            assert_eq!(recipe.fault(), None, "{}", recipe.name);
            for arch in ["amd64", "arm64"] {
                let has = recipe.has();
                assert!(has.contains(&format!("iso for {arch}")), "{}", recipe.name);
                assert!(has.contains(&format!("disk for {arch}")), "{}", recipe.name);
            }
        }
    }

    #[test]
    fn versions_choose_the_installer() {
        let program = |family, version| {
            let row = Tables::built_in().installer(family, version);
            row.map(|row| row.program.as_str())
        };
        assert_eq!(program("debian", "13"), Some("debian-installer"));
        assert_eq!(program("ubuntu", "20.04"), Some("debian-installer"));
        assert_eq!(program("ubuntu", "20.04.6"), Some("debian-installer"));
        assert_eq!(program("ubuntu", "focal"), Some("debian-installer"));
        assert_eq!(program("ubuntu", "24.04.2"), Some("subiquity"));
        assert_eq!(program("ubuntu", "noble"), Some("subiquity"));
        assert_eq!(program("rhel", "8"), Some("anaconda"));
        assert_eq!(program("alpine", "3.23"), None);
    }

    #[test]
    fn every_supported_suite_has_a_base() {
        for (family, suite, of_suite) in [
            ("debian", "bullseye", Some("isc-dhcp-client")),
            ("debian", "bookworm", Some("isc-dhcp-client")),
            ("debian", "trixie", Some("dhcpcd-base")),
            ("ubuntu", "focal", None),
            ("ubuntu", "jammy", None),
            ("ubuntu", "noble", Some("systemd-resolved")),
        ] {
            let family = Tables::built_in().family(family).unwrap();
            let base = family.bootstrap.as_ref().unwrap().of(suite, Arch::Amd64);
            assert!(base.packages.iter().any(|p| p == "openssh-server"), "{suite}");
            assert_eq!(
                base.packages.last().filter(|_| of_suite.is_some()),
                of_suite.map(str::to_owned).as_ref()
            );
            assert!(base.kernel.starts_with("linux-image"), "{suite}");
            assert!(base.ext4.iter().any(|f| f == "has_journal"), "{suite}");
        }
        assert_eq!(Tables::built_in().family("rhel").unwrap().bootstrap, None);
    }

    /// Users read these lines, and nothing else, to write rows of their own.
    #[test]
    fn the_tables_explain_every_key() {
        let heads: String = BUILT_IN.concat();
        let explained: String = heads.lines().filter(|line| line.starts_with('#')).collect();
        let unknown = "[family.x]\n?\n[family.y.bootstrap]\n?\n[family.z.bootstrap.suites.x]\n?\n[installer.x]\n?\n\
                       [program.x]\n?\n[program.y]\nfatal = [{ none = 1 }]\n[program.z]\nprogress = [{ none = 1 }]\n\
                       [release.x]\n?\n[[release.y.iso]]\n?\n";
        let (_, mistakes) = read(&unknown.replace('?', "none = 1"));
        assert_eq!(mistakes.len(), 9);
        for mistake in mistakes {
            let Fault::Unknown { known, .. } = mistake.fault else {
                panic!("{mistake:?}");
            };
            for key in known {
                assert!(
                    explained.contains(&key),
                    "{}: `{key}` is not explained",
                    mistake.path
                );
            }
        }
    }

    #[test]
    fn rows_of_ones_own_come_first_and_mistakes_have_places() {
        let text = "[family.void]\nuser = \"void\"\n[family.bad]\nusr = \"x\"\n[distro.x]\n[program]\nx = 1\n\
                    [installer.void]\nfamily = \"void\"\ndisk = \"much\"\n[installer.less]\nfamily = \"void\"\n";
        let (tables, mistakes) = read(text);
        assert_eq!(
            tables.families().map(|row| row.name.as_str()).collect::<Vec<_>>(),
            ["void"]
        );
        let lines: Vec<_> = mistakes
            .iter()
            .map(|mistake| (mistake.path.as_str(), &text[mistake.span.clone()], &mistake.fault))
            .collect();
        insta::assert_debug_snapshot!(lines);
    }
}
