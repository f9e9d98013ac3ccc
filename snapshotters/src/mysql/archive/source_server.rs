//! What a server reports about its log: its files, its transactions, its clock.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use reprise_mysql::binlog::{FILE_START, GtidSet, MariadbPosition, file_number};
use reprise_mysql::log::{BinlogPosition, CLOCK_SKEW_MAX, ExecutedSet, LogTime};
use reprise_mysql::sql::quote_text;
use reprise_mysql::{DatabaseError, Flavour, Session};

use super::replication::{self, UnloggedChanges};
use crate::mysql::dump::consistent_snapshot::read_server_time;

/// Transactions get their commit time before they are in the log. The time that an idle server confirms is this much
/// earlier.
const COMMIT_DELAY: Duration = Duration::from_secs(5);

/// An encrypted log file is longer than its positions by this many bytes.
const ENCRYPTION_HEADER_BYTES: u64 = 512;

/// A server, as far as its log is concerned.
#[derive(Debug, Clone)]
pub(super) struct SourceServer {
    pub(super) flavour: Flavour,
    pub(super) version: String,
    pub(super) uuid: Option<String>,
    pub(super) id: u32,
    /// The transactions that are no longer in any file.
    pub(super) purged: ExecutedSet,
    /// All transactions.
    pub(super) executed: ExecutedSet,
    /// The existing files, with their sizes.
    pub(super) files: Vec<(String, u64)>,
    /// Its clock, right before its transactions were queried.
    pub(super) time: DateTime<Utc>,
    pub(super) clock: ServerClock,
    /// Whether commits may be late by their own times: MariaDB keeps the commit times of the server from which a
    /// transaction was replicated.
    pub(super) may_commit_late: bool,
    /// What may make a restore fail.
    pub(super) notes: Vec<String>,
}

/// A server's clock at some time, and the same time by a monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerClock {
    pub(super) time: DateTime<Utc>,
    queried_at: Instant,
}

/// Up to where a server has sent its log, or has skipped what was not requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SentPosition {
    pub(super) file: String,
    /// The lower 32 bits of the position in the file.
    pub(super) position: u32,
}

/// Why a server has no log to archive.
#[derive(Debug)]
pub(super) enum LogUnavailable {
    BinlogDisabled,
    /// Replicated changes are not in its log; the variable that changes that.
    ReplicaUpdatesOff(&'static str),
    Database(DatabaseError),
}

impl From<DatabaseError> for LogUnavailable {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl SourceServer {
    /// Asks the server. `host_time` tells the time of this host, once the server has told its own.
    pub(super) fn query(
        session: &mut Session,
        host_time: fn() -> DateTime<Utc>,
    ) -> Result<Self, LogUnavailable> {
        let row = session.query_row("SELECT VERSION(), @@GLOBAL.log_bin, @@GLOBAL.server_id, @@GLOBAL.binlog_format, @@GLOBAL.binlog_row_image")?;
        if row.text(1) != Some("1") {
            return Err(LogUnavailable::BinlogDisabled);
        }
        let version = row.string(0);
        let flavour = Flavour::from_version(&version);
        let mut notes = Vec::new();
        let replicates = replication::query_replication(session, flavour)?;
        match replicates.unlogged_changes(flavour) {
            UnloggedChanges::None => {}
            UnloggedChanges::Unknown(variable) => notes.push(format!(
                "{variable} is off: if the server is a replica, the changes that it replicates are not in its binary log"
            )),
            UnloggedChanges::All(variable) => return Err(LogUnavailable::ReplicaUpdatesOff(variable)),
        }
        // Before the transactions are queried: later commits are not among them.
        let time = read_server_time(session)?;
        let clock = ServerClock {
            time,
            queried_at: Instant::now(),
        };
        let files = list_binary_logs(session)?;
        let (uuid, floor, now) = match flavour {
            Flavour::Mariadb => query_mariadb_history(session, &files)?,
            Flavour::Mysql => query_mysql_history(session)?,
        };
        if row.text(3) != Some("ROW") {
            notes.push(format!("binlog_format is {}: statements whose result depends on when they run cannot be replayed exactly; set binlog_format=ROW", row.string(3)));
        }
        let ahead = time - host_time();
        if ahead.to_std().is_ok_and(|ahead| ahead > CLOCK_SKEW_MAX) {
            notes.push(format!(
                "the server's clock is {} s ahead of this host's: commit times are the server's, and the archive counts as complete only up to this host's time",
                ahead.num_seconds()
            ));
        }
        if !matches!(row.text(4), Some("FULL" | "FULL_NODUP")) {
            notes.push(format!(
                "binlog_row_image is {}: a replay does not notice rows that differ on the target; set binlog_row_image=FULL",
                row.string(4)
            ));
        }
        Ok(Self {
            may_commit_late: flavour == Flavour::Mariadb && replicates.may_be_replica(),
            flavour,
            version,
            uuid,
            id: row.number(2).unwrap_or_default(),
            purged: floor,
            executed: now,
            files,
            time,
            clock,
            notes,
        })
    }

