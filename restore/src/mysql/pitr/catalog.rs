//! The recovery catalog: the points in time to which a server can be restored, by the snapshots and the log that are
//! stored of it.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use reprise_mysql::log::{
    BinlogPosition, ExecutedSet, LogRange, LogTime, StoredLog, StoredSegment,
};
use reprise_repository::{ObjectId, Repository, Snapshot, SourceKind};

use crate::error::Result;
use crate::mysql::pitr::path::sum_stored;

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
                LogTime::from(self.from).show()
            ),
            false => write!(
                f,
                "{} to {}",
                LogTime::from(self.from).show(),
                LogTime::from(self.until).show()
            ),
        }
    }
}

/// The stored snapshots of a source, oldest first, and its log.
#[derive(Debug)]
pub struct RecoveryCatalog {
    pub(crate) source: String,
    pub(crate) snapshots: Vec<Snapshot>,
    pub(crate) log: StoredLog,
}

impl RecoveryCatalog {
    /// Reads the stored snapshots and log of a source, of the hosts that its name means.
    ///
    /// # Errors
    /// When the source is unknown or no server, or the storage does not respond.
    pub fn load(repository: &Repository, source: &str) -> Result<Self> {
        let mut snapshots = repository.bound_snapshots(source)?;
        snapshots.retain(|snapshot| snapshot.root.kind == SourceKind::Mysql);
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

    /// Why parts of the log cannot be read, if they are encrypted to others than the given identities.
    #[must_use]
    pub fn missing_identity(&self) -> Option<reprise_repository::Error> {
        self.log.missing_identity(&self.source)
    }

    /// Of the snapshots that a log range continues past a point in time, the index of the log range.
    #[must_use]
    pub fn log_ranges_since(&self, begin: DateTime<Utc>) -> HashMap<ObjectId, u32> {
        let reaching = self.log.ranges().into_iter();
        let reaching = reaching.filter(|s| {
            s.complete_until()
                .is_none_or(|until| DateTime::<Utc>::from(until) > begin)
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
                .is_none_or(|until| DateTime::<Utc>::from(until) > begin)
        };
        let stretch = self.log.ranges().into_iter().find(reaches)?;
        let held = self.snapshots.iter().filter(|one| bases.contains(&one.id));
        let needs = held.filter_map(|one| first_needed_index(one, &stretch));
        let (index, since) = needs.min().unwrap_or((0, begin));
        let needed = stretch.segments().get(index)?.key.sequence;
        let day = TimeDelta::days(1);
        let since = since.min(begin).checked_sub_signed(day);
        let since = since.unwrap_or(DateTime::<Utc>::MIN_UTC);
        let recent = |piece: &&StoredSegment| piece.key.received.is_none_or(|time| time >= since);
        let recent = self.log.segments().iter().find(recent);
        Some(recent.map_or(needed, |piece| piece.key.sequence.min(needed)))
    }

    /// The newest snapshot, if it holds a later moment than the archived log does: nothing was written since, or nobody
    /// archives the log any more.
    #[must_use]
    pub fn snapshot_after_log(&self) -> Option<&Snapshot> {
        let newest = self.snapshots.iter().max_by_key(|one| one.time_order())?;
        let ranges = self.log.ranges();
        let last = ranges.last();
        last.is_none_or(|range| is_after_range(range, newest))
            .then_some(newest)
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
            let from = self.snapshots[*first].effective_time();
            let until = stretch.complete_until();
            let until = until.map_or(from, DateTime::from).max(from);
            // A snapshot of an idle server, taken after the log was last archived, is a later moment of its own.
            let within = held
                .iter()
                .filter(|n| !is_after_range(&stretch, &self.snapshots[**n]));
            within.for_each(|n| alone[*n] = false);
            let pieces = stretch.segments();
            spans.push(RecoveryWindow {
                from,
                until,
                snapshots: held.len(),
                pieces: pieces.len(),
                transactions: sum_stored(pieces.iter().map(|piece| piece.facts.transactions)),
            });
        }
        let singles = self
            .snapshots
            .iter()
            .zip(&alone)
            .filter(|(_, alone)| **alone);
        spans.extend(singles.map(|(snapshot, _)| RecoveryWindow {
            from: snapshot.effective_time(),
            until: snapshot.effective_time(),
            snapshots: 1,
            pieces: 0,
            transactions: 0,
        }));
        spans.sort_by_key(|span| span.from);
        spans
    }
}

/// Whether a snapshot holds a later moment than the end of a log range. Times of MariaDB's log are whole seconds, so a
/// snapshot that the range leads past is not, whatever the times say.
fn is_after_range(range: &LogRange<'_>, snapshot: &Snapshot) -> bool {
    let time = LogTime::from(snapshot.effective_time());
    let is_later = range.complete_until().is_none_or(|until| time > until);
    is_later
        && range.locate_snapshot(snapshot).is_none_or(|start| {
            let has_more = start.segment_index < range.segments().len();
            !has_more
                || range
                    .end_position()
                    .is_some_and(|end| is_same_state(end, &start.position))
        })
}

/// Whether the same transactions precede two positions.
fn is_same_state(a: &BinlogPosition, b: &BinlogPosition) -> bool {
    match a.coverage {
        ExecutedSet::Unnumbered => a == b,
        _ => a.coverage == b.coverage,
    }
}

/// The number of log segments of a log range that a snapshot does not need, and its data time.
fn first_needed_index(
    snapshot: &Snapshot,
    stretch: &LogRange<'_>,
) -> Option<(usize, DateTime<Utc>)> {
    let join = stretch.locate_snapshot(snapshot)?;
    Some((join.first_segment_index, snapshot.effective_time()))
}
