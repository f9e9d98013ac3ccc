//! The streams of entries, references and details: cut into chunks, gathered in segments.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Sender;

use crate::crypto::encryption::RecipientClass;
use crate::error::{Error, Result};
use crate::format::chunker::Chunker;
use crate::format::segment::{SealedSegment, SegmentBuilder};
use crate::format::snapshot::StreamRecord;
use crate::id::ChunkId;
use crate::write::pipeline_state::PipelineState;

/// The class of recipients of contents and entries.
pub(super) const ENTRY_CLASS: RecipientClass = RecipientClass::Data;

/// That of references.
const REFERENCE_CLASS: RecipientClass = RecipientClass::Catalog;

/// The streams of a snapshot.
pub(super) struct MetadataStreams {
    shared: Arc<PipelineState>,
    entries: MetadataStream,
    references: MetadataStream,
    data: MetadataSegments,
    catalog: MetadataSegments,
}

impl MetadataStreams {
    pub(super) fn new(
        shared: &Arc<PipelineState>,
        segments: Sender<SealedSegment>,
    ) -> Result<Self> {
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

    pub(super) fn shared(&self) -> &Arc<PipelineState> {
        &self.shared
    }

    /// Adds a line to the stream of entries.
    pub(super) fn push_entry(&mut self, line: &[u8]) -> Result<()> {
        self.entries.push(line, &mut self.data)
    }

    /// Adds a line to the stream of references.
    pub(super) fn push_reference(&mut self, id: &ChunkId) -> Result<()> {
        let mut line = [b'\n'; 65];
        hex::encode_to_slice(id.as_bytes(), &mut line[..64])
            .map_err(|e| Error::Internal(e.to_string()))?;
        self.references.push(&line, &mut self.catalog)
    }

    /// Writes the whole detail stream.
    pub(super) fn store_details(&mut self, details: &[u8]) -> Result<StreamRecord> {
        let mut stream = MetadataStream::new(&self.shared);
        stream.push(details, &mut self.data)?;
        stream.finish(&mut self.data)
    }

    /// Ends the streams of entries and references, and sends the last segments.
    pub(super) fn finish(mut self) -> Result<(StreamRecord, StreamRecord)> {
        let entries = self.entries.finish(&mut self.data)?;
        let references = self.references.finish(&mut self.catalog)?;
        self.data.send_segment()?;
        self.catalog.send_segment()?;
        Ok((entries, references))
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
