//! Writing a snapshot: a pipeline from entries in order to packs, index and root.
//!
//! ```text
//! source ──items──► workers ──segments──► packer ──packs──► uploader
//!    (one thread)   read, hash,             assemble           store, read back,
//!                   compress, encrypt                          index
//!                      └──ids, entries──► collector: entry and reference streams, in order
//! ```
//!
//! Memory is bounded: small files are read by the worker that needs them, and every queue between two
//! stages is short and holds items of at most a few MiB.
//!
//! `snapshot_writer` takes `item`s and runs the stages: `worker` reads, hashes and seals (`jobs` is what it gets and
//! gives), `collector` puts results in order and writes them to the `metadata_streams`, `packer` and `uploader` store.
//! `dedup_index` knows what is stored already, `streams` takes content from several threads, `journal` records the
//! packs of a run, `commit` has the checks around the root; `options` is what is known of a snapshot before and after.

mod collector;
mod commit;
mod dedup_index;
mod item;
mod jobs;
mod journal;
mod metadata_streams;
mod options;
mod packer;
mod pipeline_state;
mod snapshot_writer;
mod streams;
mod uploader;
mod worker;

use std::sync::Arc;

use crate::crypto::host_keys::HostKeys;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::records::leases::AutoRenewedLease;
use crate::records::sweeps::Sweeps;
use crate::store::Repository;
use crate::write::dedup_index::DedupIndex;
use crate::write::journal::PackJournal;
use crate::write::pipeline_state::PipelineState;

pub use item::{EntryObserver, FileStamp, LoadedFile, SnapshotItem, StreamId};
pub use options::{CommittedSnapshot, ScheduledRun, SnapshotOptions, SnapshotSummary};
pub use pipeline_state::KnownChunks;
pub use snapshot_writer::SnapshotWriter;
pub use streams::{OpenStream, StreamSender};

impl Repository {
    /// Begins a snapshot.
    ///
    /// # Errors
    /// [`Error::UnknownHost`] when this host may not write, or errors of opening the index.
    pub fn begin_snapshot(
        &self,
        options: SnapshotOptions,
        progress: Arc<Progress>,
        observer: Option<Box<dyn EntryObserver>>,
    ) -> Result<SnapshotWriter> {
        self.require_writer()?;
        options.require_printable()?;
        let keeps_journal = !self.inner.backend.capabilities().cheap_listing;
        let cache = self.cache_dir().filter(|_| keeps_journal);
        let (noted, journals) = journal::read_abandoned_journals(cache);
        // The lease first: a sweep that begins after it waits for this run, one before it is seen here.
        let lease = AutoRenewedLease::acquire(&self.inner, &options.host, "snapshot")?;
        let unusable = Sweeps::read(&self.inner, self.inner.backend.as_ref())?.unusable_packs();
        let (index, adopted) = self.index_for_writing(&noted, &unusable)?;
        let journal = PackJournal::begin(cache);
        if let Some(journal) = &journal {
            adopted
                .iter()
                .for_each(|record| journal.add_pack(&record.pack));
            journal::remove_journals(&journals);
        }
        let shared = Arc::new(PipelineState::new(
            Arc::clone(&self.inner),
            DedupIndex::new(index),
            journal,
            progress,
        ));
        SnapshotWriter::start_pipeline(self.clone(), options, shared, adopted, observer, lease)
    }

    /// Fails when this host may not add to the repository.
    ///
    /// # Errors
    /// [`Error::UnknownHost`], or [`Error::KeysWithheld`].
    pub fn require_writer(&self) -> Result<&HostKeys> {
        let inner = &self.inner;
        inner.require_known_keys()?;
        let signer = inner.host.as_ref().map(|host| host.signer.id());
        match (&inner.host, signer) {
            (Some(host), Some(id))
                if inner
                    .trust
                    .has_role(&id, crate::crypto::signing::SignerRole::Writer) =>
            {
                Ok(host)
            }
            (_, signer) => Err(Error::UnknownHost {
                signer: signer
                    .map_or_else(|| "(none: it has no keys)".to_owned(), |id| id.to_string()),
                location: self.location(),
            }),
        }
    }
}
