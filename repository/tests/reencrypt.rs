//! Contents that are encrypted anew: who was removed reads nothing of what is left, and nothing is lost on the way.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use reprise_repository::backend::faulty::{FaultyBackend, InjectedFault};
use reprise_repository::backend::memory::MemoryBackend;
use reprise_repository::backend::{Backend, ObjectKey};
use reprise_repository::testing::CompromisedHost;
use reprise_repository::{
    DataSubset, Error, Identities, NewLogSegment, OpenOptions, Progress, ReencryptReport,
    Repository, UnreadableKind, VerifyDepth, VerifyOptions, VerifyReport,
};
use support::garbage::{
    Hooked, Time, dry_run, findings, forget, fork, options, prune, prune_to_the_end, prune_with,
    small_tree, stride, take,
};
use support::keys::{Host, change, reencrypt, switch};
use support::{Tree, World, read_back, tree};

/// A repository whose first recovery identity was removed for another one, after snapshots were taken.
struct Scene {
    world: World,
    time: Time,
    new: PathBuf,
    trees: BTreeMap<&'static str, Tree>,
}

fn scene(trees: [(&'static str, Tree); 2]) -> Scene {
    let world = World::new();
    let time = Time::of(&world.storage);
    for (source, tree) in &trees {
        take(&world.host_at(world.storage.clone(), &time), source, tree);
    }
    let new = switch(&world, "new");
    time.pass(TimeDelta::hours(2));
    Scene {
        world,
        time,
        new,
        trees: BTreeMap::from(trees),
    }
}

fn small() -> Scene {
    scene([("one", small_tree(1, 1)), ("two", small_tree(1, 2))])
}

impl Scene {
    fn open(
        &self,
        storage: impl Backend + 'static,
        time: &Time,
        identity_files: Vec<PathBuf>,
    ) -> Result<Repository, Error> {
        let options = OpenOptions {
            host: self.world.host.clone(),
            identity_files,
            cache: None,
            memory: None,
            pinned_signers: Vec::new(),
        };
        Repository::open_with_clock(Arc::new(storage), &options, Arc::new(time.clone()))
    }

    /// With the old and the new identity.
    fn both(&self, storage: impl Backend + 'static, time: &Time) -> Result<Repository, Error> {
        let files = vec![self.world.identity.clone(), self.new.clone()];
        self.open(storage, time, files)
    }

    fn assert_new_reads_everything(&self, storage: &MemoryBackend, time: &Time, what: &str) {
        let repository = self
            .open(storage.clone(), time, vec![self.new.clone()])
            .unwrap();
        for (source, tree) in &self.trees {
            assert_eq!(read_back(&repository, source).unwrap(), *tree, "{what}");
        }
        assert_eq!(findings(&repository), [], "{what}");
    }

    fn assert_old_reads_no_content(&self, storage: &MemoryBackend, what: &str) {
        let old = Identities::read(std::slice::from_ref(&self.world.identity)).unwrap();
        assert_eq!(opened_by(&old, storage), 0, "{what}");
    }
}

/// How many age files in packs an identity opens.
fn opened_by(identities: &Identities, storage: &MemoryBackend) -> usize {
    const MAGIC: &[u8] = b"age-encryption.org/v1\n";
    let mut opened = 0;
    for info in storage.list("packs").unwrap() {
        let bytes = storage.get(&info.key, None).unwrap();
        let begins = |at: &usize| bytes[*at..].starts_with(MAGIC);
        let starts: Vec<usize> = (0..bytes.len()).filter(begins).collect();
        assert!(!starts.is_empty());
        for start in starts {
            let read = identities.decrypt(&bytes[start..], &info.key, &[], 1 << 30);
            // What follows an age file is not part of it, and that is found out only by who can open it.
            opened += usize::from(!matches!(read, Err(Error::NoMatchingIdentity { .. })));
        }
    }
    opened
}

fn count(storage: &MemoryBackend, directory: &str) -> usize {
    storage.list(directory).unwrap().len()
}

#[test]
fn who_was_removed_reads_nothing_and_who_was_added_reads_everything() {
    let scene = scene([("one", tree(1, 2 << 20)), ("two", tree(50, 700 << 10))]);
    let (storage, time) = (&scene.world.storage, &scene.time);
    let packs = count(storage, "packs");
    assert!(packs > 2);
    let old = Identities::read(std::slice::from_ref(&scene.world.identity)).unwrap();
    assert!(opened_by(&old, storage) > packs);
    let alone = scene
        .open(storage.clone(), time, vec![scene.new.clone()])
        .unwrap();
    assert!(read_back(&alone, "one").is_err());

    let (plan, report) = reencrypt(&scene.both(storage.clone(), time).unwrap()).unwrap();
    assert_eq!((plan.packs, report.packs), (packs as u64, packs as u64));
    assert_eq!(
        (report.new_packs, &report.findings),
        (packs as u64, &vec![])
    );
    // Before anything is deleted, the new packs are the ones that are read.
    let alone = scene
        .open(storage.clone(), time, vec![scene.new.clone()])
        .unwrap();
    for (source, tree) in &scene.trees {
        assert_eq!(read_back(&alone, source).unwrap(), *tree);
    }
    // What was done is not done again, and what is stored from now on needs nothing.
    take(
        &scene.world.host_at(storage.clone(), time),
        "three",
        &tree(90, 100 << 10),
    );
    let (plan, report) = reencrypt(&scene.both(storage.clone(), time).unwrap()).unwrap();
    assert_eq!(
        (plan.packs, plan.replaced_packs),
        (0, packs as u64),
        "{plan:?}"
    );
    assert_eq!(report, ReencryptReport::default());

    time.pass(TimeDelta::hours(2));
    let at_once = reprise_repository::PruneOptions {
        grace: TimeDelta::zero(),
        ..options()
    };
    // A host does it, with no recovery identity.
    let mut deleted = 0;
    for _ in 0..3 {
        let host = scene.world.host_at(storage.clone(), time);
        deleted += prune_with(&host, &at_once).unwrap().1.packs;
        time.pass(TimeDelta::hours(2));
    }
    assert_eq!(deleted, packs as u64);
    scene.assert_new_reads_everything(storage, time, "after the prune");
    scene.assert_old_reads_no_content(storage, "after the prune");
    let plan = dry_run(&scene.world.host_at(storage.clone(), time));
    assert_eq!((plan.dead_packs, plan.repacked_packs), (0, 0), "{plan:?}");
}

#[test]
fn a_copy_is_told_and_its_prune_deletes_the_old_packs() {
    let scene = small();
    let copy = MemoryBackend::new();
    let send = || {
        let repository = scene
            .world
            .host_at(scene.world.storage.clone(), &scene.time);
        repository.copy_to(&copy, &Progress::default()).unwrap()
    };
    assert_eq!(send().not_copied, []);
    reencrypt(
        &scene
            .both(scene.world.storage.clone(), &scene.time)
            .unwrap(),
    )
    .unwrap();
    scene.time.pass(TimeDelta::hours(2));
    prune_to_the_end(&scene.world, &scene.world.storage, &scene.time);
    assert_eq!(send().not_copied, []);
    let time = Time::of(&copy);
    time.pass(TimeDelta::days(30));
    prune_to_the_end(&scene.world, &copy, &time);
    scene.assert_new_reads_everything(&copy, &time, "the copy");
    scene.assert_old_reads_no_content(&copy, "the copy");
}

#[test]
fn without_an_identity_that_reads_what_is_stored_anew_nothing_is_done() {
    let scene = small();
    let (storage, time) = (&scene.world.storage, &scene.time);
    let before = storage.tamper(|objects| objects.len());
    let old = scene.open(storage.clone(), time, vec![scene.world.identity.clone()]);
    let error = reencrypt(&old.unwrap()).unwrap_err();
    assert!(
        matches!(error, Error::NoMatchingIdentity { .. }),
        "{error:?}"
    );
    assert_eq!(storage.tamper(|objects| objects.len()), before);
    // With the new one alone nothing can be read, so everything stays, by name.
    let new = scene
        .open(storage.clone(), time, vec![scene.new.clone()])
        .unwrap();
    let (_, report) = reencrypt(&new).unwrap();
    assert_eq!((report.packs, report.new_packs), (0, 0));
    assert_eq!(report.findings.len(), count(storage, "packs"));
    time.pass(TimeDelta::hours(2));
    prune_to_the_end(&scene.world, storage, time);
    let both = scene.both(storage.clone(), time).unwrap();
    assert_eq!(read_back(&both, "one").unwrap(), scene.trees["one"]);
}

#[test]
fn a_copy_of_old_bytes_that_a_prune_made_later_is_found() {
    let scene = scene([("one", tree(1, 300 << 10)), ("two", tree(1, 0))]);
    let (storage, time) = (&scene.world.storage, &scene.time);
    let host = scene.world.host_at(storage.clone(), time);
    let one = host.find_snapshot("one").unwrap().id;
    forget(&host, one).unwrap();
    let (plan, _) = prune(&host).unwrap();
    assert!(plan.repacked_packs > 0, "{plan:?}");
    time.pass(TimeDelta::hours(30));
    prune_to_the_end(&scene.world, storage, time);
    let (_, report) = reencrypt(&scene.both(storage.clone(), time).unwrap()).unwrap();
    assert!(report.packs > 0);
    time.pass(TimeDelta::hours(2));
    prune_to_the_end(&scene.world, storage, time);
    scene.assert_old_reads_no_content(storage, "copied bytes");
    let new = scene
        .open(storage.clone(), time, vec![scene.new.clone()])
        .unwrap();
    assert_eq!(read_back(&new, "two").unwrap(), scene.trees["two"]);
}

#[test]
fn a_second_change_before_the_prune_leaves_nothing_behind() {
    let mut scene = small();
    let (storage, time) = (scene.world.storage.clone(), scene.time.clone());
    let packs = count(&storage, "packs");
    reencrypt(&scene.both(storage.clone(), &time).unwrap()).unwrap();
    let (second, third) = (scene.new.clone(), switch(&scene.world, "third"));
    let files = vec![scene.world.identity.clone(), second, third.clone()];
    reencrypt(&scene.open(storage.clone(), &time, files).unwrap()).unwrap();
    time.pass(TimeDelta::hours(2));
    prune_to_the_end(&scene.world, &storage, &time);
    scene.assert_old_reads_no_content(&storage, "the first");
    scene.world.identity = std::mem::replace(&mut scene.new, third);
    scene.assert_old_reads_no_content(&storage, "the second");
    scene.assert_new_reads_everything(&storage, &time, "the third");
    assert_eq!(count(&storage, "packs"), packs);
}

#[test]
fn a_run_that_dies_anywhere_is_gone_on_with() {
    let scene = small();
    let packs = count(&scene.world.storage, "packs");
    for fault in [InjectedFault::Crash, InjectedFault::CrashAfter] {
        let (storage, time) = fork(&scene.world);
        let counter = Arc::new(FaultyBackend::new(storage, fault, u64::MAX));
        let whole = scene.both(Arc::clone(&counter), &time).unwrap();
        let opened = counter.operations();
        reencrypt(&whole).unwrap();
        for operation in (opened..counter.operations()).step_by(stride()) {
            let what = format!("{fault:?} at operation {operation}");
            let (storage, time) = fork(&scene.world);
            let broken = FaultyBackend::new(storage.clone(), fault, operation);
            drop(reencrypt(&scene.both(broken, &time).unwrap()));
            time.pass(TimeDelta::hours(2));
            // A prune between the two does no harm either.
            if operation % 2 == 0 {
                prune_to_the_end(&scene.world, &storage, &time);
            }
            reencrypt(&scene.both(storage.clone(), &time).unwrap()).unwrap();
            time.pass(TimeDelta::hours(2));
            prune_to_the_end(&scene.world, &storage, &time);
            scene.assert_new_reads_everything(&storage, &time, &what);
            scene.assert_old_reads_no_content(&storage, &what);
            assert_eq!(count(&storage, "packs"), packs, "{what}");
        }
    }
}

#[test]
fn snapshots_and_prunes_may_come_at_any_operation() {
    let scene = small();
    let (storage, time) = fork(&scene.world);
    let counter = Arc::new(Hooked::new(storage, u64::MAX, || {}));
    reencrypt(&scene.both(Arc::clone(&counter), &time).unwrap()).unwrap();
    for operation in (0..counter.operations()).step_by(stride()) {
        let what = format!("operation {operation}");
        let (storage, time) = fork(&scene.world);
        let (world, other, now) = (&scene.world, storage.clone(), time.clone());
        let third = small_tree(1, 3);
        let host = world.host_at(other, &now);
        let tree = third.clone();
        let done = Arc::new(Mutex::new(false));
        let told = Arc::clone(&done);
        let hooked = Hooked::new(storage.clone(), operation, move || {
            prune(&host).unwrap();
            take(&host, "three", &tree);
            *told.lock().unwrap() = true;
        });
        reencrypt(&scene.both(hooked, &time).unwrap()).unwrap();
        assert!(*done.lock().unwrap(), "{what}");
        time.pass(TimeDelta::hours(2));
        prune_to_the_end(world, &storage, &time);
        scene.assert_new_reads_everything(&storage, &time, &what);
        scene.assert_old_reads_no_content(&storage, &what);
        let new = scene
            .open(storage.clone(), &time, vec![scene.new.clone()])
            .unwrap();
        assert_eq!(read_back(&new, "three").unwrap(), third, "{what}");
    }
}

/// A record that says that one pack replaces all others.
fn lie(storage: &MemoryBackend, by: &str) -> String {
    let names = storage.list("packs").unwrap();
    let names: Vec<_> = names
        .iter()
        .map(|info| info.key.name().to_owned())
        .collect();
    let others = names.iter().filter(|name| *name != by);
    let packs: Vec<String> = others
        .map(|name| format!(r#"{{"pack":"{name}","by":"{by}"}}"#))
        .collect();
    format!(
        r#"{{"packs":[{}],"at":"2026-01-01T00:00:00Z","by":"thief","program":""}}"#,
        packs.join(",")
    )
}

#[test]
fn a_writer_cannot_say_that_a_pack_was_replaced() {
    let scene = small();
    let (storage, time) = (&scene.world.storage, &scene.time);
    let host = Host::new();
    change(&scene.world, &host.addition("second"));
    let stolen = host.open(storage, None).unwrap();
    let snapshot = stolen.find_snapshot("one").unwrap();
    let thief = CompromisedHost::new(stolen);
    // It claims to hold everything, and that it replaces everything.
    let poison = thief.put_poisoned_pack(&snapshot, 0).unwrap();
    let record = thief
        .put_record("replaced", &lie(storage, poison.name()))
        .unwrap();
    time.pass(TimeDelta::hours(2));
    let packs = count(storage, "packs");
    for _ in 0..3 {
        let (plan, report) = prune(&scene.world.host_at(storage.clone(), time)).unwrap();
        assert_eq!((plan.dead_packs, report.packs), (0, 0), "{plan:?}");
        let named = plan
            .findings
            .iter()
            .any(|found| found.object == record.to_string());
        assert!(named, "{plan:?}");
        time.pass(TimeDelta::hours(30));
    }
    assert_eq!(count(storage, "packs"), packs);
    let both = scene.both(storage.clone(), time).unwrap();
    let found = findings(&both);
    assert!(
        found.iter().any(|found| found.object == record.to_string()),
        "{found:?}"
    );
    // What was poisoned is not stored anew, and nothing is replaced by it.
    let (_, report) = reencrypt(&both).unwrap();
    assert!(
        report
            .findings
            .iter()
            .all(|found| found.object == poison.to_string())
    );
    time.pass(TimeDelta::hours(2));
    for _ in 0..3 {
        prune(&scene.world.host_at(storage.clone(), time)).unwrap();
        time.pass(TimeDelta::hours(30));
    }
    let new = scene
        .open(storage.clone(), time, vec![scene.new.clone()])
        .unwrap();
    for (source, tree) in &scene.trees {
        assert_eq!(read_back(&new, source).unwrap(), *tree);
    }
}

#[test]
fn what_a_keeper_says_is_compared_with_the_packs_before_anything_goes() {
    let scene = scene([("one", tree(1, 1 << 20)), ("two", tree(50, 1 << 20))]);
    let (storage, time) = (&scene.world.storage, &scene.time);
    let packs = count(storage, "packs");
    let by = storage.list("packs").unwrap()[0].key.name().to_owned();
    // The first host is the keeper.
    let thief = CompromisedHost::new(scene.world.host_at(storage.clone(), time));
    thief.put_record("replaced", &lie(storage, &by)).unwrap();
    let mut still_needed_packs = 0;
    for _ in 0..3 {
        time.pass(TimeDelta::hours(30));
        let (plan, report) = prune(&scene.world.host_at(storage.clone(), time)).unwrap();
        assert_eq!(report.packs, 0, "{report:?}");
        still_needed_packs += report.still_needed_packs;
        assert!(
            plan.replaced_packs + plan.waiting.len() as u64 + report.still_needed_packs > 0,
            "{plan:?}"
        );
    }
    assert!(still_needed_packs > 0);
    assert_eq!(count(storage, "packs"), packs);
    let both = scene.both(storage.clone(), time).unwrap();
    assert_eq!(read_back(&both, "two").unwrap(), scene.trees["two"]);
}

#[test]
fn a_damaged_replacement_lets_nothing_go() {
    let scene = small();
    let (storage, time) = (&scene.world.storage, &scene.time);
    let old: Vec<ObjectKey> = scene.world.keys("packs");
    reencrypt(&scene.both(storage.clone(), time).unwrap()).unwrap();
    for key in scene
        .world
        .keys("packs")
        .iter()
        .filter(|key| !old.contains(key))
    {
        storage.tamper(|objects| objects.get_mut(key).unwrap()[300] ^= 1);
    }
    let mut named = 0;
    for _ in 0..3 {
        time.pass(TimeDelta::hours(30));
        let (_, report) = prune(&scene.world.host_at(storage.clone(), time)).unwrap();
        assert_eq!(report.packs, 0, "{report:?}");
        named += report.findings.len();
    }
    assert!(named > 0);
    let both = scene.both(storage.clone(), time).unwrap();
    assert_eq!(read_back(&both, "one").unwrap(), scene.trees["one"]);
}

fn verified(repository: &Repository) -> VerifyReport {
    let options = VerifyOptions {
        depth: VerifyDepth::ReadData(DataSubset::All),
        snapshots: Vec::new(),
    };
    repository.verify(&options, &Progress::default()).unwrap()
}

fn kinds(report: &VerifyReport) -> Vec<UnreadableKind> {
    let unreadable = report.unreadable.iter();
    unreadable.map(|objects| objects.kind).collect()
}

/// A repository with a log, whose first recovery identity was removed for another one; the one that it was, and the new one.
fn rotated_with_log() -> (Scene, String) {
    let world = World::new();
    let time = Time::of(&world.storage);
    let trees = BTreeMap::from([("one", small_tree(1, 1)), ("two", small_tree(1, 2))]);
    let mut previous = None;
    for (sequence, (source, tree)) in (1..).zip(&trees) {
        take(&world.host_at(world.storage.clone(), &time), source, tree);
        let segment = NewLogSegment {
            source: "db".to_owned(),
            sequence,
            previous,
            written: chrono::DateTime::UNIX_EPOCH,
            program: "a test".to_owned(),
            facts: serde_json::Value::Null,
        };
        let sealed = world.repository().seal_log_segment(&segment, b"log");
        let sealed = sealed.unwrap();
        world.repository().store_log_segment(&sealed).unwrap();
        previous = Some(sealed.key().id);
    }
    let old = world.repository().keyring().recipients().data[0].clone();
    let new = switch(&world, "new");
    time.pass(TimeDelta::hours(2));
    let scene = Scene {
        world,
        time,
        new,
        trees,
    };
    (scene, old)
}

#[test]
fn what_was_stored_for_others_is_unreadable_and_only_damage_is_damage() {
    let (scene, old) = rotated_with_log();
    let storage = &scene.world.storage;
    let elsewhere = Host::new();
    let open = || {
        let options = OpenOptions {
            identity_files: vec![scene.new.clone()],
            ..elsewhere.options()
        };
        Repository::open(Arc::new(storage.clone()), &options).unwrap()
    };
    let report = verified(&open());
    assert_eq!(report.findings, []);
    let expected = [
        UnreadableKind::Packs,
        UnreadableKind::EntryLists,
        UnreadableKind::LogRecords,
        UnreadableKind::LogSegments,
    ];
    assert_eq!(kinds(&report), expected, "{report:?}");
    for objects in &report.unreadable {
        assert_eq!(objects.count, 2, "{objects:?}");
        assert_eq!(objects.readers.recipients[0], old);
        assert!(objects.readers.reads_others);
    }
    // The old identity reads everything of it, and knows damage from what is not for it.
    let old_identity = OpenOptions {
        identity_files: vec![scene.world.identity.clone()],
        ..elsewhere.options()
    };
    let old_identity = Repository::open(Arc::new(storage.clone()), &old_identity).unwrap();
    assert!(verified(&old_identity).unreadable.is_empty());

    // With both it is re-encrypted; the log cannot be.
    reencrypt(&scene.both(storage.clone(), &scene.time).unwrap()).unwrap();
    let report = verified(&open());
    assert_eq!(report.findings, []);
    assert_eq!(kinds(&report), expected[2..], "{report:?}");
    // One byte of a pack that was never readable here.
    let (unreadable, good) = storage
        .list("packs")
        .unwrap()
        .into_iter()
        .map(|info| (info.key.clone(), storage.get(&info.key, None).unwrap()))
        .next()
        .unwrap();
    let mut bad = good;
    bad[300] ^= 1;
    storage.delete(&unreadable).unwrap();
    storage.put(&unreadable, &[bad.into()]).unwrap();
    let report = verified(&open());
    let damaged: Vec<_> = report.findings.iter().map(|f| f.object.as_str()).collect();
    assert_eq!(damaged, [unreadable.as_str()]);
}
