//! Logs: what a source wrote between its snapshots, kept in consecutive segments.
//!
//! A log segment is one object: the log's bytes (data class), then a signed record that describes them (catalog class),
//! then a trailer. Each record names the segment before it, so that a segment that is missing, repeated, reordered or
//! forged is found.

use bytes::Bytes;

use crate::backend::ObjectKey;
use crate::crypto::encryption::RecipientClass;
use crate::crypto::envelope::{self, RecordKind};
use crate::error::{Error, ErrorClass, Result};
use crate::format::names::{LOG_SEQUENCE_MAX, is_log_segment, log_segment_from_key};
use crate::format::trailer::{TRAILER_BYTES, encode_trailer, parse_trailer};
use crate::id::ObjectId;
use crate::log::cache::LogCache;
use crate::log::chain::{ListedLogSegment, LogChainLink, build_log_chain, strangers_in_log};
use crate::log::segment_record::{LogSegmentKey, LogSegmentRecord, NewLogSegment};
use crate::parallel::map_in_parallel;
use crate::records::tombstones::Tombstones;
use crate::store::Repository;
use crate::store::verified_io::{put_verified, read_with_retries};

/// The maximum plain size of a log segment, in bytes.
const PLAIN_BYTES_MAX: usize = 64 << 20;

/// The maximum size of a record, stored or plain, in bytes.
const RECORD_BYTES_MAX: usize = 16 << 20;

/// How much of the end of a log segment is read at first, in bytes: nearly every record is shorter.
const TAIL_BYTES: u64 = 8 << 10;

/// The compression level of a log segment.
const COMPRESSION_LEVEL: i32 = 3;

/// A source's log, as far as it is kept.
#[derive(Debug)]
pub struct SourceLog {
    /// The sequence number of the first segment that is kept: earlier ones may be deleted. 1 if nothing is forgotten.
    pub first_sequence: u64,
    /// The segments, by sequence number.
    pub segments: Vec<ListedLogSegment>,
}

impl SourceLog {
    /// The order of its segments.
    #[must_use]
    pub fn chain(&self) -> Vec<LogChainLink> {
        build_log_chain(&self.segments, self.first_sequence)
    }
}

/// A log segment that is ready to be stored.
#[derive(Debug, Clone)]
pub struct SealedLogSegment {
    key: LogSegmentKey,
    bytes: Bytes,
}

impl SealedLogSegment {
    /// Where it is stored.
    #[must_use]
    pub fn key(&self) -> &LogSegmentKey {
        &self.key
    }

    /// All its bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl Repository {
    /// Compresses, encrypts and signs a log segment.
    ///
    /// # Errors
    /// When this host has no writer's key, or sealing fails.
    pub fn seal_log_segment(&self, new: &NewLogSegment, plain: &[u8]) -> Result<SealedLogSegment> {
        let internal = |error: &dyn std::fmt::Display| {
            Error::Internal(format!("cannot seal a log segment: {error}"))
        };
        let inner = &self.inner;
        if !(1..=LOG_SEQUENCE_MAX).contains(&new.sequence) {
            return Err(internal(&format!(
                "{} is not the number of a log segment",
                new.sequence
            )));
        }
        let compressed =
            zstd::bulk::compress(plain, COMPRESSION_LEVEL).map_err(|e| internal(&e))?;
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
        let record = LogSegmentRecord {
            source: new.source.clone(),
            sequence: new.sequence,
            previous: new.previous,
            written: new.written,
            program: new.program.clone(),
            plain: plain.len() as u64,
            length: bytes.len() as u64,
            hash: ObjectId::from_content(&bytes),
            facts: new.facts.clone(),
            recipients: Some(inner.data_recipients.recipient_set_id()),
            signer: None,
        };
        let json = serde_json::to_vec(&record).map_err(|e| internal(&e))?;
        let sealed = envelope::seal_record(
            RecordKind::Log,
            &json,
            &inner.catalog_recipients,
            &self.require_writer()?.signer,
            inner.trust.repository(),
        )?;
        bytes.extend_from_slice(&sealed);
        bytes.extend_from_slice(&encode_trailer(sealed.len())?);
        Ok(self.log_segment_from_bytes(&new.source, new.sequence, bytes.into()))
    }

