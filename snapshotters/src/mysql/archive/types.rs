//! What is archived, how, and what an archiver reports.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reprise_mysql::Address;
use reprise_mysql::log::LogTime;

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
    /// Tells this host's time.
    pub clock: fn() -> DateTime<Utc>,
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
        /// Until when everything is stored.
        until: Option<LogTime>,
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
    /// Until when everything is stored.
    pub until: Option<LogTime>,
    /// The alarms, each once.
    pub alarms: Vec<String>,
}
