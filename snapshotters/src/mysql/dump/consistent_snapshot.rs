//! A consistent snapshot over several connections, without blocking writers.
//!
//! Each connection opens a snapshot of its own; the question is whether a commit happened in between.
//! The proofs that none did are tried from the best to the last resort, by probing and never by
//! version. A position in the binary log alone is no proof: it moves before rows become visible.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use reprise_mysql::{
    Consistency, ConsistentSnapshot, DatabaseError, Flavour, LogStartCoordinates, ServerInfo,
    Session, error_code,
};

/// How often snapshots are reopened because of a commit in between.
const SNAPSHOT_ATTEMPTS_MAX: usize = 100;

/// How often a global read lock is tried, each time for [`LOCK_WAIT_SECONDS`] at most.
const LOCK_ATTEMPTS_MAX: usize = 3;

/// Writers wait as long as the lock is waited for.
const LOCK_WAIT_SECONDS: u32 = 3;

/// How often a position without prepared transactions is looked for, and how long to wait in between.
const LOG_START_ATTEMPTS_MAX: usize = 100;
const LOG_START_RETRY_DELAY: Duration = Duration::from_millis(10);

const START_SNAPSHOT_SQL: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

/// A value that is the same before and after when nothing was committed in between.
type CoordinatesProbe = fn(&mut Session) -> Result<Option<SnapshotCoordinates>, DatabaseError>;

/// What a proof compares, and the coordinates that it provides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct SnapshotCoordinates {
    comparison_key: String,
    gtid: Option<String>,
    file: Option<String>,
    position: Option<u64>,
}

/// Opens a snapshot of the same state on all readers. Readers that cannot take part are dropped.
///
/// # Errors
/// The server's error.
pub(crate) fn open_snapshots(
    control: &mut Session,
    readers: &mut Vec<Session>,
    server: &ServerInfo,
) -> Result<ConsistentSnapshot, DatabaseError> {
    let isolation = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ";
    for reader in readers.iter_mut() {
        reader.execute(isolation)?;
    }
    let (log_from, undecided) = find_log_start(control, server)?;
    let found = match server.facts.flavour {
        Flavour::Mariadb if server.has_binary_log() => align_snapshot_positions(control, readers)?,
        Flavour::Mariadb => None,
        Flavour::Mysql => match open_with_probe(control, readers, read_log_status)? {
            Some(mark) => Some((Consistency::LogStatus, mark)),
            None => open_with_probe(control, readers, read_executed_gtids)?
                .map(|mark| (Consistency::Gtid, mark)),
        },
    };
    let found = match found {
        Some(found) => Some(found),
        None => open_under_global_lock(control, readers, server)?
            .map(|mark| (Consistency::GlobalReadLock, mark)),
    };
    let (consistency, mark, exact) = match found {
        Some((consistency, mark)) => (consistency, mark, true),
        None => {
            readers.truncate(1);
            let (mark, exact) = open_on_one_connection(control, readers, server)?;
            (Consistency::OneConnection, mark, exact)
        }
    };
    // Afterwards: everything in the snapshot was committed before it.
    let time = read_server_time(control)?;
    Ok(ConsistentSnapshot {
        time,
        consistency,
        gtid: mark.gtid,
        file: mark.file,
        position: mark.position,
        exact,
        connections: readers.len(),
        log_from,
        undecided,
    })
}

/// A binary log position before which no transaction is prepared but uncommitted; or how many always are. Their rows
/// are in the log before their commit, and in no snapshot between the two.
fn find_log_start(
    control: &mut Session,
    server: &ServerInfo,
) -> Result<(Option<LogStartCoordinates>, Option<u64>), DatabaseError> {
    if !server.has_binary_log() {
        return Ok((None, None));
    }
    let mut undecided = 0;
    for _ in 0..LOG_START_ATTEMPTS_MAX {
        // The position first: transactions prepared after it are found when the log is read from there.
        let mark = read_coordinates(control, server)?;
        let preparing = count_running_prepares(control, server)?;
        undecided = match control.query_rows("XA RECOVER") {
            Ok(rows) => rows.len() as u64 + preparing,
            // Without the privilege it is unknown.
            Err(DatabaseError::Server { .. }) => return Ok((None, None)),
            Err(error) => return Err(error),
        };
        if undecided == 0 {
            let from = LogStartCoordinates {
                gtid: mark.gtid,
                file: mark.file,
                position: mark.position,
            };
            return Ok((Some(from), Some(0)));
        }
        std::thread::sleep(LOG_START_RETRY_DELAY);
    }
    Ok((None, Some(undecided)))
}

