//! Writes rows into data files, and adds up their checksums.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use reprise_mysql::row_text::{RowChecksum, write_line};
use reprise_mysql::{DatabaseError, Row, Value, ValueFormat};
use reprise_repository::{OpenStream, Progress, StreamId};

use crate::error::Result;
use crate::mysql::dump::rows::read_queue::{KeyRange, RangeStart, ReadQueue, WrittenDataFile};

/// A data file ends at the next suitable row after this many bytes.
const DATA_FILE_BYTES: u64 = 32 << 20;

/// Rows themselves determine the end, so that files begin at the same rows tomorrow; here at the latest.
const DATA_FILE_BYTES_MAX: u64 = 48 << 20;

/// One row in this many is suitable.
const DATA_FILE_END_MASK: u128 = 0xfff;

/// Bytes of lines that are collected before they are passed on.
const LINE_BUFFER_BYTES: usize = 256 << 10;

/// Writes the rows of one range into one or several data files.
pub(crate) struct DataFileWriter<'a> {
    pub(crate) queue: &'a ReadQueue<'a>,
    pub(crate) request_index: usize,
    pub(crate) value_formats: Vec<ValueFormat>,
    pub(crate) range_start: RangeStart,
    pub(crate) file_index: u64,
    /// Whether a row ends with its key, which is not stored.
    pub(crate) with_key: bool,
    pub(crate) stream: Option<StreamId>,
    pub(crate) open: Option<OpenStream>,
    pub(crate) lines: Vec<u8>,
    pub(crate) bytes: u64,
    pub(crate) file_checksum: RowChecksum,
    pub(crate) range_checksum: RowChecksum,
    pub(crate) line_bytes_max: u64,
    pub(crate) last_key: Option<i128>,
}

impl<'a> DataFileWriter<'a> {
    pub(crate) fn new(queue: &'a ReadQueue<'a>, request_index: usize, range: &KeyRange) -> Self {
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

    pub(crate) fn write_row(&mut self, row: Row) -> Result<()> {
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

    pub(crate) fn finish(mut self) -> Result<()> {
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
