//! The local cache of what pieces of logs say of themselves: a long log has a great many of them. It may vanish or be
//! damaged at any time; then the pieces are asked again.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::id::ObjectId;
use crate::logs::{LogKey, LogRecord};

/// How strongly it is compressed.
const LEVEL: i32 = 3;

/// Records in a file: zstd frames of JSON lines, each run's new ones behind those of the runs before.
#[derive(Debug)]
pub(crate) struct LogCache {
    path: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    id: ObjectId,
    /// The size of the whole piece: one that was cut off must not pass for whole.
    size: u64,
    record: LogRecord,
}

/// What is cached.
#[derive(Debug, Default)]
pub(crate) struct Cached {
    records: HashMap<ObjectId, (u64, LogRecord)>,
    /// Whether something behind it cannot be read.
    torn: bool,
}

impl Cached {
    /// The record of a piece, if it is known.
    pub(crate) fn take(&mut self, key: &LogKey) -> Option<LogRecord> {
        let (size, _) = self.records.get(&key.id)?;
        if *size != key.size {
            return None;
        }
        self.records.remove(&key.id).map(|(_, record)| record)
    }
}

impl LogCache {
    /// A cache in a folder, or none at all, of the log with this name.
    pub(crate) fn new(folder: Option<&Path>, name: &str) -> Self {
        Self {
            path: folder.map(|folder| folder.join("logs").join(name)),
        }
    }

    /// Everything that can be read.
    pub(crate) fn read(&self) -> Cached {
        let mut cached = Cached::default();
        let Some(file) = self
            .path
            .as_ref()
            .and_then(|path| fs::File::open(path).ok())
        else {
            return cached;
        };
        let Ok(decoder) = zstd::Decoder::new(file) else {
            cached.torn = true;
            return cached;
        };
        for line in BufReader::new(decoder).lines() {
            let parsed = line.ok().and_then(|line| serde_json::from_str(&line).ok());
            let Some(Line { id, size, record }) = parsed else {
                cached.torn = true;
                break;
            };
            cached.records.insert(id, (size, record));
        }
        cached
    }

    /// Keeps records: the new ones behind those that are there, or, where much of that is of no use any more (`unused`
    /// is what nobody took), all of them in its place. When that fails, it only costs time.
    pub(crate) fn keep(
        &self,
        unused: &Cached,
        old: &[(LogKey, LogRecord)],
        new: &[(LogKey, Result<LogRecord>)],
    ) {
        let Some(path) = &self.path else { return };
        let old = old.iter().map(|(key, record)| (key, record));
        let mut new = new
            .iter()
            .filter_map(|(key, record)| Some((key, record.as_ref().ok()?)))
            .peekable();
        let kept = if unused.torn || unused.records.len() > old.len() {
            replace(path, old.chain(new))
        } else if new.peek().is_some() {
            append(path, new)
        } else {
            return;
        };
        if let Err(error) = kept {
            tracing::debug!(%error, "cannot write the local cache of log segment records");
        }
    }
}

type Known<'a> = (&'a LogKey, &'a LogRecord);

fn append<'a>(path: &Path, records: impl Iterator<Item = Known<'a>>) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    let frame = frame(records)?;
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(&frame)
}

fn replace<'a>(path: &Path, records: impl Iterator<Item = Known<'a>>) -> std::io::Result<()> {
    let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&unfinished, frame(records)?)?;
    fs::rename(&unfinished, path)
}

fn frame<'a>(records: impl Iterator<Item = Known<'a>>) -> std::io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
    encoder.include_checksum(true)?;
    for (key, record) in records {
        let line = Line {
            id: key.id,
            size: key.size,
            record: record.clone(),
        };
        serde_json::to_writer(&mut encoder, &line)?;
        encoder.write_all(b"\n")?;
    }
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(range: std::ops::Range<u64>) -> Vec<(LogKey, LogRecord)> {
        let piece = |n: u64| {
            let id = ObjectId::of(&n.to_le_bytes());
            (LogKey::for_test(n, id, None), LogRecord::for_test(n, None))
        };
        range.map(piece).collect()
    }

    fn good(pieces: Vec<(LogKey, LogRecord)>) -> Vec<(LogKey, Result<LogRecord>)> {
        let good = |(key, record)| (key, Ok(record));
        pieces.into_iter().map(good).collect()
    }

    /// How many of these pieces the cache knows.
    fn known(cache: &LogCache, pieces: &[(LogKey, LogRecord)]) -> usize {
        let mut cached = cache.read();
        let knows =
            |(key, record): &&(LogKey, LogRecord)| cached.take(key).as_ref() == Some(record);
        pieces.iter().filter(knows).count()
    }

    #[test]
    fn what_was_read_once_is_known_and_what_has_another_size_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = LogCache::new(Some(folder.path()), "db");
        let all = pieces(0..20);
        cache.keep(&cache.read(), &[], &good(pieces(0..10)));
        cache.keep(&Cached::default(), &pieces(0..10), &good(pieces(10..20)));
        assert_eq!(known(&cache, &all), 20);
        let mut short = all[3].0.clone();
        short.size -= 1;
        assert!(cache.read().take(&short).is_none());
        assert_eq!(known(&LogCache::new(None, "db"), &all), 0);
    }

    #[test]
    fn a_torn_cache_gives_its_beginning_and_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let cache = LogCache::new(Some(folder.path()), "db");
        let all = pieces(0..20);
        cache.keep(&cache.read(), &[], &good(pieces(0..10)));
        let path = folder.path().join("logs/db");
        let whole = fs::metadata(&path).unwrap().len();
        cache.keep(&Cached::default(), &pieces(0..10), &good(pieces(10..20)));
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(whole + 20).unwrap();
        let torn = cache.read();
        assert!(torn.torn);
        assert_eq!(known(&cache, &all), 10);
        cache.keep(&torn, &pieces(0..10), &good(pieces(10..20)));
        assert_eq!(known(&cache, &all), 20);
        assert!(!cache.read().torn);
        fs::write(&path, b"nonsense").unwrap();
        assert_eq!(known(&cache, &all), 0);
    }

    #[test]
    fn what_is_no_longer_stored_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let cache = LogCache::new(Some(folder.path()), "db");
        cache.keep(&cache.read(), &[], &good(pieces(0..20)));
        let mut cached = cache.read();
        let left = pieces(18..20);
        left.iter().for_each(|(key, _)| drop(cached.take(key)));
        cache.keep(&cached, &left, &[]);
        assert_eq!(known(&cache, &pieces(0..20)), 2);
    }
}
