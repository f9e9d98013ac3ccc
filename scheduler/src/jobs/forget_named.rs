//! Forgetting snapshots that are named one by one. Nothing is deleted.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use reprise_policies::{HOLD_TAG, Hold, TimeZone, leaves_nothing};
use reprise_repository::{
    Error, ObjectId, Repository, SignerId, Snapshot, UnreadableRoot, format_error_chain,
};

use super::event::{JobEvent, JobObserver};
use super::forget::refuse_over_limits;
use super::tombstones::tombstone_metadata;
use crate::environment::JobEnvironment;
use crate::error::{JobError, JobResult};
use crate::retention::{MaxForget, RetentionParameters, candidate_without_hold};

/// Which snapshots are forgotten, and what is allowed.
#[derive(Debug)]
pub struct ForgetNamedOptions<'a> {
    /// Beginnings of their IDs; of those that cannot be read, the full IDs.
    pub names: &'a [String],
    /// The times by which the last good snapshot of a source is told.
    pub retention: RetentionParameters,
    /// How many may be forgotten at once.
    pub limits: MaxForget,
    /// A source may be left without any good snapshot.
    pub allow_empty: bool,
    /// Snapshots on hold may be forgotten.
    pub release_holds: bool,
    /// Snapshots that cannot be read may be forgotten.
    pub unreadable: bool,
    /// Only plan.
    pub dry_run: bool,
}

/// What was forgotten.
#[derive(Debug)]
pub struct ForgetNamedReport {
    /// The snapshots that were not forgotten before.
    pub forgotten: Vec<ObjectId>,
    /// The tombstones; with `dry_run`, none.
    pub tombstones: Vec<ObjectId>,
    /// Whether there are roots that cannot be read and were not named.
    pub others_unreadable: bool,
    /// Whether one of them is damaged, and not only encrypted to others.
    pub others_damaged: bool,
}

/// Forgets named snapshots. Everything is checked before anything is written.
///
/// # Errors
/// When a name means none or several, something forbids to forget one, or the keeper's key is missing.
pub fn forget_named(
    environment: &JobEnvironment,
    repository: &Repository,
    options: &ForgetNamedOptions<'_>,
    observe: JobObserver<'_>,
) -> JobResult<ForgetNamedReport> {
    let (all, errors) = repository.all_snapshots_lossy()?;
    for (key, error) in &errors {
        observe(JobEvent::UnreadableRoot {
            object: key.as_str(),
            error,
        });
    }
    let mut chosen: Vec<&Snapshot> = Vec::new();
    let mut ids = BTreeSet::new();
    for name in options.names {
        match find_unreadable(&errors, name) {
            Some((id, error)) => {
                refuse_unreadable(options, &id, error)?;
                ids.insert(id);
            }
            None => chosen.push(find_by_id(&all, name)?),
        }
    }
    refuse_held(options, &chosen, (environment.clock)())?;
    refuse_last(options, repository, &all, &chosen)?;
    let is_other = |(key, _): &&UnreadableRoot| {
        let mut own = ids.iter();
        !own.any(|id| key.as_str() == format!("snapshots/{id}"))
    };
    let mut others = errors.iter().filter(is_other);
    let others_unreadable = others.clone().next().is_some();
    let others_damaged = others.any(|(_, error)| !error.is_missing_identity());
    ids.extend(chosen.iter().filter(|one| !one.forgotten).map(|one| one.id));
    let forgotten: Vec<ObjectId> = ids.into_iter().collect();
    refuse_over_limits(forgotten.len(), std::iter::empty(), options.limits)?;
    let mut tombstones = Vec::new();
    if !options.dry_run && !forgotten.is_empty() {
        let keeper = environment.load_keeper(repository, "forget snapshots")?;
        let now = (environment.clock)();
        let metadata = tombstone_metadata(environment, "named by id".to_owned(), None, now);
        tombstones = repository.forget_snapshots(&keeper, &forgotten, &metadata)?;
    }
    Ok(ForgetNamedReport {
        forgotten,
        tombstones,
        others_unreadable,
        others_damaged,
    })
}

