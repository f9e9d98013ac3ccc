//! A large repository without its contents: for measuring what works with the catalog alone.
//!
//! Roots, references, fragments and the packs of references are real. Packs of contents are sparse files of the
//! right size: whatever reads one finds damage.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};

use super::noise;
use crate::chunker::Chunker;
use crate::crypt::Class;
use crate::error::{Error, Result};
use crate::id::{ChunkId, ObjectId};
use crate::index::FRAGMENT_CHUNKS_MAX;
use crate::pack::{PackBuilder, PackRecord, pack_key};
use crate::repository::Repository;
use crate::segment::{ChunkInSegment, SegmentBuilder, SegmentRecord};
use crate::snapshot::{
    Added, Counts, Outcome, SnapshotRoot, SourceKind, StreamRecord, snapshot_key,
};
use crate::stored::put_verified;

/// A line of references: an id and the end of the line.
const LINE_BYTES: usize = 65;

/// Bytes of an entry's line, about.
const ENTRY_BYTES: u64 = 180;

/// What to make, in a new repository on a local disk.
#[derive(Debug, Clone)]
pub struct Synthetic {
    /// Chunks of content in all snapshots together.
    pub chunks: u64,
    /// Snapshots, a day apart; the last is of `now`.
    pub snapshots: u64,
    /// Chunks that each snapshot refers to.
    pub each: u64,
    /// In how many places of a snapshot its new chunks are.
    pub places: u64,
    /// Whether index fragments are full, as after a prune, or as each snapshot left them.
    pub merged: bool,
    /// When the last snapshot was taken.
    pub now: DateTime<Utc>,
}

/// What was made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Made {
    /// Chunks in packs, those of metadata included.
    pub chunks: u64,
    /// Packs.
    pub packs: u64,
    /// Their bytes; most of them are holes.
    pub stored_bytes: u64,
    /// Index fragments.
    pub fragments: u64,
    /// Plain bytes of different chunks of references.
    pub reference_bytes: u64,
}

impl Synthetic {
    /// Makes it.
    ///
    /// # Errors
    /// What sealing or storing gives.
    pub fn make(&self, repository: &Repository) -> Result<Made> {
        let mut maker = Maker::new(self, repository)?;
        for n in 0..self.snapshots {
            maker.snapshot(n)?;
        }
        maker.fragment()?;
        Ok(maker.made)
    }
}

struct Maker<'a> {
    wish: &'a Synthetic,
    repository: &'a Repository,
    root: PathBuf,
    made: Made,
    /// The number of the next id.
    next: u64,
    parent: Option<ObjectId>,
    references: References,
    entries: Vec<ChunkId>,
    contents: Contents,
    catalog: SegmentBuilder,
    pack: PackBuilder,
    undescribed: Vec<PackRecord>,
}

/// A stream of references and where it is cut.
#[derive(Default)]
struct References {
    text: Vec<u8>,
    ends: Vec<usize>,
    ids: Vec<ChunkId>,
}

/// A pack of contents that is being described.
#[derive(Default)]
struct Contents {
    chunks: Vec<ChunkInSegment>,
    plain: u32,
    segments: Vec<SegmentRecord>,
    size: u64,
}

fn internal(error: &dyn std::fmt::Display) -> Error {
    Error::Internal(error.to_string())
}

fn cast<T: TryFrom<U>, U>(number: U) -> Result<T>
where
    T::Error: std::fmt::Display,
{
    T::try_from(number).map_err(|error| internal(&error))
}

impl<'a> Maker<'a> {
    fn new(wish: &'a Synthetic, repository: &'a Repository) -> Result<Self> {
        let recipients = repository.inner.catalog_recipients.clone();
        Ok(Self {
            wish,
            repository,
            root: PathBuf::from(repository.location()),
            made: Made::default(),
            next: 0,
            parent: None,
            references: References::default(),
            entries: Vec::new(),
            contents: Contents::default(),
            catalog: SegmentBuilder::new(Class::Catalog, recipients)?,
            pack: PackBuilder::default(),
            undescribed: Vec::new(),
        })
    }

    fn id(&mut self) -> ChunkId {
        self.next += 1;
        ChunkId::from_bytes(*blake3::hash(&self.next.to_le_bytes()).as_bytes())
    }

