//! The second phase: what was condemned long enough ago is named once more, found to be garbage once more, and
//! deleted: roots, then index fragments, then packs.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::condemn::{Fragments, description, is_damage, is_needed};
use super::mark::Marks;
use super::view::{Roots, UnreadFragments, condemned_fragments, failure, obstacle};
use super::{Job, PruneReport};
use crate::backend::{BackendError, ObjectKey};
use crate::clock::Clock;
use crate::error::{Error, ObjectFailure, Result};
use crate::id::ObjectId;
use crate::index::{Index, fragment_key};
use crate::leases::{Lease, Leases};
use crate::names::id_in;
use crate::pack::{PackRecord, pack_key};
use crate::parallel::try_in_parallel;
use crate::records::is_gone;
use crate::replaced::Replaced;
use crate::segment::{SegmentRecord, check_stored};
use crate::snapshot::snapshot_key;
use crate::stored::read_again;
use crate::sweeps::{self, OpenSweep, State, SweepRecord, Sweeps};

/// A prune that stood still for longer than this since it looked must look again: records of sweeps, which keep
/// others from relying on what it deletes, last for longer.
const ACTS_WITHIN: TimeDelta = TimeDelta::hours(12);

/// Carries out the sweeps that nothing stands in the way of.
pub(super) fn sweep(
    job: &Job<'_>,
    lease: &Lease,
    marks: &mut Marks,
    report: &mut PruneReport,
) -> Result<()> {
    let inner = &job.repository.inner;
    lease.renew_if_due(inner.backend.as_ref())?;
    let sweeps = Sweeps::read(inner, inner.backend.as_ref())?;
    let leases = Leases::read(inner, Some(lease))?;
    let mut due = sweeps.open();
    due.retain(|sweep| obstacle(&leases, sweep, job.options.grace).is_none());
    if due.is_empty() {
        return Ok(());
    }
    let mut sweeper = Sweeper {
        job,
        marks,
        report,
        due,
        now: leases.now,
        replaced: Replaced::read(inner, inner.backend.as_ref())?,
        watch: Watch::start(inner.clock.as_ref()),
    };
    sweeper.run(&sweeps)
}

/// How long ago it was that a prune looked.
pub(super) struct Watch {
    wall: DateTime<Utc>,
    monotonic: Duration,
}

impl Watch {
    pub(super) fn start(clock: &dyn Clock) -> Self {
        Self {
            wall: clock.wall(),
            monotonic: clock.monotonic(),
        }
    }

