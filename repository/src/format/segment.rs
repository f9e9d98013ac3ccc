//! Segments: about 4 MiB of chunks, one zstd frame in one complete age file.

use serde::{Deserialize, Serialize};

use crate::crypto::encryption::{Identities, RecipientClass, Recipients};
use crate::crypto::envelope::decompress_frame;
use crate::error::{Error, Result};
use crate::id::{ChunkId, ObjectId};

/// The compression window of all segments: it spans a whole segment.
const WINDOW_LOG: u32 = 22;

/// Most text rewards a thorough search; higher levels cost more time than they save space.
const TEXT_LEVEL: i32 = 3;

/// Machine code and other binary data: the fast strategy with a large table and long matches. In trials
/// (`docs/performance.md`) it needed a quarter less time than level 3 for 0.3 % more space.
const BINARY_LEVEL: i32 = 1;
const BINARY_HASH_LOG: u32 = 18;
const BINARY_MIN_MATCH: u32 = 6;

/// Text that shrinks by less than this share with a thorough search gets the fastest one: digits and other database
/// rows take five times as long with it, and come out larger.
const ROWS_LEVEL: i32 = 1;
const GAIN_MIN_PERCENT: usize = 3;

/// Size of the sample that shows what a thorough search gains.
const TRIAL_BYTES: usize = 64 << 10;

/// This many samples of this many bytes decide whether a segment is text.
const SAMPLES: usize = 16;
const SAMPLE_BYTES: usize = 512;

/// A chunk's offset in its segment's plain bytes follows from the chunks before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChunkInSegment(pub ChunkId, pub u32);

/// A segment in pack directories and index fragments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentRecord {
    /// The recipient class it is encrypted to.
    pub class: RecipientClass,
    /// The offset of its first byte in the pack.
    pub offset: u64,
    /// Its stored size in bytes.
    pub length: u32,
    /// Its plain size in bytes, after decryption and decompression.
    pub plain: u32,
    /// BLAKE3 of its stored bytes: proves it intact without any identity.
    pub hash: ObjectId,
    /// Its chunks in order: ID and plain size in bytes of each.
    pub chunks: Vec<ChunkInSegment>,
    /// The set of recipients that it is encrypted to: see [`Recipients::recipient_set_id`]. An age file does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<ObjectId>,
}

impl SegmentRecord {
    /// Its stored bytes in those of its pack; none when the pack is too short, which its hash reveals.
    pub(crate) fn stored_bytes_in<'a>(&self, pack: &'a [u8]) -> &'a [u8] {
        let start = usize::try_from(self.offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(self.length as usize);
        pack.get(start..end).unwrap_or_default()
    }

    /// Checks that the numbers are consistent.
    ///
    /// # Errors
    /// The first inconsistency, as a sentence.
    pub(crate) fn check_sizes(&self, plain_max: usize) -> Result<(), String> {
        let sum: u64 = self.chunks.iter().map(|chunk| u64::from(chunk.1)).sum();
        if sum != u64::from(self.plain) {
            return Err("the sizes of a segment's chunks do not add up to its size".to_owned());
        }
        if self.plain as usize > plain_max {
            return Err(format!(
                "a segment claims {} plain bytes, more than the maximum",
                self.plain
            ));
        }
        // Incompressible input grows by zstd's and age's overhead only.
        if self.length as usize > plain_max + plain_max / 128 + (1 << 20) {
            return Err(format!(
                "a segment claims {} stored bytes, more than the maximum",
                self.length
            ));
        }
        Ok(())
    }
}

/// A finished segment on its way into a pack.
#[derive(Debug)]
pub(crate) struct SealedSegment {
    pub(crate) class: RecipientClass,
    pub(crate) stored: Vec<u8>,
    /// BLAKE3 of the stored bytes, computed where the segment was sealed or checked.
    pub(crate) hash: ObjectId,
    pub(crate) plain_length: u32,
    pub(crate) chunks: Vec<ChunkInSegment>,
    /// The set of recipients that it is encrypted to, if known.
    pub(crate) recipients: Option<ObjectId>,
}

