//! Which snapshots of one source are kept, by which rule, and why the others are forgotten.

use chrono::{DateTime, Utc};

use super::candidate::{Candidate, leaves_nothing};
use super::degraded::degraded_streak;
use super::rule_evaluator::RuleEvaluator;
use super::rules::Retention;
use super::verdict::{
    KeepReason, RetentionDecision, RetentionOptions, RetentionPause, RetentionVerdict,
};
use reprise_times::TimeZone;

impl<Id: Copy + Ord> RetentionDecision<Id> {
    /// The decision about a source to which no rules are applied, for this reason.
    #[must_use]
    pub fn keep_all(candidates: &[Candidate<Id>], reason: KeepReason) -> Self {
        let by = vec![reason];
        let kept = |one: &&Candidate<Id>| {
            (
                one.id,
                RetentionVerdict::Keep {
                    reasons: by.clone(),
                },
            )
        };
        Self {
            verdicts: sort_newest_first(candidates).iter().map(kept).collect(),
            pause: None,
            anomaly: None,
            only_degraded: None,
            leaves_nothing: false,
        }
    }
}

/// Decides about all snapshots of one source. Their order does not matter; the result depends on the arguments alone.
#[must_use]
pub fn decide_retention<Id: Copy + Ord>(
    candidates: &[Candidate<Id>],
    rules: &Retention,
    now: DateTime<Utc>,
    zone: &TimeZone,
    options: RetentionOptions,
) -> RetentionDecision<Id> {
    let sorted = sort_newest_first(candidates);
    let evaluator = RuleEvaluator { rules, now, zone };
    let kept = evaluator.select_kept(&sorted);
    let anomaly = evaluator.detect_anomaly(&sorted, &kept, options);
    let streak = degraded_streak(&sorted);
    let only_degraded = streak.filter(|_| matches!(anomaly, Some(RetentionPause::Stale { .. })));
    // Where degraded ones go on arriving, the rules choose among them; the good ones stay.
    let arriving = match (&anomaly, &only_degraded) {
        (Some(RetentionPause::Stale { max_age, .. }), Some(streak)) => {
            now - streak.newest <= *max_age
        }
        _ => false,
    };
    let is_paused = |one: &Candidate<Id>| one.good || !arriving;
    let goes = |one: &&&Candidate<Id>| !kept.contains_key(&one.id);
    let paused = sorted.iter().filter(goes).any(|one| is_paused(one));
    let pause = anomaly.clone().filter(|_| paused);
    let holders = evaluator.kept_by_period(&sorted, &kept);
    let verdict = |one: &&Candidate<Id>| match kept.get(&one.id) {
        Some(by) => RetentionVerdict::Keep {
            reasons: by.clone(),
        },
        None if pause.is_some() && is_paused(one) => RetentionVerdict::Keep {
            reasons: vec![KeepReason::Paused],
        },
        None => RetentionVerdict::Forget {
            reason: evaluator.explain_forgetting(one, &holders),
        },
    };
    let verdicts: Vec<_> = sorted.iter().map(|one| (one.id, verdict(one))).collect();
    let stays = verdicts.iter().map(|(_, verdict)| verdict.is_kept());
    let all: Vec<_> = sorted.iter().copied().zip(stays).collect();
    let leaves_nothing = leaves_nothing(&all);
    RetentionDecision {
        verdicts,
        pause,
        anomaly,
        only_degraded,
        leaves_nothing,
    }
}

fn sort_newest_first<Id: Copy + Ord>(candidates: &[Candidate<Id>]) -> Vec<&Candidate<Id>> {
    let mut sorted: Vec<&Candidate<Id>> = candidates.iter().collect();
    sorted.sort_by_key(|one| std::cmp::Reverse((one.effective_time(), one.id)));
    sorted
}
