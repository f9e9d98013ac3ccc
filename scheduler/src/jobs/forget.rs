//! Forgetting what policies no longer keep. Nothing is deleted.

use chrono::{DateTime, Utc};
use reprise_policies::PolicySet;
use reprise_repository::{ObjectId, TombstoneMetadata};
use serde::Serialize;

use super::event::{JobEvent, JobObserver};
use super::tombstones::tombstone_metadata;
use crate::environment::JobEnvironment;
use crate::error::{JobError, JobResult};
use crate::policy_version;
use crate::retention::{
    LogForgetPlan, MaxForget, RepositoryPlan, RetentionParameters, SourcePlan, plan_retention,
};

/// What is forgotten, and within which limits.
#[derive(Debug)]
pub struct ForgetOptions<'a> {
    /// The sources, as `POLICY` or `POLICY/SOURCE`; empty: all.
    pub names: &'a [String],
    /// Only in the repository at this location; `None`: in all.
    pub only_repository: Option<&'a str>,
    /// How retention decides.
    pub retention: RetentionParameters,
    /// How much may be forgotten at once.
    pub limits: MaxForget,
    /// A source may be left without any good snapshot.
    pub allow_empty: bool,
    /// Only plan.
    pub dry_run: bool,
}

/// The tombstones of a source in a repository.
#[derive(Debug, Serialize)]
pub struct WrittenTombstones {
    /// The source's name, without its policy.
    pub source: String,
    /// The name of the host, if several hosts have snapshots of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The repository's location.
    pub repository: String,
    /// Their IDs.
    pub tombstones: Vec<ObjectId>,
}

/// What was planned and done.
#[derive(Debug)]
pub struct ForgetReport<'a> {
    /// The plans, repository by repository.
    pub plans: Vec<RepositoryPlan<'a>>,
    /// What was written; with `dry_run`, nothing.
    pub written: Vec<WrittenTombstones>,
}

/// Forgets what policies no longer keep. All plans are made, told and checked before anything is written.
///
/// # Errors
/// When a repository cannot be read, more would be forgotten than is allowed, or the keeper's key is missing.
pub fn run_forget<'a>(
    environment: &JobEnvironment,
    policies: &'a PolicySet,
    options: &ForgetOptions<'_>,
    observe: JobObserver<'_>,
) -> JobResult<ForgetReport<'a>> {
    let chosen = policies.select_sources(options.names)?;
    let named = policies.select_sources(&[])?;
    let only = options.only_repository;
    let plans = plan_retention(environment, &chosen, &named, only, options.retention)?;
    observe(JobEvent::ForgetPlanned { plans: &plans });
    refuse_too_much(options, &plans)?;
    let mut written = Vec::new();
    if !options.dry_run {
        for plan in &plans {
            for source in &plan.sources {
                written.extend(write_tombstones(
                    environment,
                    plan,
                    source,
                    options.retention.now,
                    observe,
                )?);
            }
        }
    }
    Ok(ForgetReport { plans, written })
}

fn refuse_too_much(options: &ForgetOptions<'_>, plans: &[RepositoryPlan<'_>]) -> JobResult<()> {
    let sources = || plans.iter().flat_map(|plan| &plan.sources);
    let empty = sources().find(|source| source.decision.leaves_nothing_good());
    if let Some(source) = empty.filter(|_| !options.allow_empty) {
        return Err(JobError::WouldLeaveNothing {
            series: source.name(),
        });
    }
    let count = sources()
        .map(|source| source.snapshots_to_forget().len())
        .sum();
    let logs = sources().filter_map(|source| source.log.as_ref());
    refuse_over_limits(count, logs, options.limits)
}

/// Refuses to forget more than the limits allow.
pub(super) fn refuse_over_limits<'a>(
    snapshots: usize,
    logs: impl Iterator<Item = &'a LogForgetPlan>,
    limits: MaxForget,
) -> JobResult<()> {
    match limits.describe_excess(snapshots, logs) {
        Some(excess) => Err(JobError::ForgetLimitExceeded { excess }),
        None => Ok(()),
    }
}

fn write_tombstones(
    environment: &JobEnvironment,
    plan: &RepositoryPlan<'_>,
    source: &SourcePlan<'_>,
    now: DateTime<Utc>,
    observe: JobObserver<'_>,
) -> JobResult<Option<WrittenTombstones>> {
    let forgotten = source.snapshots_to_forget();
    if forgotten.is_empty() && source.log.is_none() {
        return Ok(None);
    }
    let repository = &plan.repository;
    let keeper = environment.load_keeper(repository, "forget snapshots")?;
    let metadata = policy_metadata(environment, source, now);
    let mut tombstones = Vec::new();
    if !forgotten.is_empty() {
        tombstones = repository.forget_snapshots(&keeper, &forgotten, &metadata)?;
        observe(JobEvent::SnapshotsForgotten {
            series: &source.name(),
            count: forgotten.len(),
        });
    }
    if let Some(log) = &source.log {
        let name = &source.source.name;
        tombstones.extend(repository.forget_log(&keeper, name, log.before, &metadata)?);
    }
    Ok(Some(WrittenTombstones {
        source: source.source.name.clone(),
        host: source.host.clone(),
        repository: repository.location(),
        tombstones,
    }))
}

fn policy_metadata(
    environment: &JobEnvironment,
    source: &SourcePlan<'_>,
    now: DateTime<Utc>,
) -> TombstoneMetadata {
    let version = policy_version::read_policy_version(&source.policy.path);
    let reason = format!(
        "retention of {} by {}",
        source.name(),
        policy_version::describe_version(&version)
    );
    tombstone_metadata(environment, reason, Some(version), now)
}
