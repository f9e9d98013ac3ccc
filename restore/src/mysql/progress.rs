//! What a restore has done, kept at the target so that an interruption loses nothing: rows and the note that
//! they are there are one transaction.

use std::collections::BTreeSet;

use reprise_snapshotters::mysql::sql::text;
use reprise_snapshotters::mysql::{DatabaseError, Session, code};

use crate::error::{Error, Result};

/// The database that exists while a restore is under way.
pub(super) const DATABASE: &str = "reprise_restore";

/// What is done.
#[derive(Debug, Default)]
pub(super) struct Done {
    steps: BTreeSet<String>,
    /// The statements that put back the settings of the target that an earlier attempt changed.
    pub(super) to_put_back: Vec<String>,
    /// Whether an earlier attempt may have done more than it could note.
    pub(super) resumed: bool,
}

impl Done {
    /// Whether a step is done.
    pub(super) fn has(&self, step: &str) -> bool {
        self.steps.contains(step)
    }
}

/// Fails when what was left by an earlier restore does not go together with what is asked for now.
pub(super) fn check(control: &mut Session, run: &str, resume: bool) -> Result<()> {
    let failed = |error| {
        Error::database(
            format!("look for an interrupted restore in database {DATABASE}"),
            error,
        )
    };
    match (earlier(control).map_err(failed)?, resume) {
        (None, false) => Ok(()),
        (Some(known), true) if known == run => Ok(()),
        (Some(known), false) => Err(Error::RestoreInterrupted {
            resumable: known == run,
        }),
        (_, true) => Err(Error::NoRestoreToResume),
    }
}

/// Takes the target for this session. Fails when another restore is under way.
pub(super) fn take(control: &mut Session) -> Result<()> {
    let locked = control
        .row("SELECT GET_LOCK('reprise_restore', 0)")
        .map_err(|error| Error::database("lock the target for this restore", error))?;
    match locked.text(0) {
        Some("1") => Ok(()),
        _ => Err(Error::RestoreRuns),
    }
}

/// Begins a record of this restore, or reads the one that there is.
pub(super) fn begin(control: &mut Session, run: &str, resume: bool) -> Result<Done> {
    let failed = |error| {
        Error::database(
            format!("write the restore state to database {DATABASE}"),
            error,
        )
    };
    check(control, run, resume)?;
    if resume {
        return steps(control).map_err(failed);
    }
    create(control, run).map_err(failed)?;
    Ok(Done::default())
}

/// Forgets an interrupted restore, so that another can begin.
pub(super) fn forget(control: &mut Session) -> Result<(), DatabaseError> {
    control
        .execute(format!("DROP DATABASE IF EXISTS {DATABASE}"))
        .map(drop)
}

fn create(control: &mut Session, run: &str) -> Result<(), DatabaseError> {
    control.execute(format!("CREATE DATABASE IF NOT EXISTS {DATABASE}"))?;
    control.execute(format!(
        "CREATE TABLE IF NOT EXISTS {DATABASE}.steps (step VARBINARY(767) PRIMARY KEY) ENGINE = InnoDB"
    ))?;
    control.execute(format!(
        "CREATE TABLE IF NOT EXISTS {DATABASE}.settings (back VARBINARY(767) PRIMARY KEY) ENGINE = InnoDB"
    ))?;
    control.execute(format!(
        "CREATE TABLE {DATABASE}.run (run VARCHAR(255) PRIMARY KEY) ENGINE = InnoDB"
    ))?;
    control.execute(format!("INSERT INTO {DATABASE}.run VALUES ({})", text(run)))?;
    Ok(())
}

/// What the restore that was interrupted here was.
fn earlier(control: &mut Session) -> Result<Option<String>, DatabaseError> {
    match control.rows(format!("SELECT run FROM {DATABASE}.run")) {
        Ok(rows) => Ok(Some(
            rows.first().map(|row| row.string(0)).unwrap_or_default(),
        )),
        Err(DatabaseError::Server {
            code: code::NO_TABLE | code::NO_DATABASE,
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn steps(control: &mut Session) -> Result<Done, DatabaseError> {
    let steps = control.rows(format!("SELECT step FROM {DATABASE}.steps"))?;
    let settings = control.rows(format!("SELECT back FROM {DATABASE}.settings"))?;
    Ok(Done {
        steps: steps.iter().map(|row| row.string(0)).collect(),
        to_put_back: settings.iter().map(|row| row.string(0)).collect(),
        resumed: true,
    })
}

/// Notes a step in the transaction that is open; once more where it had to be repeated.
pub(super) fn note(session: &mut Session, step: &str) -> Result<(), DatabaseError> {
    session
        .execute(format!(
            "INSERT IGNORE INTO {DATABASE}.steps VALUES ({})",
            text(step)
        ))
        .map(drop)
}

/// Notes how a setting of the target, which is about to be changed, is put back.
pub(super) fn will_put_back(session: &mut Session, statement: &str) -> Result<(), DatabaseError> {
    session
        .execute(format!(
            "INSERT IGNORE INTO {DATABASE}.settings VALUES ({})",
            text(statement)
        ))
        .map(drop)
}

/// Notes that every setting is as it was. An account that restores need not have the right to delete rows.
pub(super) fn has_put_back(session: &mut Session) -> Result<(), DatabaseError> {
    session
        .execute(format!("TRUNCATE TABLE {DATABASE}.settings"))
        .map(drop)
}

/// The names of steps.
pub(super) fn created(database: &str, table: &str) -> String {
    format!("created {database} {table}")
}

pub(super) fn account(name: &str) -> String {
    format!("account {name}")
}

pub(super) fn loaded(path: &str) -> String {
    format!("loaded {path}")
}

pub(super) fn keyed(database: &str, table: &str, group: usize) -> String {
    format!("keyed {database} {table} {group}")
}

pub(super) fn bound(database: &str, table: &str) -> String {
    format!("bound {database} {table}")
}
