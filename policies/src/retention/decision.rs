//! Which snapshots of one source are kept, by which rule, and why the others are forgotten.
//!
//! Nothing that a host can forge causes loss: a snapshot that arrived long after its claimed time replaces no
//! other one and is not counted, so that adding it makes no snapshot be forgotten.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::num::NonZeroU32;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::arrival_rate;
use super::calendar::{CalendarPeriod, CalendarUnit, format_local_time};
use super::candidate::{Candidate, Hold, leaves_nothing};
use super::rules::Retention;

/// Options set by the operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionOptions {
    /// A burst of arrivals is intended: let it push older snapshots out.
    pub accept_flood: bool,
}

impl RetentionOptions {
    /// Sets whether a burst of arrivals is accepted.
    #[must_use]
    pub fn with_accept_flood(accept_flood: bool) -> Self {
        Self { accept_flood }
    }
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepReason {
    /// A rule keeps it, for this number, duration or calendar period.
    Rule {
        /// The rule's key in a policy.
        rule: &'static str,
        /// The number, duration or period that it is kept for.
        subject: String,
        /// Whether it is only kept because nothing arrived in time.
        late: bool,
    },
    /// It is the newest one from which the log restores the start of the recovery window.
    PointInTime,
    /// Without it there would be fewer than the minimum.
    Minimum(NonZeroU32),
    /// It is on hold.
    Hold(Hold),
    /// It is degraded or affected by damage, and no good one that was taken later is kept.
    NoNewerGood,
    /// Retention of the source is paused.
    Paused,
    /// The source has no rules.
    NoRules,
}

/// The verdict on a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetentionVerdict {
    /// Kept, for these reasons; there is at least one.
    Keep {
        /// The reasons.
        reasons: Vec<KeepReason>,
    },
    /// Forgotten.
    Forget {
        /// The reason for people; never empty.
        reason: String,
    },
}

impl RetentionVerdict {
    /// Whether it is kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        matches!(self, Self::Keep { .. })
    }
}

/// Why retention of a source is paused, although the rules would forget something.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetentionPause {
    /// Its newest good snapshot is older than the maximum age.
    Stale {
        /// When the newest good one was taken, if there is one.
        newest: Option<DateTime<Utc>>,
        /// The maximum age.
        max_age: TimeDelta,
    },
    /// Far more arrived than the usual rate of the source explains.
    Flood {
        /// When the burst began.
        since: DateTime<Utc>,
        /// How many arrived within a day.
        count: usize,
        /// How many usually arrive within a day.
        usual: usize,
    },
}

/// The decision about the snapshots of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionDecision<Id> {
    /// Every snapshot with its verdict, newest first.
    pub verdicts: Vec<(Id, RetentionVerdict)>,
    /// Why nothing is forgotten, if the rules would forget something.
    pub pause: Option<RetentionPause>,
    /// The source is stale or flooded, whether or not the rules would forget a snapshot: its log is kept as well.
    pub anomaly: Option<RetentionPause>,
    leaves_nothing: bool,
}

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

impl<Id> RetentionDecision<Id> {
    /// Whether nothing would be left that is as good as the best there is: where good ones that arrived in time
    /// exist, none of those.
    #[must_use]
    pub fn leaves_nothing_good(&self) -> bool {
        self.leaves_nothing
    }

    /// The forgotten ones, and those that are only kept because retention is paused.
    pub fn forgotten_without_pause(&self) -> impl Iterator<Item = &Id> {
        let paused = |verdict: &RetentionVerdict| matches!(verdict, RetentionVerdict::Keep { reasons } if *reasons == [KeepReason::Paused]);
        self.verdicts
            .iter()
            .filter(move |(_, verdict)| !verdict.is_kept() || paused(verdict))
            .map(|(id, _)| id)
    }

