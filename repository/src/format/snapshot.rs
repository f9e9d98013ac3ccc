//! Snapshot roots: the only commit point. The root itself is readable with the catalog identities; names,
//! warnings and everything else that belongs to the contents is behind its detail stream.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use reprise_times::format_time;
use serde::{Deserialize, Serialize};

use crate::backend::ObjectKey;
use crate::crypto::signing::SignerId;
use crate::format::entry::{Entry, EntryKind};
use crate::id::{ChunkId, ObjectId};
use crate::text::RawText;

/// How a run ended. There are no other outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Complete and consistent.
    Ok,
    /// Finished, but something was skipped or inconsistent.
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

/// The kind of source of a snapshot.
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

/// Counts of what a snapshot contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EntryCounts {
    /// All entries.
    pub entries: u64,
    /// Regular files, hard links not counted.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Hard links.
    pub hardlinks: u64,
    /// FIFOs, devices and sockets.
    pub specials: u64,
    /// Bytes of file content, holes not counted.
    pub bytes: u64,
    /// Chunks of file content, duplicates counted.
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

    /// The counts of both.
    pub(crate) fn sum(self, other: Self) -> Self {
        Self {
            entries: self.entries + other.entries,
            files: self.files + other.files,
            directories: self.directories + other.directories,
            symlinks: self.symlinks + other.symlinks,
            hardlinks: self.hardlinks + other.hardlinks,
            specials: self.specials + other.specials,
            bytes: self.bytes + other.bytes,
            chunks: self.chunks + other.chunks,
        }
    }
}

/// What a run added to the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AddedData {
    /// Chunks that were not stored before.
    pub chunks: u64,
    /// Their plain size in bytes.
    pub plain_bytes: u64,
    /// Size of new packs in bytes.
    pub stored_bytes: u64,
}

/// A stream stored as its own chunks: their IDs in order and its plain size in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct StreamRecord {
    /// IDs of its chunks.
    pub chunks: Vec<ChunkId>,
    /// Its length.
    pub bytes: u64,
}

/// A root, as it is stored (catalog class).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRoot {
    /// The source's name.
    pub source: String,
    /// Its kind.
    pub kind: SourceKind,
    /// The host that took the snapshot.
    pub host: String,
    /// The time whose state the data shows.
    pub data_time: DateTime<Utc>,
    /// When the run began.
    pub started: DateTime<Utc>,
    /// When the run ended.
    pub finished: DateTime<Utc>,
    /// `ok` or `degraded`; a failed run leaves no root.
    pub outcome: Outcome,
    /// How many warnings the details contain.
    pub warnings: u64,
    /// What the snapshot contains.
    pub counts: EntryCounts,
    /// What the run added.
    pub added: AddedData,
    /// The previous snapshot of the same source, if any.
    pub parent: Option<ObjectId>,
    /// Labels.
    pub tags: BTreeMap<String, String>,
    /// The program that took it, with version.
    pub program: String,
    /// The slot of a schedule that it was taken for, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<SlotStamp>,
    /// Facts about the source that later snapshots and restores are compared with, by name.
    pub facts: BTreeMap<String, serde_json::Value>,
    /// The entries: JSON lines (data class).
    pub entries: StreamRecord,
    /// The chunk IDs of all files in entry order, one per line in hexadecimal (catalog class).
    pub references: StreamRecord,
    /// The [`SnapshotDetails`] as JSON (data class).
    pub details: StreamRecord,
}

/// The slot of a schedule that a snapshot was taken for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStamp {
    /// The job: `POLICY/sources/NAME`.
    pub job: String,
    /// The nominal local time, with its zone.
    pub slot: String,
    /// The number of the attempt, from 1. Of two snapshots of one slot the one with the higher number counts.
    pub attempt: u32,
}

/// The details of a run that only the recovery identities can read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SnapshotDetails {
    /// The location of the source: a path, a command line.
    pub location: RawText,
    /// Everything that was skipped or inconsistent.
    pub warnings: Vec<Warning>,
    /// What is worth knowing although nothing is missing because of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Warning>,
}

/// Something that was skipped, inconsistent or alarming.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// The path of the entry; empty when it is about the source as a whole.
    pub path: RawText,
    /// What happened.
    pub message: String,
}

/// What is said of an entry while a snapshot is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// Something is missing or inconsistent: the snapshot is degraded.
    Warning(Warning),
    /// Worth knowing; the snapshot is what the source was.
    Note(Warning),
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Warning(said) | Self::Note(said) => said.fmt(f),
        }
    }
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

/// How far a claimed time may lie after the storage's, or after now, before it counts as wrong.
pub const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(10);

impl Snapshot {
    /// The time by which it is ordered and judged: what its host claims, but never later than the storage received it. So no
    /// clock that is ahead, and no forged time, makes a snapshot newer than it can be.
    #[must_use]
    pub fn effective_time(&self) -> DateTime<Utc> {
        let claimed = self.root.data_time;
        self.received
            .map_or(claimed, |received| received.min(claimed))
    }

    /// The time of its data by the clock of its source, for comparison with other times of that clock: what its host claims,
    /// unless the storage received it long before that.
    #[must_use]
    pub fn source_time(&self) -> DateTime<Utc> {
        let claimed = self.root.data_time;
        let before = self.received;
        before
            .filter(|received| claimed - *received > CLOCK_TOLERANCE)
            .unwrap_or(claimed)
    }

    /// Its place among others by time: by [`Self::effective_time`]. Where all were received at one time, as in a repository
    /// that was unpacked, what they claim tells, and at last their IDs.
    #[must_use]
    pub fn time_order(&self) -> (DateTime<Utc>, DateTime<Utc>, ObjectId) {
        (self.effective_time(), self.root.data_time, self.id)
    }

    /// What is wrong with its claimed time, if that cannot be true.
    #[must_use]
    pub fn clock_alarm(&self, now: DateTime<Utc>) -> Option<String> {
        let claimed = self.root.data_time;
        let (limit, what) = match self.received {
            Some(received) => (
                received.min(now),
                format!("the storage received it at {}", format_time(&received)),
            ),
            None => (now, format!("it is {} now", format_time(&now))),
        };
        (claimed - limit > CLOCK_TOLERANCE).then(|| {
            format!(
                "it claims to be of {}, but {what}: a clock was ahead, or the time is forged",
                format_time(&claimed)
            )
        })
    }
}

/// A snapshot in the repository.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its ID.
    pub id: ObjectId,
    /// Who signed it.
    pub signer: SignerId,
    /// Its root.
    pub root: SnapshotRoot,
    /// When the storage received it, by the storage's own clock; `None` if not reported or not asked for.
    pub received: Option<DateTime<Utc>>,
    /// Whether a keeper has forgotten it: a later prune deletes it.
    pub forgotten: bool,
}

/// The key of a snapshot.
#[must_use]
pub(crate) fn snapshot_key(id: &ObjectId) -> ObjectKey {
    ObjectKey::from_trusted(format!("snapshots/{id}"))
}