impl SealedSegment {
    /// A stored segment on its way into another pack, checked against its record.
    ///
    /// # Errors
    /// [`Error::Damaged`] when they differ.
    pub(crate) fn from_stored(record: SegmentRecord, stored: &[u8], object: &str) -> Result<Self> {
        check_stored_segment(&record, stored, object)?;
        Ok(Self {
            class: record.class,
            stored: stored.to_vec(),
            hash: record.hash,
            plain_length: record.plain,
            chunks: record.chunks,
            recipients: record.recipients,
        })
    }
}

/// Collects chunks and seals them into a segment.
pub(crate) struct SegmentBuilder {
    class: RecipientClass,
    recipients: Recipients,
    recipient_set: ObjectId,
    plain: Vec<u8>,
    chunks: Vec<ChunkInSegment>,
    compressors: Compressors,
    decompressor: zstd::bulk::Decompressor<'static>,
    decompressed: Vec<u8>,
}

impl SegmentBuilder {
    pub(crate) fn new(class: RecipientClass, recipients: Recipients) -> Result<Self> {
        Ok(Self {
            class,
            recipient_set: recipients.recipient_set_id(),
            recipients,
            plain: Vec::new(),
            chunks: Vec::new(),
            compressors: Compressors::new().map_err(|e| zstd_error(&e))?,
            decompressor: zstd::bulk::Decompressor::new().map_err(|e| zstd_error(&e))?,
            decompressed: Vec::new(),
        })
    }

    pub(crate) fn class(&self) -> RecipientClass {
        self.class
    }

    pub(crate) fn plain_bytes(&self) -> usize {
        self.plain.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Space at the end for a chunk that is read in place; `keep_tail` or `drop_tail` decides on it.
    pub(crate) fn tail_buffer(&mut self) -> &mut Vec<u8> {
        &mut self.plain
    }

    pub(crate) fn keep_tail(&mut self, start: usize, id: ChunkId) -> Result<()> {
        let length = u32::try_from(self.plain.len() - start)
            .map_err(|_| Error::Internal("a chunk of more than 4 GiB".to_owned()))?;
        self.chunks.push(ChunkInSegment(id, length));
        Ok(())
    }

    pub(crate) fn drop_tail(&mut self, start: usize) {
        self.plain.truncate(start);
    }

    pub(crate) fn push(&mut self, id: ChunkId, bytes: &[u8]) -> Result<()> {
        let start = self.plain.len();
        self.plain.extend_from_slice(bytes);
        self.keep_tail(start, id)
    }

    /// Compresses, decompresses to verify, encrypts, hashes, and resets to empty.
    pub(crate) fn seal(&mut self) -> Result<SealedSegment> {
        let compressed = self
            .compressors
            .compress(&self.plain)
            .map_err(|e| zstd_error(&e))?;
        self.decompressed.resize(self.plain.len(), 0);
        let length = self
            .decompressor
            .decompress_to_buffer(&compressed, &mut self.decompressed[..])
            .map_err(|e| zstd_error(&e))?;
        if length != self.plain.len() || self.decompressed != self.plain {
            return Err(Error::Internal(
                "a compressed segment does not decompress to its original content: this machine's memory may be faulty"
                    .to_owned(),
            ));
        }
        let stored = self.recipients.encrypt(&compressed)?;
        let plain_length = u32::try_from(self.plain.len())
            .map_err(|_| Error::Internal("a segment of more than 4 GiB".to_owned()))?;
        self.plain.clear();
        Ok(SealedSegment {
            class: self.class,
            hash: ObjectId::from_content(&stored),
            stored,
            plain_length,
            chunks: std::mem::take(&mut self.chunks),
            recipients: Some(self.recipient_set),
        })
    }
}

/// One compressor for text, one for text without patterns, one for everything else.
struct Compressors {
    text: zstd::bulk::Compressor<'static>,
    rows: zstd::bulk::Compressor<'static>,
    binary: zstd::bulk::Compressor<'static>,
}

impl Compressors {
    fn new() -> std::io::Result<Self> {
        use zstd::zstd_safe::CParameter;
        let mut text = zstd::bulk::Compressor::new(TEXT_LEVEL)?;
        let mut rows = zstd::bulk::Compressor::new(ROWS_LEVEL)?;
        let mut binary = zstd::bulk::Compressor::new(BINARY_LEVEL)?;
        binary.set_parameter(CParameter::HashLog(BINARY_HASH_LOG))?;
        binary.set_parameter(CParameter::MinMatch(BINARY_MIN_MATCH))?;
        for compressor in [&mut text, &mut rows, &mut binary] {
            compressor.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
            // With the frame's own checksum, `zstd -d` finds damage when used by hand.
            compressor.include_checksum(true)?;
        }
        Ok(Self { text, rows, binary })
    }

