//! A large repository without its contents, to measure what works with the catalog alone.
//!
//! Roots, references, fragments and the packs of references are real. Packs of contents are sparse files of the
//! right size: whatever reads one finds damage.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};

use super::incompressible_bytes;
use crate::crypto::encryption::RecipientClass;
use crate::error::{Error, Result};
use crate::format::chunker::Chunker;
use crate::format::pack::{PackBuilder, PackRecord, pack_key};
use crate::format::segment::{ChunkInSegment, SegmentBuilder, SegmentRecord};
use crate::format::snapshot::{
    AddedData, EntryCounts, Outcome, SnapshotRoot, SourceKind, StreamRecord, snapshot_key,
};
use crate::id::{ChunkId, ObjectId};
use crate::index::FRAGMENT_CHUNKS_MAX;
use crate::store::Repository;
use crate::store::verified_io::put_verified;

/// A line of references: an ID and the end of the line.
const LINE_BYTES: usize = 65;

/// The approximate size of an entry's line, in bytes.
const ENTRY_BYTES: u64 = 180;

/// What to make, in a new repository on a local disk.
#[derive(Debug, Clone)]
pub struct SyntheticRepository {
    /// Chunks of content in all snapshots together.
    pub chunks: u64,
    /// Snapshots, a day apart; the last is of `now`.
    pub snapshots: u64,
    /// Chunks that each snapshot refers to.
    pub chunks_per_snapshot: u64,
    /// The number of positions in a snapshot where its new chunks are.
    pub places: u64,
    /// Whether index fragments are full, as after a prune, or as each snapshot left them.
    pub merged: bool,
    /// When the last snapshot was taken.
    pub now: DateTime<Utc>,
}

/// Counts of what was made.
#[derive(Debug, Clone, Copy, Default)]
pub struct SyntheticCounts {
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

impl SyntheticRepository {
    /// Builds the repository.
    ///
    /// # Errors
    /// Errors of sealing or storing.
    pub fn build(&self, repository: &Repository) -> Result<SyntheticCounts> {
        let mut maker = SyntheticBuilder::new(self, repository)?;
        for n in 0..self.snapshots {
            maker.add_snapshot(n)?;
        }
        maker.flush_fragment()?;
        Ok(maker.counts)
    }
}

struct SyntheticBuilder<'a> {
    options: &'a SyntheticRepository,
    repository: &'a Repository,
    root: PathBuf,
    counts: SyntheticCounts,
    /// The number of the next id.
    last_id: u64,
    parent: Option<ObjectId>,
    references: ReferenceText,
    entries: Vec<ChunkId>,
    contents: ContentPack,
    catalog: SegmentBuilder,
    pack: PackBuilder,
    undescribed: Vec<PackRecord>,
}

/// A stream of references and its chunk boundaries.
#[derive(Default)]
struct ReferenceText {
    text: Vec<u8>,
    ends: Vec<usize>,
    ids: Vec<ChunkId>,
}

/// A pack of contents that is being described.
#[derive(Default)]
struct ContentPack {
    chunks: Vec<ChunkInSegment>,
    plain: u32,
    segments: Vec<SegmentRecord>,
    size: u64,
}

fn internal_error(error: &dyn std::fmt::Display) -> Error {
    Error::Internal(error.to_string())
}

fn convert_number<T: TryFrom<U>, U>(number: U) -> Result<T>
where
    T::Error: std::fmt::Display,
{
    T::try_from(number).map_err(|error| internal_error(&error))
}

impl<'a> SyntheticBuilder<'a> {
    fn new(wish: &'a SyntheticRepository, repository: &'a Repository) -> Result<Self> {
        let recipients = repository.inner.catalog_recipients.clone();
        Ok(Self {
            options: wish,
            repository,
            root: PathBuf::from(repository.location()),
            counts: SyntheticCounts::default(),
            last_id: 0,
            parent: None,
            references: ReferenceText::default(),
            entries: Vec::new(),
            contents: ContentPack::default(),
            catalog: SegmentBuilder::new(RecipientClass::Catalog, recipients)?,
            pack: PackBuilder::default(),
            undescribed: Vec::new(),
        })
    }

