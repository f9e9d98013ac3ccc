//! Schedules: when something is due, by a second opinion; that it runs once, late rather than never, and is recorded.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::{RunOutput, Sandbox, ran};

/// A policy with one source, which is due each night, and what else is given for it.
fn nightly_policy(sandbox: &Sandbox, source: &str, more: &str) {
    fs::create_dir_all(sandbox.path("data")).unwrap();
    fs::write(sandbox.path("data/file"), "content").unwrap();
    let text = format!(
        "version: 1\nname: p\nrepositories:\n  main: {{url: repository, create: {{generate_identities: [id1, id2], keeper: keeper}}}}\n\
         sources:\n  data: {{volume: {{path: data}}, retention: {{daily: 7}}, {source}}}\n{more}\n"
    );
    fs::write(sandbox.path("p.yaml"), text).unwrap();
}

/// `reprise --policies p.yaml --json …`, when the host's clock says this time.
fn at(sandbox: &Sandbox, time: &str, args: &[&str]) -> RunOutput {
    let mut command = sandbox.command();
    command
        .args(["--policies", "p.yaml", "--json", "--no-progress"])
        .args(args);
    ran(&mut sandbox.at_time(&command, time))
}

fn events(output: &RunOutput, event: &str) -> Vec<Value> {
    let lines = output.stdout.lines();
    let parsed = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    parsed.filter(|value| value["event"] == event).collect()
}

/// The history, oldest first.
fn history(sandbox: &Sandbox, time: &str) -> Vec<Value> {
    let listed = at(sandbox, time, &["runs"]).exits(0).json();
    let mut runs = listed["runs"].as_array().unwrap().clone();
    runs.reverse();
    runs
}

