//! Bringing a restored server forward: the transactions of a binary log, each exactly once, up to where it is to
//! stop.
//!
//! ```text
//! events ─► course (left out? the stop?) ─► transactions ─► batches ─► crew (sessions) ─► target, record
//! ```
//!
//! What is decided is decided for whole transactions, by the time of their commit. Rows go to the server as the
//! log has them (`BINLOG`), statements under the settings of their time.
//!
//! `coordinator` turns events into transactions, `replay_progress` decides which and up to where, `transaction`, `row_buffer` and
//! `batch` (pieces for `BINLOG`) are what is applied, `applier_pool` the sessions in threads, `commit_order` who waits for whom,
//! `applier_session` one session, `statement` its settings; `checkpoint` says how far, at the target, `pending_change` what took
//! effect, `gtid_history` sets what the server has executed.

mod applier_pool;
mod applier_session;
mod batch;
mod checkpoint;
mod commit_order;
mod coordinator;
mod gtid_history;
mod pending_change;
mod replay_progress;
mod row_buffer;
mod statement;
mod transaction;

use std::sync::Arc;

use reprise_repository::Progress;
use reprise_snapshotters::mysql::Address;
use reprise_snapshotters::mysql::binlog::{
    Event, Gtid, GtidSet, LoggedTransaction, MariadbPosition,
};

use crate::error::{Error, Result};
use applier_pool::ApplierPool;
use applier_session::{ApplierConfig, ApplierSession};
use coordinator::ReplayCoordinator;
use replay_progress::ReplayProgress;

pub use gtid_history::seed_gtid_history;
pub use reprise_snapshotters::mysql::archive::ExecutedSet;
use reprise_snapshotters::mysql::archive::format_micros;

/// What is replayed, and how.
#[derive(Debug)]
pub struct ReplayOptions<'a> {
    /// The server.
    pub address: &'a Address,
    /// What tells this replay from another; one that goes on must have the same.
    pub fingerprint: &'a str,
    /// What becomes of the transactions' numbers.
    pub mode: ReplayMode,
    /// The transactions that the server has.
    pub executed: ExecutedSet,
    /// Of those, transactions that are applied all the same: they were prepared, and their rows are not there.
    pub reapply: &'a [Gtid],
    /// Until when, in microseconds since 1970, accounts may be as the snapshot has them already: they are read after
    /// the moment of its rows.
    pub accounts_until: u64,
    /// The names of the accounts that the snapshot has.
    pub accounts: &'a [String],
    /// Whether the log's changes of accounts are left out.
    pub skip_account_changes: bool,
    /// Where it ends.
    pub stop: ReplayStop,
    /// Transactions that are left out.
    pub skip: &'a [Gtid],
    /// How many sessions apply transactions at once, where their numbers are kept.
    pub connections: usize,
    /// Whether the server writes what is replayed into its own log.
    pub write_binlog: bool,
    /// Counts, and the wish to stop.
    pub progress: &'a Arc<Progress>,
}

/// What becomes of the transactions' numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayMode {
    /// Many transactions become one: by far the fastest.
    Merged,
    /// Each keeps its number, in the server's own log.
    KeepGtids,
}

/// Where a replay ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayStop {
    /// At the end of the log.
    EndOfLog,
    /// Before the first transaction that was committed after this many microseconds since 1970.
    Time(u64),
    /// Before a transaction.
    BeforeGtid(Gtid),
    /// When exactly these transactions are there.
    ExecutedSet(GtidSet),
    /// When everything up to this position is there.
    Position(MariadbPosition),
}

/// What a replay did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayReport {
    /// Transactions that were applied, those of an interrupted replay that went on here included.
    pub applied: u64,
    /// Events with rows, and statements, in them.
    pub events: u64,
    /// The last transaction that was applied.
    pub last_applied: Option<LoggedTransaction>,
    /// The transaction at which it stopped.
    pub stopped_before: Option<LoggedTransaction>,
    /// Transactions behind that one which were committed before the time at which it stopped. Only those shortly
    /// behind it are looked at: clocks go back by little.
    pub out_of_order: Vec<LoggedTransaction>,
    /// Transactions that were left out because that was asked for.
    pub skipped: Vec<Gtid>,
    /// The transactions that the server now has.
    pub executed: ExecutedSet,
    /// What should be known.
    pub warnings: Vec<String>,
}

/// Applies events to a server. If an earlier attempt was interrupted, the same events must come again, and
/// what it did is passed over.
///
/// # Errors
/// When the log cannot be read or understood or does not reach the stop, or the server refuses a transaction, which
/// is named. What is applied until then is on record.
pub fn replay_log(
    events: &mut dyn Iterator<Item = Result<Event>>,
    replay: &ReplayOptions<'_>,
) -> Result<ReplayReport> {
    let setup = Arc::new(ApplierConfig::query_server(replay)?);
    let mut main = ApplierSession::open(&setup)?;
    let mut course = ReplayProgress::new(replay);
    let pending = match replay.mode {
        ReplayMode::Merged => {
            checkpoint::load_or_create(&mut main, replay.fingerprint, &mut course)?
        }
        ReplayMode::KeepGtids => {
            course.add_executed(main.executed_set()?);
            None
        }
    };
    course.check_stop()?;
    let others = match replay.mode {
        ReplayMode::KeepGtids if !setup.mariadb => (0..replay.connections.max(1))
            .map(|_| ApplierSession::open(&setup))
            .collect::<Result<_>>()?,
        _ => Vec::new(),
    };
    std::thread::scope(|scope| {
        let crew = ApplierPool::start(scope, main, others);
        let mut reading = ReplayCoordinator::new(&setup, &crew, &mut course, pending);
        reading.apply_events(events)?;
        let late = reading.find_out_of_order(events)?;
        let stopped_before = reading.stopped_before();
        let warnings = crew.submit_and_wait(ApplierSession::prepared_warnings)?;
        Ok(course.into_report(stopped_before, late, warnings))
    })
}

/// A transaction, for whoever reads of it.
fn describe_transaction(gtid: &Gtid, committed: Option<u64>) -> String {
    let number = match gtid {
        Gtid::Anonymous => "a transaction without a GTID".to_owned(),
        gtid => gtid.to_string(),
    };
    match committed {
        Some(time) => format!("{number} (committed {})", format_micros(time)),
        None => number,
    }
}

fn log_error(error: reprise_snapshotters::mysql::binlog::EventError) -> Error {
    Error::BinaryLog { source: error }
}