    /// The forgotten ones.
    pub fn forgotten(&self) -> impl Iterator<Item = &Id> {
        self.verdicts
            .iter()
            .filter(|(_, verdict)| !verdict.is_kept())
            .map(|(id, _)| id)
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
    let plan = RuleEvaluator { rules, now, zone };
    let kept = plan.select_kept(&sorted);
    let trouble = plan.detect_anomaly(&sorted, &kept, options);
    let pause = trouble.clone().filter(|_| kept.len() < sorted.len());
    let holders = plan.kept_by_period(&sorted, &kept);
    let verdict = |one: &&Candidate<Id>| match kept.get(&one.id) {
        Some(by) => RetentionVerdict::Keep {
            reasons: by.clone(),
        },
        None if pause.is_some() => RetentionVerdict::Keep {
            reasons: vec![KeepReason::Paused],
        },
        None => RetentionVerdict::Forget {
            reason: plan.explain_forgetting(one, &holders),
        },
    };
    let verdicts: Vec<_> = sorted.iter().map(|one| (one.id, verdict(one))).collect();
    let stays = verdicts.iter().map(|(_, verdict)| verdict.is_kept());
    let all: Vec<_> = sorted.iter().copied().zip(stays).collect();
    let empties = leaves_nothing(&all);
    RetentionDecision {
        verdicts,
        pause,
        anomaly: trouble,
        leaves_nothing: empties,
    }
}

fn sort_newest_first<Id: Copy + Ord>(candidates: &[Candidate<Id>]) -> Vec<&Candidate<Id>> {
    let mut sorted: Vec<&Candidate<Id>> = candidates.iter().collect();
    sorted.sort_by_key(|one| std::cmp::Reverse((one.effective_time(), one.id)));
    sorted
}

type KeepReasons<Id> = BTreeMap<Id, Vec<KeepReason>>;

fn add_reason<Id: Ord>(kept: &mut KeepReasons<Id>, id: Id, why: KeepReason) {
    kept.entry(id).or_default().push(why);
}

struct RuleEvaluator<'a> {
    rules: &'a Retention,
    now: DateTime<Utc>,
    zone: Tz,
}

