//! Reading rows: several connections with the same snapshot share the tables, and large tables in ranges.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use reprise_mysql::row_text::{RowChecksum, write_line};
use reprise_mysql::sql::{qualify_name, quote_name, select_expression};
use reprise_mysql::{DatabaseError, MysqlTable, Row, Session, Value, ValueFormat};
use reprise_repository::{OpenStream, Progress, StreamId, StreamSender};

use crate::error::{Error, Result};
use crate::mysql::dump::schema::keys::{ScanKey, SplitMethod};
use crate::mysql::dump::schema::reader::{ServerSchema, TableReadPlan};

/// A data file ends at the next suitable row after this many bytes.
const DATA_FILE_BYTES: u64 = 32 << 20;

/// Rows themselves determine the end, so that files begin at the same rows tomorrow; here at the latest.
const DATA_FILE_BYTES_MAX: u64 = 48 << 20;

/// One row in this many is suitable.
const DATA_FILE_END_MASK: u128 = 0xfff;

/// Expected bytes of a range.
const RANGE_BYTES: u64 = 32 << 20;

/// A range that is this many times larger than expected is split again.
const RANGE_OVERSIZE_FACTOR: u64 = 4;

/// Bytes of lines that are collected before they are passed on.
const LINE_BUFFER_BYTES: usize = 256 << 10;

/// A table whose rows are to be read.
#[derive(Debug)]
pub(crate) struct TableReadRequest<'a> {
    pub(crate) database: &'a str,
    pub(crate) table: &'a MysqlTable,
    pub(crate) plan: &'a TableReadPlan,
}

/// The result of reading a table.
#[derive(Debug, Default, Clone)]
pub(crate) struct TableReadResult {
    /// The files in key order.
    pub(crate) files: Vec<WrittenDataFile>,
    pub(crate) checksum: RowChecksum,
    pub(crate) line_bytes_max: u64,
}

/// One data file.
#[derive(Debug, Clone)]
pub(crate) struct WrittenDataFile {
    order: (RangeStart, u64),
    pub(crate) stream: StreamId,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// Where a range begins: `None` comes before all numbers.
type RangeStart = Option<i128>;

/// A part of a table's rows.
#[derive(Debug, Clone)]
enum KeyRange {
    /// All of them.
    Whole,
    /// Those whose key is at least `from` and less than `to`; none means no bound.
    Integers { from: RangeStart, to: Option<i128> },
    /// Those that a condition selects; `index` orders the ranges.
    Condition { index: i128, condition: String },
}

#[derive(Debug)]
enum ReadTask {
    /// Split a table into ranges.
    SplitTable(usize),
    ReadRange(usize, KeyRange),
    /// Count a table's rows, to compare them with the sum of its ranges.
    CountRows(usize),
}

/// State that the readers share.
struct ReadQueue<'a> {
    requests: &'a [TableReadRequest<'a>],
    state: Mutex<ReadQueueState>,
    changed: Condvar,
    next_stream_id: AtomicU64,
    /// Where rows are sent; `None` when they are only counted and checksummed.
    sender: Option<&'a StreamSender>,
    progress: &'a Progress,
}

