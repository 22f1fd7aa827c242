//! Where distributions list the media of their releases, and which of them is the newest: recipes are rows of the tables in
//! [`crate::families`], where the first lines of `templates/releases.toml` say what each key means. Pure: what is fetched
//! is given as bytes.

mod order;
mod read;

pub use self::order::compare;

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde::{Deserialize, Serialize};

use self::read::Listed;
use crate::digest::Digest;
use crate::platform::Arch;

/// What of a release is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Its installer, as a CD or DVD image.
    Iso,
    /// A disk image that is installed already.
    Disk,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Iso, Self::Disk];

    /// As in manifests and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Iso => "iso",
            Self::Disk => "disk",
        }
    }
}

/// How the media of a distribution's releases are found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    #[serde(skip)]
    pub name: String,
    /// The file that it stands in, where that is one of the user's.
    #[serde(skip)]
    pub origin: Option<String>,
    /// Names of releases by version, where URLs have them.
    #[serde(default)]
    pub names: BTreeMap<String, String>,
    /// Where installers are.
    #[serde(default)]
    pub iso: Vec<Place>,
    /// Where disk images are.
    #[serde(default)]
    pub disk: Vec<Place>,
}

/// Where media of one kind are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Architectures that it has, with the publisher's names of them.
    pub arches: BTreeMap<String, String>,
    /// Folders whose listings are looked through.
    #[serde(default)]
    pub folders: Vec<String>,
    /// Pattern of what is looked for there.
    #[serde(default)]
    pub entry: String,
    /// URL of the list that has the digests.
    pub list: String,
    #[serde(default)]
    pub form: Form,
    /// Fields that what is wanted has in a list.
    #[serde(default)]
    pub select: BTreeMap<String, String>,
    /// File that is wanted of each version of a product.
    #[serde(default)]
    pub item: String,
    /// Pattern of the file's path.
    #[serde(default)]
    pub file: String,
    /// URL of the file, where it is not next to the list.
    #[serde(default)]
    pub url: String,
    /// URL that it has once it is not the newest any more.
    #[serde(default)]
    pub archive: String,
    /// URL of a list that has the same digest and is signed, where the first one is not.
    #[serde(default)]
    pub checksums: String,
    /// URL of the signature, or `inside`.
    #[serde(default)]
    pub signature: String,
    /// Files of public keys by which it must be signed.
    #[serde(default)]
    pub keyrings: Vec<String>,
    /// Packages that have these files.
    #[serde(default)]
    pub packages: Vec<String>,
    /// What `{variant}` means where none is asked for.
    #[serde(default)]
    pub variant: String,
}

/// Forms of lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// As `sha256sum` and BSD's tools write them.
    #[default]
    Sums,
    Simplestreams,
    /// Fedora's `releases.json`.
    Fedora,
    /// Alpine's `latest-releases.yaml`.
    Alpine,
}

/// Where the signature of a list is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// Nowhere.
    None,
    /// Around its text.
    Inside,
    At(String),
}

/// Something in the listing of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub url: String,
    pub version: String,
}

/// A file that a release consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Medium {
    /// As its publisher counts: `12.11.0`, `20251103-2287`.
    pub version: String,
    /// Where it is now, and where it will be once it is not the newest any more.
    pub urls: Vec<String>,
    /// The best first.
    pub digests: Vec<Digest>,
    pub size: Option<u64>,
}

/// Why there is no way to a release.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No recipe has the name.
    #[error("no recipe knows `{release}`; {remedy}")]
    Release { release: String, remedy: String },
    /// URLs need a name that the version has not.
    #[error("the recipe `{recipe}` has no name for version {version}; it has {}", .known.join(", "))]
    Version {
        recipe: String,
        version: String,
        known: Vec<String>,
    },
    #[error("the recipe `{recipe}` finds no {} for {}; it has {}", .kind.name(), .arch.name(), .has.join(", "))]
    Kind {
        recipe: String,
        kind: Kind,
        arch: Arch,
        has: Vec<String>,
    },
}

/// The way to a release of one kind for one architecture.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    place: &'a Place,
    /// What stands for `{NAME}` in the place's texts.
    words: Vec<(&'static str, String)>,
    /// What replaces the host of each URL.
    from: Option<&'a str>,
}

impl Recipe {
    /// The places of a kind.
    pub fn places(&self, kind: Kind) -> &[Place] {
        match kind {
            Kind::Iso => &self.iso,
            Kind::Disk => &self.disk,
        }
    }

