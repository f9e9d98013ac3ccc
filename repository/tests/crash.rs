//! A run that dies at any storage operation: earlier snapshots stay whole, the next run succeeds and reuses
//! what was stored.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use reprise_repository::backend::faulty::{FaultyBackend, InjectedFault};
use reprise_repository::backend::memory::MemoryBackend;
use reprise_repository::{DataSubset, ErrorClass, Progress, VerifyDepth, VerifyOptions};
use support::{World, read_back, snapshot, tree};

const LARGE: usize = 3 << 20;

/// How many storage operations a whole run of `snapshot` needs on this storage.
fn operations_of_a_run(world: &World) -> u64 {
    let counter = Arc::new(FaultyBackend::new(
        world.storage.fork(),
        InjectedFault::Crash,
        u64::MAX,
    ));
    let repository = world.open(Arc::clone(&counter)).unwrap();
    snapshot(&repository, "second", &tree(2, LARGE)).unwrap();
    counter.operations()
}

fn assert_whole(world: &World, storage: &MemoryBackend, what: &str) {
    let repository = world.open(storage.clone()).unwrap();
    let options = VerifyOptions {
        depth: VerifyDepth::ReadData(DataSubset::All),
        snapshots: Vec::new(),
    };
    let report = repository.verify(&options, &Progress::default()).unwrap();
    assert!(report.findings.is_empty(), "{what}: {:?}", report.findings);
}

fn sweep(fault: InjectedFault) {
    let world = World::new();
    let first = tree(1, LARGE);
    snapshot(&world.repository(), "first", &first).unwrap();
    let operations = operations_of_a_run(&world);
    assert!(
        operations > 15,
        "{operations} operations are too few to mean anything"
    );
    let second = tree(2, LARGE);
    for operation in 0..operations {
        let what = format!("{fault:?} at operation {operation} of {operations}");
        let storage = world.storage.fork();
        let broken = FaultyBackend::new(storage.clone(), fault, operation);
        let result = world
            .open(broken)
            .and_then(|repository| snapshot(&repository, "second", &second));
        if let Err(error) = &result {
            assert_eq!(error.class(), ErrorClass::Failed, "{what}: {error:?}");
        }
        assert_whole(&world, &storage, &what);
        let repository = world.open(storage.clone()).unwrap();
        assert_eq!(read_back(&repository, "first").unwrap(), first, "{what}");
        let stored_before = storage.tamper(|objects| objects.len());
        let again = snapshot(&repository, "second", &second).unwrap();
        assert_eq!(read_back(&repository, "second").unwrap(), second, "{what}");
        assert_whole(&world, &storage, &what);
        // Every whole pack that the dead run left is used, not stored again.
        let left = stored_before.saturating_sub(world.storage.tamper(|objects| objects.len()));
        if left >= 2 {
            let full = 3 << 20;
            assert!(
                again.snapshot.root.added.plain_bytes < full,
                "{what}: nothing was reused"
            );
        }
    }
}

#[test]
fn a_crash_before_any_storage_operation_loses_nothing() {
    sweep(InjectedFault::Crash);
}

#[test]
fn a_crash_after_any_storage_operation_loses_nothing() {
    sweep(InjectedFault::CrashAfter);
}

#[test]
fn a_full_disk_at_any_put_is_named_and_loses_nothing() {
    sweep(InjectedFault::DiskFull);
}

#[test]
fn a_crash_during_init_leaves_no_half_made_repository() {
    use reprise_repository::{
        HostDirectory, InitOptions, Layout, Repository, generate_identity, repository_exists,
    };
    let directory = tempfile::tempdir().unwrap();
    let host = HostDirectory::new(directory.path());
    let options = InitOptions {
        recipients: vec![generate_identity("now").recipient],
        host_name: "host".to_owned(),
        now: support::now(),
        layout: Layout::default(),
        keeper: None,
        spare_keeper: None,
    };
    for operation in 0..6 {
        let storage = MemoryBackend::new();
        let broken = FaultyBackend::new(storage.clone(), InjectedFault::Crash, operation);
        let made = Repository::init(&broken, &host, &options).is_ok();
        assert_eq!(
            repository_exists(&storage).unwrap(),
            made,
            "operation {operation}"
        );
        if !made {
            Repository::init(&storage, &host, &options).unwrap();
        }
    }
}
