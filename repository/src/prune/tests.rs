//! What only a holder of a writer's key can do to a prune, and packs that no writer makes any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::*;
use crate::backend::Backend;
use crate::backend::memory::MemoryBackend;
use crate::crypto::encryption::{RecipientClass, generate_identity};
use crate::crypto::host_keys::HostDirectory;
use crate::format::config::Layout;
use crate::format::entry::{Entry, EntryKind};
use crate::format::pack::{PackBuilder, PackRecord, pack_key};
use crate::format::segment::SealedSegment;
use crate::format::snapshot::{Snapshot, SourceKind};
use crate::id::ObjectId;
use crate::index::fragment_key;
use crate::records::sweeps::{self, SweepRecord, SweepState};
use crate::store::verified_io::put_verified;
use crate::text::RawText;
use crate::write::{LoadedFile, SnapshotItem, SnapshotOptions, SnapshotSummary};
use crate::{InitOptions, OpenOptions};

struct PruneFixture {
    storage: MemoryBackend,
    repository: Repository,
    kept: Snapshot,
    _folder: tempfile::TempDir,
}

const CONTENT: &[u8] = b"what must come back";

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn prune_fixture() -> PruneFixture {
    let directory = tempfile::tempdir().unwrap();
    let host = HostDirectory::new(directory.path().join("host"));
    let identity = generate_identity("now");
    let file = directory.path().join("recovery");
    std::fs::write(&file, &identity.file_text).unwrap();
    let storage = MemoryBackend::new();
    let init = InitOptions {
        recipients: vec![identity.recipient],
        host_name: "host".to_owned(),
        now: now(),
        layout: Layout::default(),
        keeper: None,
        spare_keeper: None,
    };
    Repository::init(&storage, &host, &init).unwrap();
    let options = OpenOptions {
        host,
        identity_files: vec![file],
        cache: None,
        memory: None,
        pinned_signers: Vec::new(),
    };
    let repository = Repository::open(Arc::new(storage.clone()), &options).unwrap();
    let kept = take_snapshot(&repository);
    PruneFixture {
        storage,
        repository,
        kept,
        _folder: directory,
    }
}

fn take_snapshot(repository: &Repository) -> Snapshot {
    let options = SnapshotOptions {
        source: "kept".to_owned(),
        kind: SourceKind::Volume,
        host: "host".to_owned(),
        tags: BTreeMap::new(),
        started: now(),
        run: None,
        parent: None,
        alarms: Vec::new(),
    };
    let mut writer = repository
        .begin_snapshot(options, Arc::default(), None)
        .unwrap();
    let load = |buffer: &mut Vec<u8>| {
        buffer.extend_from_slice(CONTENT);
        let mut entry = Entry::new(RawText::from("file"), EntryKind::File);
        entry.size = CONTENT.len() as u64;
        LoadedFile {
            entry: Some(entry),
            stamp: None,
            remarks: Vec::new(),
        }
    };
    let load = Box::new(load);
    writer
        .add_item(SnapshotItem::SmallFile { size_hint: 1, load })
        .unwrap();
    let summary = SnapshotSummary {
        data_time: now(),
        finished: now(),
        facts: BTreeMap::new(),
        location: RawText::from("memory"),
        warnings: Vec::new(),
    };
    writer.finish(|_, _| Ok(summary)).unwrap().snapshot
}

impl PruneFixture {
    fn indexed_packs(&self) -> Vec<PackRecord> {
        let inner = &self.repository.inner;
        let fragments = inner.fragment_ids().unwrap();
        let told = fragments.iter().map(|id| inner.read_fragment(id).unwrap());
        told.flatten().collect()
    }

    fn put_pack(&self, segments: Vec<SealedSegment>) -> PackRecord {
        let inner = &self.repository.inner;
        let mut builder = PackBuilder::default();
        for segment in segments {
            builder.push(segment).unwrap();
        }
        let signer = inner.signer().unwrap();
        let pack = builder.finish(&inner.catalog_recipients, signer, inner.trust.repository());
        let pack = pack.unwrap();
        let id = pack.record.pack;
        put_verified(&self.storage, &pack_key(&id), &pack.parts, &id).unwrap();
        pack.record
    }

