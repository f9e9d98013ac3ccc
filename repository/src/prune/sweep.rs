//! The second phase: what was condemned long enough ago is named again, found to be garbage again, and deleted: roots,
//! then index fragments, then packs.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::condemn::{FragmentWriter, description_hash, is_damage_error, is_segment_needed};
use super::mark::MarkedChunks;
use super::view::{
    SnapshotRoots, UnreadableFragments, condemned_fragments, find_obstacle, object_failure,
};
use super::{PruneContext, PruneReport};
use crate::backend::{BackendError, ObjectKey};
use crate::clock::Clock;
use crate::error::{Error, ObjectFailure, Result};
use crate::format::names::id_from_key;
use crate::format::pack::{PackRecord, pack_key};
use crate::format::segment::{SegmentRecord, check_stored_segment};
use crate::format::snapshot::snapshot_key;
use crate::id::ObjectId;
use crate::index::{Index, fragment_key};
use crate::parallel::try_map_in_parallel;
use crate::records::leases::{Lease, Leases};
use crate::records::record_set::is_not_found;
use crate::records::replaced_packs::ReplacedPacks;
use crate::records::sweeps::{self, OpenSweep, SweepRecord, SweepState, Sweeps};
use crate::store::verified_io::read_with_retries;

/// A prune that was suspended for longer than this since its last look must look again: records of sweeps, which keep
/// others from relying on what it deletes, last longer.
const ACTION_TIMEOUT: TimeDelta = TimeDelta::hours(12);

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

/// How long ago a prune last looked.
pub(super) struct ActionDeadline {
    wall: DateTime<Utc>,
    monotonic: Duration,
}

impl ActionDeadline {
    pub(super) fn start(clock: &dyn Clock) -> Self {
        Self {
            wall: clock.wall_time(),
            monotonic: clock.monotonic_time(),
        }
    }

    pub(super) fn check_not_passed(&self, clock: &dyn Clock) -> Result<()> {
        let wall = clock.wall_time() - self.wall;
        let since = clock.monotonic_time().saturating_sub(self.monotonic);
        let since = TimeDelta::from_std(since).unwrap_or(ACTION_TIMEOUT);
        if wall >= TimeDelta::zero() && wall < ACTION_TIMEOUT && since < ACTION_TIMEOUT {
            return Ok(());
        }
        Err(Error::Source(
            "prune stopped before deleting: it was suspended for more than 12 hours, or the system clock was changed; run \
             `reprise prune` again to resume it"
                .to_owned(),
        ))
    }
}

struct Sweeper<'a> {
    job: &'a PruneContext<'a>,
    marks: &'a mut MarkedChunks,
    report: &'a mut PruneReport,
    due_sweeps: Vec<OpenSweep>,
    /// The time from which the grace period is measured.
    now: DateTime<Utc>,
    replaced: ReplacedPacks,
    deadline: ActionDeadline,
}

/// The deletion set.
#[derive(Debug, Default)]
struct DeletionSet {
    packs: BTreeSet<ObjectId>,
    fragments: BTreeSet<ObjectId>,
    roots: BTreeSet<ObjectId>,
}

