//! From policies to what would be kept and forgotten in their repositories. Nothing is changed here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use reprise_policies::{
    Candidate, Hold, KeepReason, Policy, PolicySource, RetentionDecision, RetentionPause,
};
use reprise_repository::{
    ForeignSeries, ObjectId, Repository, SignerId, Snapshot, SourceSeries, format_error_chain,
};
use reprise_restore::mysql::RecoveryCatalog;

use super::log_plan::LogForgetPlan;
use super::rules::{
    RetentionParameters, evaluate_rules, recovery_window_start, retention_candidate,
};
use crate::environment::JobEnvironment;
use crate::error::{JobError, JobResult};
use crate::repositories::{find_repository, open_existing};

/// The retention plan of a series in a repository: of the snapshots of a source by one host.
#[derive(Debug)]
pub struct SourcePlan<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// The source.
    pub source: &'a PolicySource,
    /// Who signed its snapshots.
    pub signer: SignerId,
    /// The name of the host, if several hosts have snapshots of the source.
    pub host: Option<String>,
    /// Whom they are of, if the source's name means another host: rules do not concern them.
    pub foreign: Option<ForeignSeries>,
    /// Its snapshots, without forgotten ones.
    pub snapshots: HashMap<ObjectId, Snapshot>,
    /// Those that a keeper has recorded as affected by damage.
    pub affected: BTreeSet<ObjectId>,
    /// What is kept and forgotten, and why.
    pub decision: RetentionDecision<ObjectId>,
    pub(super) candidates: Vec<Candidate<ObjectId>>,
    archive: Option<Arc<RecoveryCatalog>>,
    /// What is forgotten of its log.
    pub log: Option<LogForgetPlan>,
    /// What would be forgotten of its log if the source were not paused.
    pub log_without_pause: Option<LogForgetPlan>,
}

/// A root that cannot be read.
#[derive(Debug)]
pub struct UnreadableSnapshot {
    /// The root.
    pub object: String,
    /// Why.
    pub reason: String,
    /// Whether it is damaged, and not only encrypted to others.
    pub is_damaged: bool,
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
    pub unreadable: Vec<UnreadableSnapshot>,
    /// Where the policies contradict a keeper's record of a host.
    pub disagreements: Vec<String>,
}

/// Plans for sources of policies, repository by repository.
pub fn plan_retention<'a>(
    environment: &JobEnvironment,
    chosen: &[(&'a Policy, &'a PolicySource)],
    named: &[(&'a Policy, &'a PolicySource)],
    only_location: Option<&str>,
    parameters: RetentionParameters,
) -> JobResult<Vec<RepositoryPlan<'a>>> {
    let mut by_location: BTreeMap<String, Vec<(&Policy, &PolicySource, &str)>> = BTreeMap::new();
    for (policy, source) in named {
        for name in &source.repositories {
            let described = find_repository(policy, name)?;
            let location = described.url.to_string();
            if only_location.is_some_and(|only| only != location) {
                continue;
            }
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

/// Series are told apart by name and host, not by policy, so two policies must not have different rules for it.
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
    let foreign = repository.foreign_series(&snapshots)?;
    let mut sources = repository.group_by_series(snapshots);
    let unnamed = sources
        .iter()
        .filter(|(name, _)| !names.contains(&name.as_str()))
        .map(|(name, series)| (name.clone(), series.values().map(Vec::len).sum()))
        .collect();
    let mut plans = Vec::new();
    for (policy, source) in chosen {
        // A source that two policies name is decided once.
        if let Some(series) = sources.remove(&source.name) {
            let planning = SourcePlanning {
                repository: &repository,
                affected: &affected,
                foreign: &foreign,
                policy,
                source,
                parameters,
            };
            plans.extend(planning.plan_series(series)?);
        }
    }
    if !errors.is_empty() {
        // An unreadable snapshot may be one onto which the beginning of a log is replayed.
        for plan in &mut plans {
            plan.log = None;
        }
    }
    let unreadable = errors.iter();
    let unreadable = unreadable.map(|(key, error)| UnreadableSnapshot {
        object: key.to_string(),
        reason: format_error_chain(error),
        is_damaged: !error.is_missing_identity(),
    });
    let unreadable = unreadable.collect();
    Ok(RepositoryPlan {
        disagreements: repository.host_disagreements(),
        repository,
        sources: plans,
        unnamed,
        unreadable,
    })
}

/// What all series of a source have in common.
struct SourcePlanning<'p, 'a> {
    repository: &'p Repository,
    /// Of all snapshots of the repository.
    affected: &'p BTreeSet<ObjectId>,
    /// Of all sources.
    foreign: &'p [ForeignSeries],
    policy: &'a Policy,
    source: &'a PolicySource,
    parameters: RetentionParameters,
}

impl<'a> SourcePlanning<'_, 'a> {
    /// Decides about each host's snapshots by themselves: one host's never take the place of another's.
    fn plan_series(&self, series: SourceSeries) -> JobResult<Vec<SourcePlan<'a>>> {
        let archive = recovery_window_start(self.source, self.parameters.now)
            .map(|_| RecoveryCatalog::load(self.repository, &self.source.name));
        let archive = archive.transpose()?.map(Arc::new);
        let names = match series.len() {
            1 => BTreeMap::new(),
            _ => self.repository.series_names(series.keys()),
        };
        let series = series.into_iter();
        let plans = series.map(|(signer, snapshots)| {
            let host = names.get(&signer).cloned();
            self.plan_one(snapshots, (signer, host), archive.clone())
        });
        let mut plans: Vec<_> = plans.collect();
        share_log(&mut plans);
        Ok(plans)
    }

    fn plan_one(
        &self,
        snapshots: Vec<Snapshot>,
        (signer, host): (SignerId, Option<String>),
        archive: Option<Arc<RecoveryCatalog>>,
    ) -> SourcePlan<'a> {
        let (affected, parameters) = (self.affected, self.parameters);
        let zone = &self.policy.time_zone;
        let candidates = snapshots
            .iter()
            .map(|snapshot| retention_candidate(snapshot, affected, zone, parameters))
            .collect();
        let ids: BTreeSet<ObjectId> = snapshots.iter().map(|one| one.id).collect();
        let snapshots = snapshots.into_iter().map(|one| (one.id, one)).collect();
        let mut evaluation = evaluate_rules(
            candidates,
            archive.as_deref(),
            self.policy,
            self.source,
            parameters,
        );
        let mut foreign = self.foreign.iter();
        let foreign = foreign.find(|one| one.source == self.source.name && one.signer == signer);
        if foreign.is_some() {
            let candidates = &evaluation.candidates;
            evaluation.decision = RetentionDecision::keep_all(candidates, KeepReason::OtherHost);
            evaluation.log = None;
        }
        SourcePlan {
            policy: self.policy,
            source: self.source,
            signer,
            host,
            foreign: foreign.cloned(),
            affected: ids.intersection(affected).copied().collect(),
            snapshots,
            candidates: evaluation.candidates,
            archive,
            log: evaluation
                .log
                .filter(|_| evaluation.decision.anomaly.is_none()),
            log_without_pause: evaluation.log,
            decision: evaluation.decision,
        }
    }
}