/// An unreadable root by its full ID, and the reason: nothing but its ID is known.
#[must_use]
pub fn find_unreadable<'a>(
    errors: &'a [UnreadableRoot],
    name: &str,
) -> Option<(ObjectId, &'a Error)> {
    let id: ObjectId = name.parse().ok()?;
    // Anybody can store an object whose key merely ends like that of a snapshot.
    let own = format!("snapshots/{id}");
    let (_, error) = errors.iter().find(|(key, _)| key.as_str() == own)?;
    Some((id, error))
}

/// A snapshot by its ID prefix and by nothing else: a source's name must not mean its newest one here.
///
/// # Errors
/// When none or several have it.
pub fn find_by_id<'a>(all: &'a [Snapshot], name: &str) -> JobResult<&'a Snapshot> {
    let matches = |one: &&Snapshot| name.len() >= 4 && one.id.to_string().starts_with(name);
    let found: Vec<&Snapshot> = all.iter().filter(matches).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(JobError::NoSuchSnapshot {
            prefix: name.to_owned(),
        }),
        several => Err(Error::AmbiguousSnapshot {
            name: name.to_owned(),
            count: several.len(),
        }
        .into()),
    }
}

/// Refuses an unreadable root, unless the user takes responsibility. One that the storage does not return now may
/// be a good one.
fn refuse_unreadable(
    options: &ForgetNamedOptions<'_>,
    id: &ObjectId,
    error: &Error,
) -> JobResult<()> {
    let transient = matches!(
        error,
        Error::Backend { .. } | Error::LocalIo { .. } | Error::Internal(_) | Error::Interrupted
    );
    if options.unreadable && !transient {
        return Ok(());
    }
    Err(JobError::UnreadableSnapshot {
        snapshot: id.short(),
        reason: format_error_chain(error),
        transient,
    })
}

fn refuse_held(
    options: &ForgetNamedOptions<'_>,
    chosen: &[&Snapshot],
    now: DateTime<Utc>,
) -> JobResult<()> {
    for one in chosen.iter().filter(|_| !options.release_holds) {
        // Without a policy, a day ends when it has ended everywhere.
        let hold = one
            .root
            .tags
            .get(HOLD_TAG)
            .map(|text| Hold::parse(text, &TimeZone::last_to_end_a_day()));
        if let Some(hold) = hold.filter(|hold| hold.is_active(now)) {
            return Err(JobError::SnapshotOnHold {
                snapshot: one.id.short(),
                hold: hold.to_string(),
            });
        }
    }
    Ok(())
}

/// Refuses to forget the last snapshot of a series that is as good as its best.
fn refuse_last(
    options: &ForgetNamedOptions<'_>,
    repository: &Repository,
    all: &[Snapshot],
    chosen: &[&Snapshot],
) -> JobResult<()> {
    if options.allow_empty {
        return Ok(());
    }
    let affected = repository.degraded_snapshots()?;
    let is_chosen = |one: &Snapshot| chosen.iter().any(|other| other.id == one.id);
    let series_of = |one: &Snapshot| (one.root.source.clone(), repository.series_signer(one));
    let touched: BTreeSet<_> = chosen
        .iter()
        .filter(|one| !one.forgotten)
        .map(|one| series_of(one))
        .collect();
    for series in touched {
        let members = all
            .iter()
            .filter(|one| !one.forgotten && series_of(one) == series);
        let candidates: Vec<_> = members
            .map(|one| {
                let candidate = candidate_without_hold(one, &affected, options.retention);
                (candidate, !is_chosen(one))
            })
            .collect();
        let candidates: Vec<_> = candidates
            .iter()
            .map(|(one, stays)| (one, *stays))
            .collect();
        if leaves_nothing(&candidates) {
            return Err(JobError::WouldLeaveNothing {
                series: describe_series(repository, all, series),
            });
        }
    }
    Ok(())
}

/// A source's name, with the host if several hosts have snapshots of it.
fn describe_series(
    repository: &Repository,
    all: &[Snapshot],
    (source, signer): (String, SignerId),
) -> String {
    let mut others = all.iter().filter(|one| one.root.source == source);
    match others.any(|one| repository.series_signer(one) != signer) {
        true => format!("{source} of {}", repository.signer_name(&signer)),
        false => source,
    }
}
