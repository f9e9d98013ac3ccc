//! Keeps files that the target already has with the right content.

use std::fs::File;
use std::sync::{Mutex, PoisonError};

use reprise_repository::{Entry, Progress};

use crate::error::Result;
use crate::files::content::has_expected_content;
use crate::files::directory_restore::{DirectoryRestore, FileRestore};
use crate::files::options::OverwriteMode;
use crate::files::parallel::run_in_parallel;
use crate::files::problems::Aspect;

impl DirectoryRestore<'_> {
    /// Leaves out files that the target already has with the right content.
    pub(super) fn keep_matching_files(
        &mut self,
        files: Vec<FileRestore>,
    ) -> Result<Vec<FileRestore>> {
        if self.existing == OverwriteMode::Refuse {
            return Ok(files);
        }
        let kept: Vec<Mutex<bool>> = files.iter().map(|_| Mutex::new(false)).collect();
        let run: &DirectoryRestore<'_> = self;
        run_in_parallel(files.len(), |n, buffer| {
            run.progress.check_cancelled()?;
            if files[n].exists {
                let right = run.keep_if_restored(&files[n], buffer);
                *kept[n].lock().unwrap_or_else(PoisonError::into_inner) = right;
            }
            Ok(())
        })?;
        let mut wanted = Vec::new();
        for (job, kept) in files.into_iter().zip(kept) {
            if kept.into_inner().unwrap_or_else(PoisonError::into_inner) {
                self.kept += 1;
                self.count_entry(&job.entry);
                Progress::add(&self.progress.bytes, job.entry.content_bytes());
            } else {
                wanted.push(job);
            }
        }
        Ok(wanted)
    }

    /// Whether the target has this very file under this name and no other. Then its attributes are set too, through the
    /// descriptor that was compared.
    fn keep_if_restored(&self, job: &FileRestore, buffer: &mut Vec<u8>) -> bool {
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
        let secrets = self.repository.secrets();
        let right = regular
            && has_expected_content(&file, &job.entry, &chunks, secrets, buffer).unwrap_or(false);
        if right {
            self.remove_extra_attributes(&file, &job.entry);
            let failed = self.attributes().set_on_file(&file, &job.entry);
            self.log_attributes(&job.entry.path, failed);
            if let Some(cause) = &job.copy_cause {
                self.log_copy(&job.entry.path, cause);
            }
        }
        right
    }

    pub(super) fn remove_extra_attributes(&self, file: &File, entry: &Entry) {
        if let Err(error) = self.attributes().remove_extra_attributes(file, entry) {
            let cause = format!(
                "its other extended attributes could not be removed: {}",
                std::io::Error::from(error)
            );
            self.problems
                .add_altered(&entry.path, [(Aspect::Xattrs, cause)]);
        }
    }
}
