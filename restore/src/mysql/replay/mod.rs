//! Rolls a restored server forward: applies the transactions of a binary log, each exactly once, up to the stop.
//!
//! ```text
//! events ─► progress (skipped? the stop?) ─► transactions ─► batches ─► applier pool ─► target, checkpoint
//! ```
//!
//! Whole transactions are applied or skipped, by their commit time. Rows are sent to the server as the log has them
//! (`BINLOG`), statements under the settings of their time.
//!
//! `coordinator` assembles events into transactions, `replay_progress` decides which and up to where, `transaction`,
//! `row_buffer` and `batch` (parts for `BINLOG`) are what is applied, `applier_pool` the sessions in threads,
//! `commit_order` their dependencies, `applier_session` one session, `statement` its settings; `checkpoint` records the
//! progress at the target, `pending_change` finds what took effect, `gtid_history` sets what the server has executed.

pub(crate) mod applier;
mod batch;
mod checkpoint;
mod gtid_history;
mod pending_change;
pub(crate) mod read;
mod replay_progress;
mod statement;
pub(crate) mod xa;

use std::sync::Arc;

use reprise_mysql::Address;
use reprise_mysql::binlog::{Event, Gtid, GtidSet, LoggedTransaction, MariadbPosition};
use reprise_repository::Progress;

use crate::error::{Error, Result};
use crate::mysql::replay::applier::pool::ApplierPool;
use crate::mysql::replay::applier::session::{ApplierConfig, ApplierSession};
use crate::mysql::replay::read::coordinator::ReplayCoordinator;
use replay_progress::ReplayProgress;

pub use gtid_history::seed_gtid_history;
pub use reprise_mysql::log::ExecutedSet;
use reprise_mysql::log::format_micros;

/// The options of a replay.
#[derive(Debug)]
pub struct ReplayOptions<'a> {
    /// The server.
    pub address: &'a Address,
    /// Identifies this replay; a resumed one must have the same.
    pub fingerprint: &'a str,
    /// How the transactions' GTIDs are treated.
    pub mode: ReplayMode,
    /// The executed set of the server.
    pub executed: ExecutedSet,
    /// Of those, transactions that are applied nevertheless: they were only prepared, and their rows do not exist.
    pub reapply: &'a [Gtid],
    /// Until when, in microseconds since 1970, account statements may be included in the snapshot already: accounts are
    /// read after the consistent snapshot of its rows.
    pub accounts_until: u64,
    /// The names of the accounts that the snapshot has.
    pub accounts: &'a [String],
    /// Whether account changes of the log are left out.
    pub skip_account_changes: bool,
    /// Where it stops.
    pub stop: ReplayStop,
    /// Transactions that are left out.
    pub skip: &'a [Gtid],
    /// The number of sessions that apply transactions in parallel, where GTIDs are kept.
    pub connections: usize,
    /// Whether the server writes replayed transactions to its own log.
    pub write_binlog: bool,
    /// Progress counters, and cancellation.
    pub progress: &'a Arc<Progress>,
}

/// How the transactions' GTIDs are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayMode {
    /// Many transactions become one: by far the fastest.
    Merged,
    /// Each keeps its GTID, in the server's own log.
    KeepGtids,
}

/// Where a replay stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayStop {
    /// At the end of the log.
    EndOfLog,
    /// Before the first transaction that was committed after this many microseconds since 1970.
    Time(u64),
    /// Before a transaction.
    BeforeGtid(Gtid),
    /// When exactly these transactions are executed.
    ExecutedSet(GtidSet),
    /// When everything up to this position is executed.
    Position(MariadbPosition),
}

/// The summary of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayReport {
    /// Transactions that were applied, including those of the interrupted replay that this one resumed.
    pub applied: u64,
    /// Events with rows, and statements, in them.
    pub events: u64,
    /// The last transaction that was applied.
    pub last_applied: Option<LoggedTransaction>,
    /// The transaction at which it stopped.
    pub stopped_before: Option<LoggedTransaction>,
    /// Out-of-order transactions: after that one, but committed before the time at which it stopped. Only those shortly
    /// after it are examined: clocks are set back by little.
    pub out_of_order: Vec<LoggedTransaction>,
    /// Transactions that were left out on request.
    pub skipped: Vec<Gtid>,
    /// The resulting executed set of the server.
    pub executed: ExecutedSet,
    /// Warnings.
    pub warnings: Vec<String>,
}

/// Applies events to a server. If an earlier attempt was interrupted, the same events must be given again, and those
/// that it applied are skipped.
///
/// # Errors
/// When the log cannot be read or decoded or does not reach the stop, or the server rejects a transaction, which is
/// named. The transactions applied until then are recorded.
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

/// A transaction, for messages.
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

fn log_error(error: reprise_mysql::binlog::EventError) -> Error {
    Error::BinaryLog { source: error }
}
