//! Where the stream of a server's log is to begin, and whether that is where the archive ends.

use chrono::{DateTime, Utc};
use reprise_repository::Snapshot;
use serde_json::Value;

use super::facts::{Coverage, Gap, LogPlace};
use crate::mysql::binlog::{GtidSet, MariadbPosition, file_number};
use crate::mysql::error::DatabaseError;
use crate::mysql::manifest::Flavour;
use crate::mysql::moment::server_time;
use crate::mysql::session::Session;
use crate::mysql::sql::text;

/// Positions before this are inside of the mark with which a file begins.
pub(super) const FILE_START: u64 = 4;

/// By so much an encrypted file of a log is longer than its positions say.
const ENCRYPTION_HEADER_BYTES: u64 = 512;

/// A server, as far as its log matters.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) flavour: Flavour,
    pub(super) version: String,
    pub(super) uuid: Option<String>,
    pub(super) id: u32,
    /// The transactions that are in no file any more.
    floor: Coverage,
    /// All transactions.
    now: Coverage,
    /// The files that there are, with their sizes.
    files: Vec<(String, u64)>,
    /// Its clock, less this machine's.
    pub(super) ahead: chrono::TimeDelta,
    /// What a restore may stumble over.
    pub(super) notes: Vec<String>,
}

/// Why a server has no log to archive.
#[derive(Debug)]
pub(super) enum Unfit {
    Off,
    Database(DatabaseError),
}

impl From<DatabaseError> for Unfit {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl Source {
    pub(super) fn ask(session: &mut Session) -> Result<Self, Unfit> {
        let row = session.row("SELECT VERSION(), @@GLOBAL.log_bin, @@GLOBAL.server_id, @@GLOBAL.binlog_format, @@GLOBAL.binlog_row_image")?;
        if row.text(1) != Some("1") {
            return Err(Unfit::Off);
        }
        let version = row.string(0);
        let is_mariadb = version.to_ascii_lowercase().contains("mariadb");
        let files = files(session)?;
        let (uuid, floor, now) = match is_mariadb {
            true => mariadb(session, &files)?,
            false => mysql(session)?,
        };
        let mut notes = Vec::new();
        if row.text(3) != Some("ROW") {
            notes.push(format!("binlog_format is {}: what depends on the moment at which a statement runs cannot be replayed exactly", row.string(3)));
        }
        if !matches!(row.text(4), Some("FULL" | "FULL_NODUP")) {
            notes.push(format!(
                "binlog_row_image is {}: rows that differ at the target are not noticed",
                row.string(4)
            ));
        }
        let ahead = server_time(session)? - Utc::now();
        Ok(Self {
            flavour: if is_mariadb {
                Flavour::Mariadb
            } else {
                Flavour::Mysql
            },
            version,
            uuid,
            id: row.number(2).unwrap_or_default(),
            floor,
            now,
            files,
            ahead,
            notes,
        })
    }

    /// The server's clock.
    pub(super) fn clock(&self) -> DateTime<Utc> {
        Utc::now() + self.ahead
    }

    /// Right before the oldest transaction that the server still has.
    fn oldest(&self) -> LogPlace {
        LogPlace {
            coverage: self.floor.clone(),
            file: self.files.first().map(|(file, _)| file.clone()),
            position: FILE_START,
        }
    }

    /// After everything that there is.
    fn newest(&self) -> LogPlace {
        let last = self.files.last();
        LogPlace {
            coverage: self.now.clone(),
            file: last.map(|(file, _)| file.clone()),
            position: last.map_or(FILE_START, |(_, size)| *size),
        }
    }

    /// Whether a place is behind everything that the server had when it was asked. Neither a heartbeat nor the end of a
    /// stream says so: the server sends both while it looks for where to begin, or when it is told to end the stream.
    pub(super) fn is_reached(&self, place: &LogPlace) -> bool {
        match (self.now.is_within(&place.coverage), self.files.last()) {
            (Some(within), _) => within,
            (None, Some((newest, size))) => {
                let number = place.file.as_deref().and_then(file_number);
                let newest = file_number(newest);
                number > newest
                    || number == newest && place.position + ENCRYPTION_HEADER_BYTES >= *size
            }
            (None, None) => false,
        }
    }

