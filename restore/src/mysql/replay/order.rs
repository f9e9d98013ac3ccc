//! What transactions that are applied beside each other must wait for.
//!
//! Each has a place in the order of the source's commits, and knows up to which place it depends on others: it may
//! begin when all of these are applied. Whoever must wait has nothing open that another one could wait for.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};

#[derive(Debug, Default)]
struct State {
    failed: bool,
    error: Option<Error>,
    /// The places of transactions that are given to sessions and not applied yet.
    flying: BTreeSet<u64>,
}

impl State {
    fn allows(&self, after: u64, own: u64) -> bool {
        let first = self.flying.first();
        first.is_none_or(|first| *first > after || *first >= own)
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// What all sessions of a replay know of each other.
#[derive(Debug, Clone, Default)]
pub(super) struct Order(Arc<Shared>);

impl Order {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something is so, or something has failed.
    fn wait_until(&self, so: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.state();
        while !state.failed && !so(&state) {
            let woken = self.0.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Transactions are about to be given to a session, behind all that were given before.
    pub(super) fn fly(&self, places: impl IntoIterator<Item = u64>) -> Result<()> {
        let mut state = self.state();
        if state.failed {
            drop(state);
            return Err(self.failure());
        }
        state.flying.extend(places);
        Ok(())
    }

    /// Whether all transactions up to the place `after` are applied. Those from `own` on are the asking session's own
    /// or come later.
    pub(super) fn allows(&self, after: u64, own: u64) -> bool {
        self.state().allows(after, own)
    }

    /// Waits until it is so. Fails when another session has failed, which tells why.
    pub(super) fn wait(&self, after: u64, own: u64) -> Result<()> {
        match self.wait_until(|state| state.allows(after, own)).failed {
            true => Err(ended()),
            false => Ok(()),
        }
    }

    /// A transaction is applied.
    pub(super) fn land(&self, place: u64) {
        self.state().flying.remove(&place);
        self.0.changed.notify_all();
    }

    /// Waits until everything that was given is applied.
    pub(super) fn wait_for_all(&self) -> Result<()> {
        let state = self.wait_until(|state| state.flying.is_empty());
        let failed = state.failed;
        drop(state);
        match failed {
            true => Err(self.failure()),
            false => Ok(()),
        }
    }

    /// As long as a session has it: if its thread panics, nobody waits for what it was doing.
    pub(super) fn presence(&self) -> Presence<'_> {
        Presence(self)
    }

    /// A session cannot go on: nobody waits any more.
    pub(super) fn fail(&self, error: Error) {
        let mut state = self.state();
        state.failed = true;
        state.error.get_or_insert(error);
        self.0.changed.notify_all();
    }

    /// Why a session could not go on, told once.
    pub(super) fn failure(&self) -> Error {
        self.state().error.take().unwrap_or_else(ended)
    }
}

/// That a session is there.
#[derive(Debug)]
pub(super) struct Presence<'a>(&'a Order);

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(ended());
        }
    }
}

fn ended() -> Error {
    reprise_repository::Error::Internal("an applier session ended unexpectedly".to_owned()).into()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    #[test]
    fn a_transaction_waits_for_all_that_it_depends_on_and_for_no_other() {
        let order = Order::default();
        order.fly([3, 4, 5, 6]).unwrap();
        assert!(order.allows(2, 6));
        assert!(!order.allows(3, 6));
        order.land(4);
        assert!(!order.allows(4, 6));
        order.land(3);
        assert!(order.allows(4, 6));
        assert!(!order.allows(5, 6));
    }

    #[test]
    fn a_session_does_not_wait_for_what_it_does_itself() {
        let order = Order::default();
        order.fly([7, 8, 9]).unwrap();
        assert!(order.allows(8, 7));
        assert!(!order.allows(8, 9));
    }

    #[test]
    fn whoever_waits_goes_on_when_the_last_of_them_lands() {
        let order = Order::default();
        order.fly(1..=40).unwrap();
        let (sender, receiver) = channel();
        let waiting = order.clone();
        let thread = thread::spawn(move || {
            let result = waiting.wait(39, 40);
            sender.send(()).unwrap();
            result
        });
        for place in (1..=39).rev() {
            assert!(receiver.try_recv().is_err());
            order.land(place);
        }
        thread.join().unwrap().unwrap();
        order.land(40);
        order.wait_for_all().unwrap();
    }

    #[test]
    fn nobody_waits_for_a_session_that_panicked() {
        let order = Order::default();
        order.fly([1]).unwrap();
        let session = order.clone();
        let thread = thread::spawn(move || {
            let _present = session.presence();
            std::panic::resume_unwind(Box::new("gone"));
        });
        thread.join().unwrap_err();
        order.wait_for_all().unwrap_err();
    }

    #[test]
    fn nobody_waits_for_a_session_that_failed_and_its_reason_is_told_once() {
        let order = Order::default();
        order.fly([1, 2]).unwrap();
        let waiting = order.clone();
        let thread = thread::spawn(move || waiting.wait(1, 2));
        order.fail(reprise_repository::Error::Interrupted.into());
        thread.join().unwrap().unwrap_err();
        order.fail(ended());
        let told = order.wait_for_all().unwrap_err();
        assert!(matches!(
            told,
            Error::Repository(reprise_repository::Error::Interrupted)
        ));
        order.fly([3]).unwrap_err();
        order.wait(0, 3).unwrap_err();
    }
}
