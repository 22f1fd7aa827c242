//! Walks from the lists of an output folder to the files that they name: what each list says of a file, and who signed the
//! list. Prints nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use super::documents::{Known, image_of};
use super::place::{Look, Place};
use super::progress::Progress;
use crate::checksum_list;
use crate::digest::Algorithm;
use crate::host::cancel::Cancel;
use crate::lock::Lock;
use crate::places::versions;
use crate::report::gallery;
use crate::signing::{Found, Scheme, Trust, signature_of};
use crate::stage::index::catalog::Catalog;
use crate::stage::index::list::UrlLine;
use crate::stage::index::{CATALOG_FILE, URL_FILE};
use crate::stage::sums::file_name;
use crate::stage::versions::LATEST;

/// What was found out of a file.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    pub state: State,
    /// Its path below the folder.
    pub file: String,
    pub what: String,
    /// The trusted keys that vouch for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// It is what is said of it.
    Good,
    /// It proves nothing: whoever made it is not trusted, or not known.
    Unproven,
    Bad,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unproven => "unproven",
            Self::Bad => "bad",
        }
    }
}

/// A list of files with their digests.
struct List {
    name: String,
    /// The trusted keys that signed it.
    by: Vec<String>,
    files: BTreeMap<PathBuf, Said>,
    /// Whether each file that is published has a place in it.
    is_complete: bool,
}

/// What a list says of a file.
struct Said {
    bytes: Option<u64>,
    digests: BTreeMap<Algorithm, String>,
}

/// Looks at everything.
///
/// # Errors
/// A file, a server or a program that cannot be read or started.
pub(super) fn walk(
    place: &Place,
    trust: &Trust,
    lock: Option<&Lock>,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Vec<Entry>, String> {
    let mut walk = Walk {
        place,
        trust,
        lock,
        progress,
        cancel,
        images: Vec::new(),
        looks: BTreeMap::new(),
        read: BTreeMap::new(),
        lists: Vec::new(),
        entries: Vec::new(),
    };
    walk.sums()?;
    walk.catalog()?;
    walk.versions()?;
    walk.files()?;
    walk.documents()?;
    walk.urls()?;
    walk.strangers()?;
    Ok(walk.entries)
}

struct Walk<'a> {
    place: &'a Place,
    trust: &'a Trust,
    lock: Option<&'a Lock>,
    progress: &'a Progress,
    cancel: &'a Cancel,
    /// The ids of the images of the catalog.
    images: Vec<String>,
    /// The files that are what lists say.
    looks: BTreeMap<PathBuf, Look>,
    /// What was read, by its identity.
    read: BTreeMap<(u64, u64), Look>,
    lists: Vec<List>,
    entries: Vec<Entry>,
}

