//! Signatures of files, made by the programs that verify them everywhere: GnuPG, OpenSSH, minisign. One file
//! for each of them; what a manifest says of a signer is here.

mod agent;
mod dsse;
mod minisign;
mod openpgp;
mod ssh;
mod trust;

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use self::dsse::Envelope;
pub use self::trust::{Found, Trust};
use crate::host::cancel::Cancel;
use crate::host::fs::write_private;
use crate::host::private::PrivateFolder;
use crate::host::process::{Cmd, ProcessError, clean_line, keep_tail, status_text};
use crate::syntax::fields::Fields;
use crate::syntax::reading::Reading;
use crate::syntax::row::{Cell, Either, In};
use crate::syntax::secret::{Secret, SecretError, SecretKeys, SecretValue, read_secret};
use crate::syntax::table::{one_of, table};
use crate::syntax::text::Text;

/// What each of two lengths of a fingerprint has of hexadecimal digits: version 4 and later ones (RFC 9580).
const FINGERPRINTS: [usize; 2] = [40, 64];

table! {
    SIGNER: SignerKeys = "signer", "Who signs what is published: one of three programs, and its key",
        "{ ssh = { file = \"signing_key\" } }", groups [needed SignerKey];
    openpgp: Either<Text, In<SecretKeys>> = "\"0123456789ABCDEF0123456789ABCDEF01234567\"",
        "signs by gpg (`.asc`): the fingerprint of a key whose secret half gpg's agent or a card has, or an exported secret key";
    ssh: Either<Text, In<SecretKeys>> = "\"signing_key.pub\"",
        "signs by ssh-keygen (`.sig`): the file of a public key whose private half the SSH agent has, or a private key";
    minisign: In<SecretKeys> = "{ file = \"minisign.key\" }", "signs by minisign (`.minisig`): a secret key";
    password: In<SecretKeys> = "{ env = \"SIGNING_PASSWORD\" }", "the password of that secret key"
        .default("it has none").goes_with(|| vec![&SIGNER.openpgp.key, &SIGNER.minisign.key]);
}

one_of! {
    /// Which program signs.
    SignerKey of SIGNER { Openpgp: openpgp, Ssh: ssh, Minisign: minisign }
}

/// A program that signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    Openpgp,
    Ssh,
    Minisign,
}

impl Scheme {
    pub const ALL: [Self; 3] = [Self::Openpgp, Self::Ssh, Self::Minisign];

    /// As in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Openpgp => "openpgp",
            Self::Ssh => "ssh",
            Self::Minisign => "minisign",
        }
    }

    /// What its signatures have behind the name of the signed file.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Openpgp => ".asc",
            Self::Ssh => ".sig",
            Self::Minisign => ".minisig",
        }
    }

    /// As people write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Openpgp => "OpenPGP",
            Self::Ssh => "OpenSSH",
            Self::Minisign => "minisign",
        }
    }

    /// The program that signs.
    pub fn program(self) -> &'static str {
        match self {
            Self::Openpgp => "gpg",
            Self::Ssh => "ssh-keygen",
            Self::Minisign => "minisign",
        }
    }
}

/// Who signs: `publish.sign`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signer {
    pub scheme: Scheme,
    key: SigningKey,
    password: Option<Secret>,
}

/// Where a private key is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum SigningKey {
    /// An agent has it; this names it.
    Agent(String),
    Secret(Secret),
}

/// Why nothing could be signed or verified. Never says what a key is.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    #[error("stopped")]
    Cancelled,
    #[error("{0}")]
    Secret(#[from] SecretError),
    #[error("{what}: {source}")]
    Tool {
        what: &'static str,
        source: ProcessError,
    },
    #[error("could not {action} {}: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{0}")]
    Key(String),
}

