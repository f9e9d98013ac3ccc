//! Bringing a restored server forward: the transactions of a binary log, each exactly once, up to where it is to
//! stop.
//!
//! ```text
//! events ─► course (left out? the stop?) ─► transactions ─► batches ─► crew (sessions) ─► target, record
//! ```
//!
//! What is decided is decided for whole transactions, by the time of their commit. Rows go to the server as the
//! log has them (`BINLOG`), statements under the settings of their time.

mod batch;
mod course;
mod crew;
mod interrupted;
mod order;
mod purged;
mod reading;
mod record;
mod rows;
mod statement;
mod target;
mod transaction;

use std::sync::Arc;

use reprise_repository::Progress;
use reprise_snapshotters::mysql::Address;
use reprise_snapshotters::mysql::binlog::{Ended, Event, Gtid, GtidSet, MariadbPosition};

use crate::error::{Error, Result};
use course::Course;
use crew::Crew;
use reading::Reading;
use target::{Setup, Target};

pub use purged::begin_history;
pub use reprise_snapshotters::mysql::archive::Coverage;
use reprise_snapshotters::mysql::archive::shown_time;

/// What is replayed, and how.
#[derive(Debug)]
pub struct Replay<'a> {
    /// The server.
    pub address: &'a Address,
    /// What tells this replay from another; one that goes on must have the same.
    pub run: &'a str,
    /// What becomes of the transactions' numbers.
    pub mode: Mode,
    /// The transactions that the server has.
    pub after: Coverage,
    /// Of those, transactions that are applied all the same: they were prepared, and their rows are not there.
    pub also: &'a [Gtid],
    /// Until when, in microseconds since 1970, accounts may be as the snapshot has them already: they are read after
    /// the moment of its rows.
    pub accounts_until: u64,
    /// The names of the accounts that the snapshot has.
    pub accounts: &'a [String],
    /// Whether the log's changes of accounts are left out.
    pub leave_accounts: bool,
    /// Where it ends.
    pub stop: Stop,
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
pub enum Mode {
    /// Many transactions become one: by far the fastest.
    Merged,
    /// Each keeps its number, in the server's own log.
    Gtid,
}

/// Where a replay ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// At the end of the log.
    End,
    /// Before the first transaction that was committed after this many microseconds since 1970.
    Time(u64),
    /// Before a transaction.
    Before(Gtid),
    /// When exactly these transactions are there.
    Set(GtidSet),
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
    pub last_applied: Option<Ended>,
    /// The transaction at which it stopped.
    pub stopped_before: Option<Ended>,
    /// Transactions behind that one which were committed before the time at which it stopped. Only those shortly
    /// behind it are looked at: clocks go back by little.
    pub late: Vec<Ended>,
    /// Transactions that were left out because that was asked for.
    pub skipped: Vec<Gtid>,
    /// The transactions that the server now has.
    pub executed: Coverage,
    /// What should be known.
    pub warnings: Vec<String>,
}

/// Applies events to a server. If an earlier attempt was interrupted, the same events must come again, and
/// what it did is passed over.
///
/// # Errors
/// When the log cannot be read or understood or does not reach the stop, or the server refuses a transaction, which
/// is named. What is applied until then is on record.
pub fn replay(
    events: &mut dyn Iterator<Item = Result<Event>>,
    replay: &Replay<'_>,
) -> Result<ReplayReport> {
    let setup = Arc::new(Setup::look(replay)?);
    let mut main = Target::open(&setup)?;
    let mut course = Course::new(replay);
    let pending = match replay.mode {
        Mode::Merged => record::begin(&mut main, replay.run, &mut course)?,
        Mode::Gtid => {
            course.add(main.history()?);
            None
        }
    };
    course.check()?;
    let others = match replay.mode {
        Mode::Gtid if !setup.mariadb => (0..replay.connections.max(1))
            .map(|_| Target::open(&setup))
            .collect::<Result<_>>()?,
        _ => Vec::new(),
    };
    std::thread::scope(|scope| {
        let crew = Crew::start(scope, main, others);
        let mut reading = Reading::new(&setup, &crew, &mut course, pending);
        reading.run(events)?;
        let late = reading.late(events)?;
        let stopped_before = reading.stopped();
        let warnings = crew.ask(Target::unresolved)?;
        Ok(course.report(stopped_before, late, warnings))
    })
}

/// A transaction, for whoever reads of it.
fn named(gtid: &Gtid, committed: Option<u64>) -> String {
    let number = match gtid {
        Gtid::Anonymous => "a transaction without a GTID".to_owned(),
        gtid => gtid.to_string(),
    };
    match committed {
        Some(time) => format!("{number} (committed {})", shown_time(time)),
        None => number,
    }
}

fn log_error(error: reprise_snapshotters::mysql::binlog::EventError) -> Error {
    Error::Log { source: error }
}
