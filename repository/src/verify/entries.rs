//! Can every entry of a snapshot be restored? Entry lists are read with the reader that a restore uses.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, Result};
use crate::format::entry::{Entry, EntryKind};
use crate::format::entry_list::{PathDigest, path_digest};
use crate::format::snapshot::{EntryCounts, Snapshot, StreamRecord, snapshot_key};
use crate::id::ChunkId;
use crate::progress::Progress;
use crate::text::RawText;
use crate::verify::impacts::whole_snapshot_impact;
use crate::verify::unreadable::UnreadableKind;
use crate::verify::verifier::Verifier;

impl Verifier<'_> {
    /// Reads the entry lists of all snapshots. What is damaged for a reason that is known already is not named again.
    /// Without an identity that reads names, nothing is read.
    pub(super) fn check_entry_lists(
        &mut self,
        snapshots: &[Snapshot],
        progress: &Progress,
    ) -> Result<()> {
        if self.repository.require_data_identity().is_err() {
            return Ok(());
        }
        let known = self.finding_numbers();
        // Most nights change nothing: equal lists are read once.
        let mut read: HashMap<(&StreamRecord, &StreamRecord), u64> = HashMap::new();
        for snapshot in snapshots {
            progress.check_cancelled()?;
            let root = &snapshot.root;
            let lists = (&root.entries, &root.references);
            if let Some(repeated) = read.get(&lists) {
                self.note_repeated_entries(snapshot, *repeated);
                continue;
            }
            if self.is_affected(snapshot, &known)? {
                continue;
            }
            match self.check_entries(snapshot, progress) {
                Ok(repeated) => {
                    self.note_repeated_entries(snapshot, repeated);
                    read.insert(lists, repeated);
                }
                Err(error) => self.add_snapshot_error(snapshot, error)?,
            }
        }
        Ok(())
    }

    /// Whether something that is found damaged or missing already keeps a list from being read.
    fn is_affected(&self, snapshot: &Snapshot, known: &HashMap<String, usize>) -> Result<bool> {
        let key = snapshot_key(&snapshot.id).to_string();
        if known.contains_key(&key) {
            return Ok(true);
        }
        for record in [&snapshot.root.entries, &snapshot.root.references] {
            if !self.findings_for_stream(record, known)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads a list as a restore does. Returns how many entries it has more than once.
    fn check_entries(&self, snapshot: &Snapshot, progress: &Progress) -> Result<u64> {
        let mut entries = self.reader.snapshot_reader(snapshot).entries();
        let mut targets = LinkTargets::default();
        while let Some((entry, chunks)) = entries.next_entry()? {
            progress.check_cancelled()?;
            self.check_length(&entry, &chunks)?;
            targets.add_entry(&entry, &snapshot.root.counts);
        }
        match targets.missing {
            None => Ok(entries.repeated_entries()),
            Some(path) => Err(Error::Damaged {
                object: format!("the entry list of snapshot {}", snapshot.id.short()),
                reason: format!("{path:?} is a hard link to an entry that it does not have"),
            }),
        }
    }

    /// Chunks that are in no pack are named elsewhere.
    fn check_length(&self, entry: &Entry, chunks: &[ChunkId]) -> Result<()> {
        let name = format!("`{}`", entry.path.display());
        let mut bytes = 0;
        for id in chunks {
            match self.reader.chunk_length(id, &name) {
                Ok(length) => bytes += u64::from(length),
                Err(Error::Missing { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        entry
            .check_content_length(bytes)
            .map_err(|reason| Error::Damaged {
                object: name,
                reason,
            })
    }

    /// What is wrong with the lists of a snapshot. An error that says nothing of them ends the verification.
    pub(super) fn add_snapshot_error(&mut self, snapshot: &Snapshot, error: Error) -> Result<()> {
        let object = snapshot_key(&snapshot.id).to_string();
        if self.is_unreadable(&error) {
            self.report
                .add_unreadable(UnreadableKind::EntryLists, &object, &error);
            return Ok(());
        }
        if !error.is_damage() && !error.is_missing_identity() {
            return Err(error);
        }
        let mut finding = self.sorter.finding(&object, &error);
        finding
            .affected_snapshots
            .push(whole_snapshot_impact(snapshot));
        self.report.findings.push(finding);
        Ok(())
    }

    fn note_repeated_entries(&mut self, snapshot: &Snapshot, repeated: u64) {
        if repeated > 0 {
            self.report.notes.push(format!(
                "snapshot {} of {} lists {repeated} of its entries more than once; the first of each is restored",
                snapshot.id.short(),
                snapshot.root.source
            ));
        }
    }
}

/// The paths that hard links can lead to, where a snapshot has hard links.
#[derive(Default)]
struct LinkTargets {
    paths: HashSet<PathDigest>,
    missing: Option<RawText>,
}

impl LinkTargets {
    fn add_entry(&mut self, entry: &Entry, counts: &EntryCounts) {
        match (entry.kind, &entry.target) {
            (EntryKind::Directory, _) => {}
            (EntryKind::Hardlink, Some(target)) => {
                let is_missing = !self.paths.contains(&path_digest(target));
                self.missing = self
                    .missing
                    .take()
                    .or(is_missing.then(|| entry.path.clone()));
            }
            _ if counts.hardlinks > 0 => {
                self.paths.insert(path_digest(&entry.path));
            }
            _ => {}
        }
    }
}