impl Walk<'_> {
    fn add(&mut self, state: State, file: impl AsRef<Path>, what: impl Into<String>) {
        self.entries.push(Entry {
            state,
            file: file.as_ref().display().to_string(),
            what: what.into(),
            by: Vec::new(),
        });
    }

    /// The checksum files.
    fn sums(&mut self) -> Result<(), String> {
        for algorithm in [Algorithm::Sha512, Algorithm::Sha256, Algorithm::Md5] {
            let name = file_name(algorithm);
            let Some(bytes) = self.place.read(name.as_ref(), self.cancel)? else {
                continue;
            };
            let files = sums_of(&bytes, algorithm).collect();
            let by = self.signatures(name, &bytes)?;
            self.lists.push(List {
                name: name.to_owned(),
                by,
                files,
                is_complete: true,
            });
        }
        let names: Vec<_> = self.lists.iter().map(|list| list.name.as_str()).collect();
        if names.is_empty() {
            let what = "there is no checksum file: this is no folder of images";
            self.add(State::Bad, file_name(Algorithm::Sha512), what);
        } else if names == [file_name(Algorithm::Md5)] {
            let what = "MD5 alone proves nothing: two files can be made with one";
            self.add(State::Bad, file_name(Algorithm::Md5), what);
        }
        Ok(())
    }

    /// What is published, and where.
    fn catalog(&mut self) -> Result<(), String> {
        let Some(bytes) = self.place.read(CATALOG_FILE.as_ref(), self.cancel)? else {
            return Ok(());
        };
        let by = self.signatures(CATALOG_FILE, &bytes)?;
        let catalog = match Catalog::parse(&bytes) {
            Ok(catalog) => catalog,
            Err(error) => {
                self.add(State::Bad, CATALOG_FILE, format!("it is no catalog: {error}"));
                return Ok(());
            }
        };
        let (mut files, mut images) = (BTreeMap::new(), Vec::new());
        for image in catalog.images {
            images.push(image.image.id.clone());
            let own = (image.image.file, image.bytes, image.digests);
            let beside = image.beside.into_iter();
            let others = beside.map(|file| (file.file, file.bytes, file.digests));
            for (file, bytes, digests) in std::iter::once(own).chain(others) {
                let bytes = Some(bytes);
                files.insert(PathBuf::from(file), Said { bytes, digests });
            }
        }
        self.images = images;
        self.lists.push(List {
            name: CATALOG_FILE.to_owned(),
            by,
            files,
            is_complete: false,
        });
        Ok(())
    }

    /// The checksum files of versions that are kept.
    fn versions(&mut self) -> Result<(), String> {
        let mut lists: BTreeSet<_> = self.place.files()?.into_iter().collect();
        lists.retain(|path| path.starts_with(versions::FOLDER) && path.ends_with(versions::SUMS));
        if let Place::Url(_) = self.place {
            for image in std::mem::take(&mut self.images) {
                let list = versions::path(&image, "", versions::LIST.as_ref());
                let Some(text) = self.place.read(&list, self.cancel)? else {
                    continue;
                };
                match versions::List::parse(&text) {
                    Ok(list) => lists.extend(
                        list.names()
                            .iter()
                            .map(|version| versions::path(&image, version, versions::SUMS.as_ref())),
                    ),
                    Err(error) => self.add(State::Bad, list, format!("it is no list of versions: {error}")),
                }
            }
        }
        for path in lists {
            let name = path.display().to_string();
            let Some(bytes) = self.place.read(&path, self.cancel)? else {
                self.add(State::Bad, path, "it is missing");
                continue;
            };
            let folder = path.parent().unwrap_or(Path::new(""));
            let by = self.signatures(&name, &bytes)?;
            let files = sums_of(&bytes, Algorithm::Sha256);
            let files = files.map(|(path, said)| (folder.join(path), said)).collect();
            self.lists.push(List {
                name,
                by,
                files,
                is_complete: false,
            });
        }
        Ok(())
    }

    /// The trusted keys that signed a list.
    fn signatures(&mut self, list: &str, bytes: &[u8]) -> Result<Vec<String>, String> {
        let mut by = Vec::new();
        let mut is_good = true;
        for scheme in Scheme::ALL {
            let name = signature_of(list.as_ref(), scheme);
            let Some(signature) = self.place.read(&name, self.cancel)? else {
                continue;
            };
            let found = self.trust.look(scheme, bytes, &signature, self.cancel);
            match found.map_err(|error| format!("{}: {error}", name.display()))? {
                Found::By(who) => {
                    self.add(State::Good, name, format!("signs {list}, by {who}"));
                    by.push(who);
                }
                Found::Stranger(who) => {
                    let what = format!("is by {who}, which is not among the trusted keys");
                    self.add(State::Unproven, name, what);
                }
                Found::Bad(why) => {
                    is_good = false;
                    self.add(State::Bad, name, format!("does not sign this {list}: {why}"));
                }
            }
        }
        if !self.trust.is_empty() && by.is_empty() {
            self.add(State::Bad, list, "no trusted key has signed it");
        }
        // A list is believed as a whole or not at all.
        Ok(if is_good { by } else { Vec::new() })
    }

    /// Each file that a list names.
    fn files(&mut self) -> Result<(), String> {
        let names = self.lists.iter().flat_map(|list| list.files.keys().cloned());
        let names: BTreeSet<PathBuf> = names.collect();
        let count = names.len();
        for (number, path) in names.into_iter().enumerate() {
            let shown = path.display();
            self.progress
                .at(format!("reading {} of {count}: {shown}", number + 1));
            let found = self.file(&path)?;
            let (state, what) = match found {
                Ok(what) => (State::Good, what),
                Err(what) => (State::Bad, what),
            };
            let naming = self
                .naming(&path)
                .filter(|list| list.name != file_name(Algorithm::Md5));
            let by: BTreeSet<_> = naming.flat_map(|list| list.by.iter().cloned()).collect();
            self.add(state, &path, what);
            if let Some(entry) = self.entries.last_mut().filter(|_| state == State::Good) {
                entry.by = by.into_iter().collect();
            }
        }
        Ok(())
    }

    /// The lists that name a file.
    fn naming(&self, path: &Path) -> impl Iterator<Item = &List> {
        self.lists
            .iter()
            .filter(move |list| list.files.contains_key(path))
    }

    /// What is good of a file, or what is not.
    fn file(&mut self, path: &Path) -> Result<Result<String, String>, String> {
        let is_inside = |part| matches!(part, Component::Normal(_));
        if !path.components().all(is_inside) {
            return Ok(Err("its path leads out of the folder".to_owned()));
        }
        let is_current = !path.starts_with(versions::FOLDER);
        let lacks = |list: &&List| list.is_complete && is_current && !list.files.contains_key(path);
        if let Some(list) = self.lists.iter().find(lacks) {
            return Ok(Err(format!("it has no line in {}", list.name)));
        }
        let identity = self.place.identity(path);
        let known = identity.and_then(|identity| self.read.get(&identity).cloned());
        let look = match known {
            None => self.place.look(path, self.cancel)?,
            known => known,
        };
        let Some(look) = look else {
            return Ok(Err("it is missing".to_owned()));
        };
        self.read
            .extend(identity.map(|identity| (identity, look.clone())));
        let wrong = self.naming(path).find(|list| !list.files[path].fits(&look));
        Ok(match wrong {
            Some(list) if list.is_complete => Err(format!("it is not what {} says", list.name)),
            Some(list) if is_current => Err(format!(
                "it is not what {} says: another build of it is published",
                list.name
            )),
            Some(list) => Err(format!("it is not what {} says", list.name)),
            None => {
                let names: Vec<_> = self.naming(path).map(|list| list.name.as_str()).collect();
                let what = format!("as in {}", names.join(", "));
                self.looks.insert(path.to_owned(), look);
                Ok(what)
            }
        })
    }

    /// What is published about images, where it is what the lists say.
    fn documents(&mut self) -> Result<(), String> {
        let known = Known {
            files: &self.looks,
            trust: self.trust,
            lock: self.lock,
        };
        let mut found = Vec::new();
        for path in self.looks.keys() {
            let Some(image) = image_of(path) else { continue };
            let text = self.place.read(path, self.cancel)?.unwrap_or_default();
            found.push((path.display().to_string(), known.read(path, &image, &text)));
        }
        for (file, said) in found {
            let entry = self.entries.iter_mut().find(|entry| entry.file == file);
            let Some(entry) = entry else { continue };
            match said {
                Ok(said) => {
                    entry.what = format!("{}; {}", said.what, entry.what);
                    let by = said.by.into_iter().filter(|who| !entry.by.contains(who));
                    entry.by = by.chain(entry.by.iter().cloned()).collect();
                }
                Err(why) => {
                    entry.state = State::Bad;
                    entry.what = why;
                    entry.by.clear();
                }
            }
        }
        Ok(())
    }

    /// Files of a folder that no list names, and that are not ours.
    fn strangers(&mut self) -> Result<(), String> {
        let of_lists = self.lists.iter().flat_map(|list| list.files.keys().cloned());
        let mut known: BTreeSet<PathBuf> = of_lists.collect();
        let usual = Algorithm::ALL.map(file_name).into_iter().chain([CATALOG_FILE]);
        let read = self.lists.iter().map(|list| list.name.as_str());
        for list in usual.chain(read) {
            known.insert(list.into());
            known.extend(Scheme::ALL.map(|scheme| signature_of(list.as_ref(), scheme)));
        }
        known.extend([URL_FILE, gallery::PAGE, gallery::FEED].map(PathBuf::from));
        for path in self.place.files()? {
            let is_ours = |name: &str| path.starts_with(versions::FOLDER) && path.ends_with(name);
            if !known.contains(&path) && !is_ours(versions::LIST) && !is_ours(LATEST) {
                self.add(State::Unproven, path, "no list names it");
            }
        }
        Ok(())
    }

    /// Lines of the list of URLs have MD5s, which must be those of the files.
    fn urls(&mut self) -> Result<(), String> {
        let Some(bytes) = self.place.read(URL_FILE.as_ref(), self.cancel)? else {
            return Ok(());
        };
        let text = String::from_utf8_lossy(&bytes);
        let md5 = |(path, said): (&PathBuf, &Said)| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            Some((name, said.digests.get(&Algorithm::Md5)?.clone()))
        };
        let files = self.lists.iter().flat_map(|list| &list.files);
        let md5s: BTreeMap<_, _> = files.filter_map(md5).collect();
        let lines: Vec<_> = text.lines().filter_map(UrlLine::parse).collect();
        let wrong: Vec<_> = lines
            .iter()
            .filter(|line| md5s.get(&line.name).is_some_and(|md5| *md5 != line.md5))
            .map(|line| format!("it has another MD5 for {}", line.name))
            .collect();
        for what in wrong {
            self.add(State::Bad, URL_FILE, what);
        }
        Ok(())
    }
}

impl Said {
    fn fits(&self, look: &Look) -> bool {
        let is_it = |(algorithm, hex): (&Algorithm, &String)| look.is(*algorithm, hex);
        !self.digests.is_empty()
            && self.digests.iter().all(is_it)
            && self.bytes.is_none_or(|bytes| bytes == look.bytes)
    }
}

/// What a checksum file says of files.
fn sums_of(bytes: &[u8], algorithm: Algorithm) -> impl Iterator<Item = (PathBuf, Said)> {
    let text = checksum_list::text(bytes).into_owned();
    let lines: Vec<_> = checksum_list::lines(&text)
        .filter_map(checksum_list::parse)
        .collect();
    let lines = lines.into_iter();
    lines
        .filter(move |line| line.digest.algorithm == algorithm)
        .map(move |line| {
            let bytes = None;
            let digests = BTreeMap::from([(algorithm, line.digest.hex)]);
            (path_of(line.name), Said { bytes, digests })
        })
}

fn path_of(name: Vec<u8>) -> PathBuf {
    let path = PathBuf::from(OsString::from_vec(name));
    let parts = path.components().filter(|part| *part != Component::CurDir);
    parts.collect()
}
