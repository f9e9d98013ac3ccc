//! Workers: read small files, name chunks, and compress and encrypt those that are new.

use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender};

use super::collector::{Content, Ready};
use super::shared::Shared;
use super::{ENTRY_CLASS, Item, Job, Load, Loaded, Work};
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::progress::Progress;
use crate::segment::{SealedSegment, SegmentBuilder};

/// The ready items of one job.
pub(super) struct Batch {
    pub(super) sequence: u64,
    pub(super) ready: Vec<Ready>,
}

pub(super) fn run(
    shared: &Shared,
    jobs: &Receiver<Job>,
    segments: &Sender<SealedSegment>,
    results: &Sender<Batch>,
) {
    if let Err(error) = work(shared, jobs, segments, results) {
        shared.fail(error);
        // The producer may be waiting for room in the queue: make some until it notices.
        jobs.iter().for_each(drop);
    }
}

fn work(
    shared: &Shared,
    jobs: &Receiver<Job>,
    segments: &Sender<SealedSegment>,
    results: &Sender<Batch>,
) -> Result<()> {
    let recipients = shared.repository.data_recipients.clone();
    let mut worker = Worker {
        shared,
        segments,
        builder: SegmentBuilder::new(ENTRY_CLASS, recipients)?,
    };
    for Job { sequence, work } in jobs {
        if shared.has_failed() {
            continue;
        }
        let ready = match work {
            Work::Items(items) => items
                .into_iter()
                .map(|item| worker.item(item))
                .collect::<Result<_>>()?,
            Work::StreamPart(stream, bytes, lengths) => {
                vec![Ready::StreamPart(stream, worker.chunks(&bytes, &lengths)?)]
            }
        };
        let stopped = |_| Error::Internal("the collector stopped".to_owned());
        results.send(Batch { sequence, ready }).map_err(stopped)?;
    }
    worker.seal()
}

struct Worker<'a> {
    shared: &'a Shared,
    segments: &'a Sender<SealedSegment>,
    builder: SegmentBuilder,
}

impl Worker<'_> {
    fn item(&mut self, item: Item) -> Result<Ready> {
        match item {
            Item::Entry {
                entry,
                chunks,
                stamp,
            } => {
                Progress::add(&self.shared.progress.items, 1);
                if stamp.is_some() {
                    Progress::add(&self.shared.progress.bytes, entry.content_bytes());
                }
                Ok(Ready::Entry(Box::new(Content {
                    entry,
                    chunks,
                    stamp,
                    warning: None,
                })))
            }
            Item::Read { load, .. } => self.read(load),
            Item::Part { bytes, lengths } => Ok(Ready::Part(self.chunks(&bytes, &lengths)?)),
            Item::Streamed { entry, streams } => {
                Progress::add(&self.shared.progress.items, 1);
                Ok(Ready::Streamed(Box::new(entry), streams))
            }
            Item::Abandon { warning } => Ok(Ready::Abandon(warning)),
            Item::Skipped { warning } => Ok(Ready::Skipped(warning)),
        }
    }

    /// Reads a small file right behind the segment's last chunk and keeps it there if it is new.
    fn read(&mut self, load: Load) -> Result<Ready> {
        let start = self.builder.plain_bytes();
        let Loaded {
            entry,
            stamp,
            warning,
        } = load(self.builder.tail());
        let Some(entry) = entry else {
            self.builder.drop_tail(start);
            let gone = || Error::Internal("a file was skipped without a reason".to_owned());
            return Ok(Ready::Skipped(warning.ok_or_else(gone)?));
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
                .chunk_id(ENTRY_CLASS, &self.builder.tail()[start..]);
            chunks.push(id);
            if self.claim(&id, length)? {
                self.builder.keep_tail(start, id)?;
                self.seal_if_full()?;
            } else {
                self.builder.drop_tail(start);
            }
        }
        Ok(Ready::Entry(Box::new(Content {
            entry,
            chunks,
            stamp,
            warning,
        })))
    }

    fn chunks(&mut self, bytes: &[u8], lengths: &[u32]) -> Result<Vec<ChunkId>> {
        let mut ids = Vec::with_capacity(lengths.len());
        let mut rest = bytes;
        for length in lengths {
            let (chunk, after) = rest
                .split_at_checked(*length as usize)
                .ok_or_else(|| Error::Internal("a part is shorter than its chunks".to_owned()))?;
            rest = after;
            let id = self.shared.repository.secrets.chunk_id(ENTRY_CLASS, chunk);
            ids.push(id);
            if self.claim(&id, chunk.len())? {
                self.builder.push(id, chunk)?;
                self.seal_if_full()?;
            }
        }
        Progress::add(&self.shared.progress.bytes, bytes.len() as u64);
        Ok(ids)
    }

    fn claim(&self, id: &ChunkId, length: usize) -> Result<bool> {
        let is_new = self.shared.known.claim(id)?;
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
            self.seal()
        } else {
            Ok(())
        }
    }

    fn seal(&mut self) -> Result<()> {
        if self.builder.is_empty() || self.shared.has_failed() {
            return Ok(());
        }
        let stopped = |_| Error::Internal("the packer stopped".to_owned());
        self.segments.send(self.builder.seal()?).map_err(stopped)
    }
}
