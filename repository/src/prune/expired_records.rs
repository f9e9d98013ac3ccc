//! Records of leases and sweeps are deleted when they can no longer be needed.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::view::RepositoryView;
use crate::backend::{BackendError, ObjectKey};
use crate::error::Result;
use crate::format::names::id_from_key;
use crate::id::ObjectId;
use crate::records::record_set::StoredRecord;
use crate::records::sweeps::{SweepRecord, SweepState};
use crate::store::Repository;

/// Records stay for this long after all is done: for as long as any run may have been suspended.
const RECORD_RETENTION: TimeDelta = TimeDelta::days(7);

/// Deletes records of ended runs and sweeps, and what was stored in their place and means nothing.
pub(super) fn delete_expired_records(repository: &Repository, view: &RepositoryView) -> Result<()> {
    delete_refused_records(repository, view)?;
    let garbage = view.roots.garbage_tombstones.iter();
    let garbage = garbage.filter(|(_, received)| is_expired(*received, view.leases.now));
    delete_objects(repository, garbage.map(|(key, _)| key))?;
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
        let newest = records.iter().map(|found| found.received).max().flatten();
        let has = |state| records.iter().any(|found| found.record.state == state);
        // An announcement alone is not closed: of logs, which the next prune repeats, or of a sweep whose beginning was
        // revoked with its signer.
        let is_over = has(SweepState::Done) || !has(SweepState::Condemned);
        if is_over && is_expired(newest, view.leases.now) {
            // The `done` record is deleted last: without it the sweep would be open again.
            records.sort_by_key(|found| found.record.state == SweepState::Done);
            delete_objects(repository, records.iter().map(|found| &found.key))?;
        }
    }
    Ok(())
}

/// What nobody can read here ends as well: no run acts on what it saw so long ago.
fn delete_refused_records(repository: &Repository, view: &RepositoryView) -> Result<()> {
    let refused = view.leases.refused.iter();
    let refused = refused.chain(&view.sweeps.records().refused);
    let over = refused.filter(|found| {
        id_from_key(&found.info.key).is_some() && is_expired(found.info.received, view.leases.now)
    });
    delete_objects(repository, over.map(|found| &found.info.key))
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
