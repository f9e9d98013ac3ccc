//! The head of a table: everything except its records.

use crate::crypto::encryption::RecipientClass;
use crate::error::{Error, Result};
use crate::format::pack::PackRecord;
use crate::id::{ID_BYTES, ObjectId};
use crate::index::SegmentLocation;
use crate::index::table::hashed_file::HashingWriter;
use crate::index::table::records::{ChunkRecord, NO_FRAGMENT, TablePack, TableSegment, read_array};

pub(super) const MAGIC: &[u8; 8] = b"rpindex3";

pub(super) const HEADER_BYTES: usize = 8 + 5 * 8;

pub(super) const PACK_BYTES: usize = ID_BYTES + 8 + 4;

pub(super) const SEGMENT_BYTES: usize = 4 + 1 + 8 + 4 + 4 + ID_BYTES;

/// Everything of a table except its records.
pub(super) struct TableHead {
    pub(super) fragments: Vec<ObjectId>,
    pub(super) packs: Vec<TablePack>,
    pub(super) segments: Vec<TableSegment>,
}

impl TableHead {
    pub(super) fn new(fragments: Vec<ObjectId>) -> Self {
        Self {
            fragments,
            packs: Vec::new(),
            segments: Vec::new(),
        }
    }

    pub(super) fn add_pack(
        &mut self,
        pack: &PackRecord,
        records: &mut Vec<ChunkRecord>,
    ) -> Result<()> {
        let too_many = |_| Error::Internal("more than 4 billion packs or segments".to_owned());
        let pack_number = u32::try_from(self.packs.len()).map_err(too_many)?;
        // A table in memory is made of one fragment, or of packs that none describes.
        self.packs.push(TablePack {
            id: pack.pack,
            size: pack.size,
            fragment: if self.fragments.is_empty() {
                NO_FRAGMENT
            } else {
                0
            },
        });
        for segment in &pack.segments {
            let number = u32::try_from(self.segments.len()).map_err(too_many)?;
            let location = SegmentLocation {
                class: segment.class,
                offset: segment.offset,
                length: segment.length,
                plain: segment.plain,
                hash: segment.hash,
            };
            self.segments.push(TableSegment {
                pack: pack_number,
                location,
            });
            let mut offset = 0;
            for chunk in &segment.chunks {
                records.push(ChunkRecord {
                    id: chunk.0,
                    segment: number,
                    offset,
                    length: chunk.1,
                });
                offset += chunk.1;
            }
        }
        Ok(())
    }

    /// Appends another table's head; returns the offset that its segment numbers get.
    pub(super) fn append_head(
        &mut self,
        fragments: &[ObjectId],
        packs: &[TablePack],
        segments: &[TableSegment],
    ) -> std::io::Result<u32> {
        let pack_shift = u32::try_from(self.packs.len()).map_err(std::io::Error::other)?;
        let segment_shift = u32::try_from(self.segments.len()).map_err(std::io::Error::other)?;
        let fragment_shift = u32::try_from(self.fragments.len()).map_err(std::io::Error::other)?;
        self.fragments.extend_from_slice(fragments);
        self.packs.extend(packs.iter().map(|pack| TablePack {
            fragment: match pack.fragment {
                NO_FRAGMENT => NO_FRAGMENT,
                fragment => fragment + fragment_shift,
            },
            ..*pack
        }));
        let moved = |segment: &TableSegment| TableSegment {
            pack: segment.pack + pack_shift,
            ..*segment
        };
        self.segments.extend(segments.iter().map(moved));
        Ok(segment_shift)
    }

    pub(super) fn write_head(
        &self,
        out: &mut HashingWriter,
        bits: u32,
        starts: &[u64],
        records: u64,
    ) -> std::io::Result<()> {
        out.write_bytes(MAGIC)?;
        let counts = [
            self.fragments.len() as u64,
            self.packs.len() as u64,
            self.segments.len() as u64,
            u64::from(bits),
            records,
        ];
        for count in counts {
            out.write_bytes(&count.to_le_bytes())?;
        }
        for fragment in &self.fragments {
            out.write_bytes(fragment.as_bytes())?;
        }
        for pack in &self.packs {
            out.write_bytes(pack.id.as_bytes())?;
            out.write_bytes(&pack.size.to_le_bytes())?;
            out.write_bytes(&pack.fragment.to_le_bytes())?;
        }
        for TableSegment { pack, location } in &self.segments {
            out.write_bytes(&pack.to_le_bytes())?;
            out.write_bytes(&[u8::from(location.class == RecipientClass::Catalog)])?;
            out.write_bytes(&location.offset.to_le_bytes())?;
            out.write_bytes(&location.length.to_le_bytes())?;
            out.write_bytes(&location.plain.to_le_bytes())?;
            out.write_bytes(location.hash.as_bytes())?;
        }
        starts
            .iter()
            .try_for_each(|start| out.write_bytes(&start.to_le_bytes()))
    }

    pub(super) fn decode_head(
        bytes: &[u8],
        fragments: u64,
        packs: u64,
        segments: u64,
    ) -> std::io::Result<(Self, Vec<u64>)> {
        let bad = |_| std::io::Error::new(std::io::ErrorKind::InvalidData, "counts");
        let (fragments_end, packs_end, segments_end) = {
            let fragments_end = usize::try_from(fragments).map_err(bad)? * ID_BYTES;
            let packs_end = fragments_end + usize::try_from(packs).map_err(bad)? * PACK_BYTES;
            (
                fragments_end,
                packs_end,
                packs_end + usize::try_from(segments).map_err(bad)? * SEGMENT_BYTES,
            )
        };
        let object = |part: &[u8], at: usize| ObjectId::from_bytes(read_array(part, at));
        let segment = |part: &[u8]| TableSegment {
            pack: u32::from_le_bytes(read_array(part, 0)),
            location: SegmentLocation {
                class: if part[4] == 1 {
                    RecipientClass::Catalog
                } else {
                    RecipientClass::Data
                },
                offset: u64::from_le_bytes(read_array(part, 5)),
                length: u32::from_le_bytes(read_array(part, 13)),
                plain: u32::from_le_bytes(read_array(part, 17)),
                hash: object(part, 21),
            },
        };
        let head = Self {
            fragments: bytes[..fragments_end]
                .chunks_exact(ID_BYTES)
                .map(|part| object(part, 0))
                .collect(),
            packs: bytes[fragments_end..packs_end]
                .chunks_exact(PACK_BYTES)
                .map(|part| TablePack {
                    id: object(part, 0),
                    size: u64::from_le_bytes(read_array(part, ID_BYTES)),
                    fragment: u32::from_le_bytes(read_array(part, ID_BYTES + 8)),
                })
                .collect(),
            segments: bytes[packs_end..segments_end]
                .chunks_exact(SEGMENT_BYTES)
                .map(segment)
                .collect(),
        };
        let starts = bytes[segments_end..]
            .chunks_exact(8)
            .map(|part| u64::from_le_bytes(read_array(part, 0)));
        Ok((head, starts.collect()))
    }
}
