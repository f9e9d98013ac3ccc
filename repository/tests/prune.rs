//! Collecting garbage: what is kept comes back, what is not goes, and the known deaths of other tools.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use reprise_repository::backend::faulty::{FaultyBackend, InjectedFault};
use reprise_repository::backend::memory::MemoryBackend;
use reprise_repository::backend::{Backend, ObjectKey};
use reprise_repository::testing::CompromisedHost;
use reprise_repository::{
    Error, ErrorClass, KeyChange, NewLogSegment, ObjectId, OpenOptions, Progress, PruneOptions,
    Repository, SignerRole, SnapshotSummary, SnapshotWriter,
};
use support::garbage::{
    Hooked, Time, dry_run, findings, forget, fork, grace, looking, options, prune,
    prune_to_the_end, prune_with, small_tree, stride, take, unforget, why,
};
use support::keys::{Host, change};
use support::{World, now, read_back, read_back_one, snapshot, tree};

/// Stored bytes of all packs.
fn packed(storage: &MemoryBackend) -> u64 {
    let packs = storage.list("packs").unwrap();
    packs.iter().map(|info| info.size_bytes).sum()
}

fn count(storage: &MemoryBackend, directory: &str) -> usize {
    storage.list(directory).unwrap().len()
}

/// A repository with two snapshots, of which the second is forgotten.
struct Scene {
    world: World,
    time: Time,
    gone: ObjectId,
}

fn scene() -> Scene {
    let world = World::new();
    let time = Time::of(&world.storage);
    let repository = world.host_at(world.storage.clone(), &time);
    // The first one has what all share: the details of runs in which nothing happened.
    take(&repository, "kept", &small_tree(1, 2));
    let gone = take(&repository, "gone", &small_tree(7, 1));
    forget(&repository, gone).unwrap();
    time.pass(TimeDelta::hours(2));
    Scene { world, time, gone }
}

impl Scene {
    fn open(&self, storage: &MemoryBackend) -> reprise_repository::Repository {
        self.world.open(storage.clone()).unwrap()
    }

    fn assert_kept(&self, storage: &MemoryBackend, what: &str) {
        let repository = self.open(storage);
        assert_eq!(
            read_back(&repository, "kept").unwrap(),
            small_tree(1, 2),
            "{what}"
        );
        assert_eq!(findings(&repository), [], "{what}");
    }
}

#[test]
fn what_the_dry_run_says_is_won_and_everything_else_comes_back() {
    let world = World::new();
    let time = Time::of(&world.storage);
    let repository = world.host_at(world.storage.clone(), &time);
    let kept = tree(1, 300 << 10);
    take(&repository, "kept", &kept);
    let ids: Vec<_> = (2..6)
        .map(|n| take(&repository, &format!("s{n}"), &tree(n * 100, 300 << 10)))
        .collect();
    for id in ids {
        forget(&repository, id).unwrap();
    }
    time.pass(TimeDelta::hours(2));
    let objects = world.storage.tamper(|objects| objects.len());
    let planned = dry_run(&repository);
    assert_eq!(world.storage.tamper(|objects| objects.len()), objects);
    assert_eq!(
        (planned.dead_packs, planned.forgotten, planned.snapshots),
        (4, 4, 1)
    );
    let before = packed(&world.storage);
    let (plan, _) = prune(&repository).unwrap();
    assert_eq!(plan, planned);
    assert_eq!(packed(&world.storage), before);
    time.pass(grace() - TimeDelta::minutes(1));
    let (plan, _) = prune(&repository).unwrap();
    assert_eq!(plan.waiting[0].reason, "the grace period");
    assert_eq!(plan.waiting[0].bytes, planned.freed_later_bytes);
    assert_eq!(packed(&world.storage), before);
    time.pass(TimeDelta::minutes(2));
    let planned_now = dry_run(&repository);
    assert_eq!(planned_now.swept_bytes, planned.freed_later_bytes);
    let (_, report) = prune(&repository).unwrap();
    assert_eq!(report.bytes, planned.freed_later_bytes);
    assert_eq!(before - packed(&world.storage), planned.freed_later_bytes);
    assert_eq!(
        (report.packs, report.snapshots, report.still_needed_packs),
        (4, 4, 0)
    );
    let repository = world.repository();
    assert_eq!(read_back(&repository, "kept").unwrap(), kept);
    assert_eq!(findings(&repository), []);
    assert_eq!(count(&world.storage, "snapshots"), 1);
    prune_to_the_end(&world, &world.storage, &time);
}

#[test]
fn segments_of_mostly_dead_packs_are_copied_whole_without_a_data_identity() {
    let world = World::new();
    let time = Time::of(&world.storage);
    let repository = world.host_at(world.storage.clone(), &time);
    let mut files = tree(1, 700 << 10);
    let gone = take(&repository, "gone", &files);
    files.remove("large");
    let kept = take(&repository, "kept", &files);
    forget(&repository, gone).unwrap();
    time.pass(TimeDelta::hours(2));
    let unlimited = dry_run(&repository);
    assert_eq!(unlimited.repacked_packs, 1, "{unlimited:?}");
    let limited = PruneOptions {
        max_repack: Some(unlimited.copied_bytes - 1),
        ..options()
    };
    let limited = PruneOptions {
        dry_run: true,
        ..limited
    };
    assert_eq!(
        prune_with(&repository, &limited).unwrap().0.repacked_packs,
        0
    );
    let before = packed(&world.storage);
    let (_, report) = prune(&repository).unwrap();
    let added = packed(&world.storage) - before;
    assert_eq!((report.new_packs, report.new_bytes), (1, added));
    time.pass(grace() + TimeDelta::hours(1));
    let (_, swept) = prune(&repository).unwrap();
    assert_eq!((swept.packs, swept.still_needed_packs), (1, 0));
    // What it said, but for the directory of the new pack.
    let directory = report.new_bytes - unlimited.copied_bytes;
    assert_eq!(
        before - packed(&world.storage),
        unlimited.freed_later_bytes - directory
    );
    let repository = world.repository();
    assert_eq!(read_back(&repository, "kept").unwrap(), files);
    assert_eq!(findings(&repository), []);
    assert_eq!(repository.snapshots().unwrap()[0].id, kept);
    prune_to_the_end(&world, &world.storage, &time);
}

