//! The state that all stages of a snapshot share: the repository, known chunks, counters, and the first failure.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::format::snapshot::AddedData;
use crate::id::ChunkId;
use crate::progress::Progress;
use crate::store::Store;
use crate::write::dedup_index::DedupIndex;
use crate::write::journal::PackJournal;

#[derive(Debug)]
pub(super) struct PipelineState {
    pub(super) repository: Arc<Store>,
    pub(super) dedup_index: DedupIndex,
    /// What is stored but perhaps not indexed, where listing is expensive.
    pub(super) journal: Option<PackJournal>,
    pub(super) progress: Arc<Progress>,
    pub(super) added_chunks: AtomicU64,
    pub(super) added_plain_bytes: AtomicU64,
    pub(super) added_stored_bytes: AtomicU64,
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
}

impl PipelineState {
    pub(super) fn new(
        repository: Arc<Store>,
        dedup_index: DedupIndex,
        journal: Option<PackJournal>,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            repository,
            dedup_index,
            journal,
            progress,
            added_chunks: AtomicU64::new(0),
            added_plain_bytes: AtomicU64::new(0),
            added_stored_bytes: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    /// Records a failure; only the first one is kept, as later ones follow from it.
    pub(super) fn record_failure(&self, error: Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.failed.swap(true, Ordering::SeqCst) {
            *failure = Some(error);
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// The first failure.
    pub(super) fn take_failure(&self) -> Error {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take().unwrap_or_else(|| {
            Error::Internal("a stage of the snapshot stopped unexpectedly".to_owned())
        })
    }

    /// Fails if any stage has failed or an interruption was requested.
    pub(super) fn check_running(&self) -> Result<()> {
        if self.has_failed() {
            return Err(self.take_failure());
        }
        self.progress.check_cancelled()
    }

    pub(super) fn added_counts(&self) -> AddedData {
        AddedData {
            chunks: self.added_chunks.load(Ordering::SeqCst),
            plain_bytes: self.added_plain_bytes.load(Ordering::SeqCst),
            stored_bytes: self.added_stored_bytes.load(Ordering::SeqCst),
        }
    }
}

/// Tells which chunks the repository had when the snapshot began.
#[derive(Debug, Clone)]
pub struct KnownChunks {
    pub(super) shared: Arc<PipelineState>,
}

impl KnownChunks {
    /// The plain length of a chunk that is stored, or `None`.
    ///
    /// # Errors
    /// When the local index cache fails.
    pub fn length_of(&self, id: &ChunkId) -> Result<Option<u32>> {
        self.shared.dedup_index.length_of(id)
    }
}
