//! The history: runs, and slots that no run was made for.

use chrono::{DateTime, Utc};
use reprise_repository::Outcome;
use rusqlite::{Connection, Row, params};

use super::database::{Ledger, time_at};
use super::error::{LedgerError, LedgerResult};
use super::records::{RunRecord, SlotState, StepRecord};

/// Which part of the history.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Of this job only, or of all whose names begin with this and a slash.
    pub job: Option<String>,
    /// Not older than this.
    pub since: Option<DateTime<Utc>>,
    /// Only what did not end well.
    pub only_failed: bool,
    /// At most so many, the newest ones.
    pub limit: Option<u32>,
}

const RUN_COLUMNS: &str = "runs.id, runs.job, runs.slot, 1, runs.attempt, runs.state, runs.error, runs.hint, runs.started, runs.ended, runs.late, runs.host, runs.program, runs.zone_data, runs.policy_version";

impl Ledger {
    /// Runs, and slots that no run was made for, newest first, without their steps.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn list_runs(&self, filter: &RunFilter) -> LedgerResult<Vec<RunRecord>> {
        let since = filter
            .since
            .map_or(i64::MIN, |since| since.timestamp_millis());
        let limit = filter.limit.map_or(-1, i64::from);
        let job = filter.job.as_deref().unwrap_or_default();
        self.with_connection(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT * FROM (
                   SELECT {RUN_COLUMNS} FROM runs
                   UNION ALL
                   SELECT '', job, slot, slot_count, 0, state, reason, '', decided, decided, 0, '', '', '', '' FROM slots
                   WHERE state IN ('coalesced', 'skipped')
                 ) WHERE started >= ?1 AND (?2 = '' OR job = ?2 OR substr(job, 1, length(?2) + 1) = ?2 || '/')
                 AND (NOT ?3 OR state IN ('failed', 'degraded', 'skipped'))
                 ORDER BY started DESC, slot DESC LIMIT ?4"
            ))?;
            statement
                .query_map(params![since, job, filter.only_failed, limit], run_record)?
                .collect()
        })
    }

    /// How many slots of a job ended well, or degraded.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn count_done(&self, job: &str) -> LedgerResult<u64> {
        let count: i64 = self.with_connection(|connection| {
            connection
                .prepare_cached(
                    "SELECT count(*) FROM slots WHERE job = ? AND state IN ('ok', 'degraded')",
                )?
                .query_row([job], |row| row.get(0))
        })?;
        Ok(count.unsigned_abs())
    }

    /// The run with this ID, of which the beginning is enough, with its steps.
    ///
    /// # Errors
    /// When there is none, or more than one; or the ledger cannot be read.
    pub fn find_run(&self, prefix: &str) -> LedgerResult<RunRecord> {
        let mut found = self.with_connection(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {RUN_COLUMNS} FROM runs WHERE substr(id, 1, length(?1)) = ?1 LIMIT 2"
            ))?;
            let runs: rusqlite::Result<Vec<RunRecord>> =
                statement.query_map([prefix], run_record)?.collect();
            let mut runs = runs?;
            for run in &mut runs {
                run.steps = load_steps(connection, &run.id)?;
            }
            Ok(runs)
        })?;
        let prefix = prefix.to_owned();
        match (found.pop(), found.is_empty()) {
            (Some(run), true) => Ok(run),
            (Some(_), false) => Err(LedgerError::AmbiguousRun { prefix }),
            (None, _) => Err(LedgerError::NoSuchRun { prefix }),
        }
    }
}

fn run_record(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    let state: String = row.get(5)?;
    let ended: Option<i64> = row.get(9)?;
    Ok(RunRecord {
        id: row.get(0)?,
        job: row.get(1)?,
        slot: row.get(2)?,
        slots: row.get::<_, i64>(3)?.unsigned_abs(),
        attempt: row.get(4)?,
        state: SlotState::from_word(&state),
        reason: row.get(6)?,
        hint: row.get(7)?,
        started: time_at(row, 8)?,
        ended: ended.and_then(DateTime::from_timestamp_millis),
        is_late: row.get(10)?,
        host: row.get(11)?,
        program: row.get(12)?,
        zone_data: row.get(13)?,
        policy_version: row.get(14)?,
        steps: Vec::new(),
    })
}

fn load_steps(connection: &Connection, run: &str) -> rusqlite::Result<Vec<StepRecord>> {
    let mut statement = connection.prepare_cached(
        "SELECT name, outcome, facts, error, hint FROM steps WHERE run = ? ORDER BY number",
    )?;
    statement
        .query_map([run], |row| {
            let outcome: String = row.get(1)?;
            let facts: String = row.get(2)?;
            Ok(StepRecord {
                name: row.get(0)?,
                outcome: match outcome.as_str() {
                    "ok" => Outcome::Ok,
                    "degraded" => Outcome::Degraded,
                    _ => Outcome::Failed,
                },
                facts: serde_json::from_str(&facts).unwrap_or_default(),
                error: row.get(3)?,
                hint: row.get(4)?,
            })
        })?
        .collect()
}
