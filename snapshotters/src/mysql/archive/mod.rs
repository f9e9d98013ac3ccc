//! The log archive: a server's binary log, kept continuously, so that any moment between two snapshots comes back.
//!
//! ```text
//! server ─► packets ─► events, checked and counted ─► pieces ─► spool on the local disk ─► repository
//! ```
//!
//! A piece is handed on every few seconds or when it is full. Where the stream begins follows from what is stored,
//! so that whatever dies, nothing is missing and nothing is there twice.
//!
//! `archiver` streams and hands segments on, `follower` follows one stream, `receiver` turns packets into events, `segment` is
//! filled, `spool` keeps it until it is stored. `source_server` and `replication` are what the server says of its log,
//! `start_position` decides where to begin and what is a gap. Of what is stored: `segment_facts`, `stored_log` (ranges),
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
    /// Where it is, and who asks.
    pub address: Address,
}

/// How a log is archived.
#[derive(Debug, Clone)]
pub struct ArchiveOptions {
    /// What was received is stored after this time at the latest.
    pub flush_interval: Duration,
    /// Where nothing is written, this is recorded so often.
    pub idle_interval: Duration,
    /// End when everything that the server has is stored.
    pub once: bool,
    /// A directory on the local disk for pieces that wait.
    pub spool_directory: PathBuf,
    /// How many bytes may wait there.
    pub spool_bytes_max: u64,
    /// What archives, with version.
    pub program: String,
}

/// Something that people should know while it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchiveEvent {
    /// It begins, or goes on, after a place.
    Started(String),
    /// Pieces are stored up to a place.
    Stored {
        /// How many pieces since the beginning.
        segments: u64,
        /// How many transactions were received since the beginning.
        transactions: u64,
        /// Until when, in microseconds since 1970, everything is stored.
        until: Option<u64>,
    },
    /// Something does not work for now. It is tried again, and nothing is lost.
    Warning(String),
    /// Something is wrong, and named. The outcome is `degraded`.
    Alarm(String),
}

/// What was archived.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ArchiveReport {
    /// Pieces stored.
    pub pieces: u64,
    /// Their bytes.
    pub stored_bytes: u64,
    /// The log's bytes in them.
    pub log_bytes: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Until when, in microseconds since 1970, everything is stored.
    pub until: Option<u64>,
    /// What was wrong, each once.
    pub alarms: Vec<String>,
}
