//! What is to happen with a job now.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reprise_policies::{CatchUp, OverlapRule, Schedule, Slot};

use crate::ledger::{
    ActiveSlot, ActiveState, CLOCK_AHEAD_MAX, JobRecord, SkippedSlots, SlotState, SourcePause,
};

/// With `catch_up: none` a slot that has not started within this time is missed, unless the schedule says otherwise.
const START_WITHIN_DEFAULT: Duration = Duration::from_secs(3600);
/// A slot whose owners were lost so often is not begun again: it may be what kills them.
const LOST_OWNERS_MAX: u32 = 3;
/// How long after a failure the next attempt is made, by how many have failed.
const RETRY_DELAYS: [Duration; 4] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(25 * 60),
    Duration::from_secs(60 * 60),
];
/// How many missed slots are counted one by one.
const COUNTED_SLOTS_MAX: usize = 10_000;

/// What is to happen with a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// Slots that no run is made for, to be recorded first.
    pub skipped: Vec<SkippedSlots>,
    /// A slot that is given up, with the reason, to be recorded first.
    pub given_up: Option<(ActiveSlot, String)>,
    /// What is to be done.
    pub decision: DueDecision,
}

/// What is to be done with a job now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DueDecision {
    /// Nothing.
    NotDue,
    /// A slot is due, and waits.
    Waiting {
        /// The slot.
        slot: String,
        /// What for.
        reason: WaitReason,
    },
    /// A run begins.
    Start(StartDecision),
}

/// A run that is to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartDecision {
    /// The slot.
    pub slot: String,
    /// When it was due.
    pub due: DateTime<Utc>,
    /// Which attempt it is.
    pub attempt: AttemptKind,
    /// Whether the slot was missed, and is run late.
    pub is_late: bool,
}

/// Which attempt at a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptKind {
    /// The first.
    First,
    /// Another one, after a failure or the loss of an owner.
    Again(ActiveSlot),
}

/// What a slot that is due waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitReason {
    /// Its run is under way.
    Running,
    /// An earlier run of the same job is under way.
    Overlap,
    /// The next attempt, after a failure.
    Retry(DateTime<Utc>),
    /// The time of day at which runs may start.
    Window,
}

/// Decides what is to happen with a job.
#[must_use]
pub fn evaluate_job(
    name: &str,
    schedule: &Schedule,
    record: &JobRecord,
    now: DateTime<Utc>,
) -> Evaluation {
    let jitter = to_delta(schedule.jitter_of(name));
    let slot = schedule.last_slot(now - jitter);
    let fresh = slot.filter(|slot| is_undecided(slot, record));
    let mut evaluation = Evaluation {
        skipped: Vec::new(),
        given_up: None,
        decision: DueDecision::NotDue,
    };
    match (&record.active, fresh) {
        (Some(active), fresh) => {
            evaluate_active(
                schedule,
                record,
                active,
                fresh,
                now,
                jitter,
                &mut evaluation,
            );
        }
        (None, Some(slot)) => evaluate_slot(schedule, record, &slot, now, jitter, &mut evaluation),
        (None, None) => {}
    }
    evaluation
}

fn is_undecided(slot: &Slot, record: &JobRecord) -> bool {
    record
        .last
        .as_ref()
        .is_none_or(|last| last.due < slot.due() && last.slot != slot.id())
}

fn evaluate_active(
    schedule: &Schedule,
    record: &JobRecord,
    active: &ActiveSlot,
    fresh: Option<Slot>,
    now: DateTime<Utc>,
    jitter: TimeDelta,
    evaluation: &mut Evaluation,
) {
    match &active.state {
        ActiveState::Running { lease_until, .. }
            if (now..=now + CLOCK_AHEAD_MAX).contains(lease_until) =>
        {
            evaluation.decision = waiting(active, WaitReason::Running);
            if let Some(slot) = fresh {
                match schedule.overlap {
                    OverlapRule::Skip => {
                        let reason = format!("the run of {} was still under way", active.slot);
                        evaluation.skipped = vec![skip_until(schedule, record, &slot, reason)];
                    }
                    OverlapRule::Queue => {
                        evaluation.decision = DueDecision::Waiting {
                            slot: slot.id(),
                            reason: WaitReason::Overlap,
                        };
                    }
                }
            }
        }
        // A later slot stands for what failed, or was lost, before it.
        ActiveState::Running { .. } | ActiveState::Waiting { .. } if fresh.is_some() => {
            let reason = "no attempt succeeded before the next slot was due";
            evaluation.given_up = Some((active.clone(), reason.to_owned()));
            if let Some(slot) = fresh {
                evaluate_slot(schedule, record, &slot, now, jitter, evaluation);
            }
        }
        ActiveState::Running { .. } if active.lost + 1 >= LOST_OWNERS_MAX => {
            let reason =
                format!("{LOST_OWNERS_MAX} processes that ran it were lost; it is not begun again");
            evaluation.given_up = Some((active.clone(), reason));
        }
        ActiveState::Running { lease_until, .. } => {
            // A lease that is not over yet was written while a clock was ahead.
            let again = match *lease_until > now {
                true => now,
                false => *lease_until + to_delta(retry_delay(active.lost)),
            };
            evaluation.decision = begin_again(schedule, active, again, now);
        }
        ActiveState::Waiting { not_before } => {
            evaluation.decision = begin_again(schedule, active, *not_before, now);
        }
    }
}

fn waiting(active: &ActiveSlot, reason: WaitReason) -> DueDecision {
    DueDecision::Waiting {
        slot: active.slot.clone(),
        reason,
    }
}

