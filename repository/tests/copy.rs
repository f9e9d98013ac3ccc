//! Copies: whole wherever they are interrupted, and never of what is damaged.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use chrono::TimeDelta;
use reprise_repository::backend::faulty::{FaultyBackend, InjectedFault};
use reprise_repository::backend::memory::MemoryBackend;
use reprise_repository::backend::{Backend, ObjectKey};
use reprise_repository::{
    DataSubset, Error, InitOptions, Layout, Progress, Repository, VerifyDepth, VerifyOptions,
    generate_identity,
};
use support::garbage::{Time, grace, prune};
use support::{World, now, read_back, snapshot, tree};

const LARGE: usize = 400 << 10;

fn findings(repository: &Repository) -> Vec<reprise_repository::VerifyFinding> {
    let options = VerifyOptions {
        depth: VerifyDepth::ReadData(DataSubset::All),
        snapshots: Vec::new(),
    };
    repository
        .verify(&options, &Progress::default())
        .unwrap()
        .findings
}

/// Opens a copy as another host would, to which the place is new.
fn opened(world: &World, copy: &MemoryBackend) -> Repository {
    let repository = world.open(copy.clone()).unwrap();
    assert_eq!(findings(&repository), []);
    repository
}

#[test]
fn a_copy_that_dies_anywhere_is_whole_so_far_and_is_continued() {
    let world = World::new();
    for (n, source) in (1..).zip(["first", "second"]) {
        snapshot(&world.repository(), source, &tree(n, LARGE)).unwrap();
    }
    let source = world.repository();
    let counter = FaultyBackend::new(MemoryBackend::new(), InjectedFault::Crash, u64::MAX);
    source.copy_to(&counter, &Progress::default()).unwrap();
    let operations = counter.operations();
    assert!(operations > 10, "{operations} are too few to mean anything");
    for fault in [
        InjectedFault::Crash,
        InjectedFault::CrashAfter,
        InjectedFault::DiskFull,
    ] {
        for operation in 0..operations {
            let copy = MemoryBackend::new();
            let broken = FaultyBackend::new(copy.clone(), fault, operation);
            let begun = source.copy_to(&broken, &Progress::default());
            // Not being able to tell the end of the lease is no failure.
            if fault != InjectedFault::DiskFull && operation + 3 < operations {
                assert!(begun.is_err(), "{fault:?} {operation}");
            }
            if reprise_repository::repository_exists(&copy).unwrap() {
                opened(&world, &copy);
            }
            let report = source.copy_to(&copy, &Progress::default()).unwrap();
            assert_eq!(report.not_copied, []);
            let copied = opened(&world, &copy);
            assert_eq!(read_back(&copied, "first").unwrap(), tree(1, LARGE));
            assert_eq!(read_back(&copied, "second").unwrap(), tree(2, LARGE));
        }
    }
}

/// A repository with two snapshots, of which the second one has a damaged pack, and that pack.
fn half_damaged() -> (World, ObjectKey) {
    let world = World::new();
    snapshot(&world.repository(), "first", &tree(1, LARGE)).unwrap();
    let before = world.keys("packs");
    snapshot(&world.repository(), "second", &tree(2, LARGE)).unwrap();
    let mut after = world.keys("packs").into_iter();
    let hurt = after.find(|key| !before.contains(key)).unwrap();
    world
        .storage
        .tamper(|objects| objects.get_mut(&hurt).unwrap()[1000] ^= 1);
    (world, hurt)
}

#[test]
fn a_source_that_stops_answering_is_not_taken_for_a_damaged_one() {
    let (world, _) = half_damaged();
    let counter = FaultyBackend::new(world.storage.clone(), InjectedFault::Crash, u64::MAX);
    let counter = Arc::new(counter);
    let source = world.open(Arc::clone(&counter)).unwrap();
    let opened = counter.operations();
    let copied = source.copy_to(&MemoryBackend::new(), &Progress::default());
    assert!(!copied.unwrap().not_copied.is_empty());
    for operation in opened..counter.operations() {
        let broken = FaultyBackend::new(world.storage.clone(), InjectedFault::Crash, operation);
        let source = world.open(broken).unwrap();
        let copied = source.copy_to(&MemoryBackend::new(), &Progress::default());
        // With its class and its hint, which only the backend's own error has.
        assert!(
            matches!(copied, Err(Error::Backend { .. })),
            "{operation}: {copied:?}"
        );
    }
}

