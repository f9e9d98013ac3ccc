//! The order of the segments of a log: from the newest back, each names its predecessor.
//!
//! Whoever may add segments may add one that names no predecessor, or a wrong one. It must not hide what is older: the
//! chain then breaks, and resumes with the newest segment that is left.
//!
//! Nor must it lead away from the true log, with a number that is far ahead or one that is taken: beside a signer of the
//! log before it, a segment of another signer does not count, and without its predecessor it does not count either.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use crate::crypto::signing::SignerId;
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
    for stranger in strangers_in_log(pieces) {
        left.remove(&stranger);
    }
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

/// Segments of other signers that do not continue the log: what is left out before its order is built. One that cannot be
/// read is not left out, as it may be damaged.
pub(crate) fn strangers_in_log(pieces: &[ListedLogSegment]) -> Vec<usize> {
    let mut signers: BTreeSet<SignerId> = BTreeSet::new();
    let mut kept: HashMap<ObjectId, u64> = HashMap::new();
    let mut strangers = Vec::new();
    let mut begin = 0;
    while let Some((first, _)) = pieces.get(begin) {
        let sequence = first.sequence;
        let end = pieces.partition_point(|(key, _)| key.sequence <= sequence);
        let readable: Vec<usize> = (begin..end)
            .filter(|index| pieces[*index].1.is_ok())
            .collect();
        let own = choose_own_segments(pieces, &readable, &signers, &kept);
        for index in readable {
            let (key, record) = &pieces[index];
            if own.contains(&index) {
                kept.insert(key.id, sequence);
                signers.extend(record.as_ref().ok().and_then(|record| record.signer));
            } else {
                strangers.push(index);
            }
        }
        begin = end;
    }
    strangers
}

/// Of segments with the same number those that belong to the log: of a signer of the log before, otherwise those that
/// continue it. The first of all is believed; of several the one that the storage received first.
fn choose_own_segments(
    pieces: &[ListedLogSegment],
    readable: &[usize],
    signers: &BTreeSet<SignerId>,
    kept: &HashMap<ObjectId, u64>,
) -> Vec<usize> {
    let record = |index: &usize| pieces[*index].1.as_ref().ok();
    let is_known = |index: &&usize| {
        let signer = record(index).and_then(|record| record.signer);
        signer.is_none_or(|signer| signers.contains(&signer))
    };
    let continues = |index: &&usize| {
        let Some(record) = record(index) else {
            return false;
        };
        let before = record.previous.and_then(|id| kept.get(&id));
        before.and_then(|before| before.checked_add(1)) == Some(record.sequence)
    };
    if signers.is_empty() {
        let earliest = readable
            .iter()
            .copied()
            .min_by_key(|index| receipt_order(&pieces[*index]));
        let signer = earliest
            .as_ref()
            .and_then(record)
            .and_then(|record| record.signer);
        let same = |index: &&usize| record(index).and_then(|record| record.signer) == signer;
        return readable.iter().filter(same).copied().collect();
    }
    let known: Vec<usize> = readable.iter().filter(is_known).copied().collect();
    match known.is_empty() {
        true => readable.iter().filter(continues).copied().collect(),
        false => known,
    }
}

/// What the storage received first comes first.
fn receipt_order((key, _): &ListedLogSegment) -> (bool, Option<DateTime<Utc>>, ObjectId) {
    (key.received.is_none(), key.received, key.id)
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
    same.min_by_key(|index| receipt_order(&pieces[*index]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::signing::HostSigner;
    use chrono::TimeDelta;

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

    /// The same segment, signed by somebody else.
    fn signed_by(stranger: u8, (key, record): ListedLogSegment) -> ListedLogSegment {
        let signer = Some(HostSigner::from_secret(&[stranger; 32]).id());
        let record = record.map(|record| LogSegmentRecord { signer, ..record });
        (key, record)
    }

    #[test]
    fn another_signers_segment_does_not_lead_away_from_the_log() {
        let far = 9_999_999_999_999_999;
        for forged in [
            segment(far, 9, 9, None),
            segment(far, 9, 9, Some((5, 0))),
            segment(9, 9, 9, Some((5, 0))),
            // Received earlier than the true one, and named as its predecessor by nobody.
            segment(5, 9, 1, Some((4, 0))),
            segment(3, 9, 1, None),
        ] {
            let pieces = with(whole(1..=5), signed_by(9, forged));
            let links = build_log_chain(&pieces, 1);
            assert_eq!(places(&pieces, &links), [1, 2, 3, 4, 5]);
            assert_eq!(links.len(), 5);
        }
        // Two of them, which continue each other.
        let pieces = with(whole(1..=5), signed_by(9, segment(far - 1, 9, 9, None)));
        let pieces = with(pieces, signed_by(9, segment(far, 9, 9, Some((far - 1, 9)))));
        assert_eq!(
            places(&pieces, &build_log_chain(&pieces, 1)),
            [1, 2, 3, 4, 5]
        );
    }

    #[test]
    fn a_log_goes_on_on_another_host() {
        let pieces = with(whole(1..=3), signed_by(2, segment(4, 0, 4, Some((3, 0)))));
        let pieces = with(pieces, signed_by(2, segment(5, 0, 5, Some((4, 0)))));
        assert_eq!(
            places(&pieces, &build_log_chain(&pieces, 1)),
            [1, 2, 3, 4, 5]
        );
    }
}
