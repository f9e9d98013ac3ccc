//! The plan: what is garbage, what is worth repacking, and what must wait. Decides, and changes nothing.

use std::collections::{BTreeSet, HashSet};

use crate::error::ObjectFailure;
use crate::format::pack::pack_key;
use crate::id::ObjectId;
use crate::index::FRAGMENT_CHUNKS_MAX;
use crate::prune::mark::MarkedChunks;
use crate::prune::pack_usage::{IndexUsage, PackUsage};
use crate::prune::view::{RepositoryView, find_obstacle, may_be_in_use};
use crate::prune::{PruneOptions, PrunePlan, WaitingSweep};
use crate::records::sweeps::OpenSweep;

/// A fragment with fewer chunks is small.
const SMALL_CHUNKS: u64 = FRAGMENT_CHUNKS_MAX as u64 / 4;

/// More small fragments than this are merged.
const SMALL_FRAGMENTS_MAX: usize = 16;

/// The work to do.
#[derive(Debug, Default)]
pub(super) struct PruneDecision {
    pub(super) plan: PrunePlan,
    /// Packs of which nothing is needed.
    pub(super) dead: BTreeSet<ObjectId>,
    /// Packs that are in the index but missing: nothing needs them, or what is needed is in others.
    pub(super) missing_packs: BTreeSet<ObjectId>,
    /// Packs whose needed segments are copied.
    pub(super) repacked: BTreeSet<ObjectId>,
    /// Segments of these that other packs hold too, and that are not copied.
    pub(super) redundant_segments: HashSet<(ObjectId, u64)>,
    /// Fragments that are replaced.
    pub(super) fragments: BTreeSet<ObjectId>,
    /// Packs that no fragment describes, though one should.
    pub(super) unindexed: BTreeSet<ObjectId>,
    /// Forgotten roots.
    pub(super) roots: BTreeSet<ObjectId>,
    /// Whether nothing may be condemned or deleted now.
    pub(super) is_blocked: bool,
}

/// The packs that open sweeps name.
fn condemned_packs(open: &[OpenSweep]) -> HashSet<ObjectId> {
    let packs = open.iter().flat_map(|sweep| &sweep.condemned.record.packs);
    packs.copied().collect()
}

impl PruneDecision {
    pub(super) fn decide(
        view: &RepositoryView,
        marks: &MarkedChunks,
        census: &mut IndexUsage,
        options: &PruneOptions,
    ) -> Self {
        let open = view.sweeps.open_sweeps();
        let condemned = condemned_packs(&open);
        let unusable = view.sweeps.unusable_packs();
        let missing = census.missing.clone();
        // A damaged pack is no replacement, though its directory may still be readable.
        let stays = |pack: &PackUsage| {
            let id = &pack.id;
            !unusable.contains(id) && !missing.contains(id) && !view.quarantined_packs.contains(id)
        };
        census.find_replaced_packs(&view.replaced, stays);
        census.find_duplicated_segments(|pack| stays(pack) && !pack.is_replaced);
        let mut decision = Self::default();
        decision.decide_packs(view, census, &condemned, options);
        decision.redundant_segments = std::mem::take(&mut census.redundant_segments);
        decision.decide_roots(view, &open);
        decision.decide_fragments(view, marks, census, &condemned);
        decision.decide_sweeps(view, census, &open, options);
        decision.collect_findings(view, marks, census);
        if view.is_blocked {
            decision = decision.into_blocked();
        }
        decision
    }

    /// Nothing is done; the state and what is wrong are reported nevertheless.
    fn into_blocked(self) -> Self {
        let plan = PrunePlan {
            snapshots: self.plan.snapshots,
            packs: self.plan.packs,
            stored_bytes: self.plan.stored_bytes,
            fragments: self.plan.fragments,
            waiting: self.plan.waiting,
            findings: self.plan.findings,
            ..PrunePlan::default()
        };
        Self {
            plan,
            is_blocked: true,
            ..Self::default()
        }
    }

