//! What would be kept and forgotten: plans, made before anything is changed.
//!
//! `plan` gathers the snapshots of sources, repository by repository; `rules` decides with the policy's retention;
//! `alarms` are what people must be told; `log_plan` is the part of a log that goes, `limits` how much may go at once, `comparison` what another version of the
//! policies would do.

mod alarms;
mod comparison;
mod limits;
mod log_plan;
mod plan;
mod rules;

pub use alarms::{AlarmLevel, RetentionAlarm, describe_paused, list_alarms};
pub use comparison::{ForgetCounts, SourceChange, compare_policies, count_forgotten};
pub use limits::MaxForget;
pub use log_plan::LogForgetPlan;
pub use plan::{
    RepositoryPlan, SourcePlan, UnreadableSnapshot, plan_retention, sources_left_empty,
};
pub use rules::{RetentionParameters, candidate_without_hold};
