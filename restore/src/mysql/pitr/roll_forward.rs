//! From a restored snapshot to a recovery target after it: replays the log in between, and compares the result.

use std::time::Duration;

use reprise_mysql::Session;
use reprise_mysql::binlog::{
    Gtid, GtidSet, LoggedTransaction, QueryEvent, TransactionBoundaryParser, XaPrepare, kind,
};
use reprise_mysql::log::{BinlogPosition, ExecutedSet, LogReadError, LogTime};
use reprise_repository::{RawText, Repository, Warning};

use crate::error::{Error, Result};
use crate::mysql::fingerprint::short_hash;
use crate::mysql::options::MysqlRestoreOptions;
use crate::mysql::pitr::events_after_snapshot::EventsAfterSnapshot;
use crate::mysql::pitr::path::{COMMIT_DELAY_MAX, RecoveryPath};
use crate::mysql::recovery_target::{PointInTimeOptions, RecoveryTarget};
use crate::mysql::replay::{self, ReplayMode, ReplayOptions, ReplayReport};
use crate::mysql::report::{RollForwardPlan, RollForwardReport, TransactionSummary};
use crate::mysql::restore_state::{self, RestoreState};

/// Rough speeds on a small machine, in bytes a second, to estimate the duration of a restore.
const LOAD_BYTES_PER_SECOND: u64 = 20 << 20;

const REPLAY_BYTES_PER_SECOND: u64 = 8 << 20;

/// The allowed difference between the clocks of the server and of the host that took the snapshot.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// A recovery path, and its target.
#[derive(Debug)]
pub(crate) struct RollForward<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) path: &'a RecoveryPath<'a>,
    pub(crate) options: &'a PointInTimeOptions,
}

impl<'a> RollForward<'a> {
    pub(crate) fn new(
        repository: &'a Repository,
        way: &'a RecoveryPath<'a>,
        wanted: &'a PointInTimeOptions,
    ) -> Result<Self> {
        if wanted.keep_gtids && way.start.position.coverage == ExecutedSet::Unnumbered {
            return Err(Error::TransactionsWithoutGtid {
                transactions: format!("the transactions of {}", way.snapshot.root.source),
            });
        }
        Ok(Self {
            repository,
            path: way,
            options: wanted,
        })
    }
}

/// The step after which the snapshot is restored.
const SNAPSHOT_RESTORED_STEP: &str = "snapshot restored";

/// The step after which the server has the source's history.
const GTID_HISTORY_STEP: &str = "history begun";

