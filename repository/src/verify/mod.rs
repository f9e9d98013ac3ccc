//! Verification: is everything stored, is it what was stored, and if not, what is affected?
//!
//! `logs` verifies archived logs; `repair` repairs: the index from packs, objects from a copy, the rest is quarantined.

pub(crate) mod logs;
pub(crate) mod repair;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::crypto::envelope::RecordKind;
use crate::error::{Error, ErrorClass, Result};
use crate::format::names::{id_from_key, is_log_segment};
use crate::format::pack::{PackRecord, pack_key};
use crate::format::snapshot::{Snapshot, StreamRecord, snapshot_key};
use crate::id::{ChunkId, ObjectId};
use crate::index::{Index, fragment_key};
use crate::parallel::try_map_in_parallel;
use crate::progress::Progress;
use crate::read::reader::{ContentReader, verify_segment};
use crate::records::leases;
use crate::records::quarantine::{self, Quarantine};
use crate::records::replaced_packs;
use crate::records::sweeps::{self, Sweeps};
use crate::repository::pack_descriptions::PackDescriptions;
use crate::store::finding::{SnapshotImpact, VerifyFinding};
use crate::store::verified_io::read_with_retries;
use crate::store::{Repository, Store};
use crate::text::RawText;

/// At most this many affected paths are listed for each snapshot; the rest is counted.
const PATHS_LISTED_MAX: usize = 1000;

/// A snapshot that has lost more chunks counts as lost completely.
const LOST_CHUNKS_MAX: usize = 10_000;

/// Packs are read whole, so each thread holds one.
const READERS_MAX: usize = 3;

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum VerifyDepth {
    /// Roots, index and listings: no contents.
    Structure,
    /// Packs are read, hashed, decrypted and decompressed, and every chunk is compared with its ID.
    ReadData(DataSubset),
}

/// Which packs are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DataSubset {
    /// All.
    All,
    /// A share that rotates: on `groups` days in a row, each day another group, all packs are read.
    Group {
        /// Today's group, below `groups`.
        group: u32,
        /// The number of groups.
        groups: u32,
    },
}

impl DataSubset {
    /// The share for a percentage (above 0, at most 100) on a day (days since 1970).
    #[must_use]
    pub fn for_day(percent: f64, day: i64) -> Self {
        if percent >= 100.0 {
            return Self::All;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped before"
        )]
        let groups = (100.0 / percent).ceil().clamp(1.0, 1_000_000.0) as u32;
        let group = u32::try_from(day.rem_euclid(i64::from(groups))).unwrap_or(0);
        Self::Group { group, groups }
    }

    /// The packs of this share; at least one, if there are any packs.
    fn select_packs(self, packs: Vec<(ObjectId, u64)>) -> Vec<(ObjectId, u64)> {
        let chosen: Vec<_> = packs
            .iter()
            .copied()
            .filter(|(id, _)| self.includes(id))
            .collect();
        match self {
            // Few packs leave some groups empty; a check that reads nothing would prove nothing.
            Self::Group { group, .. } if chosen.is_empty() && !packs.is_empty() => {
                vec![packs[group as usize % packs.len()]]
            }
            _ => chosen,
        }
    }

    pub(crate) fn includes(self, pack: &ObjectId) -> bool {
        match self {
            Self::All => true,
            Self::Group { group, groups } => {
                let bytes = pack.as_bytes();
                u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) % groups == group
            }
        }
    }
}

/// What to verify.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// How much is read.
    pub depth: VerifyDepth,
    /// Only these snapshots and what they need; empty: everything.
    pub snapshots: Vec<Snapshot>,
}

/// The result of a verification.
#[derive(Debug, Clone, Default, Serialize)]
pub struct VerifyReport {
    /// Snapshots whose structure was checked.
    pub snapshots: u64,
    /// Packs known to the index.
    pub packs: u64,
    /// Packs that were read and decrypted.
    pub packs_read: u64,
    /// Bytes of those.
    pub bytes_read: u64,
    /// Distinct chunks that the checked snapshots refer to.
    pub chunks: u64,
    /// Log segments.
    pub log_segments: u64,
    /// Log segments that were read and decrypted.
    pub log_segments_read: u64,
    /// What is wrong. Empty means: nothing.
    pub findings: Vec<VerifyFinding>,
    /// What is not wrong but worth knowing.
    pub notes: Vec<String>,
}

