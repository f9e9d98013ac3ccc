//! Verification of logs: every piece is there, signed, in its place, and follows the one before it.

use std::collections::BTreeSet;

use crate::error::{Error, ErrorClass, Result};
use crate::id::ObjectId;
use crate::log_line::Link;
use crate::logs::{KnownLog, LogKey};
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
    let tombstones = repository.tombstones()?;
    for folder in repository.log_folders()? {
        progress.check()?;
        let log = repository.stored_log(&folder, &tombstones)?;
        verified.pieces += log.pieces.len() as u64;
        verified.line(&log);
        if let Some(share) = share {
            let keys = log.pieces.iter().map(|(key, _)| key);
            let chosen: Vec<&LogKey> = keys.filter(|key| share.includes(&key.id)).collect();
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

    /// Which pieces belong together, and what is wrong with that.
    fn line(&mut self, log: &KnownLog) {
        let Some((newest, _)) = log.pieces.last() else {
            return;
        };
        let name = |sequence: u64, id: &ObjectId| {
            format!("log segment {sequence} ({id}) of the log that ends with {newest}")
        };
        let mut beside: BTreeSet<usize> = (0..log.pieces.len()).collect();
        for link in log.line().into_iter().rev() {
            match link {
                Link::Piece(index) => drop(beside.remove(&index)),
                Link::Missing { sequence, id } => {
                    self.found(name(sequence, &id), "it is missing".to_owned());
                }
                Link::Headless { sequence } => self.found(
                    format!("log segment {sequence} of the log that ends with {newest}"),
                    "it names no preceding segment, although earlier segments exist".to_owned(),
                ),
            }
        }
        for (index, (key, record)) in log.pieces.iter().enumerate() {
            match record {
                Err(error) => self.found(name(key.sequence, &key.id), error.to_string()),
                Ok(_) if beside.contains(&index) => self.notes.push(format!(
                    "log segment {} ({}) is not part of its log's chain and is not used",
                    key.sequence, key.id
                )),
                Ok(_) => {}
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