#[test]
fn a_prune_that_dies_at_any_operation_is_gone_on_with() {
    for (phase, fault) in [
        (1, InjectedFault::Crash),
        (1, InjectedFault::CrashAfter),
        (2, InjectedFault::Crash),
        (2, InjectedFault::CrashAfter),
    ] {
        let scene = scene();
        if phase == 2 {
            prune(
                &scene
                    .world
                    .host_at(scene.world.storage.clone(), &scene.time),
            )
            .unwrap();
        }
        let prepared = || {
            let (storage, time) = fork(&scene.world);
            if phase == 2 {
                time.pass(grace() + TimeDelta::hours(1));
            }
            (storage, time)
        };
        let (storage, time) = prepared();
        let counter = Arc::new(FaultyBackend::new(storage, fault, u64::MAX));
        let whole = scene.world.host_at(Arc::clone(&counter), &time);
        let opened = counter.operations();
        prune(&whole).unwrap();
        for operation in opened..counter.operations() {
            let what = format!("{fault:?} at operation {operation} of phase {phase}");
            let (storage, time) = prepared();
            let broken = FaultyBackend::new(storage.clone(), fault, operation);
            let broken = scene.world.host_at(broken, &time);
            // An end of the lease that is not told is no error.
            drop(prune(&broken));
            scene.assert_kept(&storage, &what);
            time.pass(TimeDelta::hours(2));
            prune_to_the_end(&scene.world, &storage, &time);
            scene.assert_kept(&storage, &what);
            assert_eq!(
                (count(&storage, "packs"), count(&storage, "index")),
                (1, 1),
                "{what}"
            );
        }
    }
}

/// Runs something completely at each operation of a prune that condemns, and of one that sweeps.
fn at_each_operation(
    what: &str,
    grace_now: TimeDelta,
    act: impl Fn(&Scene, &MemoryBackend, &Time) + Send + Sync + Copy + 'static,
    check: impl Fn(&Scene, &MemoryBackend, &Time, &str),
) {
    let scene = Arc::new(scene());
    let options = PruneOptions {
        grace: grace_now,
        ..options()
    };
    let (storage, time) = fork(&scene.world);
    let counter = Arc::new(Hooked::new(storage, u64::MAX, || {}));
    prune_with(&scene.world.host_at(Arc::clone(&counter), &time), &options).unwrap();
    for operation in (2..counter.operations()).step_by(stride()) {
        let what = format!("{what} at operation {operation}");
        let (storage, time) = fork(&scene.world);
        let (inside, also, at) = (Arc::clone(&scene), storage.clone(), time.clone());
        let hooked = Hooked::new(storage.clone(), operation, move || act(&inside, &also, &at));
        prune_with(&scene.world.host_at(hooked, &time), &options).unwrap();
        check(&scene, &storage, &time, &what);
        scene.assert_kept(&storage, &what);
        prune_to_the_end(&scene.world, &storage, &time);
        scene.assert_kept(&storage, &what);
        check(&scene, &storage, &time, &what);
    }
}

#[test]
fn a_snapshot_that_reuses_forgotten_chunks_while_a_prune_runs_is_whole() {
    at_each_operation(
        "a snapshot",
        TimeDelta::zero(),
        |scene, storage, time| {
            let repository = scene.world.host_at(storage.clone(), time);
            take(&repository, "again", &small_tree(7, 1));
        },
        |scene, storage, _, what| {
            let again = read_back(&scene.open(storage), "again");
            assert_eq!(again.unwrap(), small_tree(7, 1), "{what}");
        },
    );
}

#[test]
fn a_snapshot_forgotten_while_a_prune_runs_takes_nothing_with_it() {
    at_each_operation(
        "forget",
        TimeDelta::zero(),
        |scene, storage, time| {
            let repository = scene.world.host_at(storage.clone(), time);
            // What is forgotten meanwhile shares chunks with what is taken meanwhile.
            let other = take(&repository, "other", &small_tree(7, 3));
            take(&repository, "third", &small_tree(7, 3));
            forget(&repository, other).unwrap();
        },
        |scene, storage, _, what| {
            let third = read_back(&scene.open(storage), "third");
            assert_eq!(third.unwrap(), small_tree(7, 3), "{what}");
        },
    );
}

#[test]
fn what_is_brought_back_while_a_prune_runs_is_whole_or_said_to_be_late() {
    static BACK: Mutex<bool> = Mutex::new(false);
    at_each_operation(
        "unforget",
        TimeDelta::zero(),
        |scene, storage, time| {
            let repository = scene.world.host_at(storage.clone(), time);
            *BACK.lock().unwrap() = unforget(&repository, scene.gone).is_ok();
        },
        |scene, storage, _, what| {
            if *BACK.lock().unwrap() {
                let gone = read_back(&scene.open(storage), "gone");
                assert_eq!(gone.unwrap(), small_tree(7, 1), "{what}");
            }
        },
    );
}

#[test]
fn two_prunes_at_once_lose_nothing() {
    for grace in [TimeDelta::zero(), grace()] {
        at_each_operation(
            "another prune",
            grace,
            |scene, storage, time| {
                let now = PruneOptions {
                    grace: TimeDelta::zero(),
                    ..options()
                };
                prune_with(&scene.world.host_at(storage.clone(), time), &now).unwrap();
            },
            |_, _, _, _| {},
        );
    }
}

