//! Repair mends what it can, puts the rest into quarantine, and deletes nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;

use reprise_repository::backend::ObjectKey;
use reprise_repository::backend::memory::MemoryBackend;
use reprise_repository::{
    DataSubset, Error, Progress, RepairOptions, RepairReport, Repository, VerifyDepth,
    VerifyOptions,
};
use support::garbage::{Time, forget, prune, take};
use support::keys::switch;
use support::{Tree, World, now, read_back, snapshot, tree};

fn options(from: Option<&Repository>) -> RepairOptions<'_> {
    RepairOptions {
        verify: everything(),
        other_copy: from,
        replace: false,
        apply_changes: true,
        by: "test".to_owned(),
        now: now(),
    }
}

fn everything() -> VerifyOptions {
    VerifyOptions {
        depth: VerifyDepth::ReadData(DataSubset::All),
        snapshots: Vec::new(),
    }
}

fn repair(world: &World, options: &RepairOptions<'_>) -> Result<RepairReport, Error> {
    let repository = world.repository();
    let keeper = repository.load_keeper(None, "repair")?;
    repository.repair(options, Some(&keeper), &Progress::default())
}

fn findings(world: &World) -> Vec<String> {
    let repository = world.repository();
    let report = repository
        .verify(&everything(), &Progress::default())
        .unwrap();
    report
        .findings
        .into_iter()
        .map(|found| found.object)
        .collect()
}

fn world() -> (World, Tree) {
    let world = World::new();
    let tree = tree(1, 1500 << 10);
    snapshot(&world.repository(), "source", &tree).unwrap();
    (world, tree)
}

fn all_keys(storage: &MemoryBackend) -> BTreeSet<ObjectKey> {
    storage.tamper(|objects| objects.keys().cloned().collect())
}

fn damage(storage: &MemoryBackend, key: &ObjectKey) {
    storage.tamper(|objects| objects.get_mut(key).unwrap()[100] ^= 1);
}

/// The pack with most bytes: it holds contents.
fn largest(world: &World) -> ObjectKey {
    let size = |key: &ObjectKey| world.storage.tamper(|objects| objects[key].len());
    world.keys("packs").into_iter().max_by_key(size).unwrap()
}

#[test]
fn a_plan_changes_nothing_and_a_sound_repository_needs_nothing() {
    let (world, _) = world();
    let before = all_keys(&world.storage);
    let report = repair(&world, &options(None)).unwrap();
    assert!(
        report.repaired.is_empty() && report.record.is_none(),
        "{report:?}"
    );
    damage(&world.storage, &largest(&world));
    let plan = RepairOptions {
        apply_changes: false,
        ..options(None)
    };
    let report = repair(&world, &plan).unwrap();
    assert_eq!(report.quarantined.len(), 1, "{report:?}");
    assert_eq!(report.degraded.len(), 1);
    assert_eq!(all_keys(&world.storage), before);
}

#[test]
fn a_lost_or_damaged_index_is_written_anew() {
    for lost in [true, false] {
        let (world, tree) = world();
        let fragment = world.keys("index").remove(0);
        match lost {
            true => drop(world.storage.tamper(|objects| objects.remove(&fragment))),
            false => damage(&world.storage, &fragment),
        }
        let report = repair(&world, &options(None)).unwrap();
        assert!(
            !report.repaired.is_empty() && report.degraded.is_empty(),
            "{report:?}"
        );
        assert_eq!(findings(&world), Vec::<String>::new());
        assert_eq!(read_back(&world.repository(), "source").unwrap(), tree);
        let again = snapshot(&world.repository(), "source", &tree).unwrap();
        assert!(again.snapshot.root.added.plain_bytes < 10_000);
    }
}

#[test]
fn without_another_copy_the_next_snapshot_makes_the_hurt_one_whole() {
    for missing in [true, false] {
        let (world, tree) = world();
        let pack = largest(&world);
        match missing {
            true => drop(world.storage.tamper(|objects| objects.remove(&pack))),
            false => damage(&world.storage, &pack),
        }
        let before = all_keys(&world.storage);
        let hurt = world.repository().find_snapshot("source").unwrap().id;
        let report = repair(&world, &options(None)).unwrap();
        assert_eq!(report.quarantined[0].object, pack.to_string());
        assert_eq!(report.degraded, [hurt]);
        assert!(
            all_keys(&world.storage).is_superset(&before),
            "something was deleted"
        );
        let degraded = world.repository().degraded_snapshots().unwrap();
        assert!(degraded.contains(&hurt));
        assert!(!findings(&world).is_empty());
        // The same content once more: what is in quarantine counts as unknown.
        let again = snapshot(&world.repository(), "source", &tree).unwrap();
        assert!(again.snapshot.root.added.plain_bytes > 500_000);
        assert!(world.repository().degraded_snapshots().unwrap().is_empty());
        assert_eq!(findings(&world), Vec::<String>::new());
        let id = hurt.to_string();
        assert_eq!(read_back(&world.repository(), &id).unwrap(), tree);
    }
}