#[test]
fn a_slot_is_run_once_and_its_snapshot_says_which_it_is() {
    let sandbox = Sandbox::new();
    nightly_policy(&sandbox, "schedule: \"0 2 * * *\"", "");
    let first = at(&sandbox, "2026-01-05 03:00:00", &["run", "--due"]).exits(0);
    assert_eq!(
        events(&first, "run_started")[0]["slot"],
        "2026-01-05T02:00[UTC]"
    );
    let again = at(&sandbox, "2026-01-05 23:59:00", &["run", "--due"]).exits(0);
    assert_eq!(events(&again, "run_started"), [Value::Null; 0]);
    at(&sandbox, "2026-01-06 02:00:00", &["run", "--due"]).exits(0);
    let listed = at(&sandbox, "2026-01-06 03:00:00", &["snapshots"])
        .exits(0)
        .json();
    let stamps: Vec<_> = listed["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["slot"].clone())
        .collect();
    let stamp = |slot: &str| json!({"job": "p/sources/data", "slot": slot, "attempt": 1});
    assert_eq!(
        stamps,
        [
            stamp("2026-01-05T02:00[UTC]"),
            stamp("2026-01-06T02:00[UTC]")
        ]
    );
    let runs = history(&sandbox, "2026-01-06 03:00:00");
    assert!(
        runs.len() == 2 && runs.iter().all(|run| run["state"] == "ok"),
        "{runs:?}"
    );
    // People read what a run did, and where.
    let id = runs[0]["id"].as_str().unwrap();
    let mut show = sandbox.command();
    show.args(["runs", "show", &id[..6]]);
    let shown = ran(&mut show).exits(0).stdout;
    assert!(
        shown.contains("step main: ok: snapshot") && shown.contains("time-zone data 20"),
        "{shown}"
    );
}

#[test]
fn missed_slots_are_run_once_and_named_as_late() {
    let sandbox = Sandbox::new();
    nightly_policy(
        &sandbox,
        "schedule: {cron: \"0 2 * * *\", start_within: 4h}",
        "",
    );
    at(&sandbox, "2026-01-05 02:00:00", &["run", "--due"]).exits(0);
    let late = at(&sandbox, "2026-01-09 09:00:00", &["run", "--due"]).exits(3);
    assert_eq!(events(&late, "run_started")[0]["late"], true);
    let skipped = &events(&late, "skipped")[0];
    assert_eq!(
        (&skipped["slots"], &skipped["state"]),
        (&json!(3), &json!("coalesced"))
    );
    at(&sandbox, "2026-01-09 09:05:00", &["run", "--due"]).exits(0);
}

#[test]
fn what_failed_is_tried_again_and_only_what_is_missing() {
    let sandbox = Sandbox::new();
    nightly_policy(
        &sandbox,
        "repositories: [main, away], schedule: {cron: \"0 2 * * *\", retries: 2}",
        "",
    );
    let policy = fs::read_to_string(sandbox.path("p.yaml")).unwrap();
    let policy = policy.replace("sources:", "  away: {url: away}\nsources:");
    fs::write(sandbox.path("p.yaml"), policy).unwrap();
    let failed = at(&sandbox, "2026-01-05 02:00:00", &["run", "--due"]).exits(5);
    let retry = events(&failed, "run_ended")[0]["retry_at"].to_string();
    assert!(retry.contains("2026-01-05T02:01:0"), "{retry}");
    let early = at(&sandbox, "2026-01-05 02:00:30", &["run", "--due"]).exits(0);
    assert_eq!(events(&early, "waiting").len(), 1);
    // The second repository appears.
    let mut init = sandbox.command();
    init.args([
        "-r",
        "away",
        "init",
        "--generate-identity",
        "id3",
        "--generate-identity",
        "id4",
    ]);
    ran(&mut init).exits(0);
    let retried = at(&sandbox, "2026-01-05 02:01:30", &["run", "--due"]).exits(0);
    let steps: Vec<_> = events(&retried, "step")
        .iter()
        .map(|step| step["step"].clone())
        .collect();
    assert_eq!(steps, ["away"]);
    let runs = history(&sandbox, "2026-01-05 03:00:00");
    let states: Vec<_> = runs
        .iter()
        .map(|run| (run["attempt"].clone(), run["state"].clone()))
        .collect();
    assert_eq!(
        states,
        [(json!(1), json!("failed")), (json!(2), json!("ok"))]
    );
}

#[test]
fn two_processes_make_one_run_of_a_slot() {
    let sandbox = Sandbox::new();
    nightly_policy(&sandbox, "schedule: \"0 2 * * *\"", "");
    // The repository exists, so that only the slot is contended for.
    at(&sandbox, "2026-01-05 02:00:00", &["run", "--due"]).exits(0);
    let start = || {
        let mut command = sandbox.command();
        command.args([
            "--policies",
            "p.yaml",
            "--json",
            "--no-progress",
            "run",
            "--due",
        ]);
        let mut command = sandbox.at_time(&command, "2026-01-06 02:00:00");
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let running: Vec<_> = (0..4).map(|_| start()).collect();
    for process in running {
        RunOutput::from(&process.wait_with_output().unwrap()).exits(0);
    }
    let runs = history(&sandbox, "2026-01-06 03:00:00");
    assert_eq!(runs.len(), 2, "{runs:?}");
}

#[test]
fn a_killed_run_is_taken_over_when_its_lease_has_ended() {
    let sandbox = Sandbox::new();
    nightly_policy(&sandbox, "schedule: \"0 2 * * *\"", "");
    let policy = fs::read_to_string(sandbox.path("p.yaml")).unwrap();
    let fifo = sandbox.path("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let waiting = policy.replace("volume: {path: data}", "command: {run: [cat, fifo]}");
    fs::write(sandbox.path("p.yaml"), waiting).unwrap();
    let mut command = sandbox.command();
    command.args(["--policies", "p.yaml", "--no-progress", "run", "--due"]);
    let mut command = sandbox.at_time(&command, "2026-01-05 02:00:00");
    // The program that sets the clock waits beside it: all of them are killed.
    command
        .process_group(0)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    // Its program has opened the other end: the run is under way.
    let end = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    let group = rustix::process::Pid::from_child(&process);
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    process.wait().unwrap();
    drop(end);
    fs::write(sandbox.path("p.yaml"), policy).unwrap();
    let early = at(&sandbox, "2026-01-05 02:01:00", &["run", "--due"]).exits(0);
    assert_eq!(events(&early, "run_started").len(), 0);
    let later = at(&sandbox, "2026-01-05 02:10:00", &["run", "--due"]).exits(0);
    assert_eq!(events(&later, "run_started")[0]["attempt"], 2);
    let runs = history(&sandbox, "2026-01-05 03:00:00");
    assert_eq!(
        (&runs[0]["state"], &runs[1]["state"]),
        (&json!("failed"), &json!("ok"))
    );
    assert!(
        runs[0]["reason"].as_str().unwrap().contains("lease"),
        "{runs:?}"
    );
}

#[test]
fn a_source_of_another_host_is_not_run_here() {
    let sandbox = Sandbox::new();
    let hosts = format!("hosts: {{web2: {{signer: \"{}\"}}}}", "ab".repeat(32));
    nightly_policy(&sandbox, "schedule: \"0 2 * * *\", hosts: [web2]", &hosts);
    let nothing = at(&sandbox, "2026-01-05 03:00:00", &["run", "--due"]).exits(0);
    assert_eq!(events(&nothing, "due")[0]["jobs"], 0);
    assert_eq!(history(&sandbox, "2026-01-05 03:00:00"), [Value::Null; 0]);
}

#[test]
fn a_paused_source_is_not_due_and_its_end_starts_nothing() {
    let sandbox = Sandbox::new();
    nightly_policy(&sandbox, "schedule: \"0 2 * * *\"", "");
    at(&sandbox, "2026-01-05 02:00:00", &["run", "--due"]).exits(0);
    let pause = [
        "pause",
        "data",
        "--until",
        "2026-01-07T12:00Z",
        "--why",
        "restored",
    ];
    at(&sandbox, "2026-01-05 12:00:00", &pause).exits(0);
    let paused = at(&sandbox, "2026-01-06 03:00:00", &["run", "--due"]).exits(0);
    assert!(
        events(&paused, "skipped")[0]["reason"]
            .as_str()
            .unwrap()
            .contains("restored")
    );
    for time in ["2026-01-07 12:00:01", "2026-01-07 20:00:00"] {
        let over = at(&sandbox, time, &["run", "--due"]).exits(0);
        assert_eq!(events(&over, "run_started").len(), 0, "{time}");
    }
    let next = at(&sandbox, "2026-01-08 02:00:00", &["run", "--due"]).exits(0);
    assert_eq!(events(&next, "run_started").len(), 1);
    at(&sandbox, "2026-01-08 03:00:00", &["resume", "data"])
        .exits(5)
        .says("not paused");
}

#[test]
fn maintenance_runs_by_its_own_schedules() {
    let sandbox = Sandbox::new();
    let maintenance = "maintenance: {main: {verify: \"@daily\", read_data: {share: 50%, schedule: \"@daily\"}, forget: \"@daily\", prune: \"@daily\"}}";
    nightly_policy(&sandbox, "schedule: \"0 2 * * *\"", maintenance);
    let run = |time: &str| {
        let mut command = sandbox.command();
        command.env("REPRISE_IDENTITY", sandbox.path("id1")).args([
            "--policies",
            "p.yaml",
            "--json",
            "--no-progress",
            "run",
            "--due",
        ]);
        ran(&mut sandbox.at_time(&command, time))
    };
    let ran = run("2026-01-05 03:00:00").exits(0);
    let ended = events(&ran, "run_ended");
    let jobs: Vec<_> = ended
        .iter()
        .map(|run| run["job"].as_str().unwrap())
        .collect();
    let mut wanted = vec!["p/sources/data".to_owned()];
    wanted.extend(
        ["forget", "prune", "verify", "read_data"].map(|job| format!("p/maintenance/main/{job}")),
    );
    assert_eq!(jobs, wanted);
    assert!(ended.iter().all(|run| run["outcome"] == "ok"), "{ended:?}");
}

#[test]
fn a_ledger_that_cannot_be_used_stops_no_snapshot() {
    let sandbox = Sandbox::new();
    nightly_policy(&sandbox, "schedule: \"0 2 * * *\"", "");
    fs::create_dir_all(sandbox.path("config/ledger.sqlite")).unwrap();
    let ran = at(&sandbox, "2026-01-05 02:00:00", &["run", "--due"]).exits(3);
    assert_eq!(events(&ran, "step")[0]["outcome"], "ok");
    assert!(ran.stderr.contains("ledger"), "{}", ran.stderr);
    // What is stored for the slot stands for the record.
    let again = at(&sandbox, "2026-01-05 03:00:00", &["run", "--due"]).exits(3);
    assert_eq!(events(&again, "step").len(), 0);
    let next = at(&sandbox, "2026-01-06 02:00:00", &["run", "--due"]).exits(3);
    assert_eq!(events(&next, "step").len(), 1);
}

#[test]
fn a_damaged_ledger_is_set_aside_and_loses_no_slot() {
    let sandbox = Sandbox::new();
    nightly_policy(&sandbox, "schedule: \"0 2 * * *\"", "");
    at(&sandbox, "2026-01-05 02:00:00", &["run", "--due"]).exits(0);
    for beside in ["-wal", "-shm"] {
        drop(fs::remove_file(
            sandbox.path(&format!("config/ledger.sqlite{beside}")),
        ));
    }
    fs::write(sandbox.path("config/ledger.sqlite"), "no database").unwrap();
    let ran = at(&sandbox, "2026-01-06 02:00:00", &["run", "--due"]).exits(3);
    assert_eq!(
        events(&ran, "run_started")[0]["slot"],
        "2026-01-06T02:00[UTC]"
    );
    let kept = fs::read_dir(sandbox.path("config")).unwrap();
    let kept = kept.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(kept.into_iter().any(|name| name.contains("damaged-")));
}

#[test]
fn broken_promises_are_told_by_what_is_stored() {
    let sandbox = Sandbox::new();
    nightly_policy(
        &sandbox,
        "schedule: \"0 2 * * *\", fresh_within: 26h, reaches_back: 3d",
        "",
    );
    let empty = at(&sandbox, "2026-01-05 01:00:00", &["status"]).exits(3);
    empty.says("there is no good snapshot");
    at(&sandbox, "2026-01-05 02:00:00", &["run", "--due"]).exits(0);
    let fresh = at(&sandbox, "2026-01-05 03:00:00", &["status"])
        .exits(0)
        .json();
    assert_eq!(fresh["sources"][0]["alarms"], json!([]));
    assert!(
        fresh["sources"][0]["notes"][0]
            .as_str()
            .unwrap()
            .contains("not been stored for so long")
    );
    assert_eq!(fresh["jobs"][0]["next_slot"], "2026-01-06T02:00[UTC]");
    let stale = at(&sandbox, "2026-01-06 05:00:00", &["status"]).exits(3);
    assert!(
        stale
            .stderr
            .contains("stale: the newest good snapshot is 1 d 3 h old"),
        "{}",
        stale.stderr
    );
}

const ZONES: [&str; 20] = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Chisinau",
    "America/New_York",
    "America/Vancouver",
    "America/Winnipeg",
    "America/Edmonton",
    "America/St_Johns",
    "America/Santiago",
    "America/Asuncion",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Jerusalem",
    "Australia/Lord_Howe",
    "Australia/Adelaide",
    "Pacific/Chatham",
    "Antarctica/Troll",
];

/// Expressions, each with the number of zones it is tried in and how many slots that is at most in two years.
const EXPRESSIONS: [(&str, usize, usize); 5] = [
    ("30 2 * * *", 20, 740),
    ("0,30 1-3 * * *", 20, 4500),
    ("15 0 1,15 * 1", 20, 260),
    ("59 23 * * 0,6", 20, 220),
    ("20 * * * *", 8, 17_600),
];

/// 2026-06-01 to 2028-06-01.
const TWO_YEARS: (i64, i64) = (1_780_272_000, 1_843_430_400);

fn python() -> PathBuf {
    let cache = std::env::var_os("REPRISE_TEST_CACHE").unwrap();
    PathBuf::from(cache).join("python/bin/python")
}

/// What another language's calendar says, in the order of the questions.
fn second_opinion(questions: &[Value]) -> Vec<Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/slots.py");
    let mut process = Command::new(python())
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = process.stdin.take().unwrap();
    let lines: String = questions
        .iter()
        .map(|question| format!("{question}\n"))
        .collect();
    let writing = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let output = process.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn two_years_of_slots_in_twenty_zones_are_as_another_calendar_has_them() {
    let sandbox = Sandbox::new();
    for (number, (expression, zones, count)) in EXPRESSIONS.iter().enumerate() {
        let sources: String = ZONES[..*zones]
            .iter()
            .enumerate()
            .map(|(zone, name)| {
                format!("  s{zone:02}: {{volume: {{path: data}}, schedule: {{cron: \"{expression}\", time_zone: {name}}}}}\n")
            })
            .collect();
        let text = format!(
            "version: 1\nname: p{number}\nrepositories: {{main: {{url: repository}}}}\nsources:\n{sources}"
        );
        fs::write(sandbox.path("p.yaml"), text).unwrap();
        let slots = count.to_string();
        let preview = [
            "policy",
            "preview",
            "--schedule",
            "--from",
            "2026-06-01T00:00:00Z",
            "--slots",
            &slots,
        ];
        let mut command = sandbox.command();
        command
            .args(["--policies", "p.yaml", "--json"])
            .args(preview);
        let shown = ran(&mut command).exits(0).json();
        let questions: Vec<Value> = ZONES[..*zones]
            .iter()
            .map(|zone| json!({"expression": expression, "zone": zone, "from": TWO_YEARS.0, "until": TWO_YEARS.1}))
            .collect();
        for (zone, wanted) in second_opinion(&questions).iter().enumerate() {
            let name = ZONES[zone];
            let found: Vec<Value> = shown["jobs"][zone]["slots"]
                .as_array()
                .unwrap()
                .iter()
                .map(|slot| {
                    let due: chrono::DateTime<chrono::Utc> =
                        slot["due"].as_str().unwrap().parse().unwrap();
                    let local = slot["slot"]
                        .as_str()
                        .unwrap()
                        .split('[')
                        .next()
                        .unwrap()
                        .to_owned();
                    json!([local, due.timestamp()])
                })
                .filter(|slot| slot[1].as_i64().unwrap() <= TWO_YEARS.1)
                .collect();
            let wanted = wanted.as_array().unwrap();
            assert!(wanted.len() > 50, "{name} {expression}");
            for (ours, theirs) in found.iter().zip(wanted) {
                assert_eq!(ours, theirs, "{name} {expression}");
            }
            assert_eq!(found.len(), wanted.len(), "{name} {expression}");
        }
    }
}
