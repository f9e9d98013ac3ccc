//! Jobs for workers, and their results.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::Sender;

use crate::error::Result;
use crate::format::entry::Entry;
use crate::format::snapshot::{Remark, Warning};
use crate::id::ChunkId;
use crate::write::pipeline_state::PipelineState;
use crate::write::{FileStamp, SnapshotItem, StreamId};

/// A batch is sent when its content has this many bytes; so is a group of a large file's chunks.
pub(super) const BATCH_BYTES: u64 = 2 << 20;

/// Work with its number: the collector restores this order.
pub(super) struct WriterJob {
    pub(super) sequence: u64,
    pub(super) work: JobContent,
}

/// A worker's job.
pub(super) enum JobContent {
    Items(Vec<SnapshotItem>),
    /// Chunks of a stream: the bytes one after the other, and the length of each.
    StreamPart(StreamId, Vec<u8>, Vec<u32>),
}

/// Gives work the next number and hands it to the workers.
pub(super) fn send_job(
    shared: &PipelineState,
    jobs: &Sender<WriterJob>,
    sequence: &AtomicU64,
    work: JobContent,
) -> Result<()> {
    shared.check_running()?;
    let sequence = sequence.fetch_add(1, Ordering::SeqCst);
    jobs.send(WriterJob { sequence, work })
        .map_err(|_| shared.take_failure())
}

/// The processed items of one job.
pub(super) struct ProcessedBatch {
    pub(super) sequence: u64,
    pub(super) items: Vec<ProcessedItem>,
}

/// A worker's result for an item.
pub(super) enum ProcessedItem {
    Entry(Box<EntryContent>),
    FilePart(StoredContent),
    StreamPart(StreamId, StoredContent),
    StreamedFile(Box<Entry>, Vec<StreamId>),
    AbandonedFile(Warning),
    Remark(Remark),
}

/// Stored chunks, and how many bytes they have.
#[derive(Debug, Default)]
pub(super) struct StoredContent {
    pub(super) chunks: Vec<ChunkId>,
    pub(super) bytes: u64,
}

impl StoredContent {
    pub(super) fn append(&mut self, next: Self) {
        self.chunks.extend(next.chunks);
        self.bytes += next.bytes;
    }
}

/// Where an entry's chunks come from.
pub(super) enum EntryChunks {
    /// They were stored before this snapshot, and who delivered the entry has looked up their lengths.
    Known(Vec<ChunkId>),
    /// This snapshot has stored them.
    Stored(StoredContent),
}

/// An entry with the IDs of its content.
pub(super) struct EntryContent {
    pub(super) entry: Entry,
    pub(super) content: EntryChunks,
    pub(super) stamp: Option<FileStamp>,
    pub(super) remarks: Vec<Remark>,
}
