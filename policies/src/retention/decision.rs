//! Which snapshots of one source are kept, by which rule, and why the others go.
//!
//! What a host could forge takes nothing away: a snapshot that arrived long after the moment it claims to be of
//! takes no place of another one and does not count, so that adding it makes nothing go.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::num::NonZeroU32;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::Retention;
use super::calendar::{Bucket, Unit, shown};
use super::candidate::{Candidate, Hold, leaves_nothing};
use super::pace;

/// What someone who may decide has said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// A burst of arrivals is meant: let it push older snapshots out.
    pub accept_flood: bool,
}

impl Options {
    /// With a word on bursts of arrivals.
    #[must_use]
    pub fn accepting_floods(accept_flood: bool) -> Self {
        Self { accept_flood }
    }
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keeps {
    /// A rule wants it, for this number, span or piece of the calendar.
    Rule {
        /// As it is called in a policy.
        rule: &'static str,
        /// What it stands for.
        of: String,
        /// Whether it only stands there because nothing arrived in time.
        late: bool,
    },
    /// It is the newest one from which the log brings back the beginning of the span.
    PointInTime,
    /// Without it there would be fewer than the floor.
    Floor(NonZeroU32),
    /// Someone said so.
    Hold(Hold),
    /// It is degraded or hurt, and no good one that was taken later is kept.
    NothingBetter,
    /// The source loses nothing at present.
    Paused,
    /// The source has no rules.
    NoRules,
}

/// What becomes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, for these reasons; there is at least one.
    Kept {
        /// The reasons.
        by: Vec<Keeps>,
    },
    /// It goes.
    Goes {
        /// Why, in words; never empty.
        reason: String,
    },
}

impl Verdict {
    /// Whether it stays.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        matches!(self, Self::Kept { .. })
    }
}

/// Why a source loses nothing at present, although the rules would let something go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pause {
    /// Its newest good snapshot is older than it should be.
    Silent {
        /// When the newest good one was taken, if there is one.
        newest: Option<DateTime<Utc>>,
        /// How old it may be.
        promise: TimeDelta,
    },
    /// Far more arrived than the source's pace explains.
    Flooded {
        /// Since when.
        since: DateTime<Utc>,
        /// How many within a day.
        count: usize,
        /// How many usually do.
        usual: usize,
    },
}

/// What becomes of the snapshots of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<Id> {
    /// Every snapshot with its verdict, newest first.
    pub verdicts: Vec<(Id, Verdict)>,
    /// Why nothing goes, if the rules would let something go.
    pub pause: Option<Pause>,
    /// That the source is silent or flooded, whether or not the rules would let a snapshot go: its log stays as well.
    pub trouble: Option<Pause>,
    empties: bool,
}

impl<Id: Copy + Ord> Decision<Id> {
    /// What is decided about a source without rules.
    #[must_use]
    pub fn keeping(candidates: &[Candidate<Id>]) -> Self {
        let by = vec![Keeps::NoRules];
        let kept = |one: &&Candidate<Id>| (one.id, Verdict::Kept { by: by.clone() });
        Self {
            verdicts: newest_first(candidates).iter().map(kept).collect(),
            pause: None,
            trouble: None,
            empties: false,
        }
    }
}

impl<Id> Decision<Id> {
    /// Whether nothing would be left that is worth as much as the best there is: of good ones that arrived in time, no
    /// such one.
    #[must_use]
    pub fn empties(&self) -> bool {
        self.empties
    }

    /// Those that go, and those that only stay because the source loses nothing at present.
    pub fn going_without_pause(&self) -> impl Iterator<Item = &Id> {
        let paused =
            |verdict: &Verdict| matches!(verdict, Verdict::Kept { by } if *by == [Keeps::Paused]);
        self.verdicts
            .iter()
            .filter(move |(_, verdict)| !verdict.is_kept() || paused(verdict))
            .map(|(id, _)| id)
    }

    /// Those that go.
    pub fn going(&self) -> impl Iterator<Item = &Id> {
        self.verdicts
            .iter()
            .filter(|(_, verdict)| !verdict.is_kept())
            .map(|(id, _)| id)
    }
}

