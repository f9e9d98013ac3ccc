//! Examples of decisions, and properties of all decisions.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::{
    Candidate, Hold, KeepReason, Retention, RetentionDecision, RetentionOptions, RetentionPause,
    RetentionVerdict, decide_retention,
};
use reprise_times::TimeZone;

const DAY: Duration = Duration::from_secs(86_400);

fn at(text: &str) -> DateTime<Utc> {
    let text = match text.len() {
        10 => format!("{text}T02:00:00Z"),
        _ => format!("{text}:00Z"),
    };
    text.parse().unwrap()
}

fn count(n: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(n)
}

fn one(id: u32, time: DateTime<Utc>) -> Candidate<u32> {
    Candidate {
        id,
        data_time: time,
        received: Some(time + TimeDelta::minutes(5)),
        good: true,
        hold: None,
        log_range: None,
    }
}

/// Daily ones until `newest`; the number is how many days before it.
fn daily(newest: &str, days: u32) -> Vec<Candidate<u32>> {
    let newest = at(newest);
    (0..days)
        .map(|n| one(n, newest - TimeDelta::days(n.into())))
        .collect()
}

fn zone(name: &str) -> TimeZone {
    TimeZone::find(name).unwrap()
}

fn decided(
    candidates: &[Candidate<u32>],
    rules: &Retention,
    now: DateTime<Utc>,
) -> RetentionDecision<u32> {
    decide_retention(
        candidates,
        rules,
        now,
        &TimeZone::utc(),
        RetentionOptions::default(),
    )
}

fn kept(candidates: &[Candidate<u32>], rules: &Retention, now: &str) -> Vec<u32> {
    kept_by(&decided(candidates, rules, at(now)))
}

fn kept_by(decision: &RetentionDecision<u32>) -> Vec<u32> {
    let kept = decision.verdicts.iter().filter(|(_, v)| v.is_kept());
    let mut kept: Vec<u32> = kept.map(|(id, _)| *id).collect();
    kept.sort_unstable();
    kept
}

fn reason(decision: &RetentionDecision<u32>, id: u32) -> String {
    let (_, verdict) = decision
        .verdicts
        .iter()
        .find(|(one, _)| *one == id)
        .unwrap();
    match verdict {
        RetentionVerdict::Forget { reason } => reason.clone(),
        RetentionVerdict::Keep { reasons: by } => panic!("kept by {by:?}"),
    }
}

const NOW: &str = "2026-11-21T12:00";

#[test]
fn calendars_keep_one_of_each_of_the_newest_pieces() {
    let year = daily("2026-11-21", 365);
    let rules = Retention {
        daily: count(7),
        weekly: count(4),
        monthly: count(12),
        yearly: count(2),
        ..Retention::default()
    };
    // Saturday 21 November; weeks end on Sundays 15, 8 and 1; months on their last days; 2025 ends 325 days before.
    let weeks = [6, 13, 20];
    let months = [21, 52, 82, 113, 144, 174, 205, 235, 266, 294, 325];
    let mut expected: Vec<u32> = (0..7).chain(weeks).chain(months).collect();
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(kept(&year, &rules, NOW), expected);
    let decision = decided(&year, &rules, at(NOW));
    assert_eq!(
        reason(&decision, 8),
        "daily keeps 7 newer; weekly keeps the one of 2026-11-15T02:00:00Z; monthly keeps the one of 2026-11-21T02:00:00Z; \
         yearly keeps the one of 2026-11-21T02:00:00Z"
    );
}

#[test]
fn last_and_within_count_and_measure() {
    let days = daily("2026-11-21", 30);
    let last = Retention {
        last: count(3),
        ..Retention::default()
    };
    assert_eq!(kept(&days, &last, NOW), [0, 1, 2]);
    let within = Retention {
        within: Some(DAY * 2),
        ..Retention::default()
    };
    assert_eq!(kept(&days, &within, NOW), [0, 1]);
    let decision = decided(&days, &within, at(NOW));
    assert_eq!(reason(&decision, 2), "older than within 2d");
}

