//! What is known of a transaction before it is applied, and how it ends.

use reprise_mysql::Bytes;
use reprise_mysql::binlog::{Gtid, TransactionStart};
use reprise_mysql::log::LogTime;

use crate::mysql::replay::pending_change::PendingChange;
use crate::mysql::replay::statement::LoggedStatement;

/// A transaction, before it is applied.
#[derive(Debug, Clone)]
pub(crate) struct TransactionContext {
    pub(crate) gtid: Gtid,
    pub(crate) committed: Option<LogTime>,
    /// Its description in the log.
    pub(crate) start: Option<TransactionStart>,
    /// Its position in the events.
    pub(crate) index: u64,
    /// The format of its events.
    pub(crate) format: Bytes,
    /// Whether it has a begin and a commit.
    pub(crate) group: bool,
    /// The part of it that cannot share a transaction with the checkpoint.
    pub(crate) non_atomic: Option<NonAtomicStatement>,
    /// Its XID, if it is an XA transaction.
    pub(crate) xid: Option<String>,
    /// The pending change that an interrupted attempt recorded of it.
    pub(crate) pending: Option<PendingChange>,
}

impl TransactionContext {
    /// Its sequence number in the commit order; 0 when the log has none.
    pub(crate) fn sequence_number(&self) -> u64 {
        self.start.as_ref().map_or(0, |start| start.sequence_number)
    }

    /// The sequence number up to which everything must be applied before it.
    pub(crate) fn last_committed(&self) -> u64 {
        self.start.as_ref().map_or(0, |start| start.last_committed)
    }
}

/// Why something cannot share a transaction with the checkpoint.
#[derive(Debug, Clone)]
pub(crate) enum NonAtomicStatement {
    /// It is DDL.
    Ddl(Box<LoggedStatement>),
    /// A table is not transactional.
    NontransactionalRows,
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransactionEnding {
    Commit,
    Rollback,
    /// It is a single statement.
    Autocommit,
    /// The first phase is done: XA PREPARE.
    Prepare,
    /// Both phases are done.
    OnePhase,
}
