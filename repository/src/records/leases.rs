//! Leases: a run that adds to the repository announces that it is active, so that nothing it relies on is deleted.
//!
//! A lease is renewed by adding another record of the same run, and ended by one more. A sweep waits for every
//! run that began before it. Whether a lease has expired is judged strictly by its holder (by either of its
//! clocks) and leniently by a sweep (by its own clock and the storage's, whichever is later). Even so, time only
//! decides how long others wait: a run whose lease expired checks again all that it relies on before it commits.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::backend::{Backend, ObjectKey};
use crate::crypto::envelope::RecordKind;
use crate::error::{Error, Result};
use crate::id::ObjectId;
use crate::records::record_set::{RecordAuthor, RecordSet, RefusedRecord, StoredRecord};
use crate::store::Store;

/// The directory of the records.
pub(crate) const DIRECTORY: &str = "leases";

/// How long a lease lasts unless it is renewed.
const LEASE_DURATION: TimeDelta = TimeDelta::hours(1);

/// When it is renewed.
const RENEW_AFTER: TimeDelta = TimeDelta::minutes(15);

/// How often the renewal thread checks the clock, and how soon it retries.
const RENEW_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// No lease is valid for longer after it was received, whatever it says.
const LEASE_DURATION_MAX: TimeDelta = TimeDelta::hours(24);

/// All leases of one run together are valid for so long after the first one was received: a lease that is renewed for
/// ever must not hold a sweep for ever.
const RUN_DURATION_MAX: TimeDelta = TimeDelta::days(7);

/// A run that lasts longer than this takes its own leases for expired, whatever the clocks of others say.
const RUN_DURATION_SAFE: TimeDelta = TimeDelta::days(6);

/// A lease as it is stored (catalog class).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeaseRecord {
    /// The run: 32 random hexadecimal digits.
    pub(crate) run: String,
    /// Its host.
    pub(crate) host: String,
    /// Its operation.
    pub(crate) command: String,
    /// When the run began.
    pub(crate) started: DateTime<Utc>,
    /// When this record was made.
    pub(crate) at: DateTime<Utc>,
    /// When it expires.
    pub(crate) expires: DateTime<Utc>,
    /// Whether the run has ended.
    pub(crate) ends: bool,
}

/// A lease of this process.
#[derive(Debug)]
pub(crate) struct Lease {
    inner: Arc<Store>,
    record: LeaseRecord,
    /// Its first record, once it is stored.
    id: Option<ObjectId>,
    begun: RunStart,
    state: Mutex<LeaseState>,
}

#[derive(Debug, Clone, Copy)]
struct LeaseState {
    wall: DateTime<Utc>,
    monotonic: Duration,
    /// Whether it ever expired.
    expired: bool,
}

/// The clocks of the holder when the run began.
#[derive(Debug, Clone, Copy)]
struct RunStart {
    wall: DateTime<Utc>,
    monotonic: Duration,
}

impl Lease {
    /// Acquires a lease. When this returns, every sweep that begins later sees it.
    pub(crate) fn acquire(
        inner: &Arc<Store>,
        backend: &dyn Backend,
        host: &str,
        command: &str,
    ) -> Result<Self> {
        let mut run = [0; 16];
        getrandom::fill(&mut run).map_err(|e| {
            Error::Internal(format!("cannot get random bytes from the system: {e}"))
        })?;
        let now = inner.clock.wall_time();
        let mut lease = Self {
            record: LeaseRecord {
                run: hex::encode(run),
                host: host.to_owned(),
                command: command.to_owned(),
                started: now,
                at: now,
                expires: now + LEASE_DURATION,
                ends: false,
            },
            id: None,
            begun: RunStart {
                wall: now,
                monotonic: inner.clock.monotonic_time(),
            },
            state: Mutex::new(LeaseState {
                wall: now,
                monotonic: inner.clock.monotonic_time(),
                expired: false,
            }),
            inner: Arc::clone(inner),
        };
        lease.id = Some(lease.put_record(backend, &lease.record)?);
        Ok(lease)
    }

    /// When this run began, by this host's clock and by the storage's, if the storage says.
    pub(crate) fn begin_times(&self) -> Result<Option<(DateTime<Utc>, DateTime<Utc>)>> {
        let Some(id) = self.id else { return Ok(None) };
        let key = ObjectKey::from_trusted(format!("{DIRECTORY}/{id}"));
        let received = self.inner.backend.received(&key);
        let received = received.map_err(|source| self.inner.backend_error(source))?;
        Ok(received.map(|received| (self.record.at, received)))
    }

    fn put_record(&self, backend: &dyn Backend, record: &LeaseRecord) -> Result<ObjectId> {
        let inner = &self.inner;
        inner.put_record(
            backend,
            RecordKind::Lease,
            DIRECTORY,
            inner.signer()?,
            record,
        )
    }