/// A run that goes on while others work.
fn late(repository: &Repository) -> SnapshotWriter {
    let (options, progress) = (support::options("late"), Arc::new(Progress::default()));
    repository.begin_snapshot(options, progress, None).unwrap()
}

#[test]
fn a_run_that_began_before_a_sweep_is_waited_for_and_keeps_what_it_relies_on() {
    let Scene { world, time, .. } = scene();
    let repository = world.host_at(world.storage.clone(), &time);
    let mut writer = late(&repository);
    let now_if_allowed = PruneOptions {
        grace: TimeDelta::zero(),
        ..options()
    };
    let (_, report) = prune_with(&repository, &now_if_allowed).unwrap();
    assert!(report.condemned.is_some());
    assert_eq!(
        report.packs, 0,
        "it relies on everything that was there when it began"
    );
    // It reuses chunks of the forgotten snapshot.
    for (name, content) in small_tree(7, 1) {
        writer
            .add_item(support::small_file(&name, content))
            .unwrap();
    }
    let committed = writer.finish(|_, _| Ok(summary())).unwrap();
    assert_eq!(committed.snapshot.root.added.chunks, 0, "it was all there");
    let (_, report) = prune_with(&repository, &now_if_allowed).unwrap();
    assert!(report.still_needed_packs > 0);
    let repository = world.repository();
    assert_eq!(read_back(&repository, "late").unwrap(), small_tree(7, 1));
    assert_eq!(findings(&repository), []);
    prune_to_the_end(&world, &world.storage, &time);
    assert_eq!(
        read_back(&world.repository(), "late").unwrap(),
        small_tree(7, 1)
    );
}

fn summary() -> SnapshotSummary {
    SnapshotSummary {
        data_time: now(),
        finished: now(),
        facts: std::collections::BTreeMap::new(),
        location: reprise_repository::RawText::from("memory"),
        warnings: Vec::new(),
    }
}

#[test]
fn a_run_that_slept_through_its_lease_and_a_sweep_commits_nothing() {
    let Scene { world, time, .. } = scene();
    let repository = world.host_at(world.storage.clone(), &time);
    let mut writer = late(&repository);
    prune(&repository).unwrap();
    time.pass(grace() + TimeDelta::hours(2));
    assert!(prune(&repository).unwrap().1.packs > 0);
    // Even when nothing tells of the sweep any more.
    time.pass(TimeDelta::days(9));
    prune(&repository).unwrap();
    assert_eq!(count(&world.storage, "sweeps"), 0);
    for (name, content) in small_tree(7, 1) {
        writer
            .add_item(support::small_file(&name, content))
            .unwrap();
    }
    let error = writer.finish(|_, _| Ok(summary())).unwrap_err();
    assert!(
        matches!(error, Error::ObjectSwept { root: None, .. }),
        "{error:?}"
    );
    assert_eq!(count(&world.storage, "snapshots"), 1);
}

#[test]
fn a_run_that_died_is_waited_for_until_its_lease_is_over() {
    let Scene { world, time, .. } = scene();
    let repository = world.host_at(world.storage.clone(), &time);
    let broken = FaultyBackend::new(world.storage.clone(), InjectedFault::Crash, 8);
    let died = snapshot(&world.host_at(broken, &time), "died", &small_tree(7, 1));
    assert!(died.is_err());
    let now_if_allowed = PruneOptions {
        grace: TimeDelta::zero(),
        ..options()
    };
    let (_, report) = prune_with(&repository, &now_if_allowed).unwrap();
    assert_eq!(report.packs, 0);
    let plan = dry_run(&repository);
    assert_eq!(plan.waiting[0].reason, "the snapshot running on host");
    time.pass(TimeDelta::minutes(61));
    let (_, report) = prune_with(&repository, &now_if_allowed).unwrap();
    assert!(report.packs > 0, "{report:?} {:?}", dry_run(&repository));
}

#[test]
fn an_unreadable_root_stops_a_prune_by_name_until_it_is_forgotten() {
    let Scene { world, time, .. } = scene();
    let repository = world.host_at(world.storage.clone(), &time);
    let bad = take(&repository, "bad", &small_tree(1, 5));
    time.pass(TimeDelta::hours(2));
    let key = ObjectKey::new(format!("snapshots/{bad}")).unwrap();
    world
        .storage
        .tamper(|objects| objects.get_mut(&key).unwrap()[700] ^= 1);
    let before = world
        .storage
        .tamper(|objects| objects.keys().cloned().collect::<Vec<_>>());
    let error = prune(&repository).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Damaged);
    assert!(error.to_string().contains(key.as_str()), "{error}");
    let way_out = format!("reprise forget --unreadable {bad}");
    assert!(error.hint().contains(&way_out), "{}", error.hint());
    let after = world
        .storage
        .tamper(|objects| objects.keys().cloned().collect::<Vec<_>>());
    assert!(before.iter().all(|key| after.contains(key)));
    assert_eq!(count(&world.storage, "sweeps"), 0);
    forget(&repository, bad).unwrap();
    prune_to_the_end(&world, &world.storage, &time);
    assert_eq!(findings(&world.repository()), []);
    assert_eq!(
        read_back(&world.repository(), "kept").unwrap(),
        small_tree(1, 2)
    );
}

