//! The collector: puts the workers' results back in order and writes the entry and reference streams.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender};

use crate::error::{Error, Result};
use crate::format::chunker::Chunker;
use crate::format::entry::Entry;
use crate::format::segment::{SealedSegment, SegmentBuilder};
use crate::format::snapshot::{EntryCounts, SnapshotDetails, StreamRecord, Warning};
use crate::id::ChunkId;
use crate::write::pipeline_state::PipelineState;
use crate::write::worker::ProcessedBatch;
use crate::write::{ENTRY_CLASS, EntryObserver, FileStamp, REFERENCE_CLASS, StreamId};

/// An entry with the IDs of its content.
pub(super) struct EntryContent {
    pub(super) entry: Entry,
    pub(super) chunks: Vec<ChunkId>,
    pub(super) stamp: Option<FileStamp>,
    pub(super) warning: Option<Warning>,
}

/// A worker's result for an item.
pub(super) enum ProcessedItem {
    Entry(Box<EntryContent>),
    FilePart(Vec<ChunkId>),
    StreamPart(StreamId, Vec<ChunkId>),
    StreamedFile(Box<Entry>, Vec<StreamId>),
    AbandonedFile(Warning),
    Skipped(Warning),
}

pub(super) struct Collector {
    streams: MetadataStreams,
    observer: Option<Box<dyn EntryObserver>>,
    counts: EntryCounts,
    warnings: Vec<Warning>,
    parts: Vec<ChunkId>,
    /// IDs of delivered streams that no entry has taken yet: 32 bytes a chunk.
    open_streams: HashMap<StreamId, Vec<ChunkId>>,
    line: Vec<u8>,
}

/// Everything collected; the details are still to be added.
pub(super) struct CollectedEntries {
    streams: MetadataStreams,
    observer: Option<Box<dyn EntryObserver>>,
    pub(super) counts: EntryCounts,
    pub(super) warnings: Vec<Warning>,
}

/// The finished streams.
pub(super) struct FinishedStreams {
    pub(super) entries: StreamRecord,
    pub(super) references: StreamRecord,
    pub(super) counts: EntryCounts,
    pub(super) observer: Option<Box<dyn EntryObserver>>,
}

impl Collector {
    pub(super) fn new(
        shared: &Arc<PipelineState>,
        segments: Sender<SealedSegment>,
        observer: Option<Box<dyn EntryObserver>>,
    ) -> Result<Self> {
        Ok(Self {
            streams: MetadataStreams::new(shared, segments)?,
            observer,
            counts: EntryCounts::default(),
            warnings: Vec::new(),
            parts: Vec::new(),
            open_streams: HashMap::new(),
            line: Vec::new(),
        })
    }

    pub(super) fn run_collector(
        mut self,
        results: &Receiver<ProcessedBatch>,
    ) -> Option<CollectedEntries> {
        let shared = Arc::clone(&self.streams.shared);
        match self.collect_batches(results) {
            Ok(()) if !shared.has_failed() => Some(CollectedEntries {
                streams: self.streams,
                observer: self.observer,
                counts: self.counts,
                warnings: self.warnings,
            }),
            Ok(()) => None,
            Err(error) => {
                shared.record_failure(error);
                results.iter().for_each(drop);
                None
            }
        }
    }

    fn collect_batches(&mut self, results: &Receiver<ProcessedBatch>) -> Result<()> {
        // Workers finish out of order, but no further than there are jobs in flight.
        let mut waiting = BTreeMap::new();
        let mut next = 0;
        for batch in results {
            waiting.insert(batch.sequence, batch.items);
            while let Some(ready) = waiting.remove(&next) {
                next += 1;
                for ready in ready {
                    self.take_item(ready)?;
                }
            }
        }
        Ok(())
    }