#[derive(Default)]
struct ReadQueueState {
    tasks: VecDeque<ReadTask>,
    active_workers: usize,
    first_error: Option<Error>,
    results: Vec<TableReadResult>,
    /// The rows that the server counted in tables that were read in ranges.
    server_row_counts: Vec<Option<u64>>,
}

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

    /// The next task; waits while other readers may still add some.
    fn next_task(&self) -> Option<ReadTask> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.first_error.is_some() {
                return None;
            }
            if let Some(task) = state.tasks.pop_front() {
                state.active_workers += 1;
                return Some(task);
            }
            if state.active_workers == 0 {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Adds tasks that run before those of other tables.
    fn add_tasks(&self, tasks: Vec<ReadTask>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for task in tasks.into_iter().rev() {
            state.tasks.push_front(task);
        }
        self.changed.notify_all();
    }

    fn run_task(&self, session: &mut Session, task: ReadTask) -> Result<()> {
        match task {
            ReadTask::SplitTable(n) => self.split_table(session, n),
            ReadTask::ReadRange(n, range) => self.read_range(session, n, &range),
            ReadTask::CountRows(n) => self.count_rows(session, n),
        }
    }

    fn check_interrupted(&self) -> Result<()> {
        match self.sender {
            Some(sender) => sender.check_running()?,
            None => self.progress.check_cancelled()?,
        }
        Ok(())
    }

    fn read_error(&self, n: usize) -> impl Fn(DatabaseError) -> Error {
        let reading = &self.requests[n];
        let name = qualify_name(reading.database, &reading.table.name);
        move |source| Error::from_database(format!("read {name}"), source)
    }

    fn split_table(&self, session: &mut Session, n: usize) -> Result<()> {
        let TableReadRequest { plan, table, .. } = &self.requests[n];
        if !plan.has_rows {
            return Ok(());
        }
        let large = plan.bytes_estimate > RANGE_BYTES * 2;
        let key = plan.key.as_ref().filter(|_| large && table.consistent);
        match key.map(|key| (key, key.split_method())) {
            Some((key, SplitMethod::IntegerRanges)) => self.split_by_integers(session, n, key),
            Some((key, SplitMethod::RowCounts)) => self.split_by_row_counts(session, n, key),
            _ => self.read_range(session, n, &KeyRange::Whole),
        }
    }

    /// Ranges of equal width. Their bounds are multiples of it, so that they stay when rows are added.
    fn split_by_integers(&self, session: &mut Session, n: usize, key: &ScanKey) -> Result<()> {
        let reading = &self.requests[n];
        let (column, _) = &key.columns[0];
        let statement = format!(
            "SELECT MIN({0}), MAX({0}) FROM {1}",
            quote_name(column),
            qualify_name(reading.database, &reading.table.name)
        );
        let row = session.query_row(statement).map_err(self.read_error(n))?;
        let (Some(min), Some(max)) = (row.number::<i128>(0), row.number::<i128>(1)) else {
            return self.read_range(session, n, &KeyRange::Whole);
        };
        let parts = i128::from((reading.plan.bytes_estimate / RANGE_BYTES).max(1));
        let width = range_width(max - min, parts);
        let first = (min.div_euclid(width) + 1) * width;
        let mut tasks = Vec::new();
        let mut from = None;
        let mut border = first;
        while border <= max {
            tasks.push(ReadTask::ReadRange(
                n,
                KeyRange::Integers {
                    from,
                    to: Some(border),
                },
            ));
            from = Some(border);
            border += width;
        }
        tasks.push(ReadTask::ReadRange(
            n,
            KeyRange::Integers { from, to: None },
        ));
        tasks.push(ReadTask::CountRows(n));
        self.add_tasks(tasks);
        Ok(())
    }

    /// Ranges of equal row counts, found by walking along the key. Other readers read meanwhile.
    fn split_by_row_counts(&self, session: &mut Session, n: usize, key: &ScanKey) -> Result<()> {
        let reading = &self.requests[n];
        let row_bytes = reading.plan.bytes_estimate / reading.plan.rows_estimate.max(1);
        let step = (RANGE_BYTES / row_bytes.max(1)).max(1000);
        let mut lower: Option<Vec<String>> = None;
        for place in 0.. {
            let after = lower.as_ref().map_or_else(String::new, |bound| {
                format!(" WHERE {}", key.at_or_after_condition(bound))
            });
            let statement = format!(
                "SELECT {0} FROM {1} FORCE INDEX ({2}){after} ORDER BY {0} LIMIT {step}, 1",
                key.column_list(),
                qualify_name(reading.database, &reading.table.name),
                quote_name(&key.name),
            );
            self.check_interrupted()?;
            let row = session
                .query_rows(statement)
                .map_err(self.read_error(n))?
                .into_iter()
                .next();
            let upper = match row {
                Some(row) => Some(key.bound_literals(&row).ok_or_else(|| {
                    self.read_error(n)(DatabaseError::UnexpectedResponse(
                        "a key column has a NULL or malformed value".to_owned(),
                    ))
                })?),
                None => None,
            };
            let parts = [
                lower.as_ref().map(|bound| key.at_or_after_condition(bound)),
                upper.as_ref().map(|bound| key.before_condition(bound)),
            ];
            let conditions: Vec<String> = parts.into_iter().flatten().collect();
            let range = match conditions.is_empty() {
                true => KeyRange::Whole,
                false => KeyRange::Condition {
                    index: place,
                    condition: conditions.join(" AND "),
                },
            };
            let mut tasks = vec![ReadTask::ReadRange(n, range)];
            if upper.is_none() && place > 0 {
                tasks.push(ReadTask::CountRows(n));
            }
            self.add_tasks(tasks);
            if upper.is_none() {
                break;
            }
            lower = upper;
        }
        Ok(())
    }

    fn count_rows(&self, session: &mut Session, n: usize) -> Result<()> {
        let reading = &self.requests[n];
        let name = qualify_name(reading.database, &reading.table.name);
        let row = session
            .query_row(format!("SELECT COUNT(*) FROM {name}"))
            .map_err(self.read_error(n))?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.server_row_counts[n] = row.number(0);
        Ok(())
    }

    fn read_range(&self, session: &mut Session, n: usize, range: &KeyRange) -> Result<()> {
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
            .map_err(|error| match error {
                Error::Database { source, .. } => self.read_error(n)(source),
                other => other,
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

    /// The rows of a crowded range after the last one that was read, in halves.
    fn split_remaining_range(
        &self,
        session: &mut Session,
        n: usize,
        last: i128,
        to: Option<i128>,
    ) -> Result<()> {
        let reading = &self.requests[n];
        let end = match (to, &reading.plan.key) {
            (Some(to), _) => to,
            (None, Some(key)) => {
                let statement = format!(
                    "SELECT MAX({}) FROM {}",
                    quote_name(&key.columns[0].0),
                    qualify_name(reading.database, &reading.table.name)
                );
                let row = session.query_row(statement).map_err(self.read_error(n))?;
                row.number::<i128>(0).unwrap_or(last) + 1
            }
            (None, None) => last + 1,
        };
        let middle = last + 1 + (end - last - 1) / 2;
        let first = KeyRange::Integers {
            from: Some(last + 1),
            to: Some(middle),
        };
        let second = KeyRange::Integers {
            from: Some(middle),
            to,
        };
        self.add_tasks(vec![
            ReadTask::ReadRange(n, first),
            ReadTask::ReadRange(n, second),
        ]);
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

/// The width of ranges: a power of two, so that it rarely changes.
fn range_width(span: i128, parts: i128) -> i128 {
    let wanted = (span / parts).max(1);
    let mut width = 1;
    while width * 2 <= wanted {
        width *= 2;
    }
    width
}

/// Writes the rows of one range into one or several data files.
struct DataFileWriter<'a> {
    queue: &'a ReadQueue<'a>,
    request_index: usize,
    value_formats: Vec<ValueFormat>,
    range_start: RangeStart,
    file_index: u64,
    /// Whether a row ends with its key, which is not stored.
    with_key: bool,
    stream: Option<StreamId>,
    open: Option<OpenStream>,
    lines: Vec<u8>,
    bytes: u64,
    file_checksum: RowChecksum,
    range_checksum: RowChecksum,
    line_bytes_max: u64,
    last_key: Option<i128>,
}

impl<'a> DataFileWriter<'a> {
    fn new(queue: &'a ReadQueue<'a>, request_index: usize, range: &KeyRange) -> Self {
        let table = queue.requests[request_index].table;
        let mut value_formats: Vec<ValueFormat> =
            table.columns.iter().map(|column| column.form).collect();
        if value_formats.is_empty() {
            value_formats.push(ValueFormat::Plain);
        }
        let range_start = match range {
            KeyRange::Whole => None,
            KeyRange::Integers { from, .. } => *from,
            KeyRange::Condition { index: n, .. } => Some(*n),
        };
        Self {
            queue,
            request_index,
            value_formats,
            range_start,
            file_index: 0,
            with_key: matches!(range, KeyRange::Integers { .. }),
            stream: None,
            open: None,
            lines: Vec::new(),
            bytes: 0,
            file_checksum: RowChecksum::default(),
            range_checksum: RowChecksum::default(),
            line_bytes_max: 0,
            last_key: None,
        }
    }

    fn write_row(&mut self, row: Row) -> Result<()> {
        let unexpected = |reason| {
            self.queue.read_error(self.request_index)(DatabaseError::UnexpectedResponse(reason))
        };
        let mut values = row.unwrap();
        if self.with_key {
            self.last_key = match values.pop() {
                Some(Value::Int(key)) => Some(i128::from(key)),
                Some(Value::UInt(key)) => Some(i128::from(key)),
                _ => return Err(unexpected("a key value is not an integer".to_owned())),
            };
        }
        let start = self.lines.len();
        write_line(&values, &self.value_formats, &mut self.lines).map_err(unexpected)?;
        // A huge row is in memory twice for no longer than necessary.
        drop(values);
        let line = &self.lines[start..];
        self.line_bytes_max = self.line_bytes_max.max(line.len() as u64);
        let hash = self.file_checksum.add_line(line);
        self.lines.push(b'\n');
        self.bytes += (self.lines.len() - start) as u64;
        if self.lines.len() >= LINE_BUFFER_BYTES {
            self.flush_lines()?;
        }
        let suitable = self.bytes >= DATA_FILE_BYTES && hash & DATA_FILE_END_MASK == 0;
        if suitable || self.bytes >= DATA_FILE_BYTES_MAX {
            self.end_file()?;
        }
        Ok(())
    }

    fn flush_lines(&mut self) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let next = || StreamId(self.queue.next_stream_id.fetch_add(1, Ordering::Relaxed));
        let id = *self.stream.get_or_insert_with(next);
        match self.queue.sender {
            Some(sender) => {
                let open = self.open.get_or_insert_with(|| sender.begin_stream(id));
                open.write(&self.lines)?;
            }
            None => {
                self.queue.progress.check_cancelled()?;
                Progress::add(&self.queue.progress.bytes, self.lines.len() as u64);
            }
        }
        // The memory of a huge row is freed.
        if self.lines.capacity() > 16 * LINE_BUFFER_BYTES {
            self.lines = Vec::new();
        }
        self.lines.clear();
        Ok(())
    }

    fn end_file(&mut self) -> Result<()> {
        self.flush_lines()?;
        let Some(stream) = self.stream.take() else {
            return Ok(());
        };
        if let Some(open) = self.open.take() {
            open.finish()?;
        }
        let piece = WrittenDataFile {
            order: (self.range_start, self.file_index),
            stream,
            rows: self.file_checksum.rows,
            bytes: self.bytes,
        };
        self.range_checksum.merge(&self.file_checksum);
        self.file_index += 1;
        self.bytes = 0;
        self.file_checksum = RowChecksum::default();
        let mut state = self
            .queue
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.results[self.request_index].files.push(piece);
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.end_file()?;
        let mut state = self
            .queue
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let found = &mut state.results[self.request_index];
        found.checksum.merge(&self.range_checksum);
        found.line_bytes_max = found.line_bytes_max.max(self.line_bytes_max);
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_a_width_that_growth_rarely_changes() {
        assert_eq!(range_width(1_000_000, 10), 65_536);
        assert_eq!(range_width(1_200_000, 10), 65_536);
        assert_eq!(range_width(0, 10), 1);
        assert_eq!(range_width(i128::from(u64::MAX), 4), 1 << 61);
    }
}
