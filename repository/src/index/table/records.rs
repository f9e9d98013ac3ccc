//! What a table consists of: chunk records, segments and packs, which name each other by numbers.

use crate::id::{ChunkId, ID_BYTES, ObjectId};
use crate::index::SegmentLocation;

pub(super) const RECORD_BYTES: usize = ID_BYTES + 12;

/// A chunk record in sort order: where the chunk is, by numbers of this table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChunkRecord {
    pub(crate) id: ChunkId,
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

impl ChunkRecord {
    pub(super) fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..32].copy_from_slice(self.id.as_bytes());
        bytes[32..36].copy_from_slice(&self.segment.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.offset.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Self {
        let number = |at: usize| u32::from_le_bytes(read_array(bytes, at));
        Self {
            id: ChunkId::from_bytes(read_array(bytes, 0)),
            segment: number(32),
            offset: number(36),
            length: number(40),
        }
    }
}

/// `N` bytes from `at`; zeros where `bytes` is shorter, which callers rule out.
pub(super) fn read_array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes
        .get(at..at + N)
        .and_then(|part| part.try_into().ok())
        .unwrap_or([0; N])
}

/// A segment, by the number of its pack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableSegment {
    pub(super) pack: u32,
    pub(crate) location: SegmentLocation,
}

/// The number for "no fragment": the pack was found without one.
pub(super) const NO_FRAGMENT: u32 = u32::MAX;

/// A pack of a table, for callers.
#[derive(Debug, Clone, Copy)]
pub(super) struct TablePack {
    pub(super) id: ObjectId,
    pub(super) size: u64,
    /// Which of the table's fragments describes it.
    pub(super) fragment: u32,
}
