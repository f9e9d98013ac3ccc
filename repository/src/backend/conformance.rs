//! The suite that every backend passes: one call per backend, no forks, differences only by its capabilities.

use std::any::Any;

use bytes::Bytes;

use super::{Backend, BackendError, BackendResult, ObjectKey, WriteVerification};

/// Creates an empty backend, and a guard that keeps its storage alive until dropped.
pub type BackendFactory<'a> = &'a dyn Fn() -> (Box<dyn Backend>, Box<dyn Any>);

/// Runs every check, each on an empty backend.
///
/// # Panics
/// When the backend breaks its contract.
pub fn check_conformance(factory: BackendFactory<'_>) {
    let checks: [fn(&dyn Backend); 13] = [
        what_is_put_comes_back,
        parts_are_joined,
        an_empty_object_is_an_object,
        ranges_are_exact,
        what_is_absent_is_not_found,
        the_same_bytes_may_be_put_again,
        other_bytes_are_refused_where_promised,
        listings_are_complete_and_local,
        listings_tell_when_objects_were_received,
        concurrent_puts_of_one_key_leave_one_whole_object,
        an_object_of_many_parts_is_whole,
        what_is_deleted_is_gone,
        a_probe_agrees_with_what_is_promised,
    ];
    for check in checks {
        let (backend, _keep_alive) = factory();
        check(backend.as_ref());
    }
}

fn object_key(text: &str) -> ObjectKey {
    ObjectKey::from_trusted(text.to_owned())
}

fn put_parts(
    backend: &dyn Backend,
    name: &str,
    parts: &[&[u8]],
) -> BackendResult<WriteVerification> {
    let parts: Vec<Bytes> = parts
        .iter()
        .map(|part| Bytes::copy_from_slice(part))
        .collect();
    backend.put(&object_key(name), &parts)
}

#[expect(clippy::panic, reason = "a conformance suite reports by panicking")]
fn expect_ok<T>(result: Result<T, BackendError>, what: &str) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error}: {error:?}"))
}

fn what_is_put_comes_back(backend: &dyn Backend) {
    let bytes: Vec<u8> = (0..3_000_000_u32)
        .map(|n| n.to_le_bytes()[n as usize % 4])
        .collect();
    expect_ok(put_parts(backend, "packs/00/a", &[&bytes]), "put");
    assert_eq!(
        expect_ok(backend.get(&object_key("packs/00/a"), None), "get"),
        bytes
    );
    assert_eq!(
        expect_ok(backend.size(&object_key("packs/00/a")), "size"),
        bytes.len() as u64
    );
}

fn parts_are_joined(backend: &dyn Backend) {
    expect_ok(put_parts(backend, "index/a", &[b"one", b"", b"two"]), "put");
    assert_eq!(
        expect_ok(backend.get(&object_key("index/a"), None), "get"),
        b"onetwo"
    );
}

fn an_empty_object_is_an_object(backend: &dyn Backend) {
    expect_ok(put_parts(backend, "index/empty", &[]), "put");
    assert_eq!(
        expect_ok(backend.get(&object_key("index/empty"), None), "get"),
        b""
    );
    assert_eq!(expect_ok(backend.list("index"), "list").len(), 1);
}

fn ranges_are_exact(backend: &dyn Backend) {
    expect_ok(put_parts(backend, "packs/a", &[b"0123456789"]), "put");
    for (range, expected) in [
        (0..10, "0123456789"),
        (3..7, "3456"),
        (9..10, "9"),
        (4..4, ""),
    ] {
        let got = expect_ok(
            backend.get(&object_key("packs/a"), Some(range)),
            "get a range",
        );
        assert_eq!(got, expected.as_bytes());
    }
    for range in [5..11, 10..12, 11..12, 0..u64::MAX] {
        let error = backend
            .get(&object_key("packs/a"), Some(range.clone()))
            .err();
        assert!(
            matches!(error, Some(BackendError::OutOfRange { .. })),
            "{range:?}: {error:?}"
        );
    }
}

fn what_is_absent_is_not_found(backend: &dyn Backend) {
    let absent = object_key("packs/absent");
    let errors = [
        backend.get(&absent, None).err(),
        backend.get(&absent, Some(0..1)).err(),
        backend.size(&absent).err(),
    ];
    for error in errors {
        assert!(
            matches!(error, Some(BackendError::NotFound { .. })),
            "{error:?}"
        );
    }
    assert_eq!(expect_ok(backend.list("packs"), "list"), []);
}

fn the_same_bytes_may_be_put_again(backend: &dyn Backend) {
    for _ in 0..2 {
        expect_ok(put_parts(backend, "index/twice", &[b"same"]), "put");
    }
    assert_eq!(expect_ok(backend.list("index"), "list").len(), 1);
}

fn other_bytes_are_refused_where_promised(backend: &dyn Backend) {
    if !backend.capabilities().refuses_overwrite {
        return;
    }
    expect_ok(put_parts(backend, "index/once", &[b"first"]), "put");
    for other in [b"other".as_slice(), b"first and more", b"fir", b""] {
        let error = put_parts(backend, "index/once", &[other]).err();
        assert!(
            matches!(error, Some(BackendError::AlreadyExists { .. })),
            "{error:?}"
        );
    }
    assert_eq!(
        expect_ok(backend.get(&object_key("index/once"), None), "get"),
        b"first"
    );
}

