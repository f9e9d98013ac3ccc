//! The objects of a backend: their keys, and what a listing tells about them.

use std::fmt;

use chrono::{DateTime, Utc};

/// The name of an object inside a repository: `/`-separated, of `[a-z0-9.]` only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Checks a key. Each part has 1 to 128 characters of `[a-z0-9.]` and does not begin with a dot, so
    /// that no key can leave the repository's directory.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let good_char = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.';
        let good_part = |part: &str| {
            (1..=128).contains(&part.len()) && !part.starts_with('.') && part.bytes().all(good_char)
        };
        text.split('/').all(good_part).then_some(Self(text))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part after the last `/`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    pub(crate) fn from_trusted(text: String) -> Self {
        debug_assert!(Self::new(text.clone()).is_some(), "{text}");
        Self(text)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: ObjectKey,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// When the storage received it, by the storage's own clock; `None` if the storage does not report it.
    ///
    /// The writer of an object cannot choose this time, unlike any time inside the object.
    pub received: Option<DateTime<Utc>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_leave_the_repository() {
        for bad in [
            "", "/", "a/", "/a", "../x", "a/../b", ".hidden", "a//b", "A", "a b", "a\0",
        ] {
            assert_eq!(ObjectKey::new(bad), None, "{bad:?}");
        }
        for good in ["reprise.json", "packs/00/ab", "keys/0"] {
            assert!(ObjectKey::new(good).is_some(), "{good:?}");
        }
    }
}
