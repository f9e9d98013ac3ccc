//! Carrying a restore out: entries in windows, contents in parallel by segment, attributes last.
//!
//! A window is a bounded stretch of entries. Its folders, links and empty files are made at once; then its
//! segments are read in the order in which they lie in their packs, each once, and every chunk in them goes
//! to all places that want it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use reprise_repository::{
    ChunkId, ChunkLocation, Class, ContentReader, Counts, Entry, EntryKind, EntryReader, Outcome,
    Progress, RawText, Repository, SegmentKey, Snapshot, Warning,
};
use rustix::io::Errno;

use super::attributes::{
    Lost, apply_to_file, apply_to_folder, apply_to_path, drop_foreign_attributes,
};
use super::content::{is_right, pieces};
use super::select::{Choice, Selection};
use super::target::Target;
use super::{Existing, RestoreOptions, RestoreReport};
use crate::error::{Error, Result};

/// A window ends at this many entries, or …
const WINDOW_ENTRIES_MAX: usize = 16_384;
/// … at this many chunks, whichever comes first. Together they bound the memory of a restore.
const WINDOW_CHUNKS_MAX: usize = 65_536;

/// Threads that read segments and write files.
const THREADS_MAX: usize = 8;

pub(super) fn restore(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    progress: &Progress,
) -> Result<RestoreReport> {
    repository.require_data_identity()?;
    let reader = repository.content_reader()?;
    require_paths(&reader, snapshot, options, progress)?;
    let mut selection = Selection::new(&options.paths);
    let target = Target::open(&options.target, options.existing, snapshot)?;
    if selection.is_everything() {
        progress
            .items_total
            .store(snapshot.root.counts.entries, Ordering::Relaxed);
        progress
            .bytes_total
            .store(snapshot.root.counts.bytes, Ordering::Relaxed);
        if options.existing == Existing::Refuse {
            target.require_space(snapshot.root.counts.bytes)?;
        }
    }
    let mut run = Run {
        repository,
        reader: &reader,
        target: &target,
        existing: options.existing,
        progress,
        folders: Vec::new(),
        counts: Counts::default(),
        kept: 0,
        warnings: Vec::new(),
        links: BTreeMap::new(),
        selected_all: selection.is_everything(),
    };
    let mut entries = reader.snapshot(snapshot).entries();
    while let Some(window) = run.next_window(&mut entries, &mut selection)? {
        run.execute(window)?;
    }
    run.finish(snapshot)
}

/// A mistyped path must be known before the target is touched.
fn require_paths(
    reader: &ContentReader,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    progress: &Progress,
) -> Result<()> {
    let mut selection = Selection::new(&options.paths);
    if selection.is_everything() {
        return Ok(());
    }
    let mut entries = reader.snapshot(snapshot).entries();
    while let Some((entry, _)) = entries.next_entry()? {
        selection.choose(entry.path.as_bytes());
        if selection.all_found() {
            return Ok(());
        }
        progress.check()?;
    }
    selection.require_all_found(snapshot)
}

/// A file to be written.
struct FileJob {
    entry: Entry,
    chunks: Vec<(ChunkId, ChunkLocation)>,
    /// Chunks still to be written.
    left: AtomicU32,
}

/// A bounded stretch of entries.
#[derive(Default)]
struct Window {
    files: Vec<(Entry, Vec<ChunkId>)>,
    links: Vec<Entry>,
    chunks: usize,
    entries: usize,
}

struct Run<'a> {
    repository: &'a Repository,
    reader: &'a ContentReader,
    target: &'a Target,
    existing: Existing,
    progress: &'a Progress,
    folders: Vec<Entry>,
    counts: Counts,
    kept: u64,
    warnings: Vec<Warning>,
    /// In a partial restore: the first wanted name of a file whose first name is not wanted.
    links: BTreeMap<Vec<u8>, LinkSource>,
    selected_all: bool,
}

/// A file that other names may point to, though it is not itself restored.
enum LinkSource {
    /// Its entry and content; none of its names is restored so far.
    Unwanted(Box<Entry>, Vec<ChunkId>),
    /// Restored under this path.
    Restored(RawText),
}

