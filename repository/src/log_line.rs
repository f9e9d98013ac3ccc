//! In which order the pieces of a log belong together: from the newest back, each says which one is before it.
//!
//! Whoever may add pieces may add one that names none, or a wrong one, as the piece before it. It must not hide what
//! is older: the line then breaks, and goes on with the newest piece that is left.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::id::ObjectId;
use crate::logs::{LogKey, LogRecord};

/// A piece, and what it says of itself.
pub type ReadPiece = (LogKey, Result<LogRecord>);

/// One step of a log, from the oldest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// The piece at this index. If its record cannot be read, nothing is known of what is before it.
    Piece(usize),
    /// A piece that is named as the one before the next, and is not there.
    Missing {
        /// Its place.
        sequence: u64,
        /// Its id.
        id: ObjectId,
    },
    /// The next piece says that none is before it, though others should be.
    Headless {
        /// The place of that piece.
        sequence: u64,
    },
}

/// The order of pieces, which are sorted by place. `first` is the place of the first one that is kept: what is before
/// it may be gone.
#[must_use]
pub fn line(pieces: &[ReadPiece], first: u64) -> Vec<Link> {
    let mut left: BTreeSet<usize> = (0..pieces.len()).collect();
    let mut links = Vec::new();
    let mut next = newest(pieces, &left, u64::MAX);
    while let Some(index) = next {
        left.remove(&index);
        links.push(Link::Piece(index));
        let (key, record) = &pieces[index];
        let before = key.sequence.saturating_sub(1);
        next = match record {
            Err(_) => newest(pieces, &left, before),
            Ok(_) if key.sequence <= first => None,
            Ok(record) => match record.previous {
                Some(id) => find(pieces, &left, before, id).or_else(|| {
                    links.push(Link::Missing {
                        sequence: before,
                        id,
                    });
                    newest(pieces, &left, before)
                }),
                None => {
                    links.push(Link::Headless {
                        sequence: key.sequence,
                    });
                    newest(pieces, &left, before)
                }
            },
        };
    }
    links.reverse();
    links
}

fn find(
    pieces: &[ReadPiece],
    left: &BTreeSet<usize>,
    sequence: u64,
    id: ObjectId,
) -> Option<usize> {
    let from = pieces.partition_point(|(key, _)| key.sequence < sequence);
    let same = pieces[from..]
        .iter()
        .take_while(|(key, _)| key.sequence == sequence);
    let at = same.zip(from..).find(|((key, _), _)| key.id == id);
    at.map(|(_, index)| index)
        .filter(|index| left.contains(index))
}

/// The piece with the greatest place up to `sequence`. Of several the one that the storage received first: the others
/// were added beside it.
fn newest(pieces: &[ReadPiece], left: &BTreeSet<usize>, sequence: u64) -> Option<usize> {
    let end = pieces.partition_point(|(key, _)| key.sequence <= sequence);
    let last = *left.range(..end).next_back()?;
    let place = pieces[last].0.sequence;
    let begin = pieces.partition_point(|(key, _)| key.sequence < place);
    let same = left.range(begin..=last).copied();
    same.min_by_key(|index| {
        let key = &pieces[*index].0;
        (key.received.is_none(), key.received, key.id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, TimeDelta};

    /// A piece in a place, of a kind, received after so many seconds, behind another one.
    fn piece(sequence: u64, kind: u8, received: i64, previous: Option<(u64, u8)>) -> ReadPiece {
        let id = |(sequence, kind): (u64, u8)| {
            ObjectId::of(&[&sequence.to_le_bytes()[..], &[kind]].concat())
        };
        let received = DateTime::UNIX_EPOCH + TimeDelta::seconds(received);
        let key = LogKey::for_test(sequence, id((sequence, kind)), Some(received));
        (key, Ok(LogRecord::for_test(sequence, previous.map(id))))
    }

    fn whole(places: std::ops::RangeInclusive<u64>) -> Vec<ReadPiece> {
        let before = |n: u64| (n > 1).then(|| (n - 1, 0));
        places
            .map(|n| piece(n, 0, i64::try_from(n).unwrap(), before(n)))
            .collect()
    }

    fn places(pieces: &[ReadPiece], links: &[Link]) -> Vec<u64> {
        let place = |link: &Link| match link {
            Link::Piece(index) => Some(pieces[*index].0.sequence),
            _ => None,
        };
        links.iter().filter_map(place).collect()
    }

    fn with(mut pieces: Vec<ReadPiece>, more: ReadPiece) -> Vec<ReadPiece> {
        pieces.push(more);
        pieces.sort_by(|(one, _), (other, _)| one.cmp(other));
        pieces
    }

    #[test]
    fn pieces_follow_each_other_and_those_beside_the_line_do_not_count() {
        let pieces = with(whole(1..=5), piece(3, 9, 1, Some((2, 0))));
        let links = line(&pieces, 1);
        assert_eq!(places(&pieces, &links), [1, 2, 3, 4, 5]);
        assert_eq!(links.len(), 5);
        let three = pieces.iter().position(|(key, _)| {
            key.sequence == 3 && key.received == Some(DateTime::UNIX_EPOCH + TimeDelta::seconds(3))
        });
        assert!(links.contains(&Link::Piece(three.unwrap())));
    }

    #[test]
    fn what_is_missing_is_named_and_what_is_forgotten_is_not() {
        let mut pieces = whole(1..=5);
        let (gone, _) = pieces.remove(2);
        let links = line(&pieces, 1);
        let missing = Link::Missing {
            sequence: 3,
            id: gone.id,
        };
        assert_eq!(
            links,
            [
                Link::Piece(0),
                Link::Piece(1),
                missing,
                Link::Piece(2),
                Link::Piece(3)
            ]
        );
        assert_eq!(line(&pieces[2..], 4), [Link::Piece(0), Link::Piece(1)]);
        assert_eq!(line(&pieces[2..], 3).len(), 3);
    }

    #[test]
    fn a_forged_end_does_not_hide_what_is_older() {
        let far = u64::MAX / 2;
        for forged in [
            piece(far, 9, 100, None),
            piece(far, 9, 100, Some((far - 1, 9))),
            piece(6, 9, 100, Some((5, 9))),
            piece(6, 9, 100, None),
        ] {
            let pieces = with(whole(1..=5), forged);
            let links = line(&pieces, 1);
            assert_eq!(places(&pieces, &links)[..5], [1, 2, 3, 4, 5]);
            assert_eq!(links.len(), 7);
        }
        // Beside the newest piece the one that came first counts.
        let pieces = with(whole(1..=5), piece(5, 9, 100, None));
        assert_eq!(line(&pieces, 1).len(), 5);
    }
}
