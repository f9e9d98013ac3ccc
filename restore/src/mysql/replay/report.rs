//! The summary of a replay.

use reprise_mysql::binlog::{Gtid, LoggedTransaction};
use reprise_mysql::log::ExecutedSet;

/// The summary of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayReport {
    /// Transactions that were applied, including those of the interrupted replay that this one resumed.
    pub applied: u64,
    /// Events with rows, and statements, in them.
    pub events: u64,
    /// The last transaction that was applied.
    pub last_applied: Option<LoggedTransaction>,
    /// The transaction at which it stopped.
    pub stopped_before: Option<LoggedTransaction>,
    /// Out-of-order transactions: after that one, but committed before the time at which it stopped. Only those shortly
    /// after it are examined: clocks are set back by little.
    pub out_of_order: Vec<LoggedTransaction>,
    /// Transactions that were left out on request.
    pub skipped: Vec<Gtid>,
    /// The resulting executed set of the server.
    pub executed: ExecutedSet,
    /// Warnings.
    pub warnings: Vec<String>,
}
