//! Which transactions are applied, and where the replay stops.

use reprise_mysql::binlog::{Gtid, GtidSet, LoggedTransaction, MariadbPosition};
use reprise_mysql::log::{ExecutedSet, LogTime, snapshot_binlog_position};
use reprise_repository::Snapshot;

use crate::error::{Error, Result};
use crate::mysql::recovery_target::RecoveryTarget;
use crate::mysql::replay::messages::describe_transaction;
use crate::mysql::replay::options::ReplayOptions;
use crate::mysql::replay::report::ReplayReport;

/// The decision about a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplayDecision {
    /// It is applied.
    Apply,
    /// It is applied unless its commit, whose time is not known yet, is after the stop.
    DecideAtCommit,
    /// The server has executed it.
    AlreadyApplied,
    /// It is left out on request.
    Skip,
    /// It is not in the recovery target.
    OutsideTarget,
    /// The replay stops here.
    Stop,
}

/// The checkpoint of an earlier attempt.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct ReplayCheckpoint {
    pub(crate) gtid_set: GtidSet,
    pub(crate) position: MariadbPosition,
    pub(crate) applied: u64,
    pub(crate) events: u64,
    /// Transactions since the beginning of the events.
    pub(crate) transactions_read: u64,
    pub(crate) last_applied: Option<LoggedTransaction>,
}

/// The progress of a replay.
#[derive(Debug)]
pub(crate) struct ReplayProgress<'a> {
    target: &'a RecoveryTarget,
    /// The transactions that the snapshot has, where the target is one.
    target_set: ExecutedSet,
    skip: &'a [Gtid],
    executed: &'a ExecutedSet,
    reapply: &'a [Gtid],
    /// For MariaDB, the server's position at the start.
    initial_position: MariadbPosition,
    pub(crate) checkpoint: ReplayCheckpoint,
    /// The number of transactions that an earlier attempt had read.
    read_before: u64,
    skipped: Vec<Gtid>,
    /// The transactions of the recovery target that are not executed yet.
    missing: GtidSet,
}

impl<'a> ReplayProgress<'a> {
    pub(crate) fn new(replay: &'a ReplayOptions<'_>) -> Result<Self> {
        let mut course = Self {
            target: replay.target,
            target_set: match replay.target {
                RecoveryTarget::Snapshot(snapshot) => executed_set_of(snapshot)?,
                _ => ExecutedSet::Unnumbered,
            },
            skip: replay.skip,
            executed: &replay.executed,
            reapply: replay.reapply,
            initial_position: MariadbPosition::default(),
            checkpoint: ReplayCheckpoint::default(),
            read_before: 0,
            skipped: Vec::new(),
            missing: GtidSet::default(),
        };
        course.add_executed(replay.executed.clone());
        Ok(course)
    }

    /// Adds what the server has executed besides.
    pub(crate) fn add_executed(&mut self, coverage: ExecutedSet) {
        match coverage {
            ExecutedSet::Mysql(set) => self.checkpoint.gtid_set.add_set(&set),
            ExecutedSet::Mariadb(position) => {
                for (domain, server, sequence) in position.domains() {
                    let gtid = Gtid::Mariadb {
                        domain,
                        server,
                        sequence,
                    };
                    if !self.initial_position.contains_gtid(&gtid) {
                        self.initial_position.advance_to(&gtid);
                        self.checkpoint.position.advance_to(&gtid);
                    }
                }
            }
            ExecutedSet::Unnumbered => {}
        }
    }

    /// Resumes from the checkpoint of an earlier attempt.
    pub(crate) fn resume_from(&mut self, noted: ReplayCheckpoint) {
        self.read_before = noted.transactions_read;
        self.checkpoint = ReplayCheckpoint {
            transactions_read: 0,
            ..noted
        };
    }

