//! A small repository in memory, with a host and a recovery identity.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test program uses a part of this"
)]

pub(crate) mod garbage;
pub(crate) mod keys;
pub(crate) mod locked;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use reprise_repository::backend::memory::MemoryBackend;
use reprise_repository::backend::{Backend, ObjectKey};
pub(crate) use reprise_repository::testing::{incompressible_bytes, small_file};
use reprise_repository::{
    ChunkSizes, Clock, CommittedSnapshot, Entry, EntryKind, Error, HostDirectory, InitOptions,
    Layout, OpenOptions, Progress, RawText, RecipientClass, Repository, Snapshot, SnapshotItem,
    SnapshotOptions, SnapshotSummary, SourceKind, generate_identity,
};
use tempfile::TempDir;

/// Files by name.
pub(crate) type Tree = BTreeMap<String, Vec<u8>>;

/// A repository's storage and everything needed to open it.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) storage: MemoryBackend,
    pub(crate) host: HostDirectory,
    pub(crate) identity: std::path::PathBuf,
    /// Recovery identities that came later.
    pub(crate) later: Vec<std::path::PathBuf>,
    /// Where it remembers what it has seen, if anywhere.
    pub(crate) memory: Option<std::path::PathBuf>,
    _folder: Arc<TempDir>,
}

/// The epoch of all tests.
pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// Small pieces, so that little data makes several segments and packs.
fn layout() -> Layout {
    Layout {
        whole_file_max: 16 << 10,
        content: ChunkSizes {
            min: 4 << 10,
            avg: 16 << 10,
            max: 64 << 10,
        },
        metadata: ChunkSizes {
            min: 1 << 10,
            avg: 4 << 10,
            max: 16 << 10,
        },
        segment_bytes: 64 << 10,
        pack_bytes: 1 << 20,
        ..Layout::default()
    }
}

impl World {
    /// The same repository, of which everybody remembers in one directory what was seen.
    pub(crate) fn remembering(&self, directory: &std::path::Path) -> Self {
        Self {
            memory: Some(directory.to_owned()),
            ..self.clone()
        }
    }

    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let host = HostDirectory::new(directory.path().join("host"));
        let identity = generate_identity("now");
        let file = directory.path().join("recovery");
        std::fs::write(&file, &identity.file_text).unwrap();
        let storage = MemoryBackend::new();
        let options = InitOptions {
            recipients: vec![identity.recipient],
            host_name: "host".to_owned(),
            now: now(),
            layout: layout(),
            keeper: None,
            spare_keeper: None,
        };
        Repository::init(&storage, &host, &options).unwrap();
        Self {
            storage,
            host,
            identity: file,
            later: Vec::new(),
            memory: None,
            _folder: Arc::new(directory),
        }
    }

    fn identities(&self) -> Vec<std::path::PathBuf> {
        let all = std::iter::once(&self.identity).chain(&self.later);
        all.cloned().collect()
    }

    /// Opens with the host's keys and all recovery identities.
    pub(crate) fn open(&self, backend: impl Backend + 'static) -> Result<Repository, Error> {
        self.open_with(backend, self.identities())
    }

    /// Opens with chosen identities.
    pub(crate) fn open_with(
        &self,
        backend: impl Backend + 'static,
        identity_files: Vec<std::path::PathBuf>,
    ) -> Result<Repository, Error> {
        let options = OpenOptions {
            host: self.host.clone(),
            identity_files,
            cache: None,
            memory: self.memory.clone(),
            pinned_signers: Vec::new(),
        };
        Repository::open(Arc::new(backend), &options)
    }

    /// Opens at a time of its own, with the recovery identities or without.
    pub(crate) fn open_at(
        &self,
        backend: impl Backend + 'static,
        clock: Arc<dyn Clock>,
        recovery: bool,
    ) -> Repository {
        self.try_open_at(backend, clock, recovery).unwrap()
    }

    /// As [`Self::open_at`], which may fail.
    pub(crate) fn try_open_at(
        &self,
        backend: impl Backend + 'static,
        clock: Arc<dyn Clock>,
        recovery: bool,
    ) -> Result<Repository, Error> {
        let options = OpenOptions {
            host: self.host.clone(),
            identity_files: match recovery {
                true => self.identities(),
                false => Vec::new(),
            },
            cache: None,
            memory: self.memory.clone(),
            pinned_signers: Vec::new(),
        };
        Repository::open_with_clock(Arc::new(backend), &options, clock)
    }

    pub(crate) fn repository(&self) -> Repository {
        self.open(self.storage.clone()).unwrap()
    }

    /// All keys below a directory.
    pub(crate) fn keys(&self, directory: &str) -> Vec<ObjectKey> {
        self.storage
            .list(directory)
            .unwrap()
            .into_iter()
            .map(|info| info.key)
            .collect()
    }
}

/// A few small files and a large one.
pub(crate) fn tree(seed: u64, large_bytes: usize) -> Tree {
    let mut tree: Tree = (0..20)
        .map(|n| {
            (
                format!("f{n:02}"),
                incompressible_bytes(n * 500, seed + n as u64),
            )
        })
        .collect();
    tree.insert(
        "large".to_owned(),
        incompressible_bytes(large_bytes, seed + 1000),
    );
    tree
}

/// What a snapshot in these tests is called.
pub(crate) fn options(source: &str) -> SnapshotOptions {
    SnapshotOptions {
        source: source.to_owned(),
        kind: SourceKind::Volume,
        host: "host".to_owned(),
        tags: BTreeMap::new(),
        started: now(),
        run: None,
        parent: None,
        alarms: Vec::new(),
    }
}

/// Takes a snapshot of a tree.
pub(crate) fn snapshot(
    repository: &Repository,
    source: &str,
    tree: &Tree,
) -> Result<CommittedSnapshot, Error> {
    let progress = Arc::new(Progress::default());
    let mut writer = repository.begin_snapshot(options(source), progress, None)?;
    let mut chunker = writer.content_chunker();
    let whole = repository.config().layout.whole_file_max as usize;
    for (name, content) in tree {
        let mut entry = Entry::new(RawText::from(name.as_str()), EntryKind::File);
        entry.size = content.len() as u64;
        if content.len() <= whole {
            writer.add_item(small_file(name, content.clone()))?;
        } else {
            writer
                .add_stream(&mut chunker, &mut content.as_slice())?
                .unwrap();
            writer.add_item(SnapshotItem::Entry {
                entry,
                chunks: Vec::new(),
                stamp: None,
            })?;
        }
    }
    writer.finish(|_, _| {
        Ok(SnapshotSummary {
            data_time: now(),
            finished: now(),
            facts: BTreeMap::new(),
            location: RawText::from("memory"),
            warnings: Vec::new(),
        })
    })
}

/// Reads the newest snapshot of a source back.
pub(crate) fn read_back(repository: &Repository, source: &str) -> Result<Tree, Error> {
    read_back_one(repository, &repository.find_snapshot(source)?)
}

/// Reads a snapshot back.
pub(crate) fn read_back_one(repository: &Repository, snapshot: &Snapshot) -> Result<Tree, Error> {
    let reader = repository.content_reader()?;
    let mut entries = reader.snapshot_reader(snapshot).entries();
    let mut tree = Tree::new();
    while let Some((entry, chunks)) = entries.next_entry()? {
        let mut content = Vec::new();
        for id in chunks {
            content.extend(reader.read_chunk(&id, RecipientClass::Data, &"a test")?);
        }
        tree.insert(entry.path.display(), content);
    }
    Ok(tree)
}
