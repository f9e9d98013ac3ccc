//! The recovery target: the point in time to which a server is restored. It is the same from the command line down to
//! the replay, which stops there.

use std::fmt;

use reprise_mysql::binlog::Gtid;
use reprise_mysql::log::LogTime;
use reprise_repository::Snapshot;

/// The recovery target.
#[derive(Debug, Clone)]
pub enum RecoveryTarget {
    /// Everything that was committed at or before this time.
    Time(LogTime),
    /// Everything before this transaction.
    BeforeGtid(Gtid),
    /// Everything that is archived.
    Latest,
    /// Exactly the state of a later snapshot, to be compared with it.
    Snapshot(Box<Snapshot>),
}

impl fmt::Display for RecoveryTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => time.fmt(f),
            Self::BeforeGtid(gtid) => write!(f, "before {gtid}"),
            Self::Latest => f.write_str("the end of the archived log"),
            Self::Snapshot(snapshot) => write!(
                f,
                "snapshot {} ({})",
                snapshot.id.short(),
                LogTime::from(snapshot.root.data_time)
            ),
        }
    }
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
