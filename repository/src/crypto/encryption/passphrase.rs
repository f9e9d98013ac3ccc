//! A second layer of encryption, to a passphrase.

use std::io::{Read, Write};

use age::cli_common::read_secret;
use age::secrecy::{ExposeSecret, SecretString};

use crate::error::{Error, Result};

/// A shorter passphrase is refused.
const CHARACTERS_MIN: usize = 12;

/// 2^18 rounds of scrypt, as `age -p` takes: about a second, and 256 MiB.
const WORK_FACTOR: u8 = 18;

/// More is not tried: an object could be made to take for ever.
const WORK_FACTOR_MAX: u8 = 22;

/// A passphrase. It is never shown, and wiped from memory when dropped.
#[derive(Debug, Clone)]
pub struct Passphrase(SecretString);

impl Passphrase {
    /// Takes ownership of a passphrase.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// Asks for it at the terminal; twice, if it is a new one.
    ///
    /// # Errors
    /// [`Error::Passphrase`] when none is given, or the two differ.
    pub fn ask(is_new: bool) -> Result<Self> {
        let again = is_new.then_some("the same passphrase again");
        let asked = read_secret("passphrase of the escrow key", "passphrase", again);
        asked.map(Self).map_err(|error| Error::Passphrase {
            reason: format!("cannot be read: {error}"),
        })
    }

    /// Refuses one that can be guessed.
    ///
    /// # Errors
    /// [`Error::Passphrase`].
    pub fn require_length(&self) -> Result<()> {
        let length = self.0.expose_secret().trim().chars().count();
        let reason = match length {
            0 => "is empty".to_owned(),
            length if length < CHARACTERS_MIN => {
                format!("has {length} characters: at least {CHARACTERS_MIN} are needed")
            }
            _ => return Ok(()),
        };
        Err(Error::Passphrase { reason })
    }

    /// Encrypts to the passphrase alone.
    ///
    /// # Errors
    /// When encrypting fails.
    pub(crate) fn encrypt(&self, plain: &[u8]) -> Result<Vec<u8>> {
        let internal = |error: &dyn std::fmt::Display| {
            Error::Internal(format!("cannot encrypt to a passphrase: {error}"))
        };
        let mut recipient = age::scrypt::Recipient::new(self.0.clone());
        recipient.set_work_factor(WORK_FACTOR);
        let only = std::iter::once(&recipient as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(only).map_err(|e| internal(&e))?;
        let mut writer = encryptor
            .wrap_output(Vec::new())
            .map_err(|e| internal(&e))?;
        writer.write_all(plain).map_err(|e| internal(&e))?;
        writer.finish().map_err(|e| internal(&e))
    }

    /// Decrypts what was encrypted to the passphrase. `object` names it in errors.
    ///
    /// # Errors
    /// [`Error::Passphrase`] when it is another one.
    pub(crate) fn decrypt(
        &self,
        encrypted: &[u8],
        object: &dyn std::fmt::Display,
    ) -> Result<Vec<u8>> {
        let mut identity = age::scrypt::Identity::new(self.0.clone());
        identity.set_max_work_factor(WORK_FACTOR_MAX);
        let only = std::iter::once(&identity as &dyn age::Identity);
        let opened = age::Decryptor::new_buffered(encrypted).and_then(|file| file.decrypt(only));
        let mut reader = match opened {
            Ok(reader) => reader,
            Err(age::DecryptError::DecryptionFailed | age::DecryptError::KeyDecryptionFailed) => {
                return Err(Error::Passphrase {
                    reason: format!("is not that of {object}"),
                });
            }
            Err(error) => return Err(Error::damaged_object(&object, error.to_string())),
        };
        let mut plain = Vec::new();
        reader
            .read_to_end(&mut plain)
            .map_err(|error| Error::damaged_object(&object, error.to_string()))?;
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_passphrase_opens_and_short_ones_are_refused() {
        let passphrase = Passphrase::new("correct horse battery".to_owned());
        passphrase.require_length().unwrap();
        let sealed = passphrase.encrypt(b"a key").unwrap();
        assert_eq!(passphrase.decrypt(&sealed, &"it").unwrap(), b"a key");
        let other = Passphrase::new("correct horse batterY".to_owned());
        let wrong = other.decrypt(&sealed, &"it").unwrap_err();
        assert!(matches!(wrong, Error::Passphrase { .. }), "{wrong:?}");
        for short in ["", "   ", "elevenchars", "           x"] {
            let refused = Passphrase::new(short.to_owned()).require_length();
            assert!(refused.is_err(), "{short:?}");
        }
        let shown = format!("{passphrase:?}");
        assert!(!shown.contains("horse"), "{shown}");
    }
}
