//! What a host that was broken into stores never makes garbage of what is good.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use chrono::TimeDelta;
use reprise_repository::backend::{Backend, ObjectKey};
use reprise_repository::testing::CompromisedHost;
use reprise_repository::{ObjectId, Progress, PruneOptions};
use support::garbage::findings;
use support::{World, read_back, snapshot, tree};

/// Collects garbage without waiting for anything, several times.
fn prune(world: &World) {
    for _ in 0..3 {
        let options = PruneOptions {
            dry_run: false,
            grace: TimeDelta::zero(),
            max_repack: None,
            repack_below: 50,
            host: "sweeper".to_owned(),
            keeper_file: None,
        };
        let world = world.repository();
        world.prune(&options, &Progress::default(), |_| ()).unwrap();
    }
}

fn packs(world: &World) -> Vec<ObjectId> {
    let keys = world.keys("packs");
    keys.iter().map(|key| key.name().parse().unwrap()).collect()
}

#[test]
fn a_pack_that_claims_the_segments_of_a_good_one_does_not_replace_it() {
    let world = World::new();
    let files = tree(1, 300 << 10);
    snapshot(&world.repository(), "source", &files).unwrap();
    let thief = CompromisedHost::new(world.repository());
    let good = packs(&world);
    for pack in &good {
        thief.put_twin_pack(pack).unwrap();
    }
    prune(&world);
    let kept = packs(&world);
    assert!(good.iter().all(|pack| kept.contains(pack)), "{kept:?}");
    assert_eq!(read_back(&world.repository(), "source").unwrap(), files);
}

#[test]
fn poisoned_chunks_and_slandered_packs_make_nothing_garbage() {
    let world = World::new();
    let files = tree(1, 300 << 10);
    let made = snapshot(&world.repository(), "source", &files).unwrap();
    let good = packs(&world);
    let thief = CompromisedHost::new(world.repository());
    thief.put_poisoned_pack(&made.snapshot, 0).unwrap();
    thief.put_poisoned_pack(&made.snapshot, 5).unwrap();
    for pack in &good {
        thief.put_false_fragment(pack).unwrap();
    }
    assert_eq!(read_back(&world.repository(), "source").unwrap(), files);
    prune(&world);
    assert_eq!(read_back(&world.repository(), "source").unwrap(), files);
}

/// Whatever is under any directory, everything comes back, another snapshot is taken, and `verify` names it.
fn is_named_and_harmless(put: impl Fn(&World, &str) -> Option<ObjectKey>, directories: &[&str]) {
    for directory in directories {
        let world = World::new();
        let files = tree(1, 30 << 10);
        snapshot(&world.repository(), "source", &files).unwrap();
        let Some(key) = put(&world, directory) else {
            continue;
        };
        let named: Vec<String> = findings(&world.repository())
            .into_iter()
            .map(|found| found.object)
            .collect();
        let id = key.name().rsplit('.').next().unwrap();
        let is_named = named.iter().any(|object| object.contains(id));
        assert!(is_named, "{key} is not in {named:?}");
        assert_eq!(read_back(&world.repository(), "source").unwrap(), files);
        snapshot(&world.repository(), "again", &files).unwrap_or_else(|e| panic!("{key}: {e}"));
        assert_eq!(read_back(&world.repository(), "again").unwrap(), files);
        if !["snapshots", "tombstones"].contains(directory) {
            prune(&world);
        }
    }
}

const FOLDERS: [&str; 10] = [
    "keys",
    "snapshots",
    "index",
    "packs",
    "logs",
    "tombstones",
    "leases",
    "sweeps",
    "quarantine",
    "replaced",
];

#[test]
fn what_claims_to_be_of_a_newer_version_and_is_signed_by_nobody_is_named_and_harmless() {
    is_named_and_harmless(
        |world, directory| {
            let mut bytes = b"{\"reprise\":2,\"kind\":\"new\"}\nbody".to_vec();
            if directory == "packs" {
                let length = bytes.len();
                bytes.extend_from_slice(format!("reprise1{length:08x}").as_bytes());
            }
            let id = ObjectId::from_content(&bytes).to_string();
            let key = match directory {
                "packs" => format!("packs/{}/{id}", &id[..2]),
                "logs" => format!("logs/{id}/0000000000000001.{id}"),
                directory => format!("{directory}/{id}"),
            };
            let key = ObjectKey::new(key).unwrap();
            world.storage.put(&key, &[bytes.into()]).unwrap();
            Some(key)
        },
        &FOLDERS,
    );
}

#[test]
fn what_a_stranger_alone_can_open_is_named_and_keeps_nobody_from_restoring() {
    is_named_and_harmless(
        |world, directory| {
            Some(
                CompromisedHost::new(world.repository())
                    .put_unreadable_record(directory)
                    .unwrap(),
            )
        },
        &["snapshots", "index", "leases", "tombstones"],
    );
    let world = World::new();
    let files = tree(1, 30 << 10);
    snapshot(&world.repository(), "source", &files).unwrap();
    let key = CompromisedHost::new(world.repository())
        .put_unreadable_record("sweeps")
        .unwrap();
    let named = findings(&world.repository());
    assert!(named.iter().any(|found| found.object == key.as_str()));
    assert_eq!(read_back(&world.repository(), "source").unwrap(), files);
    // It may say what is about to be deleted: nobody relies on anything until its signer is revoked.
    assert!(snapshot(&world.repository(), "again", &files).is_err());
}

#[test]
fn what_stands_under_a_name_that_no_object_has_is_named_and_counts_for_nothing() {
    let is_alone = |world: &World| {
        let repository = world.repository();
        let (snapshots, _) = repository.all_snapshots_lossy().unwrap();
        let names: Vec<_> = snapshots.iter().map(|s| s.root.source.clone()).collect();
        let mut once = names.clone();
        once.dedup();
        assert_eq!(names, once);
        let id = snapshots[0].id.to_string();
        assert_eq!(repository.find_snapshot(&id).unwrap().id, snapshots[0].id);
    };
    for directory in FOLDERS {
        is_named_and_harmless(
            |world, _| {
                let time = support::garbage::Time::of(&world.storage);
                support::garbage::prune(&world.host_at(world.storage.clone(), &time)).unwrap();
                let good = world.keys(directory).into_iter().next();
                let bytes = good.as_ref().map_or(b"rubbish".to_vec(), |key| {
                    world.storage.get(key, None).unwrap()
                });
                let name = match &good {
                    Some(key) => key.name().to_owned(),
                    None => ObjectId::from_content(&bytes).to_string(),
                };
                let key = ObjectKey::new(format!("{directory}/zz/{name}")).unwrap();
                world.storage.put(&key, &[bytes.into()]).unwrap();
                is_alone(world);
                Some(key)
            },
            &[directory],
        );
        is_named_and_harmless(
            |world, directory| {
                let key = ObjectKey::new(format!("{directory}/foo")).unwrap();
                world
                    .storage
                    .put(&key, &[b"rubbish".to_vec().into()])
                    .unwrap();
                is_alone(world);
                Some(key)
            },
            &[directory],
        );
    }
}
