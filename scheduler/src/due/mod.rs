//! What is due: a pure function of the policies, the ledger and the time.
//!
//! `scheduled_job` lists what policies give a schedule; `decision` says of one of them what is to happen now.

mod decision;
mod scheduled_job;
#[cfg(test)]
mod tests;

pub use decision::{
    AttemptKind, DueDecision, Evaluation, StartDecision, WaitReason, evaluate_job, retry_time,
};
pub use scheduled_job::{ScheduledJob, ScheduledWork, list_scheduled_jobs};