const RUNNING_PREPARES: &str =
    "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'XA PREPARE%'";

/// How many transactions are being prepared. MariaDB logs the preparation before `XA RECOVER` lists the transaction: a
/// position between the two would be behind it.
fn count_running_prepares(
    control: &mut Session,
    server: &ServerInfo,
) -> Result<u64, DatabaseError> {
    match server.facts.flavour {
        Flavour::Mariadb => Ok(control.query_rows(RUNNING_PREPARES)?.len() as u64),
        Flavour::Mysql => Ok(0),
    }
}

/// The lock that prevents DDL while rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DdlLock {
    /// None: the server has no such lock, or the account may not take it.
    NotHeld,
    /// `LOCK INSTANCE FOR BACKUP`. Rows can still be written.
    InstanceBackup,
    /// `BACKUP STAGE BLOCK_DDL` (MariaDB). Rows of transactional tables can still be written.
    BackupStage,
}

impl DdlLock {
    /// Whether running DDL waits for it while it holds a table lock: whoever reads the table then waits for both, and
    /// the server does not detect that deadlock.
    pub(crate) fn can_deadlock_with_readers(self) -> bool {
        self == Self::BackupStage
    }
}

/// Makes a session give up soon when it waits for a lock.
pub(crate) fn set_short_lock_timeout(session: &mut Session) -> Result<(), DatabaseError> {
    let limit = format!("SET SESSION lock_wait_timeout = {LOCK_WAIT_SECONDS}");
    session.execute(limit).map(drop)
}

