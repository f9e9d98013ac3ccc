//! Which snapshots of a source its rules keep.
//!
//! Nothing that a host can forge causes loss: a snapshot that arrived long after its claimed time replaces no
//! other one and is not counted, so that adding it makes no snapshot be forgotten.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;

use chrono::{DateTime, TimeDelta, Utc};

use super::calendar::{CalendarPeriod, CalendarUnit};
use super::candidate::Candidate;
use super::degraded::{keep_newest_degraded, newest_degraded};
use super::rules::Retention;
use super::verdict::KeepReason;
use crate::values::units::format_duration;
use reprise_times::TimeZone;

/// The kept snapshots, each with the reasons.
pub(super) type KeepReasons<Id> = BTreeMap<Id, Vec<KeepReason>>;

pub(super) fn add_reason<Id: Ord>(kept: &mut KeepReasons<Id>, id: Id, why: KeepReason) {
    kept.entry(id).or_default().push(why);
}

/// The rules of a source at a time.
pub(super) struct RuleEvaluator<'a> {
    pub(super) rules: &'a Retention,
    pub(super) now: DateTime<Utc>,
    pub(super) zone: &'a TimeZone,
}

impl RuleEvaluator<'_> {
    /// What the rules keep. `sorted` is newest first.
    pub(super) fn select_kept<Id: Copy + Ord>(&self, sorted: &[&Candidate<Id>]) -> KeepReasons<Id> {
        let mut kept = KeepReasons::new();
        for one in sorted {
            if let Some(hold) = one.hold.as_ref().filter(|hold| hold.is_active(self.now)) {
                add_reason(&mut kept, one.id, KeepReason::Hold(hold.clone()));
            }
        }
        self.apply_last(sorted, &mut kept);
        for unit in CalendarUnit::ALL {
            if let Some(wanted) = unit.keep_count(self.rules) {
                self.apply_calendar(unit, wanted, sorted, &mut kept);
            }
        }
        self.apply_to_degraded(sorted, &mut kept);
        self.apply_within(sorted, &mut kept);
        self.apply_point_in_time(sorted, &mut kept);
        self.apply_minimum(sorted, &mut kept);
        keep_newest_degraded(sorted, &mut kept);
        kept
    }

    fn apply_last<Id: Copy + Ord>(&self, sorted: &[&Candidate<Id>], kept: &mut KeepReasons<Id>) {
        let Some(wanted) = self.rules.last else {
            return;
        };
        let mut newer = 0;
        for one in sorted.iter().filter(|one| one.good) {
            if newer >= wanted.get() {
                break;
            }
            newer += u32::from(one.is_good_and_timely());
            let of = format!("{} of {wanted}", newer.max(1));
            let late = !one.is_timely();
            add_reason(
                kept,
                one.id,
                KeepReason::Rule {
                    rule: "last",
                    subject: of,
                    late,
                },
            );
        }
    }

    /// One of each of the newest calendar periods that have one.
    fn apply_calendar<Id: Copy + Ord>(
        &self,
        unit: CalendarUnit,
        wanted: NonZeroU32,
        sorted: &[&Candidate<Id>],
        kept: &mut KeepReasons<Id>,
    ) {
        let good = sorted.iter().copied().filter(|one| one.good);
        let mut newer = 0;
        for members in self.group_by_period(unit, good) {
            if newer >= wanted.get() {
                break;
            }
            // What arrived late is ignored in a period in which something arrived in time, and is not counted.
            let late = !members.iter().any(|one| one.is_timely());
            newer += u32::from(!late);
            let members = members
                .iter()
                .copied()
                .filter(|one| late || one.is_timely());
            if let Some(holder) = self.choose_for_period(unit, members) {
                add_reason(kept, holder.id, self.period_reason(unit, holder, late));
            }
        }
    }

    /// The snapshots of each calendar period, in the order in which the periods come first.
    pub(super) fn group_by_period<'c, Id>(
        &self,
        unit: CalendarUnit,
        snapshots: impl Iterator<Item = &'c Candidate<Id>>,
    ) -> Vec<Vec<&'c Candidate<Id>>> {
        let (mut numbers, mut groups) = (HashMap::<CalendarPeriod, usize>::new(), Vec::new());
        for one in snapshots {
            let period = unit.period_of(one.effective_time(), self.zone);
            let number = *numbers.entry(period).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
            groups[number].push(one);
        }
        groups
    }

    /// Why a snapshot is kept for its calendar period.
    pub(super) fn period_reason<Id: Copy + Ord>(
        &self,
        unit: CalendarUnit,
        holder: &Candidate<Id>,
        late: bool,
    ) -> KeepReason {
        KeepReason::Rule {
            rule: unit.rule_name(),
            subject: unit.period_name(holder.effective_time(), self.zone),
            late,
        }
    }

    /// Of the snapshots in one calendar period, the last that arrived within it. What arrived after its end replaces
    /// none that was there before.
    pub(super) fn choose_for_period<'c, Id: Copy + Ord>(
        &self,
        unit: CalendarUnit,
        members: impl Iterator<Item = &'c Candidate<Id>>,
    ) -> Option<&'c Candidate<Id>> {
        let bucket = |time| unit.period_of(time, self.zone);
        let (inside, after): (Vec<_>, Vec<_>) = members.partition(|one| {
            one.is_timely() && bucket(one.arrival_time()) == bucket(one.effective_time())
        });
        let last = inside
            .into_iter()
            .max_by_key(|one| (one.effective_time(), one.id));
        last.or_else(|| {
            after
                .into_iter()
                .min_by_key(|one| (one.arrival_time(), one.id))
        })
    }

    /// The time that lies this duration before now; `None`: out of range.
    fn time_before_now(&self, span: std::time::Duration) -> Option<DateTime<Utc>> {
        let span = TimeDelta::from_std(span).ok()?;
        self.now.checked_sub_signed(span)
    }

    fn apply_within<Id: Copy + Ord>(&self, sorted: &[&Candidate<Id>], kept: &mut KeepReasons<Id>) {
        let Some(span) = self.rules.within else {
            return;
        };
        let since = self.time_before_now(span);
        for one in sorted {
            if since.is_none_or(|since| one.effective_time() > since) {
                let of = format_duration(span);
                let late = !one.is_timely();
                add_reason(
                    kept,
                    one.id,
                    KeepReason::Rule {
                        rule: "within",
                        subject: of,
                        late,
                    },
                );
            }
        }
    }

    fn apply_point_in_time<Id: Copy + Ord>(
        &self,
        sorted: &[&Candidate<Id>],
        kept: &mut KeepReasons<Id>,
    ) {
        let Some(span) = self.rules.point_in_time else {
            return;
        };
        let needed = match self.time_before_now(span) {
            Some(begin) => starting_snapshots(sorted, begin),
            None => sorted.iter().map(|one| one.id).collect(),
        };
        for id in needed {
            add_reason(kept, id, KeepReason::PointInTime);
        }
    }

    fn apply_minimum<Id: Copy + Ord>(&self, sorted: &[&Candidate<Id>], kept: &mut KeepReasons<Id>) {
        let Some(floor) = self.rules.keep_at_least else {
            return;
        };
        let is_kept = |one: &&Candidate<Id>, kept: &KeepReasons<Id>| kept.contains_key(&one.id);
        let timely: Vec<_> = sorted
            .iter()
            .filter(|one| one.is_good_and_timely())
            .collect();
        let wanted = usize::try_from(floor.get()).unwrap_or(usize::MAX);
        let all = timely.len() < wanted;
        let there = timely.iter().filter(|one| is_kept(one, kept)).count();
        let missing = wanted.saturating_sub(there);
        let more: Vec<Id> = if all {
            let good = sorted.iter().filter(|one| one.good).map(|one| one.id);
            good.chain(newest_degraded(sorted, missing)).collect()
        } else {
            let others = timely.iter().filter(|one| !is_kept(one, kept));
            others.take(missing).map(|one| one.id).collect()
        };
        for id in more {
            if !kept.contains_key(&id) {
                add_reason(kept, id, KeepReason::Minimum(floor));
            }
        }
    }
}

