//! Copies: whole wherever they are interrupted, and never of what is damaged.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use reprise_repository::backend::faulty::{Fault, FaultyBackend};
use reprise_repository::backend::memory::MemoryBackend;
use reprise_repository::{Depth, Progress, Repository, Share, VerifyOptions};
use support::{World, read_back, snapshot, tree};

const LARGE: usize = 400 << 10;

fn findings(repository: &Repository) -> Vec<reprise_repository::Finding> {
    let options = VerifyOptions {
        depth: Depth::ReadData(Share::All),
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
    let counter = FaultyBackend::new(MemoryBackend::new(), Fault::Crash, u64::MAX);
    source.copy_to(&counter, &Progress::default()).unwrap();
    let operations = counter.operations();
    assert!(operations > 10, "{operations} are too few to mean anything");
    for fault in [Fault::Crash, Fault::CrashAfter, Fault::DiskFull] {
        for operation in 0..operations {
            let copy = MemoryBackend::new();
            let broken = FaultyBackend::new(copy.clone(), fault, operation);
            let begun = source.copy_to(&broken, &Progress::default());
            if fault != Fault::DiskFull {
                assert!(begun.is_err(), "{fault:?} {operation}");
            }
            if reprise_repository::exists(&copy).unwrap() {
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

#[test]
fn what_is_damaged_is_named_and_everything_else_is_copied() {
    let world = World::new();
    snapshot(&world.repository(), "first", &tree(1, LARGE)).unwrap();
    let before = world.keys("packs");
    snapshot(&world.repository(), "second", &tree(2, LARGE)).unwrap();
    let after = world.keys("packs");
    let hurt = after.iter().find(|key| !before.contains(key)).unwrap();
    world
        .storage
        .tamper(|objects| objects.get_mut(hurt).unwrap()[1000] ^= 1);
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
