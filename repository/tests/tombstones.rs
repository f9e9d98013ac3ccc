//! What a keeper forgets is forgotten, what it takes back is back, and nobody else's word counts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::{Arc, Mutex};

use reprise_repository::backend::memory::MemoryBackend;
use reprise_repository::backend::{Backend, ObjectKey};
use reprise_repository::testing::CompromisedHost;
use reprise_repository::{
    Error, ErrorClass, ObjectId, Progress, Repository, VerifyDepth, VerifyOptions,
};
use support::garbage::{Hooked, prune, why};
use support::{World, now, read_back, snapshot, tree};

/// A world with snapshots of two sources, and their ids.
fn world() -> (World, ObjectId, ObjectId) {
    let world = World::new();
    let repository = world.repository();
    let a = snapshot(&repository, "a", &tree(1, 0)).unwrap();
    let b = snapshot(&repository, "b", &tree(2, 0)).unwrap();
    (world, a.snapshot.id, b.snapshot.id)
}

fn forget(repository: &Repository, ids: &[ObjectId]) -> Vec<ObjectId> {
    let keeper = repository.load_keeper(None, "forget").unwrap();
    repository.forget_snapshots(&keeper, ids, &why()).unwrap()
}

fn unforget(repository: &Repository, id: ObjectId) -> Result<Vec<ObjectId>, Error> {
    let keeper = repository.load_keeper(None, "bring back").unwrap();
    repository.unforget_snapshots(&keeper, &[id], &why())
}

fn kept(repository: &Repository) -> Vec<String> {
    let kept = repository.snapshots().unwrap();
    let mut names: Vec<_> = kept.into_iter().map(|s| s.root.source).collect();
    names.sort();
    names
}

#[test]
fn what_is_forgotten_is_found_by_its_id_only_and_comes_back() {
    let (world, a, b) = world();
    let repository = world.repository();
    let written = forget(&repository, &[a]);
    assert_eq!(kept(&repository), ["b"]);
    assert!(repository.latest_snapshot("a").unwrap().is_none());
    let error = repository.find_snapshot("a").unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotFound);
    assert_eq!(error.hint().matches("b;").count(), 1, "{}", error.hint());
    let found = repository.find_snapshot(&a.to_string()).unwrap();
    assert!(found.forgotten);
    let tombstones = repository.read_tombstones().unwrap();
    assert_eq!(tombstones.tombstones_of(&a).next().unwrap().id, written[0]);
    assert_eq!(tombstones.tombstones_of(&b).count(), 0);
    // Once more changes nothing.
    assert_eq!(forget(&repository, &[a]), []);

    unforget(&repository, a).unwrap();
    assert_eq!(kept(&repository), ["a", "b"]);
    assert_eq!(read_back(&repository, "a").unwrap(), tree(1, 0));
    let error = unforget(&repository, a).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Refused);
    // And it can be forgotten again.
    forget(&repository, &[a]);
    assert_eq!(kept(&repository), ["b"]);
}

#[test]
fn one_of_several_comes_back_alone() {
    let (world, a, b) = world();
    let repository = world.repository();
    forget(&repository, &[a, b]);
    unforget(&repository, a).unwrap();
    assert_eq!(kept(&repository), ["a"]);
}

#[test]
fn two_that_come_back_at_the_same_time_both_come_back() {
    let (world, a, b) = world();
    forget(&world.repository(), &[a, b]);
    let run = |at: u64| {
        let storage = world.storage.fork();
        let other = world.open(storage.clone()).unwrap();
        let beside = Arc::new(Mutex::new(None));
        let told = Arc::clone(&beside);
        let hooked = Hooked::new(storage.clone(), at, move || {
            *told.lock().unwrap() = Some(unforget(&other, b));
        });
        let hooked = Arc::new(hooked);
        let first = world.open(Arc::clone(&hooked)).unwrap();
        let opened = hooked.operations();
        unforget(&first, a).unwrap_or_else(|error| panic!("{at}: {error}"));
        let beside = beside.lock().unwrap().take();
        let kept = kept(&world.open(storage).unwrap());
        assert!(kept.contains(&"a".to_owned()), "{at}: {kept:?}");
        match beside {
            Some(Ok(_)) => assert_eq!(kept, ["a", "b"], "{at}"),
            // It looked between two writes of the other one; nothing was claimed.
            Some(Err(error)) => assert!(error.to_string().ends_with("is not forgotten")),
            None => {}
        }
        (opened, hooked.operations())
    };
    let (opened, operations) = run(u64::MAX);
    assert!(operations > opened + 5);
    for at in opened..operations {
        run(at);
    }
}

#[test]
fn a_tombstone_under_a_foreign_name_stops_no_prune() {
    let (world, a, b) = world();
    let tombstone = forget(&world.repository(), &[a]).remove(0);
    let bytes = world.storage.get(
        &ObjectKey::new(format!("tombstones/{tombstone}")).unwrap(),
        None,
    );
    let foreign = ObjectKey::new(format!("tombstones/zz/{tombstone}")).unwrap();
    world
        .storage
        .put(&foreign, &[bytes.unwrap().into()])
        .unwrap();
    let (plan, _) = prune(&world.repository()).unwrap();
    assert!(
        plan.findings
            .iter()
            .any(|found| found.object == foreign.as_str())
    );
    assert_eq!(plan.forgotten, 1);
    assert!(
        !world
            .repository()
            .read_tombstones()
            .unwrap()
            .is_forgotten(&b)
    );
}