impl RuleEvaluator<'_> {
    /// What the rules keep. `sorted` is newest first.
    fn select_kept<Id: Copy + Ord>(&self, sorted: &[&Candidate<Id>]) -> KeepReasons<Id> {
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
        self.apply_within(sorted, &mut kept);
        self.apply_point_in_time(sorted, &mut kept);
        self.apply_minimum(sorted, &mut kept);
        let newest_good = sorted
            .iter()
            .find(|one| one.is_good_and_timely() && kept.contains_key(&one.id));
        let newest_good = newest_good.map(|one| one.effective_time());
        for one in sorted.iter().filter(|one| !one.good) {
            if newest_good.is_none_or(|good| good <= one.effective_time()) {
                add_reason(&mut kept, one.id, KeepReason::NoNewerGood);
            }
        }
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
        let bucket = |time| unit.period_of(time, self.zone);
        let good: Vec<_> = sorted.iter().copied().filter(|one| one.good).collect();
        let (mut pieces, mut order) = (HashMap::<CalendarPeriod, Vec<_>>::new(), Vec::new());
        for one in good {
            let members = pieces.entry(bucket(one.effective_time())).or_default();
            if members.is_empty() {
                order.push(bucket(one.effective_time()));
            }
            members.push(one);
        }
        let mut newer = 0;
        for members in order.iter().filter_map(|piece| pieces.get(piece)) {
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
                let of = unit.period_name(holder.effective_time(), self.zone);
                let rule = unit.rule_name();
                add_reason(
                    kept,
                    holder.id,
                    KeepReason::Rule {
                        rule,
                        subject: of,
                        late,
                    },
                );
            }
        }
    }

    /// Of the snapshots in one calendar period, the last that arrived within it. What arrived after its end replaces
    /// none that was there before.
    fn choose_for_period<'c, Id: Copy + Ord>(
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
                let of = format_span(span);
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
            sorted.iter().map(|one| one.id).collect()
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

    /// Why nothing may be forgotten now.
    fn detect_anomaly<Id: Copy + Ord>(
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
        let promise = arrival_rate::expected_max_age(&arrived, self.rules);
        let newest = arrived.iter().map(|one| one.effective_time()).max();
        if newest.is_none_or(|newest| self.now - newest > promise) {
            return Some(RetentionPause::Stale {
                newest,
                max_age: promise,
            });
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

    /// When the snapshots were taken that rules keep for calendar periods.
    fn kept_by_period<Id: Copy + Ord>(
        &self,
        sorted: &[&Candidate<Id>],
        kept: &KeepReasons<Id>,
    ) -> HashMap<(&'static str, CalendarPeriod), DateTime<Utc>> {
        let mut holders = HashMap::new();
        for one in sorted {
            for unit in CalendarUnit::ALL {
                if is_kept_by_rule(kept.get(&one.id), unit.rule_name()) {
                    let here = unit.period_of(one.effective_time(), self.zone);
                    holders.insert((unit.rule_name(), here), one.effective_time());
                }
            }
        }
        holders
    }

    /// Why no rule keeps a snapshot.
    fn explain_forgetting<Id>(
        &self,
        one: &Candidate<Id>,
        holders: &HashMap<(&'static str, CalendarPeriod), DateTime<Utc>>,
    ) -> String {
        if !one.good {
            return "degraded or affected by damage, and a good one was taken later".to_owned();
        }
        let mut reasons: Vec<String> = Vec::new();
        for unit in CalendarUnit::ALL {
            let Some(wanted) = unit.keep_count(self.rules) else {
                continue;
            };
            let here = unit.period_of(one.effective_time(), self.zone);
            reasons.push(match holders.get(&(unit.rule_name(), here)) {
                Some(time) => format!(
                    "{} keeps the one of {}",
                    unit.rule_name(),
                    format_local_time(*time, self.zone)
                ),
                None => format!("{} keeps {wanted} newer", unit.rule_name()),
            });
        }
        if let Some(wanted) = self.rules.last {
            reasons.push(format!("last keeps {wanted} newer"));
        }
        if let Some(span) = self.rules.within {
            reasons.push(format!("older than within {}", format_span(span)));
        }
        if reasons.is_empty() {
            reasons.push("no rule keeps it".to_owned());
        }
        reasons.join("; ")
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
    let stretches: BTreeSet<u32> = good.iter().filter_map(|one| one.log_range).collect();
    for stretch in stretches {
        let inside = good
            .iter()
            .copied()
            .filter(|one| one.log_range == Some(stretch));
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

fn is_kept_by_rule(by: Option<&Vec<KeepReason>>, name: &str) -> bool {
    by.into_iter()
        .flatten()
        .any(|keeps| matches!(keeps, KeepReason::Rule { rule, .. } if *rule == name))
}

/// A duration as a policy writes it.
fn format_span(span: std::time::Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => "0s".to_owned(),
        _ if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule {
                rule,
                subject: of,
                late,
            } => {
                let late = if *late { ", arrived late" } else { "" };
                write!(f, "{rule} ({of}{late})")
            }
            Self::PointInTime => f.write_str("point_in_time"),
            Self::Minimum(floor) => write!(f, "keep_at_least ({floor})"),
            Self::Hold(hold) => hold.fmt(f),
            Self::NoNewerGood => {
                f.write_str("degraded or affected by damage, but no newer good one is kept")
            }
            Self::Paused => f.write_str("retention is paused for the source"),
            Self::NoRules => f.write_str("the source has no retention"),
        }
    }
}

impl fmt::Display for RetentionPause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale {
                newest,
                max_age: promise,
            } => {
                match newest {
                    Some(newest) => write!(
                        f,
                        "its newest good snapshot is from {}",
                        newest.format("%F %H:%M UTC")
                    )?,
                    None => f.write_str("it has no good snapshot that was stored in time")?,
                }
                write!(
                    f,
                    ", but should be at most {} old",
                    format_span(promise.to_std().unwrap_or_default())
                )
            }
            Self::Flood {
                since,
                count,
                usual,
            } => write!(
                f,
                "{count} snapshots arrived within a day from {}; usual are at most {usual} per day",
                since.format("%F %H:%M UTC")
            ),
        }
    }
}
