//! Takes the entries of a snapshot, runs the stages, and commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;

use chrono::{DateTime, SecondsFormat, Utc};
use crossbeam_channel::{Receiver, Sender};

use crate::error::{Error, Result};
use crate::format::chunker::Chunker;
use crate::format::segment::SealedSegment;
use crate::format::snapshot::{
    AddedData, CLOCK_TOLERANCE, EntryCounts, Outcome, Snapshot, SnapshotDetails, SnapshotRoot,
    StreamRecord, Warning,
};
use crate::id::ObjectId;
use crate::records::leases::AutoRenewedLease;
use crate::store::Repository;
use crate::text::RawText;
use crate::write::collector::{CollectedEntries, Collector};
use crate::write::commit::{check_after_root, check_before_root};
use crate::write::jobs::{BATCH_BYTES, JobContent, WriterJob, send_job};
use crate::write::packer::run_packer;
use crate::write::pipeline_state::PipelineState;
use crate::write::uploader::run_uploader;
use crate::write::worker::run_worker;
use crate::write::{
    CommittedSnapshot, EntryObserver, KnownChunks, SnapshotItem, SnapshotOptions, SnapshotSummary,
    StreamSender,
};

/// Jobs waiting for a worker. Each holds about one batch's bytes, so few are enough.
const JOBS_WAITING_MAX: usize = 2;

/// Segments waiting for the packer, some 4 MiB each at worst.
const SEGMENTS_WAITING_MAX: usize = 2;

/// A batch is closed at this many entries even if they hold few bytes, so that no worker waits for long.
const BATCH_ENTRIES_MAX: usize = 1024;

/// Takes the entries of one snapshot.
pub struct SnapshotWriter {
    repository: Repository,
    options: SnapshotOptions,
    shared: Arc<PipelineState>,
    jobs: Option<Sender<WriterJob>>,
    batch: Vec<SnapshotItem>,
    batch_bytes: u64,
    sequence: Arc<AtomicU64>,
    segments: Option<Sender<SealedSegment>>,
    threads: Vec<JoinHandle<()>>,
    collector: Option<JoinHandle<Option<CollectedEntries>>>,
    uploader: Option<JoinHandle<()>>,
    lease: Option<AutoRenewedLease>,
}

