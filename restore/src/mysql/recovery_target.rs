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

impl RecoveryTarget {
    /// The same text for the same target, wherever the restore is resumed.
    pub(crate) fn to_stable_text(&self) -> String {
        match self {
            Self::Time(time) => time.to_utc_text(),
            Self::BeforeGtid(gtid) => format!("before {gtid}"),
            Self::Latest => "the end of the archived log".to_owned(),
            Self::Snapshot(snapshot) => format!(
                "snapshot {} ({})",
                snapshot.id.short(),
                LogTime::from(snapshot.root.data_time).to_utc_text()
            ),
        }
    }
}

impl fmt::Display for RecoveryTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => f.write_str(&time.show()),
            Self::BeforeGtid(gtid) => write!(f, "before {gtid}"),
            Self::Latest => f.write_str("the end of the archived log"),
            Self::Snapshot(snapshot) => write!(
                f,
                "snapshot {} ({})",
                snapshot.id.short(),
                LogTime::from(snapshot.root.data_time).show()
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