    fn sealed_segments(&self, record: &PackRecord) -> Vec<SealedSegment> {
        let bytes = self
            .repository
            .inner
            .get_verified(&pack_key(&record.pack))
            .unwrap();
        let segment = |segment: &crate::format::segment::SegmentRecord| {
            let stored = segment.stored_bytes_in(&bytes);
            SealedSegment::from_stored(segment.clone(), stored, "a pack").unwrap()
        };
        record.segments.iter().map(segment).collect()
    }

    fn prune(&self) -> PruneReport {
        self.prune_with(TimeDelta::zero())
    }

    fn prune_with(&self, grace: TimeDelta) -> PruneReport {
        let options = PruneOptions {
            dry_run: false,
            grace,
            max_repack: None,
            repack_below: 90,
            host: "pruner".to_owned(),
            keeper_file: None,
        };
        self.repository
            .prune(&options, &Progress::default(), |_| {})
            .unwrap()
    }

    fn assert_kept(&self) {
        let reader = self.repository.content_reader().unwrap();
        let mut entries = reader.snapshot_reader(&self.kept).entries();
        let (_, chunks) = entries.next_entry().unwrap().unwrap();
        let read = reader
            .read_chunk(&chunks[0], RecipientClass::Data, &"a test")
            .unwrap();
        assert_eq!(read, CONTENT);
    }
}

#[test]
fn a_pack_that_holds_each_chunk_twice_is_needed() {
    let scene = prune_fixture();
    let packs = scene.indexed_packs();
    let twice = packs.iter().flat_map(|pack| {
        let mut segments = scene.sealed_segments(pack);
        segments.extend(scene.sealed_segments(pack));
        segments
    });
    let record = scene.put_pack(twice.collect());
    let inner = &scene.repository.inner;
    let before = inner.fragment_ids().unwrap();
    inner.put_fragment(std::slice::from_ref(&record)).unwrap();
    scene.storage.tamper(|objects| {
        before
            .iter()
            .for_each(|id| drop(objects.remove(&fragment_key(id))));
        packs
            .iter()
            .for_each(|pack| drop(objects.remove(&pack_key(&pack.pack))));
    });
    for _ in 0..3 {
        scene.prune();
        scene.assert_kept();
    }
    // What it held twice is held once now.
    let stored = scene.storage.list("packs").unwrap();
    assert_eq!(stored.len(), 1);
    assert!(stored[0].size_bytes < record.size);
}

#[test]
fn nothing_that_a_writer_has_signed_makes_a_prune_delete_what_is_kept() {
    let scene = prune_fixture();
    let inner = &scene.repository.inner;
    let (packs, fragments) = (scene.indexed_packs(), inner.fragment_ids().unwrap());
    // Packs that claim to hold the same chunks, and fragments with false descriptions of them and of the true ones.
    for pack in &packs {
        let lies = scene.sealed_segments(pack).into_iter().map(|segment| {
            let stored = vec![7; segment.stored.len()];
            SealedSegment {
                hash: ObjectId::from_content(&stored),
                stored,
                ..segment
            }
        });
        let forged = scene.put_pack(lies.collect());
        let as_if_equal = PackRecord {
            segments: pack.segments.clone(),
            ..forged.clone()
        };
        let empty = PackRecord {
            segments: Vec::new(),
            ..pack.clone()
        };
        for claim in [&forged, &as_if_equal, &empty] {
            inner.put_fragment(std::slice::from_ref(claim)).unwrap();
        }
    }
    // And sweeps that name everything, as if it were condemned and being deleted.
    let sweep = |state, of| SweepRecord {
        state,
        at: now(),
        by: "mallory".to_owned(),
        packs: packs.iter().map(|pack| pack.pack).collect(),
        fragments: fragments.iter().copied().collect(),
        roots: vec![scene.kept.id],
        logs: Vec::new(),
        of,
        program: "forged".to_owned(),
    };
    let condemned = sweeps::put_sweep_record(
        inner,
        inner.signer().unwrap(),
        &sweep(SweepState::Condemned, None),
    )
    .unwrap();
    sweeps::put_sweep_record(
        inner,
        inner.signer().unwrap(),
        &sweep(SweepState::Final, Some(condemned)),
    )
    .unwrap();
    for _ in 0..4 {
        scene.prune();
        scene.assert_kept();
        for pack in &packs {
            assert!(inner.get_verified(&pack_key(&pack.pack)).is_ok());
        }
    }
    let told = scene.indexed_packs();
    assert!(packs.iter().all(|pack| told.contains(pack)));
    let kept: Vec<ObjectId> = scene
        .repository
        .snapshots()
        .unwrap()
        .iter()
        .map(|s| s.id)
        .collect();
    assert_eq!(kept, [scene.kept.id]);
}

