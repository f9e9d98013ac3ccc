//! The local cache of log segment records: a long log has a great many of them. It may vanish or be damaged at any
//! time; then the records are read from the storage again.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::crypto::signing::SignerId;
use crate::error::Result;
use crate::id::ObjectId;
use crate::log::segment_record::{LogSegmentKey, LogSegmentRecord};

/// The compression level of the cache.
const COMPRESSION_LEVEL: i32 = 3;

/// Records in a file: zstd frames of JSON lines, each run's new ones after those of earlier runs.
#[derive(Debug)]
pub(crate) struct LogCache {
    path: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct CachedLogRecord {
    id: ObjectId,
    /// The size of the whole log segment: a truncated one must not pass for whole.
    size: u64,
    record: LogSegmentRecord,
    /// Missing in what older versions have cached: then the record is read again.
    #[serde(default)]
    signer: Option<SignerId>,
}

/// The cached records.
#[derive(Debug, Default)]
pub(crate) struct CachedLogRecords {
    records: HashMap<ObjectId, (u64, LogSegmentRecord)>,
    /// Whether the rest of the file cannot be read.
    is_damaged: bool,
}

impl CachedLogRecords {
    /// The record of a log segment, if it is cached.
    pub(crate) fn take_record(&mut self, key: &LogSegmentKey) -> Option<LogSegmentRecord> {
        let (size, _) = self.records.get(&key.id)?;
        if *size != key.size {
            return None;
        }
        self.records.remove(&key.id).map(|(_, record)| record)
    }
}

impl LogCache {
    /// A cache in a directory, or none at all, for the log with this name.
    pub(crate) fn new(directory: Option<&Path>, name: &str) -> Self {
        Self {
            path: directory.map(|directory| directory.join("logs").join(name)),
        }
    }

    /// All records that can be read.
    pub(crate) fn load_records(&self) -> CachedLogRecords {
        let mut cached = CachedLogRecords::default();
        let Some(file) = self
            .path
            .as_ref()
            .and_then(|path| fs::File::open(path).ok())
        else {
            return cached;
        };
        let Ok(decoder) = zstd::Decoder::new(file) else {
            cached.is_damaged = true;
            return cached;
        };
        for line in BufReader::new(decoder).lines() {
            let parsed = line.ok().and_then(|line| serde_json::from_str(&line).ok());
            let Some(CachedLogRecord {
                id,
                size,
                mut record,
                signer,
            }) = parsed
            else {
                cached.is_damaged = true;
                break;
            };
            if signer.is_some() {
                record.signer = signer;
                cached.records.insert(id, (size, record));
            }
        }
        cached
    }

    /// Stores records: appends the new ones to the file or, where much of it is no longer of use (`unused` are the
    /// records that nobody took), replaces the file with all of them. A failure only costs time.
    pub(crate) fn store_records(
        &self,
        unused: &CachedLogRecords,
        old: &[(LogSegmentKey, LogSegmentRecord)],
        new: &[(LogSegmentKey, Result<LogSegmentRecord>)],
    ) {
        let Some(path) = &self.path else { return };
        let old = old.iter().map(|(key, record)| (key, record));
        let mut new = new
            .iter()
            .filter_map(|(key, record)| Some((key, record.as_ref().ok()?)))
            .peekable();
        let kept = if unused.is_damaged || unused.records.len() > old.len() {
            replace_file(path, old.chain(new))
        } else if new.peek().is_some() {
            append_frame(path, new)
        } else {
            return;
        };
        if let Err(error) = kept {
            tracing::debug!(%error, "cannot write the local cache of log segment records");
        }
    }
}

type LogRecordRef<'a> = (&'a LogSegmentKey, &'a LogSegmentRecord);

fn append_frame<'a>(
    path: &Path,
    records: impl Iterator<Item = LogRecordRef<'a>>,
) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    let frame = encode_frame(records)?;
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(&frame)
}

fn replace_file<'a>(
    path: &Path,
    records: impl Iterator<Item = LogRecordRef<'a>>,
) -> std::io::Result<()> {
    let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&unfinished, encode_frame(records)?)?;
    fs::rename(&unfinished, path)
}

fn encode_frame<'a>(records: impl Iterator<Item = LogRecordRef<'a>>) -> std::io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), COMPRESSION_LEVEL)?;
    encoder.include_checksum(true)?;
    for (key, record) in records {
        let line = CachedLogRecord {
            id: key.id,
            size: key.size,
            record: record.clone(),
            signer: record.signer,
        };
        serde_json::to_writer(&mut encoder, &line)?;
        encoder.write_all(b"\n")?;
    }
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(range: std::ops::Range<u64>) -> Vec<(LogSegmentKey, LogSegmentRecord)> {
        let piece = |n: u64| {
            let id = ObjectId::from_content(&n.to_le_bytes());
            (
                LogSegmentKey::for_test(n, id, None),
                LogSegmentRecord::for_test(n, None),
            )
        };
        range.map(piece).collect()
    }

    fn good(
        pieces: Vec<(LogSegmentKey, LogSegmentRecord)>,
    ) -> Vec<(LogSegmentKey, Result<LogSegmentRecord>)> {
        let good = |(key, record)| (key, Ok(record));
        pieces.into_iter().map(good).collect()
    }

    /// How many of these log segments are cached.
    fn known(cache: &LogCache, pieces: &[(LogSegmentKey, LogSegmentRecord)]) -> usize {
        let mut cached = cache.load_records();
        let knows = |(key, record): &&(LogSegmentKey, LogSegmentRecord)| {
            cached.take_record(key).as_ref() == Some(record)
        };
        pieces.iter().filter(knows).count()
    }

    #[test]
    fn what_was_read_once_is_known_and_what_has_another_size_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let cache = LogCache::new(Some(directory.path()), "db");
        let all = segments(0..20);
        cache.store_records(&cache.load_records(), &[], &good(segments(0..10)));
        cache.store_records(
            &CachedLogRecords::default(),
            &segments(0..10),
            &good(segments(10..20)),
        );
        assert_eq!(known(&cache, &all), 20);
        let mut short = all[3].0.clone();
        short.size -= 1;
        assert!(cache.load_records().take_record(&short).is_none());
        assert_eq!(known(&LogCache::new(None, "db"), &all), 0);
    }

    #[test]
    fn a_torn_cache_gives_its_beginning_and_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let cache = LogCache::new(Some(directory.path()), "db");
        let all = segments(0..20);
        cache.store_records(&cache.load_records(), &[], &good(segments(0..10)));
        let path = directory.path().join("logs/db");
        let whole = fs::metadata(&path).unwrap().len();
        cache.store_records(
            &CachedLogRecords::default(),
            &segments(0..10),
            &good(segments(10..20)),
        );
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(whole + 20).unwrap();
        let torn = cache.load_records();
        assert!(torn.is_damaged);
        assert_eq!(known(&cache, &all), 10);
        cache.store_records(&torn, &segments(0..10), &good(segments(10..20)));
        assert_eq!(known(&cache, &all), 20);
        assert!(!cache.load_records().is_damaged);
        fs::write(&path, b"nonsense").unwrap();
        assert_eq!(known(&cache, &all), 0);
    }

    #[test]
    fn what_is_no_longer_stored_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let cache = LogCache::new(Some(directory.path()), "db");
        cache.store_records(&cache.load_records(), &[], &good(segments(0..20)));
        let mut cached = cache.load_records();
        let left = segments(18..20);
        left.iter()
            .for_each(|(key, _)| drop(cached.take_record(key)));
        cache.store_records(&cached, &left, &[]);
        assert_eq!(known(&cache, &segments(0..20)), 2);
    }
}