    fn decide_packs(
        &mut self,
        view: &RepositoryView,
        census: &IndexUsage,
        condemned: &HashSet<ObjectId>,
        options: &PruneOptions,
    ) {
        let plan = &mut self.plan;
        let mut mostly_dead = Vec::new();
        for pack in census
            .packs
            .iter()
            .filter(|p| !census.missing.contains(&p.id))
        {
            plan.packs += 1;
            plan.stored_bytes += pack.size;
            let share = u128::from(pack.needed_bytes()) * 100;
            let little = u128::from(pack.segment_bytes) * u128::from(options.repack_below);
            if condemned.contains(&pack.id) {
                continue;
            }
            match (pack.is_dead(), may_be_in_use(&view.leases, pack.received)) {
                (true, true) => plan.possibly_in_use_packs += 1,
                (true, false) => {
                    plan.dead_packs += 1;
                    plan.dead_bytes += pack.size;
                    plan.replaced_packs += u64::from(pack.is_replaced);
                    self.dead.insert(pack.id);
                }
                (false, false) if share < little && !pack.is_replacement => mostly_dead.push(pack),
                (false, _) => plan.unused_bytes += pack.unneeded_bytes(),
            }
        }
        self.plan.freed_later_bytes = self.plan.dead_bytes;
        self.choose_repacked_packs(mostly_dead, options);
    }

    /// Chooses what to repack: first where most is freed for each byte that is copied.
    fn choose_repacked_packs(&mut self, mut packs: Vec<&PackUsage>, options: &PruneOptions) {
        let per_mille = |pack: &PackUsage| {
            u128::from(pack.needed_bytes()) * 1000 / u128::from(pack.segment_bytes.max(1))
        };
        packs.sort_by_key(|pack| (per_mille(pack), pack.id));
        let plan = &mut self.plan;
        let most = options.max_repack.unwrap_or(u64::MAX);
        for pack in packs {
            if plan.copied_bytes.saturating_add(pack.needed_bytes()) > most {
                plan.unused_bytes += pack.unneeded_bytes();
                continue;
            }
            plan.copied_bytes += pack.needed_bytes();
            plan.repacked_packs += 1;
            plan.repacked_bytes += pack.size;
            plan.freed_later_bytes += pack.size.saturating_sub(pack.needed_bytes());
            self.repacked.insert(pack.id);
        }
    }

    fn decide_roots(&mut self, view: &RepositoryView, open: &[OpenSweep]) {
        let mut roots = view.roots.forgotten_ids();
        for sweep in open {
            for root in &sweep.condemned.record.roots {
                // A root that was named before it was last forgotten is named again.
                let received = sweep.condemned.received;
                let since = view.roots.forgotten_since(root);
                if received.is_none() || since.is_none() || since <= received {
                    roots.remove(root);
                }
            }
        }
        let kept = view.roots.snapshots.iter().filter(|s| !s.forgotten);
        self.plan.snapshots = kept.count() as u64;
        self.plan.forgotten = roots.len() as u64;
        self.roots = roots.into_iter().collect();
    }

    fn decide_fragments(
        &mut self,
        view: &RepositoryView,
        marks: &MarkedChunks,
        census: &IndexUsage,
        condemned: &HashSet<ObjectId>,
    ) {
        let goes = |id: &ObjectId| self.dead.contains(id) || self.repacked.contains(id);
        let packs = census.packs.iter().filter(|pack| pack.is_dead());
        let lost = packs.filter(|pack| census.missing.contains(&pack.id));
        self.missing_packs = lost.map(|pack| pack.id).collect();
        let twice = census.packs.iter().filter(|pack| pack.is_described_twice);
        let touched: HashSet<ObjectId> = twice
            .map(|pack| pack.id)
            .chain(self.dead.iter().copied())
            .chain(self.missing_packs.iter().copied())
            .chain(self.repacked.iter().copied())
            .collect();
        let mut fragments = BTreeSet::new();
        if !touched.is_empty() {
            fragments = IndexUsage::fragments_describing(marks, &touched);
        }
        let received = |id: &ObjectId| view.fragments.get(id).and_then(|stored| stored.received);
        let small = census
            .fragments
            .iter()
            .filter(|(_, f)| f.chunks < SMALL_CHUNKS);
        let small: Vec<ObjectId> = small
            .map(|(id, _)| *id)
            .filter(|id| !may_be_in_use(&view.leases, received(id)))
            .collect();
        if small.len() > SMALL_FRAGMENTS_MAX {
            fragments.extend(small);
        }
        // Fragments that a sweep has replaced already are not in the usage.
        fragments.retain(|id| census.fragments.contains_key(id));
        let unindexed = view.unindexed.iter().map(|record| record.pack);
        let received = |id: &ObjectId| view.packs.get(id).and_then(|stored| stored.received);
        self.unindexed = unindexed
            .filter(|id| {
                !goes(id) && !condemned.contains(id) && !may_be_in_use(&view.leases, received(id))
            })
            .collect();
        self.plan.fragments = view.fragments.len() as u64;
        self.plan.fragments_replaced = fragments.len() as u64;
        self.fragments = fragments;
    }

