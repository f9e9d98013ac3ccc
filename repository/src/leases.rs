//! Leases: a run that adds to the repository says that it lives, so that nothing it relies on is deleted.
//!
//! A lease is renewed by adding another record of the same run, and ended by one more. A sweep waits for every
//! run that began before it. Whether a lease has run out is judged strictly by its holder (by either of its
//! clocks) and leniently by a sweep (by its own clock and the storage's, whichever is later). Even so, time only
//! decides how long others wait: a run whose lease ran out looks again at all that it relies on before it commits.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::envelope::RecordKind;
use crate::error::{Error, Result};
use crate::records::{Found, Records};
use crate::repository::Inner;

/// Where they are.
pub(crate) const FOLDER: &str = "leases";

/// How long a lease lasts unless it is renewed.
const LENGTH: TimeDelta = TimeDelta::hours(1);

/// When it is renewed.
const RENEWED_AFTER: TimeDelta = TimeDelta::minutes(15);

/// How often the thread that renews looks at the clock, and how soon it tries again.
const LOOKED_AT: Duration = Duration::from_secs(60);

/// No lease counts for longer after it was received, whatever it says.
const LENGTH_MAX: TimeDelta = TimeDelta::hours(24);

/// A lease as it is stored (catalog class).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeaseRecord {
    /// The run: 32 random hexadecimal digits.
    pub(crate) run: String,
    /// On which host.
    pub(crate) host: String,
    /// What it does.
    pub(crate) command: String,
    /// When the run began.
    pub(crate) started: DateTime<Utc>,
    /// When this record was made.
    pub(crate) at: DateTime<Utc>,
    /// Until when it counts.
    pub(crate) expires: DateTime<Utc>,
    /// Whether the run is over.
    pub(crate) ends: bool,
}

/// A lease of this process.
#[derive(Debug)]
pub(crate) struct Lease {
    inner: Arc<Inner>,
    first: LeaseRecord,
    held: Mutex<Held>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    wall: DateTime<Utc>,
    monotonic: Duration,
    /// Whether it ever ran out.
    lapsed: bool,
}

