//! Holds on to a slot while its run is under way, on a thread of its own: a run that is slow is not dead.
//!
//! If the lease cannot be renewed, the run is stopped before the lease ends, so that never two attempts work at once. What
//! a request in flight still does then is not committed: the claim is asked once more before each root.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use reprise_repository::{Progress, ScheduledRun, SlotStamp};

use crate::environment::JobEnvironment;
use crate::ledger::{Claim, Ledger};

/// How long a slot is held without a sign of life.
pub(super) const LEASE_TIME: TimeDelta = TimeDelta::minutes(2);
/// How often the lease is renewed: three renewals may fail.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(30);
/// How often it is asked whether everything is to stop.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Renews the lease of a claim until it is dropped.
pub(super) struct LeaseKeeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    lost: Arc<AtomicBool>,
}

/// What the thread of a lease keeper works with.
struct Renewal {
    ledger: Arc<Ledger>,
    claim: Claim,
    clock: fn() -> DateTime<Utc>,
    stop_requested: Arc<AtomicBool>,
    progress: Arc<Progress>,
    lost: Arc<AtomicBool>,
}

impl LeaseKeeper {
    /// Begins to renew the lease of a claim. `progress` is how the run is stopped.
    pub(super) fn start(
        ledger: &Arc<Ledger>,
        claim: &Claim,
        environment: &JobEnvironment,
        progress: &Arc<Progress>,
    ) -> Self {
        let lost = Arc::new(AtomicBool::new(false));
        let renewal = Renewal {
            ledger: Arc::clone(ledger),
            claim: claim.clone(),
            clock: environment.clock,
            stop_requested: Arc::clone(&environment.stop_requested),
            progress: Arc::clone(progress),
            lost: Arc::clone(&lost),
        };
        let (stop, stopped) = channel::<()>();
        let spawned = thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || {
                let mut renewed = Instant::now();
                while stopped.recv_timeout(STOP_CHECK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    renewal.check(&mut renewed);
                }
            });
        let thread = spawned.ok();
        if thread.is_none() {
            // Without renewal the run must not go on past its lease.
            lost.store(true, Ordering::SeqCst);
            progress.cancel();
        }
        Self {
            stop: Some(stop),
            thread,
            lost,
        }
    }

    /// Whether the claim was lost while the run was under way.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }
}

impl Renewal {
    fn check(&self, renewed: &mut Instant) {
        if self.stop_requested.load(Ordering::SeqCst) {
            self.progress.cancel();
        }
        if renewed.elapsed() < RENEWAL_INTERVAL {
            return;
        }
        let until = (self.clock)() + LEASE_TIME;
        match self.ledger.renew_claim(&self.claim, until) {
            Ok(true) => *renewed = Instant::now(),
            Ok(false) => self.give_up("another attempt has taken it over"),
            // Before the lease ends, with time to stop.
            Err(error) if renewed.elapsed() + RENEWAL_INTERVAL >= lease_duration() => {
                self.give_up(&format!("the ledger cannot be written: {error}"));
            }
            Err(error) => {
                tracing::warn!(job = %self.claim.job, %error, "cannot renew the lease of a run");
            }
        }
    }

    fn give_up(&self, reason: &str) {
        if !self.lost.swap(true, Ordering::SeqCst) {
            tracing::error!(job = %self.claim.job, slot = %self.claim.slot, reason, "a run is stopped, as it lost its lease");
        }
        self.progress.cancel();
    }
}

fn lease_duration() -> Duration {
    LEASE_TIME.to_std().unwrap_or_default()
}

impl Drop for LeaseKeeper {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was recorded.
            drop(thread.join());
        }
    }
}

/// What snapshots of a claim carry, and what is asked before they are committed.
pub(super) fn scheduled_run(
    ledger: &Arc<Ledger>,
    claim: &Claim,
    clock: fn() -> DateTime<Utc>,
) -> ScheduledRun {
    let stamp = SlotStamp {
        job: claim.job.clone(),
        slot: claim.slot.clone(),
        attempt: claim.attempt,
    };
    let (ledger, claim) = (Arc::clone(ledger), claim.clone());
    // A renewal says that it is current, and keeps it so while the root is on its way.
    let is_current = move || match ledger.renew_claim(&claim, clock() + LEASE_TIME) {
        Ok(current) => current,
        // A full disk for the ledger does not stop a snapshot: the lease was renewed a short time ago, or the run was stopped.
        Err(error) => {
            tracing::warn!(job = %claim.job, %error, "cannot ask the ledger before a snapshot is committed");
            true
        }
    };
    ScheduledRun {
        stamp,
        is_current: Arc::new(is_current),
    }
}