impl std::fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotWriter")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl SnapshotWriter {
    pub(super) fn start_pipeline(
        repository: Repository,
        options: SnapshotOptions,
        shared: Arc<PipelineState>,
        adopted: Vec<crate::format::pack::PackRecord>,
        observer: Option<Box<dyn EntryObserver>>,
        lease: AutoRenewedLease,
    ) -> Result<Self> {
        let (jobs, job_queue) = crossbeam_channel::bounded(JOBS_WAITING_MAX);
        let (segments, segment_queue) = crossbeam_channel::bounded(SEGMENTS_WAITING_MAX);
        // One pack waits while others are stored; another is being filled.
        let (packs, pack_queue) = crossbeam_channel::bounded(0);
        // Results are small: IDs and entries of a batch.
        let (results, result_queue) = crossbeam_channel::bounded(64);
        let mut threads = Vec::new();
        for n in 0..worker_count() {
            let (shared, segments) = (Arc::clone(&shared), segments.clone());
            let (jobs, results): (Receiver<WriterJob>, _) = (job_queue.clone(), results.clone());
            threads.push(spawn_stage(&format!("worker-{n}"), move || {
                run_worker(&shared, &jobs, &segments, &results);
            })?);
        }
        drop((job_queue, results));
        let packer_shared = Arc::clone(&shared);
        threads.push(spawn_stage("packer", move || {
            run_packer(&packer_shared, &segment_queue, &packs)
        })?);
        let uploader_shared = Arc::clone(&shared);
        let uploads = spawn_stage("uploader", move || {
            run_uploader(&uploader_shared, &pack_queue, adopted)
        })?;
        let collector = Collector::new(&shared, segments.clone(), observer)?;
        let collector = spawn_stage("collector", move || collector.run_collector(&result_queue))?;
        Ok(Self {
            repository,
            options,
            shared,
            jobs: Some(jobs),
            batch: Vec::new(),
            batch_bytes: 0,
            sequence: Arc::default(),
            segments: Some(segments),
            threads,
            collector: Some(collector),
            uploader: Some(uploads),
            lease: Some(lease),
        })
    }

    /// Which chunks are already stored.
    #[must_use]
    pub fn known_chunks(&self) -> KnownChunks {
        KnownChunks {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Takes streams from other threads, beside the items. All copies must be gone before [`Self::finish`],
    /// and before the writer is dropped.
    ///
    /// # Errors
    /// The first failure of any stage.
    pub fn stream_sender(&self) -> Result<StreamSender> {
        match &self.jobs {
            Some(jobs) => Ok(StreamSender::new(
                &self.shared,
                jobs.clone(),
                Arc::clone(&self.sequence),
            )),
            None => Err(self.shared.take_failure()),
        }
    }

    /// A chunker for large files, with the repository's sizes and seed.
    #[must_use]
    pub fn content_chunker(&self) -> Chunker {
        let inner = &self.repository.inner;
        Chunker::new(inner.config.layout.content, inner.secrets.chunker_seed())
    }

    /// Takes the next item.
    ///
    /// # Errors
    /// The first failure of any stage, or [`Error::Interrupted`].
    pub fn add_item(&mut self, item: SnapshotItem) -> Result<()> {
        self.batch_bytes += match &item {
            SnapshotItem::SmallFile { size_hint, .. } => *size_hint,
            SnapshotItem::FilePart { bytes, .. } => bytes.len() as u64,
            SnapshotItem::Entry { .. }
            | SnapshotItem::StreamedFile { .. }
            | SnapshotItem::AbandonedFile { .. }
            | SnapshotItem::Remark(_) => 0,
        };
        self.batch.push(item);
        if self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_ENTRIES_MAX {
            self.send_batch()?;
        }
        Ok(())
    }

    /// Cuts a stream into chunks and takes them as parts of the entry that follows. Returns its length.
    ///
    /// # Errors
    /// Inside: errors of reading the stream. Outside: as for [`Self::add_item`].
    pub fn add_stream(
        &mut self,
        chunker: &mut Chunker,
        input: &mut dyn std::io::Read,
    ) -> Result<std::io::Result<u64>> {
        chunker.reset();
        let (mut bytes, mut lengths, mut total) = (Vec::new(), Vec::new(), 0);
        loop {
            let chunk = match chunker.next_chunk(input) {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => return Ok(Err(error)),
            };
            total += chunk.len() as u64;
            bytes.extend_from_slice(chunk);
            lengths.push(u32::try_from(chunk.len()).map_err(|e| Error::Internal(e.to_string()))?);
            if bytes.len() as u64 >= BATCH_BYTES {
                let (bytes, lengths) = (std::mem::take(&mut bytes), std::mem::take(&mut lengths));
                self.add_item(SnapshotItem::FilePart { bytes, lengths })?;
            }
        }
        if !bytes.is_empty() {
            self.add_item(SnapshotItem::FilePart { bytes, lengths })?;
        }
        Ok(Ok(total))
    }

    fn send_batch(&mut self) -> Result<()> {
        let items = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        match &self.jobs {
            Some(jobs) => send_job(&self.shared, jobs, &self.sequence, JobContent::Items(items)),
            None => Err(self.shared.take_failure()),
        }
    }

    /// Commits: everything is stored and read back, then indexed, then the root is written.
    ///
    /// `summarize` gets what was counted and every note.
    ///
    /// # Errors
    /// The first failure of any stage; then there is no snapshot.
    pub fn finish(
        mut self,
        summarize: impl FnOnce(&EntryCounts, &[Warning]) -> Result<SnapshotSummary>,
    ) -> Result<CommittedSnapshot> {
        self.send_batch()?;
        self.jobs = None;
        let mut collected = match self.collector.take().map(JoinHandle::join) {
            Some(Ok(Some(collected))) => collected,
            _ => return Err(self.shared.take_failure()),
        };
        self.shared.check_running()?;
        let summary = summarize(&collected.counts, &collected.notes)?;
        let mut warnings = std::mem::take(&mut collected.warnings);
        warnings.extend(summary.warnings);
        warnings.append(&mut self.options.alarms);
        warnings.extend(self.clock_warning(summary.data_time)?);
        let details = SnapshotDetails {
            location: summary.location,
            warnings,
            notes: std::mem::take(&mut collected.notes),
        };
        let details_record = collected.add_details(&details)?;
        let streams = collected.finish_streams()?;
        self.segments = None;
        self.join_stages()?;
        if let Some(journal) = &self.shared.journal {
            journal.remove();
        }
        let added = self.shared.added_counts();
        let finished = RootContents {
            counts: streams.counts,
            added,
            data_time: summary.data_time,
            finished: summary.finished,
            facts: summary.facts,
            warnings: details.warnings.len() as u64,
            entries: streams.entries,
            references: streams.references,
            details: details_record,
        };
        let root = self.build_root(finished);
        let id = self.commit_root(&root)?;
        if let Some(observer) = streams.observer {
            observer.on_committed();
        }
        let snapshot = Snapshot {
            id,
            signer: self.repository.require_writer()?.signer.id(),
            root,
            received: None,
            forgotten: false,
        };
        Ok(CommittedSnapshot {
            snapshot,
            warnings: details.warnings,
            notes: details.notes,
        })
    }

    /// The alarm when this host's clock is ahead of the storage's, or the source's ahead of this host's.
    fn clock_warning(&self, data_time: DateTime<Utc>) -> Result<Option<Warning>> {
        let times = self.lease.as_ref().map(|held| held.lease().begin_times());
        let ahead = times.transpose()?.flatten();
        let ahead = ahead.filter(|(here, there)| *here - *there > CLOCK_TOLERANCE);
        let now = self.repository.inner.clock.wall_time();
        let format = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        let message = match ahead {
            Some((here, there)) => format!(
                "alarm: the clock of this host is ahead: it said {} when the storage's said {}; set it (NTP) and take another snapshot",
                format(here),
                format(there)
            ),
            None if data_time - now > CLOCK_TOLERANCE => format!(
                "alarm: the source says that its data is of {}, which is later than this host's clock ({}): set the clock of the source",
                format(data_time),
                format(now)
            ),
            None => return Ok(None),
        };
        let path = RawText::default();
        Ok(Some(Warning { path, message }))
    }

    /// Stores the root, and makes sure before and after it that nothing it relies on is being deleted.
    fn commit_root(&mut self, root: &SnapshotRoot) -> Result<ObjectId> {
        let host = self.repository.require_writer()?;
        let inner = &self.repository.inner;
        let known = &self.shared.dedup_index;
        let held = || Error::Internal("a snapshot without a lease".to_owned());
        check_before_root(inner, known, self.lease.as_ref().ok_or_else(held)?.lease())?;
        // Last, as nothing may come between it and the root.
        if let Some(run) = &self.options.run {
            run.require_current()?;
        }
        // From here on the root may arrive even without a response: then the run is not recorded as ended.
        let lease = self.lease.take().ok_or_else(held)?;
        let id = inner.write_root(root, host)?;
        // Before the last check: a prune that does not find the root any more knows of it, or this run knows of the prune.
        self.repository.remember_snapshot(id, root);
        check_after_root(inner, known, lease.lease(), &id)?;
        lease.release();
        Ok(id)
    }

    fn join_stages(&mut self) -> Result<()> {
        for thread in self.threads.drain(..).chain(self.uploader.take()) {
            if thread.join().is_err() {
                self.shared
                    .record_failure(Error::Internal("a thread stopped unexpectedly".to_owned()));
            }
        }
        self.shared.check_running()
    }

    fn build_root(&self, finished: RootContents) -> SnapshotRoot {
        let options = self.options.clone();
        SnapshotRoot {
            source: options.source,
            kind: options.kind,
            host: options.host,
            data_time: finished.data_time,
            started: options.started,
            finished: finished.finished,
            outcome: if finished.warnings == 0 {
                Outcome::Ok
            } else {
                Outcome::Degraded
            },
            warnings: finished.warnings,
            counts: finished.counts,
            added: finished.added,
            parent: options.parent,
            tags: options.tags,
            program: crate::program::PROGRAM.to_owned(),
            slot: options.run.map(|run| run.stamp),
            facts: finished.facts,
            entries: finished.entries,
            references: finished.references,
            details: finished.details,
        }
    }
}

struct RootContents {
    counts: EntryCounts,
    added: AddedData,
    data_time: DateTime<Utc>,
    finished: DateTime<Utc>,
    facts: BTreeMap<String, serde_json::Value>,
    warnings: u64,
    entries: StreamRecord,
    references: StreamRecord,
    details: StreamRecord,
}

impl Drop for SnapshotWriter {
    /// A writer that is not finished leaves packs that the next run adds to the index, and no snapshot.
    fn drop(&mut self) {
        if self.jobs.is_some() {
            self.shared.record_failure(Error::Interrupted);
        }
        self.jobs = None;
        self.segments = None;
        for thread in self.threads.drain(..).chain(self.uploader.take()) {
            // Its failure, if any, is in `shared` already.
            drop(thread.join());
        }
        if let Some(collector) = self.collector.take() {
            drop(collector.join());
        }
        if let Some(lease) = self.lease.take() {
            lease.release();
        }
    }
}

fn worker_count() -> usize {
    std::thread::available_parallelism()
        .map_or(2, std::num::NonZero::get)
        .clamp(1, 8)
}

fn spawn_stage<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|source| Error::LocalIo {
            action: "start a thread for",
            path: name.into(),
            source,
        })
}
