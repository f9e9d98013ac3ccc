//! Executes a restore: entries in windows, contents in parallel by segment, attributes last.
//!
//! A window is a bounded run of entries. Its directories, links and empty files are created at once; then its segments
//! are read in the order of their packs, each once, and every chunk in them is written to all files that need it. What
//! cannot be restored is named; only what stands in the way of everything else stops a restore.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use reprise_repository::{
    ChunkId, Entry, EntryCounts, EntryKind, EntryReader, ErrorClass, Outcome, Progress, RawText,
    Repository, Snapshot,
};

use crate::error::{Error, Result};
use crate::files::directory::attribute_policy::{AttributePolicy, LeftOut};
use crate::files::directory::flagged_entries::FlaggedEntries;
use crate::files::directory::names::ExistingNames;
use crate::files::directory::process_rights::ProcessRights;
use crate::files::directory::restore_directory::{RestoreDirectory, free_bytes};
use crate::files::directory_restore::{DirectoryRestore, EntryWindow, FileRestore, WindowFile};
use crate::files::options::{OverwriteMode, RestoreOptions};
use crate::files::path_selection::{PathMatch, PathSelection};
use crate::files::plan::require_space;
use crate::files::problems::{Aspect, Consequence, ProblemLog};
use crate::files::report::{RestoreReport, StoppedRestore};
use crate::files::write_contents::write_contents;

/// A window ends at this many entries, or …
const WINDOW_ENTRIES_MAX: usize = 16_384;

/// … at this many chunks, whichever comes first. Together they bound the memory of a restore.
const WINDOW_CHUNKS_MAX: usize = 65_536;

/// Restores a snapshot. Every chunk is verified against its ID before it is written.
///
/// # Errors
/// When the target is refused, or nothing further can be restored. Failures of single entries, damaged ones among them,
/// are in the report.
pub fn restore(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    progress: &Progress,
) -> std::result::Result<RestoreReport, Box<StoppedRestore>> {
    repository.require_data_identity()?;
    let reader = repository.content_reader()?;
    // A mistyped path, or a target without room, must be reported before the target is changed.
    let resolved = PathSelection::resolve(&reader, snapshot, &options.paths, progress)?;
    let mut selection = resolved.selection;
    if options.existing == OverwriteMode::Refuse {
        require_space(options, resolved.bytes, free_bytes(&options.target))?;
    }
    let policy = AttributePolicy::new(options.attributes, ProcessRights::of_this_process());
    let target = RestoreDirectory::open(
        &options.target,
        options.existing,
        &snapshot.id,
        policy.rights(),
    )?;
    if selection.is_everything() {
        let counts = &snapshot.root.counts;
        progress
            .items_total
            .store(counts.entries, Ordering::Relaxed);
        progress.bytes_total.store(counts.bytes, Ordering::Relaxed);
    }
    let mut run = DirectoryRestore {
        repository,
        reader: &reader,
        target: &target,
        existing: options.existing,
        policy: &policy,
        progress,
        directories: Vec::new(),
        names: ExistingNames::default(),
        counts: EntryCounts::default(),
        listed: EntryCounts::default(),
        kept: 0,
        problems: ProblemLog::default(),
        left_out: LeftOut::default(),
        link_sources: BTreeMap::new(),
        pending_copies: BTreeMap::new(),
        restores_everything: selection.is_everything(),
        flagged: FlaggedEntries::default(),
    };
    let ended = run
        .restore_entries(snapshot, &mut selection)
        .and_then(|()| run.restore_copies(snapshot));
    // However it ends, directories do not keep the modes that they were given for the restore.
    let finished = run.finish_directories(ended.is_ok());
    match ended.and(finished) {
        Ok(()) => {
            run.check_counts();
            Ok(run.into_report())
        }
        Err(error) => Err(Box::new(StoppedRestore {
            error,
            report: Some(RestoreReport {
                outcome: Outcome::Failed,
                ..run.into_report()
            }),
        })),
    }
}