#[expect(clippy::disallowed_methods, reason = "the clock of this machine")]
#[test]
fn a_forged_sweep_of_everything_takes_no_grace_from_what_is_forgotten_later() {
    let scene = prune_fixture();
    let (inner, storage) = (&scene.repository.inner, &scene.storage);
    let wall = Utc::now();
    storage.set_clock(wall - TimeDelta::hours(25));
    let forged = SweepRecord {
        state: SweepState::Condemned,
        at: now(),
        by: "mallory".to_owned(),
        packs: scene.indexed_packs().iter().map(|pack| pack.pack).collect(),
        fragments: inner.fragment_ids().unwrap().into_iter().collect(),
        roots: vec![scene.kept.id],
        logs: Vec::new(),
        of: None,
        program: "forged".to_owned(),
    };
    sweeps::put_sweep_record(inner, inner.signer().unwrap(), &forged).unwrap();
    storage.set_clock(wall);
    let why = crate::records::tombstones::TombstoneMetadata {
        at: now(),
        by: "ada@host".to_owned(),
        reason: "a test".to_owned(),
        policy: None,
        program: "a test".to_owned(),
    };
    let keeper = scene.repository.load_keeper(None, "forget").unwrap();
    scene
        .repository
        .forget_snapshots(&keeper, &[scene.kept.id], &why)
        .unwrap();
    let report = scene.prune_with(TimeDelta::hours(24));
    assert_eq!((report.snapshots, report.packs), (0, 0));
    scene
        .repository
        .unforget_snapshots(&keeper, &[scene.kept.id], &why)
        .unwrap();
    scene.assert_kept();
}

#[test]
fn a_root_of_a_signer_that_is_not_known_stops_a_prune() {
    // The record that makes the signer known may be lost, or younger than the look at it.
    let scene = prune_fixture();
    let inner = &scene.repository.inner;
    let stranger = crate::crypto::signing::HostSigner::from_secret(&[7; 32]);
    let json = serde_json::to_vec(&scene.kept.root).unwrap();
    let (kind, recipients) = (
        crate::crypto::envelope::RecordKind::Snapshot,
        &inner.catalog_recipients,
    );
    let sealed = crate::crypto::envelope::seal_record(
        kind,
        &json,
        recipients,
        &stranger,
        inner.trust.repository(),
    );
    let sealed = sealed.unwrap();
    let id = ObjectId::from_content(&sealed);
    let key = crate::format::snapshot::snapshot_key(&id);
    put_verified(&scene.storage, &key, &[sealed.into()], &id).unwrap();
    let options = PruneOptions {
        dry_run: true,
        grace: TimeDelta::zero(),
        max_repack: None,
        repack_below: 50,
        host: "pruner".to_owned(),
        keeper_file: None,
    };
    let pruned = scene
        .repository
        .prune(&options, &Progress::default(), |_| {});
    let error = crate::error::format_error_chain(&pruned.unwrap_err());
    assert!(error.contains("is not known to this repository"), "{error}");
}
