//! Reading: chunks, streams and the entries of a snapshot. Everything is verified while it is read.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::crypto::encryption::RecipientClass;
use crate::error::{Error, Result};
use crate::format::pack::pack_key;
use crate::format::snapshot::StreamRecord;
use crate::id::{ChunkId, ObjectId};
use crate::index::{ChunkLocation, Index};
use crate::read::segment_read::read_segment;
use crate::store::{Repository, Store};

/// Decoded segments that a stream keeps: neighbouring chunks share them.
const SEGMENTS_CACHED: usize = 3;

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

/// A stream's chunks, one after the other.
#[derive(Debug)]
pub(crate) struct ChunkStream<'a> {
    reader: &'a ContentReader,
    chunks: VecDeque<ChunkId>,
    class: RecipientClass,
    pub(super) name: String,
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