    /// The way to a version. `from` is the base of a mirror that has the paths of the publisher's hosts.
    ///
    /// # Errors
    /// [`Unknown`].
    pub fn query<'a>(
        &'a self,
        version: &str,
        kind: Kind,
        arch: Arch,
        variant: Option<&str>,
        from: Option<&'a str>,
    ) -> Result<Query<'a>, Unknown> {
        let mut places = self.places(kind).iter();
        let place = places.find(|place| place.arches.contains_key(arch.name()));
        let place = place.ok_or_else(|| Unknown::Kind {
            recipe: self.name.clone(),
            kind,
            arch,
            has: self.has(),
        })?;
        let name = self.names.get(version);
        if name.is_none() && place.texts().any(|text| text.contains("{name}")) {
            return Err(Unknown::Version {
                recipe: self.name.clone(),
                version: version.to_owned(),
                known: self.names.keys().cloned().collect(),
            });
        }
        let words = vec![
            ("{version}", version.to_owned()),
            ("{arch}", place.arches[arch.name()].clone()),
            ("{name}", name.cloned().unwrap_or_default()),
            ("{variant}", variant.unwrap_or(&place.variant).to_owned()),
        ];
        Ok(Query { place, words, from })
    }

    /// All that it finds: `iso for amd64`.
    pub fn has(&self) -> Vec<String> {
        let kinds = Kind::ALL.into_iter();
        let all = kinds.flat_map(|kind| {
            let arches: BTreeSet<_> = self.places(kind).iter().flat_map(|p| p.arches.keys()).collect();
            arches
                .into_iter()
                .map(move |arch| format!("{} for {arch}", kind.name()))
        });
        all.collect()
    }

    /// What is wrong with it: a key of its row, and why.
    pub fn fault(&self) -> Option<(String, String)> {
        let kinds = Kind::ALL.into_iter();
        let mut places = kinds.flat_map(|kind| self.places(kind).iter().map(move |place| (kind, place)));
        places.find_map(|(kind, place)| {
            let (key, cause) = place.fault()?;
            Some((format!("{}.{key}", kind.name()), cause))
        })
    }
}

impl Place {
    fn texts(&self) -> impl Iterator<Item = &str> {
        let one = [
            &self.entry,
            &self.list,
            &self.file,
            &self.url,
            &self.archive,
            &self.checksums,
            &self.signature,
        ];
        let more = self
            .folders
            .iter()
            .chain(&self.keyrings)
            .chain(self.select.values());
        one.into_iter().chain(more).map(String::as_str)
    }

    fn fault(&self) -> Option<(&'static str, String)> {
        let known = Arch::ALL.map(Arch::name);
        if let Some(arch) = self.arches.keys().find(|arch| !known.contains(&arch.as_str())) {
            return Some(("arches", format!("there is no architecture `{arch}`")));
        }
        if self.folders.is_empty() != self.entry.is_empty() {
            let cause = "`folders` and `entry` mean something only together".to_owned();
            return Some(("entry", cause));
        }
        if self.entry.is_empty() && self.file.is_empty() {
            return Some(("file", "without it, nothing says which file is meant".to_owned()));
        }
        let bad = |key, pattern: &str| {
            let pattern = ["{version}", "{arch}", "{name}", "{variant}"]
                .iter()
                .fold(pattern.to_owned(), |text, word| text.replace(word, "x"));
            let error = match Regex::new(&pattern) {
                Ok(regex) if pattern.is_empty() || regex.captures_len() > 1 => return None,
                Ok(_) => "none of its groups `(…)` is the version".to_owned(),
                Err(error) => error.to_string(),
            };
            Some((key, error))
        };
        bad("entry", &self.entry).or_else(|| bad("file", &self.file))
    }
}

