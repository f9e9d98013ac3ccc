//! Why nothing of a source may be forgotten now: it is stale, or flooded.

use std::collections::BTreeSet;

use super::arrival_rate;
use super::candidate::Candidate;
use super::rule_evaluator::{KeepReasons, RuleEvaluator};
use super::verdict::{KeepReason, RetentionOptions, RetentionPause};

impl RuleEvaluator<'_> {
    /// Why nothing may be forgotten now.
    pub(super) fn detect_anomaly<Id: Copy + Ord>(
        &self,
        sorted: &[&Candidate<Id>],
        kept: &KeepReasons<Id>,
        options: RetentionOptions,
    ) -> Option<RetentionPause> {
        let mut arrived: Vec<_> = sorted
            .iter()
            .copied()
            .filter(|one| one.is_good_and_timely())
            .collect();
        arrived.sort_by_key(|one| (one.arrival_time(), one.id));
        let max_age = arrival_rate::expected_max_age(&arrived, self.rules);
        let newest = arrived.iter().map(|one| one.effective_time()).max();
        if newest.is_none_or(|newest| self.now - newest > max_age) {
            return Some(RetentionPause::Stale { newest, max_age });
        }
        if options.accept_flood {
            return None;
        }
        self.detect_flood(sorted, &arrived, kept)
    }

    /// A burst that pushes out what was there before it, or the starting snapshot of a log.
    fn detect_flood<Id: Copy + Ord>(
        &self,
        sorted: &[&Candidate<Id>],
        arrived: &[&Candidate<Id>],
        kept: &KeepReasons<Id>,
    ) -> Option<RetentionPause> {
        let bursts = arrival_rate::find_bursts(arrived, self.rules);
        let first = bursts.first()?;
        let excess: BTreeSet<Id> = arrival_rate::excess_snapshots(&bursts);
        let rest: Vec<_> = sorted
            .iter()
            .copied()
            .filter(|one| !excess.contains(&one.id))
            .collect();
        let without = self.select_kept(&rest);
        let is_base = |kept: &KeepReasons<Id>, one: &Candidate<Id>| {
            let by = kept.get(&one.id);
            by.is_some_and(|by| by.contains(&KeepReason::PointInTime))
        };
        let pushed_out = |one: &&Candidate<Id>| {
            let saved = without.contains_key(&one.id) && !kept.contains_key(&one.id);
            saved && bursts.iter().any(|burst| one.arrival_time() < burst.since)
        };
        // With another starting snapshot another part of the log would be forgotten.
        let replaced = |one: &&Candidate<Id>| is_base(&without, one) && !is_base(kept, one);
        let flood = RetentionPause::Flood {
            since: first.since,
            count: first.count,
            usual: first.usual,
        };
        let flooded = rest.iter().any(|one| pushed_out(one) || replaced(one));
        flooded.then_some(flood)
    }
}
