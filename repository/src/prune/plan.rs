//! The plan: what is garbage, what is worth copying, and what must wait. Decides, and changes nothing.

use std::collections::{BTreeSet, HashSet};

use super::census::{Census, PackState};
use super::mark::Marks;
use super::view::{View, is_young, obstacle};
use super::{PruneOptions, PrunePlan, Waiting};
use crate::error::ObjectFailure;
use crate::id::ObjectId;
use crate::index::FRAGMENT_CHUNKS_MAX;
use crate::pack::pack_key;
use crate::sweeps::OpenSweep;

/// A fragment with fewer chunks is small.
const SMALL_CHUNKS: u64 = FRAGMENT_CHUNKS_MAX as u64 / 4;

/// More small fragments than this are merged.
const SMALL_FRAGMENTS_MAX: usize = 16;

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Decision {
    pub(super) plan: PrunePlan,
    /// Packs of which nothing is needed.
    pub(super) dead: BTreeSet<ObjectId>,
    /// Packs that the index tells of, though they are gone: nothing needs them, or what is needed is in others.
    pub(super) lost: BTreeSet<ObjectId>,
    /// Packs whose needed segments are copied.
    pub(super) repacked: BTreeSet<ObjectId>,
    /// Segments of these that other packs hold too, and that are not copied.
    pub(super) spare: HashSet<(ObjectId, u64)>,
    /// Fragments that are replaced.
    pub(super) fragments: BTreeSet<ObjectId>,
    /// Packs that no fragment describes, though one should.
    pub(super) unindexed: BTreeSet<ObjectId>,
    /// Forgotten roots.
    pub(super) roots: BTreeSet<ObjectId>,
    /// Whether nothing may be condemned or deleted now.
    pub(super) is_held: bool,
}

/// The packs that open sweeps name.
fn condemned_packs(open: &[OpenSweep]) -> HashSet<ObjectId> {
    let packs = open.iter().flat_map(|sweep| &sweep.condemned.record.packs);
    packs.copied().collect()
}

impl Decision {
    pub(super) fn take(
        view: &View,
        marks: &Marks,
        census: &mut Census,
        options: &PruneOptions,
    ) -> Self {
        let open = view.sweeps.open();
        let condemned = condemned_packs(&open);
        let unusable = view.sweeps.unusable();
        let missing = census.missing.clone();
        // What is damaged stands for nothing, though its directory may still say so.
        let stays = |pack: &PackState| {
            let id = &pack.id;
            !unusable.contains(id) && !missing.contains(id) && !view.damaged.contains(id)
        };
        census.find_replaced(&view.replaced, stays);
        census.find_twins(|pack| stays(pack) && !pack.is_replaced);
        let mut decision = Self::default();
        decision.packs(view, census, &condemned, options);
        decision.spare = std::mem::take(&mut census.spare);
        decision.roots(view, &open);
        decision.index(view, marks, census, &condemned);
        decision.sweeps(view, census, &open, options);
        decision.findings(view, marks, census);
        if view.is_held {
            decision = decision.held();
        }
        decision
    }

