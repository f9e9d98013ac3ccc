//! Retention: the rules that say which snapshots are kept, and the decision that follows from them.
//!
//! The decision is a pure function: the caller provides the snapshots and the time, and acts on the result.

mod anomaly;
mod arrival_rate;
mod calendar;
mod candidate;
mod decision;
mod degraded;
mod explanation;
mod rule_evaluator;
mod rules;
#[cfg(test)]
mod tests;
mod verdict;

pub use candidate::{Candidate, HOLD_TAG, Hold, leaves_nothing};
pub use decision::decide_retention;
pub use rules::Retention;
pub use verdict::{
    DegradedStreak, KeepReason, RetentionDecision, RetentionOptions, RetentionPause,
    RetentionVerdict,
};
