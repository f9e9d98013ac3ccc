//! Objects that a storage withholds: whoever has seen them notices, and deletes nothing because of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chrono::TimeDelta;
use reprise_repository::backend::memory::MemoryBackend;
use reprise_repository::backend::{
    Backend, BackendError, BackendResult, Capabilities, ObjectInfo, ObjectKey, WriteVerification,
};
use reprise_repository::testing::CompromisedHost;
use reprise_repository::{
    Error, ErrorClass, ObjectId, Progress, RawText, Repository, SnapshotOptions, SnapshotSummary,
};
use support::garbage::{
    Time, dry_run, findings, forget, grace, prune, prune_to_the_end, small_tree, take, unforget,
};
use support::keys::{Host, change};
use support::{World, read_back, snapshot};

/// A repository with a snapshot of each source, seen by a machine that remembers.
struct Scene {
    world: World,
    time: Time,
    snapshots: Vec<ObjectId>,
    _memory: tempfile::TempDir,
}

impl Scene {
    fn new(sources: &[&str]) -> Self {
        let memory = tempfile::tempdir().unwrap();
        let world = World::new().remembering(memory.path());
        let time = Time::of(&world.storage);
        let repository = world.host_at(world.storage.clone(), &time);
        let take = |(n, source): (usize, &&str)| take(&repository, source, &tree(n));
        let snapshots = sources.iter().enumerate().map(take).collect();
        time.pass(TimeDelta::hours(2));
        Self {
            world,
            time,
            snapshots,
            _memory: memory,
        }
    }

    fn open(&self) -> Repository {
        self.world.host_at(self.world.storage.clone(), &self.time)
    }

    /// Another machine, which has seen other things.
    fn elsewhere(&self) -> Repository {
        let mut elsewhere = self.world.clone();
        elsewhere.memory = None;
        elsewhere.host_at(self.world.storage.clone(), &self.time)
    }

    fn key(&self, n: usize) -> ObjectKey {
        ObjectKey::new(format!("snapshots/{}", self.snapshots[n])).unwrap()
    }

    /// The storage hides an object. Returns what shows it again.
    fn hide(&self, key: ObjectKey) -> impl FnOnce() + use<> {
        let storage = self.world.storage.clone();
        let bytes = storage.tamper(|objects| objects.remove(&key)).unwrap();
        move || storage.tamper(|objects| drop(objects.insert(key, bytes)))
    }

    /// What a prune refuses, with its words.
    fn refused(&self) -> String {
        let before = self.world.storage.tamper(|objects| objects.len());
        let error = prune(&self.open()).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Refused, "{error}");
        let left = self.world.keys("packs").len();
        assert!(left > 0 && self.world.storage.tamper(|objects| objects.len()) >= before);
        error.to_string()
    }

    /// The objects of which a listing says that they are gone.
    fn told(&self) -> Vec<String> {
        let (_, errors) = self.open().all_snapshots_lossy().unwrap();
        let gone = errors
            .iter()
            .filter(|(_, error)| matches!(error, Error::Withheld { .. }));
        gone.map(|(key, _)| key.to_string()).collect()
    }
}

fn tree(n: usize) -> support::Tree {
    small_tree(n as u64 + 1, n as u64)
}

#[test]
fn a_hidden_snapshot_outlasts_any_number_of_prunes() {
    let scene = Scene::new(&["kept", "hidden"]);
    let packs = scene.world.keys("packs").len();
    let show = scene.hide(scene.key(1));
    for _ in 0..3 {
        let words = scene.refused();
        assert!(words.contains(scene.key(1).as_str()), "{words}");
        assert!(
            words.contains("the snapshot of `hidden` of 2027-"),
            "{words}"
        );
        assert_eq!(scene.world.keys("packs").len(), packs);
        scene.time.pass(grace() + TimeDelta::hours(1));
    }
    assert_eq!(scene.told(), [scene.key(1).to_string()]);
    show();
    assert_eq!(scene.told(), [""; 0]);
    prune_to_the_end(&scene.world, &scene.world.storage, &scene.time);
    assert_eq!(
        read_back(&scene.world.repository(), "hidden").unwrap(),
        tree(1)
    );
    assert_eq!(findings(&scene.world.repository()), []);
}

