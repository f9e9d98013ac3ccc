//! Logs: what a source wrote between its snapshots, kept in pieces that follow each other.
//!
//! A piece is one object: the log's bytes (data class), then a signed record of what they are (catalog class), then
//! a trailer. Each record names the piece before it, so that a piece that is missing, repeated, reordered or forged
//! is found.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backend::ObjectKey;
use crate::envelope::{self, RecordKind};
use crate::error::{Error, ErrorClass, Result};
use crate::id::ObjectId;
use crate::log_cache::LogCache;
use crate::log_line::{Link, ReadPiece, line};
use crate::names::{is_piece, piece_in};
use crate::parallel::in_parallel;
use crate::repository::Repository;
use crate::stored::{put_verified, read_again};
use crate::tombstones::Tombstones;
use crate::trailer::{TRAILER_BYTES, described_length, trailer};

/// No piece has more plain bytes.
const PLAIN_BYTES_MAX: usize = 64 << 20;

/// No record is larger, stored or plain, in bytes.
const RECORD_BYTES_MAX: usize = 16 << 20;

/// So much of the end of a piece is read at first, in bytes: nearly every record is shorter.
const END_BYTES: u64 = 8 << 10;

/// How strongly a piece is compressed.
const LEVEL: i32 = 3;

/// Digits of a piece's number in its key.
const DIGITS: usize = 16;

/// What a piece is, before it is stored.
#[derive(Debug, Clone)]
pub struct NewLog {
    /// The source's name.
    pub source: String,
    /// Its place: the first has 1.
    pub sequence: u64,
    /// The piece before it; the first has none.
    pub previous: Option<ObjectId>,
    /// When it is made.
    pub written: DateTime<Utc>,
    /// What makes it, with version.
    pub program: String,
    /// What its content is; of a form that the source's kind knows. No names of contents.
    pub facts: serde_json::Value,
}

/// What a stored piece says of itself (catalog class).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogRecord {
    /// The source's name.
    pub source: String,
    /// Its place: the first has 1.
    pub sequence: u64,
    /// The piece before it; the first has none.
    pub previous: Option<ObjectId>,
    /// When it was made.
    pub written: DateTime<Utc>,
    /// What made it, with version.
    pub program: String,
    /// The length of the log's bytes.
    pub plain: u64,
    /// Their stored length.
    pub length: u64,
    /// The hash of the stored bytes.
    pub hash: ObjectId,
    /// What its content is.
    pub facts: serde_json::Value,
}

/// Where a stored piece is.
#[derive(Debug, Clone)]
pub struct LogKey {
    /// Its place, as its name says.
    pub sequence: u64,
    /// The hash of all its bytes, as its name says.
    pub id: ObjectId,
    /// Its stored bytes.
    pub size: u64,
    /// When the storage received it, by the storage's own clock; `None` where it does not tell, or was not asked.
    pub received: Option<DateTime<Utc>>,
    folder: String,
}

impl PartialEq for LogKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for LogKey {}

impl PartialOrd for LogKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LogKey {
    /// By place; it does not matter when it was received.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let parts = |key: &Self| (key.sequence, key.id, key.size);
        let folders = || self.folder.cmp(&other.folder);
        parts(self).cmp(&parts(other)).then_with(folders)
    }
}

impl LogKey {
    #[cfg(test)]
    pub(crate) fn for_test(sequence: u64, id: ObjectId, received: Option<DateTime<Utc>>) -> Self {
        Self {
            sequence,
            id,
            size: 1000,
            received,
            folder: "logs/test".to_owned(),
        }
    }

    pub(crate) fn object(&self) -> ObjectKey {
        object_key(&self.folder, self.sequence, &self.id)
    }
}

impl std::fmt::Display for LogKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.object().fmt(f)
    }
}

fn object_key(folder: &str, sequence: u64, id: &ObjectId) -> ObjectKey {
    ObjectKey::trusted(format!("{folder}/{sequence:0DIGITS$}.{id}"))
}

#[cfg(test)]
impl LogRecord {
    pub(crate) fn for_test(sequence: u64, previous: Option<ObjectId>) -> Self {
        Self {
            source: "db".to_owned(),
            sequence,
            previous,
            written: DateTime::UNIX_EPOCH,
            program: "a test".to_owned(),
            plain: sequence,
            length: sequence,
            hash: ObjectId::of(b"content"),
            facts: serde_json::json!({ "n": sequence }),
        }
    }
}

