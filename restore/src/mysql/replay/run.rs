//! Runs a replay: one thread reads, others apply.

use std::sync::Arc;

use reprise_mysql::Flavour;
use reprise_mysql::binlog::Event;

use crate::error::Result;
use crate::mysql::replay::applier::config::ApplierConfig;
use crate::mysql::replay::applier::pool::ApplierPool;
use crate::mysql::replay::applier::session::ApplierSession;
use crate::mysql::replay::checkpoint;
use crate::mysql::replay::options::{ReplayMode, ReplayOptions};
use crate::mysql::replay::read::coordinator::ReplayCoordinator;
use crate::mysql::replay::replay_progress::ReplayProgress;
use crate::mysql::replay::report::ReplayReport;

/// Applies events to a server. If an earlier attempt was interrupted, the same events must be given again, and those
/// that it applied are skipped.
///
/// # Errors
/// When the log cannot be read or decoded or does not reach the target, or the server rejects a transaction, which is
/// named. The transactions applied until then are recorded.
pub fn replay_log(
    events: &mut dyn Iterator<Item = Result<Event>>,
    replay: &ReplayOptions<'_>,
) -> Result<ReplayReport> {
    let mut course = ReplayProgress::new(replay)?;
    let setup = Arc::new(ApplierConfig::query_server(replay)?);
    let mut main = ApplierSession::open(&setup)?;
    let pending = match replay.mode {
        ReplayMode::Merged => {
            checkpoint::load_or_create(&mut main.session, replay.fingerprint, &mut course)?
        }
        ReplayMode::KeepGtids => {
            course.add_executed(main.executed_set()?);
            None
        }
    };
    course.check_target()?;
    let others = match replay.mode {
        ReplayMode::KeepGtids if setup.flavour == Flavour::Mysql => (0..replay.connections.max(1))
            .map(|_| ApplierSession::open(&setup))
            .collect::<Result<_>>()?,
        _ => Vec::new(),
    };
    std::thread::scope(|scope| {
        let pool = ApplierPool::start(scope, main, others);
        let mut reading = ReplayCoordinator::new(&setup, &pool, &mut course, pending);
        reading.apply_events(events)?;
        let late = reading.find_out_of_order(events)?;
        let stopped_before = reading.stopped_before();
        let warnings = pool.submit_and_wait(ApplierSession::prepared_warnings)?;
        Ok(course.into_report(stopped_before, late, warnings))
    })
}
