//! What has arrived at the destination of a copy, and whether it stays.
//!
//! A copy cannot give a pack another name, so it relies on packs that a prune of the destination may have condemned
//! or be deleting. What it may rely on is found out at the end, when its roots are stored: a prune that says
//! afterwards what it deletes sees them. What one has said before may go, so the copy is no success while such a prune
//! may still be at work, and what is gone already is named, and sent by the next copy.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Utc};

use super::Copy;
use crate::backend::ObjectInfo;
use crate::error::{Error, ErrorClass, ObjectFailure, Result};
use crate::id::{ChunkId, ObjectId};
use crate::index::{Index, Location as ChunkLocation, fragment_key};
use crate::leases::{Lease, Leases};
use crate::names::id_in;
use crate::pack::PackRecord;
use crate::reader::ContentReader;
use crate::records::{Found, is_gone};
use crate::snapshot::{Snapshot, snapshot_key};
use crate::stored::get_named;
use crate::sweeps::{CLOCKS_DIFFER, SLOW_FOR, SweepRecord, Sweeps};

impl Copy<'_> {
    /// The packs that fragments describe which are here, each with the fragment.
    fn described(&self) -> Result<Vec<(ObjectId, ObjectId)>> {
        let (index, _) = self.repository.inner.indexed()?;
        let contents = index.tables().iter().flat_map(|table| table.contents());
        let described = contents.filter_map(|pack| Some((pack.pack, pack.fragment?)));
        Ok(described.collect())
    }

    /// Of fragments that are there those that describe a pack which is not: a prune deleted it when no root that
    /// needs it had arrived.
    pub(super) fn lacking(
        &self,
        there: &BTreeSet<ObjectId>,
        packs: &BTreeSet<ObjectId>,
    ) -> Result<BTreeSet<ObjectId>> {
        let described = self.described()?.into_iter();
        let lacking =
            described.filter(|(pack, fragment)| there.contains(fragment) && !packs.contains(pack));
        Ok(lacking.map(|(_, fragment)| fragment).collect())
    }

    /// Whether something that was sent is gone again, as no prune has waited for this copy.
    pub(super) fn was_late(&self, lease: Option<&Lease>) -> Result<bool> {
        if lease.is_some_and(|lease| !lease.has_lapsed()) {
            return Ok(false);
        }
        let there = self.listed("index")?;
        Ok(!self.lacking(&there, &self.listed("packs")?)?.is_empty())
    }

    /// Makes sure that all that roots need which are there stays there: `new` ones, and those that were there before.
    pub(super) fn everything_stays(
        &mut self,
        roots: &[&Snapshot],
        new: &BTreeSet<ObjectId>,
        lease: Option<&Lease>,
    ) -> Result<()> {
        let inner = &self.repository.inner;
        let now = Leases::read_at(inner, self.target, lease)?.now;
        let sweeps = Sweeps::read(inner, self.target)?;
        let finals = sweeps.finals_since(now);
        // After the sweeps: what those deleted whose records are gone again is missing here.
        let packs = self.listed("packs")?;
        let received = self.target.list("snapshots");
        let received = receipts(&received.map_err(|e| self.failed(e))?);
        let described = self.described()?.into_iter();
        let described: HashSet<ObjectId> = described.map(|(pack, _)| pack).collect();
        let lacks = described.iter().any(|pack| !packs.contains(pack));
        let gone = roots.iter().find(|root| !received.contains_key(&root.id));
        if let Some(root) = gone {
            return Err(self.swept(root, "all its data", &finals));
        }
        let finals = finals.into_iter().filter(|found| {
            let SweepRecord { packs, roots, .. } = &found.record;
            packs.iter().any(|id| described.contains(id)) || !roots.is_empty()
        });
        let finals: Vec<_> = finals.collect();
        if !lacks && finals.is_empty() {
            return Ok(());
        }
        let staying = Staying {
            reader: self.repository.content_reader()?,
            others: self.others()?,
            packs,
        };
        for root in roots {
            self.progress.check()?;
            let at = received.get(&root.id).copied().flatten();
            let may_go =
                |found: &&&Found<SweepRecord>| new.contains(&root.id) || is_before(found, at);
            let finals: Vec<_> = finals.iter().filter(may_go).copied().collect();
            if finals
                .iter()
                .any(|found| found.record.roots.contains(&root.id))
            {
                return Err(self.swept(root, "all its data", &finals));
            }
            if lacks || !finals.is_empty() {
                self.stays(&staying, root, &finals)?;
            }
        }
        Ok(())
    }

    fn stays(
        &mut self,
        staying: &Staying,
        root: &Snapshot,
        finals: &[&Found<SweepRecord>],
    ) -> Result<()> {
        let going = finals
            .iter()
            .flat_map(|found| found.record.packs.iter().copied());
        let going: HashSet<ObjectId> = going.collect();
        let reason = match staying.lost(root, |pack| going.contains(pack)) {
            Ok(None) => return Ok(()),
            Ok(Some(id)) => match staying.lost(root, |_| false) {
                Ok(None) => return Err(self.swept(root, &format!("chunk {id}"), finals)),
                Ok(Some(id)) => Error::damaged(
                    &format!("chunk {id}"),
                    "not in any pack at the destination: a prune deleted it, or it was not copied; run `reprise copy` again",
                ),
                Err(error) => error,
            },
            Err(error) => error,
        };
        if !is_damage(&reason) {
            return Err(reason);
        }
        self.report.not_copied.push(ObjectFailure {
            object: snapshot_key(&root.id).to_string(),
            reason: reason.to_string(),
        });
        Ok(())
    }

    fn swept(&self, root: &Snapshot, what: &str, finals: &[&Found<SweepRecord>]) -> Error {
        let location = self.target.location();
        let sweeps: BTreeSet<String> = finals.iter().map(|found| found.key.to_string()).collect();
        let sweeps: Vec<String> = sweeps.into_iter().collect();
        Error::Source(format!(
            "the copy of {} at {location} may be incomplete: a prune there may be deleting {what} ({}); run `reprise copy` \
             again when that sweep is {} hours old; the source repository is not affected",
            snapshot_key(&root.id),
            sweeps.join(", "),
            SLOW_FOR.num_hours()
        ))
    }

    /// Packs that only fragments of the destination describe, as a prune there has copied into them.
    pub(super) fn others(&self) -> Result<Index> {
        let inner = &self.repository.inner;
        let here = inner.fragment_ids()?;
        let mut others = Index::default();
        for id in self.listed("index")?.difference(&here) {
            match self.fragment_there(id) {
                Ok(packs) => others.add_packs(&packs)?,
                Err(error) if is_damage(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(others)
    }

    pub(super) fn fragment_there(&self, id: &ObjectId) -> Result<Vec<PackRecord>> {
        let key = fragment_key(id);
        let bytes = get_named(self.target, &key)?;
        self.repository.inner.open_fragment(id, &bytes)
    }
}

/// When the storage received the roots that are there.
fn receipts(listed: &[ObjectInfo]) -> BTreeMap<ObjectId, Option<DateTime<Utc>>> {
    let own = |info: &ObjectInfo| Some((id_in(&info.key)?, info.received));
    listed.iter().filter_map(own).collect()
}

/// Whether a prune may have looked for roots for the last time before this one was received.
fn is_before(found: &Found<SweepRecord>, root: Option<DateTime<Utc>>) -> bool {
    match (found.received, root) {
        (Some(said), Some(root)) => said <= root + CLOCKS_DIFFER,
        _ => true,
    }
}

/// What is at the destination after the last look, and where chunks are.
struct Staying {
    reader: ContentReader,
    others: Index,
    packs: BTreeSet<ObjectId>,
}

impl Staying {
    /// The first chunk of a snapshot that is in no pack there, or only in such that go.
    fn lost(&self, root: &Snapshot, goes: impl Fn(&ObjectId) -> bool) -> Result<Option<ChunkId>> {
        let stays = |place: &ChunkLocation| self.packs.contains(&place.pack) && !goes(&place.pack);
        first_chunk(&self.reader, root, |id, places| {
            Ok(!places.iter().any(stays) && !self.others.locations(id)?.iter().any(stays))
        })
    }
}

/// What has arrived at the destination, and a reader of the source to compare it with.
pub(super) struct Arrived {
    pub(super) packs: HashSet<ObjectId>,
    pub(super) reader: ContentReader,
}

impl Arrived {
    /// Whether everything that a snapshot needs has arrived. What cannot be found out for damage has not.
    pub(super) fn holds(&self, snapshot: &Snapshot) -> Result<bool> {
        match self.all_chunks_of(snapshot) {
            Err(error) if is_damage(&error) => Ok(false),
            result => result,
        }
    }

    fn all_chunks_of(&self, snapshot: &Snapshot) -> Result<bool> {
        let lacks = |_: &ChunkId, places: &[ChunkLocation]| {
            Ok(!places.iter().any(|place| self.packs.contains(&place.pack)))
        };
        Ok(first_chunk(&self.reader, snapshot, lacks)?.is_none())
    }
}

/// The first chunk that a snapshot needs and of whose places something is true.
fn first_chunk(
    reader: &ContentReader,
    snapshot: &Snapshot,
    is: impl Fn(&ChunkId, &[ChunkLocation]) -> Result<bool>,
) -> Result<Option<ChunkId>> {
    let root = &snapshot.root;
    let found = |id: &ChunkId| is(id, &reader.locations(id, &"the snapshot")?);
    for record in [&root.entries, &root.references, &root.details] {
        for id in &record.chunks {
            if found(id)? {
                return Ok(Some(*id));
            }
        }
    }
    let mut references = reader.snapshot(snapshot).references();
    while let Some(id) = references.next_id()? {
        if found(&id)? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Whether an error is about what is stored; an object that is gone is as good as damaged.
pub(super) fn is_damage(error: &Error) -> bool {
    is_gone(error) || error.class() == ErrorClass::Damaged
}