impl Query<'_> {
    /// Folders whose listings are to be fetched.
    pub fn folders(&self) -> Vec<String> {
        self.place.folders.iter().map(|url| self.url(url, &[])).collect()
    }

    /// What is looked for in the listing of a folder.
    pub fn entries(&self, folder: &str, listing: &[u8]) -> Vec<Entry> {
        let names: BTreeSet<_> = read::names(listing).into_iter().collect();
        let Some(pattern) = self.pattern(&self.place.entry) else {
            return Vec::new();
        };
        let entry = |name: String| {
            Some(Entry {
                version: version(&pattern, &name)?,
                url: format!("{folder}{name}"),
            })
        };
        names.into_iter().filter_map(entry).collect()
    }

    /// URL of the list.
    pub fn list(&self, entry: Option<&Entry>) -> String {
        let url = entry.map_or("", |entry| entry.url.as_str());
        self.url(&self.place.list, &[("{entry}", url)])
    }

    /// Where the signature of the list at a URL is.
    pub fn signature(&self, list: &str) -> Signature {
        match self.place.signature.as_str() {
            "" => Signature::None,
            "inside" => Signature::Inside,
            at => Signature::At(self.url(at, &[("{list}", list)])),
        }
    }

    /// Files of public keys, and the packages that have them.
    pub fn keyrings(&self) -> (Vec<String>, &[String]) {
        let files = self.place.keyrings.iter().map(|file| self.fill(file, &[]));
        (files.collect(), &self.place.packages)
    }

    /// Whether its publisher signs what says which bytes are right.
    pub fn is_signed(&self) -> bool {
        !self.place.signature.is_empty()
    }

    /// The media of a list, the newest first.
    ///
    /// # Errors
    /// What is wrong with the list.
    pub fn media(&self, entry: Option<&Entry>, list: &str, text: &[u8]) -> Result<Vec<Medium>, String> {
        if let Some(entry) = entry.filter(|entry| !entry.url.ends_with('/')) {
            let digest = read::digest_of(text, &entry.url)?;
            return Ok(digest.map_or_else(Vec::new, |digest| {
                let file = Listed {
                    path: entry.url.clone(),
                    digests: vec![digest],
                    size: None,
                };
                vec![self.medium(entry.version.clone(), entry.url.clone(), file)]
            }));
        }
        let mut select = self.place.select.clone();
        for wanted in select.values_mut() {
            *wanted = self.fill(wanted, &[]);
        }
        let files = read::files(self.place.form, text, &select, &self.fill(&self.place.item, &[]))?;
        let pattern = self
            .pattern(&self.place.file)
            .ok_or("its recipe has no pattern")?;
        let folder = list.rsplit_once('/').map_or("", |(folder, _)| folder);
        let medium = |file: Listed| {
            let version = version(&pattern, &file.path)?;
            let url = match (self.place.url.as_str(), file.path.contains("://")) {
                ("", false) => format!("{folder}/{}", file.path),
                ("", true) => self.rebased(&file.path),
                (url, _) => self.url(url, &[("{path}", &file.path)]),
            };
            url.starts_with("http").then(|| self.medium(version, url, file))
        };
        let mut media: Vec<_> = files.into_iter().filter_map(medium).collect();
        media.sort_by(|one, other| compare(&other.version, &one.version));
        Ok(media)
    }

    fn medium(&self, version: String, url: String, file: Listed) -> Medium {
        let name = url.rsplit('/').next().unwrap_or_default();
        let more = [
            ("{found}", version.as_str()),
            ("{file}", name),
            ("{path}", &file.path),
        ];
        let archive = self.url(&self.place.archive, &more);
        let archive = (!archive.is_empty() && archive != url).then_some(archive);
        Medium {
            urls: std::iter::once(url.clone()).chain(archive).collect(),
            version,
            digests: file.digests,
            size: file.size,
        }
    }

    /// Whether another list than the one with the newest medium is signed.
    pub fn has_checksums(&self) -> bool {
        !self.place.checksums.is_empty()
    }

    /// Names of all files of a list of checksums.
    pub fn files(&self, text: &[u8]) -> Vec<String> {
        let files = read::files(Form::Sums, text, &BTreeMap::new(), "");
        let names = files.into_iter().flatten().map(|file| file.path);
        names.collect()
    }

    /// URL of the signed list that must agree with what the first one says of a medium.
    pub fn checksums(&self, medium: &Medium) -> Option<String> {
        let url = medium.urls.first()?;
        let folder = url.rsplit_once('/').map_or("", |(folder, _)| folder);
        let more = [("{folder}", folder), ("{found}", &medium.version)];
        self.has_checksums()
            .then(|| self.url(&self.place.checksums, &more))
    }

    /// A URL of the recipe; on the mirror where one is named.
    fn url(&self, template: &str, more: &[(&str, &str)]) -> String {
        let url = self.fill(template, more);
        match template.contains("://") {
            true => self.rebased(&url),
            false => url,
        }
    }

    fn rebased(&self, url: &str) -> String {
        let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
        match (self.from, path) {
            (Some(from), Some((_, path))) => format!("{}/{path}", from.trim_end_matches('/')),
            _ => url.to_owned(),
        }
    }

    fn fill(&self, template: &str, more: &[(&str, &str)]) -> String {
        let words = self.words.iter().map(|(name, word)| (*name, word.as_str()));
        let all = words.chain(more.iter().copied());
        all.fold(template.to_owned(), |text, (name, word)| text.replace(name, word))
    }

    /// A pattern of the recipe; none where the recipe has none.
    fn pattern(&self, pattern: &str) -> Option<Regex> {
        let words = self.words.iter();
        let pattern = words.fold(pattern.to_owned(), |text, (name, word)| {
            text.replace(name, &regex::escape(word))
        });
        let whole = format!("(?:^|/){pattern}$");
        (!pattern.is_empty()).then(|| Regex::new(&whole).ok())?
    }
}

/// The version in what fits a pattern: its groups, joined.
fn version(pattern: &Regex, text: &str) -> Option<String> {
    let groups = pattern.captures(text)?;
    let groups = groups.iter().skip(1).flatten().map(|group| group.as_str());
    Some(groups.collect::<Vec<_>>().join("-"))
}

#[cfg(test)]
mod tests;