#[test]
fn what_a_newer_version_wrote_stops_a_prune_and_a_snapshot_that_cannot_know_it() {
    for directory in [
        "snapshots",
        "sweeps",
        "leases",
        "tombstones",
        "packs",
        "index",
    ] {
        let Scene { world, time, .. } = scene();
        let repository = world.host_at(world.storage.clone(), &time);
        CompromisedHost::new(world.repository())
            .put_newer_record(directory)
            .unwrap();
        let before = world
            .storage
            .tamper(|objects| objects.keys().cloned().collect::<Vec<_>>());
        let error = prune(&repository).unwrap_err();
        assert!(
            matches!(error, Error::UnsupportedFormat { .. }),
            "{directory}: {error:?}"
        );
        let after = world
            .storage
            .tamper(|objects| objects.keys().cloned().collect::<Vec<_>>());
        assert!(before.iter().all(|key| after.contains(key)), "{directory}");
        if directory == "sweeps" {
            let error = snapshot(&repository, "new", &small_tree(1, 9)).unwrap_err();
            assert!(
                matches!(error, Error::UnsupportedFormat { .. }),
                "{error:?}"
            );
        }
    }
}

#[test]
fn many_small_fragments_become_one_and_no_key_is_rewritten() {
    let world = World::new();
    let time = Time::of(&world.storage);
    let repository = world.host_at(world.storage.clone(), &time);
    for n in 0..20 {
        take(&repository, "often", &small_tree(1, n));
    }
    time.pass(TimeDelta::hours(2));
    assert_eq!(count(&world.storage, "index"), 20);
    let reader = world.repository().content_reader().unwrap();
    let (plan, report) = prune(&repository).unwrap();
    assert_eq!((plan.fragments_replaced, report.new_fragments), (20, 1));
    assert_eq!(count(&world.storage, "index"), 21);
    // While they wait, they are not merged once more.
    let (plan, _) = prune(&repository).unwrap();
    assert_eq!(plan.fragments_replaced, 0);
    time.pass(grace() + TimeDelta::hours(1));
    assert_eq!(prune(&repository).unwrap().1.fragments, 20);
    assert_eq!(count(&world.storage, "index"), 1);
    let repository = world.repository();
    assert_eq!(read_back(&repository, "often").unwrap().len(), 5);
    assert_eq!(findings(&repository), []);
    drop(reader);
}

#[test]
fn a_reader_that_opened_before_a_sweep_reads_the_index_again() {
    let world = World::new();
    let time = Time::of(&world.storage);
    let host = world.host_at(world.storage.clone(), &time);
    let mut files = tree(1, 700 << 10);
    let gone = take(&host, "gone", &files);
    files.remove("large");
    take(&host, "kept", &files);
    forget(&host, gone).unwrap();
    time.pass(TimeDelta::hours(2));
    let repository = world.repository();
    let kept = repository.find_snapshot("kept").unwrap();
    let reader = repository.content_reader().unwrap();
    prune(&host).unwrap();
    time.pass(grace() + TimeDelta::hours(1));
    assert_eq!(prune(&host).unwrap().1.packs, 1);
    let mut entries = reader.snapshot_reader(&kept).entries();
    let mut count = 0;
    while let Some((entry, chunks)) = entries.next_entry().unwrap() {
        for id in chunks {
            let class = reprise_repository::RecipientClass::Data;
            let chunk = reader.read_chunk(&id, class, &"a test").unwrap();
            assert_eq!(chunk, files[&entry.path.display()]);
        }
        count += 1;
    }
    assert_eq!(count, files.len());
}

#[test]
fn locked_objects_are_counted_and_left_for_a_later_run() {
    let Scene { world, time, .. } = scene();
    prune(&world.host_at(world.storage.clone(), &time)).unwrap();
    time.pass(grace() + TimeDelta::hours(1));
    let locked = support::locked::Locked::new(world.storage.clone(), "packs/");
    let (_, report) = prune(&world.host_at(locked, &time)).unwrap();
    assert_eq!((report.packs, report.locked.len()), (0, 1), "{report:?}");
    let before = packed(&world.storage);
    prune_to_the_end(&world, &world.storage, &time);
    assert!(packed(&world.storage) < before);
    assert_eq!(
        read_back(&world.repository(), "kept").unwrap(),
        small_tree(1, 2)
    );
}

/// A copy of a repository in which a snapshot is condemned whose chunks a newer one, which is not copied yet, uses
/// again. Returns both, and the newer one.
fn condemned_copy(world: &World) -> (MemoryBackend, MemoryBackend, ObjectId) {
    let (home, away) = (world.storage.fork(), MemoryBackend::default());
    let time = Time::of(&away);
    let repository = world.host_at(home.clone(), &time);
    let gone = take(&repository, "gone", &small_tree(7, 1));
    let copy = || repository.copy_to(&away, &Progress::default()).unwrap();
    copy();
    forget(&repository, gone).unwrap();
    copy();
    time.pass(TimeDelta::hours(2));
    let (plan, _) = prune(&world.host_at(away.clone(), &time)).unwrap();
    assert!(plan.dead_packs > 0, "{plan:?}");
    let again = take(&repository, "again", &small_tree(7, 2));
    (home, away, again)
}

