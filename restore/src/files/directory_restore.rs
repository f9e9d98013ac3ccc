//! A restore into a directory that is in progress.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use reprise_repository::{
    ChunkId, ChunkLocation, ContentReader, Entry, EntryCounts, Progress, RawText, Repository,
};

use crate::error::Result;
use crate::files::directory::attribute_policy::{AttributePolicy, LeftOut};
use crate::files::directory::attributes::{AttributeSetter, FailedAttributes};
use crate::files::directory::directories::InodeId;
use crate::files::directory::failure::EntryFailure;
use crate::files::directory::flagged_entries::FlaggedEntries;
use crate::files::directory::names::ExistingNames;
use crate::files::directory::placement::UnfinishedFile;
use crate::files::directory::restore_directory::RestoreDirectory;
use crate::files::options::OverwriteMode;
use crate::files::problems::{Aspect, ProblemLog};

/// A file of a window, before its chunks are located.
pub(super) struct WindowFile {
    pub(super) entry: Entry,
    pub(super) chunks: Vec<ChunkId>,
    /// Something has its name already.
    pub(super) exists: bool,
    /// Why it is a copy of its own instead of a hard link.
    pub(super) copy_cause: Option<String>,
}

/// A file to be written.
pub(super) struct FileRestore {
    pub(super) entry: Entry,
    pub(super) chunks: Vec<(ChunkId, ChunkLocation)>,
    pub(super) exists: bool,
    pub(super) copy_cause: Option<String>,
    /// Chunks still to be written.
    pub(super) remaining_chunks: AtomicU32,
    /// The file between its writes, if it needs several.
    pub(super) unfinished: Mutex<Option<UnfinishedFile>>,
    pub(super) is_complete: AtomicBool,
    pub(super) has_failed: AtomicBool,
}

impl FileRestore {
    pub(super) fn new(file: WindowFile, chunks: Vec<(ChunkId, ChunkLocation)>) -> Self {
        let remaining = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
        Self {
            entry: file.entry,
            chunks,
            exists: file.exists,
            copy_cause: file.copy_cause,
            remaining_chunks: AtomicU32::new(remaining),
            unfinished: Mutex::new(None),
            is_complete: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
        }
    }

    /// A file of one chunk without holes is created, written and finished by one thread.
    pub(super) fn is_single_write(&self) -> bool {
        self.chunks.len() == 1 && self.entry.extents.is_none()
    }

    pub(super) fn unfinished(&self) -> Option<UnfinishedFile> {
        let unfinished = self.unfinished.lock();
        unfinished.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Acquire)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }
}

/// A hard link of a window.
pub(super) struct WindowLink {
    pub(super) entry: Entry,
    /// The name to link to.
    pub(super) first: RawText,
    /// The name that the content has in the snapshot.
    pub(super) original: RawText,
    pub(super) exists: bool,
}

/// A name that could not be linked to its file.
#[derive(Debug)]
pub(super) struct PendingCopy {
    pub(super) path: RawText,
    pub(super) exists: bool,
    pub(super) cause: String,
}

/// A bounded run of entries.
#[derive(Default)]
pub(super) struct EntryWindow {
    pub(super) files: Vec<WindowFile>,
    pub(super) links: Vec<WindowLink>,
    pub(super) chunks: usize,
    pub(super) entries: usize,
}

/// A restore in progress.
pub(super) struct DirectoryRestore<'a> {
    pub(super) repository: &'a Repository,
    pub(super) reader: &'a ContentReader,
    pub(super) target: &'a RestoreDirectory,
    pub(super) existing: OverwriteMode,
    pub(super) policy: &'a AttributePolicy,
    pub(super) progress: &'a Progress,
    /// Directories whose attributes are set at the end.
    pub(super) directories: Vec<(Entry, InodeId)>,
    pub(super) names: ExistingNames,
    pub(super) counts: EntryCounts,
    /// What the snapshot's list of entries has, once it was read to its end.
    pub(super) listed: EntryCounts,
    pub(super) kept: u64,
    pub(super) problems: ProblemLog,
    pub(super) left_out: LeftOut,
    /// In a partial restore: the first selected name of a file whose first name is not selected.
    pub(super) link_sources: BTreeMap<Vec<u8>, LinkSource>,
    /// By the name that the content has in the snapshot: names that could not be linked.
    pub(super) pending_copies: BTreeMap<Vec<u8>, Vec<PendingCopy>>,
    pub(super) restores_everything: bool,
    pub(super) flagged: FlaggedEntries,
}

/// A file that other names may link to, though it is not itself restored.
pub(super) enum LinkSource {
    /// Its entry and content; none of its names is restored so far.
    NotRestored(Box<Entry>, Vec<ChunkId>),
    /// Restored under this path.
    Restored(RawText),
}

impl DirectoryRestore<'_> {
    pub(super) fn count_entry(&mut self, entry: &Entry) {
        self.counts.add_entry(entry);
        self.flagged.add_entry(entry);
        Progress::add(&self.progress.items, 1);
    }

    pub(super) fn attributes(&self) -> AttributeSetter<'_> {
        AttributeSetter {
            policy: self.policy,
            left_out: &self.left_out,
        }
    }

    pub(super) fn log_attributes(&self, path: &RawText, failed: FailedAttributes) {
        self.problems.add_altered(path, failed);
    }

    /// Names an entry that could not be made; an error when no other one can be made either.
    pub(super) fn log_missing(
        &self,
        path: &RawText,
        done: &str,
        failure: &EntryFailure,
    ) -> Result<()> {
        if let Some(error) = failure.fatal(path) {
            return Err(error);
        }
        self.problems.add_missing(path, failure.describe(done));
        Ok(())
    }

    pub(super) fn log_copy(&self, path: &RawText, cause: &str) {
        let cause = format!("it is a copy of its own instead of a hard link, which {cause}");
        self.problems.add_altered(path, [(Aspect::Link, cause)]);
    }
}
