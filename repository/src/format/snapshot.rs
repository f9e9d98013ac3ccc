//! Snapshot roots: the only commit point. What a root says is readable with the catalog identities; names,
//! warnings and whatever else belongs to the contents is behind its detail stream.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backend::ObjectKey;
use crate::crypto::signing::SignerId;
use crate::format::entry::{Entry, EntryKind};
use crate::id::{ChunkId, ObjectId};
use crate::text::RawText;

/// How something ended. There is nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Complete and consistent.
    Ok,
    /// Finished, but something named was skipped or inconsistent.
    Degraded,
    /// Not finished.
    Failed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        })
    }
}

/// What kind of source a snapshot is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// A directory tree.
    Volume,
    /// Terraform or OpenTofu state.
    Tfstate,
    /// A program's standard output.
    Command,
    /// A MySQL or MariaDB server.
    Mysql,
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Volume => "volume",
            Self::Tfstate => "tfstate",
            Self::Command => "command",
            Self::Mysql => "mysql",
        })
    }
}

/// How many of what a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EntryCounts {
    /// All entries.
    pub entries: u64,
    /// Regular files, further names not counted.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Further names of files.
    pub hardlinks: u64,
    /// FIFOs, devices and sockets.
    pub specials: u64,
    /// Bytes of file content, holes not counted.
    pub bytes: u64,
    /// Chunks of file content, repetitions counted.
    pub chunks: u64,
}

impl EntryCounts {
    /// Counts one more entry.
    pub fn add_entry(&mut self, entry: &Entry) {
        self.entries += 1;
        match entry.kind {
            EntryKind::File => {
                self.files += 1;
                self.bytes += entry.content_bytes();
            }
            EntryKind::Directory => self.directories += 1,
            EntryKind::Symlink => self.symlinks += 1,
            EntryKind::Hardlink => self.hardlinks += 1,
            EntryKind::Fifo
            | EntryKind::CharDevice
            | EntryKind::BlockDevice
            | EntryKind::Socket => {
                self.specials += 1;
            }
        }
        self.chunks += entry.chunks;
    }
}

/// What a run added to the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AddedData {
    /// Chunks that were not there before.
    pub chunks: u64,
    /// Their plain bytes.
    pub plain_bytes: u64,
    /// Bytes of new packs.
    pub stored_bytes: u64,
}

/// A stream kept as chunks of its own: its ids in order and its plain bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StreamRecord {
    /// Ids of its chunks.
    pub chunks: Vec<ChunkId>,
    /// Its length.
    pub bytes: u64,
}

/// A root, as it is stored (catalog class).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRoot {
    /// The source's name.
    pub source: String,
    /// What it is.
    pub kind: SourceKind,
    /// The host that took it.
    pub host: String,
    /// The moment the data stands for.
    pub data_time: DateTime<Utc>,
    /// When the run began.
    pub started: DateTime<Utc>,
    /// When the run ended.
    pub finished: DateTime<Utc>,
    /// `ok` or `degraded`; a failed run leaves no root.
    pub outcome: Outcome,
    /// How many warnings the details hold.
    pub warnings: u64,
    /// What it holds.
    pub counts: EntryCounts,
    /// What it added.
    pub added: AddedData,
    /// The snapshot of the same source before it, if any.
    pub parent: Option<ObjectId>,
    /// Labels.
    pub tags: BTreeMap<String, String>,
    /// What took it, with version.
    pub program: String,
    /// Facts of the source that later snapshots and restores are compared with, by name.
    pub facts: BTreeMap<String, serde_json::Value>,
    /// The entries: JSON lines (data class).
    pub entries: StreamRecord,
    /// The chunk ids of all files in entry order, one in hexadecimal a line (catalog class).
    pub references: StreamRecord,
    /// The [`SnapshotDetails`] as JSON (data class).
    pub details: StreamRecord,
}

/// What only the recovery identities may read about a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SnapshotDetails {
    /// Where the source was: a path, a command line.
    pub location: RawText,
    /// Everything that was skipped or inconsistent.
    pub warnings: Vec<Warning>,
}

/// Something that was skipped, inconsistent or alarming.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// On which entry; empty when it is about the source as a whole.
    pub path: RawText,
    /// What happened.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.as_bytes().is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path.display(), self.message)
        }
    }
}

/// A snapshot in the repository.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its id.
    pub id: ObjectId,
    /// Who signed it.
    pub signer: SignerId,
    /// What it says.
    pub root: SnapshotRoot,
    /// When the storage received it, by the storage's own clock; `None` where it does not tell, or was not asked.
    pub received: Option<DateTime<Utc>>,
    /// Whether a keeper has forgotten it: it goes with the next sweep.
    pub forgotten: bool,
}

/// The key of a snapshot.
#[must_use]
pub(crate) fn snapshot_key(id: &ObjectId) -> ObjectKey {
    ObjectKey::from_trusted(format!("snapshots/{id}"))
}