    /// Whether the target can be reached.
    pub(crate) fn check_target(&mut self) -> Result<()> {
        match (self.target, &self.target_set) {
            (RecoveryTarget::BeforeGtid(gtid), _)
                if self.is_executed(gtid) && self.checkpoint.last_applied.is_none() =>
            {
                Err(Error::ReplayStopUnreachable {
                    reason: format!(
                        "transaction {gtid}, before which the replay should stop, is already applied"
                    ),
                })
            }
            (RecoveryTarget::Snapshot(_), ExecutedSet::Mysql(wanted)) => {
                let mut there = self.checkpoint.gtid_set.clone();
                self.skip.iter().for_each(|gtid| there.insert_gtid(gtid));
                self.missing = wanted.subtract(&there);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Decides about a transaction that begins.
    pub(crate) fn decide_transaction(
        &mut self,
        gtid: &Gtid,
        committed: Option<LogTime>,
    ) -> Result<ReplayDecision> {
        if self.is_already_applied(gtid)? {
            // Transactions that were left out before are counted again.
            let skipped = self.skip.contains(gtid);
            return Ok(if skipped {
                ReplayDecision::Skip
            } else {
                ReplayDecision::AlreadyApplied
            });
        }
        match (self.target, committed) {
            (RecoveryTarget::BeforeGtid(stop), _) if stop == gtid => {
                return Ok(ReplayDecision::Stop);
            }
            (RecoveryTarget::Time(stop), Some(time)) if time > *stop => {
                return Ok(ReplayDecision::Stop);
            }
            (RecoveryTarget::Snapshot(_), _) if !self.target_set.contains_gtid(gtid) => {
                return Ok(ReplayDecision::OutsideTarget);
            }
            _ => {}
        }
        Ok(match (self.target, committed) {
            _ if self.skip.contains(gtid) => ReplayDecision::Skip,
            (RecoveryTarget::Time(_), None) => ReplayDecision::DecideAtCommit,
            _ => ReplayDecision::Apply,
        })
    }

    fn is_already_applied(&self, gtid: &Gtid) -> Result<bool> {
        if matches!(gtid, Gtid::Mysql { .. }) {
            return Ok(self.checkpoint.gtid_set.contains_gtid(gtid));
        }
        if self.checkpoint.transactions_read + 1 == self.read_before {
            let known = self.checkpoint.last_applied.as_ref().map(|last| &last.gtid);
            let moved = matches!(gtid, Gtid::Mariadb { .. })
                && !self.checkpoint.position.contains_gtid(gtid);
            if moved {
                return Err(Error::ReplayStopUnreachable {
                    reason: format!(
                        "the binary log differs from the one that the interrupted replay read: it has {gtid} where {} was applied",
                        known.map_or_else(String::new, ToString::to_string)
                    ),
                });
            }
        }
        Ok(self.checkpoint.transactions_read < self.read_before
            || self.was_initially_executed(gtid))
    }

    /// Whether a MariaDB server had executed a transaction at the start. Later ones are judged by their order alone:
    /// sequence numbers need not grow.
    fn was_initially_executed(&self, gtid: &Gtid) -> bool {
        self.initial_position.contains_gtid(gtid) && !self.reapply.contains(gtid)
    }

    fn is_executed(&self, gtid: &Gtid) -> bool {
        self.checkpoint.gtid_set.contains_gtid(gtid) || self.was_initially_executed(gtid)
    }

    /// Whether a transaction, whose commit time is known only at its end, is after the stop.
    pub(crate) fn is_after_stop(&self, committed: LogTime) -> bool {
        matches!(self.target, RecoveryTarget::Time(stop) if committed > *stop)
    }

    /// Records the end of a transaction that was not applied.
    pub(crate) fn record_passed(&mut self, ended: &LoggedTransaction, verdict: ReplayDecision) {
        self.checkpoint.transactions_read += 1;
        if verdict == ReplayDecision::Skip {
            self.skipped.push(ended.gtid.clone());
            self.remove_missing(&ended.gtid);
            self.checkpoint.position.advance_to(&ended.gtid);
        }
    }

    /// Records a transaction that was, or is about to be, applied.
    pub(crate) fn record_applied(&mut self, ended: &LoggedTransaction, events: u64) {
        self.checkpoint.transactions_read += 1;
        self.checkpoint.applied += 1;
        self.checkpoint.events += events;
        self.checkpoint.gtid_set.insert_gtid(&ended.gtid);
        self.checkpoint.position.advance_to(&ended.gtid);
        self.remove_missing(&ended.gtid);
        self.checkpoint.last_applied = Some(ended.clone());
    }

    fn remove_missing(&mut self, gtid: &Gtid) {
        if self.missing.contains_gtid(gtid) {
            let mut one = GtidSet::default();
            one.insert_gtid(gtid);
            self.missing = self.missing.subtract(&one);
        }
    }

    /// Whether the whole recovery target is executed.
    pub(crate) fn is_reached(&self) -> bool {
        match &self.target_set {
            ExecutedSet::Mysql(_) => self.missing.is_empty(),
            ExecutedSet::Mariadb(stop) => stop.is_within(&self.checkpoint.position),
            ExecutedSet::Unnumbered => false,
        }
    }

    /// Handles the end of the log. Fails when the stop was not reached.
    pub(crate) fn check_end_of_log(&self) -> Result<()> {
        let missing = match (self.target, &self.target_set) {
            (RecoveryTarget::BeforeGtid(gtid), _) => format!("it does not have {gtid}"),
            (_, ExecutedSet::Mysql(_)) if !self.is_reached() => {
                format!("it does not have {}", self.missing)
            }
            (_, ExecutedSet::Mariadb(stop)) if !self.is_reached() => {
                format!("it ends at {} and not at {stop}", self.checkpoint.position)
            }
            _ => return Ok(()),
        };
        let last = self.checkpoint.last_applied.as_ref();
        let last = last.map_or_else(String::new, |last| {
            format!(
                "; the last transaction is {}",
                describe_transaction(&last.gtid, Some(last.committed))
            )
        });
        Err(Error::ReplayStopUnreachable {
            reason: format!("the binary log ends before the recovery target: {missing}{last}"),
        })
    }

    /// The time at which it stops.
    pub(crate) fn stop_time(&self) -> Option<LogTime> {
        match self.target {
            RecoveryTarget::Time(time) => Some(*time),
            _ => None,
        }
    }

    pub(crate) fn into_report(
        self,
        stopped_before: Option<LoggedTransaction>,
        late: Vec<LoggedTransaction>,
        warnings: Vec<String>,
    ) -> ReplayReport {
        let ReplayCheckpoint {
            gtid_set: set,
            position,
            ..
        } = self.checkpoint;
        let mariadb = matches!(self.executed, ExecutedSet::Mariadb(_)) || !position.is_empty();
        let mysql = matches!(self.executed, ExecutedSet::Mysql(_)) || !set.is_empty();
        let executed = match (mysql, mariadb) {
            (true, _) => ExecutedSet::Mysql(set),
            (false, true) => ExecutedSet::Mariadb(position),
            (false, false) => ExecutedSet::Unnumbered,
        };
        ReplayReport {
            applied: self.checkpoint.applied,
            events: self.checkpoint.events,
            last_applied: self.checkpoint.last_applied,
            stopped_before,
            out_of_order: late,
            skipped: self.skipped,
            executed,
            warnings,
        }
    }
}

/// The transactions that a snapshot has.
fn executed_set_of(snapshot: &Snapshot) -> Result<ExecutedSet> {
    match snapshot_binlog_position(snapshot).map(|place| place.coverage) {
        Some(numbered @ (ExecutedSet::Mysql(_) | ExecutedSet::Mariadb(_))) => Ok(numbered),
        _ => Err(Error::ReplayStopUnreachable {
            reason: format!(
                "snapshot {} has no GTIDs: choose a time with --point-in-time",
                snapshot.id.short()
            ),
        }),
    }
}
