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
//! `start_position` decides where to begin and what is a gap. Stored logs are read by `reprise_mysql::log`.

mod archiver;
mod follower;
mod receiver;
mod replication;
mod segment;
mod source_server;
mod spool;
mod start_position;
mod stream;
mod types;

pub use archiver::archive_log;
pub use types::{ArchiveEvent, ArchiveOptions, ArchiveReport, ArchiveSource};