impl Repository {
    /// Verifies the repository.
    ///
    /// # Errors
    /// When verification is impossible: an identity is missing, the backend does not respond. What is wrong with the
    /// contents is in the report instead.
    pub fn verify(&self, options: &VerifyOptions, progress: &Progress) -> Result<VerifyReport> {
        if let VerifyDepth::ReadData(_) = options.depth {
            self.require_data_identity()?;
        }
        Ok(self.verify_detailed(options, None, progress)?.report)
    }

    /// As [`Self::verify`], with more details. `damaged` are packs that are known to be damaged; without them, the
    /// quarantine is trusted for packs that are not read.
    pub(crate) fn verify_detailed(
        &self,
        options: &VerifyOptions,
        damaged: Option<&BTreeMap<ObjectId, String>>,
        progress: &Progress,
    ) -> Result<DetailedVerifyReport> {
        let mut verifier = Verifier::new(self)?;
        let known = match (damaged, options.depth) {
            (Some(damaged), _) => damaged.clone(),
            (None, VerifyDepth::ReadData(DataSubset::All)) => BTreeMap::new(),
            (None, _) => verifier.quarantine.damaged_packs(),
        };
        let damaged = &known;
        let snapshots = verifier.load_snapshots(&options.snapshots)?;
        let needed = verifier.check_structure(&snapshots, damaged, progress)?;
        if let VerifyDepth::ReadData(share) = options.depth {
            let only = (!options.snapshots.is_empty()).then_some(&needed);
            verifier.read_data(share, only, progress)?;
        }
        verifier.drop_wrong_fragments(&needed)?;
        if options.snapshots.is_empty() {
            verifier.verify_logs(options.depth, progress)?;
            verifier.report_foreign_names()?;
        }
        verifier.into_detailed_report(&snapshots)
    }
}

/// The detailed result of a verification.
#[derive(Debug)]
pub(crate) struct DetailedVerifyReport {
    /// The report for users.
    pub(crate) report: VerifyReport,
    /// Packs that are good and in no fragment.
    pub(crate) unindexed: Vec<PackRecord>,
    /// Snapshots that miss something or cannot be read, with the chunks: none, where these are unknown.
    pub(crate) lost_chunks: BTreeMap<ObjectId, Vec<ChunkId>>,
    /// Chunks that are needed and in no pack.
    pub(crate) missing_chunks: Vec<ChunkId>,
    /// Damage that the quarantine lists and that affects nothing.
    pub(crate) harmless: Vec<VerifyFinding>,
}

struct Verifier<'a> {
    repository: &'a Repository,
    inner: &'a Store,
    index: Index,
    reader: ContentReader,
    report: VerifyReport,
    /// A bad chunk's finding, by number.
    bad_chunks: HashMap<ChunkId, usize>,
    /// Stored packs with their sizes.
    stored_packs: BTreeMap<ObjectId, u64>,
    /// Packs that no fragment describes.
    unindexed: Vec<PackRecord>,
    descriptions: PackDescriptions,
    /// Fragments that describe a pack differently from the pack itself.
    wrong_fragments: HashSet<ObjectId>,
    quarantine: Quarantine,
}

