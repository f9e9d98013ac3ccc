//! Creates files and writes their contents: every needed segment is read once, and each of its chunks is written to all
//! files that need it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use reprise_repository::backend::BackendError;
use reprise_repository::{ErrorClass, Progress, RecipientClass, SegmentKey};

use crate::error::Result;
use crate::files::content::locate_chunk_parts;
use crate::files::directory::failure::EntryResult;
use crate::files::directory::placement::NewEntry;
use crate::files::directory_restore::{DirectoryRestore, FileRestore};
use crate::files::parallel::{core_count, run_on_threads};

impl DirectoryRestore<'_> {
    /// Creates the files that need more than one write, and the empty ones.
    pub(super) fn create_files(&mut self, files: Vec<FileRestore>) -> Result<Vec<FileRestore>> {
        let mut jobs = Vec::with_capacity(files.len());
        for job in files {
            if job.is_single_write() {
                jobs.push(job);
                continue;
            }
            let path = job.entry.path.as_bytes();
            let made = if job.chunks.is_empty() {
                self.make_empty_file(&job)
            } else {
                self.target
                    .begin_file(path, job.exists, job.entry.size)
                    .map(|unfinished| {
                        *job.unfinished
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner) = Some(unfinished);
                    })
            };
            match made {
                Ok(()) => jobs.push(job),
                Err(failure) => self.log_missing(&job.entry.path, "created", &failure)?,
            }
        }
        Ok(jobs)
    }

    fn make_empty_file(&self, job: &FileRestore) -> EntryResult<()> {
        let (new, file) = self
            .target
            .create_file(job.entry.path.as_bytes(), job.exists)?;
        let complete = || {
            // A file without chunks may be one large hole.
            if job.entry.size > 0 {
                rustix::fs::ftruncate(&file, job.entry.size)?;
            }
            self.complete_file(job, &new, &file)
        };
        complete().inspect_err(|_| new.discard(None))
    }

    /// Sets the attributes of a written file and gives it its name.
    fn complete_file(&self, job: &FileRestore, new: &NewEntry, file: &File) -> EntryResult<()> {
        let failed = self.attributes().set_on_file(file, &job.entry);
        new.place()?;
        self.log_attributes(&job.entry.path, failed);
        if let Some(cause) = &job.copy_cause {
            self.log_copy(&job.entry.path, cause);
        }
        job.is_complete.store(true, Ordering::Release);
        Ok(())
    }

    fn fail_damaged(&self, job: &FileRestore, error: &reprise_repository::Error) {
        if job.has_failed.swap(true, Ordering::AcqRel) {
            return;
        }
        let path = &job.entry.path;
        if let reprise_repository::Error::Missing { object, .. } = error {
            let cause = format!("{object} is missing in the repository");
            self.problems.add_damaged(path, cause);
        } else if error.class() == ErrorClass::Damaged {
            self.problems.add_damaged(path, error.to_string());
        } else if let reprise_repository::Error::NoMatchingIdentity { readers, .. } = error {
            self.problems.add_unreadable(path, readers);
        } else {
            let cause = format!(
                "its content cannot be read: {}",
                reprise_repository::format_error_chain(error)
            );
            self.problems.add_missing(path, cause);
        }
    }
}

/// One chunk of one file.
struct ChunkWrite {
    job: usize,
    chunk: usize,
    content_offset: u64,
}

/// Reads every needed segment once and writes its chunks to all files that need them.
pub(super) fn write_contents(run: &DirectoryRestore<'_>, jobs: &[FileRestore]) -> Result<()> {
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
    let threads = run.reader.parallel_reads().max(core_count());
    run_on_threads(threads, segments.len(), |n, _| {
        run.progress.check_cancelled()?;
        write_segment(run, jobs, &segments[n])
    })
}

fn write_segment(
    run: &DirectoryRestore<'_>,
    jobs: &[FileRestore],
    wants: &[ChunkWrite],
) -> Result<()> {
    let Some(first) = wants.first() else {
        return Ok(());
    };
    let (_, location) = &jobs[first.job].chunks[first.chunk];
    let segment = run.reader.read_segment(location);
    for want in wants {
        let job = &jobs[want.job];
        if job.has_failed() {
            continue;
        }
        let (id, location) = &job.chunks[want.chunk];
        let found = segment.as_ref().ok().and_then(|segment| {
            let chunk = run
                .reader
                .extract_chunk(segment, location, id, RecipientClass::Data);
            chunk.ok()
        });
        let spare;
        let bytes = match found {
            Some(bytes) => bytes,
            // Another pack may hold the chunk too.
            None => match run
                .reader
                .read_chunk(id, RecipientClass::Data, &"the snapshot")
            {
                Ok(bytes) => {
                    spare = bytes;
                    &spare
                }
                Err(error) if concerns_only_this(&error) => {
                    run.fail_damaged(job, &error);
                    continue;
                }
                Err(error) => return Err(error.into()),
            },
        };
        if let Err(failure) = write_chunk(run, job, want.content_offset, bytes)
            && !job.has_failed.swap(true, Ordering::AcqRel)
        {
            run.log_missing(&job.entry.path, "written", &failure)?;
        }
        Progress::add(&run.progress.bytes, bytes.len() as u64);
    }
    Ok(())
}

/// Whether other content can still be read: it is about this object, not about reaching the repository.
fn concerns_only_this(error: &reprise_repository::Error) -> bool {
    if let reprise_repository::Error::Backend { source, .. } = error {
        return matches!(source, BackendError::Io { .. });
    }
    error.is_missing_identity() || error.class() == ErrorClass::Damaged
}

fn write_chunk(
    run: &DirectoryRestore<'_>,
    job: &FileRestore,
    content_offset: u64,
    bytes: &[u8],
) -> EntryResult<()> {
    let path = job.entry.path.as_bytes();
    let (new, file) = match job.unfinished() {
        Some(unfinished) => run.target.reopen_file(path, &unfinished)?,
        None => run.target.create_file(path, job.exists)?,
    };
    let write = || {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        for piece in locate_chunk_parts(&job.entry, content_offset, length) {
            let start = piece.chunk_offset as usize;
            let part = &bytes[start..start + piece.length as usize];
            file.write_all_at(part, piece.file_offset)?;
        }
        // The last writer finishes the file: later writes would change its time.
        if job.remaining_chunks.fetch_sub(1, Ordering::AcqRel) == 1 {
            run.complete_file(job, &new, &file)?;
        }
        Ok(())
    };
    // A file of several writes is removed when nobody writes to it any more.
    write().inspect_err(|_| {
        if job.is_single_write() {
            new.discard(None);
        }
    })
}
