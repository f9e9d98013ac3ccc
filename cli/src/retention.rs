//! From policies to what would be kept and forgotten in their repositories. Nothing is changed here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use reprise_mysql::log::{StoredSegment, time_from_micros};
use reprise_policies::{
    Candidate, HOLD_TAG, Hold, KeepReason, Policy, PolicySource, Retention, RetentionDecision,
    RetentionOptions, RetentionPause, RetentionVerdict, Tz, decide_retention,
};
use reprise_repository::{ObjectId, Outcome, Repository, Snapshot, format_error_chain};
use reprise_restore::mysql::recovery::RecoveryCatalog;
use serde::Serialize;
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::sources;

/// Parameters of the decision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetentionParameters {
    pub(crate) now: DateTime<Utc>,
    pub(crate) accept_flood: bool,
    /// Use the times recorded in the snapshots, not when the storage received them.
    pub(crate) trust_times: bool,
}

/// The retention plan of a source in a repository.
#[derive(Debug)]
pub(crate) struct SourcePlan<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) source: &'a PolicySource,
    /// Its snapshots, without forgotten ones.
    pub(crate) snapshots: HashMap<ObjectId, Snapshot>,
    /// Those that a keeper has recorded as affected by damage.
    affected: BTreeSet<ObjectId>,
    pub(crate) decision: RetentionDecision<ObjectId>,
    candidates: Vec<Candidate<ObjectId>>,
    archive: Option<RecoveryCatalog>,
    /// What is forgotten of its log.
    pub(crate) log: Option<LogForgetPlan>,
    /// What would be forgotten of its log if the source were not paused.
    pub(crate) log_without_pause: Option<LogForgetPlan>,
}

/// The oldest part of a log, to be forgotten.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct LogForgetPlan {
    /// The sequence of the first segment that is kept.
    pub(crate) before: u64,
    /// How many segments are forgotten.
    pub(crate) segments: usize,
    /// Their stored bytes.
    pub(crate) bytes: u64,
    /// The time that they cover, if known.
    pub(crate) seconds: Option<i64>,
}

impl LogForgetPlan {
    /// The segments of a log from one sequence until before another; `None`: there are none.
    fn for_range(archive: &RecoveryCatalog, from: u64, before: u64) -> Option<Self> {
        let segments = archive.log().segments().iter();
        let going = segments.filter(|segment| (from..before).contains(&segment.key.sequence));
        let going: Vec<&StoredSegment> = going.collect();
        (!going.is_empty()).then(|| Self {
            before,
            segments: going.len(),
            bytes: going.iter().map(|segment| segment.key.size).sum(),
            seconds: covered_time(&going).map(|span| span.num_seconds()),
        })
    }
}

/// The time that log segments cover, by their server's times or the storage's, whichever is longer.
fn covered_time(segments: &[&StoredSegment]) -> Option<TimeDelta> {
    let span = |times: Vec<DateTime<Utc>>| Some(*times.iter().max()? - *times.iter().min()?);
    let received = segments.iter().filter_map(|segment| segment.key.received);
    let told = segments.iter().flat_map(|segment| {
        let (first, last) = segment.facts.times.unzip();
        [first, last, segment.facts.until]
    });
    let told = told.flatten().map(time_from_micros);
    span(received.collect()).max(span(told.collect()))
}

impl fmt::Display for LogForgetPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}",
            output::format_count(self.segments, "log segment", "log segments"),
            output::format_bytes(self.bytes)
        )?;
        match self.seconds {
            Some(seconds) => write!(f, ", {} min)", seconds / 60),
            None => f.write_str(", of unknown duration)"),
        }
    }
}

/// The retention plan of a repository.
#[derive(Debug)]
pub(crate) struct RepositoryPlan<'a> {
    pub(crate) repository: Repository,
    pub(crate) sources: Vec<SourcePlan<'a>>,
    /// Sources that no policy names, with their number of snapshots: none of them is forgotten.
    pub(crate) unnamed: BTreeMap<String, usize>,
    /// Roots that cannot be read, and why.
    pub(crate) unreadable: Vec<(String, String)>,
}

