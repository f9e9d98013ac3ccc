//! What findings affect: snapshots, and paths in them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::error::{ErrorClass, Result};
use crate::format::pack::pack_key;
use crate::format::snapshot::{Snapshot, StreamRecord};
use crate::id::ChunkId;
use crate::store::finding::SnapshotImpact;
use crate::text::RawText;
use crate::verify::DetailedVerifyReport;
use crate::verify::verifier::Verifier;

/// At most this many affected paths are listed for each snapshot; the rest is counted.
const PATHS_LISTED_MAX: usize = 1000;

/// A snapshot that has lost more chunks counts as lost completely.
const LOST_CHUNKS_MAX: usize = 10_000;

impl Verifier<'_> {
    /// Determines for each finding which snapshots and paths it affects.
    pub(super) fn into_detailed_report(
        mut self,
        snapshots: &[Snapshot],
    ) -> Result<DetailedVerifyReport> {
        let bad_packs = self.finding_numbers();
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

    /// The findings so far, by their objects.
    pub(super) fn finding_numbers(&self) -> HashMap<String, usize> {
        let findings = self.report.findings.iter().enumerate();
        findings
            .map(|(number, finding)| (finding.object.clone(), number))
            .collect()
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
                // What only others can read may list anything.
                Err(error) if error.is_missing_identity() => return Ok(Vec::new()),
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

    pub(super) fn findings_for_stream(
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

pub(super) fn whole_snapshot_impact(snapshot: &Snapshot) -> SnapshotImpact {
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