#[test]
fn the_floor_counts_good_ones() {
    let mut days = daily("2026-11-21", 10);
    days[1].good = false;
    let rules = Retention {
        within: Some(Duration::from_secs(3600)),
        keep_at_least: count(3),
        ..Retention::default()
    };
    assert_eq!(kept(&days, &rules, NOW), [0, 2, 3]);
}

#[test]
fn holds_hold_until_their_end() {
    let rules = Retention {
        last: count(1),
        ..Retention::default()
    };
    let mut days = daily("2026-11-21", 5);
    let zone = &zone("Europe/Berlin");
    for (id, text) in [
        (1, "forever"),
        (2, "until 2026-11-21"),
        (3, "2026-11-20"),
        (4, "next year"),
    ] {
        days[id].hold = Some(Hold::parse(text, zone));
    }
    assert_eq!(kept(&days, &rules, NOW), [0, 1, 2, 4]);
    assert_eq!(
        Hold::parse("2026-11-21", zone),
        Hold::Until(at("2026-11-21T23:00"))
    );
    assert_eq!(
        Hold::parse("until 2026-11-21T23:00:00Z", zone),
        Hold::Until(at("2026-11-21T23:00"))
    );
    assert_eq!(Hold::parse("soon", zone), Hold::Invalid("soon".to_owned()));
    assert!(Hold::parse("+9999999-01-01", zone).is_active(at(NOW)));
}

#[test]
fn days_begin_where_the_policy_says() {
    // 23:30 and 00:30 in Berlin are one day in UTC.
    let two = [
        one(1, at("2026-11-19T22:30")),
        one(2, at("2026-11-19T23:30")),
    ];
    let rules = Retention {
        daily: count(5),
        ..Retention::default()
    };
    let now = at("2026-11-20T12:00");
    assert_eq!(
        kept_by(&decide_retention(
            &two,
            &rules,
            now,
            &TimeZone::utc(),
            RetentionOptions::default()
        )),
        [2]
    );
    let berlin = decide_retention(
        &two,
        &rules,
        now,
        &zone("Europe/Berlin"),
        RetentionOptions::default(),
    );
    assert_eq!(kept_by(&berlin), [1, 2]);
}

#[test]
fn the_days_on_which_clocks_change_are_days() {
    let rules = Retention {
        hourly: count(48),
        daily: count(2),
        ..Retention::default()
    };
    for (day, hours) in [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)] {
        let begin = at(&format!("{day}T00:00"))
            - TimeDelta::hours(if day.contains("-03-") { 1 } else { 2 });
        let all: Vec<_> = (0..50)
            .map(|n| one(n, begin + TimeDelta::minutes(30 * i64::from(n))))
            .collect();
        let inside: Vec<_> = all[..hours * 2].to_vec();
        let now = inside.last().unwrap().data_time + TimeDelta::minutes(10);
        let decision = decide_retention(
            &inside,
            &rules,
            now,
            &zone("Europe/Berlin"),
            RetentionOptions::default(),
        );
        // The second of each hour; the repeated hour counts as two.
        assert_eq!(kept_by(&decision).len(), hours, "{day}");
    }
}

#[test]
fn a_degraded_one_takes_the_place_of_its_day_only_without_a_good_one() {
    let rules = Retention {
        daily: count(3),
        ..Retention::default()
    };
    let mut days = daily("2026-11-21", 6);
    days[0].good = false;
    days[2].good = false;
    days.push(Candidate {
        good: false,
        ..one(9, days[1].data_time + TimeDelta::hours(1))
    });
    let decision = decided(&days, &rules, at(NOW));
    // The three newest days, and three good ones: a degraded one displaces none.
    assert_eq!(kept_by(&decision), [0, 1, 2, 3, 4]);
    let why = reason(&decision, 9);
    assert!(
        why.starts_with("degraded or affected by damage; daily keeps the one of"),
        "{why}"
    );
}

