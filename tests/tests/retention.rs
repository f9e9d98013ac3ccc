//! What policies keep and forget, by the real binary, and what a host that is broken into cannot make go.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use reprise_repository::backend::LocalBackend;
use reprise_repository::{HostDirectory, ObjectId, OpenOptions, Repository};
use serde_json::Value;
use support::past::{
    PastSnapshot, counts, days, forget, git, listed, night, open, past, policy, take,
};
use support::{RunOutput, Sandbox, ran};

/// A year of days, a policy that keeps them all in `old.yaml`, and one in `p.yaml` that keeps few, at a commit of Git.
fn year() -> (Sandbox, Vec<ObjectId>, String) {
    let sandbox = Sandbox::new();
    let days = days(&sandbox, 365, 0);
    policy(&sandbox, "old.yaml", "{daily: 400}");
    // A year of days is in twelve months or in thirteen: the oldest day is in one more than are kept.
    policy(&sandbox, "p.yaml", "{daily: 7, weekly: 4, monthly: 11}");
    let directory = sandbox.path("p.yaml").parent().unwrap().to_owned();
    git(&directory, &["init", "-q"]);
    git(&directory, &["add", "p.yaml"]);
    git(&directory, &["commit", "-q", "-m", "keep less"]);
    let commit = git(&directory, &["rev-parse", "HEAD"]);
    (sandbox, days, commit)
}

fn preview(sandbox: &Sandbox, new: &str, old: &str, max: &str) -> RunOutput {
    let fixed = ["--json", "policy", "preview", "--policies", new];
    sandbox.run([&fixed[..], &["--against", old, "--max-forget", max]].concat())
}

