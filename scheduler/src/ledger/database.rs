//! The ledger's file: opening, checking, expiry; what is known of a job.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::error::{LedgerError, LedgerResult};
use super::migrations::{migrate, newest_version};
use super::records::{
    ActiveSlot, ActiveState, CLOCK_AHEAD_MAX, DecidedSlot, JobRecord, SkippedSlots, SlotState,
    SourcePause,
};

/// How long a write waits for another process's.
const BUSY_TIME_MAX: Duration = Duration::from_secs(15);
/// Runs that are older are deleted; the last of each job is kept.
const RUNS_KEPT: TimeDelta = TimeDelta::days(800);

/// The ledger of a host.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    connection: Mutex<Connection>,
    /// Where a damaged predecessor was put.
    set_aside: Option<PathBuf>,
}

impl Ledger {
    /// Opens the ledger, which is made if there is none. A damaged one is set aside.
    ///
    /// # Errors
    /// When the file cannot be written, or is of a newer version.
    pub fn open(path: &Path, now: DateTime<Utc>) -> LedgerResult<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(|source| LedgerError::Directory {
                path: path.to_owned(),
                source,
            })?;
        }
        let mut set_aside = None;
        let connection = match open_connection(path) {
            Ok(connection) => connection,
            Err(error) if is_damage(&error) => {
                let kept = set_damaged_aside(path, now)?;
                set_aside = Some(kept);
                open_connection(path).map_err(|source| database_error(path, source))?
            }
            Err(source) => return Err(database_error(path, source)),
        };
        let mut ledger = Self {
            path: path.to_owned(),
            connection: Mutex::new(connection),
            set_aside,
        };
        ledger.migrate()?;
        ledger.expire(now)?;
        Ok(ledger)
    }

    fn migrate(&mut self) -> LedgerResult<()> {
        let found = self.with_connection(migrate)?;
        if found > newest_version() {
            return Err(LedgerError::NewerVersion {
                path: self.path.clone(),
                found,
                known: newest_version(),
            });
        }
        Ok(())
    }

    /// Where a damaged predecessor was put, if this one is new because of that.
    #[must_use]
    pub fn set_aside(&self) -> Option<&Path> {
        self.set_aside.as_deref()
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn with_connection<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> LedgerResult<T> {
        work(&mut self.lock()).map_err(|source| database_error(&self.path, source))
    }

    /// Everything in it happens at once, and alone.
    pub(super) fn with_transaction<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> LedgerResult<T> {
        self.with_connection(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
    }

    /// What is known of a job, which works on `source`, if it is one that can be paused.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn load_job(
        &self,
        job: &str,
        source: Option<&str>,
        now: DateTime<Utc>,
    ) -> LedgerResult<JobRecord> {
        let due_max = (now + CLOCK_AHEAD_MAX).timestamp_millis();
        self.with_connection(|connection| {
            let timing = connection
                .prepare_cached("SELECT timing FROM jobs WHERE job = ?")?
                .query_row([job], |row| row.get(0))
                .optional()?;
            let last = connection
                .prepare_cached("SELECT slot, due FROM slots WHERE job = ? AND due <= ? ORDER BY due DESC LIMIT 1")?
                .query_row(params![job, due_max], |row| {
                    Ok(DecidedSlot {
                        slot: row.get(0)?,
                        due: time_at(row, 1)?,
                    })
                })
                .optional()?;
            let active = connection
                .prepare_cached(
                    "SELECT slot, due, attempt, failed, lost, state, owner, lease_until, not_before FROM slots
                     WHERE job = ? AND state IN ('running', 'waiting') ORDER BY due DESC LIMIT 1",
                )?
                .query_row([job], active_run)
                .optional()?;
            let pause = match source {
                Some(source) => find_pause(connection, source)?,
                None => None,
            };
            Ok(JobRecord {
                timing,
                last,
                active,
                pause,
            })
        })
    }

    /// Records the timing with which a job was evaluated.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn record_timing(&self, job: &str, timing: &str) -> LedgerResult<()> {
        self.with_connection(|connection| {
            connection
                .prepare_cached("INSERT INTO jobs (job, timing) VALUES (?, ?) ON CONFLICT (job) DO UPDATE SET timing = excluded.timing")?
                .execute([job, timing])
        })?;
        Ok(())
    }

    /// Records slots that no run is made for, unless others have decided them or later ones meanwhile.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn record_skipped(
        &self,
        job: &str,
        skipped: &SkippedSlots,
        now: DateTime<Utc>,
    ) -> LedgerResult<()> {
        self.with_connection(|connection| {
            connection
                .prepare_cached(
                    "INSERT INTO slots (job, slot, due, first_slot, slot_count, state, reason, decided, attempt, failed, lost, owner, lease_until, not_before)
                     SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, 0, 0, '', 0, 0
                     WHERE NOT EXISTS (SELECT 1 FROM slots WHERE job = ?1 AND (due BETWEEN ?3 AND ?9 OR slot = ?2))",
                )?
                .execute(params![
                    job,
                    skipped.last,
                    skipped.last_due.timestamp_millis(),
                    skipped.first,
                    i64::try_from(skipped.count).unwrap_or(i64::MAX),
                    skipped.state.as_str(),
                    skipped.reason,
                    now.timestamp_millis(),
                    (now + CLOCK_AHEAD_MAX).timestamp_millis(),
                ])
        })?;
        Ok(())
    }

    /// Records a pause, or the end of one, for good. It replaces the last one of the same source.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn record_pause(&self, pause: &SourcePause) -> LedgerResult<()> {
        self.with_connection(|connection| {
            connection
                .prepare_cached(
                    "INSERT INTO pauses (source, since, until, reason, user) VALUES (?, ?, ?, ?, ?)
                     ON CONFLICT (source) DO UPDATE SET since = excluded.since, until = excluded.until, reason = excluded.reason, user = excluded.user",
                )?
                .execute(params![
                    pause.source,
                    pause.from.timestamp_millis(),
                    pause.until.timestamp_millis(),
                    pause.reason,
                    pause.user
                ])
        })?;
        Ok(())
    }

    /// The last pause of a source, also one that is over.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn find_pause(&self, source: &str) -> LedgerResult<Option<SourcePause>> {
        self.with_connection(|connection| find_pause(connection, source))
    }

    /// Deletes old runs; the last decided slots of each job stay.
    fn expire(&self, now: DateTime<Utc>) -> LedgerResult<()> {
        let oldest = (now - RUNS_KEPT).timestamp_millis();
        self.with_transaction(|transaction| {
            transaction.execute(
                "DELETE FROM runs WHERE started < ?1 AND EXISTS (SELECT 1 FROM runs AS later WHERE later.job = runs.job AND later.started > runs.started)",
                [oldest],
            )?;
            transaction.execute(
                "DELETE FROM slots WHERE decided < ?1 AND state NOT IN ('running', 'waiting')
                 AND EXISTS (SELECT 1 FROM slots AS later WHERE later.job = slots.job AND later.due > slots.due)",
                [oldest],
            )
        })?;
        Ok(())
    }
}

