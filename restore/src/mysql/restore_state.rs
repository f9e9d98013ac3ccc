//! The state of a restore, kept at the target so that an interruption loses nothing: rows and the record that they are
//! loaded are committed in one transaction.

use std::collections::BTreeSet;

use reprise_mysql::sql::quote_text;
use reprise_mysql::{DatabaseError, Session, error_code};

use crate::error::{Error, Result};

/// The database that exists while a restore is in progress.
pub(crate) const STATE_DATABASE: &str = "reprise_restore";

/// The database that marks everything else on a server as a drill's. It is created first and dropped last.
pub(crate) const DRILL_DATABASE: &str = "reprise_drill";

/// The steps that are done.
#[derive(Debug, Default)]
pub(crate) struct RestoreState {
    steps: BTreeSet<String>,
    /// The statements that restore the settings of the target that an earlier attempt changed.
    pub(crate) settings_to_revert: Vec<String>,
    /// Whether an earlier attempt may have done more than it could record.
    pub(crate) resumed: bool,
}

impl RestoreState {
    /// Whether a step is done.
    pub(crate) fn has_step(&self, step: &str) -> bool {
        self.steps.contains(step)
    }
}

/// Fails when the state left by an earlier restore does not match this restore.
pub(crate) fn check_resumable(control: &mut Session, run: &str, resume: bool) -> Result<()> {
    let failed = |error| {
        Error::from_database(
            format!("look for an interrupted restore in database {STATE_DATABASE}"),
            error,
        )
    };
    match (interrupted_run(control).map_err(failed)?, resume) {
        (None, false) => Ok(()),
        (Some(known), true) if known == run => Ok(()),
        (Some(known), false) => Err(Error::RestoreInterrupted {
            resumable: known == run,
        }),
        (_, true) => Err(Error::NoRestoreToResume),
    }
}

/// Locks the target for this session. Fails when another restore is in progress.
pub(crate) fn lock_target(control: &mut Session) -> Result<()> {
    let locked = control
        .query_row("SELECT GET_LOCK('reprise_restore', 0)")
        .map_err(|error| Error::from_database("lock the target for this restore", error))?;
    match locked.text(0) {
        Some("1") => Ok(()),
        _ => Err(Error::RestoreInProgress),
    }
}

/// Creates the record of this restore, or reads the existing one.
pub(crate) fn begin_restore(
    control: &mut Session,
    run: &str,
    resume: bool,
) -> Result<RestoreState> {
    let failed = |error| {
        Error::from_database(
            format!("write the restore state to database {STATE_DATABASE}"),
            error,
        )
    };
    check_resumable(control, run, resume)?;
    if resume {
        return load_state(control).map_err(failed);
    }
    create_state(control, run).map_err(failed)?;
    Ok(RestoreState::default())
}

/// Deletes the record of an interrupted restore, so that another can begin.
pub(crate) fn delete_state(control: &mut Session) -> Result<(), DatabaseError> {
    control
        .execute(format!("DROP DATABASE IF EXISTS {STATE_DATABASE}"))
        .map(drop)
}

fn create_state(control: &mut Session, run: &str) -> Result<(), DatabaseError> {
    control.execute(format!("CREATE DATABASE IF NOT EXISTS {STATE_DATABASE}"))?;
    control.execute(format!(
        "CREATE TABLE IF NOT EXISTS {STATE_DATABASE}.steps (step VARBINARY(767) PRIMARY KEY) ENGINE = InnoDB"
    ))?;
    control.execute(format!(
        "CREATE TABLE IF NOT EXISTS {STATE_DATABASE}.settings (back VARBINARY(767) PRIMARY KEY) ENGINE = InnoDB"
    ))?;
    control.execute(format!(
        "CREATE TABLE {STATE_DATABASE}.run (run VARCHAR(255) PRIMARY KEY) ENGINE = InnoDB"
    ))?;
    control.execute(format!(
        "INSERT INTO {STATE_DATABASE}.run VALUES ({})",
        quote_text(run)
    ))?;
    Ok(())
}

/// Describes the restore that was interrupted here.
fn interrupted_run(control: &mut Session) -> Result<Option<String>, DatabaseError> {
    match control.query_rows(format!("SELECT run FROM {STATE_DATABASE}.run")) {
        Ok(rows) => Ok(Some(
            rows.first().map(|row| row.string(0)).unwrap_or_default(),
        )),
        Err(DatabaseError::Server {
            code: error_code::NO_SUCH_TABLE | error_code::UNKNOWN_DATABASE,
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn load_state(control: &mut Session) -> Result<RestoreState, DatabaseError> {
    let steps = control.query_rows(format!("SELECT step FROM {STATE_DATABASE}.steps"))?;
    let settings = control.query_rows(format!("SELECT back FROM {STATE_DATABASE}.settings"))?;
    Ok(RestoreState {
        steps: steps.iter().map(|row| row.string(0)).collect(),
        settings_to_revert: settings.iter().map(|row| row.string(0)).collect(),
        resumed: true,
    })
}

/// Records a step in the open transaction; more than once where it had to be repeated.
pub(crate) fn record_step(session: &mut Session, step: &str) -> Result<(), DatabaseError> {
    session
        .execute(format!(
            "INSERT IGNORE INTO {STATE_DATABASE}.steps VALUES ({})",
            quote_text(step)
        ))
        .map(drop)
}

/// Records how to restore a setting of the target that is about to be changed.
pub(crate) fn record_setting_to_revert(
    session: &mut Session,
    statement: &str,
) -> Result<(), DatabaseError> {
    session
        .execute(format!(
            "INSERT IGNORE INTO {STATE_DATABASE}.settings VALUES ({})",
            quote_text(statement)
        ))
        .map(drop)
}

/// Records that every setting is restored. An account that restores need not have the privilege to delete rows.
pub(crate) fn clear_settings_to_revert(session: &mut Session) -> Result<(), DatabaseError> {
    session
        .execute(format!("TRUNCATE TABLE {STATE_DATABASE}.settings"))
        .map(drop)
}

/// The names of steps.
pub(crate) fn table_created_step(database: &str, table: &str) -> String {
    format!("created {database} {table}")
}

pub(crate) fn account_step(name: &str) -> String {
    format!("account {name}")
}

pub(crate) fn file_loaded_step(path: &str) -> String {
    format!("loaded {path}")
}

pub(crate) fn keys_added_step(database: &str, table: &str, group: usize) -> String {
    format!("keyed {database} {table} {group}")
}

pub(crate) fn foreign_keys_added_step(database: &str, table: &str) -> String {
    format!("bound {database} {table}")
}
