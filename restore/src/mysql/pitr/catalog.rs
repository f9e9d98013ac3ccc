//! The recovery catalog: the points in time to which a server can be restored, from which snapshot with which log
//! range.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use reprise_mysql::Flavour;
use reprise_mysql::binlog::{EventBoundary, FilePosition, Gtid, TransactionBoundaryParser};
use reprise_mysql::log::LogReadError;
use reprise_mysql::log::{
    ExecutedSet, LogEvents, LogRange, StartingSnapshot, StoredLog, StoredSegment, format_micros,
    has_exact_position, micros_since_epoch, time_from_micros,
};
use reprise_repository::{ObjectId, Repository, Snapshot, SourceKind};

use crate::error::{Error, Result};

/// A commit of MariaDB may happen up to this many microseconds after its logged time.
pub(crate) const MAX_COMMIT_DELAY_MICROS: u64 = 60_000_000;

/// The recovery target.
#[derive(Debug, Clone)]
pub enum RecoveryTarget {
    /// Everything that was committed at or before this time, in microseconds since 1970.
    Time(u64),
    /// Everything before this transaction.
    BeforeGtid(Gtid),
    /// Everything that is archived.
    Latest,
    /// Exactly the state of a later snapshot, to be compared with it.
    Snapshot(Box<Snapshot>),
}

/// A recovery window: every point in time in it can be restored.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RecoveryWindow {
    /// The data time of its oldest snapshot.
    pub from: DateTime<Utc>,
    /// The end of the archived log; without log, the data time of the snapshot.
    pub until: DateTime<Utc>,
    /// The number of snapshots in it.
    pub snapshots: usize,
    /// The number of log segments.
    #[serde(rename = "log_segments")]
    pub pieces: usize,
    /// The number of transactions in them.
    pub transactions: u64,
}

impl fmt::Display for RecoveryWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from == self.until {
            true => write!(
                f,
                "{} (only this moment, by its snapshot ID)",
                format_datetime(&self.from)
            ),
            false => write!(
                f,
                "{} to {}",
                format_datetime(&self.from),
                format_datetime(&self.until)
            ),
        }
    }
}

fn format_datetime(time: &DateTime<Utc>) -> String {
    format_micros(micros_since_epoch(*time))
}

/// The stored snapshots of a source, oldest first, and its log.
#[derive(Debug)]
pub struct RecoveryCatalog {
    source: String,
    snapshots: Vec<Snapshot>,
    log: StoredLog,
}

/// How a recovery target is reached.
#[derive(Debug)]
pub struct RecoveryPath<'a> {
    /// The snapshot that is restored.
    pub snapshot: &'a Snapshot,
    /// The log position at which the log continues from it.
    pub start: StartingSnapshot,
    /// The log that follows it.
    pub range: LogRange<'a>,
    /// The approximate number of log segments that are read.
    pub segments: usize,
    /// The log's bytes in them.
    pub log_bytes: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// After the stop, the log has times before it again, from this one on, in microseconds since 1970: the clock was
    /// set back.
    pub times_repeat_from: Option<u64>,
}

impl RecoveryCatalog {
    /// Reads the stored snapshots and log of a source.
    ///
    /// # Errors
    /// When the source is unknown or no server, or the storage does not respond.
    pub fn load(repository: &Repository, source: &str) -> Result<Self> {
        let (all, _) = repository.snapshots_lossy()?;
        let snapshots: Vec<Snapshot> = all
            .into_iter()
            .filter(|snapshot| {
                snapshot.root.source == source && snapshot.root.kind == SourceKind::Mysql
            })
            .collect();
        let log = StoredLog::read(repository, source)?;
        Ok(Self {
            source: source.to_owned(),
            snapshots,
            log,
        })
    }

