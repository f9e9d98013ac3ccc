//! What tests of several crates need.

mod synthetic;

use crate::backend::ObjectKey;
use crate::crypto::encryption::RecipientClass;
use crate::crypto::envelope::{self, RecordKind};
use crate::error::{Error, Result};
use crate::format::entry::{Entry, EntryKind};
use crate::format::pack::{PackBuilder, pack_key};
use crate::format::segment::SealedSegment;
use crate::format::snapshot::Snapshot;
use crate::id::{ChunkId, ObjectId};
use crate::index::fragment_key;
use crate::store::Repository;
use crate::store::verified_io::put_verified;
use crate::text::RawText;
use crate::write::{LoadedFile, SnapshotItem};

pub use synthetic::{SyntheticCounts, SyntheticRepository};

/// A small file for a writer.
#[must_use]
pub fn small_file(name: &str, content: Vec<u8>) -> SnapshotItem {
    let mut entry = Entry::new(RawText::from(name), EntryKind::File);
    entry.size = content.len() as u64;
    let load = move |buffer: &mut Vec<u8>| {
        buffer.extend_from_slice(&content);
        LoadedFile {
            entry: Some(entry),
            stamp: None,
            remarks: Vec::new(),
        }
    };
    SnapshotItem::SmallFile {
        size_hint: 1,
        load: Box::new(load),
    }
}

/// The kind of the records in a directory.
fn record_kind(directory: &str) -> RecordKind {
    match directory {
        "keys" => RecordKind::Keys,
        "snapshots" => RecordKind::Snapshot,
        "index" => RecordKind::Index,
        "leases" => RecordKind::Lease,
        "tombstones" => RecordKind::Tombstone,
        "replaced" => RecordKind::Replaced,
        "quarantine" => RecordKind::Quarantine,
        _ => RecordKind::Sweep,
    }
}

/// A compromised host: has its keys, and writes false records.
#[derive(Debug)]
pub struct CompromisedHost {
    repository: Repository,
}

impl CompromisedHost {
    /// With the keys of the host that opened the repository.
    #[must_use]
    pub fn new(repository: Repository) -> Self {
        Self { repository }
    }

    fn put_object(&self, directory: &str, bytes: Vec<u8>) -> Result<ObjectKey> {
        let id = ObjectId::from_content(&bytes);
        let key = ObjectKey::from_trusted(format!("{directory}/{id}"));
        put_verified(
            self.repository.inner.backend.as_ref(),
            &key,
            &[bytes.into()],
            &id,
        )?;
        Ok(key)
    }

    /// A record of a directory, signed with the host's key whether or not that is allowed.
    ///
    /// # Errors
    /// Errors of sealing or storing.
    pub fn put_record(&self, directory: &str, json: &str) -> Result<ObjectKey> {
        let inner = &self.repository.inner;
        let (signer, repository) = (inner.signer()?, inner.trust.repository());
        let kind = record_kind(directory);
        if kind == RecordKind::Keys {
            let sealed = envelope::seal_unencrypted(kind, json.as_bytes(), signer, repository)?;
            return self.put_object(directory, sealed);
        }
        let recipients = &inner.catalog_recipients;
        let sealed = envelope::seal_record(kind, json.as_bytes(), recipients, signer, repository)?;
        self.put_object(directory, sealed)
    }

    /// A record of a version that is not supported yet, signed with the host's key.
    ///
    /// # Errors
    /// Errors of sealing or storing.
    pub fn put_newer_record(&self, directory: &str) -> Result<ObjectKey> {
        let inner = &self.repository.inner;
        let (signer, repository) = (inner.signer()?, inner.trust.repository());
        let sealed = envelope::sign_body_as(2, "new", b"what ever", signer, repository);
        let mut sealed = sealed.map_err(|e| Error::Internal(e.to_string()))?;
        if directory != "packs" {
            return self.put_object(directory, sealed);
        }
        let length = sealed.len();
        sealed.extend_from_slice(format!("reprise1{length:08x}").as_bytes());
        let directory = format!(
            "packs/{}",
            &ObjectId::from_content(&sealed).to_string()[..2]
        );
        self.put_object(&directory, sealed)
    }

    /// A record that only a stranger can open, signed with the host's key.
    ///
    /// # Errors
    /// Errors of sealing or storing.
    pub fn put_unreadable_record(&self, directory: &str) -> Result<ObjectKey> {
        let inner = &self.repository.inner;
        let kind = record_kind(directory);
        let stranger = vec![crate::crypto::encryption::generate_identity("now").recipient];
        let recipients = crate::crypto::encryption::Recipients::parse(&stranger)?;
        let (signer, repository) = (inner.signer()?, inner.trust.repository());
        let sealed = envelope::seal_record(kind, b"{}", &recipients, signer, repository)?;
        self.put_object(directory, sealed)
    }

