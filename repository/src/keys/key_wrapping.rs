//! Key wrapping for the catalog: file keys of age files, for recipients that were added later.
//!
//! Stored objects are never encrypted again. But each age file has its own file key, and whoever can open the file
//! can pass that key on, even if it was only given to them. So a new host reads the roots, the index and the
//! references that were stored before it was added, and can add the next one when the first no longer exists.

use std::collections::HashSet;

use crate::backend::ObjectKey;
use crate::crypto::encryption::{FileKeys, RecipientClass};
use crate::crypto::envelope::{self, RecordKind};
use crate::error::{Error, ErrorClass, Result};
use crate::format::names::id_from_key;
use crate::format::pack::{PackRecord, pack_key};
use crate::id::ObjectId;
use crate::index::fragment_key;
use crate::parallel::try_map_in_parallel;
use crate::records::record_set::CATALOG_DIRECTORIES;
use crate::store::Repository;

/// Upper limit of an age file's header, in bytes, with any reasonable number of recipients.
const HEADER_BYTES_MAX: u64 = 32 << 10;

/// The part of the catalog that can be wrapped.
#[derive(Debug, Default)]
pub(crate) struct CatalogFileKeys {
    /// The file keys of its age files.
    pub(crate) file_keys: FileKeys,
    /// Its objects that cannot be opened here, or are damaged.
    pub(crate) inaccessible: HashSet<ObjectId>,
}

impl CatalogFileKeys {
    fn add_lookups(&mut self, found: Vec<FileKeyLookup>) {
        for found in found {
            match found {
                FileKeyLookup::Key(hash, key) => drop(self.file_keys.insert(hash, key)),
                FileKeyLookup::Inaccessible(id) => drop(self.inaccessible.insert(id)),
                FileKeyLookup::Ignored => {}
            }
        }
    }
}

/// The result for an age file that may belong to the catalog.
enum FileKeyLookup {
    Key(ObjectId, [u8; 16]),
    /// No identity here opens it.
    Inaccessible(ObjectId),
    /// It no longer exists, or is ignored.
    Ignored,
}

/// One line per age file: its hash and its file key.
pub(crate) fn serialize_file_keys(keys: &FileKeys) -> Vec<u8> {
    let mut lines: Vec<String> = keys
        .iter()
        .map(|(id, key)| format!("{id} {}\n", hex::encode(key)))
        .collect();
    lines.sort_unstable();
    lines.concat().into_bytes()
}