    /// The server's clock, unless it was set since the query.
    pub(super) fn clock(&self) -> DateTime<Utc> {
        self.clock.time + self.clock.queried_at.elapsed()
    }

    /// Takes the clock from a later query.
    pub(super) fn set_clock(&mut self, later: &Self) {
        self.clock = later.clock;
    }

    /// How long ago the server was queried.
    pub(super) fn query_age(&self) -> Duration {
        self.clock.queried_at.elapsed()
    }

    /// Until when a copy of all its transactions is complete.
    pub(super) fn complete_until(&self) -> Option<LogTime> {
        (!self.may_commit_late).then(|| LogTime::from(self.time) - COMMIT_DELAY)
    }

    /// Whether nothing is being written after what it has sent, by the position at which it reports nothing new.
    pub(super) fn is_idle_after(&self, sent: &SentPosition) -> bool {
        self.files.last().is_some_and(|(file, size)| {
            // Only the lower 32 bits are sent.
            *file == sent.file && *size as u32 == sent.position
        })
    }

    /// Whether another query reached the same server.
    pub(super) fn is_same_server(&self, other: &Self) -> bool {
        (self.flavour, &self.uuid, self.id) == (other.flavour, &other.uuid, other.id)
    }

    /// Right before the oldest transaction that the server still has.
    pub(super) fn oldest_position(&self) -> BinlogPosition {
        BinlogPosition {
            coverage: self.purged.clone(),
            file: self.files.first().map(|(file, _)| file.clone()),
            position: FILE_START,
        }
    }

    /// After everything in the log.
    pub(super) fn newest_position(&self) -> BinlogPosition {
        let last = self.files.last();
        BinlogPosition {
            coverage: self.executed.clone(),
            file: last.map(|(file, _)| file.clone()),
            position: last.map_or(FILE_START, |(_, size)| *size),
        }
    }

    /// Whether a position is at or after everything that the server had when queried. Neither a heartbeat nor the end
    /// of a stream proves that: the server sends both while it searches for the start, or is forced to end the stream.
    pub(super) fn is_reached(&self, place: &BinlogPosition) -> bool {
        match (self.executed.is_within(&place.coverage), self.files.last()) {
            (Some(within), _) => within,
            (None, Some((newest, size))) => {
                let number = place.file.as_deref().and_then(file_number);
                let newest = file_number(newest);
                number > newest || number == newest && place.position >= *size
            }
            (None, None) => false,
        }
    }

    /// The oldest file.
    pub(super) fn oldest_file(&self) -> Option<&str> {
        self.files.first().map(|(name, _)| name.as_str())
    }

    /// The file of a position, if the server has one of that name.
    pub(super) fn existing_file<'a>(&self, place: &'a BinlogPosition) -> Option<&'a str> {
        let file = place.file.as_deref()?;
        self.files
            .iter()
            .any(|(name, _)| name == file)
            .then_some(file)
    }
}

fn list_binary_logs(session: &mut Session) -> Result<Vec<(String, u64)>, DatabaseError> {
    let rows = session.query_rows("SHOW BINARY LOGS")?;
    rows.iter()
        .map(|row| {
            let size: u64 = row.number(1).ok_or_else(|| {
                DatabaseError::UnexpectedResponse(format!(
                    "SHOW BINARY LOGS gives no size for {}",
                    row.string(0)
                ))
            })?;
            let header = match row.text(2) {
                Some("Yes") => ENCRYPTION_HEADER_BYTES,
                _ => 0,
            };
            Ok((row.string(0), size.saturating_sub(header)))
        })
        .collect()
}

/// Its UUID, the purged transactions, and all executed ones.
type GtidHistory = (Option<String>, ExecutedSet, ExecutedSet);