#[test]
fn a_source_that_is_always_degraded_expires_and_its_good_ones_stay() {
    let rules = Retention {
        daily: count(7),
        keep_at_least: count(2),
        ..Retention::default()
    };
    let mut days = daily("2026-11-21", 40);
    days.iter_mut().take(30).for_each(|day| day.good = false);
    let decision = decided(&days, &rules, at(NOW));
    let kept = kept_by(&decision);
    let degraded: Vec<_> = kept.iter().filter(|id| **id < 30).collect();
    assert_eq!(degraded, [&0, &1, &2, &3, &4, &5, &6]);
    // It is stale, so no good one goes.
    assert_eq!(kept.len() - degraded.len(), 10);
    let streak = decision.only_degraded.clone().unwrap();
    assert_eq!(streak.count, 30);
    assert!(
        streak.to_string().contains("all 30 since are degraded"),
        "{streak}"
    );
    // Without any good one: as many as the rules keep, and not all of them for ever.
    days.iter_mut().for_each(|day| day.good = false);
    let decision = decided(&days, &rules, at(NOW));
    assert_eq!(kept_by(&decision).len(), 7);
    assert!(decision.only_degraded.is_some());
}

#[test]
fn one_degraded_night_is_no_streak() {
    let rules = Retention {
        daily: count(3),
        ..Retention::default()
    };
    let mut days = daily("2026-11-21", 6);
    days[0].good = false;
    let decision = decided(&days, &rules, at(NOW));
    assert_eq!(decision.only_degraded, None);
    assert_eq!(kept_by(&decision), [0, 1, 2, 3]);
}

#[test]
fn a_point_in_time_needs_the_snapshot_before_it() {
    let rules = Retention {
        last: count(1),
        point_in_time: Some(DAY * 7),
        ..Retention::default()
    };
    let mut days = daily("2026-11-21", 30);
    // The log has gaps between the fourth and the third day, and before the twentieth.
    for (n, day) in days.iter_mut().enumerate().take(20) {
        day.log_range = Some(u32::from(n > 3));
    }
    assert_eq!(kept(&days, &rules, NOW), [0, 3, 7]);
    let ever = Retention {
        point_in_time: Some(Duration::MAX),
        ..rules
    };
    assert_eq!(kept(&days, &ever, NOW).len(), 30);
}

#[test]
fn a_back_dated_snapshot_takes_no_place() {
    let rules = Retention {
        daily: count(7),
        monthly: count(3),
        ..Retention::default()
    };
    let days = daily("2026-11-21", 60);
    let before = kept(&days, &rules, NOW);
    let mut forged = days.clone();
    for n in 1..60 {
        let mut late = one(100 + n, days[n as usize].data_time + TimeDelta::hours(10));
        late.received = Some(at("2026-11-21T11:00"));
        forged.push(late);
    }
    let after = kept(&forged, &rules, NOW);
    assert!(before.iter().all(|id| after.contains(id)), "{after:?}");
    // Even yesterday's, which arrived less than a day late: its day was over when it arrived.
    assert!(!after.contains(&101));
}

#[test]
fn where_all_arrived_late_the_first_that_was_there_holds() {
    let rules = Retention {
        daily: count(7),
        ..Retention::default()
    };
    let mut three = daily("2026-11-21", 3);
    for (n, arrived) in [(1, "2026-11-21T04:00"), (2, "2026-11-21T03:00")] {
        three[n].data_time = at("2026-11-10");
        three[n].received = Some(at(arrived));
    }
    assert_eq!(kept(&three, &rules, NOW), [0, 2]);
}

#[test]
fn a_silent_source_loses_nothing() {
    let rules = Retention {
        within: Some(DAY * 14),
        ..Retention::default()
    };
    let mut days = daily("2026-11-21", 30);
    assert_eq!(kept(&days, &rules, NOW).len(), 14);
    let later = at("2026-12-30T12:00");
    let decision = decided(&days, &rules, later);
    assert_eq!(kept_by(&decision).len(), 30);
    assert_eq!(decision.forgotten_without_pause().count(), 30);
    assert!(
        matches!(decision.pause, Some(RetentionPause::Stale { .. })),
        "{:?}",
        decision.pause
    );
    // A degraded one, or one that claims to be from then, does not end it.
    let mut forged = one(50, at("2026-12-30T10:00"));
    forged.received = Some(at("2026-12-01T10:00"));
    days.push(forged);
    days.push(Candidate {
        good: false,
        ..one(51, at("2026-12-30T10:00"))
    });
    assert_eq!(kept_by(&decided(&days, &rules, later)).len(), 32);
    days.push(one(52, at("2026-12-30T10:00")));
    assert_eq!(kept_by(&decided(&days, &rules, later)), [51, 52]);
}

