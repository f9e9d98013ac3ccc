//! How far a replay has come, kept at the target: changed in the very transaction that it tells of.

use reprise_snapshotters::mysql::binlog::Ended;
use reprise_snapshotters::mysql::{Cells, DatabaseError};
use serde::{Deserialize, Serialize};

use super::course::{Course, Noted};
use super::interrupted::Pending;
use super::target::Target;
use crate::error::{Error, Result};
use crate::mysql::progress::DATABASE;

/// Only numbers and binary strings, which mean the same under all settings of a session.
const TABLE: &str = "(id TINYINT PRIMARY KEY, run VARBINARY(512) NOT NULL, gtids LONGBLOB NOT NULL, \
    position LONGBLOB NOT NULL, applied BIGINT UNSIGNED NOT NULL, events BIGINT UNSIGNED NOT NULL, \
    passed BIGINT UNSIGNED NOT NULL, last BLOB NOT NULL, pending LONGBLOB NOT NULL) ENGINE = InnoDB";

#[derive(Serialize, Deserialize)]
struct Last(Option<Ended>);

/// Reads what an earlier attempt noted, or begins.
pub(super) fn begin(
    target: &mut Target,
    run: &str,
    course: &mut Course<'_>,
) -> Result<Option<Pending>> {
    let failed = |error| {
        Error::database(
            format!("write the replay checkpoint to database {DATABASE}"),
            error,
        )
    };
    target
        .plain(format!("CREATE DATABASE IF NOT EXISTS {DATABASE}"))
        .map_err(failed)?;
    target
        .plain(format!(
            "CREATE TABLE IF NOT EXISTS {DATABASE}.replay {TABLE}"
        ))
        .map_err(failed)?;
    let rows = target
        .plain_rows(format!(
            "SELECT run, gtids, position, applied, events, passed, last, pending FROM {DATABASE}.replay"
        ))
        .map_err(failed)?;
    let Some(row) = rows.first() else {
        let insert = format!(
            "INSERT INTO {DATABASE}.replay VALUES (1, X'{}', '', '', 0, 0, 0, '', '')",
            hex::encode(run.as_bytes())
        );
        target.plain(insert).map_err(failed)?;
        target.plain(update(&course.now, None)).map_err(failed)?;
        return Ok(None);
    };
    if row.text(0) != Some(run) {
        return Err(Error::ReplayOther { run: row.string(0) });
    }
    let (noted, pending) = parse(row)
        .ok_or_else(|| DatabaseError::Unexpected(format!("table {DATABASE}.replay is damaged")))
        .map_err(failed)?;
    course.resume(noted);
    if let Some(pending) = &pending {
        pending.check()?;
    }
    Ok(pending)
}

fn parse(row: &Cells) -> Option<(Noted, Option<Pending>)> {
    let json = |column| row.bytes(column).filter(|text| !text.is_empty());
    let last: Last = match json(6) {
        Some(text) => serde_json::from_slice(text).ok()?,
        None => Last(None),
    };
    let pending = match json(7) {
        Some(text) => Some(serde_json::from_slice(text).ok()?),
        None => None,
    };
    let noted = Noted {
        set: row.text(1)?.parse().ok()?,
        position: row.text(2)?.parse().ok()?,
        applied: row.number(3)?,
        events: row.number(4)?,
        passed: row.number(5)?,
        last: last.0,
    };
    Some((noted, pending))
}

/// The statement that notes how far it has come, and what is about to be done.
pub(super) fn update(noted: &Noted, pending: Option<&Pending>) -> String {
    // Neither can fail: they are numbers and texts.
    let last = serde_json::to_vec(&Last(noted.last.clone())).unwrap_or_default();
    let pending = pending.map(|pending| serde_json::to_vec(pending).unwrap_or_default());
    format!(
        "UPDATE {DATABASE}.replay SET gtids = X'{}', position = X'{}', applied = {}, events = {}, \
         passed = {}, last = X'{}', pending = X'{}' WHERE id = 1",
        hex::encode(noted.set.to_string().as_bytes()),
        hex::encode(noted.position.to_string().as_bytes()),
        noted.applied,
        noted.events,
        noted.passed,
        hex::encode(last),
        hex::encode(pending.unwrap_or_default()),
    )
}

/// The statement that notes only what is about to be done.
pub(super) fn announce(pending: &Pending) -> String {
    let pending = serde_json::to_vec(pending).unwrap_or_default();
    format!(
        "UPDATE {DATABASE}.replay SET pending = X'{}' WHERE id = 1",
        hex::encode(pending)
    )
}

/// The statement that notes that nothing is about to be done.
pub(super) fn withdraw() -> String {
    format!("UPDATE {DATABASE}.replay SET pending = '' WHERE id = 1")
}
