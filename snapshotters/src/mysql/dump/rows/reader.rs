//! Reading rows: several connections with the same snapshot share the tables, and large tables in ranges.

use std::sync::atomic::AtomicU64;
use std::sync::{Condvar, Mutex, PoisonError};

use reprise_mysql::sql::{qualify_name, quote_name, select_expression};
use reprise_mysql::{DatabaseError, Session};
use reprise_repository::{Progress, StreamSender};

use crate::error::{Error, Result};
use crate::mysql::dump::rows::data_file_writer::DataFileWriter;
use crate::mysql::dump::rows::read_queue::{
    KeyRange, RANGE_BYTES, ReadQueue, ReadQueueState, ReadTask, TableReadRequest, TableReadResult,
};
use crate::mysql::dump::schema::server_schema::{ServerSchema, TableReadPlan};

/// A range that is this many times larger than expected is split again.
const RANGE_OVERSIZE_FACTOR: u64 = 4;

/// Reads all rows of the tables and stores them if there is a sender. Results are in table order.
///
/// # Errors
/// The server's error, row counts of ranges that do not add up, or errors of storing.
pub(crate) fn read_tables(
    readers: &mut [Session],
    readings: &[TableReadRequest<'_>],
    sender: Option<&StreamSender>,
    progress: &Progress,
) -> Result<Vec<TableReadResult>> {
    let mut order: Vec<usize> = (0..readings.len()).collect();
    // Locked tables first, then the largest: small tasks at the end are shared best.
    order.sort_by_key(|n| {
        let reading = &readings[*n];
        (
            reading.table.consistent,
            u64::MAX - reading.plan.bytes_estimate,
        )
    });
    let queue = ReadQueue {
        requests: readings,
        state: Mutex::new(ReadQueueState {
            tasks: order.into_iter().map(ReadTask::SplitTable).collect(),
            results: vec![TableReadResult::default(); readings.len()],
            server_row_counts: vec![None; readings.len()],
            ..ReadQueueState::default()
        }),
        changed: Condvar::new(),
        next_stream_id: AtomicU64::new(0),
        sender,
        progress,
    };
    std::thread::scope(|scope| {
        for session in readers.iter_mut() {
            scope.spawn(|| queue.run_worker(session));
        }
    });
    let state = queue
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = state.first_error {
        return Err(error);
    }
    check_row_counts(readings, &state)?;
    let mut found = state.results;
    for found in &mut found {
        found.files.sort_by_key(|piece| piece.order);
    }
    Ok(found)
}

fn check_row_counts(readings: &[TableReadRequest<'_>], state: &ReadQueueState) -> Result<()> {
    for ((reading, found), counted) in readings
        .iter()
        .zip(&state.results)
        .zip(&state.server_row_counts)
    {
        if let Some(counted) = counted
            && *counted != found.checksum.rows
        {
            return Err(Error::from_database(
                format!(
                    "read {}",
                    qualify_name(reading.database, &reading.table.name)
                ),
                DatabaseError::UnexpectedResponse(format!(
                    "row counts differ: {} read in key ranges, {counted} counted by the server",
                    found.checksum.rows
                )),
            ));
        }
    }
    Ok(())
}

impl ReadQueue<'_> {
    fn run_worker(&self, session: &mut Session) {
        while let Some(task) = self.next_task() {
            let result = self.run_task(session, task);
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.active_workers -= 1;
            if let Err(error) = result {
                state.tasks.clear();
                state.first_error.get_or_insert(error);
            }
            self.changed.notify_all();
        }
    }

    fn run_task(&self, session: &mut Session, task: ReadTask) -> Result<()> {
        match task {
            ReadTask::SplitTable(n) => self.split_table(session, n),
            ReadTask::ReadRange(n, range) => self.read_range(session, n, &range),
            ReadTask::CountRows(n) => self.count_rows(session, n),
        }
    }

    pub(crate) fn read_range(
        &self,
        session: &mut Session,
        n: usize,
        range: &KeyRange,
    ) -> Result<()> {
        let TableReadRequest { plan, .. } = &self.requests[n];
        let row_bytes = plan.bytes_estimate / plan.rows_estimate.max(1);
        let limit = match range {
            KeyRange::Integers { .. } => {
                Some((RANGE_BYTES * RANGE_OVERSIZE_FACTOR / row_bytes.max(1)).max(10_000))
            }
            _ => None,
        };
        let statement = self.select_statement(n, range, limit);
        let mut pieces = DataFileWriter::new(self, n, range);
        session
            .stream_rows(&statement, |row| pieces.write_row(row))
            .map_err(|error| {
                if let Error::Database { source, .. } = error {
                    return self.read_error(n)(source);
                }
                error
            })?;
        let last = pieces.last_key;
        let rows = pieces.range_checksum.rows + pieces.file_checksum.rows;
        pieces.finish()?;
        // A full range may have more rows after the last one.
        if let (Some(limit), KeyRange::Integers { to, .. }, Some(last)) = (limit, range, last)
            && rows == limit
        {
            self.split_remaining_range(session, n, last, *to)?;
        }
        Ok(())
    }

    fn select_statement(&self, n: usize, range: &KeyRange, limit: Option<u64>) -> String {
        let TableReadRequest {
            database,
            table,
            plan,
        } = &self.requests[n];
        let columns: Vec<String> = table.columns.iter().map(select_expression).collect();
        let mut columns = if columns.is_empty() {
            // Rows with only generated columns are counted.
            "NULL".to_owned()
        } else {
            columns.join(", ")
        };
        let name = qualify_name(database, &table.name);
        let history = if table.versioned {
            " FOR SYSTEM_TIME ALL"
        } else {
            ""
        };
        let Some(key) = &plan.key else {
            return format!("SELECT {columns} FROM {name}{history}");
        };
        let first = quote_name(&key.columns[0].0);
        let condition = match range {
            KeyRange::Whole => String::new(),
            KeyRange::Condition { condition, .. } => format!(" WHERE {condition}"),
            KeyRange::Integers { from, to } => {
                // The key too, to know where to continue.
                columns = format!("{columns}, {first}");
                let bounds: Vec<String> = [
                    from.map(|from| format!("{first} >= {from}")),
                    to.map(|to| format!("{first} < {to}")),
                ]
                .into_iter()
                .flatten()
                .collect();
                match bounds.is_empty() {
                    true => String::new(),
                    false => format!(" WHERE {}", bounds.join(" AND ")),
                }
            }
        };
        let limit = limit.map_or_else(String::new, |limit| format!(" LIMIT {limit}"));
        format!(
            "SELECT {columns} FROM {name}{history} FORCE INDEX ({}){condition} ORDER BY {}{limit}",
            quote_name(&key.name),
            key.column_list()
        )
    }
}

/// One request for every table of a server.
pub(crate) fn table_read_requests(schema: &ServerSchema) -> Vec<TableReadRequest<'_>> {
    let of = |plan: &TableReadPlan| &schema.databases[plan.database_index];
    let plans = schema.plans.iter();
    plans
        .map(|plan| TableReadRequest {
            database: &of(plan).name,
            table: &of(plan).tables[plan.table_index],
            plan,
        })
        .collect()
}