/// How many of a plan are kept and how many go.
fn previewed(sandbox: &Sandbox) -> (u64, u64) {
    let shown = preview(sandbox, "p.yaml", "old.yaml", "10").exits(3);
    let shown = shown.says("more than --max-forget").json();
    let (kept, forgotten) = counts(&shown);
    assert!((15..=22).contains(&kept), "{kept}");
    assert_eq!(kept + forgotten, 365);
    assert_eq!(shown["would_forget"], forgotten);
    let lost = shown["changes"][0]["newly_forgotten"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(lost as u64, forgotten);
    preview(sandbox, "p.yaml", "old.yaml", "365").exits(0);
    // The other way round nothing more goes.
    preview(sandbox, "old.yaml", "p.yaml", "0").exits(0);
    (kept, forgotten)
}

#[test]
fn a_year_of_days_a_changed_policy_and_back() {
    let (sandbox, days, commit) = year();
    let (kept, forgotten) = previewed(&sandbox);
    let dry = forget(&sandbox, &["--dry-run"]).exits(0).json();
    assert_eq!(counts(&dry), (kept, forgotten));
    let reasons =
        |plan: &Value, n: usize| plan["sources"][0]["snapshots"][n]["reasons"].to_string();
    assert!(reasons(&dry, 0).contains("daily ("), "{dry}");
    let last = reasons(&dry, 364);
    assert!(last.contains("monthly keeps 11 newer"), "{last}");
    let limited = forget(&sandbox, &["--max-forget", "10"]);
    limited.exits(6).says("--dry-run");
    assert_eq!(listed(&sandbox, &[]), 365);
    let done = forget(&sandbox, &[]).exits(0).json();
    assert_eq!(counts(&done), (kept, forgotten));
    assert_eq!(listed(&sandbox, &[]) as u64, kept);
    assert_eq!(listed(&sandbox, &["--all"]), 365);
    // Again there is nothing to forget, and nothing is written.
    assert_eq!(counts(&forget(&sandbox, &[]).exits(0).json()), (kept, 0));
    assert_eq!(sandbox.objects("tombstones").len(), 1);

    let oldest = days[0].to_string();
    let shown = sandbox.run(["--json", "show", &oldest]).exits(0);
    let shown = shown.says("is forgotten").json();
    let tombstone = &shown["tombstones"][0];
    assert_eq!(tombstone["policy"]["commit"], commit.as_str());
    assert!(tombstone["by"].as_str().unwrap().contains('@'));
    let target = sandbox.path("restored");
    let target = target.to_str().unwrap();
    let restored = sandbox.recover(["restore", &oldest, "--to", target, "--verify"]);
    restored.exits(0).says("will be deleted by the next prune");
    sandbox.run(["unforget", &oldest]).exits(0);
    assert_eq!(listed(&sandbox, &[]) as u64, kept + 1);
    let twice = sandbox.run(["unforget", &oldest]);
    twice.exits(6).says("nothing to unforget");
    sandbox.recover(["verify", "--read-data"]).exits(0);
}

#[test]
fn only_a_keeper_forgets_and_its_file_is_enough() {
    let sandbox = Sandbox::bare();
    let keeper = sandbox.path("keeper.txt");
    let keeper = keeper.to_str().unwrap();
    let init = [
        "--keeper",
        keeper,
        "init",
        "--generate-identity",
        "id1",
        "--generate-identity",
        "id2",
    ];
    let made = sandbox.run(init).exits(0);
    assert!(made.stdout.contains("(keeper, keeper)"), "{}", made.stdout);
    let days = days(&sandbox, 10, 0);
    policy(&sandbox, "p.yaml", "{daily: 4}");
    let oldest = days[0].to_string();
    forget(&sandbox, &[]).exits(6).says("--keeper FILE");
    sandbox
        .run(["forget", &oldest])
        .exits(6)
        .says("--keeper FILE");
    forget(&sandbox, &["--dry-run"]).exits(0);
    assert_eq!(listed(&sandbox, &[]), 10);

    // Elsewhere, without any key of the host.
    let mut elsewhere = sandbox.command();
    elsewhere.env("REPRISE_CONFIG_DIR", sandbox.path("elsewhere"));
    elsewhere.args(["--keeper", keeper, "--policies", "p.yaml", "forget"]);
    ran(&mut elsewhere).exits(0);
    assert_eq!(listed(&sandbox, &[]), 4);
    sandbox.run(["unforget", &oldest]).exits(6);
    sandbox
        .run(["--keeper", keeper, "unforget", &oldest])
        .exits(0);
    assert_eq!(listed(&sandbox, &[]), 5);
}

#[test]
fn a_tombstone_that_only_the_writer_signed_is_ignored() {
    let sandbox = Sandbox::bare();
    let init = [
        "--keeper",
        "keeper.txt",
        "init",
        "--generate-identity",
        "id1",
        "--generate-identity",
        "id2",
    ];
    sandbox.run(init).exits(0);
    let days = days(&sandbox, 3, 0);
    // The host makes a repository of its own, where it is the keeper, and forgets there what is here.
    let own = |args: &[&str]| sandbox.run([&["-r", "own"], args].concat());
    own(&[
        "init",
        "--generate-identity",
        "id3",
        "--generate-identity",
        "id4",
    ])
    .exits(0);
    let name = |id: &ObjectId| format!("snapshots/{id}");
    fs::create_dir(sandbox.path("own/snapshots")).unwrap();
    let options = OpenOptions {
        host: HostDirectory::new(sandbox.path("config")),
        identity_files: Vec::new(),
        cache: None,
        memory: None,
        pinned_signers: Vec::new(),
    };
    let repository =
        Repository::open(Arc::new(LocalBackend::new(sandbox.path("own"))), &options).unwrap();
    let keeper = repository.load_keeper(None, "forget").unwrap();
    let why = reprise_repository::TombstoneMetadata {
        at: Utc::now(),
        by: "mallory@host".to_owned(),
        reason: "a break-in".to_owned(),
        policy: None,
        program: "none".to_owned(),
    };
    let forged = repository.forget_snapshots(&keeper, &days, &why).unwrap()[0];
    let directory = sandbox.path("repository/tombstones");
    fs::create_dir(&directory).unwrap();
    fs::copy(
        sandbox.path(&format!("own/tombstones/{forged}")),
        directory.join(forged.to_string()),
    )
    .unwrap();

    assert_eq!(listed(&sandbox, &[]), 3);
    let found = sandbox.run(["verify"]).exits(4);
    let all = format!("{}{}", found.stdout, found.stderr);
    assert!(
        all.contains(&forged.to_string()) && all.contains("it is not a keeper"),
        "{all}"
    );
    assert!(sandbox.path("repository").join(name(&days[0])).is_file());
}

#[test]
fn a_rule_that_leaves_nothing_is_refused() {
    let sandbox = Sandbox::new();
    // So many that its pace is known, and it is not taken for stale.
    days(&sandbox, 6, 0);
    policy(&sandbox, "p.yaml", "{within: 60s}");
    forget(&sandbox, &["--dry-run"])
        .exits(6)
        .says("--allow-empty");
    forget(&sandbox, &[])
        .exits(6)
        .says("p/tree would be left without any good snapshot");
    let shown = sandbox.run(["--json", "policy", "preview", "--policies", "p.yaml"]);
    assert_eq!(shown.exits(0).json()["would_be_empty"][0], "p/tree");
    assert_eq!(listed(&sandbox, &[]), 6);
    policy(&sandbox, "p.yaml", "{within: 60s, keep_at_least: 4}");
    assert_eq!(counts(&forget(&sandbox, &[]).exits(0).json()), (4, 2));
    policy(&sandbox, "p.yaml", "{within: 60s}");
    forget(&sandbox, &["--allow-empty"]).exits(0);
    assert_eq!(listed(&sandbox, &[]), 0);
}

#[test]
fn back_dated_and_flooding_snapshots_make_nothing_go() {
    let sandbox = Sandbox::new();
    days(&sandbox, 40, 0);
    let repository = open(&sandbox);
    policy(&sandbox, "p.yaml", "{daily: 30, monthly: 3}");
    let kept = |plan: &Value| -> Vec<String> {
        let all = plan["sources"][0]["snapshots"].as_array().unwrap();
        let kept = all.iter().filter(|one| one["verdict"] == "keep");
        kept.map(|one| one["snapshot"].as_str().unwrap().to_owned())
            .collect()
    };
    let before = kept(&forget(&sandbox, &["--dry-run"]).exits(0).json());
    for day in 1..20 {
        let forged = PastSnapshot {
            received: Utc::now() - TimeDelta::minutes(5),
            ..past("tree", night(day) + TimeDelta::hours(21))
        };
        take(&sandbox, &repository, &forged);
    }
    let after = kept(&forget(&sandbox, &["--dry-run"]).exits(0).json());
    assert!(
        before.iter().all(|id| after.contains(id)),
        "{before:?} {after:?}"
    );
    let trusting = kept(
        &forget(&sandbox, &["--dry-run", "--trust-times"])
            .exits(0)
            .json(),
    );
    assert!(!before.iter().all(|id| trusting.contains(id)));

    policy(&sandbox, "p.yaml", "{last: 10}");
    for minute in 0..12 {
        take(
            &sandbox,
            &repository,
            &past("tree", night(0) + TimeDelta::minutes(30 + minute)),
        );
    }
    let flooded = forget(&sandbox, &[]).exits(3).says("arrived within a day");
    assert_eq!(counts(&flooded.json()).1, 0);
    assert_eq!(
        counts(
            &forget(&sandbox, &["--accept-flood", "--dry-run"])
                .exits(0)
                .json()
        )
        .0,
        10
    );
}

#[test]
fn a_source_that_fails_loses_nothing_until_a_good_snapshot_arrives() {
    let sandbox = Sandbox::new();
    days(&sandbox, 20, 40);
    let repository = open(&sandbox);
    take(
        &sandbox,
        &repository,
        &PastSnapshot {
            good: false,
            ..past("tree", night(1))
        },
    );
    policy(&sandbox, "p.yaml", "{within: 14d}");
    let stale = forget(&sandbox, &[])
        .exits(3)
        .says("its newest good snapshot is from");
    assert_eq!(counts(&stale.json()), (21, 0));
    take(&sandbox, &repository, &past("tree", night(0)));
    assert_eq!(counts(&forget(&sandbox, &[]).exits(0).json()), (2, 20));
}

#[test]
fn a_preview_tells_what_goes_when_a_pause_ends() {
    let sandbox = Sandbox::new();
    days(&sandbox, 20, 40);
    policy(&sandbox, "old.yaml", "{last: 15}");
    policy(&sandbox, "p.yaml", "{last: 1}");
    let shown = preview(&sandbox, "p.yaml", "old.yaml", "13").exits(3);
    let shown = shown.says("14 snapshots would be forgotten").json();
    assert_eq!(counts(&shown), (20, 0));
    assert_eq!(shown["would_forget"], 0);
    assert_eq!(shown["would_forget_without_pause"], 14);
    let lost = shown["changes"][0]["newly_forgotten"].as_array().unwrap();
    assert_eq!(
        (lost.len(), &shown["changes"][0]["newly_forgotten_now"]),
        (14, &0.into())
    );
    preview(&sandbox, "p.yaml", "old.yaml", "14").exits(0);
    let alone = ["policy", "preview", "--policies", "p.yaml", "--max-forget"];
    let run = |max| sandbox.run([&alone[..], &[max]].concat());
    let told = run("18").exits(3).stdout;
    assert!(
        told.contains("0 would be forgotten now, and 19 when"),
        "{told}"
    );
    run("19").exits(0);
}

#[test]
fn a_monthly_rule_does_not_make_a_failing_source_lose_its_days() {
    let sandbox = Sandbox::new();
    days(&sandbox, 20, 35);
    for rules in ["{within: 30d, monthly: 12}", "{within: 30d, yearly: 3}"] {
        policy(&sandbox, "p.yaml", rules);
        let stale = forget(&sandbox, &[]).exits(3).says("at most 2d old");
        assert_eq!(counts(&stale.json()), (20, 0));
    }
}

#[test]
fn a_damaged_snapshot_replaces_no_intact_one() {
    let sandbox = Sandbox::new();
    days(&sandbox, 3, 2);
    let repository = open(&sandbox);
    let intact = take(&sandbox, &repository, &past("tree", night(1)));
    let before = sandbox.objects("packs");
    let damaged = take(&sandbox, &repository, &past("tree", night(0)));
    let mut new = sandbox.objects("packs");
    new.retain(|pack| !before.contains(pack));
    for pack in new {
        let mut bytes = fs::read(&pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&pack, bytes).unwrap();
    }
    let repair = ["verify", "--read-data", "--repair", "--yes"];
    sandbox.recover(repair).exits(4);
    policy(&sandbox, "p.yaml", "{last: 1}");
    let plan = forget(&sandbox, &[]).exits(0).json();
    assert_eq!(counts(&plan), (2, 3));
    let listed = plan["sources"][0]["snapshots"].as_array().unwrap();
    let why = |id: ObjectId| {
        let of = |one: &&Value| one["snapshot"] == id.to_string();
        let one = listed.iter().find(of).unwrap();
        (
            one["affected"].as_bool().unwrap(),
            one["reasons"].to_string(),
        )
    };
    let nothing_better =
        r#"["last (1 of 1)","degraded or affected by damage, but no newer good one is kept"]"#;
    assert_eq!(why(damaged), (true, nothing_better.to_owned()));
    assert_eq!(why(intact), (false, "[\"last (1 of 1)\"]".to_owned()));
}

#[test]
fn a_source_that_is_degraded_every_night_expires_and_is_told() {
    let sandbox = Sandbox::new();
    days(&sandbox, 4, 9);
    let repository = open(&sandbox);
    for day in 0..6 {
        let degraded = PastSnapshot {
            good: false,
            ..past("tree", night(day))
        };
        take(&sandbox, &repository, &degraded);
    }
    policy(&sandbox, "p.yaml", "{daily: 3, keep_at_least: 1}");
    let told = forget(&sandbox, &[]).exits(3);
    let told = told.says("has no good snapshot since");
    let plan = told.says("all 6 since are degraded").json();
    // The newest three degraded ones, and all good ones until there is a newer one.
    assert_eq!(counts(&plan), (3 + 4, 3));
}

#[test]
fn named_snapshots_holds_and_sources_that_no_policy_names() {
    let sandbox = Sandbox::new();
    let days = days(&sandbox, 4, 0);
    let repository = open(&sandbox);
    let other = take(&sandbox, &repository, &past("other", night(9))).to_string();
    let held = PastSnapshot {
        hold: Some("until 2999-01-01"),
        ..past("tree", night(9))
    };
    let held = take(&sandbox, &repository, &held).to_string();
    let unclear = PastSnapshot {
        hold: Some("a while"),
        ..past("tree", night(8))
    };
    take(&sandbox, &repository, &unclear);
    policy(&sandbox, "p.yaml", "{last: 2}");
    let plan = forget(&sandbox, &["p/tree"])
        .exits(0)
        .says("`a while` in the tag `hold` is not a valid hold")
        .json();
    assert_eq!(counts(&plan), (4, 2));
    assert_eq!(plan["sources_without_policy"][0]["source"], "other");
    forget(&sandbox, &["p/other"]).exits(5);

    let by_id = |args: &[&str]| sandbox.run([&["forget"], args].concat());
    by_id(&["other"])
        .exits(5)
        .says("has an ID that begins with");
    by_id(&[&held]).exits(6).says("--release-holds");
    by_id(&[&other]).exits(6).says("--allow-empty");
    by_id(&["--dry-run", &days[3].to_string()]).exits(0);
    // One that says it is of the future, or is degraded, is not enough.
    for (day, good) in [(-30, true), (7, false)] {
        let lesser = PastSnapshot {
            received: night(0),
            good,
            ..past("other", night(day))
        };
        let lesser = take(&sandbox, &repository, &lesser).to_string();
        by_id(&[&other]).exits(6).says("--allow-empty");
        by_id(&[&lesser]).exits(0);
    }
    assert_eq!(listed(&sandbox, &[]), 5);
    by_id(&["--release-holds", &held, &days[3].to_string()]).exits(0);
    by_id(&["--allow-empty", &other]).exits(0);
    assert_eq!(listed(&sandbox, &[]), 2);
    // With policies too an id is an id.
    forget(&sandbox, &[&days[2].to_string()]).exits(0);
    assert_eq!(listed(&sandbox, &[]), 1);
}

#[test]
fn a_snapshot_that_cannot_be_read_is_forgotten_by_its_whole_id() {
    let sandbox = Sandbox::new();
    let days = days(&sandbox, 3, 0);
    let id = days[1].to_string();
    let root = sandbox.path(&format!("repository/snapshots/{id}"));
    let mut bytes = fs::read(&root).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&root, bytes).unwrap();
    let junk = "0".repeat(64);
    let junk_root = sandbox.path(&format!("repository/snapshots/{junk}"));
    fs::write(&junk_root, "junk").unwrap();
    fs::remove_dir_all(sandbox.path("cache")).unwrap();
    let prune = ["prune", "--grace", "0s"];
    sandbox.run(prune).exits(4);

    let by_id = |args: &[&str]| sandbox.run([&["forget"], args].concat());
    by_id(&["--unreadable", &id[..12]]).exits(5).says("full ID");
    by_id(&[&id]).exits(6).says("--unreadable");
    assert!(sandbox.objects("tombstones").is_empty());
    by_id(&["--unreadable", &id]).exits(4).says(&junk);
    by_id(&["--unreadable", &id, &junk]).exits(0);
    sandbox.run(["unforget", &id]).exits(0);
    sandbox.run(prune).exits(4);
    by_id(&["--unreadable", &id]).exits(4);
    let pruned = sandbox.run(prune);
    assert!(matches!(pruned.code, Some(0 | 3)), "{}", pruned.stderr);
    sandbox.run(prune);
    assert!(!root.exists() && !junk_root.exists());
    assert_eq!(listed(&sandbox, &[]), 2);
    sandbox.recover(["verify", "--read-data"]).exits(0);
}