/// Decides about all snapshots of one source. Their order does not matter, and nothing else does than what is given.
#[must_use]
pub fn decide<Id: Copy + Ord>(
    candidates: &[Candidate<Id>],
    rules: &Retention,
    now: DateTime<Utc>,
    zone: Tz,
    options: Options,
) -> Decision<Id> {
    let sorted = newest_first(candidates);
    let plan = Plan { rules, now, zone };
    let kept = plan.kept(&sorted);
    let trouble = plan.trouble(&sorted, &kept, options);
    let pause = trouble.clone().filter(|_| kept.len() < sorted.len());
    let holders = plan.holders(&sorted, &kept);
    let verdict = |one: &&Candidate<Id>| match kept.get(&one.id) {
        Some(by) => Verdict::Kept { by: by.clone() },
        None if pause.is_some() => Verdict::Kept {
            by: vec![Keeps::Paused],
        },
        None => Verdict::Goes {
            reason: plan.reason(one, &holders),
        },
    };
    let verdicts: Vec<_> = sorted.iter().map(|one| (one.id, verdict(one))).collect();
    let stays = verdicts.iter().map(|(_, verdict)| verdict.is_kept());
    let all: Vec<_> = sorted.iter().copied().zip(stays).collect();
    let empties = leaves_nothing(&all);
    Decision {
        verdicts,
        pause,
        trouble,
        empties,
    }
}

fn newest_first<Id: Copy + Ord>(candidates: &[Candidate<Id>]) -> Vec<&Candidate<Id>> {
    let mut sorted: Vec<&Candidate<Id>> = candidates.iter().collect();
    sorted.sort_by_key(|one| std::cmp::Reverse((one.time(), one.id)));
    sorted
}

type Kept<Id> = BTreeMap<Id, Vec<Keeps>>;

fn add<Id: Ord>(kept: &mut Kept<Id>, id: Id, why: Keeps) {
    kept.entry(id).or_default().push(why);
}

struct Plan<'a> {
    rules: &'a Retention,
    now: DateTime<Utc>,
    zone: Tz,
}

