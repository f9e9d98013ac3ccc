//! A MySQL or MariaDB server as a source: all rows of one consistent state, and all definitions.
//!
//! ```text
//! schema ─► consistent snapshot ─► rows (several connections) ─► schema again: unchanged? ─► manifest, script, root
//! ```
//!
//! Writers are not blocked. If a definition changes meanwhile, the snapshot restarts.
//!
//! The connection: `address`, `option_file`, `container`, `session` (one blocking connection), `server_info`.
//! Definitions: `schema`, `privileges`, `accounts`, `view_order`, `filter`. Rows: `consistent_snapshot` (one state over
//! several connections), `keys` (ranges), `row_reader`, `row_text` (lines, checksums). Stored: `manifest`, `script`
//! (`load.sql`), `sql`. The log: `wire`, `binlog`, `archive`.

mod accounts;
mod address;
pub mod archive;
pub mod binlog;
mod consistent_snapshot;
mod container;
mod error;
mod filter;
mod keys;
mod manifest;
mod option_file;
mod privileges;
mod row_reader;
pub mod row_text;
mod schema;
pub mod script;
mod server_info;
mod session;
pub mod sql;
mod view_order;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reprise_repository::{
    CommittedSnapshot, Entry, EntryKind, FileTime, Progress, RawText, Repository, Snapshot,
    SnapshotItem, SnapshotSummary, SnapshotWriter, SourceKind, Warning, path_order,
};
use serde_json::json;

pub use accounts::format_account;
pub use address::{Address, Password, Tls};
pub use error::{DatabaseError, error_code};
pub use filter::{Filter, SYSTEM_DATABASES};
pub use manifest::{
    Consistency, ConsistentSnapshot, Flavour, LogStartCoordinates, MANIFEST_FILE, Manifest,
    MysqlAccount, MysqlDatabase, MysqlStoredObject, MysqlTable, ObjectDefinition, Sequence,
    ServerFacts, TableColumn, TableDataFile, ValueFormat, encode_file_name, table_directory,
};
pub use privileges::Privileges;
pub use server_info::{ServerInfo, set_session_variables, try_set_variable};
pub use session::{Bytes, Row, Session, StatementResult, TextRow, Value};

use crate::error::{Error, Result};
use crate::run::{RunContext, source_warning};
use consistent_snapshot::DdlLock;
use row_reader::{TableReadRequest, TableReadResult};
use schema::ServerSchema;

/// How often a snapshot restarts because a definition changed during it.
const SNAPSHOT_ATTEMPTS_MAX: usize = 5;

/// How many connections read by default.
pub const CONNECTIONS_DEFAULT: usize = 4;

/// A server to store.
#[derive(Debug, Clone)]
pub struct MysqlSource {
    /// Its address and account.
    pub address: Address,
    /// What is included.
    pub filter: Filter,
    /// How many connections read rows.
    pub connections: usize,
    /// Whether users and roles are stored.
    pub accounts: bool,
    /// Lock non-transactional tables while they are read, so that they are consistent with the others too. Writers to
    /// them wait.
    pub hold_nontransactional: bool,
}

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
            .try_for_each(consistent_snapshot::set_short_lock_timeout)
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
    let kept = consistent_snapshot::lock_definitions(control, server, attempt > 0)
        .map_err(failed("lock object definitions (DDL)"))?;
    // DDL that waits for the lock may hold a table that is read here: it is let through.
    let passes = |error: &DatabaseError| {
        let waited = error.code() == Some(error_code::LOCK_WAIT_TIMEOUT);
        is_definition_change(error) || waited && kept.can_deadlock_with_readers()
    };
    let before = match schema::read_schema(control, server, &source.filter) {
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
    let moment = consistent_snapshot::open_snapshots(control, &mut readers, server)
        .map_err(failed("open a consistent snapshot"))?;
    let (parent, options) = run.prepare_snapshot(repository, SourceKind::Mysql)?;
    let writer = repository.begin_snapshot(options, Arc::clone(&run.progress), None)?;
    let readings = table_read_requests(&before);
    let found = {
        let sender = writer.stream_sender()?;
        row_reader::read_tables(&mut readers, &readings, Some(&sender), &run.progress)
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
    let after = match schema::read_schema(control, server, &source.filter) {
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
    let accounts = read_accounts(source, control, server)?;
    consistent_snapshot::unlock_definitions(control, kept)
        .map_err(failed("unlock object definitions (DDL)"))?;
    let manifest = build_manifest(server, moment, after, found.as_slice(), accounts, source);
    let committed = store_snapshot(writer, manifest, &found, source, run, parent.as_ref())?;
    Ok(SnapshotAttempt::Committed(Box::new(committed)))
}

/// A table of a server, read for comparison.
#[derive(Debug, Clone)]
pub struct TableChecksum {
    /// Its database.
    pub database: String,
    /// The table, with its current rows and checksum.
    pub table: MysqlTable,
}

/// Counts and checksums every row of a server's tables, by the same method as a snapshot.
///
/// # Errors
/// The server's error.
pub fn checksum_tables(
    address: &Address,
    filter: &Filter,
    connections: usize,
    progress: &Arc<Progress>,
) -> Result<Vec<TableChecksum>> {
    let open = || -> Result<Session, DatabaseError> {
        let mut session = Session::open(address, progress)?;
        set_session_variables(&mut session)?;
        Ok(session)
    };
    let mut control = open()?;
    let server = ServerInfo::query(&mut control)?;
    let schema = schema::read_schema(&mut control, &server, filter)?;
    let mut readers = (0..connections.max(1))
        .map(|_| open())
        .collect::<Result<Vec<_>, _>>()?;
    let readings = table_read_requests(&schema);
    let found = row_reader::read_tables(&mut readers, &readings, None, progress)?;
    let tables = readings.iter().zip(found);
    Ok(tables
        .map(|(reading, found)| TableChecksum {
            database: reading.database.to_owned(),
            table: MysqlTable {
                rows: found.checksum.rows,
                checksum: found.checksum.to_hex(),
                ..reading.table.clone()
            },
        })
        .collect())
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

fn table_read_requests(schema: &ServerSchema) -> Vec<TableReadRequest<'_>> {
    let of = |plan: &schema::TableReadPlan| &schema.databases[plan.database_index];
    let plans = schema.plans.iter();
    plans
        .map(|plan| TableReadRequest {
            database: &of(plan).name,
            table: &of(plan).tables[plan.table_index],
            plan,
        })
        .collect()
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
        tables.map(|table| sql::qualify_name(&database.name, &table.name))
    })
}

