//! Packs: segments one after the other, then a signed directory of them, then a 16-byte trailer.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::backend::{Backend, BackendError, ObjectKey};
use crate::crypto::encryption::{Identities, Recipients};
use crate::crypto::envelope::{self, RecordKind};
use crate::crypto::signing::HostSigner;
use crate::crypto::trust::TrustStore;
use crate::error::{Error, Result};
use crate::format::segment::{SealedSegment, SegmentRecord};
use crate::format::trailer::{TRAILER_BYTES, encode_trailer, parse_trailer};
use crate::id::ObjectId;

/// Maximum size of a directory, stored or plain, in bytes: a pack of the largest size full of one-byte chunks.
pub(crate) const DIRECTORY_BYTES_MAX: usize = 256 << 20;

/// The key of a pack.
#[must_use]
pub(crate) fn pack_key(id: &ObjectId) -> ObjectKey {
    let name = id.to_string();
    ObjectKey::from_trusted(format!("packs/{}/{name}", &name[..2]))
}

/// A pack in an index fragment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PackRecord {
    /// Its ID.
    pub pack: ObjectId,
    /// Its stored size in bytes.
    pub size: u64,
    /// Its segments, in order.
    pub segments: Vec<SegmentRecord>,
}

impl PackRecord {
    /// How many chunks it contains, duplicates included.
    #[must_use]
    pub(crate) fn chunk_count(&self) -> usize {
        self.segments
            .iter()
            .map(|segment| segment.chunks.len())
            .sum()
    }

    /// Checks that all numbers are consistent.
    ///
    /// # Errors
    /// The first inconsistency, as a sentence.
    pub(crate) fn check_sizes(&self, plain_max: usize) -> Result<(), String> {
        check_segments(&self.segments, self.size, plain_max)
    }
}

fn check_segments(
    segments: &[SegmentRecord],
    pack_size: u64,
    plain_max: usize,
) -> Result<(), String> {
    let mut expected = 0;
    for segment in segments {
        segment.check_sizes(plain_max)?;
        if segment.offset != expected {
            return Err("its segments are not contiguous".to_owned());
        }
        expected += u64::from(segment.length);
    }
    if expected <= pack_size {
        Ok(())
    } else {
        Err("its segments are longer than the pack".to_owned())
    }
}

#[derive(Serialize, Deserialize)]
struct PackDirectory {
    segments: Vec<SegmentRecord>,
}

/// A pack being filled in memory.
#[derive(Debug, Default)]
pub(crate) struct PackBuilder {
    parts: Vec<Bytes>,
    segments: Vec<SegmentRecord>,
    size: u64,
}

/// A finished pack, ready to be stored.
#[derive(Debug)]
pub(crate) struct FinishedPack {
    pub(crate) parts: Vec<Bytes>,
    pub(crate) record: PackRecord,
}

impl PackBuilder {
    pub(crate) fn push(&mut self, segment: SealedSegment) -> Result<()> {
        let SealedSegment {
            class,
            stored,
            hash,
            plain_length,
            chunks,
            recipients,
        } = segment;
        let length = u32::try_from(stored.len())
            .map_err(|_| Error::Internal("a segment of more than 4 GiB".to_owned()))?;
        self.segments.push(SegmentRecord {
            class,
            offset: self.size,
            length,
            plain: plain_length,
            hash,
            chunks,
            recipients,
        });
        self.size += u64::from(length);
        self.parts.push(stored.into());
        Ok(())
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub(crate) fn finish(
        self,
        recipients: &Recipients,
        signer: &HostSigner,
        repository: &str,
    ) -> Result<FinishedPack> {
        let Self {
            mut parts,
            segments,
            size,
        } = self;
        let directory = PackDirectory { segments };
        let json = serde_json::to_vec(&directory)
            .map_err(|e| Error::Internal(format!("writing a pack directory: {e}")))?;
        let sealed =
            envelope::seal_record(RecordKind::Pack, &json, recipients, signer, repository)?;
        let trailer = encode_trailer(sealed.len())?;
        let size = size + sealed.len() as u64 + TRAILER_BYTES;
        parts.push(sealed.into());
        parts.push(trailer.into());
        let slices: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
        let pack = ObjectId::from_content_parts(&slices);
        Ok(FinishedPack {
            parts,
            record: PackRecord {
                pack,
                size,
                segments: directory.segments,
            },
        })
    }
}

/// What is needed to read directories.
#[derive(Debug)]
pub(crate) struct PackDirectoryReader<'a> {
    pub(crate) backend: &'a dyn Backend,
    pub(crate) identities: &'a Identities,
    pub(crate) trust: &'a TrustStore,
    pub(crate) recipients: &'a [String],
    pub(crate) plain_max: usize,
}

impl PackDirectoryReader<'_> {
    /// Reads the directory of a stored pack from the end of the pack, without reading its segments.
    pub(crate) fn read_directory(&self, id: &ObjectId) -> Result<PackRecord> {
        let key = pack_key(id);
        let failed = |source: BackendError| Error::Backend {
            location: self.backend.location(),
            source,
        };
        let size = self.backend.size(&key).map_err(failed)?;
        let sealed = self.read_sealed_directory(id, size)?;
        self.parse_directory(id, size, &sealed)
    }

    /// The sealed directory of a stored pack of a given size.
    pub(crate) fn read_sealed_directory(&self, id: &ObjectId, size: u64) -> Result<Vec<u8>> {
        let key = pack_key(id);
        let get = |range| {
            let read = self.backend.get(&key, Some(range));
            read.map_err(|source| Error::Backend {
                location: self.backend.location(),
                source,
            })
        };
        let end = size
            .checked_sub(TRAILER_BYTES)
            .ok_or_else(|| Error::damaged_object(&key, "it is too short to be a pack"))?;
        let length = parse_trailer(&get(end..size)?, size, DIRECTORY_BYTES_MAX as u64)
            .map_err(|reason| Error::damaged_object(&key, reason))?;
        get(end - length..end)
    }

    /// Reads the directory of a pack whose bytes are all in memory.
    pub(crate) fn parse_whole_pack(&self, id: &ObjectId, pack: &[u8]) -> Result<PackRecord> {
        let key = pack_key(id);
        let size = pack.len() as u64;
        let end = pack
            .len()
            .checked_sub(16)
            .ok_or_else(|| Error::damaged_object(&key, "it is too short to be a pack"))?;
        let length = parse_trailer(&pack[end..], size, DIRECTORY_BYTES_MAX as u64)
            .map_err(|reason| Error::damaged_object(&key, reason))?;
        let start = usize::try_from(end as u64 - length)
            .map_err(|e| Error::damaged_object(&key, e.to_string()))?;
        self.parse_directory(id, size, &pack[start..end])
    }

    fn parse_directory(&self, id: &ObjectId, size: u64, sealed: &[u8]) -> Result<PackRecord> {
        let key = pack_key(id);
        let verified = envelope::verify_record(RecordKind::Pack, sealed, &key, self.trust)?;
        let json = verified.open(self.identities, &key, self.recipients, DIRECTORY_BYTES_MAX)?;
        let directory: PackDirectory = serde_json::from_slice(&json).map_err(|e| {
            Error::damaged_object(&key, format!("its directory cannot be parsed: {e}"))
        })?;
        let record = PackRecord {
            pack: *id,
            size,
            segments: directory.segments,
        };
        let segments_end = size - TRAILER_BYTES - sealed.len() as u64;
        check_segments(&record.segments, segments_end, self.plain_max)
            .map_err(|reason| Error::damaged_object(&key, reason))?;
        Ok(record)
    }
}
