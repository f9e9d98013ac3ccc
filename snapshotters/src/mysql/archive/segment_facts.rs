//! What a piece of a log archive says of its content.

use std::fmt;

use reprise_repository::{LogSegmentKey, LogSegmentRecord};
use serde::{Deserialize, Serialize};

use crate::mysql::binlog::{FilePosition, Gtid, GtidSet, LoggedTransaction, MariadbPosition};
use crate::mysql::manifest::Flavour;

/// Which transactions are before a place in a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecutedSet {
    /// MySQL with numbers: this set.
    Mysql(GtidSet),
    /// MariaDB: everything up to here in each domain.
    Mariadb(MariadbPosition),
    /// Transactions have no numbers; only the place in the files tells.
    Unnumbered,
}

impl ExecutedSet {
    /// Whether a transaction is among them. Without numbers nobody knows.
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

    /// Whether all of them are among the other's; `None` when they cannot be compared.
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

/// A place in a server's history, between two transactions.
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
    /// Where it is in the server's files.
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

/// Why nothing connects a piece with the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogGap {
    /// What happened, for people.
    pub reason: String,
    /// Where the archive had been.
    pub after: BinlogPosition,
}

/// What a piece says of its content. Stored in its signed record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentFacts {
    /// Which family of servers.
    pub flavour: Flavour,
    /// The server's version, in its own words.
    pub server_version: String,
    /// The server's number; MariaDB has none.
    pub server_uuid: Option<String>,
    /// The server's short number.
    pub server_id: u32,
    /// The piece with which the unbroken stretch of log begins that this one is a part of.
    pub chain: u64,
    /// Why that stretch is not connected with what was before; only in its first piece.
    pub gap: Option<LogGap>,
    /// Since when, in microseconds since 1970 by the server's clock, the history is this one: before, it was another,
    /// which may have given the same numbers to other transactions.
    #[serde(default)]
    pub since: Option<u64>,
    /// When the file in which it ends was begun, in seconds since 1970: two files of one name differ in it.
    #[serde(default)]
    pub file_begun: Option<u32>,
    /// When it was finished, in microseconds since 1970 by the server's clock.
    #[serde(default)]
    pub at: Option<u64>,
    /// It has transactions of which no snapshot tells whether it has them.
    #[serde(default)]
    pub ambiguous: bool,
    /// The place before its first transaction.
    pub from: BinlogPosition,
    /// The place after the last transaction that is complete in it.
    pub to: BinlogPosition,
    /// The first transaction that ends in it.
    pub first: Option<LoggedTransaction>,
    /// The last transaction that ends in it.
    pub last: Option<LoggedTransaction>,
    /// Earliest and latest commit in it, in microseconds since 1970.
    pub times: Option<(u64, u64)>,
    /// How many transactions end in it.
    pub transactions: u64,
    /// How many events begin in it.
    pub events: u64,
    /// Its bytes continue the transaction that the piece before it has left open.
    pub continues: bool,
    /// So many bytes at its end belong to a transaction that does not end in it.
    pub open: u64,
    /// Whatever was committed until then, in microseconds since 1970 by the server's clock, is archived.
    pub until: Option<u64>,
    /// What a restore may stumble over.
    pub notes: Vec<String>,
}

impl SegmentFacts {
    /// Reads them from a record.
    ///
    /// # Errors
    /// What cannot be understood.
    pub fn from_record(record: &LogSegmentRecord) -> Result<Self, String> {
        serde_json::from_value(record.facts.clone()).map_err(|error| error.to_string())
    }
}

/// A piece, and what it says of itself.
#[derive(Debug, Clone)]
pub struct StoredSegment {
    /// Where it is.
    pub key: LogSegmentKey,
    /// What it says of itself.
    pub record: LogSegmentRecord,
    /// What it says of its content.
    pub facts: SegmentFacts,
}