#[test]
fn no_calendar_makes_a_failing_source_lose_what_age_drops() {
    let days = daily("2026-11-21", 365);
    let (monthly, yearly) = (
        Retention {
            within: Some(DAY * 30),
            monthly: count(12),
            ..Retention::default()
        },
        Retention {
            within: Some(DAY * 30),
            yearly: count(3),
            ..Retention::default()
        },
    );
    for rules in [monthly, yearly] {
        let before = decided(&days, &rules, at(NOW));
        assert_eq!(before.anomaly, None);
        let kept = set(&before);
        let left = days.iter().filter(|one| kept.contains(&one.id));
        let left: Vec<_> = left.cloned().collect();
        for later in [3, 20, 31, 40, 61, 300] {
            let decision = decided(&left, &rules, at(NOW) + TimeDelta::days(later));
            assert_eq!(decision.forgotten().count(), 0, "after {later} days");
        }
    }
}

#[test]
fn what_rules_have_thinned_out_does_not_make_a_source_slow() {
    let rules = Retention {
        within: Some(DAY * 2),
        monthly: count(12),
        ..Retention::default()
    };
    let days = daily("2026-11-21", 365);
    let kept = set(&decided(&days, &rules, at(NOW)));
    let left: Vec<_> = days
        .into_iter()
        .filter(|one| kept.contains(&one.id))
        .collect();
    let decision = decided(&left, &rules, at(NOW) + TimeDelta::days(3));
    assert_eq!(decision.forgotten().count(), 0);
    assert!(decision.pause.is_some());
}

#[test]
fn a_source_that_is_taken_now_and_then_is_not_silent_all_the_time() {
    // Three manual ones within an hour among daily ones.
    let rules = Retention {
        last: count(5),
        ..Retention::default()
    };
    let mut days = daily("2026-11-21", 30);
    let by_hand = (0..3).map(|n| {
        one(
            100 + n,
            at("2026-11-20T15:00") + TimeDelta::minutes(n.into()),
        )
    });
    days.extend(by_hand);
    assert_eq!(decided(&days, &rules, at(NOW)).anomaly, None);
    // Two per week.
    let weeks = (0..20_u32).map(|n| one(n, at("2026-11-20") - TimeDelta::days((n * 7 / 2).into())));
    let weeks: Vec<_> = weeks.collect();
    assert_eq!(
        decided(&weeks, &rules, at("2026-11-24T12:00")).anomaly,
        None
    );
}

#[test]
fn silence_is_told_though_no_snapshot_would_go() {
    let rules = Retention {
        daily: count(30),
        point_in_time: Some(DAY * 7),
        ..Retention::default()
    };
    let days = daily("2026-11-21", 10);
    assert_eq!(decided(&days, &rules, at(NOW)).anomaly, None);
    let decision = decided(&days, &rules, at(NOW) + TimeDelta::days(21));
    assert_eq!(kept_by(&decision).len(), 10);
    assert_eq!(decision.pause, None);
    assert!(matches!(
        decision.anomaly,
        Some(RetentionPause::Stale { .. })
    ));
}

#[test]
fn a_flood_pushes_no_base_out() {
    let rules = Retention {
        within: Some(DAY * 60),
        point_in_time: Some(DAY * 7),
        ..Retention::default()
    };
    let mut days = daily("2026-11-14", 30);
    let flood = at("2026-11-14T03:00");
    days.extend((0..20).map(|n| one(100 + n, flood + TimeDelta::minutes(n.into()))));
    days.extend((1..9).map(|n| one(200 + n, at("2026-11-14") + TimeDelta::days(n.into()))));
    days.iter_mut().for_each(|day| day.log_range = Some(1));
    let later = days.split_off(days.len() - 1);
    let decision = decided(&days, &rules, at(NOW));
    assert_eq!(decision.pause, None);
    assert!(
        matches!(decision.anomaly, Some(RetentionPause::Flood { .. })),
        "{:?}",
        decision.anomaly
    );
    // Once the window begins after it, it is no longer needed.
    days.extend(later);
    assert_eq!(decided(&days, &rules, at("2026-11-22T12:00")).anomaly, None);
}