impl Plan<'_> {
    /// What the rules keep. `sorted` is newest first.
    fn kept<Id: Copy + Ord>(&self, sorted: &[&Candidate<Id>]) -> Kept<Id> {
        let mut kept = Kept::new();
        for one in sorted {
            if let Some(hold) = one.hold.as_ref().filter(|hold| hold.holds(self.now)) {
                add(&mut kept, one.id, Keeps::Hold(hold.clone()));
            }
        }
        self.last(sorted, &mut kept);
        for unit in Unit::ALL {
            if let Some(wanted) = unit.wanted(self.rules) {
                self.calendar(unit, wanted, sorted, &mut kept);
            }
        }
        self.within(sorted, &mut kept);
        self.point_in_time(sorted, &mut kept);
        self.floor(sorted, &mut kept);
        let newest_good = sorted
            .iter()
            .find(|one| one.counts() && kept.contains_key(&one.id));
        let newest_good = newest_good.map(|one| one.time());
        for one in sorted.iter().filter(|one| !one.good) {
            if newest_good.is_none_or(|good| good <= one.time()) {
                add(&mut kept, one.id, Keeps::NothingBetter);
            }
        }
        kept
    }

    fn last<Id: Copy + Ord>(&self, sorted: &[&Candidate<Id>], kept: &mut Kept<Id>) {
        let Some(wanted) = self.rules.last else {
            return;
        };
        let mut newer = 0;
        for one in sorted.iter().filter(|one| one.good) {
            if newer >= wanted.get() {
                break;
            }
            newer += u32::from(one.counts());
            let of = format!("{} of {wanted}", newer.max(1));
            let late = !one.timely();
            add(
                kept,
                one.id,
                Keeps::Rule {
                    rule: "last",
                    of,
                    late,
                },
            );
        }
    }

    /// One of each of the newest pieces of the calendar that have one.
    fn calendar<Id: Copy + Ord>(
        &self,
        unit: Unit,
        wanted: NonZeroU32,
        sorted: &[&Candidate<Id>],
        kept: &mut Kept<Id>,
    ) {
        let bucket = |time| unit.bucket(time, self.zone);
        let good: Vec<_> = sorted.iter().copied().filter(|one| one.good).collect();
        let (mut pieces, mut order) = (HashMap::<Bucket, Vec<_>>::new(), Vec::new());
        for one in good {
            let members = pieces.entry(bucket(one.time())).or_default();
            if members.is_empty() {
                order.push(bucket(one.time()));
            }
            members.push(one);
        }
        let mut newer = 0;
        for members in order.iter().filter_map(|piece| pieces.get(piece)) {
            if newer >= wanted.get() {
                break;
            }
            // What arrived late has no part in a piece in which something arrived in time, and does not count.
            let late = !members.iter().any(|one| one.timely());
            newer += u32::from(!late);
            let members = members.iter().copied().filter(|one| late || one.timely());
            if let Some(holder) = self.holder(unit, members) {
                let of = unit.name(holder.time(), self.zone);
                let rule = unit.rule();
                add(kept, holder.id, Keeps::Rule { rule, of, late });
            }
        }
    }

    /// Of those in one piece of the calendar the last that arrived in it. What arrived after it was over takes the
    /// place of none that was there before.
    fn holder<'c, Id: Copy + Ord>(
        &self,
        unit: Unit,
        members: impl Iterator<Item = &'c Candidate<Id>>,
    ) -> Option<&'c Candidate<Id>> {
        let bucket = |time| unit.bucket(time, self.zone);
        let (inside, after): (Vec<_>, Vec<_>) =
            members.partition(|one| one.timely() && bucket(one.arrival()) == bucket(one.time()));
        let last = inside.into_iter().max_by_key(|one| (one.time(), one.id));
        last.or_else(|| after.into_iter().min_by_key(|one| (one.arrival(), one.id)))
    }

    /// A moment as long ago as a span says; `None`: longer than time goes back.
    fn ago(&self, span: std::time::Duration) -> Option<DateTime<Utc>> {
        let span = TimeDelta::from_std(span).ok()?;
        self.now.checked_sub_signed(span)
    }

    fn within<Id: Copy + Ord>(&self, sorted: &[&Candidate<Id>], kept: &mut Kept<Id>) {
        let Some(span) = self.rules.within else {
            return;
        };
        let since = self.ago(span);
        for one in sorted {
            if since.is_none_or(|since| one.time() > since) {
                let of = words(span);
                let late = !one.timely();
                add(
                    kept,
                    one.id,
                    Keeps::Rule {
                        rule: "within",
                        of,
                        late,
                    },
                );
            }
        }
    }

    fn point_in_time<Id: Copy + Ord>(&self, sorted: &[&Candidate<Id>], kept: &mut Kept<Id>) {
        let Some(span) = self.rules.point_in_time else {
            return;
        };
        let needed = match self.ago(span) {
            Some(begin) => bases(sorted, begin),
            None => sorted.iter().map(|one| one.id).collect(),
        };
        for id in needed {
            add(kept, id, Keeps::PointInTime);
        }
    }

    fn floor<Id: Copy + Ord>(&self, sorted: &[&Candidate<Id>], kept: &mut Kept<Id>) {
        let Some(floor) = self.rules.keep_at_least else {
            return;
        };
        let is_kept = |one: &&Candidate<Id>, kept: &Kept<Id>| kept.contains_key(&one.id);
        let timely: Vec<_> = sorted.iter().filter(|one| one.counts()).collect();
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
                add(kept, id, Keeps::Floor(floor));
            }
        }
    }

    /// Why nothing may go now.
    fn trouble<Id: Copy + Ord>(
        &self,
        sorted: &[&Candidate<Id>],
        kept: &Kept<Id>,
        options: Options,
    ) -> Option<Pause> {
        let mut arrived: Vec<_> = sorted.iter().copied().filter(|one| one.counts()).collect();
        arrived.sort_by_key(|one| (one.arrival(), one.id));
        let promise = pace::promise(&arrived, self.rules);
        let newest = arrived.iter().map(|one| one.time()).max();
        if newest.is_none_or(|newest| self.now - newest > promise) {
            return Some(Pause::Silent { newest, promise });
        }
        if options.accept_flood {
            return None;
        }
        self.flood(sorted, &arrived, kept)
    }

    /// A burst that pushes out what was there before it, or the base of a log.
    fn flood<Id: Copy + Ord>(
        &self,
        sorted: &[&Candidate<Id>],
        arrived: &[&Candidate<Id>],
        kept: &Kept<Id>,
    ) -> Option<Pause> {
        let bursts = pace::bursts(arrived, self.rules);
        let first = bursts.first()?;
        let excess: BTreeSet<Id> = pace::excess(&bursts);
        let rest: Vec<_> = sorted
            .iter()
            .copied()
            .filter(|one| !excess.contains(&one.id))
            .collect();
        let without = self.kept(&rest);
        let is_base = |kept: &Kept<Id>, one: &Candidate<Id>| {
            let by = kept.get(&one.id);
            by.is_some_and(|by| by.contains(&Keeps::PointInTime))
        };
        let pushed_out = |one: &&Candidate<Id>| {
            let saved = without.contains_key(&one.id) && !kept.contains_key(&one.id);
            saved && bursts.iter().any(|burst| one.arrival() < burst.since)
        };
        // Before another base another part of the log would go.
        let replaced = |one: &&Candidate<Id>| is_base(&without, one) && !is_base(kept, one);
        let flood = Pause::Flooded {
            since: first.since,
            count: first.count,
            usual: first.usual,
        };
        let flooded = rest.iter().any(|one| pushed_out(one) || replaced(one));
        flooded.then_some(flood)
    }

    /// When those were taken that rules keep of pieces of the calendar.
    fn holders<Id: Copy + Ord>(
        &self,
        sorted: &[&Candidate<Id>],
        kept: &Kept<Id>,
    ) -> HashMap<(&'static str, Bucket), DateTime<Utc>> {
        let mut holders = HashMap::new();
        for one in sorted {
            for unit in Unit::ALL {
                if is_by(kept.get(&one.id), unit.rule()) {
                    let here = unit.bucket(one.time(), self.zone);
                    holders.insert((unit.rule(), here), one.time());
                }
            }
        }
        holders
    }

    /// Why each rule lets a snapshot go.
    fn reason<Id>(
        &self,
        one: &Candidate<Id>,
        holders: &HashMap<(&'static str, Bucket), DateTime<Utc>>,
    ) -> String {
        if !one.good {
            return "degraded or affected by damage, and a good one was taken later".to_owned();
        }
        let mut reasons: Vec<String> = Vec::new();
        for unit in Unit::ALL {
            let Some(wanted) = unit.wanted(self.rules) else {
                continue;
            };
            let here = unit.bucket(one.time(), self.zone);
            reasons.push(match holders.get(&(unit.rule(), here)) {
                Some(time) => format!(
                    "{} keeps the one of {}",
                    unit.rule(),
                    shown(*time, self.zone)
                ),
                None => format!("{} keeps {wanted} newer", unit.rule()),
            });
        }
        if let Some(wanted) = self.rules.last {
            reasons.push(format!("last keeps {wanted} newer"));
        }
        if let Some(span) = self.rules.within {
            reasons.push(format!("older than within {}", words(span)));
        }
        if reasons.is_empty() {
            reasons.push("no rule keeps it".to_owned());
        }
        reasons.join("; ")
    }
}

