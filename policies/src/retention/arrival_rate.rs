//! How often snapshots of a source arrive: whether it is stale, and whether it is flooded.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::calendar::CalendarUnit;
use super::candidate::Candidate;
use super::rules::Retention;

/// The rate is taken from at most this many of the latest gaps between arrivals.
const GAPS_MAX: usize = 10;

/// Fewer gaps show no rate.
const GAPS_MIN: usize = 3;

/// A source without snapshots for this many of its usual gaps is stale.
const GAPS_UNTIL_STALE: i32 = 2;

/// This many times the usual number within a day is a flood.
const FLOOD_FACTOR: usize = 4;

const HOUR: TimeDelta = TimeDelta::hours(1);

const DAY: TimeDelta = TimeDelta::days(1);

/// A burst of arrivals that the source's usual rate does not explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Burst<Id> {
    /// When it began.
    pub(super) since: DateTime<Utc>,
    /// How many arrived within a day.
    pub(super) count: usize,
    /// How many usually arrive.
    pub(super) usual: usize,
    /// Those beyond the usual number.
    pub(super) excess: Vec<Id>,
}

/// The median of the latest gaps between arrivals, which are sorted.
fn usual_gap(arrivals: &[DateTime<Utc>]) -> Option<TimeDelta> {
    let mut gaps: Vec<TimeDelta> = arrivals
        .windows(2)
        .rev()
        .take(GAPS_MAX)
        .map(|pair| pair[1] - pair[0])
        .collect();
    gaps.sort();
    (gaps.len() >= GAPS_MIN).then(|| gaps[gaps.len() / 2])
}

fn arrival_times<Id>(candidates: &[&Candidate<Id>]) -> Vec<DateTime<Utc>> {
    candidates.iter().map(|one| one.arrival_time()).collect()
}

/// The maximum age of a source's newest good snapshot. `candidates` are the good and timely ones by arrival.
///
/// Too long a wait loses what rules drop with age; too short a wait only pauses retention. So where the rate is
/// known no calendar makes the age longer, and where it is not, the rule of the shortest period decides.
pub(super) fn expected_max_age<Id: Copy + Ord>(
    candidates: &[&Candidate<Id>],
    rules: &Retention,
) -> TimeDelta {
    // After half of `within`, twice, what is kept by age alone is still there.
    let half = rules
        .within
        .and_then(|span| TimeDelta::from_std(span / 2).ok());
    let half = half.unwrap_or(TimeDelta::MAX);
    // A burst must not make a source seem fast, and then stale.
    let excess = excess_snapshots(&find_bursts(candidates, rules));
    let usual = candidates.iter().copied();
    let usual: Vec<_> = usual.filter(|one| !excess.contains(&one.id)).collect();
    let pace = match usual_gap(&arrival_times(&usual)) {
        // Old snapshots that rules have thinned out are no sign of a slow source.
        Some(gap) => gap.min(half.max(DAY)),
        None => CalendarUnit::shortest_kept(rules)
            .map_or(DAY, CalendarUnit::length)
            .min(DAY)
            .min(half),
    };
    pace.max(half.min(HOUR)) * GAPS_UNTIL_STALE
}

/// Bursts of arrivals. `candidates` are the good and timely ones by arrival.
pub(super) fn find_bursts<Id: Copy>(
    candidates: &[&Candidate<Id>],
    rules: &Retention,
) -> Vec<Burst<Id>> {
    let arrivals = arrival_times(candidates);
    let default = CalendarUnit::shortest_kept(rules)
        .map_or(DAY, CalendarUnit::length)
        .min(DAY);
    let mut found = Vec::new();
    for (n, since) in arrivals.iter().enumerate() {
        let gap = usual_gap(&arrivals[..n]).unwrap_or(default);
        let begins = n == 0 || (*since - arrivals[n - 1]) * 2 >= gap;
        if !begins {
            continue;
        }
        let count = arrivals[n..].partition_point(|time| *time - *since < DAY);
        let usual = per_day(gap);
        if count > usual.saturating_mul(FLOOD_FACTOR) {
            let inside = &candidates[n..n + count];
            found.push(Burst {
                since: *since,
                count,
                usual,
                excess: inside[usual..].iter().map(|one| one.id).collect(),
            });
        }
    }
    found
}

fn per_day(gap: TimeDelta) -> usize {
    let day = DAY.num_seconds().unsigned_abs();
    let gap = gap.num_seconds().unsigned_abs().max(1);
    usize::try_from(day.div_ceil(gap)).unwrap_or(usize::MAX)
}

/// All snapshots in bursts beyond the usual number.
pub(super) fn excess_snapshots<Id: Copy + Ord>(bursts: &[Burst<Id>]) -> BTreeSet<Id> {
    let all = bursts.iter().flat_map(|burst| &burst.excess);
    all.copied().collect()
}