/// Accounts, and warnings about them.
#[derive(Default)]
struct AccountsWithWarnings {
    accounts: Option<Vec<MysqlAccount>>,
    warnings: Vec<String>,
}

fn read_accounts(
    source: &MysqlSource,
    control: &mut Session,
    server: &ServerInfo,
) -> Result<AccountsWithWarnings> {
    if !source.accounts {
        return Ok(AccountsWithWarnings::default());
    }
    let failed = |error| Error::from_database("read accounts", error);
    let Some(read) = accounts::read_accounts(control, server).map_err(failed)? else {
        let warning = "users and roles are not included: the account has no SELECT privilege on mysql.user (grant it, or leave them out with --no-users)";
        return Ok(AccountsWithWarnings {
            accounts: None,
            warnings: vec![warning.to_owned()],
        });
    };
    let second = accounts::accounts_with_secondary_password(control).map_err(failed)?;
    let warning = |name| {
        format!(
            "the secondary password of {name} is not included: no statement of the server shows it"
        )
    };
    Ok(AccountsWithWarnings {
        accounts: Some(read),
        warnings: second.into_iter().map(warning).collect(),
    })
}

/// The manifest without the rows; and its warnings.
struct ManifestWithWarnings {
    manifest: Manifest,
    warnings: Vec<Warning>,
}

fn build_manifest(
    server: &ServerInfo,
    moment: ConsistentSnapshot,
    schema: ServerSchema,
    found: &[TableReadResult],
    accounts: AccountsWithWarnings,
    source: &MysqlSource,
) -> ManifestWithWarnings {
    let mut warnings: Vec<String> = schema.warnings;
    warnings.extend(accounts.warnings);
    if let Some(undecided @ 1..) = moment.undecided {
        warnings.push(format!(
            "rows of prepared transactions that are neither committed nor rolled back are not included (number of transactions: {undecided}; see XA RECOVER)"
        ));
    }
    let mut databases = schema.databases;
    for (plan, found) in schema.plans.iter().zip(found) {
        let database = &mut databases[plan.database_index];
        let directory = table_directory(&database.name, &database.tables[plan.table_index].name);
        let table = &mut database.tables[plan.table_index];
        table.rows = found.checksum.rows;
        table.checksum = found.checksum.to_hex();
        table.line_bytes_max = found.line_bytes_max;
        table.pieces = found
            .files
            .iter()
            .enumerate()
            .map(|(n, piece)| TableDataFile {
                path: format!("{directory}/{:06}.tsv", n + 1),
                rows: piece.rows,
                bytes: piece.bytes,
            })
            .collect();
        if !table.consistent {
            if source.hold_nontransactional {
                table.consistent = true;
            } else {
                warnings.push(format!(
                    "{} may be inconsistent with the other tables: its engine {} is not transactional (lock such tables with --hold-nontransactional)",
                    sql::qualify_name(&database.name, &table.name),
                    table.engine
                ));
            }
        }
    }
    let manifest = Manifest {
        format: manifest::MANIFEST_FORMAT,
        server: server.facts.clone(),
        moment,
        tablespaces: schema.tablespaces,
        databases,
        accounts: accounts.accounts,
    };
    ManifestWithWarnings {
        manifest,
        warnings: warnings.into_iter().map(source_warning).collect(),
    }
}

/// A file of the snapshot's tree.
enum SnapshotFile {
    Text(Vec<u8>),
    Stream(reprise_repository::StreamId, u64),
}