#[test]
fn what_another_machine_forgot_and_pruned_long_ago_alarms_nobody() {
    let scene = Scene::new(&["kept", "gone"]);
    let other = scene.elsewhere();
    forget(&other, scene.snapshots[1]).unwrap();
    for _ in 0..4 {
        prune(&scene.elsewhere()).unwrap();
        scene.time.pass(TimeDelta::days(9));
    }
    // Nothing but the tombstone tells any more what became of it.
    prune(&scene.elsewhere()).unwrap();
    assert_eq!(scene.world.keys("sweeps"), []);
    assert_eq!(scene.world.keys("snapshots"), [scene.key(0)]);
    assert_eq!(scene.told(), [""; 0]);
    dry_run(&scene.open());
    let memory = std::fs::read_dir(scene.world.memory.as_ref().unwrap()).unwrap();
    let files = memory.map(|file| file.unwrap().path());
    let texts: String = files
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    let has = |n: usize| texts.contains(&scene.snapshots[n].to_string());
    assert!(has(0) && !has(1), "{texts}");
}

#[test]
fn what_is_accepted_is_asked_once_and_only_of_what_is_gone() {
    let scene = Scene::new(&["kept", "gone"]);
    drop(scene.hide(scene.key(1)));
    scene.refused();
    let accept = |id: &ObjectId| {
        let prefix = id.to_string()[..8].to_owned();
        scene.open().accept_missing(&[prefix])
    };
    let kept = accept(&scene.snapshots[0]).unwrap_err();
    assert_eq!(kept.class(), ErrorClass::NotFound);
    scene.refused();
    assert_eq!(accept(&scene.snapshots[1]).unwrap(), [scene.snapshots[1]]);
    assert_eq!(scene.told(), [""; 0]);
    prune_to_the_end(&scene.world, &scene.world.storage, &scene.time);
    assert_eq!(
        read_back(&scene.world.repository(), "kept").unwrap(),
        tree(0)
    );
}

#[test]
fn a_memory_that_cannot_be_read_is_no_first_use() {
    let scene = Scene::new(&["kept", "hidden"]);
    drop(scene.open().all_snapshots_lossy().unwrap());
    let show = scene.hide(scene.key(1));
    let directory = scene.world.memory.clone().unwrap();
    let files = std::fs::read_dir(directory).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let mut files = files.filter(|file| file.extension() == Some("json".as_ref()));
    let file = files.next().unwrap();
    let good = std::fs::read(&file).unwrap();
    std::fs::write(&file, &good[..good.len() / 2]).unwrap();
    let words = scene.refused();
    assert!(words.contains(file.to_str().unwrap()), "{words}");
    // Others than a prune go on, and leave the file as it is.
    take(&scene.open(), "kept", &tree(0));
    assert_eq!(std::fs::read(&file).unwrap(), good[..good.len() / 2]);
    std::fs::write(&file, &good).unwrap();
    assert!(scene.refused().contains(scene.key(1).as_str()));
    show();
    prune(&scene.open()).unwrap();
}

#[test]
fn a_record_of_keys_that_was_accepted_and_came_back_is_asked_for_again() {
    let scene = Scene::new(&["kept"]);
    let stranger = Host::new();
    change(&scene.world, &stranger.addition("stranger"));
    let record = change(&scene.world, &stranger.revocation());
    let key = ObjectKey::new(format!("keys/{record}")).unwrap();
    drop(scene.open());
    let show = scene.hide(key.clone());
    scene.open().accept_missing(&[record.to_string()]).unwrap();
    prune(&scene.open()).unwrap();
    show();
    prune(&scene.open()).unwrap();
    drop(scene.hide(key));
    assert!(prune(&scene.open()).is_err());
}

