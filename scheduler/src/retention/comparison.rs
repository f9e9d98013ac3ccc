//! What another version of the policies would forget.

use std::collections::BTreeSet;

use reprise_policies::{Policy, PolicySet, PolicySource};
use reprise_repository::ObjectId;

use super::log_plan::LogForgetPlan;
use super::plan::{RepositoryPlan, SourcePlan};
use super::rules::RetentionParameters;
use crate::error::JobResult;

/// What differs for a source between two versions of a policy.
#[derive(Debug)]
pub struct SourceChange {
    /// `POLICY/SOURCE`, with the host if several hosts have snapshots of the source.
    pub source: String,
    /// The repository's location.
    pub repository: String,
    /// What only the new version forgets, pauses ignored.
    pub newly_forgotten: Vec<ObjectId>,
    /// How many of them are forgotten although the source may be paused.
    pub newly_forgotten_now: usize,
    /// What only the new version forgets of the log, pauses ignored.
    pub log: Option<LogForgetPlan>,
    /// What only the old version forgets.
    pub newly_kept: Vec<ObjectId>,
}

/// How much is forgotten: numbers of snapshots, and parts of logs.
#[derive(Debug)]
pub struct ForgetCounts {
    /// Snapshots that are forgotten now.
    pub now: usize,
    /// Snapshots that are forgotten when no source is paused any more.
    pub without_pause: usize,
    /// The parts of logs.
    pub log_plans: Vec<LogForgetPlan>,
}

/// Counts what plans forget; with changes, only what the new version forgets and the old one does not.
#[must_use]
pub fn count_forgotten(
    plans: &[RepositoryPlan<'_>],
    changes: Option<&[SourceChange]>,
) -> ForgetCounts {
    if let Some(changes) = changes {
        return ForgetCounts {
            now: changes
                .iter()
                .map(|change| change.newly_forgotten_now)
                .sum(),
            without_pause: changes
                .iter()
                .map(|change| change.newly_forgotten.len())
                .sum(),
            log_plans: changes.iter().filter_map(|change| change.log).collect(),
        };
    }
    let sources = || plans.iter().flat_map(|plan| &plan.sources);
    ForgetCounts {
        now: sources()
            .map(|source| source.snapshots_to_forget().len())
            .sum(),
        without_pause: sources()
            .map(|source| source.snapshots_to_forget_without_pause().len())
            .sum(),
        log_plans: sources()
            .filter_map(|source| source.log_without_pause)
            .collect(),
    }
}

/// What differs between plans and those of another version of the policies.
///
/// # Errors
/// When a log cannot be read.
pub fn compare_policies(
    plans: &[RepositoryPlan<'_>],
    old: &PolicySet,
    parameters: RetentionParameters,
) -> JobResult<Vec<SourceChange>> {
    let mut changes = Vec::new();
    for plan in plans {
        for source in &plan.sources {
            let (before, log) = match find_counterpart(old, source) {
                Some(other) => source.compare_with(&plan.repository, other, parameters)?,
                None => (BTreeSet::new(), source.log_to_forget_from(0)),
            };
            let new = source.snapshots_to_forget_without_pause();
            let lost: Vec<ObjectId> = new.difference(&before).copied().collect();
            let now: BTreeSet<ObjectId> = source.snapshots_to_forget().into_iter().collect();
            changes.push(SourceChange {
                source: source.name(),
                repository: plan.repository.location(),
                newly_forgotten_now: lost.iter().filter(|id| now.contains(id)).count(),
                newly_forgotten: lost,
                log,
                newly_kept: before.difference(&new).copied().collect(),
            });
        }
    }
    Ok(changes)
}

/// The same source in another version: of the policy with the same name, or the only one with its name, as the other
/// version may have another name only because it is in another file.
fn find_counterpart<'a>(
    old: &'a PolicySet,
    source: &SourcePlan<'_>,
) -> Option<(&'a Policy, &'a PolicySource)> {
    let name = &source.source.name;
    let same = old.policy(&source.policy.name);
    let same = same.and_then(|policy| Some((policy, policy.sources.get(name)?)));
    same.or_else(|| old.find_source(name).ok())
}
