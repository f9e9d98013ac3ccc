//! The archived log of a server, as it is stored: reading it, listing it, and which snapshots it continues from.
//!
//! `segment_facts` is what a log segment says of itself, `stored_log` joins segments to ranges, `events` reads a range's
//! events, `listing` tells its transactions. `snapshot_position` and `starting_snapshot` say where in the log a snapshot
//! is and whether a range continues from it.

mod error;
mod events;
mod listing;
mod segment_facts;
mod snapshot_position;
mod starting_snapshot;
mod stored_log;

pub use crate::log_time::{CLOCK_SKEW_MAX, LogTime};
pub use error::LogReadError;
pub use events::LogEvents;
pub use listing::{ListedTransaction, RowCounts, TransactionLister};
pub use segment_facts::{BinlogPosition, ExecutedSet, LogGap, SegmentFacts, StoredSegment};
pub use snapshot_position::{first_needed_position, has_exact_position, snapshot_binlog_position};
pub use starting_snapshot::StartingSnapshot;
pub use stored_log::{
    LogBreak, LogBreakKind, LogRange, NewestSegment, StoredLog, find_newest_segment,
};
