//! OpenPGP keys made for a story, in a home of their own, and what is signed by them.

use std::path::Path;

use super::tool;

pub struct Signer {
    home: tempfile::TempDir,
}

impl Signer {
    /// With a key for each name.
    pub fn new(names: &[&str]) -> Self {
        // In a short place: the agent's socket is in it.
        let signer = Self {
            home: tempfile::tempdir().unwrap(),
        };
        for name in names {
            let user = format!("{name}@example.com");
            signer.gpg(&["--quick-generate-key", &user, "ed25519", "sign", "never"]);
        }
        signer
    }

    fn gpg(&self, args: &[&str]) {
        let home = self.home.path().display().to_string();
        let all = ["--homedir", &home, "--batch", "--yes", "--passphrase", ""];
        tool("gpg", &[&all, args].concat(), Path::new("/"));
    }

    /// Writes the public key.
    pub fn export(&self, name: &str, to: &Path) {
        let (user, to) = (format!("{name}@example.com"), to.display().to_string());
        self.gpg(&["--output", &to, "--export", &user]);
    }

    /// Signs a file into another one: `--clear-sign`, `--detach-sign`.
    pub fn sign(&self, name: &str, how: &str, file: &Path, to: &Path) {
        let user = format!("{name}@example.com");
        let (file, to) = (file.display().to_string(), to.display().to_string());
        self.gpg(&["--local-user", &user, "--output", &to, how, &file]);
    }

    /// A text with its signature around it.
    pub fn clear_signed(&self, name: &str, text: &str) -> Vec<u8> {
        let (file, to) = (self.home.path().join("text"), self.home.path().join("text.asc"));
        std::fs::write(&file, text).unwrap();
        self.sign(name, "--clear-sign", &file, &to);
        std::fs::read(&to).unwrap()
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        // Its agent would stay behind.
        let home = self.home.path().display().to_string();
        tool("gpgconf", &["--homedir", &home, "--kill", "all"], Path::new("/"));
    }
}
