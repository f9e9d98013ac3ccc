//! Verification of logs: every piece is there, signed, in its place, and follows the one before it.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorClass, Result};
use crate::id::ObjectId;
use crate::logs::{LogKey, LogRecord};
use crate::parallel::try_in_parallel;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::verify::{Finding, Share};

/// Pieces are read whole, so each thread holds one.
const READERS_MAX: usize = 3;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct LogsVerified {
    pub(crate) pieces: u64,
    pub(crate) read: u64,
    pub(crate) findings: Vec<Finding>,
    pub(crate) notes: Vec<String>,
}

/// Verifies all logs. `share`: of how many pieces the contents are read.
pub(crate) fn verify(
    repository: &Repository,
    share: Option<Share>,
    progress: &Progress,
) -> Result<LogsVerified> {
    let mut verified = LogsVerified::default();
    for folder in repository.log_folders()? {
        progress.check()?;
        let keys = repository.logs_in(&folder)?;
        let records = repository.log_records(&keys)?;
        verified.pieces += keys.len() as u64;
        verified.line(&keys, &records);
        if let Some(share) = share {
            let chosen: Vec<&LogKey> = keys.iter().filter(|key| share.includes(&key.id)).collect();
            verified.contents(repository, &chosen, progress)?;
        }
    }
    Ok(verified)
}

impl LogsVerified {
    fn found(&mut self, object: String, reason: String) {
        self.findings.push(Finding {
            object,
            reason,
            hurts: Vec::new(),
        });
    }

    /// From the newest piece back, each says which one is before it.
    fn line(&mut self, keys: &[LogKey], records: &[Result<LogRecord>]) {
        let mut known: BTreeMap<(u64, ObjectId), &Result<LogRecord>> = keys
            .iter()
            .zip(records)
            .map(|(key, record)| ((key.sequence, key.id), record))
            .collect();
        let Some(newest) = keys.last() else {
            return;
        };
        let name = |sequence: u64, id: &ObjectId| format!("piece {sequence} ({id}) of {newest}");
        let mut wanted = Some((newest.sequence, newest.id));
        while let Some((sequence, id)) = wanted {
            wanted = match known.remove(&(sequence, id)) {
                Some(Ok(record)) => {
                    let before = record.previous;
                    if before.is_none() && sequence != 1 {
                        self.found(
                            name(sequence, &id),
                            "it says that none is before it".to_owned(),
                        );
                    }
                    before.map(|id| (sequence.saturating_sub(1), id))
                }
                Some(Err(error)) => {
                    self.found(name(sequence, &id), error.to_string());
                    known.keys().next_back().copied()
                }
                None => {
                    self.found(name(sequence, &id), "it is missing".to_owned());
                    let earlier = known.range(..(sequence, id)).next_back();
                    earlier.map(|(place, _)| *place)
                }
            };
        }
        for ((sequence, id), record) in known {
            match record {
                Err(error) => self.found(name(sequence, &id), error.to_string()),
                Ok(_) => self.notes.push(format!(
                    "piece {sequence} ({id}) of a log is not in line with the others, and not used"
                )),
            }
        }
    }

    fn contents(
        &mut self,
        repository: &Repository,
        keys: &[&LogKey],
        progress: &Progress,
    ) -> Result<()> {
        let read = try_in_parallel(READERS_MAX, keys, |key| {
            progress.check()?;
            match repository.log_content(key) {
                Ok(_) => Ok(None),
                Err(error) if error.class() == ErrorClass::Damaged => Ok(Some(error)),
                Err(error) => Err(error),
            }
        })?;
        self.read += keys.len() as u64;
        let damaged = keys.iter().zip(read);
        let damaged: Vec<(String, Error)> = damaged
            .filter_map(|(key, error)| Some((key.to_string(), error?)))
            .collect();
        for (object, error) in damaged {
            // The record may have been found already.
            let reason = error.to_string();
            if !self.findings.iter().any(|known| known.reason == reason) {
                self.found(object, reason);
            }
        }
        Ok(())
    }
}
