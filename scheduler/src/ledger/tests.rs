//! What the ledger promises: one owner for a slot, and nothing that a lost owner writes counts.

use std::fs;

use chrono::{DateTime, TimeDelta, Utc};
use reprise_repository::Outcome;

use super::{
    ActiveState, Claimant, Ledger, LedgerError, RunDetails, RunFilter, RunResult, SkippedSlots,
    SlotState, StepRecord,
};

fn at(minute: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + minute * 60, 0).unwrap()
}

fn open(directory: &tempfile::TempDir) -> Ledger {
    Ledger::open(&directory.path().join("state/ledger.sqlite"), at(0)).unwrap()
}

fn claimant(owner: &str, minute: i64) -> Claimant {
    Claimant {
        owner: owner.to_owned(),
        lease_until: at(minute + 2),
        now: at(minute),
    }
}

fn result(outcome: Outcome, retry_at: Option<DateTime<Utc>>) -> RunResult {
    RunResult {
        outcome,
        error: if outcome == Outcome::Failed {
            "broken".to_owned()
        } else {
            String::new()
        },
        hint: String::new(),
        retry_at,
    }
}

#[test]
fn a_slot_has_one_owner_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (open(&directory), open(&directory));
    let details = RunDetails::default();
    let slot = ("p/sources/a", "T1", at(0));
    let claim = one
        .claim_slot(slot, &claimant("one", 0), &details)
        .unwrap()
        .unwrap();
    assert_eq!(
        other
            .claim_slot(slot, &claimant("other", 0), &details)
            .unwrap(),
        None
    );
    // Another slot of the same job waits until this one has ended, and one that was passed over stays so.
    let later = ("p/sources/a", "T2", at(10));
    assert_eq!(
        other
            .claim_slot(later, &claimant("other", 1), &details)
            .unwrap(),
        None
    );
    assert!(
        one.finish_claim(&claim, &result(Outcome::Ok, None), at(2))
            .unwrap()
    );
    let claim = other
        .claim_slot(later, &claimant("other", 11), &details)
        .unwrap()
        .unwrap();
    assert!(
        other
            .finish_claim(&claim, &result(Outcome::Degraded, None), at(12))
            .unwrap()
    );
    let earlier = ("p/sources/a", "T1b", at(5));
    assert_eq!(
        one.claim_slot(earlier, &claimant("one", 13), &details)
            .unwrap(),
        None
    );
    // The same local time at another instant, by other time-zone data.
    let moved = ("p/sources/a", "T2", at(70));
    assert_eq!(
        one.claim_slot(moved, &claimant("one", 71), &details)
            .unwrap(),
        None
    );
}

#[test]
fn an_owner_that_wakes_up_late_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(&directory);
    let details = RunDetails::default();
    let slot = ("j", "T1", at(0));
    let frozen = ledger
        .claim_slot(slot, &claimant("frozen", 0), &details)
        .unwrap()
        .unwrap();
    let active = ledger.load_job("j", None, at(100)).unwrap().active.unwrap();
    assert_eq!(
        ledger
            .claim_again("j", &active, &claimant("next", 1), &details)
            .unwrap(),
        None,
        "it lives"
    );
    let next = ledger
        .claim_again("j", &active, &claimant("next", 3), &details)
        .unwrap()
        .unwrap();
    assert_eq!(next.attempt, 2);
    assert!(!ledger.renew_claim(&frozen, at(9)).unwrap());
    assert!(
        !ledger
            .finish_claim(&frozen, &result(Outcome::Ok, None), at(4))
            .unwrap()
    );
    assert!(ledger.renew_claim(&next, at(9)).unwrap());
    assert!(
        ledger
            .finish_claim(&next, &result(Outcome::Ok, None), at(5))
            .unwrap()
    );
    let runs = ledger.list_runs(&RunFilter::default()).unwrap();
    let states: Vec<_> = runs.iter().map(|run| (run.attempt, run.state)).collect();
    assert_eq!(states, [(2, SlotState::Ok), (1, SlotState::Failed)]);
    assert!(runs[1].reason.contains("lease"), "{}", runs[1].reason);
}

#[test]
fn a_lease_that_expired_unnoticed_can_be_renewed() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(&directory);
    let claim = ledger
        .claim_slot(
            ("j", "T1", at(0)),
            &claimant("slow", 0),
            &RunDetails::default(),
        )
        .unwrap()
        .unwrap();
    assert!(ledger.renew_claim(&claim, at(100)).unwrap());
    assert!(
        ledger
            .finish_claim(&claim, &result(Outcome::Ok, None), at(90))
            .unwrap()
    );
}