    /// Nothing is done; what there is and what is wrong is told all the same.
    fn held(self) -> Self {
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
            is_held: true,
            ..Self::default()
        }
    }

    fn packs(
        &mut self,
        view: &View,
        census: &Census,
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
            match (pack.is_dead(), is_young(&view.leases, pack.received)) {
                (true, true) => plan.young_packs += 1,
                (true, false) => {
                    plan.dead_packs += 1;
                    plan.dead_bytes += pack.size;
                    plan.replaced_packs += u64::from(pack.is_replaced);
                    self.dead.insert(pack.id);
                }
                (false, false) if share < little && !pack.stands_in => mostly_dead.push(pack),
                (false, _) => plan.unused_bytes += pack.unneeded_bytes(),
            }
        }
        self.plan.later_bytes = self.plan.dead_bytes;
        self.repack(mostly_dead, options);
    }

    /// Chooses what to copy: first where most is won for each byte that is copied.
    fn repack(&mut self, mut packs: Vec<&PackState>, options: &PruneOptions) {
        let per_mille = |pack: &PackState| {
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
            plan.later_bytes += pack.size.saturating_sub(pack.needed_bytes());
            self.repacked.insert(pack.id);
        }
    }

    fn roots(&mut self, view: &View, open: &[OpenSweep]) {
        let mut roots = view.roots.forgotten();
        for sweep in open {
            for root in &sweep.condemned.record.roots {
                // One that was named before it was forgotten, as it is now, is named once more.
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

    fn index(
        &mut self,
        view: &View,
        marks: &Marks,
        census: &Census,
        condemned: &HashSet<ObjectId>,
    ) {
        let goes = |id: &ObjectId| self.dead.contains(id) || self.repacked.contains(id);
        let packs = census.packs.iter().filter(|pack| pack.is_dead());
        let lost = packs.filter(|pack| census.missing.contains(&pack.id));
        self.lost = lost.map(|pack| pack.id).collect();
        let twice = census.packs.iter().filter(|pack| pack.is_described_twice);
        let touched: HashSet<ObjectId> = twice
            .map(|pack| pack.id)
            .chain(self.dead.iter().copied())
            .chain(self.lost.iter().copied())
            .chain(self.repacked.iter().copied())
            .collect();
        let mut fragments = BTreeSet::new();
        if !touched.is_empty() {
            fragments = Census::fragments_with(marks, &touched);
        }
        let received = |id: &ObjectId| view.fragments.get(id).and_then(|stored| stored.received);
        let small = census
            .fragments
            .iter()
            .filter(|(_, f)| f.chunks < SMALL_CHUNKS);
        let small: Vec<ObjectId> = small
            .map(|(id, _)| *id)
            .filter(|id| !is_young(&view.leases, received(id)))
            .collect();
        if small.len() > SMALL_FRAGMENTS_MAX {
            fragments.extend(small);
        }
        // What a sweep has replaced already is not in the census.
        fragments.retain(|id| census.fragments.contains_key(id));
        let unindexed = view.unindexed.iter().map(|record| record.pack);
        let received = |id: &ObjectId| view.packs.get(id).and_then(|stored| stored.received);
        self.unindexed = unindexed
            .filter(|id| {
                !goes(id) && !condemned.contains(id) && !is_young(&view.leases, received(id))
            })
            .collect();
        self.plan.fragments = view.fragments.len() as u64;
        self.plan.fragments_replaced = fragments.len() as u64;
        self.fragments = fragments;
    }

    /// What was condemned before: what goes now, and what waits.
    fn sweeps(&mut self, view: &View, census: &Census, open: &[OpenSweep], options: &PruneOptions) {
        let mut counted = HashSet::new();
        let forgotten = view.roots.forgotten();
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
            match obstacle(&view.leases, sweep, options.grace) {
                None => {
                    self.plan.swept_packs += count;
                    self.plan.swept_bytes += bytes;
                    self.roots_that_wait(view, sweep, options);
                    let named = sweep.condemned.record.roots.iter();
                    roots.extend(
                        named
                            .filter(|id| forgotten.contains(id))
                            .filter(|id| view.roots.may_go(id, options.grace, view.leases.now)),
                    );
                }
                Some((reason, until)) => self.plan.waiting.push(Waiting {
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

    /// Snapshots of a sweep that is carried out, which were forgotten too short a while ago.
    fn roots_that_wait(&mut self, view: &View, sweep: &OpenSweep, options: &PruneOptions) {
        let early = view.early_of(sweep, options.grace);
        let since = early.iter().filter_map(|id| view.roots.forgotten_since(id));
        if let Some(since) = since.max() {
            self.plan.waiting.push(Waiting {
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

    fn findings(&mut self, view: &View, marks: &Marks, census: &Census) {
        let findings = &mut self.plan.findings;
        findings.extend(view.findings.iter().cloned());
        let needed = census.packs.iter().filter(|pack| !pack.is_dead());
        for pack in needed.filter(|pack| census.missing.contains(&pack.id)) {
            findings.push(ObjectFailure {
                object: pack_key(&pack.id).to_string(),
                reason: "pack not found in the repository, but snapshots need it".to_owned(),
            });
        }
        for id in marks.absent().iter().take(10) {
            findings.push(ObjectFailure {
                object: format!("chunk {id}"),
                reason: "not in any pack, but snapshots need it".to_owned(),
            });
        }
        findings.sort_by(|a, b| a.object.cmp(&b.object));
    }
}
