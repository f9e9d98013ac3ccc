//! What is known of a snapshot before and after its entries, and the result.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::error::{Error, Result};
use crate::format::snapshot::{SlotStamp, Snapshot, SourceKind, Warning};
use crate::id::ObjectId;
use crate::text::{RawText, require_printable};

/// The description of a new snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotOptions {
    /// The source's name.
    pub source: String,
    /// What it is.
    pub kind: SourceKind,
    /// This host's name.
    pub host: String,
    /// Labels.
    pub tags: BTreeMap<String, String>,
    /// When the run began.
    pub started: DateTime<Utc>,
    /// The snapshot of the same source before it, if any.
    pub parent: Option<ObjectId>,
    /// Warnings that do not depend on what is stored: see [`crate::SourceHistory`].
    pub alarms: Vec<Warning>,
    /// The scheduled run that takes it, if it is one.
    pub run: Option<ScheduledRun>,
}

/// A run for a slot of a schedule, which may lose its right to commit.
#[derive(Clone)]
pub struct ScheduledRun {
    /// The slot and the attempt, for the record.
    pub stamp: SlotStamp,
    /// Whether this attempt is still the one that counts. Asked immediately before the root is stored.
    pub is_current: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl ScheduledRun {
    /// Refuses to commit what another attempt has taken over.
    pub(super) fn require_current(&self) -> Result<()> {
        if (self.is_current)() {
            return Ok(());
        }
        Err(Error::AttemptSuperseded {
            job: self.stamp.job.clone(),
            slot: self.stamp.slot.clone(),
            attempt: self.stamp.attempt,
        })
    }
}

impl fmt::Debug for ScheduledRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScheduledRun")
            .field("stamp", &self.stamp)
            .finish_non_exhaustive()
    }
}

impl SnapshotOptions {
    /// Refuses names and labels that could rewrite the terminal of who lists them.
    pub(super) fn require_printable(&self) -> Result<()> {
        require_printable("the source's name", &self.source)?;
        require_printable("the host's name", &self.host)?;
        for (key, value) in &self.tags {
            require_printable("the name of a tag", key)?;
            require_printable(&format!("the tag `{key}`"), value)?;
        }
        Ok(())
    }
}

/// What only the source knows, once everything was delivered.
#[derive(Debug)]
pub struct SnapshotSummary {
    /// The time that the data stands for.
    pub data_time: DateTime<Utc>,
    /// When the run ended.
    pub finished: DateTime<Utc>,
    /// Facts for later comparison, by name.
    pub facts: BTreeMap<String, serde_json::Value>,
    /// Where the source was.
    pub location: RawText,
    /// Warnings about the source as a whole; with any warning the outcome is `degraded`.
    pub warnings: Vec<Warning>,
}

/// A committed snapshot.
#[derive(Debug)]
pub struct CommittedSnapshot {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// All its warnings.
    pub warnings: Vec<Warning>,
    /// What is worth knowing although nothing is missing because of it.
    pub notes: Vec<Warning>,
}