#[test]
fn what_failed_is_tried_again_not_before_its_time() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(&directory);
    let details = RunDetails::default();
    let claim = ledger
        .claim_slot(("j", "T1", at(0)), &claimant("a", 0), &details)
        .unwrap()
        .unwrap();
    let step = |name: &str, outcome| StepRecord {
        name: name.to_owned(),
        outcome,
        facts: serde_json::json!({"snapshot": "ab"}),
        error: String::new(),
        hint: String::new(),
    };
    ledger.add_step(&claim, &step("main", Outcome::Ok)).unwrap();
    ledger
        .add_step(&claim, &step("vault", Outcome::Failed))
        .unwrap();
    assert!(
        ledger
            .finish_claim(&claim, &result(Outcome::Failed, Some(at(5))), at(1))
            .unwrap()
    );
    let active = ledger.load_job("j", None, at(100)).unwrap().active.unwrap();
    assert_eq!(active.state, ActiveState::Waiting { not_before: at(5) });
    assert_eq!(
        ledger
            .claim_again("j", &active, &claimant("a", 4), &details)
            .unwrap(),
        None
    );
    let again = ledger
        .claim_again("j", &active, &claimant("a", 5), &details)
        .unwrap()
        .unwrap();
    assert_eq!(ledger.finished_steps(&again).unwrap(), ["main"]);
    assert!(
        ledger
            .finish_claim(&again, &result(Outcome::Ok, None), at(6))
            .unwrap()
    );
    let record = ledger.load_job("j", None, at(100)).unwrap();
    assert_eq!(
        (record.active, record.last.unwrap().slot),
        (None, "T1".to_owned())
    );
    let run = ledger.find_run(&claim.run[..6]).unwrap();
    assert_eq!((run.state, run.steps.len()), (SlotState::Failed, 2));
    assert!(matches!(
        ledger.find_run("zzz"),
        Err(LedgerError::NoSuchRun { .. })
    ));
    assert!(matches!(
        ledger.find_run(""),
        Err(LedgerError::AmbiguousRun { .. })
    ));
}

#[test]
fn slots_without_a_run_are_in_the_history() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(&directory);
    let skipped = SkippedSlots {
        first: "T1".to_owned(),
        last: "T3".to_owned(),
        last_due: at(3),
        count: 3,
        state: SlotState::Coalesced,
        reason: "T4 stands for it".to_owned(),
    };
    ledger
        .record_skipped("p/sources/a", &skipped, at(4))
        .unwrap();
    ledger
        .record_skipped("p/sources/a", &skipped, at(5))
        .unwrap();
    let filter = |job: &str| RunFilter {
        job: Some(job.to_owned()),
        ..RunFilter::default()
    };
    let runs = ledger.list_runs(&filter("p/sources")).unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!(
        (runs[0].slots, runs[0].attempt, runs[0].state),
        (3, 0, SlotState::Coalesced)
    );
    assert_eq!(ledger.list_runs(&filter("p/sour")).unwrap(), []);
    let details = RunDetails::default();
    let passed = ("p/sources/a", "T2", at(2));
    assert_eq!(
        ledger
            .claim_slot(passed, &claimant("a", 6), &details)
            .unwrap(),
        None
    );
}

#[test]
fn a_damaged_ledger_is_set_aside_and_a_newer_one_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(&directory));
    let path = directory.path().join("state/ledger.sqlite");
    fs::write(&path, "this was a database").unwrap();
    let ledger = open(&directory);
    let kept = ledger.set_aside().unwrap().to_owned();
    assert_eq!(fs::read(kept).unwrap(), b"this was a database");
    ledger
        .claim_slot(
            ("j", "T1", at(0)),
            &claimant("a", 0),
            &RunDetails::default(),
        )
        .unwrap()
        .unwrap();
    drop(ledger);
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    assert!(matches!(
        Ledger::open(&path, at(0)),
        Err(LedgerError::NewerVersion { found: 99, .. })
    ));
}

#[test]
fn old_runs_expire_and_the_last_one_stays() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(&directory);
    for (slot, minute) in [("T1", 0), ("T2", 10)] {
        let claim = ledger
            .claim_slot(
                ("j", slot, at(minute)),
                &claimant("a", minute),
                &RunDetails::default(),
            )
            .unwrap()
            .unwrap();
        ledger
            .finish_claim(&claim, &result(Outcome::Ok, None), at(minute + 1))
            .unwrap();
    }
    drop(ledger);
    let path = directory.path().join("state/ledger.sqlite");
    let much_later = Ledger::open(&path, at(0) + TimeDelta::days(2000)).unwrap();
    let runs = much_later.list_runs(&RunFilter::default()).unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!(
        much_later
            .load_job("j", None, at(100))
            .unwrap()
            .last
            .unwrap()
            .slot,
        "T2"
    );
}