impl<'a> Verifier<'a> {
    fn new(repository: &'a Repository) -> Result<Self> {
        let inner = &repository.inner;
        let mut report = VerifyReport {
            findings: repository.verify_keys()?,
            ..VerifyReport::default()
        };
        let quarantine = inner.read_quarantine()?;
        let (mut index, unreadable, said) =
            inner.load_index_uncached(&quarantine.fragment_ids())?;
        if !quarantine.is_empty() {
            report.notes.push(format!(
                "objects in quarantine: {}; `reprise verify --repair` lists those that still affect snapshots",
                quarantine.objects().len()
            ));
        }
        for (fragment, error) in &unreadable {
            report
                .findings
                .push(finding_from_error(&format!("index/{fragment}"), error));
        }
        let listed = inner.list_objects("packs")?;
        let mut stored = BTreeMap::new();
        for info in &listed {
            if let Some(id) = id_from_key(&info.key) {
                stored.insert(id, info.size_bytes);
            }
        }
        let mut adopted = Vec::new();
        for (key, record) in inner.read_unindexed_packs(&index, listed) {
            match record {
                Ok(record) => adopted.push(record),
                Err(error) => report
                    .findings
                    .push(finding_from_error(key.as_str(), &error)),
            }
        }
        let condemned = Sweeps::read_lossy(inner)?.unusable_packs();
        let doomed = adopted.iter().filter(|pack| condemned.contains(&pack.pack));
        let doomed = doomed.count();
        if doomed > 0 {
            report.notes.push(format!(
                "packs that are not in the index and will be deleted by the next `reprise prune`: {doomed}"
            ));
        }
        if adopted.len() > doomed {
            report.notes.push(format!(
                "packs that are not in the index (left by an interrupted run or a lost index fragment): {}; the next snapshot adds them to the index",
                adopted.len() - doomed
            ));
        }
        index.add_packs(&adopted)?;
        adopted.retain(|pack| !condemned.contains(&pack.pack));
        let reader = repository.content_reader()?;
        Ok(Self {
            repository,
            inner,
            index,
            reader,
            report,
            bad_chunks: HashMap::new(),
            stored_packs: stored,
            unindexed: adopted,
            descriptions: said,
            wrong_fragments: HashSet::new(),
            quarantine,
        })
    }

    fn verify_logs(&mut self, depth: VerifyDepth, progress: &Progress) -> Result<()> {
        let share = match depth {
            VerifyDepth::Structure => None,
            VerifyDepth::ReadData(share) => Some(share),
        };
        let verified = logs::verify_all_logs(self.repository, share, progress)?;
        self.report.log_segments = verified.segments;
        self.report.log_segments_read = verified.segments_read;
        self.report.findings.extend(verified.findings);
        self.report.notes.extend(verified.notes);
        Ok(())
    }

    /// Names that no object of this repository has. In other directories their readers report them.
    fn report_foreign_names(&mut self) -> Result<()> {
        let index = self.inner.list_objects("index")?.into_iter();
        let index = index.filter(|info| id_from_key(&info.key).is_none());
        let logs = self.inner.list_objects("logs")?.into_iter();
        let logs = logs.filter(|info| !is_log_segment(&info.key));
        for info in index.chain(logs) {
            let reason = "its name is not an object ID; the object is ignored";
            let error = Error::damaged_object(&info.key, reason);
            self.report
                .findings
                .push(finding_from_error(info.key.as_str(), &error));
        }
        Ok(())
    }

    /// The snapshots to check; unreadable roots are findings.
    fn load_snapshots(&mut self, chosen: &[Snapshot]) -> Result<Vec<Snapshot>> {
        if !chosen.is_empty() {
            return Ok(chosen.to_vec());
        }
        let (snapshots, errors) = self.repository.snapshots_uncached()?;
        for (key, error) in errors {
            self.report
                .findings
                .push(finding_from_error(key.as_str(), &error));
        }
        for refused in self.repository.read_tombstones()?.refused() {
            let finding = finding_from_error(refused.object.as_str(), &refused.error);
            self.report.findings.push(finding);
        }
        self.check_run_records()?;
        Ok(snapshots)
    }

    /// Leases and sweeps that are invalid and ignored: damaged or forged.
    fn check_run_records(&mut self) -> Result<()> {
        let backend = self.inner.backend.as_ref();
        for (kind, directory) in [
            (RecordKind::Lease, leases::DIRECTORY),
            (RecordKind::Sweep, sweeps::DIRECTORY),
            (RecordKind::Quarantine, quarantine::DIRECTORY),
            (RecordKind::Replaced, replaced_packs::DIRECTORY),
        ] {
            let records = self
                .inner
                .read_records::<serde::de::IgnoredAny>(backend, kind, directory)?;
            let refused = records.refused.iter();
            let findings =
                refused.map(|(info, error)| finding_from_error(info.key.as_str(), error));
            self.report.findings.extend(findings);
        }
        Ok(())
    }

