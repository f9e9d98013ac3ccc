//! Reading: chunks, streams and the entries of a snapshot. Everything is verified while it is read.

use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::crypto::encryption::RecipientClass;
use crate::error::{Error, Result};
use crate::format::entry::{ENTRY_LINE_BYTES_MAX, Entry, EntryKind, path_order};
use crate::format::pack::pack_key;
use crate::format::segment::{self, SegmentRecord};
use crate::format::snapshot::{Snapshot, SnapshotDetails, StreamRecord};
use crate::id::{ChunkId, ObjectId};
use crate::index::{ChunkLocation, Index};
use crate::store::verified_io::read_with_retries;
use crate::store::{Repository, Store};

/// Decoded segments that a stream keeps: neighbouring chunks share them.
const SEGMENTS_CACHED: usize = 3;

/// Details are read whole; a run with a million warnings stays below this, in bytes.
const DETAILS_BYTES_MAX: u64 = 1 << 30;

/// A segment's location: a pack and an offset in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentKey {
    /// The pack.
    pub pack: ObjectId,
    /// The segment's first byte in the pack.
    pub offset: u64,
}

impl ChunkLocation {
    /// The segment that holds the chunk.
    #[must_use]
    pub fn segment_key(&self) -> SegmentKey {
        SegmentKey {
            pack: self.pack,
            offset: self.segment.offset,
        }
    }
}

/// Fetches chunks by ID. May be shared by threads; clones share everything.
#[derive(Debug, Clone)]
pub struct ContentReader {
    inner: Arc<Store>,
    repository: Repository,
    index: Arc<RwLock<(Index, UnindexedPackSearch)>>,
    /// What was missing after the index was reloaded.
    reported_missing: Arc<Mutex<HashSet<String>>>,
    /// Segments that were read to find out which of several locations of a chunk is true.
    probed_segments: Arc<Mutex<VecDeque<ProbedSegment>>>,
}

