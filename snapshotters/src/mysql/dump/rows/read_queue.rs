//! The tables and ranges that several connections read, and their results.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Condvar, Mutex, PoisonError};

use reprise_mysql::row_text::RowChecksum;
use reprise_mysql::sql::qualify_name;
use reprise_mysql::{DatabaseError, MysqlTable};
use reprise_repository::{Progress, StreamId, StreamSender};

use crate::error::{Error, Result};
use crate::mysql::dump::schema::server_schema::TableReadPlan;

/// Expected bytes of a range.
pub(crate) const RANGE_BYTES: u64 = 32 << 20;

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
    pub(crate) order: (RangeStart, u64),
    pub(crate) stream: StreamId,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// Where a range begins: `None` comes before all numbers.
pub(crate) type RangeStart = Option<i128>;

/// A part of a table's rows.
#[derive(Debug, Clone)]
pub(crate) enum KeyRange {
    /// All of them.
    Whole,
    /// Those whose key is at least `from` and less than `to`; none means no bound.
    Integers { from: RangeStart, to: Option<i128> },
    /// Those that a condition selects; `index` orders the ranges.
    Condition { index: i128, condition: String },
}

#[derive(Debug)]
pub(crate) enum ReadTask {
    /// Split a table into ranges.
    SplitTable(usize),
    ReadRange(usize, KeyRange),
    /// Count a table's rows, to compare them with the sum of its ranges.
    CountRows(usize),
}

/// State that the readers share.
pub(crate) struct ReadQueue<'a> {
    pub(crate) requests: &'a [TableReadRequest<'a>],
    pub(crate) state: Mutex<ReadQueueState>,
    pub(crate) changed: Condvar,
    pub(crate) next_stream_id: AtomicU64,
    /// Where rows are sent; `None` when they are only counted and checksummed.
    pub(crate) sender: Option<&'a StreamSender>,
    pub(crate) progress: &'a Progress,
}

#[derive(Default)]
pub(crate) struct ReadQueueState {
    pub(crate) tasks: VecDeque<ReadTask>,
    pub(crate) active_workers: usize,
    pub(crate) first_error: Option<Error>,
    pub(crate) results: Vec<TableReadResult>,
    /// The rows that the server counted in tables that were read in ranges.
    pub(crate) server_row_counts: Vec<Option<u64>>,
}

impl ReadQueue<'_> {
    /// The next task; waits while other readers may still add some.
    pub(crate) fn next_task(&self) -> Option<ReadTask> {
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
    pub(crate) fn add_tasks(&self, tasks: Vec<ReadTask>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for task in tasks.into_iter().rev() {
            state.tasks.push_front(task);
        }
        self.changed.notify_all();
    }

    pub(crate) fn check_interrupted(&self) -> Result<()> {
        match self.sender {
            Some(sender) => sender.check_running()?,
            None => self.progress.check_cancelled()?,
        }
        Ok(())
    }

    pub(crate) fn read_error(&self, n: usize) -> impl Fn(DatabaseError) -> Error {
        let reading = &self.requests[n];
        let name = qualify_name(reading.database, &reading.table.name);
        move |source| Error::from_database(format!("read {name}"), source)
    }
}
