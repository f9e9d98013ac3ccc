//! Content that several threads deliver side by side: entries join it in their own order.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use chrono::DateTime;
use reprise_repository::testing::small_file;
use reprise_repository::{
    Entry, EntryKind, FileTime, Outcome, Progress, RawText, Remark, Repository, SnapshotItem,
    SnapshotSummary, StreamId, VerifyDepth, VerifyOptions, Warning,
};
use support::{World, incompressible_bytes, now, options, read_back};

const STREAMS: usize = 8;

/// What a stream holds: some small, some of several chunks, one empty.
fn content(n: usize) -> Vec<u8> {
    incompressible_bytes(n * n * 9_000, n as u64)
}

/// What is known of a snapshot in the end. No clock is ahead: a time in the future would be an alarm.
fn summary() -> SnapshotSummary {
    SnapshotSummary {
        data_time: DateTime::UNIX_EPOCH,
        finished: now(),
        facts: BTreeMap::new(),
        location: RawText::from("/"),
        warnings: Vec::new(),
    }
}

/// Stores all streams from as many threads, and files that join them in pairs from the last to the first.
fn store(repository: &Repository) -> reprise_repository::CommittedSnapshot {
    let mut writer = repository
        .begin_snapshot(
            options("streams"),
            std::sync::Arc::new(Progress::default()),
            None,
        )
        .unwrap();
    let sender = writer.stream_sender().unwrap();
    std::thread::scope(|scope| {
        for n in 0..STREAMS {
            let sender = sender.clone();
            scope.spawn(move || {
                let mut stream = sender.begin_stream(StreamId(n as u64));
                for part in content(n).chunks(10_000) {
                    stream.write(part).unwrap();
                }
                assert_eq!(stream.finish().unwrap(), content(n).len() as u64);
            });
        }
    });
    drop(sender);
    for pair in 0..STREAMS / 2 {
        let (first, second) = (STREAMS - 1 - pair, pair);
        let entry = Entry {
            size: (content(first).len() + content(second).len()) as u64,
            ..Entry::generated_file(&format!("f{pair}"), FileTime(0, 0))
        };
        let streams = vec![StreamId(first as u64), StreamId(second as u64)];
        writer
            .add_item(SnapshotItem::StreamedFile { entry, streams })
            .unwrap();
    }
    writer.finish(|_, _| Ok(summary())).unwrap()
}

#[test]
fn streams_of_several_threads_are_joined_by_their_entries() {
    let world = World::new();
    let repository = world.repository();
    let committed = store(&repository);
    let reader = repository.content_reader().unwrap();
    let mut entries = reader.snapshot_reader(&committed.snapshot).entries();
    for pair in 0..STREAMS / 2 {
        let (entry, chunks) = entries.next_entry().unwrap().unwrap();
        let mut content_stream = reader.stream_content(chunks, entry.path.display());
        let mut found = Vec::new();
        while let Some(chunk) = content_stream.next_chunk().unwrap() {
            found.extend(chunk);
        }
        let expected = [content(STREAMS - 1 - pair), content(pair)].concat();
        assert!(
            found == expected,
            "{} of {} bytes",
            found.len(),
            expected.len()
        );
    }
    assert!(entries.next_entry().unwrap().is_none());
}

#[test]
fn streams_that_are_stored_already_add_nothing() {
    let world = World::new();
    let repository = world.repository();
    store(&repository);
    let again = store(&repository);
    assert_eq!(again.snapshot.root.added.plain_bytes, 0);
}

/// Stores these items as a snapshot.
fn store_items(
    repository: &Repository,
    items: Vec<SnapshotItem>,
) -> reprise_repository::CommittedSnapshot {
    let progress = std::sync::Arc::new(Progress::default());
    let mut writer = repository
        .begin_snapshot(options("items"), progress, None)
        .unwrap();
    for item in items {
        writer.add_item(item).unwrap();
    }
    writer.finish(|_, _| Ok(summary())).unwrap()
}

fn plain_entry(entry: Entry) -> SnapshotItem {
    SnapshotItem::Entry {
        entry,
        chunks: Vec::new(),
        stamp: None,
    }
}

#[test]
fn what_a_reader_would_refuse_is_not_written_and_named() {
    let world = World::new();
    let repository = world.repository();
    let file = |path: &str| Entry::new(RawText::from(path), EntryKind::File);
    let link = |path: &str, target: &str| Entry {
        target: Some(RawText::from(target)),
        ..Entry::new(RawText::from(path), EntryKind::Hardlink)
    };
    let committed = store_items(
        &repository,
        vec![
            small_file("b", b"first".to_vec()),
            small_file("b", b"second".to_vec()),
            small_file("a", b"too late".to_vec()),
            small_file("c/../d", b"outside".to_vec()),
            plain_entry(Entry {
                size: 7,
                ..file("e")
            }),
            plain_entry(link("f", "b")),
            plain_entry(link("g", "e")),
            plain_entry(link("h", "z")),
            small_file("i", b"last".to_vec()),
        ],
    );
    let named: Vec<String> = committed.warnings.iter().map(ToString::to_string).collect();
    let begins = ["b: ", "a: ", "c/../d: ", "e: ", "g: ", "h: "];
    assert_eq!(named.len(), begins.len(), "{named:?}");
    for (warning, begin) in named.iter().zip(begins) {
        assert!(warning.starts_with(begin), "{warning}");
        assert!(warning.contains("not in the snapshot"), "{warning}");
    }
    assert_eq!(committed.snapshot.root.outcome, Outcome::Degraded);
    let tree = read_back(&repository, "items").unwrap();
    assert_eq!(tree.keys().collect::<Vec<_>>(), ["b", "f", "i"]);
    assert_eq!(
        (&tree["b"][..], &tree["i"][..]),
        (&b"first"[..], &b"last"[..])
    );
    let verify = VerifyOptions {
        depth: VerifyDepth::Structure,
        snapshots: Vec::new(),
    };
    let report = repository.verify(&verify, &Progress::default()).unwrap();
    assert_eq!(report.findings, []);
}

#[test]
fn a_note_is_kept_and_does_not_degrade_a_snapshot() {
    let world = World::new();
    let repository = world.repository();
    let note = Warning {
        path: RawText::from("x"),
        message: "vanished".to_owned(),
    };
    let items = vec![SnapshotItem::Remark(Remark::Note(note.clone()))];
    let committed = store_items(&repository, items);
    assert_eq!(committed.snapshot.root.outcome, Outcome::Ok);
    assert_eq!(committed.notes.first(), Some(&note));
    let reader = repository.content_reader().unwrap();
    let snapshot = repository.find_snapshot("items").unwrap();
    let details = reader.snapshot_reader(&snapshot).details().unwrap();
    assert_eq!(details.notes, [note]);
}
