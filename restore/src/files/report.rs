//! Plan and report of a restore into a directory.

use reprise_repository::{EntryCounts, Outcome, PossibleReaders};
use serde::Serialize;

use crate::error::Error;
use crate::files::problems::{Consequence, ProblemGroup};

/// The plan of a restore.
#[derive(Debug, Clone, Serialize)]
pub struct RestorePlan {
    /// What will exist afterwards.
    pub counts: EntryCounts,
    /// How many of those already exist in the target.
    pub existing: u64,
    /// Some of them, by name.
    pub existing_examples: Vec<String>,
    /// Bytes of what does not exist yet.
    pub needed_bytes: u64,
    /// Bytes that are free at the target, if that is known.
    pub free_bytes: Option<u64>,
}

/// The summary of a restore.
#[derive(Debug, Clone, Serialize)]
pub struct RestoreReport {
    /// `ok`; `degraded` when something named could not be restored as it was; `failed` when the restore was stopped.
    pub outcome: Outcome,
    /// What exists now.
    pub counts: EntryCounts,
    /// Files that were right already.
    #[serde(rename = "already_correct")]
    pub kept: u64,
    /// What could not be restored as it was, by cause.
    pub problems: Vec<ProblemGroup>,
    /// Who may read entries that are missing because none of the given identities decrypts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_identity: Option<PossibleReaders>,
    /// What was left out because it was asked for, or because this process may not restore it: no loss by itself.
    pub left_out: Vec<String>,
    /// What a restore leaves to a person.
    pub notes: Vec<String>,
}

impl RestoreReport {
    /// Why entries are missing, if none of the given identities decrypts them.
    #[must_use]
    pub fn missing_identity_error(&self) -> Option<reprise_repository::Error> {
        let readers = self.missing_identity.clone()?;
        let object = "all contents: entries are not restored".to_owned();
        Some(reprise_repository::Error::NoMatchingIdentity { object, readers })
    }

    /// Whether stored data was found to be damaged.
    #[must_use]
    pub fn has_damage(&self) -> bool {
        self.problems
            .iter()
            .any(|group| group.consequence == Consequence::Damaged)
    }
}

/// A restore that was stopped: nothing further could be restored.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct StoppedRestore {
    /// Why.
    pub error: Error,
    /// What was restored until then; `None` if nothing was changed.
    pub report: Option<RestoreReport>,
}

impl StoppedRestore {
    /// The error, with how to go on where something was restored.
    #[must_use]
    pub fn into_error(self) -> Error {
        match self.report {
            Some(_) => self.error.into_unfinished(),
            None => self.error,
        }
    }
}

impl From<Error> for Box<StoppedRestore> {
    fn from(error: Error) -> Self {
        Self::new(StoppedRestore {
            error,
            report: None,
        })
    }
}

impl From<reprise_repository::Error> for Box<StoppedRestore> {
    fn from(error: reprise_repository::Error) -> Self {
        Error::from(error).into()
    }
}
