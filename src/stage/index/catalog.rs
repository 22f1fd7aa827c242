//! `index.json`: every published image with its digests, what it was built from, and where it is published. Pure data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::list::UrlLine;
use crate::digest::{Algorithm, Digest};
use crate::places::versions;

/// Format revision; grows when a field changes its meaning or goes away.
const VERSION: u32 = 1;

/// All published images of an output folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    version: u32,
    /// In manifest order, then those that the manifest has no more.
    pub images: Vec<Published>,
}

/// A published image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Published {
    #[serde(flatten)]
    pub image: ImageFacts,
    /// Size of the published file in bytes.
    pub bytes: u64,
    /// Its digests by algorithm, lower-case hexadecimal.
    pub digests: BTreeMap<Algorithm, String>,
    /// When it was built.
    pub created: Timestamp,
    /// Where it is, and was read back from, by target.
    pub urls: Places,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<PublishedFile>,
}

/// A file that is published with an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublishedFile {
    /// Path below the output folder.
    pub file: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its digests by algorithm, lower-case hexadecimal.
    pub digests: BTreeMap<Algorithm, String>,
    /// Where it is, by target.
    pub urls: Places,
}

/// What an image is, as the manifest and the plan tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// Image id.
    pub id: String,
    /// Path below the output folder.
    pub file: String,
    /// Name of its distro.
    pub distro: String,
    /// `debian`.
    pub family: String,
    /// `12`.
    pub version: String,
    /// Name of its flavor.
    pub flavor: String,
    /// The size as the manifest has it: `50G`.
    pub size: String,
    /// Virtual size of the disk in bytes.
    pub disk_bytes: u64,
    /// `qcow2`.
    pub format: String,
    /// `gzip`, or `none`.
    pub compression: String,
    /// The source, the steps, and the keys of all that it depends on.
    pub built_from: serde_json::Value,
}

/// Places by their target.
pub type Places = BTreeMap<String, Place>;

/// A place that has an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// `shacache`, `directory`, `http`, `s3`.
    pub kind: String,
    pub url: String,
    /// When it was last read back.
    pub verified: Timestamp,
    /// Where the place keeps versions: which one it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// URL of the list of versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<String>,
}

/// An image and one place that has it.
#[derive(Clone, Debug)]
pub struct Listed {
    pub image: ImageFacts,
    /// When it was built.
    pub created: Timestamp,
    /// Name of the target.
    pub target: String,
    /// Its own file.
    pub file: ListedFile,
    pub beside: Vec<ListedFile>,
}

/// A file of an image in one place.
#[derive(Clone, Debug)]
pub struct ListedFile {
    /// Path below the output folder.
    pub path: PathBuf,
    /// Size in bytes.
    pub bytes: u64,
    pub digests: Vec<Digest>,
    pub place: Place,
}

impl Place {
    /// Where it has an image's own file, below itself.
    pub fn path(&self, image: &ImageFacts) -> PathBuf {
        let file = Path::new(&image.file);
        match &self.version {
            Some(version) => versions::path(
                &image.id,
                version,
                Path::new(file.file_name().unwrap_or_default()),
            ),
            None => file.to_owned(),
        }
    }
}

impl ListedFile {
    /// Its line in the list of URLs, which has MD5s.
    pub fn line(&self) -> Option<UrlLine> {
        let mut digests = self.digests.iter();
        let md5 = digests.find(|digest| digest.algorithm == Algorithm::Md5)?;
        let name = self.path.file_name().unwrap_or_default();
        Some(UrlLine {
            name: name.to_string_lossy().into_owned(),
            url: self.place.url.clone(),
            md5: md5.hex.clone(),
        })
    }

    fn hex(&self) -> BTreeMap<Algorithm, String> {
        let digests = self.digests.iter();
        digests
            .map(|digest| (digest.algorithm, digest.hex.clone()))
            .collect()
    }
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            version: VERSION,
            images: Vec::new(),
        }
    }
}