/// A segment's plain bytes; `None` where it cannot be read.
type ProbedSegment = (SegmentKey, Option<Arc<Vec<u8>>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UnindexedPackSearch {
    /// Unindexed packs were not looked for.
    Pending,
    /// They were.
    Done,
    /// The index must stay as it is.
    Disabled,
}

impl Repository {
    /// A reader of chunks.
    ///
    /// # Errors
    /// When the index cannot be listed.
    pub fn content_reader(&self) -> Result<ContentReader> {
        let index = self.index_for_reading()?;
        Ok(self.reader_with_index(index, UnindexedPackSearch::Pending))
    }

    /// A reader over an index that has everything and does not change.
    pub(crate) fn fixed_reader(&self, index: Index) -> ContentReader {
        self.reader_with_index(index, UnindexedPackSearch::Disabled)
    }

    fn reader_with_index(&self, index: Index, adopted: UnindexedPackSearch) -> ContentReader {
        ContentReader {
            inner: Arc::clone(&self.inner),
            repository: self.clone(),
            index: Arc::new(RwLock::new((index, adopted))),
            reported_missing: Arc::default(),
            probed_segments: Arc::default(),
        }
    }
}

impl ContentReader {
    /// Where a chunk is. When it is not in the index, the directories of all unindexed packs are read once: an index
    /// fragment may have been lost.
    ///
    /// # Errors
    /// [`Error::Missing`] names the chunk and who needs it.
    pub fn locate_chunk(
        &self,
        id: &ChunkId,
        needed_by: &dyn std::fmt::Display,
    ) -> Result<ChunkLocation> {
        let found = self.locate_all(id, needed_by)?;
        let first = found.first().ok_or_else(|| missing_chunk(id, needed_by))?;
        // A chunk's offset in a file follows from lengths: a false one would put others at wrong offsets.
        if found.iter().all(|other| other.length == first.length) {
            return Ok(*first);
        }
        Ok(*found
            .iter()
            .find(|place| self.holds_chunk(place, id))
            .unwrap_or(first))
    }

    /// Whether a chunk is at its indexed location, as far as it can be read here.
    fn holds_chunk(&self, place: &ChunkLocation, id: &ChunkId) -> bool {
        let segment = self.probe_segment(place);
        segment.is_some_and(|segment| {
            self.extract_chunk(&segment, place, id, place.segment.class)
                .is_ok()
        })
    }

    fn probe_segment(&self, place: &ChunkLocation) -> Option<Arc<Vec<u8>>> {
        let key = place.segment_key();
        let mut probed = self
            .probed_segments
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, segment)) = probed.iter().find(|(known, _)| *known == key) {
            return segment.clone();
        }
        let segment = self.read_segment(place).ok().map(Arc::new);
        probed.push_back((key, segment.clone()));
        if probed.len() > SEGMENTS_CACHED {
            probed.pop_front();
        }
        segment
    }

    pub(crate) fn locate_all(
        &self,
        id: &ChunkId,
        needed_by: &dyn std::fmt::Display,
    ) -> Result<Vec<ChunkLocation>> {
        let (found, adopted) = {
            let guard = self.index.read().unwrap_or_else(PoisonError::into_inner);
            (guard.0.locations(id)?, guard.1)
        };
        if !found.is_empty() || adopted != UnindexedPackSearch::Pending {
            return if found.is_empty() {
                Err(missing_chunk(id, needed_by))
            } else {
                Ok(found)
            };
        }
        let mut guard = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if guard.1 == UnindexedPackSearch::Pending {
            self.repository.add_unindexed_packs(&mut guard.0)?;
            guard.1 = UnindexedPackSearch::Done;
        }
        let found = guard.0.locations(id)?;
        if found.is_empty() {
            Err(missing_chunk(id, needed_by))
        } else {
            Ok(found)
        }
    }

    /// Reads the plain bytes of the segment at a location.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Missing`] name the pack, [`Error::NoMatchingIdentity`] the recipients.
    pub fn read_segment(&self, location: &ChunkLocation) -> Result<Vec<u8>> {
        read_segment(&self.inner, location)
    }

    /// Reads a chunk, from another pack if the first one is damaged.
    ///
    /// # Errors
    /// As for [`Self::read_segment`].
    pub fn read_chunk(
        &self,
        id: &ChunkId,
        class: RecipientClass,
        needed_by: &dyn std::fmt::Display,
    ) -> Result<Vec<u8>> {
        match self.read_known_chunk(id, class, needed_by) {
            // A prune may have moved it since the index was read.
            Err(Error::Missing { object, .. }) if self.reload_index(&object)? => {
                self.read_known_chunk(id, class, needed_by)
            }
            read => read,
        }
    }

    /// Reloads the index because of an object; `false` where it must stay, or when that was done for this object
    /// before.
    fn reload_index(&self, object: &str) -> Result<bool> {
        let mut missing = self
            .reported_missing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !missing.insert(object.to_owned()) {
            return Ok(false);
        }
        drop(missing);
        let index = self.repository.index_for_reading()?;
        let mut guard = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if guard.1 == UnindexedPackSearch::Disabled {
            return Ok(false);
        }
        *guard = (index, UnindexedPackSearch::Pending);
        Ok(true)
    }

    /// Calls a function with the index.
    pub(crate) fn with_index<T>(&self, work: impl FnOnce(&Index) -> T) -> T {
        work(&self.index.read().unwrap_or_else(PoisonError::into_inner).0)
    }

    fn read_known_chunk(
        &self,
        id: &ChunkId,
        class: RecipientClass,
        needed_by: &dyn std::fmt::Display,
    ) -> Result<Vec<u8>> {
        let mut first_error = None;
        for location in self.locate_all(id, needed_by)? {
            let chunk = self.read_segment(&location).and_then(|segment| {
                self.extract_chunk(&segment, &location, id, class)
                    .map(<[u8]>::to_vec)
            });
            match chunk {
                Ok(chunk) => return Ok(chunk),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or_else(|| missing_chunk(id, needed_by)))
    }

    /// The chunk at a location in its segment's plain bytes, verified by its ID.
    ///
    /// # Errors
    /// [`Error::Damaged`] when other bytes are there.
    pub fn extract_chunk<'a>(
        &self,
        segment: &'a [u8],
        location: &ChunkLocation,
        id: &ChunkId,
        class: RecipientClass,
    ) -> Result<&'a [u8]> {
        let start = location.offset as usize;
        let chunk = start
            .checked_add(location.length as usize)
            .and_then(|end| segment.get(start..end))
            .filter(|chunk| {
                location.segment.class == class && self.inner.secrets.chunk_id(class, chunk) == *id
            });
        chunk.ok_or_else(|| {
            Error::damaged_object(
                &pack_key(&location.pack),
                format!("chunk {id} is not at the position that the index states"),
            )
        })
    }

    /// The index entry's plain length of a chunk.
    ///
    /// # Errors
    /// As for [`Self::locate_chunk`].
    pub fn chunk_length(&self, id: &ChunkId, needed_by: &dyn std::fmt::Display) -> Result<u32> {
        Ok(self.locate_chunk(id, needed_by)?.length)
    }

    /// How many reads may usefully run at the same time.
    #[must_use]
    pub fn parallel_reads(&self) -> usize {
        self.inner.backend.capabilities().parallel_reads
    }

    /// The content of a file, given its chunks, one chunk after the other.
    #[must_use]
    pub fn stream_content(&self, chunks: Vec<ChunkId>, name: String) -> ContentStream<'_> {
        ContentStream(ChunkStream {
            reader: self,
            chunks: chunks.into(),
            class: RecipientClass::Data,
            name,
            cached_segments: VecDeque::new(),
        })
    }

    pub(crate) fn open_stream<'a>(
        &'a self,
        record: &StreamRecord,
        class: RecipientClass,
        name: String,
    ) -> ChunkStream<'a> {
        ChunkStream {
            reader: self,
            chunks: record.chunks.clone().into(),
            class,
            name,
            cached_segments: VecDeque::new(),
        }
    }
}

