//! What to back up, when, for how long: the policy file, its validation and its retention rules.
//!
//! Architecture invariant: this crate decides and never acts. It has no clock, no network and no runtime; what it
//! needs from outside (environment variables, secret files) comes through [`SecretEnvironment`], and only
//! [`PolicySet::load`] reads policy files from disk.
//!
//! The steps for a file: `document` turns text into a tree with positions, `table` says which keys exist, `decoder`
//! reads the tree by that table, `policy`, `repository`, `source`, `mysql`, `copy`, `drill` and `check` interpret it,
//! `lint` looks for what is allowed but unwise. [`json_schema()`] prints the same table for editors, so the two cannot
//! disagree.

mod check;
mod copy;
mod decoder;
mod document;
mod drill;
mod error;
mod excerpt;
mod lint;
mod lint_mysql;
mod lint_storage;
mod location;
mod mysql;
mod mysql_url;
mod names;
mod paths;
mod policy;
mod report;
mod repository;
mod retention;
mod schema;
mod scratch_server;
mod secret;
mod select;
mod set;
mod source;
mod table;
mod table_drill;
mod table_mysql;
mod units;

#[cfg(test)]
mod tests;

pub use check::{CheckedEntryKind, DrillCheck, Expectation};
pub use chrono_tz::Tz;
pub use copy::CopyJob;
pub use drill::{Drill, DrillBudget};
pub use error::{PolicyError, PolicyErrors, PolicyWarning};
pub use location::{LocationError, RepositoryUrl};
pub use mysql::{LogArchive, PolicyMysqlSource, TlsMode};
pub use policy::Policy;
pub use repository::{PolicyCreation, PolicyLockMode, PolicyRepository, SignerKey};
pub use retention::{
    Candidate, HOLD_TAG, Hold, KeepReason, Retention, RetentionDecision, RetentionOptions,
    RetentionPause, RetentionVerdict, decide_retention, leaves_nothing,
};
pub use schema::json_schema;
pub use scratch_server::{DrillQuery, ExpectedValue, LogReplay, ScratchServer};
pub use secret::{
    IdentityRef, ProcessEnvironment, SecretEnvironment, SecretError, SecretRef, SecretString,
};
pub use select::SelectError;
pub use set::PolicySet;
pub use source::{
    PolicyCommandSource, PolicySource, PolicySourceKind, PolicyTfStateSource, PolicyVolumeSource,
};
pub use units::{Percent, UnitError, parse_duration, parse_percent, parse_rate, parse_size};
