//! Deleting what no kept snapshot needs.

use std::collections::BTreeSet;
use std::sync::Arc;

use reprise_policies::{PolicyRepository, PolicySet};
use reprise_repository::{Progress, PruneOptions, PrunePlan, PruneReport, Repository};

use super::event::{JobEvent, JobObserver};
use crate::error::JobResult;
use crate::repositories::find_repository;

/// A completed prune.
#[derive(Debug)]
pub struct PruneJobReport {
    /// What was planned.
    pub plan: PrunePlan,
    /// What was done; with `dry_run`, nothing.
    pub report: PruneReport,
}

impl PruneJobReport {
    /// Whether nothing was found that should not be there.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.plan.findings.is_empty() && self.report.findings.is_empty()
    }
}

/// Prunes a repository; its plan is told before anything is deleted.
///
/// # Errors
/// When it cannot be read, or something forbids to delete.
pub fn prune_repository(
    repository: &Repository,
    options: &PruneOptions,
    progress: &Arc<Progress>,
    observe: JobObserver<'_>,
) -> JobResult<PruneJobReport> {
    let mut plan = PrunePlan::default();
    let location = repository.location();
    let report = repository.prune(options, progress, |planned| {
        observe(JobEvent::PrunePlanned {
            location: &location,
            plan: planned,
        });
        plan = planned.clone();
    })?;
    Ok(PruneJobReport { plan, report })
}

/// A repository that policies name, and whether snapshots get there only by copies.
#[derive(Debug)]
pub struct PolicyDestination<'a> {
    /// The repository.
    pub repository: &'a PolicyRepository,
    /// No source is stored in it: it is the destination of a copy, and may not exist yet.
    pub only_copies: bool,
}

/// The repositories of the sources and copies of policies, each location once, those of sources first.
///
/// # Errors
/// When a source or copy names a repository that its policy does not define.
pub fn policy_destinations(policies: &PolicySet) -> JobResult<Vec<PolicyDestination<'_>>> {
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    let mut add = |repository: &'_ PolicyRepository| seen.insert(repository.url.to_string());
    for (policy, source) in policies.select_sources(&[])? {
        for name in &source.repositories {
            let repository = find_repository(policy, name)?;
            if add(repository) {
                found.push(PolicyDestination {
                    repository,
                    only_copies: false,
                });
            }
        }
    }
    for (policy, copy) in policies.copies() {
        let repository = find_repository(policy, &copy.to)?;
        if add(repository) {
            found.push(PolicyDestination {
                repository,
                only_copies: true,
            });
        }
    }
    Ok(found)
}
