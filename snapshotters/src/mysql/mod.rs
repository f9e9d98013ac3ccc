//! A MySQL or MariaDB server as a source: every row of one moment, and everything that makes the server.
//!
//! ```text
//! schema ─► moment ─► rows (several connections) ─► schema again: unchanged? ─► manifest, script, root
//! ```
//!
//! Writers are not blocked. If a definition changes meanwhile, the snapshot begins again.

mod accounts;
mod address;
pub mod archive;
pub mod binlog;
mod container;
mod error;
mod filter;
mod keys;
mod manifest;
mod moment;
mod option_file;
mod reading;
mod rights;
pub mod row;
mod schema;
pub mod script;
mod server;
mod session;
pub mod sql;
mod views;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reprise_repository::{
    Committed, Entry, EntryKind, FileTime, Item, Progress, RawText, Repository, Snapshot,
    SnapshotWriter, SourceKind, Summary, Warning, path_order,
};
use serde_json::json;

pub use accounts::shown as format_account;
pub use address::{Address, Password, Tls};
pub use error::{DatabaseError, code};
pub use filter::{Filter, SYSTEM_DATABASES};
pub use manifest::{
    Account, Code, Column, Consistency, Database, Definition, Flavour, Form, LogFrom, MANIFEST,
    Manifest, Moment, Piece, Sequence, ServerFacts, Table, file_name, table_folder,
};
pub use rights::Rights;
pub use server::{Server, pin, set_if_known};
pub use session::{Bytes, Cells, Done, Row, Session, Value};

use crate::error::{Error, Result};
use crate::run::{RunContext, source_warning};
use reading::{Found, Reading};
use schema::Schema;

/// How often a snapshot begins again because a definition changed under it.
const ATTEMPTS_MAX: usize = 5;

/// How many connections read when nothing else is said.
pub const CONNECTIONS_DEFAULT: usize = 4;

/// A server to store.
#[derive(Debug, Clone)]
pub struct MysqlSource {
    /// Where it is, and who asks.
    pub address: Address,
    /// What is taken.
    pub filter: Filter,
    /// How many connections read rows.
    pub connections: usize,
    /// Whether users and roles are stored.
    pub accounts: bool,
    /// Lock tables without transactions while they are read, so that they too are of the moment. Whoever
    /// writes to them waits.
    pub hold_nontransactional: bool,
}

/// Stores a server.
///
/// # Errors
/// What the server says, with the object it was about, or what storing gives. A server that changes its
/// definitions all the time cannot be stored by an account that may not stop that.
pub fn snapshot(
    repository: &Repository,
    source: &MysqlSource,
    run: &RunContext,
) -> Result<Committed> {
    let mut control = open(source, run)?;
    let server = Server::ask(&mut control)
        .map_err(|e| Error::database("query the version and variables of the server", e))?;
    let mut changed = String::new();
    for attempt in 0..ATTEMPTS_MAX {
        match attempt_once(repository, source, run, &mut control, &server, attempt)? {
            Attempt::Done(committed) => return Ok(*committed),
            Attempt::Changed(what) => {
                tracing::info!(
                    attempt,
                    what,
                    "a definition changed during the snapshot; restarting the snapshot"
                );
                changed = what;
                control = open(source, run)?;
            }
        }
    }
    Err(Error::DefinitionsChange { object: changed })
}

enum Attempt {
    Done(Box<Committed>),
    /// What changed.
    Changed(String),
}

fn open(source: &MysqlSource, run: &RunContext) -> Result<Session> {
    let connect = || {
        let mut session = Session::open(&source.address, &run.progress)?;
        pin(&mut session)?;
        Ok(session)
    };
    connect().map_err(|error| Error::database(format!("connect to {}", source.address), error))
}