fn missing_chunk(id: &ChunkId, needed_by: &dyn std::fmt::Display) -> Error {
    Error::Missing {
        object: format!("chunk {id}"),
        needed_by: needed_by.to_string(),
    }
}

pub(crate) fn read_segment(inner: &Store, location: &ChunkLocation) -> Result<Vec<u8>> {
    read_with_retries(inner.backend.as_ref(), || {
        read_segment_once(inner, location)
    })
}

fn read_segment_once(inner: &Store, location: &ChunkLocation) -> Result<Vec<u8>> {
    let key = pack_key(&location.pack);
    let at = location.segment;
    let range = at.offset..at.offset + u64::from(at.length);
    let stored = inner
        .backend
        .get(&key, Some(range))
        .map_err(|source| match source {
            crate::backend::BackendError::NotFound { .. } => Error::Missing {
                object: key.to_string(),
                needed_by: "the index".to_owned(),
            },
            crate::backend::BackendError::OutOfRange { .. } => {
                Error::damaged_object(&key, "it is shorter than the index states")
            }
            source => inner.backend_error(source),
        })?;
    let record = SegmentRecord {
        class: at.class,
        offset: at.offset,
        length: at.length,
        plain: at.plain,
        hash: at.hash,
        chunks: Vec::new(),
        recipients: None,
    };
    let recipients = match at.class {
        RecipientClass::Data => inner.data_recipients.texts(),
        RecipientClass::Catalog => inner.catalog_recipients.texts(),
    };
    segment::check_stored_segment(&record, &stored, key.as_str())?;
    segment::open_segment(
        &record,
        &stored,
        key.as_str(),
        &inner.identities,
        recipients,
    )
}

/// The plain bytes of a segment that is described whole, every chunk verified by its ID.
///
/// # Errors
/// [`Error::Damaged`], or [`Error::NoMatchingIdentity`].
pub(crate) fn verify_segment(
    inner: &Store,
    object: &str,
    record: &SegmentRecord,
    stored: &[u8],
) -> Result<Vec<u8>> {
    let recipients = match record.class {
        RecipientClass::Data => inner.data_recipients.texts(),
        RecipientClass::Catalog => inner.catalog_recipients.texts(),
    };
    segment::check_stored_segment(record, stored, object)?;
    let plain = segment::open_segment(record, stored, object, &inner.identities, recipients)?;
    let mut rest = plain.as_slice();
    for chunk in &record.chunks {
        let (bytes, after) = rest.split_at(chunk.1 as usize);
        rest = after;
        if inner.secrets.chunk_id(record.class, bytes) != chunk.0 {
            return Err(Error::Damaged {
                object: object.to_owned(),
                reason: format!("the content of chunk {} does not match its ID", chunk.0),
            });
        }
    }
    Ok(plain)
}

/// A stream's chunks, one after the other.
#[derive(Debug)]
pub(crate) struct ChunkStream<'a> {
    reader: &'a ContentReader,
    chunks: VecDeque<ChunkId>,
    class: RecipientClass,
    name: String,
    cached_segments: VecDeque<(SegmentKey, Vec<u8>)>,
}

impl ChunkStream<'_> {
    /// The next chunk's bytes.
    pub(crate) fn next_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(id) = self.chunks.pop_front() else {
            return Ok(None);
        };
        let location = self.reader.locate_chunk(&id, &self.name)?;
        let key = location.segment_key();
        if !self.cached_segments.iter().any(|(kept, _)| *kept == key) {
            match self.reader.read_segment(&location) {
                Ok(segment) => self.cached_segments.push_back((key, segment)),
                // Another copy may be good.
                Err(Error::Damaged { .. } | Error::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
            if self.cached_segments.len() > SEGMENTS_CACHED {
                self.cached_segments.pop_front();
            }
        }
        let kept = self.cached_segments.iter().find(|(kept, _)| *kept == key);
        let chunk = kept.and_then(|(_, segment)| {
            let chunk = self
                .reader
                .extract_chunk(segment, &location, &id, self.class);
            chunk.ok().map(<[u8]>::to_vec)
        });
        match chunk {
            Some(chunk) => Ok(Some(chunk)),
            None => self
                .reader
                .read_chunk(&id, self.class, &self.name)
                .map(Some),
        }
    }
}

/// The content of a file in order.
#[derive(Debug)]
pub struct ContentStream<'a>(ChunkStream<'a>);

impl ContentStream<'_> {
    /// The next chunk, verified by its ID.
    ///
    /// # Errors
    /// As for [`ContentReader::read_chunk`].
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        self.0.next_chunk()
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
