//! What tests of garbage collection share: a clock that stands still, and storage that does something in between.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use reprise_repository::backend::memory::MemoryBackend;
use reprise_repository::backend::{
    Backend, BackendResult, Capabilities, ObjectInfo, ObjectKey, WriteVerification,
};
use reprise_repository::{
    Clock, DataSubset, Error, ObjectId, Progress, PruneOptions, PrunePlan, PruneReport,
    RepairOptions, Repository, TombstoneMetadata, VerifyDepth, VerifyFinding, VerifyOptions,
};

use super::{Tree, World, incompressible_bytes, now, snapshot};

/// The grace period in these tests.
pub(crate) fn grace() -> TimeDelta {
    TimeDelta::hours(24)
}

/// Time that only tests move: that of this machine and that of a storage.
#[derive(Debug, Clone)]
pub(crate) struct Time {
    passed: Arc<Mutex<Duration>>,
    storage: MemoryBackend,
}

impl Time {
    pub(crate) fn of(storage: &MemoryBackend) -> Self {
        storage.set_clock(now());
        Self {
            passed: Arc::default(),
            storage: storage.clone(),
        }
    }

    pub(crate) fn pass(&self, time: TimeDelta) {
        let mut passed = self.passed.lock().unwrap();
        *passed += time.to_std().unwrap();
        self.storage
            .set_clock(now() + TimeDelta::from_std(*passed).unwrap());
    }
}

impl Clock for Time {
    fn wall_time(&self) -> DateTime<Utc> {
        now() + TimeDelta::from_std(*self.passed.lock().unwrap()).unwrap()
    }

    fn monotonic_time(&self) -> Duration {
        *self.passed.lock().unwrap()
    }

    fn is_real_time(&self) -> bool {
        false
    }
}

impl World {
    /// Opens without a recovery identity, as hosts do, at a time of its own.
    pub(crate) fn host_at(&self, backend: impl Backend + 'static, time: &Time) -> Repository {
        self.open_at(backend, Arc::new(time.clone()), false)
    }
}

/// Files of which some are in every tree of a family, and some in none but this.
pub(crate) fn small_tree(family: u64, seed: u64) -> Tree {
    let mut tree: Tree = (0..4)
        .map(|n| {
            (
                format!("same{n}"),
                incompressible_bytes(300 + n * 40, family * 1000 + n as u64),
            )
        })
        .collect();
    tree.insert(
        "own".to_owned(),
        incompressible_bytes(900, seed + 1_000_000),
    );
    tree
}

pub(crate) fn options() -> PruneOptions {
    PruneOptions {
        dry_run: false,
        grace: grace(),
        max_repack: None,
        repack_below: 50,
        host: "pruner".to_owned(),
        keeper_file: None,
    }
}

/// A prune, with its plan.
pub(crate) fn prune_with(
    repository: &Repository,
    options: &PruneOptions,
) -> Result<(PrunePlan, PruneReport), Error> {
    let mut plan = PrunePlan::default();
    let report = repository.prune(options, &Progress::default(), |shown| plan = shown.clone())?;
    Ok((plan, report))
}

pub(crate) fn prune(repository: &Repository) -> Result<(PrunePlan, PruneReport), Error> {
    prune_with(repository, &options())
}

pub(crate) fn dry_run(repository: &Repository) -> PrunePlan {
    let options = PruneOptions {
        dry_run: true,
        ..options()
    };
    prune_with(repository, &options).unwrap().0
}

/// Another storage that is the same, two hours later, and its time.
pub(crate) fn fork(world: &World) -> (MemoryBackend, Time) {
    let storage = world.storage.fork();
    let time = Time::of(&storage);
    time.pass(TimeDelta::hours(2));
    (storage, time)
}

pub(crate) fn why() -> TombstoneMetadata {
    TombstoneMetadata {
        at: now(),
        by: "ada@host".to_owned(),
        reason: "a test".to_owned(),
        policy: None,
        program: "reprise-test".to_owned(),
    }
}

pub(crate) fn forget(repository: &Repository, id: ObjectId) -> Result<(), Error> {
    let keeper = repository.load_keeper(None, "forget")?;
    repository
        .forget_snapshots(&keeper, &[id], &why())
        .map(drop)
}