fn attempt_once(
    repository: &Repository,
    source: &MysqlSource,
    run: &RunContext,
    control: &mut Session,
    server: &Server,
    attempt: usize,
) -> Result<Attempt> {
    let failed = |doing: &'static str| move |error| Error::database(doing, error);
    let kept = moment::keep_definitions(control, server, attempt > 0)
        .map_err(failed("lock object definitions (DDL)"))?;
    // Who waits for definitions to be free may hold what is read here: it is let pass.
    let passes = |error: &DatabaseError| {
        let waited = error.code() == Some(code::LOCK_WAIT_TIMEOUT);
        vanished(error) || waited && kept.is_waited_for()
    };
    let before = match schema::read(control, server, &source.filter) {
        Ok(schema) => schema,
        Err(error) if passes(&error) => return Ok(Attempt::Changed(error.to_string())),
        Err(error) => return Err(Error::database("read object definitions", error)),
    };
    if before.databases.is_empty() {
        // Nothing stored would look like everything stored.
        return Err(Error::NoDatabases {
            server: source.address.to_string(),
            asked: source.filter.asked(),
        });
    }
    let mut readers = (0..source.connections.max(1))
        .map(|_| open(source, run))
        .collect::<Result<Vec<_>>>()?;
    if kept.is_waited_for() {
        let brief = readers.iter_mut().try_for_each(moment::wait_briefly);
        brief.map_err(failed("set lock_wait_timeout"))?;
    }
    let mut holder = hold(source, run, &before)?;
    let moment = moment::open(control, &mut readers, server)
        .map_err(failed("open a consistent snapshot"))?;
    let (parent, options) = run.begin(repository, SourceKind::Mysql)?;
    let writer = repository.begin_snapshot(options, Arc::clone(&run.progress), None)?;
    let readings = readings(&before);
    let found = {
        let sender = writer.stream_sender()?;
        reading::read(&mut readers, &readings, Some(&sender), &run.progress)
    };
    drop(readings);
    let found = match found {
        Ok(found) => found,
        Err(Error::Database { doing, source }) if passes(&source) => {
            return Ok(Attempt::Changed(format!("{doing}: {source}")));
        }
        Err(error) => return Err(error),
    };
    drop(holder.take());
    drop(readers);
    let after = match schema::read(control, server, &source.filter) {
        Ok(schema) => schema,
        Err(error) if passes(&error) => return Ok(Attempt::Changed(error.to_string())),
        Err(error) => {
            return Err(Error::database(
                "read object definitions again after the rows",
                error,
            ));
        }
    };
    if let Some(what) = before.changed(&after) {
        return Ok(Attempt::Changed(what));
    }
    let accounts = read_accounts(source, control, server)?;
    moment::release_definitions(control, kept)
        .map_err(failed("unlock object definitions (DDL)"))?;
    let manifest = manifest(server, moment, after, found.as_slice(), accounts, source);
    let committed = store(writer, manifest, &found, source, run, parent.as_ref())?;
    Ok(Attempt::Done(Box::new(committed)))
}

/// A table of a server, read again.
#[derive(Debug, Clone)]
pub struct ReadBack {
    /// Its database.
    pub database: String,
    /// The table, with the rows and the checksum that it has now.
    pub table: Table,
}

/// Counts and sums every row of a server's tables, by the same way that a snapshot takes.
///
/// # Errors
/// What the server says.
pub fn read_back(
    address: &Address,
    filter: &Filter,
    connections: usize,
    progress: &Arc<Progress>,
) -> Result<Vec<ReadBack>> {
    let open = || -> Result<Session, DatabaseError> {
        let mut session = Session::open(address, progress)?;
        pin(&mut session)?;
        Ok(session)
    };
    let mut control = open()?;
    let server = Server::ask(&mut control)?;
    let schema = schema::read(&mut control, &server, filter)?;
    let mut readers = (0..connections.max(1))
        .map(|_| open())
        .collect::<Result<Vec<_>, _>>()?;
    let readings = readings(&schema);
    let found = reading::read(&mut readers, &readings, None, progress)?;
    let tables = readings.iter().zip(found);
    Ok(tables
        .map(|(reading, found)| ReadBack {
            database: reading.database.to_owned(),
            table: Table {
                rows: found.checksum.rows,
                checksum: found.checksum.hex(),
                ..reading.table.clone()
            },
        })
        .collect())
}

