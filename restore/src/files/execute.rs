//! Executes a restore: entries in windows, contents in parallel by segment, attributes last.
//!
//! A window is a bounded run of entries. Its directories, links and empty files are created at once; then its segments
//! are read in the order of their packs, each once, and every chunk in them is written to all files that need it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use reprise_repository::{
    ChunkId, ChunkLocation, ContentReader, Entry, EntryCounts, EntryKind, EntryReader, Outcome,
    Progress, RawText, RecipientClass, Repository, SegmentKey, Snapshot, Warning,
};
use rustix::io::Errno;

use super::attributes::{
    FailedAttributes, apply_to_directory, apply_to_file, apply_to_path, remove_extra_attributes,
};
use super::content::{has_expected_content, locate_chunk_parts};
use super::path_selection::{PathMatch, PathSelection};
use super::restore_directory::RestoreDirectory;
use super::{OverwriteMode, RestoreOptions, RestoreReport};
use crate::error::{Error, Result};

/// A window ends at this many entries, or …
const WINDOW_ENTRIES_MAX: usize = 16_384;
/// … at this many chunks, whichever comes first. Together they bound the memory of a restore.
const WINDOW_CHUNKS_MAX: usize = 65_536;

/// Threads that read segments and write files.
const THREADS_MAX: usize = 8;

pub(super) fn restore_files(
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
    };
    let mut entries = reader.snapshot_reader(snapshot).entries();
    while let Some(window) = run.next_window(&mut entries, &mut selection)? {
        run.restore_window(window)?;
    }
    run.finish_restore(snapshot)
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

/// A file to be written.
struct FileRestore {
    entry: Entry,
    chunks: Vec<(ChunkId, ChunkLocation)>,
    /// Chunks still to be written.
    remaining_chunks: AtomicU32,
}

/// A bounded run of entries.
#[derive(Default)]
struct EntryWindow {
    files: Vec<(Entry, Vec<ChunkId>)>,
    links: Vec<Entry>,
    chunks: usize,
    entries: usize,
}

struct DirectoryRestore<'a> {
    repository: &'a Repository,
    reader: &'a ContentReader,
    target: &'a RestoreDirectory,
    existing: OverwriteMode,
    progress: &'a Progress,
    directories: Vec<Entry>,
    counts: EntryCounts,
    kept: u64,
    warnings: Vec<Warning>,
    /// In a partial restore: the first selected name of a file whose first name is not selected.
    link_sources: BTreeMap<Vec<u8>, LinkSource>,
    restores_everything: bool,
}

/// A file that other names may link to, though it is not itself restored.
enum LinkSource {
    /// Its entry and content; none of its names is restored so far.
    NotRestored(Box<Entry>, Vec<ChunkId>),
    /// Restored under this path.
    Restored(RawText),
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