fn listings_are_complete_and_local(backend: &dyn Backend) {
    let mut expected = Vec::new();
    for n in 0..300 {
        let name = format!("packs/{:02x}/{n}", n % 7);
        expect_ok(put_parts(backend, &name, &[name.as_bytes()]), "put");
        expected.push((name.clone(), name.len() as u64));
    }
    expect_ok(put_parts(backend, "packsmore/x", &[b"x"]), "put");
    expect_ok(put_parts(backend, "reprise.json", &[b"x"]), "put");
    let listing = expect_ok(backend.list("packs"), "list");
    let mut found: Vec<_> = listing
        .into_iter()
        .map(|info| (info.key.to_string(), info.size_bytes))
        .collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

/// The destination has its own clock: only the order of times and the approximate day can be compared.
fn listings_tell_when_objects_were_received(backend: &dyn Backend) {
    let received = |name: &str| {
        let listing = expect_ok(backend.list("index"), "list");
        let found = listing
            .into_iter()
            .find(|info| info.key == object_key(name));
        found.and_then(|info| info.received)
    };
    expect_ok(put_parts(backend, "index/first", &[b"first"]), "put");
    let first = received("index/first");
    let age = first.map(|time| (chrono::Utc::now() - time).num_hours().abs());
    assert!(age.is_some_and(|hours| hours < 24), "{first:?}");
    expect_ok(put_parts(backend, "index/second", &[b"second"]), "put");
    let key = object_key("index/first");
    // Some tell it in whole seconds here, and more exactly in listings.
    let alone = expect_ok(backend.received(&key), "look up");
    let seconds = |time: Option<chrono::DateTime<chrono::Utc>>| time.map(|time| time.timestamp());
    assert_eq!(seconds(alone), seconds(first));
    assert!(received("index/second") >= first, "{first:?}");
    if backend.capabilities().refuses_overwrite {
        expect_ok(put_parts(backend, "index/first", &[b"first"]), "put again");
        assert_eq!(received("index/first"), first);
    }
}

fn concurrent_puts_of_one_key_leave_one_whole_object(backend: &dyn Backend) {
    let contents: Vec<Vec<u8>> = (0..4_u8).map(|n| vec![n; 100_000]).collect();
    let stored = std::thread::scope(|scope| {
        let puts: Vec<_> = contents
            .iter()
            .map(|bytes| scope.spawn(|| put_parts(backend, "index/raced", &[bytes]).is_ok()))
            .collect();
        puts.into_iter()
            .filter_map(|put| put.join().ok())
            .filter(|stored| *stored)
            .count()
    });
    assert!(stored >= 1, "at least one put succeeds");
    if backend.capabilities().refuses_overwrite {
        assert_eq!(stored, 1, "only one put succeeds");
    }
    let bytes = expect_ok(backend.get(&object_key("index/raced"), None), "get");
    assert!(
        contents.contains(&bytes),
        "the object is one of those put, and whole"
    );
}

/// Larger than the largest single request of any backend.
fn an_object_of_many_parts_is_whole(backend: &dyn Backend) {
    let part: Vec<u8> = (0..7_000_000_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    let parts = [part.as_slice(), b"", &part, &part, b"odd", &part, &part];
    expect_ok(put_parts(backend, "packs/ff/large", &parts), "put");
    let whole = parts.concat();
    let length = whole.len() as u64;
    assert_eq!(
        expect_ok(backend.size(&object_key("packs/ff/large")), "size"),
        length
    );
    let got = expect_ok(backend.get(&object_key("packs/ff/large"), None), "get");
    assert!(got == whole, "the parts are joined in order");
    // A repeated put of the same bytes changes nothing, however many requests it takes.
    expect_ok(put_parts(backend, "packs/ff/large", &parts), "put again");
    assert_eq!(expect_ok(backend.list("packs"), "list").len(), 1);
}

fn what_is_deleted_is_gone(backend: &dyn Backend) {
    expect_ok(put_parts(backend, "index/gone", &[b"x"]), "put");
    expect_ok(put_parts(backend, "index/gone0", &[b"x"]), "put");
    for _ in 0..2 {
        expect_ok(backend.delete(&object_key("index/gone")), "delete");
    }
    let error = backend.get(&object_key("index/gone"), None).err();
    assert!(
        matches!(error, Some(BackendError::NotFound { .. })),
        "{error:?}"
    );
    let left = expect_ok(backend.list("index"), "list");
    assert_eq!(left.len(), 1, "{left:?}");
}

fn a_probe_agrees_with_what_is_promised(backend: &dyn Backend) {
    let probed = expect_ok(backend.probe(), "probe");
    assert_eq!(
        backend.capabilities().refuses_overwrite,
        probed.conditional_create.is_supported(),
        "{probed:?}"
    );
    assert_eq!(expect_ok(backend.list("packs"), "list"), []);
}