/// Whether an error means that something is not what it was a moment ago.
fn vanished(error: &DatabaseError) -> bool {
    // Besides: unknown column, view, routine, trigger, event, database, key; a definition that is being changed.
    matches!(
        error.code(),
        Some(
            code::TABLE_CHANGED
                | code::DEADLOCK
                | code::NO_TABLE
                | 1054
                | 1176
                | 1305
                | 1356
                | 1360
                | 1539
                | 1684
                | code::NO_DATABASE
                | 4177
        )
    )
}

fn readings(schema: &Schema) -> Vec<Reading<'_>> {
    let of = |plan: &schema::Plan| &schema.databases[plan.database];
    let plans = schema.plans.iter();
    plans
        .map(|plan| Reading {
            database: &of(plan).name,
            table: &of(plan).tables[plan.table],
            plan,
        })
        .collect()
}

/// Locks the tables without transactions, when that is wanted.
fn hold(source: &MysqlSource, run: &RunContext, schema: &Schema) -> Result<Option<Session>> {
    let tables: Vec<String> = nontransactional(schema).collect();
    if !source.hold_nontransactional || tables.is_empty() {
        return Ok(None);
    }
    let mut holder = open(source, run)?;
    let locks: Vec<String> = tables.iter().map(|table| format!("{table} READ")).collect();
    holder
        .execute(format!("LOCK TABLES {}", locks.join(", ")))
        .map_err(|error| Error::database("lock non-transactional tables", error))?;
    Ok(Some(holder))
}

fn nontransactional(schema: &Schema) -> impl Iterator<Item = String> {
    schema.databases.iter().flat_map(|database| {
        let tables = database.tables.iter().filter(|table| !table.consistent);
        tables.map(|table| sql::qualified(&database.name, &table.name))
    })
}

/// Accounts, and what is to be said about them.
#[derive(Default)]
struct Accounts {
    read: Option<Vec<Account>>,
    warnings: Vec<String>,
}

fn read_accounts(source: &MysqlSource, control: &mut Session, server: &Server) -> Result<Accounts> {
    if !source.accounts {
        return Ok(Accounts::default());
    }
    let failed = |error| Error::database("read accounts", error);
    let Some(read) = accounts::read(control, server).map_err(failed)? else {
        let warning = "users and roles are not included: the account has no SELECT privilege on mysql.user (grant it, or leave them out with --no-users)";
        return Ok(Accounts {
            read: None,
            warnings: vec![warning.to_owned()],
        });
    };
    let second = accounts::with_second_password(control).map_err(failed)?;
    let warning = |name| {
        format!(
            "the secondary password of {name} is not included: no statement of the server shows it"
        )
    };
    Ok(Accounts {
        read: Some(read),
        warnings: second.into_iter().map(warning).collect(),
    })
}

/// Everything about the snapshot but the rows; and what is to be said about it.
struct Described {
    manifest: Manifest,
    warnings: Vec<Warning>,
}

fn manifest(
    server: &Server,
    moment: Moment,
    schema: Schema,
    found: &[Found],
    accounts: Accounts,
    source: &MysqlSource,
) -> Described {
    let mut warnings: Vec<String> = schema.warnings;
    warnings.extend(accounts.warnings);
    if let Some(undecided @ 1..) = moment.undecided {
        warnings.push(format!(
            "rows of prepared transactions that are neither committed nor rolled back are not included (number of transactions: {undecided}; see XA RECOVER)"
        ));
    }
    let mut databases = schema.databases;
    for (plan, found) in schema.plans.iter().zip(found) {
        let database = &mut databases[plan.database];
        let folder = table_folder(&database.name, &database.tables[plan.table].name);
        let table = &mut database.tables[plan.table];
        table.rows = found.checksum.rows;
        table.checksum = found.checksum.hex();
        table.line_bytes_max = found.line_bytes_max;
        table.pieces = found
            .pieces
            .iter()
            .enumerate()
            .map(|(n, piece)| Piece {
                path: format!("{folder}/{:06}.tsv", n + 1),
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
                    sql::qualified(&database.name, &table.name),
                    table.engine
                ));
            }
        }
    }
    let manifest = Manifest {
        format: manifest::FORMAT,
        server: server.facts.clone(),
        moment,
        tablespaces: schema.tablespaces,
        databases,
        accounts: accounts.read,
    };
    Described {
        manifest,
        warnings: warnings.into_iter().map(source_warning).collect(),
    }
}