#[test]
fn a_foreign_name_that_ends_like_a_snapshots_keeps_nobody_from_forgetting_it() {
    let sandbox = Sandbox::new();
    let id = days(&sandbox, 3, 0)[1].to_string();
    let directory = sandbox.path("repository/snapshots");
    fs::create_dir(directory.join("zz")).unwrap();
    fs::copy(directory.join(&id), directory.join("zz").join(&id)).unwrap();
    // It is named as something that cannot be read, and the snapshot itself is a good one.
    let forget = sandbox.run(["forget", &id]).exits(4);
    let forget = forget.says(&format!("snapshots/zz/{id}"));
    assert!(!forget.stderr.contains("--unreadable"), "{}", forget.stderr);
    assert_eq!(sandbox.objects("tombstones").len(), 1);
    let left = sandbox.run(["--json", "snapshots"]).exits(4).json();
    assert_eq!(left["snapshots"].as_array().unwrap().len(), 2);
}

#[test]
fn two_policies_must_agree_about_a_source() {
    let sandbox = Sandbox::new();
    days(&sandbox, 3, 0);
    fs::create_dir(sandbox.path("policies")).unwrap();
    for (name, rule) in [("a", "{last: 1}"), ("b", "{last: 2}")] {
        policy(&sandbox, "p.yaml", rule);
        let text = fs::read_to_string(sandbox.path("p.yaml")).unwrap();
        let text = text
            .replace("name: p", &format!("name: {name}"))
            .replace("./repo", "../repo");
        fs::write(sandbox.path(&format!("policies/{name}.yaml")), text).unwrap();
    }
    let both = sandbox.run(["--policies", "policies", "forget", "a/tree"]);
    both.exits(2).says("have different retention");
    assert_eq!(listed(&sandbox, &[]), 3);
}

