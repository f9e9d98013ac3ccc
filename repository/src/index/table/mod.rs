//! A table: chunk records sorted by ID, in memory or in a file of the local cache.
//!
//! The file is read with positional reads, not mapped: a cache that is truncated under a running program
//! then gives an error instead of ending the process. The layout is local and may change at any time:
//! a magic, six counts, the fragments covered, packs, segments, the fan-out, chunk records, a BLAKE3 hash
//! of all before it. All numbers are little-endian.
//!
//! `records` are what a table consists of, `head` is everything in it except chunk records, `hashed_file` writes and
//! checks the hash at the end.

mod hashed_file;
mod head;
mod records;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::format::pack::PackRecord;
use crate::id::{ChunkId, ID_BYTES, ObjectId};
use crate::index::ChunkLocation;
use crate::index::table::hashed_file::{HashingWriter, check_hash};
use crate::index::table::head::{HEADER_BYTES, MAGIC, PACK_BYTES, SEGMENT_BYTES, TableHead};
use crate::index::table::records::{
    ChunkRecord, RECORD_BYTES, TablePack, TableSegment, read_array,
};

/// Tables up to this size are read into memory once; larger ones are read a bucket at a time.
const IN_MEMORY_BYTES_MAX: u64 = 24 << 20;

/// About this many records share a bucket of the fan-out.
const RECORDS_PER_BUCKET: u64 = 16;

/// A pack in a table.
#[derive(Debug)]
pub(crate) struct PackContents<'a> {
    pub(crate) pack: ObjectId,
    pub(crate) size: u64,
    /// The fragment that describes it, if any.
    pub(crate) fragment: Option<ObjectId>,
    /// The number of its first segment, as records name it.
    pub(crate) first_segment: usize,
    pub(crate) segments: &'a [TableSegment],
}

#[derive(Debug)]
enum RecordData {
    Memory(Vec<u8>),
    File {
        file: File,
        path: PathBuf,
        start: u64,
    },
}

/// The prefixes of all IDs of a table, in memory: four bytes per record, to mark millions of IDs without
/// reading the file for each.
#[derive(Debug)]
pub(crate) struct IdPrefixes(Vec<u32>);

impl IdPrefixes {
    /// The bits that follow those of the bucket number.
    fn prefix_after(bits: u32, leading: u64) -> u32 {
        ((leading << bits) >> 32) as u32
    }
}

/// The leading bits of an ID: tables are sorted by them, and can be searched for all IDs with these bits.
pub(crate) fn leading_bits(id: &ChunkId) -> u64 {
    u64::from_be_bytes(read_array(id.as_bytes(), 0))
}

/// An immutable sorted table.
#[derive(Debug)]
pub(crate) struct IndexTable {
    fragments: Vec<ObjectId>,
    packs: Vec<TablePack>,
    segments: Vec<TableSegment>,
    fan_out: FanOut,
    records: RecordData,
    record_count: u64,
    /// By number, the packs that are excluded; empty when none are.
    excluded: Vec<bool>,
}

/// For each value of an ID's leading bits, the number of records before it.
#[derive(Debug)]
struct FanOut {
    bits: u32,
    starts: Vec<u64>,
}

impl FanOut {
    fn bits_for(records: u64) -> u32 {
        (records / RECORDS_PER_BUCKET).max(1).ilog2().min(24)
    }

    fn bucket_of(bits: u32, leading: u64) -> usize {
        leading.checked_shr(64 - bits).unwrap_or(0) as usize
    }

    fn bucket_range(&self, leading: u64) -> (u64, u64) {
        let bucket = Self::bucket_of(self.bits, leading);
        let at = |n: usize| self.starts.get(n).copied().unwrap_or(0);
        (at(bucket), at(bucket + 1))
    }
}

