//! Marking: which chunks the snapshots need.
//!
//! A bit for each record of the sorted index tables, so memory does not grow with the references of snapshots. The
//! prefixes of all IDs are in memory, and every record with the prefix of a needed ID counts as needed: that is all of
//! its own records, and rarely one too many. No record is read. Snapshots share most of their references: each chunk of
//! a reference stream is read once, however many snapshots have it.

use std::collections::{HashMap, HashSet};

use super::recent_cache::RecentCache;
use super::references::{
    ReferenceLines, batch_unread_references, damage_error, describe_references, parse_chunk_id,
};
use crate::error::{Error, Result};
use crate::format::segment::SegmentRecord;
use crate::format::snapshot::Snapshot;
use crate::id::{ChunkId, ObjectId};
use crate::index::{IdPrefixes, Index, IndexTable, leading_bits};
use crate::parallel::try_map_and_consume;
use crate::progress::Progress;
use crate::read::reader::ContentReader;

/// With more chunks than this in no pack, something is wrong with the index itself.
const MISSING_CHUNKS_MAX: usize = 1_000_000;

/// Batches of references that are read and wait to be marked: some 4 MiB each.
const BATCHES_AHEAD: usize = 2;

/// Bits by number.
#[derive(Debug, Default)]
pub(super) struct BitSet(Vec<u64>);

impl BitSet {
    pub(super) fn new(count: u64) -> Self {
        Self(vec![0; usize::try_from(count.div_ceil(64)).unwrap_or(0)])
    }

    pub(super) fn set(&mut self, n: u64) {
        if let Some(word) = self.0.get_mut((n / 64) as usize) {
            *word |= 1 << (n % 64);
        }
    }

    pub(super) fn get(&self, n: u64) -> bool {
        let word = self.0.get((n / 64) as usize);
        word.is_some_and(|word| word & (1 << (n % 64)) != 0)
    }
}

/// A chunk of a reference stream that was read: its whole lines are marked, its ends are kept.
#[derive(Debug)]
struct ReferenceChunkEnds {
    head: Vec<u8>,
    /// What follows the last end of a line; `None` when there is no such end and `head` is everything.
    tail: Option<Vec<u8>>,
    lines: u64,
}

/// The chunks that are needed.
#[derive(Debug)]
pub(super) struct MarkedChunks {
    reader: ContentReader,
    live_bits: Vec<BitSet>,
    id_prefixes: Vec<IdPrefixes>,
    recent_marks: RecentCache,
    missing_chunks: HashSet<ChunkId>,
    read_chunks: HashMap<ChunkId, ReferenceChunkEnds>,
    roots: HashSet<ObjectId>,
}

impl MarkedChunks {
    /// Marks nothing yet. The reader's index must not change any more.
    ///
    /// # Errors
    /// When a table of the local cache cannot be read.
    pub(super) fn new(reader: ContentReader) -> Result<Self> {
        let beginnings = reader.with_index(|index| {
            let tables = index.tables().iter();
            tables
                .map(IndexTable::read_id_prefixes)
                .collect::<Result<Vec<_>>>()
        })?;
        let live = reader.with_index(|index| {
            let tables = index.tables().iter();
            tables
                .map(|table| BitSet::new(table.chunk_count()))
                .collect()
        });
        Ok(Self {
            reader,
            live_bits: live,
            id_prefixes: beginnings,
            recent_marks: RecentCache::new(),
            missing_chunks: HashSet::new(),
            read_chunks: HashMap::new(),
            roots: HashSet::new(),
        })
    }

    /// Calls a function with the index that the marks belong to, and the marks of each of its tables.
    pub(super) fn with_index<T>(&self, work: impl FnOnce(&Index, &[BitSet]) -> T) -> T {
        self.reader.with_index(|index| work(index, &self.live_bits))
    }

    /// Chunks that are needed and in no pack.
    pub(super) fn missing_chunks(&self) -> &HashSet<ChunkId> {
        &self.missing_chunks
    }

    pub(super) fn has_root(&self, id: &ObjectId) -> bool {
        self.roots.contains(id)
    }

    /// How many snapshots are marked.
    pub(super) fn root_count(&self) -> usize {
        self.roots.len()
    }

    /// Whether some snapshot needs a chunk, or one with the same prefix.
    pub(super) fn is_live(&self, id: &ChunkId) -> bool {
        if self.missing_chunks.contains(id) {
            return true;
        }
        let begins = leading_bits(id);
        self.with_index(|index, live| {
            let mut tables = index.tables().iter().zip(&self.id_prefixes).zip(live);
            tables.any(|((table, beginnings), bits)| {
                table
                    .record_numbers(begins, beginnings)
                    .any(|n| bits.get(n))
            })
        })
    }

