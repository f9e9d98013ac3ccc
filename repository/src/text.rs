//! Names and other texts of a source that need not be UTF-8.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reprise_location::changes_terminal;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Arbitrary bytes. In JSON a string where they are UTF-8, otherwise `{"base64": "…"}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RawText(Vec<u8>);

impl RawText {
    /// Wraps bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a path of the local system.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// For people: control characters and bytes that are not UTF-8 are escaped, so that a name cannot rewrite the
    /// terminal or look like another name.
    #[must_use]
    pub fn display(&self) -> String {
        let mut shown = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            shown.push_str(&escape_line(chunk.valid()));
            for byte in chunk.invalid() {
                shown.push_str(&format!("\\x{byte:02x}"));
            }
        }
        shown
    }
}

/// Text from elsewhere, as one line that a terminal shows as it is: control characters, and characters that reorder or
/// hide others, are escaped.
#[must_use]
pub fn escape_line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(changes_terminal) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if changes_terminal(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Checks a name or label that is about to be stored in a record.
///
/// # Errors
/// [`Error::ControlCharacter`].
pub(crate) fn require_printable(what: &str, text: &str) -> Result<()> {
    match escape_line(text) {
        Cow::Borrowed(_) => Ok(()),
        Cow::Owned(value) => Err(Error::ControlCharacter {
            what: what.to_owned(),
            value,
        }),
    }
}

impl From<&str> for RawText {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<&OsStr> for RawText {
    fn from(text: &OsStr) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl fmt::Debug for RawText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.display())
    }
}

impl Serialize for RawText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &STANDARD.encode(&self.0))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for RawText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawTextVisitor)
    }
}

struct RawTextVisitor;

impl<'de> Visitor<'de> for RawTextVisitor {
    type Value = RawText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or {\"base64\": \"…\"}")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RawText, E> {
        Ok(RawText::from(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawText, A::Error> {
        let Some(("base64", encoded)) = map.next_entry::<&str, std::borrow::Cow<'de, str>>()?
        else {
            return Err(A::Error::custom("the key `base64` is expected"));
        };
        if map.next_key::<&str>()?.is_some() {
            return Err(A::Error::custom("no other key is allowed beside `base64`"));
        }
        STANDARD
            .decode(encoded.as_bytes())
            .map(RawText)
            .map_err(A::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_survive_json(bytes: Vec<u8>) {
            let text = RawText::new(bytes);
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(serde_json::from_str::<RawText>(&json).unwrap(), text);
        }
    }

    #[test]
    fn what_is_shown_cannot_move_the_cursor() {
        assert_eq!(
            RawText::new(*b"a\x1b[2J\n\xff\xc3\xa9").display(),
            "a\\u{1b}[2J\\n\\xffé"
        );
        assert_eq!(
            escape_line("txt.\u{202e}exe\u{200b}"),
            "txt.\\u{202e}exe\\u{200b}"
        );
        assert_eq!(escape_line("naïve — ok"), "naïve — ok");
    }
}
