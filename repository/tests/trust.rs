//! What nobody known has signed is refused by name, and what nobody may read stays closed.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod support;

use reprise_repository::backend::{Backend, ObjectKey};
use reprise_repository::testing::CompromisedHost;
use reprise_repository::{
    Error, ErrorClass, HostDirectory, InitOptions, Layout, ObjectId, OpenOptions, Repository,
};
use std::sync::Arc;
use support::{World, now, read_back, snapshot, tree};

/// A root taken from `from` and stored in `to` under the name that its bytes have.
fn transplant(from: &World, to: &World, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> ObjectKey {
    let key = from.keys("snapshots").remove(0);
    let bytes = change(from.storage.get(&key, None).unwrap());
    let key = ObjectKey::new(format!("snapshots/{}", ObjectId::from_content(&bytes))).unwrap();
    to.storage.put(&key, &[bytes.clone().into()]).unwrap();
    key
}

fn refusal(world: &World, key: &ObjectKey) -> String {
    let (_, errors) = world.repository().snapshots_lossy().unwrap();
    let (_, error) = errors
        .into_iter()
        .find(|(bad, _)| bad == key)
        .expect("the root is refused");
    assert_eq!(error.class(), ErrorClass::Damaged, "{error:?}");
    error.to_string()
}

fn worlds() -> (World, World) {
    let (a, b) = (World::new(), World::new());
    for world in [&a, &b] {
        snapshot(&world.repository(), "source", &tree(1, 0)).unwrap();
    }
    (a, b)
}

#[test]
fn a_root_of_an_unknown_signer_is_refused() {
    let (a, b) = worlds();
    let key = transplant(&b, &a, |bytes| bytes);
    assert!(refusal(&a, &key).contains("is not known to this repository"));
    assert_eq!(a.repository().snapshots_lossy().unwrap().0.len(), 1);
}

#[test]
fn an_unsigned_root_is_refused() {
    let (a, _) = worlds();
    let key = transplant(&a, &a, |bytes| {
        let body = bytes.iter().position(|b| *b == b'\n').unwrap();
        bytes[body + 1..].to_vec()
    });
    assert!(refusal(&a, &key).contains("header"));
}

#[test]
fn a_root_whose_signature_is_of_another_body_is_refused() {
    let (a, _) = worlds();
    let key = transplant(&a, &a, |mut bytes| {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        bytes
    });
    assert!(refusal(&a, &key).contains("altered or forged"));
}

#[test]
fn a_record_of_one_kind_cannot_stand_in_for_another() {
    let (a, _) = worlds();
    let fragment = a.keys("index").remove(0);
    let bytes = a.storage.get(&fragment, None).unwrap();
    let key = ObjectKey::new(format!("snapshots/{}", fragment.name())).unwrap();
    a.storage.put(&key, &[bytes.clone().into()]).unwrap();
    assert!(refusal(&a, &key).contains("another kind"));
    // Saying so in the header does not help: the kind is signed.
    let key = transplant(&a, &a, |_| {
        let text = String::from_utf8_lossy(&bytes[..20])
            .replace("index", "snapshot")
            .into_bytes();
        [text, bytes[20..].to_vec()].concat()
    });
    refusal(&a, &key);
}

#[test]
fn a_root_signed_for_another_repository_is_refused() {
    // The same host, so the same signer, makes two repositories.
    let a = World::new();
    let mut other = World::new();
    let options = InitOptions {
        recipients: vec![reprise_repository::generate_identity("now").recipient],
        host_name: "host".to_owned(),
        now: now(),
        layout: Layout::default(),
        keeper: None,
        spare_keeper: None,
    };
    let storage = reprise_repository::backend::memory::MemoryBackend::new();
    Repository::init(&storage, &a.host, &options).unwrap();
    other.storage = storage;
    other.host = HostDirectory::new(a.host.path());
    snapshot(
        &other.open(other.storage.clone()).unwrap(),
        "source",
        &tree(1, 0),
    )
    .unwrap();
    let key = transplant(&other, &a, |bytes| bytes);
    // Both storages call themselves the same.
    a.host.remove_pins_for("memory");
    assert!(refusal(&a, &key).contains("altered or forged"));
}

#[test]
fn a_newer_record_is_unsupported_if_a_known_signer_says_so_and_otherwise_damaged() {
    let (a, _) = worlds();
    let forged = transplant(&a, &a, |bytes| {
        let text = String::from_utf8_lossy(&bytes[..14])
            .replace(":1", ":2")
            .into_bytes();
        [text, bytes[14..].to_vec()].concat()
    });
    let signed = CompromisedHost::new(a.repository())
        .put_newer_record("snapshots")
        .unwrap();
    let (_, errors) = a.repository().snapshots_lossy().unwrap();
    let error_of = |key| errors.iter().find(|(bad, _)| *bad == key).unwrap();
    let (_, error) = error_of(signed);
    assert!(
        matches!(error, Error::UnsupportedFormat { found: 2, .. }),
        "{error:?}"
    );
    let (_, error) = error_of(forged);
    assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
}

#[test]
fn a_forged_pack_is_never_deduplicated_against() {
    let (a, b) = worlds();
    // A pack of another repository claims to hold whatever its directory says.
    let pack = b.keys("packs").remove(0);
    let bytes = b.storage.get(&pack, None).unwrap();
    a.storage.put(&pack, &[bytes.clone().into()]).unwrap();
    let files = tree(5, 100 << 10);
    let repository = a.repository();
    snapshot(&repository, "after", &files).unwrap();
    assert_eq!(read_back(&a.repository(), "after").unwrap(), files);
}

#[test]
fn the_writer_identity_reads_the_catalog_and_never_contents() {
    let (a, _) = worlds();
    let repository = a.open_with(a.storage.clone(), Vec::new()).unwrap();
    assert_eq!(repository.snapshots().unwrap().len(), 1);
    let error = read_back(&repository, "source").unwrap_err();
    assert!(
        matches!(error, Error::NoMatchingIdentity { .. }),
        "{error:?}"
    );
    assert!(repository.require_data_identity().is_err());
    snapshot(&repository, "more", &tree(2, 0)).unwrap();
}

#[test]
fn a_stranger_cannot_even_open() {
    let (a, b) = worlds();
    let options = OpenOptions {
        host: HostDirectory::new(a.host.path().join("elsewhere")),
        identity_files: vec![b.identity.clone()],
        cache: None,
        memory: None,
        pinned_signers: Vec::new(),
    };
    let error = Repository::open(Arc::new(a.storage.clone()), &options).unwrap_err();
    assert!(
        matches!(error, Error::NoMatchingIdentity { .. }),
        "{error:?}"
    );
}

#[test]
fn a_host_that_the_repository_does_not_know_cannot_write() {
    let (a, _) = worlds();
    let options = OpenOptions {
        host: HostDirectory::new(a.host.path().join("elsewhere")),
        identity_files: vec![a.identity.clone()],
        cache: None,
        memory: None,
        pinned_signers: Vec::new(),
    };
    let repository = Repository::open(Arc::new(a.storage.clone()), &options).unwrap();
    let error = snapshot(&repository, "x", &tree(1, 0)).unwrap_err();
    assert!(matches!(error, Error::UnknownHost { .. }), "{error:?}");
    assert!(read_back(&repository, "source").is_ok());
}

#[test]
fn pinned_signers_exclude_all_others() {
    let (a, b) = worlds();
    let pin = |world: &World| vec![world.repository().config().signers[0].key];
    let open = |pins| {
        let options = OpenOptions {
            host: HostDirectory::new(a.host.path()),
            identity_files: vec![a.identity.clone()],
            cache: None,
            memory: None,
            pinned_signers: pins,
        };
        Repository::open(Arc::new(a.storage.clone()), &options)
    };
    assert!(open(pin(&a)).is_ok());
    assert!(matches!(open(pin(&b)), Err(Error::PinMismatch { .. })));
}

#[test]
fn two_snapshots_at_the_same_time_both_succeed() {
    let world = World::new();
    let shared = tree(1, 2 << 20);
    let (mut left, mut right) = (shared.clone(), shared);
    left.insert("left".to_owned(), support::incompressible_bytes(300_000, 5));
    right.insert(
        "right".to_owned(),
        support::incompressible_bytes(300_000, 6),
    );
    std::thread::scope(|scope| {
        let runs = [("left", &left), ("right", &right)].map(|(name, files)| {
            let world = &world;
            scope.spawn(move || snapshot(&world.repository(), name, files).unwrap())
        });
        for run in runs {
            run.join().unwrap();
        }
    });
    let repository = world.repository();
    assert_eq!(read_back(&repository, "left").unwrap(), left);
    assert_eq!(read_back(&repository, "right").unwrap(), right);
}