/// A source's log, as far as it is kept.
#[derive(Debug)]
pub struct KnownLog {
    /// The place of the first piece that is kept: what is before it may be gone. 1 if nothing is forgotten.
    pub first: u64,
    /// The pieces, by place.
    pub pieces: Vec<ReadPiece>,
}

impl KnownLog {
    /// In which order they belong together.
    #[must_use]
    pub fn line(&self) -> Vec<Link> {
        line(&self.pieces, self.first)
    }
}

/// A piece that is ready to be stored.
#[derive(Debug, Clone)]
pub struct SealedLog {
    key: LogKey,
    bytes: Bytes,
}

impl SealedLog {
    /// Where it belongs.
    #[must_use]
    pub fn key(&self) -> &LogKey {
        &self.key
    }

    /// All its bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl Repository {
    /// Compresses, encrypts and signs a piece.
    ///
    /// # Errors
    /// When this host has no writer's key, or sealing fails.
    pub fn seal_log(&self, new: &NewLog, plain: &[u8]) -> Result<SealedLog> {
        let internal = |error: &dyn std::fmt::Display| {
            Error::Internal(format!("cannot seal a log segment: {error}"))
        };
        let inner = &self.inner;
        let compressed = zstd::bulk::compress(plain, LEVEL).map_err(|e| internal(&e))?;
        // What cannot be read back must not be relied on.
        match envelope::decompresses_to(&compressed, PLAIN_BYTES_MAX, plain) {
            Ok(true) => {}
            Ok(false) => {
                return Err(internal(
                    &"decompressing it does not give the original bytes",
                ));
            }
            Err(reason) => return Err(internal(&reason)),
        }
        let mut bytes = inner.data_recipients.encrypt(&compressed)?;
        let record = LogRecord {
            source: new.source.clone(),
            sequence: new.sequence,
            previous: new.previous,
            written: new.written,
            program: new.program.clone(),
            plain: plain.len() as u64,
            length: bytes.len() as u64,
            hash: ObjectId::of(&bytes),
            facts: new.facts.clone(),
        };
        let json = serde_json::to_vec(&record).map_err(|e| internal(&e))?;
        let sealed = envelope::seal(
            RecordKind::Log,
            &json,
            &inner.catalog_recipients,
            &self.require_writer()?.signer,
            inner.trust.repository(),
        )?;
        bytes.extend_from_slice(&sealed);
        bytes.extend_from_slice(&trailer(sealed.len())?);
        Ok(self.log_of_bytes(&new.source, new.sequence, bytes.into()))
    }

    /// A sealed piece from its bytes, as they were kept outside of the repository for a while.
    #[must_use]
    pub fn log_of_bytes(&self, source: &str, sequence: u64, bytes: Bytes) -> SealedLog {
        SealedLog {
            key: LogKey {
                sequence,
                id: ObjectId::of(&bytes),
                size: bytes.len() as u64,
                received: None,
                folder: self.log_folder(source),
            },
            bytes,
        }
    }

    /// Stores a piece; once more if it is not known whether it was stored before.
    ///
    /// # Errors
    /// What the backend says. Only without an error it is stored.
    pub fn store_log(&self, sealed: &SealedLog) -> Result<()> {
        let key = &sealed.key;
        let backend = self.inner.backend.as_ref();
        let parts = [sealed.bytes.clone()];
        put_verified(backend, &key.object(), &parts, &key.id)
    }

