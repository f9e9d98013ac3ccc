//! How long a log is kept: as the policy demands, with the snapshot that it needs, and not a segment less.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use reprise_tests::servers::{Database, Mysql};
use serde_json::Value;
use support::{RunOutput, Sandbox};

/// The recovery window. A server that has nothing new is believed until five seconds ago.
const SPAN: Duration = Duration::from_secs(10);

fn log_segments(sandbox: &Sandbox) -> Vec<PathBuf> {
    let mut segments = sandbox.objects("logs");
    segments.sort();
    segments
}

fn archive(sandbox: &Sandbox, server: &Mysql) -> usize {
    let url = server.root_url();
    sandbox
        .run(["archive", "db", "--url", &url, "--once"])
        .exits(0);
    log_segments(sandbox).len()
}

fn forget(sandbox: &Sandbox, more: &[&str]) -> RunOutput {
    let args = ["--json", "forget", "--policies", "policy.yaml"];
    sandbox.run(args.iter().chain(more))
}

fn restorable(sandbox: &Sandbox) -> Value {
    let shown = sandbox.run(["--json", "show", "db"]).exits(0).json();
    assert_eq!(shown["gaps"].as_array().unwrap().len(), 0, "{shown}");
    shown["restorable"].clone()
}

fn make_old(sandbox: &Sandbox) {
    for segment in log_segments(sandbox) {
        let touched = Command::new("touch")
            .args(["-d", "3 days ago"])
            .arg(segment)
            .status();
        assert!(touched.unwrap().success());
    }
}

fn write_policy(sandbox: &Sandbox, server: &Mysql) {
    let span = format!("{{last: 1, point_in_time: {}s}}", SPAN.as_secs());
    write_policy_with(sandbox, server, "policy.yaml", &span);
    write_policy_with(sandbox, server, "none.yaml", "{last: 1}");
    write_policy_with(
        sandbox,
        server,
        "wide.yaml",
        "{last: 1, point_in_time: 30d}",
    );
}

fn write_policy_with(sandbox: &Sandbox, server: &Mysql, name: &str, retention: &str) {
    let policy = format!(
        "version: 1\nname: p\nrepositories:\n  main: {{url: repository}}\n\
         sources:\n  db:\n    mysql: {{url: \"{}\", log_archive: {{}}}}\n    \
         retention: {retention}\n",
        server.root_url(),
    );
    fs::write(sandbox.path(name), policy).unwrap();
}

