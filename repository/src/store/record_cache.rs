//! The local cache of small records (snapshot roots, tombstones): each costs a request where the storage is
//! remote.
//!
//! They are cached as stored, so they are verified like stored ones; the cache may disappear at any time.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::backend::ObjectKey;
use crate::id::ObjectId;

/// Records in a directory, or none.
#[derive(Debug)]
pub(crate) struct RecordCache {
    directory: Option<PathBuf>,
}

impl RecordCache {
    /// For the objects of one directory of the repository.
    pub(crate) fn new(cache: Option<&Path>, directory: &str) -> Self {
        Self {
            directory: cache.map(|cache| cache.join(directory)),
        }
    }

    /// A record's bytes, if they are cached and match its hash.
    pub(crate) fn get(&self, id: &ObjectId) -> Option<Vec<u8>> {
        let bytes = fs::read(self.directory.as_ref()?.join(id.to_string())).ok()?;
        (ObjectId::from_content(&bytes) == *id).then_some(bytes)
    }

    /// Caches a fetched record, replacing any older copy; a failure only costs time.
    pub(crate) fn insert(&self, id: &ObjectId, bytes: &[u8]) {
        let Some(directory) = &self.directory else {
            return;
        };
        let path = directory.join(id.to_string());
        let kept = fs::create_dir_all(directory).and_then(|()| {
            let unfinished = directory.join(format!("{id}.{}", std::process::id()));
            fs::write(&unfinished, bytes)?;
            fs::rename(&unfinished, &path)
        });
        if let Err(error) = kept {
            tracing::debug!(%error, "cannot cache a record");
        }
    }

    /// Removes records that are no longer stored.
    pub(crate) fn remove_others<'k>(&self, stored: impl Iterator<Item = &'k ObjectKey>) {
        let Some(directory) = &self.directory else {
            return;
        };
        let names: HashSet<&str> = stored.map(ObjectKey::name).collect();
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let known = entry
                .file_name()
                .to_str()
                .is_some_and(|name| names.contains(name));
            if !known && let Err(error) = fs::remove_file(entry.path()) {
                tracing::debug!(%error, "cannot remove a cached record");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_records_come_out_of_the_cache() {
        let directory = tempfile::tempdir().unwrap();
        let cache = RecordCache::new(Some(directory.path()), "snapshots");
        let (id, other) = (
            ObjectId::from_content(b"root"),
            ObjectId::from_content(b"other"),
        );
        cache.insert(&id, b"root");
        cache.insert(&other, b"other");
        assert_eq!(cache.get(&id).as_deref(), Some(b"root".as_slice()));
        let key = ObjectKey::new(format!("snapshots/{id}")).unwrap();
        cache.remove_others([key].iter());
        assert_eq!(cache.get(&other), None);
        fs::write(
            directory.path().join("snapshots").join(id.to_string()),
            b"rott",
        )
        .unwrap();
        assert_eq!(cache.get(&id), None);
        cache.insert(&id, b"root");
        assert_eq!(cache.get(&id).as_deref(), Some(b"root".as_slice()));
        assert_eq!(RecordCache::new(None, "snapshots").get(&id), None);
    }
}