/// The snapshots from which a log brings back every moment since `begin`.
fn bases<Id: Copy + Ord>(sorted: &[&Candidate<Id>], begin: DateTime<Utc>) -> BTreeSet<Id> {
    let good: Vec<_> = sorted.iter().copied().filter(|one| one.good).collect();
    // Of the source as a whole too: one whose log cannot be read now must not lose its beginning.
    let mut needed = BTreeSet::new();
    needed.extend(before(&good, begin).0);
    let stretches: BTreeSet<u32> = good.iter().filter_map(|one| one.log).collect();
    for stretch in stretches {
        let inside = good.iter().copied().filter(|one| one.log == Some(stretch));
        let inside: Vec<_> = inside.collect();
        let (until, reached) = before(&inside, begin);
        needed.extend(until);
        if !reached {
            needed.extend(oldest(&inside));
        }
    }
    needed
}

/// The newest of a series, newest first, that was taken until `begin`, and whether there is one. Of those that arrived
/// late nobody knows which is true, so all of them that stand before it are there as well.
fn before<Id: Copy>(series: &[&Candidate<Id>], begin: DateTime<Utc>) -> (Vec<Id>, bool) {
    let until: Vec<_> = series.iter().filter(|one| one.time() <= begin).collect();
    let base = until.iter().position(|one| one.timely());
    let upto = base.map_or(until.len(), |base| base + 1);
    let ids = until[..upto].iter().map(|one| one.id).collect();
    (ids, base.is_some())
}

/// The oldest of a series, and those that arrived late and say that they are older.
fn oldest<Id: Copy>(series: &[&Candidate<Id>]) -> Vec<Id> {
    let base = series.iter().rposition(|one| one.timely()).unwrap_or(0);
    series[base..].iter().map(|one| one.id).collect()
}

fn is_by(by: Option<&Vec<Keeps>>, name: &str) -> bool {
    by.into_iter()
        .flatten()
        .any(|keeps| matches!(keeps, Keeps::Rule { rule, .. } if *rule == name))
}

/// A span as a policy writes it.
fn words(span: std::time::Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => "0s".to_owned(),
        _ if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

impl fmt::Display for Keeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule { rule, of, late } => {
                let late = if *late { ", arrived late" } else { "" };
                write!(f, "{rule} ({of}{late})")
            }
            Self::PointInTime => f.write_str("point_in_time"),
            Self::Floor(floor) => write!(f, "keep_at_least ({floor})"),
            Self::Hold(hold) => hold.fmt(f),
            Self::NothingBetter => {
                f.write_str("degraded or affected by damage, but no newer good one is kept")
            }
            Self::Paused => f.write_str("retention is paused for the source"),
            Self::NoRules => f.write_str("the source has no retention"),
        }
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent { newest, promise } => {
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
                    words(promise.to_std().unwrap_or_default())
                )
            }
            Self::Flooded {
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