impl DirectoryRestore<'_> {
    fn restore_entries(
        &mut self,
        snapshot: &Snapshot,
        selection: &mut PathSelection,
    ) -> Result<()> {
        let mut entries = self.reader.snapshot_reader(snapshot).entries();
        loop {
            let mut window = EntryWindow::default();
            let filled = self.fill_window(&mut entries, selection, &mut window);
            let was_empty = window.entries == 0;
            let damage = match filled {
                // What came before the damaged part of the list is restored.
                Err(Error::Repository(error)) if error.class() == ErrorClass::Damaged => {
                    Some(error)
                }
                Err(error) => return Err(error),
                Ok(()) => None,
            };
            self.restore_window(window)?;
            if let Some(error) = damage {
                if self.counts.entries == 0 {
                    return Err(error.into());
                }
                let cause = format!("{error}; what follows in it is not known and not restored");
                self.problems.add_damaged(&RawText::default(), cause);
                return Ok(());
            }
            if was_empty {
                self.listed = entries.counts();
                return Ok(());
            }
        }
    }

    fn fill_window(
        &mut self,
        entries: &mut EntryReader<'_>,
        selection: &mut PathSelection,
        window: &mut EntryWindow,
    ) -> Result<()> {
        while window.entries < WINDOW_ENTRIES_MAX && window.chunks < WINDOW_CHUNKS_MAX {
            let Some((entry, chunks)) = entries.next_entry()? else {
                break;
            };
            match selection.match_path(entry.path.as_bytes()) {
                PathMatch::No => self.remember_link_source(entry, chunks),
                PathMatch::Ancestor if entry.kind == EntryKind::Directory => {
                    self.restore_directory(entry)?;
                }
                PathMatch::Ancestor => {}
                PathMatch::Yes => {
                    window.entries += 1;
                    window.chunks += chunks.len();
                    self.dispatch_entry(entry, chunks, window)?;
                }
            }
        }
        Ok(())
    }

    /// Creates directories and special files at once and adds the others to the window.
    fn dispatch_entry(
        &mut self,
        entry: Entry,
        chunks: Vec<ChunkId>,
        window: &mut EntryWindow,
    ) -> Result<()> {
        if !self.policy.restores_kind(entry.kind) {
            LeftOut::count(&self.left_out.specials);
            return Ok(());
        }
        match entry.kind {
            EntryKind::Directory => self.restore_directory(entry),
            EntryKind::Hardlink => self.restore_hardlink(entry, window),
            EntryKind::File => {
                let exists = self.names.contains(entry.path.as_bytes());
                window.files.push(WindowFile {
                    entry,
                    chunks,
                    exists,
                    copy_cause: None,
                });
                Ok(())
            }
            EntryKind::Symlink
            | EntryKind::Fifo
            | EntryKind::CharDevice
            | EntryKind::BlockDevice
            | EntryKind::Socket => {
                let exists = self.names.contains(entry.path.as_bytes());
                self.restore_special(&entry, exists).map(drop)
            }
        }
    }

    fn restore_directory(&mut self, entry: Entry) -> Result<()> {
        let path = entry.path.as_bytes();
        let exists = self.names.contains(path);
        let made = match self.target.make_directory(path, exists) {
            Ok(made) => made,
            Err(failure) => return self.log_missing(&entry.path, "created", &failure),
        };
        self.names.enter(path, made.names);
        self.count_entry(&entry);
        if made.is_merged {
            let cause = "the file system takes its name for that of another directory, which now has the contents of both";
            let group = (Consequence::Altered, Aspect::Entry);
            self.problems.add(&entry.path, group, cause);
        } else {
            self.directories.push((entry, made.id));
        }
        Ok(())
    }

    /// Creates a symbolic link or special file; whether it could be made.
    pub(super) fn restore_special(&mut self, entry: &Entry, exists: bool) -> Result<bool> {
        let attributes = self.attributes();
        let made = self.target.make_special(entry, exists, |handle| {
            attributes.set_on_handle(handle, entry)
        });
        match made {
            Ok(failed) => {
                self.log_attributes(&entry.path, failed);
                self.count_entry(entry);
                Ok(true)
            }
            Err(failure) => {
                self.log_missing(&entry.path, "created", &failure)?;
                Ok(false)
            }
        }
    }

    pub(super) fn restore_window(&mut self, window: EntryWindow) -> Result<()> {
        self.progress.check_cancelled()?;
        let files = self.locate_chunks(window.files)?;
        let files = self.keep_matching_files(files)?;
        let jobs = self.create_files(files)?;
        let written = write_contents(self, &jobs);
        let has_failed = self.settle_files(&jobs);
        written?;
        if has_failed {
            self.require_repository()?;
        }
        self.restore_links(window.links)
    }

    /// Counts the files that are complete and removes what is left of others; whether any failed.
    fn settle_files(&mut self, jobs: &[FileRestore]) -> bool {
        let mut has_failed = false;
        for job in jobs {
            if job.is_complete() {
                self.count_entry(&job.entry);
                continue;
            }
            has_failed |= job.has_failed();
            if let Some(unfinished) = job.unfinished() {
                self.target
                    .discard_file(job.entry.path.as_bytes(), &unfinished);
            }
        }
        has_failed
    }

    /// Where data is missing, the repository itself may be gone: then nothing else can be restored either.
    fn require_repository(&self) -> Result<()> {
        self.repository.check_reachable()?;
        Ok(())
    }

    /// Finds every chunk; a file whose chunks are lost or do not add up to its size is damaged.
    fn locate_chunks(&self, files: Vec<WindowFile>) -> Result<Vec<FileRestore>> {
        let mut located = Vec::with_capacity(files.len());
        for file in files {
            let name = format!("`{}`", file.entry.path.display());
            let mut chunks = Vec::with_capacity(file.chunks.len());
            let mut total = 0;
            let mut lost = None;
            for id in &file.chunks {
                match self.reader.locate_chunk(id, &name) {
                    Ok(location) => {
                        total += u64::from(location.length);
                        chunks.push((*id, location));
                    }
                    Err(error) if error.class() == ErrorClass::Damaged => {
                        lost = Some("a part of its content is in no pack of the repository");
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if lost.is_none() && file.entry.check_content_length(total).is_err() {
                lost = Some("its chunks do not add up to its size");
            }
            match lost {
                Some(cause) => self.problems.add_damaged(&file.entry.path, cause),
                None => located.push(FileRestore::new(file, chunks)),
            }
        }
        Ok(located)
    }

    /// Sets the attributes of directories, deepest first. Only a complete restore loses its mark.
    fn finish_directories(&mut self, is_complete: bool) -> Result<()> {
        for (entry, id) in std::mem::take(&mut self.directories).into_iter().rev() {
            if is_complete && entry.path.as_bytes().is_empty() {
                // The mark is in the root, so the root's times are set after its removal.
                self.target.remove_marker()?;
            }
            let directory = match self.target.reopen_directory(entry.path.as_bytes(), id) {
                Ok(directory) => directory,
                Err(failure) => {
                    let cause = format!("its attributes {}", failure.describe("set"));
                    let group = (Consequence::Altered, Aspect::Entry);
                    self.problems.add(&entry.path, group, cause);
                    continue;
                }
            };
            if self.existing != OverwriteMode::Refuse {
                self.remove_extra_attributes(&directory, &entry);
            }
            let failed = self.attributes().set_on_file(&directory, &entry);
            self.log_attributes(&entry.path, failed);
        }
        if is_complete {
            self.target.remove_marker()?;
        }
        Ok(())
    }

    /// What was restored must be what the list of entries has.
    fn check_counts(&self) {
        let is_whole =
            self.restores_everything && self.left_out.specials.load(Ordering::Relaxed) == 0;
        if is_whole && self.problems.is_empty() && self.counts != self.listed {
            let cause = format!(
                "{:?} were restored instead of {:?}",
                self.counts, self.listed
            );
            self.problems.add_damaged(&RawText::default(), cause);
        }
    }

    fn into_report(self) -> RestoreReport {
        let missing_identity = self.problems.missing_identity();
        let problems = self.problems.into_groups();
        RestoreReport {
            missing_identity,
            outcome: if problems.is_empty() {
                Outcome::Ok
            } else {
                Outcome::Degraded
            },
            counts: self.counts,
            kept: self.kept,
            problems,
            left_out: self.left_out.describe(self.policy, "restored"),
            notes: self.flagged.note().into_iter().collect(),
        }
    }
}
