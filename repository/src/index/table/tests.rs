//! Tables answer like a map, and damaged ones are refused.

use super::*;
use crate::crypto::encryption::RecipientClass;
use crate::format::segment::{ChunkInSegment, SegmentRecord};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn chunk(n: u32) -> ChunkId {
    ChunkId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

fn pack(name: &str, chunks: &[u32]) -> PackRecord {
    let chunks: Vec<_> = chunks
        .iter()
        .map(|n| ChunkInSegment(chunk(*n), n % 7 + 1))
        .collect();
    let plain = chunks.iter().map(|c| c.1).sum();
    let hash = ObjectId::from_content(name.as_bytes());
    let segment = SegmentRecord {
        class: RecipientClass::Data,
        offset: 0,
        length: 9,
        plain,
        hash,
        chunks,
        recipients: None,
    };
    PackRecord {
        pack: hash,
        size: 9,
        segments: vec![segment],
    }
}

fn places(tables: &[IndexTable], n: u32) -> Vec<(ObjectId, u32, u32)> {
    let mut found = Vec::new();
    for table in tables {
        for record in table.find_records(&chunk(n)).unwrap() {
            let place = table.location_of(&record).unwrap();
            found.push((place.pack, place.offset, place.length));
        }
    }
    found.sort();
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn tables_merged_in_a_file_answer_like_a_map(packs in prop::collection::vec(prop::collection::vec(0_u32..400, 0..200), 1..5)) {
        let packs: Vec<_> = packs.iter().enumerate().map(|(n, c)| pack(&n.to_string(), c)).collect();
        let mut model: BTreeMap<u32, Vec<(ObjectId, u32, u32)>> = BTreeMap::new();
        for pack in &packs {
            let mut offset = 0;
            for c in &pack.segments[0].chunks {
                let n = (0..400).find(|n| chunk(*n) == c.0).unwrap();
                model.entry(n).or_default().push((pack.pack, offset, c.1));
                offset += c.1;
            }
        }
        let tables: Vec<_> = packs.iter().map(|p| IndexTable::in_memory(&[p.pack], std::slice::from_ref(p)).unwrap()).collect();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("merged");
        IndexTable::merge_to_file(&tables.iter().collect::<Vec<_>>(), &path).unwrap();
        let merged = [IndexTable::open(&path).unwrap()];
        prop_assert_eq!(merged[0].fragments().len(), packs.len());
        for table in tables.iter().chain(&merged) {
            let beginnings = table.read_id_prefixes().unwrap();
            for n in 0..400 {
                let numbers = table.record_numbers(leading_bits(&chunk(n)), &beginnings);
                let all: Vec<_> = table.records().map(Result::unwrap).collect();
                let own = &all[numbers.start as usize..numbers.end as usize];
                prop_assert_eq!(own, table.find_records(&chunk(n)).unwrap());
            }
        }
        for n in 0..400 {
            let mut expected = model.remove(&n).unwrap_or_default();
            expected.sort();
            prop_assert_eq!(places(&tables, n), expected.clone());
            prop_assert_eq!(places(&merged, n), expected);
        }
    }
}

#[test]
fn a_damaged_or_truncated_cache_file_is_never_believed() {
    let table = IndexTable::in_memory(&[], &[pack("p", &[1, 2, 3])]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t");
    IndexTable::merge_to_file(&[&table], &path).unwrap();
    let good = std::fs::read(&path).unwrap();
    for position in 0..good.len() {
        let mut bad = good.clone();
        bad[position] ^= 4;
        std::fs::write(&path, &bad).unwrap();
        assert!(IndexTable::open(&path).is_err(), "flip at {position}");
        std::fs::write(&path, &good[..position]).unwrap();
        assert!(IndexTable::open(&path).is_err(), "cut at {position}");
    }
}
