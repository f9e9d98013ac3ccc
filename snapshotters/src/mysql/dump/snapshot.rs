//! The snapshot of a server: one consistent state, and the definitions before and after its rows.

use std::sync::Arc;

use reprise_mysql::sql::qualify_name;
use reprise_mysql::{DatabaseError, ServerInfo, Session, error_code, set_session_variables};
use reprise_repository::{CommittedSnapshot, Repository, SourceKind};

use super::accounts::read_accounts_with_warnings;
use super::consistent_snapshot::{
    DdlLock, lock_definitions, open_snapshots, set_short_lock_timeout, unlock_definitions,
};
use super::source::MysqlSource;
use super::stored_files::{build_manifest, store_snapshot};
use crate::error::{Error, Result};
use crate::mysql::dump::rows::reader::{read_tables, table_read_requests};
use crate::mysql::dump::schema::reader::read_schema;
use crate::mysql::dump::schema::server_schema::ServerSchema;
use crate::run::RunContext;

/// How often a snapshot restarts because a definition changed during it.
const SNAPSHOT_ATTEMPTS_MAX: usize = 5;

/// Stores a server.
///
/// # Errors
/// The server's error with its object, or errors of storing. A server whose definitions change
/// all the time cannot be stored by an account that may not prevent that.
pub fn take_snapshot(
    repository: &Repository,
    source: &MysqlSource,
    run: &RunContext,
) -> Result<CommittedSnapshot> {
    let mut control = open_session(source, run)?;
    let server = ServerInfo::query(&mut control)
        .map_err(|e| Error::from_database("query the version and variables of the server", e))?;
    let mut changed = String::new();
    for attempt in 0..SNAPSHOT_ATTEMPTS_MAX {
        match attempt_snapshot(repository, source, run, &mut control, &server, attempt)? {
            SnapshotAttempt::Committed(committed) => return Ok(*committed),
            SnapshotAttempt::DefinitionsChanged(what) => {
                tracing::info!(
                    attempt,
                    what,
                    "a definition changed during the snapshot; restarting the snapshot"
                );
                changed = what;
                control = open_session(source, run)?;
            }
        }
    }
    Err(Error::DefinitionsChanging { object: changed })
}

enum SnapshotAttempt {
    Committed(Box<CommittedSnapshot>),
    /// The object that changed.
    DefinitionsChanged(String),
}

fn open_session(source: &MysqlSource, run: &RunContext) -> Result<Session> {
    let connect = || {
        let mut session = Session::open(&source.address, &run.progress)?;
        set_session_variables(&mut session)?;
        Ok(session)
    };
    connect().map_err(|error| Error::from_database(format!("connect to {}", source.address), error))
}

/// The connections that read rows.
fn open_readers(source: &MysqlSource, run: &RunContext, lock: &DdlLock) -> Result<Vec<Session>> {
    let mut readers = (0..source.connections.max(1))
        .map(|_| open_session(source, run))
        .collect::<Result<Vec<_>>>()?;
    if lock.can_deadlock_with_readers() {
        readers
            .iter_mut()
            .try_for_each(set_short_lock_timeout)
            .map_err(|error| Error::from_database("set lock_wait_timeout", error))?;
    }
    Ok(readers)
}