#[test]
fn a_copy_beside_a_prune_of_its_destination_is_whole_or_fails() {
    let world = Arc::new(World::new());
    let (home, condemned, again) = condemned_copy(&world);
    let later = |away: &MemoryBackend| {
        let time = Time::of(away);
        time.pass(grace() + TimeDelta::hours(4));
        time
    };
    let counter = Hooked::new(condemned.fork(), u64::MAX, || {});
    let time = later(&condemned);
    let copy = |target: &dyn Backend, time: &Time| {
        let repository = world.host_at(home.clone(), time);
        repository.copy_to(target, &Progress::default())
    };
    copy(&counter, &time).unwrap();
    let mut swept = 0;
    for operation in 0..counter.operations() {
        let what = format!("a prune at operation {operation}");
        let away = condemned.fork();
        let time = later(&away);
        let (inside, also, at) = (Arc::clone(&world), away.clone(), time.clone());
        let packs = away.list("packs").unwrap().len();
        let hooked = Hooked::new(away.clone(), operation, move || {
            prune(&inside.host_at(also, &at)).unwrap();
        });
        let whole = |what: &str| {
            let repository = world.open(away.clone()).unwrap();
            let (snapshots, _) = repository.snapshots_lossy().unwrap();
            let snapshot = snapshots.iter().find(|snapshot| snapshot.id == again);
            let read = read_back_one(&repository, snapshot.unwrap()).unwrap();
            assert_eq!(read, small_tree(7, 2), "{what}");
        };
        let copied = copy(&hooked, &time);
        swept += usize::from(away.list("packs").unwrap().len() < packs + 1);
        if copied.is_ok_and(|report| report.not_copied.is_empty()) {
            whole(&what);
        }
        // A prune that said what it deletes may be slow.
        time.pass(TimeDelta::hours(25));
        let report = copy(&away, &time).unwrap();
        assert_eq!(report.not_copied, [], "{what}");
        whole(&format!("{what}, copied once more"));
    }
    assert!(swept > 0, "nothing was ever deleted");
}

#[test]
fn a_snapshot_that_is_forgotten_again_has_the_whole_grace_period_again() {
    let Scene { world, time, gone } = scene();
    let repository = world.host_at(world.storage.clone(), &time);
    assert!(prune(&repository).unwrap().1.condemned.is_some());
    unforget(&repository, gone).unwrap();
    time.pass(grace() - TimeDelta::minutes(10));
    forget(&repository, gone).unwrap();
    time.pass(TimeDelta::minutes(20));
    let planned = dry_run(&repository);
    let reason = "the grace period of snapshots forgotten after the sweep began: 1";
    assert_eq!(planned.waiting[0].reason, reason);
    assert_eq!(planned.swept_packs, 0);
    let (_, report) = prune(&repository).unwrap();
    assert_eq!((report.snapshots, report.packs), (0, 0));
    assert!(report.condemned.is_some());
    let also = world.storage.fork();
    let other = world.host_at(also.clone(), &Time::of(&also));
    unforget(&other, gone).unwrap();
    let back = read_back(&world.open(also).unwrap(), "gone").unwrap();
    assert_eq!(back, small_tree(7, 1));
    time.pass(grace() - TimeDelta::minutes(1));
    assert_eq!(prune(&repository).unwrap().1.snapshots, 0);
    time.pass(TimeDelta::minutes(2));
    assert_eq!(prune(&repository).unwrap().1.snapshots, 1);
    prune_to_the_end(&world, &world.storage, &time);
    assert_eq!(count(&world.storage, "packs"), 1);
}

/// A repository, and a destination where a copy of it has died when no fragment had arrived.
struct Died {
    world: Arc<World>,
    home: MemoryBackend,
    away: MemoryBackend,
}

impl Died {
    fn new() -> Self {
        let world = Arc::new(World::new());
        let home = world.storage.fork();
        let time = Time::of(&home);
        let repository = world.host_at(home.clone(), &time);
        take(&repository, "source", &small_tree(7, 1));
        take(&repository, "source", &small_tree(7, 2));
        let died = (0..).find_map(|operation| {
            let away = MemoryBackend::default();
            let time = Time::of(&away);
            let repository = world.host_at(home.clone(), &time);
            let broken = FaultyBackend::new(away.clone(), InjectedFault::CrashAfter, operation);
            repository.copy_to(&broken, &Progress::default()).ok();
            (count(&away, "packs") == 2 && count(&away, "index") == 0).then_some(away)
        });
        let away = died.unwrap();
        Self { world, home, away }
    }

    fn copy(&self, target: &dyn Backend, time: &Time) -> Result<bool, Error> {
        let repository = self.world.host_at(self.home.clone(), time);
        let report = repository.copy_to(target, &Progress::default())?;
        Ok(report.not_copied.is_empty())
    }

    fn assert_whole(&self, away: &MemoryBackend, what: &str) {
        let repository = self.world.open(away.clone()).unwrap();
        let snapshots = repository.snapshots().unwrap();
        assert_eq!(snapshots.len(), 2, "{what}");
        for (n, snapshot) in (1..).zip(&snapshots) {
            let read = read_back_one(&repository, snapshot);
            let read = read.unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(read.len(), small_tree(7, n).len(), "{what}");
        }
    }

    /// Does something at each operation of a copy; no copy that succeeds lacks anything, and a later one succeeds.
    fn at_each_operation(
        &self,
        passed: TimeDelta,
        act: impl Fn(&World, &MemoryBackend, &Time) + Send + Sync + Copy + 'static,
    ) {
        let prepared = || {
            let away = self.away.fork();
            let time = Time::of(&away);
            time.pass(passed);
            (away, time)
        };
        let (away, time) = prepared();
        let counter = Hooked::new(away, u64::MAX, || {});
        assert!(self.copy(&counter, &time).unwrap());
        let mut failed = 0;
        for operation in 0..counter.operations() {
            let (away, time) = prepared();
            let (world, also, at) = (Arc::clone(&self.world), away.clone(), time.clone());
            let hooked = Hooked::new(away.clone(), operation, move || act(&world, &also, &at));
            for (n, target) in [&hooked as &dyn Backend, &away, &away].iter().enumerate() {
                match self.copy(*target, &time) {
                    Ok(true) => self.assert_whole(&away, &format!("{operation}, copy {n}")),
                    _ => failed += 1,
                }
            }
            time.pass(TimeDelta::days(2));
            assert!(self.copy(&away, &time).unwrap(), "{operation}");
            self.assert_whole(&away, &format!("{operation}, at last"));
            prune_to_the_end(&self.world, &away, &time);
            self.assert_whole(&away, &format!("{operation}, after prunes"));
        }
        assert!(failed > 0, "nothing was ever deleted");
    }
}