#[test]
fn what_is_swept_cannot_come_back() {
    let (world, a, _) = world();
    let repository = world.repository();
    forget(&repository, &[a]);
    let root = ObjectKey::new(format!("snapshots/{a}")).unwrap();
    world.storage.delete(&root).unwrap();
    let error = unforget(&repository, a).unwrap_err();
    assert!(
        error.to_string().contains("was already deleted by a prune"),
        "{error}"
    );
}

#[test]
fn a_parent_is_never_a_forgotten_snapshot() {
    let (world, a, _) = world();
    let repository = world.repository();
    forget(&repository, &[a]);
    assert!(repository.latest_snapshot("a").unwrap().is_none());
}

/// Stores bytes as a tombstone under their own name.
fn add(storage: &MemoryBackend, bytes: Vec<u8>) -> ObjectKey {
    let key = ObjectKey::new(format!("tombstones/{}", ObjectId::from_content(&bytes))).unwrap();
    storage.put(&key, &[bytes.into()]).unwrap();
    key
}

#[test]
fn forged_tombstones_count_for_nothing_and_are_named() {
    let (world, a, _) = world();
    let repository = world.repository();
    let root = ObjectKey::new(format!("snapshots/{a}")).unwrap();
    let other = World::new();
    let foreign = forget(&other.repository(), &[a]);
    let foreign = ObjectKey::new(format!("tombstones/{}", foreign[0])).unwrap();
    for bytes in [
        world.storage.get(&root, None).unwrap(),
        other.storage.get(&foreign, None).unwrap(),
        b"{}\n".to_vec(),
        Vec::new(),
    ] {
        let key = add(&world.storage, bytes);
        let tombstones = repository.read_tombstones().unwrap();
        let refused = tombstones.refused().iter().find(|r| r.object == key);
        assert!(!refused.unwrap().may_revoke, "{refused:?}");
    }
    assert_eq!(kept(&repository), ["a", "b"]);
}

#[test]
fn a_tombstone_that_was_altered_is_known_as_such() {
    let (world, a, _) = world();
    let repository = world.repository();
    let id = forget(&repository, &[a])[0];
    let key = ObjectKey::new(format!("tombstones/{id}")).unwrap();
    world.storage.tamper(|objects| {
        *objects.get_mut(&key).unwrap().last_mut().unwrap() ^= 1;
    });
    let tombstones = repository.read_tombstones().unwrap();
    assert!(tombstones.refused()[0].may_revoke);
    assert_eq!(kept(&repository), ["a", "b"]);
    let options = VerifyOptions {
        depth: VerifyDepth::Structure,
        snapshots: Vec::new(),
    };
    let report = repository.verify(&options, &Progress::default()).unwrap();
    assert_eq!(report.findings[0].object, key.to_string());
}

#[test]
fn a_newer_tombstone_may_take_others_back_if_a_keeper_signed_it() {
    let (world, ..) = world();
    add(&world.storage, b"{\"reprise\":2}\nlater".to_vec());
    let tombstones = world.repository().read_tombstones().unwrap();
    assert!(!tombstones.refused()[0].may_revoke);
    let signed = CompromisedHost::new(world.repository())
        .put_newer_record("tombstones")
        .unwrap();
    let tombstones = world.repository().read_tombstones().unwrap();
    let refused = tombstones.refused().iter().find(|one| one.object == signed);
    assert!(refused.unwrap().may_revoke);
}

#[test]
fn a_copy_leaves_out_what_is_forgotten_and_knows_it() {
    let (world, a, b) = world();
    let repository = world.repository();
    let target = MemoryBackend::new();
    let copy = |tombstones, snapshots| {
        let report = repository.copy_to(&target, &Progress::default()).unwrap();
        assert_eq!(
            (report.tombstones, report.snapshots),
            (tombstones, snapshots)
        );
        kept(&world.open(target.fork()).unwrap())
    };
    forget(&repository, &[a]);
    assert_eq!(copy(1, 1), ["b"]);
    forget(&repository, &[b]);
    assert_eq!(copy(1, 0), [""; 0]);
    unforget(&repository, b).unwrap();
    unforget(&repository, a).unwrap();
    assert_eq!(copy(2, 1), ["a", "b"]);
}

#[test]
fn snapshots_tell_when_the_storage_received_them() {
    let world = World::new();
    let repository = world.repository();
    world.storage.set_clock(now());
    snapshot(&repository, "a", &tree(1, 0)).unwrap();
    assert_eq!(repository.snapshots().unwrap()[0].received, Some(now()));
}

#[test]
fn a_key_without_the_right_is_refused() {
    let (world, ..) = world();
    let repository = world.repository();
    let other = World::new();
    let file = other.host.path().join("signing-key.txt");
    let error = repository.load_keeper(Some(&file), "forget").unwrap_err();
    assert!(matches!(error, Error::NotKeeper { .. }), "{error}");
    assert!(error.hint().contains("--keeper"));
}
