//! Two hosts in one repository that give their sources the same name: what one of them stores neither replaces, nor
//! continues, nor passes for what the other has stored.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;

use chrono::TimeDelta;
use reprise_repository::{ObjectId, Snapshot};
use serde_json::Value;
use support::past::{PastSnapshot, days, forget, night, open, open_by, past, policy, take};
use support::{Sandbox, ran};

/// A repository in which `web2` writes as well.
fn two_hosts() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.add_second_host();
    sandbox
}

/// Daily snapshots of `tree` by the second host, each a little later than the first host's.
fn days_of_second(sandbox: &Sandbox, count: i64) -> Vec<ObjectId> {
    let repository = open_by(sandbox, "second");
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

#[test]
fn each_host_keeps_its_own_days_of_a_source() {
    let sandbox = two_hosts();
    let first = days(&sandbox, 6, 0);
    let second = days_of_second(&sandbox, 5);
    policy(&sandbox, "p.yaml", "{daily: 3}");
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
fn the_last_snapshot_of_a_host_is_not_forgotten_because_another_host_has_some() {
    let sandbox = two_hosts();
    days(&sandbox, 3, 0);
    let second = days_of_second(&sandbox, 1)[0].to_string();
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
        let done = ran(sandbox.on_second_host().args(args)).exits(0);
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
