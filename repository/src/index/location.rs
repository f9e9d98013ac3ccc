//! Where a chunk is.

use crate::crypto::encryption::RecipientClass;
use crate::id::ObjectId;

/// The location of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLocation {
    /// The pack.
    pub pack: ObjectId,
    /// Its segment.
    pub segment: SegmentLocation,
    /// The chunk's offset in the segment's plain bytes.
    pub offset: u32,
    /// The chunk's plain size in bytes.
    pub length: u32,
}

/// The location, class, sizes and hash of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentLocation {
    /// The recipient class it is encrypted to.
    pub class: RecipientClass,
    /// The offset of its first byte in the pack.
    pub offset: u64,
    /// Its stored size in bytes.
    pub length: u32,
    /// Its plain size in bytes.
    pub plain: u32,
    /// BLAKE3 of its stored bytes.
    pub hash: ObjectId,
}