    /// The snapshots, oldest first.
    #[must_use]
    pub fn snapshots(&self) -> &[Snapshot] {
        &self.snapshots
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &StoredLog {
        &self.log
    }

    /// Of the snapshots that a log range continues past a point in time, the index of the log range.
    #[must_use]
    pub fn log_ranges_since(&self, begin: DateTime<Utc>) -> HashMap<ObjectId, u32> {
        let reaching = self.log.ranges().into_iter();
        let reaching = reaching.filter(|s| {
            s.complete_until()
                .is_none_or(|until| time_from_micros(until) > begin)
        });
        let mut found = HashMap::new();
        for (number, stretch) in (0..).zip(reaching) {
            let joined = self
                .snapshots
                .iter()
                .filter(|one| stretch.locate_snapshot(one).is_some());
            found.extend(joined.map(|snapshot| (snapshot.id, number)));
        }
        found
    }

    /// The position of the first log segment that is needed for every recovery target since `begin`, if the log reaches
    /// past it. `bases` are the snapshots from which those targets are restored.
    ///
    /// What the storage received since a day before is needed in any case: whoever may add log segments could make
    /// others look useless, but cannot make them older.
    #[must_use]
    pub fn first_needed_segment(
        &self,
        begin: DateTime<Utc>,
        bases: &BTreeSet<ObjectId>,
    ) -> Option<u64> {
        let reaches = |s: &LogRange<'_>| {
            s.complete_until()
                .is_none_or(|until| time_from_micros(until) > begin)
        };
        let stretch = self.log.ranges().into_iter().find(reaches)?;
        let held = self.snapshots.iter().filter(|one| bases.contains(&one.id));
        let needs = held.filter_map(|one| first_needed_index(one, &stretch));
        let (index, since) = needs.min().unwrap_or((0, begin));
        let needed = stretch.segments().get(index)?.key.sequence;
        let since = since.min(begin) - TimeDelta::days(1);
        let recent = |piece: &&StoredSegment| piece.key.received.is_none_or(|time| time >= since);
        let recent = self.log.segments().iter().find(recent);
        Some(recent.map_or(needed, |piece| piece.key.sequence.min(needed)))
    }

