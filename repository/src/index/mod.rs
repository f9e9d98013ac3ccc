//! The index: which chunk is where. It can always be rebuilt from the packs.

mod cache;
mod fragment;
mod table;

use std::collections::HashSet;

use crate::crypt::Class;
use crate::error::Result;
use crate::id::{ChunkId, ObjectId};
use crate::pack::PackRecord;

pub(crate) use cache::{IndexCache, Unreadable};
pub(crate) use fragment::{FRAGMENT_CHUNKS_MAX, fragment_key, parse_fragment, write_fragment};
pub(crate) use table::{Beginnings, PackContents, Table, leading};

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The pack.
    pub pack: ObjectId,
    /// Its segment.
    pub segment: SegmentLocation,
    /// The chunk's first byte in the segment's plain bytes.
    pub offset: u32,
    /// The chunk's plain bytes.
    pub length: u32,
}

/// Where a segment is in its pack and what it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentLocation {
    /// Whom it is encrypted to.
    pub class: Class,
    /// Its first byte in the pack.
    pub offset: u64,
    /// Its stored bytes.
    pub length: u32,
    /// Its plain bytes.
    pub plain: u32,
    /// BLAKE3 of its stored bytes.
    pub hash: ObjectId,
}

/// Several tables asked as one.
#[derive(Debug, Default)]
pub(crate) struct Index {
    tables: Vec<Table>,
    /// Packs that are asked last.
    doubtful: HashSet<ObjectId>,
}

impl Index {
    pub(crate) fn new(tables: Vec<Table>) -> Self {
        Self {
            tables,
            doubtful: HashSet::new(),
        }
    }

    /// Adds packs in memory.
    pub(crate) fn add_packs(&mut self, packs: &[PackRecord]) -> Result<()> {
        if !packs.is_empty() {
            self.tables.push(Table::in_memory(&[], packs)?);
        }
        Ok(())
    }

    /// The plain length of a chunk, if it is known.
    pub(crate) fn length_of(&self, id: &ChunkId) -> Result<Option<u32>> {
        for table in &self.tables {
            if let Some(record) = table.find(id)?.first() {
                return Ok(Some(record.length));
            }
        }
        Ok(None)
    }

    /// All known places of a chunk: there may be several.
    pub(crate) fn locations(&self, id: &ChunkId) -> Result<Vec<Location>> {
        let mut found = Vec::new();
        for table in &self.tables {
            for record in table.find(id)? {
                found.push(table.location(&record)?);
            }
        }
        if !self.doubtful.is_empty() {
            found.sort_by_key(|location| self.doubtful.contains(&location.pack));
        }
        Ok(found)
    }

    /// All indexed packs with their sizes; a pack that several fragments describe appears several times.
    pub(crate) fn packs(&self) -> impl Iterator<Item = (ObjectId, u64)> {
        self.tables.iter().flat_map(Table::packs)
    }

    /// The packs that may be used.
    pub(crate) fn usable_packs(&self) -> impl Iterator<Item = ObjectId> {
        self.tables.iter().flat_map(Table::usable_packs)
    }

    /// Names packs that are asked only where no other has a chunk.
    pub(crate) fn prefer_others(&mut self, packs: HashSet<ObjectId>) {
        self.doubtful = packs;
    }

    /// Leaves packs out, as if they were not there.
    pub(crate) fn exclude(&mut self, packs: &HashSet<ObjectId>) {
        for table in &mut self.tables {
            table.exclude(packs);
        }
    }

    pub(crate) fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Stored bytes of all packs.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.packs().map(|(_, size)| size).sum()
    }
}
