//! The slots of a schedule on the time line.
//!
//! A local time that clocks leave out as they go forward is due when they go on; of several due at once only the last one
//! is a slot. A local time that they show twice is due the first time; expressions that follow elapsed time are due both
//! times.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jiff::civil;

use crate::schedule::cron::CronExpression;
use crate::schedule::settings::{Schedule, ScheduleTiming};
use crate::schedule::slot::Slot;
use reprise_times::{LocalInstants, TimeZone};

/// The most by which clocks were ever changed: a whole day, where a country crossed the date line.
const CLOCK_CHANGE_MAX: TimeDelta = TimeDelta::hours(25);
/// Slots are looked for this far ahead: expressions match once in this time at least.
const SEARCH_MAX: TimeDelta = TimeDelta::days(366 * 13);
/// How many slots [`Schedule::longest_interval`] compares.
const COMPARED_SLOTS_MAX: usize = 400;

impl Schedule {
    /// The last slot that is due at or before a time.
    #[must_use]
    pub fn last_slot(&self, now: DateTime<Utc>) -> Option<Slot> {
        match &self.timing {
            ScheduleTiming::Every(interval) => interval_slot(*interval, now),
            ScheduleTiming::Cron(expression) => {
                let margin = self.clock_change_near(now);
                let last = expression.last_match(self.civil(now + margin))?;
                // In one of the two passes or behind the gap, a change of clocks lies between them.
                let from = self.first_instant(last) - margin - margin - TimeDelta::seconds(1);
                self.cron_slots(expression, from, now)
                    .pop()
                    .or_else(|| self.last_slot_before_match(expression, last, now))
            }
        }
    }

    /// The match nearest to now was later than now: its predecessors are tried.
    fn last_slot_before_match(
        &self,
        expression: &CronExpression,
        last: civil::DateTime,
        now: DateTime<Utc>,
    ) -> Option<Slot> {
        let mut until = last;
        for _ in 0..COMPARED_SLOTS_MAX {
            let before = until.checked_sub(jiff::SignedDuration::from_secs(1)).ok()?;
            until = expression.last_match(before)?;
            let found = self.place(expression, until);
            if let Some(slot) = found.into_iter().rfind(|slot| slot.due <= now) {
                return Some(slot);
            }
        }
        None
    }

    /// The first slot that is due after a time.
    #[must_use]
    pub fn next_slot(&self, after: DateTime<Utc>) -> Option<Slot> {
        match &self.timing {
            ScheduleTiming::Every(interval) => {
                let step = TimeDelta::from_std(*interval).ok()?;
                interval_slot(*interval, after.checked_add_signed(step)?)
            }
            ScheduleTiming::Cron(expression) => {
                let margin = self.clock_change_near(after);
                let mut next = expression.next_match(self.civil(after - margin))?;
                let end = self.civil(after + SEARCH_MAX);
                let mut candidates: Vec<Slot> = Vec::new();
                while next < end {
                    let placed = self.place(expression, next);
                    let due = candidates.iter().map(|slot: &Slot| slot.due).min();
                    // Others may be due at once; and earlier, where clocks go back, by no more than they are changed.
                    if let Some(first) = due
                        && next > self.civil(first + margin)
                        && placed.iter().all(|slot| slot.due > first)
                    {
                        break;
                    }
                    candidates.extend(placed.into_iter().filter(|slot| slot.due > after));
                    next = expression.next_match(next)?;
                }
                merge_simultaneous(candidates).into_iter().next()
            }
        }
    }

