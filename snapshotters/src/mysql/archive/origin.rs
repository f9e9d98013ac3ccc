//! Where the stream of a server's log is to begin, and whether that is where the archive ends.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use reprise_repository::Snapshot;
use serde_json::Value;

use super::facts::{Coverage, Gap, LogPlace, PieceFacts};
use super::intake::Sent;
use super::{CLOCKS_APART, micros, replication};
use crate::mysql::binlog::{GtidSet, MariadbPosition, file_number};
use crate::mysql::error::DatabaseError;
use crate::mysql::manifest::Flavour;
use crate::mysql::moment::server_time;
use crate::mysql::session::Session;
use crate::mysql::sql::text;

/// Positions before this are inside of the mark with which a file begins.
pub(super) const FILE_START: u64 = 4;

/// Transactions are told their time before they are in the log. By so much, in microseconds, a server that has
/// nothing new is believed less.
const COMMIT_DELAY: u64 = 5_000_000;

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
    /// Its clock, right before it was asked for its transactions.
    time: DateTime<Utc>,
    clock: Clock,
    /// Whether commits may come late by the times that they have: MariaDB keeps those of the server which a transaction
    /// was replicated from.
    is_behind: bool,
    /// What a restore may stumble over.
    pub(super) notes: Vec<String>,
}

/// A server's clock at some moment, and the same moment by a clock that nobody sets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    time: DateTime<Utc>,
    asked: Instant,
}

/// Why a server has no log to archive.
#[derive(Debug)]
pub(super) enum Unfit {
    Off,
    /// What it replicates is not in its log; how to change that.
    Incomplete(&'static str),
    Database(DatabaseError),
}

impl From<DatabaseError> for Unfit {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

/// Where an archive ends.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) place: LogPlace,
    pub(super) chain: u64,
    since: Option<u64>,
    uuid: Option<String>,
    server_id: u32,
    file_begun: Option<u32>,
    /// When, in microseconds since 1970 by the server's clock.
    at: Option<u64>,
    /// The time of the last commit, if it is known.
    clock: Option<u64>,
}

impl End {
    /// After a piece. `clock`: the time of the last commit before it.
    pub(super) fn of(facts: PieceFacts, clock: Option<u64>) -> Self {
        Self {
            clock: facts.last.map(|last| last.committed).or(clock),
            place: facts.to,
            chain: facts.chain,
            since: facts.since,
            uuid: facts.server_uuid,
            server_id: facts.server_id,
            file_begun: facts.file_begun,
            at: facts.at,
        }
    }

    /// The time of the last commit, if it is known.
    pub(super) fn clock(&self) -> Option<u64> {
        self.clock
    }
}

/// When files of a server's log were begun, in seconds since 1970; `None`: the server has none of that name.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Begun {
    /// The oldest one.
    pub(super) oldest: Option<u32>,
    /// The one that has the name of the file in which a place is.
    pub(super) named: Option<u32>,
}

/// Where a stream is to begin.
#[derive(Debug, Clone)]
pub(super) struct Beginning {
    pub(super) place: LogPlace,
    /// Why that is not where the archive ends.
    pub(super) gap: Option<Gap>,
    /// Since when the history is this one.
    pub(super) since: Option<u64>,
    /// The time of the last commit before it, if it is known.
    pub(super) clock: Option<u64>,
    /// What is wrong with it, besides the gap.
    pub(super) alarm: Option<String>,
}

/// Why a log cannot be read on.
#[derive(Debug)]
struct Missing {
    reason: String,
    /// The server has another history than the one that was archived.
    forked: bool,
}

impl Missing {
    fn part(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            forked: false,
        }
    }

    fn fork(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            forked: true,
        }
    }
}

