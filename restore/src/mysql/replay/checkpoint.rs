//! The replay checkpoint, kept at the target: updated in the same transaction that it describes.

use reprise_mysql::binlog::LoggedTransaction;
use reprise_mysql::{DatabaseError, Session, TextRow};
use serde::{Deserialize, Serialize};

use super::pending_change::PendingChange;
use super::replay_progress::{ReplayCheckpoint, ReplayProgress};
use crate::error::{Error, Result};
use crate::mysql::restore_state::STATE_DATABASE;

/// Only numbers and binary strings, whose meaning does not depend on session settings.
const TABLE_COLUMNS: &str = "(id TINYINT PRIMARY KEY, run VARBINARY(512) NOT NULL, gtids LONGBLOB NOT NULL, \
    position LONGBLOB NOT NULL, applied BIGINT UNSIGNED NOT NULL, events BIGINT UNSIGNED NOT NULL, \
    passed BIGINT UNSIGNED NOT NULL, last BLOB NOT NULL, pending LONGBLOB NOT NULL) ENGINE = InnoDB";

#[derive(Serialize, Deserialize)]
struct LastApplied(Option<LoggedTransaction>);

/// Reads the checkpoint of an earlier attempt, or creates one.
pub(crate) fn load_or_create(
    session: &mut Session,
    run: &str,
    course: &mut ReplayProgress<'_>,
) -> Result<Option<PendingChange>> {
    let failed = |error| {
        Error::from_database(
            format!("write the replay checkpoint to database {STATE_DATABASE}"),
            error,
        )
    };
    session
        .execute(format!("CREATE DATABASE IF NOT EXISTS {STATE_DATABASE}"))
        .map_err(failed)?;
    session
        .execute(format!(
            "CREATE TABLE IF NOT EXISTS {STATE_DATABASE}.replay {TABLE_COLUMNS}"
        ))
        .map_err(failed)?;
    let rows = session
        .query_rows(format!(
            "SELECT run, gtids, position, applied, events, passed, last, pending FROM {STATE_DATABASE}.replay"
        ))
        .map_err(failed)?;
    let Some(row) = rows.first() else {
        let insert = format!(
            "INSERT INTO {STATE_DATABASE}.replay VALUES (1, X'{}', '', '', 0, 0, 0, '', '')",
            hex::encode(run.as_bytes())
        );
        session.execute(insert).map_err(failed)?;
        session
            .execute(update_statement(&course.checkpoint, None))
            .map_err(failed)?;
        return Ok(None);
    };
    if row.text(0) != Some(run) {
        return Err(Error::OtherReplayInterrupted { run: row.string(0) });
    }
    let (noted, pending) = parse_row(row)
        .ok_or_else(|| {
            DatabaseError::UnexpectedResponse(format!("table {STATE_DATABASE}.replay is damaged"))
        })
        .map_err(failed)?;
    course.resume_from(noted);
    if let Some(pending) = &pending {
        pending.check_recoverable()?;
    }
    Ok(pending)
}

fn parse_row(row: &TextRow) -> Option<(ReplayCheckpoint, Option<PendingChange>)> {
    let json = |column| row.bytes(column).filter(|text| !text.is_empty());
    let last: LastApplied = match json(6) {
        Some(text) => serde_json::from_slice(text).ok()?,
        None => LastApplied(None),
    };
    let pending = match json(7) {
        Some(text) => Some(serde_json::from_slice(text).ok()?),
        None => None,
    };
    let noted = ReplayCheckpoint {
        gtid_set: row.text(1)?.parse().ok()?,
        position: row.text(2)?.parse().ok()?,
        applied: row.number(3)?,
        events: row.number(4)?,
        transactions_read: row.number(5)?,
        last_applied: last.0,
    };
    Some((noted, pending))
}

/// The statement that records the progress and the pending change.
pub(crate) fn update_statement(
    noted: &ReplayCheckpoint,
    pending: Option<&PendingChange>,
) -> String {
    // Neither can fail: they are numbers and strings.
    let last = serde_json::to_vec(&LastApplied(noted.last_applied.clone())).unwrap_or_default();
    let pending = pending.map(|pending| serde_json::to_vec(pending).unwrap_or_default());
    format!(
        "UPDATE {STATE_DATABASE}.replay SET gtids = X'{}', position = X'{}', applied = {}, events = {}, \
         passed = {}, last = X'{}', pending = X'{}' WHERE id = 1",
        hex::encode(noted.gtid_set.to_string().as_bytes()),
        hex::encode(noted.position.to_string().as_bytes()),
        noted.applied,
        noted.events,
        noted.transactions_read,
        hex::encode(last),
        hex::encode(pending.unwrap_or_default()),
    )
}

/// The statement that records only the pending change.
pub(crate) fn set_pending_statement(pending: &PendingChange) -> String {
    let pending = serde_json::to_vec(pending).unwrap_or_default();
    format!(
        "UPDATE {STATE_DATABASE}.replay SET pending = X'{}' WHERE id = 1",
        hex::encode(pending)
    )
}

/// The statement that deletes the record of the pending change.
pub(crate) fn clear_pending_statement() -> String {
    format!("UPDATE {STATE_DATABASE}.replay SET pending = '' WHERE id = 1")
}
