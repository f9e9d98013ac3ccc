//! Two hosts in one repository that give their sources the same name: what one of them stores neither replaces, nor
//! continues, nor passes for what the other has stored.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;

use chrono::TimeDelta;
use reprise_repository::{ObjectId, Snapshot};
use serde_json::Value;
use support::past::{PastSnapshot, days, forget, night, open, open_by, past, policy, take};
use support::{RunOutput, Sandbox, ran};

/// A repository in which `web2` writes as well.
fn two_hosts() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.add_second_host();
    sandbox
}

/// Daily snapshots of `tree` by the second host, whether or not the name means it, each a little later than the first host's.
fn days_of_second(sandbox: &Sandbox, count: i64, meant: bool) -> Vec<ObjectId> {
    let repository = open_by(sandbox, "second").with_chosen_host(meant.then_some("web2"));
    let later = |day| PastSnapshot {
        received: night(day) + TimeDelta::minutes(15),
        ..past("tree", night(day) + TimeDelta::minutes(5))
    };
    let days = (0..count).rev();
    days.map(|day| take(sandbox, &repository, &later(day)))
        .collect()
}

/// IDs of the snapshots that are kept.
fn kept(sandbox: &Sandbox) -> Vec<ObjectId> {
    let snapshots = open(sandbox).snapshots().unwrap();
    snapshots.iter().map(|one| one.id).collect()
}

fn find<'a>(snapshots: &'a [Snapshot], id: &Value) -> &'a Snapshot {
    let id: ObjectId = id.as_str().unwrap().parse().unwrap();
    snapshots.iter().find(|one| one.id == id).unwrap()
}

/// The signers of both hosts.
fn signers(sandbox: &Sandbox) -> [String; 2] {
    let shown = |done: RunOutput| done.exits(0).json()["signer"].as_str().unwrap().to_owned();
    let args = ["--json", "key", "show"];
    [
        shown(sandbox.run(args)),
        shown(ran(sandbox.on_second_host().args(args))),
    ]
}

/// A policy in `p.yaml` that declares `web1` and `web2` with these signers, and means these hosts by `tree`.
fn policy_for(sandbox: &Sandbox, signers: &[String; 2], meant: &str) {
    policy(sandbox, "p.yaml", "{daily: 3}");
    let hosts = format!(
        "hosts: {{web1: {{signer: '{}'}}, web2: {{signer: '{}', roles: [writer]}}}}\nsources:",
        signers[0], signers[1]
    );
    let text = fs::read_to_string(sandbox.path("p.yaml")).unwrap();
    let text = text.replace("sources:", &hosts);
    let text = text.replace("    volume:", &format!("    hosts: {meant}\n    volume:"));
    fs::write(sandbox.path("p.yaml"), text).unwrap();
}

/// Directories with one file that says whose it is; the first host stores `one` as `tree`, the second then `two`.
fn stored_by_both(sandbox: &Sandbox) -> RunOutput {
    for name in ["one", "two"] {
        fs::create_dir(sandbox.path(name)).unwrap();
        fs::write(sandbox.path(name).join("whose"), name).unwrap();
    }
    sandbox.snapshot(&sandbox.path("one"), "tree").exits(0);
    snapshot_by_second(sandbox)
}

fn snapshot_by_second(sandbox: &Sandbox) -> RunOutput {
    let args = ["--json", "snapshot", "volume", "two", "--source", "tree"];
    ran(sandbox.on_second_host().args(args))
}

/// Restores `tree` with some options; whose it is.
fn restored(sandbox: &Sandbox, options: &[&str]) -> (String, RunOutput) {
    let target = sandbox.path("restored");
    let _ = fs::remove_dir_all(&target);
    let fixed = ["restore", "tree", "--to", target.to_str().unwrap()];
    let done = sandbox.recover([&fixed[..], options].concat()).exits(0);
    (fs::read_to_string(target.join("whose")).unwrap(), done)
}