fn open_connection(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIME_MAX)?;
    // Where the file system cannot do it, SQLite keeps the journal that it has.
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let checked: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if checked == "ok" {
        Ok(connection)
    } else {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        Err(rusqlite::Error::SqliteFailure(code, Some(checked)))
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
    )
}

/// Nothing is deleted: somebody may want to read it.
fn set_damaged_aside(path: &Path, now: DateTime<Utc>) -> LedgerResult<PathBuf> {
    let kept = PathBuf::from(format!(
        "{}.damaged-{}",
        path.display(),
        now.format("%Y%m%dT%H%M%SZ")
    ));
    let directory_error = |source| LedgerError::Directory {
        path: path.to_owned(),
        source,
    };
    fs::rename(path, &kept).map_err(directory_error)?;
    for suffix in ["-wal", "-shm"] {
        let beside = PathBuf::from(format!("{}{suffix}", path.display()));
        if beside.exists() {
            let kept = PathBuf::from(format!("{}{suffix}", kept.display()));
            fs::rename(&beside, kept).map_err(directory_error)?;
        }
    }
    Ok(kept)
}

fn database_error(path: &Path, source: rusqlite::Error) -> LedgerError {
    LedgerError::Database {
        path: path.to_owned(),
        source,
    }
}

/// A column with a time.
pub(super) fn time_at(row: &Row<'_>, column: usize) -> rusqlite::Result<DateTime<Utc>> {
    let milliseconds: i64 = row.get(column)?;
    DateTime::from_timestamp_millis(milliseconds).ok_or(rusqlite::Error::IntegralValueOutOfRange(
        column,
        milliseconds,
    ))
}

fn active_run(row: &Row<'_>) -> rusqlite::Result<ActiveSlot> {
    let state: String = row.get(5)?;
    let state = if SlotState::from_word(&state) == SlotState::Running {
        ActiveState::Running {
            owner: row.get(6)?,
            lease_until: time_at(row, 7)?,
        }
    } else {
        ActiveState::Waiting {
            not_before: time_at(row, 8)?,
        }
    };
    Ok(ActiveSlot {
        slot: row.get(0)?,
        due: time_at(row, 1)?,
        attempt: row.get(2)?,
        failed: row.get(3)?,
        lost: row.get(4)?,
        state,
    })
}

fn find_pause(connection: &Connection, source: &str) -> rusqlite::Result<Option<SourcePause>> {
    connection
        .prepare_cached("SELECT source, since, until, reason, user FROM pauses WHERE source = ?")?
        .query_row([source], |row| {
            Ok(SourcePause {
                source: row.get(0)?,
                from: time_at(row, 1)?,
                until: time_at(row, 2)?,
                reason: row.get(3)?,
                user: row.get(4)?,
            })
        })
        .optional()
}
