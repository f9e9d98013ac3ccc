//! Verification of logs: every segment is stored, signed, in order, and follows its predecessor.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::id::ObjectId;
use crate::log::chain::LogChainLink;
use crate::log::segment_record::LogSegmentKey;
use crate::log::segments::SourceLog;
use crate::parallel::try_map_in_parallel;
use crate::progress::Progress;
use crate::store::Repository;
use crate::store::finding::VerifyFinding;
use crate::verify::DataSubset;

/// Log segments are read whole, so each thread holds one.
const READERS_MAX: usize = 3;

/// The result for logs.
#[derive(Debug, Default)]
pub(crate) struct LogVerifyResult {
    pub(crate) segments: u64,
    pub(crate) segments_read: u64,
    pub(crate) findings: Vec<VerifyFinding>,
    pub(crate) notes: Vec<String>,
}

/// Verifies all logs. `share`: of how many log segments the contents are read.
pub(crate) fn verify_all_logs(
    repository: &Repository,
    share: Option<DataSubset>,
    progress: &Progress,
) -> Result<LogVerifyResult> {
    let mut verified = LogVerifyResult::default();
    let tombstones = repository.read_tombstones()?;
    for directory in repository.log_directories()? {
        progress.check_cancelled()?;
        let log = repository.load_stored_log(&directory, &tombstones)?;
        verified.segments += log.segments.len() as u64;
        verified.check_chain(&log);
        if let Some(share) = share {
            let keys = log.segments.iter().map(|(key, _)| key);
            let chosen: Vec<&LogSegmentKey> = keys.filter(|key| share.includes(&key.id)).collect();
            verified.check_contents(repository, &chosen, progress)?;
        }
    }
    Ok(verified)
}

impl LogVerifyResult {
    fn add_finding(&mut self, object: String, reason: String) {
        self.findings.push(VerifyFinding {
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
                Err(error) => self.add_finding(name(key.sequence, &key.id), error.to_string()),
                Ok(_) if beside.contains(&index) => self.notes.push(format!(
                    "log segment {} ({}) is not part of its log's chain and is not used",
                    key.sequence, key.id
                )),
                Ok(_) => {}
            }
        }
    }

    fn check_contents(
        &mut self,
        repository: &Repository,
        keys: &[&LogSegmentKey],
        progress: &Progress,
    ) -> Result<()> {
        let read = try_map_in_parallel(READERS_MAX, keys, |key| {
            progress.check_cancelled()?;
            match repository.read_log_segment(key) {
                Ok(_) => Ok(None),
                Err(error) if error.is_damage() => Ok(Some(error)),
                Err(error) => Err(error),
            }
        })?;
        self.segments_read += keys.len() as u64;
        let damaged = keys.iter().zip(read);
        let damaged: Vec<(String, Error)> = damaged
            .filter_map(|(key, error)| Some((key.to_string(), error?)))
            .collect();
        for (object, error) in damaged {
            // The record's finding may be listed already.
            let reason = error.to_string();
            if !self.findings.iter().any(|known| known.reason == reason) {
                self.add_finding(object, reason);
            }
        }
        Ok(())
    }
}