#[test]
fn good_copies_come_from_another_repository() {
    for replace in [true, false] {
        let (world, tree) = world();
        let copy = MemoryBackend::new();
        world
            .repository()
            .copy_to(&copy, &Progress::default())
            .unwrap();
        let gone = world.keys("snapshots").remove(0);
        let pack = largest(&world);
        damage(&world.storage, &pack);
        damage(&world.storage, &gone);
        for key in world.keys("packs").into_iter().filter(|key| *key != pack) {
            world.storage.tamper(|objects| objects.remove(&key));
        }
        let from = world.open(copy).unwrap();
        let options = RepairOptions {
            replace,
            ..options(Some(&from))
        };
        let report = repair(&world, &options).unwrap();
        assert_eq!(report.unrepaired.is_empty(), replace, "{report:?}");
        assert_eq!(report.degraded.is_empty(), replace, "{report:?}");
        let names: Vec<&str> = report
            .quarantined
            .iter()
            .map(|q| q.object.as_str())
            .collect();
        match replace {
            true => {
                assert_eq!(names, Vec::<&str>::new());
                assert_eq!(findings(&world), Vec::<String>::new());
                assert_eq!(read_back(&world.repository(), "source").unwrap(), tree);
            }
            // A root's name cannot be given to other bytes; a pack's content gets another name.
            false => {
                assert_eq!(names, [pack.as_str(), gone.as_str()]);
                let again = snapshot(&world.repository(), "again", &tree).unwrap();
                assert!(again.snapshot.root.added.plain_bytes < 10_000);
                assert_eq!(read_back(&world.repository(), "again").unwrap(), tree);
            }
        }
    }
}

#[test]
fn nothing_is_taken_from_another_repository_than_a_copy() {
    let (world, _) = world();
    let other = World::new();
    let from = other.repository();
    let error = repair(&world, &options(Some(&from))).unwrap_err();
    assert!(matches!(error, Error::OtherRepository { .. }), "{error:?}");
}

#[test]
fn a_damaged_copy_is_not_believed() {
    let (world, _) = world();
    let copy = MemoryBackend::new();
    world
        .repository()
        .copy_to(&copy, &Progress::default())
        .unwrap();
    let pack = largest(&world);
    damage(&world.storage, &pack);
    damage(&copy, &pack);
    let from = world.open(copy).unwrap();
    let options = RepairOptions {
        replace: true,
        ..options(Some(&from))
    };
    let report = repair(&world, &options).unwrap();
    assert_eq!(report.quarantined[0].object, pack.to_string());
    assert!(world.keys("packs").contains(&pack), "it was deleted");
}

#[test]
fn only_a_keeper_puts_something_into_quarantine() {
    let (world, _) = world();
    damage(&world.storage, &largest(&world));
    let repository = world.repository();
    let before = all_keys(&world.storage);
    let refused = repository.repair(&options(None), None, &Progress::default());
    // What was mended without one is told all the same.
    let refused = refused.unwrap();
    assert!(
        refused.needs_keeper && refused.record.is_none(),
        "{refused:?}"
    );
    assert_eq!(all_keys(&world.storage), before);
}

#[test]
fn a_repair_that_is_repeated_does_nothing_more() {
    let (world, _) = world();
    damage(&world.storage, &largest(&world));
    repair(&world, &options(None)).unwrap();
    let before = all_keys(&world.storage);
    let report = repair(&world, &options(None)).unwrap();
    assert!(
        report.record.is_none() && report.repaired.is_empty(),
        "{report:?}"
    );
    assert_eq!(all_keys(&world.storage), before);
}

/// A repository with a copy of it.
fn world_with_copy() -> (World, Tree, MemoryBackend) {
    let (world, tree) = world();
    let copy = MemoryBackend::new();
    let copied = world.repository().copy_to(&copy, &Progress::default());
    assert!(copied.unwrap().not_copied.is_empty());
    (world, tree, copy)
}

