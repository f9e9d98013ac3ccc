//! What has arrived at the destination of a copy, and whether it stays.
//!
//! A copy cannot give a pack another name, so it relies on packs that a prune of the destination may have condemned or
//! be deleting. What it may rely on is checked at the end, when its roots are stored: a prune that announces its
//! deletions afterwards sees them. What was announced before may be deleted, so the copy is no success while such a
//! prune may still be at work; what is deleted already is named, and sent by the next copy.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Utc};

use super::RepositoryCopy;
use crate::backend::ObjectInfo;
use crate::error::{Error, ObjectFailure, Result};
use crate::format::names::id_from_key;
use crate::format::pack::PackRecord;
use crate::format::snapshot::{Snapshot, snapshot_key};
use crate::id::{ChunkId, ObjectId};
use crate::index::{ChunkLocation, Index, fragment_key};
use crate::read::reader::ContentReader;
use crate::records::leases::{Lease, Leases};
use crate::records::record_set::{StoredRecord, is_not_found};
use crate::records::sweeps::{CLOCK_SKEW_MAX, DELETION_TIME_MAX, SweepRecord, Sweeps};
use crate::store::verified_io::get_verified;

impl RepositoryCopy<'_> {
    /// The packs here that fragments describe, each with the fragment.
    fn list_described_packs(&self) -> Result<Vec<(ObjectId, ObjectId)>> {
        let (index, _) = self.repository.inner.load_index()?;
        let contents = index
            .tables()
            .iter()
            .flat_map(|table| table.pack_contents());
        let described = contents.filter_map(|pack| Some((pack.pack, pack.fragment?)));
        Ok(described.collect())
    }

    /// Of the fragments at the destination those that describe a missing pack: a prune deleted it when no root that
    /// needs it had arrived.
    pub(super) fn fragments_missing_packs(
        &self,
        there: &BTreeSet<ObjectId>,
        packs: &BTreeSet<ObjectId>,
    ) -> Result<BTreeSet<ObjectId>> {
        let described = self.list_described_packs()?.into_iter();
        let lacking =
            described.filter(|(pack, fragment)| there.contains(fragment) && !packs.contains(pack));
        Ok(lacking.map(|(_, fragment)| fragment).collect())
    }

    /// Whether something that was sent is missing again, as no prune has waited for this copy.
    pub(super) fn has_lost_packs(&self, lease: Option<&Lease>) -> Result<bool> {
        if lease.is_some_and(|lease| !lease.has_expired()) {
            return Ok(false);
        }
        let there = self.list_target_ids("index")?;
        Ok(!self
            .fragments_missing_packs(&there, &self.list_target_ids("packs")?)?
            .is_empty())
    }

    /// Makes sure that all that the roots at the destination need stays there: for `new` ones, and for earlier ones.
    pub(super) fn check_roots_stay(
        &mut self,
        roots: &[&Snapshot],
        new: &BTreeSet<ObjectId>,
        lease: Option<&Lease>,
    ) -> Result<()> {
        let inner = &self.repository.inner;
        let now = Leases::read_from(inner, self.target, lease)?.now;
        let sweeps = Sweeps::read(inner, self.target)?;
        let finals = sweeps.recent_final_records(now);
        // After the sweeps: what was deleted by those whose records are deleted too is missing here.
        let packs = self.list_target_ids("packs")?;
        let received = self.target.list("snapshots");
        let received = received_times(&received.map_err(|e| self.target_error(e))?);
        let described = self.list_described_packs()?.into_iter();
        let described: HashSet<ObjectId> = described.map(|(pack, _)| pack).collect();
        let lacks = described.iter().any(|pack| !packs.contains(pack));
        let gone = roots.iter().find(|root| !received.contains_key(&root.id));
        if let Some(root) = gone {
            return Err(self.deletion_error(root, "all its data", &finals));
        }
        let finals = finals.into_iter().filter(|found| {
            let SweepRecord { packs, roots, .. } = &found.record;
            packs.iter().any(|id| described.contains(id)) || !roots.is_empty()
        });
        let finals: Vec<_> = finals.collect();
        if !lacks && finals.is_empty() {
            return Ok(());
        }
        let staying = TargetContents {
            reader: self.repository.content_reader()?,
            others: self.target_only_index()?,
            packs,
        };
        for root in roots {
            self.progress.check_cancelled()?;
            let at = received.get(&root.id).copied().flatten();
            let may_go = |found: &&&StoredRecord<SweepRecord>| {
                new.contains(&root.id) || may_have_missed_root(found, at)
            };
            let finals: Vec<_> = finals.iter().filter(may_go).copied().collect();
            if finals
                .iter()
                .any(|found| found.record.roots.contains(&root.id))
            {
                return Err(self.deletion_error(root, "all its data", &finals));
            }
            if lacks || !finals.is_empty() {
                self.check_root_stays(&staying, root, &finals)?;
            }
        }
        Ok(())
    }

    fn check_root_stays(
        &mut self,
        staying: &TargetContents,
        root: &Snapshot,
        finals: &[&StoredRecord<SweepRecord>],
    ) -> Result<()> {
        let going = finals
            .iter()
            .flat_map(|found| found.record.packs.iter().copied());
        let going: HashSet<ObjectId> = going.collect();
        let reason = match staying.first_lost_chunk(root, |pack| going.contains(pack)) {
            Ok(None) => return Ok(()),
            Ok(Some(id)) => match staying.first_lost_chunk(root, |_| false) {
                Ok(None) => return Err(self.deletion_error(root, &format!("chunk {id}"), finals)),
                Ok(Some(id)) => Error::damaged_object(
                    &format!("chunk {id}"),
                    "not in any pack at the destination: a prune deleted it, or it was not copied; run `reprise copy` again",
                ),
                Err(error) => error,
            },
            Err(error) => error,
        };
        if !is_damaged_or_gone(&reason) {
            return Err(reason);
        }
        self.report.not_copied.push(ObjectFailure {
            object: snapshot_key(&root.id).to_string(),
            reason: reason.to_string(),
        });
        Ok(())
    }

    fn deletion_error(
        &self,
        root: &Snapshot,
        what: &str,
        finals: &[&StoredRecord<SweepRecord>],
    ) -> Error {
        let location = self.target.location();
        let sweeps: BTreeSet<String> = finals.iter().map(|found| found.key.to_string()).collect();
        let sweeps: Vec<String> = sweeps.into_iter().collect();
        Error::Source(format!(
            "the copy of {} at {location} may be incomplete: a prune there may be deleting {what} ({}); run `reprise copy` \
             again when that sweep is {} hours old; the source repository is not affected",
            snapshot_key(&root.id),
            sweeps.join(", "),
            DELETION_TIME_MAX.num_hours()
        ))
    }

    /// Packs that only fragments of the destination describe, because a prune there has repacked into them.
    pub(super) fn target_only_index(&self) -> Result<Index> {
        let inner = &self.repository.inner;
        let here = inner.fragment_ids()?;
        let mut others = Index::default();
        for id in self.list_target_ids("index")?.difference(&here) {
            match self.read_target_fragment(id) {
                Ok(packs) => others.add_packs(&packs)?,
                Err(error) if is_damaged_or_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(others)
    }

    pub(super) fn read_target_fragment(&self, id: &ObjectId) -> Result<Vec<PackRecord>> {
        let key = fragment_key(id);
        let bytes = get_verified(self.target, &key)?;
        self.repository.inner.open_fragment(id, &bytes)
    }
}

/// When the storage received the roots at the destination.
fn received_times(listed: &[ObjectInfo]) -> BTreeMap<ObjectId, Option<DateTime<Utc>>> {
    let own = |info: &ObjectInfo| Some((id_from_key(&info.key)?, info.received));
    listed.iter().filter_map(own).collect()
}

/// Whether a prune may have listed roots for the last time before this one was received.
fn may_have_missed_root(found: &StoredRecord<SweepRecord>, root: Option<DateTime<Utc>>) -> bool {
    match (found.received, root) {
        (Some(said), Some(root)) => said <= root + CLOCK_SKEW_MAX,
        _ => true,
    }
}

/// What is at the destination after the last check, and where chunks are.
struct TargetContents {
    reader: ContentReader,
    others: Index,
    packs: BTreeSet<ObjectId>,
}

impl TargetContents {
    /// The first chunk of a snapshot that is in no pack there, or only in packs that are being deleted.
    fn first_lost_chunk(
        &self,
        root: &Snapshot,
        goes: impl Fn(&ObjectId) -> bool,
    ) -> Result<Option<ChunkId>> {
        let stays = |place: &ChunkLocation| self.packs.contains(&place.pack) && !goes(&place.pack);
        find_first_chunk(&self.reader, root, |id, places| {
            Ok(!places.iter().any(stays) && !self.others.locations(id)?.iter().any(stays))
        })
    }
}

/// What has arrived at the destination, and a reader of the source to compare it with.
pub(super) struct CopiedPacks {
    pub(super) packs: HashSet<ObjectId>,
    pub(super) reader: ContentReader,
}

impl CopiedPacks {
    /// Whether everything that a snapshot needs has arrived. What cannot be checked because of damage has not.
    pub(super) fn has_snapshot(&self, snapshot: &Snapshot) -> Result<bool> {
        match self.has_all_chunks(snapshot) {
            Err(error) if is_damaged_or_gone(&error) || error.is_missing_identity() => Ok(false),
            result => result,
        }
    }

    fn has_all_chunks(&self, snapshot: &Snapshot) -> Result<bool> {
        let lacks = |_: &ChunkId, places: &[ChunkLocation]| {
            Ok(!places.iter().any(|place| self.packs.contains(&place.pack)))
        };
        Ok(find_first_chunk(&self.reader, snapshot, lacks)?.is_none())
    }
}

/// The first chunk that a snapshot needs and for whose locations a condition holds.
fn find_first_chunk(
    reader: &ContentReader,
    snapshot: &Snapshot,
    is: impl Fn(&ChunkId, &[ChunkLocation]) -> Result<bool>,
) -> Result<Option<ChunkId>> {
    let root = &snapshot.root;
    let found = |id: &ChunkId| is(id, &reader.locate_all(id, &"the snapshot")?);
    for record in [&root.entries, &root.references, &root.details] {
        for id in &record.chunks {
            if found(id)? {
                return Ok(Some(*id));
            }
        }
    }
    let mut references = reader.snapshot_reader(snapshot).references();
    while let Some(id) = references.next_id()? {
        if found(&id)? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Whether an error is about what is stored; a missing object is as good as damaged.
pub(super) fn is_damaged_or_gone(error: &Error) -> bool {
    is_not_found(error) || error.is_damage()
}