/// The snapshots from which a log restores every time since `begin`.
fn starting_snapshots<Id: Copy + Ord>(
    sorted: &[&Candidate<Id>],
    begin: DateTime<Utc>,
) -> BTreeSet<Id> {
    let good: Vec<_> = sorted.iter().copied().filter(|one| one.good).collect();
    // Of the source as a whole too: a log that cannot be read now must not lose its starting snapshot.
    let mut needed = BTreeSet::new();
    needed.extend(newest_until(&good, begin).0);
    let ranges: BTreeSet<u32> = good.iter().filter_map(|one| one.log_range).collect();
    for range in ranges {
        let inside = good
            .iter()
            .copied()
            .filter(|one| one.log_range == Some(range));
        let inside: Vec<_> = inside.collect();
        let (until, reached) = newest_until(&inside, begin);
        needed.extend(until);
        if !reached {
            needed.extend(oldest_with_late(&inside));
        }
    }
    needed
}

/// The newest of a series, newest first, that was taken until `begin`, and whether there is one. Of late ones nobody
/// knows which times are true, so all late ones newer than it in the order are included.
fn newest_until<Id: Copy>(series: &[&Candidate<Id>], begin: DateTime<Utc>) -> (Vec<Id>, bool) {
    let until: Vec<_> = series
        .iter()
        .filter(|one| one.effective_time() <= begin)
        .collect();
    let base = until.iter().position(|one| one.is_timely());
    let upto = base.map_or(until.len(), |base| base + 1);
    let ids = until[..upto].iter().map(|one| one.id).collect();
    (ids, base.is_some())
}

/// The oldest of a series, and the late ones that claim to be older.
fn oldest_with_late<Id: Copy>(series: &[&Candidate<Id>]) -> Vec<Id> {
    let base = series.iter().rposition(|one| one.is_timely()).unwrap_or(0);
    series[base..].iter().map(|one| one.id).collect()
}
