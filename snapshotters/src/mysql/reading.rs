//! Reading rows: several connections with the same snapshot share the tables, and large tables in ranges.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use reprise_repository::{OpenStream, Progress, StreamId, StreamSender};

use super::error::DatabaseError;
use super::keys::{Cutting, Key};
use super::manifest::{Form, Table};
use super::row::{Checksum, write_line};
use super::schema::Plan;
use super::session::{Row, Session, Value};
use super::sql::{qualified, quoted, selected};
use crate::error::{Error, Result};

/// A file of rows ends at the next suitable row after this many bytes.
const PIECE_BYTES: u64 = 32 << 20;

/// Where the rows themselves say so, so that files begin at the same rows tomorrow; here at the latest.
const PIECE_BYTES_MAX: u64 = 48 << 20;

/// One row in so many is suitable.
const PIECE_END_MASK: u128 = 0xfff;

/// A range is expected to have this many bytes.
const RANGE_BYTES: u64 = 32 << 20;

/// A range that turns out to be so many times larger is cut again.
const RANGE_EXCESS: u64 = 4;

/// Bytes of lines that are collected before they are handed on.
const BUFFER_BYTES: usize = 256 << 10;

/// A table whose rows are to be read.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) database: &'a str,
    pub(super) table: &'a Table,
    pub(super) plan: &'a Plan,
}

/// What was read of a table.
#[derive(Debug, Default, Clone)]
pub(super) struct Found {
    /// The files in key order.
    pub(super) pieces: Vec<FoundPiece>,
    pub(super) checksum: Checksum,
    pub(super) line_bytes_max: u64,
}

/// One file.
#[derive(Debug, Clone)]
pub(super) struct FoundPiece {
    order: (Place, u64),
    pub(super) stream: StreamId,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// Where a range begins: the first comes before all numbers.
type Place = Option<i128>;

/// A part of a table's rows.
#[derive(Debug, Clone)]
enum Range {
    /// All of them.
    Whole,
    /// Those whose key is at least `from` and less than `to`; none means no bound.
    Numbers { from: Place, to: Option<i128> },
    /// Those that a condition selects; `n` is its place among its neighbours.
    Steps { n: i128, condition: String },
}

#[derive(Debug)]
enum Task {
    /// Cut a table into ranges.
    Cut(usize),
    Read(usize, Range),
    /// Count a table's rows, to be compared with the sum of its ranges.
    Count(usize),
}

/// What the readers share.
struct Queue<'a> {
    readings: &'a [Reading<'a>],
    state: Mutex<State>,
    changed: Condvar,
    streams: AtomicU64,
    /// Where rows go; `None` when they are only counted and summed.
    sender: Option<&'a StreamSender>,
    progress: &'a Progress,
}

#[derive(Default)]
struct State {
    tasks: VecDeque<Task>,
    busy: usize,
    failed: Option<Error>,
    found: Vec<Found>,
    /// The rows that the server counted in tables that were read in ranges.
    counted: Vec<Option<u64>>,
}

