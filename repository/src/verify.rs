//! Verification: is everything there, is it what was stored, and if not, what does it hurt?

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::crypt::Class;
use crate::error::{Error, ErrorClass, Result};
use crate::id::{ChunkId, ObjectId};
use crate::index::Index;
use crate::logs_verify;
use crate::pack::{PackRecord, pack_key};
use crate::parallel::try_in_parallel;
use crate::progress::Progress;
use crate::reader::ContentReader;
use crate::repository::{Inner, Repository};
use crate::segment::{self, SegmentRecord};
use crate::snapshot::{Snapshot, StreamRecord, snapshot_key};
use crate::stored::read_again;
use crate::text::RawText;

/// At most this many hurt paths are listed for each snapshot; the rest is counted.
const PATHS_LISTED_MAX: usize = 1000;

/// Packs are read whole, so each thread holds one.
const READERS_MAX: usize = 3;

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Depth {
    /// Roots, index and what is listed: nothing of the contents.
    Structure,
    /// Packs are read, hashed, decrypted and decompressed, and every chunk is compared with its id.
    ReadData(Share),
}

/// Which packs are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Share {
    /// All.
    All,
    /// A share that rotates: on `groups` days in a row, each day another group, all are read.
    Group {
        /// Today's group, below `groups`.
        group: u32,
        /// How many groups there are.
        groups: u32,
    },
}

impl Share {
    /// The share for a percentage (above 0, at most 100) on a day (days since 1970).
    #[must_use]
    pub fn of_day(percent: f64, day: i64) -> Self {
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

    /// The packs of this share; where there are any packs, at least one.
    fn choose(self, packs: Vec<(ObjectId, u64)>) -> Vec<(ObjectId, u64)> {
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
    pub depth: Depth,
    /// Only these snapshots and what they need; empty: everything.
    pub snapshots: Vec<Snapshot>,
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub reason: String,
    /// What can no longer be restored because of it.
    pub hurts: Vec<Hurt>,
}

/// What a finding hurts of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hurt {
    /// The snapshot.
    pub snapshot: ObjectId,
    /// Its source.
    pub source: String,
    /// Whether its list of entries itself is hurt, so that all its paths are.
    pub whole: bool,
    /// The paths hurt; empty when their names cannot be read with the given identities.
    pub paths: Vec<String>,
    /// How many further paths are hurt.
    pub more_paths: u64,
}

/// What verification found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
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
    /// Pieces of logs.
    pub log_pieces: u64,
    /// Pieces of logs that were read and decrypted.
    pub log_pieces_read: u64,
    /// What is wrong. Empty means: nothing.
    pub findings: Vec<Finding>,
    /// What is not wrong but worth knowing.
    pub notes: Vec<String>,
}

impl Repository {
    /// Verifies the repository.
    ///
    /// # Errors
    /// When verification cannot be done at all: an identity is missing, the backend does not answer.
    /// What is wrong with the contents is in the report instead.
    pub fn verify(&self, options: &VerifyOptions, progress: &Progress) -> Result<Report> {
        if let Depth::ReadData(_) = options.depth {
            self.require_data_identity()?;
        }
        let mut verifier = Verifier::new(self)?;
        let snapshots = verifier.roots(&options.snapshots)?;
        let needed = verifier.structure(&snapshots, progress)?;
        if let Depth::ReadData(share) = options.depth {
            let only = (!options.snapshots.is_empty()).then_some(&needed);
            verifier.read_data(share, only, progress)?;
        }
        if options.snapshots.is_empty() {
            verifier.logs(options.depth, progress)?;
        }
        verifier.report(&snapshots)
    }
}

struct Verifier<'a> {
    repository: &'a Repository,
    inner: &'a Inner,
    index: Index,
    reader: ContentReader,
    report: Report,
    /// What is wrong with a chunk: the finding's number.
    bad_chunks: HashMap<ChunkId, usize>,
    /// Stored packs with their sizes.
    stored: BTreeMap<ObjectId, u64>,
}