    /// The recovery windows, oldest first. Never wider than what can be restored.
    #[must_use]
    pub fn recovery_windows(&self) -> Vec<RecoveryWindow> {
        let mut spans: Vec<RecoveryWindow> = Vec::new();
        let mut alone: Vec<bool> = vec![true; self.snapshots.len()];
        for stretch in self.log.ranges() {
            let held: Vec<usize> = (0..self.snapshots.len())
                .filter(|n| stretch.locate_snapshot(&self.snapshots[*n]).is_some())
                .collect();
            let Some(first) = held.first() else {
                continue;
            };
            held.iter().for_each(|n| alone[*n] = false);
            let from = self.snapshots[*first].root.data_time;
            let pieces = stretch.segments();
            spans.push(RecoveryWindow {
                from,
                until: stretch
                    .complete_until()
                    .map_or(from, time_from_micros)
                    .max(from),
                snapshots: held.len(),
                pieces: pieces.len(),
                transactions: pieces.iter().map(|piece| piece.facts.transactions).sum(),
            });
        }
        let singles = self
            .snapshots
            .iter()
            .zip(&alone)
            .filter(|(_, alone)| **alone);
        spans.extend(singles.map(|(snapshot, _)| RecoveryWindow {
            from: snapshot.root.data_time,
            until: snapshot.root.data_time,
            snapshots: 1,
            pieces: 0,
            transactions: 0,
        }));
        spans.sort_by_key(|span| span.from);
        spans
    }

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
        Error::RecoveryTargetUnreachable {
            source_name: self.source.clone(),
            wanted,
            why,
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

    fn path_to_time(&self, repository: &Repository, time: u64) -> Result<RecoveryPath<'_>> {
        let wanted = format_micros(time);
        let mut why = match self.snapshots.first() {
            None => "there is no snapshot".to_owned(),
            Some(first) if micros_since_epoch(first.root.data_time) > time => {
                format!(
                    "the oldest snapshot was taken at {}",
                    format_datetime(&first.root.data_time)
                )
            }
            Some(_) => "the binary log of that time is not archived".to_owned(),
        };
        for way in self.candidate_paths() {
            if micros_since_epoch(way.snapshot.root.data_time) > time {
                continue;
            }
            let snapshot = micros_since_epoch(way.snapshot.root.data_time);
            let until = way.range.complete_until().unwrap_or(snapshot);
            if until < time {
                let end = format_micros(until);
                why = match self.gap_after(&way.range) {
                    Some(reason) => {
                        format!("the archived binary log has a gap after {end}: {reason}")
                    }
                    None => format!("the binary log is archived only until {end}"),
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
        found.ok_or_else(|| {
            let why = match self.log.segments().is_empty() {
                true => "no binary log is archived",
                false => "the newest range of the archived binary log does not continue from any snapshot: take one",
            };
            self.unreachable_error("the latest state".to_owned(), why.to_owned())
        })
    }

    fn path_to_snapshot(&self, wanted: &Snapshot) -> Result<RecoveryPath<'_>> {
        let older = self
            .candidate_paths()
            .filter(|way| way.snapshot.root.data_time < wanted.root.data_time);
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

impl<'a> RecoveryPath<'a> {
    /// Through the log range up to the log segment `end`, exclusive.
    fn new(
        snapshot: &'a Snapshot,
        start: StartingSnapshot,
        range: LogRange<'a>,
        end: usize,
    ) -> Self {
        let end = end.min(range.segments().len());
        let read =
            range.segments()[start.first_segment_index..end.max(start.first_segment_index)].iter();
        Self {
            snapshot,
            segments: read.len(),
            log_bytes: read.clone().map(|piece| piece.record.plain).sum(),
            transactions: read.map(|piece| piece.facts.transactions).sum(),
            start,
            range,
            times_repeat_from: None,
        }
    }

    fn ending_before(self, end: usize) -> Self {
        Self::new(self.snapshot, self.start, self.range, end)
    }

    /// The events that are read. The replay decides by them where to stop: the number of log segments is an estimate
    /// for the plan.
    pub(crate) fn log_events(&self, repository: &Repository) -> LogEvents<'a> {
        let skip = self.start.first_segment_index;
        self.range.read_events(repository, skip, usize::MAX)
    }

    /// Whether the snapshot holds a transaction that was committed after a time: a clock was set back before it was
    /// taken.
    fn snapshot_is_ahead_of(&self, repository: &Repository, time: u64) -> Result<bool> {
        let later = |n: &usize| {
            let times = self.range.segments()[*n].facts.times;
            times.is_some_and(|(_, last)| last > time)
        };
        let end = (self.start.segment_index + 1).min(self.range.segments().len());
        let Some(first) = (0..end).find(later) else {
            return Ok(false);
        };
        let mut boundary = TransactionBoundaryParser::default();
        let mut events = self.range.read_events(repository, first, end);
        let failed = |source| LogReadError::InvalidEvents { source };
        while let Some(event) = events.next() {
            let place = boundary.feed_event(&event?).map_err(failed)?;
            if place != EventBoundary::End {
                continue;
            }
            match boundary.take_completed() {
                Some(ended)
                    if !self.snapshot_has_transaction(&ended.gtid, events.file_position()) =>
                {
                    return Ok(false);
                }
                Some(ended) if ended.committed > time => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    }

    /// Whether the snapshot has a transaction that ends at a position in the server's files.
    fn snapshot_has_transaction(&self, gtid: &Gtid, end: &FilePosition) -> bool {
        let place = &self.start.position;
        match &place.coverage {
            ExecutedSet::Unnumbered => end.is_at_or_before(&place.file_position()) == Some(true),
            numbered => numbered.contains_gtid(gtid),
        }
    }
}

/// The earliest of the times that repeat in the log after a stop, which is in the first of these log segments.
fn find_repeated_time(pieces: &[StoredSegment], time: u64) -> Option<u64> {
    let (stop, behind) = pieces.split_first()?;
    // MariaDB logs when commits began.
    let slack = match stop.facts.flavour {
        Flavour::Mariadb => MAX_COMMIT_DELAY_MICROS,
        Flavour::Mysql => 0,
    };
    let again = behind.iter().filter_map(|piece| {
        let (first, _) = piece.facts.times?;
        // Events that a server writes while it starts may have no time at all.
        (first > 0 && first + slack <= time).then_some(first)
    });
    let within = stop.facts.times.and_then(|(first, latest)| {
        let last = stop.facts.last.as_ref()?.committed;
        let back = last > 0 && last + slack < latest;
        (back && first > 0 && first <= time).then_some(first)
    });
    again.chain(within).min()
}

/// The number of log segments of a log range that a snapshot does not need, and its data time.
fn first_needed_index(
    snapshot: &Snapshot,
    stretch: &LogRange<'_>,
) -> Option<(usize, DateTime<Utc>)> {
    let join = stretch.locate_snapshot(snapshot)?;
    Some((join.first_segment_index, snapshot.root.data_time))
}
