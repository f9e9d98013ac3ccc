//! Running what is due: `due_run` evaluates all jobs once and begins what is to begin; `lease` holds on to a slot meanwhile;
//! `work` does what a job says, in steps that are recorded, by the jobs that one-shot commands call too. `unrecorded` is for when
//! the ledger cannot be used.

mod due_run;
mod lease;
mod order;
mod unrecorded;
mod work;

pub use due_run::{DueEvent, DueObserver, DueReport, DueRun};
pub use order::WorkStep;
