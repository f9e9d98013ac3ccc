//! The sessions that apply, each in a thread of its own, while others are read.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::target::Target;
use crate::error::{Error, Result};

type Job = Box<dyn FnOnce(&mut Target) -> Result<()> + Send>;

/// Jobs that wait for each thread: what is read ahead lies in memory.
const AHEAD: usize = 1;

#[derive(Debug, Default)]
struct State {
    failed: bool,
    error: Option<Error>,
    /// The places, in the order of commits, of transactions that are being applied.
    flying: BTreeSet<u64>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: Error) {
        let mut state = self.state();
        state.failed = true;
        state.error.get_or_insert(error);
        self.changed.notify_all();
    }

    fn land(&self, place: u64) {
        self.state().flying.remove(&place);
        self.changed.notify_all();
    }
}

/// One session for everything that has its order, and more for transactions that do not depend on each other.
#[derive(Debug)]
pub(super) struct Crew {
    main: Sender<Job>,
    others: Option<Sender<Job>>,
    /// Whether the first one may have something to do.
    busy: Cell<bool>,
    shared: Arc<Shared>,
}

impl Crew {
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        main: Target,
        others: Vec<Target>,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let start = |target: Target, jobs: Receiver<Job>| {
            let shared = Arc::clone(&shared);
            scope.spawn(move || work(target, &jobs, &shared));
        };
        let (sender, receiver) = bounded(AHEAD);
        start(main, receiver);
        let several = (!others.is_empty()).then(|| {
            let (sender, receiver) = bounded(others.len());
            for target in others {
                start(target, receiver.clone());
            }
            sender
        });
        Self {
            main: sender,
            others: several,
            busy: Cell::new(false),
            shared,
        }
    }

    /// Whether there are sessions for transactions that do not depend on each other.
    pub(super) fn is_parallel(&self) -> bool {
        self.others.is_some()
    }

    /// Has something done after all that was given before.
    pub(super) fn give(
        &self,
        job: impl FnOnce(&mut Target) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        self.landed(None)?;
        self.busy.set(true);
        self.main.send(Box::new(job)).map_err(|_| self.failure())
    }

    /// The same, and waits for what it gives.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Target) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = bounded(1);
        self.give(move |target| {
            // Whoever asked waits for it.
            let _ = sender.send(job(target));
            Ok(())
        })?;
        self.busy.set(false);
        receiver.recv().map_err(|_| self.failure())?
    }

    /// Has a transaction applied as soon as all up to the place `after` are.
    pub(super) fn fly(
        &self,
        place: u64,
        after: u64,
        job: impl FnOnce(&mut Target) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let Some(others) = &self.others else {
            return self.give(job);
        };
        if self.busy.get() {
            self.ask(|_| Ok(()))?;
        }
        self.landed(Some(after))?;
        self.shared.state().flying.insert(place);
        let shared = Arc::clone(&self.shared);
        let job = move |target: &mut Target| {
            job(target)?;
            shared.land(place);
            Ok(())
        };
        others.send(Box::new(job)).map_err(|_| self.failure())
    }

    /// Waits until everything up to a place, or everything, is applied.
    fn landed(&self, up_to: Option<u64>) -> Result<()> {
        let mut state = self.shared.state();
        loop {
            if state.failed {
                drop(state);
                return Err(self.failure());
            }
            match (state.flying.first(), up_to) {
                (Some(first), Some(up_to)) if *first <= up_to => {}
                (Some(_), None) => {}
                _ => return Ok(()),
            }
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn failure(&self) -> Error {
        let error = self.shared.state().error.take();
        error.unwrap_or_else(|| {
            reprise_repository::Error::Internal("a session has ended".to_owned()).into()
        })
    }
}

fn work(mut target: Target, jobs: &Receiver<Job>, shared: &Shared) {
    for job in jobs {
        if let Err(error) = job(&mut target) {
            shared.fail(error);
            break;
        }
    }
    // Whoever waits for an answer learns that there will be none.
    jobs.iter().for_each(drop);
}