#[test]
fn packs_of_a_copy_that_died_are_sent_again_when_a_prune_deletes_them_under_the_next_one() {
    let died = Died::new();
    let time = Time::of(&died.away);
    time.pass(TimeDelta::hours(2));
    let (plan, _) = prune(&died.world.host_at(died.away.clone(), &time)).unwrap();
    assert_eq!(plan.dead_packs, 2);
    died.at_each_operation(grace() + TimeDelta::hours(3), |world, away, time| {
        prune(&world.host_at(away.clone(), time)).unwrap();
    });
}

#[test]
fn a_copy_that_stood_still_for_days_tells_what_was_deleted_meanwhile() {
    let died = Died::new();
    died.at_each_operation(TimeDelta::hours(2), |world, away, time| {
        time.pass(TimeDelta::days(3));
        prune(&world.host_at(away.clone(), time)).unwrap();
        time.pass(grace() + TimeDelta::hours(1));
        prune(&world.host_at(away.clone(), time)).unwrap();
    });
}

/// Runs something at each operation of something else, and a check with what the other one said.
fn inside_each_operation<T>(
    prepared: impl Fn() -> (MemoryBackend, Time),
    world: &Arc<World>,
    act: impl Fn(&Repository) -> T,
    inside: impl Fn(&Repository) + Send + Copy + 'static,
    check: impl Fn(&MemoryBackend, &Time, T, &str),
) {
    let (storage, time) = prepared();
    let counter = Arc::new(Hooked::new(storage, u64::MAX, || {}));
    let repository = world.host_at(Arc::clone(&counter), &time);
    let opened = counter.operations();
    act(&repository);
    for operation in opened..counter.operations() {
        let (storage, time) = prepared();
        let (also, at, hosts) = (storage.clone(), time.clone(), Arc::clone(world));
        let hooked = Hooked::new(storage.clone(), operation, move || {
            inside(&hosts.host_at(also, &at));
        });
        let said = act(&world.host_at(hooked, &time));
        check(&storage, &time, said, &format!("at operation {operation}"));
    }
}

fn prune_now(repository: &Repository) {
    let now = PruneOptions {
        grace: TimeDelta::zero(),
        ..options()
    };
    prune_with(repository, &now).unwrap();
}

#[test]
fn a_whole_prune_while_something_is_brought_back_is_told() {
    let scene = scene();
    let (storage, gone) = (scene.world.storage.clone(), scene.gone);
    let world = Arc::new(scene.world);
    let prepared = || {
        let storage = storage.fork();
        let time = Time::of(&storage);
        time.pass(TimeDelta::hours(2));
        (storage, time)
    };
    inside_each_operation(
        prepared,
        &world,
        |repository| unforget(repository, gone),
        prune_now,
        |storage, time, said, what| {
            let there = || {
                let back = read_back(&world.open(storage.clone()).unwrap(), "gone");
                assert_eq!(back.unwrap(), small_tree(7, 1), "{what}");
            };
            if said.is_ok() {
                there();
                prune_to_the_end(&world, storage, time);
                there();
            }
        },
    );
}

/// A repository with a log of which the beginning is forgotten and due.
fn forgotten_log() -> (Arc<World>, impl Fn() -> (MemoryBackend, Time)) {
    let world = World::new();
    let storage = world.storage.clone();
    let time = Time::of(&storage);
    let repository = world.host_at(storage.clone(), &time);
    let mut previous = None;
    for n in 1..=4 {
        let new = NewLogSegment {
            source: "db".to_owned(),
            sequence: n,
            previous,
            written: now(),
            program: "a test".to_owned(),
            facts: serde_json::json!({}),
        };
        let sealed = repository.seal_log_segment(&new, b"events").unwrap();
        repository.store_log_segment(&sealed).unwrap();
        previous = Some(sealed.key().id);
    }
    let keeper = repository.load_keeper(None, "forget").unwrap();
    repository.forget_log(&keeper, "db", 4, &why()).unwrap();
    let prepared = move || {
        let storage = storage.fork();
        let time = Time::of(&storage);
        time.pass(grace() + TimeDelta::hours(1));
        (storage, time)
    };
    (Arc::new(world), prepared)
}

fn bring_log_back(repository: &Repository) -> Result<(), Error> {
    let keeper = repository.load_keeper(None, "bring back")?;
    repository.unforget_log(&keeper, "db", &why()).map(drop)
}

fn pieces(world: &World, storage: &MemoryBackend) -> usize {
    let repository = world.open(storage.clone()).unwrap();
    repository.list_log_segments("db").unwrap().len()
}

#[test]
fn a_log_that_is_brought_back_while_a_prune_runs_is_whole_or_said_to_be_late() {
    static BACK: Mutex<bool> = Mutex::new(false);
    let (world, prepared) = forgotten_log();
    let in_time = Mutex::new(0);
    inside_each_operation(
        prepared,
        &world,
        |repository| drop(prune(repository).unwrap()),
        |repository| *BACK.lock().unwrap() = bring_log_back(repository).is_ok(),
        |storage, time, (), what| {
            let back = *BACK.lock().unwrap();
            assert!(!back || pieces(&world, storage) == 4, "{what}");
            *in_time.lock().unwrap() += usize::from(back);
            time.pass(TimeDelta::days(2));
            prune(&world.host_at(storage.clone(), time)).unwrap();
            assert!(!back || pieces(&world, storage) == 4, "{what}, later");
        },
    );
    assert!(*in_time.lock().unwrap() > 3);
}

