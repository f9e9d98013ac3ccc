//! Deletions: announced by a record, carried out, and recorded as done.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::backend::{BackendError, ObjectKey};
use crate::error::{ObjectFailure, Result};
use crate::format::pack::pack_key;
use crate::format::snapshot::snapshot_key;
use crate::id::ObjectId;
use crate::index::fragment_key;
use crate::prune::sweep::sweeper::{DeletionSet, Sweeper};
use crate::records::sweeps::{self, OpenSweep, SweepRecord, SweepState};

/// The keys are read again before so many packs are deleted.
const PACKS_PER_KEY_CHECK: usize = 100;

impl Sweeper<'_> {
    /// Records for each sweep what is deleted now.
    pub(super) fn announce_deletion(&self, doomed: &DeletionSet) -> Result<HashSet<ObjectId>> {
        let mut finals = HashSet::new();
        for sweep in &self.due_sweeps {
            let record = self.sweep_record(sweep, SweepState::Final, doomed);
            finals.insert(self.put_sweep_record(&record)?);
        }
        Ok(finals)
    }

    fn put_sweep_record(&self, record: &SweepRecord) -> Result<ObjectId> {
        let keeper = self.job.keeper.signer();
        sweeps::put_sweep_record(&self.job.repository.inner, keeper, record)
    }

    fn sweep_record(
        &self,
        sweep: &OpenSweep,
        state: SweepState,
        doomed: &DeletionSet,
    ) -> SweepRecord {
        let condemned = &sweep.condemned.record;
        let of = |ids: &[ObjectId], doomed: &BTreeSet<ObjectId>| {
            ids.iter()
                .filter(|id| doomed.contains(id))
                .copied()
                .collect()
        };
        SweepRecord {
            state,
            at: self.job.repository.inner.clock.wall_time(),
            by: self.job.options.host.clone(),
            packs: of(&condemned.packs, &doomed.packs),
            fragments: of(&condemned.fragments, &doomed.fragments),
            roots: of(&condemned.roots, &doomed.roots),
            logs: Vec::new(),
            of: Some(sweep.condemned.id),
            program: crate::program::PROGRAM.to_owned(),
        }
    }

    /// Deletes. A locked snapshot keeps everything else from being deleted. Returns what is locked.
    pub(super) fn delete_objects(
        &mut self,
        doomed: &DeletionSet,
        sizes: &HashMap<ObjectId, u64>,
    ) -> Result<BTreeSet<ObjectId>> {
        let mut locked = BTreeSet::new();
        self.job.check_still_keeper()?;
        for id in &doomed.roots {
            match self.delete_object(&snapshot_key(id))? {
                true => self.report.snapshots += 1,
                false => drop(locked.insert(*id)),
            }
        }
        if !locked.is_empty() {
            return Ok(locked);
        }
        for id in &doomed.fragments {
            match self.delete_object(&fragment_key(id))? {
                true => self.report.fragments += 1,
                false => drop(locked.insert(*id)),
            }
        }
        for (number, id) in doomed.packs.iter().enumerate() {
            self.job.progress.check_cancelled()?;
            if number % PACKS_PER_KEY_CHECK == 0 {
                self.job.check_still_keeper()?;
            }
            match self.delete_object(&pack_key(id))? {
                true => {
                    self.report.packs += 1;
                    self.report.bytes += sizes.get(id).copied().unwrap_or(0);
                }
                false => drop(locked.insert(*id)),
            }
        }
        Ok(locked)
    }

    /// `false`: it is locked.
    fn delete_object(&mut self, key: &ObjectKey) -> Result<bool> {
        let inner = &self.job.repository.inner;
        self.deadline.check_not_passed(inner.clock.as_ref())?;
        match inner.backend.delete(key) {
            Ok(()) => Ok(true),
            Err(error @ BackendError::Locked { .. }) => {
                self.report.locked.push(ObjectFailure {
                    object: key.to_string(),
                    reason: error.to_string(),
                });
                Ok(false)
            }
            Err(error) => Err(inner.backend_error(error)),
        }
    }

    /// A sweep is done when nothing of it is locked.
    pub(super) fn finish_sweeps(
        &mut self,
        doomed: &DeletionSet,
        locked: &BTreeSet<ObjectId>,
    ) -> Result<()> {
        for sweep in &self.due_sweeps {
            let record = self.sweep_record(sweep, SweepState::Done, doomed);
            let mut all = record
                .packs
                .iter()
                .chain(&record.fragments)
                .chain(&record.roots);
            let root_locked =
                !locked.is_empty() && doomed.roots.iter().any(|id| locked.contains(id));
            if !root_locked && !all.any(|id| locked.contains(id)) {
                self.put_sweep_record(&record)?;
            }
        }
        Ok(())
    }
}
