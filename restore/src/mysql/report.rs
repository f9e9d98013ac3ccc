//! Plans and reports of a restore into a server.

use reprise_mysql::binlog::LoggedTransaction;
use reprise_mysql::log::LogTime;
use reprise_repository::{Outcome, Warning};
use serde::Serialize;

use crate::mysql::options::VerifyLevel;

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

/// The plan of a replay.
#[derive(Debug, Clone, Serialize)]
pub struct RollForwardPlan {
    /// The recovery target, in words.
    #[serde(rename = "recovery_target")]
    pub moment: String,
    /// Log segments that are read.
    #[serde(rename = "log_segments")]
    pub pieces: usize,
    /// Their bytes.
    pub log_bytes: u64,
    /// Transactions in them, at most.
    pub transactions: u64,
    /// What is not restored.
    #[serde(rename = "not_restored")]
    pub lost: String,
    /// The estimated duration of everything, in seconds.
    #[serde(rename = "estimated_seconds")]
    pub seconds: u64,
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

/// The summary of a replay.
#[derive(Debug, Clone, Serialize)]
pub struct RollForwardReport {
    /// The recovery target, in words.
    #[serde(rename = "recovery_target")]
    pub moment: String,
    /// Transactions that were applied.
    pub transactions: u64,
    /// The last one.
    pub last_applied: Option<TransactionSummary>,
    /// The one before which it stopped.
    pub stopped_before: Option<TransactionSummary>,
    /// Transactions that were left out.
    pub skipped: Vec<String>,
    /// All transactions that the server now has.
    pub executed: Option<String>,
    /// The snapshot with whose checksums every table was compared afterwards.
    pub compared_with: Option<String>,
}

/// A transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TransactionSummary {
    /// Its GTID.
    pub gtid: String,
    /// When it was committed.
    #[serde(serialize_with = "serialize_in_utc")]
    pub committed: LogTime,
}

impl TransactionSummary {
    pub(crate) fn from_transaction(ended: &LoggedTransaction) -> Self {
        Self {
            gtid: ended.gtid.to_string(),
            committed: ended.committed,
        }
    }
}

fn serialize_in_utc<S: serde::Serializer>(
    time: &LogTime,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_utc_text())
}
