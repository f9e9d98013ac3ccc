//! What this machine has seen of a repository: a storage may withhold objects, or present an old state, and nothing that
//! is stored there can tell.
//!
//! There is a file for each repository and location, with IDs and the names of snapshots. It may be lost: then the
//! repository is as new to this machine. Nothing but a comparison rests on it. One that is there and cannot be read is no
//! lost one: it is left as it is, and nothing is deleted meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::format::config::Config;
use crate::id::ObjectId;

/// A snapshot that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeenSnapshot {
    pub(crate) source: String,
    pub(crate) data_time: DateTime<Utc>,
    /// It was never seen itself: the one of this source and time, which was there at the first use, names it as the one
    /// before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_parent: bool,
}

impl SeenSnapshot {
    /// In words.
    pub(crate) fn description(&self) -> String {
        let time = self.data_time.to_rfc3339_opts(SecondsFormat::Secs, true);
        match self.is_parent {
            false => format!("the snapshot of `{}` of {time}", self.source),
            true => format!("the snapshot of `{}` before the one of {time}", self.source),
        }
    }
}

/// What was seen and must still be there, unless records of a keeper explain it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SeenObjects {
    /// For people who look for the file of a repository.
    location: String,
    /// Snapshots that were not deleted by a prune.
    pub(crate) snapshots: BTreeMap<ObjectId, SeenSnapshot>,
    /// Valid tombstones.
    pub(crate) tombstones: BTreeSet<ObjectId>,
    /// Records of keys that were read.
    pub(crate) keys: BTreeSet<ObjectId>,
    /// Roots and tombstones that did not match their names at the first use: they may have been good before. Whatever is
    /// like that later and was never seen otherwise was never good.
    pub(crate) damaged: BTreeSet<ObjectId>,
    /// Whether roots were listed before.
    pub(crate) roots_listed: bool,
    /// Whether tombstones were listed before.
    pub(crate) tombstones_listed: bool,
    /// What is missing, and need not be asked for again.
    pub(crate) accepted: BTreeSet<ObjectId>,
    /// Why what was remembered cannot be read: then nothing is known, and that is not the same as the first use.
    #[serde(skip)]
    unreadable: Option<String>,
}

impl SeenObjects {
    /// Those of some remembered objects that are not among the stored ones.
    pub(crate) fn missing_of(
        &self,
        remembered: &BTreeSet<ObjectId>,
        stored: &HashSet<ObjectId>,
    ) -> Vec<ObjectId> {
        let missing = remembered.iter().filter(|id| !stored.contains(id));
        let missing = missing.filter(|id| !self.accepted.contains(id));
        missing.copied().collect()
    }

    /// Whether bytes that do not match the name of a root can be those of a good one that was damaged.
    pub(crate) fn may_be_root(&self, id: &ObjectId) -> bool {
        !self.roots_listed || self.snapshots.contains_key(id) || self.damaged.contains(id)
    }

    /// The same of a tombstone.
    pub(crate) fn may_be_tombstone(&self, id: &ObjectId) -> bool {
        !self.tombstones_listed || self.tombstones.contains(id) || self.damaged.contains(id)
    }

    /// Forgets that something was seen.
    pub(crate) fn accept_missing(&mut self, id: ObjectId) {
        self.snapshots.remove(&id);
        self.tombstones.remove(&id);
        self.keys.remove(&id);
        self.damaged.remove(&id);
        self.accepted.insert(id);
    }
}

/// The memory of this machine for one repository at one location; perhaps none.
#[derive(Debug, Clone, Default)]
pub(crate) struct LocalMemory {
    file: Option<PathBuf>,
    location: String,
}

impl LocalMemory {
    /// In a directory that may not exist yet. A copy has a memory of its own: it may lack what its source has.
    pub(crate) fn locate(directory: Option<&Path>, config: &Config, location: &str) -> Self {
        // However a directory is spelled, it is the same one.
        let location = match fs::canonicalize(location) {
            Ok(path) if location.starts_with('/') => path.display().to_string(),
            _ => location.to_owned(),
        };
        let place = ObjectId::from_content(location.as_bytes()).to_string();
        let name = format!("{}-{}.json", config.repository.as_str(), &place[..8]);
        Self {
            file: directory.map(|directory| directory.join(name)),
            location,
        }
    }

    /// Whether anything is remembered at all.
    pub(crate) fn is_enabled(&self) -> bool {
        self.file.is_some()
    }

