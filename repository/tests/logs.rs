//! Logs: pieces come back byte for byte; one that is missing, moved, repeated, forged or damaged is named.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use reprise_repository::backend::memory::MemoryBackend;
use reprise_repository::backend::{Backend, ObjectKey};
use reprise_repository::{
    DataSubset, Error, ErrorClass, LogChainLink, LogSegmentKey, NewLogSegment, ObjectId, Progress,
    Repository, VerifyDepth, VerifyOptions,
};
use support::{World, incompressible_bytes, now};

/// So many pieces a log has here.
const PIECES: u64 = 5;

fn content(n: u64) -> Vec<u8> {
    incompressible_bytes(3000 + 500 * usize::try_from(n).unwrap(), n)
}

fn new_piece(source: &str, n: u64, previous: Option<ObjectId>) -> NewLogSegment {
    NewLogSegment {
        source: source.to_owned(),
        sequence: n,
        previous,
        written: now(),
        program: "a test".to_owned(),
        facts: serde_json::json!({"n": n}),
    }
}

/// Stores a log.
fn archive(repository: &Repository, source: &str) -> Vec<LogSegmentKey> {
    let mut previous = None;
    (1..=PIECES)
        .map(|n| {
            let new = new_piece(source, n, previous);
            let sealed = repository.seal_log_segment(&new, &content(n)).unwrap();
            repository.store_log_segment(&sealed).unwrap();
            previous = Some(sealed.key().id);
            sealed.key().clone()
        })
        .collect()
}

/// What verification says of a repository, contents read.
fn findings(repository: &Repository) -> Vec<String> {
    let options = VerifyOptions {
        depth: VerifyDepth::ReadData(DataSubset::All),
        snapshots: Vec::new(),
    };
    let report = repository.verify(&options, &Progress::default()).unwrap();
    let findings = report.findings.iter();
    findings
        .map(|finding| format!("{}: {}", finding.object, finding.reason))
        .collect()
}

fn object(key: &LogSegmentKey) -> ObjectKey {
    ObjectKey::new(key.to_string()).unwrap()
}

#[test]
fn pieces_come_back_in_order_byte_for_byte() {
    let world = World::new();
    let repository = world.repository();
    let stored = archive(&repository, "db/one");
    archive(&repository, "db/two");
    let keys = repository.list_log_segments("db/one").unwrap();
    assert_eq!(keys, stored);
    for (n, key) in (1..).zip(&keys) {
        let (record, plain) = repository.read_log_segment(key).unwrap();
        assert_eq!((record.sequence, plain), (n, content(n)));
        assert_eq!(repository.read_log_record(key).unwrap(), record);
    }
    assert_eq!(findings(&repository), Vec::<String>::new());
    assert!(repository.list_log_segments("other").unwrap().is_empty());
}

#[test]
fn a_host_reads_records_and_no_contents() {
    let world = World::new();
    archive(&world.repository(), "db");
    let host = world.open_with(world.storage.clone(), Vec::new()).unwrap();
    let keys = host.list_log_segments("db").unwrap();
    assert_eq!(host.read_log_record(&keys[0]).unwrap().source, "db");
    let error = host.read_log_segment(&keys[0]).unwrap_err();
    assert!(
        matches!(error, Error::NoMatchingIdentity { .. }),
        "{error:?}"
    );
}

#[test]
fn a_missing_piece_is_named() {
    let world = World::new();
    let keys = archive(&world.repository(), "db");
    world.storage.delete(&object(&keys[2])).unwrap();
    let found = findings(&world.repository());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("log segment 3") && found[0].contains("missing"),
        "{found:?}"
    );
}

#[test]
fn a_piece_in_another_place_or_another_log_is_refused() {
    let world = World::new();
    let repository = world.repository();
    let keys = archive(&repository, "db");
    let bytes = world.storage.get(&object(&keys[0]), None).unwrap();
    let directory = keys[0].to_string().rsplit_once('/').unwrap().0.to_owned();
    let places = [
        format!("{directory}/{:016}.{}", 9, keys[0].id),
        format!(
            "logs/00000000000000000000000000000000/{:016}.{}",
            1, keys[0].id
        ),
    ];
    for place in places {
        let key = ObjectKey::new(place).unwrap();
        world.storage.put(&key, &[bytes.clone().into()]).unwrap();
        let found = findings(&world.repository());
        assert!(
            found
                .iter()
                .any(|text| text.contains("does not match its object name")),
            "{found:?}"
        );
        world.storage.delete(&key).unwrap();
    }
}

#[test]
fn a_forged_piece_is_refused() {
    let (world, stranger) = (World::new(), World::new());
    let keys = archive(&world.repository(), "db");
    let theirs = archive(&stranger.repository(), "db");
    let bytes = stranger.storage.get(&object(&theirs[4]), None).unwrap();
    let directory = keys[0].to_string().rsplit_once('/').unwrap().0.to_owned();
    let place = format!("{directory}/{:016}.{}", 6, theirs[4].id);
    world
        .storage
        .put(&ObjectKey::new(place).unwrap(), &[bytes.into()])
        .unwrap();
    let repository = world.repository();
    let forged = repository.list_log_segments("db").unwrap().pop().unwrap();
    let error = repository.read_log_record(&forged).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Damaged);
    assert!(
        error
            .to_string()
            .contains("is not known to this repository"),
        "{error}"
    );
    let found = findings(&repository);
    assert_eq!(found.len(), 1, "the others are in line: {found:?}");
}

#[test]
fn every_flipped_bit_is_found() {
    let world = World::new();
    let keys = archive(&world.repository(), "db");
    let key = object(&keys[1]);
    let whole = world.storage.get(&key, None).unwrap();
    for at in (0..whole.len()).step_by(97) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        world.storage.delete(&key).unwrap();
        world.storage.put(&key, &[bytes.into()]).unwrap();
        let error = world.repository().read_log_segment(&keys[1]).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Damaged, "byte {at}: {error:?}");
    }
    assert!(!findings(&world.repository()).is_empty());
}

#[test]
fn a_copy_has_the_logs_and_sends_them_once() {
    let world = World::new();
    let repository = world.repository();
    archive(&repository, "db");
    let copy = MemoryBackend::new();
    let progress = Progress::default();
    let report = repository.copy_to(&copy, &progress).unwrap();
    assert_eq!(report.log_segments, PIECES);
    let copied = world.open(copy.clone()).unwrap();
    assert_eq!(findings(&copied), Vec::<String>::new());
    let keys = copied.list_log_segments("db").unwrap();
    assert_eq!(copied.read_log_segment(&keys[4]).unwrap().1, content(5));
    assert_eq!(
        repository.copy_to(&copy, &progress).unwrap().log_segments,
        0
    );
}

#[test]
fn a_forged_end_of_a_log_hides_nothing_and_is_named() {
    let world = World::new();
    let repository = world.repository();
    let keys = archive(&repository, "db");
    let forged = new_piece("db", 1 << 50, None);
    let forged = repository.seal_log_segment(&forged, b"nothing").unwrap();
    repository.store_log_segment(&forged).unwrap();
    let known = repository.load_log("db").unwrap();
    let line = known.chain();
    let place = |link: &LogChainLink| match link {
        LogChainLink::Segment(index) => Some(known.segments[*index].0.clone()),
        _ => None,
    };
    let pieces: Vec<LogSegmentKey> = line.iter().filter_map(place).collect();
    assert_eq!(pieces[..keys.len()], keys);
    assert!(line.contains(&LogChainLink::NoPredecessor { sequence: 1 << 50 }));
    let found = findings(&repository);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("names no preceding segment"), "{found:?}");
}