/// Reads all rows of the tables and stores them if there is a sender. What is found is in their order.
///
/// # Errors
/// What the server says, that ranges do not add up, or what storing gives.
pub(super) fn read(
    readers: &mut [Session],
    readings: &[Reading<'_>],
    sender: Option<&StreamSender>,
    progress: &Progress,
) -> Result<Vec<Found>> {
    let mut order: Vec<usize> = (0..readings.len()).collect();
    // Tables that are kept locked come first, then the largest: the end is shared best when it is small.
    order.sort_by_key(|n| {
        let reading = &readings[*n];
        (
            reading.table.consistent,
            u64::MAX - reading.plan.bytes_estimate,
        )
    });
    let queue = Queue {
        readings,
        state: Mutex::new(State {
            tasks: order.into_iter().map(Task::Cut).collect(),
            found: vec![Found::default(); readings.len()],
            counted: vec![None; readings.len()],
            ..State::default()
        }),
        changed: Condvar::new(),
        streams: AtomicU64::new(0),
        sender,
        progress,
    };
    std::thread::scope(|scope| {
        for session in readers.iter_mut() {
            scope.spawn(|| queue.work(session));
        }
    });
    let state = queue
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = state.failed {
        return Err(error);
    }
    check_counts(readings, &state)?;
    let mut found = state.found;
    for found in &mut found {
        found.pieces.sort_by_key(|piece| piece.order);
    }
    Ok(found)
}

fn check_counts(readings: &[Reading<'_>], state: &State) -> Result<()> {
    for ((reading, found), counted) in readings.iter().zip(&state.found).zip(&state.counted) {
        if let Some(counted) = counted
            && *counted != found.checksum.rows
        {
            return Err(Error::database(
                format!("read {}", qualified(reading.database, &reading.table.name)),
                DatabaseError::Unexpected(format!(
                    "row counts differ: {} read in key ranges, {counted} counted by the server",
                    found.checksum.rows
                )),
            ));
        }
    }
    Ok(())
}

impl Queue<'_> {
    fn work(&self, session: &mut Session) {
        while let Some(task) = self.next() {
            let result = self.perform(session, task);
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.busy -= 1;
            if let Err(error) = result {
                state.tasks.clear();
                state.failed.get_or_insert(error);
            }
            self.changed.notify_all();
        }
    }

    /// The next task; waits while others may still make some.
    fn next(&self) -> Option<Task> {
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

    /// Adds tasks to be done before those of other tables.
    fn add(&self, tasks: Vec<Task>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for task in tasks.into_iter().rev() {
            state.tasks.push_front(task);
        }
        self.changed.notify_all();
    }

    fn perform(&self, session: &mut Session, task: Task) -> Result<()> {
        match task {
            Task::Cut(n) => self.cut(session, n),
            Task::Read(n, range) => self.read(session, n, &range),
            Task::Count(n) => self.count(session, n),
        }
    }

    fn check(&self) -> Result<()> {
        match self.sender {
            Some(sender) => sender.check()?,
            None => self.progress.check()?,
        }
        Ok(())
    }

    fn failed(&self, n: usize) -> impl Fn(DatabaseError) -> Error {
        let reading = &self.readings[n];
        let name = qualified(reading.database, &reading.table.name);
        move |source| Error::database(format!("read {name}"), source)
    }

    fn cut(&self, session: &mut Session, n: usize) -> Result<()> {
        let Reading { plan, table, .. } = &self.readings[n];
        if !plan.has_rows {
            return Ok(());
        }
        let large = plan.bytes_estimate > RANGE_BYTES * 2;
        let key = plan.key.as_ref().filter(|_| large && table.consistent);
        match key.map(|key| (key, key.cutting())) {
            Some((key, Cutting::Numbers)) => self.cut_numbers(session, n, key),
            Some((key, Cutting::Steps)) => self.cut_steps(session, n, key),
            _ => self.read(session, n, &Range::Whole),
        }
    }

    /// Ranges of equal width. Their borders are multiples of it, so that they stay when rows are added.
    fn cut_numbers(&self, session: &mut Session, n: usize, key: &Key) -> Result<()> {
        let reading = &self.readings[n];
        let (column, _) = &key.columns[0];
        let statement = format!(
            "SELECT MIN({0}), MAX({0}) FROM {1}",
            quoted(column),
            qualified(reading.database, &reading.table.name)
        );
        let row = session.row(statement).map_err(self.failed(n))?;
        let (Some(min), Some(max)) = (row.number::<i128>(0), row.number::<i128>(1)) else {
            return self.read(session, n, &Range::Whole);
        };
        let parts = i128::from((reading.plan.bytes_estimate / RANGE_BYTES).max(1));
        let width = width(max - min, parts);
        let first = (min.div_euclid(width) + 1) * width;
        let mut tasks = Vec::new();
        let mut from = None;
        let mut border = first;
        while border <= max {
            tasks.push(Task::Read(
                n,
                Range::Numbers {
                    from,
                    to: Some(border),
                },
            ));
            from = Some(border);
            border += width;
        }
        tasks.push(Task::Read(n, Range::Numbers { from, to: None }));
        tasks.push(Task::Count(n));
        self.add(tasks);
        Ok(())
    }

    /// Ranges of equal numbers of rows, found by walking along the key. Others read while this one walks.
    fn cut_steps(&self, session: &mut Session, n: usize, key: &Key) -> Result<()> {
        let reading = &self.readings[n];
        let row_bytes = reading.plan.bytes_estimate / reading.plan.rows_estimate.max(1);
        let step = (RANGE_BYTES / row_bytes.max(1)).max(1000);
        let mut lower: Option<Vec<String>> = None;
        for place in 0.. {
            let after = lower
                .as_ref()
                .map_or_else(String::new, |bound| format!(" WHERE {}", key.from(bound)));
            let statement = format!(
                "SELECT {0} FROM {1} FORCE INDEX ({2}){after} ORDER BY {0} LIMIT {step}, 1",
                key.order(),
                qualified(reading.database, &reading.table.name),
                quoted(&key.name),
            );
            self.check()?;
            let row = session
                .rows(statement)
                .map_err(self.failed(n))?
                .into_iter()
                .next();
            let upper = match row {
                Some(row) => Some(key.bound(&row).ok_or_else(|| {
                    self.failed(n)(DatabaseError::Unexpected(
                        "a key column has a NULL or malformed value".to_owned(),
                    ))
                })?),
                None => None,
            };
            let parts = [
                lower.as_ref().map(|bound| key.from(bound)),
                upper.as_ref().map(|bound| key.before(bound)),
            ];
            let conditions: Vec<String> = parts.into_iter().flatten().collect();
            let range = match conditions.is_empty() {
                true => Range::Whole,
                false => Range::Steps {
                    n: place,
                    condition: conditions.join(" AND "),
                },
            };
            let mut tasks = vec![Task::Read(n, range)];
            if upper.is_none() && place > 0 {
                tasks.push(Task::Count(n));
            }
            self.add(tasks);
            if upper.is_none() {
                break;
            }
            lower = upper;
        }
        Ok(())
    }

    fn count(&self, session: &mut Session, n: usize) -> Result<()> {
        let reading = &self.readings[n];
        let name = qualified(reading.database, &reading.table.name);
        let row = session
            .row(format!("SELECT COUNT(*) FROM {name}"))
            .map_err(self.failed(n))?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.counted[n] = row.number(0);
        Ok(())
    }

    fn read(&self, session: &mut Session, n: usize, range: &Range) -> Result<()> {
        let Reading { plan, .. } = &self.readings[n];
        let row_bytes = plan.bytes_estimate / plan.rows_estimate.max(1);
        let limit = match range {
            Range::Numbers { .. } => {
                Some((RANGE_BYTES * RANGE_EXCESS / row_bytes.max(1)).max(10_000))
            }
            _ => None,
        };
        let statement = self.statement(n, range, limit);
        let mut pieces = Pieces::new(self, n, range);
        session
            .stream(&statement, |row| pieces.row(row))
            .map_err(|error| match error {
                Error::Database { source, .. } => self.failed(n)(source),
                other => other,
            })?;
        let last = pieces.last;
        let rows = pieces.total.rows + pieces.sum.rows;
        pieces.finish()?;
        // A full range may have more rows behind the last one.
        if let (Some(limit), Range::Numbers { to, .. }, Some(last)) = (limit, range, last)
            && rows == limit
        {
            self.cut_rest(session, n, last, *to)?;
        }
        Ok(())
    }

    /// The rows of a crowded range behind the last one that was read, in halves.
    fn cut_rest(
        &self,
        session: &mut Session,
        n: usize,
        last: i128,
        to: Option<i128>,
    ) -> Result<()> {
        let reading = &self.readings[n];
        let end = match (to, &reading.plan.key) {
            (Some(to), _) => to,
            (None, Some(key)) => {
                let statement = format!(
                    "SELECT MAX({}) FROM {}",
                    quoted(&key.columns[0].0),
                    qualified(reading.database, &reading.table.name)
                );
                let row = session.row(statement).map_err(self.failed(n))?;
                row.number::<i128>(0).unwrap_or(last) + 1
            }
            (None, None) => last + 1,
        };
        let middle = last + 1 + (end - last - 1) / 2;
        let first = Range::Numbers {
            from: Some(last + 1),
            to: Some(middle),
        };
        let second = Range::Numbers {
            from: Some(middle),
            to,
        };
        self.add(vec![Task::Read(n, first), Task::Read(n, second)]);
        Ok(())
    }

    fn statement(&self, n: usize, range: &Range, limit: Option<u64>) -> String {
        let Reading {
            database,
            table,
            plan,
        } = &self.readings[n];
        let columns: Vec<String> = table.columns.iter().map(selected).collect();
        let mut columns = if columns.is_empty() {
            // Rows of generated columns only are counted.
            "NULL".to_owned()
        } else {
            columns.join(", ")
        };
        let name = qualified(database, &table.name);
        let history = if table.versioned {
            " FOR SYSTEM_TIME ALL"
        } else {
            ""
        };
        let Some(key) = &plan.key else {
            return format!("SELECT {columns} FROM {name}{history}");
        };
        let first = quoted(&key.columns[0].0);
        let condition = match range {
            Range::Whole => String::new(),
            Range::Steps { condition, .. } => format!(" WHERE {condition}"),
            Range::Numbers { from, to } => {
                // The key itself, to know where to go on.
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
            quoted(&key.name),
            key.order()
        )
    }
}

/// The width of ranges: a power of two, so that it rarely changes.
fn width(span: i128, parts: i128) -> i128 {
    let wanted = (span / parts).max(1);
    let mut width = 1;
    while width * 2 <= wanted {
        width *= 2;
    }
    width
}

/// Writes the rows of one range into one file or several.
struct Pieces<'a> {
    queue: &'a Queue<'a>,
    reading: usize,
    forms: Vec<Form>,
    place: Place,
    part: u64,
    /// Whether a row ends with its key, which is not stored.
    with_key: bool,
    stream: Option<StreamId>,
    open: Option<OpenStream>,
    lines: Vec<u8>,
    bytes: u64,
    sum: Checksum,
    total: Checksum,
    line_bytes_max: u64,
    last: Option<i128>,
}

impl<'a> Pieces<'a> {
    fn new(queue: &'a Queue<'a>, reading: usize, range: &Range) -> Self {
        let table = queue.readings[reading].table;
        let mut forms: Vec<Form> = table.columns.iter().map(|column| column.form).collect();
        if forms.is_empty() {
            forms.push(Form::Plain);
        }
        let place = match range {
            Range::Whole => None,
            Range::Numbers { from, .. } => *from,
            Range::Steps { n, .. } => Some(*n),
        };
        Self {
            queue,
            reading,
            forms,
            place,
            part: 0,
            with_key: matches!(range, Range::Numbers { .. }),
            stream: None,
            open: None,
            lines: Vec::new(),
            bytes: 0,
            sum: Checksum::default(),
            total: Checksum::default(),
            line_bytes_max: 0,
            last: None,
        }
    }

    fn row(&mut self, row: Row) -> Result<()> {
        let unexpected =
            |reason| self.queue.failed(self.reading)(DatabaseError::Unexpected(reason));
        let mut values = row.unwrap();
        if self.with_key {
            self.last = match values.pop() {
                Some(Value::Int(key)) => Some(i128::from(key)),
                Some(Value::UInt(key)) => Some(i128::from(key)),
                _ => return Err(unexpected("a key value is not an integer".to_owned())),
            };
        }
        let start = self.lines.len();
        write_line(&values, &self.forms, &mut self.lines).map_err(unexpected)?;
        // A huge row need not be there twice for longer than this.
        drop(values);
        let line = &self.lines[start..];
        self.line_bytes_max = self.line_bytes_max.max(line.len() as u64);
        let hash = self.sum.add(line);
        self.lines.push(b'\n');
        self.bytes += (self.lines.len() - start) as u64;
        if self.lines.len() >= BUFFER_BYTES {
            self.hand_on()?;
        }
        let suitable = self.bytes >= PIECE_BYTES && hash & PIECE_END_MASK == 0;
        if suitable || self.bytes >= PIECE_BYTES_MAX {
            self.end_piece()?;
        }
        Ok(())
    }

    fn hand_on(&mut self) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let next = || StreamId(self.queue.streams.fetch_add(1, Ordering::Relaxed));
        let id = *self.stream.get_or_insert_with(next);
        match self.queue.sender {
            Some(sender) => {
                let open = self.open.get_or_insert_with(|| sender.begin(id));
                open.write(&self.lines)?;
            }
            None => {
                self.queue.progress.check()?;
                Progress::add(&self.queue.progress.bytes, self.lines.len() as u64);
            }
        }
        // After a huge row its memory is given back.
        if self.lines.capacity() > 16 * BUFFER_BYTES {
            self.lines = Vec::new();
        }
        self.lines.clear();
        Ok(())
    }

    fn end_piece(&mut self) -> Result<()> {
        self.hand_on()?;
        let Some(stream) = self.stream.take() else {
            return Ok(());
        };
        if let Some(open) = self.open.take() {
            open.finish()?;
        }
        let piece = FoundPiece {
            order: (self.place, self.part),
            stream,
            rows: self.sum.rows,
            bytes: self.bytes,
        };
        self.total.join(&self.sum);
        self.part += 1;
        self.bytes = 0;
        self.sum = Checksum::default();
        let mut state = self
            .queue
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.found[self.reading].pieces.push(piece);
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.end_piece()?;
        let mut state = self
            .queue
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let found = &mut state.found[self.reading];
        found.checksum.join(&self.total);
        found.line_bytes_max = found.line_bytes_max.max(self.line_bytes_max);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_a_width_that_growth_rarely_changes() {
        assert_eq!(width(1_000_000, 10), 65_536);
        assert_eq!(width(1_200_000, 10), 65_536);
        assert_eq!(width(0, 10), 1);
        assert_eq!(width(i128::from(u64::MAX), 4), 1 << 61);
    }
}