    fn compress(&mut self, plain: &[u8]) -> std::io::Result<Vec<u8>> {
        if !is_mostly_text(plain) {
            self.binary.compress(plain)
        } else if self.gains_from_search(plain)? {
            self.text.compress(plain)
        } else {
            self.rows.compress(plain)
        }
    }

    /// Whether a sample from the middle gets clearly smaller with a thorough search.
    fn gains_from_search(&mut self, plain: &[u8]) -> std::io::Result<bool> {
        let start = plain.len().saturating_sub(TRIAL_BYTES) / 2;
        let stretch = &plain[start..plain.len().min(start + TRIAL_BYTES)];
        let thorough = self.text.compress(stretch)?.len();
        let fast = self.rows.compress(stretch)?.len();
        Ok(thorough * 100 < fast * (100 - GAIN_MIN_PERCENT))
    }
}

/// Whether at least nine of ten sampled bytes are printable ASCII or white space.
fn is_mostly_text(plain: &[u8]) -> bool {
    let step = (plain.len() / SAMPLES).max(SAMPLE_BYTES);
    let sampled = plain
        .chunks(step)
        .flat_map(|part| &part[..part.len().min(SAMPLE_BYTES)]);
    let (mut all, mut text) = (0_usize, 0_usize);
    for byte in sampled {
        all += 1;
        text += usize::from(matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~'));
    }
    text * 10 >= all * 9
}

fn zstd_error(error: &std::io::Error) -> Error {
    Error::Internal(format!("zstd compression failed: {error}"))
}

/// Checks a segment's stored bytes against its record.
///
/// # Errors
/// [`Error::Damaged`] when they differ.
pub(crate) fn check_stored_segment(
    record: &SegmentRecord,
    stored: &[u8],
    object: &str,
) -> Result<()> {
    if stored.len() == record.length as usize && ObjectId::from_content(stored) == record.hash {
        Ok(())
    } else {
        Err(Error::Damaged {
            object: object.to_owned(),
            reason: format!(
                "the segment at byte {} does not match its hash",
                record.offset
            ),
        })
    }
}

/// Decrypts and decompresses a segment whose stored bytes were checked.
///
/// # Errors
/// [`Error::NoMatchingIdentity`], or [`Error::Damaged`].
pub(crate) fn open_segment(
    record: &SegmentRecord,
    stored: &[u8],
    object: &str,
    identities: &Identities,
    recipients: &[String],
) -> Result<Vec<u8>> {
    let plain_max = record.plain as usize;
    let damaged = |reason: String| Error::Damaged {
        object: object.to_owned(),
        reason: format!("the segment at byte {}: {reason}", record.offset),
    };
    let compressed_max = zstd::zstd_safe::compress_bound(plain_max);
    let compressed = identities.decrypt(stored, &object, recipients, compressed_max)?;
    let plain = decompress_frame(&compressed, plain_max).map_err(damaged)?;
    if plain.len() == plain_max {
        Ok(plain)
    } else {
        Err(damaged(format!(
            "it has {} plain bytes, not {plain_max}",
            plain.len()
        )))
    }
}