fn begin_again(
    schedule: &Schedule,
    active: &ActiveSlot,
    not_before: DateTime<Utc>,
    now: DateTime<Utc>,
) -> DueDecision {
    // Later than any retry: a clock was ahead when it was written.
    if now < not_before && not_before <= now + CLOCK_AHEAD_MAX * 2 {
        return waiting(active, WaitReason::Retry(not_before));
    }
    if !schedule.may_start(now) {
        return waiting(active, WaitReason::Window);
    }
    DueDecision::Start(StartDecision {
        slot: active.slot.clone(),
        due: active.due,
        attempt: AttemptKind::Again(active.clone()),
        is_late: false,
    })
}

fn evaluate_slot(
    schedule: &Schedule,
    record: &JobRecord,
    slot: &Slot,
    now: DateTime<Utc>,
    jitter: TimeDelta,
    evaluation: &mut Evaluation,
) {
    let due = slot.due() + jitter;
    if let Some(pause) = record
        .pause
        .as_ref()
        .filter(|pause| covers(pause, now, due))
    {
        let reason = format!(
            "paused until {}: {}",
            pause.until.format("%Y-%m-%dT%H:%MZ"),
            pause.reason
        );
        evaluation
            .skipped
            .push(skip_until(schedule, record, slot, reason));
        return;
    }
    let limit = match (schedule.start_within, schedule.catch_up) {
        (Some(limit), _) => Some(limit),
        (None, CatchUp::None) => Some(START_WITHIN_DEFAULT),
        (None, CatchUp::One) => None,
    };
    // What was never due before was not missed.
    let is_late = record.last.is_some() && limit.is_some_and(|limit| now > due + to_delta(limit));
    if schedule.catch_up == CatchUp::None {
        let was_known = record.timing.as_deref() == Some(schedule.timing_text().as_str());
        if is_late || !was_known {
            let reason = if was_known {
                "missed: nothing ran when it was due, and nothing is caught up"
            } else {
                "it was due before this schedule was known, and nothing is caught up"
            };
            let reason = reason.to_owned();
            evaluation
                .skipped
                .push(skip_until(schedule, record, slot, reason));
            return;
        }
    }
    evaluation
        .skipped
        .extend(skip_before(schedule, record, slot));
    evaluation.decision = if schedule.may_start(now) {
        DueDecision::Start(StartDecision {
            slot: slot.id(),
            due: slot.due(),
            attempt: AttemptKind::First,
            is_late,
        })
    } else {
        DueDecision::Waiting {
            slot: slot.id(),
            reason: WaitReason::Window,
        }
    };
}

/// Whether a pause lasts, or lasted when a slot was due: its end fires nothing.
fn covers(pause: &SourcePause, now: DateTime<Utc>, due: DateTime<Utc>) -> bool {
    pause.from <= now && due < pause.until && (due >= pause.from || now < pause.until)
}

/// A slot with those before it that nobody has decided.
fn skip_until(
    schedule: &Schedule,
    record: &JobRecord,
    slot: &Slot,
    reason: String,
) -> SkippedSlots {
    let (first, earlier) = count_undecided(schedule, record, slot);
    SkippedSlots {
        first: first.map_or_else(|| slot.id(), |(first, _)| first.id()),
        last: slot.id(),
        last_due: slot.due(),
        count: earlier + 1,
        state: SlotState::Skipped,
        reason,
    }
}

/// The undecided slots before one: it stands for them, or they are missed.
fn skip_before(schedule: &Schedule, record: &JobRecord, slot: &Slot) -> Option<SkippedSlots> {
    let (bounds, count) = count_undecided(schedule, record, slot);
    let (first, last) = bounds?;
    let (state, reason) = match schedule.catch_up {
        CatchUp::One => (SlotState::Coalesced, format!("{} stands for it", slot.id())),
        CatchUp::None => (
            SlotState::Skipped,
            "missed: nothing ran when it was due, and nothing is caught up".to_owned(),
        ),
    };
    Some(SkippedSlots {
        first: first.id(),
        last: last.id(),
        last_due: last.due(),
        count,
        state,
        reason,
    })
}

/// The first and the last undecided slot before one, and how many there are. None is owed from before a job was known.
fn count_undecided(
    schedule: &Schedule,
    record: &JobRecord,
    slot: &Slot,
) -> (Option<(Slot, Slot)>, u64) {
    let Some(decided) = &record.last else {
        return (None, 0);
    };
    let next = |slot: &Slot| schedule.next_slot(slot.due());
    let mut earlier = std::iter::successors(schedule.next_slot(decided.due), next)
        .take_while(|earlier| earlier.due() < slot.due())
        .take(COUNTED_SLOTS_MAX);
    let Some(first) = earlier.next() else {
        return (None, 0);
    };
    let count = 1 + earlier.count() as u64;
    let last = schedule.last_slot(slot.due() - TimeDelta::seconds(1));
    (Some((first.clone(), last.unwrap_or(first))), count)
}

/// When a run that failed is tried again, if it is. `failed` is how many attempts have failed, with this one.
#[must_use]
pub fn retry_time(schedule: &Schedule, failed: u32, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    (failed <= schedule.retries).then(|| now + to_delta(retry_delay(failed.saturating_sub(1))))
}

fn retry_delay(earlier: u32) -> Duration {
    let last = RETRY_DELAYS.len() - 1;
    RETRY_DELAYS[usize::try_from(earlier).unwrap_or(last).min(last)]
}

fn to_delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}