    pub(super) fn check(&self, clock: &dyn Clock) -> Result<()> {
        let wall = clock.wall() - self.wall;
        let since = clock.monotonic().saturating_sub(self.monotonic);
        let since = TimeDelta::from_std(since).unwrap_or(ACTS_WITHIN);
        if wall >= TimeDelta::zero() && wall < ACTS_WITHIN && since < ACTS_WITHIN {
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
    job: &'a Job<'a>,
    marks: &'a mut Marks,
    report: &'a mut PruneReport,
    due: Vec<OpenSweep>,
    /// By which the grace period is measured.
    now: DateTime<Utc>,
    replaced: Replaced,
    watch: Watch,
}

/// What goes.
#[derive(Debug, Default)]
struct Doomed {
    packs: BTreeSet<ObjectId>,
    fragments: BTreeSet<ObjectId>,
    roots: BTreeSet<ObjectId>,
}

impl Sweeper<'_> {
    fn run(&mut self, sweeps: &Sweeps) -> Result<()> {
        let inner = &self.job.repository.inner;
        let named_roots = condemned(&self.due, |record| &record.roots);
        let stored = ids(inner.list("packs")?);
        let fragments = inner.fragment_ids()?;
        let mut candidates: BTreeSet<ObjectId> = condemned(&self.due, |record| &record.packs)
            .into_iter()
            .collect();
        candidates.retain(|id| stored.contains(id));
        let count = candidates.len();
        let roots = self.mark_all_but(&named_roots)?;
        let sizes = self.sizes()?;
        let mut doomed = Doomed {
            packs: BTreeSet::new(),
            fragments: condemned(&self.due, |record| &record.fragments)
                .into_iter()
                .collect(),
            roots: roots.intersection(&named_roots).copied().collect(),
        };
        doomed.fragments.retain(|id| fragments.contains(id));
        // What a fragment that stays describes must stay: a run that is over may have indexed it meanwhile.
        let described = self.described(&doomed, sweeps)?;
        let described: HashSet<ObjectId> = described.into_iter().map(|(pack, _)| pack).collect();
        candidates.retain(|id| !described.contains(id));
        doomed.packs = self.garbage(&candidates, &stored, sweeps)?;
        let finals = self.announce(&doomed)?;
        self.look_again(&mut doomed, &finals, sweeps)?;
        self.report.rescued += (count - doomed.packs.len()) as u64;
        self.describe_what_stays(&doomed)?;
        let locked = self.delete(&doomed, &sizes)?;
        self.finish(&doomed, &locked)
    }

    /// Marks what every snapshot needs but those that are named and were forgotten long enough ago. Returns all that
    /// were.
    fn mark_all_but(&mut self, named: &HashSet<ObjectId>) -> Result<HashSet<ObjectId>> {
        let roots = Roots::read(self.job.repository)?;
        let mut forgotten = roots.forgotten();
        forgotten.retain(|id| roots.may_go(id, self.job.options.grace, self.now));
        let new = roots.snapshots.iter().filter(|snapshot| {
            let goes = forgotten.contains(&snapshot.id) && named.contains(&snapshot.id);
            !goes && !self.marks.has_root(&snapshot.id)
        });
        let new: Vec<_> = new.collect();
        if !new.is_empty() {
            let reader = self.job.repository.content_reader()?;
            self.marks.add(&new, Some(&reader), self.job.progress)?;
        }
        Ok(forgotten)
    }

    fn sizes(&self) -> Result<HashMap<ObjectId, u64>> {
        let listed = self.job.repository.inner.list("packs")?;
        let size = |info: crate::backend::ObjectInfo| Some((id_in(&info.key)?, info.size_bytes));
        Ok(listed.into_iter().filter_map(size).collect())
    }

    /// Says of each sweep what goes now.
    fn announce(&self, doomed: &Doomed) -> Result<HashSet<ObjectId>> {
        let mut finals = HashSet::new();
        for sweep in &self.due {
            let record = self.record(sweep, State::Final, doomed);
            finals.insert(sweeps::put(&self.job.repository.inner, &record)?);
        }
        Ok(finals)
    }

    fn record(&self, sweep: &OpenSweep, state: State, doomed: &Doomed) -> SweepRecord {
        let condemned = &sweep.condemned.record;
        let of = |ids: &[ObjectId], doomed: &BTreeSet<ObjectId>| {
            ids.iter()
                .filter(|id| doomed.contains(id))
                .copied()
                .collect()
        };
        SweepRecord {
            state,
            at: self.job.repository.inner.clock.wall(),
            by: self.job.options.host.clone(),
            packs: of(&condemned.packs, &doomed.packs),
            fragments: of(&condemned.fragments, &doomed.fragments),
            roots: of(&condemned.roots, &doomed.roots),
            logs: Vec::new(),
            of: Some(sweep.condemned.id),
            program: crate::PROGRAM.to_owned(),
        }
    }

    /// Now that everybody can see what goes: whoever did not see it has stored a root by now. Looks until there
    /// is nothing new.
    fn look_again(
        &mut self,
        doomed: &mut Doomed,
        finals: &HashSet<ObjectId>,
        before: &Sweeps,
    ) -> Result<()> {
        let inner = &self.job.repository.inner;
        self.watch = Watch::start(inner.clock.as_ref());
        let now = Sweeps::read(inner, inner.backend.as_ref())?;
        let known = before.going();
        let others = now
            .records()
            .found
            .iter()
            .filter(|found| found.record.state == State::Final && !finals.contains(&found.id));
        let mut changed = others
            .flat_map(|found| &found.record.packs)
            .any(|id| !known.contains(id));
        let named: HashSet<ObjectId> = doomed.roots.iter().copied().collect();
        loop {
            let marked = self.marks.roots();
            let forgotten = self.mark_all_but(&named)?;
            doomed.roots.retain(|id| forgotten.contains(id));
            if self.marks.roots() == marked {
                break;
            }
            changed = true;
        }
        if changed {
            let stored = ids(inner.list("packs")?);
            doomed.packs = self.garbage(&doomed.packs, &stored, &now)?;
        }
        Ok(())
    }

    /// Of some packs those that nothing needs: by their own directories, whatever the index says of them.
    fn garbage(
        &mut self,
        candidates: &BTreeSet<ObjectId>,
        stored: &HashSet<ObjectId>,
        sweeps: &Sweeps,
    ) -> Result<BTreeSet<ObjectId>> {
        let unusable = sweeps.unusable();
        let list: Vec<ObjectId> = candidates.iter().copied().collect();
        let inner = &self.job.repository.inner;
        let (marks, progress) = (&*self.marks, self.job.progress);
        let threads = inner.backend.abilities().parallel_reads;
        let needed = try_in_parallel(threads, &list, |id| {
            progress.check()?;
            match self.directory(id) {
                Ok(record) => Ok(Ok(needed_segments(marks, record))),
                Err(error) if is_gone(&error) => Ok(Ok(Vec::new())),
                Err(error) if is_damage(&error) => Ok(Err(error)),
                Err(error) => Err(error),
            }
        })?;
        let wanted = needed.iter().flatten().flatten();
        let wanted: HashSet<ObjectId> = wanted.map(|segment| segment.hash).collect();
        let quarantined = inner.quarantine()?.packs();
        let stays = |id: &ObjectId| {
            let leaves = unusable.contains(id) || candidates.contains(id);
            stored.contains(id) && !leaves && !quarantined.contains(id)
        };
        let twins = self.twins(&wanted, stays)?;
        let mut garbage = BTreeSet::new();
        for (id, needed) in list.into_iter().zip(needed) {
            match needed {
                Ok(mut segments) => {
                    segments.retain(|segment| !twins.has(segment));
                    if segments.is_empty() || self.is_replaced(&id, &segments, stays)? {
                        garbage.insert(id);
                    }
                }
                // Nobody can tell what is in it.
                Err(error) => self
                    .report
                    .findings
                    .push(failure(pack_key(&id).as_str(), &error)),
            }
        }
        Ok(garbage)
    }

    fn directory(&self, id: &ObjectId) -> Result<PackRecord> {
        let inner = &self.job.repository.inner;
        read_again(inner.backend.as_ref(), || inner.directory_reader().read(id))
    }

    /// Segments that packs which stay hold byte for byte: found by the index, proven by the packs themselves.
    fn twins(
        &self,
        wanted: &HashSet<ObjectId>,
        stays: impl Fn(&ObjectId) -> bool,
    ) -> Result<Twins> {
        let mut twins = Twins::default();
        if wanted.is_empty() {
            return Ok(twins);
        }
        let inner = &self.job.repository.inner;
        let (index, _) = inner.indexed()?;
        for pack in packs_with(&index, wanted)
            .into_iter()
            .filter(|id| stays(id))
        {
            let record = match self.directory(&pack) {
                Ok(record) => record,
                Err(error) if is_gone(&error) || is_damage(&error) => continue,
                Err(error) => return Err(error),
            };
            for segment in record.segments {
                if wanted.contains(&segment.hash)
                    && !twins.has(&segment)
                    && self.is_stored(&pack, &segment)?
                {
                    twins.proven.entry(segment.hash).or_default().push(segment);
                }
            }
        }
        Ok(twins)
    }

    /// Whether a keeper says that a pack was encrypted anew, and what stands in for it stays, is whole, and says itself
    /// that it has all chunks of these segments.
    fn is_replaced(
        &mut self,
        pack: &ObjectId,
        segments: &[SegmentRecord],
        stays: impl Fn(&ObjectId) -> bool,
    ) -> Result<bool> {
        let job = self.job;
        let inner = &job.repository.inner;
        for by in self.replaced.by(pack).iter().filter(|by| stays(by)) {
            let read = inner.get_named(&pack_key(by));
            let read = read.and_then(|bytes| inner.directory_reader().read_whole(by, &bytes));
            let record = match read {
                Ok(record) => record,
                Err(error) if is_gone(&error) => continue,
                Err(error) if is_damage(&error) => {
                    let finding = failure(pack_key(by).as_str(), &error);
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

    fn is_stored(&self, pack: &ObjectId, segment: &SegmentRecord) -> Result<bool> {
        let inner = &self.job.repository.inner;
        let key = pack_key(pack);
        let range = segment.offset..segment.offset + u64::from(segment.length);
        let read = read_again(inner.backend.as_ref(), || {
            let stored = inner
                .backend
                .get(&key, Some(range.clone()))
                .map_err(|e| inner.failed(e))?;
            check_stored(segment, &stored, key.as_str())
        });
        match read {
            Ok(()) => Ok(true),
            Err(error) if is_gone(&error) || is_damage(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The packs that fragments which stay describe, each with the fragment.
    fn described(&self, doomed: &Doomed, sweeps: &Sweeps) -> Result<Vec<(ObjectId, ObjectId)>> {
        let superseded = condemned_fragments(sweeps);
        let (index, unreadable) = self.job.repository.inner.indexed()?;
        let unread = UnreadFragments::judge(self.job.repository, unreadable, sweeps)?;
        if let Some(fragment) = unread.holds {
            let reason = "it cannot be read, so nothing is deleted: other hosts may rely on the packs that it describes; \
                 `reprise verify --repair` moves it to quarantine";
            return Err(Error::damaged(&fragment, reason));
        }
        let contents = index.tables().iter().flat_map(|table| table.contents());
        let described = contents.filter_map(|pack| Some((pack.pack, pack.fragment?)));
        let stays = |fragment: &ObjectId| {
            !superseded.contains(fragment) && !doomed.fragments.contains(fragment)
        };
        Ok(described.filter(|(_, fragment)| stays(fragment)).collect())
    }

    /// Whatever a fragment that goes says of a pack that stays, a fragment that stays must say too, word for word:
    /// another description of the same pack may be a false one.
    fn describe_what_stays(&mut self, doomed: &Doomed) -> Result<()> {
        if doomed.fragments.is_empty() {
            return Ok(());
        }
        let inner = &self.job.repository.inner;
        let sweeps = Sweeps::read(inner, inner.backend.as_ref())?;
        let stored = ids(inner.list("packs")?);
        let stays =
            |pack: &PackRecord| stored.contains(&pack.pack) && !doomed.packs.contains(&pack.pack);
        let (mut needed, mut packs) = (HashSet::new(), HashSet::new());
        let mut is_damaged = false;
        for fragment in &doomed.fragments {
            let told = self.told(fragment)?;
            is_damaged |= told.is_none();
            for pack in told.iter().flatten().filter(|p| stays(p)) {
                needed.insert(description(pack)?);
                packs.insert(pack.pack);
            }
        }
        let described = self.described(doomed, &sweeps)?;
        let elsewhere = described.iter().filter(|(pack, _)| packs.contains(pack));
        let elsewhere: BTreeSet<ObjectId> = elsewhere.map(|(_, fragment)| *fragment).collect();
        for fragment in &elsewhere {
            for pack in self.told(fragment)?.iter().flatten() {
                needed.remove(&description(pack)?);
            }
        }
        let mut fragments = Fragments::new(self.job);
        for fragment in doomed.fragments.iter().filter(|_| !needed.is_empty()) {
            let told = self.told(fragment)?;
            is_damaged |= told.is_none();
            for pack in told.into_iter().flatten() {
                if needed.contains(&description(&pack)?) {
                    fragments.add(pack)?;
                }
            }
        }
        if is_damaged {
            let mut alone = stored;
            let (described, unusable) = (described.into_iter(), sweeps.unusable());
            let described: HashSet<ObjectId> = described.map(|(pack, _)| pack).collect();
            alone.retain(|id| {
                !doomed.packs.contains(id) && !described.contains(id) && !unusable.contains(id)
            });
            self.describe_by_themselves(&alone, &mut fragments)?;
        }
        self.report.new_fragments += fragments.finish()?;
        Ok(())
    }

    /// What a damaged fragment said cannot be said again; it goes all the same, so that nobody who knows it from before
    /// relies on packs that go. Packs that no other describes tell themselves what they hold.
    fn describe_by_themselves(
        &mut self,
        packs: &HashSet<ObjectId>,
        fragments: &mut Fragments<'_>,
    ) -> Result<()> {
        for id in packs {
            self.job.progress.check()?;
            match self.directory(id) {
                Ok(record) => fragments.add(record)?,
                Err(error) if is_gone(&error) => {}
                Err(error) if is_damage(&error) => self.find(&pack_key(id), &error),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What a fragment says, if it is there; `None`: it is damaged, which is named.
    fn told(&mut self, fragment: &ObjectId) -> Result<Option<Vec<PackRecord>>> {
        match self.job.repository.inner.read_fragment(fragment) {
            Ok(told) => Ok(Some(told)),
            Err(error) if is_gone(&error) => Ok(Some(Vec::new())),
            Err(error) if is_damage(&error) => {
                self.find(&fragment_key(fragment), &error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Names what is wrong, once.
    fn find(&mut self, object: &ObjectKey, error: &Error) {
        let finding = failure(object.as_str(), error);
        if !self.report.findings.contains(&finding) {
            self.report.findings.push(finding);
        }
    }

    /// Deletes. A snapshot that is locked keeps everything else from going. Returns what is locked.
    fn delete(
        &mut self,
        doomed: &Doomed,
        sizes: &HashMap<ObjectId, u64>,
    ) -> Result<BTreeSet<ObjectId>> {
        let mut locked = BTreeSet::new();
        for id in &doomed.roots {
            match self.delete_one(&snapshot_key(id))? {
                true => self.report.snapshots += 1,
                false => drop(locked.insert(*id)),
            }
        }
        if !locked.is_empty() {
            return Ok(locked);
        }
        for id in &doomed.fragments {
            match self.delete_one(&fragment_key(id))? {
                true => self.report.fragments += 1,
                false => drop(locked.insert(*id)),
            }
        }
        for id in &doomed.packs {
            self.job.progress.check()?;
            match self.delete_one(&pack_key(id))? {
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
    fn delete_one(&mut self, key: &ObjectKey) -> Result<bool> {
        let inner = &self.job.repository.inner;
        self.watch.check(inner.clock.as_ref())?;
        match inner.backend.delete(key) {
            Ok(()) => Ok(true),
            Err(error @ BackendError::Locked { .. }) => {
                self.report.locked.push(ObjectFailure {
                    object: key.to_string(),
                    reason: error.to_string(),
                });
                Ok(false)
            }
            Err(error) => Err(inner.failed(error)),
        }
    }

    /// A sweep is done when nothing of it is locked.
    fn finish(&mut self, doomed: &Doomed, locked: &BTreeSet<ObjectId>) -> Result<()> {
        for sweep in &self.due {
            let record = self.record(sweep, State::Done, doomed);
            let mut all = record
                .packs
                .iter()
                .chain(&record.fragments)
                .chain(&record.roots);
            let root_locked =
                !locked.is_empty() && doomed.roots.iter().any(|id| locked.contains(id));
            if !root_locked && !all.any(|id| locked.contains(id)) {
                sweeps::put(&self.job.repository.inner, &record)?;
            }
        }
        Ok(())
    }
}

/// Segments that were proven to be stored elsewhere.
#[derive(Debug, Default)]
struct Twins {
    proven: HashMap<ObjectId, Vec<SegmentRecord>>,
}

impl Twins {
    /// Whether another pack holds the same segment and says the same of it.
    fn has(&self, segment: &SegmentRecord) -> bool {
        let proven = self.proven.get(&segment.hash);
        proven.into_iter().flatten().any(|twin| {
            twin.class == segment.class
                && twin.length == segment.length
                && twin.plain == segment.plain
                && twin.chunks == segment.chunks
        })
    }
}

/// All that sweeps name of one kind.
fn condemned<'a>(
    sweeps: &'a [OpenSweep],
    of: impl Fn(&'a SweepRecord) -> &'a Vec<ObjectId>,
) -> HashSet<ObjectId> {
    let named = sweeps.iter().flat_map(|sweep| of(&sweep.condemned.record));
    named.copied().collect()
}

fn needed_segments(marks: &Marks, mut record: PackRecord) -> Vec<SegmentRecord> {
    record.segments.retain(|segment| is_needed(marks, segment));
    record.segments
}

/// Packs of which the index says that they hold any of these segments.
fn packs_with(index: &Index, wanted: &HashSet<ObjectId>) -> BTreeSet<ObjectId> {
    let contents = index.tables().iter().flat_map(|table| table.contents());
    let with = contents.filter(|pack| {
        let mut hashes = pack.segments.iter().map(|segment| segment.location.hash);
        hashes.any(|hash| wanted.contains(&hash))
    });
    with.map(|pack| pack.pack).collect()
}

fn ids(listed: Vec<crate::backend::ObjectInfo>) -> HashSet<ObjectId> {
    let names = listed.into_iter();
    names.filter_map(|info| id_in(&info.key)).collect()
}
