//! Workers: read small files, name chunks, and compress and encrypt those that are new.

use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender};

use crate::error::{Error, Result};
use crate::format::segment::{SealedSegment, SegmentBuilder};
use crate::id::ChunkId;
use crate::progress::Progress;
use crate::write::item::FileLoader;
use crate::write::jobs::{
    EntryChunks, EntryContent, JobContent, ProcessedBatch, ProcessedItem, StoredContent, WriterJob,
};
use crate::write::metadata_streams::ENTRY_CLASS;
use crate::write::pipeline_state::PipelineState;
use crate::write::{LoadedFile, SnapshotItem};

pub(super) fn run_worker(
    shared: &PipelineState,
    jobs: &Receiver<WriterJob>,
    segments: &Sender<SealedSegment>,
    results: &Sender<ProcessedBatch>,
) {
    if let Err(error) = process_jobs(shared, jobs, segments, results) {
        shared.record_failure(error);
        // The producer may be waiting for room in the queue: make some until it notices.
        jobs.iter().for_each(drop);
    }
}

fn process_jobs(
    shared: &PipelineState,
    jobs: &Receiver<WriterJob>,
    segments: &Sender<SealedSegment>,
    results: &Sender<ProcessedBatch>,
) -> Result<()> {
    let recipients = shared.repository.data_recipients.clone();
    let mut worker = SnapshotWorker {
        shared,
        segments,
        builder: SegmentBuilder::new(ENTRY_CLASS, recipients)?,
    };
    for WriterJob { sequence, work } in jobs {
        if shared.has_failed() {
            continue;
        }
        let ready = match work {
            JobContent::Items(items) => items
                .into_iter()
                .map(|item| worker.process_item(item))
                .collect::<Result<_>>()?,
            JobContent::StreamPart(stream, bytes, lengths) => {
                vec![ProcessedItem::StreamPart(
                    stream,
                    worker.store_chunks(&bytes, &lengths)?,
                )]
            }
        };
        let stopped = |_| Error::Internal("the collector stopped".to_owned());
        results
            .send(ProcessedBatch {
                sequence,
                items: ready,
            })
            .map_err(stopped)?;
    }
    worker.send_segment()
}

struct SnapshotWorker<'a> {
    shared: &'a PipelineState,
    segments: &'a Sender<SealedSegment>,
    builder: SegmentBuilder,
}

impl SnapshotWorker<'_> {
    fn process_item(&mut self, item: SnapshotItem) -> Result<ProcessedItem> {
        match item {
            SnapshotItem::Entry {
                entry,
                chunks,
                stamp,
            } => {
                Progress::add(&self.shared.progress.items, 1);
                if stamp.is_some() {
                    Progress::add(&self.shared.progress.bytes, entry.content_bytes());
                }
                Ok(ProcessedItem::Entry(Box::new(EntryContent {
                    entry,
                    content: EntryChunks::Known(chunks),
                    stamp,
                    remarks: Vec::new(),
                })))
            }
            SnapshotItem::SmallFile { load, .. } => self.read_file(load),
            SnapshotItem::FilePart { bytes, lengths } => Ok(ProcessedItem::FilePart(
                self.store_chunks(&bytes, &lengths)?,
            )),
            SnapshotItem::StreamedFile { entry, streams } => {
                Progress::add(&self.shared.progress.items, 1);
                Ok(ProcessedItem::StreamedFile(Box::new(entry), streams))
            }
            SnapshotItem::AbandonedFile { warning } => Ok(ProcessedItem::AbandonedFile(warning)),
            SnapshotItem::Remark(remark) => Ok(ProcessedItem::Remark(remark)),
        }
    }

    /// Reads a small file right behind the segment's last chunk and keeps it there if it is new.
    fn read_file(&mut self, load: FileLoader) -> Result<ProcessedItem> {
        let start = self.builder.plain_bytes();
        let LoadedFile {
            entry,
            stamp,
            mut remarks,
        } = load(self.builder.tail_buffer());
        let Some(entry) = entry else {
            self.builder.drop_tail(start);
            let gone = || Error::Internal("a file was skipped without a reason".to_owned());
            return Ok(ProcessedItem::Remark(remarks.pop().ok_or_else(gone)?));
        };
        let length = self.builder.plain_bytes() - start;
        Progress::add(&self.shared.progress.items, 1);
        Progress::add(&self.shared.progress.bytes, length as u64);
        let mut chunks = Vec::new();
        if length > 0 {
            let id = self
                .shared
                .repository
                .secrets
                .chunk_id(ENTRY_CLASS, &self.builder.tail_buffer()[start..]);
            chunks.push(id);
            if self.claim_chunk(&id, length)? {
                self.builder.keep_tail(start, id)?;
                self.seal_if_full()?;
            } else {
                self.builder.drop_tail(start);
            }
        }
        Ok(ProcessedItem::Entry(Box::new(EntryContent {
            entry,
            content: EntryChunks::Stored(StoredContent {
                chunks,
                bytes: length as u64,
            }),
            stamp,
            remarks,
        })))
    }

    fn store_chunks(&mut self, bytes: &[u8], lengths: &[u32]) -> Result<StoredContent> {
        let mut chunks = Vec::with_capacity(lengths.len());
        let mut rest = bytes;
        for length in lengths {
            let (chunk, after) = rest
                .split_at_checked(*length as usize)
                .ok_or_else(|| Error::Internal("a part is shorter than its chunks".to_owned()))?;
            rest = after;
            let id = self.shared.repository.secrets.chunk_id(ENTRY_CLASS, chunk);
            chunks.push(id);
            if self.claim_chunk(&id, chunk.len())? {
                self.builder.push(id, chunk)?;
                self.seal_if_full()?;
            }
        }
        let bytes = bytes.len() as u64;
        Progress::add(&self.shared.progress.bytes, bytes);
        Ok(StoredContent { chunks, bytes })
    }

    fn claim_chunk(&self, id: &ChunkId, length: usize) -> Result<bool> {
        let is_new = self.shared.dedup_index.claim_chunk(id)?;
        if is_new {
            self.shared.added_chunks.fetch_add(1, Ordering::Relaxed);
            self.shared
                .added_plain_bytes
                .fetch_add(length as u64, Ordering::Relaxed);
        }
        Ok(is_new)
    }

    fn seal_if_full(&mut self) -> Result<()> {
        let full = self.shared.repository.config.layout.segment_bytes as usize;
        if self.builder.plain_bytes() >= full {
            self.send_segment()
        } else {
            Ok(())
        }
    }

    fn send_segment(&mut self) -> Result<()> {
        if self.builder.is_empty() || self.shared.has_failed() {
            return Ok(());
        }
        let stopped = |_| Error::Internal("the packer stopped".to_owned());
        self.segments.send(self.builder.seal()?).map_err(stopped)
    }
}
