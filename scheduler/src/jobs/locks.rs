//! Extending the locks of what is still needed.

use std::sync::Arc;

use reprise_policies::PolicyRepository;
use reprise_repository::backend::ImmutabilityPolicy;
use reprise_repository::{LockReport, Progress, Repository};

use crate::environment::JobEnvironment;
use crate::error::JobResult;
use crate::repositories::destination_options;

/// Extends the locks of a policy's repository; `None` where the policy requires no locks.
///
/// # Errors
/// When the repository cannot be read. Objects whose locks cannot be extended are in the report.
pub fn extend_locks(
    environment: &JobEnvironment,
    described: &PolicyRepository,
    repository: &Repository,
    progress: &Arc<Progress>,
) -> JobResult<Option<(ImmutabilityPolicy, LockReport)>> {
    let Some(immutable) = destination_options(described).immutable else {
        return Ok(None);
    };
    let report = repository.extend_locks(immutable, (environment.clock)(), progress)?;
    Ok(Some((immutable, report)))
}