impl IndexTable {
    /// A table of packs, sorted in memory.
    pub(crate) fn in_memory(fragments: &[ObjectId], packs: &[PackRecord]) -> Result<Self> {
        let (mut head, mut records) = (TableHead::new(fragments.to_vec()), Vec::new());
        for pack in packs {
            head.add_pack(pack, &mut records)?;
        }
        records.sort_unstable();
        let bits = FanOut::bits_for(records.len() as u64);
        let mut counts = vec![0; (1 << bits) + 1];
        let mut bytes = Vec::with_capacity(records.len() * RECORD_BYTES);
        for record in &records {
            counts[FanOut::bucket_of(bits, leading_bits(&record.id)) + 1] += 1;
            bytes.extend_from_slice(&record.encode());
        }
        Ok(Self {
            fragments: head.fragments,
            packs: head.packs,
            segments: head.segments,
            fan_out: FanOut {
                bits,
                starts: running_sum(counts),
            },
            records: RecordData::Memory(bytes),
            record_count: records.len() as u64,
            excluded: Vec::new(),
        })
    }

    /// The fragments whose packs this table holds.
    pub(crate) fn fragments(&self) -> &[ObjectId] {
        &self.fragments
    }

    pub(crate) fn chunk_count(&self) -> u64 {
        self.record_count
    }

    pub(crate) fn packs(&self) -> impl Iterator<Item = (ObjectId, u64)> {
        self.packs.iter().map(|pack| (pack.id, pack.size))
    }

    /// The usable packs.
    pub(crate) fn usable_packs(&self) -> impl Iterator<Item = ObjectId> {
        let usable = |(n, pack): (usize, &TablePack)| (!self.is_excluded(n)).then_some(pack.id);
        self.packs.iter().enumerate().filter_map(usable)
    }