impl SigningError {
    fn tool(what: &'static str) -> impl FnOnce(ProcessError) -> Self {
        move |source| match source {
            ProcessError::Cancelled => Self::Cancelled,
            source => Self::Tool { what, source },
        }
    }

    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

/// Reads one item of `publish.sign`. Nothing: it was reported.
pub fn read(reading: Reading<'_>, table: &Fields<'_>) -> Option<Signer> {
    let (kind, field) = table.one_of::<SignerKey>()?;
    let password = table.get(&SIGNER.password);
    let password = password.and_then(|cell| read_secret(reading, &cell));
    let (scheme, key) = match kind {
        SignerKey::Openpgp => {
            let key = either(reading, &table.get(&SIGNER.openpgp)?)?;
            let key = match key {
                SigningKey::Agent(text) => {
                    let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
                    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                    if !is_hex || !FINGERPRINTS.contains(&digits.len()) {
                        field.bad(
                            format!("`{text}` is no fingerprint of an OpenPGP key"),
                            "write all 40 digits that `gpg --list-secret-keys` prints; short ids can be forged",
                        );
                        return None;
                    }
                    SigningKey::Agent(digits.to_ascii_uppercase())
                }
                secret @ SigningKey::Secret(_) => secret,
            };
            (Scheme::Openpgp, key)
        }
        SignerKey::Ssh => {
            let key = match either(reading, &table.get(&SIGNER.ssh)?)? {
                SigningKey::Agent(name) => SigningKey::Agent(reading.files.path(&name).display().to_string()),
                secret @ SigningKey::Secret(_) => secret,
            };
            (Scheme::Ssh, key)
        }
        SignerKey::Minisign => {
            let secret = read_secret(reading, &table.get(&SIGNER.minisign)?)?;
            (Scheme::Minisign, SigningKey::Secret(secret))
        }
    };
    Some(Signer {
        scheme,
        key,
        password,
    })
}

fn either(reading: Reading<'_>, cell: &Cell<'_, Either<Text, In<SecretKeys>>>) -> Option<SigningKey> {
    match cell.either() {
        Ok(text) => text.read().map(SigningKey::Agent),
        Err(secret) => read_secret(reading, &secret).map(SigningKey::Secret),
    }
}

impl Signer {
    /// What tells it from others, for keys of results; what a secret gives stands there for the secret.
    pub fn identity(&self, fingerprint: &dyn Fn(&Secret) -> String) -> Value {
        let key = match &self.key {
            SigningKey::Agent(name) => name.clone(),
            SigningKey::Secret(secret) => fingerprint(secret),
        };
        json!({ "by": self.scheme.name(), "key": key })
    }

    /// The secrets that it takes.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let key = match &self.key {
            SigningKey::Secret(secret) => Some(secret),
            SigningKey::Agent(_) => None,
        };
        key.into_iter().chain(&self.password)
    }

    /// Programs of this host that it starts.
    pub fn programs(&self) -> Vec<&'static str> {
        let mut programs = vec![self.scheme.program()];
        if self.scheme == Scheme::Ssh && matches!(self.key, SigningKey::Agent(_)) {
            programs.push("ssh-add");
        }
        programs
    }

    /// Whether it has a way to sign envelopes. A key of OpenPGP has none that verifiers of envelopes know.
    pub fn signs_envelopes(&self) -> bool {
        self.scheme != Scheme::Openpgp
    }

    /// What else it starts to do so.
    pub fn envelope_programs(&self) -> &'static [&'static str] {
        match (self.scheme, &self.key) {
            (Scheme::Ssh, SigningKey::Secret(_)) => &["ssh-agent", "ssh-add"],
            _ => &[],
        }
    }

    /// Whether it can sign. A key of an agent is asked for, as using it may need a user's hand; any other one signs nothing,
    /// which finds a wrong password, too.
    ///
    /// # Errors
    /// [`SigningError`].
    pub fn check(&self, cancel: &Cancel) -> Result<(), SigningError> {
        match (&self.key, self.scheme) {
            (SigningKey::Agent(fingerprint), Scheme::Openpgp) => openpgp::must_have(fingerprint, cancel),
            (SigningKey::Agent(public), _) => ssh::must_have(Path::new(public), cancel),
            (SigningKey::Secret(_), _) => self.sign("nothing", b"", cancel).map(drop),
        }
    }

    /// A detached signature of a file of this name with these bytes, as the field's program writes it.
    ///
    /// # Errors
    /// [`SigningError`].
    pub fn sign(&self, name: &str, bytes: &[u8], cancel: &Cancel) -> Result<Vec<u8>, SigningError> {
        let folder = private()?;
        let folder = folder.path();
        // minisign signs the name, too.
        let data = folder.join(name);
        fs::write(&data, bytes).map_err(SigningError::file("write", &data))?;
        let password = self.password.as_ref().map(Secret::read).transpose()?;
        let password = password.as_ref().map(SecretValue::expose);
        match (&self.key, self.scheme) {
            (SigningKey::Agent(fingerprint), Scheme::Openpgp) => {
                openpgp::sign(openpgp::Key::Agent(fingerprint), password, &data, folder, cancel)
            }
            (SigningKey::Secret(secret), Scheme::Openpgp) => {
                let key = secret.read()?;
                let key = openpgp::Key::Exported(key.expose());
                openpgp::sign(key, password, &data, folder, cancel)
            }
            (SigningKey::Agent(public), _) => ssh::sign(Path::new(public), &data, folder, cancel),
            (SigningKey::Secret(secret), scheme) => {
                let key = key_file(secret, folder)?;
                match scheme {
                    Scheme::Minisign => minisign::sign(&key, password, &data, folder, cancel),
                    _ => ssh::sign(&key, &data, folder, cancel),
                }
            }
        }
    }
}

