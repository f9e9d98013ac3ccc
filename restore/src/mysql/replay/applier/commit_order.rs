//! The dependencies of transactions that are applied in parallel.
//!
//! Each has a sequence number of the source's commit order, and the last one that it depends on: it may begin when all
//! up to that are applied. A session that waits has nothing open that another one could wait for.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};

#[derive(Debug, Default)]
struct CommitOrderState {
    failed: bool,
    error: Option<Error>,
    /// The sequence numbers of transactions that are in flight: given to sessions and not applied yet.
    in_flight: BTreeSet<u64>,
}

impl CommitOrderState {
    fn can_start(&self, after: u64, own: u64) -> bool {
        let first = self.in_flight.first();
        first.is_none_or(|first| *first > after || *first >= own)
    }
}

#[derive(Debug, Default)]
struct SharedCommitOrder {
    state: Mutex<CommitOrderState>,
    changed: Condvar,
}

/// The state that all sessions of a replay share.
#[derive(Debug, Clone, Default)]
pub(crate) struct CommitOrder(Arc<SharedCommitOrder>);

impl CommitOrder {
    fn lock_state(&self) -> MutexGuard<'_, CommitOrderState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a condition holds, or a session has failed.
    fn wait_until(
        &self,
        so: impl Fn(&CommitOrderState) -> bool,
    ) -> MutexGuard<'_, CommitOrderState> {
        let mut state = self.lock_state();
        while !state.failed && !so(&state) {
            let woken = self.0.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Starts transactions that are about to be given to a session, after all that were given before.
    pub(crate) fn add_in_flight(&self, places: impl IntoIterator<Item = u64>) -> Result<()> {
        let mut state = self.lock_state();
        if state.failed {
            drop(state);
            return Err(self.take_error());
        }
        state.in_flight.extend(places);
        Ok(())
    }

    /// Whether all transactions up to the sequence number `after` are applied. Those from `own` on are the caller's own
    /// or come later.
    pub(crate) fn can_start(&self, after: u64, own: u64) -> bool {
        self.lock_state().can_start(after, own)
    }

    /// Waits until that holds. Fails when another session has failed, which has the cause.
    pub(crate) fn wait_for_dependencies(&self, after: u64, own: u64) -> Result<()> {
        match self.wait_until(|state| state.can_start(after, own)).failed {
            true => Err(session_ended_error()),
            false => Ok(()),
        }
    }

    /// Marks a transaction as applied.
    pub(crate) fn mark_applied(&self, place: u64) {
        self.lock_state().in_flight.remove(&place);
        self.0.changed.notify_all();
    }

    /// Waits until all transactions in flight are applied.
    pub(crate) fn wait_for_all(&self) -> Result<()> {
        let state = self.wait_until(|state| state.in_flight.is_empty());
        let failed = state.failed;
        drop(state);
        match failed {
            true => Err(self.take_error()),
            false => Ok(()),
        }
    }

    /// Guards a session's work: if its thread panics, no other session waits for it.
    pub(crate) fn panic_guard(&self) -> PanicGuard<'_> {
        PanicGuard(self)
    }

    /// Records that a session failed: nobody waits any more.
    pub(crate) fn fail(&self, error: Error) {
        let mut state = self.lock_state();
        state.failed = true;
        state.error.get_or_insert(error);
        self.0.changed.notify_all();
    }

    /// The error of the failed session, returned once.
    pub(crate) fn take_error(&self) -> Error {
        self.lock_state()
            .error
            .take()
            .unwrap_or_else(session_ended_error)
    }
}

/// Marks a session as running.
#[derive(Debug)]
pub(crate) struct PanicGuard<'a>(&'a CommitOrder);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(session_ended_error());
        }
    }
}

fn session_ended_error() -> Error {
    reprise_repository::Error::Internal("an applier session ended unexpectedly".to_owned()).into()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    #[test]
    fn a_transaction_waits_for_all_that_it_depends_on_and_for_no_other() {
        let order = CommitOrder::default();
        order.add_in_flight([3, 4, 5, 6]).unwrap();
        assert!(order.can_start(2, 6));
        assert!(!order.can_start(3, 6));
        order.mark_applied(4);
        assert!(!order.can_start(4, 6));
        order.mark_applied(3);
        assert!(order.can_start(4, 6));
        assert!(!order.can_start(5, 6));
    }

    #[test]
    fn a_session_does_not_wait_for_what_it_does_itself() {
        let order = CommitOrder::default();
        order.add_in_flight([7, 8, 9]).unwrap();
        assert!(order.can_start(8, 7));
        assert!(!order.can_start(8, 9));
    }

    #[test]
    fn whoever_waits_goes_on_when_the_last_of_them_lands() {
        let order = CommitOrder::default();
        order.add_in_flight(1..=40).unwrap();
        let (sender, receiver) = channel();
        let waiting = order.clone();
        let thread = thread::spawn(move || {
            let result = waiting.wait_for_dependencies(39, 40);
            sender.send(()).unwrap();
            result
        });
        for place in (1..=39).rev() {
            assert!(receiver.try_recv().is_err());
            order.mark_applied(place);
        }
        thread.join().unwrap().unwrap();
        order.mark_applied(40);
        order.wait_for_all().unwrap();
    }

    #[test]
    fn nobody_waits_for_a_session_that_panicked() {
        let order = CommitOrder::default();
        order.add_in_flight([1]).unwrap();
        let session = order.clone();
        let thread = thread::spawn(move || {
            let _present = session.panic_guard();
            std::panic::resume_unwind(Box::new("gone"));
        });
        thread.join().unwrap_err();
        order.wait_for_all().unwrap_err();
    }

    #[test]
    fn nobody_waits_for_a_session_that_failed_and_its_reason_is_told_once() {
        let order = CommitOrder::default();
        order.add_in_flight([1, 2]).unwrap();
        let waiting = order.clone();
        let thread = thread::spawn(move || waiting.wait_for_dependencies(1, 2));
        order.fail(reprise_repository::Error::Interrupted.into());
        thread.join().unwrap().unwrap_err();
        order.fail(session_ended_error());
        let told = order.wait_for_all().unwrap_err();
        assert!(matches!(
            told,
            Error::Repository(reprise_repository::Error::Interrupted)
        ));
        order.add_in_flight([3]).unwrap_err();
        order.wait_for_dependencies(0, 3).unwrap_err();
    }
}
