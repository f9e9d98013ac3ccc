//! Which snapshots a stretch of log goes on from.

use reprise_repository::Snapshot;

use super::facts::{Coverage, LogPlace};
use super::micros;
use super::origin::{place_of, start_of};
use super::stored::{StoredPiece, Stretch};
use crate::mysql::manifest::Flavour;

/// By so many microseconds the clocks of servers and hosts may differ.
const CLOCKS_APART: u64 = 60_000_000;

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
    /// Whether it has a transaction of the next one, by its numbers.
    inside: bool,
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
        if !self.is_in_time(spot, micros(snapshot.root.data_time)) {
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
        let numbered = place.coverage != Coverage::Unnumbered;
        let inside = next.is_some_and(|piece| !is_before(place, &piece.facts.from)) && numbered;
        Some(Spot { before, inside })
    }

    /// Whether what was at a time has its place there: behind the pieces before, and before the others.
    fn is_in_time(&self, spot: Spot, time: u64) -> bool {
        let since = self.pieces.iter().filter_map(|piece| piece.facts.since);
        if since.max() > Some(time) {
            return false;
        }
        let (covered, rest) = self.pieces.split_at(spot.before);
        let earliest = covered.iter().filter_map(|piece| piece.facts.times);
        // Of the piece in which it is, it has the first transaction at least.
        let within = rest.first().filter(|_| spot.inside);
        let within = within.and_then(|piece| piece.facts.first.as_ref());
        let earliest = earliest.map(|(first, _)| first);
        let earliest = earliest.chain(within.map(|first| first.committed)).min();
        if earliest.is_some_and(|earliest| earliest > time.saturating_add(CLOCKS_APART)) {
            return false;
        }
        match rest.last() {
            // Of what was followed by another history only the server's own word counts.
            Some(last) if self.forks => self.until() >= Some(time.saturating_sub(resolution(last))),
            Some(last) => {
                self.until().max(Some(received(last))) >= Some(time.saturating_sub(CLOCKS_APART))
            }
            None => true,
        }
    }
}

/// The unit of the times of commits, in microseconds.
fn resolution(piece: &StoredPiece) -> u64 {
    match piece.facts.flavour {
        Flavour::Mariadb => 1_000_000,
        Flavour::Mysql => 1,
    }
}

fn received(piece: &StoredPiece) -> u64 {
    micros(piece.record.written)
}
