//! The collector: puts the workers' results back in order and writes the entry and reference streams.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use crate::error::{Error, Result};
use crate::format::segment::SealedSegment;
use crate::format::snapshot::{EntryCounts, SnapshotDetails, StreamRecord, Warning};
use crate::id::ChunkId;
use crate::write::jobs::{EntryContent, ProcessedBatch, ProcessedItem};
use crate::write::metadata_streams::MetadataStreams;
use crate::write::pipeline_state::PipelineState;
use crate::write::{EntryObserver, StreamId};

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
        let shared = Arc::clone(self.streams.shared());
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
        self.streams.push_entry(&self.line)?;
        for id in &chunks {
            self.streams.push_reference(id)?;
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
        self.streams.store_details(&json)
    }

    /// Ends the streams and sends their last segments.
    pub(super) fn finish_streams(self) -> Result<FinishedStreams> {
        let (entries, references) = self.streams.finish()?;
        Ok(FinishedStreams {
            entries,
            references,
            counts: self.counts,
            observer: self.observer,
        })
    }
}
