//! The recovery target: the point in time to which a server is restored.

use reprise_mysql::binlog::Gtid;
use reprise_repository::Snapshot;

/// The recovery target.
#[derive(Debug, Clone)]
pub enum RecoveryTarget {
    /// Everything that was committed at or before this time, in microseconds since 1970.
    Time(u64),
    /// Everything before this transaction.
    BeforeGtid(Gtid),
    /// Everything that is archived.
    Latest,
    /// Exactly the state of a later snapshot, to be compared with it.
    Snapshot(Box<Snapshot>),
}

/// How a restored server is rolled forward.
#[derive(Debug, Clone)]
pub struct PointInTimeOptions {
    /// The recovery target.
    pub target: RecoveryTarget,
    /// Transactions that are left out.
    pub skip: Vec<Gtid>,
    /// Every transaction keeps its GTID, in the target's own log, for replicas to follow.
    pub keep_gtids: bool,
    /// Account changes of the log are left out.
    pub skip_account_changes: bool,
}
