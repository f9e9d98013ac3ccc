//! What a log segment's record states about its content.

use std::fmt;

use reprise_repository::{LogSegmentKey, LogSegmentRecord};
use serde::{Deserialize, Serialize};

use crate::binlog::{FilePosition, Gtid, GtidSet, LoggedTransaction, MariadbPosition};
use crate::log_time::LogTime;
use crate::manifest::Flavour;

/// Which transactions precede a position in a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecutedSet {
    /// MySQL with GTIDs: this set.
    Mysql(GtidSet),
    /// MariaDB: everything up to this position in each domain.
    Mariadb(MariadbPosition),
    /// Transactions have no GTIDs; only the position in the files tells.
    Unnumbered,
}

impl ExecutedSet {
    /// Whether it contains a transaction. Unknown without GTIDs.
    #[must_use]
    pub fn contains_gtid(&self, gtid: &Gtid) -> bool {
        match self {
            Self::Mysql(set) => set.contains_gtid(gtid),
            Self::Mariadb(position) => position.contains_gtid(gtid),
            Self::Unnumbered => false,
        }
    }

    /// Adds a transaction.
    pub fn add_gtid(&mut self, gtid: &Gtid) {
        match self {
            Self::Mysql(set) => set.insert_gtid(gtid),
            Self::Mariadb(position) => position.advance_to(gtid),
            Self::Unnumbered => {}
        }
    }

    /// Whether all of them are in the other set; `None` when the two are not comparable.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (Self::Mysql(a), Self::Mysql(b)) => Some(a.is_within(b)),
            (Self::Mariadb(a), Self::Mariadb(b)) => Some(a.is_within(b)),
            _ => None,
        }
    }
}

impl fmt::Display for ExecutedSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mysql(set) if set.is_empty() => f.write_str("(none)"),
            Self::Mysql(set) => set.fmt(f),
            Self::Mariadb(position) if position.is_empty() => f.write_str("(none)"),
            Self::Mariadb(position) => position.fmt(f),
            Self::Unnumbered => f.write_str("(without GTIDs)"),
        }
    }
}

/// A position in a server's history, between two transactions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinlogPosition {
    /// The transactions before it.
    pub coverage: ExecutedSet,
    /// The file of the binary log.
    pub file: Option<String>,
    /// The position in the file, in bytes.
    pub position: u64,
}

impl BinlogPosition {
    /// The position in the server's files.
    #[must_use]
    pub fn file_position(&self) -> FilePosition {
        FilePosition {
            file: self.file.clone(),
            position: self.position,
        }
    }
}

impl fmt::Display for BinlogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.coverage, &self.file) {
            (ExecutedSet::Unnumbered, Some(file)) => write!(f, "{file}:{}", self.position),
            (coverage, _) => coverage.fmt(f),
        }
    }
}

/// Why a log segment is not connected with its predecessor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogGap {
    /// What happened, for people.
    pub reason: String,
    /// Where the archive ended before.
    pub after: BinlogPosition,
}

/// What a log segment states about its content. Stored in its signed record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentFacts {
    /// MySQL or MariaDB.
    pub flavour: Flavour,
    /// The server's version, as the server reports it.
    pub server_version: String,
    /// The server's UUID; MariaDB has none.
    pub server_uuid: Option<String>,
    /// The server's `server_id`.
    pub server_id: u32,
    /// The first segment of the log chain that this segment belongs to.
    pub chain: u64,
    /// Why that chain is not connected with the previous one; only in its first segment.
    pub gap: Option<LogGap>,
    /// Since when, by the server's clock, this history applies: before, there was another, which may have given the same
    /// GTIDs to other transactions.
    #[serde(default)]
    pub since: Option<LogTime>,
    /// Creation time, in seconds since 1970, of the file in which it ends: it differs between two files of one name.
    #[serde(default)]
    pub file_begun: Option<u32>,
    /// When it was finished, by the server's clock.
    #[serde(default)]
    pub at: Option<LogTime>,
    /// It has transactions for which no snapshot tells whether it contains them.
    #[serde(default)]
    pub ambiguous: bool,
    /// The position before its first transaction.
    pub from: BinlogPosition,
    /// The position after the last transaction that is complete in it.
    pub to: BinlogPosition,
    /// The first transaction that ends in it.
    pub first: Option<LoggedTransaction>,
    /// The last transaction that ends in it.
    pub last: Option<LoggedTransaction>,
    /// Earliest and latest commit in it.
    pub times: Option<(LogTime, LogTime)>,
    /// How many transactions end in it.
    pub transactions: u64,
    /// How many events begin in it.
    pub events: u64,
    /// Its bytes continue the transaction that its predecessor left open.
    pub continues: bool,
    /// How many bytes at its end belong to a transaction that does not end in it.
    pub open: u64,
    /// Everything committed until then, by the server's clock, is archived.
    pub until: Option<LogTime>,
    /// What may make a restore fail.
    pub notes: Vec<String>,
}

impl SegmentFacts {
    /// Reads them from a record.
    ///
    /// # Errors
    /// What cannot be parsed.
    pub fn from_record(record: &LogSegmentRecord) -> Result<Self, String> {
        serde_json::from_value(record.facts.clone()).map_err(|error| error.to_string())
    }
}

/// A log segment with its record and facts.
#[derive(Debug, Clone)]
pub struct StoredSegment {
    /// Its storage key.
    pub key: LogSegmentKey,
    /// Its record.
    pub record: LogSegmentRecord,
    /// What it states about its content.
    pub facts: SegmentFacts,
}
