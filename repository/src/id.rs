//! Identifiers of chunks, stored objects and repositories.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Length of every 256-bit identifier, in bytes.
pub(crate) const ID_BYTES: usize = 32;

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; ID_BYTES]);

        impl $name {
            /// Wraps raw bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                decode_hex_id(text.as_bytes()).map(Self).ok_or(ParseIdError)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut text = [0; ID_BYTES * 2];
                hex::encode_to_slice(self.0, &mut text).map_err(serde::ser::Error::custom)?;
                let text = std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?;
                serializer.serialize_str(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(HexIdVisitor).map(Self)
            }
        }
    };
}

/// Parses the text of an ID without a copy: an index has millions of them.
struct HexIdVisitor;

impl serde::de::Visitor<'_> for HexIdVisitor {
    type Value = [u8; ID_BYTES];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("64 lower-case hexadecimal digits")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        decode_hex_id(text.as_bytes()).ok_or_else(|| E::custom(ParseIdError))
    }
}

fn decode_hex_id(text: &[u8]) -> Option<[u8; ID_BYTES]> {
    let (pairs, rest) = text.as_chunks::<2>();
    let mut bytes = [0; ID_BYTES];
    if pairs.len() != ID_BYTES || !rest.is_empty() || !are_hex_digits(text) {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = hex_digit_value(*high) << 4 | hex_digit_value(*low);
    }
    Some(bytes)
}

/// Whether these are lower-case hexadecimal digits. Checks all of them, which is faster than stopping early.
pub(crate) fn are_hex_digits(text: &[u8]) -> bool {
    let is_digit = |b: u8| b.is_ascii_digit() | (b'a'..=b'f').contains(&b);
    text.iter().fold(true, |good, b| good & is_digit(*b))
}

/// The value of a digit: its last four bits, and nine more for a letter.
pub(crate) const fn hex_digit_value(b: u8) -> u8 {
    (b & 15) + 9 * (b >> 6)
}

hash_id! {
    /// A chunk's ID: the BLAKE3 hash of its plain bytes, keyed with the repository's chunk-ID key.
    ChunkId
}

hash_id! {
    /// A stored object's ID: the unkeyed BLAKE3 hash of its stored bytes.
    ObjectId
}

impl ObjectId {
    /// The ID of an object with these stored bytes, given in parts.
    #[must_use]
    pub fn from_content_parts(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The ID of an object with these stored bytes.
    #[must_use]
    pub fn from_content(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The first eight hexadecimal digits, as people read them.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

/// A text is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an identifier: 64 lower-case hexadecimal digits are expected")]
pub struct ParseIdError;

/// The repository that something belongs to: 32 random hexadecimal digits, made by `init`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryId(String);

impl RepositoryId {
    /// A new random identifier.
    ///
    /// # Errors
    /// When the system has no randomness available.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(hex::encode(bytes)))
    }

    /// The 32 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RepositoryId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 32 && text.bytes().all(digits) {
            Ok(Self(text))
        } else {
            Err("a repository ID has 32 lower-case hexadecimal digits".to_owned())
        }
    }
}

impl From<RepositoryId> for String {
    fn from(id: RepositoryId) -> Self {
        id.0
    }
}

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_text_and_json() {
        let id = ObjectId::from_content(b"reprise");
        assert_eq!(id.to_string().parse::<ObjectId>(), Ok(id));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<ObjectId>(&json).unwrap(), id);
    }

    #[test]
    fn only_64_lower_case_digits_are_an_id() {
        for bad in [
            "",
            "00",
            &"0".repeat(63),
            &"A".repeat(64),
            &"g".repeat(64),
            &"0".repeat(65),
        ] {
            assert_eq!(bad.parse::<ChunkId>(), Err(ParseIdError), "{bad:?}");
        }
    }

    #[test]
    fn parts_hash_like_the_whole() {
        assert_eq!(
            ObjectId::from_content_parts(&[b"ab", b"", b"c"]),
            ObjectId::from_content(b"abc")
        );
    }

    #[test]
    fn a_repository_id_has_one_spelling() {
        assert!(RepositoryId::try_from("0".repeat(32)).is_ok());
        for bad in ["F".repeat(32), "0".repeat(31), "../../etc".to_owned()] {
            assert!(RepositoryId::try_from(bad).is_err());
        }
    }
}