/// A file of the snapshot's tree.
enum File {
    Text(Vec<u8>),
    Streams(reprise_repository::StreamId, u64),
}

fn store(
    mut writer: SnapshotWriter,
    described: Described,
    found: &[Found],
    source: &MysqlSource,
    run: &RunContext,
    parent: Option<&Snapshot>,
) -> Result<Committed> {
    let Described {
        manifest,
        mut warnings,
    } = described;
    let time = manifest.moment.time;
    let mtime = FileTime(time.timestamp(), time.timestamp_subsec_nanos());
    let files = files(&manifest, found)?;
    add_files(&mut writer, files, mtime)?;
    let facts = facts(&manifest);
    let committed = writer.finish(|counts, _| {
        warnings.extend(run.alarms(parent, counts));
        Ok(Summary {
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
fn files(manifest: &Manifest, found: &[Found]) -> Result<Vec<(String, File)>> {
    let json = serde_json::to_vec_pretty(manifest).map_err(|error| {
        reprise_repository::Error::Internal(format!("writing the manifest: {error}"))
    })?;
    let mut files = vec![
        (MANIFEST.to_owned(), File::Text(json)),
        (
            script::SCRIPT.to_owned(),
            File::Text(script::script(manifest)),
        ),
        (
            script::GUIDE.to_owned(),
            File::Text(script::guide(manifest).into_bytes()),
        ),
    ];
    if let Some(accounts) = &manifest.accounts {
        let text = File::Text(script::accounts_script(accounts));
        files.push((script::ACCOUNTS.to_owned(), text));
        let text = File::Text(script::grants_script(accounts));
        files.push((script::GRANTS.to_owned(), text));
    }
    if let Some(text) = script::broken_views_script(manifest) {
        files.push((script::BROKEN_VIEWS.to_owned(), File::Text(text)));
    }
    let tables = manifest
        .databases
        .iter()
        .flat_map(|database| &database.tables);
    for (table, found) in tables.zip(found) {
        for (piece, stream) in table.pieces.iter().zip(&found.pieces) {
            files.push((
                piece.path.clone(),
                File::Streams(stream.stream, stream.bytes),
            ));
        }
    }
    files.sort_by(|a, b| path_order(a.0.as_bytes(), b.0.as_bytes()));
    Ok(files)
}

fn add_files(
    writer: &mut SnapshotWriter,
    files: Vec<(String, File)>,
    mtime: FileTime,
) -> Result<()> {
    let mut chunker = writer.content_chunker();
    let mut folders = BTreeSet::new();
    for (path, file) in files {
        for (end, _) in path.match_indices('/') {
            if folders.insert(path[..end].to_owned()) {
                let folder = Entry {
                    mode: 0o700,
                    mtime,
                    uid: rustix::process::geteuid().as_raw(),
                    gid: rustix::process::getegid().as_raw(),
                    ..Entry::new(RawText::from(&path[..end]), EntryKind::Directory)
                };
                writer.add(Item::Entry {
                    entry: folder,
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
            File::Streams(stream, bytes) => writer.add(Item::Streamed {
                entry: entry(bytes),
                streams: vec![stream],
            })?,
            File::Text(text) => {
                let stored = writer.add_stream(&mut chunker, &mut text.as_slice())?;
                let size = stored.map_err(|source| Error::Unreadable {
                    path: path.clone().into(),
                    source,
                })?;
                writer.add(Item::Entry {
                    entry: entry(size),
                    chunks: Vec::new(),
                    stamp: None,
                })?;
            }
        }
    }
    Ok(())
}

/// What may be known without a recovery identity: no names.
fn facts(manifest: &Manifest) -> BTreeMap<String, serde_json::Value> {
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
        ("objects".to_owned(), json!(manifest.counts())),
        ("rows".to_owned(), json!(manifest.rows())),
    ])
}
