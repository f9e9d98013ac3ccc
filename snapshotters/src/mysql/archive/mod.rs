//! The log archive: a server's binary log, archived continuously, so that any time between two snapshots is restorable.
//!
//! ```text
//! server ─► packets ─► events, checked and counted ─► log segments ─► spool on the local disk ─► repository
//! ```
//!
//! A segment is spooled every few seconds or when it is full. Where the stream begins follows from what is stored, so
//! that after any crash nothing is missing and nothing is stored twice.
//!
//! `archiver` streams and spools segments, `follower` follows one stream, `receiver` turns packets into events,
//! `segment` is filled, `spool` holds it until it is stored. `source_server` and `replication` query the server's log,
//! `start_position` decides where to begin and what is a gap. For stored logs: `segment_facts`, `stored_log` (ranges),
//! `snapshot_position` and `starting_snapshot` (which snapshots a range continues from), `events`, `listing`.

mod archiver;
mod events;
mod follower;
mod listing;
mod receiver;
mod replication;
mod segment;
mod segment_facts;
mod snapshot_position;
mod source_server;
mod spool;
mod start_position;
mod starting_snapshot;
mod stored_log;
mod stream;
mod time;

use std::path::PathBuf;
use std::time::Duration;

pub use archiver::archive_log;
pub use events::LogEvents;
pub use listing::{ListedTransaction, RowCounts, TransactionLister};
pub use segment_facts::{BinlogPosition, ExecutedSet, LogGap, SegmentFacts, StoredSegment};
pub use snapshot_position::{has_exact_position, log_start_position, snapshot_binlog_position};
pub use starting_snapshot::StartingSnapshot;
pub use stored_log::{LogBreak, LogRange, StoredLog};
pub use time::{format_micros, micros_since_epoch, time_from_micros};

use super::address::Address;

/// A server whose log is archived.
#[derive(Debug, Clone)]
pub struct ArchiveSource {
    /// The source's name.
    pub name: String,
    /// Its address and account.
    pub address: Address,
}

/// How a log is archived.
#[derive(Debug, Clone)]
pub struct ArchiveOptions {
    /// Received events are stored after this time at the latest.
    pub flush_interval: Duration,
    /// While nothing is written, the confirmed time is stored this often.
    pub idle_interval: Duration,
    /// End when everything that the server has is stored.
    pub once: bool,
    /// A directory on the local disk for log segments that wait.
    pub spool_directory: PathBuf,
    /// How many bytes may wait there.
    pub spool_bytes_max: u64,
    /// The archiving program, with version.
    pub program: String,
}

/// An event that people should see while the archiver runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchiveEvent {
    /// It begins, or resumes, after a position.
    Started(String),
    /// Log segments are stored up to a position.
    Stored {
        /// How many segments since the start.
        segments: u64,
        /// How many transactions were received since the start.
        transactions: u64,
        /// Until when, in microseconds since 1970, everything is stored.
        until: Option<u64>,
    },
    /// A transient error. It is retried, and nothing is lost.
    Warning(String),
    /// A problem that the text names. The outcome is `degraded`.
    Alarm(String),
}

/// The result of an archiver.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ArchiveReport {
    /// Log segments stored.
    pub pieces: u64,
    /// Their bytes.
    pub stored_bytes: u64,
    /// Bytes of the log in them.
    pub log_bytes: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Until when, in microseconds since 1970, everything is stored.
    pub until: Option<u64>,
    /// The alarms, each once.
    pub alarms: Vec<String>,
}