impl RollForward<'_> {
    /// Identifies this restore among others to the same target.
    pub(crate) fn fingerprint(&self) -> String {
        let skipped: Vec<String> = self.options.skip.iter().map(ToString::to_string).collect();
        let name = format!(
            "{} {} {}",
            self.options.target.to_stable_text(),
            skipped.join(" "),
            self.options.keep_gtids
        );
        short_hash(&name)
    }

    pub(crate) fn build_plan(&self) -> RollForwardPlan {
        let way = self.path;
        let end = way.range.complete_until();
        let lost = match (&self.options.target, end) {
            (RecoveryTarget::Latest, Some(end)) => {
                // A snapshot of an idle server may be later than the log.
                let end = end.max(way.snapshot.effective_time().into());
                format!(
                    "transactions committed after {} are not archived",
                    end.show()
                )
            }
            (_, Some(end)) => format!(
                "transactions committed after the recovery target are not restored (the binary log is archived until {})",
                end.show()
            ),
            (_, None) => {
                "transactions committed after the recovery target are not restored".to_owned()
            }
        };
        let lost = match self.repeated_times_note() {
            Some(again) => format!("{lost}; {again}"),
            None => lost,
        };
        let rows = way.snapshot.root.counts.bytes;
        RollForwardPlan {
            moment: self.options.target.to_string(),
            pieces: way.segments,
            log_bytes: way.log_bytes,
            transactions: way.transactions,
            lost,
            seconds: 1 + rows / LOAD_BYTES_PER_SECOND + way.log_bytes / REPLAY_BYTES_PER_SECOND,
        }
    }

    /// What is left out because a time repeats.
    fn repeated_times_note(&self) -> Option<String> {
        let again = self.path.times_repeat_from?;
        Some(format!(
            "the clock was set back: transactions with commit times from {} on may be later in the log than the recovery target, and are then not restored (use --before-gtid to name the first transaction to leave out)",
            again.show()
        ))
    }

    /// Whether an earlier attempt has already restored the snapshot.
    pub(crate) fn is_snapshot_restored(done: &RestoreState) -> bool {
        done.has_step(SNAPSHOT_RESTORED_STEP)
    }

    /// Records that the snapshot is restored.
    pub(crate) fn record_snapshot_restored(control: &mut Session) -> Result<()> {
        record_step(control, SNAPSHOT_RESTORED_STEP)
    }

    /// Replays the log.
    pub(crate) fn replay_log(
        &self,
        control: &mut Session,
        options: &MysqlRestoreOptions,
        done: &RestoreState,
        accounts: &[String],
        progress: &std::sync::Arc<reprise_repository::Progress>,
    ) -> Result<ReplayReport> {
        let also = self.prepared_transactions()?;
        let after = snapshot_executed_set(&self.path.start.position, &also);
        let mode = match self.options.keep_gtids {
            true => ReplayMode::KeepGtids,
            false => ReplayMode::Merged,
        };
        if mode == ReplayMode::KeepGtids && !done.has_step(GTID_HISTORY_STEP) {
            replay::seed_gtid_history(control, &after, options.overwrite)?;
            record_step(control, GTID_HISTORY_STEP)?;
        }
        let replay = ReplayOptions {
            address: &options.address,
            fingerprint: &self.fingerprint(),
            mode,
            executed: after,
            reapply: &also,
            accounts_until: LogTime::from(self.path.snapshot.root.finished) + CLOCK_TOLERANCE,
            accounts,
            skip_account_changes: self.options.skip_account_changes,
            target: &self.options.target,
            skip: &self.options.skip,
            connections: options.connections,
            write_binlog: options.write_binlog || mode == ReplayMode::KeepGtids,
            progress,
        };
        let events = self.path.log_events(self.repository);
        let mut events = EventsAfterSnapshot::new(events, &self.path.start.position);
        replay::replay_log(&mut events, &replay)
    }

    /// The transactions that the snapshot covers and that were prepared, but not committed, when it was taken.
    fn prepared_transactions(&self) -> Result<Vec<Gtid>> {
        let damaged = |source| LogReadError::InvalidEvents { source };
        let (mut boundary, mut prepared) = (TransactionBoundaryParser::default(), Vec::new());
        let way = self.path;
        for event in way.log_events(self.repository) {
            let event = event?;
            boundary.feed_event(&event).map_err(damaged)?;
            let Some(gtid) = boundary.start().map(|start| start.gtid.clone()) else {
                continue;
            };
            if !way.start.position.coverage.contains_gtid(&gtid) {
                break;
            }
            match event.kind() {
                kind::XA_PREPARE => {
                    let ended = XaPrepare::from_event(&event).map_err(damaged)?;
                    if !ended.one_phase {
                        prepared.push((ended.xid.to_string(), gtid));
                    }
                }
                kind::QUERY => {
                    let query = QueryEvent::from_event(&event).map_err(damaged)?;
                    let text = String::from_utf8_lossy(query.text).into_owned();
                    let ended = ["XA COMMIT ", "XA ROLLBACK "]
                        .iter()
                        .find_map(|words| text.trim().strip_prefix(words));
                    prepared.retain(|(xid, _)| {
                        !ended.is_some_and(|ended| ended.starts_with(xid.as_str()))
                    });
                }
                _ => {}
            }
        }
        Ok(prepared.into_iter().map(|(_, gtid)| gtid).collect())
    }

    /// The report of a replay, and its warnings.
    pub(crate) fn build_report(&self, report: &ReplayReport) -> (RollForwardReport, Vec<Warning>) {
        let warn = |message: String| Warning {
            path: RawText::default(),
            message,
        };
        let mut warnings: Vec<Warning> = report.warnings.iter().cloned().map(warn).collect();
        warnings.extend(self.repeated_times_note().map(warn));
        let late = report
            .out_of_order
            .iter()
            .filter(|ended| is_clock_setback(ended, report));
        warnings.extend(late.map(|ended| {
            warn(format!(
                "transaction {} was not restored: its commit time is {}, but it is later in the log than the recovery target (a clock was set back)",
                ended.gtid,
                ended.committed.show()
            ))
        }));
        let executed = match &report.executed {
            ExecutedSet::Unnumbered => None,
            numbered => Some(numbered.to_string()),
        };
        let told = RollForwardReport {
            moment: self.options.target.to_string(),
            transactions: report.applied,
            last_applied: report
                .last_applied
                .as_ref()
                .map(TransactionSummary::from_transaction),
            stopped_before: report
                .stopped_before
                .as_ref()
                .map(TransactionSummary::from_transaction),
            skipped: report.skipped.iter().map(ToString::to_string).collect(),
            executed,
            compared_with: None,
        };
        (told, warnings)
    }
}

/// Whether a transaction after the stop is so much earlier that a clock must have been set back. MariaDB logs when
/// commits began: one that waited, for a large one before it, say, is rightly behind those that began after it.
fn is_clock_setback(late: &LoggedTransaction, report: &ReplayReport) -> bool {
    let stop = report.stopped_before.as_ref();
    let begins = matches!(late.gtid, Gtid::Mariadb { .. });
    // Events that a server writes while it starts may have no time at all.
    late.committed.is_known()
        && (!begins || stop.is_none_or(|stop| late.committed + COMMIT_DELAY_MAX < stop.committed))
}

fn record_step(control: &mut Session, step: &str) -> Result<()> {
    restore_state::record_step(control, step)
        .map_err(|error| Error::from_database("record a completed step on the target", error))
}

/// The executed set of the snapshot. It does not hold the rows of transactions that were only prepared.
fn snapshot_executed_set(place: &BinlogPosition, prepared: &[Gtid]) -> ExecutedSet {
    match &place.coverage {
        ExecutedSet::Mysql(set) => {
            let mut without = GtidSet::default();
            prepared.iter().for_each(|gtid| without.insert_gtid(gtid));
            ExecutedSet::Mysql(set.subtract(&without))
        }
        other => other.clone(),
    }
}