    /// Checks that every chunk of the snapshots is indexed and its pack is stored; returns those chunks.
    fn check_structure(
        &mut self,
        snapshots: &[Snapshot],
        damaged: &BTreeMap<ObjectId, String>,
        progress: &Progress,
    ) -> Result<HashSet<ChunkId>> {
        self.check_pack_sizes()?;
        for (id, reason) in damaged {
            if self.stored_packs.contains_key(id) {
                self.add_damaged_pack(id, reason.clone());
            }
        }
        let mut needed = HashSet::new();
        for snapshot in snapshots {
            progress.check_cancelled()?;
            let root = &snapshot.root;
            for record in [&root.entries, &root.references, &root.details] {
                needed.extend(record.chunks.iter().copied());
            }
            if let Err(error) = self.collect_references(snapshot, &mut needed) {
                if error.class() != ErrorClass::Damaged {
                    return Err(error);
                }
                let mut finding =
                    finding_from_error(&snapshot_key(&snapshot.id).to_string(), &error);
                finding
                    .affected_snapshots
                    .push(whole_snapshot_impact(snapshot));
                self.report.findings.push(finding);
            }
            self.report.snapshots += 1;
        }
        self.check_missing_chunks(&needed)?;
        self.report.chunks = needed.len() as u64;
        Ok(needed)
    }

    /// Chunks that are in no pack.
    fn check_missing_chunks(&mut self, needed: &HashSet<ChunkId>) -> Result<()> {
        for id in needed {
            if !self.bad_chunks.contains_key(id) && self.index.length_of(id)?.is_none() {
                let number = self.report.findings.len();
                self.report.findings.push(VerifyFinding {
                    object: format!("chunk {id}"),
                    reason: "not in any pack".to_owned(),
                    affected_snapshots: Vec::new(),
                });
                self.bad_chunks.insert(*id, number);
            }
        }
        Ok(())
    }

    /// Compares a pack's descriptions in fragments with its own.
    fn compare_descriptions(&mut self, pack: &PackRecord) {
        for fragment in self.descriptions.contradicting_fragments(pack) {
            if self.wrong_fragments.insert(fragment) {
                self.report.findings.push(VerifyFinding {
                    object: fragment_key(&fragment).to_string(),
                    reason: format!(
                        "its description of {} does not match the pack itself: it is forged, or it was written by a faulty program",
                        pack_key(&pack.pack)
                    ),
                    affected_snapshots: Vec::new(),
                });
            }
        }
    }

    /// Wrong descriptions in fragments must not hide that something is missing.
    fn drop_wrong_fragments(&mut self, needed: &HashSet<ChunkId>) -> Result<()> {
        if self.wrong_fragments.is_empty() {
            return Ok(());
        }
        let left_out = self.quarantine.fragment_ids();
        let left_out: HashSet<_> = left_out.union(&self.wrong_fragments).copied().collect();
        let (mut index, _) = self.inner.load_index_without(&left_out)?;
        self.unindexed = self.repository.add_unindexed_packs(&mut index)?;
        self.index = index;
        self.check_missing_chunks(needed)
    }

    fn collect_references(&self, snapshot: &Snapshot, needed: &mut HashSet<ChunkId>) -> Result<()> {
        let mut references = self.reader.snapshot_reader(snapshot).references();
        let mut count = 0;
        while let Some(id) = references.next_id()? {
            needed.insert(id);
            count += 1;
        }
        if count == snapshot.root.counts.chunks {
            return Ok(());
        }
        Err(Error::Damaged {
            object: format!("the reference list of snapshot {}", snapshot.id.short()),
            reason: format!(
                "{count} chunk IDs found, {} expected",
                snapshot.root.counts.chunks
            ),
        })
    }