impl Source {
    pub(super) fn ask(session: &mut Session) -> Result<Self, Unfit> {
        let row = session.row("SELECT VERSION(), @@GLOBAL.log_bin, @@GLOBAL.server_id, @@GLOBAL.binlog_format, @@GLOBAL.binlog_row_image")?;
        if row.text(1) != Some("1") {
            return Err(Unfit::Off);
        }
        let version = row.string(0);
        let flavour = match version.to_ascii_lowercase().contains("mariadb") {
            true => Flavour::Mariadb,
            false => Flavour::Mysql,
        };
        let mut notes = Vec::new();
        let replicates = replication::asked(session, flavour)?;
        if let Some(note) = replicates.unlogged(flavour)? {
            notes.push(note);
        }
        // Before the transactions are asked for: what is committed later is none of them.
        let time = server_time(session)?;
        let clock = Clock {
            time,
            asked: Instant::now(),
        };
        let files = files(session)?;
        let (uuid, floor, now) = match flavour {
            Flavour::Mariadb => mariadb(session, &files)?,
            Flavour::Mysql => mysql(session)?,
        };
        if row.text(3) != Some("ROW") {
            notes.push(format!("binlog_format is {}: what depends on the moment at which a statement runs cannot be replayed exactly", row.string(3)));
        }
        let ahead = time - Utc::now();
        if ahead > TimeDelta::microseconds(CLOCKS_APART as i64) {
            notes.push(format!(
                "the server's clock is {} s ahead of this host's: moments are told by the server's clock, and promised until this host's only",
                ahead.num_seconds()
            ));
        }
        if !matches!(row.text(4), Some("FULL" | "FULL_NODUP")) {
            notes.push(format!(
                "binlog_row_image is {}: rows that differ at the target are not noticed",
                row.string(4)
            ));
        }
        Ok(Self {
            is_behind: flavour == Flavour::Mariadb && replicates.may_be(),
            flavour,
            version,
            uuid,
            id: row.number(2).unwrap_or_default(),
            floor,
            now,
            files,
            time,
            clock,
            notes,
        })
    }

    /// The server's clock, if nobody has set it since it was asked.
    pub(super) fn clock(&self) -> DateTime<Utc> {
        self.clock.time + self.clock.asked.elapsed()
    }

    /// Takes its clock from a later answer.
    pub(super) fn set_clock(&mut self, later: &Self) {
        self.clock = later.clock;
    }

    /// How long ago it was asked.
    pub(super) fn age(&self) -> Duration {
        self.clock.asked.elapsed()
    }

    /// Until when, in microseconds since 1970, whoever has all its transactions has everything that was committed.
    pub(super) fn complete_until(&self) -> Option<u64> {
        (!self.is_behind).then(|| micros(self.time).saturating_sub(COMMIT_DELAY))
    }

    /// Whether nothing is being written behind what it has sent, by the position of which it says that nothing follows.
    pub(super) fn is_quiet_behind(&self, sent: &Sent) -> bool {
        self.files.last().is_some_and(|(file, size)| {
            // Only the lower 32 bits are told.
            let behind = (*size as u32).wrapping_sub(sent.position);
            *file == sent.file && u64::from(behind) <= ENCRYPTION_HEADER_BYTES
        })
    }

    /// Whether it is the server that another answer came from.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.flavour, &self.uuid, self.id) == (other.flavour, &other.uuid, other.id)
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

    /// Why a log that was read up to a place is not the one that the server now has; `None`: it is, or nothing tells.
    pub(super) fn is_not_read_from(&self, place: &LogPlace) -> Option<String> {
        let same = self.flavour == Flavour::Mysql;
        let missing = self.missing(place, self.uuid.as_deref(), same);
        missing.map(|missing| missing.reason)
    }

    /// Why the log cannot be read on from a place; `None`: it can. `same`: the place is in a file of this server.
    fn missing(&self, place: &LogPlace, uuid: Option<&str>, same: bool) -> Option<Missing> {
        if same && let Some(reason) = self.begun_anew(place) {
            return Some(Missing::fork(reason));
        }
        match (
            self.floor.is_within(&place.coverage),
            place.coverage.is_within(&self.now),
        ) {
            (Some(true), Some(true)) => None,
            (_, Some(false)) => Some(Missing::fork(format!(
                "the server does not have all archived transactions: it was reset, or is another or an older one; it has {}",
                self.now
            ))),
            (Some(false), _) => Some(Missing::part(format!(
                "the server has purged transactions that are not archived; it has only what follows {}",
                self.floor
            ))),
            _ if place.coverage == Coverage::Unnumbered && self.now == Coverage::Unnumbered => {
                self.missing_in_files(place, uuid)
            }
            _ => Some(Missing::part(
                "the server numbers its transactions in another way than before",
            )),
        }
    }

