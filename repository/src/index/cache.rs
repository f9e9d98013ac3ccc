//! The local cache of the index: fragments as sorted tables, so that opening reads only what is new.
//! It may disappear or be damaged at any time; then the fragments are read again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::IndexTable;
use crate::error::{Error, Result};
use crate::format::pack::PackRecord;
use crate::id::ObjectId;

/// With more tables than this, the smallest are merged: each lookup searches every table.
const TABLES_MAX: usize = 6;

/// New fragments are written as one table when they have this many chunks, some 50 bytes each in memory.
const NEW_CHUNKS_MAX: u64 = 1_000_000;

/// The directory of tables while no signer is revoked.
const INITIAL_STATE: &str = "0";

/// Fragments that cannot be read, with the reason.
pub(crate) type FragmentErrors = Vec<(ObjectId, Error)>;

/// Tables in a directory.
#[derive(Debug)]
pub(crate) struct IndexCache {
    directory: Option<PathBuf>,
}

impl IndexCache {
    /// A cache in a directory, or none. `state` is what decides which fragments are valid; caches of other states
    /// are deleted.
    pub(crate) fn new(folder: Option<&Path>, state: Option<ObjectId>) -> Self {
        let folder = folder.map(|folder| folder.join("index"));
        let name = state.map_or_else(|| INITIAL_STATE.to_owned(), |state| state.to_string());
        if let Some(folder) = &folder {
            remove_other_states(folder, &name);
        }
        Self {
            directory: folder.map(|folder| folder.join(name)),
        }
    }

    /// The fragments that are cached.
    pub(crate) fn cached_fragments(&self) -> BTreeSet<ObjectId> {
        let tables = self.open_cached_tables();
        let fragments = tables.iter().flat_map(|(_, table)| table.fragments());
        fragments.copied().collect()
    }

    /// Tables for exactly these fragments; `read` fetches one that is not cached. A fragment that cannot be
    /// read is returned with the reason: its packs still have their directories. An outer error of `read`
    /// is returned at once.
    pub(crate) fn load_tables(
        &self,
        fragments: &BTreeSet<ObjectId>,
        mut read: impl FnMut(&ObjectId) -> Result<Result<Vec<PackRecord>>>,
    ) -> Result<(Vec<IndexTable>, FragmentErrors)> {
        let mut missing = fragments.clone();
        let mut unreadable = Vec::new();
        let mut tables = Vec::new();
        for (path, table) in self.open_cached_tables() {
            // A table with a deleted fragment could name packs that may be deleted too.
            if table
                .fragments()
                .iter()
                .all(|fragment| missing.contains(fragment))
            {
                for fragment in table.fragments() {
                    missing.remove(fragment);
                }
                tables.push((Some(path), table));
            } else {
                remove_cache_file(&path);
            }
        }
        let mut new = Vec::new();
        for fragment in missing {
            match read(&fragment)? {
                Ok(packs) => new.push(IndexTable::in_memory(&[fragment], &packs)?),
                Err(error) => unreadable.push((fragment, error)),
            }
            if new.iter().map(IndexTable::chunk_count).sum::<u64>() >= NEW_CHUNKS_MAX {
                tables.extend(self.store_new(&mut new));
                tables = self.merge_smallest(tables);
            }
        }
        tables.extend(self.store_new(&mut new));
        let tables = self.merge_smallest(tables).into_iter();
        Ok((tables.map(|(_, table)| table).collect(), unreadable))
    }

    /// Writes new tables as one. Without a cache they stay in memory as they are.
    fn store_new(&self, new: &mut Vec<IndexTable>) -> Vec<(Option<PathBuf>, IndexTable)> {
        let new = std::mem::take(new);
        if new.is_empty() {
            return Vec::new();
        }
        match self.store_merged(&new.iter().collect::<Vec<_>>()) {
            Some(merged) => vec![merged],
            None => new.into_iter().map(|table| (None, table)).collect(),
        }
    }

    fn merge_smallest(
        &self,
        mut tables: Vec<(Option<PathBuf>, IndexTable)>,
    ) -> Vec<(Option<PathBuf>, IndexTable)> {
        if tables.len() > TABLES_MAX {
            tables.sort_by_key(|(_, table)| table.chunk_count());
            let merged_count = tables.len() - TABLES_MAX / 2;
            let small: Vec<_> = tables[..merged_count]
                .iter()
                .map(|(_, table)| table)
                .collect();
            if let Some(merged) = self.store_merged(&small) {
                for (path, _) in tables.drain(..merged_count) {
                    path.iter().for_each(|path| remove_cache_file(path));
                }
                tables.push(merged);
            }
        }
        tables
    }