    /// Removes what may exist at an entry's path, unless the target had to be empty.
    fn remove_existing(&self, entry: &Entry) -> rustix::io::Result<()> {
        match self.existing {
            OverwriteMode::Refuse => Ok(()),
            OverwriteMode::Overwrite | OverwriteMode::Resume => {
                self.target.remove_existing(entry.path.as_bytes())
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
            if total != entry.content_bytes() {
                return Err(Error::Repository(reprise_repository::Error::Damaged {
                    object: name,
                    reason: format!(
                        "its chunks have {total} bytes instead of {}",
                        entry.content_bytes()
                    ),
                }));
            }
            let left = AtomicU32::new(u32::try_from(chunks.len()).unwrap_or(u32::MAX));
            located.push(FileRestore {
                entry,
                chunks,
                remaining_chunks: left,
            });
        }
        Ok(located)
    }

    /// Leaves out files that the target already has with the right content.
    fn keep_matching_files(&mut self, files: Vec<FileRestore>) -> Result<Vec<FileRestore>> {
        if self.existing == OverwriteMode::Refuse {
            return Ok(files);
        }
        let verdicts: Vec<Mutex<bool>> = files.iter().map(|_| Mutex::new(false)).collect();
        run_in_parallel(files.len(), |n, buffer| {
            self.progress.check_cancelled()?;
            let right = self.is_already_restored(&files[n], buffer);
            *verdicts[n].lock().unwrap_or_else(PoisonError::into_inner) = right;
            Ok(())
        })?;
        let mut wanted = Vec::new();
        for (job, right) in files.into_iter().zip(verdicts) {
            if right.into_inner().unwrap_or_else(PoisonError::into_inner) {
                self.kept += 1;
                self.keep_file(&job.entry);
            } else {
                wanted.push(job);
            }
        }
        Ok(wanted)
    }

    /// Whether the target has this very file under this name and no other.
    fn is_already_restored(&self, job: &FileRestore, buffer: &mut Vec<u8>) -> bool {
        let file = self
            .target
            .confined()
            .open_for_reading(job.entry.path.as_bytes(), rustix::fs::OFlags::empty());
        let Ok(file) = file else { return false };
        // A file with other names is created again, so that no name outside the snapshot shares its content.
        let regular = rustix::fs::fstat(&file)
            .is_ok_and(|stat| stat.st_nlink == 1 && stat.st_mode & 0o170_000 == 0o100_000);
        let chunks: Vec<_> = job
            .chunks
            .iter()
            .map(|(id, location)| (*id, location.length))
            .collect();
        regular
            && has_expected_content(
                &file,
                &job.entry,
                &chunks,
                self.repository.secrets(),
                buffer,
            )
            .unwrap_or(false)
    }

    fn keep_file(&mut self, entry: &Entry) {
        self.count_entry(entry);
        Progress::add(&self.progress.bytes, entry.content_bytes());
        let path = entry.path.as_bytes();
        match self
            .target
            .confined()
            .open_for_reading(path, rustix::fs::OFlags::empty())
        {
            Ok(file) => {
                if let Err(error) = remove_extra_attributes(&file, entry) {
                    self.warn_failure(&entry.path, "cleared of extra extended attributes", error);
                }
                let lost = apply_to_file(&file, entry);
                self.warn_attributes(&entry.path, lost);
            }
            Err(error) => self.warn_failure(&entry.path, "opened", error),
        }
    }

    /// Creates the files that need more than one write, and the empty ones.
    fn create_files(&mut self, files: Vec<FileRestore>) -> Vec<FileRestore> {
        let mut jobs = Vec::with_capacity(files.len());
        for job in files {
            let path = job.entry.path.as_bytes();
            if let Err(error) = self.remove_existing(&job.entry) {
                self.warn_failure(&job.entry.path, "replaced", error);
                continue;
            }
            if is_single_write(&job) {
                self.count_entry(&job.entry);
                jobs.push(job);
                continue;
            }
            let made = self.target.create_file(path).and_then(|file| {
                rustix::fs::ftruncate(&file, job.entry.size)?;
                Ok(file)
            });
            match made {
                Ok(file) => {
                    self.count_entry(&job.entry);
                    if job.chunks.is_empty() {
                        let lost = apply_to_file(&file, &job.entry);
                        self.warn_attributes(&job.entry.path, lost);
                    } else {
                        jobs.push(job);
                    }
                }
                Err(error) => self.warn_failure(&job.entry.path, "created", error),
            }
        }
        jobs
    }

    fn count_entry(&mut self, entry: &Entry) {
        self.counts.add_entry(entry);
        Progress::add(&self.progress.items, 1);
    }

    fn warn_failure(&mut self, path: &RawText, what: &str, error: Errno) {
        let message = format!("could not be {what}: {}", std::io::Error::from(error));
        self.warnings.push(Warning {
            path: path.clone(),
            message,
        });
    }

    fn warn_attributes(&mut self, path: &RawText, lost: FailedAttributes) {
        if let Some(warning) = attribute_warning(path, &lost) {
            self.warnings.push(warning);
        }
    }

    /// Sets the attributes of directories, deepest first, and checks the counts.
    fn finish_restore(mut self, snapshot: &Snapshot) -> Result<RestoreReport> {
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
        if self.restores_everything
            && self.warnings.is_empty()
            && self.counts != snapshot.root.counts
        {
            return Err(Error::Repository(reprise_repository::Error::Damaged {
                object: format!("snapshot {}", snapshot.id.short()),
                reason: format!(
                    "it contains {:?} instead of {:?}",
                    self.counts, snapshot.root.counts
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

fn attribute_warning(path: &RawText, lost: &FailedAttributes) -> Option<Warning> {
    (!lost.is_empty()).then(|| Warning {
        path: path.clone(),
        message: format!("could not restore its {}", lost.join(", ")),
    })
}

/// A file of one chunk without holes is created, written and finished by one thread.
fn is_single_write(job: &FileRestore) -> bool {
    job.chunks.len() == 1 && job.entry.extents.is_none()
}

/// One chunk of one file.
struct ChunkWrite {
    job: usize,
    chunk: usize,
    content_offset: u64,
}

/// Reads every needed segment once and writes its chunks to all files that need them.
fn write_contents(run: &mut DirectoryRestore<'_>, jobs: &[FileRestore]) -> Result<()> {
    let mut segments: BTreeMap<SegmentKey, Vec<ChunkWrite>> = BTreeMap::new();
    for (n, job) in jobs.iter().enumerate() {
        let mut content_offset = 0;
        for (chunk, (_, location)) in job.chunks.iter().enumerate() {
            let want = ChunkWrite {
                job: n,
                chunk,
                content_offset,
            };
            segments
                .entry(location.segment_key())
                .or_default()
                .push(want);
            content_offset += u64::from(location.length);
        }
    }
    let segments: Vec<Vec<ChunkWrite>> = segments.into_values().collect();
    let warnings = Mutex::new(Vec::new());
    let shared: &DirectoryRestore<'_> = run;
    let threads = run.reader.parallel_reads().max(core_count());
    run_on_threads(threads, segments.len(), |n, _| {
        shared.progress.check_cancelled()?;
        write_segment(shared, jobs, &segments[n], &warnings)
    })?;
    run.warnings.extend(
        warnings
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner),
    );
    Ok(())
}

fn write_segment(
    run: &DirectoryRestore<'_>,
    jobs: &[FileRestore],
    wants: &[ChunkWrite],
    warnings: &Mutex<Vec<Warning>>,
) -> Result<()> {
    let Some(first) = wants.first() else {
        return Ok(());
    };
    let (_, location) = &jobs[first.job].chunks[first.chunk];
    let segment = run.reader.read_segment(location);
    for want in wants {
        let job = &jobs[want.job];
        let (id, location) = &job.chunks[want.chunk];
        let spare;
        let found = match &segment {
            Ok(segment) => run
                .reader
                .extract_chunk(segment, location, id, RecipientClass::Data),
            Err(_) => Err(reprise_repository::Error::Interrupted),
        };
        let bytes = match found {
            Ok(bytes) => bytes,
            // Another pack may hold the chunk too.
            Err(_) => {
                let name = format!("`{}`", job.entry.path.display());
                spare = run.reader.read_chunk(id, RecipientClass::Data, &name)?;
                &spare
            }
        };
        write_chunk(run, job, want.content_offset, bytes, warnings)?;
        Progress::add(&run.progress.bytes, bytes.len() as u64);
    }
    Ok(())
}

fn write_chunk(
    run: &DirectoryRestore<'_>,
    job: &FileRestore,
    content_offset: u64,
    bytes: &[u8],
    warnings: &Mutex<Vec<Warning>>,
) -> Result<()> {
    let path = job.entry.path.as_bytes();
    let fail = |action| {
        let path = job.entry.path.display();
        move |source| Error::Target {
            action,
            path,
            source,
        }
    };
    let file = if is_single_write(job) {
        run.target
            .create_file(path)
            .map_err(|e| fail("create")(e.into()))?
    } else {
        run.target
            .write_file(path)
            .map_err(|e| fail("open")(e.into()))?
    };
    for piece in locate_chunk_parts(
        &job.entry,
        content_offset,
        u32::try_from(bytes.len()).unwrap_or(u32::MAX),
    ) {
        let start = piece.chunk_offset as usize;
        let part = &bytes[start..start + piece.length as usize];
        file.write_all_at(part, piece.file_offset)
            .map_err(fail("write"))?;
    }
    // The last writer finishes the file: later writes would change its time.
    if job.remaining_chunks.fetch_sub(1, Ordering::AcqRel) == 1 {
        finish_file(&file, &job.entry, warnings);
    }
    Ok(())
}

fn finish_file(file: &File, entry: &Entry, warnings: &Mutex<Vec<Warning>>) {
    let lost = apply_to_file(file, entry);
    if let Some(warning) = attribute_warning(&entry.path, &lost) {
        warnings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(warning);
    }
}

/// Runs `body` for 0 to `count` on several threads; the first error stops all.
pub(super) fn run_in_parallel(
    count: usize,
    body: impl Fn(usize, &mut Vec<u8>) -> Result<()> + Sync,
) -> Result<()> {
    run_on_threads(core_count(), count, body)
}

fn core_count() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

/// As [`run_in_parallel`], on more threads than there are cores where they mostly wait.
fn run_on_threads(
    threads: usize,
    count: usize,
    body: impl Fn(usize, &mut Vec<u8>) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(THREADS_MAX).min(count) {
            scope.spawn(|| {
                let mut buffer = Vec::new();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    if let Err(error) = body(n, &mut buffer) {
                        failure
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .get_or_insert(error);
                        next.store(count, Ordering::Relaxed);
                        return;
                    }
                }
            });
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
