//! From which snapshots a log range continues.

use std::time::Duration;

use reprise_repository::Snapshot;

use crate::log::segment_facts::{BinlogPosition, ExecutedSet, StoredSegment};
use crate::log::snapshot_position::{log_start_position, snapshot_binlog_position};
use crate::log::stored_log::LogRange;
use crate::log_time::{CLOCK_SKEW_MAX, LogTime};
use crate::manifest::Flavour;

/// Where the log continues from a snapshot.
#[derive(Debug, Clone)]
pub struct StartingSnapshot {
    /// What the snapshot contains.
    pub position: BinlogPosition,
    /// How many segments of the range precede it entirely.
    pub segment_index: usize,
    /// How many of those are not needed: XA transactions are read from their beginning.
    pub first_segment_index: usize,
}

/// A position in a log range.
#[derive(Debug, Clone, Copy)]
struct SegmentPosition {
    /// How many segments precede it.
    segments_before: usize,
    /// What precedes it in the next segment.
    preceding_content: PrecedingContent,
}

/// What precedes a position in a log segment.
#[derive(Debug, Clone, Copy)]
enum PrecedingContent {
    /// Nothing, or unknown.
    Nothing,
    /// Transactions, by their GTIDs.
    Transactions,
    /// The beginning of the file in which the segment ends.
    FileStart,
}

impl LogRange<'_> {
    /// Whether the range contains everything from a snapshot up to the range's end; and where that begins.
    ///
    /// A server that was reset assigns the same GTIDs again, so GTIDs alone do not prove that a snapshot belongs to a
    /// log: its time must match too.
    #[must_use]
    pub fn locate_snapshot(&self, snapshot: &Snapshot) -> Option<StartingSnapshot> {
        let place = snapshot_binlog_position(snapshot)?;
        let uuid = snapshot.root.facts.get("server_uuid");
        let uuid = uuid.and_then(|uuid| uuid.as_str());
        let spot = self.locate_position(&place, uuid)?;
        if !self
            .time_bounds(spot)
            .allows_time(LogTime::from(snapshot.source_time()))
        {
            return None;
        }
        let start =
            log_start_position(snapshot).and_then(|start| self.locate_position(&start, uuid));
        let at = spot.segments_before;
        let skip = start.map_or(at, |start| start.segments_before.min(at));
        Some(StartingSnapshot {
            position: place,
            segment_index: at,
            first_segment_index: skip,
        })
    }

    /// Locates a position; `None` when it is not in the range by any of its data.
    fn locate_position(
        &self,
        place: &BinlogPosition,
        uuid: Option<&str>,
    ) -> Option<SegmentPosition> {
        let first = self.segments.first()?;
        if self.segments.iter().any(|piece| piece.facts.ambiguous) {
            return None;
        }
        let is_before = |earlier: &BinlogPosition, later: &BinlogPosition| match &earlier.coverage {
            ExecutedSet::Unnumbered => {
                let same = uuid == first.facts.server_uuid.as_deref();
                same && earlier
                    .file_position()
                    .is_at_or_before(&later.file_position())
                    == Some(true)
            }
            coverage => coverage.is_within(&later.coverage) == Some(true),
        };
        if !is_before(&first.facts.from, place) || !is_before(place, self.end_position()?) {
            return None;
        }
        let before = self
            .segments
            .partition_point(|piece| is_before(&piece.facts.to, place));
        let next = self.segments.get(before);
        let inside = match next {
            Some(piece) if place.coverage == ExecutedSet::Unnumbered => {
                match piece.facts.to.file == place.file {
                    true => PrecedingContent::FileStart,
                    false => PrecedingContent::Nothing,
                }
            }
            Some(piece) if !is_before(place, &piece.facts.from) => PrecedingContent::Transactions,
            _ => PrecedingContent::Nothing,
        };
        Some(SegmentPosition {
            segments_before: before,
            preceding_content: inside,
        })
    }

    /// The bounds that the log gives for the time of a position in it.
    fn time_bounds(&self, spot: SegmentPosition) -> TimeBounds {
        let (covered, rest) = self.segments.split_at(spot.segments_before);
        let earliest = covered.iter().filter_map(|piece| piece.facts.times);
        let within = rest.first().and_then(|piece| match spot.preceding_content {
            PrecedingContent::Nothing => None,
            // It contains at least the first transaction of the segment.
            PrecedingContent::Transactions => Some(piece.facts.first.as_ref()?.committed),
            PrecedingContent::FileStart => Some(LogTime::from_seconds(piece.facts.file_begun?)),
        });
        let earliest = earliest.map(|(first, _)| first);
        // Where a diverged history follows, only the server's own confirmation is used.
        let latest = rest
            .last()
            .map(|last| match self.is_followed_by_divergence {
                true => self.complete_until().unwrap_or_default() + commit_time_resolution(last),
                false => {
                    self.complete_until()
                        .max(Some(received_at(last)))
                        .unwrap_or_default()
                        + CLOCK_SKEW_MAX
                }
            });
        TimeBounds {
            history_since: self
                .segments
                .iter()
                .filter_map(|piece| piece.facts.since)
                .max(),
            earliest_commit: earliest.chain(within).min(),
            latest_time: latest,
        }
    }
}

/// The bounds that a log gives for the time of a position in it.
#[derive(Debug, Clone, Copy, Default)]
struct TimeBounds {
    /// Since when this history applies.
    history_since: Option<LogTime>,
    /// The earliest commit before the position.
    earliest_commit: Option<LogTime>,
    /// What follows the position was received by then; `None`: nothing follows.
    latest_time: Option<LogTime>,
}

impl TimeBounds {
    /// Whether a snapshot of a time may be at the position: it contains what precedes, and is older than what follows.
    fn allows_time(self, time: LogTime) -> bool {
        let has = |earliest: LogTime| earliest <= time + CLOCK_SKEW_MAX;
        self.history_since.is_none_or(|since| since <= time)
            && self.earliest_commit.is_none_or(has)
            && self.latest_time.is_none_or(|latest| time <= latest)
    }
}

/// Resolution of commit times.
fn commit_time_resolution(piece: &StoredSegment) -> Duration {
    match piece.facts.flavour {
        Flavour::Mariadb => Duration::from_secs(1),
        Flavour::Mysql => Duration::from_micros(1),
    }
}

/// When the content of a segment had been received, by the later of two clocks.
fn received_at(piece: &StoredSegment) -> LogTime {
    LogTime::from(piece.record.written).max(piece.facts.at.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A history since minute 10: what precedes the position was committed from minute 20 on, what follows was received
    /// until minute 30.
    fn is_allowed_at_minute(minute: u64) -> bool {
        let at = |minute: u64| LogTime::from_micros(minute * 60_000_000);
        let hints = TimeBounds {
            history_since: Some(at(10)),
            earliest_commit: Some(at(20)),
            latest_time: Some(at(30)),
        };
        hints.allows_time(at(minute))
    }

    #[test]
    fn a_snapshot_has_what_is_before_its_position_and_is_older_than_what_follows() {
        let minutes: Vec<u64> = (0..60)
            .filter(|minute| is_allowed_at_minute(*minute))
            .collect();
        // Clocks may differ by a minute.
        assert_eq!(minutes, (19..=30).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_older_than_a_history_has_no_position_in_it() {
        let hints = TimeBounds {
            history_since: Some(LogTime::from_micros(1000)),
            ..TimeBounds::default()
        };
        let allows = |micros| hints.allows_time(LogTime::from_micros(micros));
        assert!(!allows(999) && allows(1000));
    }
}