    /// Why the log cannot be read on from a place; `None`: it can.
    fn missing(&self, place: &LogPlace, uuid: Option<&str>) -> Option<String> {
        if let Some(reason) = self.begun_anew(place, uuid) {
            return Some(reason);
        }
        match (
            self.floor.is_within(&place.coverage),
            place.coverage.is_within(&self.now),
        ) {
            (Some(true), Some(true)) => None,
            (Some(false), _) => Some(format!(
                "the server has purged transactions that are not archived; it has only what follows {}",
                self.floor
            )),
            (_, Some(false)) => Some(format!(
                "the server does not have all archived transactions: it was reset, or is another or an older one; it has {}",
                self.now
            )),
            _ if place.coverage == Coverage::Unnumbered && self.now == Coverage::Unnumbered => {
                self.missing_in_files(place, uuid)
            }
            _ => Some("the server numbers its transactions in another way than before".to_owned()),
        }
    }

    /// The files of the same server tell of a reset, even when numbers have grown beyond the archived ones again.
    fn begun_anew(&self, place: &LogPlace, uuid: Option<&str>) -> Option<String> {
        if self.flavour == Flavour::Mariadb || uuid != self.uuid.as_deref() {
            return None;
        }
        let file = place.file.as_deref()?;
        let newest = self.files.last()?;
        let reset = file_number(file)? > file_number(&newest.0)?
            || self
                .files
                .iter()
                .any(|(name, size)| name == file && *size < place.position);
        reset.then(|| {
            format!(
                "the server's log was reset: it ends in {}, the archive in {file} at {}",
                newest.0, place.position
            )
        })
    }

    /// Without numbers, only the same server's files can be followed.
    fn missing_in_files(&self, place: &LogPlace, uuid: Option<&str>) -> Option<String> {
        if uuid != self.uuid.as_deref() {
            return Some(
                "it is another server, and without transaction numbers nothing connects the two"
                    .to_owned(),
            );
        }
        let file = place.file.as_deref().unwrap_or_default();
        match self.files.iter().find(|(name, _)| name == file) {
            Some((_, size)) if *size >= place.position => None,
            Some((_, size)) => Some(format!(
                "{file} has only {size} bytes now: the log was reset"
            )),
            None => Some(format!("the server has purged {file}")),
        }
    }

    /// Where to begin, given where the archive ends.
    pub(super) fn after(&self, end: &LogPlace, uuid: Option<&str>) -> (LogPlace, Option<Gap>) {
        match self.missing(end, uuid) {
            None => (end.clone(), None),
            Some(reason) => {
                let gap = Gap {
                    reason,
                    after: end.clone(),
                };
                (self.oldest(), Some(gap))
            }
        }
    }