fn store_snapshot(
    mut writer: SnapshotWriter,
    described: ManifestWithWarnings,
    found: &[TableReadResult],
    source: &MysqlSource,
    run: &RunContext,
    parent: Option<&Snapshot>,
) -> Result<CommittedSnapshot> {
    let ManifestWithWarnings {
        manifest,
        mut warnings,
    } = described;
    let time = manifest.moment.time;
    let mtime = FileTime(time.timestamp(), time.timestamp_subsec_nanos());
    let files = collect_files(&manifest, found)?;
    add_files(&mut writer, files, mtime)?;
    let facts = summary_facts(&manifest);
    let committed = writer.finish(|counts, _| {
        warnings.extend(run.shrink_alarms(parent, counts));
        Ok(SnapshotSummary {
            data_time: time,
            finished: (run.clock)(),
            facts,
            location: RawText::from(source.address.to_string().as_str()),
            warnings,
        })
    })?;
    Ok(committed)
}

/// All files by path.
fn collect_files(
    manifest: &Manifest,
    found: &[TableReadResult],
) -> Result<Vec<(String, SnapshotFile)>> {
    let json = serde_json::to_vec_pretty(manifest).map_err(|error| {
        reprise_repository::Error::Internal(format!("writing the manifest: {error}"))
    })?;
    let mut files = vec![
        (MANIFEST_FILE.to_owned(), SnapshotFile::Text(json)),
        (
            script::LOAD_SCRIPT_FILE.to_owned(),
            SnapshotFile::Text(script::build_load_script(manifest)),
        ),
        (
            script::README_FILE.to_owned(),
            SnapshotFile::Text(script::build_readme(manifest).into_bytes()),
        ),
    ];
    if let Some(accounts) = &manifest.accounts {
        let text = SnapshotFile::Text(script::build_accounts_script(accounts));
        files.push((script::ACCOUNTS_SCRIPT_FILE.to_owned(), text));
        let text = SnapshotFile::Text(script::build_grants_script(accounts));
        files.push((script::GRANTS_SCRIPT_FILE.to_owned(), text));
    }
    if let Some(text) = script::build_broken_views_script(manifest) {
        files.push((
            script::BROKEN_VIEWS_SCRIPT_FILE.to_owned(),
            SnapshotFile::Text(text),
        ));
    }
    let tables = manifest
        .databases
        .iter()
        .flat_map(|database| &database.tables);
    for (table, found) in tables.zip(found) {
        for (piece, stream) in table.pieces.iter().zip(&found.files) {
            files.push((
                piece.path.clone(),
                SnapshotFile::Stream(stream.stream, stream.bytes),
            ));
        }
    }
    files.sort_by(|a, b| path_order(a.0.as_bytes(), b.0.as_bytes()));
    Ok(files)
}

fn add_files(
    writer: &mut SnapshotWriter,
    files: Vec<(String, SnapshotFile)>,
    mtime: FileTime,
) -> Result<()> {
    let mut chunker = writer.content_chunker();
    let mut directories = BTreeSet::new();
    for (path, file) in files {
        for (end, _) in path.match_indices('/') {
            if directories.insert(path[..end].to_owned()) {
                let directory = Entry {
                    mode: 0o700,
                    mtime,
                    uid: rustix::process::geteuid().as_raw(),
                    gid: rustix::process::getegid().as_raw(),
                    ..Entry::new(RawText::from(&path[..end]), EntryKind::Directory)
                };
                writer.add_item(SnapshotItem::Entry {
                    entry: directory,
                    chunks: Vec::new(),
                    stamp: None,
                })?;
            }
        }
        let entry = |size| Entry {
            size,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            ..Entry::generated_file(&path, mtime)
        };
        match file {
            SnapshotFile::Stream(stream, bytes) => writer.add_item(SnapshotItem::StreamedFile {
                entry: entry(bytes),
                streams: vec![stream],
            })?,
            SnapshotFile::Text(text) => {
                let stored = writer.add_stream(&mut chunker, &mut text.as_slice())?;
                let size = stored.map_err(|source| Error::Unreadable {
                    path: path.clone().into(),
                    source,
                })?;
                writer.add_item(SnapshotItem::Entry {
                    entry: entry(size),
                    chunks: Vec::new(),
                    stamp: None,
                })?;
            }
        }
    }
    Ok(())
}

/// Facts that are readable without a recovery identity: no names.
fn summary_facts(manifest: &Manifest) -> BTreeMap<String, serde_json::Value> {
    let moment = &manifest.moment;
    BTreeMap::from([
        ("consistency".to_owned(), json!(moment.consistency)),
        ("connections".to_owned(), json!(moment.connections)),
        ("coordinates_exact".to_owned(), json!(moment.exact)),
        ("flavour".to_owned(), json!(manifest.server.flavour)),
        ("server_version".to_owned(), json!(manifest.server.version)),
        ("server_uuid".to_owned(), json!(manifest.server.uuid)),
        ("gtid".to_owned(), json!(moment.gtid)),
        ("binary_log_file".to_owned(), json!(moment.file)),
        ("binary_log_position".to_owned(), json!(moment.position)),
        ("log_from".to_owned(), json!(moment.log_from)),
        ("objects".to_owned(), json!(manifest.object_counts())),
        ("rows".to_owned(), json!(manifest.row_count())),
    ])
}