/// Parses the output of [`serialize_file_keys`].
///
/// # Errors
/// What is wrong, as a sentence.
pub(crate) fn parse_file_keys(text: &[u8]) -> Result<FileKeys, String> {
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
    /// The file keys of everything in the catalog that the identities here can open, or that were given to them.
    pub(crate) fn collect_catalog_file_keys(&self) -> Result<CatalogFileKeys> {
        let mut catalog = CatalogFileKeys::default();
        for (directory, kind) in CATALOG_DIRECTORIES {
            let listed = self.inner.list_objects(directory)?.into_iter();
            let named = listed.filter_map(|info| {
                let id = id_from_key(&info.key)?;
                Some((id, info.key))
            });
            catalog.add_lookups(self.look_up_in_parallel(named.collect(), |(_, key)| {
                self.record_file_key(kind, &self.inner.get_verified(key)?, key)
            })?);
        }
        catalog.add_lookups(self.pack_directory_keys()?);
        for fragment in self.inner.fragment_ids()? {
            match self.inner.read_fragment(&fragment) {
                Ok(packs) => catalog.add_lookups(self.catalog_segment_keys(&packs)?),
                Err(error) => skip_unless_failed(&fragment_key(&fragment), error)?,
            }
        }
        Ok(catalog)
    }

    /// The file key of a signed record.
    fn record_file_key(
        &self,
        kind: RecordKind,
        bytes: &[u8],
        key: &ObjectKey,
    ) -> Result<FileKeyLookup> {
        match envelope::verify_record(kind, bytes, key, &self.inner.trust) {
            // No signer with the right role has signed it: it is not needed.
            Err(Error::Damaged { .. }) => return Ok(FileKeyLookup::Ignored),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        let body = bytes.iter().position(|b| *b == b'\n');
        let body = body
            .and_then(|end| bytes.get(end + 1..))
            .unwrap_or_default();
        Ok(self.look_up_file_key(ObjectId::from_content(body), body))
    }

    fn look_up_file_key(&self, hash: ObjectId, beginning: &[u8]) -> FileKeyLookup {
        match self.inner.identities.unwrap_file_key(&hash, beginning) {
            Some(key) => FileKeyLookup::Key(hash, key),
            None => FileKeyLookup::Inaccessible(hash),
        }
    }

    /// The file keys of the directories inside packs: a prune trusts nothing else about their content.
    fn pack_directory_keys(&self) -> Result<Vec<FileKeyLookup>> {
        let listed = self.inner.list_objects("packs")?.into_iter();
        let named = listed.filter_map(|info| Some((id_from_key(&info.key)?, info.size_bytes)));
        let reader = self.inner.directory_reader();
        self.look_up_in_parallel(named.collect(), |(id, size)| {
            self.record_file_key(
                RecordKind::Pack,
                &reader.read_sealed_directory(id, *size)?,
                &pack_key(id),
            )
        })
    }

    /// The file keys of segments of the catalog class.
    fn catalog_segment_keys(&self, packs: &[PackRecord]) -> Result<Vec<FileKeyLookup>> {
        let segments = packs
            .iter()
            .flat_map(|pack| pack.segments.iter().map(|segment| (pack.pack, segment)))
            .filter(|(_, segment)| segment.class == RecipientClass::Catalog);
        let segments = segments.map(|(pack, segment)| (segment.hash, (pack, segment)));
        let inner = &self.inner;
        self.look_up_in_parallel(segments.collect(), |(_, (pack, segment))| {
            let length = u64::from(segment.length).min(HEADER_BYTES_MAX);
            let range = segment.offset..segment.offset + length;
            let read = inner.backend.get(&pack_key(pack), Some(range));
            let beginning = read.map_err(|source| inner.backend_error(source))?;
            Ok(self.look_up_file_key(segment.hash, &beginning))
        })
    }

    fn look_up_in_parallel<T: Sync>(
        &self,
        items: Vec<(ObjectId, T)>,
        read: impl Fn(&(ObjectId, T)) -> Result<FileKeyLookup> + Sync,
    ) -> Result<Vec<FileKeyLookup>> {
        let readers = self.inner.backend.capabilities().parallel_reads;
        try_map_in_parallel(readers, &items, |item| match read(item) {
            Err(error) if is_missing_or_truncated(&error) => Ok(FileKeyLookup::Ignored),
            Err(error @ (Error::Damaged { .. } | Error::UnsupportedFormat { .. })) => {
                tracing::warn!(%error, "cannot wrap the key of an object for new recipients");
                Ok(FileKeyLookup::Inaccessible(item.0))
            }
            found => found,
        })
    }
}

fn is_missing_or_truncated(error: &Error) -> bool {
    use crate::backend::BackendError;
    let Error::Backend { source, .. } = error else {
        return false;
    };
    matches!(
        source,
        BackendError::NotFound { .. } | BackendError::OutOfRange { .. }
    )
}

fn skip_unless_failed(object: &dyn std::fmt::Display, error: Error) -> Result<()> {
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
        let keys = FileKeys::from([
            (ObjectId::from_content(b"a"), [7; 16]),
            (ObjectId::from_content(b"b"), [8; 16]),
        ]);
        assert_eq!(parse_file_keys(&serialize_file_keys(&keys)).unwrap(), keys);
        for bad in ["x", "00 11", "\u{fffd}"] {
            assert!(parse_file_keys(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
