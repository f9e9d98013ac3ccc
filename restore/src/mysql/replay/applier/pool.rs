//! The applier sessions, each in a thread of its own, while the coordinator reads on.

use std::cell::Cell;
use std::thread::Scope;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::error::Result;
use crate::mysql::replay::applier::commit_order::CommitOrder;
use crate::mysql::replay::applier::session::ApplierSession;

type ApplierJob = Box<dyn FnOnce(&mut ApplierSession) -> Result<()> + Send>;

/// Jobs queued for each thread: queued transactions take memory.
const QUEUED_JOBS_MAX: usize = 1;

/// One session for everything that must keep its order, and more for transactions that do not depend on each other.
#[derive(Debug)]
pub(crate) struct ApplierPool {
    main: Sender<ApplierJob>,
    parallel: Option<Sender<ApplierJob>>,
    /// Whether the main session may have work.
    main_busy: Cell<bool>,
    commit_order: CommitOrder,
}

impl ApplierPool {
    pub(crate) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        main: ApplierSession,
        others: Vec<ApplierSession>,
    ) -> Self {
        let commit_order = CommitOrder::default();
        let start = |target: ApplierSession, jobs: Receiver<ApplierJob>| {
            let order = commit_order.clone();
            scope.spawn(move || run_worker(target, &jobs, &order));
        };
        let (sender, receiver) = bounded(QUEUED_JOBS_MAX);
        start(main, receiver);
        let several = (!others.is_empty()).then(|| {
            // Jobs are taken in order: whatever a job waits for is in progress.
            let (sender, receiver) = bounded(others.len());
            for target in others {
                start(target, receiver.clone());
            }
            sender
        });
        Self {
            main: sender,
            parallel: several,
            main_busy: Cell::new(false),
            commit_order,
        }
    }

    /// Whether there are sessions for transactions that do not depend on each other.
    pub(crate) fn is_parallel(&self) -> bool {
        self.parallel.is_some()
    }

    /// Runs a job after all jobs that were submitted before.
    pub(crate) fn submit(
        &self,
        job: impl FnOnce(&mut ApplierSession) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        self.commit_order.wait_for_all()?;
        self.main_busy.set(true);
        self.main
            .send(Box::new(job))
            .map_err(|_| self.commit_order.take_error())
    }

    /// The same, and waits for the job's result.
    pub(crate) fn submit_and_wait<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut ApplierSession) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = bounded(1);
        self.submit(move |target| {
            // The submitter waits for it.
            let _ = sender.send(job(target));
            Ok(())
        })?;
        self.main_busy.set(false);
        receiver
            .recv()
            .map_err(|_| self.commit_order.take_error())?
    }

    /// The commit order that submitted jobs must keep.
    pub(crate) fn commit_order(&self) -> CommitOrder {
        self.commit_order.clone()
    }

    /// Has transactions applied in parallel with others. Their sequence numbers are in order, after those that were
    /// submitted before; the job waits for what they depend on, and marks each as applied.
    pub(crate) fn submit_parallel(
        &self,
        places: impl IntoIterator<Item = u64>,
        job: impl FnOnce(&mut ApplierSession) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let Some(others) = &self.parallel else {
            return self.submit(job);
        };
        if self.main_busy.get() {
            self.submit_and_wait(|_| Ok(()))?;
        }
        self.commit_order.add_in_flight(places)?;
        others
            .send(Box::new(job))
            .map_err(|_| self.commit_order.take_error())
    }
}

fn run_worker(mut target: ApplierSession, jobs: &Receiver<ApplierJob>, order: &CommitOrder) {
    let _present = order.panic_guard();
    for job in jobs {
        if let Err(error) = job(&mut target) {
            order.fail(error);
            break;
        }
    }
    // A submitter that waits for a result learns that there will be none.
    jobs.iter().for_each(drop);
}
