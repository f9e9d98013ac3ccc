//! Reads the streams of a snapshot: entries, references and details.

use std::collections::HashSet;

use crate::crypto::encryption::RecipientClass;
use crate::error::{Error, Result};
use crate::format::entry::{ENTRY_LINE_BYTES_MAX, Entry};
use crate::format::entry_list::{EntryListCheck, PathDigest, path_digest};
use crate::format::snapshot::{EntryCounts, Snapshot, SnapshotDetails};
use crate::id::ChunkId;
use crate::read::reader::{ChunkStream, ContentReader};

/// Details are read whole; a run with a million warnings stays below this, in bytes.
const DETAILS_BYTES_MAX: u64 = 1 << 30;

/// Reads one snapshot.
#[derive(Debug, Clone, Copy)]
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
        EntryReader {
            snapshot: *self,
            entries: self.entry_lines(),
            lines: 0,
            references: self.references(),
            list: EntryListCheck::default(),
            earlier_paths: None,
            counts: EntryCounts::default(),
            repeated: EntryCounts::default(),
        }
    }

    fn entry_lines(&self) -> StreamLines<'a> {
        let stream = self.reader.open_stream(
            &self.snapshot.root.entries,
            RecipientClass::Data,
            self.stream_name("entry list"),
        );
        StreamLines::new(stream, ENTRY_LINE_BYTES_MAX)
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

/// The entries of a snapshot, each with the IDs of its chunks: the one reader for everything that lists, restores,
/// compares or verifies them.
///
/// Lists of earlier versions may have an entry several times, where a file system listed a name twice. The first one
/// counts, the others are skipped.
#[derive(Debug)]
pub struct EntryReader<'a> {
    snapshot: SnapshotReader<'a>,
    entries: StreamLines<'a>,
    lines: u64,
    references: ReferenceReader<'a>,
    list: EntryListCheck,
    /// Digests of the paths of all entries so far, once an entry was not in order.
    earlier_paths: Option<HashSet<PathDigest>>,
    counts: EntryCounts,
    repeated: EntryCounts,
}

impl EntryReader<'_> {
    /// The next entry. Paths come in order, each once, and none leads outside the target.
    ///
    /// # Errors
    /// As for reading chunks, and [`Error::Damaged`] for entries that no snapshot could contain.
    pub fn next_entry(&mut self) -> Result<Option<(Entry, Vec<ChunkId>)>> {
        loop {
            let entry = match self.entries.next_line()? {
                None => return self.check_end().map(|()| None),
                Some(line) => Entry::decode(line),
            };
            let entry = entry.map_err(|reason| self.entries.damaged_error(&reason))?;
            let place = self.list.take_next(&entry);
            let is_new = match place {
                Ok(()) => true,
                // A file with several names that was listed twice is a link to itself the second time.
                Err(_) if self.is_repeated(&entry)? => false,
                Err(fault) => return Err(self.entries.damaged_error(&fault.to_string())),
            };
            self.lines += 1;
            let chunks = self.take_references(&entry)?;
            if is_new {
                if let Some(paths) = &mut self.earlier_paths {
                    paths.insert(path_digest(&entry.path));
                }
                self.counts.add_entry(&entry);
                return Ok(Some((entry, chunks)));
            }
            self.repeated.add_entry(&entry);
        }
    }

    /// What the entries so far are, each path once.
    #[must_use]
    pub fn counts(&self) -> EntryCounts {
        self.counts
    }

    /// How many entries were skipped because an earlier one has the same path.
    #[must_use]
    pub fn repeated_entries(&self) -> u64 {
        self.repeated.entries
    }

    /// Every entry of the list takes its references, whether or not it counts.
    fn take_references(&mut self, entry: &Entry) -> Result<Vec<ChunkId>> {
        let mut chunks = Vec::new();
        for _ in 0..entry.chunks {
            let id = self.references.next_id()?.ok_or_else(|| {
                self.entries
                    .damaged_error("it refers to more chunks than the reference list has")
            })?;
            chunks.push(id);
        }
        Ok(chunks)
    }

    /// Whether an earlier entry has the same path. Only a list that is not in order needs to know all of its paths.
    fn is_repeated(&mut self, entry: &Entry) -> Result<bool> {
        let paths = match self.earlier_paths.take() {
            Some(paths) => paths,
            None => self.read_earlier_paths()?,
        };
        let repeated = paths.contains(&path_digest(&entry.path));
        self.earlier_paths = Some(paths);
        Ok(repeated)
    }

    fn read_earlier_paths(&self) -> Result<HashSet<PathDigest>> {
        let mut lines = self.snapshot.entry_lines();
        let mut paths = HashSet::new();
        for _ in 0..self.lines {
            let Some(line) = lines.next_line()? else {
                break;
            };
            let entry = Entry::decode(line);
            let entry = entry.map_err(|reason| lines.damaged_error(&reason))?;
            paths.insert(path_digest(&entry.path));
        }
        Ok(paths)
    }

    fn check_end(&mut self) -> Result<()> {
        if self.references.next_id()?.is_some() {
            return Err(self
                .entries
                .damaged_error("it refers to fewer chunks than the reference list has"));
        }
        let found = self.counts.sum(self.repeated);
        let expected = self.snapshot.snapshot.root.counts;
        if found == expected {
            return Ok(());
        }
        Err(self
            .entries
            .damaged_error(&format!("it contains {found:?} instead of {expected:?}")))
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
