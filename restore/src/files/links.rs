//! Hard links, and copies where a link cannot be made.

use std::collections::BTreeMap;

use reprise_repository::{ChunkId, Entry, EntryKind, Snapshot};

use crate::error::Result;
use crate::files::directory::attribute_policy::LeftOut;
use crate::files::directory::failure::EntryFailure;
use crate::files::directory_restore::{
    DirectoryRestore, EntryWindow, LinkSource, PendingCopy, WindowFile, WindowLink,
};

/// Entries copied together.
const WINDOW_ENTRIES_MAX: usize = 4096;

impl DirectoryRestore<'_> {
    /// A later name of a file may be selected when its first one is not. Only then is this memory needed.
    pub(super) fn remember_link_source(&mut self, entry: Entry, chunks: Vec<ChunkId>) {
        if !self.restores_everything
            && entry.kind != EntryKind::Directory
            && entry.kind != EntryKind::Hardlink
        {
            let path = entry.path.as_bytes().to_vec();
            self.link_sources
                .insert(path, LinkSource::NotRestored(Box::new(entry), chunks));
        }
    }

    /// A link to a file that is not selected becomes the file itself.
    pub(super) fn restore_hardlink(
        &mut self,
        entry: Entry,
        window: &mut EntryWindow,
    ) -> Result<()> {
        let original = entry.target.clone().unwrap_or_default();
        let exists = self.names.contains(entry.path.as_bytes());
        let link = |entry, first, original| WindowLink {
            entry,
            first,
            original,
            exists,
        };
        let key = original.as_bytes().to_vec();
        match self.link_sources.remove(&key) {
            None => window.links.push(link(entry, original.clone(), original)),
            Some(LinkSource::Restored(path)) => {
                self.link_sources
                    .insert(key, LinkSource::Restored(path.clone()));
                window.links.push(link(entry, path, original));
            }
            Some(LinkSource::NotRestored(source, chunks)) => {
                let path = entry.path;
                self.link_sources
                    .insert(key, LinkSource::Restored(path.clone()));
                let entry = Entry { path, ..*source };
                match entry.kind {
                    EntryKind::File => window.files.push(WindowFile {
                        entry,
                        chunks,
                        exists,
                        copy_cause: None,
                    }),
                    _ => {
                        self.restore_special(&entry, exists)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Links names to their files. Where that fails, the content is restored once more later.
    pub(super) fn restore_links(&mut self, links: Vec<WindowLink>) -> Result<()> {
        for link in links {
            self.progress.check_cancelled()?;
            let path = link.entry.path.as_bytes();
            let made = self
                .target
                .make_hardlink(link.first.as_bytes(), path, link.exists);
            match made {
                Ok(()) => self.count_entry(&link.entry),
                Err(failure) => self.remember_copy(link, &failure)?,
            }
        }
        Ok(())
    }

    fn remember_copy(&mut self, link: WindowLink, failure: &EntryFailure) -> Result<()> {
        if let Some(error) = failure.fatal(&link.entry.path) {
            return Err(error);
        }
        let pending = PendingCopy {
            path: link.entry.path,
            exists: link.exists,
            cause: failure.describe("made"),
        };
        let original = link.original.as_bytes().to_vec();
        self.pending_copies
            .entry(original)
            .or_default()
            .push(pending);
        Ok(())
    }

    /// Restores the content of names that could not be linked, each as a file of its own.
    pub(super) fn restore_copies(&mut self, snapshot: &Snapshot) -> Result<()> {
        let mut pending = std::mem::take(&mut self.pending_copies);
        if pending.is_empty() {
            return Ok(());
        }
        let mut entries = self.reader.snapshot_reader(snapshot).entries();
        let mut window = EntryWindow::default();
        while let Some((entry, chunks)) = entries.next_entry()? {
            let Some(copies) = pending.remove(entry.path.as_bytes()) else {
                continue;
            };
            for copy in copies {
                self.restore_copy(&entry, &chunks, copy, &mut window)?;
            }
            if window.files.len() >= WINDOW_ENTRIES_MAX {
                self.restore_window(std::mem::take(&mut window))?;
            }
        }
        self.restore_window(window)?;
        self.log_lost_copies(pending);
        Ok(())
    }

    fn restore_copy(
        &mut self,
        original: &Entry,
        chunks: &[ChunkId],
        copy: PendingCopy,
        window: &mut EntryWindow,
    ) -> Result<()> {
        let entry = Entry {
            path: copy.path,
            ..original.clone()
        };
        if !self.policy.restores_kind(entry.kind) {
            LeftOut::count(&self.left_out.specials);
            return Ok(());
        }
        if entry.kind == EntryKind::File {
            window.files.push(WindowFile {
                entry,
                chunks: chunks.to_vec(),
                exists: copy.exists,
                copy_cause: Some(copy.cause),
            });
        } else if self.restore_special(&entry, copy.exists)? {
            self.log_copy(&entry.path, &copy.cause);
        }
        Ok(())
    }

    fn log_lost_copies(&self, lost: BTreeMap<Vec<u8>, Vec<PendingCopy>>) {
        for copy in lost.into_values().flatten() {
            self.problems.add_damaged(
                &copy.path,
                "it is a hard link to an entry that the snapshot does not have",
            );
        }
    }
}