    fn snapshot(&mut self, n: u64) -> Result<()> {
        let before = self.made;
        if n == 0 {
            self.first()?;
        } else {
            self.change(n)?;
        }
        let details = self.id();
        self.content(details, 300)?;
        self.close_contents()?;
        self.close_catalog()?;
        if !self.wish.merged {
            self.fragment()?;
        }
        self.put_root(n, details, before)
    }

    fn first(&mut self) -> Result<()> {
        let bytes = cast::<usize, _>(self.wish.each)? * LINE_BYTES;
        self.references.text = vec![b'\n'; bytes];
        self.write(0, self.wish.each)?;
        for _ in 0..=self.wish.each * ENTRY_BYTES / (256 << 10) {
            let id = self.id();
            self.content(id, 256 << 10)?;
            self.entries.push(id);
        }
        self.cut(0, bytes)
    }

    fn change(&mut self, n: u64) -> Result<()> {
        let wish = self.wish;
        let left = wish.chunks.saturating_sub(wish.each);
        let fresh = left / (wish.snapshots - 1).max(1) / wish.places;
        for place in 0..wish.places {
            let random = noise(16, n * wish.places + place);
            let number = |at: usize| {
                random[at..at + 8]
                    .iter()
                    .fold(0, |n, b| n << 8 | u64::from(*b))
            };
            let line = number(0) % (wish.each - fresh);
            self.write(line, fresh)?;
            let start = cast::<usize, _>(line)? * LINE_BYTES;
            self.cut(start, start + cast::<usize, _>(fresh)? * LINE_BYTES)?;
            let entry = cast::<usize, _>(number(8) % self.entries.len() as u64)?;
            let id = self.id();
            self.content(id, 256 << 10)?;
            self.entries[entry] = id;
        }
        Ok(())
    }

    /// Writes new chunks into the references, from a line on.
    fn write(&mut self, line: u64, count: u64) -> Result<()> {
        for n in line..line + count {
            let id = self.id();
            let [a, b, ..] = *id.as_bytes();
            self.content(id, 1024 + 2 * u32::from(u16::from_le_bytes([a, b])))?;
            let start = cast::<usize, _>(n)? * LINE_BYTES;
            let text = &mut self.references.text[start..start + 64];
            hex::encode_to_slice(id.as_bytes(), text).map_err(|e| internal(&e))?;
        }
        Ok(())
    }

    /// Cuts the references anew where they changed; exactly as if all of them were cut.
    fn cut(&mut self, start: usize, end: usize) -> Result<()> {
        let References { text, ends, ids } = &mut self.references;
        let inner = &self.repository.inner;
        let first = ends.partition_point(|cut| *cut <= start);
        let mut position = first.checked_sub(1).map_or(0, |n| ends[n]);
        let mut chunker = Chunker::new(inner.config.layout.metadata, inner.secrets.chunker_seed());
        let (mut new_ends, mut new_ids) = (Vec::new(), Vec::new());
        let mut rest = &text[position..];
        let mut kept = ends.len();
        while let Some(chunk) = chunker.next_chunk(&mut rest).map_err(|e| internal(&e))? {
            let id = inner.secrets.chunk_id(Class::Catalog, chunk);
            self.catalog.push(id, chunk)?;
            self.made.reference_bytes += chunk.len() as u64;
            position += chunk.len();
            new_ends.push(position);
            new_ids.push(id);
            if self.catalog.plain_bytes() >= inner.config.layout.segment_bytes as usize {
                self.pack.push(self.catalog.seal()?)?;
            }
            if position >= end
                && let Ok(same) = ends.binary_search(&position)
            {
                kept = same + 1;
                break;
            }
        }
        ends.splice(first..kept, new_ends);
        ids.splice(first..kept, new_ids);
        Ok(())
    }

    fn content(&mut self, id: ChunkId, length: u32) -> Result<()> {
        self.contents.chunks.push(ChunkInSegment(id, length));
        self.contents.plain += length;
        let layout = &self.repository.inner.config.layout;
        if self.contents.plain >= layout.segment_bytes {
            self.contents.close_segment(self.next);
        }
        if self.contents.size >= u64::from(layout.pack_bytes) {
            self.close_contents()?;
        }
        Ok(())
    }

