//! The hash of a password, for answers: SHA-512 as in crypt(5). A secret that is such a hash already is taken as it is.

use sha_crypt::{PasswordHasher as _, ShaCrypt};

use crate::host::random;
use crate::manifest::model::SecretValue;
use crate::stage::error::StageError;

/// Random bytes that make a salt. More than these would give more letters than crypt(3) reads.
const SALT: usize = 12;

pub(super) fn hash(password: &SecretValue) -> Result<String, StageError> {
    let password = password.expose();
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
        let hashed = |text: &str| hash(&SecretValue::from(text.to_owned())).unwrap();
        let (one, two) = (hashed("secret"), hashed("secret"));
        assert_ne!(one, two, "the salt is random");
        let salt = one.rsplit('$').nth(1).unwrap();
        assert!(one.starts_with("$6$") && salt.len() == 16, "{one}");
        assert_eq!(hashed("$6$salt$hash"), "$6$salt$hash");
    }
}