    /// The files of the same server tell of a reset, even when numbers have grown beyond the archived ones again.
    fn begun_anew(&self, place: &LogPlace) -> Option<String> {
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
    fn missing_in_files(&self, place: &LogPlace, uuid: Option<&str>) -> Option<Missing> {
        if uuid != self.uuid.as_deref() {
            return Some(Missing::part(
                "it is another server, and without transaction numbers nothing connects the two",
            ));
        }
        let file = place.file.as_deref().unwrap_or_default();
        match self.files.iter().find(|(name, _)| name == file) {
            Some((_, size)) if *size >= place.position => None,
            Some((_, size)) => Some(Missing::fork(format!(
                "{file} has only {size} bytes now: the log was reset"
            ))),
            None => Some(Missing::part(format!("the server has purged {file}"))),
        }
    }

    /// The oldest file.
    pub(super) fn oldest_file(&self) -> Option<&str> {
        self.files.first().map(|(name, _)| name.as_str())
    }

    /// The file of a place, if the server has one of that name.
    pub(super) fn file_of<'a>(&self, place: &'a LogPlace) -> Option<&'a str> {
        let file = place.file.as_deref()?;
        self.files
            .iter()
            .any(|(name, _)| name == file)
            .then_some(file)
    }

    /// Whether an archive ends in the log of this server. MariaDB has no other name than its short number; of another
    /// server it knows itself whether it has the very transaction after which it is asked for its log.
    fn is_server_of(&self, end: &End) -> bool {
        match self.flavour {
            Flavour::Mysql => self.uuid == end.uuid,
            Flavour::Mariadb => self.id == end.server_id,
        }
    }

    /// Why what the server has is another history than the archived one, by when its files were begun: a reset begins
    /// all of them anew.
    fn begun_later(&self, end: &End, begun: Begun) -> Option<Missing> {
        let named = (begun.named, end.file_begun);
        let (Some(oldest), Some(at), true) = (begun.oldest, end.at, self.is_server_of(end)) else {
            return None;
        };
        let reset = match &end.place.coverage {
            Coverage::Unnumbered => match named {
                (Some(begun), Some(known)) => begun != known,
                _ => is_after(oldest, at),
            },
            // Whoever has purged everything else has just what follows.
            coverage => is_after(oldest, at) && *coverage != self.floor && named.0 != named.1,
        };
        reset.then(|| {
            Missing::fork(
                "the server's log was reset: its files were begun after those that are archived",
            )
        })
    }

    /// Where to begin, given where the archive ends, and when the files were begun. `refused`: what the server said when
    /// it was asked to go on there.
    pub(super) fn after(&self, end: &End, begun: Begun, refused: Option<String>) -> Beginning {
        let same = self.flavour == Flavour::Mysql && self.is_server_of(end);
        let missing = refused
            .map(Missing::fork)
            .or_else(|| self.begun_later(end, begun))
            .or_else(|| self.missing(&end.place, end.uuid.as_deref(), same));
        let Some(missing) = missing else {
            return Beginning {
                place: end.place.clone(),
                gap: None,
                since: end.since,
                clock: end.clock,
                alarm: None,
            };
        };
        let gap = Gap {
            reason: missing.reason,
            after: end.place.clone(),
        };
        Beginning {
            place: self.oldest(),
            gap: Some(gap),
            since: match missing.forked {
                true => Some(micros(self.time)),
                false => end.since,
            },
            clock: None,
            alarm: None,
        }
    }

    /// Where to begin an archive: at the newest snapshot, if the log still reaches it, or now.
    pub(super) fn first(&self, snapshot: Option<&Snapshot>, begun: Begun) -> Beginning {
        let now = |since, alarm| Beginning {
            place: self.newest(),
            gap: None,
            since,
            clock: None,
            alarm,
        };
        let Some(snapshot) = snapshot else {
            return now(None, None);
        };
        let Some(place) = first_place(snapshot) else {
            return now(
                None,
                Some(later(snapshot, "it does not prove its place in the log")),
            );
        };
        let uuid = snapshot.root.facts.get("server_uuid");
        let uuid = uuid.and_then(Value::as_str);
        let same = uuid.is_some() && uuid == self.uuid.as_deref();
        if let Some(missing) = self.missing(&place, uuid, same) {
            let since = missing.forked.then(|| micros(self.time));
            return now(since, Some(later(snapshot, &missing.reason)));
        }
        let time = micros(snapshot.root.data_time);
        let younger = |begun: Option<u32>| begun.is_some_and(|begun| is_after(begun, time));
        let reset = match &place.coverage {
            Coverage::Unnumbered => younger(begun.named),
            // Of another server of MySQL, the numbers say whose they are.
            Coverage::Mysql(_) if !same => false,
            coverage => younger(begun.oldest) && *coverage != self.floor,
        };
        if reset {
            let reason = "all files of the server's log were begun after it: the log was reset";
            return now(Some(micros(self.time)), Some(later(snapshot, reason)));
        }
        Beginning {
            place,
            ..now(None, None)
        }
    }
}

