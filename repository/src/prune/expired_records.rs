//! Records of leases and sweeps are deleted when they can no longer be needed.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::view::RepositoryView;
use crate::backend::{BackendError, ObjectKey};
use crate::error::Result;
use crate::id::ObjectId;
use crate::records::record_set::StoredRecord;
use crate::records::sweeps::{SweepRecord, SweepState};
use crate::store::Repository;

/// Records stay for this long after all is done: for as long as any run may have been suspended.
const RECORD_RETENTION: TimeDelta = TimeDelta::days(7);

/// Deletes records of ended runs and sweeps.
pub(super) fn delete_expired_records(repository: &Repository, view: &RepositoryView) -> Result<()> {
    for run in &view.leases.ended {
        let newest = run.iter().map(|found| found.received).max().flatten();
        let ended = run.iter().any(|found| found.record.ends);
        if ended || is_expired(newest, view.leases.now) {
            // The end is deleted last: without it the run would seem active.
            let (last, first): (Vec<_>, Vec<_>) = run.iter().partition(|found| found.record.ends);
            delete_objects(
                repository,
                first.into_iter().chain(last).map(|found| &found.key),
            )?;
        }
    }
    let mut sweeps: BTreeMap<ObjectId, Vec<&StoredRecord<SweepRecord>>> = BTreeMap::new();
    for found in &view.sweeps.records().valid {
        let of = found.record.of.unwrap_or(found.id);
        sweeps.entry(of).or_default().push(found);
    }
    for (_, mut records) in sweeps {
        let done = records
            .iter()
            .find(|found| found.record.state == SweepState::Done);
        let newest = records.iter().map(|found| found.received).max().flatten();
        // A log announcement is not closed: the next prune repeats it.
        let of_logs = records.iter().all(|found| !found.record.logs.is_empty());
        if (done.is_some() || of_logs) && is_expired(newest, view.leases.now) {
            // The `done` record is deleted last: without it the sweep would be open again.
            records.sort_by_key(|found| found.record.state == SweepState::Done);
            delete_objects(repository, records.iter().map(|found| &found.key))?;
        }
    }
    Ok(())
}

fn is_expired(received: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    received.is_some_and(|received| received + RECORD_RETENTION < now)
}

fn delete_objects<'a>(
    repository: &Repository,
    keys: impl Iterator<Item = &'a ObjectKey>,
) -> Result<()> {
    let inner = &repository.inner;
    for key in keys {
        match inner.backend.delete(key) {
            Ok(()) => {}
            // Later records must not be deleted before earlier ones.
            Err(BackendError::Locked { .. }) => return Ok(()),
            Err(error) => return Err(inner.backend_error(error)),
        }
    }
    Ok(())
}
