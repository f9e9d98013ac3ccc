//! The collector: puts what workers finished back in order and writes the entry and reference streams.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender};

use super::shared::Shared;
use super::worker::Batch;
use super::{ENTRY_CLASS, EntryObserver, REFERENCE_CLASS, Stamp, StreamId};
use crate::chunker::Chunker;
use crate::entry::Entry;
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::segment::{SealedSegment, SegmentBuilder};
use crate::snapshot::{Counts, Details, StreamRecord, Warning};

/// An entry with its content named.
pub(super) struct Content {
    pub(super) entry: Entry,
    pub(super) chunks: Vec<ChunkId>,
    pub(super) stamp: Option<Stamp>,
    pub(super) warning: Option<Warning>,
}

/// What a worker made of an item.
pub(super) enum Ready {
    Entry(Box<Content>),
    Part(Vec<ChunkId>),
    StreamPart(StreamId, Vec<ChunkId>),
    Streamed(Box<Entry>, Vec<StreamId>),
    Abandon(Warning),
    Skipped(Warning),
}

pub(super) struct Collector {
    streams: Streams,
    observer: Option<Box<dyn EntryObserver>>,
    counts: Counts,
    warnings: Vec<Warning>,
    parts: Vec<ChunkId>,
    /// What was delivered of streams that no entry has taken yet: 32 bytes a chunk.
    open: HashMap<StreamId, Vec<ChunkId>>,
    line: Vec<u8>,
}

/// Everything collected; the details are still to be added.
pub(super) struct Collected {
    streams: Streams,
    observer: Option<Box<dyn EntryObserver>>,
    pub(super) counts: Counts,
    pub(super) warnings: Vec<Warning>,
}

/// The finished streams.
pub(super) struct Closed {
    pub(super) entries: StreamRecord,
    pub(super) references: StreamRecord,
    pub(super) counts: Counts,
    pub(super) observer: Option<Box<dyn EntryObserver>>,
}

impl Collector {
    pub(super) fn new(
        shared: &Arc<Shared>,
        segments: Sender<SealedSegment>,
        observer: Option<Box<dyn EntryObserver>>,
    ) -> Result<Self> {
        Ok(Self {
            streams: Streams::new(shared, segments)?,
            observer,
            counts: Counts::default(),
            warnings: Vec::new(),
            parts: Vec::new(),
            open: HashMap::new(),
            line: Vec::new(),
        })
    }

    pub(super) fn run(mut self, results: &Receiver<Batch>) -> Option<Collected> {
        let shared = Arc::clone(&self.streams.shared);
        match self.collect(results) {
            Ok(()) if !shared.has_failed() => Some(Collected {
                streams: self.streams,
                observer: self.observer,
                counts: self.counts,
                warnings: self.warnings,
            }),
            Ok(()) => None,
            Err(error) => {
                shared.fail(error);
                results.iter().for_each(drop);
                None
            }
        }
    }