    /// A sealed log segment from its bytes, as they were kept outside of the repository for a while.
    #[must_use]
    pub fn log_segment_from_bytes(
        &self,
        source: &str,
        sequence: u64,
        bytes: Bytes,
    ) -> SealedLogSegment {
        SealedLogSegment {
            key: LogSegmentKey {
                sequence,
                id: ObjectId::from_content(&bytes),
                size: bytes.len() as u64,
                received: None,
                directory: self.log_directory(source),
            },
            bytes,
        }
    }

    /// Stores a log segment; stores it again if it is not known whether it was stored before.
    ///
    /// # Errors
    /// Errors of the backend. Only without an error is it stored.
    pub fn store_log_segment(&self, sealed: &SealedLogSegment) -> Result<()> {
        let key = &sealed.key;
        let backend = self.inner.backend.as_ref();
        let parts = [sealed.bytes.clone()];
        put_verified(backend, &key.to_object_key(), &parts, &key.id)
    }

    /// All segments of a source's log in order. Two with the same sequence number are both listed.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn list_log_segments(&self, source: &str) -> Result<Vec<LogSegmentKey>> {
        self.list_log_segments_in(&self.log_directory(source))
    }

    /// The directories of all logs.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub(crate) fn log_directories(&self) -> Result<Vec<String>> {
        let listed = self.inner.list_objects("logs")?;
        let directory = |key: &ObjectKey| {
            let (directory, _) = key
                .as_str()
                .rsplit_once('/')
                .filter(|_| is_log_segment(key))?;
            Some(directory.to_owned())
        };
        let mut directories: Vec<String> = listed
            .iter()
            .filter_map(|info| directory(&info.key))
            .collect();
        directories.sort();
        directories.dedup();
        Ok(directories)
    }

    pub(crate) fn list_log_segments_in(&self, folder: &str) -> Result<Vec<LogSegmentKey>> {
        let listed = self.inner.list_objects(folder)?.into_iter();
        let mut keys: Vec<LogSegmentKey> = listed
            .filter_map(|info| {
                let (sequence, id) = log_segment_from_key(folder, &info.key)?;
                Some(LogSegmentKey {
                    sequence,
                    id,
                    size: info.size_bytes,
                    received: info.received,
                    directory: folder.to_owned(),
                })
            })
            .collect();
        keys.sort();
        Ok(keys)
    }

    /// The record of a log segment. Its content is not read.
    ///
    /// # Errors
    /// [`Error::Damaged`] names the log segment.
    pub fn read_log_record(&self, key: &LogSegmentKey) -> Result<LogSegmentRecord> {
        read_with_retries(self.inner.backend.as_ref(), || {
            let end = self.read_log_tail(key, key.size.min(TAIL_BYTES))?;
            let length = record_length(key, &end)?;
            let end = match length + TRAILER_BYTES > end.len() as u64 {
                true => self.read_log_tail(key, length + TRAILER_BYTES)?,
                false => end,
            };
            let (record, _) = self.parse_log_segment(key, &end)?;
            Ok(record)
        })
    }

    fn read_log_tail(&self, key: &LogSegmentKey, bytes: u64) -> Result<Vec<u8>> {
        if key.size < TRAILER_BYTES {
            return Err(Error::damaged_object(key, "it is shorter than a trailer"));
        }
        let range = Some(key.size - bytes..key.size);
        let read = self.inner.backend.get(&key.to_object_key(), range);
        read.map_err(|source| self.inner.backend_error(source))
    }

    /// The record at the end of some bytes, and where it begins in them.
    fn parse_log_segment(
        &self,
        key: &LogSegmentKey,
        end: &[u8],
    ) -> Result<(LogSegmentRecord, usize)> {
        let inner = &self.inner;
        let length = record_length(key, end)?;
        let until = end.len() - TRAILER_BYTES as usize;
        let begin = usize::try_from(length)
            .ok()
            .and_then(|length| until.checked_sub(length))
            .ok_or_else(|| Error::damaged_object(key, "it is shorter than its record"))?;
        let verified =
            envelope::verify_record(RecordKind::Log, &end[begin..until], key, &inner.trust)?;
        let recipients = inner.readers(RecipientClass::Catalog);
        let json = verified.open(&inner.identities, key, recipients, RECORD_BYTES_MAX)?;
        let mut record: LogSegmentRecord = serde_json::from_slice(&json)
            .map_err(|e| Error::damaged_object(key, format!("its record cannot be read: {e}")))?;
        if record.sequence != key.sequence || self.log_directory(&record.source) != key.directory {
            return Err(Error::damaged_object(
                key,
                format!(
                    "its record says segment {} of the log of {}, which does not match its object name",
                    record.sequence, record.source
                ),
            ));
        }
        record.signer = Some(verified.signer);
        let size = record.length.checked_add(length + TRAILER_BYTES);
        if size != Some(key.size) {
            return Err(Error::damaged_object(
                key,
                "its size does not match its record",
            ));
        }
        Ok((record, begin))
    }

    /// All segments of a source's log that are not forgotten, with their records: from the cache, or as stored.
    ///
    /// # Errors
    /// As for [`Self::read_log_records`].
    pub fn load_log(&self, source: &str) -> Result<SourceLog> {
        let first = self.read_tombstones()?.first_kept_segment(source);
        let cache = LogCache::new(self.cache_dir(), &self.log_name(source));
        let mut cached = cache.load_records();
        let kept = self.list_log_segments(source)?.into_iter();
        let kept = kept.filter(|key| key.sequence >= first);
        let known = kept.map(|key| {
            let record = cached.take_record(&key);
            (key, record)
        });
        let (old, new): (Vec<_>, Vec<_>) = known.partition(|(_, record)| record.is_some());
        let new: Vec<LogSegmentKey> = new.into_iter().map(|(key, _)| key).collect();
        let read = self.read_log_records(&new)?;
        let new: Vec<(LogSegmentKey, Result<LogSegmentRecord>)> =
            new.into_iter().zip(read).collect();
        let old = old
            .into_iter()
            .filter_map(|(key, record)| Some((key, record?)));
        let old: Vec<(LogSegmentKey, LogSegmentRecord)> = old.collect();
        cache.store_records(&cached, &old, &new);
        let old = old.into_iter().map(|(key, record)| (key, Ok(record)));
        let mut pieces: Vec<_> = old.chain(new).collect();
        pieces.sort_by(|(one, _), (other, _)| one.cmp(other));
        for index in strangers_in_log(&pieces) {
            let key = &pieces[index].0;
            tracing::warn!(%key, "a log segment is ignored: another signer has signed it than the log before it, and it does not continue the log");
        }
        Ok(SourceLog {
            first_sequence: first,
            segments: pieces,
        })
    }

    /// The same for the log in a directory, as stored.
    pub(crate) fn load_stored_log(
        &self,
        directory: &str,
        tombstones: &Tombstones,
    ) -> Result<SourceLog> {
        let first = self.first_log_sequence(directory, tombstones);
        let mut keys = self.list_log_segments_in(directory)?;
        keys.retain(|key| key.sequence >= first);
        let records = self.read_log_records(&keys)?;
        Ok(SourceLog {
            first_sequence: first,
            segments: keys.into_iter().zip(records).collect(),
        })
    }

    /// The sequence number of the first segment that is kept of the log in a directory.
    pub(crate) fn first_log_sequence(&self, directory: &str, tombstones: &Tombstones) -> u64 {
        let of_folder = tombstones
            .forgotten_logs()
            .filter(|(source, _)| self.log_directory(source) == directory);
        of_folder
            .map(|(source, _)| tombstones.first_kept_segment(source))
            .max()
            .unwrap_or(1)
    }

    /// The records of many log segments, in the same order, as stored.
    ///
    /// # Errors
    /// When the storage does not respond. An error of a single log segment is returned in its slot.
    pub fn read_log_records(
        &self,
        keys: &[LogSegmentKey],
    ) -> Result<Vec<Result<LogSegmentRecord>>> {
        let readers = self.inner.backend.capabilities().parallel_reads;
        let records = map_in_parallel(readers, keys, |key| self.read_log_record(key));
        records
            .into_iter()
            .map(|record| match record {
                Err(error) if error.class() == ErrorClass::Failed => Err(error),
                record => Ok(record),
            })
            .collect()
    }

    /// The record of a log segment that is not stored yet.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn read_sealed_record(&self, sealed: &SealedLogSegment) -> Result<LogSegmentRecord> {
        self.parse_log_segment(&sealed.key, &sealed.bytes)
            .map(|(record, _)| record)
    }

    /// A whole log segment: its record, and the log's bytes.
    ///
    /// # Errors
    /// [`Error::Damaged`] names the log segment, [`Error::NoMatchingIdentity`] the recipients.
    pub fn read_log_segment(&self, key: &LogSegmentKey) -> Result<(LogSegmentRecord, Vec<u8>)> {
        let (record, bytes) = self.read_encrypted_log_segment(key)?;
        let inner = &self.inner;
        let compressed = inner.identities.decrypt(
            &bytes,
            key,
            inner.readers(RecipientClass::Data),
            PLAIN_BYTES_MAX,
        )?;
        let plain = envelope::decompress_frame(&compressed, PLAIN_BYTES_MAX)
            .map_err(|reason| Error::damaged_object(key, reason))?;
        if plain.len() as u64 != record.plain {
            return Err(Error::damaged_object(
                key,
                "the length of its content does not match its record",
            ));
        }
        Ok((record, plain))
    }

    /// All bytes of a log segment, which match the hash in its name.
    pub(crate) fn read_log_bytes(&self, key: &LogSegmentKey) -> Result<Vec<u8>> {
        read_with_retries(self.inner.backend.as_ref(), || {
            self.read_log_bytes_once(key)
        })
    }

    fn read_log_bytes_once(&self, key: &LogSegmentKey) -> Result<Vec<u8>> {
        let read = self.inner.backend.get(&key.to_object_key(), None);
        let bytes = read.map_err(|source| self.inner.backend_error(source))?;
        match ObjectId::from_content(&bytes) == key.id {
            true => Ok(bytes),
            false => Err(Error::damaged_object(
                key,
                "content does not match its hash",
            )),
        }
    }

    /// A log segment's record and its encrypted content, each compared with its hash.
    fn read_encrypted_log_segment(
        &self,
        key: &LogSegmentKey,
    ) -> Result<(LogSegmentRecord, Vec<u8>)> {
        read_with_retries(self.inner.backend.as_ref(), || {
            let mut bytes = self.read_log_bytes_once(key)?;
            let (record, begin) = self.parse_log_segment(key, &bytes)?;
            bytes.truncate(begin);
            if ObjectId::from_content(&bytes) != record.hash {
                return Err(Error::damaged_object(
                    key,
                    "its content does not match the hash in its record",
                ));
            }
            Ok((record, bytes))
        })
    }

    /// What represents a source in the names of its log segments: 32 hexadecimal digits.
    #[must_use]
    pub fn log_name(&self, source: &str) -> String {
        let directory = self.log_directory(source);
        directory.trim_start_matches("logs/").to_owned()
    }

    /// Names of sources are not object IDs.
    fn log_directory(&self, source: &str) -> String {
        let mut hasher = self.inner.secrets.keyed_hasher();
        hasher.update(b"log of ");
        hasher.update(source.as_bytes());
        format!("logs/{}", &hasher.finalize().to_hex()[..32])
    }
}

fn record_length(key: &LogSegmentKey, end: &[u8]) -> Result<u64> {
    let trailer = end
        .len()
        .checked_sub(TRAILER_BYTES as usize)
        .map(|begin| &end[begin..])
        .ok_or_else(|| Error::damaged_object(key, "it is shorter than a trailer"))?;
    parse_trailer(trailer, key.size, RECORD_BYTES_MAX as u64)
        .map_err(|reason| Error::damaged_object(key, reason))
}
