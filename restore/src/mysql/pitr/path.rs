//! A recovery path: the snapshot and the log by which a recovery target is reached.

use std::time::Duration;

use reprise_mysql::Flavour;
use reprise_mysql::binlog::{EventBoundary, FilePosition, Gtid, TransactionBoundaryParser};
use reprise_mysql::log::{
    ExecutedSet, LogEvents, LogRange, LogReadError, LogTime, StartingSnapshot, StoredSegment,
};
use reprise_repository::{Repository, Snapshot};

use crate::error::Result;

/// A commit of MariaDB may happen up to this long after its logged time.
pub(crate) const COMMIT_DELAY_MAX: Duration = Duration::from_secs(60);

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
    /// After the stop, the log has times before it again, from this one on: the clock was set back.
    pub times_repeat_from: Option<LogTime>,
}

impl<'a> RecoveryPath<'a> {
    /// Through the log range up to the log segment `end`, exclusive.
    pub(crate) fn new(
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
            log_bytes: sum_stored(read.clone().map(|piece| piece.record.plain)),
            transactions: sum_stored(read.map(|piece| piece.facts.transactions)),
            start,
            range,
            times_repeat_from: None,
        }
    }

    pub(crate) fn ending_before(self, end: usize) -> Self {
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
    pub(crate) fn snapshot_is_ahead_of(
        &self,
        repository: &Repository,
        time: LogTime,
    ) -> Result<bool> {
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
pub(crate) fn find_repeated_time(pieces: &[StoredSegment], time: LogTime) -> Option<LogTime> {
    let (stop, behind) = pieces.split_first()?;
    // MariaDB logs when commits began.
    let slack = match stop.facts.flavour {
        Flavour::Mariadb => COMMIT_DELAY_MAX,
        Flavour::Mysql => Duration::ZERO,
    };
    let again = behind.iter().filter_map(|piece| {
        let (first, _) = piece.facts.times?;
        // Events that a server writes while it starts may have no time at all.
        (first.is_known() && first + slack <= time).then_some(first)
    });
    let within = stop.facts.times.and_then(|(first, latest)| {
        let last = stop.facts.last.as_ref()?.committed;
        let back = last.is_known() && last + slack < latest;
        (back && first.is_known() && first <= time).then_some(first)
    });
    again.chain(within).min()
}

/// The sum of numbers as they are stored, which may be anything.
pub(crate) fn sum_stored(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}