/// Takes the lock that prevents DDL, if there is one. MariaDB's also blocks writes to
/// non-transactional tables, so it is taken only when a snapshot has `failed_before`.
pub(crate) fn lock_definitions(
    control: &mut Session,
    server: &ServerInfo,
    failed_before: bool,
) -> Result<DdlLock, DatabaseError> {
    set_short_lock_timeout(control)?;
    let (statements, kept): (&[&str], _) = match server.facts.flavour {
        Flavour::Mysql => (&["LOCK INSTANCE FOR BACKUP"], DdlLock::InstanceBackup),
        Flavour::Mariadb if failed_before => (
            &["BACKUP STAGE START", "BACKUP STAGE BLOCK_DDL"],
            DdlLock::BackupStage,
        ),
        Flavour::Mariadb => (&[], DdlLock::NotHeld),
    };
    for statement in statements {
        match control.execute(statement) {
            Ok(_) => {}
            Err(DatabaseError::Server { message, .. }) => {
                tracing::debug!(
                    message,
                    "cannot lock object definitions; they can change during the snapshot"
                );
                if kept == DdlLock::BackupStage {
                    // It may be half taken.
                    drop(control.execute("BACKUP STAGE END"));
                }
                return Ok(DdlLock::NotHeld);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(kept)
}

/// Allows DDL again.
pub(crate) fn unlock_definitions(
    control: &mut Session,
    kept: DdlLock,
) -> Result<(), DatabaseError> {
    let statement = match kept {
        DdlLock::NotHeld => return Ok(()),
        DdlLock::InstanceBackup => "UNLOCK INSTANCE",
        DdlLock::BackupStage => "BACKUP STAGE END",
    };
    control.execute(statement).map(drop)
}

fn start_transactions(readers: &mut [Session]) -> Result<(), DatabaseError> {
    readers
        .iter_mut()
        .try_for_each(|reader| reader.execute(START_SNAPSHOT_SQL).map(drop))
}

fn rollback_transactions(readers: &mut [Session]) -> Result<(), DatabaseError> {
    readers
        .iter_mut()
        .try_for_each(|reader| reader.execute("ROLLBACK").map(drop))
}

fn open_with_probe(
    control: &mut Session,
    readers: &mut [Session],
    proof: CoordinatesProbe,
) -> Result<Option<SnapshotCoordinates>, DatabaseError> {
    for _ in 0..SNAPSHOT_ATTEMPTS_MAX {
        let Some(before) = proof(control)? else {
            return Ok(None);
        };
        start_transactions(readers)?;
        if proof(control)?.as_ref() == Some(&before) {
            return Ok(Some(before));
        }
        rollback_transactions(readers)?;
    }
    Ok(None)
}

/// This query waits until pending commits are visible. Needs `BACKUP_ADMIN`.
fn read_log_status(control: &mut Session) -> Result<Option<SnapshotCoordinates>, DatabaseError> {
    let statement = "SELECT LOCAL->>'$.gtid_executed', LOCAL->>'$.binary_log_file', \
                     LOCAL->>'$.binary_log_position', STORAGE_ENGINES->>'$.InnoDB.LSN', \
                     @@GLOBAL.gtid_mode FROM performance_schema.log_status";
    let row = match control.query_row(statement) {
        Ok(row) => row,
        Err(DatabaseError::Server { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let file = row
        .text(1)
        .filter(|file| !file.is_empty())
        .map(str::to_owned);
    // A server with GTIDs may have none yet.
    let numbers = row.text(4) == Some("ON");
    let gtid = row.text(0).filter(|_| numbers).map(without_line_ends);
    let position = row.number(2).filter(|_| file.is_some());
    // Without a binary log only the engine's own log shows that nothing was written.
    let compared = match &file {
        Some(file) => format!("{gtid:?} {file} {position:?}"),
        None => row.string(3),
    };
    Ok(Some(SnapshotCoordinates {
        comparison_key: compared,
        gtid,
        file,
        position,
    }))
}

/// The transactions whose rows are visible, where every transaction has a GTID.
fn read_executed_gtids(
    control: &mut Session,
) -> Result<Option<SnapshotCoordinates>, DatabaseError> {
    let row = match control
        .query_row("SELECT @@GLOBAL.gtid_mode, @@GLOBAL.log_bin, @@GLOBAL.gtid_executed")
    {
        Ok(row) => row,
        Err(DatabaseError::Server { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    if row.text(0) != Some("ON") || row.text(1) != Some("1") {
        return Ok(None);
    }
    let gtid = row.text(2).map(without_line_ends).unwrap_or_default();
    Ok(Some(SnapshotCoordinates {
        comparison_key: gtid.clone(),
        gtid: Some(gtid),
        ..SnapshotCoordinates::default()
    }))
}

/// MariaDB reports to each connection the binary log position of its snapshot.
fn align_snapshot_positions(
    control: &mut Session,
    readers: &mut [Session],
) -> Result<Option<(Consistency, SnapshotCoordinates)>, DatabaseError> {
    let mut positions = Vec::with_capacity(readers.len());
    for reader in readers.iter_mut() {
        reader.execute(START_SNAPSHOT_SQL)?;
        positions.push(read_snapshot_position(reader)?);
    }
    for _ in 0..SNAPSHOT_ATTEMPTS_MAX {
        let Some(newest) = positions.iter().flatten().max().cloned() else {
            break;
        };
        let behind = positions
            .iter()
            .position(|position| position.as_ref() != Some(&newest));
        let Some(behind) = behind else {
            let (file, position) = newest;
            return Ok(Some((
                Consistency::BinlogSnapshot,
                coordinates_at(control, file, position)?,
            )));
        };
        readers[behind].execute("ROLLBACK")?;
        readers[behind].execute(START_SNAPSHOT_SQL)?;
        positions[behind] = read_snapshot_position(&mut readers[behind])?;
    }
    rollback_transactions(readers)?;
    Ok(None)
}

/// The file is first, and its number has a fixed width: pairs compare as positions in the log do.
fn read_snapshot_position(reader: &mut Session) -> Result<Option<(String, u64)>, DatabaseError> {
    let rows = reader.query_rows("SHOW STATUS LIKE 'binlog_snapshot_%'")?;
    let value = |name: &str| {
        rows.iter()
            .find(|row| {
                row.text(0)
                    .is_some_and(|known| known.eq_ignore_ascii_case(name))
            })
            .and_then(|row| row.text(1))
            .filter(|value| !value.is_empty() && *value != "not-in-use")
    };
    let file = value("binlog_snapshot_file").map(str::to_owned);
    let position = value("binlog_snapshot_position").and_then(|value| value.parse().ok());
    Ok(file.zip(position))
}

fn coordinates_at(
    control: &mut Session,
    file: String,
    position: u64,
) -> Result<SnapshotCoordinates, DatabaseError> {
    let statement = format!(
        "SELECT BINLOG_GTID_POS({}, {position})",
        reprise_mysql::sql::quote_text(&file)
    );
    let gtid = match control.query_row(statement) {
        Ok(row) => row.text(0).map(str::to_owned),
        Err(DatabaseError::Server { .. }) => None,
        Err(error) => return Err(error),
    };
    Ok(SnapshotCoordinates {
        comparison_key: String::new(),
        gtid,
        file: Some(file),
        position: Some(position),
    })
}

/// A global read lock while the snapshots are opened: milliseconds, once it is taken.
fn open_under_global_lock(
    control: &mut Session,
    readers: &mut [Session],
    server: &ServerInfo,
) -> Result<Option<SnapshotCoordinates>, DatabaseError> {
    for _ in 0..LOCK_ATTEMPTS_MAX {
        // A session of its own: whatever happens, it is closed, and the lock with it.
        let mut holder = control.open_another()?;
        set_short_lock_timeout(&mut holder)?;
        let mark = lock_and_start_transactions(&mut holder, readers, server);
        // A lock that failed after a wait may be held all the same.
        let unlocked = holder.execute("UNLOCK TABLES");
        holder.close();
        match mark {
            Ok(mark) => return unlocked.map(|_| Some(mark)),
            Err(DatabaseError::Server {
                code: error_code::LOCK_WAIT_TIMEOUT,
                ..
            }) => {}
            Err(DatabaseError::Server { message, .. }) => {
                tracing::debug!(message, "cannot take a global read lock");
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn lock_and_start_transactions(
    holder: &mut Session,
    readers: &mut [Session],
    server: &ServerInfo,
) -> Result<SnapshotCoordinates, DatabaseError> {
    // Closing idle tables first makes the lock itself short.
    holder.execute("FLUSH NO_WRITE_TO_BINLOG TABLES")?;
    holder.execute("FLUSH TABLES WITH READ LOCK")?;
    start_transactions(readers)?;
    read_coordinates(holder, server)
}

/// A single snapshot is always consistent; its coordinates are exact if they did not move.
fn open_on_one_connection(
    control: &mut Session,
    readers: &mut [Session],
    server: &ServerInfo,
) -> Result<(SnapshotCoordinates, bool), DatabaseError> {
    let before = read_coordinates(control, server)?;
    start_transactions(readers)?;
    let proves = before.comparison_key == "gtid";
    let exact = proves && read_coordinates(control, server)? == before;
    Ok((before, exact))
}

/// The server's current coordinates, as far as the account may see them.
fn read_coordinates(
    session: &mut Session,
    server: &ServerInfo,
) -> Result<SnapshotCoordinates, DatabaseError> {
    if let Some(mark) = read_executed_gtids(session)? {
        let (file, position) = read_binlog_position(session)?.unzip();
        return Ok(SnapshotCoordinates {
            comparison_key: "gtid".to_owned(),
            file,
            position,
            ..mark
        });
    }
    match read_binlog_position(session)? {
        Some((file, position)) if server.facts.flavour == Flavour::Mariadb => {
            coordinates_at(session, file, position)
        }
        Some((file, position)) => Ok(SnapshotCoordinates {
            file: Some(file),
            position: Some(position),
            ..SnapshotCoordinates::default()
        }),
        None => Ok(SnapshotCoordinates::default()),
    }
}

fn read_binlog_position(session: &mut Session) -> Result<Option<(String, u64)>, DatabaseError> {
    for statement in ["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"] {
        match session.query_rows(statement) {
            Ok(rows) => {
                let place = rows.first().map(|row| (row.string(0), row.number(1)));
                return Ok(place.and_then(|(file, position)| Some((file, position?))));
            }
            Err(DatabaseError::Server { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

pub(in crate::mysql) fn read_server_time(
    session: &mut Session,
) -> Result<DateTime<Utc>, DatabaseError> {
    let text = session.query_row("SELECT UTC_TIMESTAMP(6)")?.string(0);
    NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f")
        .map(|time| time.and_utc())
        .map_err(|error| {
            DatabaseError::UnexpectedResponse(format!(
                "cannot parse the time of the server, `{text}`: {error}"
            ))
        })
}

/// Long sets contain line breaks.
fn without_line_ends(text: &str) -> String {
    text.replace(['\n', '\r', ' '], "")
}