impl<'a> Verifier<'a> {
    fn new(repository: &'a Repository) -> Result<Self> {
        let inner = &repository.inner;
        let mut report = Report::default();
        let (mut index, unreadable) = inner.indexed_anew()?;
        for (fragment, error) in &unreadable {
            report
                .findings
                .push(finding(&format!("index/{fragment}"), error));
        }
        let listed = inner.list("packs")?;
        let mut stored = BTreeMap::new();
        for info in &listed {
            if let Ok(id) = info.key.name().parse() {
                stored.insert(id, info.size_bytes);
            }
        }
        let mut adopted = Vec::new();
        for (key, record) in inner.unindexed_packs(&index, listed) {
            match record {
                Ok(record) => adopted.push(record),
                Err(error) => report.findings.push(finding(key.as_str(), &error)),
            }
        }
        if !adopted.is_empty() {
            report.notes.push(format!(
                "{} packs are not in the index (an interrupted run, or a lost index fragment); the next snapshot indexes them",
                adopted.len()
            ));
        }
        index.add_packs(&adopted)?;
        let reader = repository.content_reader()?;
        Ok(Self {
            repository,
            inner,
            index,
            reader,
            report,
            bad_chunks: HashMap::new(),
            stored,
        })
    }

    fn logs(&mut self, depth: Depth, progress: &Progress) -> Result<()> {
        let share = match depth {
            Depth::Structure => None,
            Depth::ReadData(share) => Some(share),
        };
        let verified = logs_verify::verify(self.repository, share, progress)?;
        self.report.log_pieces = verified.pieces;
        self.report.log_pieces_read = verified.read;
        self.report.findings.extend(verified.findings);
        self.report.notes.extend(verified.notes);
        Ok(())
    }

    /// The snapshots to check; unreadable roots are findings.
    fn roots(&mut self, chosen: &[Snapshot]) -> Result<Vec<Snapshot>> {
        if !chosen.is_empty() {
            return Ok(chosen.to_vec());
        }
        let (snapshots, errors) = self.repository.snapshots_anew()?;
        for (key, error) in errors {
            self.report.findings.push(finding(key.as_str(), &error));
        }
        Ok(snapshots)
    }

    /// Checks that every chunk of the snapshots is indexed and its pack is there; returns those chunks.
    fn structure(
        &mut self,
        snapshots: &[Snapshot],
        progress: &Progress,
    ) -> Result<HashSet<ChunkId>> {
        self.pack_sizes();
        let mut needed = HashSet::new();
        for snapshot in snapshots {
            progress.check()?;
            let root = &snapshot.root;
            for record in [&root.entries, &root.references, &root.details] {
                needed.extend(record.chunks.iter().copied());
            }
            if let Err(error) = self.references(snapshot, &mut needed) {
                if error.class() != ErrorClass::Damaged {
                    return Err(error);
                }
                let mut finding = finding(&snapshot_key(&snapshot.id).to_string(), &error);
                finding.hurts.push(whole(snapshot));
                self.report.findings.push(finding);
            }
            self.report.snapshots += 1;
        }
        for id in &needed {
            if self.index.length_of(id)?.is_none() {
                let number = self.report.findings.len();
                self.report.findings.push(Finding {
                    object: format!("chunk {id}"),
                    reason: "it is in no pack".to_owned(),
                    hurts: Vec::new(),
                });
                self.bad_chunks.insert(*id, number);
            }
        }
        self.report.chunks = needed.len() as u64;
        Ok(needed)
    }

    fn references(&self, snapshot: &Snapshot, needed: &mut HashSet<ChunkId>) -> Result<()> {
        let mut references = self.reader.snapshot(snapshot).references();
        let mut count = 0;
        while let Some(id) = references.next_id()? {
            needed.insert(id);
            count += 1;
        }
        if count == snapshot.root.counts.chunks {
            return Ok(());
        }
        Err(Error::Damaged {
            object: format!("the references of snapshot {}", snapshot.id.short()),
            reason: format!("there are {count} of {}", snapshot.root.counts.chunks),
        })
    }

    /// Every indexed pack must be stored with the indexed size.
    fn pack_sizes(&mut self) {
        let indexed: BTreeMap<ObjectId, u64> = self.index.packs().collect();
        self.report.packs = indexed.len() as u64;
        for (id, size) in indexed {
            let reason = match self.stored.get(&id) {
                Some(stored) if *stored == size => continue,
                Some(stored) => format!("it has {stored} bytes instead of {size}"),
                None => "it is missing".to_owned(),
            };
            self.bad_pack(&id, reason);
        }
    }

    /// Records a damaged pack. Which of its chunks have no other copy is found when the report is made.
    fn bad_pack(&mut self, id: &ObjectId, reason: String) {
        let object = pack_key(id).to_string();
        self.report.findings.push(Finding {
            object,
            reason,
            hurts: Vec::new(),
        });
        self.stored.remove(id);
    }

