//! What to back up, when, for how long: the policy file, its validation and its retention rules.
//!
//! Architecture invariant: this crate decides and never acts. It has no clock, no network and no runtime; what it
//! needs from outside (environment variables, secret files) comes through [`SecretEnvironment`], and only
//! [`PolicySet::load`] reads policy files from disk.
//!
//! The rooms, each of which uses only those before it:
//!
//! - `values`: what a single value means, such as a duration or a reference to a secret;
//! - `schema`: the key table, which says which keys exist, and [`json_schema()`], which prints it for editors;
//! - `yaml`: a text becomes a tree with positions, which a decoder reads by the key table;
//! - `retention`: which snapshots are kept; `schedule`: when something is due;
//! - `model`: what a policy consists of;
//! - `lint`: what is allowed but unwise;
//! - `set`: policy files, and the selection of what a command line names.

mod lint;
mod model;
mod retention;
mod schedule;
mod schema;
mod set;
#[cfg(test)]
mod tests;
mod values;
mod yaml;

pub use model::check::{CheckedEntryKind, DrillCheck, Expectation};
pub use model::copy::CopyJob;
pub use model::drill::{Drill, DrillBudget};
pub use model::host::{HostRole, PolicyHost};
pub use model::mysql::{LogArchive, PolicyMysqlSource, TlsMode};
pub use model::policy::Policy;
pub use model::repository::{PolicyCreation, PolicyLockMode, PolicyRepository, SignerKey};
pub use model::schedules::maintenance::Maintenance;
pub use model::scratch_server::{DrillQuery, ExpectedValue, LogReplay, ScratchServer};
pub use model::source::{
    PolicyCommandSource, PolicySource, PolicySourceKind, PolicyTfStateSource, PolicyVolumeSource,
};
pub use reprise_times::{TimeZone, TimeZoneData};
pub use retention::{
    Candidate, DegradedStreak, HOLD_TAG, Hold, KeepReason, Retention, RetentionDecision,
    RetentionOptions, RetentionPause, RetentionVerdict, decide_retention, leaves_nothing,
};
pub use schedule::{
    CatchUp, CronExpression, CronExpressionError, DailyWindow, OverlapRule, Schedule,
    ScheduleTiming, Slot,
};
pub use schema::json_schema::json_schema;
pub use set::policy_set::PolicySet;
pub use set::select::SelectError;
pub use values::location::RepositoryLocation;
pub use values::names::nearest_name;
pub use values::secret::{
    IdentityRef, ProcessEnvironment, SecretEnvironment, SecretError, SecretRef, SecretString,
};
pub use values::units::{
    Percent, UnitError, parse_duration, parse_percent, parse_rate, parse_size,
};
pub use yaml::error::{PolicyError, PolicyErrors, PolicyWarning};
