//! One moment for several connections, without blocking whoever writes.
//!
//! Each connection opens a snapshot of its own; the question is whether something was committed in between.
//! What proves that nothing was is tried from the best proof to the last resort, by asking and never by
//! version. A position in the binary log alone is no proof: it moves before rows become visible.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};

use super::error::{DatabaseError, code};
use super::manifest::{Consistency, Flavour, LogFrom, Moment};
use super::server::Server;
use super::session::Session;

/// How often snapshots are opened again because something was committed in between.
const ATTEMPTS_MAX: usize = 100;

/// How often a global read lock is tried, each time for [`LOCK_WAIT_SECONDS`] at most.
const LOCK_ATTEMPTS_MAX: usize = 3;

/// While a lock is waited for, whoever writes waits too.
const LOCK_WAIT_SECONDS: u32 = 3;

/// How often it is looked for a place where no transaction is between its two phases, and how long in between.
const TWO_PHASES_ATTEMPTS_MAX: usize = 100;
const TWO_PHASES_PAUSE: Duration = Duration::from_millis(10);

const OPEN: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

/// Something that is the same before and after when nothing was committed in between.
type Proof = fn(&mut Session) -> Result<Option<Mark>, DatabaseError>;

/// What a proof compares, and the coordinates it knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Mark {
    compared: String,
    gtid: Option<String>,
    file: Option<String>,
    position: Option<u64>,
}

