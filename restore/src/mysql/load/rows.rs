//! Loads rows into tables: several connections load the data files of all tables, then add each table's keys.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use reprise_mysql::sql::{load_data_statement, qualify_name, quote_name};
use reprise_mysql::{Bytes, DatabaseError, MysqlTable, Session, TableDataFile, ValueFormat};
use reprise_repository::{ChunkId, ContentReader, Progress};

use crate::error::{Error, Result};
use crate::mysql::load::ddl::TableDefinition;
use crate::mysql::restore_state::{self, RestoreState};

/// Chunks that are read ahead for each connection, about a MiB each.
const CHUNKS_AHEAD: usize = 4;

/// Warnings examined after a file; beyond these only the comparison afterwards can tell.
const WARNINGS_MAX: usize = 65_535;

/// Data truncated for a column.
const TRUNCATED: u16 = 1265;

/// The server's error when a key to be added already exists: an interrupted restore had added it.
const KEY_EXISTS: [u16; 3] = [1061, 1826, 1022];

/// A table to be loaded.
#[derive(Debug)]
pub(crate) struct TableLoad {
    /// Its database at the target.
    pub(crate) database: String,
    pub(crate) table: MysqlTable,
    pub(crate) definition: TableDefinition,
}

impl TableLoad {
    /// Whether a file is loaded at the target.
    fn has_loaded(&self, piece: &TableDataFile, done: &RestoreState) -> bool {
        done.has_step(&restore_state::file_loaded_step(&piece.path)) && !self.must_reload(done)
    }

    /// Whether all files must be loaded again: without transactions, an interrupted one is loaded in part.
    fn must_reload(&self, done: &RestoreState) -> bool {
        let mut pieces = self.table.pieces.iter();
        !self.table.engine.eq_ignore_ascii_case("InnoDB")
            && !pieces.all(|piece| done.has_step(&restore_state::file_loaded_step(&piece.path)))
    }
}

#[derive(Debug)]
enum LoadTask {
    /// A file of a table.
    DataFile(usize, usize),
    /// A group of a table's keys, and those after it.
    Keys(usize),
}

struct LoadQueue<'a> {
    tables: &'a [TableLoad],
    content: &'a DumpFileReader<'a>,
    restore_state: &'a RestoreState,
    progress: &'a Arc<Progress>,
    state: Mutex<LoadQueueState>,
    changed: Condvar,
}

struct LoadQueueState {
    tasks: VecDeque<LoadTask>,
    /// Files of each table that are not loaded yet.
    files_left: Vec<usize>,
    busy: usize,
    failed: Option<Error>,
}

/// The source of the files' bytes.
#[derive(Debug)]
pub(crate) struct DumpFileReader<'a> {
    pub(crate) reader: &'a ContentReader,
    /// The chunks of each file, by its path.
    pub(crate) chunks: BTreeMap<String, Vec<ChunkId>>,
}

/// Creates the missing tables.
pub(crate) fn create_tables(
    control: &mut Session,
    fillings: &[TableLoad],
    done: &RestoreState,
) -> Result<()> {
    for filling in fillings {
        let (database, table) = (&filling.database, &filling.table.name);
        let step = restore_state::table_created_step(database, table);
        let name = qualify_name(database, table);
        let failed = |error| Error::from_database(format!("create table {name}"), error);
        if done.has_step(&step) {
            if filling.must_reload(done) {
                control
                    .execute(format!("TRUNCATE TABLE {name}"))
                    .map_err(failed)?;
            }
            continue;
        }
        // A table that an interrupted restore created without recording it is empty.
        if done.resumed {
            control
                .execute(format!("DROP TABLE IF EXISTS {name}"))
                .map_err(failed)?;
        }
        // A name without a database in a definition is in the table's own.
        control
            .execute(format!("USE {}", quote_name(database)))
            .map_err(failed)?;
        control
            .execute(filling.definition.before_rows())
            .map_err(failed)?;
        record_step(control, &step).map_err(failed)?;
    }
    Ok(())
}

