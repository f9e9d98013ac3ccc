//! Keeps files that the target already has with the right content.

use std::sync::{Mutex, PoisonError};

use reprise_repository::{Entry, Progress};

use crate::error::Result;
use crate::files::attributes::{apply_to_file, remove_extra_attributes};
use crate::files::content::has_expected_content;
use crate::files::directory_restore::{DirectoryRestore, FileRestore};
use crate::files::options::OverwriteMode;
use crate::files::parallel::run_in_parallel;

impl DirectoryRestore<'_> {
    /// Leaves out files that the target already has with the right content.
    pub(super) fn keep_matching_files(
        &mut self,
        files: Vec<FileRestore>,
    ) -> Result<Vec<FileRestore>> {
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
}
