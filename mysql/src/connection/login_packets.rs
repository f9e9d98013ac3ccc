//! What logins have in common, the driver's and the log's: packets, challenges, and encrypting a password to a server's
//! public key for a connection that is not encrypted itself.

use std::path::Path;

use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};
use mysql_common::io::ParseBuf;
use mysql_common::proto::MyDeserialize;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;

use crate::error::DatabaseError;

/// The beginning of responses of `caching_sha2_password`, and what follows it: the password was in the server's cache, or
/// must be sent.
pub(crate) const AUTH_MORE_DATA: u8 = 0x01;
pub(crate) const FAST_AUTH_SUCCESS: u8 = 0x03;
pub(crate) const FULL_AUTHENTICATION: u8 = 0x04;

/// Asks a server for its public key.
pub(crate) const PUBLIC_KEY_REQUEST: u8 = 0x02;

/// Why a password is not sent.
pub(crate) const NO_PASSWORD_KEY: &str = "the server asks for the password itself, over a connection that is not encrypted, and its public key is not known";

/// Length of a challenge; some servers end it with a zero byte.
const CHALLENGE_BYTES: usize = 20;

/// A challenge without its end.
pub(crate) fn trim_challenge(bytes: &[u8]) -> Vec<u8> {
    match bytes {
        [challenge @ .., 0] if challenge.len() == CHALLENGE_BYTES => challenge.to_vec(),
        whole => whole.to_vec(),
    }
}

/// A packet of a server's login.
pub(crate) fn parse_packet<'a, T: MyDeserialize<'a, Ctx = ()>>(
    bytes: &'a [u8],
) -> Result<T, String> {
    T::deserialize((), &mut ParseBuf(bytes))
        .map_err(|error| format!("the server's handshake cannot be parsed: {error}"))
}

/// The error that a password is not sent.
pub(crate) fn password_not_sent(address: &str, reason: String) -> DatabaseError {
    DatabaseError::PasswordNotSent {
        address: address.to_owned(),
        reason,
    }
}

/// The public key that a person gives for a server.
pub(crate) fn read_key_file(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| {
        format!(
            "the public key in {} cannot be read: {error}",
            file.display()
        )
    })
}

/// The password, masked with the server's challenge and encrypted to an RSA key in PEM form. The key may come from
/// anybody: what is wrong with it is an error.
pub(crate) fn encrypt_password(
    password: &str,
    challenge: &[u8],
    pem: &[u8],
) -> Result<Vec<u8>, String> {
    let invalid =
        |reason: &dyn std::fmt::Display| format!("the server's public key is not valid: {reason}");
    let key = SubjectPublicKeyInfoDer::from_pem_slice(pem)
        .map_err(|error| invalid(&format!("{error:?}")))?;
    let key = PublicEncryptingKey::from_der(&key).map_err(|error| invalid(&error))?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|error| invalid(&error))?;
    let mut plain = [password.as_bytes(), &[0]].concat();
    let mask = challenge.iter().cycle();
    plain
        .iter_mut()
        .zip(mask)
        .for_each(|(byte, mask)| *byte ^= mask);
    let mut encrypted = vec![0; key.ciphertext_size()];
    let written = key
        .encrypt(&OAEP_SHA1_MGF1SHA1, &plain, &mut encrypted, None)
        .map_err(|_| "the password is too long for the server's public key".to_owned())?
        .len();
    encrypted.truncate(written);
    Ok(encrypted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_key_is_an_error() {
        let texts = [
            "",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            "-----BEGIN PUBLIC KEY-----\n\u{e9}\n-----END PUBLIC KEY-----\n",
            "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKC\n-----END PUBLIC KEY-----\n",
            "-----BEGIN PUBLIC KEY-----\n",
        ];
        for text in texts {
            assert!(
                encrypt_password("secret", b"challenge", text.as_bytes()).is_err(),
                "{text}"
            );
        }
    }
}