impl Catalog {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let catalog: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if catalog.version == VERSION {
            Ok(catalog)
        } else {
            Err(format!("its version is {}, not {VERSION}", catalog.version))
        }
    }

    pub(super) fn text(&self) -> String {
        match serde_json::to_string_pretty(self) {
            Ok(text) => text + "\n",
            Err(error) => unreachable!("plain data always serialises: {error}"),
        }
    }

    /// Adds a place of an image. Places that have an older build of it are forgotten: they hold other bytes.
    pub(super) fn add(&mut self, ids: &[String], listed: &Listed) {
        let mut images = self.images.iter();
        let at = images.position(|known| known.image.id == listed.image.id);
        let known = at.map(|at| self.images.remove(at));
        let place = |file: &ListedFile, known: Option<(&BTreeMap<Algorithm, String>, &Places)>| {
            let digests = file.hex();
            let mut urls = match known {
                Some((known, urls)) if *known == digests => urls.clone(),
                _ => Places::new(),
            };
            urls.insert(listed.target.clone(), file.place.clone());
            (digests, urls)
        };
        let of_image = known.as_ref().map(|known| (&known.digests, &known.urls));
        let (digests, urls) = place(&listed.file, of_image);
        let beside = listed.beside.iter().map(|file| {
            let path = file.path.display().to_string();
            let mut before = known.iter().flat_map(|known| &known.beside);
            let before = before.find(|known| known.file == path);
            let (digests, urls) = place(file, before.map(|known| (&known.digests, &known.urls)));
            PublishedFile {
                file: path,
                bytes: file.bytes,
                digests,
                urls,
            }
        });
        self.images.push(Published {
            image: listed.image.clone(),
            bytes: listed.file.bytes,
            digests,
            created: listed.created,
            urls,
            beside: beside.collect(),
        });
        // Stable: images that the manifest has no more keep their order behind the others.
        let position = |id: &String| ids.iter().position(|known| known == id).unwrap_or(usize::MAX);
        self.images.sort_by_key(|known| position(&known.image.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(id: &str, fill: &str, target: &str) -> Listed {
        Listed {
            image: ImageFacts {
                id: id.to_owned(),
                file: format!("{id}.gz"),
                distro: "d".to_owned(),
                family: "debian".to_owned(),
                version: "12".to_owned(),
                flavor: "f".to_owned(),
                size: "1G".to_owned(),
                disk_bytes: 1 << 30,
                format: "qcow2".to_owned(),
                compression: "gzip".to_owned(),
                built_from: serde_json::json!({}),
            },
            created: Timestamp::UNIX_EPOCH,
            target: target.to_owned(),
            file: ListedFile {
                path: PathBuf::from(format!("{id}.gz")),
                bytes: 1,
                digests: vec![format!("md5:{}", fill.repeat(32)).parse().unwrap()],
                place: Place {
                    kind: "http".to_owned(),
                    url: format!("http://{target}/{id}"),
                    verified: Timestamp::UNIX_EPOCH,
                    version: None,
                    versions: None,
                },
            },
            beside: Vec::new(),
        }
    }

    #[test]
    fn places_gather_until_the_image_is_another_one() {
        let ids = ["a", "b"].map(str::to_owned);
        let mut catalog = Catalog::default();
        for (id, fill, target) in [
            ("b", "1", "one"),
            ("gone", "1", "one"),
            ("a", "1", "one"),
            ("b", "1", "two"),
        ] {
            catalog.add(&ids, &listed(id, fill, target));
        }
        let order = |catalog: &Catalog| -> Vec<_> {
            let places = |image: &Published| image.urls.keys().cloned().collect::<Vec<_>>().join("+");
            catalog
                .images
                .iter()
                .map(|image| format!("{}:{}", image.image.id, places(image)))
                .collect()
        };
        assert_eq!(order(&catalog), ["a:one", "b:one+two", "gone:one"]);
        catalog.add(&ids, &listed("b", "2", "two"));
        assert_eq!(order(&catalog), ["a:one", "b:two", "gone:one"]);
        assert_eq!(Catalog::parse(catalog.text().as_bytes()), Ok(catalog));
    }
}
