//! From policies to what would be kept and forgotten in their repositories. Nothing is changed here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use reprise_policies::{Candidate, Hold, Policy, PolicySource, RetentionDecision, RetentionPause};
use reprise_repository::{ObjectId, Repository, Snapshot, format_error_chain};
use reprise_restore::mysql::RecoveryCatalog;

use super::log_plan::LogForgetPlan;
use super::rules::{
    RetentionParameters, evaluate_rules, recovery_window_start, retention_candidate,
};
use crate::environment::JobEnvironment;
use crate::error::{JobError, JobResult};
use crate::repositories::{find_repository, open_existing};

/// The retention plan of a source in a repository.
#[derive(Debug)]
pub struct SourcePlan<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// The source.
    pub source: &'a PolicySource,
    /// Its snapshots, without forgotten ones.
    pub snapshots: HashMap<ObjectId, Snapshot>,
    /// Those that a keeper has recorded as affected by damage.
    pub affected: BTreeSet<ObjectId>,
    /// What is kept and forgotten, and why.
    pub decision: RetentionDecision<ObjectId>,
    pub(super) candidates: Vec<Candidate<ObjectId>>,
    archive: Option<RecoveryCatalog>,
    /// What is forgotten of its log.
    pub log: Option<LogForgetPlan>,
    /// What would be forgotten of its log if the source were not paused.
    pub log_without_pause: Option<LogForgetPlan>,
}

/// The retention plan of a repository.
#[derive(Debug)]
pub struct RepositoryPlan<'a> {
    /// The repository, open.
    pub repository: Repository,
    /// The plans of its sources.
    pub sources: Vec<SourcePlan<'a>>,
    /// Sources that no policy names, with their number of snapshots: none of them is forgotten.
    pub unnamed: BTreeMap<String, usize>,
    /// Roots that cannot be read, and why.
    pub unreadable: Vec<(String, String)>,
}

/// Plans for sources of policies, repository by repository.
pub fn plan_retention<'a>(
    environment: &JobEnvironment,
    chosen: &[(&'a Policy, &'a PolicySource)],
    named: &[(&'a Policy, &'a PolicySource)],
    parameters: RetentionParameters,
) -> JobResult<Vec<RepositoryPlan<'a>>> {
    let mut by_location: BTreeMap<String, Vec<(&Policy, &PolicySource, &str)>> = BTreeMap::new();
    for (policy, source) in named {
        for name in &source.repositories {
            let described = find_repository(policy, name)?;
            let location = described.url.to_string();
            by_location
                .entry(location)
                .or_default()
                .push((policy, source, name));
        }
    }
    let is_chosen =
        |source: &PolicySource| chosen.iter().any(|(_, one)| std::ptr::eq(*one, source));
    let mut plans = Vec::new();
    for (location, all) in by_location {
        refuse_contradictions(&location, &all)?;
        let mut here = all
            .iter()
            .filter(|(_, source, _)| is_chosen(source))
            .peekable();
        let Some((policy, _, name)) = here.peek() else {
            continue;
        };
        let described = find_repository(policy, name)?;
        let repository = open_existing(environment, described, &[])?;
        let names: Vec<&str> = all
            .iter()
            .map(|(_, source, _)| source.name.as_str())
            .collect();
        let here: Vec<_> = here.map(|(policy, source, _)| (*policy, *source)).collect();
        plans.push(plan_repository(repository, &here, &names, parameters)?);
    }
    Ok(plans)
}

/// Snapshots of one name are one series, so two policies must not have different rules for it.
fn refuse_contradictions(location: &str, all: &[(&Policy, &PolicySource, &str)]) -> JobResult<()> {
    let mut seen: BTreeMap<&str, (&Policy, &PolicySource)> = BTreeMap::new();
    for (policy, source, _) in all {
        let (first, known) = *seen.entry(&source.name).or_insert((*policy, *source));
        if known.retention != source.retention || first.time_zone != policy.time_zone {
            return Err(JobError::ContradictoryPolicies {
                first: first.name.clone(),
                second: policy.name.clone(),
                series: source.name.clone(),
                location: location.to_owned(),
            });
        }
    }
    Ok(())
}

fn plan_repository<'a>(
    repository: Repository,
    chosen: &[(&'a Policy, &'a PolicySource)],
    names: &[&str],
    parameters: RetentionParameters,
) -> JobResult<RepositoryPlan<'a>> {
    let (snapshots, errors) = repository.snapshots_lossy()?;
    let affected = repository.degraded_snapshots()?;
    let mut series: BTreeMap<String, Vec<Snapshot>> = BTreeMap::new();
    for snapshot in snapshots {
        let name = snapshot.root.source.clone();
        series.entry(name).or_default().push(snapshot);
    }
    let unnamed = series
        .iter()
        .filter(|(name, _)| !names.contains(&name.as_str()))
        .map(|(name, snapshots)| (name.clone(), snapshots.len()))
        .collect();
    let mut plans = Vec::new();
    for (policy, source) in chosen {
        // A source that two policies name is decided once.
        if let Some(snapshots) = series.remove(&source.name) {
            let series = SourceSnapshots {
                snapshots,
                affected: &affected,
            };
            plans.push(plan_source(
                &repository,
                policy,
                source,
                series,
                parameters,
            )?);
        }
    }
    if !errors.is_empty() {
        // An unreadable snapshot may be one onto which the beginning of a log is replayed.
        for plan in &mut plans {
            plan.log = None;
        }
    }
    let unreadable = errors.iter();
    let unreadable = unreadable.map(|(key, error)| (key.to_string(), format_error_chain(error)));
    let unreadable = unreadable.collect();
    Ok(RepositoryPlan {
        repository,
        sources: plans,
        unnamed,
        unreadable,
    })
}