#[test]
fn each_host_that_is_meant_keeps_its_own_days_of_a_source() {
    let sandbox = two_hosts();
    let first = days(&sandbox, 6, 0);
    let second = days_of_second(&sandbox, 5, true);
    policy_for(&sandbox, &signers(&sandbox), "[web1, web2]");
    let plan = forget(&sandbox, &[]).exits(0).json();
    let hosts: Vec<_> = plan["sources"].as_array().unwrap().iter().collect();
    assert_eq!(hosts.len(), 2, "{plan}");
    assert!(hosts.iter().any(|one| one["host"] == "web2"), "{plan}");
    let kept = kept(&sandbox);
    assert!(first[3..].iter().all(|id| kept.contains(id)), "{kept:?}");
    assert!(second[2..].iter().all(|id| kept.contains(id)), "{kept:?}");
    assert_eq!(kept.len(), 6);
}

#[test]
fn what_another_host_stores_under_a_name_is_kept_and_makes_nothing_go() {
    let sandbox = two_hosts();
    let first = days(&sandbox, 6, 0);
    let second = days_of_second(&sandbox, 5, false);
    policy(&sandbox, "p.yaml", "{daily: 3}");
    let said = "web2 has stored 5 snapshots as `tree`";
    let plan = forget(&sandbox, &[]).exits(3).says(said).json();
    let foreign = plan["sources"].as_array().unwrap().iter();
    let mut foreign = foreign.filter(|one| one["meant"] == false);
    assert_eq!(foreign.next().unwrap()["kept"], 5, "{plan}");
    let kept = kept(&sandbox);
    assert!(first[3..].iter().all(|id| kept.contains(id)), "{kept:?}");
    assert!(second.iter().all(|id| kept.contains(id)), "{kept:?}");
    assert_eq!(kept.len(), 8);
}

#[test]
fn a_name_means_the_host_that_has_used_it_first_and_others_are_named() {
    let sandbox = two_hosts();
    let second = stored_by_both(&sandbox).exits(3);
    for way_out in ["the name `tree` means", "--source", "hosts:", "--replaces"] {
        assert!(
            second.stderr.contains(way_out),
            "{way_out}: {}",
            second.stderr
        );
    }
    let said = "web2 has stored 1 snapshot as `tree`";
    let (whose, done) = restored(&sandbox, &[]);
    assert_eq!(whose, "one");
    done.says(said);
    let listed = sandbox.run(["snapshots"]).exits(0).says(said).stdout;
    assert!(
        listed.contains("HOST") && listed.contains("web2"),
        "{listed}"
    );
    let shown = sandbox.run(["--json", "show", "tree"]).exits(0).says(said);
    assert_ne!(shown.json()["signer"], "web2");
    assert_eq!(restored(&sandbox, &["--host", "web2"]).0, "two");
    let signer = &signers(&sandbox)[1][..12];
    assert_eq!(restored(&sandbox, &["--host", signer]).0, "two");
    let nobody = ["restore", "tree", "--host", "web9", "--to", "elsewhere"];
    sandbox.recover(nobody).exits(5).says("web2");
    let listed = sandbox
        .run(["--json", "snapshots", "--host", "web2"])
        .exits(0);
    assert_eq!(listed.json()["snapshots"].as_array().unwrap().len(), 1);
    // The first host goes on as before.
    sandbox.snapshot(&sandbox.path("one"), "tree").exits(0);
}

#[test]
fn a_drill_restores_what_the_name_means_and_names_the_other_host() {
    let sandbox = two_hosts();
    stored_by_both(&sandbox).exits(3);
    policy(&sandbox, "p.yaml", "{daily: 3}");
    let text = fs::read_to_string(sandbox.path("p.yaml")).unwrap();
    let text = text.replace(
        "url: ./repository",
        "url: ./repository, identity: 'file:id1'",
    );
    let drill = "drills: {d: {source: tree, checks: [{path: whose, contains: one}]}}\n";
    fs::write(sandbox.path("p.yaml"), text + drill).unwrap();
    let done = sandbox.run(["--policies", "p.yaml", "drill"]).exits(0);
    done.says("web2 has stored 1 snapshot as `tree`");
}