#[test]
fn a_keeper_who_forgets_a_hidden_snapshot_explains_it_to_everybody() {
    let scene = Scene::new(&["kept", "gone"]);
    drop(scene.hide(scene.key(1)));
    scene.refused();
    forget(&scene.elsewhere(), scene.snapshots[1]).unwrap();
    assert_eq!(scene.told(), [""; 0]);
    prune(&scene.open()).unwrap();
}

#[test]
fn a_hidden_record_that_unforgets_stops_a_prune() {
    let scene = Scene::new(&["kept", "back"]);
    forget(&scene.open(), scene.snapshots[1]).unwrap();
    let before = scene.world.keys("tombstones");
    unforget(&scene.open(), scene.snapshots[1]).unwrap();
    let mut after = scene.world.keys("tombstones");
    after.retain(|key| !before.contains(key));
    let show = scene.hide(after[0].clone());
    for _ in 0..2 {
        let words = scene.refused();
        assert!(words.contains(after[0].as_str()), "{words}");
        scene.time.pass(grace() + TimeDelta::hours(1));
    }
    show();
    prune_to_the_end(&scene.world, &scene.world.storage, &scene.time);
    assert_eq!(
        read_back(&scene.world.repository(), "back").unwrap(),
        tree(1)
    );
}

#[test]
fn a_hidden_revocation_of_a_key_stops_whoever_trusts_or_encrypts() {
    let scene = Scene::new(&["kept"]);
    let stranger = Host::new();
    change(&scene.world, &stranger.addition("stranger"));
    let record = change(&scene.world, &stranger.revocation());
    let key = ObjectKey::new(format!("keys/{record}")).unwrap();
    drop(scene.open());
    let running = scene.open();
    let show = scene.hide(key.clone());
    let refused = |error: Error| {
        assert_eq!(error.class(), ErrorClass::Refused, "{error}");
        assert!(error.to_string().contains(key.as_str()), "{error}");
    };
    refused(prune(&scene.open()).unwrap_err());
    refused(snapshot(&scene.open(), "kept", &tree(0)).unwrap_err());
    refused(scene.open().load_keeper(None, "change keys").unwrap_err());
    // Who has opened it before and goes on for long.
    refused(running.with_current_keys().unwrap_err());
    // What is stored can be read, and verification tells.
    assert_eq!(
        read_back(&scene.world.repository(), "kept").unwrap(),
        tree(0)
    );
    let found = findings(&scene.world.repository());
    assert!(
        found.iter().any(|one| one.object == key.as_str()),
        "{found:?}"
    );
    // A copy would make it valid for others.
    let copied = scene
        .open()
        .copy_to(&MemoryBackend::new(), &Progress::default());
    let copied = copied.unwrap();
    assert_eq!(copied.snapshots, 1);
    let not_copied: Vec<_> = copied.not_copied.iter().map(|one| &one.object).collect();
    assert_eq!(not_copied, [key.as_str()]);
    // A damaged one is as if it were missing.
    let place = key.clone();
    scene
        .world
        .storage
        .tamper(|objects| drop(objects.insert(place, b"damaged".to_vec())));
    refused(prune(&scene.open()).unwrap_err());
    show();
    prune(&scene.open()).unwrap();
    take(&scene.open(), "kept", &tree(0));
}

#[test]
fn a_snapshot_is_degraded_while_others_of_its_source_are_hidden() {
    let scene = Scene::new(&["one", "other"]);
    drop(scene.hide(scene.key(0)));
    let alarms = scene.open().source_history("one").unwrap().alarms;
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    let message = &alarms[0].message;
    assert!(
        message.starts_with("alarm: ") && message.contains(scene.key(0).as_str()),
        "{message}"
    );
    assert_eq!(scene.open().source_history("other").unwrap().alarms, []);
}

