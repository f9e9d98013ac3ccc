//! A snapshot of a server, opened for a restore: its manifest, and where the contents of its files are.

use std::collections::BTreeMap;

use reprise_mysql::{MANIFEST_FILE, Manifest};
use reprise_repository::{ChunkId, ContentReader, Repository, Snapshot, SourceKind};

use crate::error::{Error, Result};

/// A snapshot of a server, opened for a restore.
pub(crate) struct OpenedMysqlSnapshot {
    pub(crate) manifest: Manifest,
    pub(crate) chunks: BTreeMap<String, Vec<ChunkId>>,
    pub(crate) reader: ContentReader,
}

/// The tables of a snapshot of a server, as `database.table`. Needs an identity that decrypts contents.
///
/// # Errors
/// When it is no snapshot of a server, or cannot be read.
pub fn list_snapshot_tables(repository: &Repository, snapshot: &Snapshot) -> Result<Vec<String>> {
    let manifest = open_snapshot(repository, snapshot)?.manifest;
    let tables = manifest.databases.iter().flat_map(|database| {
        let tables = database.tables.iter();
        tables.map(|table| format!("{}.{}", database.name, table.name))
    });
    Ok(tables.collect())
}

/// Reads the manifest, and the locations of the files' chunks.
pub(crate) fn open_snapshot(
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<OpenedMysqlSnapshot> {
    if snapshot.root.kind != SourceKind::Mysql {
        return Err(Error::SnapshotNotOfServer {
            snapshot: snapshot.id.short(),
            kind: snapshot.root.kind.to_string(),
        });
    }
    let reader = repository.content_reader()?;
    let mut chunks = BTreeMap::new();
    let mut entries = reader.snapshot_reader(snapshot).entries();
    while let Some((entry, ids)) = entries.next_entry()? {
        chunks.insert(entry.path.display(), ids);
    }
    drop(entries);
    let ids = chunks.remove(MANIFEST_FILE).unwrap_or_default();
    let mut json = Vec::new();
    let mut content = reader.stream_content(ids, MANIFEST_FILE.to_owned());
    while let Some(chunk) = content.next_chunk()? {
        json.extend_from_slice(&chunk);
    }
    drop(content);
    let manifest = Manifest::parse(&json).map_err(|reason| reprise_repository::Error::Damaged {
        object: format!("{MANIFEST_FILE} of snapshot {}", snapshot.id.short()),
        reason,
    })?;
    Ok(OpenedMysqlSnapshot {
        manifest,
        chunks,
        reader,
    })
}