    /// What is remembered. Read it before a listing: what another process adds meanwhile is not missing.
    pub(crate) fn read(&self) -> SeenObjects {
        let Some(file) = &self.file else {
            return SeenObjects::default();
        };
        let parsed = match fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(SeenObjects::default()),
            Err(error) => Err(error),
        };
        parsed.unwrap_or_else(|error| {
            let file = file.display();
            tracing::warn!(%file, %error, "cannot read what this machine remembers of the repository");
            SeenObjects {
                unreadable: Some(error.to_string()),
                ..SeenObjects::default()
            }
        })
    }

    /// Fails when there is a memory that cannot be read: nothing may be deleted by what is listed alone then. Where
    /// nothing can be remembered, that is said.
    ///
    /// # Errors
    /// [`Error::UnreadableMemory`].
    pub(crate) fn require_readable(&self) -> Result<()> {
        let (Some(file), seen) = (&self.file, self.read()) else {
            return Ok(());
        };
        if let Some(reason) = seen.unreadable {
            return Err(Error::UnreadableMemory {
                file: file.clone(),
                reason,
            });
        }
        if let Err(error) = self.write_changed(file, |_| {}) {
            let file = file.display();
            tracing::warn!(%file, %error, "cannot remember what was seen of the repository: what its storage withholds later is not noticed");
        }
        Ok(())
    }

    /// Changes what is remembered, beside other processes that do the same. A failure loses only the memory.
    pub(crate) fn update(&self, change: impl FnOnce(&mut SeenObjects)) {
        if let Err(error) = self.try_update(change) {
            // As for pins: a machine that only restores may have no directory for it.
            tracing::debug!(%error, "cannot remember what was seen of the repository");
        }
    }

    /// As [`Self::update`].
    ///
    /// # Errors
    /// When the change cannot be remembered.
    pub(crate) fn try_update(&self, change: impl FnOnce(&mut SeenObjects)) -> Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let written = self.write_changed(file, change);
        written.map_err(|source| Error::LocalIo {
            action: "write",
            path: file.clone(),
            source,
        })
    }

    fn write_changed(&self, file: &Path, change: impl FnOnce(&mut SeenObjects)) -> io::Result<()> {
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)?;
        }
        let lock = File::create(file.with_extension("lock"))?;
        // Where there are no locks, the last one to write wins, and the next listing completes the memory.
        if let Err(error) = lock.lock() {
            tracing::debug!(%error, "cannot lock the memory of this machine");
        }
        let before = self.read();
        if let Some(reason) = before.unreadable {
            // It may still be repaired, or restored from a backup.
            return Err(io::Error::other(reason));
        }
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(());
        }
        after.location.clone_from(&self.location);
        let unfinished = file.with_extension(std::process::id().to_string());
        let mut new = File::create(&unfinished)?;
        new.write_all(&serde_json::to_vec(&after)?)?;
        // Else the name may outlast a power failure, and the content not.
        new.sync_all()?;
        fs::rename(&unfinished, file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(directory: &Path) -> LocalMemory {
        LocalMemory {
            file: Some(directory.join("seen").join("r.json")),
            location: "/r".to_owned(),
        }
    }

    #[test]
    fn processes_side_by_side_lose_nothing_of_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let ids: Vec<_> = (0..40u8).map(|n| ObjectId::from_content(&[n])).collect();
        std::thread::scope(|scope| {
            for part in ids.chunks(10) {
                let memory = memory(directory.path());
                scope.spawn(move || {
                    for id in part {
                        memory.update(|seen| seen.keys.extend([*id]));
                    }
                });
            }
        });
        let seen = memory(directory.path()).read();
        assert_eq!(seen.keys, ids.iter().copied().collect());
        assert_eq!(seen.location, "/r");
    }

    #[test]
    fn a_lost_memory_is_an_empty_one_and_a_broken_one_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let memory = memory(directory.path());
        assert_eq!(memory.read(), SeenObjects::default());
        memory.require_readable().unwrap();
        let id = ObjectId::from_content(b"key");
        memory.update(|seen| seen.keys.extend([id]));
        memory.require_readable().unwrap();
        let file = directory.path().join("seen").join("r.json");
        let good = fs::read(&file).unwrap();
        for broken in ["{\"keys\":[", ""] {
            fs::write(&file, broken).unwrap();
            let error = memory.require_readable().unwrap_err();
            assert!(matches!(error, Error::UnreadableMemory { .. }), "{error:?}");
            assert!(memory.try_update(|seen| seen.keys.clear()).is_err());
            assert_eq!(fs::read(&file).unwrap(), broken.as_bytes());
        }
        fs::write(&file, good).unwrap();
        assert!(memory.read().keys.contains(&id));
        // Nowhere to remember is no failure.
        let nowhere = LocalMemory::default();
        nowhere.update(|seen| seen.keys.extend([id]));
        nowhere.require_readable().unwrap();
        assert_eq!(nowhere.read(), SeenObjects::default());
    }
}