    fn collect(&mut self, results: &Receiver<Batch>) -> Result<()> {
        // Workers finish out of order, but no further than there are jobs under way.
        let mut waiting = BTreeMap::new();
        let mut next = 0;
        for batch in results {
            waiting.insert(batch.sequence, batch.ready);
            while let Some(ready) = waiting.remove(&next) {
                next += 1;
                for ready in ready {
                    self.take(ready)?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, ready: Ready) -> Result<()> {
        match ready {
            Ready::Entry(content) => self.entry(*content)?,
            Ready::Part(ids) => self.parts.extend(ids),
            Ready::StreamPart(stream, ids) => self.open.entry(stream).or_default().extend(ids),
            Ready::Streamed(entry, streams) => {
                let taken = streams.iter().filter_map(|stream| self.open.remove(stream));
                let chunks = taken.flatten().collect();
                self.entry(Content {
                    entry: *entry,
                    chunks,
                    stamp: None,
                    warning: None,
                })?;
            }
            Ready::Abandon(warning) => {
                self.parts.clear();
                self.warnings.push(warning);
            }
            Ready::Skipped(warning) => self.warnings.push(warning),
        }
        Ok(())
    }

    fn entry(&mut self, content: Content) -> Result<()> {
        let Content {
            mut entry,
            mut chunks,
            stamp,
            warning,
        } = content;
        if !self.parts.is_empty() {
            self.parts.append(&mut chunks);
            chunks = std::mem::take(&mut self.parts);
        }
        entry.chunks = chunks.len() as u64;
        self.counts.add(&entry);
        // What changed while it was read must be read again next time.
        let stamp = if warning.is_none() { stamp } else { None };
        self.warnings.extend(warning);
        self.line.clear();
        entry
            .write_line(&mut self.line)
            .map_err(|e| Error::Internal(format!("writing an entry: {e}")))?;
        self.streams
            .entries
            .push(&self.line, &mut self.streams.data)?;
        for id in &chunks {
            let mut line = [b'\n'; 65];
            hex::encode_to_slice(id.as_bytes(), &mut line[..64])
                .map_err(|e| Error::Internal(e.to_string()))?;
            self.streams
                .references
                .push(&line, &mut self.streams.catalog)?;
        }
        if let Some(observer) = &mut self.observer {
            observer.entry(&entry, &chunks, stamp.as_ref());
        }
        Ok(())
    }
}

impl Collected {
    /// Writes the detail stream.
    pub(super) fn add_details(&mut self, details: &Details) -> Result<StreamRecord> {
        let json = serde_json::to_vec(details)
            .map_err(|e| Error::Internal(format!("writing details: {e}")))?;
        let mut stream = MetadataStream::new(&self.streams.shared);
        stream.push(&json, &mut self.streams.data)?;
        stream.finish(&mut self.streams.data)
    }

    /// Ends the streams and sends their last segments.
    pub(super) fn close(self) -> Result<Closed> {
        let Streams {
            entries,
            references,
            mut data,
            mut catalog,
            ..
        } = self.streams;
        let closed = Closed {
            entries: entries.finish(&mut data)?,
            references: references.finish(&mut catalog)?,
            counts: self.counts,
            observer: self.observer,
        };
        data.seal()?;
        catalog.seal()?;
        Ok(closed)
    }
}

struct Streams {
    shared: Arc<Shared>,
    entries: MetadataStream,
    references: MetadataStream,
    data: MetadataSegments,
    catalog: MetadataSegments,
}

impl Streams {
    fn new(shared: &Arc<Shared>, segments: Sender<SealedSegment>) -> Result<Self> {
        let repository = &shared.repository;
        let data = SegmentBuilder::new(ENTRY_CLASS, repository.data_recipients.clone())?;
        let catalog = SegmentBuilder::new(REFERENCE_CLASS, repository.catalog_recipients.clone())?;
        Ok(Self {
            entries: MetadataStream::new(shared),
            references: MetadataStream::new(shared),
            data: MetadataSegments {
                shared: Arc::clone(shared),
                builder: data,
                segments: segments.clone(),
            },
            catalog: MetadataSegments {
                shared: Arc::clone(shared),
                builder: catalog,
                segments,
            },
            shared: Arc::clone(shared),
        })
    }
}

/// Cuts a stream of metadata into chunks.
struct MetadataStream {
    chunker: Chunker,
    record: StreamRecord,
}

impl MetadataStream {
    fn new(shared: &Shared) -> Self {
        let sizes = shared.repository.config.layout.metadata;
        let chunker = Chunker::new(sizes, shared.repository.secrets.chunker_seed());
        Self {
            chunker,
            record: StreamRecord::default(),
        }
    }

    fn push(&mut self, bytes: &[u8], segments: &mut MetadataSegments) -> Result<()> {
        self.record.bytes += bytes.len() as u64;
        self.chunker.push(bytes);
        while let Some(chunk) = self.chunker.next_settled() {
            self.record.chunks.push(segments.store(chunk)?);
        }
        Ok(())
    }

    fn finish(mut self, segments: &mut MetadataSegments) -> Result<StreamRecord> {
        while let Some(chunk) = self.chunker.next_last() {
            self.record.chunks.push(segments.store(chunk)?);
        }
        Ok(self.record)
    }
}

/// Segments of metadata of one class.
struct MetadataSegments {
    shared: Arc<Shared>,
    builder: SegmentBuilder,
    segments: Sender<SealedSegment>,
}

impl MetadataSegments {
    fn store(&mut self, chunk: &[u8]) -> Result<ChunkId> {
        let shared = &self.shared;
        let id = shared
            .repository
            .secrets
            .chunk_id(self.builder.class(), chunk);
        if shared.known.claim(&id)? {
            shared.added_chunks.fetch_add(1, Ordering::Relaxed);
            shared
                .added_plain_bytes
                .fetch_add(chunk.len() as u64, Ordering::Relaxed);
            self.builder.push(id, chunk)?;
            if self.builder.plain_bytes() >= shared.repository.config.layout.segment_bytes as usize
            {
                self.seal()?;
            }
        }
        Ok(id)
    }

    fn seal(&mut self) -> Result<()> {
        if self.builder.is_empty() {
            return Ok(());
        }
        let stopped = |_| Error::Internal("the packer stopped".to_owned());
        self.segments.send(self.builder.seal()?).map_err(stopped)
    }
}