/// By data of 2025, clocks in Vancouver would be at -08:00 then, and all of these would be a day earlier.
#[test]
fn days_are_those_of_this_years_time_zones() {
    let sandbox = Sandbox::new();
    let repository = open(&sandbox);
    let times = [
        "2026-11-28T06:30:00Z",
        "2026-11-28T07:30:00Z",
        "2026-11-29T06:30:00Z",
    ];
    let ids = times.map(|time| take(&sandbox, &repository, &past("tree", time.parse().unwrap())));
    policy(&sandbox, "p.yaml", "{daily: 2}");
    let text = fs::read_to_string(sandbox.path("p.yaml")).unwrap();
    let text = text.replace("name: p\n", "name: p\ntime_zone: America/Vancouver\n");
    fs::write(sandbox.path("p.yaml"), text).unwrap();
    let mut dry = sandbox.command();
    dry.args([
        "--json",
        "-v",
        "forget",
        "--policies",
        "p.yaml",
        "--dry-run",
    ]);
    let planned = ran(&mut sandbox.at_time(&dry, "2026-11-29 07:00:00")).exits(0);
    assert!(
        planned.stderr.contains("time-zone data: 2026f"),
        "{}",
        planned.stderr
    );
    let planned = planned.json();
    assert_eq!(planned["time_zone_data"], "2026f");
    let verdict = |id: &ObjectId| {
        let listed = planned["sources"][0]["snapshots"].as_array().unwrap();
        let found = listed.iter().find(|one| one["snapshot"] == id.to_string());
        found.unwrap()["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!(ids.each_ref().map(verdict), ["keep", "forget", "keep"]);
    // Data that are old are a warning, wherever a zone is used.
    let late = ran(&mut sandbox.at_time(&dry, "2027-12-01 07:00:00"));
    late.says("time-zone data of this program are of 2026-11-14");
}

#[test]
fn the_version_names_the_time_zone_data() {
    let sandbox = Sandbox::bare();
    let brief = sandbox.run(["--version"]).exits(0).stdout;
    assert_eq!(brief.lines().count(), 1, "{brief}");
    for arguments in [["--version", "-v"], ["-v", "--version"]] {
        let long = sandbox.run(arguments).exits(0).stdout;
        assert!(
            long.starts_with(&brief) && long.contains("time-zone data: 2026f"),
            "{long}"
        );
    }
}

#[test]
fn a_clock_that_is_ahead_makes_no_snapshot_the_latest() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("tree")).unwrap();
    let mut command = sandbox.command();
    command.args(["snapshot", "volume", "tree", "--source", "ck"]);
    fs::write(sandbox.path("tree/f"), "of a wrong clock").unwrap();
    let ahead = ran(&mut sandbox.at_time(&command, "2041-01-01 00:00:00"));
    ahead
        .exits(3)
        .says("the clock of this host is ahead: it said 2041-01-01");
    fs::write(sandbox.path("tree/f"), "of a right clock").unwrap();
    ran(&mut command).exits(0);
    let restored = sandbox.restore("ck", "restored");
    assert_eq!(
        fs::read_to_string(restored.join("f")).unwrap(),
        "of a right clock"
    );
    let listed = sandbox.run(["--json", "snapshots"]).exits(0);
    let listed = listed.says("claims to be of 2041-01-01").json();
    let alarms = [0, 1].map(|n| !listed["snapshots"][n]["clock_alarm"].is_null());
    assert_eq!(alarms, [true, false]);
    let text = "version: 1
repositories: {main: {url: ./repository, identity: 'file:id1'}}
sources:
  ck: {volume: {path: tree}}
drills:
  d: {source: ck, checks: [{path: f, exists: true}], budget: {data_loss: 26h}}
";
    fs::write(sandbox.path("p.yaml"), text).unwrap();
    let mut drill = sandbox.command();
    drill.args(["--json", "drill", "--policies", "p.yaml"]);
    let late = ran(&mut sandbox.at_time(&drill, "2040-06-01 00:00:00"));
    assert_eq!(late.code, Some(4), "{}{}", late.stdout, late.stderr);
    assert!(
        late.stdout.contains("data loss within budget"),
        "{}",
        late.stdout
    );
}
