//! The rules of an entry list, the same for a program that writes one and for those that read it: what cannot be read
//! back is not written.

use std::cmp::Ordering;
use std::fmt;

use crate::format::entry::{Entry, EntryKind, path_order};
use crate::text::RawText;

/// Checks the entries of a list, one after the other.
#[derive(Debug, Default)]
pub(crate) struct EntryListCheck {
    last_path: Option<Vec<u8>>,
}

/// Why an entry cannot be the next one of its list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryFault {
    /// Its path does not come after that of the last entry.
    OutOfOrder(String),
    /// It is not valid itself.
    Invalid(String),
}

impl EntryListCheck {
    /// Takes the next entry of the list, or says why it cannot be one. A refused entry leaves no trace.
    pub(crate) fn take_next(&mut self, entry: &Entry) -> Result<(), EntryFault> {
        entry.validate().map_err(EntryFault::Invalid)?;
        if entry.chunks > 0 && entry.kind != EntryKind::File {
            return Err(EntryFault::Invalid(format!(
                "{:?} has content but is not a regular file",
                entry.path
            )));
        }
        let path = entry.path.as_bytes();
        let last = self.last_path.as_deref();
        if last.is_some_and(|last| path_order(last, path) != Ordering::Less) {
            return Err(EntryFault::OutOfOrder(format!(
                "{:?} is out of order",
                entry.path
            )));
        }
        self.last_path = Some(path.to_vec());
        Ok(())
    }
}

impl fmt::Display for EntryFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfOrder(reason) | Self::Invalid(reason) => f.write_str(reason),
        }
    }
}

/// A short name for a path, where many must be remembered.
pub(crate) type PathDigest = [u8; 16];

/// The digest of a path.
pub(crate) fn path_digest(path: &RawText) -> PathDigest {
    let mut digest = PathDigest::default();
    let hash = blake3::hash(path.as_bytes());
    digest.copy_from_slice(&hash.as_bytes()[..16]);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Entry {
        Entry::new(RawText::from(path), EntryKind::File)
    }

    #[test]
    fn only_valid_entries_in_ascending_order_are_taken() {
        let mut list = EntryListCheck::default();
        let directory = Entry {
            chunks: 1,
            ..Entry::new(RawText::from("b/c"), EntryKind::Directory)
        };
        for (entry, taken) in [
            (file("a"), true),
            (file("a"), false),
            (file("b"), true),
            (file("b/../c"), false),
            (directory, false),
            (file("b/c"), true),
            (file("b"), false),
            (file("b/c"), false),
            (file("b-c"), true),
        ] {
            assert_eq!(list.take_next(&entry).is_ok(), taken, "{entry:?}");
        }
    }
}
