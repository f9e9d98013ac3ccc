//! Which packs a run has stored but perhaps not indexed, kept beside the cache.
//!
//! Where listing all packs is expensive, the next run learns here what a dead run has left, and uses it.
//! Losing a journal loses nothing but the chance to reuse those packs.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::id::ObjectId;

/// A journal of an active run. It holds a lock, by which others know that the run is active.
#[derive(Debug)]
pub(crate) struct PackJournal {
    path: PathBuf,
    file: Mutex<File>,
}

fn journal_directory(cache: &Path) -> PathBuf {
    cache.join("unindexed")
}

impl PackJournal {
    /// Begins a journal; `None` where it cannot be written, which only costs reuse after a crash.
    pub(crate) fn begin(cache: Option<&Path>) -> Option<Self> {
        let directory = journal_directory(cache?);
        let begun = || -> std::io::Result<Self> {
            fs::create_dir_all(&directory)?;
            let mut name = [0; 12];
            getrandom::fill(&mut name).map_err(std::io::Error::other)?;
            let path = directory.join(hex::encode(name));
            let file = OpenOptions::new()
                .create_new(true)
                .append(true)
                .open(&path)?;
            file.try_lock().map_err(std::io::Error::other)?;
            Ok(Self {
                path,
                file: Mutex::new(file),
            })
        };
        match begun() {
            Ok(journal) => Some(journal),
            Err(error) => {
                tracing::debug!(%error, "could not create the journal of stored packs: an interrupted run's packs will not be reused");
                None
            }
        }
    }

    /// Records a pack that is about to be stored.
    pub(crate) fn add_pack(&self, pack: &ObjectId) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writeln!(file, "{pack}") {
            tracing::debug!(%error, "could not add a pack to the journal of stored packs");
        }
    }

    /// Everything is indexed: the journal is no longer needed.
    pub(crate) fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "could not remove a journal of stored packs");
        }
    }
}

/// Packs that dead runs have recorded, with the journals that may be removed once they are taken over.
pub(crate) fn read_abandoned_journals(cache: Option<&Path>) -> (BTreeSet<ObjectId>, Vec<PathBuf>) {
    let (mut packs, mut journals) = (BTreeSet::new(), Vec::new());
    let entries = cache.and_then(|cache| fs::read_dir(journal_directory(cache)).ok());
    for entry in entries.into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(mut file) = File::open(&path) else {
            continue;
        };
        if file.try_lock().is_err() {
            continue;
        }
        let mut text = String::new();
        if file.read_to_string(&mut text).is_ok() {
            packs.extend(
                text.lines()
                    .filter_map(|line| line.parse::<ObjectId>().ok()),
            );
        }
        journals.push(path);
    }
    (packs, journals)
}

/// Removes journals whose packs another journal has taken over.
pub(crate) fn remove_journals(journals: &[PathBuf]) {
    for path in journals {
        if let Err(error) = fs::remove_file(path) {
            tracing::debug!(%error, "could not remove a journal of stored packs");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_journals_of_the_dead_are_read() {
        let cache = tempfile::tempdir().unwrap();
        let (one, two) = (ObjectId::from_content(b"1"), ObjectId::from_content(b"2"));
        let living = PackJournal::begin(Some(cache.path())).unwrap();
        living.add_pack(&one);
        let dead = PackJournal::begin(Some(cache.path())).unwrap();
        dead.add_pack(&two);
        drop(dead);
        let (packs, journals) = read_abandoned_journals(Some(cache.path()));
        assert_eq!(packs, BTreeSet::from([two]));
        remove_journals(&journals);
        living.remove();
        assert_eq!(
            read_abandoned_journals(Some(cache.path())),
            Default::default()
        );
        assert!(PackJournal::begin(Some(Path::new("/proc/nowhere"))).is_none());
    }
}