    /// All pieces of a source's log in order. Two of the same place are both there.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn logs(&self, source: &str) -> Result<Vec<LogKey>> {
        self.logs_in(&self.log_folder(source))
    }

    /// The folders of all logs.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub(crate) fn log_folders(&self) -> Result<Vec<String>> {
        let listed = self.inner.list("logs")?;
        let folder = |key: &ObjectKey| {
            let (folder, _) = key.as_str().rsplit_once('/').filter(|_| is_piece(key))?;
            Some(folder.to_owned())
        };
        let mut folders: Vec<String> = listed.iter().filter_map(|info| folder(&info.key)).collect();
        folders.sort();
        folders.dedup();
        Ok(folders)
    }

    pub(crate) fn logs_in(&self, folder: &str) -> Result<Vec<LogKey>> {
        let listed = self.inner.list(folder)?.into_iter();
        let mut keys: Vec<LogKey> = listed
            .filter_map(|info| {
                let (sequence, id) = piece_in(folder, &info.key)?;
                Some(LogKey {
                    sequence,
                    id,
                    size: info.size_bytes,
                    received: info.received,
                    folder: folder.to_owned(),
                })
            })
            .collect();
        keys.sort();
        Ok(keys)
    }

    /// What a piece says of itself. Its content is not read.
    ///
    /// # Errors
    /// [`Error::Damaged`] names the piece.
    pub fn log_record(&self, key: &LogKey) -> Result<LogRecord> {
        read_again(self.inner.backend.as_ref(), || {
            let end = self.log_end(key, key.size.min(END_BYTES))?;
            let length = record_length(key, &end)?;
            let end = match length + TRAILER_BYTES > end.len() as u64 {
                true => self.log_end(key, length + TRAILER_BYTES)?,
                false => end,
            };
            let (record, _) = self.parse_log(key, &end)?;
            Ok(record)
        })
    }

    fn log_end(&self, key: &LogKey, bytes: u64) -> Result<Vec<u8>> {
        if key.size < TRAILER_BYTES {
            return Err(Error::damaged(key, "it is shorter than a trailer"));
        }
        let range = Some(key.size - bytes..key.size);
        let read = self.inner.backend.get(&key.object(), range);
        read.map_err(|source| self.inner.failed(source))
    }

    /// The record at the end of some bytes, and where it begins in them.
    fn parse_log(&self, key: &LogKey, end: &[u8]) -> Result<(LogRecord, usize)> {
        let inner = &self.inner;
        let length = record_length(key, end)?;
        let until = end.len() - TRAILER_BYTES as usize;
        let begin = usize::try_from(length)
            .ok()
            .and_then(|length| until.checked_sub(length))
            .ok_or_else(|| Error::damaged(key, "it is shorter than its record"))?;
        let verified = envelope::verify(RecordKind::Log, &end[begin..until], key, &inner.trust)?;
        let recipients = inner.catalog_recipients.texts();
        let json = verified.open(&inner.identities, key, recipients, RECORD_BYTES_MAX)?;
        let record: LogRecord = serde_json::from_slice(&json)
            .map_err(|e| Error::damaged(key, format!("its record cannot be read: {e}")))?;
        if record.sequence != key.sequence || self.log_folder(&record.source) != key.folder {
            return Err(Error::damaged(
                key,
                format!(
                    "its record says segment {} of the log of {}, which does not match its object name",
                    record.sequence, record.source
                ),
            ));
        }
        if record.length + length + TRAILER_BYTES != key.size {
            return Err(Error::damaged(key, "its size does not match its record"));
        }
        Ok((record, begin))
    }

    /// All pieces of a source's log that are not forgotten, and what they say of themselves: as the cache knows it, or
    /// as it is stored.
    ///
    /// # Errors
    /// As for [`Self::log_records`].
    pub fn known_log(&self, source: &str) -> Result<KnownLog> {
        let first = self.tombstones()?.log_begins(source);
        let cache = LogCache::new(self.cache(), &self.log_name(source));
        let mut cached = cache.read();
        let kept = self.logs(source)?.into_iter();
        let kept = kept.filter(|key| key.sequence >= first);
        let known = kept.map(|key| {
            let record = cached.take(&key);
            (key, record)
        });
        let (old, new): (Vec<_>, Vec<_>) = known.partition(|(_, record)| record.is_some());
        let new: Vec<LogKey> = new.into_iter().map(|(key, _)| key).collect();
        let read = self.log_records(&new)?;
        let new: Vec<(LogKey, Result<LogRecord>)> = new.into_iter().zip(read).collect();
        let old = old
            .into_iter()
            .filter_map(|(key, record)| Some((key, record?)));
        let old: Vec<(LogKey, LogRecord)> = old.collect();
        cache.keep(&cached, &old, &new);
        let old = old.into_iter().map(|(key, record)| (key, Ok(record)));
        let mut pieces: Vec<_> = old.chain(new).collect();
        pieces.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(KnownLog { first, pieces })
    }

    /// The same of the log in a folder, as it is stored.
    pub(crate) fn stored_log(&self, folder: &str, tombstones: &Tombstones) -> Result<KnownLog> {
        let first = self.log_begins(folder, tombstones);
        let mut keys = self.logs_in(folder)?;
        keys.retain(|key| key.sequence >= first);
        let records = self.log_records(&keys)?;
        Ok(KnownLog {
            first,
            pieces: keys.into_iter().zip(records).collect(),
        })
    }

    /// The place of the first piece that is kept of the log in a folder.
    pub(crate) fn log_begins(&self, folder: &str, tombstones: &Tombstones) -> u64 {
        let of_folder = tombstones
            .logs()
            .filter(|(source, _)| self.log_folder(source) == folder);
        of_folder
            .map(|(source, _)| tombstones.log_begins(source))
            .max()
            .unwrap_or(1)
    }

    /// What many pieces say of themselves, in the same order, as it is stored.
    ///
    /// # Errors
    /// When the storage does not answer. What is wrong with a single piece is in its place.
    pub fn log_records(&self, keys: &[LogKey]) -> Result<Vec<Result<LogRecord>>> {
        let readers = self.inner.backend.abilities().parallel_reads;
        let records = in_parallel(readers, keys, |key| self.log_record(key));
        records
            .into_iter()
            .map(|record| match record {
                Err(error) if error.class() == ErrorClass::Failed => Err(error),
                record => Ok(record),
            })
            .collect()
    }

    /// What a piece that is not stored yet says of itself.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn sealed_record(&self, sealed: &SealedLog) -> Result<LogRecord> {
        self.parse_log(&sealed.key, &sealed.bytes)
            .map(|(record, _)| record)
    }

    /// A piece, whole: what it says of itself, and the log's bytes.
    ///
    /// # Errors
    /// [`Error::Damaged`] names the piece, [`Error::NoMatchingIdentity`] the recipients.
    pub fn log_content(&self, key: &LogKey) -> Result<(LogRecord, Vec<u8>)> {
        let (record, bytes) = self.log_whole(key)?;
        let inner = &self.inner;
        let compressed = inner.identities.decrypt(
            &bytes,
            key,
            inner.data_recipients.texts(),
            PLAIN_BYTES_MAX,
        )?;
        let plain = envelope::decompress(&compressed, PLAIN_BYTES_MAX)
            .map_err(|reason| Error::damaged(key, reason))?;
        if plain.len() as u64 != record.plain {
            return Err(Error::damaged(
                key,
                "the length of its content does not match its record",
            ));
        }
        Ok((record, plain))
    }

    /// All bytes of a piece, which are what its name says.
    pub(crate) fn log_bytes(&self, key: &LogKey) -> Result<Vec<u8>> {
        read_again(self.inner.backend.as_ref(), || self.log_bytes_once(key))
    }

    fn log_bytes_once(&self, key: &LogKey) -> Result<Vec<u8>> {
        let read = self.inner.backend.get(&key.object(), None);
        let bytes = read.map_err(|source| self.inner.failed(source))?;
        match ObjectId::of(&bytes) == key.id {
            true => Ok(bytes),
            false => Err(Error::damaged(key, "content does not match its hash")),
        }
    }

    /// A piece's record, and its encrypted content, each compared with its hash.
    fn log_whole(&self, key: &LogKey) -> Result<(LogRecord, Vec<u8>)> {
        read_again(self.inner.backend.as_ref(), || {
            let mut bytes = self.log_bytes_once(key)?;
            let (record, begin) = self.parse_log(key, &bytes)?;
            bytes.truncate(begin);
            if ObjectId::of(&bytes) != record.hash {
                return Err(Error::damaged(
                    key,
                    "its content does not match the hash in its record",
                ));
            }
            Ok((record, bytes))
        })
    }

    /// What stands for a source in the names of its log's pieces: 32 hexadecimal digits.
    #[must_use]
    pub fn log_name(&self, source: &str) -> String {
        let folder = self.log_folder(source);
        folder.trim_start_matches("logs/").to_owned()
    }

    /// Names of sources are not names of objects.
    fn log_folder(&self, source: &str) -> String {
        let mut hasher = self.inner.secrets.keyed_hasher();
        hasher.update(b"log of ");
        hasher.update(source.as_bytes());
        format!("logs/{}", &hasher.finalize().to_hex()[..32])
    }
}

fn record_length(key: &LogKey, end: &[u8]) -> Result<u64> {
    let trailer = end
        .len()
        .checked_sub(TRAILER_BYTES as usize)
        .map(|begin| &end[begin..])
        .ok_or_else(|| Error::damaged(key, "it is shorter than a trailer"))?;
    described_length(trailer, key.size, RECORD_BYTES_MAX as u64)
        .map_err(|reason| Error::damaged(key, reason))
}