/// Opens a snapshot of the same moment on all readers. Readers that cannot take part are dropped.
///
/// # Errors
/// What the server says.
pub(super) fn open(
    control: &mut Session,
    readers: &mut Vec<Session>,
    server: &Server,
) -> Result<Moment, DatabaseError> {
    let isolation = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ";
    for reader in readers.iter_mut() {
        reader.execute(isolation)?;
    }
    let (log_from, undecided) = two_phases(control, server)?;
    let found = match server.facts.flavour {
        Flavour::Mariadb if server.logs() => by_snapshot_position(control, readers)?,
        Flavour::Mariadb => None,
        Flavour::Mysql => match proved(control, readers, log_status)? {
            Some(mark) => Some((Consistency::LogStatus, mark)),
            None => proved(control, readers, executed_gtids)?.map(|mark| (Consistency::Gtid, mark)),
        },
    };
    let found = match found {
        Some(found) => Some(found),
        None => locked(control, readers, server)?.map(|mark| (Consistency::GlobalReadLock, mark)),
    };
    let (consistency, mark, exact) = match found {
        Some((consistency, mark)) => (consistency, mark, true),
        None => {
            readers.truncate(1);
            let (mark, exact) = alone(control, readers, server)?;
            (Consistency::OneConnection, mark, exact)
        }
    };
    // Afterwards: whatever the snapshot has was committed before it.
    let time = server_time(control)?;
    Ok(Moment {
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

/// A place in the log before which no transaction is prepared and not committed; or how many are all the time. Their
/// rows are in the log before their commit, and in no snapshot between the two.
fn two_phases(
    control: &mut Session,
    server: &Server,
) -> Result<(Option<LogFrom>, Option<u64>), DatabaseError> {
    if !server.logs() {
        return Ok((None, None));
    }
    let mut undecided = 0;
    for _ in 0..TWO_PHASES_ATTEMPTS_MAX {
        // The place first: what is prepared behind it is found when it is read from there.
        let mark = coordinates(control, server)?;
        undecided = match control.rows("XA RECOVER") {
            Ok(rows) => rows.len() as u64,
            // Who may not ask does not know.
            Err(DatabaseError::Server { .. }) => return Ok((None, None)),
            Err(error) => return Err(error),
        };
        if undecided == 0 {
            let from = LogFrom {
                gtid: mark.gtid,
                file: mark.file,
                position: mark.position,
            };
            return Ok((Some(from), Some(0)));
        }
        std::thread::sleep(TWO_PHASES_PAUSE);
    }
    Ok((None, Some(undecided)))
}

/// What keeps definitions as they are while rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// Nothing: the server has no such lock, or the account may not take it.
    No,
    /// `LOCK INSTANCE FOR BACKUP`. Rows can be written all the while.
    Instance,
    /// `BACKUP STAGE BLOCK_DDL` (MariaDB). Rows of tables with transactions can be written all the while.
    Stage,
}

impl Kept {
    /// Whether a definition that is under way when it is taken waits for it while it holds the table: whoever reads
    /// the table then waits for both, and the server does not see that they wait for each other.
    pub(super) fn is_waited_for(self) -> bool {
        self == Self::Stage
    }
}

/// Lets a session give up soon where it waits for a lock.
pub(super) fn wait_briefly(session: &mut Session) -> Result<(), DatabaseError> {
    let limit = format!("SET SESSION lock_wait_timeout = {LOCK_WAIT_SECONDS}");
    session.execute(limit).map(drop)
}

/// Takes a lock that keeps definitions as they are, if there is one. MariaDB's also holds back those who write
/// to tables without transactions, so it is taken only when a snapshot has `failed_before`.
pub(super) fn keep_definitions(
    control: &mut Session,
    server: &Server,
    failed_before: bool,
) -> Result<Kept, DatabaseError> {
    wait_briefly(control)?;
    let (statements, kept): (&[&str], _) = match server.facts.flavour {
        Flavour::Mysql => (&["LOCK INSTANCE FOR BACKUP"], Kept::Instance),
        Flavour::Mariadb if failed_before => (
            &["BACKUP STAGE START", "BACKUP STAGE BLOCK_DDL"],
            Kept::Stage,
        ),
        Flavour::Mariadb => (&[], Kept::No),
    };
    for statement in statements {
        match control.execute(statement) {
            Ok(_) => {}
            Err(DatabaseError::Server { message, .. }) => {
                tracing::debug!(
                    message,
                    "cannot lock object definitions; they can change during the snapshot"
                );
                if kept == Kept::Stage {
                    // Half of it may be held.
                    drop(control.execute("BACKUP STAGE END"));
                }
                return Ok(Kept::No);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(kept)
}

/// Lets definitions change again.
pub(super) fn release_definitions(control: &mut Session, kept: Kept) -> Result<(), DatabaseError> {
    let statement = match kept {
        Kept::No => return Ok(()),
        Kept::Instance => "UNLOCK INSTANCE",
        Kept::Stage => "BACKUP STAGE END",
    };
    control.execute(statement).map(drop)
}

fn open_all(readers: &mut [Session]) -> Result<(), DatabaseError> {
    readers
        .iter_mut()
        .try_for_each(|reader| reader.execute(OPEN).map(drop))
}

fn close_all(readers: &mut [Session]) -> Result<(), DatabaseError> {
    readers
        .iter_mut()
        .try_for_each(|reader| reader.execute("ROLLBACK").map(drop))
}

fn proved(
    control: &mut Session,
    readers: &mut [Session],
    proof: Proof,
) -> Result<Option<Mark>, DatabaseError> {
    for _ in 0..ATTEMPTS_MAX {
        let Some(before) = proof(control)? else {
            return Ok(None);
        };
        open_all(readers)?;
        if proof(control)?.as_ref() == Some(&before) {
            return Ok(Some(before));
        }
        close_all(readers)?;
    }
    Ok(None)
}

/// Reading this waits until what is being committed is visible. Needs `BACKUP_ADMIN`.
fn log_status(control: &mut Session) -> Result<Option<Mark>, DatabaseError> {
    let statement = "SELECT LOCAL->>'$.gtid_executed', LOCAL->>'$.binary_log_file', \
                     LOCAL->>'$.binary_log_position', STORAGE_ENGINES->>'$.InnoDB.LSN', \
                     @@GLOBAL.gtid_mode FROM performance_schema.log_status";
    let row = match control.row(statement) {
        Ok(row) => row,
        Err(DatabaseError::Server { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let file = row
        .text(1)
        .filter(|file| !file.is_empty())
        .map(str::to_owned);
    // A server that numbers its transactions may have none yet.
    let numbers = row.text(4) == Some("ON");
    let gtid = row.text(0).filter(|_| numbers).map(without_line_ends);
    let position = row.number(2).filter(|_| file.is_some());
    // Without a binary log only the engine's own log tells that nothing was written.
    let compared = match &file {
        Some(file) => format!("{gtid:?} {file} {position:?}"),
        None => row.string(3),
    };
    Ok(Some(Mark {
        compared,
        gtid,
        file,
        position,
    }))
}

/// The transactions whose rows are visible, where every transaction has a number.
fn executed_gtids(control: &mut Session) -> Result<Option<Mark>, DatabaseError> {
    let row =
        match control.row("SELECT @@GLOBAL.gtid_mode, @@GLOBAL.log_bin, @@GLOBAL.gtid_executed") {
            Ok(row) => row,
            Err(DatabaseError::Server { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
    if row.text(0) != Some("ON") || row.text(1) != Some("1") {
        return Ok(None);
    }
    let gtid = row.text(2).map(without_line_ends).unwrap_or_default();
    Ok(Some(Mark {
        compared: gtid.clone(),
        gtid: Some(gtid),
        ..Mark::default()
    }))
}

/// MariaDB tells each connection where in the binary log its snapshot is.
fn by_snapshot_position(
    control: &mut Session,
    readers: &mut [Session],
) -> Result<Option<(Consistency, Mark)>, DatabaseError> {
    let mut positions = Vec::with_capacity(readers.len());
    for reader in readers.iter_mut() {
        reader.execute(OPEN)?;
        positions.push(snapshot_position(reader)?);
    }
    for _ in 0..ATTEMPTS_MAX {
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
                mark_at(control, file, position)?,
            )));
        };
        readers[behind].execute("ROLLBACK")?;
        readers[behind].execute(OPEN)?;
        positions[behind] = snapshot_position(&mut readers[behind])?;
    }
    close_all(readers)?;
    Ok(None)
}

/// The file is first, and its numbers have a fixed width: pairs compare as places in the log do.
fn snapshot_position(reader: &mut Session) -> Result<Option<(String, u64)>, DatabaseError> {
    let rows = reader.rows("SHOW STATUS LIKE 'binlog_snapshot_%'")?;
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

fn mark_at(control: &mut Session, file: String, position: u64) -> Result<Mark, DatabaseError> {
    let statement = format!(
        "SELECT BINLOG_GTID_POS({}, {position})",
        super::sql::text(&file)
    );
    let gtid = match control.row(statement) {
        Ok(row) => row.text(0).map(str::to_owned),
        Err(DatabaseError::Server { .. }) => None,
        Err(error) => return Err(error),
    };
    Ok(Mark {
        compared: String::new(),
        gtid,
        file: Some(file),
        position: Some(position),
    })
}

/// A global read lock for as long as it takes to open the snapshots: milliseconds, once it is there.
fn locked(
    control: &mut Session,
    readers: &mut [Session],
    server: &Server,
) -> Result<Option<Mark>, DatabaseError> {
    for _ in 0..LOCK_ATTEMPTS_MAX {
        // A session of its own: whatever happens, it is closed, and the lock goes with it.
        let mut holder = control.another()?;
        wait_briefly(&mut holder)?;
        let mark = lock_and_open(&mut holder, readers, server);
        // A lock that was refused after a wait may be held all the same.
        let unlocked = holder.execute("UNLOCK TABLES");
        holder.close();
        match mark {
            Ok(mark) => return unlocked.map(|_| Some(mark)),
            Err(DatabaseError::Server {
                code: code::LOCK_WAIT_TIMEOUT,
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

fn lock_and_open(
    holder: &mut Session,
    readers: &mut [Session],
    server: &Server,
) -> Result<Mark, DatabaseError> {
    // Closing what is idle first makes the lock itself short.
    holder.execute("FLUSH NO_WRITE_TO_BINLOG TABLES")?;
    holder.execute("FLUSH TABLES WITH READ LOCK")?;
    open_all(readers)?;
    coordinates(holder, server)
}

/// A single snapshot is of one moment whatever happens; its coordinates are exact if they did not move.
fn alone(
    control: &mut Session,
    readers: &mut [Session],
    server: &Server,
) -> Result<(Mark, bool), DatabaseError> {
    let before = coordinates(control, server)?;
    open_all(readers)?;
    let proves = before.compared == "gtid";
    let exact = proves && coordinates(control, server)? == before;
    Ok((before, exact))
}

/// Where the server is now, as far as the account may know.
fn coordinates(session: &mut Session, server: &Server) -> Result<Mark, DatabaseError> {
    if let Some(mark) = executed_gtids(session)? {
        let (file, position) = log_position(session)?.unzip();
        return Ok(Mark {
            compared: "gtid".to_owned(),
            file,
            position,
            ..mark
        });
    }
    match log_position(session)? {
        Some((file, position)) if server.facts.flavour == Flavour::Mariadb => {
            mark_at(session, file, position)
        }
        Some((file, position)) => Ok(Mark {
            file: Some(file),
            position: Some(position),
            ..Mark::default()
        }),
        None => Ok(Mark::default()),
    }
}

fn log_position(session: &mut Session) -> Result<Option<(String, u64)>, DatabaseError> {
    for statement in ["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"] {
        match session.rows(statement) {
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

pub(super) fn server_time(session: &mut Session) -> Result<DateTime<Utc>, DatabaseError> {
    let text = session.row("SELECT UTC_TIMESTAMP(6)")?.string(0);
    NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f")
        .map(|time| time.and_utc())
        .map_err(|error| {
            DatabaseError::Unexpected(format!(
                "cannot parse the time of the server, `{text}`: {error}"
            ))
        })
}

/// Long sets come with line ends.
fn without_line_ends(text: &str) -> String {
    text.replace(['\n', '\r', ' '], "")
}
