//! Any damage to any stored object is found and never becomes wrong data.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use reprise_repository::backend::ObjectKey;
use reprise_repository::backend::faulty::{FaultyBackend, InjectedFault};
use reprise_repository::backend::memory::MemoryBackend;
use reprise_repository::{
    DataSubset, ErrorClass, OpenOptions, Progress, Repository, VerifyDepth, VerifyOptions,
    VerifyReport,
};
use support::{Tree, World, read_back, snapshot, tree};

/// Positions at which a bit is flipped: all of a small object, an even spread over a large one.
fn positions(length: usize) -> Vec<usize> {
    let step = (length / 150).max(1);
    let mut positions: Vec<_> = (0..length).step_by(step).collect();
    positions.extend(length.saturating_sub(40)..length);
    positions
}

fn verify(
    world: &World,
    storage: &MemoryBackend,
) -> Result<VerifyReport, reprise_repository::Error> {
    let repository = world.open(storage.clone())?;
    let options = VerifyOptions {
        depth: VerifyDepth::ReadData(DataSubset::All),
        snapshots: Vec::new(),
    };
    repository.verify(&options, &Progress::default())
}

/// Damage must be found, and reading must give the right data or an error.
fn assert_found(
    world: &World,
    storage: &MemoryBackend,
    key: &ObjectKey,
    what: &str,
    expected: &Tree,
) {
    match verify(world, storage) {
        Ok(report) => assert!(!report.findings.is_empty(), "{what} of {key} is not found"),
        Err(error) => {
            let class = error.class();
            let named = matches!(
                class,
                ErrorClass::Damaged | ErrorClass::Refused | ErrorClass::NotFound
            );
            assert!(
                named || key.as_str() == "reprise.json",
                "{what} of {key}: {error:?}"
            );
        }
    }
    let read = world
        .open(storage.clone())
        .and_then(|repository| read_back(&repository, "source"));
    if let Ok(read) = read {
        assert_eq!(&read, expected, "{what} of {key} gives wrong data");
    }
}

fn all_keys(storage: &MemoryBackend) -> Vec<ObjectKey> {
    storage.tamper(|objects| objects.keys().cloned().collect())
}

fn world() -> (World, Tree) {
    let world = World::new();
    let tree = tree(1, 200 << 10);
    snapshot(&world.repository(), "source", &tree).unwrap();
    (world, tree)
}

#[test]
fn every_flipped_bit_of_every_object_is_found_and_never_restored() {
    let (world, tree) = world();
    for key in all_keys(&world.storage) {
        let length = world.storage.tamper(|objects| objects[&key].len());
        for position in positions(length) {
            let storage = world.storage.fork();
            let bit = 1 << (position % 8);
            storage.tamper(|objects| objects.get_mut(&key).unwrap()[position] ^= bit);
            assert_found(
                &world,
                &storage,
                &key,
                &format!("a flip in byte {position}"),
                &tree,
            );
        }
    }
}

#[test]
fn every_truncation_and_loss_of_every_object_is_found_and_never_restored() {
    let (world, tree) = world();
    for key in all_keys(&world.storage) {
        let length = world.storage.tamper(|objects| objects[&key].len());
        for keep in [
            0,
            1,
            8,
            16,
            17,
            length / 3,
            length / 2,
            length - 16,
            length - 1,
        ] {
            let storage = world.storage.fork();
            storage.tamper(|objects| objects.get_mut(&key).unwrap().truncate(keep));
            assert_found(
                &world,
                &storage,
                &key,
                &format!("a cut after {keep} bytes"),
                &tree,
            );
        }
        let storage = world.storage.fork();
        storage.tamper(|objects| objects.get_mut(&key).unwrap().push(0));
        assert_found(&world, &storage, &key, "an appended byte", &tree);
    }
}

