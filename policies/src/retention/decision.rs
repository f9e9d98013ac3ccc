//! Which snapshots of one source are kept, by which rule, and why the others are forgotten.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::candidate::{Candidate, leaves_nothing};
use super::rule_evaluator::RuleEvaluator;
use super::rules::Retention;
use super::verdict::{KeepReason, RetentionDecision, RetentionOptions, RetentionVerdict};

impl<Id: Copy + Ord> RetentionDecision<Id> {
    /// The decision about a source without rules.
    #[must_use]
    pub fn keep_all(candidates: &[Candidate<Id>]) -> Self {
        let by = vec![KeepReason::NoRules];
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
    zone: Tz,
    options: RetentionOptions,
) -> RetentionDecision<Id> {
    let sorted = sort_newest_first(candidates);
    let evaluator = RuleEvaluator { rules, now, zone };
    let kept = evaluator.select_kept(&sorted);
    let anomaly = evaluator.detect_anomaly(&sorted, &kept, options);
    let pause = anomaly.clone().filter(|_| kept.len() < sorted.len());
    let holders = evaluator.kept_by_period(&sorted, &kept);
    let verdict = |one: &&Candidate<Id>| match kept.get(&one.id) {
        Some(by) => RetentionVerdict::Keep {
            reasons: by.clone(),
        },
        None if pause.is_some() => RetentionVerdict::Keep {
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
        leaves_nothing,
    }
}

fn sort_newest_first<Id: Copy + Ord>(candidates: &[Candidate<Id>]) -> Vec<&Candidate<Id>> {
    let mut sorted: Vec<&Candidate<Id>> = candidates.iter().collect();
    sorted.sort_by_key(|one| std::cmp::Reverse((one.effective_time(), one.id)));
    sorted
}
