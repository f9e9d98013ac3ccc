//! Options of a restore into a server.

use reprise_mysql::Address;
use serde::Serialize;

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