#[test]
fn what_is_damaged_is_named_and_everything_else_is_copied() {
    let (world, hurt) = half_damaged();
    let copy = MemoryBackend::new();
    let report = world
        .repository()
        .copy_to(&copy, &Progress::default())
        .unwrap();
    assert_eq!(report.snapshots, 1);
    let named = |object: &str| {
        let left = &report.not_copied;
        left.iter().any(|left| left.object.starts_with(object))
    };
    assert!(named(hurt.as_str()) && named("snapshots/"), "{report:?}");
    let copied = opened(&world, &copy);
    assert_eq!(read_back(&copied, "first").unwrap(), tree(1, LARGE));
    assert!(read_back(&copied, "second").is_err());
}

#[test]
fn a_damaged_pack_keeps_no_other_from_being_copied_though_one_fragment_tells_of_all() {
    let world = World::new();
    let time = Time::of(&world.storage);
    snapshot(&world.repository(), "s0", &tree(0, LARGE / 8)).unwrap();
    // What all snapshots have in common.
    let shared = world.keys("packs");
    for n in 1..18 {
        snapshot(&world.repository(), &format!("s{n}"), &tree(n, LARGE / 8)).unwrap();
    }
    for _ in 0..2 {
        time.pass(grace() + TimeDelta::hours(25));
        prune(&world.host_at(world.storage.clone(), &time)).unwrap();
    }
    assert_eq!(world.keys("index").len(), 1);
    let mut packs = world.keys("packs").into_iter();
    let hurt = packs.find(|pack| !shared.contains(pack)).unwrap();
    world
        .storage
        .tamper(|objects| objects.get_mut(&hurt).unwrap()[1000] ^= 1);
    let copy = MemoryBackend::new();
    let fragments = || copy.list("index").unwrap().len();
    let mut told = 0;
    for round in 0..2 {
        let report = world.repository().copy_to(&copy, &Progress::default());
        let report = report.unwrap();
        let there = report.snapshots + report.snapshots_present;
        assert!(there > 0, "{report:?}");
        assert!(
            report
                .not_copied
                .iter()
                .any(|left| left.object == hurt.as_str())
        );
        assert!(round == 0 || report.snapshots == 0, "{report:?}");
        assert!(round == 0 || fragments() == told, "told of once only");
        told = fragments();
    }
    let copied = opened(&world, &copy);
    for snapshot in copied.snapshots().unwrap() {
        let n = snapshot.root.source[1..].parse().unwrap();
        assert_eq!(
            read_back(&copied, &snapshot.root.source).unwrap(),
            tree(n, LARGE / 8)
        );
    }
}

#[test]
fn where_only_the_description_is_lost_nothing_new_is_made_and_a_copy_brings_it_back() {
    let world = World::new();
    let files = tree(1, LARGE / 8);
    snapshot(&world.repository(), "source", &files).unwrap();
    let copy = MemoryBackend::new();
    world
        .repository()
        .copy_to(&copy, &Progress::default())
        .unwrap();
    let config = ObjectKey::new("reprise.json").unwrap();
    world.storage.delete(&config).unwrap();
    let options = InitOptions {
        recipients: vec![generate_identity("now").recipient],
        host_name: "host".to_owned(),
        now: now(),
        layout: Layout::default(),
        keeper: None,
        spare_keeper: None,
    };
    let error = Repository::init(&world.storage, &world.host, &options).unwrap_err();
    assert!(matches!(error, Error::MissingConfig { .. }), "{error}");
    assert!(error.hint().contains("copy --to"), "{}", error.hint());
    let back = opened(&world, &copy).copy_to(&world.storage, &Progress::default());
    assert_eq!(back.unwrap().not_copied, []);
    assert_eq!(read_back(&world.repository(), "source").unwrap(), files);
}
