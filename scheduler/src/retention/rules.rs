//! The rules of a source, applied to its snapshots and its log.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use reprise_policies::{
    Candidate, HOLD_TAG, Hold, KeepReason, Policy, PolicySource, Retention, RetentionDecision,
    RetentionOptions, RetentionVerdict, TimeZone, decide_retention,
};
use reprise_repository::{ObjectId, Outcome, Snapshot};
use reprise_restore::mysql::RecoveryCatalog;

use super::log_plan::LogForgetPlan;

/// Parameters of the decision.
#[derive(Debug, Clone, Copy)]
pub struct RetentionParameters {
    /// The time of the decision.
    pub now: DateTime<Utc>,
    /// Let an unusual burst of snapshots displace older ones.
    pub accept_flood: bool,
    /// Use the times recorded in the snapshots, not when the storage received them.
    pub trust_times: bool,
}

/// A snapshot as retention sees it, without its log and its hold.
pub fn candidate_without_hold(
    snapshot: &Snapshot,
    affected: &BTreeSet<ObjectId>,
    parameters: RetentionParameters,
) -> Candidate<ObjectId> {
    let root = &snapshot.root;
    Candidate {
        id: snapshot.id,
        data_time: root.data_time,
        received: snapshot.received.filter(|_| !parameters.trust_times),
        good: root.outcome == Outcome::Ok && !affected.contains(&snapshot.id),
        hold: None,
        log_range: None,
    }
}

pub(super) fn retention_candidate(
    snapshot: &Snapshot,
    affected: &BTreeSet<ObjectId>,
    zone: &TimeZone,
    parameters: RetentionParameters,
) -> Candidate<ObjectId> {
    let root = &snapshot.root;
    Candidate {
        hold: root.tags.get(HOLD_TAG).map(|text| Hold::parse(text, zone)),
        ..candidate_without_hold(snapshot, affected, parameters)
    }
}

/// The result of a source's rules.
pub(super) struct RuleEvaluation {
    pub(super) candidates: Vec<Candidate<ObjectId>>,
    pub(super) decision: RetentionDecision<ObjectId>,
    /// The part of the log that is no longer needed.
    pub(super) log: Option<LogForgetPlan>,
}

/// Which log ranges matter depends on the recovery window of the rules, so each version of them gets its own.
pub(super) fn evaluate_rules(
    mut candidates: Vec<Candidate<ObjectId>>,
    archive: Option<&RecoveryCatalog>,
    policy: &Policy,
    source: &PolicySource,
    parameters: RetentionParameters,
) -> RuleEvaluation {
    let logged = recovery_window_start(source, parameters.now).zip(archive);
    let log_ranges = logged.map(|(begin, archive)| archive.log_ranges_since(begin));
    let log_ranges = log_ranges.unwrap_or_default();
    for one in &mut candidates {
        one.log_range = log_ranges.get(&one.id).copied();
    }
    let rules = source.retention.as_ref();
    let decision = apply_rules(&candidates, rules, &policy.time_zone, parameters);
    let log = logged.and_then(|(begin, archive)| plan_log(&decision, archive, begin));
    RuleEvaluation {
        candidates,
        decision,
        log,
    }
}

/// The start of the recovery window.
pub(super) fn recovery_window_start(
    source: &PolicySource,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
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
    zone: &TimeZone,
    parameters: RetentionParameters,
) -> RetentionDecision<ObjectId> {
    let options = RetentionOptions::with_accept_flood(parameters.accept_flood);
    match rules {
        Some(rules) => decide_retention(candidates, rules, parameters.now, zone, options),
        None => RetentionDecision::keep_all(candidates, KeepReason::NoRules),
    }
}
