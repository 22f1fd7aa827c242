//! The hash of a password, for answers: SHA-512 as in crypt(5). A secret that is such a hash already is taken as it is.

use sha_crypt::{PasswordHasher as _, ShaCrypt};

use crate::host::random;
use crate::manifest::model::Secret;
use crate::stage::error::StageError;

/// Random bytes that make a salt. More than these would give more letters than crypt(3) reads.
const SALT: usize = 12;

pub(super) fn hash(secret: &Secret) -> Result<String, StageError> {
    let no_secret = |source| StageError::NoPassword { source };
    let value = secret.read().map_err(no_secret)?;
    let password = value.expose();
    if password.starts_with("$6$") || password.starts_with("$y$") {
        return Ok(password.to_owned());
    }
    let failed = |reason: String| StageError::Password { reason };
    let salt = random::bytes::<SALT>().map_err(|error| failed(error.to_string()))?;
    let hash = ShaCrypt::default()
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|error| failed(error.to_string()))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_hashed_with_a_salt_that_crypt_reads_whole_and_a_hash_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "secret\n").unwrap();
        let secret = Secret::File(path.clone());
        let (one, two) = (hash(&secret).unwrap(), hash(&secret).unwrap());
        assert_ne!(one, two, "the salt is random");
        let salt = one.rsplit('$').nth(1).unwrap();
        assert!(one.starts_with("$6$") && salt.len() == 16, "{one}");
        std::fs::write(&path, "$6$salt$hash").unwrap();
        assert_eq!(hash(&secret).unwrap(), "$6$salt$hash");
    }
}
