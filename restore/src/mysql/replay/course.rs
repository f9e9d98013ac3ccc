//! Which transactions are applied, and where it ends.

use reprise_snapshotters::mysql::binlog::{Ended, Gtid, GtidSet, MariadbPosition};

use super::{Coverage, Replay, ReplayReport, Stop, named};
use crate::error::{Error, Result};

/// What is to be done with a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is applied.
    Apply,
    /// It is applied unless its commit, which is not known yet, is behind the stop.
    Ask,
    /// The server has it.
    Pass,
    /// It was asked to be left out.
    Skip,
    /// It is not among those that are wanted.
    Unwanted,
    /// It ends here.
    Stop,
}

/// What an earlier attempt noted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) set: GtidSet,
    pub(super) position: MariadbPosition,
    pub(super) applied: u64,
    pub(super) events: u64,
    /// Transactions since the beginning of the events.
    pub(super) passed: u64,
    pub(super) last: Option<Ended>,
}

/// How far it has come.
#[derive(Debug)]
pub(super) struct Course<'a> {
    stop: &'a Stop,
    skip: &'a [Gtid],
    after: &'a Coverage,
    also: &'a [Gtid],
    /// Of MariaDB, what the server had to begin with.
    base: MariadbPosition,
    pub(super) now: Noted,
    /// How many transactions an earlier attempt had passed.
    earlier: u64,
    skipped: Vec<Gtid>,
    /// Of those that are wanted, those that are not there.
    missing: GtidSet,
}

impl<'a> Course<'a> {
    pub(super) fn new(replay: &'a Replay<'_>) -> Self {
        let mut course = Self {
            stop: &replay.stop,
            skip: replay.skip,
            after: &replay.after,
            also: replay.also,
            base: MariadbPosition::default(),
            now: Noted::default(),
            earlier: 0,
            skipped: Vec::new(),
            missing: GtidSet::default(),
        };
        course.add(replay.after.clone());
        course
    }

    /// What the server has besides.
    pub(super) fn add(&mut self, coverage: Coverage) {
        match coverage {
            Coverage::Mysql(set) => self.now.set.add_all(&set),
            Coverage::Mariadb(position) => {
                for (domain, server, sequence) in position.domains() {
                    let gtid = Gtid::Mariadb {
                        domain,
                        server,
                        sequence,
                    };
                    if !self.base.has(&gtid) {
                        self.base.pass(&gtid);
                        self.now.position.pass(&gtid);
                    }
                }
            }
            Coverage::Unnumbered => {}
        }
    }

    /// Goes on after an earlier attempt.
    pub(super) fn resume(&mut self, noted: Noted) {
        self.earlier = noted.passed;
        self.now = Noted { passed: 0, ..noted };
    }