/// Loads all files and adds all keys.
pub(crate) fn load_rows_and_keys(
    sessions: &mut [Session],
    fillings: &[TableLoad],
    content: &DumpFileReader<'_>,
    done: &RestoreState,
    progress: &Arc<Progress>,
) -> Result<()> {
    let mut order: Vec<usize> = (0..fillings.len()).collect();
    let bytes = |n: &usize| {
        fillings[*n]
            .table
            .pieces
            .iter()
            .map(|piece| piece.bytes)
            .sum::<u64>()
    };
    // The largest first: its keys are added while others are loaded.
    order.sort_by_key(|n| u64::MAX - bytes(n));
    let mut tasks = VecDeque::new();
    let mut left = vec![0; fillings.len()];
    for n in order {
        let pieces = fillings[n].table.pieces.iter().enumerate();
        let missing = pieces.filter(|(_, piece)| !fillings[n].has_loaded(piece, done));
        tasks.extend(missing.map(|(m, _)| LoadTask::DataFile(n, m)));
        left[n] = tasks
            .iter()
            .filter(|task| matches!(task, LoadTask::DataFile(of, _) if *of == n))
            .count();
        if left[n] == 0 {
            tasks.push_back(LoadTask::Keys(n));
        }
    }
    let queue = LoadQueue {
        tables: fillings,
        content,
        restore_state: done,
        progress,
        state: Mutex::new(LoadQueueState {
            tasks,
            files_left: left,
            busy: 0,
            failed: None,
        }),
        changed: Condvar::new(),
    };
    std::thread::scope(|scope| {
        for session in sessions.iter_mut() {
            scope.spawn(|| queue.run_worker(session));
        }
    });
    let state = queue
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    state.failed.map_or(Ok(()), Err)
}

impl LoadQueue<'_> {
    fn run_worker(&self, session: &mut Session) {
        while let Some(task) = self.next_task() {
            let result = match task {
                LoadTask::DataFile(n, m) => self.load_file(session, n, m),
                LoadTask::Keys(n) => self.add_table_keys(session, n),
            };
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.busy -= 1;
            match (result, task) {
                (Err(error), _) => {
                    state.failed.get_or_insert(error);
                }
                (Ok(()), LoadTask::DataFile(n, _)) => {
                    state.files_left[n] -= 1;
                    if state.files_left[n] == 0 {
                        state.tasks.push_front(LoadTask::Keys(n));
                    }
                }
                (Ok(()), LoadTask::Keys(_)) => Progress::add(&self.progress.items, 1),
            }
            self.changed.notify_all();
        }
    }

    fn next_task(&self) -> Option<LoadTask> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.failed.is_some() {
                return None;
            }
            if let Some(task) = state.tasks.pop_front() {
                state.busy += 1;
                return Some(task);
            }
            if state.busy == 0 {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Loads a file and records it in one transaction.
    fn load_file(&self, session: &mut Session, n: usize, m: usize) -> Result<()> {
        let TableLoad {
            database, table, ..
        } = &self.tables[n];
        let piece = &table.pieces[m];
        let name = qualify_name(database, &table.name);
        let failed = |error| Error::from_database(format!("load rows into {name}"), error);
        let chunks = self
            .content
            .chunks
            .get(&piece.path)
            .cloned()
            .unwrap_or_default();
        let statement = load_data_statement(&piece.path, database, table);
        session.execute("START TRANSACTION").map_err(failed)?;
        let (sender, receiver) = crossbeam_channel::bounded(CHUNKS_AHEAD);
        let read_error = Mutex::new(None);
        let loaded = std::thread::scope(|scope| {
            scope.spawn(|| {
                let sender = sender;
                if let Err(error) = read_chunks(
                    self.content.reader,
                    chunks,
                    &piece.path,
                    &sender,
                    self.progress,
                ) {
                    *read_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    // The server must not take the part that it received for the whole file.
                    let _ =
                        sender.send(Err(std::io::Error::other("the snapshot could not be read")));
                }
            });
            session.load_data(&statement, receiver.into_iter())
        });
        if let Some(error) = read_error
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
        {
            session.close();
            return Err(error.into());
        }
        let loaded = loaded.map_err(failed)?;
        if loaded.warnings > 0 {
            check_warnings(session, &name, table)?;
        }
        if loaded.affected_rows != piece.rows {
            return Err(failed(DatabaseError::UnexpectedResponse(format!(
                "the server loaded only part of a file (rows loaded: {}, rows expected: {}, file: {})",
                loaded.affected_rows, piece.rows, piece.path
            ))));
        }
        record_step(session, &restore_state::file_loaded_step(&piece.path)).map_err(failed)?;
        session.execute("COMMIT").map_err(failed).map(drop)
    }

    /// Adds a table's keys, one `ALTER TABLE` after the other.
    fn add_table_keys(&self, session: &mut Session, n: usize) -> Result<()> {
        let TableLoad {
            database,
            table,
            definition,
        } = &self.tables[n];
        for (group, clauses) in definition.keys_after_rows().iter().enumerate() {
            let step = restore_state::keys_added_step(database, &table.name, group);
            if !self.restore_state.has_step(&step) {
                add_keys(session, database, &table.name, clauses, &step)?;
            }
        }
        Ok(())
    }
}

