//! Pack usage: of each pack, how much is needed.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::mark::{BitSet, MarkedChunks};
use super::view::ListedObject;
use crate::error::{Error, Result};
use crate::id::ObjectId;
use crate::index::PackContents;
use crate::records::replaced_packs::ReplacedPacks;

/// A pack of the index.
#[derive(Debug, Clone)]
pub(super) struct PackUsage {
    pub(super) id: ObjectId,
    pub(super) size: u64,
    pub(super) received: Option<DateTime<Utc>>,
    /// Stored bytes of its segments, and of those that hold a live chunk.
    pub(super) segment_bytes: u64,
    pub(super) live_bytes: u64,
    pub(super) live_segments: u32,
    /// The first fragment that describes it, and whether another one does.
    fragment: Option<ObjectId>,
    pub(super) is_described_twice: bool,
    /// Live segments that another pack holds byte for byte.
    pub(super) duplicated_segments: u32,
    pub(super) duplicated_bytes: u64,
    /// Whether, according to a keeper, another pack, which stays, has all that it has.
    pub(super) is_replaced: bool,
    /// Whether it has to stay as the replacement of such a pack.
    pub(super) is_replacement: bool,
}

impl PackUsage {
    /// Whether nothing in it is needed.
    pub(super) fn is_dead(&self) -> bool {
        self.is_replaced || self.live_segments == self.duplicated_segments
    }

    /// Bytes of segments that nothing needs; 0 where a fragment describes more of the pack than there is.
    pub(super) fn unneeded_bytes(&self) -> u64 {
        self.segment_bytes.saturating_sub(self.live_bytes)
    }

    /// Bytes of segments that only this pack has and that are needed.
    pub(super) fn needed_bytes(&self) -> u64 {
        self.live_bytes.saturating_sub(self.duplicated_bytes)
    }
}

/// A fragment of the index.
#[derive(Debug, Clone, Default)]
pub(super) struct FragmentUsage {
    pub(super) chunks: u64,
    pub(super) packs: u64,
}

/// All packs and fragments of the index.
#[derive(Debug, Default)]
pub(super) struct IndexUsage {
    pub(super) packs: Vec<PackUsage>,
    pub(super) fragments: HashMap<ObjectId, FragmentUsage>,
    /// Packs that the index promises and that are missing.
    pub(super) missing: BTreeSet<ObjectId>,
    live_segments: Vec<LiveSegment>,
    /// Live segments that need not stay where they are, by pack and the prefix of their hash.
    pub(super) redundant_segments: HashSet<(ObjectId, u64)>,
}

/// A live segment: the prefix of its hash, its pack's number, its stored bytes.
type LiveSegment = (u64, u32, u32);

impl IndexUsage {
    /// Computes the usage. `stored` are all packs of the storage.
    ///
    /// Fragments in `superseded` are ignored: others describe the same packs.
    pub(super) fn count_usage(
        marks: &MarkedChunks,
        stored: &HashMap<ObjectId, ListedObject>,
        superseded: &HashSet<ObjectId>,
    ) -> Result<Self> {
        let mut census = Self::default();
        let mut numbers = HashMap::new();
        marks.with_index(|index, live| {
            for (table, bits) in index.tables().iter().zip(live) {
                let (live, chunks) = count_segment_usage(table, bits)?;
                for pack in table.pack_contents() {
                    census.add_pack(&pack, &live, &chunks, &mut numbers, (stored, superseded))?;
                }
            }
            Ok::<_, Error>(())
        })?;
        // Two fragments may describe a pack; each of its segments counts once.
        census.live_segments.sort_unstable();
        census.live_segments.dedup();
        for (_, pack, length) in &census.live_segments {
            let state = &mut census.packs[*pack as usize];
            state.live_segments += 1;
            state.live_bytes += u64::from(*length);
        }
        Ok(census)
    }

    fn add_pack(
        &mut self,
        pack: &PackContents<'_>,
        live: &BitSet,
        chunks: &[u32],
        numbers: &mut HashMap<ObjectId, u32>,
        (stored, superseded): (&HashMap<ObjectId, ListedObject>, &HashSet<ObjectId>),
    ) -> Result<()> {
        let fragment = pack.fragment.filter(|id| !superseded.contains(id));
        if let Some(fragment) = fragment {
            let state = self.fragments.entry(fragment).or_default();
            let own = chunks.get(pack.first_segment..pack.first_segment + pack.segments.len());
            state.chunks += own
                .into_iter()
                .flatten()
                .map(|n| u64::from(*n))
                .sum::<u64>();
            state.packs += 1;
        }
        let next = u32::try_from(self.packs.len())
            .map_err(|_| Error::Internal("more than 4 billion packs".to_owned()))?;
        let number = *numbers.entry(pack.pack).or_insert(next);
        if number == next {
            let info = stored.get(&pack.pack);
            if info.is_none() {
                self.missing.insert(pack.pack);
            }
            self.packs.push(PackUsage {
                id: pack.pack,
                size: info.map_or(pack.size, |info| info.size),
                received: info.and_then(|info| info.received),
                segment_bytes: 0,
                live_bytes: 0,
                live_segments: 0,
                fragment,
                is_described_twice: false,
                duplicated_segments: 0,
                duplicated_bytes: 0,
                is_replaced: false,
                is_replacement: false,
            });
        }
        let state = &mut self.packs[number as usize];
        let other = state.fragment.is_some() && fragment.is_some() && fragment != state.fragment;
        state.is_described_twice |= other;
        state.fragment = state.fragment.or(fragment);
        let bytes = pack
            .segments
            .iter()
            .map(|segment| u64::from(segment.location.length));
        state.segment_bytes = state.segment_bytes.max(bytes.sum());
        for (n, segment) in (pack.first_segment..).zip(pack.segments) {
            if live.get(n as u64) {
                let begins = hash_prefix(&segment.location.hash);
                let length = segment.location.length;
                self.live_segments.push((begins, number, length));
            }
        }
        Ok(())
    }