/// Plans for sources of policies, repository by repository.
pub(crate) fn plan_retention<'a>(
    context: &Context,
    chosen: &[(&'a Policy, &'a PolicySource)],
    named: &[(&'a Policy, &'a PolicySource)],
    wanted: RetentionParameters,
) -> Result<Vec<RepositoryPlan<'a>>, Failure> {
    let mut places: BTreeMap<String, Vec<(&Policy, &PolicySource, &str)>> = BTreeMap::new();
    for (policy, source) in named {
        for name in &source.repositories {
            let described = sources::find_repository(policy, name)?;
            let place = sources::repository_location(described)?.to_string();
            places
                .entry(place)
                .or_default()
                .push((policy, source, name));
        }
    }
    let is_chosen =
        |source: &PolicySource| chosen.iter().any(|(_, one)| std::ptr::eq(*one, source));
    let mut plans = Vec::new();
    for (place, all) in places {
        refuse_contradictions(&place, &all)?;
        let mut here = all
            .iter()
            .filter(|(_, source, _)| is_chosen(source))
            .peekable();
        let Some((policy, _, name)) = here.peek() else {
            continue;
        };
        let described = sources::find_repository(policy, name)?;
        let repository = sources::open_existing(context, described)?;
        let names: Vec<&str> = all
            .iter()
            .map(|(_, source, _)| source.name.as_str())
            .collect();
        let here: Vec<_> = here.map(|(policy, source, _)| (*policy, *source)).collect();
        plans.push(plan_repository(repository, &here, &names, wanted)?);
    }
    Ok(plans)
}

/// Snapshots of one name are one series, so two policies must not have different rules for it.
fn refuse_contradictions(
    place: &str,
    all: &[(&Policy, &PolicySource, &str)],
) -> Result<(), Failure> {
    let mut seen: BTreeMap<&str, (&Policy, &PolicySource)> = BTreeMap::new();
    for (policy, source, _) in all {
        let (first, known) = *seen.entry(&source.name).or_insert((*policy, *source));
        if known.retention != source.retention || first.time_zone != policy.time_zone {
            let message = format!(
                "policies {} and {} have different retention or time zones for the source {} in {place}",
                first.name, policy.name, source.name
            );
            let hint = "give the sources different names, or the same retention and time zone";
            return Err(Failure::usage(message, hint));
        }
    }
    Ok(())
}

fn plan_repository<'a>(
    repository: Repository,
    chosen: &[(&'a Policy, &'a PolicySource)],
    names: &[&str],
    wanted: RetentionParameters,
) -> Result<RepositoryPlan<'a>, Failure> {
    let (snapshots, errors) = repository.snapshots_lossy()?;
    let hurt = repository.degraded_snapshots()?;
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
                affected: &hurt,
            };
            plans.push(plan_source(&repository, policy, source, series, wanted)?);
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
    wanted: RetentionParameters,
) -> Result<SourcePlan<'a>, Failure> {
    let SourceSnapshots {
        snapshots,
        affected: hurt,
    } = series;
    let archive = recovery_window_start(source, wanted.now)
        .map(|_| RecoveryCatalog::load(repository, &source.name));
    let archive = archive.transpose()?;
    let candidates = snapshots
        .iter()
        .map(|snapshot| retention_candidate(snapshot, hurt, policy.time_zone, wanted))
        .collect();
    let ids: BTreeSet<ObjectId> = snapshots.iter().map(|one| one.id).collect();
    let snapshots = snapshots.into_iter().map(|one| (one.id, one)).collect();
    let judged = evaluate_rules(candidates, archive.as_ref(), policy, source, wanted);
    Ok(SourcePlan {
        policy,
        source,
        affected: ids.intersection(hurt).copied().collect(),
        snapshots,
        candidates: judged.candidates,
        archive,
        log: judged.log.filter(|_| judged.decision.anomaly.is_none()),
        log_without_pause: judged.log,
        decision: judged.decision,
    })
}

/// The result of a source's rules.
struct RuleEvaluation {
    candidates: Vec<Candidate<ObjectId>>,
    decision: RetentionDecision<ObjectId>,
    /// The part of the log that is no longer needed.
    log: Option<LogForgetPlan>,
}

/// Which log ranges matter depends on the recovery window of the rules, so each version of them gets its own.
fn evaluate_rules(
    mut candidates: Vec<Candidate<ObjectId>>,
    archive: Option<&RecoveryCatalog>,
    policy: &Policy,
    source: &PolicySource,
    wanted: RetentionParameters,
) -> RuleEvaluation {
    let logged = recovery_window_start(source, wanted.now).zip(archive);
    let stretches = logged.map(|(begin, archive)| archive.log_ranges_since(begin));
    let stretches = stretches.unwrap_or_default();
    for one in &mut candidates {
        one.log_range = stretches.get(&one.id).copied();
    }
    let rules = source.retention.as_ref();
    let decision = apply_rules(&candidates, rules, policy.time_zone, wanted);
    let log = logged.and_then(|(begin, archive)| plan_log(&decision, archive, begin));
    RuleEvaluation {
        candidates,
        decision,
        log,
    }
}

/// The start of the recovery window.
fn recovery_window_start(source: &PolicySource, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let span = source.retention.as_ref()?.point_in_time?;
    let span = TimeDelta::from_std(span).ok();
    let begin = span.and_then(|span| now.checked_sub_signed(span));
    Some(begin.unwrap_or(DateTime::<Utc>::MIN_UTC))
}