#[test]
fn no_time_that_another_host_claims_takes_a_name_away() {
    let sandbox = two_hosts();
    days(&sandbox, 2, 0);
    let repository = open_by(&sandbox, "second");
    // Older than everything, and newer than everything, but stored after it.
    for day in [400, -400] {
        let forged = PastSnapshot {
            received: night(0) + TimeDelta::hours(1),
            ..past("tree", night(day))
        };
        take(&sandbox, &repository, &forged);
    }
    let shown = sandbox.run(["--json", "show", "tree@latest"]).exits(0);
    let shown = shown.says("web2 has stored 2 snapshots").json();
    assert_ne!(shown["signer"], "web2");
}

#[test]
fn of_several_hosts_that_are_meant_one_must_be_chosen() {
    let sandbox = two_hosts();
    let signers = signers(&sandbox);
    policy_for(&sandbox, &signers, "[web1, web2]");
    fs::create_dir(sandbox.path("tree")).unwrap();
    fs::write(sandbox.path("tree/file"), "content").unwrap();
    stored_by_both(&sandbox).exits(3);
    // With the policy, the second host is meant as well.
    let run = ["--policies", "p.yaml", "run", "p/tree"];
    ran(sandbox.on_second_host().args(run)).exits(0);
    let policies = ["--policies", "p.yaml"];
    let elsewhere = ["restore", "tree", "--to", "elsewhere"];
    let refused = sandbox.recover([&policies[..], &elsewhere].concat());
    refused.exits(2).says("web2").says("--host");
    sandbox
        .run([&policies[..], &["show", "tree"]].concat())
        .exits(2);
    let chosen = [&policies[..], &["--json", "show", "tree", "--host", "web2"]].concat();
    assert_eq!(sandbox.run(chosen).exits(0).json()["signer"], "web2");
    // One that the policy means is meant, whoever was first.
    policy_for(&sandbox, &signers, "[web2]");
    let show = [&policies[..], &["--json", "show", "tree"]].concat();
    assert_eq!(sandbox.run(show).exits(0).json()["signer"], "web2");
    let run = ["--policies", "p.yaml", "run", "p/tree"];
    sandbox.run(run).exits(3).says("the name `tree` means web2");
}

#[test]
fn a_keepers_record_of_a_host_counts_more_than_the_policies() {
    let sandbox = two_hosts();
    let [first, _] = signers(&sandbox);
    stored_by_both(&sandbox).exits(3);
    // The policy says that `web2` is somebody else.
    policy_for(&sandbox, &[first, "ab".repeat(32)], "[web2]");
    let said = "a keeper has recorded";
    let policies = ["--policies", "p.yaml"];
    let show = [&policies[..], &["--json", "show", "tree"]].concat();
    assert_eq!(sandbox.run(show).exits(0).json()["signer"], "web2");
    forget(&sandbox, &["--dry-run"]).exits(3).says(said);
    fs::create_dir(sandbox.path("tree")).unwrap();
    fs::write(sandbox.path("tree/file"), "content").unwrap();
    let run = ["--policies", "p.yaml", "run", "p/tree"];
    ran(sandbox.on_second_host().args(run)).exits(3).says(said);
}