    /// A sweep that names all packs as being deleted, signed with the host's key whether or not that is allowed.
    ///
    /// # Errors
    /// Errors of sealing or storing.
    pub fn put_sweep_of_everything(&self) -> Result<ObjectKey> {
        let inner = &self.repository.inner;
        let listed = inner.list_objects("packs")?;
        let packs: Vec<_> = listed.iter().map(|info| info.key.name()).collect();
        let json = serde_json::json!({
            "state": "final", "at": inner.clock.wall_time(), "by": "mallory", "packs": packs,
            "fragments": [], "roots": [], "program": "forged",
        });
        self.put_sealed("sweeps", RecordKind::Sweep, &json)
    }

    /// A lease of a run, as long as it says.
    ///
    /// # Errors
    /// Errors of sealing or storing.
    pub fn put_lease(&self, run: &str, lasts: chrono::TimeDelta) -> Result<ObjectKey> {
        let now = self.repository.inner.clock.wall_time();
        let json = serde_json::json!({
            "run": run, "host": "mallory", "command": "snapshot", "started": now, "at": now,
            "expires": now + lasts, "ends": false,
        });
        self.put_sealed("leases", RecordKind::Lease, &json)
    }

    fn put_sealed(
        &self,
        directory: &str,
        kind: RecordKind,
        json: &serde_json::Value,
    ) -> Result<ObjectKey> {
        let inner = &self.repository.inner;
        let (signer, repository) = (inner.signer()?, inner.trust.repository());
        let (json, recipients) = (json.to_string(), &inner.catalog_recipients);
        let sealed = envelope::seal_record(kind, json.as_bytes(), recipients, signer, repository)?;
        self.put_object(directory, sealed)
    }

    /// Other secrets, encrypted to everybody who can read the catalog.
    ///
    /// # Errors
    /// Errors of encrypting or storing.
    pub fn put_other_secrets(&self) -> Result<ObjectKey> {
        let secrets = crate::format::secrets::Secrets::random()?.to_json()?;
        let encrypted = self.repository.inner.catalog_recipients.encrypt(&secrets)?;
        self.put_object("keys", encrypted)
    }

    /// A pack that claims to hold every chunk of a snapshot, each `longer` by some bytes, and holds garbage.
    ///
    /// # Errors
    /// Errors of reading the catalog or storing.
    pub fn put_poisoned_pack(&self, snapshot: &Snapshot, longer: u32) -> Result<ObjectKey> {
        let inner = &self.repository.inner;
        let reader = self.repository.content_reader()?;
        let root = &snapshot.root;
        let mut data: Vec<ChunkId> = Vec::new();
        data.extend(root.entries.chunks.iter().chain(&root.details.chunks));
        let mut references = reader.snapshot_reader(snapshot).references();
        while let Some(id) = references.next_id()? {
            data.push(id);
        }
        let mut builder = PackBuilder::default();
        for (class, ids, recipients) in [
            (RecipientClass::Data, &data, &inner.data_recipients),
            (
                RecipientClass::Catalog,
                &root.references.chunks,
                &inner.catalog_recipients,
            ),
        ] {
            for id in ids {
                let length = reader.chunk_length(id, &"a thief")? + longer;
                let plain = incompressible_bytes(length as usize, 4711);
                let compressed =
                    zstd::bulk::compress(&plain, 1).map_err(|e| Error::Internal(e.to_string()))?;
                let stored = recipients.encrypt(&compressed)?;
                builder.push(SealedSegment {
                    class,
                    hash: ObjectId::from_content(&stored),
                    stored,
                    plain_length: length,
                    chunks: vec![crate::format::segment::ChunkInSegment(*id, length)],
                    recipients: Some(recipients.recipient_set_id()),
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

    /// Garbage of the size of a pack of others, and a fragment that claims that it holds the very segments of that
    /// pack.
    ///
    /// # Errors
    /// Errors of reading the pack's directory or storing.
    pub fn put_twin_pack(&self, pack: &ObjectId) -> Result<ObjectKey> {
        let inner = &self.repository.inner;
        let mut record = inner.directory_reader().read_directory(pack)?;
        let size = usize::try_from(record.size).map_err(|e| Error::Internal(e.to_string()))?;
        // Of equal packs the one with the least ID may be preferred.
        let rubbish = (1..)
            .map(|seed| incompressible_bytes(size, seed))
            .find(|bytes| ObjectId::from_content(bytes) < *pack);
        let rubbish = rubbish.unwrap_or_default();
        record.pack = ObjectId::from_content(&rubbish);
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

    /// A fragment that describes a pack of others with another size and other chunks.
    ///
    /// # Errors
    /// Errors of reading the pack's directory or storing.
    pub fn put_false_fragment(&self, pack: &ObjectId) -> Result<ObjectKey> {
        let mut record = self
            .repository
            .inner
            .directory_reader()
            .read_directory(pack)?;
        record.size += 1;
        for segment in &mut record.segments {
            segment.hash = ObjectId::from_content(b"other");
        }
        Ok(fragment_key(
            &self.repository.inner.put_fragment(&[record])?,
        ))
    }
}

/// Reproducible bytes that do not compress.
#[must_use]
pub fn incompressible_bytes(length: usize, seed: u64) -> Vec<u8> {
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