/// Both before a policy is merged and when it is applied, and for what another version keeps by its own span.
fn the_log_that_goes_is_counted(sandbox: &Sandbox, segments: u64) {
    let preview = |new: &str, more: &[&str]| {
        let fixed = ["--json", "policy", "preview", "--policies", new];
        let against = ["--against", "wide.yaml", "--max-forget", "1"];
        sandbox.run(fixed.iter().chain(&against).chain(more))
    };
    let refused = preview("policy.yaml", &[]).exits(3);
    let shown = refused.says("--max-forget-log does not allow").json();
    let log = &shown["changes"][0]["log"];
    assert_eq!(log["segments"].as_u64(), Some(segments), "{shown}");
    preview("policy.yaml", &["--max-forget-log", "10d"]).exits(0);
    let shown = preview("none.yaml", &[]).exits(0).json();
    assert_eq!(
        shown["changes"][0]["newly_forgotten"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert!(shown["changes"][0]["log"].is_null(), "{shown}");
    let shown = preview("wide.yaml", &[]).exits(0).json();
    assert!(shown["changes"][0]["log"].is_null(), "{shown}");

    forget(sandbox, &["--max-forget", "1"])
        .exits(6)
        .says("--max-forget-log");
    let allowed = ["--dry-run", "--max-forget", "1", "--max-forget-log", "10d"];
    forget(sandbox, &allowed).exits(0);
}

/// Even though no snapshot would go.
fn the_log_of_a_stale_source_stays(sandbox: &Sandbox, server: &Mysql, segments: u64) {
    let rules = format!(
        "{{last: 2, within: 2s, point_in_time: {}s}}",
        SPAN.as_secs()
    );
    write_policy_with(sandbox, server, "stale.yaml", &rules);
    let args = ["--json", "--policies", "stale.yaml", "forget"];
    let told = sandbox
        .run(args)
        .exits(3)
        .says("nothing of p/db is forgotten");
    let plan = &told.json()["sources"][0];
    assert_eq!(plan["forgotten_without_pause"], 0, "{plan}");
    assert!(plan["log"].is_null(), "{plan}");
    assert_eq!(
        plan["log_without_pause"]["segments"].as_u64(),
        Some(segments)
    );
}

#[test]
fn the_log_is_kept_from_the_snapshot_that_the_span_needs() {
    let server = Mysql::start();
    let sandbox = Sandbox::new();
    write_policy(&sandbox, &server);
    let url = server.root_url();
    let store = ["snapshot", "mysql", &url, "--source", "db"];
    server.execute("CREATE DATABASE app; CREATE TABLE app.t (id INT PRIMARY KEY)");
    sandbox.run(store).exits(0);
    archive(&sandbox, &server);
    server.execute("INSERT INTO app.t VALUES (1)");
    let unneeded = archive(&sandbox, &server);
    sandbox.run(store).exits(0);
    let taken = Instant::now();
    server.execute("INSERT INTO app.t VALUES (2)");
    archive(&sandbox, &server);
    // Nothing goes as long as the first snapshot is the one before the span.
    assert!(forget(&sandbox, &["--dry-run"]).exits(0).json()["sources"][0]["log"].is_null());
    std::thread::sleep(SPAN.saturating_sub(taken.elapsed()) + Duration::from_millis(1));
    archive(&sandbox, &server);
    // What arrived within the last day is never taken for useless.
    assert!(forget(&sandbox, &["--dry-run"]).exits(0).json()["sources"][0]["log"].is_null());
    make_old(&sandbox);
    let planned = forget(&sandbox, &["--dry-run"]).exits(0).json();
    let log = &planned["sources"][0]["log"];
    assert_eq!(log["segments"].as_u64(), Some(unneeded as u64), "{planned}");
    the_log_of_a_stale_source_stays(&sandbox, &server, unneeded as u64);
    // On a slow machine the span would begin after the end of the log: then nothing of it is decided.
    archive(&sandbox, &server);
    the_log_that_goes_is_counted(&sandbox, unneeded as u64);
    let all = archive(&sandbox, &server);
    let before = restorable(&sandbox);
    forget(&sandbox, &[]).exits(0);
    let after = restorable(&sandbox);
    assert!(
        after[0]["from"].as_str() > before[0]["from"].as_str(),
        "{after}"
    );
    assert_eq!(after[0]["until"], before[0]["until"]);
    sandbox.run(["verify"]).exits(0);

    // Until a prune everything can be unforgotten.
    sandbox.run(["unforget", "--log", "db"]).exits(0);
    assert_eq!(
        restorable(&sandbox)[0]["log_segments"].as_u64(),
        Some(all as u64)
    );
    sandbox.run(["unforget", "--log", "db"]).exits(6);
    let all = archive(&sandbox, &server);
    forget(&sandbox, &[]).exits(0);

    // A prune waits for its grace period, and then deletes just that.
    sandbox.run(["prune"]).exits(0);
    assert_eq!(log_segments(&sandbox).len(), all);
    let kept = log_segments(&sandbox).split_off(unneeded);
    let pruned = sandbox
        .run(["--json", "prune", "--grace", "0s"])
        .exits(0)
        .json();
    assert_eq!(pruned["plan"]["log_bytes"], pruned["report"]["log_bytes"]);
    assert_eq!(log_segments(&sandbox), kept);
    sandbox
        .run(["unforget", "--log", "db"])
        .exits(6)
        .says("was already deleted by a prune");
    sandbox.recover(["verify", "--read-data"]).exits(0);
    let target = Mysql::start();
    sandbox
        .recover([
            "restore",
            "db",
            "--to",
            &target.root_url(),
            "--until",
            "latest",
        ])
        .exits(0);
    assert_eq!(target.value("SELECT COUNT(*) FROM app.t"), "2");
}