    fn read_data(
        &mut self,
        share: Share,
        only: Option<&HashSet<ChunkId>>,
        progress: &Progress,
    ) -> Result<()> {
        let mut packs: Vec<(ObjectId, u64)> = self
            .index
            .packs()
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .collect();
        packs.retain(|(id, _)| self.stored.contains_key(id));
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
        let packs = share.choose(packs);
        if let Share::Group { group, groups } = share {
            self.report.notes.push(format!(
                "read {} packs: group {} of {groups}; each day reads another group",
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
            if let Err(reason) = result {
                self.bad_pack(&id, reason);
            }
        }
        self.report.packs_read = Progress::get(&progress.items);
        self.report.bytes_read = Progress::get(&progress.bytes);
        Ok(())
    }

    /// Says for each finding which snapshots and paths it hurts.
    fn report(mut self, snapshots: &[Snapshot]) -> Result<Report> {
        let bad_packs: HashMap<String, usize> = self
            .report
            .findings
            .iter()
            .enumerate()
            .map(|(number, finding)| (finding.object.clone(), number))
            .collect();
        if self.report.findings.is_empty() {
            return Ok(self.report);
        }
        for snapshot in snapshots {
            let hurts = self.hurts_of(snapshot, &bad_packs)?;
            for (number, hurt) in hurts {
                let listed = &mut self.report.findings[number].hurts;
                if !listed
                    .iter()
                    .any(|other| other.snapshot == hurt.snapshot && other.whole)
                {
                    listed.push(hurt);
                }
            }
        }
        Ok(self.report)
    }

    /// The finding that a chunk suffers from, unless it has a good copy.
    fn trouble_of(
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

    fn hurts_of(
        &self,
        snapshot: &Snapshot,
        bad_packs: &HashMap<String, usize>,
    ) -> Result<BTreeMap<usize, Hurt>> {
        let mut hurts = BTreeMap::new();
        let root = &snapshot.root;
        for record in [&root.entries, &root.references, &root.details] {
            for number in self.stream_troubles(record, bad_packs)? {
                hurts.insert(number, whole(snapshot));
            }
        }
        let mut entries = self.reader.snapshot(snapshot).entries();
        loop {
            match entries.next_entry() {
                Ok(Some((entry, chunks))) => {
                    let mut numbers = BTreeSet::new();
                    for id in &chunks {
                        numbers.extend(self.trouble_of(id, bad_packs)?);
                    }
                    for number in numbers {
                        add_path(
                            hurts.entry(number).or_insert_with(|| part(snapshot)),
                            &entry.path,
                        );
                    }
                }
                Ok(None) => break,
                Err(error) => match error.class() {
                    // Without names, say at least which snapshots are hurt.
                    ErrorClass::Damaged | ErrorClass::Refused => {
                        self.nameless_hurts(snapshot, bad_packs, &mut hurts)?;
                        break;
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(hurts)
    }

    fn stream_troubles(
        &self,
        record: &StreamRecord,
        bad_packs: &HashMap<String, usize>,
    ) -> Result<BTreeSet<usize>> {
        let mut numbers = BTreeSet::new();
        for id in &record.chunks {
            numbers.extend(self.trouble_of(id, bad_packs)?);
        }
        Ok(numbers)
    }

    fn nameless_hurts(
        &self,
        snapshot: &Snapshot,
        bad_packs: &HashMap<String, usize>,
        hurts: &mut BTreeMap<usize, Hurt>,
    ) -> Result<()> {
        let mut references = self.reader.snapshot(snapshot).references();
        // Damaged references are a finding of their own already.
        while let Ok(Some(id)) = references.next_id() {
            if let Some(number) = self.trouble_of(&id, bad_packs)? {
                hurts.entry(number).or_insert_with(|| part(snapshot));
            }
        }
        Ok(())
    }
}

fn finding(object: &str, error: &Error) -> Finding {
    let reason = match error {
        Error::Damaged {
            object: inner,
            reason,
        } if inner == object => reason.clone(),
        error => error.to_string(),
    };
    Finding {
        object: object.to_owned(),
        reason,
        hurts: Vec::new(),
    }
}

fn whole(snapshot: &Snapshot) -> Hurt {
    Hurt {
        whole: true,
        ..part(snapshot)
    }
}

fn part(snapshot: &Snapshot) -> Hurt {
    Hurt {
        snapshot: snapshot.id,
        source: snapshot.root.source.clone(),
        whole: false,
        paths: Vec::new(),
        more_paths: 0,
    }
}

fn add_path(hurt: &mut Hurt, path: &RawText) {
    if hurt.paths.len() < PATHS_LISTED_MAX {
        hurt.paths.push(path.display());
    } else {
        hurt.more_paths += 1;
    }
}

type PackResult = (ObjectId, std::result::Result<(), String>);

/// Reads packs in parallel; each result says what is wrong with a pack.
fn read_packs(
    inner: &Inner,
    packs: &[(ObjectId, u64)],
    progress: &Progress,
) -> Result<Vec<PackResult>> {
    let readers = std::thread::available_parallelism()
        .map_or(2, std::num::NonZero::get)
        .min(READERS_MAX);
    try_in_parallel(readers, packs, |(id, size)| {
        let read = progress
            .check()
            .and_then(|()| read_again(inner.backend.as_ref(), || read_pack(inner, id, *size)));
        let result = match read {
            Ok(()) => Ok(()),
            Err(error) if error.class() == ErrorClass::Damaged => Err(reason_of(&error)),
            Err(error) => return Err(error),
        };
        Progress::add(&progress.items, 1);
        Progress::add(&progress.bytes, *size);
        Ok((*id, result))
    })
}

fn reason_of(error: &Error) -> String {
    match error {
        Error::Damaged { reason, .. } => reason.clone(),
        error => error.to_string(),
    }
}

/// Reads one pack whole: its name, its directory against the index, every segment, every chunk.
fn read_pack(inner: &Inner, id: &ObjectId, size: u64) -> Result<()> {
    let key = pack_key(id);
    let bytes = match inner.get_named(&key) {
        Err(Error::Backend { source, .. }) if is_unreadable(&source) => {
            return Err(Error::damaged(&key, format!("it cannot be read: {source}")));
        }
        bytes => bytes?,
    };
    let record: PackRecord = inner.directory_reader().read_whole(id, &bytes)?;
    if record.size != size {
        return Err(Error::damaged(&key, "the index has another size for it"));
    }
    for segment in &record.segments {
        let stored = &bytes[segment.offset as usize..][..segment.length as usize];
        read_segment(inner, &key.to_string(), segment, stored)?;
    }
    Ok(())
}

/// A read error of one object is damage to that object, not to the verification.
fn is_unreadable(error: &crate::backend::BackendError) -> bool {
    matches!(
        error,
        crate::backend::BackendError::Io { .. } | crate::backend::BackendError::NotFound { .. }
    )
}

fn read_segment(inner: &Inner, object: &str, record: &SegmentRecord, stored: &[u8]) -> Result<()> {
    let recipients = match record.class {
        Class::Data => inner.data_recipients.texts(),
        Class::Catalog => inner.catalog_recipients.texts(),
    };
    segment::check_stored(record, stored, object)?;
    let plain = segment::open(record, stored, object, &inner.identities, recipients)?;
    let mut rest = plain.as_slice();
    for chunk in &record.chunks {
        let (bytes, after) = rest.split_at(chunk.1 as usize);
        rest = after;
        if inner.secrets.chunk_id(record.class, bytes) != chunk.0 {
            return Err(Error::Damaged {
                object: object.to_owned(),
                reason: format!("chunk {} does not have the bytes of its id", chunk.0),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_pack_is_read_once_in_a_round_of_days(percent in 1.0_f64..100.0, start in 0_i64..100_000, name: [u8; 8]) {
            let pack = ObjectId::of(&name);
            let Share::Group { groups, .. } = Share::of_day(percent, start) else { return Ok(()) };
            prop_assert!(100.0 / f64::from(groups) <= percent + 1e-9);
            let read = (start..start + i64::from(groups)).filter(|day| Share::of_day(percent, *day).includes(&pack));
            prop_assert_eq!(read.count(), 1);
        }
    }

    #[test]
    fn a_share_of_few_packs_is_never_empty() {
        let packs = vec![(ObjectId::of(b"a"), 1), (ObjectId::of(b"b"), 1)];
        for day in 0..100 {
            assert!(!Share::of_day(1.0, day).choose(packs.clone()).is_empty());
        }
    }

    #[test]
    fn a_hundred_percent_is_everything() {
        assert_eq!(Share::of_day(100.0, 5), Share::All);
    }
}