    fn open_cached_tables(&self) -> Vec<(PathBuf, IndexTable)> {
        let entries = self
            .directory
            .as_ref()
            .and_then(|folder| fs::read_dir(folder).ok());
        let mut found = Vec::new();
        for entry in entries.into_iter().flatten().flatten() {
            let path = entry.path();
            if path
                .extension()
                .is_none_or(|extension| extension != "table")
            {
                continue;
            }
            match IndexTable::open(&path) {
                Ok(table) => found.push((path, table)),
                Err(error) => {
                    tracing::debug!(path = %path.display(), %error, "removing an invalid index cache file");
                    remove_cache_file(&path);
                }
            }
        }
        found
    }

    /// Writes a merged table; `None` when the cache cannot be written, which only costs time.
    fn store_merged(&self, tables: &[&IndexTable]) -> Option<(Option<PathBuf>, IndexTable)> {
        let folder = self.directory.as_ref()?;
        let stored = || -> std::io::Result<(PathBuf, IndexTable)> {
            fs::create_dir_all(folder)?;
            let mut name = [0; 12];
            getrandom::fill(&mut name).map_err(std::io::Error::other)?;
            let unfinished = folder.join(format!("{}.tmp", hex::encode(name)));
            let path = unfinished.with_extension("table");
            IndexTable::merge_to_file(tables, &unfinished)?;
            fs::rename(&unfinished, &path)?;
            let table = IndexTable::open(&path)?;
            Ok((path, table))
        };
        match stored() {
            Ok((path, table)) => Some((Some(path), table)),
            Err(error) => {
                tracing::debug!(directory = %folder.display(), %error, "could not write the index cache");
                None
            }
        }
    }
}

/// Removes everything but one directory.
fn remove_other_states(directory: &Path, name: &str) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name() != name && path.is_dir() {
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::debug!(path = %path.display(), %error, "could not remove an old index cache directory");
            }
        } else if entry.file_name() != name {
            remove_cache_file(&path);
        }
    }
}

fn remove_cache_file(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "could not remove an index cache file");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(range: std::ops::Range<u32>) -> BTreeSet<ObjectId> {
        range
            .map(|n| ObjectId::from_content(&n.to_le_bytes()))
            .collect()
    }

    fn load(cache: &IndexCache, fragments: &BTreeSet<ObjectId>) -> (usize, BTreeSet<ObjectId>) {
        let mut reads = 0;
        let (tables, unreadable) = cache
            .load_tables(fragments, |_| {
                reads += 1;
                Ok(Ok(Vec::new()))
            })
            .unwrap();
        assert!(unreadable.is_empty());
        assert!(tables.len() <= TABLES_MAX);
        (
            reads,
            tables
                .iter()
                .flat_map(|table| table.fragments().to_vec())
                .collect(),
        )
    }

    #[test]
    fn a_fragment_is_read_once_and_a_vanished_one_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let cache = IndexCache::new(Some(directory.path()), None);
        assert_eq!(load(&cache, &ids(0..20)), (20, ids(0..20)));
        assert_eq!(load(&cache, &ids(0..20)), (0, ids(0..20)));
        assert_eq!(load(&cache, &ids(0..21)), (1, ids(0..21)));
        let (_, known) = load(&cache, &ids(5..21));
        assert_eq!(known, ids(5..21));
        let revoked = IndexCache::new(
            Some(directory.path()),
            Some(ObjectId::from_content(b"revoked")),
        );
        assert_eq!(load(&revoked, &ids(5..21)), (16, ids(5..21)));
        let cache = IndexCache::new(Some(directory.path()), None);
        assert_eq!(load(&cache, &ids(5..21)), (16, ids(5..21)));
        fs::remove_dir_all(directory.path().join("index")).unwrap();
        assert_eq!(load(&cache, &ids(5..21)), (16, ids(5..21)));
    }

    #[test]
    fn a_cache_that_cannot_be_written_costs_only_time() {
        let cache = IndexCache::new(Some(Path::new("/proc/nowhere")), None);
        assert_eq!(load(&cache, &ids(0..3)), (3, ids(0..3)));
        let cache = IndexCache::new(None, None);
        assert_eq!(load(&cache, &ids(0..3)), (3, ids(0..3)));
    }
}
