//! What tests of several crates need.

mod synthetic;

use crate::backend::ObjectKey;
use crate::crypt::Class;
use crate::entry::{Entry, EntryKind};
use crate::envelope::{self, RecordKind};
use crate::error::{Error, Result};
use crate::id::{ChunkId, ObjectId};
use crate::index::fragment_key;
use crate::pack::{PackBuilder, pack_key};
use crate::repository::Repository;
use crate::segment::SealedSegment;
use crate::snapshot::Snapshot;
use crate::stored::put_verified;
use crate::text::RawText;
use crate::writer::{Item, Loaded};

pub use synthetic::{Made, Synthetic};

/// A small file for a writer.
#[must_use]
pub fn file(name: &str, content: Vec<u8>) -> Item {
    let mut entry = Entry::new(RawText::from(name), EntryKind::File);
    entry.size = content.len() as u64;
    let load = move |buffer: &mut Vec<u8>| {
        buffer.extend_from_slice(&content);
        Loaded {
            entry: Some(entry),
            stamp: None,
            warning: None,
        }
    };
    Item::Read {
        size_hint: 1,
        load: Box::new(load),
    }
}

/// Someone who broke into a host: has its keys, and says things that are not true.
#[derive(Debug)]
pub struct Thief {
    repository: Repository,
}

impl Thief {
    /// With the keys of the host that opened the repository.
    #[must_use]
    pub fn new(repository: Repository) -> Self {
        Self { repository }
    }

    fn put(&self, folder: &str, bytes: Vec<u8>) -> Result<ObjectKey> {
        let id = ObjectId::of(&bytes);
        let key = ObjectKey::trusted(format!("{folder}/{id}"));
        put_verified(
            self.repository.inner.backend.as_ref(),
            &key,
            &[bytes.into()],
            &id,
        )?;
        Ok(key)
    }

    /// A record of a folder, signed with the host's key whether or not that may.
    ///
    /// # Errors
    /// What sealing or storing gives.
    pub fn record(&self, folder: &str, json: &str) -> Result<ObjectKey> {
        let inner = &self.repository.inner;
        let (signer, repository) = (inner.signer()?, inner.trust.repository());
        let kind = match folder {
            "keys" => {
                let kind = RecordKind::Keys;
                let sealed = envelope::seal_plain(kind, json.as_bytes(), signer, repository)?;
                return self.put(folder, sealed);
            }
            "tombstones" => RecordKind::Tombstone,
            "replaced" => RecordKind::Replaced,
            _ => RecordKind::Quarantine,
        };
        let recipients = &inner.catalog_recipients;
        let sealed = envelope::seal(kind, json.as_bytes(), recipients, signer, repository)?;
        self.put(folder, sealed)
    }

    /// A record of a version that is not known yet, signed with the host's key.
    ///
    /// # Errors
    /// What sealing or storing gives.
    pub fn newer(&self, folder: &str) -> Result<ObjectKey> {
        let inner = &self.repository.inner;
        let (signer, repository) = (inner.signer()?, inner.trust.repository());
        let sealed = envelope::signed_as(2, "new", b"what ever", signer, repository);
        let mut sealed = sealed.map_err(|e| Error::Internal(e.to_string()))?;
        if folder != "packs" {
            return self.put(folder, sealed);
        }
        let length = sealed.len();
        sealed.extend_from_slice(format!("reprise1{length:08x}").as_bytes());
        let folder = format!("packs/{}", &ObjectId::of(&sealed).to_string()[..2]);
        self.put(&folder, sealed)
    }

    /// A record that only a stranger can open, signed with the host's key.
    ///
    /// # Errors
    /// What sealing or storing gives.
    pub fn closed(&self, folder: &str) -> Result<ObjectKey> {
        let inner = &self.repository.inner;
        let kind = match folder {
            "snapshots" => RecordKind::Snapshot,
            "index" => RecordKind::Index,
            "leases" => RecordKind::Lease,
            "tombstones" => RecordKind::Tombstone,
            _ => RecordKind::Sweep,
        };
        let stranger = vec![crate::crypt::generate_identity("now").recipient];
        let recipients = crate::crypt::Recipients::parse(&stranger)?;
        let (signer, repository) = (inner.signer()?, inner.trust.repository());
        let sealed = envelope::seal(kind, b"{}", &recipients, signer, repository)?;
        self.put(folder, sealed)
    }

