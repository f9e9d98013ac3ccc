//! Content that several threads deliver side by side: entries join it in their own order.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use reprise_repository::{
    Entry, FileTime, Progress, RawText, Repository, SnapshotItem, SnapshotSummary, StreamId,
};
use support::{World, incompressible_bytes, now, options};

const STREAMS: usize = 8;

/// What a stream holds: some small, some of several chunks, one empty.
fn content(n: usize) -> Vec<u8> {
    incompressible_bytes(n * n * 9_000, n as u64)
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
    let summary = SnapshotSummary {
        data_time: now(),
        finished: now(),
        facts: BTreeMap::new(),
        location: RawText::from("/"),
        warnings: Vec::new(),
    };
    writer.finish(|_, _| Ok(summary)).unwrap()
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
