//! Reads the streams of a snapshot: entries, references and details.

use std::cmp::Ordering;

use crate::crypto::encryption::RecipientClass;
use crate::error::{Error, Result};
use crate::format::entry::{ENTRY_LINE_BYTES_MAX, Entry, EntryKind, path_order};
use crate::format::snapshot::{Snapshot, SnapshotDetails};
use crate::id::ChunkId;
use crate::read::reader::{ChunkStream, ContentReader};

/// Details are read whole; a run with a million warnings stays below this, in bytes.
const DETAILS_BYTES_MAX: u64 = 1 << 30;

/// Reads one snapshot.
#[derive(Debug)]
pub struct SnapshotReader<'a> {
    reader: &'a ContentReader,
    snapshot: &'a Snapshot,
}

impl ContentReader {
    /// A reader of one snapshot.
    #[must_use]
    pub fn snapshot_reader<'a>(&'a self, snapshot: &'a Snapshot) -> SnapshotReader<'a> {
        SnapshotReader {
            reader: self,
            snapshot,
        }
    }
}

impl<'a> SnapshotReader<'a> {
    fn stream_name(&self, what: &str) -> String {
        format!("the {what} of snapshot {}", self.snapshot.id.short())
    }

    /// The entries with their chunks, in order. Needs an identity that reads contents.
    #[must_use]
    pub fn entries(&self) -> EntryReader<'a> {
        let root = &self.snapshot.root;
        let entries = self.reader.open_stream(
            &root.entries,
            RecipientClass::Data,
            self.stream_name("entry list"),
        );
        let references = self.references();
        EntryReader {
            entries: StreamLines::new(entries, ENTRY_LINE_BYTES_MAX),
            references,
            last_path: None,
        }
    }

    /// The IDs of all chunks of content, in entry order. The catalog identities are enough.
    #[must_use]
    pub fn references(&self) -> ReferenceReader<'a> {
        let record = &self.snapshot.root.references;
        let stream = self.reader.open_stream(
            record,
            RecipientClass::Catalog,
            self.stream_name("reference list"),
        );
        ReferenceReader {
            lines: StreamLines::new(stream, 64),
        }
    }

    /// The details of the run, which only the recovery identities may read.
    ///
    /// # Errors
    /// As for reading chunks.
    pub fn details(&self) -> Result<SnapshotDetails> {
        let record = &self.snapshot.root.details;
        let name = self.stream_name("detail record");
        let damaged = |reason: String| Error::Damaged {
            object: name.clone(),
            reason,
        };
        if record.bytes > DETAILS_BYTES_MAX {
            return Err(damaged(format!(
                "its stated size of {} bytes is larger than the maximum",
                record.bytes
            )));
        }
        let mut stream = self
            .reader
            .open_stream(record, RecipientClass::Data, name.clone());
        let mut json = Vec::new();
        while let Some(chunk) = stream.next_chunk()? {
            json.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&json).map_err(|e| damaged(e.to_string()))
    }
}

/// The IDs of a snapshot's reference list.
#[derive(Debug)]
pub struct ReferenceReader<'a> {
    lines: StreamLines<'a>,
}

impl ReferenceReader<'_> {
    /// The next ID.
    ///
    /// # Errors
    /// As for reading chunks.
    pub fn next_id(&mut self) -> Result<Option<ChunkId>> {
        let parsed = match self.lines.next_line()? {
            None => return Ok(None),
            Some(line) => std::str::from_utf8(line)
                .ok()
                .and_then(|text| text.parse().ok()),
        };
        parsed
            .map(Some)
            .ok_or_else(|| self.lines.damaged_error("a line is not a chunk ID"))
    }
}

/// The entries of a snapshot, each with the IDs of its chunks.
#[derive(Debug)]
pub struct EntryReader<'a> {
    entries: StreamLines<'a>,
    references: ReferenceReader<'a>,
    last_path: Option<Vec<u8>>,
}

impl EntryReader<'_> {
    /// The next entry. Paths come in order, each once, and none leads outside the target.
    ///
    /// # Errors
    /// As for reading chunks, and [`Error::Damaged`] for entries that no snapshot could contain.
    pub fn next_entry(&mut self) -> Result<Option<(Entry, Vec<ChunkId>)>> {
        let parsed = match self.entries.next_line()? {
            None => return self.check_end().map(|()| None),
            Some(line) => Entry::parse(line),
        };
        let entry = parsed.map_err(|reason| self.entries.damaged_error(&reason))?;
        let path = entry.path.as_bytes();
        if self
            .last_path
            .as_deref()
            .is_some_and(|last| path_order(last, path) != Ordering::Less)
        {
            return Err(self
                .entries
                .damaged_error(&format!("{:?} is out of order", entry.path)));
        }
        if entry.chunks > 0 && entry.kind != EntryKind::File {
            return Err(self.entries.damaged_error(&format!(
                "{:?} has content but is not a regular file",
                entry.path
            )));
        }
        self.last_path = Some(path.to_vec());
        let mut chunks = Vec::new();
        for _ in 0..entry.chunks {
            match self.references.next_id()? {
                Some(id) => chunks.push(id),
                None => {
                    return Err(self
                        .entries
                        .damaged_error("it refers to more chunks than the reference list has"));
                }
            }
        }
        Ok(Some((entry, chunks)))
    }

    fn check_end(&mut self) -> Result<()> {
        match self.references.next_id()? {
            None => Ok(()),
            Some(_) => Err(self
                .entries
                .damaged_error("it refers to fewer chunks than the reference list has")),
        }
    }
}

/// Splits a stream into lines.
#[derive(Debug)]
struct StreamLines<'a> {
    stream: ChunkStream<'a>,
    buffer: Vec<u8>,
    start: usize,
    line_max: usize,
}

impl<'a> StreamLines<'a> {
    fn new(stream: ChunkStream<'a>, line_max: usize) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            start: 0,
            line_max,
        }
    }

    /// The next line without its end.
    fn next_line(&mut self) -> Result<Option<&[u8]>> {
        let mut searched = self.start;
        loop {
            if let Some(length) = self.buffer[searched..].iter().position(|b| *b == b'\n') {
                let line = self.start..searched + length;
                self.start = line.end + 1;
                return Ok(Some(&self.buffer[line]));
            }
            if self.buffer.len() - self.start > self.line_max {
                return Err(self.damaged_error("a line is longer than the maximum"));
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            searched = self.buffer.len();
            match self.stream.next_chunk()? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(self.damaged_error("its last line is truncated")),
            }
        }
    }

    fn damaged_error(&self, reason: &str) -> Error {
        Error::Damaged {
            object: self.stream.name.clone(),
            reason: reason.to_owned(),
        }
    }
}