/// A log belongs to a source, not to one of its series: what one of them needs of it is not forgotten for another. The
/// part that is forgotten is that of the first one.
fn share_log(plans: &mut [SourcePlan<'_>]) {
    if plans.len() < 2 {
        return;
    }
    let joins = |plan: &SourcePlan<'_>| plan.candidates.iter().any(|one| one.log_range.is_some());
    let none_joins = !plans.iter().any(joins);
    let concerned = |plan: &&SourcePlan<'_>| plan.foreign.is_none() && (none_joins || joins(plan));
    let agreed = |log: fn(&SourcePlan<'_>) -> Option<LogForgetPlan>| {
        let parts: Option<Vec<LogForgetPlan>> = plans.iter().filter(concerned).map(log).collect();
        parts?.into_iter().min_by_key(|part| part.before)
    };
    let (log, without_pause) = (
        agreed(|plan| plan.log),
        agreed(|plan| plan.log_without_pause),
    );
    for (n, plan) in plans.iter_mut().enumerate() {
        plan.log = log.filter(|_| n == 0);
        plan.log_without_pause = without_pause.filter(|_| n == 0);
    }
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
        if self.foreign.is_some() {
            return Ok((BTreeSet::new(), None));
        }
        let demanded =
            recovery_window_start(source, parameters.now).filter(|_| self.archive.is_none());
        let read = demanded.map(|_| RecoveryCatalog::load(repository, &self.source.name));
        let read = read.transpose()?;
        let archive = self.archive.as_deref().or(read.as_ref());
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
        LogForgetPlan::for_range(self.archive.as_deref()?, from, log.before)
    }

    /// `POLICY/SOURCE`, with the host if several hosts have snapshots of the source.
    #[must_use]
    pub fn name(&self) -> String {
        let source = format!("{}/{}", self.policy.name, self.source.name);
        match &self.host {
            Some(host) => format!("{source} of {host}"),
            None => source,
        }
    }
}

/// Names of the sources that would be left without any good snapshot.
#[must_use]
pub fn sources_left_empty(plans: &[RepositoryPlan<'_>]) -> Vec<String> {
    let sources = plans.iter().flat_map(|plan| &plan.sources);
    let empties = sources.filter(|source| source.decision.leaves_nothing_good());
    empties.map(SourcePlan::name).collect()
}
