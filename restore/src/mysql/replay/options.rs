//! Options of a replay.

use std::sync::Arc;

use reprise_mysql::Address;
use reprise_mysql::binlog::Gtid;
use reprise_mysql::log::{ExecutedSet, LogTime};
use reprise_repository::Progress;

use crate::mysql::recovery_target::RecoveryTarget;

/// The options of a replay.
#[derive(Debug)]
pub struct ReplayOptions<'a> {
    /// The server.
    pub address: &'a Address,
    /// Identifies this replay; a resumed one must have the same.
    pub fingerprint: &'a str,
    /// How the transactions' GTIDs are treated.
    pub mode: ReplayMode,
    /// The executed set of the server.
    pub executed: ExecutedSet,
    /// Of those, transactions that are applied nevertheless: they were only prepared, and their rows do not exist.
    pub reapply: &'a [Gtid],
    /// Until when account statements may be included in the snapshot already: accounts are read after the consistent
    /// snapshot of its rows.
    pub accounts_until: LogTime,
    /// The names of the accounts that the snapshot has.
    pub accounts: &'a [String],
    /// Whether account changes of the log are left out.
    pub skip_account_changes: bool,
    /// Where it stops.
    pub target: &'a RecoveryTarget,
    /// Transactions that are left out.
    pub skip: &'a [Gtid],
    /// The number of sessions that apply transactions in parallel, where GTIDs are kept.
    pub connections: usize,
    /// Whether the server writes replayed transactions to its own log.
    pub write_binlog: bool,
    /// Progress counters, and cancellation.
    pub progress: &'a Arc<Progress>,
}

/// How the transactions' GTIDs are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayMode {
    /// Many transactions become one: by far the fastest.
    Merged,
    /// Each keeps its GTID, in the server's own log.
    KeepGtids,
}