fn attempt_snapshot(
    repository: &Repository,
    source: &MysqlSource,
    run: &RunContext,
    control: &mut Session,
    server: &ServerInfo,
    attempt: usize,
) -> Result<SnapshotAttempt> {
    let failed = |doing: &'static str| move |error| Error::from_database(doing, error);
    let kept = lock_definitions(control, server, attempt > 0)
        .map_err(failed("lock object definitions (DDL)"))?;
    // DDL that waits for the lock may hold a table that is read here: it is let through.
    let passes = |error: &DatabaseError| {
        let waited = error.code() == Some(error_code::LOCK_WAIT_TIMEOUT);
        is_definition_change(error) || waited && kept.can_deadlock_with_readers()
    };
    let before = match read_schema(control, server, &source.filter) {
        Ok(schema) => schema,
        Err(error) if passes(&error) => {
            return Ok(SnapshotAttempt::DefinitionsChanged(error.to_string()));
        }
        Err(error) => return Err(Error::from_database("read object definitions", error)),
    };
    if before.databases.is_empty() {
        // An empty snapshot would look like a complete one.
        return Err(Error::NoDatabases {
            server: source.address.to_string(),
            patterns: source.filter.database_patterns(),
        });
    }
    let mut readers = open_readers(source, run, &kept)?;
    let mut holder = lock_nontransactional_tables(source, run, &before)?;
    let moment = open_snapshots(control, &mut readers, server)
        .map_err(failed("open a consistent snapshot"))?;
    let (parent, options) = run.prepare_snapshot(repository, SourceKind::Mysql)?;
    let writer = repository.begin_snapshot(options, Arc::clone(&run.progress), None)?;
    let readings = table_read_requests(&before);
    let found = {
        let sender = writer.stream_sender()?;
        read_tables(&mut readers, &readings, Some(&sender), &run.progress)
    };
    drop(readings);
    let found = match found {
        Ok(found) => found,
        Err(Error::Database {
            operation: doing,
            source,
        }) if passes(&source) => {
            return Ok(SnapshotAttempt::DefinitionsChanged(format!(
                "{doing}: {source}"
            )));
        }
        Err(error) => return Err(error),
    };
    drop(holder.take());
    drop(readers);
    let after = match read_schema(control, server, &source.filter) {
        Ok(schema) => schema,
        Err(error) if passes(&error) => {
            return Ok(SnapshotAttempt::DefinitionsChanged(error.to_string()));
        }
        Err(error) => {
            return Err(Error::from_database(
                "read object definitions again after the rows",
                error,
            ));
        }
    };
    if let Some(what) = before.find_change(&after) {
        return Ok(SnapshotAttempt::DefinitionsChanged(what));
    }
    let accounts = read_accounts_with_warnings(source, control, server)?;
    unlock_definitions(control, kept).map_err(failed("unlock object definitions (DDL)"))?;
    let manifest = build_manifest(server, moment, after, found.as_slice(), accounts, source);
    let committed = store_snapshot(writer, manifest, &found, source, run, parent.as_ref())?;
    Ok(SnapshotAttempt::Committed(Box::new(committed)))
}

/// Whether an error means that a definition has changed.
fn is_definition_change(error: &DatabaseError) -> bool {
    // Besides: unknown column, view, routine, trigger, event, database, key; a definition that is being changed.
    matches!(
        error.code(),
        Some(
            error_code::TABLE_DEFINITION_CHANGED
                | error_code::DEADLOCK
                | error_code::NO_SUCH_TABLE
                | 1054
                | 1176
                | 1305
                | 1356
                | 1360
                | 1539
                | 1684
                | error_code::UNKNOWN_DATABASE
                | 4177
        )
    )
}

/// Locks the non-transactional tables, if requested.
fn lock_nontransactional_tables(
    source: &MysqlSource,
    run: &RunContext,
    schema: &ServerSchema,
) -> Result<Option<Session>> {
    let tables: Vec<String> = nontransactional_tables(schema).collect();
    if !source.hold_nontransactional || tables.is_empty() {
        return Ok(None);
    }
    let mut holder = open_session(source, run)?;
    let locks: Vec<String> = tables.iter().map(|table| format!("{table} READ")).collect();
    holder
        .execute(format!("LOCK TABLES {}", locks.join(", ")))
        .map_err(|error| Error::from_database("lock non-transactional tables", error))?;
    Ok(Some(holder))
}

fn nontransactional_tables(schema: &ServerSchema) -> impl Iterator<Item = String> {
    schema.databases.iter().flat_map(|database| {
        let tables = database.tables.iter().filter(|table| !table.consistent);
        tables.map(|table| qualify_name(&database.name, &table.name))
    })
}
