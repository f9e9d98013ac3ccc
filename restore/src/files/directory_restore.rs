//! A restore into a directory that is in progress.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU32;

use reprise_repository::{
    ChunkId, ChunkLocation, ContentReader, Entry, EntryCounts, Progress, RawText, Repository,
    Warning,
};
use rustix::io::Errno;

use crate::files::attributes::FailedAttributes;
use crate::files::options::OverwriteMode;
use crate::files::restore_directory::RestoreDirectory;

/// A file to be written.
pub(super) struct FileRestore {
    pub(super) entry: Entry,
    pub(super) chunks: Vec<(ChunkId, ChunkLocation)>,
    /// Chunks still to be written.
    pub(super) remaining_chunks: AtomicU32,
}

/// A bounded run of entries.
#[derive(Default)]
pub(super) struct EntryWindow {
    pub(super) files: Vec<(Entry, Vec<ChunkId>)>,
    pub(super) links: Vec<Entry>,
    pub(super) chunks: usize,
    pub(super) entries: usize,
}

/// A restore in progress.
pub(super) struct DirectoryRestore<'a> {
    pub(super) repository: &'a Repository,
    pub(super) reader: &'a ContentReader,
    pub(super) target: &'a RestoreDirectory,
    pub(super) existing: OverwriteMode,
    pub(super) progress: &'a Progress,
    pub(super) directories: Vec<Entry>,
    pub(super) counts: EntryCounts,
    pub(super) kept: u64,
    pub(super) warnings: Vec<Warning>,
    /// In a partial restore: the first selected name of a file whose first name is not selected.
    pub(super) link_sources: BTreeMap<Vec<u8>, LinkSource>,
    pub(super) restores_everything: bool,
    pub(super) flagged: FlaggedEntries,
}

/// Entries with flags that keep them from being changed. They are not set: nobody could replace or remove what was
/// restored, not even the next restore.
#[derive(Default)]
pub(super) struct FlaggedEntries {
    count: u64,
    first: Option<String>,
}

impl FlaggedEntries {
    fn add_entry(&mut self, entry: &Entry) {
        if !entry.flags.is_empty() {
            self.count += 1;
            self.first.get_or_insert_with(|| {
                format!("`{}` ({})", entry.path.display(), entry.flags.join(", "))
            });
        }
    }

    pub(super) fn note(&self) -> Option<String> {
        let first = self.first.as_ref()?;
        Some(match self.count {
            1 => format!("{first} has flags that are not set here: see `chattr`"),
            count => format!(
                "{count} entries have flags that are not set here, such as {first}: `ls` lists them, see `chattr`"
            ),
        })
    }
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

    pub(super) fn warn_failure(&mut self, path: &RawText, what: &str, error: Errno) {
        let message = format!("could not be {what}: {}", std::io::Error::from(error));
        self.warnings.push(Warning {
            path: path.clone(),
            message,
        });
    }

    pub(super) fn warn_attributes(&mut self, path: &RawText, lost: FailedAttributes) {
        if let Some(warning) = attribute_warning(path, &lost) {
            self.warnings.push(warning);
        }
    }

    /// Removes what may exist at an entry's path, unless the target had to be empty.
    pub(super) fn remove_existing(&self, entry: &Entry) -> rustix::io::Result<()> {
        match self.existing {
            OverwriteMode::Refuse => Ok(()),
            OverwriteMode::Overwrite | OverwriteMode::Resume => {
                self.target.remove_existing(entry.path.as_bytes())
            }
        }
    }
}

pub(super) fn attribute_warning(path: &RawText, lost: &FailedAttributes) -> Option<Warning> {
    (!lost.is_empty()).then(|| Warning {
        path: path.clone(),
        message: format!("could not restore its {}", lost.join(", ")),
    })
}

/// A file of one chunk without holes is created, written and finished by one thread.
pub(super) fn is_single_write(job: &FileRestore) -> bool {
    job.chunks.len() == 1 && job.entry.extents.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use reprise_repository::EntryKind;

    #[test]
    fn flags_that_are_not_set_are_named() {
        let mut flagged = FlaggedEntries::default();
        let mut entry = Entry::new(RawText::from("etc/hosts"), EntryKind::File);
        flagged.add_entry(&entry);
        assert_eq!(flagged.note(), None);
        entry.flags = vec!["immutable".to_owned()];
        flagged.add_entry(&entry);
        let note = flagged.note().unwrap();
        assert!(note.contains("`etc/hosts` (immutable)"), "{note}");
        flagged.add_entry(&entry);
        let note = flagged.note().unwrap();
        assert!(note.starts_with("2 entries"), "{note}");
    }
}
