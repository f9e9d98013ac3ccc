//! The index: where each chunk is. It can always be rebuilt from the packs.
//!
//! `fragment` is the stored form, `table` the sorted local one, `location` what it answers, `cache` knows which tables
//! exist.

mod cache;
mod fragment;
mod location;
mod table;

use std::collections::HashSet;

use crate::error::Result;
use crate::format::pack::PackRecord;
use crate::id::{ChunkId, ObjectId};

pub(crate) use cache::{FragmentErrors, IndexCache};
pub(crate) use fragment::{FRAGMENT_CHUNKS_MAX, fragment_key, parse_fragment, write_fragment};
pub use location::{ChunkLocation, SegmentLocation};
pub(crate) use table::{IdPrefixes, IndexTable, PackContents, leading_bits};

/// Several tables searched as one.
#[derive(Debug, Default)]
pub(crate) struct Index {
    tables: Vec<IndexTable>,
    /// Last-resort packs.
    last_resort_packs: HashSet<ObjectId>,
}

impl Index {
    pub(crate) fn new(tables: Vec<IndexTable>) -> Self {
        Self {
            tables,
            last_resort_packs: HashSet::new(),
        }
    }

    /// Adds packs in memory.
    pub(crate) fn add_packs(&mut self, packs: &[PackRecord]) -> Result<()> {
        if !packs.is_empty() {
            self.tables.push(IndexTable::in_memory(&[], packs)?);
        }
        Ok(())
    }

    /// The plain size of a chunk, if it is known.
    pub(crate) fn length_of(&self, id: &ChunkId) -> Result<Option<u32>> {
        for table in &self.tables {
            if let Some(record) = table.find_records(id)?.first() {
                return Ok(Some(record.length));
            }
        }
        Ok(None)
    }

    /// All known locations of a chunk: there may be several.
    pub(crate) fn locations(&self, id: &ChunkId) -> Result<Vec<ChunkLocation>> {
        let mut found = Vec::new();
        for table in &self.tables {
            for record in table.find_records(id)? {
                found.push(table.location_of(&record)?);
            }
        }
        if !self.last_resort_packs.is_empty() {
            found.sort_by_key(|location| self.last_resort_packs.contains(&location.pack));
        }
        Ok(found)
    }

    /// All indexed packs with their sizes; a pack that several fragments describe appears several times.
    pub(crate) fn packs(&self) -> impl Iterator<Item = (ObjectId, u64)> {
        self.tables.iter().flat_map(IndexTable::packs)
    }

    /// The usable packs.
    pub(crate) fn usable_packs(&self) -> impl Iterator<Item = ObjectId> {
        self.tables.iter().flat_map(IndexTable::usable_packs)
    }

    /// Sets last-resort packs: they are used only for chunks that no other pack has.
    pub(crate) fn deprioritize_packs(&mut self, packs: HashSet<ObjectId>) {
        self.last_resort_packs = packs;
    }

    /// Excludes packs, as if they did not exist.
    pub(crate) fn exclude_packs(&mut self, packs: &HashSet<ObjectId>) {
        for table in &mut self.tables {
            table.exclude_packs(packs);
        }
    }

    pub(crate) fn tables(&self) -> &[IndexTable] {
        &self.tables
    }

    /// Total stored size of all packs in bytes.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.packs().map(|(_, size)| size).sum()
    }
}
