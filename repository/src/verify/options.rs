//! How much a verification reads.

use crate::format::snapshot::Snapshot;
use crate::id::ObjectId;

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum VerifyDepth {
    /// Roots, index and listings: no contents.
    Structure,
    /// Packs are read, hashed, decrypted and decompressed, and every chunk is compared with its ID.
    ReadData(DataSubset),
}

/// Which packs are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DataSubset {
    /// All.
    All,
    /// A share that rotates: on `groups` days in a row, each day another group, all packs are read.
    Group {
        /// Today's group, below `groups`.
        group: u32,
        /// The number of groups.
        groups: u32,
    },
}

impl DataSubset {
    /// The share for a percentage (above 0, at most 100) on a day (days since 1970).
    #[must_use]
    pub fn for_day(percent: f64, day: i64) -> Self {
        if percent >= 100.0 {
            return Self::All;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped before"
        )]
        let groups = (100.0 / percent).ceil().clamp(1.0, 1_000_000.0) as u32;
        let group = u32::try_from(day.rem_euclid(i64::from(groups))).unwrap_or(0);
        Self::Group { group, groups }
    }

    /// The packs of this share; at least one, if there are any packs.
    pub(super) fn select_packs(self, packs: Vec<(ObjectId, u64)>) -> Vec<(ObjectId, u64)> {
        let chosen: Vec<_> = packs
            .iter()
            .copied()
            .filter(|(id, _)| self.includes(id))
            .collect();
        match self {
            // Few packs leave some groups empty; a check that reads nothing would prove nothing.
            Self::Group { group, .. } if chosen.is_empty() && !packs.is_empty() => {
                vec![packs[group as usize % packs.len()]]
            }
            _ => chosen,
        }
    }

    pub(crate) fn includes(self, pack: &ObjectId) -> bool {
        match self {
            Self::All => true,
            Self::Group { group, groups } => {
                let bytes = pack.as_bytes();
                u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) % groups == group
            }
        }
    }
}

/// What to verify.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// How much is read.
    pub depth: VerifyDepth,
    /// Only these snapshots and what they need; empty: everything.
    pub snapshots: Vec<Snapshot>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_pack_is_read_once_in_a_round_of_days(percent in 1.0_f64..100.0, start in 0_i64..100_000, name: [u8; 8]) {
            let pack = ObjectId::from_content(&name);
            let DataSubset::Group { groups, .. } = DataSubset::for_day(percent, start) else { return Ok(()) };
            prop_assert!(100.0 / f64::from(groups) <= percent + 1e-9);
            let read = (start..start + i64::from(groups)).filter(|day| DataSubset::for_day(percent, *day).includes(&pack));
            prop_assert_eq!(read.count(), 1);
        }
    }

    #[test]
    fn a_share_of_few_packs_is_never_empty() {
        let packs = vec![
            (ObjectId::from_content(b"a"), 1),
            (ObjectId::from_content(b"b"), 1),
        ];
        for day in 0..100 {
            assert!(
                !DataSubset::for_day(1.0, day)
                    .select_packs(packs.clone())
                    .is_empty()
            );
        }
    }

    #[test]
    fn a_hundred_percent_is_everything() {
        assert_eq!(DataSubset::for_day(100.0, 5), DataSubset::All);
    }
}
