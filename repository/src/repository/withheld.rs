//! Snapshots that this machine has seen and that are gone, although no keeper has forgotten them: the storage withholds
//! them, or presents an old state. They are told like roots that cannot be read, so that nothing takes them for deleted.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::error::{Error, Result};
use crate::format::names::id_from_key;
use crate::format::snapshot::{Snapshot, SnapshotRoot, snapshot_key};
use crate::id::ObjectId;
use crate::records::sweeps::Sweeps;
use crate::records::tombstones::{Tombstones, tombstone_key};
use crate::repository::snapshots::UnreadableRoot;
use crate::store::Repository;
use crate::store::memory::{SeenObjects, SeenSnapshot};

/// The fewest digits of an ID that mean one.
const PREFIX_MIN: usize = 4;

/// What a listing of roots found.
pub(super) struct ListedRoots<'a> {
    /// What this machine had seen before the listing.
    pub(super) seen: &'a SeenObjects,
    /// The roots that are stored, readable or not.
    pub(super) stored: HashSet<ObjectId>,
    /// Roots that the listing named and the storage did not return.
    pub(super) not_found: Vec<ObjectId>,
    /// Roots whose content does not match their names.
    pub(super) damaged: Vec<ObjectId>,
    /// The readable ones.
    pub(super) snapshots: &'a [Snapshot],
    /// Listed after the roots.
    pub(super) tombstones: &'a Tombstones,
}

impl Repository {
    /// Roots and tombstones that are gone without explanation. Remembers what is stored.
    pub(super) fn find_withheld(&self, listed: &ListedRoots<'_>) -> Result<Vec<UnreadableRoot>> {
        let ListedRoots {
            seen, tombstones, ..
        } = listed;
        let known = self.known_snapshots(listed);
        let remembered = known.keys().filter(|id| !listed.stored.contains(id));
        let gone: BTreeSet<ObjectId> = remembered.chain(&listed.not_found).copied().collect();
        let is_explained =
            |id: &ObjectId| tombstones.is_forgotten(id) || seen.accepted.contains(id);
        let mut withheld: Vec<ObjectId> = gone.iter().copied().collect();
        withheld.retain(|id| !is_explained(id));
        if !withheld.is_empty() {
            // It may have been deleted while it was unforgotten: whoever unforgot it was told.
            let deleted = Sweeps::read_lossy(&self.inner)?.roots_being_deleted();
            withheld.retain(|id| !deleted.contains(id));
        }
        self.remember_snapshots(listed, &known, &gone, &withheld);
        let tombstones = tombstones.withheld().iter().map(|id| {
            let description = "a keeper's record of what is forgotten, or of what is not any more";
            withheld_object(tombstone_key(id), description.to_owned(), None)
        });
        let snapshots = withheld.iter().map(|id| match known.get(id) {
            Some(known) => {
                let source = Some(known.source.clone());
                withheld_object(snapshot_key(id), known.description(), source)
            }
            None => {
                let description = "the storage lists this snapshot, but does not return it";
                withheld_object(snapshot_key(id), description.to_owned(), None)
            }
        });
        Ok(snapshots.chain(tombstones).collect())
    }

    /// What must be stored, as far as this machine knows. At the first use of a repository that includes what the listed
    /// roots name as the ones before them: later it would have seen these itself, and whoever may add roots could make
    /// names up.
    fn known_snapshots(&self, listed: &ListedRoots<'_>) -> BTreeMap<ObjectId, SeenSnapshot> {
        let mut known = listed.seen.snapshots.clone();
        if self.inner.memory.is_enabled() && !listed.seen.roots_listed {
            for child in listed.snapshots {
                let parent = child.root.parent;
                if let Some(parent) = parent.filter(|id| !listed.stored.contains(id)) {
                    known.entry(parent).or_insert(SeenSnapshot {
                        is_parent: true,
                        ..seen_snapshot(&child.root)
                    });
                }
            }
        }
        known
    }