fn query_mysql_history(session: &mut Session) -> Result<GtidHistory, DatabaseError> {
    // Purged is queried first: it only grows.
    let row = session
        .query_row("SELECT @@GLOBAL.gtid_mode, @@GLOBAL.gtid_purged, @@GLOBAL.server_uuid")?;
    let uuid = Some(row.string(2));
    if row.text(0) != Some("ON") {
        return Ok((uuid, ExecutedSet::Unnumbered, ExecutedSet::Unnumbered));
    }
    let now = session.query_row("SELECT @@GLOBAL.gtid_executed")?;
    let set = |text: &str| {
        text.parse::<GtidSet>()
            .map(ExecutedSet::Mysql)
            .map_err(DatabaseError::UnexpectedResponse)
    };
    Ok((uuid, set(&row.string(1))?, set(&now.string(0))?))
}

fn query_mariadb_history(
    session: &mut Session,
    files: &[(String, u64)],
) -> Result<GtidHistory, DatabaseError> {
    let position = |text: &str| {
        text.parse::<MariadbPosition>()
            .map(ExecutedSet::Mariadb)
            .map_err(DatabaseError::UnexpectedResponse)
    };
    let first = files
        .first()
        .map(|(file, _)| quote_text(file))
        .unwrap_or_default();
    let floor = session.query_row(format!("SELECT BINLOG_GTID_POS({first}, {FILE_START})"))?;
    let now = session.query_row("SELECT @@GLOBAL.gtid_binlog_pos")?;
    Ok((None, position(&floor.string(0))?, position(&now.string(0))?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A server with these transactions, at a time.
    pub(in super::super) fn test_server(now: ExecutedSet, time: DateTime<Utc>) -> SourceServer {
        SourceServer {
            flavour: Flavour::Mysql,
            version: "9.7.0".to_owned(),
            uuid: None,
            id: 1,
            purged: now.clone(),
            executed: now,
            files: vec![
                ("binlog.000009".to_owned(), 5000),
                ("binlog.000010".to_owned(), 2000),
            ],
            time,
            clock: ServerClock {
                time,
                queried_at: Instant::now(),
            },
            may_commit_late: false,
            notes: Vec::new(),
        }
    }

    fn place(coverage: ExecutedSet, file: &str, position: u64) -> BinlogPosition {
        BinlogPosition {
            coverage,
            file: Some(file.to_owned()),
            position,
        }
    }

    #[test]
    fn a_position_is_reached_with_the_last_transaction_and_not_before() {
        let set = |last| {
            let text = format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-{last}");
            ExecutedSet::Mysql(text.parse().unwrap())
        };
        let source = test_server(set(100), DateTime::UNIX_EPOCH);
        assert!(!source.is_reached(&place(set(99), "binlog.000010", 2000)));
        assert!(source.is_reached(&place(set(100), "binlog.000010", 2000)));
        assert!(source.is_reached(&place(set(101), "binlog.000011", 400)));
    }

    #[test]
    fn a_position_of_mariadb_is_reached_in_every_domain() {
        let position = |text: &str| ExecutedSet::Mariadb(text.parse().unwrap());
        let source = test_server(position("0-1-100,1-1-7"), DateTime::UNIX_EPOCH);
        assert!(!source.is_reached(&place(position("0-1-100"), "binlog.000010", 2000)));
        assert!(!source.is_reached(&place(position("0-1-200,1-1-6"), "binlog.000010", 2000)));
        assert!(source.is_reached(&place(position("0-1-100,1-1-7"), "binlog.000010", 2000)));
    }

    #[test]
    fn without_gtids_a_position_is_reached_at_the_end_of_the_last_file() {
        let source = test_server(ExecutedSet::Unnumbered, DateTime::UNIX_EPOCH);
        let at =
            |file, position| source.is_reached(&place(ExecutedSet::Unnumbered, file, position));
        assert!(!at("binlog.000009", 5000));
        assert!(!at("binlog.000010", 1000));
        assert!(at("binlog.000010", 2000));
        assert!(at("binlog.000011", 4));
    }

    #[test]
    fn nothing_is_being_written_where_a_server_ends_at_what_it_has_sent() {
        let source = test_server(ExecutedSet::Unnumbered, DateTime::UNIX_EPOCH);
        let quiet = |file: &str, position| {
            source.is_idle_after(&SentPosition {
                file: file.to_owned(),
                position,
            })
        };
        assert!(quiet("binlog.000010", 2000));
        assert!(!quiet("binlog.000010", 1000));
        assert!(!quiet("binlog.000009", 5000));
    }
}
