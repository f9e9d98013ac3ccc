//! Handing the catalog over: keys of single age files, for recipients that came later.
//!
//! What is stored is never encrypted again. But each age file has a key of its own, and who can open it can tell
//! that key, also who was told it. So a new host reads the roots, the index and the references that were there before
//! it came, and can let the next one in when the first is gone.

use std::collections::HashSet;

use crate::backend::ObjectKey;
use crate::crypt::{Class, FileKeys};
use crate::envelope::{self, RecordKind};
use crate::error::{Error, ErrorClass, Result};
use crate::id::ObjectId;
use crate::index::fragment_key;
use crate::names::id_in;
use crate::pack::{PackRecord, pack_key};
use crate::parallel::try_in_parallel;
use crate::records::CATALOG_FOLDERS;
use crate::repository::Repository;

/// The header of an age file is shorter, in bytes, with any reasonable number of recipients.
const HEADER_BYTES_MAX: u64 = 32 << 10;

/// What there is of the catalog to hand over.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    /// The keys of its age files.
    pub(crate) keys: FileKeys,
    /// What belongs to it and cannot be opened here, or is damaged.
    pub(crate) left_out: HashSet<ObjectId>,
}

impl Catalog {
    fn extend(&mut self, found: Vec<Found>) {
        for found in found {
            match found {
                Found::Key(hash, key) => drop(self.keys.insert(hash, key)),
                Found::Closed(id) => drop(self.left_out.insert(id)),
                Found::Nothing => {}
            }
        }
    }
}

/// What was found where an age file of the catalog may be.
enum Found {
    Key(ObjectId, [u8; 16]),
    /// Nobody here opens it.
    Closed(ObjectId),
    /// It is gone, or counts for nothing.
    Nothing,
}

/// One line an age file: its hash and its key.
pub(crate) fn write(keys: &FileKeys) -> Vec<u8> {
    let mut lines: Vec<String> = keys
        .iter()
        .map(|(id, key)| format!("{id} {}\n", hex::encode(key)))
        .collect();
    lines.sort_unstable();
    lines.concat().into_bytes()
}

/// Understands what [`write()`] wrote.
///
/// # Errors
/// A sentence.
pub(crate) fn parse(text: &[u8]) -> Result<FileKeys, String> {
    let text = std::str::from_utf8(text).map_err(|e| e.to_string())?;
    let mut keys = FileKeys::new();
    for line in text.lines() {
        let (id, digits) = line.split_once(' ').ok_or("a line contains no key")?;
        let id: ObjectId = id
            .parse()
            .map_err(|_| "a line contains no hash".to_owned())?;
        let mut key = [0; 16];
        hex::decode_to_slice(digits, &mut key).map_err(|e| e.to_string())?;
        keys.insert(id, key);
    }
    Ok(keys)
}

impl Repository {
    /// The keys of everything in the catalog that the identities here can open, or that was handed over to them.
    pub(crate) fn catalog_file_keys(&self) -> Result<Catalog> {
        let mut catalog = Catalog::default();
        for (folder, kind) in CATALOG_FOLDERS {
            let listed = self.inner.list(folder)?.into_iter();
            let named = listed.filter_map(|info| {
                let id = id_in(&info.key)?;
                Some((id, info.key))
            });
            catalog.extend(self.each(named.collect(), |(_, key)| {
                self.record_key(kind, &self.inner.get_named(key)?, key)
            })?);
        }
        catalog.extend(self.directory_keys()?);
        for fragment in self.inner.fragment_ids()? {
            match self.inner.read_fragment(&fragment) {
                Ok(packs) => catalog.extend(self.reference_keys(&packs)?),
                Err(error) => left_out(&fragment_key(&fragment), error)?,
            }
        }
        Ok(catalog)
    }

    /// The key of a signed record.
    fn record_key(&self, kind: RecordKind, bytes: &[u8], key: &ObjectKey) -> Result<Found> {
        match envelope::verify(kind, bytes, key, &self.inner.trust) {
            // Nobody who may has signed it: nobody misses it.
            Err(Error::Damaged { .. }) => return Ok(Found::Nothing),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        let body = bytes.iter().position(|b| *b == b'\n');
        let body = body
            .and_then(|end| bytes.get(end + 1..))
            .unwrap_or_default();
        Ok(self.found(ObjectId::of(body), body))
    }

    fn found(&self, hash: ObjectId, beginning: &[u8]) -> Found {
        match self.inner.identities.file_key(&hash, beginning) {
            Some(key) => Found::Key(hash, key),
            None => Found::Closed(hash),
        }
    }

    /// The keys of the directories inside packs: a prune believes nothing else of what is in them.
    fn directory_keys(&self) -> Result<Vec<Found>> {
        let listed = self.inner.list("packs")?.into_iter();
        let named = listed.filter_map(|info| Some((id_in(&info.key)?, info.size_bytes)));
        let reader = self.inner.directory_reader();
        self.each(named.collect(), |(id, size)| {
            self.record_key(RecordKind::Pack, &reader.sealed(id, *size)?, &pack_key(id))
        })
    }

    /// The keys of segments of the catalog class.
    fn reference_keys(&self, packs: &[PackRecord]) -> Result<Vec<Found>> {
        let segments = packs
            .iter()
            .flat_map(|pack| pack.segments.iter().map(|segment| (pack.pack, segment)))
            .filter(|(_, segment)| segment.class == Class::Catalog);
        let segments = segments.map(|(pack, segment)| (segment.hash, (pack, segment)));
        let inner = &self.inner;
        self.each(segments.collect(), |(_, (pack, segment))| {
            let length = u64::from(segment.length).min(HEADER_BYTES_MAX);
            let range = segment.offset..segment.offset + length;
            let read = inner.backend.get(&pack_key(pack), Some(range));
            let beginning = read.map_err(|source| inner.failed(source))?;
            Ok(self.found(segment.hash, &beginning))
        })
    }

    fn each<T: Sync>(
        &self,
        items: Vec<(ObjectId, T)>,
        read: impl Fn(&(ObjectId, T)) -> Result<Found> + Sync,
    ) -> Result<Vec<Found>> {
        let readers = self.inner.backend.abilities().parallel_reads;
        try_in_parallel(readers, &items, |item| match read(item) {
            Err(error) if is_gone(&error) => Ok(Found::Nothing),
            Err(error @ (Error::Damaged { .. } | Error::UnsupportedFormat { .. })) => {
                tracing::warn!(%error, "cannot wrap the key of an object for new recipients");
                Ok(Found::Closed(item.0))
            }
            found => found,
        })
    }
}

fn is_gone(error: &Error) -> bool {
    use crate::backend::BackendError;
    let Error::Backend { source, .. } = error else {
        return false;
    };
    matches!(
        source,
        BackendError::NotFound { .. } | BackendError::OutOfRange { .. }
    )
}

fn left_out(object: &dyn std::fmt::Display, error: Error) -> Result<()> {
    if error.class() == ErrorClass::Failed {
        return Err(error);
    }
    tracing::warn!(%object, %error, "cannot wrap the key of an object for new recipients");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_and_rubbish_is_refused() {
        let keys = FileKeys::from([(ObjectId::of(b"a"), [7; 16]), (ObjectId::of(b"b"), [8; 16])]);
        assert_eq!(parse(&write(&keys)).unwrap(), keys);
        for bad in ["x", "00 11", "\u{fffd}"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