    /// Every indexed pack must be stored with the indexed size.
    fn check_pack_sizes(&mut self) -> Result<()> {
        let indexed: BTreeMap<ObjectId, u64> = self.index.packs().collect();
        self.report.packs = indexed.len() as u64;
        let mut missing = Vec::new();
        for (id, size) in indexed {
            match self.stored_packs.get(&id) {
                Some(stored) if *stored == size && !self.descriptions.has_conflict(&id) => {}
                Some(stored) => self.check_doubtful_pack(&id, *stored, size)?,
                None => missing.push(id),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        // What a prune has deleted meanwhile, it has removed from the index before.
        let (index, _) = self.inner.load_index()?;
        let described: HashSet<ObjectId> = index.packs().map(|(id, _)| id).collect();
        for id in missing {
            if described.contains(&id) {
                self.add_damaged_pack(&id, "it is missing".to_owned());
            }
        }
        Ok(())
    }

    /// A pack that the index and the storage, or two fragments, describe differently.
    fn check_doubtful_pack(&mut self, id: &ObjectId, stored: u64, indexed: u64) -> Result<()> {
        let read = read_with_retries(self.inner.backend.as_ref(), || {
            self.inner.directory_reader().read_directory(id)
        });
        match read {
            Ok(record) => self.compare_descriptions(&record),
            Err(error) if error.class() == ErrorClass::Failed => return Err(error),
            Err(_) if stored != indexed => {
                self.add_damaged_pack(
                    id,
                    format!("its size is {stored} bytes, but the index says {indexed} bytes"),
                );
            }
            Err(error) => self.add_damaged_pack(id, damage_reason(&error)),
        }
        Ok(())
    }

    /// Records a damaged pack. Which of its chunks have no other copy is determined when the report is made.
    fn add_damaged_pack(&mut self, id: &ObjectId, reason: String) {
        let object = pack_key(id).to_string();
        self.report.findings.push(VerifyFinding {
            object,
            reason,
            affected_snapshots: Vec::new(),
        });
        self.stored_packs.remove(id);
    }

    fn read_data(
        &mut self,
        share: DataSubset,
        only: Option<&HashSet<ChunkId>>,
        progress: &Progress,
    ) -> Result<()> {
        let mut packs: Vec<(ObjectId, u64)> = self
            .index
            .packs()
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .collect();
        packs.retain(|(id, _)| self.stored_packs.contains_key(id));
        if let Some(only) = only {
            let mut wanted = BTreeSet::new();
            for id in only {
                wanted.extend(
                    self.index
                        .locations(id)?
                        .iter()
                        .map(|location| location.pack),
                );
            }
            packs.retain(|(id, _)| wanted.contains(id));
        }
        let packs = share.select_packs(packs);
        if let DataSubset::Group { group, groups } = share {
            self.report.notes.push(format!(
                "packs read: {} (group {} of {groups}; each day reads another group)",
                packs.len(),
                group + 1
            ));
        }
        progress
            .items_total
            .store(packs.len() as u64, Ordering::Relaxed);
        progress
            .bytes_total
            .store(packs.iter().map(|(_, size)| size).sum(), Ordering::Relaxed);
        for (id, result) in read_packs(self.inner, &packs, progress)? {
            match result {
                Ok(record) => self.compare_descriptions(&record),
                Err(reason) => self.add_damaged_pack(&id, reason),
            }
        }
        self.report.packs_read = Progress::get(&progress.items);
        self.report.bytes_read = Progress::get(&progress.bytes);
        Ok(())
    }

    /// Determines for each finding which snapshots and paths it affects.
    fn into_detailed_report(mut self, snapshots: &[Snapshot]) -> Result<DetailedVerifyReport> {
        let bad_packs: HashMap<String, usize> = self
            .report
            .findings
            .iter()
            .enumerate()
            .map(|(number, finding)| (finding.object.clone(), number))
            .collect();
        let mut lost = BTreeMap::new();
        let absent = self.bad_chunks.keys().copied().collect();
        if self.report.findings.is_empty() {
            return Ok(DetailedVerifyReport {
                report: self.report,
                unindexed: self.unindexed,
                lost_chunks: lost,
                missing_chunks: absent,
                harmless: Vec::new(),
            });
        }
        for snapshot in snapshots {
            let affected_snapshots = self.impacts_on(snapshot, &bad_packs)?;
            if !affected_snapshots.is_empty() {
                lost.insert(snapshot.id, self.lost_chunks_of(snapshot, &bad_packs)?);
            }
            for (number, hurt) in affected_snapshots {
                let listed = &mut self.report.findings[number].affected_snapshots;
                if !listed
                    .iter()
                    .any(|other| other.snapshot == hurt.snapshot && other.whole)
                {
                    listed.push(hurt);
                }
            }
        }
        // A root that cannot be read lists no chunks: all of that snapshot is lost.
        for finding in &self.report.findings {
            if let Some(id) = finding
                .object
                .strip_prefix("snapshots/")
                .and_then(|id| id.parse().ok())
            {
                lost.entry(id).or_default();
            }
        }
        // What is in quarantine and no longer affects anything is reported as a number.
        let (quiet, findings) = self.report.findings.into_iter().partition(|finding| {
            finding.is_harmless() && self.quarantine.objects().contains_key(&finding.object)
        });
        self.report.findings = findings;
        Ok(DetailedVerifyReport {
            report: self.report,
            unindexed: self.unindexed,
            lost_chunks: lost,
            missing_chunks: absent,
            harmless: quiet,
        })
    }

    /// The chunks that a snapshot needs and that have no good copy.
    fn lost_chunks_of(
        &self,
        snapshot: &Snapshot,
        bad_packs: &HashMap<String, usize>,
    ) -> Result<Vec<ChunkId>> {
        let root = &snapshot.root;
        let streams = [&root.entries, &root.references, &root.details];
        let mut lost = BTreeSet::new();
        for id in streams.iter().flat_map(|stream| &stream.chunks) {
            if self.finding_for_chunk(id, bad_packs)?.is_some() {
                lost.insert(*id);
            }
        }
        let mut references = self.reader.snapshot_reader(snapshot).references();
        loop {
            match references.next_id() {
                Ok(Some(id)) if self.finding_for_chunk(&id, bad_packs)?.is_some() => {
                    lost.insert(id);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) if error.class() == ErrorClass::Failed => return Err(error),
                // What cannot be read is lost itself, and in the list by now.
                Err(_) => break,
            }
            if lost.len() > LOST_CHUNKS_MAX {
                // A list that is not whole would end the mark too early.
                return Ok(Vec::new());
            }
        }
        Ok(lost.into_iter().collect())
    }

    /// The finding that affects a chunk, unless it has a good copy.
    fn finding_for_chunk(
        &self,
        id: &ChunkId,
        bad_packs: &HashMap<String, usize>,
    ) -> Result<Option<usize>> {
        if let Some(number) = self.bad_chunks.get(id) {
            return Ok(Some(*number));
        }
        let mut trouble = None;
        for location in self.index.locations(id)? {
            match bad_packs.get(pack_key(&location.pack).as_str()) {
                Some(number) => trouble = Some(*number),
                None => return Ok(None),
            }
        }
        Ok(trouble)
    }

    fn impacts_on(
        &self,
        snapshot: &Snapshot,
        bad_packs: &HashMap<String, usize>,
    ) -> Result<BTreeMap<usize, SnapshotImpact>> {
        let mut affected_snapshots = BTreeMap::new();
        let root = &snapshot.root;
        for record in [&root.entries, &root.references, &root.details] {
            for number in self.findings_for_stream(record, bad_packs)? {
                affected_snapshots.insert(number, whole_snapshot_impact(snapshot));
            }
        }
        let mut entries = self.reader.snapshot_reader(snapshot).entries();
        loop {
            match entries.next_entry() {
                Ok(Some((entry, chunks))) => {
                    let mut numbers = BTreeSet::new();
                    for id in &chunks {
                        numbers.extend(self.finding_for_chunk(id, bad_packs)?);
                    }
                    for number in numbers {
                        add_path(
                            affected_snapshots
                                .entry(number)
                                .or_insert_with(|| partial_impact(snapshot)),
                            &entry.path,
                        );
                    }
                }
                Ok(None) => break,
                Err(error) => match error.class() {
                    // Without names, report at least which snapshots are affected.
                    ErrorClass::Damaged | ErrorClass::Refused => {
                        self.add_unnamed_impacts(snapshot, bad_packs, &mut affected_snapshots)?;
                        break;
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(affected_snapshots)
    }

    fn findings_for_stream(
        &self,
        record: &StreamRecord,
        bad_packs: &HashMap<String, usize>,
    ) -> Result<BTreeSet<usize>> {
        let mut numbers = BTreeSet::new();
        for id in &record.chunks {
            numbers.extend(self.finding_for_chunk(id, bad_packs)?);
        }
        Ok(numbers)
    }

    fn add_unnamed_impacts(
        &self,
        snapshot: &Snapshot,
        bad_packs: &HashMap<String, usize>,
        affected_snapshots: &mut BTreeMap<usize, SnapshotImpact>,
    ) -> Result<()> {
        let mut references = self.reader.snapshot_reader(snapshot).references();
        // Damaged references have a finding of their own already.
        while let Ok(Some(id)) = references.next_id() {
            if let Some(number) = self.finding_for_chunk(&id, bad_packs)? {
                affected_snapshots
                    .entry(number)
                    .or_insert_with(|| partial_impact(snapshot));
            }
        }
        Ok(())
    }
}

fn finding_from_error(object: &str, error: &Error) -> VerifyFinding {
    let reason = match error {
        Error::Damaged {
            object: inner,
            reason,
        } if inner == object => reason.clone(),
        error => error.to_string(),
    };
    VerifyFinding {
        object: object.to_owned(),
        reason,
        affected_snapshots: Vec::new(),
    }
}

fn whole_snapshot_impact(snapshot: &Snapshot) -> SnapshotImpact {
    SnapshotImpact {
        whole: true,
        ..partial_impact(snapshot)
    }
}

fn partial_impact(snapshot: &Snapshot) -> SnapshotImpact {
    SnapshotImpact {
        snapshot: snapshot.id,
        source: snapshot.root.source.clone(),
        whole: false,
        paths: Vec::new(),
        more_paths: 0,
    }
}

fn add_path(hurt: &mut SnapshotImpact, path: &RawText) {
    if hurt.paths.len() < PATHS_LISTED_MAX {
        hurt.paths.push(path.display());
    } else {
        hurt.more_paths += 1;
    }
}

type PackReadResult = (ObjectId, std::result::Result<PackRecord, String>);

/// Reads packs in parallel; each result says what is wrong with a pack.
fn read_packs(
    inner: &Store,
    packs: &[(ObjectId, u64)],
    progress: &Progress,
) -> Result<Vec<PackReadResult>> {
    let readers = std::thread::available_parallelism()
        .map_or(2, std::num::NonZero::get)
        .min(READERS_MAX)
        .min(inner.backend.capabilities().parallel_reads);
    try_map_in_parallel(readers, packs, |(id, size)| {
        let read = progress
            .check_cancelled()
            .and_then(|()| read_with_retries(inner.backend.as_ref(), || read_pack(inner, id)));
        let result = match read {
            Ok(record) => Ok(record),
            Err(error) if error.class() == ErrorClass::Damaged => Err(damage_reason(&error)),
            Err(error) => return Err(error),
        };
        Progress::add(&progress.items, 1);
        Progress::add(&progress.bytes, *size);
        Ok((*id, result))
    })
}

fn damage_reason(error: &Error) -> String {
    match error {
        Error::Damaged { reason, .. } => reason.clone(),
        error => error.to_string(),
    }
}

/// Reads one pack whole: its name, its directory, every segment, every chunk.
fn read_pack(inner: &Store, id: &ObjectId) -> Result<PackRecord> {
    let key = pack_key(id);
    let bytes = match inner.get_verified(&key) {
        Err(Error::Backend { source, .. }) if is_unreadable(&source) => {
            return Err(Error::damaged_object(
                &key,
                format!("it cannot be read: {source}"),
            ));
        }
        bytes => bytes?,
    };
    let record: PackRecord = inner.directory_reader().parse_whole_pack(id, &bytes)?;
    for segment in &record.segments {
        let stored = &bytes[segment.offset as usize..][..segment.length as usize];
        verify_segment(inner, &key.to_string(), segment, stored)?;
    }
    Ok(record)
}

/// A read error of one object is damage to that object, not to the verification.
fn is_unreadable(error: &crate::backend::BackendError) -> bool {
    matches!(
        error,
        crate::backend::BackendError::Io { .. } | crate::backend::BackendError::NotFound { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_pack_is_read_once_in_a_round_of_days(percent in 1.0_f64..100.0, start in 0_i64..100_000, name: [u8; 8]) {
            let pack = ObjectId::from_content(&name);
            let DataSubset::Group { groups, .. } = DataSubset::for_day(percent, start) else { return Ok(()) };
            prop_assert!(100.0 / f64::from(groups) <= percent + 1e-9);
            let read = (start..start + i64::from(groups)).filter(|day| DataSubset::for_day(percent, *day).includes(&pack));
            prop_assert_eq!(read.count(), 1);
        }
    }

    #[test]
    fn a_share_of_few_packs_is_never_empty() {
        let packs = vec![
            (ObjectId::from_content(b"a"), 1),
            (ObjectId::from_content(b"b"), 1),
        ];
        for day in 0..100 {
            assert!(
                !DataSubset::for_day(1.0, day)
                    .select_packs(packs.clone())
                    .is_empty()
            );
        }
    }

    #[test]
    fn a_hundred_percent_is_everything() {
        assert_eq!(DataSubset::for_day(100.0, 5), DataSubset::All);
    }
}
