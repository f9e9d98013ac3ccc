//! What all steps of a sweep share.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, Utc};

use crate::backend::ObjectKey;
use crate::error::{Error, Result};
use crate::format::names::id_from_key;
use crate::format::pack::PackRecord;
use crate::id::ObjectId;
use crate::prune::PruneReport;
use crate::prune::action_deadline::ActionDeadline;
use crate::prune::mark::MarkedChunks;
use crate::prune::options::PruneContext;
use crate::prune::view::{SnapshotRoots, object_failure};
use crate::records::replaced_packs::ReplacedPacks;
use crate::records::sweeps::OpenSweep;
use crate::store::verified_io::read_with_retries;

/// A run of the due sweeps.
pub(super) struct Sweeper<'a> {
    pub(super) job: &'a PruneContext<'a>,
    pub(super) marks: &'a mut MarkedChunks,
    pub(super) report: &'a mut PruneReport,
    pub(super) due_sweeps: Vec<OpenSweep>,
    /// The time from which the grace period is measured.
    pub(super) now: DateTime<Utc>,
    pub(super) replaced: ReplacedPacks,
    pub(super) deadline: ActionDeadline,
}

/// The deletion set.
#[derive(Debug, Default)]
pub(super) struct DeletionSet {
    pub(super) packs: BTreeSet<ObjectId>,
    pub(super) fragments: BTreeSet<ObjectId>,
    pub(super) roots: BTreeSet<ObjectId>,
}

impl Sweeper<'_> {
    /// Marks what every snapshot needs, except those that are named and were forgotten long enough ago. Returns all
    /// that were.
    pub(super) fn mark_all_except(
        &mut self,
        named: &HashSet<ObjectId>,
    ) -> Result<HashSet<ObjectId>> {
        let roots = SnapshotRoots::read(self.job.repository)?;
        let mut forgotten = roots.forgotten_ids();
        forgotten.retain(|id| roots.may_delete(id, self.job.options.grace, self.now));
        let new = roots.snapshots.iter().filter(|snapshot| {
            let goes = forgotten.contains(&snapshot.id) && named.contains(&snapshot.id);
            !goes && !self.marks.has_root(&snapshot.id)
        });
        let new: Vec<_> = new.collect();
        if !new.is_empty() {
            let reader = self.job.repository.content_reader()?;
            self.marks
                .mark_snapshots(&new, Some(&reader), self.job.progress)?;
        }
        Ok(forgotten)
    }

    pub(super) fn read_directory(&self, id: &ObjectId) -> Result<PackRecord> {
        let inner = &self.job.repository.inner;
        read_with_retries(inner.backend.as_ref(), || {
            inner.directory_reader().read_directory(id)
        })
    }

    /// Reports what is wrong, once.
    pub(super) fn add_finding(&mut self, object: &ObjectKey, error: &Error) {
        let finding = object_failure(object.as_str(), error);
        if !self.report.findings.contains(&finding) {
            self.report.findings.push(finding);
        }
    }
}

/// The IDs of listed objects.
pub(super) fn listed_ids(listed: Vec<crate::backend::ObjectInfo>) -> HashSet<ObjectId> {
    let names = listed.into_iter();
    names.filter_map(|info| id_from_key(&info.key)).collect()
}