    /// Where to begin an archive: at the newest snapshot, if the log still reaches it, or now.
    pub(super) fn first(&self, snapshot: Option<&Snapshot>) -> LogPlace {
        let reached = snapshot.and_then(|snapshot| {
            let place = start_of(snapshot).or_else(|| place_of(snapshot))?;
            let uuid = snapshot
                .root
                .facts
                .get("server_uuid")
                .and_then(|uuid| uuid.as_str());
            self.missing(&place, uuid).is_none().then_some(place)
        });
        reached.unwrap_or_else(|| self.newest())
    }
}

/// From where on a snapshot's log is to be kept: so early that transactions in two phases, of which the moment is in
/// the middle, are in it as a whole.
#[must_use]
pub fn start_of(snapshot: &Snapshot) -> Option<LogPlace> {
    let from = snapshot.root.facts.get("log_from");
    let fact = |name: &str| from.and_then(|from| from.get(name)).cloned();
    place(snapshot, fact("gtid"), fact("file"), fact("position"))
}

/// The moment of a snapshot as a place in the server's history; `None` when the snapshot does not tell.
#[must_use]
pub fn place_of(snapshot: &Snapshot) -> Option<LogPlace> {
    let fact = |name: &str| snapshot.root.facts.get(name).cloned();
    place(
        snapshot,
        fact("gtid"),
        fact("binary_log_file"),
        fact("binary_log_position"),
    )
}

fn place(
    snapshot: &Snapshot,
    gtid: Option<Value>,
    file: Option<Value>,
    position: Option<Value>,
) -> Option<LogPlace> {
    let flavour = snapshot.root.facts.get("flavour");
    let text = |value: &Option<Value>| value.as_ref()?.as_str().map(str::to_owned);
    let coverage = match (text(&gtid), flavour.and_then(Value::as_str)) {
        (Some(gtid), Some("mariadb")) => Coverage::Mariadb(gtid.parse().ok()?),
        (Some(gtid), _) => Coverage::Mysql(gtid.parse().ok()?),
        (None, _) => Coverage::Unnumbered,
    };
    let file = text(&file);
    let position = position.as_ref().and_then(Value::as_u64);
    if coverage == Coverage::Unnumbered && (file.is_none() || position.is_none()) {
        return None;
    }
    Some(LogPlace {
        coverage,
        file,
        position: position.unwrap_or(FILE_START),
    })
}

fn files(session: &mut Session) -> Result<Vec<(String, u64)>, DatabaseError> {
    let rows = session.rows("SHOW BINARY LOGS")?;
    rows.iter()
        .map(|row| {
            let size = row.number(1).ok_or_else(|| {
                DatabaseError::Unexpected(format!("{} has no size", row.string(0)))
            })?;
            Ok((row.string(0), size))
        })
        .collect()
}

/// Its number, the transactions that are purged, and all.
type History = (Option<String>, Coverage, Coverage);

fn mysql(session: &mut Session) -> Result<History, DatabaseError> {
    // What is purged is asked first: it only grows.
    let row =
        session.row("SELECT @@GLOBAL.gtid_mode, @@GLOBAL.gtid_purged, @@GLOBAL.server_uuid")?;
    let uuid = Some(row.string(2));
    if row.text(0) != Some("ON") {
        return Ok((uuid, Coverage::Unnumbered, Coverage::Unnumbered));
    }
    let now = session.row("SELECT @@GLOBAL.gtid_executed")?;
    let set = |text: &str| {
        text.parse::<GtidSet>()
            .map(Coverage::Mysql)
            .map_err(DatabaseError::Unexpected)
    };
    Ok((uuid, set(&row.string(1))?, set(&now.string(0))?))
}

fn mariadb(session: &mut Session, files: &[(String, u64)]) -> Result<History, DatabaseError> {
    let position = |text: &str| {
        text.parse::<MariadbPosition>()
            .map(Coverage::Mariadb)
            .map_err(DatabaseError::Unexpected)
    };
    let first = files
        .first()
        .map(|(file, _)| text(file))
        .unwrap_or_default();
    let floor = session.row(format!("SELECT BINLOG_GTID_POS({first}, {FILE_START})"))?;
    let now = session.row("SELECT @@GLOBAL.gtid_binlog_pos")?;
    Ok((None, position(&floor.string(0))?, position(&now.string(0))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(now: Coverage) -> Source {
        Source {
            flavour: Flavour::Mysql,
            version: "9.7.0".to_owned(),
            uuid: None,
            id: 1,
            floor: now.clone(),
            now,
            files: vec![
                ("binlog.000009".to_owned(), 5000),
                ("binlog.000010".to_owned(), 2000),
            ],
            ahead: chrono::TimeDelta::zero(),
            notes: Vec::new(),
        }
    }

    fn place(coverage: Coverage, file: &str, position: u64) -> LogPlace {
        LogPlace {
            coverage,
            file: Some(file.to_owned()),
            position,
        }
    }

    #[test]
    fn a_place_is_reached_with_the_last_transaction_and_not_before() {
        let set = |last| {
            let text = format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-{last}");
            Coverage::Mysql(text.parse().unwrap())
        };
        let source = source(set(100));
        assert!(!source.is_reached(&place(set(99), "binlog.000010", 2000)));
        assert!(source.is_reached(&place(set(100), "binlog.000010", 2000)));
        assert!(source.is_reached(&place(set(101), "binlog.000011", 400)));
    }

    #[test]
    fn a_position_of_mariadb_is_reached_in_every_domain() {
        let position = |text: &str| Coverage::Mariadb(text.parse().unwrap());
        let source = source(position("0-1-100,1-1-7"));
        assert!(!source.is_reached(&place(position("0-1-100"), "binlog.000010", 2000)));
        assert!(!source.is_reached(&place(position("0-1-200,1-1-6"), "binlog.000010", 2000)));
        assert!(source.is_reached(&place(position("0-1-100,1-1-7"), "binlog.000010", 2000)));
    }

    #[test]
    fn without_numbers_a_place_is_reached_at_the_end_of_the_last_file() {
        let source = source(Coverage::Unnumbered);
        let at = |file, position| source.is_reached(&place(Coverage::Unnumbered, file, position));
        assert!(!at("binlog.000009", 5000));
        assert!(!at("binlog.000010", 1000));
        assert!(at("binlog.000010", 2000));
        assert!(at("binlog.000011", 4));
    }
}