    fn next_id(&mut self) -> ChunkId {
        self.last_id += 1;
        ChunkId::from_bytes(*blake3::hash(&self.last_id.to_le_bytes()).as_bytes())
    }

    fn add_snapshot(&mut self, n: u64) -> Result<()> {
        let before = self.counts;
        if n == 0 {
            self.write_first_snapshot()?;
        } else {
            self.change_references(n)?;
        }
        let details = self.next_id();
        self.add_chunk(details, 300)?;
        self.close_contents()?;
        self.close_catalog()?;
        if !self.options.merged {
            self.flush_fragment()?;
        }
        self.put_root(n, details, before)
    }

    fn write_first_snapshot(&mut self) -> Result<()> {
        let bytes = convert_number::<usize, _>(self.options.chunks_per_snapshot)? * LINE_BYTES;
        self.references.text = vec![b'\n'; bytes];
        self.write_references(0, self.options.chunks_per_snapshot)?;
        for _ in 0..=self.options.chunks_per_snapshot * ENTRY_BYTES / (256 << 10) {
            let id = self.next_id();
            self.add_chunk(id, 256 << 10)?;
            self.entries.push(id);
        }
        self.rechunk_references(0, bytes)
    }

    fn change_references(&mut self, n: u64) -> Result<()> {
        let wish = self.options;
        let left = wish.chunks.saturating_sub(wish.chunks_per_snapshot);
        let fresh = left / (wish.snapshots - 1).max(1) / wish.places;
        for place in 0..wish.places {
            let random = incompressible_bytes(16, n * wish.places + place);
            let number = |at: usize| {
                random[at..at + 8]
                    .iter()
                    .fold(0, |n, b| n << 8 | u64::from(*b))
            };
            let line = number(0) % (wish.chunks_per_snapshot - fresh);
            self.write_references(line, fresh)?;
            let start = convert_number::<usize, _>(line)? * LINE_BYTES;
            self.rechunk_references(
                start,
                start + convert_number::<usize, _>(fresh)? * LINE_BYTES,
            )?;
            let entry = convert_number::<usize, _>(number(8) % self.entries.len() as u64)?;
            let id = self.next_id();
            self.add_chunk(id, 256 << 10)?;
            self.entries[entry] = id;
        }
        Ok(())
    }

    /// Writes new chunks into the references, from a line on.
    fn write_references(&mut self, line: u64, count: u64) -> Result<()> {
        for n in line..line + count {
            let id = self.next_id();
            let [a, b, ..] = *id.as_bytes();
            self.add_chunk(id, 1024 + 2 * u32::from(u16::from_le_bytes([a, b])))?;
            let start = convert_number::<usize, _>(n)? * LINE_BYTES;
            let text = &mut self.references.text[start..start + 64];
            hex::encode_to_slice(id.as_bytes(), text).map_err(|e| internal_error(&e))?;
        }
        Ok(())
    }