#[test]
fn a_whole_prune_while_a_log_is_brought_back_is_told() {
    let (world, prepared) = forgotten_log();
    let late = Mutex::new(0);
    inside_each_operation(
        prepared,
        &world,
        bring_log_back,
        |repository| drop(prune(repository).unwrap()),
        |storage, _, said, what| {
            let whole = pieces(&world, storage) == 4;
            assert!(said.is_err() || whole, "{what}");
            *late.lock().unwrap() += usize::from(!whole);
        },
    );
    assert!(*late.lock().unwrap() > 0);
}

/// A repository with many small fragments and a snapshot that is forgotten, and what prunes of it use as a cache.
struct Fragmented {
    world: World,
    cache: Option<tempfile::TempDir>,
}

impl Fragmented {
    fn new(cached: bool) -> Self {
        let world = World::new();
        let time = Time::of(&world.storage);
        let repository = world.host_at(world.storage.clone(), &time);
        for n in 0..18 {
            take(&repository, "often", &small_tree(1, n));
        }
        let gone = take(&repository, "gone", &small_tree(7, 1));
        forget(&repository, gone).unwrap();
        let cache = cached.then(|| tempfile::tempdir().unwrap());
        Self { world, cache }
    }

    fn open(&self, storage: &MemoryBackend, time: &Time) -> Repository {
        let options = OpenOptions {
            host: self.world.host.clone(),
            identity_files: Vec::new(),
            cache: self
                .cache
                .as_ref()
                .map(|directory| directory.path().to_owned()),
            memory: None,
            pinned_signers: Vec::new(),
        };
        let clock = Arc::new(time.clone());
        Repository::open_with_clock(Arc::new(storage.clone()), &options, clock).unwrap()
    }

    fn assert_kept(&self, storage: &MemoryBackend, what: &str) {
        let repository = self.world.open(storage.clone()).unwrap();
        let snapshots = repository.snapshots().unwrap();
        assert_eq!(snapshots.len(), 18);
        for snapshot in snapshots {
            assert_eq!(
                read_back_one(&repository, &snapshot).unwrap().len(),
                5,
                "{what}"
            );
        }
    }
}

fn flip(storage: &MemoryBackend, key: &ObjectKey) {
    storage.tamper(|objects| objects.get_mut(key).unwrap()[700] ^= 1);
}

fn is_named(report: &reprise_repository::PruneReport, key: &ObjectKey) -> bool {
    let mut findings = report.findings.iter();
    findings.any(|finding| finding.object == key.as_str())
}

#[test]
fn a_condemned_fragment_that_is_damaged_blocks_no_sweep() {
    for cached in [false, true] {
        let scene = Fragmented::new(cached);
        let fragments = scene.world.keys("index");
        for key in fragments.iter().step_by(stride()) {
            let what = format!("{key}, cached: {cached}");
            let storage = scene.world.storage.fork();
            let time = Time::of(&storage);
            time.pass(TimeDelta::hours(2));
            let (plan, _) = prune(&scene.open(&storage, &time)).unwrap();
            assert_eq!((plan.fragments_replaced, plan.dead_packs), (19, 1));
            flip(&storage, key);
            time.pass(grace() + TimeDelta::hours(1));
            let (_, report) = prune(&scene.open(&storage, &time)).unwrap();
            assert!(is_named(&report, key), "{what}: {report:?}");
            assert_eq!((report.packs, report.fragments), (1, 19), "{what}");
            scene.assert_kept(&storage, &what);
            prune_to_the_end(&scene.world, &storage, &time);
            assert_eq!(findings(&scene.world.open(storage).unwrap()), [], "{what}");
        }
    }
}

#[test]
fn a_fragment_that_is_damaged_after_it_was_cached_is_named_and_blocks_nothing_else() {
    let scene = Fragmented::new(true);
    for key in scene.world.keys("index").iter().step_by(stride()) {
        let what = key.to_string();
        let storage = scene.world.storage.fork();
        let time = Time::of(&storage);
        time.pass(TimeDelta::hours(2));
        dry_run(&scene.open(&storage, &time));
        flip(&storage, key);
        let (_, report) = prune(&scene.open(&storage, &time)).unwrap();
        assert!(is_named(&report, key), "{what}: {report:?}");
        time.pass(grace() + TimeDelta::hours(1));
        let (_, report) = prune(&scene.open(&storage, &time)).unwrap();
        assert_eq!(report.fragments, 18, "{what}");
        scene.assert_kept(&storage, &what);
        flip(&storage, key);
        prune_to_the_end(&scene.world, &storage, &time);
        scene.assert_kept(&storage, &what);
        assert_eq!(findings(&scene.world.open(storage).unwrap()), [], "{what}");
    }
}

/// Stores bytes under their own name, where roots are.
fn put_as_root(storage: &MemoryBackend, bytes: Vec<u8>) -> ObjectKey {
    let key = ObjectKey::new(format!("snapshots/{}", ObjectId::from_content(&bytes))).unwrap();
    storage.put(&key, &[bytes.into()]).unwrap();
    key
}