impl Signer {
    /// Adds its signature to an envelope; false: its key is not of Ed25519.
    ///
    /// # Errors
    /// [`SigningError`].
    pub fn endorse(&self, envelope: &mut Envelope, cancel: &Cancel) -> Result<bool, SigningError> {
        let folder = private()?;
        let folder = folder.path();
        let signed = envelope.signed();
        let password = self.password.as_ref().map(Secret::read).transpose()?;
        let password = password.as_ref().map(SecretValue::expose);
        let (agent, keys) = match (&self.key, self.scheme) {
            (_, Scheme::Openpgp) => return Ok(false),
            (SigningKey::Secret(secret), Scheme::Minisign) => {
                let data = folder.join("envelope");
                fs::write(&data, &signed).map_err(SigningError::file("write", &data))?;
                let key = key_file(secret, folder)?;
                let raw = minisign::raw(&key, password, &data, folder, cancel)?;
                envelope.add(raw.key, &raw.signature);
                return Ok(true);
            }
            (SigningKey::Secret(secret), Scheme::Ssh) => {
                let agent = agent::Agent::start(&key_file(secret, folder)?, folder, cancel)?;
                let keys = agent.keys(cancel)?;
                (agent, keys)
            }
            (SigningKey::Agent(public), _) => {
                let public = Path::new(public);
                let key = fs::read_to_string(public);
                let key = key.map_err(SigningError::file("read the public key", public))?;
                (agent::Agent::of_user()?, key)
            }
        };
        let Some(key) = agent::Public::parse(&keys) else {
            return Ok(false);
        };
        envelope.add(key.fingerprint(), &agent.sign(&key, &signed)?);
        Ok(true)
    }
}

/// A folder for keys and what is signed, that other users cannot look into.
fn private() -> Result<PrivateFolder, SigningError> {
    let folder = PrivateFolder::new();
    folder.map_err(|error| SigningError::Key(format!("could not make a private folder for the key: {error}")))
}

/// The file of a key: its own, or a private copy of what the environment has.
fn key_file(secret: &Secret, folder: &Path) -> Result<PathBuf, SigningError> {
    if let Secret::File(path) = secret {
        // That it is there is said in better words than the program's.
        secret.read()?;
        return Ok(path.clone());
    }
    let value = secret.read()?;
    let path = folder.join("key");
    // OpenSSH reads no key without its last newline.
    let text = format!("{}\n", value.expose().trim_end());
    write_private(&path, text.as_bytes()).map_err(|error| SigningError::Key(error.to_string()))?;
    Ok(path)
}

/// Runs a program to its end. What it prints goes to a file: gpg starts an agent, which would keep a pipe open.
fn run(cmd: &Cmd, what: &'static str, folder: &Path, cancel: &Cancel) -> Result<(), SigningError> {
    let path = folder.join("output");
    let file = fs::File::create(&path).map_err(SigningError::file("write", &path))?;
    let copy = file.try_clone().map_err(SigningError::file("write", &path))?;
    let running = cmd.spawn(file.into(), copy.into());
    let status = running.and_then(|mut running| running.wait(cancel));
    let status = status.map_err(SigningError::tool(what))?;
    if status.success() {
        return Ok(());
    }
    let said = fs::read(&path).unwrap_or_default();
    let mut tail = Vec::new();
    for line in String::from_utf8_lossy(&said).lines() {
        keep_tail(&mut tail, clean_line(line));
    }
    Err(SigningError::tool(what)(ProcessError::Failed {
        program: cmd.name(),
        status: status_text(status),
        code: status.code(),
        tail,
    }))
}

/// A signature that a program left next to what it signed.
fn left(data: &Path, scheme: Scheme) -> Result<Vec<u8>, SigningError> {
    let path = signature_of(data, scheme);
    fs::read(&path).map_err(SigningError::file("read", &path))
}

/// Where the signature of a file is.
pub fn signature_of(file: &Path, scheme: Scheme) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(scheme.ending());
    path.into()
}