    /// Cuts the references again where they changed; exactly as if all of them were cut.
    fn rechunk_references(&mut self, start: usize, end: usize) -> Result<()> {
        let ReferenceText { text, ends, ids } = &mut self.references;
        let inner = &self.repository.inner;
        let first = ends.partition_point(|cut| *cut <= start);
        let mut position = first.checked_sub(1).map_or(0, |n| ends[n]);
        let mut chunker = Chunker::new(inner.config.layout.metadata, inner.secrets.chunker_seed());
        let (mut new_ends, mut new_ids) = (Vec::new(), Vec::new());
        let mut rest = &text[position..];
        let mut kept = ends.len();
        while let Some(chunk) = chunker
            .next_chunk(&mut rest)
            .map_err(|e| internal_error(&e))?
        {
            let id = inner.secrets.chunk_id(RecipientClass::Catalog, chunk);
            self.catalog.push(id, chunk)?;
            self.counts.reference_bytes += chunk.len() as u64;
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

    fn add_chunk(&mut self, id: ChunkId, length: u32) -> Result<()> {
        self.contents.chunks.push(ChunkInSegment(id, length));
        self.contents.plain += length;
        let layout = &self.repository.inner.config.layout;
        if self.contents.plain >= layout.segment_bytes {
            self.contents.close_segment(self.last_id);
        }
        if self.contents.size >= u64::from(layout.pack_bytes) {
            self.close_contents()?;
        }
        Ok(())
    }

    /// Describes a pack of contents, and makes a file of the size that it would have.
    fn close_contents(&mut self) -> Result<()> {
        self.contents.close_segment(self.last_id);
        let contents = std::mem::take(&mut self.contents);
        let chunks: usize = contents.segments.iter().map(|s| s.chunks.len()).sum();
        let record = PackRecord {
            pack: ObjectId::from_content_parts(&[b"pack", &self.last_id.to_le_bytes()]),
            size: contents.size + 1000 + 40 * chunks as u64,
            segments: contents.segments,
        };
        let path = self.root.join(pack_key(&record.pack).as_str());
        let directory = path.parent().unwrap_or(&self.root);
        let made = fs::create_dir_all(directory)
            .and_then(|()| File::create_new(&path)?.set_len(record.size));
        made.map_err(|e| internal_error(&e))?;
        self.add_pack(record)
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
        self.add_pack(pack.record)
    }

    fn add_pack(&mut self, record: PackRecord) -> Result<()> {
        self.counts.packs += 1;
        self.counts.stored_bytes += record.size;
        self.counts.chunks += record.chunk_count() as u64;
        self.undescribed.push(record);
        let chunks: usize = self.undescribed.iter().map(PackRecord::chunk_count).sum();
        if chunks >= FRAGMENT_CHUNKS_MAX {
            self.flush_fragment()?;
        }
        Ok(())
    }

    fn flush_fragment(&mut self) -> Result<()> {
        if !self.undescribed.is_empty() {
            self.repository.inner.put_fragment(&self.undescribed)?;
            self.undescribed.clear();
            self.counts.fragments += 1;
        }
        Ok(())
    }

    fn put_root(&mut self, n: u64, details: ChunkId, before: SyntheticCounts) -> Result<()> {
        let stream = |chunks: Vec<ChunkId>, bytes: u64| StreamRecord { chunks, bytes };
        let entries = self.options.chunks_per_snapshot * ENTRY_BYTES;
        let ago = TimeDelta::days(convert_number(self.options.snapshots - 1 - n)?);
        let time = self.options.now - ago;
        let counts = EntryCounts {
            entries: self.options.chunks_per_snapshot,
            files: self.options.chunks_per_snapshot,
            bytes: self.options.chunks_per_snapshot * (65 << 10),
            chunks: self.options.chunks_per_snapshot,
            ..EntryCounts::default()
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
            added: AddedData {
                chunks: self.counts.chunks - before.chunks,
                plain_bytes: 0,
                stored_bytes: self.counts.stored_bytes - before.stored_bytes,
            },
            parent: self.parent,
            tags: BTreeMap::new(),
            program: crate::program::PROGRAM.to_owned(),
            slot: None,
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
            .ok_or_else(|| internal_error(&"this host has no keys"))?;
        let id = inner.write_root(&root, host)?;
        self.parent = Some(id);
        // The storage received it when it was taken.
        let file = File::options()
            .write(true)
            .open(self.root.join(snapshot_key(&id).as_str()));
        file.and_then(|file| file.set_modified(time.into()))
            .map_err(|e| internal_error(&e))
    }
}

impl ContentPack {
    /// Compressed to six tenths, as mixed contents are.
    fn close_segment(&mut self, number: u64) {
        if self.chunks.is_empty() {
            return;
        }
        let length = self.plain / 10 * 6;
        self.segments.push(SegmentRecord {
            class: RecipientClass::Data,
            offset: self.size,
            length,
            plain: self.plain,
            hash: ObjectId::from_content_parts(&[b"segment", &number.to_le_bytes()]),
            recipients: None,
            chunks: std::mem::take(&mut self.chunks),
        });
        self.plain = 0;
        self.size += u64::from(length);
    }
}
