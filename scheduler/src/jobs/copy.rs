//! Copying a repository's snapshots and logs to another destination.

use std::sync::Arc;

use reprise_policies::{CopyJob, Policy};
use reprise_repository::backend::{Backend, Traffic};
use reprise_repository::{CopyReport, Progress, Repository};

use super::event::{JobObserver, tell_created};
use crate::environment::JobEnvironment;
use crate::error::JobResult;
use crate::repositories::{
    destination_options, find_repository, open_for_writing, open_repository,
};

/// A completed copy.
#[derive(Debug)]
pub struct CopyJobReport {
    /// Location of the repository that was read.
    pub from: String,
    /// Location of the copy.
    pub to: String,
    /// What was copied.
    pub report: CopyReport,
    /// Requests and bytes at the repository that was read.
    pub traffic_from: Traffic,
    /// Requests and bytes at the copy.
    pub traffic_to: Traffic,
}

/// Copies a repository to a destination.
///
/// # Errors
/// When one cannot be read or the other not be written. Objects that could not be copied are in the report.
pub fn copy_repository(
    from: &Repository,
    target: &dyn Backend,
    progress: &Arc<Progress>,
) -> JobResult<CopyJobReport> {
    let report = from.copy_to(target, progress)?;
    Ok(CopyJobReport {
        from: from.location(),
        to: target.location(),
        report,
        traffic_from: from.traffic(),
        traffic_to: target.traffic(),
    })
}

/// Carries out a copy that a policy describes.
///
/// # Errors
/// As [`copy_repository`]; and when a repository is not as the policy describes it.
pub fn copy_by_policy(
    environment: &JobEnvironment,
    policy: &Policy,
    copy: &CopyJob,
    progress: &Arc<Progress>,
    observe: JobObserver<'_>,
) -> JobResult<CopyJobReport> {
    let (from, to) = (
        find_repository(policy, &copy.from)?,
        find_repository(policy, &copy.to)?,
    );
    let from = open_repository(environment, from, &[], &mut tell_created(observe))?;
    let target = open_for_writing(environment, &to.url, &destination_options(to))?;
    copy_repository(&from, target.as_ref(), progress)
}