#[test]
fn what_never_was_a_root_is_named_and_stops_no_prune() {
    let Scene { world, time, .. } = scene();
    let storage = &world.storage;
    let bytes = |key: &ObjectKey| storage.get(key, None).unwrap();
    let other = World::new();
    take(&other.repository(), "other", &small_tree(1, 1));
    let root = world.keys("snapshots").remove(0);
    let mut forged = bytes(&root);
    *forged.last_mut().unwrap() ^= 1;
    let foreign = other.storage.get(&other.keys("snapshots")[0], None);
    let junk = [
        Vec::new(),
        b"junk".to_vec(),
        forged,
        bytes(&world.keys("index")[0]),
        foreign.unwrap(),
    ];
    let junk = junk.map(|bytes| put_as_root(storage, bytes));
    prune(&world.host_at(storage.clone(), &time)).unwrap();
    time.pass(grace() + TimeDelta::hours(1));
    let (plan, report) = prune(&world.host_at(storage.clone(), &time)).unwrap();
    assert_eq!((report.snapshots, report.packs), (1, 1));
    for key in &junk {
        let mut named = plan.findings.iter();
        assert!(named.any(|finding| finding.object == key.as_str()), "{key}");
        assert!(storage.size(key).is_ok());
    }
    // What does not have its name may have been a root.
    storage.tamper(|objects| objects.get_mut(&junk[1]).unwrap()[0] ^= 1);
    let error = prune(&world.host_at(storage.clone(), &time)).unwrap_err();
    assert!(error.to_string().contains(junk[1].as_str()), "{error}");
    let kept = read_back(&world.repository(), "kept").unwrap();
    assert_eq!(kept, small_tree(1, 2));
}

#[test]
fn a_root_that_a_writer_stored_after_it_was_revoked_is_named_and_stops_no_prune() {
    let Scene { world, time, .. } = scene();
    let host = Host::new();
    change(&world, &host.addition("second"));
    let clock = Arc::new(time.clone());
    let storage = Arc::new(world.storage.clone());
    let second = Repository::open_with_clock(storage, &host.options(), clock).unwrap();
    change(&world, &host.revocation());
    let after = take(&second, "after", &small_tree(3, 1));
    // Leases that do not count are waited for.
    time.pass(TimeDelta::hours(25));
    prune(&world.host_at(world.storage.clone(), &time)).unwrap();
    time.pass(grace() + TimeDelta::hours(1));
    let (plan, report) = prune(&world.host_at(world.storage.clone(), &time)).unwrap();
    assert_eq!((report.snapshots, report.packs), (1, 1));
    let key = format!("snapshots/{after}");
    assert!(plan.findings.iter().any(|finding| finding.object == key));
    let kept = read_back(&world.repository(), "kept").unwrap();
    assert_eq!(kept, small_tree(1, 2));
}

#[test]
fn a_fragment_that_others_may_know_keeps_everything_until_it_is_put_aside() {
    let Scene { world, time, .. } = scene();
    // Another host knows what the fragments promise, and this one has never read them.
    let fragments = world.keys("index");
    let flip = || fragments.iter().for_each(|key| flip(&world.storage, key));
    let collect = |found: &str| {
        for _ in 0..3 {
            let repository = world.host_at(world.storage.clone(), &time);
            let (plan, report) = prune(&repository).unwrap();
            assert!(found.is_empty() || plan.findings.iter().any(|f| f.reason.contains(found)));
            assert_eq!(plan.swept_snapshots, report.snapshots);
            time.pass(grace() + TimeDelta::hours(1));
        }
    };
    let (packs, roots) = (world.keys("packs"), world.keys("snapshots"));
    flip();
    collect("verify --repair");
    assert_eq!(world.keys("packs"), packs);
    assert_eq!(world.keys("snapshots"), roots);
    let repository = world.host_at(world.storage.clone(), &time);
    let keeper = repository.load_keeper(None, "repair").unwrap();
    let repaired = repository.repair(&looking(), Some(&keeper), &Progress::default());
    assert_eq!(repaired.unwrap().quarantined.len(), fragments.len());
    collect("");
    assert_eq!(world.keys("snapshots").len(), 1);
    assert!(world.keys("packs").len() < packs.len());
    let kept = read_back(&world.repository(), "kept").unwrap();
    assert_eq!(kept, small_tree(1, 2));
}

#[test]
fn a_keeper_that_was_removed_while_it_prunes_deletes_nothing_more() {
    let scene = Arc::new(scene());
    // Another keeper, who can remove the first one.
    let other = Host::new();
    let mut addition = other.addition("other");
    addition.add.signers[0].roles = vec![SignerRole::Writer, SignerRole::Keeper];
    change(&scene.world, &addition);
    let host = scene.world.host.load_keys().unwrap().unwrap().signer.id();
    prune(
        &scene
            .world
            .host_at(scene.world.storage.clone(), &scene.time),
    )
    .unwrap();
    let prepared = || {
        let (storage, time) = fork(&scene.world);
        time.pass(grace() + TimeDelta::hours(1));
        (storage, time)
    };
    let (storage, time) = prepared();
    let counter = Arc::new(Hooked::new(storage, u64::MAX, || {}));
    let opened = scene.world.host_at(Arc::clone(&counter), &time);
    let first = counter.operations();
    prune(&opened).unwrap();
    let (mut stopped, mut last_stopped) = (0, 0);
    for operation in (first..counter.operations()).step_by(stride()) {
        let (storage, time) = prepared();
        let (before, theirs) = (count(&storage, "packs"), storage.clone());
        let options = other.options();
        let hooked = Hooked::new(storage.clone(), operation, move || {
            let repository = Repository::open(Arc::new(theirs), &options).unwrap();
            let keeper = repository.load_keeper(None, "change keys").unwrap();
            let removal = KeyChange {
                revoke_signers: vec![(host, vec![SignerRole::Keeper])],
                ..KeyChange::default()
            };
            repository.change_keys(&keeper, &removal, now()).unwrap();
        });
        match prune(&scene.world.host_at(hooked, &time)) {
            Err(error) => {
                assert_eq!(error.class(), ErrorClass::Refused, "{operation}: {error}");
                assert_eq!(count(&storage, "packs"), before, "{operation}");
                (stopped, last_stopped) = (stopped + 1, operation);
            }
            Ok(_) => assert!(operation > last_stopped),
        }
    }
    assert!(stopped > 10, "{stopped}");
}
