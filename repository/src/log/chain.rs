//! The order of the segments of a log: from the newest back, each names its predecessor.
//!
//! Whoever may add segments may add one that names no predecessor, or a wrong one. It must not hide what is older: the
//! chain then breaks, and resumes with the newest segment that is left.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::id::ObjectId;
use crate::log::segment_record::{LogSegmentKey, LogSegmentRecord};

/// A log segment and its record.
pub type ListedLogSegment = (LogSegmentKey, Result<LogSegmentRecord>);

/// One link of a log chain, from the oldest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogChainLink {
    /// The segment at this index. If its record cannot be read, its predecessor is unknown.
    Segment(usize),
    /// A segment that the next one names as its predecessor, and that is missing.
    Missing {
        /// Its sequence number.
        sequence: u64,
        /// Its ID.
        id: ObjectId,
    },
    /// The next segment names no predecessor, though it should have one.
    NoPredecessor {
        /// The sequence number of that segment.
        sequence: u64,
    },
}

/// The order of segments, which are sorted by sequence number. `first` is that of the first one that is kept: what is
/// before it may have been deleted.
#[must_use]
pub fn build_log_chain(pieces: &[ListedLogSegment], first: u64) -> Vec<LogChainLink> {
    let mut left: BTreeSet<usize> = (0..pieces.len()).collect();
    let mut links = Vec::new();
    let mut next = newest_segment(pieces, &left, u64::MAX);
    while let Some(index) = next {
        left.remove(&index);
        links.push(LogChainLink::Segment(index));
        let (key, record) = &pieces[index];
        let before = key.sequence.saturating_sub(1);
        next = match record {
            Err(_) => newest_segment(pieces, &left, before),
            Ok(_) if key.sequence <= first => None,
            Ok(record) => match record.previous {
                Some(id) => find_segment(pieces, &left, before, id).or_else(|| {
                    links.push(LogChainLink::Missing {
                        sequence: before,
                        id,
                    });
                    newest_segment(pieces, &left, before)
                }),
                None => {
                    links.push(LogChainLink::NoPredecessor {
                        sequence: key.sequence,
                    });
                    newest_segment(pieces, &left, before)
                }
            },
        };
    }
    links.reverse();
    links
}

fn find_segment(
    pieces: &[ListedLogSegment],
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

/// The segment with the greatest sequence number up to `sequence`. Of several, the one that the storage received first:
/// the others were added beside it.
fn newest_segment(
    pieces: &[ListedLogSegment],
    left: &BTreeSet<usize>,
    sequence: u64,
) -> Option<usize> {
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

    /// A segment with a sequence number, of a kind, received after so many seconds, with a predecessor.
    fn segment(
        sequence: u64,
        kind: u8,
        received: i64,
        previous: Option<(u64, u8)>,
    ) -> ListedLogSegment {
        let id = |(sequence, kind): (u64, u8)| {
            ObjectId::from_content(&[&sequence.to_le_bytes()[..], &[kind]].concat())
        };
        let received = DateTime::UNIX_EPOCH + TimeDelta::seconds(received);
        let key = LogSegmentKey::for_test(sequence, id((sequence, kind)), Some(received));
        (
            key,
            Ok(LogSegmentRecord::for_test(sequence, previous.map(id))),
        )
    }

    fn whole(places: std::ops::RangeInclusive<u64>) -> Vec<ListedLogSegment> {
        let before = |n: u64| (n > 1).then(|| (n - 1, 0));
        places
            .map(|n| segment(n, 0, i64::try_from(n).unwrap(), before(n)))
            .collect()
    }

    fn places(pieces: &[ListedLogSegment], links: &[LogChainLink]) -> Vec<u64> {
        let place = |link: &LogChainLink| match link {
            LogChainLink::Segment(index) => Some(pieces[*index].0.sequence),
            _ => None,
        };
        links.iter().filter_map(place).collect()
    }

    fn with(mut pieces: Vec<ListedLogSegment>, more: ListedLogSegment) -> Vec<ListedLogSegment> {
        pieces.push(more);
        pieces.sort_by(|(one, _), (other, _)| one.cmp(other));
        pieces
    }

    #[test]
    fn segments_follow_each_other_and_those_outside_the_chain_do_not_count() {
        let pieces = with(whole(1..=5), segment(3, 9, 1, Some((2, 0))));
        let links = build_log_chain(&pieces, 1);
        assert_eq!(places(&pieces, &links), [1, 2, 3, 4, 5]);
        assert_eq!(links.len(), 5);
        let three = pieces.iter().position(|(key, _)| {
            key.sequence == 3 && key.received == Some(DateTime::UNIX_EPOCH + TimeDelta::seconds(3))
        });
        assert!(links.contains(&LogChainLink::Segment(three.unwrap())));
    }

    #[test]
    fn what_is_missing_is_named_and_what_is_forgotten_is_not() {
        let mut pieces = whole(1..=5);
        let (gone, _) = pieces.remove(2);
        let links = build_log_chain(&pieces, 1);
        let missing = LogChainLink::Missing {
            sequence: 3,
            id: gone.id,
        };
        assert_eq!(
            links,
            [
                LogChainLink::Segment(0),
                LogChainLink::Segment(1),
                missing,
                LogChainLink::Segment(2),
                LogChainLink::Segment(3)
            ]
        );
        assert_eq!(
            build_log_chain(&pieces[2..], 4),
            [LogChainLink::Segment(0), LogChainLink::Segment(1)]
        );
        assert_eq!(build_log_chain(&pieces[2..], 3).len(), 3);
    }

    #[test]
    fn a_forged_end_does_not_hide_what_is_older() {
        let far = u64::MAX / 2;
        for forged in [
            segment(far, 9, 100, None),
            segment(far, 9, 100, Some((far - 1, 9))),
            segment(6, 9, 100, Some((5, 9))),
            segment(6, 9, 100, None),
        ] {
            let pieces = with(whole(1..=5), forged);
            let links = build_log_chain(&pieces, 1);
            assert_eq!(places(&pieces, &links)[..5], [1, 2, 3, 4, 5]);
            assert_eq!(links.len(), 7);
        }
        // Of several newest segments the one that was received first is used.
        let pieces = with(whole(1..=5), segment(5, 9, 100, None));
        assert_eq!(build_log_chain(&pieces, 1).len(), 5);
    }
}