    /// What was condemned before: what is deleted now, and what waits.
    fn decide_sweeps(
        &mut self,
        view: &RepositoryView,
        census: &IndexUsage,
        open: &[OpenSweep],
        options: &PruneOptions,
    ) {
        let mut counted = HashSet::new();
        let forgotten = view.roots.forgotten_ids();
        let mut roots: BTreeSet<&ObjectId> = BTreeSet::new();
        for sweep in open {
            let packs: HashSet<ObjectId> = sweep.condemned.record.packs.iter().copied().collect();
            let new = census.packs.iter().filter(|pack| {
                packs.contains(&pack.id)
                    && pack.is_dead()
                    && !census.missing.contains(&pack.id)
                    && counted.insert(pack.id)
            });
            let sizes: Vec<u64> = new.map(|pack| pack.size).collect();
            let (count, bytes) = (sizes.len() as u64, sizes.iter().sum::<u64>());
            match find_obstacle(&view.leases, sweep, options.grace) {
                None => {
                    self.plan.swept_packs += count;
                    self.plan.swept_bytes += bytes;
                    self.add_waiting_roots(view, sweep, options);
                    let named = sweep.condemned.record.roots.iter();
                    roots.extend(
                        named
                            .filter(|id| forgotten.contains(id))
                            .filter(|id| view.roots.may_delete(id, options.grace, view.leases.now)),
                    );
                }
                Some((reason, until)) => self.plan.waiting.push(WaitingSweep {
                    sweep: sweep.condemned.key.to_string(),
                    packs: count,
                    bytes,
                    reason,
                    until,
                }),
            }
        }
        self.plan.swept_snapshots = roots.len() as u64;
    }

    /// Snapshots of a due sweep that were forgotten too recently.
    fn add_waiting_roots(
        &mut self,
        view: &RepositoryView,
        sweep: &OpenSweep,
        options: &PruneOptions,
    ) {
        let early = view.roots_in_grace(sweep, options.grace);
        let since = early.iter().filter_map(|id| view.roots.forgotten_since(id));
        if let Some(since) = since.max() {
            self.plan.waiting.push(WaitingSweep {
                sweep: sweep.condemned.key.to_string(),
                packs: 0,
                bytes: 0,
                reason: format!(
                    "the grace period of snapshots forgotten after the sweep began: {}",
                    early.len()
                ),
                until: since + options.grace,
            });
        }
    }

    fn collect_findings(
        &mut self,
        view: &RepositoryView,
        marks: &MarkedChunks,
        census: &IndexUsage,
    ) {
        let findings = &mut self.plan.findings;
        findings.extend(view.findings.iter().cloned());
        let needed = census.packs.iter().filter(|pack| !pack.is_dead());
        for pack in needed.filter(|pack| census.missing.contains(&pack.id)) {
            findings.push(ObjectFailure {
                object: pack_key(&pack.id).to_string(),
                reason: "pack not found in the repository, but snapshots need it".to_owned(),
            });
        }
        for id in marks.missing_chunks().iter().take(10) {
            findings.push(ObjectFailure {
                object: format!("chunk {id}"),
                reason: "not in any pack, but snapshots need it".to_owned(),
            });
        }
        findings.sort_by(|a, b| a.object.cmp(&b.object));
    }
}
