//! The rules for slots, one by one, and their agreement with each other.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::{CronExpression, CronExpressionError, DailyWindow, Schedule, ScheduleTiming};
use reprise_times::TimeZone;

fn cron(expression: &str, zone: &str) -> Schedule {
    let timing = ScheduleTiming::Cron(CronExpression::parse(expression).unwrap());
    Schedule::new(timing, TimeZone::find(zone).unwrap())
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The slots of some days, each with its instant.
fn slots(schedule: &Schedule, from: &str, until: &str) -> Vec<String> {
    let found = schedule.slots_between(time(from), time(until));
    let shown = found.iter().map(|slot| {
        let id = slot.id();
        format!(
            "{} {}",
            id.split('[').next().unwrap(),
            slot.due().format("%dT%H:%M")
        )
    });
    shown.collect()
}

#[test]
fn a_time_that_clocks_leave_out_is_due_when_they_go_on() {
    let berlin = cron("30 2 * * *", "Europe/Berlin");
    assert_eq!(
        slots(&berlin, "2027-03-27T12:00:00Z", "2027-03-29T12:00:00Z"),
        ["2027-03-28T02:30 28T01:00", "2027-03-29T02:30 29T00:30"]
    );
    // Several of one gap are one slot, and it has the name of the last one.
    let several = cron("0,30 2 * * *", "Europe/Berlin");
    assert_eq!(
        slots(&several, "2027-03-28T00:30:00Z", "2027-03-28T12:00:00Z"),
        ["2027-03-28T02:30 28T01:00"]
    );
    let next = several.next_slot(time("2027-03-27T12:00:00Z")).unwrap();
    assert_eq!(next.id(), "2027-03-28T02:30[Europe/Berlin]");
    // What clocks do show then is due then anyway.
    let half_hourly = cron("*/30 * * * *", "Europe/Berlin");
    assert_eq!(
        slots(&half_hourly, "2027-03-28T00:00:00Z", "2027-03-28T01:30:00Z"),
        [
            "2027-03-28T01:30 28T00:30",
            "2027-03-28T03:00 28T01:00",
            "2027-03-28T03:30 28T01:30"
        ]
    );
}

#[test]
fn a_time_that_clocks_show_twice_is_due_once_unless_it_is_every_hour() {
    let berlin = cron("30 2 * * *", "Europe/Berlin");
    assert_eq!(
        slots(&berlin, "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"),
        ["2026-10-25T02:30 25T00:30"]
    );
    let hourly = cron("30 * * * *", "Europe/Berlin");
    assert_eq!(
        slots(&hourly, "2026-10-25T00:00:00Z", "2026-10-25T02:30:00Z"),
        [
            "2026-10-25T02:30 25T00:30",
            "2026-10-25T02:30#2 25T01:30",
            "2026-10-25T03:30 25T02:30"
        ]
    );
    // Half an hour at Lord Howe.
    let lord_howe = cron("45 1 * * *", "Australia/Lord_Howe");
    assert_eq!(
        slots(&lord_howe, "2027-04-03T00:00:00Z", "2027-04-04T00:00:00Z"),
        ["2027-04-04T01:45 03T14:45"]
    );
}

#[test]
fn a_day_that_a_country_left_out_is_due_at_the_end_of_the_night() {
    let apia = cron("0 12 30 12 *", "Pacific/Apia");
    assert_eq!(
        slots(&apia, "2011-12-01T00:00:00Z", "2012-01-10T00:00:00Z"),
        ["2011-12-30T12:00 30T10:00"]
    );
    assert_eq!(
        apia.last_slot(time("2012-01-01T00:00:00Z")).unwrap().id(),
        "2011-12-30T12:00[Pacific/Apia]"
    );
}

#[test]
fn intervals_follow_elapsed_time() {
    let timing = ScheduleTiming::Every(Duration::from_secs(6 * 3600));
    let schedule = Schedule::new(timing, TimeZone::find("Europe/Berlin").unwrap());
    assert_eq!(
        slots(&schedule, "2026-10-25T00:00:00Z", "2026-10-25T18:00:00Z"),
        [
            "2026-10-25T06:00 25T06:00",
            "2026-10-25T12:00 25T12:00",
            "2026-10-25T18:00 25T18:00"
        ]
    );
    let last = schedule.last_slot(time("2026-10-25T05:59:59Z")).unwrap();
    assert_eq!(last.id(), "2026-10-25T00:00[UTC]");
}

#[test]
fn vancouver_keeps_its_clocks_from_this_winter_on() {
    let vancouver = cron("0 2 * * *", "America/Vancouver");
    assert_eq!(
        slots(&vancouver, "2026-12-01T00:00:00Z", "2026-12-02T00:00:00Z"),
        ["2026-12-01T02:00 01T09:00"]
    );
}

#[test]
fn expressions_have_five_fields_and_match_some_date() {
    let parse = |text| CronExpression::parse(text);
    for good in [
        "0 2 * * *",
        "@daily",
        "*/15 8-18 * * MON-FRI",
        "0 0 29 2 *",
        "0 0 L * *",
    ] {
        assert!(parse(good).is_ok(), "{good}");
    }
    assert_eq!(parse("@reboot"), Err(CronExpressionError::UnknownNickname));
    assert_eq!(
        parse("0 0 2 * * *"),
        Err(CronExpressionError::FieldCount { found: 6 })
    );
    assert_eq!(parse("0 0 30 2 *"), Err(CronExpressionError::NeverMatches));
    for bad in ["61 2 * * *", "a b c d e", "* * * * 9"] {
        assert!(
            matches!(parse(bad), Err(CronExpressionError::Invalid { .. })),
            "{bad}"
        );
    }
}

#[test]
fn a_window_may_cross_midnight() {
    let at = |text: &str| text.parse().unwrap();
    let night = DailyWindow::parse("22:00-06:00").unwrap();
    assert!(night.contains(at("23:59:00")) && night.contains(at("05:59:59")));
    assert!(!night.contains(at("06:00:00")) && !night.contains(at("12:00:00")));
    let day = DailyWindow::parse("08:00 - 18:30").unwrap();
    assert!(day.contains(at("08:00:00")) && !day.contains(at("18:30:00")));
    for wrong in ["22:00", "22-6", "25:00-06:00", "06:00-06:00", ""] {
        assert_eq!(DailyWindow::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn jitter_is_stable_and_spreads_jobs() {
    let mut schedule = cron("0 2 * * *", "UTC");
    assert_eq!(schedule.jitter_of("a"), Duration::ZERO);
    schedule.jitter = Duration::from_secs(1200);
    let all: std::collections::BTreeSet<_> = (0..100)
        .map(|number| schedule.jitter_of(&format!("job-{number}")))
        .collect();
    assert!(
        all.len() > 80 && all.iter().all(|one| *one < schedule.jitter),
        "{}",
        all.len()
    );
    assert_eq!(
        schedule.jitter_of("prod/jenkins"),
        schedule.clone().jitter_of("prod/jenkins")
    );
}

const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Berlin",
    "America/Vancouver",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Pacific/Chatham",
    "America/St_Johns",
    "Pacific/Apia",
];
const EXPRESSIONS: [&str; 9] = [
    "30 2 * * *",
    "*/7 * * * *",
    "0,30 1-3 * * *",
    "15 */2 * * *",
    "0 0 * * 0",
    "59 23 L * *",
    "0 3 29 2 *",
    "0 2 1 * 1",
    "0 1,2,3 * * *",
];

proptest! {
    /// `last_slot` and `next_slot` find what `slots_between` lists, and slots are in order and named once.
    #[test]
    fn the_three_ways_to_find_slots_agree(
        zone in 0..ZONES.len(),
        expression in 0..EXPRESSIONS.len(),
        start in 1_300_000_000_i64..1_900_000_000,
        hours in 1_i64..200,
    ) {
        let schedule = cron(EXPRESSIONS[expression], ZONES[zone]);
        let from = DateTime::from_timestamp(start, 0).unwrap();
        let until = from + TimeDelta::hours(hours);
        let listed = schedule.slots_between(from, until);
        prop_assert!(listed.is_sorted_by(|one, next| one.due() < next.due()));
        let mut ids: Vec<_> = listed.iter().map(super::Slot::id).collect();
        ids.dedup();
        prop_assert_eq!(ids.len(), listed.len());
        let last = schedule.last_slot(until).unwrap();
        prop_assert!(last.due() <= until);
        match listed.last() {
            Some(listed) => prop_assert_eq!(listed, &last),
            None => prop_assert!(last.due() <= from),
        }
        let walked: Vec<_> = std::iter::successors(schedule.next_slot(from), |slot| schedule.next_slot(slot.due()))
            .take_while(|slot| slot.due() <= until)
            .collect();
        prop_assert_eq!(walked, listed);
    }

    /// Around each change of clocks of a year, where mistakes are made.
    #[test]
    fn they_agree_minute_by_minute_around_changes(
        zone in 0..ZONES.len(),
        expression in 0..EXPRESSIONS.len(),
        change in 0..4_usize,
        minute in -2000_i64..2000,
    ) {
        let near = ["2026-10-25T01:00:00Z", "2027-03-28T01:00:00Z", "2027-04-03T15:00:00Z", "2011-12-30T10:00:00Z"];
        let schedule = cron(EXPRESSIONS[expression], ZONES[zone]);
        let now = time(near[change]) + TimeDelta::minutes(minute);
        let last = schedule.last_slot(now).unwrap();
        let listed = schedule.slots_between(last.due() - TimeDelta::seconds(1), now);
        prop_assert_eq!(listed, vec![last.clone()]);
        let next = schedule.next_slot(now).unwrap();
        prop_assert_eq!(schedule.slots_between(now, next.due()), vec![next.clone()]);
        prop_assert_eq!(schedule.next_slot(last.due()), Some(next));
    }
}
