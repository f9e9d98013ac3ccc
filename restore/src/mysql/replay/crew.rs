//! The sessions that apply, each in a thread of its own, while others are read.

use std::cell::Cell;
use std::thread::Scope;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::order::Order;
use super::target::Target;
use crate::error::Result;

type Job = Box<dyn FnOnce(&mut Target) -> Result<()> + Send>;

/// Jobs that wait for each thread: what is read ahead lies in memory.
const AHEAD: usize = 1;

/// One session for everything that has its order, and more for transactions that do not depend on each other.
#[derive(Debug)]
pub(super) struct Crew {
    main: Sender<Job>,
    others: Option<Sender<Job>>,
    /// Whether the first one may have something to do.
    busy: Cell<bool>,
    order: Order,
}

impl Crew {
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        main: Target,
        others: Vec<Target>,
    ) -> Self {
        let order = Order::default();
        let start = |target: Target, jobs: Receiver<Job>| {
            let order = order.clone();
            scope.spawn(move || work(target, &jobs, &order));
        };
        let (sender, receiver) = bounded(AHEAD);
        start(main, receiver);
        let several = (!others.is_empty()).then(|| {
            // Taken in their order: whatever one waits for is under way.
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
            order,
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
        self.order.wait_for_all()?;
        self.busy.set(true);
        self.main
            .send(Box::new(job))
            .map_err(|_| self.order.failure())
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
        receiver.recv().map_err(|_| self.order.failure())?
    }

    /// What the jobs that are given must keep to.
    pub(super) fn order(&self) -> Order {
        self.order.clone()
    }

    /// Has transactions applied beside others. Their places are in order, behind those that were given before; the
    /// job waits for what they depend on, and lands each.
    pub(super) fn fly(
        &self,
        places: impl IntoIterator<Item = u64>,
        job: impl FnOnce(&mut Target) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let Some(others) = &self.others else {
            return self.give(job);
        };
        if self.busy.get() {
            self.ask(|_| Ok(()))?;
        }
        self.order.fly(places)?;
        others.send(Box::new(job)).map_err(|_| self.order.failure())
    }
}

fn work(mut target: Target, jobs: &Receiver<Job>, order: &Order) {
    let _present = order.presence();
    for job in jobs {
        if let Err(error) = job(&mut target) {
            order.fail(error);
            break;
        }
    }
    // Whoever waits for an answer learns that there will be none.
    jobs.iter().for_each(drop);
}