#[test]
fn a_host_with_new_keys_continues_the_series_of_the_old_ones() {
    let sandbox = Sandbox::new();
    let [old, new] = signers(&sandbox);
    let public = ran(sandbox.on_second_host().args(["key", "show"])).exits(0);
    fs::write(sandbox.path("new.keys"), public.stdout).unwrap();
    let add = |replaced: &str, more: &[&str]| {
        let fixed = [
            "key",
            "add",
            "--host",
            "new.keys",
            "--name",
            "web1",
            "--replaces",
        ];
        sandbox.run([&fixed[..], &[replaced], more].concat())
    };
    add("nobody", &[]).exits(5);
    let planned = add(&old, &["--dry-run"]).exits(0).stdout;
    assert!(planned.contains("would continue"), "{planned}");
    add(&old, &[]).exits(0);
    add(&old, &[]).exits(6).says("already one series");
    let second = stored_by_both(&sandbox).exits(0).json();
    let snapshots = open(&sandbox).snapshots().unwrap();
    let first = snapshots
        .iter()
        .find(|one| one.signer.to_string() == old)
        .unwrap();
    let continued = find(&snapshots, &second["snapshot"]);
    assert_eq!(continued.signer.to_string(), new);
    assert_eq!(continued.root.parent, Some(first.id));
    let (whose, done) = restored(&sandbox, &[]);
    assert_eq!(
        (whose.as_str(), done.stderr.contains("warning")),
        ("two", false)
    );
    policy(&sandbox, "p.yaml", "{last: 1}");
    let plan = forget(&sandbox, &["--dry-run"]).exits(0).json();
    assert_eq!(plan["sources"].as_array().unwrap().len(), 1, "{plan}");
    assert_eq!(plan["sources"][0]["forgotten"], 1, "{plan}");
    let listed = sandbox.run(["key", "list"]).exits(0).stdout;
    assert!(
        listed.contains(&format!("{new} continues {old}")),
        "{listed}"
    );
}

#[test]
fn a_host_that_is_known_already_takes_the_place_of_another() {
    let sandbox = two_hosts();
    let [old, _] = signers(&sandbox);
    stored_by_both(&sandbox).exits(3);
    let replace = ["key", "add", "--host", "web2.keys", "--replaces", &old];
    sandbox.run(replace).exits(0);
    snapshot_by_second(&sandbox).exits(0);
    assert_eq!(restored(&sandbox, &[]).0, "two");
    // Its predecessor is removed: what that has stored stays a part of the series.
    sandbox
        .run(["key", "add", "--keeper-key", &signers(&sandbox)[1]])
        .exits(0);
    let remove = ["key", "remove", "--host", &old, "--yes"];
    ran(sandbox.on_second_host().args(remove)).exits(0);
    policy(&sandbox, "p.yaml", "{last: 3}");
    let plan = ran(sandbox.on_second_host().args([
        "--json",
        "--policies",
        "p.yaml",
        "forget",
        "--dry-run",
    ]));
    let plan = plan.exits(0).json();
    assert_eq!(plan["sources"][0]["kept"], 3, "{plan}");
}

#[test]
fn the_last_snapshot_of_a_host_is_not_forgotten_because_another_host_has_some() {
    let sandbox = two_hosts();
    days(&sandbox, 3, 0);
    let second = days_of_second(&sandbox, 1, false)[0].to_string();
    let by_id = |args: &[&str]| sandbox.run([&["forget"], args].concat());
    by_id(&[&second])
        .exits(6)
        .says("tree of web2 would be left");
    by_id(&["--allow-empty", &second]).exits(0);
    // By rules too: the first host's are stale, and nothing of them makes room for the second's.
    assert_eq!(kept(&sandbox).len(), 3);
}

#[test]
fn a_snapshot_continues_only_what_the_same_host_has_stored() {
    let sandbox = two_hosts();
    let large = sandbox.path("large");
    fs::create_dir(&large).unwrap();
    for n in 0..60 {
        fs::write(large.join(format!("file-{n}")), "content").unwrap();
    }
    let small = sandbox.path("small");
    fs::create_dir(&small).unwrap();
    fs::write(small.join("file"), "content").unwrap();
    let first = sandbox.snapshot(&large, "etc").exits(0).json();
    let by_second = || {
        let args = ["--json", "snapshot", "volume", "small", "--source", "etc"];
        // That the name means the other host is the only alarm.
        let done = ran(sandbox.on_second_host().args(args)).exits(3);
        assert!(!done.stderr.contains("fell from"), "{}", done.stderr);
        done.json()
    };
    // Compared with the other host's, it would have lost nearly all its files.
    let (second, third) = (by_second(), by_second());
    let again = sandbox.snapshot(&large, "etc").exits(0).json();
    let snapshots = open(&sandbox).snapshots().unwrap();
    let parent = |of: &Value| find(&snapshots, &of["snapshot"]).root.parent;
    let id = |of: &Value| Some(find(&snapshots, &of["snapshot"]).id);
    assert_eq!(parent(&second), None);
    assert_eq!(parent(&third), id(&second));
    assert_eq!(parent(&again), id(&first));
}

