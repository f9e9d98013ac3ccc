//! Repositories that could not be reached in a run: the first failure decides for all that would follow.

use std::collections::BTreeMap;

use reprise_policies::PolicyRepository;
use reprise_repository::format_error_chain;

use crate::error::{JobError, JobResult};

/// Repositories that could not be reached, by their locations, with the reason.
#[derive(Debug, Default)]
pub struct UnreachableRepositories {
    reasons: BTreeMap<String, String>,
}

impl UnreachableRepositories {
    /// Remembers a repository for the rest of the run, if an error says that it cannot be reached.
    pub fn note_failure(&mut self, error: &JobError) {
        if let Some((location, reason)) = error.unreachable_repository() {
            self.reasons
                .entry(location.to_owned())
                .or_insert_with(|| format_error_chain(reason));
        }
    }

    /// Fails at once if a repository could not be reached before.
    ///
    /// # Errors
    /// [`JobError::RepositoryUnreachable`] with the first reason.
    pub fn check_reachable(&self, repository: &PolicyRepository) -> JobResult<()> {
        let location = repository.url.to_string();
        match self.reasons.get(&location) {
            None => Ok(()),
            Some(reason) => Err(JobError::RepositoryUnreachable {
                reason: reason.clone(),
                location,
            }),
        }
    }
}