    /// Finds packs that were re-encrypted, and keeps their replacements where they are. `can_keep` tells which packs
    /// may be replacements. The packs themselves are read before anything is deleted.
    pub(super) fn find_replaced_packs(
        &mut self,
        replaced: &ReplacedPacks,
        can_keep: impl Fn(&PackUsage) -> bool,
    ) {
        let usable = self.packs.iter().filter(|pack| can_keep(pack));
        let usable: HashSet<ObjectId> = usable.map(|pack| pack.id).collect();
        let mut stand_in = HashSet::new();
        for pack in self.packs.iter_mut().filter(|p| p.live_segments > 0) {
            let mut by = replaced.replacements_of(&pack.id);
            by.retain(|id| usable.contains(id));
            pack.is_replaced = !by.is_empty();
            stand_in.extend(by);
        }
        for pack in &mut self.packs {
            pack.is_replacement = stand_in.contains(&pack.id);
        }
    }

    /// Finds live segments that several packs hold byte for byte, as after repacking, and counts them as needed in one
    /// pack only. `can_keep` tells which packs may be that one.
    pub(super) fn find_duplicated_segments(&mut self, can_keep: impl Fn(&PackUsage) -> bool) {
        let segments = std::mem::take(&mut self.live_segments);
        for same in segments
            .chunk_by(|a, b| a.0 == b.0)
            .filter(|same| same.len() > 1)
        {
            // The fullest pack keeps it; of equal ones that with the least ID, so that two prunes agree.
            let key = |n: u32| {
                let state = &self.packs[n as usize];
                (std::cmp::Reverse(state.live_bytes), state.id)
            };
            let keepers = same.iter().map(|(_, pack, _)| *pack);
            let keeper = keepers
                .filter(|n| can_keep(&self.packs[*n as usize]))
                .min_by_key(|n| key(*n));
            let Some(keeper) = keeper else { continue };
            for (begins, pack, length) in same.iter().filter(|(_, pack, _)| *pack != keeper) {
                let state = &mut self.packs[*pack as usize];
                self.redundant_segments.insert((state.id, *begins));
                state.duplicated_segments += 1;
                state.duplicated_bytes += u64::from(*length);
            }
        }
    }

    /// The packs that any of these fragments describes.
    pub(super) fn packs_described_by(
        marks: &MarkedChunks,
        fragments: &HashSet<ObjectId>,
    ) -> HashSet<ObjectId> {
        marks.with_index(|index, _| {
            let contents = index
                .tables()
                .iter()
                .flat_map(|table| table.pack_contents());
            contents
                .filter(|pack| pack.fragment.is_some_and(|id| fragments.contains(&id)))
                .map(|pack| pack.pack)
                .collect()
        })
    }

    /// The fragments that describe any of these packs.
    pub(super) fn fragments_describing(
        marks: &MarkedChunks,
        packs: &HashSet<ObjectId>,
    ) -> BTreeSet<ObjectId> {
        marks.with_index(|index, _| {
            let contents = index
                .tables()
                .iter()
                .flat_map(|table| table.pack_contents());
            contents
                .filter(|pack| packs.contains(&pack.pack))
                .filter_map(|pack| pack.fragment)
                .collect()
        })
    }
}

/// The prefix of a hash: enough to find equal segments, not to prove that they are.
pub(super) fn hash_prefix(hash: &ObjectId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Which segments of a table hold a live chunk, and how many chunks each has.
fn count_segment_usage(
    table: &crate::index::IndexTable,
    live: &BitSet,
) -> Result<(BitSet, Vec<u32>)> {
    let mut segments = BitSet::new(table.segment_count() as u64);
    let mut chunks = vec![0_u32; table.segment_count()];
    for (n, record) in (0..).zip(table.records()) {
        let record = record
            .map_err(|e| Error::Internal(format!("cannot read the local index cache: {e}")))?;
        if let Some(count) = chunks.get_mut(record.segment as usize) {
            *count += 1;
        }
        if live.get(n) {
            segments.set(u64::from(record.segment));
        }
    }
    Ok((segments, chunks))
}