    /// Marks what snapshots need. Snapshots that are younger than the index are read by a reader of their own.
    ///
    /// # Errors
    /// When their references cannot be read to the end: then what they need is unknown.
    pub(super) fn mark_snapshots(
        &mut self,
        snapshots: &[&Snapshot],
        younger: Option<&ContentReader>,
        progress: &Progress,
    ) -> Result<()> {
        // Cloned, because marks are set while it is used; clones share their index.
        let reader = younger.unwrap_or(&self.reader).clone();
        // Neighbours of one source share most of what they need.
        let mut snapshots = snapshots.to_vec();
        snapshots.sort_by(|a, b| a.root.source.cmp(&b.root.source));
        let unread = batch_unread_references(&snapshots, |id| self.read_chunks.contains_key(id));
        let mut done = 0;
        try_map_and_consume(
            reader.parallel_reads(),
            BATCHES_AHEAD,
            &unread,
            |portion| portion.read(&reader),
            |portion, read| {
                progress.check_cancelled()?;
                let now = done.max(portion.snapshot);
                Progress::add(&progress.items, (now - done) as u64);
                done = now;
                read.into_iter()
                    .try_for_each(|lines| self.mark_lines(lines))
            },
        )?;
        for snapshot in &snapshots {
            self.mark_snapshot(snapshot)?;
        }
        Progress::add(&progress.items, (snapshots.len() - done) as u64);
        Ok(())
    }

    /// Marks what a snapshot needs whose references were read.
    fn mark_snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        let root = &snapshot.root;
        for record in [&root.entries, &root.references, &root.details] {
            for id in &record.chunks {
                self.mark_chunk(id)?;
            }
        }
        let count = self.mark_split_lines(snapshot)?;
        if count != root.counts.chunks {
            return Err(Error::Damaged {
                object: describe_references(snapshot),
                reason: format!("{count} chunk IDs found, {} expected", root.counts.chunks),
            });
        }
        self.roots.insert(snapshot.id);
        Ok(())
    }

    fn mark_chunk(&mut self, id: &ChunkId) -> Result<()> {
        let begins = leading_bits(id);
        if self.recent_marks.contains(begins) {
            return Ok(());
        }
        let (live, beginnings) = (&mut self.live_bits, &self.id_prefixes);
        let found = self
            .reader
            .with_index(|index| set_live_bits(index, beginnings, live, begins));
        if found {
            self.recent_marks.insert(begins);
        } else {
            self.missing_chunks.insert(*id);
        }
        self.check_missing_chunks()
    }

    /// Marks the chunks that the whole lines of a chunk of references name, and keeps its ends.
    fn mark_lines(&mut self, lines: ReferenceLines) -> Result<()> {
        let numbered = lines.leading_bits.iter().copied().enumerate();
        let new: Vec<_> = numbered
            .filter(|(_, n)| !self.recent_marks.contains(*n))
            .collect();
        let (live, beginnings) = (&mut self.live_bits, &self.id_prefixes);
        let (recent, absent) = (&mut self.recent_marks, &mut self.missing_chunks);
        self.reader.with_index(|index| {
            for (number, begins) in new {
                if set_live_bits(index, beginnings, live, begins) {
                    recent.insert(begins);
                } else {
                    absent.insert(lines.chunk_id_at(number)?);
                }
            }
            Ok::<_, Error>(())
        })?;
        let seen = ReferenceChunkEnds {
            lines: lines.leading_bits.len() as u64,
            head: lines.head,
            tail: lines.tail,
        };
        self.read_chunks.insert(lines.id, seen);
        self.check_missing_chunks()
    }

    fn check_missing_chunks(&self) -> Result<()> {
        if self.missing_chunks.len() > MISSING_CHUNKS_MAX {
            return Err(Error::Damaged {
                object: "the index".to_owned(),
                reason: format!("more than {MISSING_CHUNKS_MAX} needed chunks are not in any pack"),
            });
        }
        Ok(())
    }

    /// Marks the lines that begin in one chunk of a snapshot's references and end in another; returns the number of
    /// lines in all of them.
    fn mark_split_lines(&mut self, snapshot: &Snapshot) -> Result<u64> {
        let name = describe_references(snapshot);
        let (mut line, mut count) = (Vec::new(), 0);
        for id in &snapshot.root.references.chunks {
            let Some(seen) = self.read_chunks.get(id) else {
                return Err(Error::Internal(format!("{name} were not read")));
            };
            line.extend_from_slice(&seen.head);
            if let Some(tail) = &seen.tail {
                count += seen.lines + 1;
                let whole = std::mem::replace(&mut line, tail.clone());
                self.mark_chunk(&parse_chunk_id(&whole, &name)?)?;
            }
        }
        if line.is_empty() {
            Ok(count)
        } else {
            Err(damage_error(&name, "the last line is truncated"))
        }
    }
}

/// Marks all records of IDs with this prefix; returns whether there are any.
fn set_live_bits(
    index: &Index,
    beginnings: &[IdPrefixes],
    live: &mut [BitSet],
    leading: u64,
) -> bool {
    let mut found = false;
    for ((table, beginnings), bits) in index.tables().iter().zip(beginnings).zip(live) {
        for number in table.record_numbers(leading, beginnings) {
            bits.set(number);
            found = true;
        }
    }
    found
}

/// Whether a segment holds a chunk that some snapshot needs.
pub(super) fn is_segment_needed(marks: &MarkedChunks, segment: &SegmentRecord) -> bool {
    segment.chunks.iter().any(|chunk| marks.is_live(&chunk.0))
}