    /// Describes a pack of contents, and makes a file as large as it would be.
    fn close_contents(&mut self) -> Result<()> {
        self.contents.close_segment(self.next);
        let contents = std::mem::take(&mut self.contents);
        let chunks: usize = contents.segments.iter().map(|s| s.chunks.len()).sum();
        let record = PackRecord {
            pack: ObjectId::of_parts(&[b"pack", &self.next.to_le_bytes()]),
            size: contents.size + 1000 + 40 * chunks as u64,
            segments: contents.segments,
        };
        let path = self.root.join(pack_key(&record.pack).as_str());
        let folder = path.parent().unwrap_or(&self.root);
        let made =
            fs::create_dir_all(folder).and_then(|()| File::create_new(&path)?.set_len(record.size));
        made.map_err(|e| internal(&e))?;
        self.describe(record)
    }

    fn close_catalog(&mut self) -> Result<()> {
        let inner = &self.repository.inner;
        if !self.catalog.is_empty() {
            self.pack.push(self.catalog.seal()?)?;
        }
        let recipients = &inner.catalog_recipients;
        let pack = std::mem::take(&mut self.pack);
        let pack = pack.finish(recipients, inner.signer()?, inner.trust.repository())?;
        let id = pack.record.pack;
        put_verified(inner.backend.as_ref(), &pack_key(&id), &pack.parts, &id)?;
        self.describe(pack.record)
    }

    fn describe(&mut self, record: PackRecord) -> Result<()> {
        self.made.packs += 1;
        self.made.stored_bytes += record.size;
        self.made.chunks += record.chunk_count() as u64;
        self.undescribed.push(record);
        let chunks: usize = self.undescribed.iter().map(PackRecord::chunk_count).sum();
        if chunks >= FRAGMENT_CHUNKS_MAX {
            self.fragment()?;
        }
        Ok(())
    }

    fn fragment(&mut self) -> Result<()> {
        if !self.undescribed.is_empty() {
            self.repository.inner.put_fragment(&self.undescribed)?;
            self.undescribed.clear();
            self.made.fragments += 1;
        }
        Ok(())
    }

    fn put_root(&mut self, n: u64, details: ChunkId, before: Made) -> Result<()> {
        let stream = |chunks: Vec<ChunkId>, bytes: u64| StreamRecord { chunks, bytes };
        let entries = self.wish.each * ENTRY_BYTES;
        let ago = TimeDelta::days(cast(self.wish.snapshots - 1 - n)?);
        let time = self.wish.now - ago;
        let counts = Counts {
            entries: self.wish.each,
            files: self.wish.each,
            bytes: self.wish.each * (65 << 10),
            chunks: self.wish.each,
            ..Counts::default()
        };
        let root = SnapshotRoot {
            source: "synthetic".to_owned(),
            kind: SourceKind::Volume,
            host: "synthetic".to_owned(),
            data_time: time,
            started: time,
            finished: time,
            outcome: Outcome::Ok,
            warnings: 0,
            counts,
            added: Added {
                chunks: self.made.chunks - before.chunks,
                plain_bytes: 0,
                stored_bytes: self.made.stored_bytes - before.stored_bytes,
            },
            parent: self.parent,
            tags: BTreeMap::new(),
            program: crate::PROGRAM.to_owned(),
            facts: BTreeMap::new(),
            entries: stream(self.entries.clone(), entries),
            references: stream(
                self.references.ids.clone(),
                self.references.text.len() as u64,
            ),
            details: stream(vec![details], 300),
        };
        let inner = &self.repository.inner;
        let host = inner
            .host
            .as_ref()
            .ok_or_else(|| internal(&"this host has no keys"))?;
        let id = inner.write_root(&root, host)?;
        self.parent = Some(id);
        // The storage received it when it was taken.
        let file = File::options()
            .write(true)
            .open(self.root.join(snapshot_key(&id).as_str()));
        file.and_then(|file| file.set_modified(time.into()))
            .map_err(|e| internal(&e))
    }
}

impl Contents {
    /// Compressed to six tenths, as mixed contents are.
    fn close_segment(&mut self, number: u64) {
        if self.chunks.is_empty() {
            return;
        }
        let length = self.plain / 10 * 6;
        self.segments.push(SegmentRecord {
            class: Class::Data,
            offset: self.size,
            length,
            plain: self.plain,
            hash: ObjectId::of_parts(&[b"segment", &number.to_le_bytes()]),
            recipients: None,
            chunks: std::mem::take(&mut self.chunks),
        });
        self.plain = 0;
        self.size += u64::from(length);
    }
}
