//! Signatures: who may add something to the repository.
//!
//! Encryption to public recipients proves nothing about the sender, so everything that other objects build on
//! (snapshot roots, index fragments, pack directories) carries an ed25519 signature of a known signer.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

/// What a signer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignerRole {
    /// Adds packs, index fragments and snapshots.
    Writer,
    /// Forgets snapshots and changes keys.
    Keeper,
}

impl SignerRole {
    /// The name as stored.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Keeper => "keeper",
        }
    }
}

/// A public signing key: 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SignerId([u8; 32]);

impl fmt::Display for SignerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl SignerId {
    /// Enough of it to tell signers apart.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

impl fmt::Debug for SignerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignerId({self})")
    }
}

impl FromStr for SignerId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 32];
        let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) if lower => Ok(Self(bytes)),
            _ => Err("a signer's public key is 64 lower-case hexadecimal digits".to_owned()),
        }
    }
}

impl TryFrom<String> for SignerId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<SignerId> for String {
    fn from(id: SignerId) -> Self {
        id.to_string()
    }
}

/// A signer that the repository knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownSigner {
    /// The public key.
    pub key: SignerId,
    /// What it may do.
    pub roles: Vec<SignerRole>,
    /// For display: which host or person it is.
    pub name: String,
}

/// This host's signing key. Secret.
#[derive(Clone)]
pub struct HostSigner {
    key: SigningKey,
}

impl fmt::Debug for HostSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HostSigner").field(&self.id()).finish()
    }
}

impl HostSigner {
    /// A signer from its 32 secret bytes.
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self {
            key: SigningKey::from_bytes(secret),
        }
    }

    /// The public key.
    #[must_use]
    pub fn id(&self) -> SignerId {
        SignerId(self.key.verifying_key().to_bytes())
    }

    /// Signs a message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl SignerId {
    /// Whether it can verify any signature: most texts of the right length are not keys.
    #[must_use]
    pub(crate) fn is_valid_key(&self) -> bool {
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| !key.is_weak())
    }
}

/// Whether `signature` over `message` was made by `signer`. Strict: no malleable or weak-key signatures.
#[must_use]
pub(crate) fn is_valid_signature(signer: &SignerId, message: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(&signer.0).is_ok_and(|key| {
        key.verify_strict(message, &Signature::from_bytes(signature))
            .is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_signer_signs_only_the_message() {
        let signer = HostSigner::from_secret(&[7; 32]);
        let other = HostSigner::from_secret(&[8; 32]);
        let signature = signer.sign(b"root");
        assert!(is_valid_signature(&signer.id(), b"root", &signature));
        assert!(!is_valid_signature(&signer.id(), b"toor", &signature));
        assert!(!is_valid_signature(&other.id(), b"root", &signature));
        assert!(!is_valid_signature(&SignerId([0; 32]), b"root", &[0; 64]));
    }
}