    /// Remembers exactly what must still be stored later. What is forgotten may be unforgotten until it is deleted.
    fn remember_snapshots(
        &self,
        listed: &ListedRoots<'_>,
        known: &BTreeMap<ObjectId, SeenSnapshot>,
        gone: &BTreeSet<ObjectId>,
        withheld: &[ObjectId],
    ) {
        let stored = listed.snapshots.iter();
        let new: Vec<&Snapshot> = stored.filter(|one| !known.contains_key(&one.id)).collect();
        let deleted = gone.iter().filter(|id| !withheld.contains(id));
        let over: Vec<ObjectId> = deleted
            .filter(|id| known.contains_key(id))
            .copied()
            .collect();
        // What is stored again need not be accepted any more.
        let found = listed.seen.accepted.iter();
        let found: Vec<ObjectId> = found
            .filter(|id| listed.stored.contains(id))
            .copied()
            .collect();
        let is_first = !listed.seen.roots_listed;
        if !is_first && new.is_empty() && over.is_empty() && found.is_empty() {
            return;
        }
        self.inner.memory.update(|seen| {
            if is_first {
                seen.roots_listed = true;
                seen.snapshots.extend(known.clone());
                seen.damaged.extend(&listed.damaged);
            }
            for id in &over {
                seen.snapshots.remove(id);
            }
            for id in &found {
                seen.accepted.remove(id);
            }
            let new = new.iter().map(|one| (one.id, seen_snapshot(&one.root)));
            seen.snapshots.extend(new);
        });
    }

    /// Remembers a snapshot that this machine has just stored.
    pub(crate) fn remember_snapshot(&self, id: ObjectId, root: &SnapshotRoot) {
        self.inner
            .memory
            .update(|seen| drop(seen.snapshots.insert(id, seen_snapshot(root))));
    }

    /// Accepts on this machine that objects are gone which it has seen: snapshots, tombstones or records of keys, by
    /// their IDs or the beginnings of these. Nothing is asked about them again.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`] when nothing that is missing has such an ID, [`Error::AmbiguousSnapshot`],
    /// [`Error::LocalIo`] when it cannot be remembered.
    pub fn accept_missing(&self, names: &[String]) -> Result<Vec<ObjectId>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let (_, errors) = self.all_snapshots_lossy()?;
        let withheld = errors.iter();
        let withheld = withheld.filter(|(_, error)| matches!(error, Error::Withheld { .. }));
        let withheld = withheld.filter_map(|(key, _)| id_from_key(key));
        let damaged = self.inner.memory.read().damaged;
        let missing: BTreeSet<ObjectId> = withheld
            .chain(self.inner.missing_keys.iter().copied())
            .chain(damaged)
            .collect();
        let find = |name: &String| {
            let named = |id: &&ObjectId| {
                name.len() >= PREFIX_MIN && id.to_string().starts_with(name.as_str())
            };
            let found: Vec<&ObjectId> = missing.iter().filter(named).collect();
            match found.as_slice() {
                [id] => Ok(**id),
                [] => Err(Error::NoSnapshot {
                    name: name.clone(),
                    hint: "nothing that this machine has seen and that is gone has such an ID"
                        .to_owned(),
                }),
                several => Err(Error::AmbiguousSnapshot {
                    name: name.clone(),
                    count: several.len(),
                }),
            }
        };
        let ids = names.iter().map(find).collect::<Result<Vec<ObjectId>>>()?;
        let accept = |seen: &mut SeenObjects| ids.iter().for_each(|id| seen.accept_missing(*id));
        self.inner.memory.try_update(accept)?;
        Ok(ids)
    }
}

fn seen_snapshot(root: &SnapshotRoot) -> SeenSnapshot {
    SeenSnapshot {
        source: root.source.clone(),
        data_time: root.data_time,
        is_parent: false,
    }
}

fn withheld_object(
    key: crate::backend::ObjectKey,
    description: String,
    source_name: Option<String>,
) -> UnreadableRoot {
    let error = Error::Withheld {
        object: key.to_string(),
        description,
        source_name,
    };
    (key, error)
}
