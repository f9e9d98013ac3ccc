//! What leases and sweeps leave behind goes when nobody can need it any more.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::view::View;
use crate::backend::{BackendError, ObjectKey};
use crate::error::Result;
use crate::id::ObjectId;
use crate::records::Found;
use crate::repository::Repository;
use crate::sweeps::{State, SweepRecord};

/// Records stay for this long after all is done: for as long as any run may have stood still.
const KEPT: TimeDelta = TimeDelta::days(7);

/// Deletes records of runs and sweeps that are over.
pub(super) fn forget_old(repository: &Repository, view: &View) -> Result<()> {
    for run in &view.leases.over {
        let newest = run.iter().map(|found| found.received).max().flatten();
        let ended = run.iter().any(|found| found.record.ends);
        if ended || is_old(newest, view.leases.now) {
            // The end goes last: without it the run would seem to live.
            let (last, first): (Vec<_>, Vec<_>) = run.iter().partition(|found| found.record.ends);
            delete(
                repository,
                first.into_iter().chain(last).map(|found| &found.key),
            )?;
        }
    }
    let mut sweeps: BTreeMap<ObjectId, Vec<&Found<SweepRecord>>> = BTreeMap::new();
    for found in &view.sweeps.records().found {
        let of = found.record.of.unwrap_or(found.id);
        sweeps.entry(of).or_default().push(found);
    }
    for (_, mut records) in sweeps {
        let done = records
            .iter()
            .find(|found| found.record.state == State::Done);
        let newest = records.iter().map(|found| found.received).max().flatten();
        // What was said of logs is not closed: the next prune says it again.
        let of_logs = records.iter().all(|found| !found.record.logs.is_empty());
        if (done.is_some() || of_logs) && is_old(newest, view.leases.now) {
            // What says that it is done goes last: without it the sweep would be open again.
            records.sort_by_key(|found| found.record.state == State::Done);
            delete(repository, records.iter().map(|found| &found.key))?;
        }
    }
    Ok(())
}

fn is_old(received: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    received.is_some_and(|received| received + KEPT < now)
}

fn delete<'a>(repository: &Repository, keys: impl Iterator<Item = &'a ObjectKey>) -> Result<()> {
    let inner = &repository.inner;
    for key in keys {
        match inner.backend.delete(key) {
            Ok(()) => {}
            // What comes after it must not go before it.
            Err(BackendError::Locked { .. }) => return Ok(()),
            Err(error) => return Err(inner.failed(error)),
        }
    }
    Ok(())
}
