//! The rules for what is due, one by one; and a year of nights with restarts, sleeps and jumps of the clock.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use reprise_policies::{
    CatchUp, CronExpression, DailyWindow, OverlapRule, Schedule, ScheduleTiming, TimeZone,
};
use reprise_repository::Outcome;

use super::{AttemptKind, DueDecision, Evaluation, WaitReason, evaluate_job, retry_time};
use crate::ledger::{
    ActiveSlot, ActiveState, Claimant, DecidedSlot, JobRecord, Ledger, RunDetails, RunFilter,
    RunResult, SlotState, SourcePause,
};

fn nightly() -> Schedule {
    let timing = ScheduleTiming::Cron(CronExpression::parse("0 2 * * *").unwrap());
    Schedule::new(timing, TimeZone::find("Europe/Berlin").unwrap())
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A record of a job whose last slot was at 02:00 on a day.
fn decided(schedule: &Schedule, day: &str) -> JobRecord {
    let slot = schedule
        .last_slot(time(&format!("{day}T12:00:00Z")))
        .unwrap();
    JobRecord {
        timing: Some(schedule.timing_text()),
        last: Some(DecidedSlot {
            slot: slot.id(),
            due: slot.due(),
        }),
        ..JobRecord::default()
    }
}

fn evaluate(schedule: &Schedule, record: &JobRecord, now: &str) -> Evaluation {
    evaluate_job("p/sources/a", schedule, record, time(now))
}

fn started(evaluation: &Evaluation) -> (&str, bool) {
    match &evaluation.decision {
        DueDecision::Start(start) => (&start.slot, start.is_late),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_last_slot_is_due_until_it_is_decided() {
    let schedule = nightly();
    let record = decided(&schedule, "2027-01-05");
    assert_eq!(
        evaluate(&schedule, &record, "2027-01-06T00:59:59Z").decision,
        DueDecision::NotDue
    );
    let evaluation = evaluate(&schedule, &record, "2027-01-06T01:00:00Z");
    assert_eq!(
        started(&evaluation),
        ("2027-01-06T02:00[Europe/Berlin]", false)
    );
    assert_eq!(evaluation.skipped, []);
}

#[test]
fn a_new_schedule_owes_its_last_slot_once_and_a_changed_one_too() {
    let schedule = nightly();
    let first = evaluate(&schedule, &JobRecord::default(), "2027-01-06T12:00:00Z");
    assert_eq!(started(&first), ("2027-01-06T02:00[Europe/Berlin]", false));
    let mut later = nightly();
    later.timing = ScheduleTiming::Cron(CronExpression::parse("0 9 * * *").unwrap());
    let record = decided(&schedule, "2027-01-06");
    let changed = evaluate(&later, &record, "2027-01-06T12:00:00Z");
    assert_eq!(
        started(&changed),
        ("2027-01-06T09:00[Europe/Berlin]", false)
    );
    let none = Schedule {
        catch_up: CatchUp::None,
        ..schedule
    };
    let new = evaluate(&none, &JobRecord::default(), "2027-01-06T01:01:00Z");
    assert_eq!(new.decision, DueDecision::NotDue);
    assert_eq!(
        (new.skipped.len(), new.skipped[0].state),
        (1, SlotState::Skipped)
    );
}

#[test]
fn of_missed_slots_the_last_one_stands_for_all() {
    let schedule = Schedule {
        start_within: Some(Duration::from_secs(4 * 3600)),
        ..nightly()
    };
    let record = decided(&schedule, "2027-01-01");
    let evaluation = evaluate(&schedule, &record, "2027-01-06T08:00:00Z");
    assert_eq!(
        started(&evaluation),
        ("2027-01-06T02:00[Europe/Berlin]", true)
    );
    let [skipped] = evaluation.skipped.as_slice() else {
        panic!()
    };
    assert_eq!((skipped.count, skipped.state), (4, SlotState::Coalesced));
    assert_eq!(skipped.first, "2027-01-02T02:00[Europe/Berlin]");
    assert_eq!(skipped.last, "2027-01-05T02:00[Europe/Berlin]");
    let none = Schedule {
        catch_up: CatchUp::None,
        ..schedule.clone()
    };
    let evaluation = evaluate(&none, &record, "2027-01-06T08:00:00Z");
    assert_eq!(evaluation.decision, DueDecision::NotDue);
    let [skipped] = evaluation.skipped.as_slice() else {
        panic!()
    };
    assert_eq!((skipped.count, skipped.state), (5, SlotState::Skipped));
    // In time, the one that is due is run all the same.
    let evaluation = evaluate(&none, &record, "2027-01-06T02:00:00Z");
    assert_eq!(
        started(&evaluation),
        ("2027-01-06T02:00[Europe/Berlin]", false)
    );
    assert_eq!(evaluation.skipped[0].count, 4);
}

#[test]
fn overlapping_slots_are_skipped_or_wait() {
    let schedule = nightly();
    let mut record = decided(&schedule, "2027-01-05");
    let last = record.last.clone().unwrap();
    record.active = Some(ActiveSlot {
        slot: last.slot.clone(),
        due: last.due,
        attempt: 1,
        failed: 0,
        lost: 0,
        state: ActiveState::Running {
            owner: "o".to_owned(),
            lease_until: time("2027-01-06T02:00:00Z"),
        },
    });
    let evaluation = evaluate(&schedule, &record, "2027-01-06T01:30:00Z");
    assert_eq!(
        evaluation.decision,
        DueDecision::Waiting {
            slot: last.slot,
            reason: WaitReason::Running
        }
    );
    assert_eq!(evaluation.skipped[0].state, SlotState::Skipped);
    let queue = Schedule {
        overlap: OverlapRule::Queue,
        ..schedule
    };
    let evaluation = evaluate(&queue, &record, "2027-01-06T01:30:00Z");
    assert_eq!(evaluation.skipped, []);
    assert!(matches!(
        evaluation.decision,
        DueDecision::Waiting {
            reason: WaitReason::Overlap,
            ..
        }
    ));
}

#[test]
fn lost_owners_are_followed_three_times() {
    let schedule = nightly();
    let mut record = decided(&schedule, "2027-01-05");
    let last = record.last.clone().unwrap();
    let active = |lost, lease_until: &str| ActiveSlot {
        slot: last.slot.clone(),
        due: last.due,
        attempt: lost + 1,
        failed: 0,
        lost,
        state: ActiveState::Running {
            owner: "o".to_owned(),
            lease_until: time(lease_until),
        },
    };
    record.active = Some(active(0, "2027-01-05T03:00:00Z"));
    let soon = evaluate(&schedule, &record, "2027-01-05T03:00:30Z");
    assert!(matches!(
        soon.decision,
        DueDecision::Waiting {
            reason: WaitReason::Retry(_),
            ..
        }
    ));
    let then = evaluate(&schedule, &record, "2027-01-05T03:01:00Z");
    assert!(matches!(
        then.decision,
        DueDecision::Start(super::StartDecision {
            attempt: AttemptKind::Again(_),
            ..
        })
    ));
    record.active = Some(active(2, "2027-01-05T03:00:00Z"));
    let stopped = evaluate(&schedule, &record, "2027-01-05T09:00:00Z");
    assert_eq!(stopped.decision, DueDecision::NotDue);
    assert!(stopped.given_up.unwrap().1.contains("3 processes"));
    // The next night is another slot.
    let next = evaluate(&schedule, &record, "2027-01-06T01:00:00Z");
    assert!(next.given_up.is_some());
    assert_eq!(started(&next).0, "2027-01-06T02:00[Europe/Berlin]");
}

#[test]
fn retries_back_off_and_end() {
    let schedule = Schedule {
        retries: 3,
        ..nightly()
    };
    let now = time("2027-01-05T03:00:00Z");
    let delays: Vec<_> = (1..=4)
        .map(|failed| retry_time(&schedule, failed, now).map(|at| (at - now).num_minutes()))
        .collect();
    assert_eq!(delays, [Some(1), Some(5), Some(25), None]);
    assert_eq!(retry_time(&nightly(), 1, now), None);
}

#[test]
fn a_window_holds_back_what_is_due() {
    let schedule = Schedule {
        window: DailyWindow::parse("22:00-06:00"),
        ..nightly()
    };
    let record = decided(&schedule, "2027-01-05");
    let day = evaluate(&schedule, &record, "2027-01-06T08:00:00Z");
    assert!(matches!(
        day.decision,
        DueDecision::Waiting {
            reason: WaitReason::Window,
            ..
        }
    ));
    let night = evaluate(&schedule, &record, "2027-01-06T21:00:00Z");
    assert_eq!(started(&night).0, "2027-01-06T02:00[Europe/Berlin]");
}

#[test]
fn the_end_of_a_pause_fires_nothing() {
    let schedule = nightly();
    let mut record = decided(&schedule, "2027-01-05");
    record.pause = Some(SourcePause {
        source: "p/a".to_owned(),
        from: time("2027-01-05T12:00:00Z"),
        until: time("2027-01-08T12:00:00Z"),
        reason: "restored".to_owned(),
        user: "u".to_owned(),
    });
    for now in ["2027-01-07T12:00:00Z", "2027-01-08T12:00:01Z"] {
        let paused = evaluate(&schedule, &record, now);
        assert_eq!(paused.decision, DueDecision::NotDue, "{now}");
        assert!(paused.skipped[0].reason.contains("restored"));
    }
    let over = evaluate(&schedule, &record, "2027-01-09T01:00:00Z");
    assert_eq!(started(&over).0, "2027-01-09T02:00[Europe/Berlin]");
}

#[test]
fn jitter_moves_the_start_and_not_the_slot() {
    let schedule = Schedule {
        jitter: Duration::from_secs(3600),
        ..nightly()
    };
    let jitter = TimeDelta::from_std(schedule.jitter_of("p/sources/a")).unwrap();
    let record = decided(&schedule, "2027-01-05");
    let due = time("2027-01-06T01:00:00Z") + jitter;
    let before = evaluate_job(
        "p/sources/a",
        &schedule,
        &record,
        due - TimeDelta::seconds(1),
    );
    assert_eq!(before.decision, DueDecision::NotDue);
    let then = evaluate_job("p/sources/a", &schedule, &record, due);
    assert_eq!(started(&then).0, "2027-01-06T02:00[Europe/Berlin]");
}

/// One process that evaluates and runs, by a ledger on the disk.
fn evaluate_and_run(ledger: &Ledger, schedule: &Schedule, now: DateTime<Utc>, outcome: Outcome) {
    let job = "p/sources/a";
    let record = ledger.load_job(job, None, now).unwrap();
    let evaluation = evaluate_job(job, schedule, &record, now);
    if let Some((active, reason)) = &evaluation.given_up {
        ledger.give_up(job, active, reason, now).unwrap();
    }
    for skipped in &evaluation.skipped {
        ledger.record_skipped(job, skipped, now).unwrap();
    }
    ledger.record_timing(job, &schedule.timing_text()).unwrap();
    let DueDecision::Start(start) = evaluation.decision else {
        return;
    };
    let claimant = Claimant {
        owner: "o".to_owned(),
        lease_until: now + TimeDelta::minutes(2),
        now,
    };
    let details = RunDetails::default();
    let claim = match &start.attempt {
        AttemptKind::First => ledger.claim_slot((job, &start.slot, start.due), &claimant, &details),
        AttemptKind::Again(active) => ledger.claim_again(job, active, &claimant, &details),
    };
    let claim = claim.unwrap().unwrap();
    let failed = u32::from(outcome == Outcome::Failed);
    let retry_at = (failed > 0)
        .then(|| retry_time(schedule, failed, now))
        .flatten();
    let result = RunResult {
        outcome,
        error: String::new(),
        hint: String::new(),
        retry_at,
    };
    assert!(ledger.finish_claim(&claim, &result, now).unwrap());
}

#[test]
fn what_a_clock_that_was_ahead_has_decided_stands_for_nothing_until_then() {
    let schedule = nightly();
    let directory = tempfile::tempdir().unwrap();
    let night = |day: i64| time("2027-01-05T01:30:00Z") + TimeDelta::days(day);
    let ledger = Ledger::open(&directory.path().join("ledger.sqlite"), night(0)).unwrap();
    evaluate_and_run(&ledger, &schedule, night(0), Outcome::Ok);
    evaluate_and_run(&ledger, &schedule, night(4000), Outcome::Ok);
    evaluate_and_run(&ledger, &schedule, night(1), Outcome::Ok);
    let job = "p/sources/a";
    assert_eq!(ledger.count_done(job).unwrap(), 3);
    // A run that was begun then, and lost.
    let ahead = night(5000);
    let slot = schedule.last_slot(ahead).unwrap();
    let claimant = Claimant {
        owner: "o".to_owned(),
        lease_until: ahead,
        now: ahead,
    };
    let claimed = ledger.claim_slot(
        (job, &slot.id(), slot.due()),
        &claimant,
        &RunDetails::default(),
    );
    assert!(claimed.unwrap().is_some());
    evaluate_and_run(&ledger, &schedule, night(2), Outcome::Ok);
    assert_eq!(ledger.count_done(job).unwrap(), 4);
    let runs = ledger.list_runs(&RunFilter::default()).unwrap();
    assert!(
        runs.iter().all(|run| run.state != SlotState::Running),
        "{runs:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever sleeps there are and however the clock jumps, each slot is decided exactly once.
    #[test]
    fn each_slot_ends_in_one_decision(
        expression in prop::sample::select(vec!["0 2 * * *", "30 */6 * * *", "15 1,3 * * *"]),
        zone in prop::sample::select(vec!["Europe/Berlin", "America/Vancouver", "Australia/Lord_Howe", "Africa/Casablanca"]),
        start in 0_i64..730,
        steps in prop::collection::vec((-90_i64..2000, 0..10_u8), 40..80),
    ) {
        let timing = ScheduleTiming::Cron(CronExpression::parse(expression).unwrap());
        let schedule = Schedule { retries: 2, ..Schedule::new(timing, TimeZone::find(zone).unwrap()) };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.sqlite");
        let begun = time("2026-06-01T00:00:00Z") + TimeDelta::days(start);
        let ledger = Ledger::open(&path, begun).unwrap();
        let (mut now, mut latest) = (begun, begun);
        for (minutes, luck) in steps {
            now += TimeDelta::minutes(minutes);
            latest = latest.max(now);
            let outcome = if luck == 0 { Outcome::Failed } else { Outcome::Ok };
            evaluate_and_run(&ledger, &schedule, now, outcome);
        }
        now = latest + TimeDelta::days(2);
        evaluate_and_run(&ledger, &schedule, now, Outcome::Ok);
        let first = schedule.last_slot(begun).unwrap();
        let mut wanted: BTreeMap<String, u64> = schedule
            .slots_between(first.due() - TimeDelta::seconds(1), now)
            .iter()
            .map(|slot| (slot.id(), 0))
            .collect();
        let runs = ledger.list_runs(&RunFilter::default()).unwrap();
        let total: u64 = runs.iter().filter(|run| run.attempt <= 1).map(|run| run.slots).sum();
        for run in runs.iter().filter(|run| run.attempt == 1) {
            *wanted.get_mut(&run.slot).unwrap() += 1;
        }
        prop_assert!(wanted.values().all(|count| *count <= 1));
        // The first evaluation may be later than the beginning, so that slots before it are not owed.
        let owed = wanted.len() as u64;
        let earliest = runs.iter().filter(|run| run.attempt <= 1).map(|run| run.slot.clone()).min().unwrap();
        let before = wanted.keys().filter(|slot| **slot < earliest).count() as u64;
        prop_assert_eq!(total, owed - before);
        prop_assert_eq!(runs.iter().filter(|run| run.state == SlotState::Running).count(), 0);
    }
}
