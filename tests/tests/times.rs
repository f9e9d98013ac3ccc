//! Times: shown in one zone with their offset, read in the same one, and never guessed; and snapshots that are named by them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;

use chrono::{DateTime, FixedOffset, SecondsFormat, TimeDelta, Utc};
use support::past::{days, night, policy};
use support::{RunOutput, Sandbox, ran};

/// Zones that have had one offset for decades, with it.
const KOLKATA: (&str, i32) = ("Asia/Kolkata", 19_800);
const KATHMANDU: (&str, i32) = ("Asia/Kathmandu", 20_700);

/// A time as clocks with this offset show it.
fn local(time: DateTime<Utc>, (_, seconds): (&str, i32)) -> String {
    let offset = FixedOffset::east_opt(seconds).unwrap();
    let time = time.with_timezone(&offset);
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn utc(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Runs a command with this value of `TZ`, and a recovery identity.
fn run_in(sandbox: &Sandbox, zone: &str, args: &[&str]) -> RunOutput {
    let mut command = sandbox.recovering();
    ran(command.env("TZ", zone).args(args))
}

#[test]
fn people_read_times_of_their_zone_with_the_offset_and_scripts_read_utc() {
    let sandbox = Sandbox::new();
    days(&sandbox, 3, 1);
    let (time, zone) = (night(2), KOLKATA.0);
    for args in [&["snapshots"][..], &["show", "tree"], &["ls", "tree"]] {
        let shown = run_in(&sandbox, zone, args).exits(0).stdout;
        assert!(shown.contains("+05:30") && !shown.contains("Z "), "{shown}");
    }
    let listed = run_in(&sandbox, zone, &["snapshots"]).exits(0).stdout;
    assert!(listed.contains(&local(time, KOLKATA)), "{listed}");
    let target = sandbox.path("restored");
    let restore = ["restore", "tree", "--to", target.to_str().unwrap()];
    let restored = run_in(&sandbox, zone, &restore).exits(0);
    restored.says(&local(night(1), KOLKATA));
    let json = run_in(&sandbox, zone, &["--json", "snapshots"])
        .exits(0)
        .json();
    assert_eq!(json["snapshots"][1]["data_time"], utc(time));
}

#[test]
fn the_zone_of_the_policies_counts_more_than_that_of_the_system() {
    let sandbox = Sandbox::new();
    days(&sandbox, 3, 1);
    policy(&sandbox, "p.yaml", "{daily: 1}");
    let text = fs::read_to_string(sandbox.path("p.yaml")).unwrap();
    let text = text.replace("name: p", &format!("name: p\ntime_zone: {}", KATHMANDU.0));
    fs::write(sandbox.path("p.yaml"), text).unwrap();
    let args = ["--policies", "p.yaml", "forget", "--dry-run"];
    let plan = run_in(&sandbox, KOLKATA.0, &args).exits(0).stdout;
    assert!(plan.contains(&local(night(3), KATHMANDU)), "{plan}");
    assert!(!plan.contains("+05:30"), "{plan}");
}

/// What `log` says of a local time before it finds that there is no log.
fn read_as(sandbox: &Sandbox, zone: &str, text: &str) -> RunOutput {
    run_in(sandbox, zone, &["log", "tree", "--from", text])
}

#[test]
fn a_local_time_without_a_policy_says_which_moment_it_is() {
    let sandbox = Sandbox::new();
    days(&sandbox, 1, 1);
    let read = read_as(&sandbox, KOLKATA.0, "2026-11-29 18:00").exits(5);
    let read = read.says("`2026-11-29 18:00` is 2026-11-29T18:00:00+05:30");
    read.says("Asia/Kolkata, the time zone of the variable TZ");
    // A JSON document is in UTC, but the command line means the same.
    let args = ["--json", "log", "tree", "--from", "2026-11-29 18:00"];
    let read = run_in(&sandbox, KOLKATA.0, &args).exits(5);
    read.says("2026-11-29T18:00:00+05:30");
    let exact = read_as(&sandbox, KOLKATA.0, "2026-11-29T18:00:00+01:00").exits(5);
    assert!(!exact.stderr.contains("is 2026"), "{}", exact.stderr);
    let lost = read_as(&sandbox, "Nowhere/Else", "2026-11-29 18:00").exits(5);
    lost.says("2026-11-29T18:00:00Z")
        .says("TZ names no known time zone");
}

#[test]
fn a_local_time_that_is_no_single_moment_is_refused() {
    let sandbox = Sandbox::new();
    let twice = read_as(&sandbox, "Europe/Berlin", "2025-10-26 02:30").exits(2);
    let twice = twice.says("ambiguous in Europe/Berlin");
    twice.says("write 2025-10-26T02:30:00+02:00 or 2025-10-26T02:30:00+01:00");
    let never = read_as(&sandbox, "Europe/Berlin", "2025-03-30 02:30").exits(2);
    never.says("does not exist in Europe/Berlin");
}

/// The snapshot that a name means.
fn meant(sandbox: &Sandbox, zone: &str, name: &str) -> (String, RunOutput) {
    let shown = run_in(sandbox, zone, &["--json", "show", name]).exits(0);
    let id = shown.json()["snapshot"].as_str().unwrap().to_owned();
    (id, shown)
}

#[test]
fn a_source_at_a_time_is_its_newest_snapshot_of_then_or_before() {
    let sandbox = Sandbox::new();
    let ids: Vec<String> = days(&sandbox, 4, 2)
        .iter()
        .map(ToString::to_string)
        .collect();
    let name = |time: &str| format!("tree@{time}");
    let day = |days| local(night(days), KOLKATA)[..10].to_owned();
    let minute = |time| local(time, KOLKATA)[..16].replace('T', " ");
    for (time, index) in [
        ("latest".to_owned(), 3),
        ("yesterday".to_owned(), 3),
        (day(3), 2),
        (minute(night(3)), 2),
        (minute(night(3) - TimeDelta::minutes(1)), 1),
        (utc(night(4)), 1),
    ] {
        let (id, shown) = meant(&sandbox, KOLKATA.0, &name(&time));
        assert_eq!(id, ids[index], "{time}");
        if time != "latest" {
            shown.says(&format!("{} is snapshot {}", name(&time), &ids[index][..8]));
        }
    }
    let target = sandbox.path("restored");
    let (then, target) = (name(&day(4)), target.to_str().unwrap());
    for args in [
        &["ls", &then][..],
        &["cat", &then, "file"],
        &["diff", &then, &name(&day(3))],
        &["verify", &then],
        &["restore", &then, "--to", target],
    ] {
        let done = run_in(&sandbox, KOLKATA.0, args).exits(0);
        done.says(&format!("{then} is snapshot {}", &ids[1][..8]));
    }
}

#[test]
fn a_time_before_all_snapshots_names_the_oldest() {
    let sandbox = Sandbox::new();
    let ids = days(&sandbox, 2, 2);
    let early = run_in(&sandbox, KOLKATA.0, &["ls", "tree@2020-01-01"]).exits(5);
    let early = early.says("no snapshot `tree at or before 2020-01-01T23:59:59+05:30`");
    early.says(&format!(
        "is {} of {}",
        ids[0].short(),
        local(night(3), KOLKATA)
    ));
    let wrong = run_in(&sandbox, KOLKATA.0, &["ls", "tree@noon"]).exits(2);
    wrong.says("`noon` is not a time");
    let unknown = run_in(&sandbox, KOLKATA.0, &["ls", "root@2020-01-01"]).exits(5);
    unknown.says("sources with snapshots: tree");
}