impl Lease {
    /// Takes a lease. When this returns, every sweep that begins later sees it.
    pub(crate) fn take(
        inner: &Arc<Inner>,
        backend: &dyn Backend,
        host: &str,
        command: &str,
    ) -> Result<Self> {
        let mut run = [0; 16];
        getrandom::fill(&mut run).map_err(|e| {
            Error::Internal(format!("cannot get random bytes from the system: {e}"))
        })?;
        let now = inner.clock.wall();
        let lease = Self {
            first: LeaseRecord {
                run: hex::encode(run),
                host: host.to_owned(),
                command: command.to_owned(),
                started: now,
                at: now,
                expires: now + LENGTH,
                ends: false,
            },
            held: Mutex::new(Held {
                wall: now,
                monotonic: inner.clock.monotonic(),
                lapsed: false,
            }),
            inner: Arc::clone(inner),
        };
        inner.put_record(backend, RecordKind::Lease, FOLDER, &lease.first)?;
        Ok(lease)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How old it is. `None`: the clock was set back, so nobody knows.
    fn age(&self, held: &Held) -> Option<TimeDelta> {
        let clock = &self.inner.clock;
        let wall = clock.wall() - held.wall;
        let since = clock.monotonic().saturating_sub(held.monotonic);
        let since = TimeDelta::from_std(since).unwrap_or(LENGTH_MAX);
        (wall >= TimeDelta::zero()).then(|| wall.max(since))
    }

    /// Renews it if it is time to.
    pub(crate) fn renew_if_due(&self, backend: &dyn Backend) -> Result<()> {
        let held = *self.held();
        match self.age(&held) {
            Some(age) if age < RENEWED_AFTER => Ok(()),
            _ => self.renew(backend),
        }
    }

    fn renew(&self, backend: &dyn Backend) -> Result<()> {
        let clock = &self.inner.clock;
        let (wall, monotonic) = (clock.wall(), clock.monotonic());
        let record = LeaseRecord {
            at: wall,
            expires: wall + LENGTH,
            ..self.first.clone()
        };
        self.inner
            .put_record(backend, RecordKind::Lease, FOLDER, &record)?;
        let mut held = self.held();
        let lapsed = held.lapsed || self.age(&held).is_none_or(|age| age >= LENGTH);
        *held = Held {
            wall,
            monotonic,
            lapsed,
        };
        Ok(())
    }

    /// Whether it has run out at any time since it was taken. A run whose lease did cannot rely on others
    /// having waited for it.
    pub(crate) fn has_lapsed(&self) -> bool {
        let held = self.held();
        held.lapsed || self.age(&held).is_none_or(|age| age >= LENGTH)
    }

    /// Says that the run is over, so that nobody waits for it. Not being able to costs others some waiting.
    pub(crate) fn end(&self, backend: &dyn Backend) {
        let now = self.inner.clock.wall();
        let record = LeaseRecord {
            at: now,
            expires: now,
            ends: true,
            ..self.first.clone()
        };
        let ended = self
            .inner
            .put_record(backend, RecordKind::Lease, FOLDER, &record);
        if let Err(error) = ended {
            tracing::info!(%error, "could not record the end of this run's lease: prune waits until the lease expires");
        }
    }
}

/// A lease that a thread renews while the run does other things.
#[derive(Debug)]
pub(crate) struct KeptLease {
    lease: Arc<Lease>,
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl KeptLease {
    /// Takes a lease at the repository itself.
    pub(crate) fn take(inner: &Arc<Inner>, host: &str, command: &str) -> Result<Self> {
        let lease = Lease::take(inner, inner.backend.as_ref(), host, command)?;
        let lease = Arc::new(lease);
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let thread = if inner.clock.passes() {
            Some(spawn(Arc::clone(&lease), Arc::clone(&stop))?)
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

    /// Ends it: nothing that the run has asked the storage for can still arrive.
    pub(crate) fn end(mut self) {
        self.stop();
        self.lease.end(self.lease.inner.backend.as_ref());
    }

    fn stop(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // A renewal that failed was told already.
            drop(thread.join());
        }
    }
}

impl Drop for KeptLease {
    /// Without an end it runs out by itself.
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(lease: Arc<Lease>, stop: Arc<(Mutex<bool>, Condvar)>) -> Result<JoinHandle<()>> {
    let body = move || {
        let (stopped, told) = &*stop;
        let mut guard = stopped.lock().unwrap_or_else(PoisonError::into_inner);
        while !*guard {
            let waited = told.wait_timeout(guard, LOOKED_AT);
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
        .map_err(|source| Error::Local {
            action: "start a thread for",
            path: "lease".into(),
            source,
        })
}

/// A run for which a sweep waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LivingRun {
    /// Its random name.
    pub run: String,
    /// On which host.
    pub host: String,
    /// What it does.
    pub command: String,
    /// When its first lease was received by the storage.
    pub since: Option<DateTime<Utc>>,
    /// When its lease runs out at the latest.
    pub until: DateTime<Utc>,
}

/// All leases, as a sweep sees them.
#[derive(Debug)]
pub(crate) struct Leases {
    pub(crate) living: Vec<LivingRun>,
    /// Records of runs that are over, by run.
    pub(crate) over: Vec<Vec<Found<LeaseRecord>>>,
    /// The time, by this machine's clock and the storage's: whichever is earlier, as far as both are known.
    pub(crate) now: DateTime<Utc>,
}

impl Leases {
    /// Reads all. When the storage received the newest lease of `own`, it had that time.
    pub(crate) fn read(inner: &Inner, own: Option<&Lease>) -> Result<Self> {
        Self::read_at(inner, inner.backend.as_ref(), own)
    }

    /// As [`Self::read`], at a copy.
    pub(crate) fn read_at(
        inner: &Inner,
        backend: &dyn Backend,
        own: Option<&Lease>,
    ) -> Result<Self> {
        let records: Records<LeaseRecord> =
            inner.records(backend, RecordKind::Lease, FOLDER)?.known()?;
        let is_own = |run: &str| own.is_some_and(|own| own.first.run == run);
        let of_own = records
            .found
            .iter()
            .filter(|found| is_own(&found.record.run));
        let shown = of_own.filter_map(|found| found.received).max();
        let wall = inner.clock.wall();
        let now = shown.map_or(wall, |shown| wall.min(shown));
        let mut runs: BTreeMap<String, Vec<Found<LeaseRecord>>> = BTreeMap::new();
        for found in records.found {
            runs.entry(found.record.run.clone())
                .or_default()
                .push(found);
        }
        let (mut living, mut over) = (Vec::new(), Vec::new());
        for (run, records) in runs {
            let ended = records.iter().any(|found| found.record.ends);
            let until = records.iter().map(|found| counts_until(found, now)).max();
            match until {
                _ if is_own(&run) => {}
                Some(until) if !ended && until > now => living.push(LivingRun {
                    since: since(&records),
                    run,
                    host: records[0].record.host.clone(),
                    command: records[0].record.command.clone(),
                    until,
                }),
                _ => over.push(records),
            }
        }
        // What cannot be read may be a lease that was damaged; no lease counts for longer than this.
        for (info, _) in records.refused {
            let until = info.received.unwrap_or(now) + LENGTH_MAX;
            if until > now {
                living.push(LivingRun {
                    run: info.key.to_string(),
                    host: "an unknown host".to_owned(),
                    command: format!("command with the unreadable lease {}", info.key),
                    since: info.received,
                    until,
                });
            }
        }
        Ok(Self { living, over, now })
    }
}

/// When the run began, by the storage's clock; `None` when that is not known.
fn since(records: &[Found<LeaseRecord>]) -> Option<DateTime<Utc>> {
    let times: Option<Vec<_>> = records.iter().map(|found| found.received).collect();
    times.and_then(|times| times.into_iter().min())
}

/// Until when a lease counts: by what it says and by when it was received, whichever is later.
fn counts_until(found: &Found<LeaseRecord>, now: DateTime<Utc>) -> DateTime<Utc> {
    let LeaseRecord { at, expires, .. } = found.record;
    let received = found.received.unwrap_or(now);
    let length = (expires - at).clamp(TimeDelta::zero(), LENGTH_MAX);
    (received + length).max(expires.min(received + LENGTH_MAX))
}