/// What is said when an archive does not begin at the newest snapshot.
fn later(snapshot: &Snapshot, reason: &str) -> String {
    format!(
        "the log does not go on from snapshot {}: {reason}. The archive begins now, and no moment before the next snapshot can be restored: take a snapshot now",
        snapshot.id.short()
    )
}

/// Whether a file was begun after a time, in microseconds since 1970.
fn is_after(begun: u32, time: u64) -> bool {
    u64::from(begun) * 1_000_000 > time
}

/// From where on a snapshot's log is needed.
pub(super) fn first_place(snapshot: &Snapshot) -> Option<LogPlace> {
    start_of(snapshot).or_else(|| place_of(snapshot))
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

/// Whether a snapshot proves its place in the log. Where it does not, transactions may be lacking or be there twice.
#[must_use]
pub fn is_placed(snapshot: &Snapshot) -> bool {
    snapshot.root.facts.get("coordinates_exact") != Some(&Value::Bool(false))
}

fn place(
    snapshot: &Snapshot,
    gtid: Option<Value>,
    file: Option<Value>,
    position: Option<Value>,
) -> Option<LogPlace> {
    if !is_placed(snapshot) {
        return None;
    }
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
pub(super) mod tests {
    use super::*;

    /// A server with these transactions, at a time.
    pub(in super::super) fn source(now: Coverage, time: DateTime<Utc>) -> Source {
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
            time,
            clock: Clock {
                time,
                asked: Instant::now(),
            },
            is_behind: false,
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
        let source = source(set(100), Utc::now());
        assert!(!source.is_reached(&place(set(99), "binlog.000010", 2000)));
        assert!(source.is_reached(&place(set(100), "binlog.000010", 2000)));
        assert!(source.is_reached(&place(set(101), "binlog.000011", 400)));
    }

    #[test]
    fn a_position_of_mariadb_is_reached_in_every_domain() {
        let position = |text: &str| Coverage::Mariadb(text.parse().unwrap());
        let source = source(position("0-1-100,1-1-7"), Utc::now());
        assert!(!source.is_reached(&place(position("0-1-100"), "binlog.000010", 2000)));
        assert!(!source.is_reached(&place(position("0-1-200,1-1-6"), "binlog.000010", 2000)));
        assert!(source.is_reached(&place(position("0-1-100,1-1-7"), "binlog.000010", 2000)));
    }

    #[test]
    fn without_numbers_a_place_is_reached_at_the_end_of_the_last_file() {
        let source = source(Coverage::Unnumbered, Utc::now());
        let at = |file, position| source.is_reached(&place(Coverage::Unnumbered, file, position));
        assert!(!at("binlog.000009", 5000));
        assert!(!at("binlog.000010", 1000));
        assert!(at("binlog.000010", 2000));
        assert!(at("binlog.000011", 4));
    }

    #[test]
    fn nothing_is_being_written_where_a_server_ends_at_what_it_has_sent() {
        let source = source(Coverage::Unnumbered, Utc::now());
        let quiet = |file: &str, position| {
            source.is_quiet_behind(&Sent {
                file: file.to_owned(),
                position,
            })
        };
        assert!(quiet("binlog.000010", 2000));
        assert!(!quiet("binlog.000010", 1000));
        assert!(!quiet("binlog.000009", 5000));
    }
}