    fn lock_state(&self) -> std::sync::MutexGuard<'_, LeaseState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its age. `None`: the clock was set back, so the age is unknown.
    fn age(&self, held: &LeaseState) -> Option<TimeDelta> {
        self.time_since(held.wall, held.monotonic)
    }

    /// By whichever clock more time has passed. `None`: the clock was set back.
    fn time_since(&self, wall: DateTime<Utc>, monotonic: Duration) -> Option<TimeDelta> {
        let clock = &self.inner.clock;
        let wall = clock.wall_time() - wall;
        let since = clock.monotonic_time().saturating_sub(monotonic);
        let since = TimeDelta::from_std(since).unwrap_or(RUN_DURATION_MAX);
        (wall >= TimeDelta::zero()).then(|| wall.max(since))
    }

    /// Renews it if it is due.
    pub(crate) fn renew_if_due(&self, backend: &dyn Backend) -> Result<()> {
        let held = *self.lock_state();
        match self.age(&held) {
            Some(age) if age < RENEW_AFTER => Ok(()),
            _ => self.renew(backend),
        }
    }

    fn renew(&self, backend: &dyn Backend) -> Result<()> {
        let clock = &self.inner.clock;
        let (wall, monotonic) = (clock.wall_time(), clock.monotonic_time());
        let record = LeaseRecord {
            at: wall,
            expires: wall + LEASE_DURATION,
            ..self.record.clone()
        };
        self.put_record(backend, &record)?;
        let mut held = self.lock_state();
        let lapsed = held.expired || self.age(&held).is_none_or(|age| age >= LEASE_DURATION);
        *held = LeaseState {
            wall,
            monotonic,
            expired: lapsed,
        };
        Ok(())
    }

    /// Whether it has expired at any time since it was acquired. A run whose lease did cannot rely on others
    /// having waited for it.
    pub(crate) fn has_expired(&self) -> bool {
        let held = self.lock_state();
        let run = self.time_since(self.begun.wall, self.begun.monotonic);
        held.expired
            || self.age(&held).is_none_or(|age| age >= LEASE_DURATION)
            || run.is_none_or(|run| run >= RUN_DURATION_SAFE)
    }

    /// Records the end of the run, so that nobody waits for it. A failure only makes others wait longer.
    pub(crate) fn release(&self, backend: &dyn Backend) {
        let now = self.inner.clock.wall_time();
        let record = LeaseRecord {
            at: now,
            expires: now,
            ends: true,
            ..self.record.clone()
        };
        if let Err(error) = self.put_record(backend, &record) {
            tracing::info!(%error, "could not record the end of this run's lease: prune waits until the lease expires");
        }
    }
}

/// A lease that a thread renews while the run does its work.
#[derive(Debug)]
pub(crate) struct AutoRenewedLease {
    lease: Arc<Lease>,
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl AutoRenewedLease {
    /// Acquires a lease at the repository itself.
    pub(crate) fn acquire(inner: &Arc<Store>, host: &str, command: &str) -> Result<Self> {
        let lease = Lease::acquire(inner, inner.backend.as_ref(), host, command)?;
        let lease = Arc::new(lease);
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let thread = if inner.clock.is_real_time() {
            Some(spawn_renewal_thread(Arc::clone(&lease), Arc::clone(&stop))?)
        } else {
            None
        };
        Ok(Self {
            lease,
            stop,
            thread,
        })
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Releases it, once nothing that the run has asked the storage for can still arrive.
    pub(crate) fn release(mut self) {
        self.stop_renewal();
        self.lease.release(self.lease.inner.backend.as_ref());
    }

    fn stop_renewal(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // A failed renewal was already reported.
            drop(thread.join());
        }
    }
}

impl Drop for AutoRenewedLease {
    /// Without a release it expires by itself.
    fn drop(&mut self) {
        self.stop_renewal();
    }
}

fn spawn_renewal_thread(
    lease: Arc<Lease>,
    stop: Arc<(Mutex<bool>, Condvar)>,
) -> Result<JoinHandle<()>> {
    let body = move || {
        let (stopped, told) = &*stop;
        let mut guard = stopped.lock().unwrap_or_else(PoisonError::into_inner);
        while !*guard {
            let waited = told.wait_timeout(guard, RENEW_CHECK_INTERVAL);
            guard = waited.unwrap_or_else(PoisonError::into_inner).0;
            if *guard {
                return;
            }
            drop(guard);
            if let Err(error) = lease.renew_if_due(lease.inner.backend.as_ref()) {
                tracing::warn!(%error, "could not renew the lease of this run; trying again in a minute");
            }
            guard = stopped.lock().unwrap_or_else(PoisonError::into_inner);
        }
    };
    std::thread::Builder::new()
        .name("lease".to_owned())
        .spawn(body)
        .map_err(|source| Error::LocalIo {
            action: "start a thread for",
            path: "lease".into(),
            source,
        })
}

/// A run for which a sweep waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ActiveRun {
    /// Its random ID.
    pub run: String,
    /// Its host.
    pub host: String,
    /// Its operation.
    pub command: String,
    /// When its first lease was received by the storage.
    pub since: Option<DateTime<Utc>>,
    /// When its lease expires at the latest.
    pub until: DateTime<Utc>,
}

