//! Executes a restore: entries in windows, contents in parallel by segment, attributes last.
//!
//! A window is a bounded run of entries. Its directories, links and empty files are created at once; then its segments
//! are read in the order of their packs, each once, and every chunk in them is written to all files that need it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use reprise_repository::{
    ChunkId, ContentReader, Entry, EntryCounts, EntryKind, EntryReader, Outcome, Progress,
    Repository, Snapshot,
};

use crate::error::{Error, Result};
use crate::files::attributes::{apply_to_directory, apply_to_path, remove_extra_attributes};
use crate::files::directory_restore::{
    DirectoryRestore, EntryWindow, FileRestore, FlaggedEntries, LinkSource,
};
use crate::files::options::{OverwriteMode, RestoreOptions};
use crate::files::path_selection::{PathMatch, PathSelection};
use crate::files::report::RestoreReport;
use crate::files::restore_directory::RestoreDirectory;
use crate::files::write_contents::write_contents;

/// A window ends at this many entries, or …
const WINDOW_ENTRIES_MAX: usize = 16_384;

/// … at this many chunks, whichever comes first. Together they bound the memory of a restore.
const WINDOW_CHUNKS_MAX: usize = 65_536;

/// Restores a snapshot. Every chunk is verified against its ID before it is written.
///
/// # Errors
/// When the target is refused, or the snapshot cannot be read. Failures of single entries are warnings.
pub fn restore(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    progress: &Progress,
) -> Result<RestoreReport> {
    repository.require_data_identity()?;
    let reader = repository.content_reader()?;
    require_paths(&reader, snapshot, options, progress)?;
    let mut selection = PathSelection::new(&options.paths);
    let target = RestoreDirectory::open(&options.target, options.existing, snapshot)?;
    if selection.is_everything() {
        progress
            .items_total
            .store(snapshot.root.counts.entries, Ordering::Relaxed);
        progress
            .bytes_total
            .store(snapshot.root.counts.bytes, Ordering::Relaxed);
        if options.existing == OverwriteMode::Refuse {
            target.require_space(snapshot.root.counts.bytes)?;
        }
    }
    let mut run = DirectoryRestore {
        repository,
        reader: &reader,
        target: &target,
        existing: options.existing,
        progress,
        directories: Vec::new(),
        counts: EntryCounts::default(),
        kept: 0,
        warnings: Vec::new(),
        link_sources: BTreeMap::new(),
        restores_everything: selection.is_everything(),
        flagged: FlaggedEntries::default(),
    };
    let mut entries = reader.snapshot_reader(snapshot).entries();
    while let Some(window) = run.next_window(&mut entries, &mut selection)? {
        run.restore_window(window)?;
    }
    run.finish_restore(snapshot, &entries)
}

/// A mistyped path must be reported before the target is changed.
fn require_paths(
    reader: &ContentReader,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    progress: &Progress,
) -> Result<()> {
    let mut selection = PathSelection::new(&options.paths);
    if selection.is_everything() {
        return Ok(());
    }
    let mut entries = reader.snapshot_reader(snapshot).entries();
    while let Some((entry, _)) = entries.next_entry()? {
        selection.match_path(entry.path.as_bytes());
        if selection.all_found() {
            return Ok(());
        }
        progress.check_cancelled()?;
    }
    selection.require_all_found(snapshot)
}