/// Adds foreign keys, once all tables exist.
pub(crate) fn add_foreign_keys(
    control: &mut Session,
    fillings: &[TableLoad],
    done: &RestoreState,
) -> Result<()> {
    for filling in fillings {
        let (database, table) = (&filling.database, &filling.table.name);
        let step = restore_state::foreign_keys_added_step(database, table);
        let clauses = filling.definition.foreign_keys();
        if clauses.is_empty() || done.has_step(&step) {
            continue;
        }
        control
            .execute(format!("USE {}", quote_name(database)))
            .map_err(|error| Error::from_database(format!("select database {database}"), error))?;
        add_keys(control, database, table, &clauses, &step)?;
    }
    Ok(())
}

fn add_keys(
    session: &mut Session,
    database: &str,
    table: &str,
    clauses: &[Vec<u8>],
    step: &str,
) -> Result<()> {
    let name = qualify_name(database, table);
    let failed = |error| Error::from_database(format!("add keys to {name}"), error);
    let statement = [
        format!("ALTER TABLE {name} ").as_bytes(),
        &clauses.join(&b", "[..]),
    ]
    .concat();
    match session.execute(statement) {
        Ok(_) => {}
        Err(DatabaseError::Server { code, message }) if KEY_EXISTS.contains(&code) => {
            tracing::debug!(message, "the key already exists");
        }
        Err(error) => return Err(failed(error)),
    }
    record_step(session, step).map_err(failed)
}

fn record_step(session: &mut Session, step: &str) -> std::result::Result<(), DatabaseError> {
    restore_state::record_step(session, step)
}

/// Reads a file's chunks ahead of the connection that sends them.
fn read_chunks(
    reader: &ContentReader,
    chunks: Vec<ChunkId>,
    path: &str,
    sender: &crossbeam_channel::Sender<std::io::Result<Bytes>>,
    progress: &Progress,
) -> Result<(), reprise_repository::Error> {
    let mut content = reader.stream_content(chunks, path.to_owned());
    while let Some(chunk) = content.next_chunk()? {
        Progress::add(&progress.bytes, chunk.len() as u64);
        if sender.send(Ok(Bytes::from(chunk))).is_err() {
            // The statement has ended, and reports why.
            break;
        }
    }
    Ok(())
}

/// Every warning means that a value was changed, but one: that a value of an ENUM was invalid at the source is reported
/// again when it is loaded as such.
fn check_warnings(session: &mut Session, name: &str, table: &MysqlTable) -> Result<()> {
    let failed =
        |error| Error::from_database(format!("read the server's warnings for {name}"), error);
    let warnings = session
        .query_rows(format!("SHOW WARNINGS LIMIT {WARNINGS_MAX}"))
        .map_err(failed)?;
    let enums: Vec<String> = table
        .columns
        .iter()
        .filter(|column| column.form == ValueFormat::Enum)
        .map(|column| format!("column '{}'", column.name))
        .collect();
    let expected = |code: Option<u16>, message: &str| {
        code == Some(TRUNCATED) && enums.iter().any(|column| message.contains(column))
    };
    let mut wrong = warnings
        .iter()
        .filter(|row| !expected(row.number(1), row.text(2).unwrap_or_default()));
    match wrong.next() {
        None => Ok(()),
        Some(row) => Err(Error::LoadWarning {
            table: name.to_owned(),
            warning: row.string(2),
        }),
    }
}