#[test]
fn a_snapshot_id_leaves_nothing_open_and_must_be_of_the_host_beside_it() {
    let sandbox = two_hosts();
    stored_by_both(&sandbox).exits(3);
    let shown = sandbox.run(["--json", "show", "tree"]).exits(0).json();
    let id = &shown["snapshot"].as_str().unwrap()[..8];
    let shown = sandbox.run(["show", id]).exits(0);
    assert!(!shown.stderr.contains("web2"), "{}", shown.stderr);
    let host = shown.stdout.lines().find(|line| line.starts_with("by "));
    let host = host.unwrap().rsplit(' ').next().unwrap();
    sandbox.run(["show", id, "--host", host]).exits(0);
    let other = sandbox.run(["show", id, "--host", "web2"]).exits(5);
    other.says("of host web2").says("leave out --host");
}

#[test]
fn no_source_can_be_named_so_that_an_id_means_it() {
    let sandbox = two_hosts();
    for name in ["good", "evil"] {
        fs::create_dir(sandbox.path(name)).unwrap();
        fs::write(sandbox.path(name).join("whose"), name).unwrap();
    }
    let stored = sandbox.snapshot(&sandbox.path("good"), "tree").exits(0);
    let id = stored.json()["snapshot"].as_str().unwrap().to_owned();
    let short = &id[..8];
    for name in [&id, short] {
        let args = ["snapshot", "volume", "evil", "--source", name];
        ran(sandbox.on_second_host().args(args)).exits(0);
    }
    let whose = |name: &str| sandbox.recover(["cat", name, "whose"]);
    assert_eq!(whose(&id).exits(0).stdout, "good");
    assert_eq!(whose(&id[..12]).exits(0).stdout, "good");
    whose(short).exits(2).says("@latest for the source");
    assert_eq!(whose(&format!("{short}@latest")).exits(0).stdout, "evil");
    assert_eq!(whose(&format!("{id}@latest")).exits(0).stdout, "evil");
    // Nor when the snapshot itself cannot be read any more.
    let root = sandbox.path("repository/snapshots").join(&id);
    fs::remove_file(&root).unwrap();
    fs::write(&root, "damaged").unwrap();
    assert_eq!(whose(&id).exits(4).stdout, "");
    assert_eq!(whose(short).exits(2).stdout, "");
}

#[test]
fn lists_are_by_source_and_host_with_the_last_of_each() {
    let sandbox = two_hosts();
    days(&sandbox, 3, 0);
    days_of_second(&sandbox, 2, false);
    let list = |args: &[&str]| {
        let done = sandbox.run([&["--json", "snapshots"], args].concat());
        done.exits(0).json()
    };
    let newest = list(&["--last", "1"]);
    let newest = newest["snapshots"].as_array().unwrap();
    assert_eq!(newest.len(), 2);
    assert_ne!(newest[0]["signer"], newest[1]["signer"]);
    let groups = list(&["--group", "source,host", "--last", "2"]);
    let groups = groups["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 2);
    for group in groups {
        assert_eq!(group["source"], "tree");
        assert_eq!(group["snapshots"].as_array().unwrap().len(), 2);
    }
    assert!(groups.iter().any(|group| group["host"] == "web2"));
    let shown = sandbox
        .run(["snapshots", "--group", "host"])
        .exits(0)
        .stdout;
    assert!(shown.contains("host web2: 2 snapshots"), "{shown}");
    let one = list(&["--group", "source"]);
    assert_eq!(one["groups"][0]["snapshots"].as_array().unwrap().len(), 5);
    sandbox.run(["snapshots", "--last", "0"]).exits(2);
}
