//! Options, plan and summary of a restore into a server.

use reprise_mysql::Address;
use reprise_repository::{Outcome, Warning};
use serde::Serialize;

use crate::mysql::pitr::roll_forward::{RollForwardPlan, RollForwardReport};

/// How a restored table is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyLevel {
    /// Nothing.
    None,
    /// By its number of rows.
    Counts,
    /// By every row, read again.
    Checksums,
}

/// Which accounts are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountSelection {
    /// None.
    None,
    /// Those that the target does not have. Existing ones stay unchanged.
    Missing,
}

/// What to restore, and where to.
#[derive(Debug, Clone)]
pub struct MysqlRestoreOptions {
    /// The target.
    pub address: Address,
    /// Databases, each with its new name if it gets one; empty: all, unless tables are named.
    pub databases: Vec<(String, Option<String>)>,
    /// Tables, each with its database.
    pub tables: Vec<(String, String)>,
    /// The number of connections that load.
    pub connections: usize,
    /// What is compared afterwards.
    pub verify: VerifyLevel,
    /// Continue an interrupted restore of the same snapshot.
    pub resume: bool,
    /// Drop conflicting objects: whole databases, or named tables.
    pub overwrite: bool,
    /// Accounts; `None`: missing ones when everything is restored.
    pub users: Option<AccountSelection>,
    /// Let the target write restored data to its binary log.
    pub write_binlog: bool,
    /// The definer of views, routines, triggers and events, as `user@host`; `None`: the original one.
    pub definer: Option<String>,
    /// Disable the redo log while loading. If the server crashes meanwhile, it is lost as a whole.
    pub without_redo_log: bool,
}

/// A table of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedTable {
    /// Its database at the target.
    pub database: String,
    /// The table.
    pub table: String,
    /// Its rows.
    pub rows: u64,
}

/// What a restore is going to do.
#[derive(Debug, Clone, Serialize)]
pub struct MysqlRestorePlan {
    /// Which server, without a password.
    pub target: String,
    /// Its version.
    pub target_version: String,
    /// The tables.
    pub tables: Vec<PlannedTable>,
    /// The number of views, routines, triggers and events.
    pub objects: usize,
    /// The number of accounts that may be created.
    pub accounts: usize,
    /// What is dropped first.
    pub dropped: Vec<String>,
    /// Why the target cannot hold the snapshot. With any of these nothing is written.
    pub problems: Vec<String>,
    /// What will differ.
    pub warnings: Vec<String>,
    /// The log that is replayed afterwards.
    #[serde(rename = "roll_forward")]
    pub forward: Option<RollForwardPlan>,
}

/// The summary of a restore.
#[derive(Debug, Clone, Serialize)]
pub struct MysqlRestoreReport {
    /// `ok`, or `degraded` when something named could not be restored as it was.
    pub outcome: Outcome,
    /// Tables restored.
    pub tables: usize,
    /// Their rows.
    pub rows: u64,
    /// What could not be restored as it was.
    pub warnings: Vec<Warning>,
    /// How tables were compared.
    pub verified: VerifyLevel,
    /// What differs from the snapshot.
    pub differences: Vec<String>,
    /// What was replayed afterwards.
    #[serde(rename = "roll_forward")]
    pub forward: Option<RollForwardReport>,
}