#[test]
fn a_flood_pushes_nothing_out() {
    let rules = Retention {
        last: count(7),
        ..Retention::default()
    };
    let mut days = daily("2026-11-21", 30);
    for n in 0..20_u32 {
        days.push(one(
            100 + n,
            at("2026-11-21T10:00") + TimeDelta::minutes(n.into()),
        ));
    }
    let decision = decided(&days, &rules, at(NOW));
    assert!(
        matches!(decision.pause, Some(RetentionPause::Flood { usual: 1, .. })),
        "{:?}",
        decision.pause
    );
    assert_eq!(kept_by(&decision).len(), 50);
    // It does not end by waiting.
    days.extend((1..4).map(|n| one(200 + n, at("2026-11-21") + TimeDelta::days(n.into()))));
    let later = decided(&days, &rules, at("2026-11-24T12:00"));
    assert!(
        matches!(later.pause, Some(RetentionPause::Flood { .. })),
        "{:?}",
        later.pause
    );
    let accepted = RetentionOptions::with_accept_flood(true);
    let decision = decide_retention(
        &days,
        &rules,
        at("2026-11-24T12:00"),
        &TimeZone::utc(),
        accepted,
    );
    assert_eq!(kept_by(&decision).len(), 7);
}

#[test]
fn what_a_new_source_does_on_its_first_days_is_no_flood() {
    let rules = Retention {
        last: count(3),
        ..Retention::default()
    };
    let minutes: Vec<_> = (0..20)
        .map(|n| one(n, at("2026-11-21T10:00") + TimeDelta::minutes(n.into())))
        .collect();
    assert_eq!(kept(&minutes, &rules, NOW), [17, 18, 19]);
    // Nor are hourly snapshots of which one per day is kept.
    let rules = Retention {
        daily: count(7),
        ..Retention::default()
    };
    let mut hours = daily("2026-11-20", 7);
    hours
        .extend((0..12).map(|n| one(100 + n, at("2026-11-21T00:00") + TimeDelta::hours(n.into()))));
    assert_eq!(kept(&hours, &rules, NOW), [0, 1, 2, 3, 4, 5, 111]);
}

#[test]
fn a_rule_can_empty_a_source_and_says_so() {
    let rules = Retention {
        within: Some(Duration::from_secs(60)),
        ..Retention::default()
    };
    let decision = decided(&daily("2026-11-21", 5), &rules, at(NOW));
    assert!(decision.leaves_nothing_good());
    assert!(!decided(&[], &rules, at(NOW)).leaves_nothing_good());
}

#[test]
fn a_degraded_or_forged_one_is_not_enough_to_be_left() {
    let rules = Retention {
        within: Some(DAY),
        ..Retention::default()
    };
    let day = |n: u32| {
        let ago = TimeDelta::days(n.into()) + TimeDelta::hours(1);
        one(n, at(NOW) - ago)
    };
    let good: Vec<_> = (1..5).map(day).collect();
    let degraded = Candidate {
        good: false,
        ..day(0)
    };
    let forged = Candidate {
        data_time: at("2027-06-01"),
        ..day(0)
    };
    for new in [degraded, forged] {
        let mut all = good.clone();
        all.push(new);
        let decision = decided(&all, &rules, at(NOW));
        assert_eq!(kept_by(&decision), [0]);
        assert!(decision.leaves_nothing_good());
    }
    let mut all = good;
    all.push(day(0));
    assert!(!decided(&all, &rules, at(NOW)).leaves_nothing_good());
}

// ---- properties of all decisions ----

fn rules() -> impl Strategy<Value = Retention> {
    let number = || prop::option::of((1..6_u32).prop_map(|n| NonZeroU32::new(n).unwrap()));
    let span = || prop::option::of((1..40_u64).prop_map(|days| DAY * u32::try_from(days).unwrap()));
    let counts = (
        number(),
        number(),
        number(),
        number(),
        number(),
        number(),
        number(),
    );
    (counts, span(), span()).prop_map(|(counts, within, point_in_time)| {
        let (last, hourly, daily, weekly, monthly, yearly, keep_at_least) = counts;
        Retention {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            within,
            point_in_time,
            keep_at_least,
        }
    })
}