/// The snapshots of a source, and which of the repository's are affected by damage.
struct SourceSnapshots<'a> {
    snapshots: Vec<Snapshot>,
    affected: &'a BTreeSet<ObjectId>,
}

fn plan_source<'a>(
    repository: &Repository,
    policy: &'a Policy,
    source: &'a PolicySource,
    series: SourceSnapshots<'_>,
    parameters: RetentionParameters,
) -> JobResult<SourcePlan<'a>> {
    let SourceSnapshots {
        snapshots,
        affected,
    } = series;
    let archive = recovery_window_start(source, parameters.now)
        .map(|_| RecoveryCatalog::load(repository, &source.name));
    let archive = archive.transpose()?;
    let candidates = snapshots
        .iter()
        .map(|snapshot| retention_candidate(snapshot, affected, &policy.time_zone, parameters))
        .collect();
    let ids: BTreeSet<ObjectId> = snapshots.iter().map(|one| one.id).collect();
    let snapshots = snapshots.into_iter().map(|one| (one.id, one)).collect();
    let evaluation = evaluate_rules(candidates, archive.as_ref(), policy, source, parameters);
    Ok(SourcePlan {
        policy,
        source,
        affected: ids.intersection(affected).copied().collect(),
        snapshots,
        candidates: evaluation.candidates,
        archive,
        log: evaluation
            .log
            .filter(|_| evaluation.decision.anomaly.is_none()),
        log_without_pause: evaluation.log,
        decision: evaluation.decision,
    })
}

impl SourcePlan<'_> {
    /// Holds that cannot be understood, with their snapshots.
    pub fn invalid_holds(&self) -> impl Iterator<Item = (ObjectId, &Hold)> {
        let holds = self.candidates.iter();
        let holds = holds.filter_map(|one| one.hold.as_ref().map(|hold| (one.id, hold)));
        holds.filter(|(_, hold)| matches!(hold, Hold::Invalid(_)))
    }

    /// What is forgotten, newest first.
    pub fn snapshots_to_forget(&self) -> Vec<ObjectId> {
        self.decision.forgotten().copied().collect()
    }

    /// Why nothing is forgotten, if a snapshot or a part of the log would be.
    pub fn active_pause(&self) -> Option<&RetentionPause> {
        let anomaly = &self.decision.anomaly;
        let log = anomaly
            .as_ref()
            .filter(|_| self.log_without_pause.is_some());
        self.decision.pause.as_ref().or(log)
    }

    /// What is forgotten when the source is no longer paused.
    pub fn snapshots_to_forget_without_pause(&self) -> BTreeSet<ObjectId> {
        self.decision.forgotten_without_pause().copied().collect()
    }

    /// What other rules forget of the same snapshots when the source is not paused, and what these rules and not the
    /// others forget of the log.
    pub fn compare_with(
        &self,
        repository: &Repository,
        (policy, source): (&Policy, &PolicySource),
        parameters: RetentionParameters,
    ) -> JobResult<(BTreeSet<ObjectId>, Option<LogForgetPlan>)> {
        let demanded =
            recovery_window_start(source, parameters.now).filter(|_| self.archive.is_none());
        let read = demanded.map(|_| RecoveryCatalog::load(repository, &self.source.name));
        let read = read.transpose()?;
        let archive = self.archive.as_ref().or(read.as_ref());
        let evaluation =
            evaluate_rules(self.candidates.clone(), archive, policy, source, parameters);
        let from = evaluation.log.map_or(0, |log| log.before);
        let forgotten = evaluation
            .decision
            .forgotten_without_pause()
            .copied()
            .collect();
        Ok((forgotten, self.log_to_forget_from(from)))
    }

    /// What is forgotten of the log when the source is not paused, from a sequence on.
    pub fn log_to_forget_from(&self, from: u64) -> Option<LogForgetPlan> {
        let log = self.log_without_pause?;
        LogForgetPlan::for_range(self.archive.as_ref()?, from, log.before)
    }

    /// `POLICY/SOURCE`
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.policy.name, self.source.name)
    }
}

/// Names of the sources that would be left without any good snapshot.
#[must_use]
pub fn sources_left_empty(plans: &[RepositoryPlan<'_>]) -> Vec<String> {
    let sources = plans.iter().flat_map(|plan| &plan.sources);
    let empties = sources.filter(|source| source.decision.leaves_nothing_good());
    empties.map(SourcePlan::name).collect()
}
