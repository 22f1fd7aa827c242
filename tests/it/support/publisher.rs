//! A publisher of releases on loopback: folders with listings, lists of checksums, and keys that sign them at any date.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pipeline::internals::digest::{Algorithm, Hasher};

use super::shelf::Shelf;
use super::tool;

/// The publisher; what it serves stops with it.
pub struct Publisher {
    pub shelf: Shelf,
    home: tempfile::TempDir,
}

impl Publisher {
    pub fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        tool("chmod", &["700", "."], home.path());
        Self {
            shelf: Shelf::start(),
            home,
        }
    }

    /// Makes a key. Dates are as in `20260131`.
    pub fn key(&self, name: &str, date: &str) {
        let args = ["--quick-generate-key", name, "ed25519", "sign", "never"];
        self.gpg(date, &args, &[]);
    }

    /// Writes these keys into a file, as text.
    pub fn keyring(&self, names: &[&str], file: &Path) -> PathBuf {
        let args: Vec<_> = ["--armor", "--export"].iter().chain(names).copied().collect();
        std::fs::write(file, self.gpg("20300101", &args, &[])).unwrap();
        file.to_owned()
    }

    pub fn put(&self, path: &str, text: impl AsRef<[u8]>) {
        self.shelf.put(path, text.as_ref());
    }

    /// Serves a text with its detached signature.
    pub fn put_signed(&self, (key, date): (&str, &str), path: &str, signature: &str, text: &str) {
        let args = ["--armor", "--local-user", key, "--detach-sign"];
        self.put(signature, self.gpg(date, &args, text.as_bytes()));
        self.put(path, text);
    }

    /// Serves a text in its signature.
    pub fn put_clear_signed(&self, (key, date): (&str, &str), path: &str, text: &str) {
        let args = ["--local-user", key, "--clear-sign"];
        self.put(path, self.gpg(date, &args, text.as_bytes()));
    }

    /// Makes the listing of each folder, as web servers do.
    pub fn list(&self) {
        let paths: Vec<_> = self
            .shelf
            .paths()
            .into_iter()
            .filter(|path| !path.ends_with('/'))
            .collect();
        let mut folders: BTreeSet<(String, String)> = BTreeSet::new();
        for path in &paths {
            let mut below = path.as_str();
            while let Some((folder, name)) = below.trim_end_matches('/').rsplit_once('/') {
                let slash = if below.ends_with('/') { "/" } else { "" };
                folders.insert((format!("{folder}/"), format!("{name}{slash}")));
                below = &path[..=folder.len()];
                if folder.is_empty() {
                    break;
                }
            }
        }
        let names: BTreeSet<_> = folders.iter().map(|(folder, _)| folder.clone()).collect();
        for folder in names {
            let inside = folders.iter().filter(|(of, _)| *of == folder);
            let links = inside.map(|(_, name)| format!("<a href=\"{name}\">{name}</a>\n"));
            let links: String = links.collect();
            self.put(
                &folder,
                format!("<html><h1>Index of {folder}</h1>\n<a href=\"../\">../</a>\n{links}</html>"),
            );
        }
    }

    fn gpg(&self, date: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
        let mut gpg = Command::new("gpg");
        gpg.args(["--batch", "--quiet", "--passphrase", "", "--homedir"]);
        gpg.arg(self.home.path());
        gpg.args(["--faked-system-time", &format!("{date}T120000")])
            .args(args);
        gpg.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut gpg = gpg.spawn().unwrap();
        std::io::Write::write_all(&mut gpg.stdin.take().unwrap(), input).unwrap();
        let output = gpg.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gpg {args:?}: {said}");
        output.stdout
    }
}

impl Drop for Publisher {
    /// Its agent would stay behind.
    fn drop(&mut self) {
        let home = self.home.path().display().to_string();
        tool(
            "gpgconf",
            &["--homedir", &home, "--kill", "all"],
            self.home.path(),
        );
    }
}

pub fn sha512(bytes: &[u8]) -> String {
    digest(Algorithm::Sha512, bytes)
}

pub fn sha256(bytes: &[u8]) -> String {
    digest(Algorithm::Sha256, bytes)
}

fn digest(algorithm: Algorithm, bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish().hex
}
