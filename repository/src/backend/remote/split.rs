//! Splits an object into the parts that are uploaded one by one.

use bytes::Bytes;

/// Splits `parts`, taken as one, into pieces of `piece_bytes`; the last one may be shorter. Nothing is copied.
pub(super) fn split_into_pieces(parts: &[Bytes], piece_bytes: usize) -> Vec<Vec<Bytes>> {
    let mut pieces = Vec::new();
    let (mut piece, mut room) = (Vec::new(), piece_bytes);
    for part in parts {
        let mut rest = part.clone();
        while !rest.is_empty() {
            let taken = rest.split_to(rest.len().min(room));
            room -= taken.len();
            piece.push(taken);
            if room == 0 {
                pieces.push(std::mem::take(&mut piece));
                room = piece_bytes;
            }
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

/// The total size of all parts in bytes.
pub(super) fn total_bytes(parts: &[Bytes]) -> u64 {
    parts.iter().map(|part| part.len() as u64).sum()
}

/// Whether `bytes` equals the content of `parts` from `position` on, as far as the parts reach.
pub(super) fn matches_at(parts: &[Bytes], position: u64, bytes: &[u8]) -> bool {
    let (mut begin, mut position, mut rest) = (0_u64, position, bytes);
    for part in parts {
        let end = begin + part.len() as u64;
        if position < end && !rest.is_empty() {
            let Ok(skip) = usize::try_from(position - begin) else {
                return false;
            };
            let wanted = &part[skip..];
            let length = wanted.len().min(rest.len());
            if wanted[..length] != rest[..length] {
                return false;
            }
            rest = &rest[length..];
            position += length as u64;
        }
        begin = end;
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(lengths: &[usize]) -> Vec<Bytes> {
        let mut next = 0_u8;
        lengths
            .iter()
            .map(|length| {
                (0..*length)
                    .map(|_| {
                        next = next.wrapping_add(1);
                        next
                    })
                    .collect()
            })
            .collect()
    }

    #[test]
    fn pieces_joined_are_the_whole() {
        for lengths in [&[][..], &[0], &[10], &[3, 0, 4, 9, 1], &[5, 5, 5]] {
            let parts = parts(lengths);
            let whole: Vec<u8> = parts.concat();
            for piece_bytes in [1, 3, 5, 100] {
                let pieces = split_into_pieces(&parts, piece_bytes);
                let joined: Vec<u8> = pieces.concat().concat();
                assert_eq!(joined, whole);
                for (n, piece) in pieces.iter().enumerate() {
                    let full = n + 1 < pieces.len();
                    let length = usize::try_from(total_bytes(piece)).unwrap();
                    assert!(length == piece_bytes || (!full && length <= piece_bytes));
                }
            }
        }
    }

    #[test]
    fn bytes_are_compared_wherever_they_begin() {
        let parts = parts(&[3, 4, 5]);
        let whole: Vec<u8> = parts.concat();
        for begin in 0..=whole.len() {
            for end in begin..=whole.len() {
                assert!(matches_at(&parts, begin as u64, &whole[begin..end]));
                let mut other = whole[begin..end].to_vec();
                if let Some(last) = other.last_mut() {
                    *last ^= 1;
                    assert!(!matches_at(&parts, begin as u64, &other));
                }
            }
        }
        assert!(!matches_at(&parts, 10, &[whole[10], whole[11], 0]));
    }
}