    /// The packs with their segments, in order, and the fragment that describes each.
    pub(crate) fn pack_contents(&self) -> impl Iterator<Item = PackContents<'_>> {
        let mut segments = self.segments.as_slice();
        let mut first = 0;
        self.packs.iter().enumerate().map(move |(n, pack)| {
            // Segments are in the order of their packs.
            let count = segments.partition_point(|segment| segment.pack as usize <= n);
            let (own, rest) = segments.split_at(count);
            segments = rest;
            first += count;
            PackContents {
                pack: pack.id,
                size: pack.size,
                fragment: self.fragments.get(pack.fragment as usize).copied(),
                first_segment: first - count,
                segments: own,
            }
        })
    }

    /// The number of segments.
    pub(crate) fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Excludes packs from the results of [`Self::find_records`].
    pub(crate) fn exclude_packs(&mut self, packs: &HashSet<ObjectId>) {
        if self.packs.iter().any(|pack| packs.contains(&pack.id)) {
            let excluded = self.packs.iter().map(|pack| packs.contains(&pack.id));
            self.excluded = excluded.collect();
        }
    }

    fn is_excluded(&self, pack: usize) -> bool {
        self.excluded.get(pack).copied().unwrap_or(false)
    }

    fn is_usable(&self, record: &ChunkRecord) -> bool {
        let segment = self.segments.get(record.segment as usize);
        !segment.is_some_and(|segment| self.is_excluded(segment.pack as usize))
    }

    /// All records of a chunk.
    pub(crate) fn find_records(&self, id: &ChunkId) -> Result<Vec<ChunkRecord>> {
        let mut found = self.find_unfiltered(id)?;
        if !self.excluded.is_empty() {
            found.retain(|record| self.is_usable(record));
        }
        Ok(found)
    }

    /// Reads the prefixes of all IDs.
    pub(crate) fn read_id_prefixes(&self) -> Result<IdPrefixes> {
        let bits = self.fan_out.bits;
        let mut beginnings = Vec::with_capacity(usize::try_from(self.record_count).unwrap_or(0));
        for record in self.records() {
            let record = record
                .map_err(|e| Error::Internal(format!("cannot read the local index cache: {e}")))?;
            beginnings.push(IdPrefixes::prefix_after(bits, leading_bits(&record.id)));
        }
        Ok(IdPrefixes(beginnings))
    }

    /// The numbers, in table order, of the records with this ID prefix: all records of the chunk,
    /// and rarely another with the same prefix.
    pub(crate) fn record_numbers(&self, leading: u64, IdPrefixes(all): &IdPrefixes) -> Range<u64> {
        let (start, end) = self.fan_out.bucket_range(leading);
        let wanted = IdPrefixes::prefix_after(self.fan_out.bits, leading);
        let bucket = all.get(start as usize..end as usize).unwrap_or(&[]);
        // The whole bucket is scanned: the end of a match is unpredictable, and an early stop costs more.
        let before = bucket.iter().map(|begins| u32::from(*begins < wanted));
        let same = bucket.iter().map(|begins| u32::from(*begins == wanted));
        let first = start + u64::from(before.sum::<u32>());
        first..first + u64::from(same.sum::<u32>())
    }

    /// Searches the records where a chunk's would be.
    fn find_unfiltered(&self, id: &ChunkId) -> Result<Vec<ChunkRecord>> {
        let (start, end) = self.fan_out.bucket_range(leading_bits(id));
        if start >= end {
            return Ok(Vec::new());
        }
        match &self.records {
            RecordData::Memory(bytes) => {
                let range = start as usize * RECORD_BYTES..end as usize * RECORD_BYTES;
                Ok(search_records(bytes.get(range).unwrap_or(&[]), id))
            }
            RecordData::File { .. } => Ok(search_records(&self.read_records(start, end)?, id)),
        }
    }

    /// All records in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = std::io::Result<ChunkRecord>> {
        RecordCursor::new(self)
    }

    fn read_records(&self, start: u64, end: u64) -> Result<Vec<u8>> {
        match &self.records {
            RecordData::Memory(bytes) => {
                let range = start as usize * RECORD_BYTES..end as usize * RECORD_BYTES;
                Ok(bytes.get(range).unwrap_or(&[]).to_vec())
            }
            RecordData::File {
                file,
                path,
                start: first,
            } => {
                let mut bytes = vec![0; (end - start) as usize * RECORD_BYTES];
                file.read_exact_at(&mut bytes, first + start * RECORD_BYTES as u64)
                    .map_err(|source| Error::LocalIo {
                        action: "read",
                        path: path.clone(),
                        source,
                    })?;
                Ok(bytes)
            }
        }
    }

    pub(crate) fn location_of(&self, record: &ChunkRecord) -> Result<ChunkLocation> {
        let broken = || {
            Error::Internal("the local index cache is inconsistent: delete the cache directory (REPRISE_CACHE_DIR) and run the command again".to_owned())
        };
        let segment = self
            .segments
            .get(record.segment as usize)
            .ok_or_else(broken)?;
        let pack = self.packs.get(segment.pack as usize).ok_or_else(broken)?;
        Ok(ChunkLocation {
            pack: pack.id,
            segment: segment.location,
            offset: record.offset,
            length: record.length,
        })
    }

    /// Writes several tables as one sorted file. Memory does not grow with their records.
    pub(crate) fn merge_to_file(tables: &[&Self], path: &Path) -> std::io::Result<()> {
        let mut head = TableHead::new(Vec::new());
        let segment_shift: Vec<u32> = tables
            .iter()
            .map(|table| head.append_head(&table.fragments, &table.packs, &table.segments))
            .collect::<std::io::Result<_>>()?;
        let record_count: u64 = tables.iter().map(|table| table.record_count).sum();
        let bits = FanOut::bits_for(record_count);
        let mut counts = vec![0; (1 << bits) + 1];
        for table in tables {
            for record in RecordCursor::new(table) {
                counts[FanOut::bucket_of(bits, leading_bits(&record?.id)) + 1] += 1;
            }
        }
        let mut out = HashingWriter::create(path)?;
        head.write_head(&mut out, bits, &running_sum(counts), record_count)?;
        let mut cursors: Vec<_> = tables
            .iter()
            .map(|table| RecordCursor::new(table))
            .collect();
        let mut next = BinaryHeap::with_capacity(cursors.len());
        for (n, cursor) in cursors.iter_mut().enumerate() {
            if let Some(record) = cursor.next() {
                next.push(Reverse((record?, n)));
            }
        }
        while let Some(Reverse((mut record, n))) = next.pop() {
            record.segment += segment_shift[n];
            out.write_bytes(&record.encode())?;
            if let Some(record) = cursors[n].next() {
                next.push(Reverse((record?, n)));
            }
        }
        out.finish()
    }

    /// Opens a file that [`Self::merge_to_file`] wrote; anything else is an error.
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        let bad =
            |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        check_hash(&file, length)?;
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header)?;
        if &header[..8] != MAGIC {
            return Err(bad("not an index cache"));
        }
        let count = |n: usize| u64::from_le_bytes(read_array(&header, 8 + n * 8));
        let (fragments, packs, segments, bits, record_count) =
            (count(0), count(1), count(2), count(3), count(4));
        let bits = u32::try_from(bits)
            .ok()
            .filter(|bits| *bits <= 24)
            .ok_or_else(|| bad("fan-out"))?;
        let head_bytes = fragments
            .checked_mul(ID_BYTES as u64)
            .and_then(|sum| sum.checked_add(packs.checked_mul(PACK_BYTES as u64)?))
            .and_then(|sum| sum.checked_add(segments.checked_mul(SEGMENT_BYTES as u64)?))
            .and_then(|sum| sum.checked_add(((1 << bits) + 1) * 8))
            .ok_or_else(|| bad("counts"))?;
        let start = HEADER_BYTES as u64 + head_bytes;
        let records_bytes = record_count
            .checked_mul(RECORD_BYTES as u64)
            .ok_or_else(|| bad("counts"))?;
        if start
            .checked_add(records_bytes)
            .and_then(|sum| sum.checked_add(32))
            != Some(length)
        {
            return Err(bad("length"));
        }
        let mut bytes = vec![0; usize::try_from(head_bytes).map_err(std::io::Error::other)?];
        file.read_exact(&mut bytes)?;
        let (head, starts) = TableHead::decode_head(&bytes, fragments, packs, segments)?;
        let records = if length <= IN_MEMORY_BYTES_MAX {
            let mut bytes = vec![0; records_bytes as usize];
            file.read_exact(&mut bytes)?;
            RecordData::Memory(bytes)
        } else {
            RecordData::File {
                file,
                path: path.to_owned(),
                start,
            }
        };
        Ok(Self {
            fragments: head.fragments,
            packs: head.packs,
            segments: head.segments,
            fan_out: FanOut { bits, starts },
            records,
            record_count,
            excluded: Vec::new(),
        })
    }
}