    /// Whether the stop makes sense.
    pub(super) fn check(&mut self) -> Result<()> {
        match self.stop {
            Stop::Before(gtid) if self.has(gtid) && self.now.last.is_none() => {
                Err(Error::ReplayStop {
                    reason: format!(
                        "transaction {gtid}, before which the replay should stop, is already applied"
                    ),
                })
            }
            Stop::Set(wanted) => {
                let mut there = self.now.set.clone();
                self.skip.iter().for_each(|gtid| there.insert_gtid(gtid));
                self.missing = wanted.without(&there);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What is to be done with a transaction that begins.
    pub(super) fn verdict(&mut self, gtid: &Gtid, committed: Option<u64>) -> Result<Verdict> {
        if self.was_passed(gtid)? {
            // What was left out before is counted again.
            let skipped = self.skip.contains(gtid);
            return Ok(if skipped {
                Verdict::Skip
            } else {
                Verdict::Pass
            });
        }
        match (self.stop, committed) {
            (Stop::Before(stop), _) if stop == gtid => return Ok(Verdict::Stop),
            (Stop::Time(stop), Some(time)) if time > *stop => return Ok(Verdict::Stop),
            (Stop::Set(wanted), _) if !wanted.has(gtid) => return Ok(Verdict::Unwanted),
            (Stop::Position(stop), _) if !stop.has(gtid) => return Ok(Verdict::Unwanted),
            _ => {}
        }
        Ok(match (self.stop, committed) {
            _ if self.skip.contains(gtid) => Verdict::Skip,
            (Stop::Time(_), None) => Verdict::Ask,
            _ => Verdict::Apply,
        })
    }

    fn was_passed(&self, gtid: &Gtid) -> Result<bool> {
        if matches!(gtid, Gtid::Mysql { .. }) {
            return Ok(self.now.set.has(gtid));
        }
        if self.now.passed + 1 == self.earlier {
            let known = self.now.last.as_ref().map(|last| &last.gtid);
            let moved = matches!(gtid, Gtid::Mariadb { .. }) && !self.now.position.has(gtid);
            if moved {
                return Err(Error::ReplayStop {
                    reason: format!(
                        "the binary log differs from the one that the interrupted replay read: it has {gtid} where {} was applied",
                        known.map_or_else(String::new, ToString::to_string)
                    ),
                });
            }
        }
        Ok(self.now.passed < self.earlier || self.covered(gtid))
    }

    /// Whether the server had a transaction of MariaDB to begin with. What came since counts by its order alone:
    /// numbers need not grow.
    fn covered(&self, gtid: &Gtid) -> bool {
        self.base.has(gtid) && !self.also.contains(gtid)
    }

    fn has(&self, gtid: &Gtid) -> bool {
        self.now.set.has(gtid) || self.covered(gtid)
    }

    /// Whether a transaction, whose commit is known only at its end, is behind the stop.
    pub(super) fn is_behind(&self, committed: u64) -> bool {
        matches!(self.stop, Stop::Time(stop) if committed > *stop)
    }

    /// A transaction ended that was not applied.
    pub(super) fn pass(&mut self, ended: &Ended, verdict: Verdict) {
        self.now.passed += 1;
        if verdict == Verdict::Skip {
            self.skipped.push(ended.gtid.clone());
            self.missing_without(&ended.gtid);
            self.now.position.pass(&ended.gtid);
        }
    }

    /// A transaction was, or is about to be, applied.
    pub(super) fn apply(&mut self, ended: &Ended, events: u64) {
        self.now.passed += 1;
        self.now.applied += 1;
        self.now.events += events;
        self.now.set.insert_gtid(&ended.gtid);
        self.now.position.pass(&ended.gtid);
        self.missing_without(&ended.gtid);
        self.now.last = Some(ended.clone());
    }

    fn missing_without(&mut self, gtid: &Gtid) {
        if self.missing.has(gtid) {
            let mut one = GtidSet::default();
            one.insert_gtid(gtid);
            self.missing = self.missing.without(&one);
        }
    }

    /// Whether everything that is wanted is there.
    pub(super) fn is_reached(&self) -> bool {
        match self.stop {
            Stop::Set(_) => self.missing.is_empty(),
            Stop::Position(stop) => stop.is_within(&self.now.position),
            _ => false,
        }
    }

    /// The log has ended. Fails when it should have come further.
    pub(super) fn end(&self) -> Result<()> {
        let missing = match self.stop {
            Stop::Before(gtid) => format!("it does not have {gtid}"),
            Stop::Set(_) if !self.is_reached() => format!("it does not have {}", self.missing),
            Stop::Position(stop) if !self.is_reached() => {
                format!("it ends at {} and not at {stop}", self.now.position)
            }
            _ => return Ok(()),
        };
        let last = self.now.last.as_ref();
        let last = last.map_or_else(String::new, |last| {
            format!(
                "; the last transaction is {}",
                named(&last.gtid, Some(last.committed))
            )
        });
        Err(Error::ReplayStop {
            reason: format!("the binary log ends before the recovery target: {missing}{last}"),
        })
    }

    /// The time at which it stops.
    pub(super) fn time(&self) -> Option<u64> {
        match self.stop {
            Stop::Time(time) => Some(*time),
            _ => None,
        }
    }

    pub(super) fn report(
        self,
        stopped_before: Option<Ended>,
        late: Vec<Ended>,
        warnings: Vec<String>,
    ) -> ReplayReport {
        let Noted { set, position, .. } = self.now;
        let mariadb = matches!(self.after, Coverage::Mariadb(_)) || !position.is_empty();
        let mysql = matches!(self.after, Coverage::Mysql(_)) || !set.is_empty();
        let executed = match (mysql, mariadb) {
            (true, _) => Coverage::Mysql(set),
            (false, true) => Coverage::Mariadb(position),
            (false, false) => Coverage::Unnumbered,
        };
        ReplayReport {
            applied: self.now.applied,
            events: self.now.events,
            last_applied: self.now.last,
            stopped_before,
            late,
            skipped: self.skipped,
            executed,
            warnings,
        }
    }
}
