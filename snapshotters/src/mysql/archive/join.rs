//! Which snapshots a stretch of log goes on from.

use reprise_repository::Snapshot;

use super::facts::{Coverage, LogPlace, StoredPiece};
use super::placed::{place_of, start_of};
use super::stored::Stretch;
use super::time::{CLOCKS_APART, micros};
use crate::mysql::manifest::Flavour;

/// Where the log goes on from a snapshot.
#[derive(Debug, Clone)]
pub struct Join {
    /// What the snapshot holds.
    pub place: LogPlace,
    /// How many pieces of the stretch are before it as a whole.
    pub at: usize,
    /// How many of those are not needed: transactions in two phases are read from their beginning.
    pub skip: usize,
}

/// A place in a stretch.
#[derive(Debug, Clone, Copy)]
struct Spot {
    /// How many pieces are before it.
    before: usize,
    /// What is before it of the next one.
    inside: Inside,
}

/// What is before a place in a piece.
#[derive(Debug, Clone, Copy)]
enum Inside {
    /// Nothing, or nobody knows.
    Nothing,
    /// Transactions, by their numbers.
    Transactions,
    /// The beginning of the file in which the piece ends.
    File,
}

impl Stretch<'_> {
    /// Whether everything that follows a snapshot, up to the stretch's end, is in it; and where.
    ///
    /// A server that was reset gives the same numbers again, so that numbers alone do not tell that a snapshot belongs
    /// to a log: its time must be in order too.
    #[must_use]
    pub fn join(&self, snapshot: &Snapshot) -> Option<Join> {
        let place = place_of(snapshot)?;
        let uuid = snapshot.root.facts.get("server_uuid");
        let uuid = uuid.and_then(|uuid| uuid.as_str());
        let spot = self.spot(&place, uuid)?;
        if !self.hints(spot).allow(micros(snapshot.root.data_time)) {
            return None;
        }
        let start = start_of(snapshot).and_then(|start| self.spot(&start, uuid));
        let at = spot.before;
        let skip = start.map_or(at, |start| start.before.min(at));
        Some(Join { place, at, skip })
    }

    /// Where a place is; `None` when it is not in the stretch, by all that it says.
    fn spot(&self, place: &LogPlace, uuid: Option<&str>) -> Option<Spot> {
        let first = self.pieces.first()?;
        if self.pieces.iter().any(|piece| piece.facts.ambiguous) {
            return None;
        }
        let is_before = |earlier: &LogPlace, later: &LogPlace| match &earlier.coverage {
            Coverage::Unnumbered => {
                let same = uuid == first.facts.server_uuid.as_deref();
                same && earlier.in_files().is_before(&later.in_files()) == Some(true)
            }
            coverage => coverage.is_within(&later.coverage) == Some(true),
        };
        if !is_before(&first.facts.from, place) || !is_before(place, self.to()?) {
            return None;
        }
        let before = self
            .pieces
            .partition_point(|piece| is_before(&piece.facts.to, place));
        let next = self.pieces.get(before);
        let inside = match next {
            Some(piece) if place.coverage == Coverage::Unnumbered => {
                match piece.facts.to.file == place.file {
                    true => Inside::File,
                    false => Inside::Nothing,
                }
            }
            Some(piece) if !is_before(place, &piece.facts.from) => Inside::Transactions,
            _ => Inside::Nothing,
        };
        Some(Spot { before, inside })
    }

    /// What the log says of the time of a place in it.
    fn hints(&self, spot: Spot) -> Hints {
        let (covered, rest) = self.pieces.split_at(spot.before);
        let earliest = covered.iter().filter_map(|piece| piece.facts.times);
        let within = rest.first().and_then(|piece| match spot.inside {
            Inside::Nothing => None,
            // It has the first transaction of the piece at least.
            Inside::Transactions => Some(piece.facts.first.as_ref()?.committed),
            Inside::File => Some(u64::from(piece.facts.file_begun?) * 1_000_000),
        });
        let earliest = earliest.map(|(first, _)| first);
        // Of what was followed by another history only the server's own word counts.
        let latest = rest.last().map(|last| match self.forks {
            true => self.until().unwrap_or_default() + resolution(last),
            false => self.until().max(Some(received(last))).unwrap_or_default() + CLOCKS_APART,
        });
        Hints {
            since: self
                .pieces
                .iter()
                .filter_map(|piece| piece.facts.since)
                .max(),
            earliest: earliest.chain(within).min(),
            latest,
        }
    }
}

/// What a log says of the time of a place in it; all in microseconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
struct Hints {
    /// Since when the history is this one.
    since: Option<u64>,
    /// The earliest commit before the place.
    earliest: Option<u64>,
    /// What follows the place was received until then; `None`: nothing follows.
    latest: Option<u64>,
}

impl Hints {
    /// Whether a snapshot of a time may be at the place: it has what is before, and was taken before what follows.
    fn allow(self, time: u64) -> bool {
        let has = |earliest: u64| earliest <= time.saturating_add(CLOCKS_APART);
        self.since.is_none_or(|since| since <= time)
            && self.earliest.is_none_or(has)
            && self.latest.is_none_or(|latest| time <= latest)
    }
}

/// The unit of the times of commits, in microseconds.
fn resolution(piece: &StoredPiece) -> u64 {
    match piece.facts.flavour {
        Flavour::Mariadb => 1_000_000,
        Flavour::Mysql => 1,
    }
}

/// When what is in a piece had been received, by the later of two clocks.
fn received(piece: &StoredPiece) -> u64 {
    micros(piece.record.written).max(piece.facts.at.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A history since minute 10, of which what is before the place was committed from minute 20 on, and what follows
    /// was received until minute 30.
    fn allowed(minute: u64) -> bool {
        const MINUTE: u64 = 60_000_000;
        let hints = Hints {
            since: Some(10 * MINUTE),
            earliest: Some(20 * MINUTE),
            latest: Some(30 * MINUTE),
        };
        hints.allow(minute * MINUTE)
    }

    #[test]
    fn a_snapshot_has_what_is_before_its_place_and_is_older_than_what_follows() {
        let minutes: Vec<u64> = (0..60).filter(|minute| allowed(*minute)).collect();
        // Clocks may differ by a minute.
        assert_eq!(minutes, (19..=30).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_older_than_a_history_has_no_place_in_it() {
        let hints = Hints {
            since: Some(1000),
            ..Hints::default()
        };
        assert!(!hints.allow(999) && hints.allow(1000));
    }
}
