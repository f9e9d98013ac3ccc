//! Marking: which chunks the snapshots need.
//!
//! A bit for each record of the sorted index tables, so memory does not grow with what snapshots refer to. The
//! beginnings of all ids are in memory, and whatever begins like a needed id counts as needed: that is all of its
//! own records, and rarely one too many. No record is read.
//! Snapshots share most of their references: each chunk of a reference stream is read once, however many
//! snapshots have it.

use std::collections::{HashMap, HashSet};

use super::recent::Recent;
use super::references::{Lines, damaged, name_of, parse_id, portions};
use crate::error::{Error, Result};
use crate::id::{ChunkId, ObjectId};
use crate::index::{Beginnings, Index, Table, leading};
use crate::parallel::try_take_in_parallel;
use crate::progress::Progress;
use crate::reader::ContentReader;
use crate::snapshot::Snapshot;

/// With more chunks than this in no pack, something is wrong with the index itself.
const ABSENT_MAX: usize = 1_000_000;

/// Portions of references that are read and wait to be marked: some 4 MiB each.
const PORTIONS_AHEAD: usize = 2;

/// Bits by number.
#[derive(Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
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
struct Seen {
    head: Vec<u8>,
    /// What follows the last end of a line; `None` when there is no such end and `head` is everything.
    tail: Option<Vec<u8>>,
    lines: u64,
}

/// What is needed.
#[derive(Debug)]
pub(super) struct Marks {
    reader: ContentReader,
    live: Vec<Bits>,
    beginnings: Vec<Beginnings>,
    recent: Recent,
    absent: HashSet<ChunkId>,
    seen: HashMap<ChunkId, Seen>,
    roots: HashSet<ObjectId>,
}

impl Marks {
    /// Marks nothing yet. The reader's index must not change any more.
    ///
    /// # Errors
    /// When a table of the local cache cannot be read.
    pub(super) fn new(reader: ContentReader) -> Result<Self> {
        let beginnings = reader.with_index(|index| {
            let tables = index.tables().iter();
            tables.map(Table::beginnings).collect::<Result<Vec<_>>>()
        })?;
        let live = reader.with_index(|index| {
            let tables = index.tables().iter();
            tables.map(|table| Bits::new(table.chunk_count())).collect()
        });
        Ok(Self {
            reader,
            live,
            beginnings,
            recent: Recent::new(),
            absent: HashSet::new(),
            seen: HashMap::new(),
            roots: HashSet::new(),
        })
    }

    /// Works with the index that the marks are about, and the marks of each of its tables.
    pub(super) fn with_index<T>(&self, work: impl FnOnce(&Index, &[Bits]) -> T) -> T {
        self.reader.with_index(|index| work(index, &self.live))
    }

    /// Chunks that are needed and in no pack.
    pub(super) fn absent(&self) -> &HashSet<ChunkId> {
        &self.absent
    }

    pub(super) fn has_root(&self, id: &ObjectId) -> bool {
        self.roots.contains(id)
    }

    /// How many snapshots are marked.
    pub(super) fn roots(&self) -> usize {
        self.roots.len()
    }

    /// Whether some snapshot needs a chunk, or one that begins alike.
    pub(super) fn is_live(&self, id: &ChunkId) -> bool {
        if self.absent.contains(id) {
            return true;
        }
        let begins = leading(id);
        self.with_index(|index, live| {
            let mut tables = index.tables().iter().zip(&self.beginnings).zip(live);
            tables.any(|((table, beginnings), bits)| {
                table.numbers_like(begins, beginnings).any(|n| bits.get(n))
            })
        })
    }