pub(crate) fn unforget(repository: &Repository, id: ObjectId) -> Result<(), Error> {
    let keeper = repository.load_keeper(None, "bring back")?;
    repository
        .unforget_snapshots(&keeper, &[id], &why())
        .map(drop)
}

/// Prunes until nothing is left to be done; time passes in between.
pub(crate) fn prune_to_the_end(world: &World, storage: &MemoryBackend, time: &Time) {
    for _ in 0..4 {
        prune(&world.host_at(storage.clone(), time)).unwrap();
        time.pass(grace() + TimeDelta::hours(1));
    }
    let plan = dry_run(&world.host_at(storage.clone(), time));
    let left = (
        plan.dead_packs,
        plan.repacked_packs,
        plan.swept_packs,
        plan.forgotten,
    );
    assert_eq!(left, (0, 0, 0, 0), "{plan:?}");
    assert_eq!(plan.waiting, [], "{plan:?}");
}

pub(crate) fn findings(repository: &Repository) -> Vec<VerifyFinding> {
    let options = VerifyOptions {
        depth: VerifyDepth::ReadData(DataSubset::All),
        snapshots: Vec::new(),
    };
    let report = repository.verify(&options, &Progress::default()).unwrap();
    report.findings
}

/// Every operation is tried where more seeds are asked for; otherwise every third.
#[expect(
    clippy::disallowed_methods,
    reason = "whoever runs the tests says how long"
)]
pub(crate) fn stride() -> usize {
    if std::env::var_os("REPRISE_TEST_SEEDS").is_some() {
        1
    } else {
        3
    }
}

/// Takes a snapshot and says which it is.
pub(crate) fn take(repository: &Repository, source: &str, tree: &Tree) -> ObjectId {
    snapshot(repository, source, tree).unwrap().snapshot.id
}

type Then = Box<dyn FnOnce() + Send>;

/// Does something before its n-th operation (counted from 0).
pub(crate) struct Hooked {
    inner: MemoryBackend,
    at: u64,
    operations: AtomicU64,
    then: Mutex<Option<Then>>,
}

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooked").finish_non_exhaustive()
    }
}

impl Hooked {
    pub(crate) fn new(inner: MemoryBackend, at: u64, then: impl FnOnce() + Send + 'static) -> Self {
        Self {
            inner,
            at,
            operations: AtomicU64::new(0),
            then: Mutex::new(Some(Box::new(then))),
        }
    }

    pub(crate) fn operations(&self) -> u64 {
        self.operations.load(Ordering::SeqCst)
    }

    fn step(&self) -> &MemoryBackend {
        if self.operations.fetch_add(1, Ordering::SeqCst) == self.at {
            let then = self.then.lock().unwrap().take();
            then.into_iter().for_each(|then| then());
        }
        &self.inner
    }
}

impl Backend for Hooked {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn capabilities(&self) -> Capabilities {
        // One after the other, so that operations have numbers.
        Capabilities {
            parallel_reads: 1,
            parallel_puts: 1,
            ..self.inner.capabilities()
        }
    }

    fn put(&self, key: &ObjectKey, parts: &[Bytes]) -> BackendResult<WriteVerification> {
        self.step().put(key, parts)
    }

    fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> BackendResult<Vec<u8>> {
        self.step().get(key, range)
    }

    fn size(&self, key: &ObjectKey) -> BackendResult<u64> {
        self.step().size(key)
    }

    fn list(&self, directory: &str) -> BackendResult<Vec<ObjectInfo>> {
        self.step().list(directory)
    }

    fn delete(&self, key: &ObjectKey) -> BackendResult<()> {
        self.step().delete(key)
    }
}

/// A repair that reads no data and has no other copy.
pub(crate) fn looking() -> RepairOptions<'static> {
    RepairOptions {
        verify: VerifyOptions {
            depth: VerifyDepth::Structure,
            snapshots: Vec::new(),
        },
        other_copy: None,
        replace: false,
        apply_changes: true,
        by: "ada@host".to_owned(),
        now: now(),
    }
}