/// A snapshot that names another one as the one before it.
fn take_after(repository: &Repository, source: &str, parent: ObjectId) {
    let options = SnapshotOptions {
        parent: Some(parent),
        ..support::options(source)
    };
    let writer = repository
        .begin_snapshot(options, Arc::default(), None)
        .unwrap();
    let summary = SnapshotSummary {
        data_time: support::now(),
        finished: support::now(),
        facts: BTreeMap::new(),
        location: RawText::from("memory"),
        warnings: Vec::new(),
    };
    writer.finish(|_, _| Ok(summary)).unwrap();
}

#[test]
fn at_the_first_use_what_is_named_as_the_snapshot_before_must_be_there() {
    let scene = Scene::new(&["source"]);
    take_after(&scene.open(), "source", scene.snapshots[0]);
    let show = scene.hide(scene.key(0));
    let fresh = tempfile::tempdir().unwrap();
    let world = scene.world.remembering(fresh.path());
    let open = || world.host_at(scene.world.storage.clone(), &scene.time);
    for _ in 0..2 {
        let error = prune(&open()).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Refused, "{error}");
        assert!(error.to_string().contains(scene.key(0).as_str()), "{error}");
    }
    show();
    prune(&open()).unwrap();
    // Later a writer can make up what it likes.
    let made_up = ObjectId::from_content(b"made up");
    take_after(&open(), "source", made_up);
    prune(&open()).unwrap();
    // Who begins then is asked once.
    let fresh = tempfile::tempdir().unwrap();
    let world = scene.world.remembering(fresh.path());
    let open = || world.host_at(scene.world.storage.clone(), &scene.time);
    assert!(
        prune(&open())
            .unwrap_err()
            .to_string()
            .contains(&made_up.to_string())
    );
    open().accept_missing(&[made_up.to_string()]).unwrap();
    prune(&open()).unwrap();
}

/// Puts bytes in a place that is the hash of others.
fn put_garbage(scene: &Scene, directory: &str) -> ObjectKey {
    let id = ObjectId::from_content(directory.as_bytes());
    let key = ObjectKey::new(format!("{directory}/{id}")).unwrap();
    scene
        .world
        .storage
        .put(&key, &[Bytes::from_static(b"garbage")])
        .unwrap();
    key
}

#[test]
fn bytes_that_never_matched_their_name_stop_no_prune_and_what_did_does() {
    let scene = Scene::new(&["kept", "other"]);
    forget(&scene.open(), scene.snapshots[1]).unwrap();
    scene.told();
    let garbage = ["tombstones", "snapshots"].map(|directory| put_garbage(&scene, directory));
    let (plan, _) = prune(&scene.open()).unwrap();
    for key in &garbage {
        let named = plan.findings.iter().any(|one| one.object == key.as_str());
        assert!(named, "{key}: {:?}", plan.findings);
    }
    // After a week the one that means nothing goes, and what may be somebody's snapshot stays.
    scene.time.pass(TimeDelta::days(8));
    prune(&scene.open()).unwrap();
    assert!(!scene.world.keys("tombstones").contains(&garbage[0]));
    assert!(scene.world.keys("snapshots").contains(&garbage[1]));
    // Objects that were good are not taken for that.
    let good = scene.world.keys("tombstones").remove(0);
    for key in [good, scene.key(0)] {
        let damage = || {
            scene.world.storage.tamper(|objects| {
                *objects.get_mut(&key).unwrap().last_mut().unwrap() ^= 1;
            });
        };
        damage();
        let error = prune(&scene.open()).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Damaged, "{error}");
        damage();
    }
    prune(&scene.open()).unwrap();
}

#[test]
fn at_the_first_use_nobody_can_tell_garbage_from_damage() {
    let scene = Scene::new(&["kept"]);
    let fresh = tempfile::tempdir().unwrap();
    let world = scene.world.remembering(fresh.path());
    let open = || world.host_at(scene.world.storage.clone(), &scene.time);
    let garbage = ["tombstones", "snapshots"].map(|directory| put_garbage(&scene, directory));
    for key in garbage {
        for _ in 0..2 {
            let error = prune(&open()).unwrap_err();
            assert_eq!(error.class(), ErrorClass::Damaged, "{error}");
            assert!(error.to_string().contains(key.as_str()), "{error}");
        }
        open().accept_missing(&[key.name().to_owned()]).unwrap();
    }
    prune(&open()).unwrap();
}