#[test]
fn a_damaged_pack_names_every_snapshot_and_path_that_it_hurts() {
    let world = World::new();
    let repository = world.repository();
    let mut files = tree(1, 1500 << 10);
    snapshot(&repository, "a", &files).unwrap();
    files.insert("added".to_owned(), support::incompressible_bytes(5000, 77));
    snapshot(&repository, "b", &files).unwrap();
    // The first pack holds the small files and most of the large one.
    let pack = world
        .keys("packs")
        .into_iter()
        .max_by_key(|key| world.storage.tamper(|objects| objects[key].len()));
    let pack = pack.unwrap();
    world
        .storage
        .tamper(|objects| objects.get_mut(&pack).unwrap()[100] ^= 1);
    let report = verify(&world, &world.storage).unwrap();
    let finding = report
        .findings
        .iter()
        .find(|finding| finding.object == pack.as_str())
        .unwrap();
    let mut sources: Vec<_> = finding
        .affected_snapshots
        .iter()
        .map(|hurt| hurt.source.as_str())
        .collect();
    sources.sort_unstable();
    assert_eq!(sources, ["a", "b"]);
    for hurt in &finding.affected_snapshots {
        assert!(
            hurt.whole || hurt.paths.contains(&"large".to_owned()),
            "{hurt:?}"
        );
        assert!(!hurt.paths.contains(&"added".to_owned()), "{hurt:?}");
    }
}

#[test]
fn a_lost_index_is_rebuilt_from_the_packs() {
    let (world, tree) = world();
    world
        .storage
        .tamper(|objects| objects.retain(|key, _| !key.as_str().starts_with("index/")));
    let repository = world.repository();
    assert_eq!(read_back(&repository, "source").unwrap(), tree);
    let report = verify(&world, &world.storage).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(report.notes.len(), 1, "{:?}", report.notes);
    // The next snapshot stores nothing again and writes the index anew.
    let again = snapshot(&repository, "again", &tree).unwrap();
    assert!(
        again.snapshot.root.added.plain_bytes < 5000,
        "{:?}",
        again.snapshot.root.added
    );
    assert_eq!(world.keys("index").len(), 1);
    assert!(verify(&world, &world.storage).unwrap().notes.is_empty());
}

#[test]
fn one_damaged_index_fragment_blocks_neither_reading_nor_writing() {
    let (world, tree) = world();
    let fragment = world.keys("index").remove(0);
    world
        .storage
        .tamper(|objects| objects.get_mut(&fragment).unwrap()[300] ^= 1);
    let repository = world.repository();
    assert_eq!(read_back(&repository, "source").unwrap(), tree);
    snapshot(&repository, "again", &tree).unwrap();
    assert_eq!(read_back(&world.repository(), "again").unwrap(), tree);
}

#[test]
fn a_chunk_that_is_stored_twice_survives_the_loss_of_one_copy() {
    let world = World::new();
    let tree = tree(1, 0);
    // Two runs that know nothing of each other store the same chunks in packs of their own.
    let other = world.storage.fork();
    snapshot(&world.repository(), "source", &tree).unwrap();
    snapshot(&world.open(other.clone()).unwrap(), "source", &tree).unwrap();
    let first = world.keys("packs").remove(0);
    let merged = other.tamper(|objects| objects.clone());
    world.storage.tamper(|objects| objects.extend(merged));
    assert_eq!(world.keys("packs").len(), 2);
    world
        .storage
        .tamper(|objects| objects.get_mut(&first).unwrap()[50] ^= 1);
    assert_eq!(read_back(&world.repository(), "source").unwrap(), tree);
    let report = verify(&world, &world.storage).unwrap();
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert!(
        report.findings[0].affected_snapshots.is_empty(),
        "{:?}",
        report.findings
    );
}

#[test]
fn verification_asks_for_the_same_whether_or_not_the_index_is_cached() {
    let (world, _) = world();
    let cache = tempfile::tempdir().unwrap();
    let operations = || {
        let backend = FaultyBackend::new(world.storage.clone(), InjectedFault::Crash, u64::MAX);
        let backend = Arc::new(backend);
        let options = OpenOptions {
            host: world.host.clone(),
            identity_files: vec![world.identity.clone()],
            cache: Some(cache.path().to_owned()),
            memory: None,
            pinned_signers: Vec::new(),
        };
        let repository = Repository::open(Arc::clone(&backend) as _, &options).unwrap();
        let options = VerifyOptions {
            depth: VerifyDepth::Structure,
            snapshots: Vec::new(),
        };
        let report = repository.verify(&options, &Progress::default()).unwrap();
        assert_eq!(report.findings, []);
        backend.operations()
    };
    let (first, second) = (operations(), operations());
    assert_eq!(first, second);
}
