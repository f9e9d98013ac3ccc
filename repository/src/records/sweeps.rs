//! Sweeps: what a prune announces before it deletes anything, so that others avoid it.
//!
//! `condemned` names what will be deleted; `final` that it is being deleted; `done` that it is deleted. A prune
//! trusts none of these records: it determines again what is garbage. They only warn writers.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::backend::{Backend, ObjectKey};
use crate::crypto::envelope::RecordKind;
use crate::crypto::signing::HostSigner;
use crate::error::Result;
use crate::id::ObjectId;
use crate::records::record_set::{RecordSet, StoredRecord};
use crate::records::tombstones::ForgottenLog;
use crate::store::Store;

/// The directory of the records.
pub(crate) const DIRECTORY: &str = "sweeps";

/// Receipt times of a storage with many machines may differ by this much.
pub(crate) const CLOCK_SKEW_MAX: TimeDelta = TimeDelta::minutes(1);

/// For so long after a prune announced a deletion it may still delete: it does not act on what it saw longer ago.
pub(crate) const DELETION_TIME_MAX: TimeDelta = TimeDelta::days(1);

/// The state of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SweepState {
    /// Named; nothing is deleted yet.
    Condemned,
    /// Being deleted.
    Final,
    /// Deleted: exactly what this record names.
    Done,
}

/// A sweep as it is stored (catalog class).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SweepRecord {
    pub(crate) state: SweepState,
    /// When, by the clock of its author.
    pub(crate) at: DateTime<Utc>,
    /// Which host.
    pub(crate) by: String,
    pub(crate) packs: Vec<ObjectId>,
    pub(crate) fragments: Vec<ObjectId>,
    pub(crate) roots: Vec<ObjectId>,
    /// Log ranges. They are condemned by tombstones alone, and announced in their own `final` record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) logs: Vec<ForgottenLog>,
    /// The condemning record, for the other two states, unless they are about logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) of: Option<ObjectId>,
    pub(crate) program: String,
}

/// Stores a record. Only a keeper signs it: everybody avoids what it names.
pub(crate) fn put_sweep_record(
    inner: &Store,
    keeper: &HostSigner,
    record: &SweepRecord,
) -> Result<ObjectId> {
    let backend = inner.backend.as_ref();
    inner.put_record(backend, RecordKind::Sweep, DIRECTORY, keeper, record)
}

/// Whether some bytes are a valid record of what is being deleted.
pub(crate) fn announces_deletion(inner: &Store, bytes: &[u8], key: &ObjectKey) -> bool {
    let read = inner.open_record::<SweepRecord>(RecordKind::Sweep, bytes, key);
    read.is_ok_and(|record| record.state == SweepState::Final)
}

/// A sweep that is not done.
#[derive(Debug, Clone)]
pub(crate) struct OpenSweep {
    pub(crate) condemned: StoredRecord<SweepRecord>,
}

/// All sweeps of a repository.
#[derive(Debug)]
pub(crate) struct Sweeps {
    records: RecordSet<SweepRecord>,
}

impl Sweeps {
    pub(crate) fn read(inner: &Store, backend: &dyn Backend) -> Result<Self> {
        let records = inner
            .read_records(backend, RecordKind::Sweep, DIRECTORY)?
            .require_readable()?;
        for refused in &records.refused {
            let (object, error) = (&refused.info.key, &refused.error);
            tracing::warn!(%object, %error, "ignoring an invalid sweep record");
        }
        Ok(Self { records })
    }

    /// As [`Self::read`], for read-only callers: records newer than this program are skipped too.
    pub(crate) fn read_lossy(inner: &Store) -> Result<Self> {
        let records = inner.read_records(inner.backend.as_ref(), RecordKind::Sweep, DIRECTORY)?;
        Ok(Self { records })
    }

    pub(crate) fn records(&self) -> &RecordSet<SweepRecord> {
        &self.records
    }

    fn records_in_state(
        &self,
        state: SweepState,
    ) -> impl Iterator<Item = &StoredRecord<SweepRecord>> {
        let found = self.records.valid.iter();
        found.filter(move |found| found.record.state == state)
    }

    /// What a writer that starts now must not use: everything condemned, and everything ever announced for
    /// deletion, as a very slow prune may still delete it.
    pub(crate) fn unusable_packs(&self) -> HashSet<ObjectId> {
        let open = self.open_sweeps();
        let condemned = open.iter().flat_map(|sweep| &sweep.condemned.record.packs);
        let mut packs: HashSet<ObjectId> = condemned.copied().collect();
        packs.extend(self.packs_being_deleted());
        packs
    }

    /// Packs that some prune is deleting or has deleted: it may be slow.
    pub(crate) fn packs_being_deleted(&self) -> HashSet<ObjectId> {
        let finals = self.records_in_state(SweepState::Final);
        finals
            .flat_map(|found| found.record.packs.iter().copied())
            .collect()
    }

    /// The records of deletions in progress or announced within a day: for callers that cannot store the object under
    /// another name.
    pub(crate) fn recent_final_records(
        &self,
        now: DateTime<Utc>,
    ) -> Vec<&StoredRecord<SweepRecord>> {
        let open: HashSet<ObjectId> = self.open_sweeps().iter().map(|s| s.condemned.id).collect();
        let finals = self.records_in_state(SweepState::Final).filter(|found| {
            let is_open = found.record.of.is_none_or(|of| open.contains(&of));
            let young = found.received.is_none_or(|at| now < at + DELETION_TIME_MAX);
            is_open || young
        });
        finals.collect()
    }

    /// Index fragments, likewise.
    pub(crate) fn fragments_being_deleted(&self) -> HashSet<ObjectId> {
        let finals = self.records_in_state(SweepState::Final);
        finals
            .flat_map(|found| found.record.fragments.iter().copied())
            .collect()
    }

    /// Roots, likewise.
    pub(crate) fn roots_being_deleted(&self) -> HashSet<ObjectId> {
        let finals = self.records_in_state(SweepState::Final);
        finals
            .flat_map(|found| found.record.roots.iter().copied())
            .collect()
    }

    /// The number before which log segments of a source are being deleted, or were: 1 if none are.
    pub(crate) fn log_deleted_before(&self, source: &str) -> u64 {
        let finals = self.records_in_state(SweepState::Final);
        let logs = finals.flat_map(|found| &found.record.logs);
        let places = logs.filter(|log| log.source == source);
        places.map(|log| log.before).max().unwrap_or(1)
    }

    /// Sweeps that are not done, oldest first.
    pub(crate) fn open_sweeps(&self) -> Vec<OpenSweep> {
        let done: HashSet<ObjectId> = self
            .records_in_state(SweepState::Done)
            .filter_map(|found| found.record.of)
            .collect();
        self.records_in_state(SweepState::Condemned)
            .filter(|found| !done.contains(&found.id))
            .map(|found| OpenSweep {
                condemned: found.clone(),
            })
            .collect()
    }
}