/// Any times within about 70 days before now, in time or not, good or not, some on hold.
fn candidates() -> impl Strategy<Value = Vec<Candidate<u32>>> {
    let delay = prop_oneof![8 => 0..300_i64, 1 => -4000..6000_i64];
    let hold = prop_oneof![
        9 => Just(None),
        1 => prop::sample::select(vec!["forever", "2026-11-01", "2026-12-01", "??"]).prop_map(Some),
    ];
    let each = (
        0..100_000_i64,
        delay,
        prop::bool::weighted(0.9),
        hold,
        prop::option::of(0..3_u32),
    );
    prop::collection::vec(each, 0..40).prop_map(|all| {
        let made = all
            .into_iter()
            .enumerate()
            .map(|(n, (ago, delay, good, hold, log))| {
                let data_time = at(NOW) - TimeDelta::minutes(ago);
                let received = (data_time + TimeDelta::minutes(delay)).min(at(NOW));
                Candidate {
                    id: u32::try_from(n).unwrap(),
                    data_time,
                    received: Some(received),
                    good,
                    hold: hold.map(|text| Hold::parse(text, &TimeZone::utc())),
                    log_range: log,
                }
            });
        made.collect()
    })
}

fn zones() -> impl Strategy<Value = TimeZone> {
    let names = [
        "UTC",
        "Europe/Berlin",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "America/Vancouver",
    ];
    prop::sample::select(names.map(zone).to_vec())
}

