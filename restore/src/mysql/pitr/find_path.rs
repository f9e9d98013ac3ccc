//! Finds the recovery path to a target.

use reprise_mysql::binlog::Gtid;
use reprise_mysql::log::{ExecutedSet, LogRange, LogTime, has_exact_position};
use reprise_repository::{Repository, Snapshot};

use crate::error::{Error, Result};
use crate::mysql::pitr::catalog::RecoveryCatalog;
use crate::mysql::pitr::path::{RecoveryPath, find_repeated_time};
use crate::mysql::recovery_target::RecoveryTarget;

impl RecoveryCatalog {
    /// Finds the recovery path to a target.
    ///
    /// # Errors
    /// When there is none, with the possible targets instead.
    pub fn find_path(
        &self,
        repository: &Repository,
        moment: &RecoveryTarget,
    ) -> Result<RecoveryPath<'_>> {
        match moment {
            RecoveryTarget::Time(time) => self.path_to_time(repository, *time),
            RecoveryTarget::BeforeGtid(gtid) => self.path_before_gtid(gtid),
            RecoveryTarget::Latest => self.path_to_latest(),
            RecoveryTarget::Snapshot(snapshot) => self.path_to_snapshot(snapshot),
        }
    }

    fn unreachable_error(&self, wanted: String, mut why: String) -> Error {
        let unproven = self
            .snapshots
            .iter()
            .rev()
            .find(|one| !has_exact_position(one));
        if let Some(snapshot) = unproven {
            why.push_str(&format!(
                "; the exact binary log position of snapshot {} is unknown (the account that takes snapshots needs BACKUP_ADMIN; in MariaDB, RELOAD)",
                snapshot.id.short()
            ));
        }
        let missing_identity = self.missing_identity();
        if let Some(missing) = &missing_identity {
            why.push_str(&format!("; {missing}"));
        }
        Error::RecoveryTargetUnreachable {
            source_name: self.source.clone(),
            wanted,
            why,
            missing_identity: missing_identity.map(Box::new),
            possible: self
                .recovery_windows()
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }

    /// Snapshots with the log ranges that continue them, newest first.
    fn candidate_paths(&self) -> impl Iterator<Item = RecoveryPath<'_>> {
        let stretches = self.log.ranges();
        self.snapshots.iter().rev().flat_map(move |snapshot| {
            let stretches = stretches.clone().into_iter().rev();
            stretches.filter_map(move |stretch| {
                let join = stretch.locate_snapshot(snapshot)?;
                let end = stretch.segments().len();
                Some(RecoveryPath::new(snapshot, join, stretch, end))
            })
        })
    }

    fn path_to_time(&self, repository: &Repository, time: LogTime) -> Result<RecoveryPath<'_>> {
        let wanted = time.show();
        let mut why = match self.snapshots.first() {
            None => "there is no snapshot".to_owned(),
            Some(first) if LogTime::from(first.effective_time()) > time => {
                format!(
                    "the oldest snapshot was taken at {}",
                    LogTime::from(first.effective_time()).show()
                )
            }
            Some(_) if self.missing_identity().is_some() => {
                "no readable part of the binary log leads there".to_owned()
            }
            Some(_) => "the binary log of that time is not archived".to_owned(),
        };
        for way in self.candidate_paths() {
            let snapshot = LogTime::from(way.snapshot.effective_time());
            if snapshot > time {
                continue;
            }
            let until = way.range.complete_until().unwrap_or(snapshot);
            if until < time {
                why = match self.gap_after(&way.range) {
                    Some(reason) => {
                        format!(
                            "the archived binary log has a gap after {}: {reason}",
                            until.show()
                        )
                    }
                    None => format!("the binary log is archived only until {}", until.show()),
                };
                break;
            }
            if way.snapshot_is_ahead_of(repository, time)? {
                continue;
            }
            let pieces = way.range.segments();
            let stops = |n: &usize| pieces[*n].facts.times.is_some_and(|(_, last)| last > time);
            let stop = (way.start.segment_index..pieces.len()).find(stops);
            let end = stop.map_or(pieces.len(), |stop| stop + 1);
            let again = stop.and_then(|stop| find_repeated_time(&pieces[stop..], time));
            return Ok(RecoveryPath {
                times_repeat_from: again,
                ..way.ending_before(end)
            });
        }
        Err(self.unreachable_error(wanted, why))
    }

    fn gap_after(&self, stretch: &LogRange<'_>) -> Option<&str> {
        let last = stretch.segments().last()?.key.sequence;
        let next = self.log.breaks().iter().find(|found| found.before > last);
        next.map(|found| found.reason.as_str())
    }

    fn path_before_gtid(&self, gtid: &Gtid) -> Result<RecoveryPath<'_>> {
        let wanted = format!("before {gtid}");
        let has = |coverage: &ExecutedSet| coverage.contains_gtid(gtid);
        let mut why = format!("transaction {gtid} is not in the archived binary log");
        for way in self.candidate_paths() {
            if !way
                .range
                .end_position()
                .is_some_and(|place| has(&place.coverage))
            {
                continue;
            }
            if has(&way.start.position.coverage) {
                why = format!(
                    "every snapshot that the archived binary log continues from already contains {gtid}"
                );
                continue;
            }
            let pieces = way.range.segments();
            let end = pieces.partition_point(|piece| !has(&piece.facts.to.coverage));
            return Ok(way.ending_before(end + 1));
        }
        Err(self.unreachable_error(wanted, why))
    }

    fn path_to_latest(&self) -> Result<RecoveryPath<'_>> {
        let newest = self
            .log
            .ranges()
            .last()
            .and_then(LogRange::end_position)
            .cloned();
        let reaches = |way: &RecoveryPath<'_>| way.range.end_position() == newest.as_ref();
        let found = self.candidate_paths().find(reaches);
        let is_lost = |later: &&Snapshot| {
            let last = self.log.ranges().pop();
            last.is_some_and(|range| range.locate_snapshot(later).is_none())
        };
        if let Some(later) = self.snapshot_after_log().filter(is_lost) {
            let (id, time) = (
                later.id.short(),
                LogTime::from(later.effective_time()).show(),
            );
            let why = format!(
                "snapshot {id} of {time} is later than the archived binary log, which does not lead to it: restore the snapshot by its ID"
            );
            return Err(self.unreachable_error("the latest state".to_owned(), why));
        }
        found.ok_or_else(|| {
            let why = match self.log.segments().is_empty() {
                true if self.missing_identity().is_some() => "the archived binary log cannot be read",
                true => "no binary log is archived",
                false => "the newest range of the archived binary log does not continue from any snapshot: take one",
            };
            self.unreachable_error("the latest state".to_owned(), why.to_owned())
        })
    }

    fn path_to_snapshot(&self, wanted: &Snapshot) -> Result<RecoveryPath<'_>> {
        let older = self
            .candidate_paths()
            .filter(|way| way.snapshot.effective_time() < wanted.effective_time());
        let mut leading = older.filter_map(|way| {
            let end = way.range.locate_snapshot(wanted)?.segment_index;
            Some(way.ending_before(end + 1))
        });
        let found = leading.next();
        found.ok_or_else(|| {
            self.unreachable_error(
                format!("the state of snapshot {}", wanted.id.short()),
                "no older snapshot is followed by an archived binary log without gaps up to it"
                    .to_owned(),
            )
        })
    }
}