/// The part of a log that is no longer needed.
fn plan_log(
    decision: &RetentionDecision<ObjectId>,
    archive: &RecoveryCatalog,
    begin: DateTime<Utc>,
) -> Option<LogForgetPlan> {
    let is_base = |verdict: &RetentionVerdict| matches!(verdict, RetentionVerdict::Keep { reasons } if reasons.contains(&KeepReason::PointInTime));
    let bases = decision.verdicts.iter();
    let bases = bases.filter(|(_, verdict)| is_base(verdict));
    let bases = bases.map(|(id, _)| *id).collect();
    let before = archive.first_needed_segment(begin, &bases)?;
    LogForgetPlan::for_range(archive, 0, before)
}

/// Without rules nothing is ever forgotten.
fn apply_rules(
    candidates: &[Candidate<ObjectId>],
    rules: Option<&Retention>,
    zone: Tz,
    wanted: RetentionParameters,
) -> RetentionDecision<ObjectId> {
    let options = RetentionOptions::with_accept_flood(wanted.accept_flood);
    match rules {
        Some(rules) => decide_retention(candidates, rules, wanted.now, zone, options),
        None => RetentionDecision::keep_all(candidates),
    }
}

/// A snapshot as retention sees it, without its log and its hold.
pub(crate) fn candidate_without_hold(
    snapshot: &Snapshot,
    hurt: &BTreeSet<ObjectId>,
    wanted: RetentionParameters,
) -> Candidate<ObjectId> {
    let root = &snapshot.root;
    Candidate {
        id: snapshot.id,
        data_time: root.data_time,
        received: snapshot.received.filter(|_| !wanted.trust_times),
        good: root.outcome == Outcome::Ok && !hurt.contains(&snapshot.id),
        hold: None,
        log_range: None,
    }
}

fn retention_candidate(
    snapshot: &Snapshot,
    hurt: &BTreeSet<ObjectId>,
    zone: Tz,
    wanted: RetentionParameters,
) -> Candidate<ObjectId> {
    let root = &snapshot.root;
    Candidate {
        hold: root.tags.get(HOLD_TAG).map(|text| Hold::parse(text, zone)),
        ..candidate_without_hold(snapshot, hurt, wanted)
    }
}

impl SourcePlan<'_> {
    /// What is forgotten, newest first.
    pub(crate) fn snapshots_to_forget(&self) -> Vec<ObjectId> {
        self.decision.forgotten().copied().collect()
    }

    /// Why nothing is forgotten, if a snapshot or a part of the log would be.
    fn active_pause(&self) -> Option<&RetentionPause> {
        let trouble = &self.decision.anomaly;
        let log = trouble
            .as_ref()
            .filter(|_| self.log_without_pause.is_some());
        self.decision.pause.as_ref().or(log)
    }

    /// What is forgotten when the source is no longer paused.
    pub(crate) fn snapshots_to_forget_without_pause(&self) -> BTreeSet<ObjectId> {
        self.decision.forgotten_without_pause().copied().collect()
    }

    /// What other rules forget of the same snapshots when the source is not paused, and what these rules and not the
    /// others forget of the log.
    pub(crate) fn compare_with(
        &self,
        repository: &Repository,
        (policy, source): (&Policy, &PolicySource),
        wanted: RetentionParameters,
    ) -> Result<(BTreeSet<ObjectId>, Option<LogForgetPlan>), Failure> {
        let demanded = recovery_window_start(source, wanted.now).filter(|_| self.archive.is_none());
        let read = demanded.map(|_| RecoveryCatalog::load(repository, &self.source.name));
        let read = read.transpose()?;
        let archive = self.archive.as_ref().or(read.as_ref());
        let judged = evaluate_rules(self.candidates.clone(), archive, policy, source, wanted);
        let from = judged.log.map_or(0, |log| log.before);
        let going = judged.decision.forgotten_without_pause().copied().collect();
        Ok((going, self.log_to_forget_from(from)))
    }

    /// What is forgotten of the log when the source is not paused, from a sequence on.
    pub(crate) fn log_to_forget_from(&self, from: u64) -> Option<LogForgetPlan> {
        let log = self.log_without_pause?;
        LogForgetPlan::for_range(self.archive.as_ref()?, from, log.before)
    }

    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.policy.name, self.source.name)
    }

    /// Prints the verdict of each of its snapshots. Kept ones are left out where they are many.
    pub(crate) fn print(&self, location: &str, verbose: bool) {
        let going = self.decision.forgotten().count();
        let kept = self.decision.verdicts.len() - going;
        output::print_line(&format!(
            "{} in {location}: {kept} kept, {going} forgotten",
            self.name()
        ));
        let mut rows = Vec::new();
        for (id, verdict) in &self.decision.verdicts {
            let Some(snapshot) = self.snapshots.get(id) else {
                continue;
            };
            let (word, why) = describe_verdict(verdict);
            if verbose || !verdict.is_kept() || kept <= KEPT_SHOWN_MAX {
                let time = output::format_time(&snapshot.root.data_time);
                let hurt = if self.affected.contains(id) {
                    ", affected by damage"
                } else {
                    ""
                };
                let outcome = format!("{}{hurt}", snapshot.root.outcome);
                rows.push(vec![
                    format!("  {}", id.short()),
                    time,
                    outcome,
                    word.to_owned(),
                    why,
                ]);
            }
        }
        output::print_table(&rows);
        if let Some(log) = &self.log {
            output::print_line(&format!(
                "  {log} forgotten: not needed for point-in-time recovery any more"
            ));
        }
        if let Some(pause) = self.active_pause() {
            output::print_line(&format!(
                "  nothing of {} is forgotten now: {pause}",
                self.name()
            ));
        }
    }

    /// As JSON for scripts.
    pub(crate) fn as_json(&self, location: &str) -> Value {
        let listed = self.decision.verdicts.iter().filter_map(|(id, verdict)| {
            let snapshot = self.snapshots.get(id)?;
            let (word, _) = describe_verdict(verdict);
            Some(json!({
                "snapshot": id,
                "data_time": snapshot.root.data_time,
                "received": snapshot.received,
                "outcome": snapshot.root.outcome,
                "affected": self.affected.contains(id),
                "verdict": word,
                "reasons": verdict_reasons(verdict),
            }))
        });
        let listed: Vec<_> = listed.collect();
        let going = self.decision.forgotten().count();
        json!({
            "policy": self.policy.name,
            "source": self.source.name,
            "repository": location,
            "snapshots": listed,
            "kept": listed.len() - going,
            "forgotten": going,
            "log": self.log,
            "forgotten_without_pause": self.snapshots_to_forget_without_pause().len(),
            "log_without_pause": self.log_without_pause,
            "pause": self.active_pause().map(ToString::to_string),
        })
    }
}