impl Run<'_> {
    fn next_window(
        &mut self,
        entries: &mut EntryReader<'_>,
        selection: &mut Selection,
    ) -> Result<Option<Window>> {
        let mut window = Window::default();
        while window.entries < WINDOW_ENTRIES_MAX && window.chunks < WINDOW_CHUNKS_MAX {
            let Some((entry, chunks)) = entries.next_entry()? else {
                break;
            };
            match selection.choose(entry.path.as_bytes()) {
                Choice::No => self.remember_unwanted(entry, chunks),
                Choice::Ancestor if entry.kind == EntryKind::Directory => self.folder(entry),
                Choice::Ancestor => {}
                Choice::Yes => {
                    window.entries += 1;
                    window.chunks += chunks.len();
                    self.sort(entry, chunks, &mut window);
                }
            }
        }
        let done = window.entries == 0;
        Ok((!done).then_some(window))
    }

    /// A later name of a file may be wanted when its first one is not. Only then is this memory needed.
    fn remember_unwanted(&mut self, entry: Entry, chunks: Vec<ChunkId>) {
        if !self.selected_all
            && entry.kind != EntryKind::Directory
            && entry.kind != EntryKind::Hardlink
        {
            let path = entry.path.as_bytes().to_vec();
            self.links
                .insert(path, LinkSource::Unwanted(Box::new(entry), chunks));
        }
    }

    /// Makes folders and special files at once and puts the rest into the window.
    fn sort(&mut self, entry: Entry, chunks: Vec<ChunkId>, window: &mut Window) {
        match entry.kind {
            EntryKind::Directory => self.folder(entry),
            EntryKind::File => window.files.push((entry, chunks)),
            EntryKind::Hardlink => self.hardlink(entry, window),
            _ => self.special(&entry),
        }
    }

    fn folder(&mut self, entry: Entry) {
        match self.target.make_folder(entry.path.as_bytes()) {
            Ok(()) => {
                self.count(&entry);
                self.folders.push(entry);
            }
            Err(error) => self.failed(&entry.path, "created", error),
        }
    }

    fn special(&mut self, entry: &Entry) {
        let made = self
            .clear(entry)
            .and_then(|()| self.target.make_special(entry));
        match made {
            Ok(()) => {
                self.count(entry);
                let lost = apply_to_path(self.target.beneath(), entry);
                self.lost(&entry.path, lost);
            }
            Err(error) => self.failed(&entry.path, "created", error),
        }
    }

    /// A link to a file that is not wanted becomes the file itself.
    fn hardlink(&mut self, mut entry: Entry, window: &mut Window) {
        let first = entry.target.clone().unwrap_or_default();
        match self.links.remove(first.as_bytes()) {
            None => window.links.push(entry),
            Some(LinkSource::Restored(path)) => {
                entry.target = Some(path.clone());
                self.links
                    .insert(first.as_bytes().to_vec(), LinkSource::Restored(path));
                window.links.push(entry);
            }
            Some(LinkSource::Unwanted(source, chunks)) => {
                let path = entry.path.clone();
                self.links.insert(
                    first.as_bytes().to_vec(),
                    LinkSource::Restored(path.clone()),
                );
                let entry = Entry { path, ..*source };
                match entry.kind {
                    EntryKind::File => window.files.push((entry, chunks)),
                    _ => self.special(&entry),
                }
            }
        }
    }

    /// Makes room for an entry where something may be.
    fn clear(&self, entry: &Entry) -> rustix::io::Result<()> {
        match self.existing {
            Existing::Refuse => Ok(()),
            Existing::Overwrite | Existing::Resume => self.target.clear(entry.path.as_bytes()),
        }
    }

    fn execute(&mut self, window: Window) -> Result<()> {
        self.progress.check()?;
        let files = self.locate(window.files)?;
        let files = self.keep_what_is_right(files)?;
        let jobs = self.create(files);
        write_contents(self, &jobs)?;
        for link in window.links {
            let made = self
                .clear(&link)
                .and_then(|()| self.target.make_special(&link));
            match made {
                Ok(()) => self.count(&link),
                Err(error) => self.failed(&link.path, "linked", error),
            }
        }
        Ok(())
    }

    /// Finds every chunk; a file whose chunks do not add up to its size is refused.
    fn locate(&self, files: Vec<(Entry, Vec<ChunkId>)>) -> Result<Vec<FileJob>> {
        let mut located = Vec::with_capacity(files.len());
        for (entry, ids) in files {
            let name = format!("`{}`", entry.path.display());
            let mut chunks = Vec::with_capacity(ids.len());
            let mut total = 0;
            for id in ids {
                let location = self.reader.locate(&id, &name)?;
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
            located.push(FileJob {
                entry,
                chunks,
                left,
            });
        }
        Ok(located)
    }

    /// Leaves out files that the target has already with the right content.
    fn keep_what_is_right(&mut self, files: Vec<FileJob>) -> Result<Vec<FileJob>> {
        if self.existing == Existing::Refuse {
            return Ok(files);
        }
        let verdicts: Vec<Mutex<bool>> = files.iter().map(|_| Mutex::new(false)).collect();
        in_parallel(files.len(), |n, buffer| {
            self.progress.check()?;
            let right = self.is_kept(&files[n], buffer);
            *verdicts[n].lock().unwrap_or_else(PoisonError::into_inner) = right;
            Ok(())
        })?;
        let mut wanted = Vec::new();
        for (job, right) in files.into_iter().zip(verdicts) {
            if right.into_inner().unwrap_or_else(PoisonError::into_inner) {
                self.kept += 1;
                self.keep(&job.entry);
            } else {
                wanted.push(job);
            }
        }
        Ok(wanted)
    }

    /// Whether the target has this very file under this name and no other.
    fn is_kept(&self, job: &FileJob, buffer: &mut Vec<u8>) -> bool {
        let file = self
            .target
            .beneath()
            .read(job.entry.path.as_bytes(), rustix::fs::OFlags::empty());
        let Ok(file) = file else { return false };
        // A file with other names is made anew, so that no name outside the snapshot shares its content.
        let regular = rustix::fs::fstat(&file)
            .is_ok_and(|stat| stat.st_nlink == 1 && stat.st_mode & 0o170_000 == 0o100_000);
        let chunks: Vec<_> = job
            .chunks
            .iter()
            .map(|(id, location)| (*id, location.length))
            .collect();
        regular
            && is_right(
                &file,
                &job.entry,
                &chunks,
                self.repository.secrets(),
                buffer,
            )
            .unwrap_or(false)
    }

    fn keep(&mut self, entry: &Entry) {
        self.count(entry);
        Progress::add(&self.progress.bytes, entry.content_bytes());
        let path = entry.path.as_bytes();
        match self
            .target
            .beneath()
            .read(path, rustix::fs::OFlags::empty())
        {
            Ok(file) => {
                if let Err(error) = drop_foreign_attributes(&file, entry) {
                    self.failed(&entry.path, "cleared of extra extended attributes", error);
                }
                let lost = apply_to_file(&file, entry);
                self.lost(&entry.path, lost);
            }
            Err(error) => self.failed(&entry.path, "opened", error),
        }
    }

    /// Makes the files that need more than one write, and the empty ones.
    fn create(&mut self, files: Vec<FileJob>) -> Vec<FileJob> {
        let mut jobs = Vec::with_capacity(files.len());
        for job in files {
            let path = job.entry.path.as_bytes();
            if let Err(error) = self.clear(&job.entry) {
                self.failed(&job.entry.path, "replaced", error);
                continue;
            }
            if written_in_one_go(&job) {
                self.count(&job.entry);
                jobs.push(job);
                continue;
            }
            let made = self.target.create_file(path).and_then(|file| {
                rustix::fs::ftruncate(&file, job.entry.size)?;
                Ok(file)
            });
            match made {
                Ok(file) => {
                    self.count(&job.entry);
                    if job.chunks.is_empty() {
                        let lost = apply_to_file(&file, &job.entry);
                        self.lost(&job.entry.path, lost);
                    } else {
                        jobs.push(job);
                    }
                }
                Err(error) => self.failed(&job.entry.path, "created", error),
            }
        }
        jobs
    }

    fn count(&mut self, entry: &Entry) {
        self.counts.add(entry);
        Progress::add(&self.progress.items, 1);
    }

    fn failed(&mut self, path: &RawText, what: &str, error: Errno) {
        let message = format!("could not be {what}: {}", std::io::Error::from(error));
        self.warnings.push(Warning {
            path: path.clone(),
            message,
        });
    }

    fn lost(&mut self, path: &RawText, lost: Lost) {
        if let Some(warning) = lost_warning(path, &lost) {
            self.warnings.push(warning);
        }
    }

    /// Gives folders their attributes, deepest first, and checks the counts.
    fn finish(mut self, snapshot: &Snapshot) -> Result<RestoreReport> {
        for entry in std::mem::take(&mut self.folders).into_iter().rev() {
            if self.existing != Existing::Refuse {
                self.drop_foreign_folder_attributes(&entry);
            }
            if entry.path.as_bytes().is_empty() {
                // The mark lies in the root, so the root's times come after its removal.
                self.target.unmark()?;
            }
            let lost = apply_to_folder(self.target.beneath(), &entry);
            self.lost(&entry.path, lost);
        }
        if self.target.is_marked() {
            self.target.unmark()?;
        }
        if self.selected_all && self.warnings.is_empty() && self.counts != snapshot.root.counts {
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

    fn drop_foreign_folder_attributes(&mut self, entry: &Entry) {
        let folder = self
            .target
            .beneath()
            .read(entry.path.as_bytes(), rustix::fs::OFlags::DIRECTORY);
        if let Err(error) = folder.and_then(|folder| drop_foreign_attributes(&folder, entry)) {
            self.failed(&entry.path, "cleared of extra extended attributes", error);
        }
    }
}

fn lost_warning(path: &RawText, lost: &Lost) -> Option<Warning> {
    (!lost.is_empty()).then(|| Warning {
        path: path.clone(),
        message: format!("could not restore its {}", lost.join(", ")),
    })
}

/// A file of one chunk without holes is made, written and finished by one thread.
fn written_in_one_go(job: &FileJob) -> bool {
    job.chunks.len() == 1 && job.entry.extents.is_none()
}

/// One chunk of one file.
struct Want {
    job: usize,
    chunk: usize,
    content_offset: u64,
}

/// Reads every needed segment once and writes its chunks to all files that want them.
fn write_contents(run: &mut Run<'_>, jobs: &[FileJob]) -> Result<()> {
    let mut segments: BTreeMap<SegmentKey, Vec<Want>> = BTreeMap::new();
    for (n, job) in jobs.iter().enumerate() {
        let mut content_offset = 0;
        for (chunk, (_, location)) in job.chunks.iter().enumerate() {
            let want = Want {
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
    let segments: Vec<Vec<Want>> = segments.into_values().collect();
    let warnings = Mutex::new(Vec::new());
    let shared: &Run<'_> = run;
    let threads = run.reader.parallel_reads().max(cores());
    in_parallel_on(threads, segments.len(), |n, _| {
        shared.progress.check()?;
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
    run: &Run<'_>,
    jobs: &[FileJob],
    wants: &[Want],
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
            Ok(segment) => run.reader.chunk_of(segment, location, id, Class::Data),
            Err(_) => Err(reprise_repository::Error::Interrupted),
        };
        let bytes = match found {
            Ok(bytes) => bytes,
            // Another pack may hold the chunk too.
            Err(_) => {
                let name = format!("`{}`", job.entry.path.display());
                spare = run.reader.read_chunk(id, Class::Data, &name)?;
                &spare
            }
        };
        write_chunk(run, job, want.content_offset, bytes, warnings)?;
        Progress::add(&run.progress.bytes, bytes.len() as u64);
    }
    Ok(())
}

fn write_chunk(
    run: &Run<'_>,
    job: &FileJob,
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
    let file = if written_in_one_go(job) {
        run.target
            .create_file(path)
            .map_err(|e| fail("create")(e.into()))?
    } else {
        run.target
            .write_file(path)
            .map_err(|e| fail("open")(e.into()))?
    };
    for piece in pieces(
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
    if job.left.fetch_sub(1, Ordering::AcqRel) == 1 {
        finish_file(&file, &job.entry, warnings);
    }
    Ok(())
}

fn finish_file(file: &File, entry: &Entry, warnings: &Mutex<Vec<Warning>>) {
    let lost = apply_to_file(file, entry);
    if let Some(warning) = lost_warning(&entry.path, &lost) {
        warnings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(warning);
    }
}

/// Runs `body` for 0 to `count` on several threads; the first error stops all.
pub(super) fn in_parallel(
    count: usize,
    body: impl Fn(usize, &mut Vec<u8>) -> Result<()> + Sync,
) -> Result<()> {
    in_parallel_on(cores(), count, body)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

/// As [`run_in_parallel`], on more threads than there are cores where they mostly wait.
fn in_parallel_on(
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