#[test]
fn packs_that_were_lost_with_their_index_come_from_the_copy() {
    let (world, tree, copy) = world_with_copy();
    for directory in ["packs", "index"] {
        for key in world.keys(directory) {
            world.storage.tamper(|objects| objects.remove(&key));
        }
    }
    let from = world.open(copy.clone()).unwrap();
    let plan = RepairOptions {
        apply_changes: false,
        ..options(Some(&from))
    };
    let report = repair(&world, &plan).unwrap();
    assert!(!report.repaired.is_empty(), "{report:?}");
    assert!(world.keys("packs").is_empty());
    let report = repair(&world, &options(Some(&from))).unwrap();
    assert!(report.degraded.is_empty(), "{report:?}");
    assert_eq!(findings(&world), Vec::<String>::new());
    assert_eq!(read_back(&world.repository(), "source").unwrap(), tree);
    let again = snapshot(&world.repository(), "source", &tree).unwrap();
    assert!(again.snapshot.root.added.plain_bytes < 10_000);
}

#[test]
fn what_hurts_nothing_stays_in_quarantine_until_it_is_good() {
    let (world, tree, copy) = world_with_copy();
    let pack = largest(&world);
    damage(&world.storage, &pack);
    repair(&world, &options(None)).unwrap();
    // Its content is stored again.
    snapshot(&world.repository(), "source", &tree).unwrap();
    let report = repair(&world, &options(None)).unwrap();
    assert!(report.degraded.is_empty(), "{report:?}");
    assert_eq!(report.quarantined[0].object, pack.to_string());
    assert_eq!(findings(&world), Vec::<String>::new());
    let from = world.open(copy).unwrap();
    let options = RepairOptions {
        replace: true,
        ..options(Some(&from))
    };
    let report = repair(&world, &options).unwrap();
    assert_eq!(report.quarantined, []);
    assert_eq!(findings(&world), Vec::<String>::new());
}

#[test]
fn what_cannot_be_mended_is_named_every_time() {
    for directory in ["snapshots", "tombstones", "keys", "sweeps"] {
        let (mut world, _) = world();
        let time = Time::of(&world.storage);
        let second = take(&world.repository(), "source", &tree(9, 1000));
        forget(&world.repository(), second).unwrap();
        let identity = switch(&world, "more");
        world.later.push(identity);
        prune(&world.host_at(world.storage.clone(), &time)).unwrap();
        let key = world.keys(directory).remove(0);
        damage(&world.storage, &key);
        for _ in 0..2 {
            let report = repair(&world, &options(None)).unwrap();
            let named = report.unrepaired.contains(&key.to_string());
            assert!(named, "{key} is not in {report:?}");
            assert!(findings(&world).contains(&key.to_string()), "{key}");
        }
    }
}

#[test]
fn a_snapshot_that_nobody_looked_at_stays_hurt() {
    let world = World::new();
    for (source, seed, bytes) in [("one", 1, 300_000), ("two", 50, 600_000)] {
        snapshot(&world.repository(), source, &tree(seed, bytes)).unwrap();
        damage(&world.storage, &largest(&world));
        repair(&world, &options(None)).unwrap();
    }
    let hurt = world.repository().degraded_snapshots().unwrap();
    assert_eq!(hurt.len(), 2);
    let one = world.repository().find_snapshot("one").unwrap();
    let only = RepairOptions {
        verify: VerifyOptions {
            snapshots: vec![one],
            ..everything()
        },
        ..options(None)
    };
    repair(&world, &only).unwrap();
    assert_eq!(world.repository().degraded_snapshots().unwrap(), hurt);
}

#[test]
fn what_came_from_the_copy_once_is_not_stored_again() {
    let (world, tree, copy) = world_with_copy();
    damage(&world.storage, &largest(&world));
    let from = world.open(copy).unwrap();
    repair(&world, &options(Some(&from))).unwrap();
    let before = all_keys(&world.storage);
    let report = repair(&world, &options(Some(&from))).unwrap();
    assert_eq!(report.repaired, []);
    assert!(report.unrepaired.is_empty(), "{report:?}");
    assert_eq!(all_keys(&world.storage), before);
    assert_eq!(read_back(&world.repository(), "source").unwrap(), tree);
}