/// Up to this many kept snapshots of a source are always shown.
const KEPT_SHOWN_MAX: usize = 100;

fn describe_verdict(verdict: &RetentionVerdict) -> (&'static str, String) {
    let word = if verdict.is_kept() { "keep" } else { "forget" };
    (word, verdict_reasons(verdict).join(", "))
}

fn verdict_reasons(verdict: &RetentionVerdict) -> Vec<String> {
    match verdict {
        RetentionVerdict::Keep { reasons: by } => by.iter().map(ToString::to_string).collect(),
        RetentionVerdict::Forget { reason } => vec![reason.clone()],
    }
}

/// Prints plans and what concerns a whole repository.
pub(crate) fn print_plans(context: &Context, plans: &[RepositoryPlan<'_>]) {
    for plan in plans {
        let location = plan.repository.location();
        for source in &plan.sources {
            source.print(&location, context.global.verbose > 0);
        }
        for (name, count) in &plan.unnamed {
            output::print_line(&format!(
                "{name} in {location}: {count} kept, because no policy names this source"
            ));
        }
    }
}

/// Plans as JSON for scripts: the sources, and those that no policy names.
pub(crate) fn as_json(plans: &[RepositoryPlan<'_>]) -> Value {
    let (mut sources, mut unnamed, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    for plan in plans {
        let location = plan.repository.location();
        sources.extend(plan.sources.iter().map(|source| source.as_json(&location)));
        for (name, count) in &plan.unnamed {
            unnamed.push(json!({"repository": location, "source": name, "snapshots": count}));
        }
        for (object, reason) in &plan.unreadable {
            unreadable.push(json!({"repository": location, "object": object, "reason": reason}));
        }
    }
    json!({"sources": sources, "sources_without_policy": unnamed, "unreadable": unreadable})
}

/// Prints the warnings that are shown in every output format; returns the exit code that follows from them.
pub(crate) fn print_warnings(plans: &[RepositoryPlan<'_>]) -> Exit {
    let mut exit = Exit::Ok;
    for plan in plans {
        for (object, reason) in &plan.unreadable {
            output::print_error(&format!("error: {object} cannot be read: {reason}"));
            exit = exit.combine_with(Exit::Damaged);
        }
        for source in &plan.sources {
            if let Some(pause) = source.active_pause() {
                output::print_note(&format!(
                    "warning: nothing of {} is forgotten: {pause}",
                    source.name()
                ));
                exit = exit.combine_with(Exit::Degraded);
            }
            for one in &source.candidates {
                if let Some(hold @ Hold::Invalid(_)) = &one.hold {
                    output::print_note(&format!("warning: snapshot {} is {hold}", one.id.short()));
                }
            }
        }
    }
    exit
}
