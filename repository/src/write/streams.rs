//! Content that several threads deliver at the same time: each its own stream, joined by an entry later.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crossbeam_channel::Sender;

use crate::error::{Error, Result};
use crate::format::chunker::Chunker;
use crate::write::StreamId;
use crate::write::jobs::{BATCH_BYTES, JobContent, WriterJob, send_job};
use crate::write::pipeline_state::PipelineState;

/// What is given to the chunker at a time.
const PART_BYTES: usize = 1 << 20;

/// Delivers streams. May be cloned for further threads.
#[derive(Clone)]
pub struct StreamSender {
    shared: Arc<PipelineState>,
    jobs: Sender<WriterJob>,
    sequence: Arc<AtomicU64>,
}

impl std::fmt::Debug for StreamSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamSender").finish_non_exhaustive()
    }
}

impl StreamSender {
    pub(super) fn new(
        shared: &Arc<PipelineState>,
        jobs: Sender<WriterJob>,
        sequence: Arc<AtomicU64>,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            jobs,
            sequence,
        }
    }

    /// Begins a stream. The caller ensures that each ID is used once.
    #[must_use]
    pub fn begin_stream(&self, id: StreamId) -> OpenStream {
        let inner = &self.shared.repository;
        OpenStream {
            sender: self.clone(),
            id,
            chunker: Chunker::new(inner.config.layout.content, inner.secrets.chunker_seed()),
            bytes: Vec::new(),
            lengths: Vec::new(),
            total: 0,
        }
    }

    /// Fails when the snapshot has failed elsewhere, or is to stop.
    ///
    /// # Errors
    /// The first failure of any stage, or [`Error::Interrupted`].
    pub fn check_running(&self) -> Result<()> {
        if self.shared.has_failed() {
            return Err(self.shared.take_failure());
        }
        self.shared.progress.check_cancelled()
    }
}

/// A stream that is being written.
#[derive(Debug)]
pub struct OpenStream {
    sender: StreamSender,
    id: StreamId,
    chunker: Chunker,
    bytes: Vec<u8>,
    lengths: Vec<u32>,
    total: u64,
}

impl OpenStream {
    /// Adds bytes.
    ///
    /// # Errors
    /// As for [`StreamSender::check_running`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.total += bytes.len() as u64;
        // In parts: a row may have a GiB, which need not be here a second time.
        for part in bytes.chunks(PART_BYTES) {
            self.chunker.push(part);
            while let Some(chunk) = self.chunker.next_final_chunk() {
                append_chunk(chunk, &mut self.bytes, &mut self.lengths)?;
                if self.bytes.len() as u64 >= BATCH_BYTES {
                    self.flush_chunks()?;
                }
            }
        }
        Ok(())
    }

    /// Ends the stream. Returns its length in bytes.
    ///
    /// # Errors
    /// As for [`StreamSender::check_running`].
    pub fn finish(mut self) -> Result<u64> {
        while let Some(chunk) = self.chunker.next_remaining_chunk() {
            append_chunk(chunk, &mut self.bytes, &mut self.lengths)?;
        }
        self.flush_chunks()?;
        Ok(self.total)
    }

    fn flush_chunks(&mut self) -> Result<()> {
        if self.lengths.is_empty() {
            return Ok(());
        }
        let work = JobContent::StreamPart(
            self.id,
            std::mem::take(&mut self.bytes),
            std::mem::take(&mut self.lengths),
        );
        send_job(
            &self.sender.shared,
            &self.sender.jobs,
            &self.sender.sequence,
            work,
        )
    }
}

fn append_chunk(chunk: &[u8], bytes: &mut Vec<u8>, lengths: &mut Vec<u32>) -> Result<()> {
    bytes.extend_from_slice(chunk);
    lengths.push(u32::try_from(chunk.len()).map_err(|e| Error::Internal(e.to_string()))?);
    Ok(())
}