impl DirectoryRestore<'_> {
    fn next_window(
        &mut self,
        entries: &mut EntryReader<'_>,
        selection: &mut PathSelection,
    ) -> Result<Option<EntryWindow>> {
        let mut window = EntryWindow::default();
        while window.entries < WINDOW_ENTRIES_MAX && window.chunks < WINDOW_CHUNKS_MAX {
            let Some((entry, chunks)) = entries.next_entry()? else {
                break;
            };
            match selection.match_path(entry.path.as_bytes()) {
                PathMatch::No => self.remember_link_source(entry, chunks),
                PathMatch::Ancestor if entry.kind == EntryKind::Directory => {
                    self.restore_directory(entry)
                }
                PathMatch::Ancestor => {}
                PathMatch::Yes => {
                    window.entries += 1;
                    window.chunks += chunks.len();
                    self.dispatch_entry(entry, chunks, &mut window);
                }
            }
        }
        let done = window.entries == 0;
        Ok((!done).then_some(window))
    }

    /// A later name of a file may be selected when its first one is not. Only then is this memory needed.
    fn remember_link_source(&mut self, entry: Entry, chunks: Vec<ChunkId>) {
        if !self.restores_everything
            && entry.kind != EntryKind::Directory
            && entry.kind != EntryKind::Hardlink
        {
            let path = entry.path.as_bytes().to_vec();
            self.link_sources
                .insert(path, LinkSource::NotRestored(Box::new(entry), chunks));
        }
    }

    /// Creates directories and special files at once and adds the others to the window.
    fn dispatch_entry(&mut self, entry: Entry, chunks: Vec<ChunkId>, window: &mut EntryWindow) {
        match entry.kind {
            EntryKind::Directory => self.restore_directory(entry),
            EntryKind::File => window.files.push((entry, chunks)),
            EntryKind::Hardlink => self.restore_hardlink(entry, window),
            _ => self.restore_special(&entry),
        }
    }

    fn restore_directory(&mut self, entry: Entry) {
        match self.target.make_directory(entry.path.as_bytes()) {
            Ok(()) => {
                self.count_entry(&entry);
                self.directories.push(entry);
            }
            Err(error) => self.warn_failure(&entry.path, "created", error),
        }
    }

    fn restore_special(&mut self, entry: &Entry) {
        let made = self
            .remove_existing(entry)
            .and_then(|()| self.target.make_special(entry));
        match made {
            Ok(()) => {
                self.count_entry(entry);
                let lost = apply_to_path(self.target.confined(), entry);
                self.warn_attributes(&entry.path, lost);
            }
            Err(error) => self.warn_failure(&entry.path, "created", error),
        }
    }

    /// A link to a file that is not selected becomes the file itself.
    fn restore_hardlink(&mut self, mut entry: Entry, window: &mut EntryWindow) {
        let first = entry.target.clone().unwrap_or_default();
        match self.link_sources.remove(first.as_bytes()) {
            None => window.links.push(entry),
            Some(LinkSource::Restored(path)) => {
                entry.target = Some(path.clone());
                self.link_sources
                    .insert(first.as_bytes().to_vec(), LinkSource::Restored(path));
                window.links.push(entry);
            }
            Some(LinkSource::NotRestored(source, chunks)) => {
                let path = entry.path.clone();
                self.link_sources.insert(
                    first.as_bytes().to_vec(),
                    LinkSource::Restored(path.clone()),
                );
                let entry = Entry { path, ..*source };
                match entry.kind {
                    EntryKind::File => window.files.push((entry, chunks)),
                    _ => self.restore_special(&entry),
                }
            }
        }
    }

    fn restore_window(&mut self, window: EntryWindow) -> Result<()> {
        self.progress.check_cancelled()?;
        let files = self.locate_chunks(window.files)?;
        let files = self.keep_matching_files(files)?;
        let jobs = self.create_files(files);
        write_contents(self, &jobs)?;
        for link in window.links {
            let made = self
                .remove_existing(&link)
                .and_then(|()| self.target.make_special(&link));
            match made {
                Ok(()) => self.count_entry(&link),
                Err(error) => self.warn_failure(&link.path, "linked", error),
            }
        }
        Ok(())
    }

    /// Finds every chunk; a file whose chunks do not add up to its size is refused.
    fn locate_chunks(&self, files: Vec<(Entry, Vec<ChunkId>)>) -> Result<Vec<FileRestore>> {
        let mut located = Vec::with_capacity(files.len());
        for (entry, ids) in files {
            let name = format!("`{}`", entry.path.display());
            let mut chunks = Vec::with_capacity(ids.len());
            let mut total = 0;
            for id in ids {
                let location = self.reader.locate_chunk(&id, &name)?;
                total += u64::from(location.length);
                chunks.push((id, location));
            }
            let lengths = entry.check_content_length(total);
            lengths.map_err(|reason| reprise_repository::Error::Damaged {
                object: name,
                reason,
            })?;
            let left = AtomicU32::new(u32::try_from(chunks.len()).unwrap_or(u32::MAX));
            located.push(FileRestore {
                entry,
                chunks,
                remaining_chunks: left,
            });
        }
        Ok(located)
    }

    /// Sets the attributes of directories, deepest first, and checks the counts.
    fn finish_restore(
        mut self,
        snapshot: &Snapshot,
        entries: &EntryReader<'_>,
    ) -> Result<RestoreReport> {
        for entry in std::mem::take(&mut self.directories).into_iter().rev() {
            if self.existing != OverwriteMode::Refuse {
                self.remove_extra_directory_attributes(&entry);
            }
            if entry.path.as_bytes().is_empty() {
                // The mark is in the root, so the root's times are set after its removal.
                self.target.remove_marker()?;
            }
            let lost = apply_to_directory(self.target.confined(), &entry);
            self.warn_attributes(&entry.path, lost);
        }
        if self.target.has_marker() {
            self.target.remove_marker()?;
        }
        if self.restores_everything && self.warnings.is_empty() && self.counts != entries.counts() {
            return Err(Error::Repository(reprise_repository::Error::Damaged {
                object: format!("snapshot {}", snapshot.id.short()),
                reason: format!(
                    "{:?} were restored instead of {:?}",
                    self.counts,
                    entries.counts()
                ),
            }));
        }
        let outcome = if self.warnings.is_empty() {
            Outcome::Ok
        } else {
            Outcome::Degraded
        };
        Ok(RestoreReport {
            outcome,
            counts: self.counts,
            kept: self.kept,
            warnings: self.warnings,
            notes: self.flagged.note().into_iter().collect(),
        })
    }

    fn remove_extra_directory_attributes(&mut self, entry: &Entry) {
        let directory = self
            .target
            .confined()
            .open_for_reading(entry.path.as_bytes(), rustix::fs::OFlags::DIRECTORY);
        if let Err(error) =
            directory.and_then(|directory| remove_extra_attributes(&directory, entry))
        {
            self.warn_failure(&entry.path, "cleared of extra extended attributes", error);
        }
    }
}