    fn take_item(&mut self, ready: ProcessedItem) -> Result<()> {
        match ready {
            ProcessedItem::Entry(content) => self.write_entry(*content)?,
            ProcessedItem::FilePart(ids) => self.parts.extend(ids),
            ProcessedItem::StreamPart(stream, ids) => {
                self.open_streams.entry(stream).or_default().extend(ids)
            }
            ProcessedItem::StreamedFile(entry, streams) => {
                let taken = streams
                    .iter()
                    .filter_map(|stream| self.open_streams.remove(stream));
                let chunks = taken.flatten().collect();
                self.write_entry(EntryContent {
                    entry: *entry,
                    chunks,
                    stamp: None,
                    warning: None,
                })?;
            }
            ProcessedItem::AbandonedFile(warning) => {
                self.parts.clear();
                self.warnings.push(warning);
            }
            ProcessedItem::Skipped(warning) => self.warnings.push(warning),
        }
        Ok(())
    }

    fn write_entry(&mut self, content: EntryContent) -> Result<()> {
        let EntryContent {
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
        self.counts.add_entry(&entry);
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
            observer.observe_entry(&entry, &chunks, stamp.as_ref());
        }
        Ok(())
    }
}

impl CollectedEntries {
    /// Writes the detail stream.
    pub(super) fn add_details(&mut self, details: &SnapshotDetails) -> Result<StreamRecord> {
        let json = serde_json::to_vec(details)
            .map_err(|e| Error::Internal(format!("writing details: {e}")))?;
        let mut stream = MetadataStream::new(&self.streams.shared);
        stream.push(&json, &mut self.streams.data)?;
        stream.finish(&mut self.streams.data)
    }

    /// Ends the streams and sends their last segments.
    pub(super) fn finish_streams(self) -> Result<FinishedStreams> {
        let MetadataStreams {
            entries,
            references,
            mut data,
            mut catalog,
            ..
        } = self.streams;
        let closed = FinishedStreams {
            entries: entries.finish(&mut data)?,
            references: references.finish(&mut catalog)?,
            counts: self.counts,
            observer: self.observer,
        };
        data.send_segment()?;
        catalog.send_segment()?;
        Ok(closed)
    }
}

struct MetadataStreams {
    shared: Arc<PipelineState>,
    entries: MetadataStream,
    references: MetadataStream,
    data: MetadataSegments,
    catalog: MetadataSegments,
}

impl MetadataStreams {
    fn new(shared: &Arc<PipelineState>, segments: Sender<SealedSegment>) -> Result<Self> {
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
    fn new(shared: &PipelineState) -> Self {
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
        while let Some(chunk) = self.chunker.next_final_chunk() {
            self.record.chunks.push(segments.store_chunk(chunk)?);
        }
        Ok(())
    }

    fn finish(mut self, segments: &mut MetadataSegments) -> Result<StreamRecord> {
        while let Some(chunk) = self.chunker.next_remaining_chunk() {
            self.record.chunks.push(segments.store_chunk(chunk)?);
        }
        Ok(self.record)
    }
}

/// Segments of metadata of one class.
struct MetadataSegments {
    shared: Arc<PipelineState>,
    builder: SegmentBuilder,
    segments: Sender<SealedSegment>,
}

impl MetadataSegments {
    fn store_chunk(&mut self, chunk: &[u8]) -> Result<ChunkId> {
        let shared = &self.shared;
        let id = shared
            .repository
            .secrets
            .chunk_id(self.builder.class(), chunk);
        if shared.dedup_index.claim_chunk(&id)? {
            shared.added_chunks.fetch_add(1, Ordering::Relaxed);
            shared
                .added_plain_bytes
                .fetch_add(chunk.len() as u64, Ordering::Relaxed);
            self.builder.push(id, chunk)?;
            if self.builder.plain_bytes() >= shared.repository.config.layout.segment_bytes as usize
            {
                self.send_segment()?;
            }
        }
        Ok(id)
    }

    fn send_segment(&mut self) -> Result<()> {
        if self.builder.is_empty() {
            return Ok(());
        }
        let stopped = |_| Error::Internal("the packer stopped".to_owned());
        self.segments.send(self.builder.seal()?).map_err(stopped)
    }
}
