//! The collector: puts the workers' results back in order and writes the entry and reference streams.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use crate::error::{Error, Result};
use crate::format::entry::{ENTRY_LINE_BYTES_MAX, Entry, EntryKind};
use crate::format::entry_list::{EntryFault, EntryListCheck};
use crate::format::segment::SealedSegment;
use crate::format::snapshot::{EntryCounts, Remark, SnapshotDetails, StreamRecord, Warning};
use crate::text::RawText;
use crate::write::jobs::{EntryChunks, EntryContent, ProcessedBatch, ProcessedItem, StoredContent};
use crate::write::metadata_streams::MetadataStreams;
use crate::write::pipeline_state::PipelineState;
use crate::write::{EntryObserver, StreamId};

pub(super) struct Collector {
    streams: MetadataStreams,
    observer: Option<Box<dyn EntryObserver>>,
    counts: EntryCounts,
    warnings: Vec<Warning>,
    notes: Vec<Warning>,
    parts: StoredContent,
    /// IDs of delivered streams that no entry has taken yet: 32 bytes a chunk.
    open_streams: HashMap<StreamId, StoredContent>,
    list: EntryListCheck,
    /// Paths that are in no entry because theirs was refused: nothing can be linked to them.
    refused: HashSet<RawText>,
    line: Vec<u8>,
}

/// Everything collected; the details are still to be added.
pub(super) struct CollectedEntries {
    streams: MetadataStreams,
    observer: Option<Box<dyn EntryObserver>>,
    pub(super) counts: EntryCounts,
    pub(super) warnings: Vec<Warning>,
    pub(super) notes: Vec<Warning>,
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
            notes: Vec::new(),
            parts: StoredContent::default(),
            open_streams: HashMap::new(),
            list: EntryListCheck::default(),
            refused: HashSet::new(),
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
                notes: self.notes,
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
            ProcessedItem::FilePart(part) => self.parts.append(part),
            ProcessedItem::StreamPart(stream, part) => {
                self.open_streams.entry(stream).or_default().append(part)
            }
            ProcessedItem::StreamedFile(entry, streams) => {
                let taken = streams
                    .iter()
                    .filter_map(|stream| self.open_streams.remove(stream));
                let mut content = StoredContent::default();
                taken.for_each(|part| content.append(part));
                self.write_entry(EntryContent {
                    entry: *entry,
                    content: EntryChunks::Stored(content),
                    stamp: None,
                    remarks: Vec::new(),
                })?;
            }
            ProcessedItem::AbandonedFile(warning) => {
                self.parts = StoredContent::default();
                self.warnings.push(warning);
            }
            ProcessedItem::Remark(remark) => self.add_remark(remark),
        }
        Ok(())
    }

    fn add_remark(&mut self, remark: Remark) {
        match remark {
            Remark::Warning(warning) => self.warnings.push(warning),
            Remark::Note(note) => self.notes.push(note),
        }
    }

    fn write_entry(&mut self, content: EntryContent) -> Result<()> {
        let EntryContent {
            mut entry,
            content,
            stamp,
            remarks,
        } = content;
        let parts = std::mem::take(&mut self.parts);
        let (chunks, bytes) = match content {
            EntryChunks::Known(chunks) if parts.chunks.is_empty() && !chunks.is_empty() => {
                (chunks, None)
            }
            EntryChunks::Known(_) => (parts.chunks, Some(parts.bytes)),
            EntryChunks::Stored(stored) => (stored.chunks, Some(stored.bytes)),
        };
        entry.chunks = chunks.len() as u64;
        self.line.clear();
        entry
            .write_line(&mut self.line)
            .map_err(|e| Error::Internal(format!("writing an entry: {e}")))?;
        if let Err(fault) = self.check_entry(&entry, bytes) {
            self.refuse_entry(entry, &fault);
            return Ok(());
        }
        self.counts.add_entry(&entry);
        // What changed while it was read must be read again next time.
        let stamp = stamp.filter(|_| remarks.is_empty());
        remarks.into_iter().for_each(|said| self.add_remark(said));
        self.streams.push_entry(&self.line)?;
        for id in &chunks {
            self.streams.push_reference(id)?;
        }
        if let Some(observer) = &mut self.observer {
            observer.observe_entry(&entry, &chunks, stamp.as_ref());
        }
        Ok(())
    }

    /// Everything that a reader checks: what could not be read back is not written. `bytes` is the length of the
    /// content that this snapshot has stored.
    fn check_entry(&mut self, entry: &Entry, bytes: Option<u64>) -> Result<(), EntryFault> {
        let lengths = bytes.map_or(Ok(()), |bytes| entry.check_content_length(bytes));
        lengths.map_err(EntryFault::Invalid)?;
        if self.line.len() > ENTRY_LINE_BYTES_MAX {
            return Err(EntryFault::Invalid(
                "its attributes are larger than the maximum".to_owned(),
            ));
        }
        let target = entry.target.as_ref();
        if entry.kind == EntryKind::Hardlink
            && target.is_some_and(|target| self.refused.contains(target))
        {
            return Err(EntryFault::Invalid(
                "it is a hard link to an entry that is not in the snapshot".to_owned(),
            ));
        }
        self.list.take_next(entry)
    }

    fn refuse_entry(&mut self, entry: Entry, fault: &EntryFault) {
        let message = match fault {
            EntryFault::OutOfOrder(_) => {
                "was delivered out of order or a second time; this one is not in the snapshot"
                    .to_owned()
            }
            EntryFault::Invalid(reason) => format!("is not in the snapshot: {reason}"),
        };
        if matches!(fault, EntryFault::Invalid(_)) {
            self.refused.insert(entry.path.clone());
        }
        self.warnings.push(Warning {
            path: entry.path,
            message,
        });
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