fn set(decision: &RetentionDecision<u32>) -> BTreeSet<u32> {
    kept_by(decision).into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_snapshot_has_a_verdict_with_a_reason(all in candidates(), rules in rules(), zone in zones()) {
        let decision = decide_retention(&all, &rules, at(NOW), &zone, RetentionOptions::default());
        let ids: BTreeSet<u32> = decision.verdicts.iter().map(|(id, _)| *id).collect();
        prop_assert_eq!(ids.len(), all.len());
        for (_, verdict) in &decision.verdicts {
            match verdict {
                RetentionVerdict::Keep { reasons } => prop_assert!(!reasons.is_empty()),
                RetentionVerdict::Forget { reason } => prop_assert!(!reason.is_empty()),
            }
        }
    }

    #[test]
    fn the_order_of_what_is_given_does_not_matter(
        (all, shuffled) in candidates().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        rules in rules(), zone in zones(),
    ) {
        let accept = RetentionOptions::default();
        prop_assert_eq!(
            decide_retention(&all, &rules, at(NOW), &zone, accept),
            decide_retention(&shuffled, &rules, at(NOW), &zone, accept)
        );
    }

    #[test]
    fn deciding_again_lets_nothing_more_go(all in candidates(), rules in rules(), zone in zones(), accept: bool) {
        let options = RetentionOptions::with_accept_flood(accept);
        let first = set(&decide_retention(&all, &rules, at(NOW), &zone, options));
        let left: Vec<_> = all.into_iter().filter(|one| first.contains(&one.id)).collect();
        let second = set(&decide_retention(&left, &rules, at(NOW), &zone, options));
        prop_assert_eq!(first, second);
    }

    #[test]
    fn a_snapshot_with_forged_times_makes_no_other_go(
        mut all in candidates(), rules in rules(), zone in zones(), accept: bool,
        forged in prop::collection::vec(
            (1441..200_000_i64, any::<bool>(), any::<bool>(), prop::option::of(0..3_u32)),
            1..6,
        ),
    ) {
        let options = RetentionOptions::with_accept_flood(accept);
        let before = set(&decide_retention(&all, &rules, at(NOW), &zone, options));
        for (n, (minutes, future, good, log)) in forged.into_iter().enumerate() {
            let away = TimeDelta::minutes(if future { -minutes } else { minutes });
            all.push(Candidate {
                received: Some(at(NOW)),
                good,
                log_range: log,
                ..one(1000 + u32::try_from(n).unwrap(), at(NOW) - away)
            });
        }
        let after = set(&decide_retention(&all, &rules, at(NOW), &zone, options));
        prop_assert!(before.is_subset(&after), "{:?} of {:?}", after, before);
    }

    #[test]
    fn a_good_one_that_arrived_in_time_is_kept_or_it_is_said(
        all in candidates(), rules in rules(), zone in zones(), accept: bool,
    ) {
        let decision = decide_retention(&all, &rules, at(NOW), &zone, RetentionOptions::with_accept_flood(accept));
        let kept = set(&decision);
        let good: Vec<_> = all.iter().filter(|one| one.good && one.is_timely()).collect();
        let left = good.iter().any(|one| kept.contains(&one.id));
        prop_assert!(good.is_empty() || left || decision.leaves_nothing_good());
        prop_assert!(all.is_empty() || !kept.is_empty() || decision.leaves_nothing_good());
    }

    #[test]
    fn what_is_late_by_its_own_pace_loses_nothing(
        gap in 30..20_000_i64, number in 4..40_u32, more in 1..100_000_i64, within in 1..40_u32,
        mut rules in rules(), zone in zones(), accept: bool,
    ) {
        // Several on the first day of a source may be trials: they do not show its rate.
        prop_assume!(gap >= 6 * 60 || gap * i64::from(number) > 24 * 60 + 5 * gap);
        rules.within = Some(DAY * within);
        let newest = at(NOW) - TimeDelta::minutes(gap.max(60) * 2 + more);
        let all: Vec<_> = (0..number)
            .map(|n| one(n, newest - TimeDelta::minutes(gap * i64::from(n))))
            .collect();
        let decision = decide_retention(&all, &rules, at(NOW), &zone, RetentionOptions::with_accept_flood(accept));
        prop_assert!(decision.anomaly.is_some());
        prop_assert_eq!(decision.forgotten().count(), 0);
    }

    #[test]
    fn floors_and_holds_hold(all in candidates(), rules in rules(), zone in zones()) {
        let decision = decide_retention(&all, &rules, at(NOW), &zone, RetentionOptions::with_accept_flood(true));
        let kept = set(&decision);
        if let Some(floor) = rules.keep_at_least {
            prop_assert!(kept.len() >= all.len().min(floor.get() as usize));
            let counted = |ids: &BTreeSet<u32>| {
                let counted = all.iter().filter(|one| one.good && one.is_timely() && ids.contains(&one.id));
                counted.count()
            };
            let there = counted(&all.iter().map(|one| one.id).collect());
            prop_assert!(counted(&kept) >= there.min(floor.get() as usize));
        }
        for one in &all {
            if one.hold.as_ref().is_some_and(|hold| hold.is_active(at(NOW))) {
                prop_assert!(kept.contains(&one.id));
            }
        }
    }

    #[test]
    fn a_point_in_time_can_be_reached(all in candidates(), mut rules in rules(), zone in zones(), days in 1..60_i64) {
        rules.point_in_time = Some(DAY * u32::try_from(days).unwrap());
        let kept = set(&decide_retention(&all, &rules, at(NOW), &zone, RetentionOptions::with_accept_flood(true)));
        let begin = at(NOW) - TimeDelta::days(days);
        let base = all.iter().filter(|one| one.good && one.is_timely() && one.effective_time() <= begin);
        if let Some(base) = base.max_by_key(|one| (one.effective_time(), one.id)) {
            prop_assert!(kept.contains(&base.id));
        }
    }

    #[test]
    fn degraded_ones_displace_nothing(all in candidates(), rules in rules(), zone in zones()) {
        let options = RetentionOptions::with_accept_flood(true);
        let good: Vec<_> = all.iter().filter(|one| one.good).cloned().collect();
        let alone = set(&decide_retention(&good, &rules, at(NOW), &zone, options));
        let beside = set(&decide_retention(&all, &rules, at(NOW), &zone, options));
        prop_assert!(alone.is_subset(&beside));
    }
}

#[test]
fn reasons_read_well() {
    let rules = Retention {
        daily: count(2),
        last: count(1),
        ..Retention::default()
    };
    let decision = decided(&daily("2026-11-21", 3), &rules, at(NOW));
    let RetentionVerdict::Keep { reasons: by } = &decision.verdicts[0].1 else {
        panic!("it is kept")
    };
    let by: Vec<String> = by.iter().map(KeepReason::to_string).collect();
    assert_eq!(by, ["last (1 of 1)", "daily (2026-11-21)"]);
}
