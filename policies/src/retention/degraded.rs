//! What rules keep of degraded snapshots, and of those that are affected by damage.
//!
//! They are chosen beside the good ones and displace none of them: a rule keeps as many good ones as if no degraded one
//! existed. A degraded one takes the place in its hour or day only where no good one is.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use chrono::{DateTime, Utc};

use super::calendar::CalendarUnit;
use super::candidate::Candidate;
use super::rule_evaluator::{KeepReasons, RuleEvaluator, add_reason};
use super::verdict::{DegradedStreak, KeepReason};

impl RuleEvaluator<'_> {
    /// What `last` and the calendar rules keep of degraded ones.
    pub(super) fn apply_to_degraded<Id: Copy + Ord>(
        &self,
        sorted: &[&Candidate<Id>],
        kept: &mut KeepReasons<Id>,
    ) {
        self.apply_last_to_degraded(sorted, kept);
        for unit in CalendarUnit::ALL {
            if let Some(wanted) = unit.keep_count(self.rules) {
                self.apply_calendar_to_degraded(unit, wanted, sorted, kept);
            }
        }
    }

    /// Those among the newest of all.
    fn apply_last_to_degraded<Id: Copy + Ord>(
        &self,
        sorted: &[&Candidate<Id>],
        kept: &mut KeepReasons<Id>,
    ) {
        let Some(wanted) = self.rules.last else {
            return;
        };
        let mut newer = 0;
        for one in sorted {
            if newer >= wanted.get() {
                break;
            }
            newer += u32::from(one.is_timely());
            if !one.good {
                let reason = KeepReason::Rule {
                    rule: "last",
                    subject: format!("{} of {wanted}", newer.max(1)),
                    late: !one.is_timely(),
                };
                add_reason(kept, one.id, reason);
            }
        }
    }

    /// Of the newest calendar periods those in which no good one arrived in time.
    fn apply_calendar_to_degraded<Id: Copy + Ord>(
        &self,
        unit: CalendarUnit,
        wanted: NonZeroU32,
        sorted: &[&Candidate<Id>],
        kept: &mut KeepReasons<Id>,
    ) {
        let mut newer = 0;
        for members in self.group_by_period(unit, sorted.iter().copied()) {
            if newer >= wanted.get() {
                break;
            }
            let late = !members.iter().any(|one| one.is_timely());
            newer += u32::from(!late);
            if members.iter().any(|one| one.is_good_and_timely()) {
                continue;
            }
            let degraded = members.iter().copied().filter(|one| !one.good);
            let degraded: Vec<_> = degraded.collect();
            let late = !degraded.iter().any(|one| one.is_timely());
            let members = degraded.into_iter().filter(|one| late || one.is_timely());
            if let Some(holder) = self.choose_for_period(unit, members) {
                add_reason(kept, holder.id, self.period_reason(unit, holder, late));
            }
        }
    }
}

/// The newest degraded ones that arrived in time, and the late ones among and before them: their times prove nothing.
pub(super) fn newest_degraded<Id: Copy + Ord>(
    sorted: &[&Candidate<Id>],
    wanted: usize,
) -> BTreeSet<Id> {
    let mut newest = BTreeSet::new();
    let mut timely = 0;
    for one in sorted.iter().filter(|one| !one.good) {
        if timely >= wanted {
            break;
        }
        timely += usize::from(one.is_timely());
        newest.insert(one.id);
    }
    newest
}

/// The newest degraded one stays while no good one that was taken later is kept: it is the latest state there is.
pub(super) fn keep_newest_degraded<Id: Copy + Ord>(
    sorted: &[&Candidate<Id>],
    kept: &mut KeepReasons<Id>,
) {
    let newest_good = sorted
        .iter()
        .find(|one| one.is_good_and_timely() && kept.contains_key(&one.id));
    let newest_good = newest_good.map(|one| one.effective_time());
    let is_newer =
        |one: &&&Candidate<Id>| newest_good.is_none_or(|good| good <= one.effective_time());
    let newer: Vec<_> = sorted.iter().filter(is_newer).copied().collect();
    for id in newest_degraded(&newer, 1) {
        add_reason(kept, id, KeepReason::NoNewerGood);
    }
}

/// The degraded snapshots that arrived in time since the newest good one.
pub(super) fn degraded_streak<Id>(sorted: &[&Candidate<Id>]) -> Option<DegradedStreak> {
    let newest_good: Option<DateTime<Utc>> = sorted
        .iter()
        .filter(|one| one.is_good_and_timely())
        .map(|one| one.effective_time())
        .max();
    let since = sorted.iter().filter(|one| !one.good && one.is_timely());
    let since = since.filter(|one| newest_good.is_none_or(|good| good < one.effective_time()));
    let times: Vec<_> = since.map(|one| one.effective_time()).collect();
    let newest = times.iter().max().copied()?;
    Some(DegradedStreak {
        count: times.len(),
        newest,
        newest_good,
    })
}