impl Sweeper<'_> {
    fn run_sweeps(&mut self, sweeps: &Sweeps) -> Result<()> {
        let inner = &self.job.repository.inner;
        let named_roots = condemned_ids(&self.due_sweeps, |record| &record.roots);
        let stored = listed_ids(inner.list_objects("packs")?);
        let fragments = inner.fragment_ids()?;
        let mut candidates: BTreeSet<ObjectId> =
            condemned_ids(&self.due_sweeps, |record| &record.packs)
                .into_iter()
                .collect();
        candidates.retain(|id| stored.contains(id));
        let count = candidates.len();
        let roots = self.mark_all_except(&named_roots)?;
        let sizes = self.list_pack_sizes()?;
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

    /// Marks what every snapshot needs, except those that are named and were forgotten long enough ago. Returns all
    /// that were.
    fn mark_all_except(&mut self, named: &HashSet<ObjectId>) -> Result<HashSet<ObjectId>> {
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

    fn list_pack_sizes(&self) -> Result<HashMap<ObjectId, u64>> {
        let listed = self.job.repository.inner.list_objects("packs")?;
        let size =
            |info: crate::backend::ObjectInfo| Some((id_from_key(&info.key)?, info.size_bytes));
        Ok(listed.into_iter().filter_map(size).collect())
    }

    /// Records for each sweep what is deleted now.
    fn announce_deletion(&self, doomed: &DeletionSet) -> Result<HashSet<ObjectId>> {
        let mut finals = HashSet::new();
        for sweep in &self.due_sweeps {
            let record = self.sweep_record(sweep, SweepState::Final, doomed);
            finals.insert(sweeps::put_sweep_record(
                &self.job.repository.inner,
                &record,
            )?);
        }
        Ok(finals)
    }

    fn sweep_record(
        &self,
        sweep: &OpenSweep,
        state: SweepState,
        doomed: &DeletionSet,
    ) -> SweepRecord {
        let condemned = &sweep.condemned.record;
        let of = |ids: &[ObjectId], doomed: &BTreeSet<ObjectId>| {
            ids.iter()
                .filter(|id| doomed.contains(id))
                .copied()
                .collect()
        };
        SweepRecord {
            state,
            at: self.job.repository.inner.clock.wall_time(),
            by: self.job.options.host.clone(),
            packs: of(&condemned.packs, &doomed.packs),
            fragments: of(&condemned.fragments, &doomed.fragments),
            roots: of(&condemned.roots, &doomed.roots),
            logs: Vec::new(),
            of: Some(sweep.condemned.id),
            program: crate::program::PROGRAM.to_owned(),
        }
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

    /// Of some packs those that nothing needs: by their own directories, whatever the index contains.
    fn find_garbage(
        &mut self,
        candidates: &BTreeSet<ObjectId>,
        stored: &HashSet<ObjectId>,
        sweeps: &Sweeps,
    ) -> Result<BTreeSet<ObjectId>> {
        let unusable = sweeps.unusable_packs();
        let list: Vec<ObjectId> = candidates.iter().copied().collect();
        let inner = &self.job.repository.inner;
        let (marks, progress) = (&*self.marks, self.job.progress);
        let threads = inner.backend.capabilities().parallel_reads;
        let needed = try_map_in_parallel(threads, &list, |id| {
            progress.check_cancelled()?;
            match self.read_directory(id) {
                Ok(record) => Ok(Ok(needed_segments(marks, record))),
                Err(error) if is_not_found(&error) => Ok(Ok(Vec::new())),
                Err(error) if is_damage_error(&error) => Ok(Err(error)),
                Err(error) => Err(error),
            }
        })?;
        let wanted = needed.iter().flatten().flatten();
        let wanted: HashSet<ObjectId> = wanted.map(|segment| segment.hash).collect();
        let quarantined = inner.read_quarantine()?.pack_ids();
        let stays = |id: &ObjectId| {
            let leaves = unusable.contains(id) || candidates.contains(id);
            stored.contains(id) && !leaves && !quarantined.contains(id)
        };
        let twins = self.find_duplicates(&wanted, stays)?;
        let mut garbage = BTreeSet::new();
        for (id, needed) in list.into_iter().zip(needed) {
            match needed {
                Ok(mut segments) => {
                    segments.retain(|segment| !twins.contains(segment));
                    if segments.is_empty() || self.has_replacement(&id, &segments, stays)? {
                        garbage.insert(id);
                    }
                }
                // Its content is unknown.
                Err(error) => self
                    .report
                    .findings
                    .push(object_failure(pack_key(&id).as_str(), &error)),
            }
        }
        Ok(garbage)
    }

    fn read_directory(&self, id: &ObjectId) -> Result<PackRecord> {
        let inner = &self.job.repository.inner;
        read_with_retries(inner.backend.as_ref(), || {
            inner.directory_reader().read_directory(id)
        })
    }

    /// Segments that remaining packs hold byte for byte: found by the index, proven by the packs themselves.
    fn find_duplicates(
        &self,
        wanted: &HashSet<ObjectId>,
        stays: impl Fn(&ObjectId) -> bool,
    ) -> Result<DuplicateSegments> {
        let mut twins = DuplicateSegments::default();
        if wanted.is_empty() {
            return Ok(twins);
        }
        let inner = &self.job.repository.inner;
        let (index, _) = inner.load_index()?;
        for pack in packs_holding(&index, wanted)
            .into_iter()
            .filter(|id| stays(id))
        {
            let record = match self.read_directory(&pack) {
                Ok(record) => record,
                Err(error) if is_not_found(&error) || is_damage_error(&error) => continue,
                Err(error) => return Err(error),
            };
            for segment in record.segments {
                if wanted.contains(&segment.hash)
                    && !twins.contains(&segment)
                    && self.is_segment_stored(&pack, &segment)?
                {
                    twins.proven.entry(segment.hash).or_default().push(segment);
                }
            }
        }
        Ok(twins)
    }

    /// Whether, according to a keeper, a pack was re-encrypted, and its replacement stays, is whole, and lists all
    /// chunks of these segments itself.
    fn has_replacement(
        &mut self,
        pack: &ObjectId,
        segments: &[SegmentRecord],
        stays: impl Fn(&ObjectId) -> bool,
    ) -> Result<bool> {
        let job = self.job;
        let inner = &job.repository.inner;
        for by in self
            .replaced
            .replacements_of(pack)
            .iter()
            .filter(|by| stays(by))
        {
            let read = inner.get_verified(&pack_key(by));
            let read = read.and_then(|bytes| inner.directory_reader().parse_whole_pack(by, &bytes));
            let record = match read {
                Ok(record) => record,
                Err(error) if is_not_found(&error) => continue,
                Err(error) if is_damage_error(&error) => {
                    let finding = object_failure(pack_key(by).as_str(), &error);
                    self.report.findings.push(finding);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let new = record.segments.iter().flat_map(|segment| {
                let class = segment.class;
                segment
                    .chunks
                    .iter()
                    .map(move |chunk| (class, chunk.0, chunk.1))
            });
            let new: HashSet<_> = new.collect();
            let has = |segment: &SegmentRecord| {
                let mut chunks = segment.chunks.iter();
                chunks.all(|chunk| new.contains(&(segment.class, chunk.0, chunk.1)))
            };
            if segments.iter().all(has) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_segment_stored(&self, pack: &ObjectId, segment: &SegmentRecord) -> Result<bool> {
        let inner = &self.job.repository.inner;
        let key = pack_key(pack);
        let range = segment.offset..segment.offset + u64::from(segment.length);
        let read = read_with_retries(inner.backend.as_ref(), || {
            let stored = inner
                .backend
                .get(&key, Some(range.clone()))
                .map_err(|e| inner.backend_error(e))?;
            check_stored_segment(segment, &stored, key.as_str())
        });
        match read {
            Ok(()) => Ok(true),
            Err(error) if is_not_found(&error) || is_damage_error(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The packs that remaining fragments describe, each with the fragment.
    fn list_described_packs(
        &self,
        doomed: &DeletionSet,
        sweeps: &Sweeps,
    ) -> Result<Vec<(ObjectId, ObjectId)>> {
        let superseded = condemned_fragments(sweeps);
        let (index, unreadable) = self.job.repository.inner.load_index()?;
        let unread =
            UnreadableFragments::classify_fragments(self.job.repository, unreadable, sweeps)?;
        if let Some(fragment) = unread.blocking_fragment {
            let reason = "it cannot be read, so nothing is deleted: other hosts may rely on the packs that it describes; \
                 `reprise verify --repair` moves it to quarantine";
            return Err(Error::damaged_object(&fragment, reason));
        }
        let contents = index
            .tables()
            .iter()
            .flat_map(|table| table.pack_contents());
        let described = contents.filter_map(|pack| Some((pack.pack, pack.fragment?)));
        let stays = |fragment: &ObjectId| {
            !superseded.contains(fragment) && !doomed.fragments.contains(fragment)
        };
        Ok(described.filter(|(_, fragment)| stays(fragment)).collect())
    }

    /// Every description of a remaining pack in a fragment that is deleted must be in a remaining fragment too, word
    /// for word: another description of the same pack may be false.
    fn describe_kept_packs(&mut self, doomed: &DeletionSet) -> Result<()> {
        if doomed.fragments.is_empty() {
            return Ok(());
        }
        let inner = &self.job.repository.inner;
        let sweeps = Sweeps::read(inner, inner.backend.as_ref())?;
        let stored = listed_ids(inner.list_objects("packs")?);
        let stays =
            |pack: &PackRecord| stored.contains(&pack.pack) && !doomed.packs.contains(&pack.pack);
        let (mut needed, mut packs) = (HashSet::new(), HashSet::new());
        let mut is_damaged = false;
        for fragment in &doomed.fragments {
            let told = self.read_fragment(fragment)?;
            is_damaged |= told.is_none();
            for pack in told.iter().flatten().filter(|p| stays(p)) {
                needed.insert(description_hash(pack)?);
                packs.insert(pack.pack);
            }
        }
        let described = self.list_described_packs(doomed, &sweeps)?;
        let elsewhere = described.iter().filter(|(pack, _)| packs.contains(pack));
        let elsewhere: BTreeSet<ObjectId> = elsewhere.map(|(_, fragment)| *fragment).collect();
        for fragment in &elsewhere {
            for pack in self.read_fragment(fragment)?.iter().flatten() {
                needed.remove(&description_hash(pack)?);
            }
        }
        let mut fragments = FragmentWriter::new(self.job);
        for fragment in doomed.fragments.iter().filter(|_| !needed.is_empty()) {
            let told = self.read_fragment(fragment)?;
            is_damaged |= told.is_none();
            for pack in told.into_iter().flatten() {
                if needed.contains(&description_hash(&pack)?) {
                    fragments.add_pack(pack)?;
                }
            }
        }
        if is_damaged {
            let mut alone = stored;
            let (described, unusable) = (described.into_iter(), sweeps.unusable_packs());
            let described: HashSet<ObjectId> = described.map(|(pack, _)| pack).collect();
            alone.retain(|id| {
                !doomed.packs.contains(id) && !described.contains(id) && !unusable.contains(id)
            });
            self.describe_from_directories(&alone, &mut fragments)?;
        }
        self.report.new_fragments += fragments.finish()?;
        Ok(())
    }

    /// The content of a damaged fragment cannot be written again; it is deleted nevertheless, so that nobody who read
    /// it before relies on packs that are deleted. Packs that no other fragment describes list their content
    /// themselves.
    fn describe_from_directories(
        &mut self,
        packs: &HashSet<ObjectId>,
        fragments: &mut FragmentWriter<'_>,
    ) -> Result<()> {
        for id in packs {
            self.job.progress.check_cancelled()?;
            match self.read_directory(id) {
                Ok(record) => fragments.add_pack(record)?,
                Err(error) if is_not_found(&error) => {}
                Err(error) if is_damage_error(&error) => self.add_finding(&pack_key(id), &error),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The content of a fragment, if it is stored; `None`: it is damaged, which is reported.
    fn read_fragment(&mut self, fragment: &ObjectId) -> Result<Option<Vec<PackRecord>>> {
        match self.job.repository.inner.read_fragment(fragment) {
            Ok(told) => Ok(Some(told)),
            Err(error) if is_not_found(&error) => Ok(Some(Vec::new())),
            Err(error) if is_damage_error(&error) => {
                self.add_finding(&fragment_key(fragment), &error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Reports what is wrong, once.
    fn add_finding(&mut self, object: &ObjectKey, error: &Error) {
        let finding = object_failure(object.as_str(), error);
        if !self.report.findings.contains(&finding) {
            self.report.findings.push(finding);
        }
    }

    /// Deletes. A locked snapshot keeps everything else from being deleted. Returns what is locked.
    fn delete_objects(
        &mut self,
        doomed: &DeletionSet,
        sizes: &HashMap<ObjectId, u64>,
    ) -> Result<BTreeSet<ObjectId>> {
        let mut locked = BTreeSet::new();
        for id in &doomed.roots {
            match self.delete_object(&snapshot_key(id))? {
                true => self.report.snapshots += 1,
                false => drop(locked.insert(*id)),
            }
        }
        if !locked.is_empty() {
            return Ok(locked);
        }
        for id in &doomed.fragments {
            match self.delete_object(&fragment_key(id))? {
                true => self.report.fragments += 1,
                false => drop(locked.insert(*id)),
            }
        }
        for id in &doomed.packs {
            self.job.progress.check_cancelled()?;
            match self.delete_object(&pack_key(id))? {
                true => {
                    self.report.packs += 1;
                    self.report.bytes += sizes.get(id).copied().unwrap_or(0);
                }
                false => drop(locked.insert(*id)),
            }
        }
        Ok(locked)
    }

    /// `false`: it is locked.
    fn delete_object(&mut self, key: &ObjectKey) -> Result<bool> {
        let inner = &self.job.repository.inner;
        self.deadline.check_not_passed(inner.clock.as_ref())?;
        match inner.backend.delete(key) {
            Ok(()) => Ok(true),
            Err(error @ BackendError::Locked { .. }) => {
                self.report.locked.push(ObjectFailure {
                    object: key.to_string(),
                    reason: error.to_string(),
                });
                Ok(false)
            }
            Err(error) => Err(inner.backend_error(error)),
        }
    }

    /// A sweep is done when nothing of it is locked.
    fn finish_sweeps(&mut self, doomed: &DeletionSet, locked: &BTreeSet<ObjectId>) -> Result<()> {
        for sweep in &self.due_sweeps {
            let record = self.sweep_record(sweep, SweepState::Done, doomed);
            let mut all = record
                .packs
                .iter()
                .chain(&record.fragments)
                .chain(&record.roots);
            let root_locked =
                !locked.is_empty() && doomed.roots.iter().any(|id| locked.contains(id));
            if !root_locked && !all.any(|id| locked.contains(id)) {
                sweeps::put_sweep_record(&self.job.repository.inner, &record)?;
            }
        }
        Ok(())
    }
}

/// Segments that were proven to be stored elsewhere.
#[derive(Debug, Default)]
struct DuplicateSegments {
    proven: HashMap<ObjectId, Vec<SegmentRecord>>,
}

impl DuplicateSegments {
    /// Whether another pack holds the same segment and describes it in the same way.
    fn contains(&self, segment: &SegmentRecord) -> bool {
        let proven = self.proven.get(&segment.hash);
        proven.into_iter().flatten().any(|twin| {
            twin.class == segment.class
                && twin.length == segment.length
                && twin.plain == segment.plain
                && twin.chunks == segment.chunks
        })
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

fn needed_segments(marks: &MarkedChunks, mut record: PackRecord) -> Vec<SegmentRecord> {
    record
        .segments
        .retain(|segment| is_segment_needed(marks, segment));
    record.segments
}

/// Packs that, according to the index, hold any of these segments.
fn packs_holding(index: &Index, wanted: &HashSet<ObjectId>) -> BTreeSet<ObjectId> {
    let contents = index
        .tables()
        .iter()
        .flat_map(|table| table.pack_contents());
    let with = contents.filter(|pack| {
        let mut hashes = pack.segments.iter().map(|segment| segment.location.hash);
        hashes.any(|hash| wanted.contains(&hash))
    });
    with.map(|pack| pack.pack).collect()
}

fn listed_ids(listed: Vec<crate::backend::ObjectInfo>) -> HashSet<ObjectId> {
    let names = listed.into_iter();
    names.filter_map(|info| id_from_key(&info.key)).collect()
}