#[test]
fn what_a_writer_signs_as_a_root_that_nobody_can_restore_stops_no_prune() {
    let scene = Scene::new(&["kept"]);
    let thief = CompromisedHost::new(scene.open());
    let key = thief.put_record("snapshots", "{}").unwrap();
    let (plan, _) = prune(&scene.open()).unwrap();
    assert!(
        plan.findings.iter().any(|one| one.object == key.as_str()),
        "{plan:?}"
    );
    // What others may be able to read does, as it may be a good one.
    let key = thief.put_newer_record("snapshots").unwrap();
    let error = prune(&scene.open()).unwrap_err();
    assert!(error.to_string().contains(key.as_str()), "{error}");
}

/// A storage that lists objects and does not return some, and counts the listings.
#[derive(Debug, Clone)]
struct Reluctant {
    inner: MemoryBackend,
    withheld: Option<ObjectKey>,
    listed: Arc<Mutex<Vec<String>>>,
}

impl Reluctant {
    fn new(inner: &MemoryBackend, withheld: Option<ObjectKey>) -> Self {
        Self {
            inner: inner.clone(),
            withheld,
            listed: Arc::default(),
        }
    }
}

impl Backend for Reluctant {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn put(&self, key: &ObjectKey, parts: &[Bytes]) -> BackendResult<WriteVerification> {
        self.inner.put(key, parts)
    }

    fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> BackendResult<Vec<u8>> {
        if self.withheld.as_ref() == Some(key) {
            return Err(BackendError::NotFound {
                key: key.to_string(),
            });
        }
        self.inner.get(key, range)
    }

    fn size(&self, key: &ObjectKey) -> BackendResult<u64> {
        self.inner.size(key)
    }

    fn received(&self, key: &ObjectKey) -> BackendResult<Option<chrono::DateTime<chrono::Utc>>> {
        self.inner.received(key)
    }

    fn list(&self, directory: &str) -> BackendResult<Vec<ObjectInfo>> {
        self.listed.lock().unwrap().push(directory.to_owned());
        self.inner.list(directory)
    }

    fn delete(&self, key: &ObjectKey) -> BackendResult<()> {
        self.inner.delete(key)
    }
}

#[test]
fn a_root_that_is_listed_and_not_returned_stops_a_prune_that_never_saw_it() {
    let scene = Scene::new(&["kept", "hidden"]);
    let fresh = tempfile::tempdir().unwrap();
    let world = scene.world.remembering(fresh.path());
    let storage = Reluctant::new(&scene.world.storage, Some(scene.key(1)));
    let error = prune(&world.host_at(storage, &scene.time)).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Refused, "{error}");
    assert!(error.to_string().contains(scene.key(1).as_str()), "{error}");
}

#[test]
fn a_snapshot_lists_roots_and_leases_no_more_than_it_needs() {
    let scene = Scene::new(&["source"]);
    // A name can mean another host only where there is one.
    change(&scene.world, &Host::new().addition("other"));
    let storage = Reluctant::new(&scene.world.storage, None);
    let repository = scene.world.host_at(storage.clone(), &scene.time);
    storage.listed.lock().unwrap().clear();
    let history = repository.source_history("source").unwrap();
    assert_eq!(history.own.len(), 1);
    take(&repository, "source", &tree(0));
    let listed = storage.listed.lock().unwrap();
    let count = |directory: &str| listed.iter().filter(|one| *one == directory).count();
    assert_eq!(
        (count("snapshots"), count("tombstones"), count("leases")),
        (1, 1, 0),
        "{listed:?}"
    );
}
