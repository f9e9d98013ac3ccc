//! Verification of logs: every segment is stored, signed, in order, and follows its predecessor.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::id::ObjectId;
use crate::log::chain::LogChainLink;
use crate::log::segment_record::LogSegmentKey;
use crate::log::segments::SourceLog;
use crate::parallel::try_map_in_parallel;
use crate::progress::Progress;
use crate::store::Repository;
use crate::store::finding::VerifyFinding;
use crate::verify::unreadable::{ErrorSorter, UnreadableKind};
use crate::verify::{DataSubset, VerifyReport};

/// Log segments are read whole, so each thread holds one.
const READERS_MAX: usize = 3;

/// Verifies logs.
pub(super) struct LogVerifier<'a> {
    pub(super) repository: &'a Repository,
    pub(super) sorter: ErrorSorter,
    pub(super) report: &'a mut VerifyReport,
}

impl LogVerifier<'_> {
    /// Verifies all logs. `share`: of how many log segments the contents are read.
    pub(super) fn verify_all_logs(
        mut self,
        share: Option<DataSubset>,
        progress: &Progress,
    ) -> Result<()> {
        let tombstones = self.repository.read_tombstones()?;
        for directory in self.repository.log_directories()? {
            progress.check_cancelled()?;
            let log = self.repository.load_stored_log(&directory, &tombstones)?;
            self.report.log_segments += log.segments.len() as u64;
            self.check_chain(&log);
            if let Some(share) = share {
                let keys = log.segments.iter().map(|(key, _)| key);
                let chosen: Vec<&LogSegmentKey> =
                    keys.filter(|key| share.includes(&key.id)).collect();
                self.check_contents(&chosen, progress)?;
            }
        }
        Ok(())
    }

    fn add_finding(&mut self, object: String, reason: String) {
        self.report.findings.push(VerifyFinding {
            object,
            reason,
            affected_snapshots: Vec::new(),
        });
    }

    /// The chain of log segments, and what is wrong with it.
    fn check_chain(&mut self, log: &SourceLog) {
        let Some((newest, _)) = log.segments.last() else {
            return;
        };
        let name = |sequence: u64, id: &ObjectId| {
            format!("log segment {sequence} ({id}) of the log that ends with {newest}")
        };
        let mut beside: BTreeSet<usize> = (0..log.segments.len()).collect();
        for link in log.chain().into_iter().rev() {
            match link {
                LogChainLink::Segment(index) => drop(beside.remove(&index)),
                LogChainLink::Missing { sequence, id } => {
                    self.add_finding(name(sequence, &id), "it is missing".to_owned());
                }
                LogChainLink::NoPredecessor { sequence } => self.add_finding(
                    format!("log segment {sequence} of the log that ends with {newest}"),
                    "it names no preceding segment, although earlier segments exist".to_owned(),
                ),
            }
        }
        for (index, (key, record)) in log.segments.iter().enumerate() {
            match record {
                Err(error) => {
                    let object = name(key.sequence, &key.id);
                    let kind = UnreadableKind::LogRecords;
                    self.sorter.add_error(self.report, kind, &object, error);
                }
                Ok(_) if beside.contains(&index) => self.report.notes.push(format!(
                    "log segment {} ({}) is not part of its log's chain and is not used",
                    key.sequence, key.id
                )),
                Ok(_) => {}
            }
        }
    }

    fn check_contents(&mut self, keys: &[&LogSegmentKey], progress: &Progress) -> Result<()> {
        let read = try_map_in_parallel(READERS_MAX, keys, |key| {
            progress.check_cancelled()?;
            match self.repository.read_log_segment(key) {
                Ok(_) => Ok(None),
                Err(error) if error.is_damage() || error.is_missing_identity() => Ok(Some(error)),
                Err(error) => Err(error),
            }
        })?;
        for (key, error) in keys.iter().zip(read) {
            let Some(error) = error else {
                self.report.log_segments_read += 1;
                continue;
            };
            let object = key.to_string();
            if error.is_missing_identity() {
                let kind = UnreadableKind::LogSegments;
                self.sorter.add_error(self.report, kind, &object, &error);
                continue;
            }
            // The record's finding may be listed already.
            let reason = error.to_string();
            let mut known = self.report.findings.iter();
            if !known.any(|known| known.reason == reason) {
                self.add_finding(object, reason);
            }
        }
        Ok(())
    }
}
