//! Restores a MySQL or MariaDB server: rows first, then keys, then everything that runs by itself, then the comparison
//! with the snapshot.
//!
//! ```text
//! preflight ─► databases, accounts ─► tables ─► rows and keys (several connections) ─► foreign keys ─►
//! routines, views, triggers ─► comparison ─► grants, views that need them, events
//! ```
//!
//! `plan` and `execute` are the entry, with the types `options`, `recovery_target` and `report`. `load` loads a snapshot,
//! `pitr` finds the way to a point in time, `replay` applies the log. `restore_state` has the steps done, kept at the
//! target, `fingerprint` says whose they are.

mod execute;
mod fingerprint;
mod load;
mod options;
mod pitr;
mod plan;
mod recovery_target;
pub mod replay;
mod report;
pub(crate) mod restore_state;

pub use execute::{restore, restore_point_in_time};
pub use load::opened_snapshot::list_snapshot_tables;
pub use options::{AccountSelection, MysqlRestoreOptions, VerifyLevel};
pub use pitr::{RecoveryCatalog, RecoveryPath, RecoveryWindow};
pub use plan::{plan_point_in_time, plan_restore};
pub use recovery_target::{PointInTimeOptions, RecoveryTarget};
pub use report::{
    MysqlRestorePlan, MysqlRestoreReport, PlannedTable, RollForwardPlan, RollForwardReport,
    TransactionSummary,
};