    /// Marks what snapshots need. Snapshots that are younger than the index are read by a reader of their own.
    ///
    /// # Errors
    /// When their references cannot be read to the end: then nobody knows what they need.
    pub(super) fn add(
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
        let unread = portions(&snapshots, |id| self.seen.contains_key(id));
        let mut done = 0;
        try_take_in_parallel(
            reader.parallel_reads(),
            PORTIONS_AHEAD,
            &unread,
            |portion| portion.read(&reader),
            |portion, read| {
                progress.check()?;
                let now = done.max(portion.snapshot);
                Progress::add(&progress.items, (now - done) as u64);
                done = now;
                read.into_iter().try_for_each(|lines| self.take(lines))
            },
        )?;
        for snapshot in &snapshots {
            self.add_read(snapshot)?;
        }
        Progress::add(&progress.items, (snapshots.len() - done) as u64);
        Ok(())
    }

    /// Marks what a snapshot needs whose references were read.
    fn add_read(&mut self, snapshot: &Snapshot) -> Result<()> {
        let root = &snapshot.root;
        for record in [&root.entries, &root.references, &root.details] {
            for id in &record.chunks {
                self.mark(id)?;
            }
        }
        let count = self.join(snapshot)?;
        if count != root.counts.chunks {
            return Err(Error::Damaged {
                object: name_of(snapshot),
                reason: format!("{count} chunk IDs found, {} expected", root.counts.chunks),
            });
        }
        self.roots.insert(snapshot.id);
        Ok(())
    }

    fn mark(&mut self, id: &ChunkId) -> Result<()> {
        let begins = leading(id);
        if self.recent.has(begins) {
            return Ok(());
        }
        let (live, beginnings) = (&mut self.live, &self.beginnings);
        let found = self
            .reader
            .with_index(|index| set(index, beginnings, live, begins));
        if found {
            self.recent.add(begins);
        } else {
            self.absent.insert(*id);
        }
        self.check_absent()
    }

    /// Marks what the whole lines of a chunk of references name, and keeps its ends.
    fn take(&mut self, lines: Lines) -> Result<()> {
        let numbered = lines.leading.iter().copied().enumerate();
        let new: Vec<_> = numbered.filter(|(_, n)| !self.recent.has(*n)).collect();
        let (live, beginnings) = (&mut self.live, &self.beginnings);
        let (recent, absent) = (&mut self.recent, &mut self.absent);
        self.reader.with_index(|index| {
            for (number, begins) in new {
                if set(index, beginnings, live, begins) {
                    recent.add(begins);
                } else {
                    absent.insert(lines.id_of(number)?);
                }
            }
            Ok::<_, Error>(())
        })?;
        let seen = Seen {
            lines: lines.leading.len() as u64,
            head: lines.head,
            tail: lines.tail,
        };
        self.seen.insert(lines.id, seen);
        self.check_absent()
    }

    fn check_absent(&self) -> Result<()> {
        if self.absent.len() > ABSENT_MAX {
            return Err(Error::Damaged {
                object: "the index".to_owned(),
                reason: format!("more than {ABSENT_MAX} needed chunks are not in any pack"),
            });
        }
        Ok(())
    }

    /// Marks the lines that begin in one chunk of a snapshot's references and end in another; how many lines there
    /// are in all of them.
    fn join(&mut self, snapshot: &Snapshot) -> Result<u64> {
        let name = name_of(snapshot);
        let (mut line, mut count) = (Vec::new(), 0);
        for id in &snapshot.root.references.chunks {
            let Some(seen) = self.seen.get(id) else {
                return Err(Error::Internal(format!("{name} were not read")));
            };
            line.extend_from_slice(&seen.head);
            if let Some(tail) = &seen.tail {
                count += seen.lines + 1;
                let whole = std::mem::replace(&mut line, tail.clone());
                self.mark(&parse_id(&whole, &name)?)?;
            }
        }
        if line.is_empty() {
            Ok(count)
        } else {
            Err(damaged(&name, "the last line is truncated"))
        }
    }
}

/// Marks all records of ids that begin like this; whether there are any.
fn set(index: &Index, beginnings: &[Beginnings], live: &mut [Bits], leading: u64) -> bool {
    let mut found = false;
    for ((table, beginnings), bits) in index.tables().iter().zip(beginnings).zip(live) {
        for number in table.numbers_like(leading, beginnings) {
            bits.set(number);
            found = true;
        }
    }
    found
}
