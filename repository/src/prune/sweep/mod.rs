//! The second phase: what was condemned long enough ago is named again, found to be garbage again, and deleted: roots,
//! then index fragments, then packs.
//!
//! `garbage` finds what goes, `kept_descriptions` keeps what is said of the rest, `deletion` announces and deletes;
//! `sweeper` is what they share.

mod deletion;
mod garbage;
mod kept_descriptions;
mod sweeper;

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::error::Result;
use crate::format::names::id_from_key;
use crate::id::ObjectId;
use crate::prune::PruneReport;
use crate::prune::action_deadline::ActionDeadline;
use crate::prune::mark::MarkedChunks;
use crate::prune::options::PruneContext;
use crate::prune::sweep::sweeper::{DeletionSet, Sweeper, listed_ids};
use crate::prune::view::find_obstacle;
use crate::records::leases::{Lease, Leases};
use crate::records::replaced_packs::ReplacedPacks;
use crate::records::sweeps::{OpenSweep, SweepRecord, SweepState, Sweeps};

/// Carries out the sweeps that are not blocked.
pub(super) fn run_due_sweeps(
    job: &PruneContext<'_>,
    lease: &Lease,
    marks: &mut MarkedChunks,
    report: &mut PruneReport,
) -> Result<()> {
    let inner = &job.repository.inner;
    lease.renew_if_due(inner.backend.as_ref())?;
    let sweeps = Sweeps::read(inner, inner.backend.as_ref())?;
    let leases = Leases::read(inner, Some(lease))?;
    let mut due = sweeps.open_sweeps();
    due.retain(|sweep| find_obstacle(&leases, sweep, job.options.grace).is_none());
    if due.is_empty() {
        return Ok(());
    }
    let mut sweeper = Sweeper {
        job,
        marks,
        report,
        due_sweeps: due,
        now: leases.now,
        replaced: ReplacedPacks::read(inner, inner.backend.as_ref())?,
        deadline: ActionDeadline::start(inner.clock.as_ref()),
    };
    sweeper.run_sweeps(&sweeps)
}

impl Sweeper<'_> {
    fn run_sweeps(&mut self, sweeps: &Sweeps) -> Result<()> {
        let inner = &self.job.repository.inner;
        let named_roots = condemned_ids(&self.due_sweeps, |record| &record.roots);
        let sizes = self.list_pack_sizes()?;
        let stored: HashSet<ObjectId> = sizes.keys().copied().collect();
        let fragments = inner.fragment_ids()?;
        let mut candidates: BTreeSet<ObjectId> =
            condemned_ids(&self.due_sweeps, |record| &record.packs)
                .into_iter()
                .collect();
        candidates.retain(|id| stored.contains(id));
        let count = candidates.len();
        let roots = self.mark_all_except(&named_roots)?;
        let mut doomed = DeletionSet {
            packs: BTreeSet::new(),
            fragments: condemned_ids(&self.due_sweeps, |record| &record.fragments)
                .into_iter()
                .collect(),
            roots: roots.intersection(&named_roots).copied().collect(),
        };
        doomed.fragments.retain(|id| fragments.contains(id));
        // What a remaining fragment describes must stay: a run that has ended may have indexed it meanwhile.
        let described = self.list_described_packs(&doomed, sweeps)?;
        let described: HashSet<ObjectId> = described.into_iter().map(|(pack, _)| pack).collect();
        candidates.retain(|id| !described.contains(id));
        doomed.packs = self.find_garbage(&candidates, &stored, sweeps)?;
        let finals = self.announce_deletion(&doomed)?;
        self.recheck_roots(&mut doomed, &finals, sweeps)?;
        self.report.still_needed_packs += (count - doomed.packs.len()) as u64;
        self.describe_kept_packs(&doomed)?;
        let locked = self.delete_objects(&doomed, &sizes)?;
        self.finish_sweeps(&doomed, &locked)
    }

    fn list_pack_sizes(&self) -> Result<HashMap<ObjectId, u64>> {
        let listed = self.job.repository.inner.list_objects("packs")?;
        let size =
            |info: crate::backend::ObjectInfo| Some((id_from_key(&info.key)?, info.size_bytes));
        Ok(listed.into_iter().filter_map(size).collect())
    }

    /// Now that the deletion set is published: whoever did not see it has stored a root by now. Looks until there is
    /// nothing new.
    fn recheck_roots(
        &mut self,
        doomed: &mut DeletionSet,
        finals: &HashSet<ObjectId>,
        before: &Sweeps,
    ) -> Result<()> {
        let inner = &self.job.repository.inner;
        self.deadline = ActionDeadline::start(inner.clock.as_ref());
        let now = Sweeps::read(inner, inner.backend.as_ref())?;
        let known = before.packs_being_deleted();
        let others =
            now.records().valid.iter().filter(|found| {
                found.record.state == SweepState::Final && !finals.contains(&found.id)
            });
        let mut changed = others
            .flat_map(|found| &found.record.packs)
            .any(|id| !known.contains(id));
        let named: HashSet<ObjectId> = doomed.roots.iter().copied().collect();
        loop {
            let marked = self.marks.root_count();
            let forgotten = self.mark_all_except(&named)?;
            doomed.roots.retain(|id| forgotten.contains(id));
            if self.marks.root_count() == marked {
                break;
            }
            changed = true;
        }
        if changed {
            let stored = listed_ids(inner.list_objects("packs")?);
            doomed.packs = self.find_garbage(&doomed.packs, &stored, &now)?;
        }
        Ok(())
    }
}

/// All objects of one kind that sweeps name.
fn condemned_ids<'a>(
    sweeps: &'a [OpenSweep],
    of: impl Fn(&'a SweepRecord) -> &'a Vec<ObjectId>,
) -> HashSet<ObjectId> {
    let named = sweeps.iter().flat_map(|sweep| of(&sweep.condemned.record));
    named.copied().collect()
}