    /// Other secrets, encrypted to everybody who reads the catalog.
    ///
    /// # Errors
    /// What encrypting or storing gives.
    pub fn secrets(&self) -> Result<ObjectKey> {
        let secrets = crate::secrets::Secrets::random()?.to_json()?;
        let encrypted = self.repository.inner.catalog_recipients.encrypt(&secrets)?;
        self.put("keys", encrypted)
    }

    /// A pack that claims to hold every chunk of a snapshot, each `longer` by some bytes, and holds rubbish.
    ///
    /// # Errors
    /// What reading the catalog or storing gives.
    pub fn poison(&self, snapshot: &Snapshot, longer: u32) -> Result<ObjectKey> {
        let inner = &self.repository.inner;
        let reader = self.repository.content_reader()?;
        let root = &snapshot.root;
        let mut data: Vec<ChunkId> = Vec::new();
        data.extend(root.entries.chunks.iter().chain(&root.details.chunks));
        let mut references = reader.snapshot(snapshot).references();
        while let Some(id) = references.next_id()? {
            data.push(id);
        }
        let mut builder = PackBuilder::default();
        for (class, ids, recipients) in [
            (Class::Data, &data, &inner.data_recipients),
            (
                Class::Catalog,
                &root.references.chunks,
                &inner.catalog_recipients,
            ),
        ] {
            for id in ids {
                let length = reader.length_of(id, &"a thief")? + longer;
                let plain = noise(length as usize, 4711);
                let compressed =
                    zstd::bulk::compress(&plain, 1).map_err(|e| Error::Internal(e.to_string()))?;
                builder.push(SealedSegment {
                    class,
                    stored: recipients.encrypt(&compressed)?,
                    plain_length: length,
                    chunks: vec![crate::segment::ChunkInSegment(*id, length)],
                    recipients: Some(recipients.set_id()),
                })?;
            }
        }
        let catalog = &inner.catalog_recipients;
        let pack = builder.finish(catalog, inner.signer()?, inner.trust.repository())?;
        let key = pack_key(&pack.record.pack);
        put_verified(inner.backend.as_ref(), &key, &pack.parts, &pack.record.pack)?;
        inner.put_fragment(&[pack.record])?;
        Ok(key)
    }

    /// Rubbish as large as a pack of others, and a fragment that says it holds the very segments of that pack.
    ///
    /// # Errors
    /// What reading the pack's directory or storing gives.
    pub fn twin(&self, pack: &ObjectId) -> Result<ObjectKey> {
        let inner = &self.repository.inner;
        let mut record = inner.directory_reader().read(pack)?;
        let size = usize::try_from(record.size).map_err(|e| Error::Internal(e.to_string()))?;
        // Of equal packs the one with the least id may be preferred.
        let rubbish = (1..)
            .map(|seed| noise(size, seed))
            .find(|bytes| ObjectId::of(bytes) < *pack);
        let rubbish = rubbish.unwrap_or_default();
        record.pack = ObjectId::of(&rubbish);
        let key = pack_key(&record.pack);
        put_verified(
            inner.backend.as_ref(),
            &key,
            &[rubbish.into()],
            &record.pack,
        )?;
        inner.put_fragment(&[record])?;
        Ok(key)
    }

    /// A fragment that says of a pack of others that it has another size and other chunks.
    ///
    /// # Errors
    /// What reading the pack's directory or storing gives.
    pub fn slander(&self, pack: &ObjectId) -> Result<ObjectKey> {
        let mut record = self.repository.inner.directory_reader().read(pack)?;
        record.size += 1;
        for segment in &mut record.segments {
            segment.hash = ObjectId::of(b"other");
        }
        Ok(fragment_key(
            &self.repository.inner.put_fragment(&[record])?,
        ))
    }
}

/// Reproducible bytes that do not compress.
#[must_use]
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for chunk in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    bytes
}