fn running_sum(mut counts: Vec<u64>) -> Vec<u64> {
    let mut sum = 0;
    for count in &mut counts {
        sum += *count;
        *count = sum;
    }
    counts
}

/// The records of `id` among sorted encoded records.
fn search_records(records: &[u8], id: &ChunkId) -> Vec<ChunkRecord> {
    let (records, _) = records.as_chunks::<RECORD_BYTES>();
    let first = records.partition_point(|record| record[..ID_BYTES] < id.as_bytes()[..]);
    records[first..]
        .iter()
        .take_while(|record| record[..ID_BYTES] == id.as_bytes()[..])
        .map(|record| ChunkRecord::decode(record))
        .collect()
}

/// Iterates over a table's records in order, a block at a time.
struct RecordCursor<'a> {
    table: &'a IndexTable,
    next: u64,
    block: Vec<u8>,
    position: usize,
}

impl<'a> RecordCursor<'a> {
    fn new(table: &'a IndexTable) -> Self {
        Self {
            table,
            next: 0,
            block: Vec::new(),
            position: 0,
        }
    }
}

impl Iterator for RecordCursor<'_> {
    type Item = std::io::Result<ChunkRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        const BLOCK: u64 = 4096;
        if self.position >= self.block.len() {
            if self.next >= self.table.record_count {
                return None;
            }
            let end = (self.next + BLOCK).min(self.table.record_count);
            match self.table.read_records(self.next, end) {
                Ok(block) => self.block = block,
                Err(error) => return Some(Err(std::io::Error::other(error.to_string()))),
            }
            self.next = end;
            self.position = 0;
        }
        let record = ChunkRecord::decode(self.block.get(self.position..)?);
        self.position += RECORD_BYTES;
        Some(Ok(record))
    }
}