/// All leases, as a sweep sees them.
#[derive(Debug)]
pub(crate) struct Leases {
    pub(crate) active: Vec<ActiveRun>,
    /// Records of ended runs, by run.
    pub(crate) ended: Vec<Vec<StoredRecord<LeaseRecord>>>,
    /// Objects that are no lease that can be read here.
    pub(crate) refused: Vec<RefusedRecord>,
    /// The time, by this machine's clock and the storage's: whichever is earlier, as far as both are known.
    pub(crate) now: DateTime<Utc>,
}

impl Leases {
    /// Reads all. The receipt time of the newest lease of `own` gives the storage's time.
    pub(crate) fn read(inner: &Store, own: Option<&Lease>) -> Result<Self> {
        Self::read_from(inner, inner.backend.as_ref(), own)
    }

    /// As [`Self::read`], at a copy.
    pub(crate) fn read_from(
        inner: &Store,
        backend: &dyn Backend,
        own: Option<&Lease>,
    ) -> Result<Self> {
        let records: RecordSet<LeaseRecord> = inner
            .read_records(backend, RecordKind::Lease, DIRECTORY)?
            .require_supported()?;
        let is_own = |run: &str| own.is_some_and(|own| own.record.run == run);
        let of_own = records
            .valid
            .iter()
            .filter(|found| is_own(&found.record.run));
        let shown = of_own.filter_map(|found| found.received).max();
        let wall = inner.clock.wall_time();
        let now = shown.map_or(wall, |shown| wall.min(shown));
        let mut runs: BTreeMap<String, Vec<StoredRecord<LeaseRecord>>> = BTreeMap::new();
        for found in records.valid {
            runs.entry(found.record.run.clone())
                .or_default()
                .push(found);
        }
        let (mut living, mut over) = (Vec::new(), Vec::new());
        for (run, records) in runs {
            let ended = records.iter().any(|found| found.record.ends);
            let until = records.iter().map(|found| valid_until(found, now)).max();
            let first = first_received(&records);
            let latest = first.map(|first| first + RUN_DURATION_MAX);
            let until = until.map(|until| latest.map_or(until, |latest| until.min(latest)));
            match until {
                _ if is_own(&run) => {}
                Some(until) if !ended && until > now => living.push(ActiveRun {
                    since: first,
                    run,
                    host: records[0].record.host.clone(),
                    command: records[0].record.command.clone(),
                    until,
                }),
                _ => over.push(records),
            }
        }
        let unreadable = records.refused.iter();
        living.extend(unreadable.filter_map(|refused| run_of_unreadable_lease(refused, now)));
        Ok(Self {
            active: living,
            ended: over,
            refused: records.refused,
            now,
        })
    }
}

/// An unreadable object may be a damaged lease, or one that only others can read, unless nobody who may sign it has. No
/// lease is valid for longer than this.
fn run_of_unreadable_lease(refused: &RefusedRecord, now: DateTime<Utc>) -> Option<ActiveRun> {
    let info = &refused.info;
    let until = info.received.unwrap_or(now) + LEASE_DURATION_MAX;
    let may_be_lease = matches!(
        refused.author,
        RecordAuthor::Keeper | RecordAuthor::Writer | RecordAuthor::Unknown
    );
    (may_be_lease && until > now).then(|| ActiveRun {
        run: info.key.to_string(),
        host: "an unknown host".to_owned(),
        command: format!("command with the unreadable lease {}", info.key),
        since: info.received,
        until,
    })
}

/// When the run began, by the storage's clock; `None` when that is unknown.
fn first_received(records: &[StoredRecord<LeaseRecord>]) -> Option<DateTime<Utc>> {
    let times: Option<Vec<_>> = records.iter().map(|found| found.received).collect();
    times.and_then(|times| times.into_iter().min())
}

/// When a lease expires: by its own time or by its receipt, whichever is later.
fn valid_until(found: &StoredRecord<LeaseRecord>, now: DateTime<Utc>) -> DateTime<Utc> {
    let LeaseRecord { at, expires, .. } = found.record;
    let received = found.received.unwrap_or(now);
    let length = (expires - at).clamp(TimeDelta::zero(), LEASE_DURATION_MAX);
    (received + length).max(expires.min(received + LEASE_DURATION_MAX))
}
