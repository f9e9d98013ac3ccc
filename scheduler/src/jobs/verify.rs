//! Verifying a repository, and the locks of its destination.

use std::sync::Arc;

use reprise_repository::backend::{ProbedCapabilities, RepositoryLocation};
use reprise_repository::{LockReport, Progress, Repository, VerifyOptions, VerifyReport};

use crate::environment::JobEnvironment;
use crate::error::JobResult;
use crate::repositories::{DestinationOptions, probe_if_allowed};

/// A completed verification.
#[derive(Debug)]
pub struct VerifyJobReport {
    /// What was checked and found.
    pub report: VerifyReport,
    /// The capabilities of the destination, where they could be probed.
    pub destination: Option<ProbedCapabilities>,
    /// The locks of all objects, where the destination has locks.
    pub locks: Option<LockReport>,
}

/// Verifies a repository at a location.
///
/// # Errors
/// When it cannot be read. Damage is in the report.
pub fn verify_repository(
    environment: &JobEnvironment,
    repository: &Repository,
    location: &RepositoryLocation,
    options: &VerifyOptions,
    progress: &Arc<Progress>,
) -> JobResult<VerifyJobReport> {
    let destination = probe_if_allowed(environment, location, &DestinationOptions::default())?;
    let report = repository.verify(options, progress)?;
    let locks = match destination {
        Some(probed) if probed.locks.is_supported() => {
            Some(repository.inspect_locks((environment.clock)(), progress)?)
        }
        _ => None,
    };
    Ok(VerifyJobReport {
        report,
        destination,
        locks,
    })
}
