//! What a restore into a server is asked to do, and what it says about it.

use reprise_repository::{Outcome, Warning};
use reprise_snapshotters::mysql::Address;
use serde::Serialize;

use super::roll_forward::{RollForwardPlan, RollForwardReport};

/// What a restored table is compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyLevel {
    /// Nothing.
    None,
    /// How many rows it has.
    Counts,
    /// Every row, read again.
    Checksums,
}

/// Which accounts are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountSelection {
    /// None.
    None,
    /// Those that the target does not have. Others stay as they are.
    Missing,
}

/// What to bring back, and where to.
#[derive(Debug, Clone)]
pub struct MysqlRestoreOptions {
    /// The target.
    pub address: Address,
    /// Databases, each with its new name if it gets one; empty: all, unless tables are named.
    pub databases: Vec<(String, Option<String>)>,
    /// Tables, each with its database.
    pub tables: Vec<(String, String)>,
    /// How many connections load.
    pub connections: usize,
    /// What is compared afterwards.
    pub verify: VerifyLevel,
    /// Continue an interrupted restore of the same snapshot.
    pub resume: bool,
    /// Drop what is in the way: whole databases, or named tables.
    pub overwrite: bool,
    /// Accounts; `None`: missing ones when everything is restored.
    pub users: Option<AccountSelection>,
    /// Let the target write what is restored to its binary log.
    pub write_binlog: bool,
    /// Who owns views, routines, triggers and events, as `user@host`; `None`: whoever did.
    pub definer: Option<String>,
    /// Do without the redo log while loading. If the server dies meanwhile, it is lost as a whole.
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
    /// How many views, routines, triggers and events.
    pub objects: usize,
    /// How many accounts may be made.
    pub accounts: usize,
    /// What is dropped first.
    pub dropped: Vec<String>,
    /// Why it will not fit. With any of these nothing is written.
    pub problems: Vec<String>,
    /// What will be different.
    pub warnings: Vec<String>,
    /// The log that is replayed afterwards.
    #[serde(rename = "roll_forward")]
    pub forward: Option<RollForwardPlan>,
}

/// What a restore did.
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
    /// By what tables were compared.
    pub verified: VerifyLevel,
    /// What differs from the snapshot.
    pub differences: Vec<String>,
    /// What was replayed afterwards.
    #[serde(rename = "roll_forward")]
    pub forward: Option<RollForwardReport>,
}