    /// All slots due after `from` and not after `until`, in order.
    #[must_use]
    pub fn slots_between(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<Slot> {
        match &self.timing {
            ScheduleTiming::Every(_) => {
                let next = |slot: &Slot| self.next_slot(slot.due);
                std::iter::successors(self.next_slot(from), next)
                    .take_while(|slot| slot.due <= until)
                    .collect()
            }
            ScheduleTiming::Cron(expression) => self.cron_slots(expression, from, until),
        }
    }

    /// The longest time between two slots, of those from a time on.
    #[must_use]
    pub fn longest_interval(&self, from: DateTime<Utc>) -> Option<Duration> {
        let next = |slot: &Slot| self.next_slot(slot.due);
        let slots: Vec<Slot> = std::iter::successors(self.next_slot(from), next)
            .take_while(|slot| slot.due < from + SEARCH_MAX)
            .take(COMPARED_SLOTS_MAX)
            .collect();
        let intervals = slots.iter().zip(slots.iter().skip(1));
        let longest = intervals.map(|(one, next)| next.due - one.due).max()?;
        longest.to_std().ok()
    }

    fn cron_slots(
        &self,
        expression: &CronExpression,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Vec<Slot> {
        let (before, behind) = (self.clock_change_near(from), self.clock_change_near(until));
        let end = self.civil(until + behind);
        let mut placed = Vec::new();
        let mut next = expression.next_match(self.civil(from - before - TimeDelta::seconds(1)));
        while let Some(local) = next.filter(|local| *local <= end) {
            placed.extend(self.place(expression, local));
            next = expression.next_match(local);
        }
        placed.retain(|slot| from < slot.due && slot.due <= until);
        merge_simultaneous(placed)
    }

    /// The slots of one local time: one, or both passes of it.
    fn place(&self, expression: &CronExpression, local: civil::DateTime) -> Vec<Slot> {
        let slot = |is_repeat, due| Slot {
            local,
            is_repeat,
            time_zone: self.time_zone.clone(),
            due,
        };
        match self.time_zone.instants_of(local) {
            LocalInstants::Once(due) | LocalInstants::Skipped { resumed: due } => {
                vec![slot(false, due)]
            }
            LocalInstants::Twice(first, second) if expression.follows_elapsed_time() => {
                vec![slot(false, first), slot(true, second)]
            }
            LocalInstants::Twice(first, _) => vec![slot(false, first)],
        }
    }

    fn civil(&self, time: DateTime<Utc>) -> civil::DateTime {
        self.time_zone.civil_at(time)
    }

    fn first_instant(&self, local: civil::DateTime) -> DateTime<Utc> {
        match self.time_zone.instants_of(local) {
            LocalInstants::Once(at)
            | LocalInstants::Twice(at, _)
            | LocalInstants::Skipped { resumed: at } => at,
        }
    }

    /// By how much local times can be out of order around a time: not at all where clocks are not changed.
    fn clock_change_near(&self, time: DateTime<Utc>) -> TimeDelta {
        let offset = |time| self.time_zone.local_time(time).offset().local_minus_utc();
        let around = [time - CLOCK_CHANGE_MAX, time, time + CLOCK_CHANGE_MAX].map(offset);
        if around.iter().all(|one| *one == around[0]) {
            TimeDelta::zero()
        } else {
            CLOCK_CHANGE_MAX
        }
    }
}

/// In order; of slots that are due at once, the one that clocks show then.
fn merge_simultaneous(mut slots: Vec<Slot>) -> Vec<Slot> {
    slots.sort_by_key(|slot| (slot.due, std::cmp::Reverse(slot.local)));
    slots.dedup_by_key(|slot| slot.due);
    slots
}

/// The last multiple of an interval at or before a time.
fn interval_slot(interval: Duration, now: DateTime<Utc>) -> Option<Slot> {
    let step = i64::try_from(interval.as_secs())
        .ok()
        .filter(|step| *step > 0)?;
    let at = now
        .timestamp()
        .checked_sub(now.timestamp().rem_euclid(step))?;
    let due = DateTime::from_timestamp(at, 0)?;
    Some(Slot {
        local: TimeZone::utc().civil_at(due),
        is_repeat: false,
        time_zone: TimeZone::utc(),
        due,
    })
}
