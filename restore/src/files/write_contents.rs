//! Creates files and writes their contents: every needed segment is read once, and each of its chunks is written to all
//! files that need it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use reprise_repository::{Entry, Progress, RecipientClass, SegmentKey, Warning};

use crate::error::{Error, Result};
use crate::files::attributes::apply_to_file;
use crate::files::content::locate_chunk_parts;
use crate::files::directory_restore::{
    DirectoryRestore, FileRestore, attribute_warning, is_single_write,
};
use crate::files::parallel::{core_count, run_on_threads};

impl DirectoryRestore<'_> {
    /// Creates the files that need more than one write, and the empty ones.
    pub(super) fn create_files(&mut self, files: Vec<FileRestore>) -> Vec<FileRestore> {
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
}

/// One chunk of one file.
struct ChunkWrite {
    job: usize,
    chunk: usize,
    content_offset: u64,
}

/// Reads every needed segment once and writes its chunks to all files that need them.
pub(super) fn write_contents(run: &mut DirectoryRestore<'_>, jobs: &[FileRestore]) -> Result<()> {
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
